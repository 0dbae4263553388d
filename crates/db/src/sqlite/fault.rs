//! SQLite's errors as ours, in D1's words.

use std::ffi::c_int;

use isobar_cloudflare::sql::knows_function;
use rusqlite::ffi;

use super::connection::must_stop;
use super::raw::Failure;
use crate::{Constraint, Error, ErrorKind};

/// Errors of the operating system that mean that there is no room: ENOSPC, and EDQUOT on Linux and macOS.
const NO_ROOM: [i32; 3] = [28, 122, 69];

/// The error of a statement.
pub(super) fn of(failure: &Failure) -> Error {
    let Failure { code, message, offset, .. } = failure;
    if code & 0xff == ffi::SQLITE_INTERRUPT && must_stop() {
        return timed_out();
    }
    let unknown = message.strip_prefix("not authorized to use function: ").filter(|name| !knows_function(name));
    if let Some(name) = unknown {
        let message = format!("no such function: {name}{}: {}", shown(*offset), code_name(*code));
        return Error::new(ErrorKind::Sql, message);
    }
    Error::new(kind(failure), format!("{message}{}: {}", shown(*offset), code_name(*code)))
}

fn shown(offset: Option<usize>) -> String {
    offset.map(|offset| format!(" at offset {offset}")).unwrap_or_default()
}

/// The error of opening a database.
pub(super) fn of_open(error: &rusqlite::Error) -> Error {
    let failure = match error {
        rusqlite::Error::SqliteFailure(code, message) => {
            let message = message.clone().unwrap_or_else(|| code.to_string());
            Failure { code: code.extended_code, message, offset: None, system: 0 }
        }
        other => return Error::new(ErrorKind::Internal, other.to_string()),
    };
    of(&failure)
}

/// Whether another connection is in the way.
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

/// Whether a sync has failed: the system may have dropped what it could not write, and would report success next time.
pub(super) fn is_failed_sync(failure: &Failure) -> bool {
    matches!(failure.code, ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC)
}

/// Whether the disk has failed, or has no room.
pub(super) fn is_of_the_disk(failure: &Failure) -> bool {
    matches!(failure.code & 0xff, ffi::SQLITE_FULL | ffi::SQLITE_IOERR | ffi::SQLITE_CANTOPEN | ffi::SQLITE_READONLY)
}

fn kind(failure: &Failure) -> ErrorKind {
    match failure.code {
        ffi::SQLITE_CONSTRAINT_UNIQUE => ErrorKind::Constraint(Constraint::Unique),
        ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_ROWID => {
            ErrorKind::Constraint(Constraint::PrimaryKey)
        }
        ffi::SQLITE_CONSTRAINT_NOTNULL => ErrorKind::Constraint(Constraint::NotNull),
        ffi::SQLITE_CONSTRAINT_FOREIGNKEY => ErrorKind::Constraint(Constraint::ForeignKey),
        ffi::SQLITE_CONSTRAINT_CHECK => ErrorKind::Constraint(Constraint::Check),
        _ if failure.message.starts_with("not authorized") => ErrorKind::NotAuthorized,
        _ => match failure.code & 0xff {
            ffi::SQLITE_CONSTRAINT => ErrorKind::Constraint(Constraint::Other),
            ffi::SQLITE_AUTH => ErrorKind::NotAuthorized,
            ffi::SQLITE_TOOBIG => ErrorKind::TooBig,
            ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED | ffi::SQLITE_INTERRUPT => ErrorKind::Unavailable,
            ffi::SQLITE_FULL => ErrorKind::StorageFull,
            // A log or its index that cannot grow is an error of input and output for SQLite.
            ffi::SQLITE_IOERR | ffi::SQLITE_CANTOPEN if NO_ROOM.contains(&failure.system) => ErrorKind::StorageFull,
            ffi::SQLITE_IOERR if failure.code == ffi::SQLITE_IOERR_SHMSIZE => ErrorKind::StorageFull,
            ffi::SQLITE_IOERR => ErrorKind::Unavailable,
            ffi::SQLITE_CANTOPEN | ffi::SQLITE_PERM | ffi::SQLITE_READONLY => ErrorKind::PermissionDenied,
            ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB => ErrorKind::Corrupt,
            ffi::SQLITE_ERROR | ffi::SQLITE_MISMATCH | ffi::SQLITE_RANGE => ErrorKind::Sql,
            _ => ErrorKind::Internal,
        },
    }
}

/// SQLite's name of a code, as D1 writes it.
fn code_name(code: c_int) -> String {
    let primary = match code & 0xff {
        ffi::SQLITE_ERROR => "SQLITE_ERROR",
        ffi::SQLITE_INTERNAL => "SQLITE_INTERNAL",
        ffi::SQLITE_PERM => "SQLITE_PERM",
        ffi::SQLITE_ABORT => "SQLITE_ABORT",
        ffi::SQLITE_BUSY => "SQLITE_BUSY",
        ffi::SQLITE_LOCKED => "SQLITE_LOCKED",
        ffi::SQLITE_NOMEM => "SQLITE_NOMEM",
        ffi::SQLITE_READONLY => "SQLITE_READONLY",
        ffi::SQLITE_INTERRUPT => "SQLITE_INTERRUPT",
        ffi::SQLITE_IOERR => "SQLITE_IOERR",
        ffi::SQLITE_CORRUPT => "SQLITE_CORRUPT",
        ffi::SQLITE_FULL => "SQLITE_FULL",
        ffi::SQLITE_CANTOPEN => "SQLITE_CANTOPEN",
        ffi::SQLITE_PROTOCOL => "SQLITE_PROTOCOL",
        ffi::SQLITE_SCHEMA => "SQLITE_SCHEMA",
        ffi::SQLITE_TOOBIG => "SQLITE_TOOBIG",
        ffi::SQLITE_CONSTRAINT => "SQLITE_CONSTRAINT",
        ffi::SQLITE_MISMATCH => "SQLITE_MISMATCH",
        ffi::SQLITE_MISUSE => "SQLITE_MISUSE",
        ffi::SQLITE_AUTH => "SQLITE_AUTH",
        ffi::SQLITE_RANGE => "SQLITE_RANGE",
        ffi::SQLITE_NOTADB => "SQLITE_NOTADB",
        _ => return format!("SQLITE_UNKNOWN ({code})"),
    };
    let extended = match code {
        ffi::SQLITE_CONSTRAINT_CHECK => "CHECK",
        ffi::SQLITE_CONSTRAINT_FOREIGNKEY => "FOREIGNKEY",
        ffi::SQLITE_CONSTRAINT_NOTNULL => "NOTNULL",
        ffi::SQLITE_CONSTRAINT_PRIMARYKEY => "PRIMARYKEY",
        ffi::SQLITE_CONSTRAINT_TRIGGER => "TRIGGER",
        ffi::SQLITE_CONSTRAINT_UNIQUE => "UNIQUE",
        ffi::SQLITE_CONSTRAINT_ROWID => "ROWID",
        ffi::SQLITE_CONSTRAINT_DATATYPE => "DATATYPE",
        _ => return primary.to_owned(),
    };
    format!("{primary} (extended: {primary}_{extended})")
}
