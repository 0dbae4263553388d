//! Cached responses as HTTP/1.1 bytes, for a server that writes them itself.
//!
//! A plain request for what is cached is answered by two writes, of bytes that are there already. What depends on more of the
//! request, such as a range, is not prepared here and goes the usual way: the same function decides both, so that they cannot
//! answer differently.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method, StatusCode, header};

use super::entry::{CacheEntry, CachedFile, CachedResponse};
use crate::arena::KeptBody;
use crate::http::digest::Wanted;
use crate::http::precondition::{self, Verdict};
use crate::options::SiteOptions;
use crate::request::RequestHead;

/// A cached response for a server that writes HTTP/1.1 itself; see [`Site::ready`](crate::Site::ready). Cloning it copies no bytes.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Instant;
/// use isobar_site::{CacheOptions, Site, SiteOptions};
/// use isobar_storage::{Key, ObjectStoreExt, memory::MemoryStore};
/// # futures_util::FutureExt::now_or_never(async {
/// let store = MemoryStore::new();
/// store.write(&Key::new("a.txt")?, "text").await?;
/// let site = Site::new(Arc::new(store), SiteOptions::default()).with_cache(CacheOptions::default());
/// let request = http::Request::get("/a.txt").body(())?;
///
/// assert!(site.ready(&request, None, Instant::now()).is_none(), "nothing is cached yet");
/// site.respond(&request).await;
/// let response = site.ready(&request, None, Instant::now()).ok_or("the response is cached")?;
/// assert!(response.head().starts_with(b"HTTP/1.1 200 OK\r\n"));
/// assert_eq!(response.body().map(|body| body.read()).transpose()?, Some("text".into()));
/// # Ok::<_, Box<dyn std::error::Error>>(()) }).unwrap().unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct PreparedResponse {
    entry: Arc<CacheEntry>,
    is_not_modified: bool,
    is_head: bool,
}

impl PreparedResponse {
    /// Prepares the response to a request from a cache entry. `None` where the response depends on more of the request: a range, a
    /// failed precondition, a digest.
    pub(super) fn of(entry: Arc<CacheEntry>, options: &SiteOptions, head: RequestHead<'_>) -> Option<Self> {
        if options.server_timing.is_some() {
            return None;
        }
        let is_head = head.method == Method::HEAD;
        let is_not_modified = match &entry.response {
            CachedResponse::Nothing | CachedResponse::Empty => return None,
            CachedResponse::Done { status, .. } if status.is_redirection() && head.uri.query().is_some() => {
                return None;
            }
            CachedResponse::Done { .. } => false,
            CachedResponse::File(file) => is_not_modified(file, head)?,
        };
        let prepared = Self { entry, is_not_modified, is_head };
        (!prepared.head().is_empty()).then_some(prepared)
    }

    /// Returns the status: 200, 304, that of a redirect, or 404 with the site's page.
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

/// Whether the response is a 304; `None` where it is neither a 304 nor the whole file.
fn is_not_modified(file: &CachedFile, head: RequestHead<'_>) -> Option<bool> {
    let headers = head.headers;
    // Most requests have no such header.
    if headers.is_empty() {
        return Some(false);
    }
    if headers.contains_key(header::RANGE) || Wanted::of(headers).is_any() {
        return None;
    }
    // The usual revalidation has one ETag and no other condition.
    let etag = headers.get(header::IF_NONE_MATCH).map(HeaderValue::as_bytes);
    let is_alone = !headers.contains_key(header::IF_MATCH) && !headers.contains_key(header::IF_UNMODIFIED_SINCE);
    if is_alone && etag.is_some() && etag == file.headers.get(header::ETAG).map(HeaderValue::as_bytes) {
        return Some(true);
    }
    let representation = &file.representation;
    match precondition::evaluate(headers, head.method, &representation.meta, representation.goes_back()) {
        Verdict::Failed => None,
        Verdict::NotModified => Some(true),
        Verdict::Proceed => Some(false),
    }
}
