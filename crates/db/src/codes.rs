//! SQLite's result codes as kinds of errors.
//!
//! An extended code says more than the primary one (which constraint,
//! which I/O step), so it is looked at first; unknown extended codes fall back to their primary one.

use rusqlite::ffi;

use crate::{Constraint, ErrorKind};

/// Errors of the operating system for a disk without room: ENOSPC, and EDQUOT on Linux and on macOS.
const NO_ROOM: [i32; 3] = [28, 122, 69];

/// Returns the kind of an error with this extended code and SQLite's message. `system` is the operating system's error behind it; 0
/// where that is not known.
///
/// The message counts in one case: the authorizer's refusals of functions come as `SQLITE_ERROR` with `not
/// authorized` in front.
pub(crate) fn kind(code: i32, message: &str, system: i32) -> ErrorKind {
    match code {
        ffi::SQLITE_CONSTRAINT_UNIQUE => ErrorKind::Constraint(Constraint::Unique),
        ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_ROWID => {
            ErrorKind::Constraint(Constraint::PrimaryKey)
        }
        ffi::SQLITE_CONSTRAINT_NOTNULL => ErrorKind::Constraint(Constraint::NotNull),
        ffi::SQLITE_CONSTRAINT_FOREIGNKEY => ErrorKind::Constraint(Constraint::ForeignKey),
        ffi::SQLITE_CONSTRAINT_CHECK => ErrorKind::Constraint(Constraint::Check),
        _ if message.starts_with("not authorized") => ErrorKind::NotAuthorized,
        _ => match code & 0xff {
            ffi::SQLITE_CONSTRAINT => ErrorKind::Constraint(Constraint::Other),
            ffi::SQLITE_AUTH => ErrorKind::NotAuthorized,
            ffi::SQLITE_TOOBIG => ErrorKind::TooBig,
            ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED | ffi::SQLITE_INTERRUPT => ErrorKind::Unavailable,
            // Other processes were quicker each time.
            ffi::SQLITE_PROTOCOL | ffi::SQLITE_SCHEMA => ErrorKind::Unavailable,
            ffi::SQLITE_FULL => ErrorKind::StorageFull,
            // To SQLite a log or its index that cannot grow is an I/O error.
            ffi::SQLITE_IOERR | ffi::SQLITE_CANTOPEN if NO_ROOM.contains(&system) => ErrorKind::StorageFull,
            ffi::SQLITE_IOERR if code == ffi::SQLITE_IOERR_SHMSIZE => ErrorKind::StorageFull,
            ffi::SQLITE_IOERR => ErrorKind::Unavailable,
            ffi::SQLITE_CANTOPEN | ffi::SQLITE_PERM | ffi::SQLITE_READONLY => ErrorKind::PermissionDenied,
            ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB => ErrorKind::Corrupt,
            ffi::SQLITE_ERROR | ffi::SQLITE_MISMATCH | ffi::SQLITE_RANGE => ErrorKind::Sql,
            _ => ErrorKind::Internal,
        },
    }
}
