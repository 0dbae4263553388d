//! The data keys and the index key, as the table `vault_keys` holds them.
//!
//! Order that makes it safe: a key is in the database before a value is sealed under it, and is removed in the
//! statement that finds no value under it. Of two processes that make the first keys at once, the unique index lets
//! one index key in; two data keys do no harm, as the greater id is the active one for both.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use zeroize::Zeroizing;

use super::cipher::{self, Header, KEY_BYTES};
use super::column::{COLUMNS, Column};
use super::{Keyring, prefixed, sealed_error};
use crate::{Error, QueryableExt, Result, Row, Statement};

/// The keyring that unwraps keys, and the name of their vault.
#[derive(Clone, Copy)]
pub(super) struct KeySource<'a> {
    pub(super) keyring: &'a Keyring,
    pub(super) name: &'a str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Data,
    Index,
}

impl Purpose {
    fn as_str(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Index => "index",
        }
    }
}

/// The unwrapped keys, and the columns they may be used for.
///
/// Their `Debug` shows ids alone.
pub(super) struct DataKeys {
    columns: Vec<Column>,
    data: BTreeMap<u32, Zeroizing<[u8; KEY_BYTES]>>,
    index: Zeroizing<[u8; KEY_BYTES]>,
}

impl DataKeys {
    /// The newest data key, under which values are sealed.
    pub(super) fn active(&self) -> (u32, &[u8; KEY_BYTES]) {
        let (id, key) = self.data.last_key_value().expect("load makes the first data key");
        (*id, key)
    }

    pub(super) fn get(&self, id: u32) -> Option<&[u8; KEY_BYTES]> {
        self.data.get(&id).map(|key| &**key)
    }

    pub(super) fn declares(&self, table: &str, column: &str) -> bool {
        self.columns.iter().any(|known| known.table == table && known.column == column)
    }

    pub(super) fn index(&self) -> &[u8; KEY_BYTES] {
        &self.index
    }
}

impl fmt::Debug for DataKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.data.keys()).finish()
    }
}

/// Reads and unwraps the keys. Makes the first ones where there are none.
pub(super) async fn load(database: &dyn crate::Database, source: &KeySource<'_>) -> Result<DataKeys> {
    if let Some(keys) = read(database, source).await? {
        return Ok(keys);
    }
    // Lost keys are not replaced: values under them would look as if they had been changed.
    if let Some(column) = super::inventory::sealed_columns(database).await?.first() {
        // Unless another process has made them, and sealed, since the look above: keys come before values.
        return read(database, source).await?.ok_or_else(|| keys_are_gone(column));
    }
    add(database, source, Purpose::Index).await?;
    add(database, source, Purpose::Data).await?;
    read(database, source).await?.ok_or_else(|| sealed_error("the vault's keys were removed while they were made"))
}

/// The error for values whose keys are not there.
pub(super) fn keys_are_gone(column: &Column) -> Error {
    let Column { table, column, .. } = column;
    sealed_error(format!(
        "values in {table}.{column} are sealed, and vault_keys has not the keys to them: restore it from a backup"
    ))
}

/// Adds a key. Of two processes that make the first key of a purpose at once, one does.
pub(super) async fn add(database: &dyn crate::Database, source: &KeySource<'_>, purpose: Purpose) -> Result<()> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    isobar_base::random::fill(&mut *key)?;
    let (wrapped_by, wrapped) = source.wrap(purpose, &key)?;
    let sql = match purpose {
        // The unique index lets one in.
        Purpose::Index => "INSERT OR IGNORE INTO vault_keys (purpose, wrapped_by, wrapped) VALUES (?, ?, ?)",
        Purpose::Data => "INSERT INTO vault_keys (purpose, wrapped_by, wrapped) VALUES (?, ?, ?)",
    };
    database.prepare(sql).bind(purpose.as_str()).bind(wrapped_by).bind(wrapped).run().await?;
    Ok(())
}

/// Wraps under the keyring's first key the keys that another one has wrapped. Returns how many changed.
pub(super) async fn rewrap(database: &dyn crate::Database, source: &KeySource<'_>) -> Result<u64> {
    let (first, _) = source.keyring.first();
    let sql = "SELECT id, purpose, wrapped_by, wrapped FROM vault_keys WHERE wrapped_by <> ?";
    let rows = database.query(Statement::new(sql).bind(first).rows_only()).await?.rows;
    let mut changed = 0;
    for row in &rows {
        let (id, purpose, key) = source.unwrap(row)?;
        let (wrapped_by, wrapped) = source.wrap(purpose, &key)?;
        let sql = "UPDATE vault_keys SET wrapped_by = ?, wrapped = ? WHERE id = ?";
        changed += database.prepare(sql).bind(wrapped_by).bind(wrapped).bind(id).run().await?.changes;
    }
    Ok(changed)
}

/// Reads and unwraps the keys; `None` where they have not been made.
pub(super) async fn read(database: &dyn crate::Database, source: &KeySource<'_>) -> Result<Option<DataKeys>> {
    let sql = "SELECT id, purpose, wrapped_by, wrapped FROM vault_keys ORDER BY id";
    // One transaction, so that no key is made between the two.
    let mut results = database.batch(vec![sql.into(), COLUMNS.into()]).await?;
    let columns = results.pop().map(|result| result.rows_as()).transpose()?.unwrap_or_default();
    let rows = results.pop().map(|result| result.rows).unwrap_or_default();
    let mut data = BTreeMap::new();
    let mut index = None;
    for row in &rows {
        match source.unwrap(row)? {
            (id, Purpose::Data, key) => drop(data.insert(id, key)),
            (_, Purpose::Index, key) => index = Some(key),
        }
    }
    Ok(index.filter(|_| !data.is_empty()).map(|index| DataKeys { columns, data, index }))
}

impl KeySource<'_> {
    fn wrap(&self, purpose: Purpose, key: &[u8; KEY_BYTES]) -> Result<(String, Bytes)> {
        let (name, with) = self.keyring.first();
        Ok((name.to_owned(), cipher::seal(with, Header::new(0), &self.associated(purpose, name), key)?))
    }

    fn unwrap(&self, row: &Row) -> Result<(u32, Purpose, Zeroizing<[u8; KEY_BYTES]>)> {
        let id: u32 = row.get("id")?;
        let name: String = row.get("wrapped_by")?;
        let purpose = if row.get::<String>("purpose")? == "index" { Purpose::Index } else { Purpose::Data };
        let with = self.keyring.get(&name).ok_or_else(|| {
            let known = self.keyring.names().collect::<Vec<_>>().join(", ");
            sealed_error(format!(
                "the key {id} is wrapped by {name:?}, which the keyring lacks; it has: {known}. Use the keyring that the \
                 database was made with"
            ))
        })?;
        let wrapped: Bytes = row.get("wrapped")?;
        let key =
            cipher::open(with, Header::read(&wrapped)?, &self.associated(purpose, &name), &wrapped).map_err(|_| {
                sealed_error(format!("the keyring's {name:?} does not unwrap the key {id} of this database"))
            })?;
        let key = <[u8; KEY_BYTES]>::try_from(key.expose()).map(Zeroizing::new);
        Ok((id, purpose, key.map_err(|_| sealed_error(format!("the key {id} is not of 32 bytes")))?))
    }

    fn associated(&self, purpose: Purpose, wrapped_by: &str) -> Vec<u8> {
        let mut associated = Vec::new();
        for part in ["isobar wrapped key", self.name, purpose.as_str(), wrapped_by] {
            prefixed(&mut associated, part.as_bytes());
        }
        associated
    }
}
