//! Headers of every response that does not come from the site.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};

/// Returns an answer whose content type browsers do not guess.
pub(crate) fn unsniffed(response: impl IntoResponse) -> Response {
    let mut response = response.into_response();
    let nosniff = HeaderValue::from_static("nosniff");
    response.headers_mut().entry(header::X_CONTENT_TYPE_OPTIONS).or_insert(nosniff);
    response
}
