use async_trait::async_trait;
use unicode_normalization::UnicodeNormalization;

use crate::{
    Body, Capabilities, Conditions, CopyOptions, GetOptions, GetResult, Key, ListOptions, ListPage, ListUploadsOptions,
    MultipartOptions, ObjectMeta, ObjectStore, Part, PartInfo, PresignOptions, PutOptions, PutResult, Result, UploadId,
    UploadInfo,
};

/// Keys in Unicode's normal form C, as R2 itself stores them: "e" with an accent behind it and "é" are one key, by its second
/// name. miniflare and the other stores take keys as they are.
///
/// Objects that a store has from before under another form are listed, and not reached by their keys.
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use isobar_storage::layers::NfcKeys;
/// use isobar_storage::memory::MemoryStore;
/// use isobar_storage::{Key, ObjectStore, ObjectStoreExt};
/// # futures_util::FutureExt::now_or_never(async {
/// let store = NfcKeys::new(MemoryStore::new());
/// store.write(&Key::new("cafe\u{301}")?, "x").await?;
/// assert!(store.head(&Key::new("caf\u{e9}")?).await?.is_some());
/// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
/// ```
#[derive(Debug, Clone)]
pub struct NfcKeys<S> {
    inner: S,
}

impl<S: ObjectStore> NfcKeys<S> {
    /// `inner`, asked by normal keys alone. Prefixes, delimiters and `start_after` of listings are normalised as well; an object is listed by
    /// the key that it is stored under.
    ///
    /// # Errors
    /// Of the operations: [`InvalidKey`](crate::ErrorKind::InvalidKey) where a key is longer than 1,024 bytes in its normal form.
    pub fn new(inner: S) -> Self {
        Self { inner }
    }
}

fn composed(text: &str) -> String {
    text.nfc().collect()
}

/// # Errors
/// [`InvalidKey`](crate::ErrorKind::InvalidKey): some texts are longer in this form.
fn composed_key(key: &Key) -> Result<Key> {
    Key::new(composed(key.as_str()))
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: ObjectStore> ObjectStore for NfcKeys<S> {
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
        self.inner.head(&composed_key(key)?).await
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<GetResult> {
        self.inner.get(&composed_key(key)?, options).await
    }

    async fn put(&self, key: &Key, body: Body, options: PutOptions) -> Result<PutResult> {
        self.inner.put(&composed_key(key)?, body, options).await
    }

    async fn delete(&self, keys: &[Key]) -> Result<()> {
        let keys = keys.iter().map(composed_key).collect::<Result<Vec<_>>>()?;
        self.inner.delete(&keys).await
    }

    async fn delete_version(&self, key: &Key, version: &str) -> Result<bool> {
        self.inner.delete_version(&composed_key(key)?, version).await
    }

    async fn list(&self, options: ListOptions) -> Result<ListPage> {
        let ListOptions { prefix, delimiter, start_after, cursor, limit, include_http, include_custom } = options;
        let [prefix, delimiter, start_after] =
            [prefix, delimiter, start_after].map(|text| text.map(|text| composed(&text)));
        let options = ListOptions { prefix, delimiter, start_after, cursor, limit, include_http, include_custom };
        self.inner.list(options).await
    }

    async fn create_multipart(&self, key: &Key, options: MultipartOptions) -> Result<UploadId> {
        self.inner.create_multipart(&composed_key(key)?, options).await
    }

    async fn upload_part(&self, key: &Key, upload: &UploadId, number: u16, body: Body) -> Result<Part> {
        self.inner.upload_part(&composed_key(key)?, upload, number, body).await
    }

    async fn complete_multipart(&self, key: &Key, upload: &UploadId, parts: Vec<Part>) -> Result<ObjectMeta> {
        self.inner.complete_multipart(&composed_key(key)?, upload, parts).await
    }

    async fn complete_multipart_if(
        &self,
        key: &Key,
        upload: &UploadId,
        parts: Vec<Part>,
        conditions: Conditions,
    ) -> Result<PutResult> {
        self.inner.complete_multipart_if(&composed_key(key)?, upload, parts, conditions).await
    }

    async fn abort_multipart(&self, key: &Key, upload: &UploadId) -> Result<()> {
        self.inner.abort_multipart(&composed_key(key)?, upload).await
    }

    async fn list_parts(&self, key: &Key, upload: &UploadId) -> Result<Vec<PartInfo>> {
        self.inner.list_parts(&composed_key(key)?, upload).await
    }

    async fn list_uploads(&self, options: ListUploadsOptions) -> Result<Vec<UploadInfo>> {
        let ListUploadsOptions { prefix, after, limit } = options;
        let prefix = prefix.map(|prefix| composed(&prefix));
        let after = after.map(|(key, upload)| (composed(&key), upload));
        self.inner.list_uploads(ListUploadsOptions { prefix, after, limit }).await
    }

    async fn copy(&self, from: &Key, to: &Key, options: CopyOptions) -> Result<Option<PutResult>> {
        self.inner.copy(&composed_key(from)?, &composed_key(to)?, options).await
    }

    async fn presign(&self, options: PresignOptions) -> Result<String> {
        let PresignOptions { key, method, expires } = options;
        self.inner.presign(PresignOptions { key: composed_key(&key)?, method, expires }).await
    }
}
