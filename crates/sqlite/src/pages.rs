//! Copies of all pages, by SQLite's backup. It begins again where another connection writes meanwhile.

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

/// Pages that are copied at a time.
const STEP: i32 = 1024;
/// Offset of the two versions of the file's format: 2 for a database with a write-ahead log, 1 for one without.
const FORMAT: usize = 18;

/// Copies all pages of a database into another one, in one transaction there: one state of it. It is undone where `must_stop` says so.
///
/// SQLite does not call a hook for the commit; the next statement of the connection reports it.
///
/// ```
/// use isobar_sqlite::copy_pages;
/// use rusqlite::Connection;
///
/// let from = Connection::open_in_memory()?;
/// from.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (7)")?;
/// let mut into = Connection::open_in_memory()?;
/// copy_pages(&from, &mut into, || false)?;
/// assert_eq!(into.query_row("SELECT a FROM t", [], |row| row.get::<_, i64>(0))?, 7);
/// # Ok::<(), rusqlite::Error>(())
/// ```
///
/// # Errors
/// SQLite's; `SQLITE_INTERRUPT` where `must_stop` has said so, `SQLITE_BUSY` where the other database stays locked.
pub fn copy_pages(from: &Connection, into: &mut Connection, must_stop: impl Fn() -> bool) -> rusqlite::Result<()> {
    let backup = Backup::new(from, into)?;
    loop {
        match backup.step(STEP)? {
            StepResult::Done => return Ok(()),
            _ if must_stop() => {
                return Err(of_code(rusqlite::ffi::SQLITE_INTERRUPT));
            }
            StepResult::More => {}
            // SQLite has waited for the lock, as long as the connection's handler does.
            _ => return Err(of_code(rusqlite::ffi::SQLITE_BUSY)),
        }
    }
}

fn of_code(code: i32) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None)
}

/// Opens the image of a database's file in memory, to read.
///
/// ```
/// use isobar_sqlite::{image_of, open_image};
/// use rusqlite::Connection;
///
/// let connection = Connection::open_in_memory()?;
/// connection.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (7)")?;
/// let image = open_image(image_of(&connection)?)?;
/// assert_eq!(image.query_row("SELECT a FROM t", [], |row| row.get::<_, i64>(0))?, 7);
/// # Ok::<(), rusqlite::Error>(())
/// ```
///
/// # Errors
/// SQLite's, for what is not a database.
pub fn open_image(mut image: Vec<u8>) -> rusqlite::Result<Connection> {
    if let Some(versions) = image.get_mut(FORMAT..FORMAT + 2) {
        versions.fill(1); // a database in memory has no write-ahead log
    }
    let mut connection = Connection::open_in_memory()?;
    connection.deserialize_read_exact("main", image.as_slice(), image.len(), true)?;
    Ok(connection)
}
