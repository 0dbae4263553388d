use async_trait::async_trait;

use crate::{
    Body, Capabilities, Conditions, CopyOptions, GetOptions, GetResult, Key, ListOptions, ListPage, ListUploadsOptions,
    MultipartOptions, ObjectMeta, ObjectStore, Operation, Part, PartInfo, PresignMethod, PresignOptions, PutOptions,
    PutResult, Result, UploadId, UploadInfo, rules,
};

/// A store that is only read: every write fails with [`ErrorKind::PermissionDenied`](crate::ErrorKind::PermissionDenied), and so does a
/// presigned PUT.
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use isobar_storage::layers::ReadOnly;
/// use isobar_storage::memory::MemoryStore;
/// use isobar_storage::{ErrorKind, Key, ObjectStoreExt};
/// # futures_util::FutureExt::now_or_never(async {
/// let store = ReadOnly::new(MemoryStore::new());
/// let error = store.write(&Key::new("a")?, "x").await.unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::PermissionDenied);
/// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
/// ```
#[derive(Debug, Clone)]
pub struct ReadOnly<S>(S);

impl<S: ObjectStore> ReadOnly<S> {
    /// This store, only to be read. Its capabilities are those of `inner` without `copy`, `multipart`, `conditional_complete`
    /// and `delete_version`.
    ///
    /// ```
    /// use isobar_storage::ObjectStore;
    /// use isobar_storage::layers::ReadOnly;
    /// use isobar_storage::memory::MemoryStore;
    ///
    /// let capabilities = ReadOnly::new(MemoryStore::new()).capabilities();
    /// assert!(!capabilities.copy && capabilities.list_parts);
    /// ```
    pub fn new(inner: S) -> Self {
        Self(inner)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: ObjectStore> ObjectStore for ReadOnly<S> {
    fn capabilities(&self) -> Capabilities {
        let inner = self.0.capabilities();
        Capabilities { copy: false, multipart: false, conditional_complete: false, delete_version: false, ..inner }
    }
    fn generation(&self) -> Option<u64> {
        self.0.generation()
    }
    fn health(&self) -> Result<()> {
        self.0.health()
    }

    async fn head(&self, key: &Key) -> Result<Option<ObjectMeta>> {
        self.0.head(key).await
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<GetResult> {
        self.0.get(key, options).await
    }

    async fn put(&self, _: &Key, _: Body, _: PutOptions) -> Result<PutResult> {
        rules::only_read(Operation::Put)
    }

    async fn delete(&self, _: &[Key]) -> Result<()> {
        rules::only_read(Operation::Delete)
    }

    async fn delete_version(&self, _: &Key, _: &str) -> Result<bool> {
        rules::only_read(Operation::Delete)
    }

    async fn list(&self, options: ListOptions) -> Result<ListPage> {
        self.0.list(options).await
    }

    async fn create_multipart(&self, _: &Key, _: MultipartOptions) -> Result<UploadId> {
        rules::only_read(Operation::CreateMultipart)
    }

    async fn upload_part(&self, _: &Key, _: &UploadId, _: u16, _: Body) -> Result<Part> {
        rules::only_read(Operation::UploadPart)
    }

    async fn complete_multipart(&self, _: &Key, _: &UploadId, _: Vec<Part>) -> Result<ObjectMeta> {
        rules::only_read(Operation::CompleteMultipart)
    }

    async fn complete_multipart_if(&self, _: &Key, _: &UploadId, _: Vec<Part>, _: Conditions) -> Result<PutResult> {
        rules::only_read(Operation::CompleteMultipart)
    }

    async fn abort_multipart(&self, _: &Key, _: &UploadId) -> Result<()> {
        rules::only_read(Operation::AbortMultipart)
    }

    async fn list_parts(&self, key: &Key, upload: &UploadId) -> Result<Vec<PartInfo>> {
        self.0.list_parts(key, upload).await
    }

    async fn list_uploads(&self, options: ListUploadsOptions) -> Result<Vec<UploadInfo>> {
        self.0.list_uploads(options).await
    }

    async fn copy(&self, _: &Key, _: &Key, _: CopyOptions) -> Result<Option<PutResult>> {
        rules::only_read(Operation::Copy)
    }

    async fn presign(&self, options: PresignOptions) -> Result<String> {
        if options.method == PresignMethod::Put {
            rules::only_read(Operation::Presign)
        } else {
            self.0.presign(options).await
        }
    }
}
