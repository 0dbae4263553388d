//! How answers are kept, wherever that is.

use std::time::Duration;

/// How long what was read is good where nobody says whether it has changed; and how long it is given where the store fails.
pub(crate) const FRESH: Duration = Duration::from_secs(1);
pub(crate) const STALE_IF_ERROR: Duration = Duration::from_secs(3600);

/// How answers are kept: natively in memory ([`Site::with_cache`](crate::Site), feature `cache`), inside Workers in the data
/// centre's cache, of which `bytes` and `compress` are the runtime's.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CacheOptions {
    /// The most that is kept, in bytes; 256 MiB. On Linux bodies above 8 KiB lie in a file in memory, which counts for the control
    /// group of the process and not for its resident set; not so where the system may use huge pages for such files
    /// (`shmem_enabled`), cannot make holes in them, or limits the length of files.
    pub bytes: u64,
    /// The largest body that is kept, in bytes; 16 MiB, and as much as one part of the cache has at most: with as many parts
    /// as processors by four, 256 MiB are kept in eight of 32 MiB on two. A twentieth of a part stays free. Larger ones are read from the store each time.
    pub body_bytes: u64,
    /// How long an answer is good where the store has no [`generation`](isobar_storage::ObjectStore::generation): within this
    /// time what another process, or this one past the cache, has written may not be seen yet. 1 s.
    pub fresh: Duration,
    /// How long after that one request asks again while others still get the old answer. 10 s. Not where the store has a
    /// generation: then nobody gets an old answer.
    pub stale_while_revalidate: Duration,
    /// How long an old answer is given where the store fails. 1 h.
    pub stale_if_error: Duration,
    /// Compress, once, what is text or the like, has 1 KiB to 1 MiB, and has no precompressed variant that the client takes: by
    /// what the client likes best of brotli, zstd and gzip. On.
    pub compress: bool,
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self {
            bytes: 256 * 1024 * 1024,
            body_bytes: 16 * 1024 * 1024,
            fresh: FRESH,
            stale_while_revalidate: Duration::from_secs(10),
            stale_if_error: STALE_IF_ERROR,
            compress: true,
        }
    }
}

impl CacheOptions {
    /// The most that is kept, in bytes.
    #[must_use]
    pub fn with_bytes(mut self, bytes: u64) -> Self {
        self.bytes = bytes;
        self
    }

    /// The largest body that is kept, in bytes.
    #[must_use]
    pub fn with_body_bytes(mut self, bytes: u64) -> Self {
        self.body_bytes = bytes;
        self
    }

    /// How long an answer is good where the store has no generation.
    #[must_use]
    pub fn with_fresh(mut self, fresh: Duration) -> Self {
        self.fresh = fresh;
        self
    }

    /// How long after that others get the old answer while one asks again.
    #[must_use]
    pub fn with_stale_while_revalidate(mut self, stale: Duration) -> Self {
        self.stale_while_revalidate = stale;
        self
    }

    /// How long an old answer is given where the store fails.
    #[must_use]
    pub fn with_stale_if_error(mut self, stale: Duration) -> Self {
        self.stale_if_error = stale;
        self
    }

    /// Compress what has no precompressed variant.
    #[must_use]
    pub fn with_compress(mut self, compress: bool) -> Self {
        self.compress = compress;
        self
    }
}

/// What the cache had to do with an answer; an extension of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CacheState {
    /// It was kept, and is good.
    Hit,
    /// It was kept, and the store says that it is good still.
    Revalidated,
    /// It was kept, and may be old: somebody else asks just now, or the store fails.
    Stale,
    /// It was not kept, and is now.
    Miss,
    /// It is none that is kept.
    Bypass,
}

impl CacheState {
    /// In a word: `hit`, `revalidated`, `stale`, `miss`, `bypass`.
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

/// An extension of every answer that a site has made for its request: what is kept of it is the server's to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FromSite;
