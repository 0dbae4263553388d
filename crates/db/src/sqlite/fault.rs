//! SQLite's errors as this crate's, in D1's words.
//!
//! Three texts here are D1's own and not SQLite's: a query that takes too long, one that waits too long for its
//! turn, and a function that workerd does not have. All others are SQLite's message, the offset where there is one,
//! and the name of the code.

use isobar_sqlite::{Failure, code_name, unknown_function};
use rusqlite::ffi;

use super::connection::must_stop;
use crate::codes::kind;
use crate::{Error, ErrorKind};

/// The error of a statement.
pub(super) fn of(failure: &Failure) -> Error {
    let Failure { code, message, offset, .. } = failure;
    if code & 0xff == ffi::SQLITE_INTERRUPT && must_stop() {
        return timed_out();
    }
    if let Some(name) = unknown_function(message) {
        let message = format!("no such function: {name}{}: {}", shown(*offset), code_name(*code));
        return Error::new(ErrorKind::Sql, message);
    }
    let error =
        Error::new(kind(*code, message, failure.system), format!("{message}{}: {}", shown(*offset), code_name(*code)));
    if is_failed_sync(failure) { error.for_good() } else { error }
}

fn shown(offset: Option<usize>) -> String {
    offset.map(|offset| format!(" at offset {offset}")).unwrap_or_default()
}

/// The error of opening a database.
pub(super) fn of_open(error: &rusqlite::Error) -> Error {
    failure_of(error).map_or_else(|| Error::new(ErrorKind::Internal, error.to_string()), |failure| of(&failure))
}

/// The failure that SQLite has reported; `None` for an error of the binding's own.
pub(super) fn failure_of(error: &rusqlite::Error) -> Option<Failure> {
    let rusqlite::Error::SqliteFailure(code, message) = error else { return None };
    let message = message.clone().unwrap_or_else(|| code.to_string());
    Some(Failure { code: code.extended_code, message, offset: None, system: 0 })
}

/// Returns whether another connection holds a lock.
pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked))
}

/// D1's words for a query beyond its time limit. Source: D1's documentation, "Debug D1", "Error list".
fn timed_out() -> Error {
    let message = "D1 DB storage operation exceeded timeout which caused object to be reset.";
    Error::new(ErrorKind::Unavailable, message)
}

/// D1's words for a query that has waited too long for its turn. Source: as above.
pub(super) fn queued_too_long() -> Error {
    Error::new(ErrorKind::Unavailable, "D1 DB is overloaded. Requests queued for too long.")
}

/// Returns whether a sync has failed: the system may have dropped the data, and would report success next time.
pub(super) fn is_failed_sync(failure: &Failure) -> bool {
    matches!(failure.code, ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC)
}

/// Returns whether the disk has failed or has no room.
pub(super) fn is_of_the_disk(failure: &Failure) -> bool {
    matches!(failure.code & 0xff, ffi::SQLITE_FULL | ffi::SQLITE_IOERR | ffi::SQLITE_CANTOPEN | ffi::SQLITE_READONLY)
}
