//! Keys of the cache.
//!
//! A response depends on the path, on what the client accepts as encoding, on whether it wants a page (only in a single-page
//! application), and on the host (only if a `_headers` rule names one). Each of these that a site does not use is left out of its
//! keys, so that it has fewer entries. `Accept-Encoding` counts by what it leads to, not by its text: the headers of all browsers
//! make a few keys. A lookup borrows from the request; a key is copied only to insert it.

use std::borrow::Cow;
use std::hash::{Hash, Hasher};

use quick_cache::Equivalent;

use crate::handling::NotFoundHandling;
use crate::http::encoding;
use crate::request::RequestHead;
use crate::source::Source;

/// The key of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CacheKey {
    pub(super) path: Box<str>,
    /// Empty unless the `_headers` rules depend on the host.
    pub(super) host: Box<str>,
    pub(super) vary: VaryKey,
}

/// The request headers by which responses of one path differ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct VaryKey {
    /// The encodings that the client accepts, in its order: see [`encoding::accepted_bits`].
    pub(super) encodings: u8,
    /// Whether a browser wants a page; `None` also where the site has no single-page application, which alone depends on it.
    pub(super) wants_page: Option<bool>,
}

/// A borrowed [`CacheKey`], taken from a request.
#[derive(PartialEq, Eq)]
pub(super) struct CacheKeyRef<'r> {
    path: &'r str,
    host: Cow<'r, str>,
    vary: VaryKey,
}

impl Hash for CacheKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&*self.path, &*self.host, self.vary).hash(state);
    }
}

impl Hash for CacheKeyRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.path, &*self.host, self.vary).hash(state);
    }
}

impl Equivalent<CacheKey> for CacheKeyRef<'_> {
    fn equivalent(&self, key: &CacheKey) -> bool {
        self.vary == key.vary && *self.path == *key.path && *self.host == *key.host
    }
}

impl<'r> CacheKeyRef<'r> {
    /// Returns the key of a request; `None` where it is not cacheable: a method other than GET and HEAD, or credentials, as
    /// responses that a shared cache must not store have other headers.
    pub(super) fn of(source: &Source, head: RequestHead<'r>) -> Option<Self> {
        if !head.is_read() || head.has_credentials() {
            return None;
        }
        let options = &source.options;
        let host = if source.varies_by_host() { head.host() } else { "".into() };
        let encodings = if options.precompressed { encoding::accepted_bits(head.headers) } else { 0 };
        let is_for_pages = options.not_found_handling == NotFoundHandling::SinglePageApplication;
        let wants_page = if is_for_pages { head.wants_page() } else { None };
        Some(Self { path: head.uri.path(), host, vary: VaryKey { encodings, wants_page } })
    }

    /// Copies the key, for an entry that is inserted.
    pub(super) fn to_key(&self) -> CacheKey {
        CacheKey { path: self.path.into(), host: (*self.host).into(), vary: self.vary }
    }
}
