//! Options and result of `get`.

use crate::{Body, ByteRange, Conditions, ObjectMeta, Range, Result};

/// Options of [`ObjectStore::get`](crate::ObjectStore::get). Default: the whole object, without conditions.
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use isobar_storage::memory::MemoryStore;
/// use isobar_storage::{GetOptions, Key, ObjectStore, ObjectStoreExt, Range};
/// # futures_util::FutureExt::now_or_never(async {
/// let store = MemoryStore::new();
/// let key = Key::new("log.txt")?;
/// store.write(&key, "first\nsecond\n").await?;
/// let tail = GetOptions::default().with_range(Range::Suffix(7));
/// let (meta, body) = store.get(&key, tail).await?.into_object().expect("the object was written");
/// assert_eq!((meta.size, &*body.bytes().await?), (13, &b"second\n"[..]));
/// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct GetOptions {
    /// Conditions without which the body is not answered. Default: none.
    pub conditions: Option<Conditions>,
    /// Bytes to answer with. Default: all.
    pub range: Option<Range>,
    /// Whether a range that holds no byte of the object means the whole object instead of an error: R2's rule for a `Range`
    /// header. Default: false.
    pub range_or_whole: bool,
}

impl GetOptions {
    /// Answer with the body only if these hold; with the metadata alone otherwise ([`GetResult::ConditionFailed`]).
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{Conditions, GetOptions, GetResult, Key, ObjectStore, ObjectStoreExt};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MemoryStore::new();
    /// let meta = store.write(&Key::new("a")?, "1").await?;
    /// let other = GetOptions::default().with_conditions(Conditions::if_etag("another")?);
    /// assert!(matches!(store.get(&meta.key, other).await?, GetResult::ConditionFailed(found) if found.etag == meta.etag));
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    #[must_use]
    pub fn with_conditions(mut self, conditions: Conditions) -> Self {
        self.conditions = Some(conditions);
        self
    }

    /// Answer with these bytes only. A range that holds no byte of the object is an error, unlike one of
    /// [`with_range_header`](Self::with_range_header).
    ///
    /// ```
    /// use isobar_storage::{ByteRange, ErrorKind, GetOptions, Range};
    ///
    /// let options = GetOptions::default().with_range(Range::Suffix(10));
    /// assert_eq!(options.resolve_range(100)?, ByteRange { offset: 90, length: 10 });
    /// assert_eq!(options.resolve_range(0).unwrap_err().kind(), ErrorKind::InvalidRange);
    /// # Ok::<_, isobar_storage::Error>(())
    /// ```
    #[must_use]
    pub fn with_range(mut self, range: Range) -> Self {
        self.range = Some(range);
        self
    }

    /// Answer with what a `Range` header asks for; everything where it asks for several ranges, for none, or for none
    /// that the object has. A server that answers 416 in the last case resolves the range itself ([`Range::from_header`]).
    ///
    /// ```
    /// use isobar_storage::{ByteRange, GetOptions};
    ///
    /// let resolve = |header| GetOptions::default().with_range_header(header).resolve_range(100);
    /// assert_eq!(resolve("bytes=90-")?, ByteRange { offset: 90, length: 10 });
    /// let whole = ByteRange { offset: 0, length: 100 };
    /// assert_eq!((resolve("bytes=200-")?, resolve("bytes=0-1,5-6")?, resolve("lines=1-2")?), (whole, whole, whole));
    /// # Ok::<_, isobar_storage::Error>(())
    /// ```
    #[must_use]
    pub fn with_range_header(mut self, value: &str) -> Self {
        self.range = Range::from_header(value);
        self.range_or_whole = true;
        self
    }

    /// The bytes that these options mean in an object of `size` bytes: for backends.
    ///
    /// # Errors
    /// As [`Range::resolve`], unless [`range_or_whole`](Self::range_or_whole).
    ///
    /// ```
    /// use isobar_storage::{ByteRange, GetOptions, Range};
    ///
    /// let whole = GetOptions::default().resolve_range(4)?;
    /// assert_eq!(whole, ByteRange { offset: 0, length: 4 });
    /// let first = GetOptions::default().with_range(Range::first(1_000)).resolve_range(4)?;
    /// assert_eq!(first, whole);
    /// # Ok::<_, isobar_storage::Error>(())
    /// ```
    pub fn resolve_range(&self, size: u64) -> Result<ByteRange> {
        let whole = ByteRange { offset: 0, length: size };
        match self.range.map(|range| range.resolve(size)) {
            None => Ok(whole),
            Some(Err(_)) if self.range_or_whole => Ok(whole),
            Some(resolved) => resolved,
        }
    }
}

/// Result of a `get`. Neither a missing object nor a condition that does not hold is an error.
///
/// HTTP's answers to them are 404, 304 or 412 (by the condition that failed), and 200 or 206.
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use isobar_storage::memory::MemoryStore;
/// use isobar_storage::{Conditions, Etags, GetOptions, GetResult, Key, ObjectStore, ObjectStoreExt};
/// # futures_util::FutureExt::now_or_never(async {
/// let store = MemoryStore::new();
/// let meta = store.write(&Key::new("page.html")?, "<h1>Hi</h1>").await?;
/// // A browser that has this version wants another one only: If-None-Match.
/// let cached = Conditions::default().with_etag_does_not_match(Etags::one(meta.etag)?);
/// let status = match store.get(&meta.key, GetOptions::default().with_conditions(cached)).await? {
///     GetResult::Missing => 404,
///     GetResult::ConditionFailed(_) => 304,
///     GetResult::Object { .. } => 200,
/// };
/// assert_eq!(status, 304);
/// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
/// ```
#[derive(Debug)]
pub enum GetResult {
    /// There is no such object.
    Missing,
    /// The object is there, but the conditions do not hold.
    ConditionFailed(ObjectMeta),
    /// The object, or the asked part of it.
    Object {
        /// Its metadata; `size` is the whole object's.
        meta: ObjectMeta,
        /// The bytes that `body` has.
        range: ByteRange,
        /// The bytes.
        body: Body,
    },
}

impl GetResult {
    /// The object's metadata, whether or not the conditions hold.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{Conditions, GetOptions, Key, ObjectStore, ObjectStoreExt};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MemoryStore::new();
    /// store.write(&Key::new("a")?, "1").await?;
    /// let never = GetOptions::default().with_conditions(Conditions::create_only());
    /// let found = store.get(&Key::new("a")?, never).await?;
    /// // What a 304 or a 412 answers with.
    /// assert_eq!(found.meta().map(|meta| meta.size), Some(1));
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    #[must_use]
    pub fn meta(&self) -> Option<&ObjectMeta> {
        match self {
            Self::Missing => None,
            Self::ConditionFailed(meta) | Self::Object { meta, .. } => Some(meta),
        }
    }

    /// Metadata and body, where there is a body.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{GetOptions, Key, ObjectStore, ObjectStoreExt};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MemoryStore::new();
    /// store.write(&Key::new("a")?, "1").await?;
    /// let Some((meta, body)) = store.get(&Key::new("a")?, GetOptions::default()).await?.into_object() else { panic!() };
    /// assert_eq!((meta.size, &*body.bytes().await?), (1, &b"1"[..]));
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    #[must_use]
    pub fn into_object(self) -> Option<(ObjectMeta, Body)> {
        match self {
            Self::Object { meta, body, .. } => Some((meta, body)),
            Self::Missing | Self::ConditionFailed(_) => None,
        }
    }
}
