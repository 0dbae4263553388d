//! The handle of one multipart upload.

use crate::{Body, Key, ObjectMeta, ObjectStore, Part, Result, UploadId};

/// One multipart upload in flight: its parts may come in any order, from several tasks, and from another process by
/// [`id`](Self::id). From [`ObjectStoreExt::multipart`](crate::ObjectStoreExt::multipart), or resumed.
///
/// Until it is completed, no reader sees anything of it; an object under the key stays as it is. Parts have at least 5 MiB and
/// one size, but for the last, which may be smaller. An upload that is neither completed nor aborted is given up after 7 days.
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use isobar_storage::memory::MemoryStore;
/// use isobar_storage::{Key, MultipartOptions, ObjectStoreExt};
/// # futures_util::FutureExt::now_or_never(async {
/// let store = MemoryStore::new();
/// let key = Key::new("video.mp4")?;
/// let upload = store.multipart(&key, MultipartOptions::default()).await?;
/// let id = upload.id().clone(); // to be kept with the parts
///
/// // Later, perhaps in another process:
/// let upload = store.resume_multipart(&key, id);
/// let part = upload.upload_part(1, "the only part").await?;
/// assert!(store.read(&key).await?.is_none());
/// assert_eq!(upload.complete(vec![part]).await?.size, 13);
/// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
/// ```
#[derive(Debug)]
pub struct Multipart<'a, S: ObjectStore + ?Sized> {
    store: &'a S,
    key: Key,
    upload: UploadId,
}

impl<'a, S: ObjectStore + ?Sized> Multipart<'a, S> {
    /// Takes up an upload; nothing is checked until it is used.
    pub(crate) fn new(store: &'a S, key: Key, upload: UploadId) -> Self {
        Self { store, key, upload }
    }

    /// The upload's id: keep it to resume in another process.
    #[must_use]
    pub fn id(&self) -> &UploadId {
        &self.upload
    }

    /// Uploads a part; parts may come in any order, and again.
    ///
    /// # Errors
    /// As [`ObjectStore::upload_part`].
    pub async fn upload_part(&self, number: u16, body: impl Into<Body>) -> Result<Part> {
        self.store.upload_part(&self.key, &self.upload, number, body.into()).await
    }

    /// Makes the object out of the parts.
    ///
    /// # Errors
    /// As [`ObjectStore::complete_multipart`].
    pub async fn complete(self, parts: Vec<Part>) -> Result<ObjectMeta> {
        self.store.complete_multipart(&self.key, &self.upload, parts).await
    }

    /// Gives the upload up.
    ///
    /// # Errors
    /// As [`ObjectStore::abort_multipart`].
    pub async fn abort(self) -> Result<()> {
        self.store.abort_multipart(&self.key, &self.upload).await
    }
}
