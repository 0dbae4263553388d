//! The cache of responses in memory.
//!
//! An entry is the response for a path in an encoding, headers and body, from which conditional requests and ranges are answered,
//! too. It is fresh while the store's [`generation`](isobar_storage::ObjectStore::generation) is the same; where the store has
//! none it is revalidated after a while. A revalidation reads no body if nothing has changed.
//!
//! A hit reads the key from the request's head ([`key`]), the entry from the [`store`], and sends it: as bytes ([`wire`]) or as a
//! response ([`entry`]). It waits for nothing and allocates no more than a response needs. A miss goes through [`load`].

mod compress;
mod entry;
mod head;
mod key;
mod load;
mod store;
mod wire;

use std::sync::Arc;
use std::time::Instant;

use http::Response;
use isobar_storage::Error;

pub use self::store::Purge;
pub(crate) use self::store::SiteCache;
pub use self::wire::PreparedResponse;

use self::key::CacheKeyRef;
use self::load::get_or_revalidate;
use crate::body::SiteBody;
use crate::cache_options::CacheState;
use crate::request::RequestHead;
use crate::source::Source;

impl SiteCache {
    /// Returns [`ready_response`](Self::ready_response) as HTTP/1.1 bytes; `None` where no such bytes are cached.
    pub(crate) fn prepared(&self, source: &Source, head: RequestHead<'_>, now: Instant) -> Option<PreparedResponse> {
        let entry = self.get(&CacheKeyRef::of(source, head)?)?;
        if !self.is_fresh(&entry, self.freshness_at(source, now)) {
            return None;
        }
        PreparedResponse::of(entry, &source.options, head)
    }

    /// Returns the response if it is cached and fresh. Does not wait, and asks the store only for its generation.
    pub(crate) fn ready_response(&self, source: &Source, head: RequestHead<'_>) -> Option<Response<SiteBody>> {
        let entry = self.get(&CacheKeyRef::of(source, head)?)?;
        if !self.is_fresh(&entry, self.freshness_at(source, Instant::now())) {
            return None;
        }
        entry.response(&source.options, head, CacheState::Hit)
    }

    /// Answers from the cache, reading from the store on a miss; `None` where the request is not cacheable.
    ///
    /// # Errors
    /// The store's error, where there is no stale entry to serve in its place.
    pub(crate) async fn respond(
        &self,
        source: &Arc<Source>,
        head: RequestHead<'_>,
    ) -> Option<Result<Response<SiteBody>, Error>> {
        let key = CacheKeyRef::of(source, head)?.to_key();
        match get_or_revalidate(source, self, &key, head).await {
            Ok((entry, state)) => entry.response(&source.options, head, state).map(Ok),
            Err(error) => Some(Err(error)),
        }
    }
}
