//! JSON bodies of requests.
//!
//! Bodies of accounts, links and media become types with `deny_unknown_fields`. (Bodies of resources are read by
//! `resource::input`, which names every mistake at once.) The JSON is parsed first, and converted then: serde's message for a
//! wrong type quotes the value, and a value here may be a password or a token, so only the messages that quote names are
//! passed on.

use axum::extract::rejection::JsonRejection;
use serde::de::DeserializeOwned;

use crate::Problem;

/// The JSON of a body, or the reason why it could not be read.
pub(crate) type Body = Result<axum::Json<serde_json::Value>, JsonRejection>;

/// Reads a body into a type.
///
/// # Errors
/// 400 for a missing or unknown field, which it names, and for a value of the wrong type; else as the extractor of the body.
pub(crate) fn input<T: DeserializeOwned>(body: Body) -> Result<T, Problem> {
    let axum::Json(json) = body?;
    // Serde's message may quote the value: a password.
    serde_json::from_value(json).map_err(|error| match error.to_string() {
        text if text.starts_with("missing field") || text.starts_with("unknown field") => Problem::bad_request(text),
        _ => Problem::bad_request("a field of the body is of the wrong type"),
    })
}
