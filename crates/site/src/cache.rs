//! Answers that are kept in memory, ready to be sent.
//!
//! What is kept is the answer of a path in an encoding: headers and body, by which conditional requests and ranges are
//! answered, too. It is good as long as the store's [`generation`](isobar_storage::ObjectStore::generation) is the same; a store
//! that has none is asked again after a while. Asking again reads no body where nothing has changed.

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

/// How long a file is that is worth compressing, in bytes, and not too much work for a request that others wait for.
const COMPRESSED: RangeInclusive<usize> = 1024..=1024 * 1024;

/// What an answer takes besides its body, its name and its headers, in bytes: two descriptions of its file, mostly.
const OVERHEAD: u64 = 1536;

/// The answers of one site.
pub(crate) struct SiteCache {
    answers: Cache<Name, Arc<Kept>, Weigh, DefaultHashBuilder, DropLater>,
    /// Where their bodies lie; `None` where the system has no such place.
    arena: Option<Arena>,
    options: CacheOptions,
    started: Instant,
    /// Counts purges: what was begun before one is asked for again.
    purges: AtomicU64,
}

/// What an answer is kept under.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Name {
    path: Box<str>,
    host: Box<str>,
    /// The encodings that the client takes, in its order; and what a browser says that it is after.
    wishes: u8,
}

/// The same, as it stands in a request.
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
        // Values share their bytes where they come from the same rule; as if they did not.
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

/// Gives up what is evicted when nobody waits for it any more: the memory of a body goes back by a call of the system.
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

/// An answer, and when it was known to be good.
pub(crate) struct Kept {
    pub(crate) what: What,
    /// By which it was found.
    rule: Rule,
    /// What was deployed then: its rules are in the headers.
    deploy: Option<Arc<ServedDeploy>>,
    /// When the store was last asked, in milliseconds since the start; and what it was like then.
    asked_at: AtomicU64,
    stamp: AtomicU64,
    /// Held by the one who asks for it again; when that last failed, and how.
    failed_at: Mutex<Option<(Instant, ErrorKind)>>,
}

pub(crate) enum What {
    /// A file: conditions and ranges are judged by its metadata.
    File(Box<InMemory>),
    /// An answer as it is: a page for a missing file, a redirect.
    Done {
        status: StatusCode,
        body: KeptBody,
        headers: HeaderMap,
        head: Bytes,
        page: Option<Box<(ObjectMeta, HttpMetadata)>>,
    },
    /// What this path gives is not kept.
    Nothing,
    /// Nobody has read it yet.
    Empty,
}

/// What the store and the cache were like when something was read.
#[derive(Clone, Copy)]
struct Moment {
    stamp: u64,
    at: u64,
    /// The store cannot tell whether anything has changed.
    is_blind: bool,
}

impl SiteCache {
    pub(crate) fn new(options: CacheOptions) -> Self {
        let items = usize::try_from(options.bytes / (16 * 1024)).unwrap_or(usize::MAX).clamp(128, 1 << 20);
        let answers = Cache::with(items, options.bytes, Weigh, DefaultHashBuilder::default(), DropLater);
        // What could not be kept is streamed, not gathered for each request anew. (The cache is in parts that are evicted from
        // each for itself, and take what fits into the share of those that are asked for often: 97 %. Headers and the rest of a
        // page come to it.)
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

    /// What it is like now, for who knows already what time it is.
    fn moment_at(&self, site: &Site, now: Instant) -> Moment {
        let (generation, purges) = (site.store.generation(), self.purges.load(Ordering::Acquire));
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
        // How old it is counts from when it was last known to be good; a second more or less does not.
        if self.age(kept, moment) > Duration::from_secs(1) {
            kept.asked_at.store(moment.at, Ordering::Release);
        }
        true
    }

    /// Whether somebody may have it while somebody else asks.
    fn may_be_old(&self, kept: &Kept, moment: Moment) -> bool {
        let is_purged = kept.stamp.load(Ordering::Acquire) != moment.stamp;
        let patience = self.options.fresh + self.options.stale_while_revalidate;
        moment.is_blind && !is_purged && self.age(kept, moment) < patience
    }

    /// The old answer, where the store fails and there is one that is not too old.
    fn old(&self, kept: &Arc<Kept>, moment: Moment, error: Error) -> Result<(Arc<Kept>, CacheState), Error> {
        let patience = self.options.fresh + self.options.stale_if_error;
        if matches!(kept.what, What::Empty) || self.age(kept, moment) >= patience {
            return Err(error);
        }
        #[cfg(feature = "tracing")]
        tracing::warn!(%error, "the site's store fails; an old answer is given");
        Ok((Arc::clone(kept), CacheState::Stale))
    }

    fn age(&self, kept: &Kept, moment: Moment) -> Duration {
        Duration::from_millis(moment.at.saturating_sub(kept.asked_at.load(Ordering::Acquire)))
    }
}

/// The same as HTTP/1.1 writes it; `None` where it is not kept so.
pub(crate) fn ready_head(site: &Site, method: &Method, uri: &Uri, headers: &HeaderMap, now: Instant) -> Option<Ready> {
    let cache = site.cache.as_ref()?;
    let kept = cache.answers.get(&asked(site, method, uri, headers)?)?;
    if !cache.is_good(&kept, cache.moment_at(site, now)) {
        return None;
    }
    Ready::of(kept, site, method, uri, headers)
}

/// The answer, if it is kept and good: without a wait, and without asking the store for anything but its generation.
pub(crate) fn answer(site: &Site, method: &Method, uri: &Uri, headers: &HeaderMap) -> Option<Response<SiteBody>> {
    let cache = site.cache.as_ref()?;
    let asked = asked(site, method, uri, headers)?;
    let kept = cache.answers.get(&asked)?;
    if !cache.is_good(&kept, cache.moment(site)) {
        return None;
    }
    kept.answer(site, method, uri, headers, CacheState::Hit)
}

/// The answer, kept or to be kept; `None` where the cache has nothing to do with the request.
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

/// What is kept under a name, read or looked at again where need be: by one, for all who ask meanwhile.
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
    // Somebody may have read it while this one waited.
    kept = cache.answers.get(name).unwrap_or(kept);
    let moment = cache.moment(site);
    if cache.is_good(&kept, moment) {
        return Ok((kept, CacheState::Hit));
    }
    if let Some((at, kind)) = *failed_at
        && at > begun
    {
        return cache.old(&kept, moment, Error::new(kind, "the store has failed while this was waiting"));
    }
    let look = async || read(site, cache, name, uri, headers, &kept).await;
    let what = match look().await {
        // Replaced between its head and its body, say: the second look sees the new one.
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

/// What a request is kept under, if it is one that is.
fn asked<'r>(site: &Site, method: &Method, uri: &'r Uri, headers: &'r HeaderMap) -> Option<Asked<'r>> {
    // What a shared cache must not keep has other headers.
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

/// What came of asking the store.
struct Read {
    what: What,
    rule: Rule,
    view: View,
}

/// Asks the store; `None` where what is kept is what it would give.
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
    // What goes by the host is kept for one host; a deploy may just have begun to.
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
    // Where it is sent to goes without the query: who has one is answered without the cache.
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
    let (mut whole, mut not_modified) = (HeaderMap::new(), HeaderMap::new());
    write_headers(site, headers, &found, &mut whole);
    write_not_modified(site, headers, &found, &mut not_modified);
    let (headers, not_modified) = (ruled(whole), ruled(not_modified));
    let heads = Heads {
        whole: ready::head(StatusCode::OK, &headers, Some(body.len())),
        not_modified: ready::head(StatusCode::NOT_MODIFIED, &not_modified, None),
    };
    let (body, sha256) = (KeptBody::new(body, cache.arena.as_ref()), OnceLock::new());
    Ok(Some((rule, What::File(Box::new(InMemory { found, stored, body, headers, not_modified, heads, sha256 })))))
}

fn done(status: StatusCode, headers: HeaderMap, body: KeptBody, page: Option<Box<(ObjectMeta, HttpMetadata)>>) -> What {
    let head = ready::head(status, &headers, Some(body.len()));
    What::Done { status, body, headers, head, page }
}

/// The file in the encoding that the client likes best, where there is no variant, and it is worth it. It is another
/// representation, with another ETag. 1 MiB holds up its thread for some 20 ms, once.
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

/// By levels that take about as long as each other, and leave little to gain.
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
        let (asked_at, stamp) = (AtomicU64::new(moment.at), AtomicU64::new(moment.stamp));
        Self { what, rule, deploy, asked_at, stamp, failed_at: Mutex::new(None) }
    }

    /// The answer to a request; `None` where this is none for it.
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
        // What is no more than a refusal was not prepared.
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
