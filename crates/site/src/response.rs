//! Responses that are not a file: lines of text, redirects, errors.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use isobar_storage::Error;

use crate::body::SiteBody;

/// An extension of every response that a site has made for its request rather than taken from its cache in memory. Routes beside
/// the site make none, so a server can treat the two differently.
///
/// ```
/// use std::sync::Arc;
/// use isobar_site::{FromSite, Site, SiteOptions};
/// use isobar_storage::memory::MemoryStore;
/// # futures_util::FutureExt::now_or_never(async {
/// let site = Site::new(Arc::new(MemoryStore::new()), SiteOptions::default());
/// let response = site.respond(&http::Request::get("/none").body(())?).await;
/// assert!(response.extensions().get::<FromSite>().is_some());
/// # Ok::<_, http::Error>(()) }).unwrap().unwrap();
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FromSite;

/// Returns a response with this status, headers and body.
pub(crate) fn response(status: StatusCode, headers: HeaderMap, body: impl Into<SiteBody>) -> Response<SiteBody> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// Returns a response with a line of text, and no body for an empty one.
pub(crate) fn text(status: StatusCode, text: &str) -> Response<SiteBody> {
    let body = if text.is_empty() { String::new() } else { format!("{text}\n") };
    let response = response(status, HeaderMap::new(), body);
    let response = with(response, header::CONTENT_TYPE, "text/plain; charset=utf-8");
    with(response, header::X_CONTENT_TYPE_OPTIONS, "nosniff")
}

/// Adds a header, unless the value is not a valid header value.
pub(crate) fn with(mut response: Response<SiteBody>, name: HeaderName, value: &str) -> Response<SiteBody> {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
    response
}

/// Adds the headers of the site's own that keep pages safe in a browser: it does not guess the type, it tells other sites the origin
/// alone, and it shows a page in no frame of another site.
pub(crate) fn put_security_headers(headers: &mut HeaderMap, is_page: bool) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("strict-origin-when-cross-origin"));
    if is_page {
        headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("SAMEORIGIN"));
    }
}

/// Returns the response for a failed precondition.
pub(crate) fn precondition_failed() -> Response<SiteBody> {
    text(StatusCode::PRECONDITION_FAILED, "precondition failed: the file has changed")
}

/// Returns the response to a method other than GET and HEAD where there is a file.
pub(crate) fn method_not_allowed() -> Response<SiteBody> {
    with(text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed"), header::ALLOW, "GET, HEAD")
}

/// Returns the response for an error of the store, without its details: 503 for an error that can be retried, else 500.
pub(crate) fn error_response(error: &Error) -> Response<SiteBody> {
    #[cfg(feature = "tracing")]
    tracing::error!(%error, "the site's store failed");
    if error.is_retryable() {
        let response = text(StatusCode::SERVICE_UNAVAILABLE, "the store is temporarily unavailable");
        return with(response, header::RETRY_AFTER, "1");
    }
    text(StatusCode::INTERNAL_SERVER_ERROR, "the store failed")
}

/// Finishes a response: removes the body for a HEAD request, and keeps its length.
pub(crate) fn finished(mut response: Response<SiteBody>, method: &Method) -> Response<SiteBody> {
    if method == Method::HEAD {
        let length = http_body::Body::size_hint(response.body()).exact();
        if let Some(length) = length.filter(|_| response.status() != StatusCode::NOT_MODIFIED) {
            response.headers_mut().entry(header::CONTENT_LENGTH).or_insert_with(|| length.into());
        }
        *response.body_mut() = SiteBody::default();
    }
    response
}
