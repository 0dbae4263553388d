//! Convenience over [`ObjectStore`]: nothing here that the trait could not do.

use std::error::Error as StdError;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_core::stream::{BoxStream, Stream};
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::{
    Body, Error, ErrorKind, GetOptions, Key, ListOptions, Multipart, MultipartOptions, ObjectMeta, ObjectStore,
    Operation, PutOptions, PutResult, Result, UploadId, content_type, limits,
};

/// Bytes in a part of [`ObjectStoreExt::write_stream`]: R2 takes at least 5 MiB.
const STREAM_PART: usize = 8 << 20;

/// Shorter calls that every store has by way of the trait.
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use isobar_storage::memory::MemoryStore;
/// use isobar_storage::{Key, ObjectStoreExt};
/// # futures_util::FutureExt::now_or_never(async {
/// let store = MemoryStore::new();
/// // The content type comes from the key.
/// let meta = store.write(&Key::new("index.html")?, "<h1>Hi</h1>").await?;
/// assert_eq!(meta.http.content_type.as_deref(), Some("text/html; charset=utf-8"));
/// let (_, bytes) = store.read(&meta.key).await?.expect("it was written");
/// assert_eq!(bytes, "<h1>Hi</h1>");
/// store.delete_all(&[meta.key]).await?;
/// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
/// ```
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
        stored(self.write_with(key, body, PutOptions::default()).await?)
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

    /// Stores a body of any length: by one `put` where that takes it (to 5 GiB - 5 MiB), streamed; else in parts of one size,
    /// as R2 wants them, which is picked so that 10,000 are enough, with one of them in memory at a time. The key's extension
    /// gives the content type where the options have none.
    ///
    /// # Errors
    /// As [`ObjectStore::put`] and the multipart operations; an upload is aborted then.
    async fn upload(&self, key: &Key, body: Body, mut options: MultipartOptions) -> Result<ObjectMeta> {
        if options.http.content_type.is_none() {
            options.http.content_type = content_type::from_key(key.as_str());
        }
        let length = body.length();
        if length <= limits::SINGLE_PUT_BYTES {
            return stored(self.put(key, body, put_options(options)).await?);
        }
        let least = length.div_ceil(u64::from(limits::PART_NUMBER));
        let too_large = |_| Error::new(ErrorKind::TooLarge, format!("a part of {least} bytes does not fit in memory"));
        // Whole mebibytes.
        let part = usize::try_from(least.next_multiple_of(1 << 20)).map_err(too_large)?.max(STREAM_PART);
        let mut chunks = body.into_stream().fuse();
        let mut buffer = BytesMut::new();
        fill(&mut buffer, &mut chunks, part).await?;
        self.write_parts(key, buffer, &mut chunks, part, options).await
    }

    /// Stores a stream of unknown length: whole where it fits one part of 8 MiB, else in parts of that size,
    /// one in memory at a time. The stream's error may be any; one that is not of this crate becomes [`ErrorKind::Body`]. The
    /// key's extension gives the content type where the options have none.
    ///
    /// # Errors
    /// As [`ObjectStore::put`] and the multipart operations, and what the stream fails with; the upload is aborted then.
    /// A stream of more than 10,000 parts (78 GiB) is [`ErrorKind::InvalidArgument`].
    async fn write_stream<S, E>(&self, key: &Key, chunks: S, mut options: MultipartOptions) -> Result<ObjectMeta>
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: Into<Box<dyn StdError + Send + Sync>> + 'static,
    {
        let mut chunks = chunks.map_err(Error::of_body).boxed().fuse(); // asked again after its end
        if options.http.content_type.is_none() {
            options.http.content_type = content_type::from_key(key.as_str());
        }
        let mut buffer = BytesMut::new();
        if !fill(&mut buffer, &mut chunks, STREAM_PART).await? {
            return stored(self.put(key, buffer.freeze().into(), put_options(options)).await?);
        }
        self.write_parts(key, buffer, &mut chunks, STREAM_PART, options).await
    }

    #[doc(hidden)]
    async fn write_parts(
        &self,
        key: &Key,
        mut buffer: BytesMut,
        chunks: &mut (dyn Stream<Item = Result<Bytes>> + Unpin + Send),
        part: usize,
        options: MultipartOptions,
    ) -> Result<ObjectMeta> {
        let upload = self.multipart(key, options).await?;
        let parts = async {
            let mut parts = Vec::new();
            while !buffer.is_empty() {
                let body = buffer.split_to(buffer.len().min(part)).freeze();
                // A number beyond 10,000 is the store's to refuse.
                let number = u16::try_from(parts.len() + 1).unwrap_or(u16::MAX);
                parts.push(upload.upload_part(number, body).await?);
                fill(&mut buffer, chunks, part).await?;
            }
            Ok(parts)
        };
        match parts.await {
            Ok(parts) => upload.complete(parts).await,
            Err(error) => {
                // The first error counts; an upload that cannot be aborted expires.
                drop(upload.abort().await);
                Err(error)
            }
        }
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

/// The metadata of a put that had no conditions.
fn stored(result: PutResult) -> Result<ObjectMeta> {
    let impossible =
        || Error::new(ErrorKind::Internal, "a put without conditions cannot fail one").during(Operation::Put);
    result.stored().ok_or_else(impossible)
}

fn put_options(options: MultipartOptions) -> PutOptions {
    let MultipartOptions { http, custom, storage_class } = options;
    PutOptions { http, custom, storage_class, ..PutOptions::default() }
}

/// Fills the buffer beyond one part; whether it got that far before the end.
async fn fill(
    buffer: &mut BytesMut,
    chunks: &mut (dyn Stream<Item = Result<Bytes>> + Unpin + Send),
    part: usize,
) -> Result<bool> {
    while buffer.len() <= part {
        let Some(chunk) = chunks.try_next().await? else { return Ok(false) };
        buffer.extend_from_slice(&chunk);
    }
    Ok(true)
}
