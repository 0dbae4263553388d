use async_trait::async_trait;

use crate::{
    Body, Capabilities, Conditions, CopyOptions, Error, ErrorKind, GetOptions, GetResult, Key, ListOptions, ListPage,
    ListUploadsOptions, MultipartOptions, ObjectMeta, ObjectStore, Part, PartInfo, PresignOptions, PutOptions,
    PutResult, Result, UploadId, UploadInfo,
};

/// A part of another store as a store of its own: its keys are those below a prefix, without the prefix.
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use isobar_storage::layers::Prefixed;
/// use isobar_storage::memory::MemoryStore;
/// use isobar_storage::{Key, ObjectStore, ObjectStoreExt};
/// # futures_util::FutureExt::now_or_never(async {
/// let bucket = MemoryStore::new();
/// let tenant = Prefixed::new(bucket.clone(), "tenants/7/")?;
/// tenant.write(&Key::new("notes.md")?, "# Notes").await?;
/// assert!(bucket.head(&Key::new("tenants/7/notes.md")?).await?.is_some());
/// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
/// ```
#[derive(Debug, Clone)]
pub struct Prefixed<S> {
    inner: S,
    prefix: String,
}

impl<S: ObjectStore> Prefixed<S> {
    /// Returns the part of `inner` below `prefix`. The prefix is taken as it is: one of a folder ends in `/`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidKey`] where the prefix leaves no room for a key.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::ErrorKind;
    /// use isobar_storage::layers::Prefixed;
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{Key, ListOptions, ObjectStore, ObjectStoreExt};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let bucket = MemoryStore::new();
    /// bucket.write(&Key::new("tenants/8/secret")?, "x").await?;
    /// let tenant = Prefixed::new(bucket, "tenants/7/")?;
    /// // `..` is a name like any other, and leads nowhere.
    /// assert!(tenant.head(&Key::new("../8/secret")?).await?.is_none());
    /// assert!(tenant.list(ListOptions::default()).await?.objects.is_empty());
    /// let too_long = Prefixed::new(MemoryStore::new(), "p".repeat(1024));
    /// assert_eq!(too_long.unwrap_err().kind(), ErrorKind::InvalidKey);
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    pub fn new(inner: S, prefix: impl Into<String>) -> Result<Self> {
        let prefix = prefix.into();
        Key::new(format!("{prefix}x"))?;
        Ok(Self { inner, prefix })
    }

    fn outer(&self, mut meta: ObjectMeta) -> Result<ObjectMeta> {
        let rest = meta.key.as_str().strip_prefix(&self.prefix);
        let astray = || Error::new(ErrorKind::Internal, format!("{} is not below {}", meta.key, self.prefix));
        meta.key = Key::new(rest.ok_or_else(astray)?)?;
        Ok(meta)
    }

    fn inner_key(&self, key: &Key) -> Result<Key> {
        Key::new(format!("{}{key}", self.prefix))
    }

    fn put_result(&self, result: PutResult) -> Result<PutResult> {
        Ok(match result {
            PutResult::Stored(meta) => PutResult::Stored(self.outer(meta)?),
            PutResult::ConditionFailed => PutResult::ConditionFailed,
        })
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: ObjectStore> ObjectStore for Prefixed<S> {
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
        self.inner.head(&self.inner_key(key)?).await?.map(|meta| self.outer(meta)).transpose()
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<GetResult> {
        Ok(match self.inner.get(&self.inner_key(key)?, options).await? {
            GetResult::Missing => GetResult::Missing,
            GetResult::ConditionFailed(meta) => GetResult::ConditionFailed(self.outer(meta)?),
            GetResult::Object { meta, range, body } => GetResult::Object { meta: self.outer(meta)?, range, body },
        })
    }

    async fn put(&self, key: &Key, body: Body, options: PutOptions) -> Result<PutResult> {
        self.put_result(self.inner.put(&self.inner_key(key)?, body, options).await?)
    }

    async fn delete(&self, keys: &[Key]) -> Result<()> {
        let keys = keys.iter().map(|key| self.inner_key(key)).collect::<Result<Vec<_>>>()?;
        self.inner.delete(&keys).await
    }

    async fn delete_version(&self, key: &Key, version: &str) -> Result<bool> {
        self.inner.delete_version(&self.inner_key(key)?, version).await
    }

    async fn list(&self, options: ListOptions) -> Result<ListPage> {
        let below = |text: Option<String>| format!("{}{}", self.prefix, text.unwrap_or_default());
        let mut options = options;
        options.prefix = Some(below(options.prefix));
        // Without one, the prefix itself is the place to start after: it is a key of nothing here.
        options.start_after = options.start_after.map(|key| below(Some(key)));
        let ListPage { objects, prefixes, cursor } = self.inner.list(options).await?;
        // A key that is the prefix alone has no name here.
        let objects = objects.into_iter().filter(|meta| meta.key.as_str() != self.prefix);
        let objects = objects.map(|meta| self.outer(meta)).collect::<Result<_>>()?;
        let short = |group: String| group.strip_prefix(&self.prefix).map(str::to_owned);
        Ok(ListPage { objects, prefixes: prefixes.into_iter().filter_map(short).collect(), cursor })
    }

    async fn create_multipart(&self, key: &Key, options: MultipartOptions) -> Result<UploadId> {
        self.inner.create_multipart(&self.inner_key(key)?, options).await
    }

    async fn upload_part(&self, key: &Key, upload: &UploadId, number: u16, body: Body) -> Result<Part> {
        self.inner.upload_part(&self.inner_key(key)?, upload, number, body).await
    }

    async fn complete_multipart(&self, key: &Key, upload: &UploadId, parts: Vec<Part>) -> Result<ObjectMeta> {
        self.outer(self.inner.complete_multipart(&self.inner_key(key)?, upload, parts).await?)
    }

    async fn complete_multipart_if(
        &self,
        key: &Key,
        upload: &UploadId,
        parts: Vec<Part>,
        conditions: Conditions,
    ) -> Result<PutResult> {
        let key = self.inner_key(key)?;
        self.put_result(self.inner.complete_multipart_if(&key, upload, parts, conditions).await?)
    }

    async fn abort_multipart(&self, key: &Key, upload: &UploadId) -> Result<()> {
        self.inner.abort_multipart(&self.inner_key(key)?, upload).await
    }

    async fn list_parts(&self, key: &Key, upload: &UploadId) -> Result<Vec<PartInfo>> {
        self.inner.list_parts(&self.inner_key(key)?, upload).await
    }

    async fn list_uploads(&self, options: ListUploadsOptions) -> Result<Vec<UploadInfo>> {
        let below = |text: &str| format!("{}{text}", self.prefix);
        let mut options = options;
        options.prefix = Some(below(options.prefix.as_deref().unwrap_or_default()));
        options.after = options.after.map(|(key, upload)| (below(&key), upload));
        let uploads = self.inner.list_uploads(options).await?;
        // A key that is the prefix alone has no name here.
        let uploads = uploads.into_iter().filter_map(|upload| {
            let short = upload.key.as_str().strip_prefix(&self.prefix).filter(|key| !key.is_empty())?;
            Some(Key::new(short).map(|key| UploadInfo { key, ..upload }))
        });
        uploads.collect()
    }

    async fn copy(&self, from: &Key, to: &Key, options: CopyOptions) -> Result<Option<PutResult>> {
        let copied = self.inner.copy(&self.inner_key(from)?, &self.inner_key(to)?, options).await?;
        copied.map(|result| self.put_result(result)).transpose()
    }

    async fn presign(&self, options: PresignOptions) -> Result<String> {
        let PresignOptions { key, method, expires } = options;
        self.inner.presign(PresignOptions { key: self.inner_key(&key)?, method, expires }).await
    }
}
