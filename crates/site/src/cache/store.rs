//! The entries of the cache: their bound, their eviction, and their freshness.
//!
//! **Freshness.** The store's [`generation`](isobar_storage::ObjectStore::generation) is a number that changes whenever anything
//! in the bucket may have changed. While it is the same, and no purge and no change of the rules has come, an entry is fresh for
//! any time: a hit asks nobody. When it moves, each entry is revalidated once, when it is next asked for; most turn out to be
//! unchanged, which costs a `head` and no body. A store without a generation is blind: there an entry is fresh for
//! [`CacheOptions::fresh_for`].
//!
//! **Bound.** Entries are weighed in bytes, headers and keys included, and the cache evicts those that are asked for rarely
//! (S3-FIFO by `quick_cache`), in shards with a lock each. A body that would not fit into a shard is streamed from the store.

use std::convert::Infallible;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::HeaderMap;
use isobar_storage::Error;
use quick_cache::sync::Cache;
use quick_cache::{DefaultHashBuilder, Equivalent, Lifecycle, Weighter};

use super::entry::{CacheEntry, CachedResponse, Freshness, Stamp};
use super::key::CacheKey;
use crate::arena::Arena;
use crate::cache_options::{CacheOptions, CacheState, CacheStats};
use crate::source::Source;

/// Memory of an entry besides its body, key and headers, in bytes: mostly two descriptions of its file.
const OVERHEAD: u64 = 1536;

/// The responses of one site.
pub(crate) struct SiteCache {
    entries: Cache<CacheKey, Arc<CacheEntry>, Weigh, DefaultHashBuilder, DropLater>,
    /// Storage of their bodies; `None` where the system has no files in memory to send from.
    pub(super) arena: Option<Arena>,
    pub(super) options: CacheOptions,
    started: Instant,
    /// Number of purges: a response that was being read during one is read again.
    purges: AtomicU64,
}

/// The responses that [`Site::purge`](crate::Site::purge) removes.
///
/// ```
/// # use isobar_site::{CacheOptions, Purge, Site, SiteOptions};
/// # use isobar_storage::memory::MemoryStore;
/// # let site = Site::new(std::sync::Arc::new(MemoryStore::new()), SiteOptions::default());
/// let site = site.with_cache(CacheOptions::default());
/// site.purge(Purge::Path("/about"));
/// site.purge(Purge::Prefix("/docs/"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Purge<'p> {
    /// The responses of this path, as it is requested: `/about`.
    Path(&'p str),
    /// The responses of paths with this prefix: `/docs/`, or `/` for all.
    Prefix(&'p str),
    /// None, but looks up the current deploy again. Files that are the same in it are not read again.
    Deploy,
}

/// Weighs entries in bytes, which the bound of the cache counts.
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

impl SiteCache {
    /// Creates an empty cache with these bounds.
    pub(crate) fn new(options: CacheOptions) -> Self {
        let items = usize::try_from(options.max_bytes / (16 * 1024)).unwrap_or(usize::MAX).clamp(128, 1 << 20);
        let entries = Cache::with(items, options.max_bytes, Weigh, DefaultHashBuilder::default(), DropLater);
        // A body too large for the cache is streamed and not collected for each request. (Each shard evicts on its own and
        // accepts entries that fit into the share of its hot ones, 97 %. Headers and the overhead of an entry count, too.)
        let largest = (entries.shard_capacity() / 20 * 19).saturating_sub(OVERHEAD + 8192);
        let options = CacheOptions { max_object_bytes: options.max_object_bytes.min(largest), ..options };
        Self { entries, arena: Arena::new(), options, started: Instant::now(), purges: AtomicU64::new(0) }
    }

    /// Returns the number and size of the entries, those that are being read included.
    pub(crate) fn stats(&self) -> CacheStats {
        CacheStats { entries: self.entries.len(), bytes: self.entries.weight() }
    }

    /// Removes entries, and has all others revalidated before they are served.
    pub(crate) fn purge(&self, purge: Purge<'_>) {
        self.purges.fetch_add(1, Ordering::AcqRel);
        match purge {
            Purge::Path(path) => self.entries.retain(|key, _| *key.path != *path),
            Purge::Prefix(prefix) => self.entries.retain(|key, _| !key.path.starts_with(prefix)),
            Purge::Deploy => {}
        }
    }

    /// Returns the entry of a key, fresh or not.
    pub(super) fn get<K: Hash + Equivalent<CacheKey>>(&self, key: &K) -> Option<Arc<CacheEntry>> {
        self.entries.get(key)
    }

    /// Returns the entry of a key, or inserts this one. Of concurrent calls one inserts.
    pub(super) fn get_or_insert(&self, key: &CacheKey, new: impl FnOnce() -> CacheEntry) -> Arc<CacheEntry> {
        let Ok(entry) = self.entries.get_or_insert_with(key, || Ok::<_, Infallible>(Arc::new(new())));
        entry
    }

    /// Inserts an entry or replaces the one of the same key. An entry larger than a shard is dropped.
    pub(super) fn insert(&self, key: &CacheKey, entry: Arc<CacheEntry>) {
        self.entries.insert(key.clone(), entry);
    }

    /// Returns the state at this time, which the caller reads from the clock once.
    pub(super) fn freshness_at(&self, source: &Source, now: Instant) -> Freshness {
        let generation = source.store.generation();
        let version = self.purges.load(Ordering::Acquire) + source.rules.version();
        let at = now.saturating_duration_since(self.started).as_millis() as u64; // half a billion years fit
        let stamp = Stamp { generation: generation.unwrap_or(0), version };
        Freshness { stamp, at, is_blind: generation.is_none() }
    }

    /// Whether an entry may be served without asking the store.
    pub(super) fn is_fresh(&self, entry: &CacheEntry, freshness: Freshness) -> bool {
        if !entry.has_stamp(freshness.stamp) {
            return false;
        }
        if freshness.is_blind {
            return entry.age(freshness) < self.options.fresh_for;
        }
        // The age counts from the last validation, to the second.
        if entry.age(freshness) > Duration::from_secs(1) {
            entry.touch(freshness);
        }
        true
    }

    /// Whether a stale entry may be served while another request revalidates it.
    pub(super) fn may_be_stale(&self, entry: &CacheEntry, freshness: Freshness) -> bool {
        let limit = self.options.fresh_for + self.options.stale_while_revalidate;
        freshness.is_blind && entry.has_stamp(freshness.stamp) && entry.age(freshness) < limit
    }

    /// Returns the stale entry while the store fails, if there is one that is not too old.
    ///
    /// # Errors
    /// The given error, where there is none.
    pub(super) fn stale_on_error(
        &self,
        entry: &Arc<CacheEntry>,
        freshness: Freshness,
        error: Error,
    ) -> Result<(Arc<CacheEntry>, CacheState), Error> {
        let limit = self.options.fresh_for + self.options.stale_if_error;
        if matches!(entry.response, CachedResponse::Empty) || entry.age(freshness) >= limit {
            return Err(error);
        }
        #[cfg(feature = "tracing")]
        tracing::warn!(%error, "the site's store failed; serving a stale response");
        Ok((Arc::clone(entry), CacheState::Stale))
    }
}

impl fmt::Debug for SiteCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SiteCache({} responses, {} bytes)", self.entries.len(), self.entries.weight())
    }
}

#[cfg(test)]
mod tests {
    use http::{StatusCode, header};
    use isobar_storage::memory::MemoryStore;

    use super::super::load::done;
    use super::*;
    use crate::arena::KeptBody;
    use crate::options::SiteOptions;
    use crate::snapshot::Snapshot;
    use crate::timing::Rule;

    #[test]
    fn largest_collected_body_fits_into_the_cache() {
        let source = Arc::new(Source::new(Arc::new(MemoryStore::new()), SiteOptions::default()));
        for bytes in [1 << 20, 5_000_000, 64 << 20] {
            let options = CacheOptions::default().with_max_bytes(bytes).with_max_object_bytes(u64::MAX);
            let cache = SiteCache::new(options);
            let length = usize::try_from(cache.options.max_object_bytes).unwrap();
            assert!(length > 8192, "{bytes} are enough for more than {length}");
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, "text/html".parse().unwrap())]);
            let body = KeptBody::new(vec![1; length].into(), cache.arena.as_ref());
            let freshness = cache.freshness_at(&source, Instant::now());
            let response = done(StatusCode::OK, headers, body, None);
            let entry = CacheEntry::new(response, Rule::Missing, Snapshot::of_keys(&source), freshness);
            let key = CacheKey { path: "/large".into(), host: "".into(), vary: Default::default() };
            cache.insert(&key, Arc::new(entry));
            assert!(cache.get(&key).is_some(), "{length} bytes do not fit into {bytes}");
        }
    }
}
