//! Errors of databases.

use http::StatusCode;
use isobar_db::{Error, ErrorKind, Statement, sql};

use super::envelope::{ApiError, code};

/// Whether a request only reads, so that clients may repeat it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Read,
    Write,
}

pub(super) fn kind_of(statements: &[Statement]) -> Kind {
    let reads = statements.iter().all(|statement| sql::split(statement.sql()).all(sql::is_read));
    if reads { Kind::Read } else { Kind::Write }
}

/// The error of a database. SDKs repeat 429 and 5xx after every request, so that a write answers neither, whatever has failed: it
/// may have happened.
pub(super) fn failed(error: &Error, kind: Kind) -> ApiError {
    let is_ours = matches!(
        error.kind(),
        ErrorKind::Unavailable
            | ErrorKind::PermissionDenied
            | ErrorKind::StorageFull
            | ErrorKind::Corrupt
            | ErrorKind::Internal
    );
    if is_ours {
        tracing::error!(error = error as &dyn std::error::Error, "a database failed");
    }
    let status = match kind {
        Kind::Read if error.is_retryable() => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_REQUEST,
    };
    ApiError::new(status, code::SQL, error.message())
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
}
