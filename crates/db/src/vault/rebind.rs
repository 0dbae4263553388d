//! Sealing values for the new names of their table and column.

use super::cipher::Header;
use super::{Cell, Vault, inventory, sealed_error};
use crate::sql::quoted;
use crate::{QueryableExt, Result, Value};

/// Values that are read at once.
const PAGE: u32 = 50;

/// The result of a rebinding.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rebound {
    /// Values that were sealed for the old names, and are for the new ones now.
    pub sealed: u64,
    /// Values that open under the new names already.
    pub present: u64,
    /// Primary keys of values that open under neither, with the reason; they stay as they are.
    pub failed: Vec<String>,
}

impl Vault {
    /// Seals anew, for the new names, the values of a column that was renamed, or whose table was: the names are a part of a
    /// value's associated data. The declaration in `vault_columns` follows. It may break off anywhere and be
    /// started again.
    ///
    /// Names are `(table, column)`. A [`blind_index`](Vault::blind_index) is made of the names, too: go on calling it with the
    /// old ones, or fill the column of indexes again.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use isobar_db::vault::{self, Cell, Keyring, Vault};
    /// use isobar_db::{QueryableExt, SqliteDatabase};
    ///
    /// let db = Arc::new(SqliteDatabase::memory().await?);
    /// db.run_script(vault::SCHEMA).await?;
    /// db.run_script("CREATE TABLE tokens (id INTEGER PRIMARY KEY, token BLOB);
    ///     INSERT INTO vault_columns (table_name, column_name) VALUES ('tokens', 'token');").await?;
    /// # let keyring: Keyring = Keyring::generate("2026")?.expose_text().unwrap_or_default().parse()?;
    /// let vault = Vault::new(db.clone(), "business", keyring);
    /// let sealed = vault.seal(&Cell::new("tokens", "token", 1), b"secret").await?;
    /// db.prepare("INSERT INTO tokens VALUES (1, ?)").bind(sealed).run().await?;
    ///
    /// db.run_script("ALTER TABLE tokens RENAME COLUMN token TO access").await?;
    /// let rebound = vault.rebind(("tokens", "token"), ("tokens", "access")).await?;
    /// assert_eq!((rebound.sealed, rebound.failed.len()), (1, 0));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`seal`](Vault::seal); [`ErrorKind::Sealed`](crate::ErrorKind::Sealed) where the old names are not declared, still
    /// are those of a column, or the new ones are not.
    pub async fn rebind(&self, old: (&str, &str), new: (&str, &str)) -> Result<Rebound> {
        let database = &*self.database;
        self.check().await?;
        let sql = "SELECT key_column FROM vault_columns WHERE table_name = ? AND column_name = ?";
        let declared =
            async |(table, column)| self.database.prepare(sql).bind(table).bind(column).first::<String>().await;
        let was = declared(old).await?;
        let is = declared(new).await?;
        let key_column = was.or(is).ok_or_else(|| {
            sealed_error(format!("vault_columns declares neither {}.{} nor {}.{}", old.0, old.1, new.0, new.1))
        })?;
        let columns = inventory::all_columns(database).await?;
        let there = |(table, column): (&str, &str)| {
            columns
                .iter()
                .any(|known| known.table.eq_ignore_ascii_case(table) && known.column.eq_ignore_ascii_case(column))
        };
        if there(old) {
            return Err(sealed_error(format!(
                "{}.{} is there still: only a column that was renamed is rebound",
                old.0, old.1
            )));
        }
        if !there(new) {
            return Err(sealed_error(format!("there is no column {}.{}", new.0, new.1)));
        }
        let declare = "INSERT OR IGNORE INTO vault_columns (table_name, column_name, key_column) VALUES (?, ?, ?)";
        database.prepare(declare).bind(new.0).bind(new.1).bind(key_column.as_str()).run().await?;
        let mut rebound = Rebound::default();
        let mut after = None;
        while let Some(last) = self.rebind_page(old, new, &key_column, after, &mut rebound).await? {
            after = Some(last);
        }
        if rebound.failed.is_empty() {
            let forget = "DELETE FROM vault_columns WHERE table_name = ? AND column_name = ?";
            database.prepare(forget).bind(old.0).bind(old.1).run().await?;
        }
        self.reload().await?;
        Ok(rebound)
    }

    /// Rebinds one page. Returns its last primary key, `None` for an empty page.
    async fn rebind_page(
        &self,
        old: (&str, &str),
        new: (&str, &str),
        key_column: &str,
        after: Option<Value>,
        rebound: &mut Rebound,
    ) -> Result<Option<Value>> {
        let [table, name, key] = [new.0, new.1, key_column].map(quoted);
        let follows = if after.is_some() { format!("AND {key} > ?2") } else { String::new() };
        let sql = format!(
            "SELECT {key} AS key, {name} AS sealed FROM {table} WHERE typeof({name}) = 'blob' AND substr({name}, 1, 2) IS ?1 \
             {follows} ORDER BY {key} LIMIT {PAGE}"
        );
        let page = self.database.prepare(sql).bind(&Header::START[..]).bind_all(after).into_statement();
        let rows = self.database.query(page.rows_only()).await?.rows;
        for row in &rows {
            let key_value: Value = row.get("key")?;
            let value: Value = row.get("sealed")?;
            let Value::Blob(sealed) = &value else { continue };
            if self.open(&cell_of(new, &key_value), sealed).await.is_ok() {
                rebound.present += 1;
                continue;
            }
            match self.open(&cell_of(old, &key_value), sealed).await {
                Ok(plain) => {
                    let anew = self.seal(&cell_of(new, &key_value), plain.expose()).await?;
                    // Only where it has not changed since it was read.
                    let sql = format!("UPDATE {table} SET {name} = ? WHERE {key} = ? AND {name} IS ?");
                    let update = self.database.prepare(sql).bind(anew).bind(key_value.clone()).bind(value.clone());
                    rebound.sealed += update.run().await?.changes.min(1);
                }
                Err(error) => {
                    rebound.failed.push(format!("{}.{} of {}: {}", new.0, new.1, key_value.to_json(), error.message()));
                }
            }
        }
        rows.last().map(|row| row.get("key")).transpose()
    }
}

fn cell_of<'a>((table, column): (&'a str, &'a str), key: &Value) -> Cell<'a> {
    Cell::new(table, column, key.clone())
}
