//! Errors of a history.
//!
//! Messages name the file and the step, as an operator has nothing else to go by. A file that ends early, or that
//! does not parse, is `Corrupt`: it was whole once, since unfinished ones are removed at the opening.

use std::io;
use std::path::Path;

use isobar_base::io::Class;

use crate::{Error, ErrorKind};

/// The error of reading or writing a file.
pub(crate) fn of_file(action: &str, path: &Path, error: io::Error) -> Error {
    let kind = match Class::of(&error) {
        Class::Full => ErrorKind::StorageFull,
        Class::Denied => ErrorKind::PermissionDenied,
        _ if [io::ErrorKind::InvalidData, io::ErrorKind::UnexpectedEof].contains(&error.kind()) => ErrorKind::Corrupt,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("cannot {action} {}: {error}", path.display())).with_source(error)
}

/// The error of SQLite.
pub(super) fn of_sqlite(action: &str, error: &rusqlite::Error) -> Error {
    let error = crate::sqlite::fault::of_open(error);
    Error::new(error.kind(), format!("cannot {action}: {}", error.message()))
}

/// A file that is not as it was written.
pub(super) fn damaged(path: &Path, problem: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("{} is damaged: {problem}", path.display()))
}

/// A point that a history does not have.
pub(super) fn no_point(message: String) -> Error {
    Error::new(ErrorKind::History, message)
}
