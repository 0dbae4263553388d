//! The head of a request: borrowed as it came, and parsed once where it leaves the cache.

use std::borrow::Cow;

use http::{HeaderMap, Method, Request, Uri, header};

use crate::path::{normalized, normalized_query};

/// The head of a request, borrowed. Making one parses and allocates nothing: a hit of the cache needs no more than this.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestHead<'r> {
    pub(crate) method: &'r Method,
    pub(crate) uri: &'r Uri,
    pub(crate) headers: &'r HeaderMap,
}

impl<'r> RequestHead<'r> {
    /// Borrows the head of a request.
    pub(crate) fn of<B>(request: &'r Request<B>) -> Self {
        Self { method: request.method(), uri: request.uri(), headers: request.headers() }
    }

    /// Whether the method reads: GET or HEAD.
    pub(crate) fn is_read(self) -> bool {
        self.method == Method::GET || self.method == Method::HEAD
    }

    /// Whether the request has credentials: a shared cache must not store its response unless told so (RFC 9111 3.5).
    pub(crate) fn has_credentials(self) -> bool {
        self.headers.contains_key(header::AUTHORIZATION)
    }

    /// Whether a browser wants a page, by `Sec-Fetch-Dest`; `None` without that header.
    pub(crate) fn wants_page(self) -> Option<bool> {
        let destination = self.headers.get("sec-fetch-dest").and_then(|destination| destination.to_str().ok())?;
        Some(matches!(destination, "document" | "iframe" | "frame"))
    }

    /// Returns the host in lower case, without its port: of an absolute URI, else of `Host`. Empty without either.
    pub(crate) fn host(self) -> Cow<'r, str> {
        let name = self.uri.authority().map(http::uri::Authority::as_str);
        let name = name.or_else(|| self.headers.get(header::HOST)?.to_str().ok()).unwrap_or_default();
        let has_port = |(_, port): &(&str, &str)| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let name = name.rsplit_once(':').filter(has_port).map_or(name, |(host, _)| host);
        match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => name.to_ascii_lowercase().into(),
            false => name.into(),
        }
    }
}

/// The target of a request, parsed: all rules of a site are matched against this.
#[derive(Debug)]
pub(crate) struct RequestTarget<'r> {
    /// The path, percent-encoded as a browser would.
    pub(crate) path: Cow<'r, str>,
    /// The query, percent-encoded as a browser would.
    query: Option<Cow<'r, str>>,
    /// [`RequestHead::host`].
    pub(crate) host: Cow<'r, str>,
}

impl<'r> RequestTarget<'r> {
    /// Parses the target of a request.
    pub(crate) fn of(head: RequestHead<'r>) -> Self {
        Self { query: head.uri.query().map(normalized_query), ..Self::without_query(head) }
    }

    /// Parses the target of a request as if it had no query.
    pub(crate) fn without_query(head: RequestHead<'r>) -> Self {
        Self { path: normalized(head.uri.path()), query: None, host: head.host() }
    }

    /// Returns the query without its `?`.
    pub(crate) fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }
}
