//! Memory that SQLite holds for a connection, and a database as bytes in memory.
#![allow(unsafe_code, reason = "SQLite is C")]

use std::ffi::c_int;
use std::slice;

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

/// Returns the database as the bytes of its file, with what the connection has written and not committed. `Connection::serialize` may
/// lend SQLite's own memory, and therefore needs the connection for itself; this copies.
///
/// ```
/// use isobar_sqlite::{image_of, open_image};
/// use rusqlite::Connection;
///
/// let connection = Connection::open_in_memory()?;
/// connection.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (7)")?;
/// let copy = open_image(image_of(&connection)?)?;
/// assert_eq!(copy.query_row("SELECT a FROM t", [], |row| row.get::<_, i64>(0))?, 7);
/// # Ok::<(), rusqlite::Error>(())
/// ```
///
/// # Errors
/// SQLite's: the file cannot be read, or there is no memory.
pub fn image_of(connection: &Connection) -> rusqlite::Result<Vec<u8>> {
    let mut length = 0;
    // SAFETY: the connection is open, the name is a C string, and the length is ours to write to. Without flags SQLite gives memory of
    // its allocator, which is ours.
    let bytes = unsafe { ffi::sqlite3_serialize(connection.handle(), c"main".as_ptr(), &raw mut length, 0) };
    if bytes.is_null() {
        // SAFETY: the connection is open.
        let code = unsafe { ffi::sqlite3_extended_errcode(connection.handle()) };
        let code = if code == ffi::SQLITE_OK { ffi::SQLITE_NOMEM } else { code };
        return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
    }
    let length = usize::try_from(length).unwrap_or_default();
    // SAFETY: SQLite has made so many bytes there, and nobody else has them.
    let image = unsafe { slice::from_raw_parts(bytes, length) }.to_vec();
    // SAFETY: the bytes are of SQLite's allocator, and freed once.
    unsafe { ffi::sqlite3_free(bytes.cast()) };
    Ok(image)
}

fn used(connection: &Connection, what: c_int) -> usize {
    let mut now = 0;
    let mut most = 0;
    // SAFETY: the connection is open, and the two numbers are ours to write to.
    let code = unsafe { ffi::sqlite3_db_status(connection.handle(), what, &raw mut now, &raw mut most, 0) };
    if code == ffi::SQLITE_OK { usize::try_from(now).unwrap_or_default() } else { 0 }
}
