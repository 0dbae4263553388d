use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::lock::Mutex as SingleFlight;
use isobar_base::sync::IgnorePoison;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::rules::{self, GetDecision};
use crate::{
    Body, Capabilities, Clock, Conditions, CopyOptions, Etags, GetOptions, GetResult, Key, ListOptions, ListPage,
    ListUploadsOptions, MultipartOptions, ObjectMeta, ObjectStore, Operation, Part, PartInfo, PresignOptions,
    PutOptions, PutResult, Result, UploadId, UploadInfo, system_clock,
};

/// Bytes that an entry takes besides its body and its key, about.
const ENTRY_BYTES: u64 = 512;

/// A store whose small objects are kept in memory.
///
/// An object is fresh for a while after it was fetched; then the next read asks whether it is still the one with that etag, and fetches
/// only a newer one. Concurrent reads of one key are one fetch. Writes through this store are seen by it at once; those of others, and of
/// calls that were dropped, when the object is no longer fresh. Missing objects and those over the limit are not kept.
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use isobar_storage::layers::{CacheOptions, Cached};
/// use isobar_storage::memory::MemoryStore;
/// use isobar_storage::{Key, ObjectStoreExt};
/// # futures_util::FutureExt::now_or_never(async {
/// let store = Cached::new(MemoryStore::new(), CacheOptions::default().with_max_bytes(16 << 20));
/// let key = Key::new("logo.svg")?;
/// store.write(&key, "<svg/>").await?;
/// store.read(&key).await?;
/// assert!(store.bytes() > 0);
/// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
/// ```
#[derive(Clone)]
pub struct Cached<S> {
    inner: S,
    state: Arc<State>,
}

struct State {
    entries: Cache<Key, Entry, Weight>,
    /// Locks of the keys that are being fetched; other callers wait for them.
    flights: Mutex<HashMap<Key, Arc<SingleFlight<()>>>>,
    /// How often keys were forgotten, by a hash of theirs: what was asked for before that is not kept after it.
    forgotten: [Mutex<u64>; 64],
    hasher: RandomState,
    fresh_for: TimeDelta,
    max_object_bytes: u64,
    clock: Clock,
}

/// How [`Cached`] caches.
///
/// ```
/// use isobar_storage::layers::CacheOptions;
///
/// let options = CacheOptions::default().with_max_bytes(16 << 20).with_max_object_bytes(256 << 10);
/// assert_eq!(options.fresh_for, std::time::Duration::from_secs(1));
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct CacheOptions {
    /// Bytes of all objects that are kept, with 512 bytes for each. Default: 64 MiB.
    pub max_bytes: u64,
    /// Bytes of the largest object that is kept. Default: 1 MiB; at most `max_bytes`.
    pub max_object_bytes: u64,
    /// Time for which an object is served without asking the store. Default: 1 s.
    pub fresh_for: Duration,
    /// Source of the time. Default: the system's clock.
    pub clock: Clock,
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self {
            max_bytes: 64 << 20,
            max_object_bytes: 1 << 20,
            fresh_for: Duration::from_secs(1),
            clock: system_clock(),
        }
    }
}

impl fmt::Debug for CacheOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { max_bytes, max_object_bytes, fresh_for, clock: _ } = self;
        let mut shown = f.debug_struct("CacheOptions");
        shown.field("max_bytes", max_bytes).field("max_object_bytes", max_object_bytes);
        shown.field("fresh_for", fresh_for).finish_non_exhaustive()
    }
}

impl CacheOptions {
    /// Sets [`max_bytes`](Self::max_bytes), the size limit of the cache in bytes. Beyond it the objects that are read least are dropped.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::layers::{CacheOptions, Cached};
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{Key, ObjectStoreExt};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = Cached::new(MemoryStore::new(), CacheOptions::default().with_max_bytes(64 << 10));
    /// for number in 0..100 {
    ///     let key = Key::new(format!("{number}"))?;
    ///     store.write(&key, vec![0; 4096]).await?;
    ///     store.read(&key).await?;
    /// }
    /// assert!(store.bytes() <= 64 << 10);
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    #[must_use]
    pub fn with_max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Sets [`max_object_bytes`](Self::max_object_bytes), the size limit of a cached object in bytes. A larger one is passed through as a
    /// stream.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::layers::{CacheOptions, Cached};
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{Key, ObjectStoreExt};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = Cached::new(MemoryStore::new(), CacheOptions::default().with_max_object_bytes(1024));
    /// store.write(&Key::new("large")?, vec![0; 1025]).await?;
    /// store.read(&Key::new("large")?).await?;
    /// assert_eq!(store.bytes(), 0);
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    #[must_use]
    pub fn with_max_object_bytes(mut self, bytes: u64) -> Self {
        self.max_object_bytes = bytes;
        self
    }

    /// Sets [`fresh_for`](Self::fresh_for), the time for which a cached object is not looked at in the store: how old an answer may be after
    /// another process has written. Zero asks the store at every read, by etag, and saves the body alone.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use std::time::Duration;
    ///
    /// use isobar_storage::layers::{CacheOptions, Cached};
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{Key, ObjectStoreExt};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let bucket = MemoryStore::new();
    /// let store = Cached::new(bucket.clone(), CacheOptions::default().with_fresh_for(Duration::ZERO));
    /// let key = Key::new("a")?;
    /// bucket.write(&key, "1").await?;
    /// store.read(&key).await?;
    /// bucket.write(&key, "2").await?; // by another process, say
    /// assert_eq!(store.read(&key).await?.expect("it is there").1, "2");
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    #[must_use]
    pub fn with_fresh_for(mut self, time: Duration) -> Self {
        self.fresh_for = time;
        self
    }

    /// Sets [`clock`](Self::clock), the source of the time.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use std::sync::Arc;
    ///
    /// use isobar_storage::layers::{CacheOptions, Cached};
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{Key, ObjectStoreExt};
    /// # futures_util::FutureExt::now_or_never(async {
    /// // A clock that stands still: nothing gets old.
    /// let still = CacheOptions::default().with_clock(Arc::new(|| chrono::DateTime::UNIX_EPOCH));
    /// let bucket = MemoryStore::new();
    /// let store = Cached::new(bucket.clone(), still);
    /// bucket.write(&Key::new("a")?, "1").await?;
    /// store.read(&Key::new("a")?).await?;
    /// bucket.write(&Key::new("a")?, "2").await?;
    /// assert_eq!(store.read(&Key::new("a")?).await?.expect("it is there").1, "1");
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }
}

#[derive(Clone)]
struct Entry {
    meta: Arc<ObjectMeta>,
    bytes: Bytes,
    asked: DateTime<Utc>,
}

#[derive(Clone)]
struct Weight;

impl Weighter<Key, Entry> for Weight {
    fn weight(&self, key: &Key, entry: &Entry) -> u64 {
        entry.bytes.len() as u64 + key.as_str().len() as u64 + ENTRY_BYTES
    }
}

impl<S: ObjectStore> Cached<S> {
    /// This store, with its small objects in memory. Nothing is read beforehand. Clones share the cache.
    pub fn new(inner: S, options: CacheOptions) -> Self {
        let CacheOptions { max_bytes, max_object_bytes, fresh_for, clock } = options;
        let max_object_bytes = max_object_bytes.min(max_bytes);
        let expected = usize::try_from(max_bytes / (4096 + ENTRY_BYTES)).unwrap_or(usize::MAX).clamp(16, 1 << 20);
        let entries = Cache::with_weighter(expected, max_bytes, Weight);
        let fresh_for = TimeDelta::from_std(fresh_for).unwrap_or(TimeDelta::MAX);
        let forgotten = std::array::from_fn(|_| Mutex::default());
        let hasher = RandomState::new();
        let state = State { entries, flights: Mutex::default(), forgotten, hasher, fresh_for, max_object_bytes, clock };
        Self { inner, state: Arc::new(state) }
    }

    /// Forgets an object, for example when another process says that it has written it. A read that is in flight meanwhile answers with what
    /// it has found, and that is not kept.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::layers::{CacheOptions, Cached};
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{Key, ObjectStoreExt};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let bucket = MemoryStore::new();
    /// let store = Cached::new(bucket.clone(), CacheOptions::default());
    /// let key = Key::new("a")?;
    /// store.write(&key, "1").await?;
    /// store.read(&key).await?;
    /// bucket.write(&key, "2").await?; // past the cache
    /// store.purge(&key);
    /// assert_eq!(store.read(&key).await?.expect("it is there").1, "2");
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    pub fn purge(&self, key: &Key) {
        let mut forgotten = self.state.forgotten(key);
        *forgotten += 1;
        self.state.entries.remove(key);
    }

    /// Forgets everything: after a restore of the bucket, say.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::layers::{CacheOptions, Cached};
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{Key, ObjectStoreExt};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = Cached::new(MemoryStore::new(), CacheOptions::default());
    /// store.write(&Key::new("a")?, "1").await?;
    /// store.read(&Key::new("a")?).await?;
    /// store.purge_all();
    /// assert_eq!(store.bytes(), 0);
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    pub fn purge_all(&self) {
        let mut forgotten: Vec<_> = self.state.forgotten.iter().map(lock).collect();
        forgotten.iter_mut().for_each(|count| **count += 1);
        self.state.entries.clear();
    }

    /// Bytes that are kept, about: bodies, keys, and 512 bytes for each object.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.state.entries.weight()
    }

    fn fresh(&self, key: &Key) -> Option<Entry> {
        let entry = self.state.entries.get(key)?;
        ((self.state.clock)() - entry.asked < self.state.fresh_for).then_some(entry)
    }

    /// Returns the object, from memory or fetched now, once for all callers that want it.
    ///
    /// The callers of one key wait for its lock one after the other; the first fetches, and the others find
    /// it fresh where it was kept. A caller that is dropped
    /// while it fetches leaves the lock to the next, who fetches. A failure is not remembered: each waiting caller tries.
    async fn entry(&self, key: &Key) -> Result<Fetched> {
        let lock = Arc::clone(self.state.flights().entry(key.clone()).or_default());
        let flight = Flight { state: &self.state, key, lock };
        let held = flight.lock.lock().await;
        let fetched = match self.fresh(key) {
            Some(entry) => Ok(Fetched::Kept(entry)), // another caller has fetched it meanwhile
            None => self.fetch(key).await,
        };
        drop(held);
        fetched
    }

    /// Asks the store, by etag where an older entry is at hand. The count of forgetting is read before the store is asked and compared before
    /// the entry is kept: a write that has ended in between has forgotten the key, and the answer may be from before it.
    async fn fetch(&self, key: &Key) -> Result<Fetched> {
        let forgotten = *self.state.forgotten(key);
        let known = self.state.entries.get(key);
        let asked = (self.state.clock)();
        let mut options = GetOptions::default();
        if let Some(known) = &known {
            let other = Conditions::default().with_etag_does_not_match(Etags::one(known.meta.etag.as_str())?);
            options = options.with_conditions(other);
        }
        let (meta, bytes) = match (self.inner.get(key, options).await?, known) {
            (GetResult::ConditionFailed(meta), Some(known)) => (meta, known.bytes),
            (GetResult::Object { meta, range, body }, _) if range.length <= self.state.max_object_bytes => {
                (meta, body.bytes().await?)
            }
            (other, _) => {
                self.state.entries.remove(key);
                return Ok(Fetched::Answered(Box::new(other)));
            }
        };
        let entry = Entry { meta: Arc::new(meta), bytes, asked };
        // Under the lock, so that it is not forgotten in between.
        let now = self.state.forgotten(key);
        if *now == forgotten {
            self.state.entries.insert(key.clone(), entry.clone());
        }
        drop(now);
        Ok(Fetched::Kept(entry))
    }
}

/// Outcome of a fetch.
enum Fetched {
    Kept(Entry),
    /// The answer of the store itself, of an object that is missing or too large to keep.
    Answered(Box<GetResult>),
}

/// A caller that waits for a key: the last one to go takes the single-flight lock out of the map, however it goes.
struct Flight<'s> {
    state: &'s State,
    key: &'s Key,
    lock: Arc<SingleFlight<()>>,
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        let mut flights = self.state.flights();
        // One is in the map, one is this.
        if Arc::strong_count(&self.lock) == 2 {
            flights.remove(self.key);
        }
    }
}

/// Forgets keys when a write is over, however it ends.
struct Forget<'c, S: ObjectStore>(&'c Cached<S>, &'c [Key]);

impl<S: ObjectStore> Drop for Forget<'_, S> {
    fn drop(&mut self) {
        self.1.iter().for_each(|key| self.0.purge(key));
    }
}

impl State {
    fn flights(&self) -> MutexGuard<'_, HashMap<Key, Arc<SingleFlight<()>>>> {
        lock(&self.flights)
    }

    fn forgotten(&self, key: &Key) -> MutexGuard<'_, u64> {
        lock(&self.forgotten[(self.hasher.hash_one(key) % self.forgotten.len() as u64) as usize])
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What they hold is changed in single steps.
    mutex.lock().ignore_poison()
}

impl Entry {
    fn answer(&self, options: &GetOptions) -> Result<GetResult> {
        let decision = rules::decide_get(Some(ObjectMeta::clone(&self.meta)), options);
        Ok(match decision.map_err(|error| error.during(Operation::Get))? {
            GetDecision::Missing => GetResult::Missing,
            GetDecision::ConditionFailed(meta) => GetResult::ConditionFailed(meta),
            GetDecision::Read(meta, range) => {
                // What is kept is in memory, so its positions fit usize.
                let body = self.bytes.slice(range.offset as usize..(range.offset + range.length) as usize).into();
                GetResult::Object { meta, range, body }
            }
        })
    }
}

impl<S: fmt::Debug> fmt::Debug for Cached<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cached({:?}, {} objects)", self.inner, self.state.entries.len())
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: ObjectStore> ObjectStore for Cached<S> {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
    /// Returns `None`: cached objects may be older than the store's own generation.
    fn generation(&self) -> Option<u64> {
        None
    }
    fn health(&self) -> Result<()> {
        self.inner.health()
    }

    async fn head(&self, key: &Key) -> Result<Option<ObjectMeta>> {
        match self.fresh(key) {
            Some(entry) => Ok(Some(ObjectMeta::clone(&entry.meta))),
            None => self.inner.head(key).await,
        }
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<GetResult> {
        if let Some(entry) = self.fresh(key) {
            return entry.answer(&options);
        }
        match self.entry(key).await? {
            Fetched::Kept(entry) => entry.answer(&options),
            Fetched::Answered(answer) => match *answer {
                // An object that is too large to keep, and asked for whole, is here already.
                found @ GetResult::Object { .. } if options.range.is_none() && options.conditions.is_none() => {
                    Ok(found)
                }
                GetResult::Missing => Ok(GetResult::Missing),
                _ => self.inner.get(key, options).await,
            },
        }
    }

    async fn put(&self, key: &Key, body: Body, options: PutOptions) -> Result<PutResult> {
        let _forget = Forget(self, std::slice::from_ref(key));
        self.inner.put(key, body, options).await
    }

    async fn delete(&self, keys: &[Key]) -> Result<()> {
        let _forget = Forget(self, keys);
        self.inner.delete(keys).await
    }

    async fn delete_version(&self, key: &Key, version: &str) -> Result<bool> {
        let _forget = Forget(self, std::slice::from_ref(key));
        self.inner.delete_version(key, version).await
    }

    async fn list(&self, options: ListOptions) -> Result<ListPage> {
        self.inner.list(options).await
    }

    async fn create_multipart(&self, key: &Key, options: MultipartOptions) -> Result<UploadId> {
        self.inner.create_multipart(key, options).await
    }

    async fn upload_part(&self, key: &Key, upload: &UploadId, number: u16, body: Body) -> Result<Part> {
        self.inner.upload_part(key, upload, number, body).await
    }

    async fn complete_multipart(&self, key: &Key, upload: &UploadId, parts: Vec<Part>) -> Result<ObjectMeta> {
        let _forget = Forget(self, std::slice::from_ref(key));
        self.inner.complete_multipart(key, upload, parts).await
    }

    async fn complete_multipart_if(
        &self,
        key: &Key,
        upload: &UploadId,
        parts: Vec<Part>,
        conditions: Conditions,
    ) -> Result<PutResult> {
        let _forget = Forget(self, std::slice::from_ref(key));
        self.inner.complete_multipart_if(key, upload, parts, conditions).await
    }

    async fn abort_multipart(&self, key: &Key, upload: &UploadId) -> Result<()> {
        self.inner.abort_multipart(key, upload).await
    }

    async fn list_parts(&self, key: &Key, upload: &UploadId) -> Result<Vec<PartInfo>> {
        self.inner.list_parts(key, upload).await
    }

    async fn list_uploads(&self, options: ListUploadsOptions) -> Result<Vec<UploadInfo>> {
        self.inner.list_uploads(options).await
    }

    async fn copy(&self, from: &Key, to: &Key, options: CopyOptions) -> Result<Option<PutResult>> {
        let _forget = Forget(self, std::slice::from_ref(to));
        self.inner.copy(from, to, options).await
    }

    async fn presign(&self, options: PresignOptions) -> Result<String> {
        self.inner.presign(options).await
    }
}
