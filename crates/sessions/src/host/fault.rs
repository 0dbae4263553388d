//! SQLite's errors as ours, in workerd's words.
//!
//! An error of SQLite is either the statement's, and then the object's own business, or the file's, and then the host decides
//! what becomes of the connection ([`Storage::verdict`](super::storage::Storage)). SQLite's primary code does not tell a
//! failed sync from other errors of I/O; the extended code does. `SQLITE_NOMEM`, `SQLITE_TOOBIG` and an interrupt are the
//! statement's.

use isobar_sqlite::{code_name, unknown_function};
use rusqlite::ErrorCode;

use crate::{Error, ErrorKind};

/// Text of workerd for SQL that begins or ends a transaction.
pub(super) const TRANSACTION: &str = "To execute a transaction, please use the state.storage.transaction() or state.storage.transactionSync() \
                                      APIs instead of the SQL BEGIN TRANSACTION or SAVEPOINT statements. The JavaScript API is safer because \
                                      it will automatically roll back on exceptions, and because it interacts correctly with Durable Objects' \
                                      automatic atomic write coalescing.";

/// A failure of the file, not of the SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// A write could not be made durable.
    Sync,
    /// The disk is full.
    Full,
    /// The file is damaged.
    Damaged,
    /// It cannot be opened, read or written.
    Io,
}

impl Fault {
    /// Returns the fault that an error of SQLite stands for; `None` for an error of the SQL.
    pub(super) fn of(error: &rusqlite::Error) -> Option<Self> {
        // SQLITE_IOERR_FSYNC and SQLITE_IOERR_DIR_FSYNC.
        const SYNCS: [i32; 2] = [1034, 1290];
        // SQLITE_CORRUPT_VTAB: a virtual table's own answer, as of FTS5's integrity-check; the file is as it was.
        const VIRTUAL_TABLE: i32 = 267;
        let error = error.sqlite_error()?;
        match error.code {
            _ if error.extended_code == VIRTUAL_TABLE => None,
            _ if SYNCS.contains(&error.extended_code) => Some(Self::Sync),
            ErrorCode::DiskFull => Some(Self::Full),
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Some(Self::Damaged),
            ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::SystemIoFailure => {
                Some(Self::Io)
            }
            _ => None,
        }
    }

    /// Returns the kind of the error that callers get.
    pub(super) fn kind(self) -> ErrorKind {
        match self {
            Self::Full => ErrorKind::StorageFull,
            Self::Damaged => ErrorKind::Damaged,
            Self::Sync | Self::Io => ErrorKind::Storage,
        }
    }
}

/// rusqlite's error as ours.
pub(super) fn failure(error: &rusqlite::Error) -> Error {
    let (code, message, offset) = match error {
        rusqlite::Error::SqlInputError { error, msg, offset, .. } => {
            (*error, msg.clone(), usize::try_from(*offset).ok())
        }
        rusqlite::Error::SqliteFailure(code, message) => {
            (*code, message.clone().unwrap_or_else(|| code.to_string()), None)
        }
        other => return Error::new(ErrorKind::Sql, other.to_string()),
    };
    let kind = match (Fault::of(error), code.code) {
        (Some(fault), _) => fault.kind(),
        (None, ErrorCode::ConstraintViolation) => ErrorKind::Constraint,
        (None, ErrorCode::AuthorizationForStatementDenied) => ErrorKind::NotAuthorized,
        _ if message.starts_with("not authorized") => ErrorKind::NotAuthorized,
        _ => ErrorKind::Sql,
    };
    let offset =
        offset.filter(|_| code.extended_code == 1).map(|offset| format!(" at offset {offset}")).unwrap_or_default();
    if let Some(name) = unknown_function(&message) {
        let message = format!("no such function: {name}{offset}: {}", code_name(code.extended_code));
        return Error::new(ErrorKind::Sql, message);
    }
    Error::new(kind, format!("{message}{offset}: {}", code_name(code.extended_code)))
}
