//! Errors as problem+json (RFC 9457), without internal details.
//!
//! | origin | status |
//! |---|---|
//! | invalid input | 400, with a `field` for each mistake; 413, 415, 422 where HTTP has a status for it |
//! | no principal, not permitted | 401 with `WWW-Authenticate: Bearer`, 403 |
//! | not there, or not the principal's | 404, alike |
//! | conflicts: a constraint, a revision | 409, 412, 428 |
//! | limits | 429 with `Retry-After` for those of time, 507 for those of space |
//! | a backend's failure | 500, 501, 502, 503 with `Retry-After`, 507 |
//!
//! An error of a backend becomes a problem by `From`. Errors of the caller's making keep their text, as it names the caller's
//! own input. All others are logged with their cause and are answered with a fixed text: a message may hold a path or a
//! statement.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use isobar_db::Constraint;

/// An error of an API, as RFC 9457 has it. A backend's failure is logged, and answered without its details.
///
/// As a response it has the type `application/problem+json` and `Cache-Control: no-store`; 401 has `WWW-Authenticate`, and 503 has
/// `Retry-After: 1` unless it sets another one.
///
/// ```
/// use isobar_api::Problem;
/// let problem = Problem::bad_request("the ticket is not valid; see errors").with_field("subject", "is required");
/// assert_eq!(problem.status(), 400);
/// assert_eq!(
///     serde_json::to_value(&problem)?,
///     serde_json::json!({
///         "status": 400, "title": "Bad Request", "detail": "the ticket is not valid; see errors",
///         "errors": [{"field": "subject", "detail": "is required"}],
///     }),
/// );
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, serde::Serialize)]
pub struct Problem {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(serialize_with = "as_number")]
    status: StatusCode,
    title: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
    #[serde(skip)]
    retry_after: Option<Box<HeaderValue>>,
}

#[derive(Debug, Clone, serde::Serialize)]
struct FieldError {
    field: String,
    detail: String,
}

impl Problem {
    /// A problem of this status, titled by its reason phrase.
    ///
    /// ```
    /// use http::StatusCode;
    /// use isobar_api::Problem;
    /// let problem = Problem::new(StatusCode::NOT_FOUND);
    /// assert_eq!(serde_json::to_value(&problem)?, serde_json::json!({"status": 404, "title": "Not Found"}));
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn new(status: StatusCode) -> Self {
        let title = status.canonical_reason().unwrap_or("Error").to_owned();
        Self { kind: None, status, title, detail: None, errors: Vec::new(), retry_after: None }
    }

    /// Sets the problem's type, a URI by which programs recognise it. Default: none, which is `about:blank` (RFC 9457, 3.1.1).
    ///
    /// Set it where a program has to tell this problem from others of the same status; the title and the detail are for people
    /// and may change.
    ///
    /// ```
    /// use isobar_api::Problem;
    /// let problem = Problem::new(http::StatusCode::FORBIDDEN).with_type("urn:example:problem:trial-ended");
    /// assert_eq!(serde_json::to_value(&problem)?["type"], "urn:example:problem:trial-ended");
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn with_type(mut self, kind: &'static str) -> Self {
        self.kind = Some(kind);
        self
    }

    /// Sets the detail: the reason, and a remedy, for a person to read. Default: none.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds an error of one field of the input.
    ///
    /// The name is the one that the sender knows: a property (`subject`), a path into the body
    /// (`operations[2].value.subject`), a parameter of the query, or a header. Several errors of one field are all kept, in
    /// the order of the calls.
    ///
    /// ```
    /// use isobar_api::Problem;
    /// let problem = Problem::bad_request("the order is not valid; see errors")
    ///     .with_field("items", "must have at least one")
    ///     .with_field("currency", "must be EUR or USD");
    /// assert_eq!(serde_json::to_value(&problem)?["errors"][1]["field"], "currency");
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn with_field(mut self, field: impl Into<String>, detail: impl Into<String>) -> Self {
        self.errors.push(FieldError { field: field.into(), detail: detail.into() });
        self
    }

    /// Sets `Retry-After`: a number of seconds, or a date. Default: none; 1 second with 503.
    ///
    /// ```
    /// use axum::response::IntoResponse;
    /// use http::{HeaderValue, StatusCode};
    /// use isobar_api::Problem;
    /// let slow_down = Problem::new(StatusCode::TOO_MANY_REQUESTS).with_retry_after(HeaderValue::from_static("30"));
    /// assert_eq!(slow_down.into_response().headers()["retry-after"], "30");
    /// let overloaded = Problem::new(StatusCode::SERVICE_UNAVAILABLE);
    /// assert_eq!(overloaded.into_response().headers()["retry-after"], "1");
    /// ```
    #[must_use]
    pub fn with_retry_after(mut self, value: HeaderValue) -> Self {
        self.retry_after = Some(Box::new(value));
        self
    }

    /// A problem of the status 400.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST).with_detail(detail)
    }

    /// A problem of the status 404.
    ///
    /// For a row that the principal may not see the answer has to be this one, too, with the same detail: a 403 would reveal
    /// that the row exists.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND).with_detail(detail)
    }

    /// Returns the status of the response.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// A failure of the service itself. It is logged with its cause, and answered with `what` alone.
    ///
    /// ```
    /// use http::StatusCode;
    /// use isobar_api::Problem;
    /// let cause = std::io::Error::other("/var/lib/app/secret: permission denied");
    /// let problem = Problem::ours(StatusCode::INTERNAL_SERVER_ERROR, "the report could not be made", &cause);
    /// let text = serde_json::to_string(&problem)?;
    /// assert!(text.contains("the report could not be made") && !text.contains("/var/lib"));
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn ours(status: StatusCode, what: &str, cause: &dyn std::error::Error) -> Self {
        tracing::error!(error = %cause, "{what}");
        Self::new(status).with_detail(what)
    }
}

/// As a response: the type is `application/problem+json`, and no cache stores it.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status;
        let soon = (status == StatusCode::SERVICE_UNAVAILABLE).then(|| HeaderValue::from_static("1"));
        let retry_after = self.retry_after.as_deref().cloned().or(soon);
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(retry_after) = retry_after {
            headers.insert(header::RETRY_AFTER, retry_after);
        }
        response
    }
}

/// | kinds | status |
/// |---|---|
/// | an invalid key, argument, digest or body, metadata that is too large | 400 |
/// | `InvalidRange` | 416 |
/// | `TooLarge` | 413 |
/// | `NoSuchUpload` | 404 |
/// | parts of a multipart upload that do not fit | 409 |
/// | `Unavailable` | 503 |
/// | `StorageFull` | 507 |
/// | all others | 500 |
impl From<isobar_storage::Error> for Problem {
    fn from(error: isobar_storage::Error) -> Self {
        use isobar_storage::ErrorKind as Kind;
        let status = match error.kind() {
            Kind::InvalidKey
            | Kind::MetadataTooLarge
            | Kind::InvalidListLimit
            | Kind::BadDigest
            | Kind::InvalidArgument
            | Kind::Body => StatusCode::BAD_REQUEST,
            Kind::InvalidRange => StatusCode::RANGE_NOT_SATISFIABLE,
            Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Kind::NoSuchUpload => StatusCode::NOT_FOUND,
            Kind::UnequalParts | Kind::PartTooSmall | Kind::InvalidPart => StatusCode::CONFLICT,
            Kind::Unavailable => {
                return Self::ours(StatusCode::SERVICE_UNAVAILABLE, "the storage is temporarily unavailable", &error);
            }
            Kind::StorageFull => return Self::ours(StatusCode::INSUFFICIENT_STORAGE, "the storage is full", &error),
            _ => return Self::ours(StatusCode::INTERNAL_SERVER_ERROR, "the storage failed", &error),
        };
        Self::new(status).with_detail(error.to_string())
    }
}

/// | kinds | status |
/// |---|---|
/// | constraints: unique, primary key, foreign key | 409 |
/// | other constraints | 400 |
/// | `TooBig` | 413 |
/// | `Unavailable`, `Conflict` | 503 |
/// | `StorageFull` | 507 |
/// | all others | 500 |
///
/// Names of columns are not in the answer; the handlers of resources add the fields of a constraint that they know.
impl From<isobar_db::Error> for Problem {
    fn from(error: isobar_db::Error) -> Self {
        use isobar_db::ErrorKind as Kind;
        let detail = |constraint| match constraint {
            Constraint::Unique | Constraint::PrimaryKey => {
                (StatusCode::CONFLICT, "a row with this value already exists")
            }
            Constraint::ForeignKey => {
                (StatusCode::CONFLICT, "it refers to a row that does not exist, or another row refers to it")
            }
            Constraint::NotNull => (StatusCode::BAD_REQUEST, "a required value is missing"),
            _ => (StatusCode::BAD_REQUEST, "a value is out of range"),
        };
        match error.kind() {
            Kind::Constraint(constraint) => {
                let (status, detail) = detail(constraint);
                tracing::debug!(%error, "a constraint was violated");
                Self::new(status).with_detail(detail)
            }
            Kind::TooBig => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE).with_detail("a value is too large for the database")
            }
            Kind::Unavailable => {
                Self::ours(StatusCode::SERVICE_UNAVAILABLE, "the database is temporarily unavailable", &error)
            }
            Kind::Conflict => Self::ours(
                StatusCode::SERVICE_UNAVAILABLE,
                "others change the same data at the moment; try again",
                &error,
            ),
            Kind::StorageFull => Self::ours(StatusCode::INSUFFICIENT_STORAGE, "the database is full", &error),
            _ => Self::ours(StatusCode::INTERNAL_SERVER_ERROR, "the database refused a statement", &error),
        }
    }
}

/// 400 for an invalid id or argument, 503 for an overloaded or a reset object, 507 for full storage, 500 for all others.
impl From<isobar_sessions::Error> for Problem {
    fn from(error: isobar_sessions::Error) -> Self {
        use isobar_sessions::ErrorKind as Kind;
        match error.kind() {
            Kind::InvalidId | Kind::InvalidArgument => Self::bad_request(error.to_string()),
            Kind::Overloaded => Self::ours(StatusCode::SERVICE_UNAVAILABLE, "the session is overloaded", &error),
            Kind::StorageFull => {
                Self::ours(StatusCode::INSUFFICIENT_STORAGE, "the storage of sessions is full", &error)
            }
            Kind::Damaged => {
                Self::ours(StatusCode::INTERNAL_SERVER_ERROR, "the session's stored data is damaged", &error)
            }
            Kind::Reset => Self::ours(StatusCode::SERVICE_UNAVAILABLE, "the session was reset; try again", &error),
            _ => Self::ours(StatusCode::INTERNAL_SERVER_ERROR, "the session failed", &error),
        }
    }
}

/// 501 for `Unsupported`, 503 for a query that exceeds its time or its memory and for `Unavailable`, 507 for a full disk, 500
/// for all others.
impl From<isobar_analytics::Error> for Problem {
    fn from(error: isobar_analytics::Error) -> Self {
        match error.kind() {
            isobar_analytics::ErrorKind::Unsupported => {
                Self::new(StatusCode::NOT_IMPLEMENTED).with_detail(error.message().to_owned())
            }
            isobar_analytics::ErrorKind::TimedOut | isobar_analytics::ErrorKind::MemoryLimit => Self::ours(
                StatusCode::SERVICE_UNAVAILABLE,
                "the events are too many for one answer; ask for a shorter time",
                &error,
            ),
            isobar_analytics::ErrorKind::StorageFull => {
                Self::ours(StatusCode::INSUFFICIENT_STORAGE, "the analytics' disk is full", &error)
            }
            isobar_analytics::ErrorKind::Unavailable => {
                Self::ours(StatusCode::SERVICE_UNAVAILABLE, "the analytics are temporarily unavailable", &error)
            }
            _ => Self::ours(StatusCode::INTERNAL_SERVER_ERROR, "the analytics failed", &error),
        }
    }
}

impl From<axum::extract::rejection::JsonRejection> for Problem {
    fn from(rejection: axum::extract::rejection::JsonRejection) -> Self {
        Self::new(rejection.status()).with_detail(rejection.body_text())
    }
}

fn as_number<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_disks_are_507_and_overload_is_503_with_retry_after() {
        use isobar_analytics::{Error as AnalyticsError, ErrorKind as Analytics};
        use isobar_db::{Error as DbError, ErrorKind as Db};
        use isobar_sessions::{Error as SessionError, ErrorKind as Session};
        use isobar_storage::{Error as StorageError, ErrorKind as Storage};
        let secret = "/var/lib/secret";
        let full: [Problem; 4] = [
            StorageError::new(Storage::StorageFull, secret).into(),
            DbError::new(Db::StorageFull, secret).into(),
            SessionError::new(Session::StorageFull, secret).into(),
            AnalyticsError::new(Analytics::StorageFull, secret).into(),
        ];
        let busy: [Problem; 4] = [
            StorageError::new(Storage::Unavailable, secret).into(),
            DbError::new(Db::Unavailable, secret).into(),
            SessionError::new(Session::Overloaded, secret).into(),
            AnalyticsError::new(Analytics::Unavailable, secret).into(),
        ];
        let is = |problem: Problem, status: u16| {
            let text = serde_json::to_string(&problem).expect("a problem is JSON");
            assert!(!text.contains(secret), "{text}");
            let response = problem.into_response();
            assert_eq!(response.status(), status, "{text}");
            assert_eq!(response.headers().contains_key(header::RETRY_AFTER), status == 503, "{text}");
        };
        full.into_iter().for_each(|problem| is(problem, 507));
        busy.into_iter().for_each(|problem| is(problem, 503));
    }

    #[test]
    fn type_is_serialized_only_if_set() {
        let json = |problem: Problem| serde_json::to_value(problem).expect("a problem is JSON");
        assert_eq!(json(Problem::new(StatusCode::FORBIDDEN)).get("type"), None);
        assert_eq!(json(Problem::new(StatusCode::FORBIDDEN).with_type("urn:isobar:x"))["type"], "urn:isobar:x");
    }
}
