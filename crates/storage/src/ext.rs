//! Convenience over [`ObjectStore`]: nothing here that the trait could not do.

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::stream::BoxStream;
use futures_util::{StreamExt, stream};

use crate::{
    Body, Error, ErrorKind, GetOptions, Key, ListOptions, Multipart, MultipartOptions, ObjectMeta, ObjectStore,
    PutOptions, PutResult, Result, UploadId, content_type, limits,
};

/// What every store can do by way of the trait.
#[async_trait]
pub trait ObjectStoreExt: ObjectStore {
    /// The whole object in memory, or `None`.
    ///
    /// # Errors
    /// As [`ObjectStore::get`] and [`Body::bytes`].
    async fn read(&self, key: &Key) -> Result<Option<(ObjectMeta, Bytes)>> {
        match self.get(key, GetOptions::default()).await?.into_object() {
            Some((meta, body)) => Ok(Some((meta, body.bytes().await?))),
            None => Ok(None),
        }
    }

    /// Stores an object with the content type of its key's extension.
    ///
    /// # Errors
    /// As [`ObjectStore::put`].
    async fn write<B: Into<Body> + Send>(&self, key: &Key, body: B) -> Result<ObjectMeta> {
        match self.write_with(key, body, PutOptions::default()).await? {
            PutResult::Stored(meta) => Ok(meta),
            PutResult::ConditionFailed => {
                Err(Error::new(ErrorKind::Internal, "a put without conditions cannot fail one").during("put"))
            }
        }
    }

    /// Stores an object; where the options have no content type, the key's extension gives it.
    ///
    /// # Errors
    /// As [`ObjectStore::put`].
    async fn write_with<B: Into<Body> + Send>(&self, key: &Key, body: B, mut options: PutOptions) -> Result<PutResult> {
        let body = body.into();
        if options.http.content_type.is_none() {
            options.http.content_type = content_type::from_key(key.as_str());
        }
        self.put(key, body, options).await
    }

    /// Deletes any number of objects, in calls of at most 1000.
    ///
    /// # Errors
    /// As [`ObjectStore::delete`]; keys of earlier calls are gone then.
    async fn delete_all(&self, keys: &[Key]) -> Result<()> {
        for chunk in keys.chunks(limits::DELETE_KEYS) {
            self.delete(chunk).await?;
        }
        Ok(())
    }

    /// Every object of a listing, page after page as it is read.
    fn list_all(&self, options: ListOptions) -> BoxStream<'_, Result<ObjectMeta>> {
        let pages = stream::try_unfold(Some(options), move |next| async move {
            let Some(options) = next else { return Ok::<_, Error>(None) };
            let page = self.list(options.clone()).await?;
            let next = page.cursor.map(|cursor| options.with_cursor(cursor));
            Ok(Some((page.objects, next)))
        });
        pages
            .flat_map(|page| match page {
                Ok(objects) => stream::iter(objects).map(Ok).boxed(),
                Err(error) => stream::iter([Err(error)]).boxed(),
            })
            .boxed()
    }

    /// Starts a multipart upload.
    ///
    /// # Errors
    /// As [`ObjectStore::create_multipart`].
    async fn multipart(&self, key: &Key, options: MultipartOptions) -> Result<Multipart<'_, Self>> {
        let upload = self.create_multipart(key, options).await?;
        Ok(Multipart::new(self, key.clone(), upload))
    }

    /// Takes up a multipart upload by its id; nothing is checked until it is used.
    fn resume_multipart(&self, key: &Key, upload: UploadId) -> Multipart<'_, Self> {
        Multipart::new(self, key.clone(), upload)
    }
}

impl<S: ObjectStore + ?Sized> ObjectStoreExt for S {}
