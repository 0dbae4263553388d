//! Sealing values of older keys under the active one.
//!
//! Values are read 50 at a time in the order of the primary key, opened, sealed anew and written back on the
//! condition that they are still what was read. So nothing is locked, a sweep may be broken off, and a write in
//! between wins: it was made under the active key already.

use bytes::Bytes;

use super::cipher::Header;
use super::column::Column;
use super::{Cell, Vault, inventory, sealed_error};
use crate::sql::quoted;
use crate::{Error, QueryableExt, Result, Value};

/// Values that are read at once: a sealed value may be large.
const PAGE: u32 = 50;

/// Progress of a sweep.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// The column that is swept.
    pub column: Column,
    /// Values sealed anew so far, in all columns.
    pub sealed: u64,
}

/// Report of a sweep.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sweep {
    /// Values sealed anew.
    pub sealed: u64,
    /// Values that do not open, with their table, column, primary key and the reason; they stay as they are.
    pub failed: Vec<String>,
    /// Data keys that no value needs any more, and that were removed.
    pub removed_keys: u64,
    /// Columns that hold sealed values and are not declared: they were not swept, and the keys they need stay. A value counts
    /// where it names a data key that the database has.
    pub undeclared: Vec<Column>,
}

/// Columns of the vault and the keys of their values.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Status {
    /// The data key that seals now; 0 where no key has been made yet.
    pub active_key: u32,
    /// Data keys, each with the key-encryption key that wraps it.
    pub keys: Vec<(u32, String)>,
    /// The declared columns that are there.
    pub columns: Vec<ColumnStatus>,
    /// Declared columns that are not there: renamed or dropped. [`Vault::rotate`] refuses while there are any.
    pub missing: Vec<Column>,
    /// Columns that hold sealed values and are not declared: the sweep skips them.
    pub undeclared: Vec<Column>,
}

/// Values of a column, by their key.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct ColumnStatus {
    /// The column.
    #[serde(flatten)]
    pub column: Column,
    /// Values under the active key.
    pub current: u64,
    /// Values under older keys, or not sealed at all.
    pub outdated: u64,
}

impl Vault {
    /// Seals anew, under the active key, every value of the declared columns that stands under another, and then removes
    /// the data keys that nothing needs.
    ///
    /// It may break off anywhere and be started again: finished values stay, and concurrent writes win.
    ///
    /// `progress` is called for each page. A value that does not open stays, is reported, and keeps all old data keys
    /// from being removed.
    ///
    /// # Errors
    /// As [`seal`](Vault::seal); when a declared table or column is not there.
    pub async fn sweep(&self, mut progress: impl FnMut(&Progress) + Send) -> Result<Sweep> {
        let mut sweep = Sweep::default();
        let columns = inventory::check_declared(&*self.database).await?;
        let active = self.reload().await?.active().0;
        for column in columns {
            let mut after = None;
            while let Some(last) = self.sweep_page(&column, active, after, &mut sweep).await? {
                progress(&Progress { column: column.clone(), sealed: sweep.sealed });
                after = Some(last);
            }
        }
        sweep.undeclared = self.undeclared().await?;
        if sweep.failed.is_empty() {
            sweep.removed_keys = self.remove_unused(active).await?;
        }
        Ok(sweep)
    }

    /// Returns which values are sealed under which keys. Makes no key where there is none.
    ///
    /// # Errors
    /// As [`open`](Vault::open); [`ErrorKind::Sealed`](crate::ErrorKind::Sealed) where the keyring is that of another database, or
    /// the vault's tables are missing.
    pub async fn status(&self) -> Result<Status> {
        self.check().await?;
        let keys = "SELECT id, wrapped_by FROM vault_keys WHERE purpose = 'data' ORDER BY id";
        let keys: Vec<(u32, String)> = self.database.prepare(keys).all().await?;
        let active_key = keys.last().map_or(0, |(id, _)| *id);
        let (present, missing) = inventory::declared(&*self.database).await?;
        let mut columns = Vec::new();
        for column in present {
            let [table, name] = [&column.table, &column.column].map(|name| quoted(name));
            let sql = format!(
                "SELECT coalesce(sum(substr({name}, 1, 6) IS ?), 0), count(*) FROM {table} WHERE {name} IS NOT NULL"
            );
            let (current, all): (u64, u64) =
                self.database.prepare(sql).bind(&Header::new(active_key).to_bytes()[..]).one().await?;
            columns.push(ColumnStatus { column, current, outdated: all - current });
        }
        Ok(Status { active_key, keys, columns, missing, undeclared: self.undeclared().await? })
    }

    /// Columns with sealed values that no row of `vault_columns` declares.
    async fn undeclared(&self) -> Result<Vec<Column>> {
        let (declared, _) = inventory::declared(&*self.database).await?;
        let mut sealed = inventory::sealed_columns(&*self.database).await?;
        sealed.retain(|column| !declared.iter().any(|known| known.is_same(column)));
        Ok(sealed)
    }

    /// Seals one page. Returns its last primary key, `None` for an empty page.
    async fn sweep_page(
        &self,
        column: &Column,
        active: u32,
        after: Option<Value>,
        sweep: &mut Sweep,
    ) -> Result<Option<Value>> {
        let [table, name, key] = [&column.table, &column.column, &column.key_column].map(|name| quoted(name));
        let header = &Header::new(active).to_bytes()[..];
        let follows = if after.is_some() { format!("AND {key} > ?2") } else { String::new() };
        let sql = format!(
            "SELECT {key} AS key, {name} AS sealed FROM {table} \
             WHERE {name} IS NOT NULL AND substr({name}, 1, 6) IS NOT ?1 {follows} ORDER BY {key} LIMIT {PAGE}"
        );
        let rows =
            self.database.query(self.database.prepare(sql).bind(header).bind_all(after).into_statement()).await?.rows;
        for row in &rows {
            let key_value: Value = row.get("key")?;
            let old: Value = row.get("sealed")?;
            match self.sealed_anew(column, &key_value, &old).await {
                Ok(new) => {
                    // Only where it has not changed since it was read: a newer value is under the active key.
                    let sql = format!("UPDATE {table} SET {name} = ? WHERE {key} = ? AND {name} IS ?");
                    let update = self.database.prepare(sql).bind(new).bind(key_value).bind(old);
                    sweep.sealed += update.run().await?.changes.min(1);
                }
                Err(error) => sweep.failed.push(failure(column, &key_value, &error)),
            }
        }
        rows.last().map(|row| row.get("key")).transpose()
    }

    async fn sealed_anew(&self, column: &Column, key: &Value, old: &Value) -> Result<Bytes> {
        let cell = Cell::new(&column.table, &column.column, key.clone());
        let Value::Blob(old) = old else {
            return Err(sealed_error(format!("a value of type {} is not sealed", old.type_name())));
        };
        let plain = self.open(&cell, old).await?;
        self.seal(&cell, plain.expose()).await
    }

    /// Removes data keys that no value names. One that was active a moment ago may still be used by a process that has not
    /// read the new one, so the newest of the old ones stays until the next rotation.
    async fn remove_unused(&self, active: u32) -> Result<u64> {
        let sql = "SELECT id FROM vault_keys WHERE purpose = 'data' AND id < ? ORDER BY id DESC LIMIT -1 OFFSET 1";
        let old: Vec<u32> = self.database.prepare(sql).bind(active).all().await?;
        // Every column counts, since a declaration may be gone while its values are still there.
        let columns = inventory::all_columns(&*self.database).await?;
        let mut removed = 0;
        for id in old {
            let header = &Header::new(id).to_bytes()[..];
            let mut used = false;
            for column in &columns {
                let [table, name] = [&column.table, &column.column].map(|name| quoted(name));
                let sql = format!("SELECT EXISTS (SELECT 1 FROM {table} WHERE substr({name}, 1, 6) IS ?)");
                used |= self.database.prepare(sql).bind(header).one::<bool>().await?;
            }
            if !used {
                removed += self.remove(id).await?;
            }
        }
        Ok(removed)
    }

    /// Removes a data key. In one statement with the test of the declared columns, so that nothing is sealed under the key
    /// between the two.
    async fn remove(&self, id: u32) -> Result<u64> {
        let (declared, _) = inventory::declared(&*self.database).await?;
        let unused = |column: &Column| {
            let [table, name] = [&column.table, &column.column].map(|name| quoted(name));
            format!(" AND NOT EXISTS (SELECT 1 FROM {table} WHERE substr({name}, 1, 6) IS ?2)")
        };
        let unused: String = declared.iter().map(unused).collect();
        let sql = format!("DELETE FROM vault_keys WHERE id = ?1 AND ?2 IS NOT NULL{unused}");
        Ok(self.database.prepare(sql).bind(id).bind(&Header::new(id).to_bytes()[..]).run().await?.changes)
    }
}

fn failure(column: &Column, key: &Value, error: &Error) -> String {
    format!("{}.{} of {}: {}", column.table, column.column, key.to_json(), error.message())
}
