//! The envelope of every response, and the errors in it.
//!
//! Every answer but objects, files and results of Analytics Engine has the form `{"result", "success",
//! "errors", "messages"}`, with `result_info` for lists. Errors have a number, by which clients decide,
//! and a message for people.
//!
//! Statuses decide whether a client repeats: the SDKs do so after 429 and 5xx, whatever the method. See
//! [`failed`](super::failure::failed) for what follows from that.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::catalog::{CatalogError, CatalogErrorKind};
use crate::keys::KeysError;

/// Result of a route.
pub(crate) type Answer<T = Response> = Result<T, ApiError>;

/// Codes of Cloudflare's API. Sources: the clients' handling of them; R2's documentation, "Error codes".
pub(crate) mod code {
    pub(crate) const INVALID_TOKEN: u32 = 1000;
    pub(crate) const INVALID_HEADERS: u32 = 6003;
    pub(crate) const NO_ROUTE: u32 = 7003;
    pub(crate) const MALFORMED: u32 = 7400;
    pub(crate) const WRONG_ACCOUNT: u32 = 7403;
    pub(crate) const NO_DATABASE: u32 = 7404;
    pub(crate) const SQL: u32 = 7500;
    pub(crate) const DATABASE_EXISTS: u32 = 7502;
    pub(crate) const NO_AUTHORIZATION: u32 = 9106;
    pub(crate) const NO_USER: u32 = 9109;
    pub(crate) const AUTHENTICATION: u32 = 10000;
    pub(crate) const INTERNAL: u32 = 10001;
    pub(crate) const BUCKET_EXISTS: u32 = 10004;
    pub(crate) const INVALID_BUCKET: u32 = 10005;
    pub(crate) const NO_BUCKET: u32 = 10006;
    pub(crate) const NO_OBJECT: u32 = 10007;
    pub(crate) const BUCKET_NOT_EMPTY: u32 = 10008;
    pub(crate) const PRECONDITION_FAILED: u32 = 10031;
    pub(crate) const INVALID_JSON: u32 = 10040;
    pub(crate) const METHOD_NOT_ALLOWED: u32 = 10405;
    pub(crate) const TOO_MANY_FAILURES: u32 = 10429;
}

/// An error as the API answers it.
#[derive(Debug)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(super) code: u32,
    pub(super) message: String,
    /// Reason for the audit, where the request was refused because of its key.
    pub(crate) refusal: Option<String>,
    retry_after: Option<Duration>,
}

impl ApiError {
    /// Returns an error that is not a refusal because of a key.
    pub(crate) fn new(status: StatusCode, code: u32, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), refusal: None, retry_after: None }
    }

    /// The request is malformed: 400.
    pub(crate) fn malformed(message: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code::MALFORMED, format!("The request is malformed: {message}"))
    }

    /// The path has no route: 404.
    pub(crate) fn no_route(path: &str) -> Self {
        let shown: String = path.chars().take(200).collect();
        let message = format!("Could not route to {shown}, perhaps your object identifier is invalid?");
        Self::new(StatusCode::NOT_FOUND, code::NO_ROUTE, message)
    }

    /// The key lacks a permission, or is bound to other resources: 403.
    pub(crate) fn forbidden(reason: impl std::fmt::Display) -> Self {
        let message = format!("Authentication error: {reason}");
        Self::new(StatusCode::FORBIDDEN, code::AUTHENTICATION, message).refused(reason.to_string())
    }

    /// The door refuses writes: 403.
    pub(crate) fn read_only() -> Self {
        let message = "the request would write, and this server is read-only here";
        Self::new(StatusCode::FORBIDDEN, code::AUTHENTICATION, message)
    }

    /// Marks a request that was refused because of its key.
    pub(crate) fn refused(mut self, reason: impl Into<String>) -> Self {
        self.refusal = Some(reason.into());
        self
    }

    /// Sets the time after which the client may try again.
    pub(crate) fn retry_after(mut self, time: Duration) -> Self {
        self.retry_after = Some(time);
        self
    }

    /// The error of a catalog, with the codes of its kind of resource.
    pub(crate) fn of_catalog(error: &CatalogError, codes: ResourceCodes) -> Self {
        let (status, code) = match error.kind() {
            CatalogErrorKind::InvalidName => (StatusCode::BAD_REQUEST, codes.invalid_name),
            CatalogErrorKind::AlreadyExists => (codes.exists_status, codes.exists),
            CatalogErrorKind::NotFound => (StatusCode::NOT_FOUND, codes.missing),
            CatalogErrorKind::NotEmpty => (StatusCode::CONFLICT, code::BUCKET_NOT_EMPTY),
            CatalogErrorKind::InvalidArgument | CatalogErrorKind::Unsupported => {
                (StatusCode::BAD_REQUEST, code::MALFORMED)
            }
            CatalogErrorKind::Unavailable => (StatusCode::INTERNAL_SERVER_ERROR, code::INTERNAL),
        };
        if status.is_server_error() {
            tracing::error!(error = %error.with_causes(), "a resource cannot be opened");
        }
        Self::new(status, code, error.to_string())
    }

    /// A body of more bytes than its route takes: 413.
    pub(super) fn too_long(limit: usize) -> Self {
        let message = format!("The request is malformed: the body has more than {limit} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, code::MALFORMED, message)
    }

    /// A body that does not arrive whole, or has more bytes than its route takes.
    ///
    /// axum boxes the reason: the limit is found among the causes.
    pub(super) fn of_body(error: &axum::Error, limit: usize) -> Self {
        let mut cause: Option<&dyn std::error::Error> = Some(error);
        while let Some(error) = cause {
            if error.is::<http_body_util::LengthLimitError>() {
                return Self::too_long(limit);
            }
            cause = error.source();
        }
        Self::malformed(format_args!("the body cannot be read: {error}"))
    }
}

/// Codes of a kind of resource.
///
/// Clients read the codes of buckets and databases; those of others are this server's own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ResourceCodes {
    invalid_name: u32,
    exists: u32,
    exists_status: StatusCode,
    missing: u32,
}

pub(crate) const BUCKETS: ResourceCodes = ResourceCodes {
    invalid_name: code::INVALID_BUCKET,
    exists: code::BUCKET_EXISTS,
    exists_status: StatusCode::CONFLICT,
    missing: code::NO_BUCKET,
};

pub(super) const DATABASES: ResourceCodes = ResourceCodes {
    invalid_name: code::MALFORMED,
    exists: code::DATABASE_EXISTS,
    exists_status: StatusCode::BAD_REQUEST,
    missing: code::NO_DATABASE,
};

/// Of deploys, and of session objects.
pub(crate) const OTHERS: ResourceCodes = ResourceCodes {
    invalid_name: code::MALFORMED,
    exists: code::MALFORMED,
    exists_status: StatusCode::BAD_REQUEST,
    missing: code::NO_OBJECT,
};

impl From<KeysError> for ApiError {
    fn from(error: KeysError) -> Self {
        tracing::error!(error = &error as &dyn std::error::Error, "the keys cannot be read");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            code::INTERNAL,
            "the keys cannot be read; the server's log says why",
        )
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = json!({
            "success": false,
            "errors": [{"code": self.code, "message": self.message}],
            "messages": [],
            "result": null,
        });
        let mut response = respond(self.status, &body);
        if let Some(time) = self.retry_after {
            // Whole seconds, rounded up.
            let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// The envelope of a result.
#[derive(Serialize)]
struct Success<'a, T> {
    result: &'a T,
    success: bool,
    errors: [(); 0],
    messages: &'a [Json],
    #[serde(skip_serializing_if = "Option::is_none")]
    result_info: Option<Json>,
}

/// The result in the envelope.
pub(crate) fn success<T: Serialize>(result: &T) -> Answer {
    success_with(result, None, &[])
}

/// The result in the envelope, with its place among pages, and messages.
pub(super) fn success_with<T: Serialize>(result: &T, result_info: Option<Json>, messages: &[Json]) -> Answer {
    Ok(respond(StatusCode::OK, &Success { result, success: true, errors: [], messages, result_info }))
}

/// A response of JSON, which nobody keeps.
pub(super) fn respond(status: StatusCode, body: &impl Serialize) -> Response {
    let body = serde_json::to_vec(body).expect("keys of the envelope's maps are texts, and its values have no I/O");
    let kind = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    (status, [kind, (header::CACHE_CONTROL, HeaderValue::from_static("no-store"))], body).into_response()
}
