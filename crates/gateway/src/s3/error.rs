//! Errors of stores, catalogs and requests as S3's.
//!
//! A client learns its own mistakes in S3's codes, and of the server's only that there is one: messages of stores may name files.
//! Those go to the log, under the request's id.
//!
//! Codes that R2 has and s3s does not know are passed as text. S3's clients decide by the code and the
//! status: they repeat 500 and 503, and so a failure that would come again has another status where
//! there is one.

use http::StatusCode;
use isobar_storage::{Error, ErrorKind};
use s3s::{S3Error, S3ErrorCode, S3Result};

use crate::catalog::{CatalogError, CatalogErrorKind};

/// Returns an error of one of S3's codes, or of one that s3s does not know, with its status.
pub(super) fn refusal(status: StatusCode, code: &str, message: impl Into<String>) -> S3Error {
    let code = S3ErrorCode::from_bytes(code.as_bytes()).unwrap_or(S3ErrorCode::InternalError);
    let mut error = S3Error::with_message(code, message.into());
    error.set_status_code(status);
    error
}

/// `InvalidArgument`, 400.
pub(super) fn invalid_argument(message: impl Into<String>) -> S3Error {
    refusal(StatusCode::BAD_REQUEST, "InvalidArgument", message)
}

/// `InvalidRequest`, 400.
pub(super) fn invalid_request(message: impl Into<String>) -> S3Error {
    refusal(StatusCode::BAD_REQUEST, "InvalidRequest", message)
}

/// `NotImplemented`, 501.
pub(super) fn not_implemented(message: impl Into<String>) -> S3Error {
    refusal(StatusCode::NOT_IMPLEMENTED, "NotImplemented", message)
}

/// Returns R2's error for a header that it does not have.
pub(super) fn header_not_implemented(name: &str, value: &str) -> S3Error {
    not_implemented(format!("Header '{name}' with value '{value}' not implemented"))
}

/// `AccessDenied`, 403: the same for a bucket that does not exist, so that a bound key does not learn
/// of others.
pub(super) fn access_denied() -> S3Error {
    refusal(StatusCode::FORBIDDEN, "AccessDenied", "The access key does not allow this")
}

/// `MalformedXML`, 400.
pub(super) fn malformed_xml(message: impl Into<String>) -> S3Error {
    refusal(StatusCode::BAD_REQUEST, "MalformedXML", message)
}

/// `NoSuchBucket`, 404.
pub(super) fn no_such_bucket() -> S3Error {
    refusal(StatusCode::NOT_FOUND, "NoSuchBucket", "The bucket does not exist")
}

/// `NoSuchKey`, 404.
pub(super) fn no_such_key() -> S3Error {
    refusal(StatusCode::NOT_FOUND, "NoSuchKey", "The object does not exist")
}

/// `PreconditionFailed`, 412.
pub(super) fn precondition_failed() -> S3Error {
    refusal(StatusCode::PRECONDITION_FAILED, "PreconditionFailed", "A condition of the request does not hold")
}

/// Translates a store's error. The message of one that is not the client's fault goes to the log and not to the client: it may name
/// files of the server.
pub(super) fn of_storage(error: &Error) -> S3Error {
    let (status, code) = match error.kind() {
        ErrorKind::InvalidKey => (StatusCode::BAD_REQUEST, "InvalidObjectName"),
        ErrorKind::MetadataTooLarge => (StatusCode::BAD_REQUEST, "MetadataTooLarge"),
        ErrorKind::InvalidListLimit => (StatusCode::BAD_REQUEST, "InvalidMaxKeys"),
        ErrorKind::BadDigest => (StatusCode::BAD_REQUEST, "BadDigest"),
        ErrorKind::InvalidRange => (StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange"),
        ErrorKind::UnequalParts | ErrorKind::InvalidPart => (StatusCode::BAD_REQUEST, "InvalidPart"),
        ErrorKind::PartTooSmall => (StatusCode::BAD_REQUEST, "EntityTooSmall"),
        ErrorKind::NoSuchUpload => (StatusCode::NOT_FOUND, "NoSuchUpload"),
        ErrorKind::TooLarge => (StatusCode::BAD_REQUEST, "EntityTooLarge"),
        ErrorKind::InvalidArgument => (StatusCode::BAD_REQUEST, "InvalidArgument"),
        ErrorKind::Body => (StatusCode::BAD_REQUEST, "IncompleteBody"),
        ErrorKind::Unsupported => (StatusCode::NOT_IMPLEMENTED, "NotImplemented"),
        ErrorKind::PermissionDenied => (StatusCode::FORBIDDEN, "AccessDenied"),
        kind => return of_server(kind, error),
    };
    let message = match error.kind() {
        ErrorKind::NoSuchUpload => "The upload does not exist: it was completed, aborted, or never created",
        ErrorKind::PermissionDenied => "The bucket cannot be written",
        _ => error.message(),
    };
    refusal(status, code, message)
}

/// Translates a failure of the server, and logs it.
fn of_server(kind: ErrorKind, error: &Error) -> S3Error {
    tracing::error!(target: "isobar_gateway", %error, "the store has failed");
    let (status, code, message) = match kind {
        ErrorKind::StorageFull => (StatusCode::INSUFFICIENT_STORAGE, "StorageFull", "The server has no space left"),
        ErrorKind::Unavailable => {
            (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", "The bucket is not available now; try again")
        }
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "InternalError", "The server has failed; its log says why"),
    };
    refusal(status, code, message)
}

/// Translates a catalog's error.
pub(super) fn of_catalog(error: &CatalogError) -> S3Error {
    match error.kind() {
        CatalogErrorKind::InvalidName => refusal(StatusCode::BAD_REQUEST, "InvalidBucketName", error.to_string()),
        CatalogErrorKind::InvalidArgument => invalid_argument(error.to_string()),
        CatalogErrorKind::AlreadyExists => {
            refusal(StatusCode::CONFLICT, "BucketAlreadyOwnedByYou", "The bucket exists already")
        }
        CatalogErrorKind::NotFound => no_such_bucket(),
        CatalogErrorKind::NotEmpty => refusal(StatusCode::CONFLICT, "BucketNotEmpty", "The bucket has objects"),
        CatalogErrorKind::Unsupported => not_implemented(error.to_string()),
        CatalogErrorKind::Unavailable => {
            tracing::error!(target: "isobar_gateway", error = %error.with_causes(), "the catalog of buckets has failed");
            refusal(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", "The bucket cannot be opened now; try again")
        }
    }
}

/// Results of stores and catalogs in an operation of S3's.
pub(super) trait OrS3<T> {
    fn or_s3(self) -> S3Result<T>;
}

impl<T> OrS3<T> for Result<T, Error> {
    fn or_s3(self) -> S3Result<T> {
        self.map_err(|error| of_storage(&error))
    }
}

impl<T> OrS3<T> for Result<T, CatalogError> {
    fn or_s3(self) -> S3Result<T> {
        self.map_err(|error| of_catalog(&error))
    }
}
