//! Copies of all pages, by SQLite's backup. It begins again where another connection writes meanwhile.

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

/// Pages that are copied at a time.
const STEP: i32 = 1024;

/// Copies all pages of a database into another one, in one transaction there: one state of it. It is undone where `must_stop` says so.
pub(super) fn copy_pages(
    from: &Connection,
    into: &mut Connection,
    must_stop: impl Fn() -> bool,
) -> rusqlite::Result<()> {
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
