//! Errors within a transaction, and of an index that cannot be opened.

use std::path::Path;

use crate::{Error, ErrorKind};

/// An error within a transaction: SQLite's errors become ours at its edge, so that no type of rusqlite stands in the crate's
/// public signatures.
#[derive(Debug)]
pub(in crate::local) enum TxError {
    Ours(Error),
    Sqlite(rusqlite::Error),
}

pub(in crate::local) type Result<T, E = TxError> = std::result::Result<T, E>;

/// Why an index cannot be opened; where SQLite finds it damaged, with what to do.
pub(in crate::local) fn unusable(error: TxError, path: &Path) -> Error {
    let is_sqlites = matches!(error, TxError::Sqlite(_));
    let error = Error::from(error).with_path(path);
    if !is_sqlites || error.kind() != ErrorKind::Corrupt {
        return error;
    }
    let message = format!("{}: make it again out of the packs (isobar r2 fsck BUCKET --rebuild)", error.message());
    Error::new(ErrorKind::Corrupt, message).with_source(error)
}

pub(in crate::local) fn corrupt(what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("the store's index: {what}"))
}

pub(in crate::local) fn json(error: serde_json::Error) -> Error {
    corrupt(&error.to_string()).with_source(error)
}

/// The kind of an error of SQLite's.
///
/// | SQLite | kind |
/// |---|---|
/// | `BUSY`, `LOCKED` | [`ErrorKind::Unavailable`] |
/// | `FULL` | [`ErrorKind::StorageFull`] |
/// | `PERM`, `READONLY`, `CANTOPEN` | [`ErrorKind::PermissionDenied`] |
/// | `CORRUPT`, `NOTADB`; a column of another type than the schema's | [`ErrorKind::Corrupt`] |
/// | anything else, `IOERR` among it | [`ErrorKind::Internal`] |
pub(in crate::local) fn sqlite(error: rusqlite::Error) -> Error {
    use rusqlite::ErrorCode;
    let is_odd = matches!(
        error,
        rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
    );
    let kind = match error.sqlite_error_code() {
        _ if is_odd => ErrorKind::Corrupt,
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => ErrorKind::Unavailable,
        Some(ErrorCode::DiskFull) => ErrorKind::StorageFull,
        Some(ErrorCode::PermissionDenied | ErrorCode::ReadOnly | ErrorCode::CannotOpen) => ErrorKind::PermissionDenied,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => ErrorKind::Corrupt,
        _ => ErrorKind::Internal,
    };
    Error::new(kind, format!("the store's index: {error}")).with_source(error)
}

impl From<rusqlite::Error> for TxError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<Error> for TxError {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

impl From<TxError> for Error {
    fn from(error: TxError) -> Self {
        match error {
            TxError::Ours(error) => error,
            TxError::Sqlite(error) => sqlite(error),
        }
    }
}

impl From<rusqlite::types::FromSqlError> for TxError {
    fn from(error: rusqlite::types::FromSqlError) -> Self {
        Self::Sqlite(error.into())
    }
}

impl Error {
    pub(in crate::local) fn with_path(self, path: &Path) -> Self {
        let message = format!("{} ({})", self, path.display());
        Self::new(self.kind(), message).with_source(self)
    }
}
