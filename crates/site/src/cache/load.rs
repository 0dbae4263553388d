//! Reading and revalidating entries of the cache.
//!
//! One function serves every cached request, in this order:
//!
//! 1. The entry is fresh: served (`Hit`).
//! 2. It may be served stale, and another request is revalidating it already: served (`Stale`).
//! 3. The request takes the entry's lock, so that one request at a time reads. Those that waited take what it has read; if its
//!    read failed while they waited, they get the same error, and do not ask the failing store again.
//! 4. The path is resolved anew. If it leads to the same version by the same rules, the entry is validated and kept
//!    (`Revalidated`); else the response is read whole, compressed where that is worth it, and inserted (`Miss`).
//! 5. The store fails: a stale entry within its time is served, else the error.
//!
//! The first reading of a response is also under its lock, by an empty entry, so that a burst of requests for a new path is one
//! read. A response that cannot be cached (a listing, a large body, one that the rules of a new deploy make depend on the host)
//! is remembered as such.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode};
use isobar_storage::{Error, HttpMetadata, ObjectMeta};

use super::compress::compressed;
use super::entry::{CacheEntry, CachedFile, CachedResponse, Freshness, LastFailure};
use super::head::{self, Heads};
use super::key::CacheKey;
use super::store::SiteCache;
use crate::arena::KeptBody;
use crate::body::SiteBody;
use crate::cache_options::CacheState;
use crate::representation::Representation;
use crate::request::{RequestHead, RequestTarget};
use crate::resolve::{Resolution, resolve};
use crate::serve::{Content, ReadBytes, Stored, serve_not_found};
use crate::snapshot::Snapshot;
use crate::source::Source;
use crate::timing::Rule;

/// Returns the entry of a key, reading or revalidating it if necessary. Concurrent requests coalesce into one read.
///
/// # Errors
/// The store's error, where there is no stale entry to serve in its place. Requests that waited for a read that failed get an
/// error of the same kind.
pub(super) async fn get_or_revalidate(
    source: &Arc<Source>,
    cache: &SiteCache,
    key: &CacheKey,
    head: RequestHead<'_>,
) -> Result<(Arc<CacheEntry>, CacheState), Error> {
    let begun = Instant::now();
    let freshness = || cache.freshness_at(source, Instant::now());
    let empty = || CacheEntry::new(CachedResponse::Empty, Rule::Missing, Snapshot::of_keys(source), Freshness::NEVER);
    let before = cache.get_or_insert(key, empty);
    let now = freshness();
    if cache.is_fresh(&before, now) {
        return Ok((before, CacheState::Hit));
    }
    if cache.may_be_stale(&before, now) && before.last_failure.try_lock().is_none() {
        return Ok((before, CacheState::Stale));
    }
    let mut last_failure = before.last_failure.lock().await;
    // Another request may have read it in the meantime.
    let entry = cache.get(key).unwrap_or_else(|| Arc::clone(&before));
    let now = freshness();
    if cache.is_fresh(&entry, now) {
        return Ok((entry, CacheState::Hit));
    }
    if let Some(failure) = *last_failure
        && failure.at > begun
    {
        let error = Error::new(failure.kind, "the store failed while the request was waiting");
        return cache.stale_on_error(&entry, now, error);
    }
    let attempt = match read(source, cache, key, head, &entry).await {
        // Replaced between its head and its body, for example: the retry sees the new version.
        Err(error) if error.is_retryable() => read(source, cache, key, head, &entry).await,
        attempt => attempt,
    };
    match attempt {
        Ok(None) => {
            entry.validate(now);
            Ok((entry, CacheState::Revalidated))
        }
        Ok(Some(Read { response, rule, snapshot })) => {
            let new = Arc::new(CacheEntry::new(response, rule, snapshot, now));
            cache.insert(key, Arc::clone(&new));
            Ok((new, CacheState::Miss))
        }
        Err(error) => {
            *last_failure = Some(LastFailure { at: Instant::now(), kind: error.kind() });
            cache.stale_on_error(&entry, now, error)
        }
    }
}

/// A response that was read from the store.
struct Read {
    response: CachedResponse,
    rule: Rule,
    snapshot: Snapshot,
}

/// Reads the response from the store; `None` where the entry is still valid.
async fn read(
    source: &Arc<Source>,
    cache: &SiteCache,
    key: &CacheKey,
    head: RequestHead<'_>,
    entry: &CacheEntry,
) -> Result<Option<Read>, Error> {
    let snapshot = Snapshot::current(source).await?;
    // The entry serves GET and HEAD, and every query: redirects that keep one bypass the cache.
    let method = Method::GET;
    let head = RequestHead { method: &method, ..head };
    let target = RequestTarget::without_query(head);
    // Rules by host make the key contain the host; this deploy may be the first with such rules.
    if snapshot.header_rules().has_hosts() && *key.host != *target.host {
        return Ok(Some(Read { response: CachedResponse::Nothing, rule: Rule::Missing, snapshot }));
    }
    let (rule, resolution) = resolve(&snapshot, head, &target).await?;
    let before = if entry.snapshot.has_rules_of(&snapshot) { &entry.response } else { &CachedResponse::Empty };
    let loading = Loading { snapshot: &snapshot, cache, head, target: &target };
    let response = match resolution {
        Resolution::Done(response) => Some(loading.finished(response, None).await?),
        Resolution::Listing(_) => Some(CachedResponse::Nothing),
        Resolution::File(file) => loading.file(file, before).await?,
        Resolution::NotFoundPage(page) => loading.not_found_page(page, before).await?,
    };
    Ok(response.map(|response| Read { response, rule, snapshot }))
}

/// A resolved request whose response is being read.
struct Loading<'l> {
    snapshot: &'l Snapshot,
    cache: &'l SiteCache,
    head: RequestHead<'l>,
    target: &'l RequestTarget<'l>,
}

impl Loading<'_> {
    /// Reads a file; `None` where `before` is that file.
    async fn file(
        &self,
        representation: Representation,
        before: &CachedResponse,
    ) -> Result<Option<CachedResponse>, Error> {
        let is_same = |file: &CachedFile| {
            file.stored == representation.meta
                && file.representation.is_fallback == representation.is_fallback
                && file.representation.http == representation.http
        };
        if matches!(before, CachedResponse::File(file) if is_same(file)) {
            return Ok(None);
        }
        if representation.meta.size > self.cache.options.max_object_bytes {
            return Ok(Some(CachedResponse::Nothing));
        }
        let stored = Stored::new(&self.snapshot.source, self.head, representation);
        let body = stored.bytes().read(None).await?.read().await?;
        Ok(Some(CachedResponse::File(Box::new(self.cached(stored.into_representation(), body)))))
    }

    /// Compresses a file where that is worth it, and prepares its headers.
    fn cached(&self, representation: Representation, body: Bytes) -> CachedFile {
        let options = &self.snapshot.source.options;
        let stored = representation.meta.clone();
        let smaller = compressed(options, &self.cache.options, self.head.headers, &representation, &body);
        let (representation, body) = smaller.unwrap_or((representation, body));
        let has_credentials = self.head.has_credentials();
        let headers = self.with_rules(representation.headers(options, has_credentials));
        let not_modified = self.with_rules(representation.not_modified_headers(options, has_credentials));
        let heads = Heads {
            whole: head::formatted(StatusCode::OK, &headers, Some(body.len())),
            not_modified: head::formatted(StatusCode::NOT_MODIFIED, &not_modified, None),
        };
        let body = KeptBody::new(body, self.cache.arena.as_ref());
        CachedFile { representation, stored, body, headers, not_modified, heads, sha256: OnceLock::new() }
    }

    /// Reads the page for a missing file; `None` where `before` is that page.
    async fn not_found_page(
        &self,
        page: Representation,
        before: &CachedResponse,
    ) -> Result<Option<CachedResponse>, Error> {
        let meta = Box::new((page.meta.clone(), page.http.clone()));
        if matches!(before, CachedResponse::Done { page: Some(before), .. } if *before == meta) {
            return Ok(None);
        }
        if page.meta.size > self.cache.options.max_object_bytes {
            return Ok(Some(CachedResponse::Nothing));
        }
        let stored = Stored::new(&self.snapshot.source, self.head, page);
        let response = serve_not_found(&stored).await?;
        self.finished(response, Some(meta)).await.map(Some)
    }

    /// Reads the body of a finished response and applies the rules to its headers.
    async fn finished(
        &self,
        response: Response<SiteBody>,
        page: Option<Box<(ObjectMeta, HttpMetadata)>>,
    ) -> Result<CachedResponse, Error> {
        let (parts, body) = response.into_parts();
        let body = KeptBody::new(body.read().await?, self.cache.arena.as_ref());
        Ok(done(parts.status, self.with_rules(parts.headers), body, page))
    }

    /// Applies the `_headers` rules, once for all responses from the entry.
    fn with_rules(&self, mut headers: HeaderMap) -> HeaderMap {
        self.snapshot.apply_rules(self.target, &mut headers);
        headers
    }
}

/// Returns a finished response with its head.
pub(super) fn done(
    status: StatusCode,
    headers: HeaderMap,
    body: KeptBody,
    page: Option<Box<(ObjectMeta, HttpMetadata)>>,
) -> CachedResponse {
    let head = head::formatted(status, &headers, Some(body.len()));
    CachedResponse::Done { status, body, headers, head, page }
}
