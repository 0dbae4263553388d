//! A backend that records its calls and fails, waits or holds as scripted, over any other backend.
//!
//! For a user's tests of what their code does when storage fails, and for the crate's own of layers. It is a wrapper and no fake: what it
//! does not fail, the backend does, so that a test sees real answers between the faults.

use std::sync::Arc;

use async_trait::async_trait;
pub use isobar_testkit::{Call, Release, Script};

use crate::{
    Body, Capabilities, Conditions, CopyOptions, Error, GetOptions, GetResult, Key, ListOptions, ListPage,
    ListUploadsOptions, MultipartOptions, ObjectMeta, ObjectStore, Operation, Part, PartInfo, PresignOptions,
    PutOptions, PutResult, Result, UploadId, UploadInfo,
};

/// Any store, with a [`Script`] before every operation. Operations are those of [`Operation`], in scripts and in the record of
/// calls alike; a scripted error names the operation that it fails, as a backend's own errors do.
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use isobar_storage::{Error, ErrorKind, Key, ObjectStore, Operation, memory::MemoryStore, mock::MockStore};
/// # futures_util::FutureExt::now_or_never(async {
/// let store = MockStore::new(MemoryStore::new());
/// store.script().fail_next(Operation::Head, Error::new(ErrorKind::Unavailable, "the disk is on fire"));
/// let key = Key::new("a").unwrap();
/// let error = store.head(&key).await.unwrap_err();
/// assert_eq!(error.to_string(), "head: the disk is on fire");
/// assert!(store.head(&key).await.unwrap().is_none());
/// assert_eq!(store.script().count(Operation::Head), 2);
/// assert!(store.script().unplayed().is_empty());
/// # }).unwrap(); }
/// ```
#[derive(Debug, Clone)]
pub struct MockStore {
    inner: Arc<dyn ObjectStore>,
    script: Script<Error>,
    has_generation: bool,
}

impl MockStore {
    /// A mock over this backend; without a script it only records.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::mock::MockStore;
    /// use isobar_storage::{Key, ObjectStore, Operation};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MockStore::new(MemoryStore::new());
    /// store.head(&Key::new("a")?).await?;
    /// let calls = store.script().calls();
    /// assert_eq!((calls[0].operation, calls[0].subject.as_str()), (Operation::Head.name(), "a"));
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    pub fn new(inner: impl ObjectStore + 'static) -> Self {
        Self { inner: Arc::new(inner), script: Script::new(Operation::ALL), has_generation: true }
    }

    /// As a backend that cannot tell whether anything has changed: [`generation`](ObjectStore::generation) is `None`.
    ///
    /// ```
    /// use isobar_storage::ObjectStore;
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::mock::MockStore;
    ///
    /// assert!(MockStore::new(MemoryStore::new()).generation().is_some());
    /// assert_eq!(MockStore::new(MemoryStore::new()).without_generation().generation(), None);
    /// ```
    #[must_use]
    pub fn without_generation(mut self) -> Self {
        self.has_generation = false;
        self
    }

    /// The script and the record of calls.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::mock::MockStore;
    /// use isobar_storage::{Error, ErrorKind, Key, ObjectStoreExt, Operation};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MockStore::new(MemoryStore::new());
    /// store.script().fail_next(Operation::Put, Error::new(ErrorKind::StorageFull, "no space left on device"));
    /// let full = store.write(&Key::new("a")?, "1").await.unwrap_err();
    /// assert_eq!(full.to_string(), "put: no space left on device");
    /// store.write(&Key::new("a")?, "1").await?; // one step fails one call
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    #[must_use]
    pub fn script(&self) -> &Script<Error> {
        &self.script
    }

    /// Records a call and plays its step.
    async fn enter(&self, operation: Operation, subject: impl Into<String> + Send) -> Result<()> {
        self.script.enter(operation, subject).await.map_err(|error| error.during(operation))
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for MockStore {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
    fn generation(&self) -> Option<u64> {
        if self.has_generation { self.inner.generation() } else { None }
    }
    fn health(&self) -> Result<()> {
        self.inner.health()
    }
    async fn head(&self, key: &Key) -> Result<Option<ObjectMeta>> {
        self.enter(Operation::Head, key.as_str()).await?;
        self.inner.head(key).await
    }
    async fn get(&self, key: &Key, options: GetOptions) -> Result<GetResult> {
        self.enter(Operation::Get, key.as_str()).await?;
        self.inner.get(key, options).await
    }
    async fn put(&self, key: &Key, body: Body, options: PutOptions) -> Result<PutResult> {
        self.enter(Operation::Put, key.as_str()).await?;
        self.inner.put(key, body, options).await
    }
    async fn delete(&self, keys: &[Key]) -> Result<()> {
        self.enter(Operation::Delete, keys.iter().map(Key::as_str).collect::<Vec<_>>().join(",")).await?;
        self.inner.delete(keys).await
    }
    async fn delete_version(&self, key: &Key, version: &str) -> Result<bool> {
        self.enter(Operation::Delete, key.as_str()).await?;
        self.inner.delete_version(key, version).await
    }
    async fn list(&self, options: ListOptions) -> Result<ListPage> {
        self.enter(Operation::List, options.prefix.as_deref().unwrap_or_default()).await?;
        self.inner.list(options).await
    }
    async fn create_multipart(&self, key: &Key, options: MultipartOptions) -> Result<UploadId> {
        self.enter(Operation::CreateMultipart, key.as_str()).await?;
        self.inner.create_multipart(key, options).await
    }
    async fn upload_part(&self, key: &Key, upload: &UploadId, number: u16, body: Body) -> Result<Part> {
        self.enter(Operation::UploadPart, key.as_str()).await?;
        self.inner.upload_part(key, upload, number, body).await
    }
    async fn complete_multipart(&self, key: &Key, upload: &UploadId, parts: Vec<Part>) -> Result<ObjectMeta> {
        self.enter(Operation::CompleteMultipart, key.as_str()).await?;
        self.inner.complete_multipart(key, upload, parts).await
    }
    async fn complete_multipart_if(
        &self,
        key: &Key,
        upload: &UploadId,
        parts: Vec<Part>,
        conditions: Conditions,
    ) -> Result<PutResult> {
        self.enter(Operation::CompleteMultipart, key.as_str()).await?;
        self.inner.complete_multipart_if(key, upload, parts, conditions).await
    }
    async fn abort_multipart(&self, key: &Key, upload: &UploadId) -> Result<()> {
        self.enter(Operation::AbortMultipart, key.as_str()).await?;
        self.inner.abort_multipart(key, upload).await
    }
    async fn list_parts(&self, key: &Key, upload: &UploadId) -> Result<Vec<PartInfo>> {
        self.enter(Operation::ListParts, key.as_str()).await?;
        self.inner.list_parts(key, upload).await
    }
    async fn list_uploads(&self, options: ListUploadsOptions) -> Result<Vec<UploadInfo>> {
        self.enter(Operation::ListUploads, options.prefix.as_deref().unwrap_or_default()).await?;
        self.inner.list_uploads(options).await
    }
    async fn copy(&self, from: &Key, to: &Key, options: CopyOptions) -> Result<Option<PutResult>> {
        self.enter(Operation::Copy, from.as_str()).await?;
        self.inner.copy(from, to, options).await
    }
    async fn presign(&self, options: PresignOptions) -> Result<String> {
        self.enter(Operation::Presign, options.key.as_str()).await?;
        self.inner.presign(options).await
    }
}
