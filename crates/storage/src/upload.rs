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
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{Key, MultipartOptions, ObjectStoreExt, UploadId};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MemoryStore::new();
    /// let upload = store.multipart(&Key::new("film.mp4")?, MultipartOptions::default()).await?;
    /// let kept = upload.id().as_str().to_owned();
    /// let resumed = store.resume_multipart(&Key::new("film.mp4")?, UploadId::new(kept));
    /// assert_eq!(resumed.id(), upload.id());
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    #[must_use]
    pub fn id(&self) -> &UploadId {
        &self.upload
    }

    /// Uploads a part; parts may come in any order, several at once, and again. Number: 1 to 10,000.
    ///
    /// # Errors
    /// As [`ObjectStore::upload_part`].
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{Key, MultipartOptions, ObjectStoreExt};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MemoryStore::new();
    /// let upload = store.multipart(&Key::new("film.mp4")?, MultipartOptions::default()).await?;
    /// // Two at once: their memory is the caller's to bound.
    /// let parts = futures_util::future::try_join_all([
    ///     upload.upload_part(2, "the end"),
    ///     upload.upload_part(1, "a short beginning"),
    /// ]);
    /// let numbers: Vec<u16> = parts.await?.iter().map(|part| part.part_number).collect();
    /// assert_eq!(numbers, [2, 1]);
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    pub async fn upload_part(&self, number: u16, body: impl Into<Body>) -> Result<Part> {
        self.store.upload_part(&self.key, &self.upload, number, body.into()).await
    }

    /// Makes the object out of the parts, in the order of their numbers. The handle is gone after an error, too;
    /// [`resume_multipart`](crate::ObjectStoreExt::resume_multipart) by the [id](Self::id) goes on.
    ///
    /// # Errors
    /// As [`ObjectStore::complete_multipart`].
    pub async fn complete(self, parts: Vec<Part>) -> Result<ObjectMeta> {
        self.store.complete_multipart(&self.key, &self.upload, parts).await
    }

    /// Gives the upload up and deletes its parts. Dropping the handle does not: an upload of a durable store outlives the process, for seven
    /// days.
    ///
    /// # Errors
    /// As [`ObjectStore::abort_multipart`].
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{Key, ListUploadsOptions, MultipartOptions, ObjectStore, ObjectStoreExt};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MemoryStore::new();
    /// let upload = store.multipart(&Key::new("film.mp4")?, MultipartOptions::default()).await?;
    /// upload.upload_part(1, "frames").await?;
    /// upload.abort().await?;
    /// assert!(store.list_uploads(ListUploadsOptions::default()).await?.is_empty());
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    pub async fn abort(self) -> Result<()> {
        self.store.abort_multipart(&self.key, &self.upload).await
    }
}
