//! The cache of answers in memory.
//!
//! An entry is the answer for a path in an encoding, headers and body, from which conditional requests and ranges are answered,
//! too. It is fresh while the store's [`generation`](isobar_storage::ObjectStore::generation) is the same; where the store has
//! none it is revalidated after a while. A revalidation reads no body if nothing has changed.

use std::convert::Infallible;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::lock::Mutex;
use http::{HeaderMap, Method, Response, StatusCode, Uri};
use isobar_storage::{Error, ErrorKind, HttpMetadata, ObjectMeta};
use quick_cache::sync::Cache;
use quick_cache::{DefaultHashBuilder, Lifecycle, Weighter};

use super::compress::compressed;
use super::key::{CacheKey, cache_key};
use crate::arena::{Arena, KeptBody};
use crate::cache::wire::{Heads, PreparedResponse};
use crate::deploy::ServedDeploy;
use crate::respond::{Plan, finished, host, plan, response, store_error_response, with_header_rules};
use crate::rules::SiteRules;
use crate::serve::{self, InMemory, Representation, serve_missing, write_headers, write_not_modified};
use crate::snapshot::Snapshot;
use crate::timing::{Rule, timed};
use crate::{CacheOptions, CacheState, CacheStats, Purge, Site, SiteBody};

/// Memory of an entry besides its body, key and headers, in bytes: mostly two descriptions of its file.
const OVERHEAD: u64 = 1536;

/// The answers of one site.
pub(crate) struct SiteCache {
    answers: Cache<CacheKey, Arc<CacheEntry>, Weigh, DefaultHashBuilder, DropLater>,
    /// Storage of their bodies; `None` where the system has no files in memory to send from.
    arena: Option<Arena>,
    options: CacheOptions,
    started: Instant,
    /// Number of purges: an answer that was being read during one is read again.
    purges: AtomicU64,
}

#[derive(Clone)]
struct Weigh;

impl Weighter<CacheKey, Arc<CacheEntry>> for Weigh {
    fn weight(&self, key: &CacheKey, entry: &Arc<CacheEntry>) -> u64 {
        // Header values of one rule share their bytes; here each counts in full.
        let headers = |map: &HeaderMap| -> usize {
            map.iter().map(|(name, value)| name.as_str().len() + value.len() + 100).sum()
        };
        let response = match &entry.response {
            CachedResponse::File(file) => {
                let heads = file.heads.whole.len() + file.heads.not_modified.len();
                file.body.weight() + headers(&file.headers) + headers(&file.not_modified) + heads
            }
            CachedResponse::Done { body, headers: own, head, .. } => body.weight() + headers(own) + head.len(),
            CachedResponse::Nothing | CachedResponse::Empty => 0,
        };
        OVERHEAD + (key.path.len() + key.host.len() + response) as u64
    }
}

/// Drops evicted entries after the lock is released, as freeing a body takes a system call.
#[derive(Clone)]
struct DropLater;

impl Lifecycle<CacheKey, Arc<CacheEntry>> for DropLater {
    type RequestState = Vec<Arc<CacheEntry>>;

    fn begin_request(&self) -> Vec<Arc<CacheEntry>> {
        Vec::new()
    }

    fn on_evict(&self, evicted: &mut Vec<Arc<CacheEntry>>, _: CacheKey, entry: Arc<CacheEntry>) {
        evicted.push(entry);
    }
}

/// An answer and the time at which it was last known to be fresh.
pub(crate) struct CacheEntry {
    pub(crate) response: CachedResponse,
    /// The rule that decided the answer.
    rule: Rule,
    /// The deploy at that time, whose rules are applied to the headers.
    deploy: Option<Arc<ServedDeploy>>,
    /// The rules at that time, which are applied where there is no deploy.
    rules: Arc<SiteRules>,
    /// Time of the last validation, in milliseconds since the start of the cache.
    asked_at: AtomicU64,
    /// [`Freshness::stamp`] at that time.
    stamp: AtomicU64,
    /// Held during a revalidation (single flight); time and kind of the last failure.
    failed_at: Mutex<Option<(Instant, ErrorKind)>>,
}

pub(crate) enum CachedResponse {
    /// A file, with the metadata by which conditions and ranges are evaluated.
    File(Box<InMemory>),
    /// A finished answer: a page for a missing file, a redirect.
    Done {
        status: StatusCode,
        body: KeptBody,
        headers: HeaderMap,
        head: Bytes,
        page: Option<Box<(ObjectMeta, HttpMetadata)>>,
    },
    /// The answer of this path is not cached.
    Nothing,
    /// Not read yet.
    Empty,
}

/// The state of the store and the cache at one time, by which entries are fresh or stale.
#[derive(Clone, Copy)]
struct Freshness {
    stamp: u64,
    at: u64,
    /// The store has no generation, so it cannot say whether anything has changed.
    is_blind: bool,
}

impl SiteCache {
    pub(crate) fn new(options: CacheOptions) -> Self {
        let items = usize::try_from(options.bytes / (16 * 1024)).unwrap_or(usize::MAX).clamp(128, 1 << 20);
        let answers = Cache::with(items, options.bytes, Weigh, DefaultHashBuilder::default(), DropLater);
        // A body too large for the cache is streamed and not collected for each request. (Each shard evicts on its own and
        // accepts entries that fit into the share of its hot ones, 97 %. Headers and the overhead of an entry count, too.)
        let largest = (answers.shard_capacity() / 20 * 19).saturating_sub(OVERHEAD + 8192);
        let options = CacheOptions { body_bytes: options.body_bytes.min(largest), ..options };
        Self { answers, arena: Arena::new(), options, started: Instant::now(), purges: AtomicU64::new(0) }
    }

    pub(crate) fn stats(&self) -> CacheStats {
        CacheStats { entries: self.answers.len(), bytes: self.answers.weight() }
    }

    pub(crate) fn purge(&self, purge: Purge<'_>) {
        self.purges.fetch_add(1, Ordering::AcqRel);
        match purge {
            Purge::Path(path) => self.answers.retain(|key, _| *key.path != *path),
            Purge::Prefix(prefix) => self.answers.retain(|key, _| !key.path.starts_with(prefix)),
            Purge::Deploy => {}
        }
    }

    fn freshness(&self, site: &Site) -> Freshness {
        self.freshness_at(site, Instant::now())
    }

    /// Returns the state at a time that the caller has already read from the clock.
    fn freshness_at(&self, site: &Site, now: Instant) -> Freshness {
        let generation = site.store.generation();
        let purges = self.purges.load(Ordering::Acquire);
        let stamp = generation.unwrap_or(0) ^ ((purges + site.rules.version()) << 40);
        let at = now.saturating_duration_since(self.started).as_millis() as u64; // half a billion years fit
        Freshness { stamp, at, is_blind: generation.is_none() }
    }

    fn is_fresh(&self, entry: &CacheEntry, freshness: Freshness) -> bool {
        if entry.stamp.load(Ordering::Acquire) != freshness.stamp {
            return false;
        }
        if freshness.is_blind {
            return self.age(entry, freshness) < self.options.fresh;
        }
        // The age counts from the last validation, to the second.
        if self.age(entry, freshness) > Duration::from_secs(1) {
            entry.asked_at.store(freshness.at, Ordering::Release);
        }
        true
    }

    /// Whether a stale entry may be served while another request revalidates it.
    fn may_be_stale(&self, entry: &CacheEntry, freshness: Freshness) -> bool {
        let is_purged = entry.stamp.load(Ordering::Acquire) != freshness.stamp;
        let limit = self.options.fresh + self.options.stale_while_revalidate;
        freshness.is_blind && !is_purged && self.age(entry, freshness) < limit
    }

    /// Returns the stale entry while the store fails, if there is one that is not too old.
    fn stale_on_error(
        &self,
        entry: &Arc<CacheEntry>,
        freshness: Freshness,
        error: Error,
    ) -> Result<(Arc<CacheEntry>, CacheState), Error> {
        let limit = self.options.fresh + self.options.stale_if_error;
        if matches!(entry.response, CachedResponse::Empty) || self.age(entry, freshness) >= limit {
            return Err(error);
        }
        #[cfg(feature = "tracing")]
        tracing::warn!(%error, "the site's store failed; serving a stale answer");
        Ok((Arc::clone(entry), CacheState::Stale))
    }

    fn age(&self, entry: &CacheEntry, freshness: Freshness) -> Duration {
        Duration::from_millis(freshness.at.saturating_sub(entry.asked_at.load(Ordering::Acquire)))
    }
}

/// Returns [`answer`] as HTTP/1.1 bytes; `None` where no such bytes are cached.
pub(crate) fn ready_head(
    site: &Site,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    now: Instant,
) -> Option<PreparedResponse> {
    let cache = site.cache.as_ref()?;
    let entry = cache.answers.get(&cache_key(site, method, uri, headers)?)?;
    if !cache.is_fresh(&entry, cache.freshness_at(site, now)) {
        return None;
    }
    PreparedResponse::of(entry, site, method, uri, headers)
}

/// Returns the answer if it is cached and fresh. Does not wait, and asks the store only for its generation.
pub(crate) fn answer(site: &Site, method: &Method, uri: &Uri, headers: &HeaderMap) -> Option<Response<SiteBody>> {
    let cache = site.cache.as_ref()?;
    let key = cache_key(site, method, uri, headers)?;
    let entry = cache.answers.get(&key)?;
    if !cache.is_fresh(&entry, cache.freshness(site)) {
        return None;
    }
    entry.answer(site, method, uri, headers, CacheState::Hit)
}

/// Answers from the cache, reading from the store on a miss; `None` where the request is not cacheable.
pub(crate) async fn respond(
    site: &Site,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
) -> Option<Response<SiteBody>> {
    let cache = site.cache.as_ref()?;
    let key = cache_key(site, method, uri, headers)?.to_key();
    match get_or_revalidate(site, cache, &key, uri, headers).await {
        Ok((entry, state)) => entry.answer(site, method, uri, headers, state),
        Err(error) => {
            let answer = store_error_response(&Snapshot::last(site), uri, headers, &error);
            Some(finished(answer, method))
        }
    }
}

/// Returns the entry of a key, reading or revalidating it if necessary. Concurrent requests coalesce into one read.
async fn get_or_revalidate(
    site: &Site,
    cache: &SiteCache,
    key: &CacheKey,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<(Arc<CacheEntry>, CacheState), Error> {
    let begun = Instant::now();
    let never = Freshness { stamp: u64::MAX, at: 0, is_blind: true };
    let empty = || {
        let rules = site.rules.current();
        Ok::<_, Infallible>(Arc::new(CacheEntry::new(CachedResponse::Empty, Rule::Missing, None, rules, never)))
    };
    let Ok(mut entry) = cache.answers.get_or_insert_with(key, empty);
    let freshness = cache.freshness(site);
    if cache.is_fresh(&entry, freshness) {
        return Ok((entry, CacheState::Hit));
    }
    if cache.may_be_stale(&entry, freshness) && entry.failed_at.try_lock().is_none() {
        return Ok((entry, CacheState::Stale));
    }
    let before = Arc::clone(&entry);
    let mut failed_at = before.failed_at.lock().await;
    // Another request may have read it in the meantime.
    entry = cache.answers.get(key).unwrap_or(entry);
    let freshness = cache.freshness(site);
    if cache.is_fresh(&entry, freshness) {
        return Ok((entry, CacheState::Hit));
    }
    if let Some((at, kind)) = *failed_at
        && at > begun
    {
        return cache.stale_on_error(
            &entry,
            freshness,
            Error::new(kind, "the store failed while the request was waiting"),
        );
    }
    let attempt = async || read(site, cache, key, uri, headers, &entry).await;
    let response = match attempt().await {
        // Replaced between its head and its body, for example: the retry sees the new version.
        Err(error) if error.is_retryable() => attempt().await,
        result => result,
    };
    match response {
        Ok(None) => {
            entry.asked_at.store(freshness.at, Ordering::Release);
            entry.stamp.store(freshness.stamp, Ordering::Release);
            Ok((entry, CacheState::Revalidated))
        }
        Ok(Some(Read { response, rule, snapshot })) => {
            let new = Arc::new(CacheEntry::new(response, rule, snapshot.deploy, snapshot.rules, freshness));
            cache.answers.insert(key.clone(), Arc::clone(&new));
            Ok((new, CacheState::Miss))
        }
        Err(error) => {
            *failed_at = Some((Instant::now(), error.kind()));
            cache.stale_on_error(&entry, freshness, error)
        }
    }
}

/// An answer that was read from the store.
struct Read {
    response: CachedResponse,
    rule: Rule,
    snapshot: Snapshot,
}

/// Reads the answer from the store; `None` where the entry is still valid.
async fn read(
    site: &Site,
    cache: &SiteCache,
    key: &CacheKey,
    uri: &Uri,
    headers: &HeaderMap,
    entry: &CacheEntry,
) -> Result<Option<Read>, Error> {
    let snapshot = Snapshot::of(site).await?;
    let loaded = load(&snapshot, cache, key, uri, headers, entry).await?;
    Ok(loaded.map(|(rule, response)| Read { response, rule, snapshot }))
}

async fn load(
    snapshot: &Snapshot,
    cache: &SiteCache,
    key: &CacheKey,
    uri: &Uri,
    headers: &HeaderMap,
    entry: &CacheEntry,
) -> Result<Option<(Rule, CachedResponse)>, Error> {
    let site = &snapshot.site;
    // Rules by host make the key contain the host; this deploy may be the first with such rules.
    if snapshot.header_rules().has_hosts() && *key.host != *host(uri, headers) {
        return Ok(Some((Rule::Missing, CachedResponse::Nothing)));
    }
    let has_same_rules = match (&entry.deploy, &snapshot.deploy) {
        (Some(entry), Some(current)) => entry.is_same_as(current),
        (None, None) => Arc::ptr_eq(&entry.rules, &snapshot.rules),
        _ => false,
    };
    let entry = if has_same_rules { &entry.response } else { &CachedResponse::Empty };
    let with_rules = |mut answered: HeaderMap| {
        snapshot.apply_rules(uri, headers, &mut answered);
        answered
    };
    // The redirect is computed without the query; requests with one bypass the cache.
    let (rule, plan) = plan(snapshot, &Method::GET, uri.path(), None, headers).await?;
    let representation = match plan {
        Plan::Done(answer) => {
            let (parts, body) = answer.into_parts();
            let body = KeptBody::new(body.read().await?, cache.arena.as_ref());
            return Ok(Some((rule, done(parts.status, with_rules(parts.headers), body, None))));
        }
        Plan::Listing(_) => return Ok(Some((rule, CachedResponse::Nothing))),
        Plan::File(representation) => representation,
        Plan::NotFoundPage(page) => {
            let meta = Box::new((page.meta.clone(), page.http.clone()));
            if matches!(entry, CachedResponse::Done { page: Some(entry), .. } if *entry == meta) {
                return Ok(None);
            }
            if page.meta.size > cache.options.body_bytes {
                return Ok(Some((rule, CachedResponse::Nothing)));
            }
            let (parts, body) = serve_missing(site, headers, page).await?.into_parts();
            let body = KeptBody::new(body.read().await?, cache.arena.as_ref());
            return Ok(Some((rule, done(parts.status, with_rules(parts.headers), body, Some(meta)))));
        }
    };
    let same =
        |entry: &Representation| (entry.is_fallback, &entry.http) == (representation.is_fallback, &representation.http);
    if matches!(entry, CachedResponse::File(file) if file.stored == representation.meta && same(&file.representation)) {
        return Ok(None);
    }
    if representation.meta.size > cache.options.body_bytes {
        return Ok(Some((rule, CachedResponse::Nothing)));
    }
    let body = serve::body(site, &representation, None).await?.read().await?;
    let stored = representation.meta.clone();
    let (representation, body) = match compressed(site, &cache.options, headers, &representation, &body) {
        Some(compressed) => compressed,
        None => (representation, body),
    };
    let mut whole = HeaderMap::new();
    let mut not_modified = HeaderMap::new();
    write_headers(site, headers, &representation, &mut whole);
    write_not_modified(site, headers, &representation, &mut not_modified);
    let headers = with_rules(whole);
    let not_modified = with_rules(not_modified);
    let heads = Heads {
        whole: crate::cache::wire::head(StatusCode::OK, &headers, Some(body.len())),
        not_modified: crate::cache::wire::head(StatusCode::NOT_MODIFIED, &not_modified, None),
    };
    let body = KeptBody::new(body, cache.arena.as_ref());
    let sha256 = OnceLock::new();
    Ok(Some((
        rule,
        CachedResponse::File(Box::new(InMemory { representation, stored, body, headers, not_modified, heads, sha256 })),
    )))
}

fn done(
    status: StatusCode,
    headers: HeaderMap,
    body: KeptBody,
    page: Option<Box<(ObjectMeta, HttpMetadata)>>,
) -> CachedResponse {
    let head = crate::cache::wire::head(status, &headers, Some(body.len()));
    CachedResponse::Done { status, body, headers, head, page }
}

impl CacheEntry {
    fn new(
        response: CachedResponse,
        rule: Rule,
        deploy: Option<Arc<ServedDeploy>>,
        rules: Arc<SiteRules>,
        freshness: Freshness,
    ) -> Self {
        let asked_at = AtomicU64::new(freshness.at);
        let stamp = AtomicU64::new(freshness.stamp);
        Self { response, rule, deploy, rules, asked_at, stamp, failed_at: Mutex::new(None) }
    }

    /// Builds the answer to a request; `None` where the entry has none for it.
    fn answer(
        &self,
        site: &Site,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        state: CacheState,
    ) -> Option<Response<SiteBody>> {
        let mut answer = match &self.response {
            CachedResponse::Nothing | CachedResponse::Empty => return None,
            CachedResponse::Done { status, .. } if status.is_redirection() && uri.query().is_some() => return None,
            CachedResponse::Done { status, body, headers, .. } => response(*status, headers.clone(), body.clone()),
            CachedResponse::File(file) => file.serve(method, headers),
        };
        // Headers of refusals are not prepared.
        if matches!(answer.status(), StatusCode::PRECONDITION_FAILED | StatusCode::RANGE_NOT_SATISFIABLE) {
            let snapshot = Snapshot { site: site.clone(), deploy: self.deploy.clone(), rules: Arc::clone(&self.rules) };
            answer = with_header_rules(&snapshot, uri, headers, answer);
        }
        answer = timed(site, answer, self.rule, Some(state.name()));
        answer.extensions_mut().insert(state);
        Some(finished(answer, method))
    }
}

impl fmt::Debug for CacheEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheEntry").field("rule", &self.rule).finish_non_exhaustive()
    }
}

impl fmt::Debug for SiteCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SiteCache({} answers, {} bytes)", self.answers.len(), self.answers.weight())
    }
}

#[cfg(test)]
mod tests {
    use http::header;

    use super::*;

    #[test]
    fn largest_collected_body_fits_into_the_cache() {
        for bytes in [1 << 20, 5_000_000, 64 << 20] {
            let options = CacheOptions::default().with_bytes(bytes).with_body_bytes(u64::MAX);
            let cache = SiteCache::new(options);
            let length = usize::try_from(cache.options.body_bytes).unwrap();
            assert!(length > 8192, "{bytes} are enough for more than {length}");
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, "text/html".parse().unwrap())]);
            let body = KeptBody::new(vec![1; length].into(), cache.arena.as_ref());
            let freshness = Freshness { stamp: 0, at: 0, is_blind: false };
            let response = done(StatusCode::OK, headers, body, None);
            let entry = CacheEntry::new(response, Rule::Missing, None, Arc::default(), freshness);
            let key = CacheKey { path: "/large".into(), host: "".into(), vary: 0 };
            cache.answers.insert(key.clone(), Arc::new(entry));
            assert!(cache.answers.get(&key).is_some(), "{length} bytes do not fit into {bytes}");
        }
    }
}
