//! The object's database: SQL, and keys with values.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::SessionBackend;
use crate::{Cursor, Error, ErrorKind, KvListOptions, Parameters, Result, limits};

/// The object's own SQLite database: synchronous, and nobody else's.
///
/// Between two awaits everything is atomic: the statements of a turn are committed together when the turn ends. The rules are
/// those of Durable Objects: no `BEGIN`, no `ATTACH`, only the PRAGMAs that workerd allows, and the [limits](crate::limits).
/// Integers have 64 bits; a boolean is 0 or 1; JSON is text.
///
/// ```
/// use isobar_sessions::{Result, SessionContext};
///
/// #[derive(serde::Deserialize)]
/// struct Entry {
///     id: i64,
///     text: String,
/// }
///
/// fn add(context: &SessionContext, text: &str) -> Result<Entry> {
///     let sql = context.sql();
///     sql.exec("CREATE TABLE IF NOT EXISTS entries (id INTEGER PRIMARY KEY, text TEXT NOT NULL)", ())?;
///     // A struct by the names of the columns, a tuple by their order, a single column as its value.
///     sql.exec("INSERT INTO entries (text) VALUES (?) RETURNING id, text", (text,))?.one()
/// }
///
/// fn ids(context: &SessionContext) -> Result<Vec<i64>> {
///     context.sql().exec("SELECT id FROM entries ORDER BY id", ())?.all()
/// }
/// ```
#[derive(Clone, Copy)]
pub struct Sql<'a>(pub(super) &'a dyn SessionBackend);

impl fmt::Debug for Sql<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sql({})", self.0.id())
    }
}

impl Sql<'_> {
    /// Runs SQL, of 100,000 bytes at most. Of several statements the last takes the parameters, 100 at most, and gives the rows. If one
    /// fails, the earlier ones stay done: use [`SessionContext::transaction`](crate::SessionContext::transaction) where they must not.
    /// Only white space may follow the last semicolon: a comment there is taken for a statement that is missing, as in workerd.
    ///
    /// # Errors
    /// [`ErrorKind::Sql`], also for another number of parameters, and for parameters of an earlier statement; [`ErrorKind::Constraint`]; [`ErrorKind::NotAuthorized`]; those of the
    /// object's file: [`ErrorKind::Storage`], [`ErrorKind::StorageFull`], [`ErrorKind::Damaged`].
    pub fn exec(&self, sql: &str, parameters: impl Parameters) -> Result<Cursor> {
        self.0.exec(sql, parameters.into_values())
    }

    /// Returns the size of the database in bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`], [`ErrorKind::StorageFull`] and [`ErrorKind::Damaged`] when the object's file fails.
    pub fn database_size(&self) -> Result<u64> {
        self.0.database_size()
    }
}

/// The object's key-value storage: values are JSON, keys are ordered by their bytes. It is in the database of [`Sql`], so that a
/// [transaction](crate::SessionContext::transaction) covers both.
///
/// ```
/// use isobar_sessions::{Result, SessionContext};
///
/// fn visit(context: &SessionContext, who: &str) -> Result<u32> {
///     let key = format!("visits/{who}");
///     let visits = context.kv().get::<u32>(&key)?.unwrap_or_default() + 1;
///     context.kv().put(&key, &visits)?;
///     Ok(visits)
/// }
/// ```
#[derive(Clone, Copy)]
pub struct Kv<'a>(pub(super) &'a dyn SessionBackend);

impl fmt::Debug for Kv<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kv({})", self.0.id())
    }
}

impl Kv<'_> {
    /// Returns the value of a key, parsed from its JSON; `None` where there is no such key.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] when the value is not a `T`; as [`delete`](Self::delete).
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        self.0.kv_get(key)?.map(|json| Ok(serde_json::from_slice(&json)?)).transpose()
    }

    /// Sets a key to a value, which is stored as JSON; key and value have 4 MiB together at most.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when key and value are over 4 MiB together, [`ErrorKind::Decode`] for a value that has no JSON; as
    /// [`delete`](Self::delete).
    pub fn put(&self, key: &str, value: &impl Serialize) -> Result<()> {
        let json = serde_json::to_vec(value)?;
        if key.len() + json.len() > limits::VALUE_BYTES {
            return Err(Error::new(ErrorKind::InvalidArgument, "string or blob too big: SQLITE_TOOBIG"));
        }
        self.0.kv_put(key, json.into())
    }

    /// Removes a key. Returns whether it was there.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`], [`ErrorKind::StorageFull`] and [`ErrorKind::Damaged`] when the object's file fails.
    pub fn delete(&self, key: &str) -> Result<bool> {
        self.0.kv_delete(key)
    }

    /// Lists keys and values in byte order of the keys, or against it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for both `start` and `start_after`, and for a limit of 0; [`ErrorKind::Decode`]
    /// when a value is not a `T`.
    pub fn list<T: DeserializeOwned>(&self, options: &KvListOptions) -> Result<Vec<(String, T)>> {
        let invalid = |message| Err(Error::new(ErrorKind::InvalidArgument, message));
        if options.start.is_some() && options.start_after.is_some() {
            return invalid("list() cannot be called with both start and startAfter values.");
        }
        if options.limit == Some(0) {
            return invalid("List limit must be positive.");
        }
        let entries = self.0.kv_list(options)?;
        entries.into_iter().map(|(key, json)| Ok((key, serde_json::from_slice(&json)?))).collect()
    }
}
