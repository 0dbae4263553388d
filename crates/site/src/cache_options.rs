//! Options of the cache, natively and inside Workers.

use std::time::Duration;

/// Default time for which a cached response, and the pointer to the current deploy, is fresh where the store has no generation.
pub(crate) const FRESH: Duration = Duration::from_secs(1);
/// Default time for which a stale response, and the last known deploy, is served while the store fails.
pub(crate) const STALE_IF_ERROR: Duration = Duration::from_secs(3600);

/// Options of the cache of responses: in memory natively ([`Site::with_cache`](crate::Site), feature `cache`), in the data centre's
/// cache inside Workers, where the runtime decides on `max_bytes` and `compress`.
///
/// ```
/// # #[cfg(feature = "cache")] {
/// use std::sync::Arc;
/// use std::time::Duration;
/// use isobar_site::{CacheOptions, CacheState, Site, SiteOptions};
/// use isobar_storage::{Key, ObjectStoreExt, memory::MemoryStore};
/// # futures_util::FutureExt::now_or_never(async {
/// let store = MemoryStore::new();
/// store.write(&Key::new("a.txt")?, "text").await?;
/// let options = CacheOptions::default().with_max_bytes(64 << 20).with_stale_if_error(Duration::from_secs(600));
/// let site = Site::new(Arc::new(store), SiteOptions::default()).with_cache(options);
///
/// let request = http::Request::get("/a.txt").body(())?;
/// assert_eq!(site.respond(&request).await.extensions().get(), Some(&CacheState::Miss));
/// assert_eq!(site.respond(&request).await.extensions().get(), Some(&CacheState::Hit));
/// assert_eq!(site.cache_stats().map(|stats| stats.entries), Some(1));
/// # Ok::<_, Box<dyn std::error::Error>>(()) }).unwrap().unwrap();
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CacheOptions {
    /// Size limit of the cache in bytes. Default: 256 MiB. On Linux bodies above 8 KiB are kept in a file in memory, which counts
    /// towards the control group of the process and not its resident set. They are kept as plain bytes where the system may use
    /// huge pages for such files (`shmem_enabled`), cannot make holes in them, or limits the length of files.
    pub max_bytes: u64,
    /// Size limit of a cached body in bytes; larger bodies are read from the store for each request. Default: 16 MiB. It is
    /// at most 95 % of a shard; there are four shards for each processor, so 256 MiB on two processors are eight shards of 32 MiB.
    pub max_object_bytes: u64,
    /// Time for which a response is fresh where the store has no [`generation`](isobar_storage::ObjectStore::generation): a write
    /// past this cache, such as one by another process, may not be visible for that long. Default: 1 s.
    pub fresh_for: Duration,
    /// Time after that in which one request revalidates while others still get the stale response. Default: 10 s. Ignored where
    /// the store has a generation: then no stale response is served.
    pub stale_while_revalidate: Duration,
    /// Time for which a stale response is served while the store fails, counted from the end of `fresh_for`. Default: 1 h.
    pub stale_if_error: Duration,
    /// Compress compressible files of 1 KiB to 1 MiB that have no precompressed variant, once, in the coding that the client
    /// prefers among brotli, zstd and gzip. Default: on.
    pub compress: bool,
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self {
            max_bytes: 256 * 1024 * 1024,
            max_object_bytes: 16 * 1024 * 1024,
            fresh_for: FRESH,
            stale_while_revalidate: Duration::from_secs(10),
            stale_if_error: STALE_IF_ERROR,
            compress: true,
        }
    }
}

impl CacheOptions {
    /// Sets [`max_bytes`](Self::max_bytes), the size limit of the cache in bytes.
    #[must_use]
    pub fn with_max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Sets [`max_object_bytes`](Self::max_object_bytes), the size limit of a cached body in bytes.
    ///
    /// A value above the cache's own size has no effect: such a body does not fit.
    #[must_use]
    pub fn with_max_object_bytes(mut self, bytes: u64) -> Self {
        self.max_object_bytes = bytes;
        self
    }

    /// Sets [`fresh_for`](Self::fresh_for), the time for which a response is fresh where the store has no generation.
    #[must_use]
    pub fn with_fresh_for(mut self, time: Duration) -> Self {
        self.fresh_for = time;
        self
    }

    /// Sets [`stale_while_revalidate`](Self::stale_while_revalidate).
    #[must_use]
    pub fn with_stale_while_revalidate(mut self, stale: Duration) -> Self {
        self.stale_while_revalidate = stale;
        self
    }

    /// Sets [`stale_if_error`](Self::stale_if_error).
    ///
    /// With 0 an error of the store is answered with 503 as soon as the response is not fresh any more.
    #[must_use]
    pub fn with_stale_if_error(mut self, stale: Duration) -> Self {
        self.stale_if_error = stale;
        self
    }

    /// Sets [`compress`](Self::compress): whether files without a precompressed variant are compressed.
    ///
    /// ```
    /// # #[cfg(feature = "cache")] {
    /// use std::sync::Arc;
    /// use isobar_site::{CacheOptions, Site, SiteOptions};
    /// use isobar_storage::{Key, ObjectStoreExt, memory::MemoryStore};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MemoryStore::new();
    /// store.write(&Key::new("long.txt")?, "word ".repeat(1000)).await?;
    /// let site = Site::new(Arc::new(store), SiteOptions::default()).with_cache(CacheOptions::default());
    /// let request = http::Request::get("/long.txt").header("accept-encoding", "gzip").body(())?;
    /// assert_eq!(site.respond(&request).await.headers()["content-encoding"], "gzip");
    /// # Ok::<_, Box<dyn std::error::Error>>(()) }).unwrap().unwrap();
    /// # }
    /// ```
    #[must_use]
    pub fn with_compress(mut self, compress: bool) -> Self {
        self.compress = compress;
        self
    }
}

/// Number and size of the responses in a cache, of [`Site::cache_stats`](crate::Site::cache_stats).
#[cfg(feature = "cache")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStats {
    /// Number of cached responses: one for each path, encoding and, where the rules depend on it, host.
    pub entries: usize,
    /// Size of the cached responses in bytes, including keys and headers. Limit: [`CacheOptions::max_bytes`].
    pub bytes: u64,
}

/// How the cache took part in a response. An extension of each response that came through the cache:
/// `response.extensions().get::<CacheState>()`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CacheState {
    /// Served from the cache, fresh.
    Hit,
    /// Served from the cache after the store confirmed that it has not changed.
    Revalidated,
    /// Served from the cache and possibly outdated: another request is revalidating, or the store fails.
    Stale,
    /// Read from the store and cached.
    Miss,
    /// Not cacheable: another method, credentials, a listing, a body that is too large.
    Bypass,
}

impl CacheState {
    /// Returns its name: `hit`, `revalidated`, `stale`, `miss` or `bypass`.
    ///
    /// ```
    /// use isobar_site::CacheState;
    /// assert_eq!(CacheState::Revalidated.name(), "revalidated");
    /// ```
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Revalidated => "revalidated",
            Self::Stale => "stale",
            Self::Miss => "miss",
            Self::Bypass => "bypass",
        }
    }
}
