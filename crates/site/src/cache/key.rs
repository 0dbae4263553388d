//! Keys of the cache.

use std::borrow::Cow;
use std::hash::{Hash, Hasher};

use http::{HeaderMap, Method, Uri, header};
use quick_cache::Equivalent;

use crate::http::encoding;
use crate::resolve::find::destination;
use crate::respond::host;
use crate::{NotFoundHandling, Site};

/// The key of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CacheKey {
    pub(super) path: Box<str>,
    pub(super) host: Box<str>,
    /// The encodings that the client accepts, in its order, and whether a browser wants a page.
    pub(super) vary: u8,
}

/// A borrowed [`CacheKey`], taken from a request.
#[derive(PartialEq, Eq)]
pub(super) struct CacheKeyRef<'r> {
    path: &'r str,
    host: Cow<'r, str>,
    vary: u8,
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

impl CacheKeyRef<'_> {
    pub(super) fn to_key(&self) -> CacheKey {
        CacheKey { path: self.path.into(), host: (*self.host).into(), vary: self.vary }
    }
}

/// Returns the key of a request; `None` where it is not cacheable.
pub(super) fn cache_key<'r>(
    site: &Site,
    method: &Method,
    uri: &'r Uri,
    headers: &'r HeaderMap,
) -> Option<CacheKeyRef<'r>> {
    // Answers that a shared cache must not store have other headers.
    if (method != Method::GET && method != Method::HEAD) || headers.contains_key(header::AUTHORIZATION) {
        return None;
    }
    let options = &site.options;
    let host = if site.varies_by_host() { host(uri, headers) } else { "".into() };
    let mut vary = if options.precompressed { encoding::accepted_bits(headers) } else { 0 };
    if options.not_found_handling == NotFoundHandling::SinglePageApplication {
        vary |= destination(headers).map_or(0, |is_page| if is_page { 0x40 } else { 0x80 });
    }
    Some(CacheKeyRef { path: uri.path(), host, vary })
}
