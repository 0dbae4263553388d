//! Cached answers as HTTP/1.1 bytes: each head is formatted once and sent many times.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};

use crate::Site;
use crate::arena::KeptBody;
use crate::cache::{CacheEntry, CachedResponse};
use crate::http::digest::Wanted;
use crate::http::precondition::{self, Verdict};
use crate::serve::InMemory;

/// A cached answer for a server that writes HTTP/1.1 itself; see [`Site::ready`].
#[derive(Debug, Clone)]
pub struct PreparedResponse {
    entry: Arc<CacheEntry>,
    is_not_modified: bool,
    is_head: bool,
}

/// The formatted heads of an answer, without the empty line and without the headers that change with each answer.
#[derive(Debug)]
pub(crate) struct Heads {
    pub(crate) whole: Bytes,
    /// The head of a 304; empty unless the answer is a file.
    pub(crate) not_modified: Bytes,
}

impl PreparedResponse {
    /// Prepares the answer to a request from a cache entry. `None` where the answer depends on more of the request: a range, a
    /// failed precondition, a digest.
    pub(crate) fn of(
        entry: Arc<CacheEntry>,
        site: &Site,
        method: &Method,
        uri: &Uri,
        request: &HeaderMap,
    ) -> Option<Self> {
        if site.options.server_timing.is_some() {
            return None;
        }
        let is_head = method == Method::HEAD;
        let is_not_modified = match &entry.response {
            CachedResponse::Nothing | CachedResponse::Empty => return None,
            CachedResponse::Done { status, .. } if status.is_redirection() && uri.query().is_some() => return None,
            CachedResponse::Done { .. } => false,
            CachedResponse::File(file) => is_not_modified(file, method, request)?,
        };
        let prepared = Self { entry, is_not_modified, is_head };
        (!prepared.head().is_empty()).then_some(prepared)
    }

    /// Returns the status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match &self.entry.response {
            _ if self.is_not_modified => StatusCode::NOT_MODIFIED,
            CachedResponse::Done { status, .. } => *status,
            _ => StatusCode::OK,
        }
    }

    /// Returns the status line and the header lines, each with its line end. The server adds `Date` and the empty line.
    #[must_use]
    pub fn head(&self) -> &[u8] {
        match &self.entry.response {
            CachedResponse::File(file) if self.is_not_modified => &file.heads.not_modified,
            CachedResponse::File(file) => &file.heads.whole,
            CachedResponse::Done { head, .. } => head,
            // `of` returns `None` for these.
            CachedResponse::Nothing | CachedResponse::Empty => &[],
        }
    }

    /// Whether the head has this header.
    #[must_use]
    pub fn has(&self, name: &HeaderName) -> bool {
        match &self.entry.response {
            CachedResponse::File(file) if self.is_not_modified => file.not_modified.contains_key(name),
            CachedResponse::File(file) => file.headers.contains_key(name),
            CachedResponse::Done { headers, .. } => headers.contains_key(name),
            CachedResponse::Nothing | CachedResponse::Empty => false,
        }
    }

    /// Returns the body; `None` for a HEAD request or a 304.
    #[must_use]
    pub fn body(&self) -> Option<&KeptBody> {
        match &self.entry.response {
            _ if self.is_head || self.is_not_modified => None,
            CachedResponse::File(file) => Some(&file.body),
            CachedResponse::Done { body, .. } => Some(body),
            CachedResponse::Nothing | CachedResponse::Empty => None,
        }
    }

    /// Returns the length of [`body`](Self::body) in bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.body().map_or(0, |body| body.len() as u64)
    }
}

/// Whether the answer is a 304; `None` where it is neither a 304 nor the whole file.
fn is_not_modified(file: &InMemory, method: &Method, request: &HeaderMap) -> Option<bool> {
    // Most requests have no such header.
    if request.is_empty() {
        return Some(false);
    }
    if request.contains_key(header::RANGE) || Wanted::of(request).is_any() {
        return None;
    }
    // The usual revalidation has one ETag and no other condition.
    let etag = request.get(header::IF_NONE_MATCH).map(HeaderValue::as_bytes);
    let is_alone = !request.contains_key(header::IF_MATCH) && !request.contains_key(header::IF_UNMODIFIED_SINCE);
    if is_alone && etag.is_some() && etag == file.headers.get(header::ETAG).map(HeaderValue::as_bytes) {
        return Some(true);
    }
    match precondition::evaluate(request, method, &file.representation.meta, file.representation.object.is_some()) {
        Verdict::Failed => None,
        Verdict::NotModified => Some(true),
        Verdict::Proceed => Some(false),
    }
}

/// Formats an HTTP/1.1 head without the empty line, and without `Content-Length` where `length` is `None`. Empty if a rule has
/// set a header that is the server's, so that the slow path answers.
pub(crate) fn head(status: StatusCode, headers: &HeaderMap, length: Option<usize>) -> Bytes {
    let servers = [header::CONNECTION, header::DATE, header::TRANSFER_ENCODING, header::UPGRADE];
    if servers.iter().any(|name| headers.contains_key(name)) {
        return Bytes::new();
    }
    let mut head = Vec::with_capacity(512);
    head.extend_from_slice(b"HTTP/1.1 ");
    head.extend_from_slice(status.as_str().as_bytes());
    head.push(b' ');
    head.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    head.extend_from_slice(b"\r\n");
    let mut line = |name: &[u8], value: &[u8]| {
        head.extend_from_slice(name);
        head.extend_from_slice(b": ");
        head.extend_from_slice(value);
        head.extend_from_slice(b"\r\n");
    };
    for (name, value) in headers {
        line(name.as_str().as_bytes(), value.as_bytes());
    }
    if let Some(length) = length.filter(|_| !headers.contains_key(header::CONTENT_LENGTH)) {
        line(b"content-length", length.to_string().as_bytes());
    }
    head.into()
}
