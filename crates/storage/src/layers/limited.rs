use std::sync::Arc;

use async_trait::async_trait;
use futures_util::TryStreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    Body, Capabilities, Conditions, CopyOptions, Error, ErrorKind, GetOptions, GetResult, Key, ListOptions, ListPage,
    ListUploadsOptions, MultipartOptions, ObjectMeta, ObjectStore, Operation, Part, PartInfo, PresignOptions,
    PutOptions, PutResult, Result, UploadId, UploadInfo, limits,
};

/// A store with a bounded number of operations in flight, and bodies of a bounded size.
///
/// Operations beyond the limit wait in order. A `get` counts until its body was read or dropped.
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use isobar_storage::layers::{LimitOptions, Limited};
/// use isobar_storage::memory::MemoryStore;
/// use isobar_storage::{ErrorKind, Key, ObjectStoreExt};
/// # futures_util::FutureExt::now_or_never(async {
/// let options = LimitOptions::default().with_concurrency(8).with_max_bytes(1024);
/// let store = Limited::new(MemoryStore::new(), options);
/// let error = store.write(&Key::new("large")?, vec![0; 2000]).await.unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::TooLarge);
/// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
/// ```
#[derive(Debug, Clone)]
pub struct Limited<S> {
    inner: S,
    permits: Arc<Semaphore>,
    max_bytes: u64,
}

/// The limits of [`Limited`].
///
/// ```
/// use isobar_storage::layers::LimitOptions;
///
/// let options = LimitOptions::default().with_concurrency(8);
/// assert_eq!((options.concurrency, options.max_bytes), (8, isobar_storage::limits::SINGLE_PUT_BYTES));
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct LimitOptions {
    /// Operations in flight. Default: 64; at least 1.
    pub concurrency: usize,
    /// Bytes of a body or of a part. Default: R2's limit, 5 GiB - 5 MiB.
    pub max_bytes: u64,
}

impl Default for LimitOptions {
    fn default() -> Self {
        Self { concurrency: 64, max_bytes: limits::SINGLE_PUT_BYTES }
    }
}

impl LimitOptions {
    /// Operations in flight; at least one. One too many waits, in order of arrival, without a time limit: put a timeout around the call where
    /// that matters. A call that is dropped leaves its place.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use futures_util::FutureExt;
    /// use isobar_storage::layers::{LimitOptions, Limited};
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::mock::MockStore;
    /// use isobar_storage::{Key, ObjectStore, Operation};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let mock = MockStore::new(MemoryStore::new());
    /// let held = mock.script().hold_next(Operation::Head);
    /// let store = Limited::new(mock, LimitOptions::default().with_concurrency(1));
    /// let key = Key::new("a")?;
    /// let mut first = store.head(&key);
    /// assert!((&mut first).now_or_never().is_none()); // it is held, and has the only permit
    /// assert!(store.head(&key).now_or_never().is_none());
    /// held.release();
    /// assert!(first.await?.is_none());
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    #[must_use]
    pub fn with_concurrency(mut self, concurrency: usize) -> Self {
        self.concurrency = concurrency;
        self
    }

    /// Bytes of a body, or of a part. A larger one is refused by its announced length, before a byte of it is read.
    ///
    /// ```
    /// use isobar_storage::layers::LimitOptions;
    ///
    /// assert_eq!(LimitOptions::default().with_max_bytes(10 << 20).max_bytes, 10 << 20);
    /// ```
    #[must_use]
    pub fn with_max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }
}

impl<S: ObjectStore> Limited<S> {
    /// This store within limits. Clones share them.
    pub fn new(inner: S, options: LimitOptions) -> Self {
        let LimitOptions { concurrency, max_bytes } = options;
        let permits = Semaphore::new(concurrency.clamp(1, Semaphore::MAX_PERMITS));
        Self { inner, permits: Arc::new(permits), max_bytes }
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit> {
        let closed = |_| Error::new(ErrorKind::Internal, "the limit was closed");
        Arc::clone(&self.permits).acquire_owned().await.map_err(closed)
    }

    fn check(&self, body: &Body, operation: Operation) -> Result<()> {
        if body.length() <= self.max_bytes {
            return Ok(());
        }
        let message = format!("the body has {} bytes, at most {} are taken here", body.length(), self.max_bytes);
        Err(Error::new(ErrorKind::TooLarge, message).during(operation))
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: ObjectStore> ObjectStore for Limited<S> {
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
        let _permit = self.permit().await?;
        self.inner.head(key).await
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<GetResult> {
        let permit = self.permit().await?;
        Ok(match self.inner.get(key, options).await? {
            GetResult::Object { meta, range, body } if body.as_bytes().is_none() => {
                let chunks = body.into_stream().inspect_ok(move |_| {
                    let _permit = &permit; // until the stream is dropped
                });
                GetResult::Object { meta, range, body: Body::from_stream(range.length, chunks) }
            }
            found => found,
        })
    }

    async fn put(&self, key: &Key, body: Body, options: PutOptions) -> Result<PutResult> {
        self.check(&body, Operation::Put)?;
        let _permit = self.permit().await?;
        self.inner.put(key, body, options).await
    }

    async fn delete(&self, keys: &[Key]) -> Result<()> {
        let _permit = self.permit().await?;
        self.inner.delete(keys).await
    }

    async fn delete_version(&self, key: &Key, version: &str) -> Result<bool> {
        let _permit = self.permit().await?;
        self.inner.delete_version(key, version).await
    }

    async fn list(&self, options: ListOptions) -> Result<ListPage> {
        let _permit = self.permit().await?;
        self.inner.list(options).await
    }

    async fn create_multipart(&self, key: &Key, options: MultipartOptions) -> Result<UploadId> {
        let _permit = self.permit().await?;
        self.inner.create_multipart(key, options).await
    }

    async fn upload_part(&self, key: &Key, upload: &UploadId, number: u16, body: Body) -> Result<Part> {
        self.check(&body, Operation::UploadPart)?;
        let _permit = self.permit().await?;
        self.inner.upload_part(key, upload, number, body).await
    }

    async fn complete_multipart(&self, key: &Key, upload: &UploadId, parts: Vec<Part>) -> Result<ObjectMeta> {
        let _permit = self.permit().await?;
        self.inner.complete_multipart(key, upload, parts).await
    }

    async fn complete_multipart_if(
        &self,
        key: &Key,
        upload: &UploadId,
        parts: Vec<Part>,
        conditions: Conditions,
    ) -> Result<PutResult> {
        let _permit = self.permit().await?;
        self.inner.complete_multipart_if(key, upload, parts, conditions).await
    }

    async fn abort_multipart(&self, key: &Key, upload: &UploadId) -> Result<()> {
        let _permit = self.permit().await?;
        self.inner.abort_multipart(key, upload).await
    }

    async fn list_parts(&self, key: &Key, upload: &UploadId) -> Result<Vec<PartInfo>> {
        let _permit = self.permit().await?;
        self.inner.list_parts(key, upload).await
    }

    async fn list_uploads(&self, options: ListUploadsOptions) -> Result<Vec<UploadInfo>> {
        let _permit = self.permit().await?;
        self.inner.list_uploads(options).await
    }

    async fn copy(&self, from: &Key, to: &Key, options: CopyOptions) -> Result<Option<PutResult>> {
        let _permit = self.permit().await?;
        self.inner.copy(from, to, options).await
    }

    async fn presign(&self, options: PresignOptions) -> Result<String> {
        self.inner.presign(options).await
    }
}
