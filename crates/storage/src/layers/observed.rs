use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use chrono::TimeDelta;
use isobar_base::sync::IgnorePoison;

use crate::{
    Body, Capabilities, Clock, Conditions, CopyOptions, ErrorKind, GetOptions, GetResult, Key, ListOptions, ListPage,
    ListUploadsOptions, MultipartOptions, ObjectMeta, ObjectStore, Operation, Part, PartInfo, PresignOptions,
    PutOptions, PutResult, Result, UploadId, UploadInfo, system_clock,
};

/// Receives every operation of an [`Observed`] store, when it is over.
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use std::sync::Mutex;
///
/// use isobar_storage::layers::{Observation, Observed, Observer};
/// use isobar_storage::memory::MemoryStore;
/// use isobar_storage::{Key, ObjectStore};
///
/// #[derive(Debug, Default)]
/// struct Log(Mutex<Vec<String>>);
///
/// impl Observer for Log {
///     fn observed(&self, observation: &Observation<'_>) {
///         self.0.lock().unwrap().push(format!("{} {}", observation.operation.name(), observation.key));
///     }
/// }
/// # futures_util::FutureExt::now_or_never(async {
/// let store = Observed::new(MemoryStore::new(), Log::default());
/// store.head(&Key::new("a")?).await?;
/// assert_eq!(*store.observer().0.lock().unwrap(), ["head a"]);
/// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
/// ```
pub trait Observer: Debug + Send + Sync {
    /// Takes an operation that is over; of a `get`, before its body is read. Called on the task of the operation: it must not block.
    fn observed(&self, observation: &Observation<'_>);
}

impl<O: Observer + ?Sized> Observer for Arc<O> {
    fn observed(&self, observation: &Observation<'_>) {
        (**self).observed(observation);
    }
}

/// One operation that is over. An operation whose future was dropped is not observed.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Observation<'o> {
    /// The operation.
    pub operation: Operation,
    /// The key; the first of several, and the prefix of a listing.
    pub key: &'o str,
    /// Time that it took, by the layer's clock; of a `get` until its body could be read.
    pub took: TimeDelta,
    /// Bytes of the body that was sent or answered, by its announced length; 0 for operations without one.
    pub bytes: u64,
    /// Kind of its error; `None` if it succeeded.
    pub error: Option<ErrorKind>,
}

/// A store whose operations are reported to an observer. With the feature `tracing`, each is an event of the level `DEBUG`, too.
#[derive(Clone)]
pub struct Observed<S, O> {
    inner: S,
    observer: O,
    clock: Clock,
}

impl<S: ObjectStore, O: Observer> Observed<S, O> {
    /// Reports the operations of this store to this observer. An `Arc` of an observer is one, too: for several stores with one.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use std::sync::Arc;
    ///
    /// use isobar_storage::layers::{Counters, Observed, Observer};
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{Key, ObjectStore, Operation};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let counters = Arc::new(Counters::default());
    /// let observer: Arc<dyn Observer> = counters.clone();
    /// let images = Observed::new(MemoryStore::new(), Arc::clone(&observer));
    /// let films = Observed::new(MemoryStore::new(), observer);
    /// images.head(&Key::new("1.png")?).await?;
    /// films.head(&Key::new("1.mp4")?).await?;
    /// assert_eq!(counters.stats()[&Operation::Head].calls, 2);
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    pub fn new(inner: S, observer: O) -> Self {
        Self { inner, observer, clock: system_clock() }
    }

    /// The observer.
    ///
    /// ```
    /// use isobar_storage::layers::{Counters, Observed};
    /// use isobar_storage::memory::MemoryStore;
    ///
    /// let store = Observed::new(MemoryStore::new(), Counters::default());
    /// assert!(store.observer().stats().is_empty());
    /// ```
    pub fn observer(&self) -> &O {
        &self.observer
    }

    async fn observe<T>(
        &self,
        operation: Operation,
        key: &str,
        sent: u64,
        work: impl Future<Output = Result<T>>,
        received: impl FnOnce(&T) -> u64,
    ) -> Result<T> {
        let from = (self.clock)();
        let outcome = work.await;
        let (bytes, error) = match &outcome {
            Ok(value) => (sent + received(value), None),
            Err(error) => (sent, Some(error.kind())),
        };
        let took = (self.clock)() - from;
        #[cfg(feature = "tracing")]
        tracing::debug!(
            operation = operation.name(),
            key,
            microseconds = took.num_microseconds(),
            bytes,
            ?error,
            "object storage"
        );
        self.observer.observed(&Observation { operation, key, took, bytes, error });
        outcome
    }
}

impl<S: Debug, O: Debug> Debug for Observed<S, O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Observed").field("inner", &self.inner).field("observer", &self.observer).finish_non_exhaustive()
    }
}

/// An observer that keeps statistics by operation. Clones share them.
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use isobar_storage::layers::{Counters, Observed};
/// use isobar_storage::memory::MemoryStore;
/// use isobar_storage::{Key, ObjectStoreExt, Operation};
/// # futures_util::FutureExt::now_or_never(async {
/// let store = Observed::new(MemoryStore::new(), Counters::default());
/// store.write(&Key::new("a")?, "four").await?;
/// let puts = store.observer().stats()[&Operation::Put];
/// assert_eq!((puts.calls, puts.errors, puts.bytes), (1, 0, 4));
/// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Counters(Arc<Mutex<BTreeMap<Operation, OperationStats>>>);

/// Statistics of one operation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OperationStats {
    /// Number of calls.
    pub calls: u64,
    /// Number of calls that failed.
    pub errors: u64,
    /// Bytes of the bodies of all calls.
    pub bytes: u64,
    /// Time of all calls, added up.
    pub took: TimeDelta,
}

impl Counters {
    /// Returns the statistics so far, by operation; one that was never called is not in it.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::layers::{Counters, Observed};
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{GetOptions, Key, ObjectStore, Operation, Range};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = Observed::new(MemoryStore::new(), Counters::default());
    /// let nothing = GetOptions::default().with_range(Range::Suffix(0));
    /// store.get(&Key::new("missing")?, nothing).await?; // no error: the object is missing first
    /// let stats = store.observer().stats();
    /// assert_eq!((stats[&Operation::Get].calls, stats[&Operation::Get].errors), (1, 0));
    /// assert!(!stats.contains_key(&Operation::Put));
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    #[must_use]
    pub fn stats(&self) -> BTreeMap<Operation, OperationStats> {
        // Sums, changed in single steps.
        self.0.lock().ignore_poison().clone()
    }
}

impl Observer for Counters {
    fn observed(&self, observation: &Observation<'_>) {
        let mut all = self.0.lock().ignore_poison();
        let stats = all.entry(observation.operation).or_default();
        stats.calls += 1;
        stats.errors += u64::from(observation.error.is_some());
        stats.bytes += observation.bytes;
        stats.took += observation.took;
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: ObjectStore, O: Observer> ObjectStore for Observed<S, O> {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
    fn generation(&self) -> Option<u64> {
        self.inner.generation()
    }
    fn health(&self) -> Result<()> {
        self.inner.health()
    }

    async fn head(&self, key: &Key) -> Result<Option<ObjectMeta>> {
        self.observe(Operation::Head, key.as_str(), 0, self.inner.head(key), |_| 0).await
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<GetResult> {
        let received = |result: &GetResult| match result {
            GetResult::Object { range, .. } => range.length,
            GetResult::Missing | GetResult::ConditionFailed(_) => 0,
        };
        self.observe(Operation::Get, key.as_str(), 0, self.inner.get(key, options), received).await
    }

    async fn put(&self, key: &Key, body: Body, options: PutOptions) -> Result<PutResult> {
        self.observe(Operation::Put, key.as_str(), body.length(), self.inner.put(key, body, options), |_| 0).await
    }

    async fn delete(&self, keys: &[Key]) -> Result<()> {
        let first = keys.first().map(Key::as_str).unwrap_or_default();
        self.observe(Operation::Delete, first, 0, self.inner.delete(keys), |()| 0).await
    }

    async fn delete_version(&self, key: &Key, version: &str) -> Result<bool> {
        self.observe(Operation::Delete, key.as_str(), 0, self.inner.delete_version(key, version), |_| 0).await
    }

    async fn list(&self, options: ListOptions) -> Result<ListPage> {
        let prefix = options.prefix.clone().unwrap_or_default();
        self.observe(Operation::List, &prefix, 0, self.inner.list(options), |_| 0).await
    }

    async fn create_multipart(&self, key: &Key, options: MultipartOptions) -> Result<UploadId> {
        self.observe(Operation::CreateMultipart, key.as_str(), 0, self.inner.create_multipart(key, options), |_| 0)
            .await
    }

    async fn upload_part(&self, key: &Key, upload: &UploadId, number: u16, body: Body) -> Result<Part> {
        let sent = body.length();
        self.observe(
            Operation::UploadPart,
            key.as_str(),
            sent,
            self.inner.upload_part(key, upload, number, body),
            |_| 0,
        )
        .await
    }

    async fn complete_multipart(&self, key: &Key, upload: &UploadId, parts: Vec<Part>) -> Result<ObjectMeta> {
        let work = self.inner.complete_multipart(key, upload, parts);
        self.observe(Operation::CompleteMultipart, key.as_str(), 0, work, |_| 0).await
    }

    async fn complete_multipart_if(
        &self,
        key: &Key,
        upload: &UploadId,
        parts: Vec<Part>,
        conditions: Conditions,
    ) -> Result<PutResult> {
        let work = self.inner.complete_multipart_if(key, upload, parts, conditions);
        self.observe(Operation::CompleteMultipart, key.as_str(), 0, work, |_| 0).await
    }

    async fn abort_multipart(&self, key: &Key, upload: &UploadId) -> Result<()> {
        self.observe(Operation::AbortMultipart, key.as_str(), 0, self.inner.abort_multipart(key, upload), |()| 0).await
    }

    async fn list_parts(&self, key: &Key, upload: &UploadId) -> Result<Vec<PartInfo>> {
        self.observe(Operation::ListParts, key.as_str(), 0, self.inner.list_parts(key, upload), |_| 0).await
    }

    async fn list_uploads(&self, options: ListUploadsOptions) -> Result<Vec<UploadInfo>> {
        let prefix = options.prefix.clone().unwrap_or_default();
        self.observe(Operation::ListUploads, &prefix, 0, self.inner.list_uploads(options), |_| 0).await
    }

    async fn copy(&self, from: &Key, to: &Key, options: CopyOptions) -> Result<Option<PutResult>> {
        self.observe(Operation::Copy, from.as_str(), 0, self.inner.copy(from, to, options), |_| 0).await
    }

    async fn presign(&self, options: PresignOptions) -> Result<String> {
        let key = options.key.clone();
        self.observe(Operation::Presign, key.as_str(), 0, self.inner.presign(options), |_| 0).await
    }
}
