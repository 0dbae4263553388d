//! Memory that SQLite holds for a connection.
#![allow(unsafe_code, reason = "SQLite is C")]

use std::ffi::c_int;

use rusqlite::{Connection, ffi};

/// Returns the bytes of the connection's page cache; of a database in memory those of its pages. It takes as long whatever the size.
///
/// ```
/// let connection = rusqlite::Connection::open_in_memory()?;
/// let before = isobar_sqlite::cache_bytes(&connection);
/// connection.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (zeroblob(1000000))")?;
/// assert!(isobar_sqlite::cache_bytes(&connection) > before + 1_000_000);
/// # Ok::<(), rusqlite::Error>(())
/// ```
#[must_use]
pub fn cache_bytes(connection: &Connection) -> usize {
    used(connection, ffi::SQLITE_DBSTATUS_CACHE_USED)
}

/// Returns the bytes of the connection's schema and of its prepared statements. It takes as long as looking at each of them.
///
/// ```
/// let connection = rusqlite::Connection::open_in_memory()?;
/// let before = isobar_sqlite::definition_bytes(&connection);
/// connection.execute_batch("CREATE TABLE t (a); CREATE INDEX i ON t (a)")?;
/// assert!(isobar_sqlite::definition_bytes(&connection) > before);
/// # Ok::<(), rusqlite::Error>(())
/// ```
#[must_use]
pub fn definition_bytes(connection: &Connection) -> usize {
    used(connection, ffi::SQLITE_DBSTATUS_SCHEMA_USED) + used(connection, ffi::SQLITE_DBSTATUS_STMT_USED)
}

fn used(connection: &Connection, what: c_int) -> usize {
    let mut now = 0;
    let mut most = 0;
    // SAFETY: the connection is open, and the two numbers are ours to write to.
    let code = unsafe { ffi::sqlite3_db_status(connection.handle(), what, &raw mut now, &raw mut most, 0) };
    if code == ffi::SQLITE_OK { usize::try_from(now).unwrap_or_default() } else { 0 }
}
