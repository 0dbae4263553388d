//! The cache of answers in memory.
//!
//! An entry is the answer for a path in an encoding, headers and body, from which conditional requests and ranges are answered,
//! too. It is fresh while the store's [`generation`](isobar_storage::ObjectStore::generation) is the same; where the store has
//! none it is revalidated after a while. A revalidation reads no body if nothing has changed.

use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::io::Write;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::lock::Mutex;
use http::{HeaderMap, Method, Response, StatusCode, Uri, header};
use isobar_storage::{Error, ErrorKind, HttpMetadata, ObjectMeta};
use quick_cache::sync::Cache;
use quick_cache::{DefaultHashBuilder, Equivalent, Lifecycle, Weighter};

use crate::arena::{Arena, KeptBody};
use crate::deploy::ServedDeploy;
use crate::encoding::Encoding;
use crate::find::destination;
use crate::ready::{self, Heads, Ready};
use crate::respond::{Plan, failed, finished, host, plan, response, ruled};
use crate::serve::{self, Found, InMemory, serve_missing, write_headers, write_not_modified};
use crate::timing::{Rule, timed};
use crate::view::View;
use crate::{CacheOptions, CacheState, NotFoundHandling, Purge, Site, SiteBody, encoding};

/// Sizes of files that are compressed, in bytes. Smaller ones gain little, larger ones hold up the requests that wait.
const COMPRESSED: RangeInclusive<usize> = 1024..=1024 * 1024;

/// Memory of an entry besides its body, key and headers, in bytes: mostly two descriptions of its file.
const OVERHEAD: u64 = 1536;

/// The answers of one site.
pub(crate) struct SiteCache {
    answers: Cache<Name, Arc<Kept>, Weigh, DefaultHashBuilder, DropLater>,
    /// Storage of their bodies; `None` where the system has no files in memory to send from.
    arena: Option<Arena>,
    options: CacheOptions,
    started: Instant,
    /// Number of purges: an answer that was being read during one is read again.
    purges: AtomicU64,
}

/// The key of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Name {
    path: Box<str>,
    host: Box<str>,
    /// The encodings that the client accepts, in its order, and whether a browser wants a page.
    wishes: u8,
}

/// A borrowed [`Name`], taken from a request.
#[derive(PartialEq, Eq)]
struct Asked<'r> {
    path: &'r str,
    host: Cow<'r, str>,
    wishes: u8,
}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&*self.path, &*self.host, self.wishes).hash(state);
    }
}

impl Hash for Asked<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.path, &*self.host, self.wishes).hash(state);
    }
}

impl Equivalent<Name> for Asked<'_> {
    fn equivalent(&self, name: &Name) -> bool {
        self.wishes == name.wishes && *self.path == *name.path && *self.host == *name.host
    }
}

impl Asked<'_> {
    fn to_name(&self) -> Name {
        Name { path: self.path.into(), host: (*self.host).into(), wishes: self.wishes }
    }
}

#[derive(Clone)]
struct Weigh;

impl Weighter<Name, Arc<Kept>> for Weigh {
    fn weight(&self, name: &Name, kept: &Arc<Kept>) -> u64 {
        // Header values of one rule share their bytes; here each counts in full.
        let headers = |map: &HeaderMap| -> usize {
            map.iter().map(|(name, value)| name.as_str().len() + value.len() + 100).sum()
        };
        let kept = match &kept.what {
            What::File(file) => {
                let heads = file.heads.whole.len() + file.heads.not_modified.len();
                file.body.weight() + headers(&file.headers) + headers(&file.not_modified) + heads
            }
            What::Done { body, headers: own, head, .. } => body.weight() + headers(own) + head.len(),
            What::Nothing | What::Empty => 0,
        };
        OVERHEAD + (name.path.len() + name.host.len() + kept) as u64
    }
}

/// Drops evicted entries after the lock is released, as freeing a body takes a system call.
#[derive(Clone)]
struct DropLater;

impl Lifecycle<Name, Arc<Kept>> for DropLater {
    type RequestState = Vec<Arc<Kept>>;

    fn begin_request(&self) -> Vec<Arc<Kept>> {
        Vec::new()
    }

    fn on_evict(&self, evicted: &mut Vec<Arc<Kept>>, _: Name, kept: Arc<Kept>) {
        evicted.push(kept);
    }
}

/// An answer and the time at which it was last known to be fresh.
pub(crate) struct Kept {
    pub(crate) what: What,
    /// The rule that decided the answer.
    rule: Rule,
    /// The deploy at that time, whose rules are applied to the headers.
    deploy: Option<Arc<ServedDeploy>>,
    /// Time of the last validation, in milliseconds since the start of the cache.
    asked_at: AtomicU64,
    /// [`Moment::stamp`] at that time.
    stamp: AtomicU64,
    /// Held during a revalidation (single flight); time and kind of the last failure.
    failed_at: Mutex<Option<(Instant, ErrorKind)>>,
}

pub(crate) enum What {
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
struct Moment {
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
        let kept = (answers.shard_capacity() / 20 * 19).saturating_sub(OVERHEAD + 8192);
        let options = CacheOptions { body_bytes: options.body_bytes.min(kept), ..options };
        Self { answers, arena: Arena::new(), options, started: Instant::now(), purges: AtomicU64::new(0) }
    }

    pub(crate) fn kept(&self) -> (usize, u64) {
        (self.answers.len(), self.answers.weight())
    }

    pub(crate) fn purge(&self, what: Purge<'_>) {
        self.purges.fetch_add(1, Ordering::AcqRel);
        match what {
            Purge::Path(path) => self.answers.retain(|name, _| *name.path != *path),
            Purge::Prefix(prefix) => self.answers.retain(|name, _| !name.path.starts_with(prefix)),
            Purge::Deploy => {}
        }
    }

    fn moment(&self, site: &Site) -> Moment {
        self.moment_at(site, Instant::now())
    }

    /// Returns the state at a time that the caller has already read from the clock.
    fn moment_at(&self, site: &Site, now: Instant) -> Moment {
        let generation = site.store.generation();
        let purges = self.purges.load(Ordering::Acquire);
        let stamp = generation.unwrap_or(0) ^ (purges << 40);
        let at = now.saturating_duration_since(self.started).as_millis() as u64; // half a billion years fit
        Moment { stamp, at, is_blind: generation.is_none() }
    }

    fn is_good(&self, kept: &Kept, moment: Moment) -> bool {
        if kept.stamp.load(Ordering::Acquire) != moment.stamp {
            return false;
        }
        if moment.is_blind {
            return self.age(kept, moment) < self.options.fresh;
        }
        // The age counts from the last validation, to the second.
        if self.age(kept, moment) > Duration::from_secs(1) {
            kept.asked_at.store(moment.at, Ordering::Release);
        }
        true
    }

    /// Whether a stale entry may be served while another request revalidates it.
    fn may_be_old(&self, kept: &Kept, moment: Moment) -> bool {
        let is_purged = kept.stamp.load(Ordering::Acquire) != moment.stamp;
        let patience = self.options.fresh + self.options.stale_while_revalidate;
        moment.is_blind && !is_purged && self.age(kept, moment) < patience
    }

    /// Returns the stale entry while the store fails, if there is one that is not too old.
    fn old(&self, kept: &Arc<Kept>, moment: Moment, error: Error) -> Result<(Arc<Kept>, CacheState), Error> {
        let patience = self.options.fresh + self.options.stale_if_error;
        if matches!(kept.what, What::Empty) || self.age(kept, moment) >= patience {
            return Err(error);
        }
        #[cfg(feature = "tracing")]
        tracing::warn!(%error, "the site's store failed; serving a stale answer");
        Ok((Arc::clone(kept), CacheState::Stale))
    }

    fn age(&self, kept: &Kept, moment: Moment) -> Duration {
        Duration::from_millis(moment.at.saturating_sub(kept.asked_at.load(Ordering::Acquire)))
    }
}

/// Returns [`answer`] as HTTP/1.1 bytes; `None` where no such bytes are cached.
pub(crate) fn ready_head(site: &Site, method: &Method, uri: &Uri, headers: &HeaderMap, now: Instant) -> Option<Ready> {
    let cache = site.cache.as_ref()?;
    let kept = cache.answers.get(&asked(site, method, uri, headers)?)?;
    if !cache.is_good(&kept, cache.moment_at(site, now)) {
        return None;
    }
    Ready::of(kept, site, method, uri, headers)
}

/// Returns the answer if it is cached and fresh. Does not wait, and asks the store only for its generation.
pub(crate) fn answer(site: &Site, method: &Method, uri: &Uri, headers: &HeaderMap) -> Option<Response<SiteBody>> {
    let cache = site.cache.as_ref()?;
    let asked = asked(site, method, uri, headers)?;
    let kept = cache.answers.get(&asked)?;
    if !cache.is_good(&kept, cache.moment(site)) {
        return None;
    }
    kept.answer(site, method, uri, headers, CacheState::Hit)
}

/// Answers from the cache, reading from the store on a miss; `None` where the request is not cacheable.
pub(crate) async fn respond(
    site: &Site,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
) -> Option<Response<SiteBody>> {
    let cache = site.cache.as_ref()?;
    let name = asked(site, method, uri, headers)?.to_name();
    match settled(site, cache, &name, uri, headers).await {
        Ok((kept, state)) => kept.answer(site, method, uri, headers, state),
        Err(error) => {
            let answer = failed(&View::last(site), uri, headers, &error);
            Some(finished(answer, method))
        }
    }
}

/// Returns the entry of a key, reading or revalidating it if necessary. Concurrent requests coalesce into one read.
async fn settled(
    site: &Site,
    cache: &SiteCache,
    name: &Name,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<(Arc<Kept>, CacheState), Error> {
    let begun = Instant::now();
    let never = Moment { stamp: u64::MAX, at: 0, is_blind: true };
    let empty = || Ok::<_, Infallible>(Arc::new(Kept::new(What::Empty, Rule::Missing, None, never)));
    let Ok(mut kept) = cache.answers.get_or_insert_with(name, empty);
    let moment = cache.moment(site);
    if cache.is_good(&kept, moment) {
        return Ok((kept, CacheState::Hit));
    }
    if cache.may_be_old(&kept, moment) && kept.failed_at.try_lock().is_none() {
        return Ok((kept, CacheState::Stale));
    }
    let before = Arc::clone(&kept);
    let mut failed_at = before.failed_at.lock().await;
    // Another request may have read it in the meantime.
    kept = cache.answers.get(name).unwrap_or(kept);
    let moment = cache.moment(site);
    if cache.is_good(&kept, moment) {
        return Ok((kept, CacheState::Hit));
    }
    if let Some((at, kind)) = *failed_at
        && at > begun
    {
        return cache.old(&kept, moment, Error::new(kind, "the store failed while the request was waiting"));
    }
    let look = async || read(site, cache, name, uri, headers, &kept).await;
    let what = match look().await {
        // Replaced between its head and its body, for example: the retry sees the new version.
        Err(error) if error.is_retryable() => look().await,
        looked => looked,
    };
    match what {
        Ok(None) => {
            kept.asked_at.store(moment.at, Ordering::Release);
            kept.stamp.store(moment.stamp, Ordering::Release);
            Ok((kept, CacheState::Revalidated))
        }
        Ok(Some(Read { what, rule, view })) => {
            let new = Arc::new(Kept::new(what, rule, view.deploy, moment));
            cache.answers.insert(name.clone(), Arc::clone(&new));
            Ok((new, CacheState::Miss))
        }
        Err(error) => {
            *failed_at = Some((Instant::now(), error.kind()));
            cache.old(&kept, moment, error)
        }
    }
}

/// Returns the key of a request; `None` where it is not cacheable.
fn asked<'r>(site: &Site, method: &Method, uri: &'r Uri, headers: &'r HeaderMap) -> Option<Asked<'r>> {
    // Answers that a shared cache must not store have other headers.
    if (method != Method::GET && method != Method::HEAD) || headers.contains_key(header::AUTHORIZATION) {
        return None;
    }
    let options = &site.options;
    let host = if site.goes_by_host() { host(uri, headers) } else { "".into() };
    let mut wishes = if options.precompressed { encoding::wishes(headers) } else { 0 };
    if options.not_found_handling == NotFoundHandling::SinglePageApplication {
        wishes |= destination(headers).map_or(0, |is_page| if is_page { 0x40 } else { 0x80 });
    }
    Some(Asked { path: uri.path(), host, wishes })
}

/// An answer that was read from the store.
struct Read {
    what: What,
    rule: Rule,
    view: View,
}

/// Reads the answer from the store; `None` where the entry is still valid.
async fn read(
    site: &Site,
    cache: &SiteCache,
    name: &Name,
    uri: &Uri,
    headers: &HeaderMap,
    kept: &Kept,
) -> Result<Option<Read>, Error> {
    let view = View::of(site).await?;
    let found = look(&view, cache, name, uri, headers, kept).await?;
    Ok(found.map(|(rule, what)| Read { what, rule, view }))
}

async fn look(
    view: &View,
    cache: &SiteCache,
    name: &Name,
    uri: &Uri,
    headers: &HeaderMap,
    kept: &Kept,
) -> Result<Option<(Rule, What)>, Error> {
    let site = &view.site;
    // Rules by host make the key contain the host; this deploy may be the first with such rules.
    if view.header_rules().has_hosts() && *name.host != *host(uri, headers) {
        return Ok(Some((Rule::Missing, What::Nothing)));
    }
    let is_same_deploy = match (&kept.deploy, &view.deploy) {
        (Some(kept), Some(current)) => kept.is_same_as(current),
        (None, None) => true,
        _ => false,
    };
    let kept = if is_same_deploy { &kept.what } else { &What::Empty };
    let ruled = |mut answered: HeaderMap| {
        view.apply_rules(uri, headers, &mut answered);
        answered
    };
    // The redirect is computed without the query; requests with one bypass the cache.
    let (rule, plan) = plan(view, &Method::GET, uri.path(), None, headers).await?;
    let found = match plan {
        Plan::Done(answer) => {
            let (parts, body) = answer.into_parts();
            let body = KeptBody::new(body.read().await?, cache.arena.as_ref());
            return Ok(Some((rule, done(parts.status, ruled(parts.headers), body, None))));
        }
        Plan::Listing(_) => return Ok(Some((rule, What::Nothing))),
        Plan::File(found) => found,
        Plan::NotFoundPage(page) => {
            let meta = Box::new((page.meta.clone(), page.http.clone()));
            if matches!(kept, What::Done { page: Some(kept), .. } if *kept == meta) {
                return Ok(None);
            }
            if page.meta.size > cache.options.body_bytes {
                return Ok(Some((rule, What::Nothing)));
            }
            let (parts, body) = serve_missing(site, headers, page).await?.into_parts();
            let body = KeptBody::new(body.read().await?, cache.arena.as_ref());
            return Ok(Some((rule, done(parts.status, ruled(parts.headers), body, Some(meta)))));
        }
    };
    let same = |kept: &Found| (kept.is_fallback, &kept.http) == (found.is_fallback, &found.http);
    if matches!(kept, What::File(file) if file.stored == found.meta && same(&file.found)) {
        return Ok(None);
    }
    if found.meta.size > cache.options.body_bytes {
        return Ok(Some((rule, What::Nothing)));
    }
    let body = serve::body(site, &found, None).await?.read().await?;
    let stored = found.meta.clone();
    let (found, body) = match compressed(site, cache, headers, &found, &body) {
        Some(compressed) => compressed,
        None => (found, body),
    };
    let mut whole = HeaderMap::new();
    let mut not_modified = HeaderMap::new();
    write_headers(site, headers, &found, &mut whole);
    write_not_modified(site, headers, &found, &mut not_modified);
    let headers = ruled(whole);
    let not_modified = ruled(not_modified);
    let heads = Heads {
        whole: ready::head(StatusCode::OK, &headers, Some(body.len())),
        not_modified: ready::head(StatusCode::NOT_MODIFIED, &not_modified, None),
    };
    let body = KeptBody::new(body, cache.arena.as_ref());
    let sha256 = OnceLock::new();
    Ok(Some((rule, What::File(Box::new(InMemory { found, stored, body, headers, not_modified, heads, sha256 })))))
}

fn done(status: StatusCode, headers: HeaderMap, body: KeptBody, page: Option<Box<(ObjectMeta, HttpMetadata)>>) -> What {
    let head = ready::head(status, &headers, Some(body.len()));
    What::Done { status, body, headers, head, page }
}

/// Compresses a file in the coding that the client prefers, if it has no variant and shrinks enough. The result is a different
/// representation with its own ETag. Compressing 1 MiB blocks the thread for about 20 ms, once.
fn compressed(
    site: &Site,
    cache: &SiteCache,
    request: &HeaderMap,
    found: &Found,
    body: &Bytes,
) -> Option<(Found, Bytes)> {
    let is_worth_it = cache.options.compress && found.varies && found.encoding.is_none();
    if !is_worth_it || !site.options.precompressed || !COMPRESSED.contains(&body.len()) {
        return None;
    }
    let encoding = encoding::favourite(request)?;
    let encoded = compress(encoding, body).ok()?;
    if encoded.len() > body.len() / 10 * 9 {
        return None;
    }
    let mut found = Found { encoding: Some(encoding), ..found.clone() };
    found.meta.size = encoded.len() as u64;
    found.meta.checksums.clear();
    found.meta.etag.push('-');
    found.meta.etag.push_str(encoding.token());
    Some((found, encoded.into()))
}

/// Compresses at levels that take about the same time and beyond which little is gained.
fn compress(encoding: Encoding, body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoded = Vec::with_capacity(body.len() / 3);
    match encoding {
        Encoding::Brotli => {
            let mut encoder = brotli::CompressorWriter::new(&mut encoded, 32 * 1024, 5, 20);
            encoder.write_all(body)?;
        }
        Encoding::Zstd => encoded = zstd::bulk::compress(body, 7)?,
        Encoding::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(&mut encoded, flate2::Compression::new(6));
            encoder.write_all(body)?;
            encoder.finish()?;
        }
    }
    Ok(encoded)
}

impl Kept {
    fn new(what: What, rule: Rule, deploy: Option<Arc<ServedDeploy>>, moment: Moment) -> Self {
        let asked_at = AtomicU64::new(moment.at);
        let stamp = AtomicU64::new(moment.stamp);
        Self { what, rule, deploy, asked_at, stamp, failed_at: Mutex::new(None) }
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
        let mut answer = match &self.what {
            What::Nothing | What::Empty => return None,
            What::Done { status, .. } if status.is_redirection() && uri.query().is_some() => return None,
            What::Done { status, body, headers, .. } => response(*status, headers.clone(), body.clone()),
            What::File(file) => file.serve(method, headers),
        };
        // Headers of refusals are not prepared.
        if matches!(answer.status(), StatusCode::PRECONDITION_FAILED | StatusCode::RANGE_NOT_SATISFIABLE) {
            let view = View { site: site.clone(), deploy: self.deploy.clone() };
            answer = ruled(&view, uri, headers, answer);
        }
        answer = timed(site, answer, self.rule, Some(state.name()));
        answer.extensions_mut().insert(state);
        Some(finished(answer, method))
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("rule", &self.rule).finish_non_exhaustive()
    }
}

impl fmt::Debug for SiteCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SiteCache({} answers, {} bytes)", self.answers.len(), self.answers.weight())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_body_that_is_gathered_is_kept() {
        for bytes in [1 << 20, 5_000_000, 64 << 20] {
            let options = CacheOptions::default().with_bytes(bytes).with_body_bytes(u64::MAX);
            let cache = SiteCache::new(options);
            let length = usize::try_from(cache.options.body_bytes).unwrap();
            assert!(length > 8192, "{bytes} are enough for more than {length}");
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, "text/html".parse().unwrap())]);
            let body = KeptBody::new(vec![1; length].into(), cache.arena.as_ref());
            let moment = Moment { stamp: 0, at: 0, is_blind: false };
            let kept = Kept::new(done(StatusCode::OK, headers, body, None), Rule::Missing, None, moment);
            let name = Name { path: "/large".into(), host: "".into(), wishes: 0 };
            cache.answers.insert(name.clone(), Arc::new(kept));
            assert!(cache.answers.get(&name).is_some(), "{length} bytes do not fit into {bytes}");
        }
    }
}
