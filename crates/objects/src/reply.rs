//! Responses of the objects: JSON, and problem+json for refusals.
//!
//! Nothing here is cached, and no page of another origin can use it as a script: the types are JSON.

use http::{HeaderValue, StatusCode, header};
use serde_json::json;

use isobar_sessions::{Body, Response};

/// JSON with a status.
#[cfg(any(feature = "browser", feature = "call", feature = "chat", feature = "mcp"))]
pub(crate) fn reply(status: StatusCode, value: &impl serde::Serialize) -> Response {
    with_type(status, json!(value).to_string(), "application/json")
}

/// A refusal as problem details (RFC 9457).
pub(crate) fn refusal(status: StatusCode, detail: &str) -> Response {
    let title = status.canonical_reason().unwrap_or("Error");
    let body = json!({"status": status.as_u16(), "title": title, "detail": detail});
    with_type(status, body.to_string(), "application/problem+json")
}

/// 429 for a place that another client frees, with `Retry-After: 10`.
#[cfg(any(feature = "chat", feature = "mcp"))]
pub(crate) fn too_many(detail: &str) -> Response {
    too_many_for(detail, 10)
}

/// 429, with the seconds after which the request is granted.
#[cfg(any(feature = "call", feature = "chat", feature = "mcp"))]
pub(crate) fn too_many_for(detail: &str, seconds: u64) -> Response {
    let mut response = refusal(StatusCode::TOO_MANY_REQUESTS, detail);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// The answer to a `Participant::revocation`.
#[cfg(any(feature = "call", feature = "chat", feature = "mcp"))]
pub(crate) fn revoked(closed: usize) -> Response {
    reply(StatusCode::OK, &json!({ "closed": closed }))
}

/// Creates a response that is not cached.
fn with_type(status: StatusCode, body: String, kind: &'static str) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A time as RFC 3339 in UTC to the millisecond: such texts sort as their times do.
#[cfg(any(feature = "browser", feature = "call", feature = "chat"))]
pub(crate) fn moment(at: chrono::DateTime<chrono::Utc>) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

/// A parameter of a request's query.
#[cfg(any(feature = "call", feature = "chat"))]
pub(crate) fn parameter(uri: &http::Uri, name: &str) -> Option<String> {
    let query = uri.query().unwrap_or_default();
    let value = query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name)?.1;
    Some(percent_encoding::percent_decode_str(&value.replace('+', " ")).decode_utf8_lossy().into_owned())
}
