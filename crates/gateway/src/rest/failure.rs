//! Errors of databases.
//!
//! Two things are decided here, for every route of databases: whether a client may repeat the request,
//! which its status tells the SDKs, and how much of the reason the client learns.
//!
//! | | a read | a write |
//! |---|---|---|
//! | the database is busy or not available | 503: repeated | 400: not repeated |
//! | all else | 400 | 400 |

use http::StatusCode;
use isobar_db::{Error, ErrorKind, Statement, sql};

use super::envelope::{ApiError, code};

/// Whether a request only reads, so that clients may repeat it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Read,
    Write,
}

/// Whether all statements read, by their first words. A wrong guess costs a repetition that is not
/// offered, never a write that is repeated.
pub(super) fn kind_of(statements: &[Statement]) -> Kind {
    let reads = statements.iter().all(|statement| sql::split(statement.sql()).all(sql::is_read));
    if reads { Kind::Read } else { Kind::Write }
}

/// The error of a database. SDKs repeat 429 and 5xx after every request, so that a write answers neither, whatever has failed: it
/// may have happened.
pub(crate) fn failed(error: &Error, kind: Kind) -> ApiError {
    let status = match kind {
        Kind::Read if error.is_retryable() => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_REQUEST,
    };
    ApiError::new(status, code::SQL, shown(error))
}

/// Returns an error's message for the client. That of a failure of the server's may name files of it: it goes to the log, and the client
/// has other words, unless they are D1's.
pub(super) fn shown(error: &Error) -> &str {
    let words = match error.kind() {
        ErrorKind::Unavailable if error.message().starts_with("D1 DB ") => error.message(),
        ErrorKind::Unavailable => "the database is not available now; the server's log says why",
        ErrorKind::StorageFull => "the server has no space left",
        ErrorKind::PermissionDenied | ErrorKind::Corrupt | ErrorKind::Internal => {
            "the database has failed; the server's log says why"
        }
        _ => return error.message(),
    };
    tracing::error!(error = error as &dyn std::error::Error, "a database failed");
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_failed_reads_may_be_repeated() {
        let busy = Error::new(ErrorKind::Unavailable, "busy");
        assert_eq!(failed(&busy, Kind::Read).status, 503);
        for kind in [ErrorKind::Unavailable, ErrorKind::StorageFull, ErrorKind::Internal, ErrorKind::Sql] {
            assert_eq!(failed(&Error::new(kind, "x"), Kind::Write).status, 400);
        }
        assert_eq!(failed(&Error::new(ErrorKind::Sql, "x"), Kind::Read).status, 400);
    }

    #[test]
    fn clients_are_shown_no_file_of_the_server() {
        let shown = |kind, message: &str| shown(&Error::new(kind, message)).to_owned();
        for kind in [
            ErrorKind::Unavailable,
            ErrorKind::PermissionDenied,
            ErrorKind::StorageFull,
            ErrorKind::Corrupt,
            ErrorKind::Internal,
        ] {
            let words = shown(kind, "a sync of /srv/state/d1/orders.sqlite has failed");
            assert!(!words.contains("/srv"), "{words}");
        }
        assert_eq!(shown(ErrorKind::Sql, "no such table: t"), "no such table: t");
        let overloaded = "D1 DB is overloaded. Requests queued for too long.";
        assert_eq!(shown(ErrorKind::Unavailable, overloaded), overloaded);
    }
}
