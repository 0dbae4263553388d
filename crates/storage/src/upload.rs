//! The handle of one multipart upload.

use crate::{Body, Key, ObjectMeta, ObjectStore, Part, Result, UploadId};

/// One multipart upload in flight: its parts may come in any order, from several tasks, and from another process by
/// [`id`](Self::id). From [`ObjectStoreExt::multipart`](crate::ObjectStoreExt::multipart), or resumed.
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
