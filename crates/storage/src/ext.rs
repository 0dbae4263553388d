//! Convenience over [`ObjectStore`]: nothing here that the trait could not do.
//!
//! Every store has these methods, `dyn ObjectStore` included, by one blanket `impl`; no backend overrides them. The two that take a body of
//! any length ([`upload`](ObjectStoreExt::upload), [`write_stream`](ObjectStoreExt::write_stream)) share `write_parts`, which has one part
//! in memory at a time. Parts go one behind the other: several at once would multiply the memory, and a caller who wants that has
//! [`Multipart`].

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
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{Key, ObjectStoreExt};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MemoryStore::new();
    /// store.write(&Key::new("a.json")?, r#"{"n":1}"#).await?;
    /// let (meta, bytes) = store.read(&Key::new("a.json")?).await?.expect("it was written");
    /// assert_eq!((meta.size, &*bytes), (7, &br#"{"n":1}"#[..]));
    /// assert!(store.read(&Key::new("b.json")?).await?.is_none());
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
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
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{Key, ObjectStoreExt};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MemoryStore::new();
    /// let meta = store.write(&Key::new("logo.svg")?, "<svg/>").await?;
    /// assert_eq!(meta.http.content_type.as_deref(), Some("image/svg+xml"));
    /// // A key without an extension that is known has none.
    /// let meta = store.write(&Key::new("LICENSE")?, vec![1, 2, 3]).await?;
    /// assert_eq!(meta.http.content_type, None);
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    async fn write<B: Into<Body> + Send>(&self, key: &Key, body: B) -> Result<ObjectMeta> {
        stored(self.write_with(key, body, PutOptions::default()).await?)
    }

    /// Stores an object; where the options have no content type, the key's extension gives it.
    ///
    /// # Errors
    /// As [`ObjectStore::put`].
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{Conditions, Key, ObjectStoreExt, PutOptions, PutResult};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MemoryStore::new();
    /// let key = Key::new("page.html")?;
    /// let options = PutOptions::default().with_conditions(Conditions::create_only());
    /// let first = store.write_with(&key, "<h1>1</h1>", options.clone()).await?.stored().expect("it was not there");
    /// assert_eq!(first.http.content_type.as_deref(), Some("text/html; charset=utf-8"));
    /// assert_eq!(store.write_with(&key, "<h1>2</h1>", options).await?, PutResult::ConditionFailed);
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
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
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{Body, Key, MultipartOptions, ObjectStoreExt};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MemoryStore::new();
    /// let chunks = futures_util::stream::iter([Ok("two ".into()), Ok("chunks".into())]);
    /// let body = Body::from_stream(10, chunks);
    /// let options = MultipartOptions::default().with_custom("camera", "left");
    /// let meta = store.upload(&Key::new("film.mp4")?, body, options).await?;
    /// assert_eq!((meta.size, meta.http.content_type.as_deref()), (10, Some("video/mp4")));
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
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
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{ErrorKind, Key, MultipartOptions, ObjectStoreExt};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MemoryStore::new();
    /// // A stream of another crate, with its error.
    /// let lines = futures_util::stream::iter([Ok::<_, std::io::Error>("a\n".into()), Ok("b\n".into())]);
    /// let meta = store.write_stream(&Key::new("log.txt")?, lines, MultipartOptions::default()).await?;
    /// assert_eq!(meta.size, 4);
    /// let broken = futures_util::stream::iter([Ok("a\n".into()), Err(std::io::Error::other("the client has gone"))]);
    /// let error = store.write_stream(&Key::new("log.txt")?, broken, MultipartOptions::default()).await.unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Body);
    /// assert_eq!(store.read(&meta.key).await?.expect("the first one stays").1, "a\nb\n");
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
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
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{Key, ObjectStoreExt};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MemoryStore::new();
    /// let keys = (0..2500).map(|number| Key::new(format!("old/{number}"))).collect::<Result<Vec<_>, _>>()?;
    /// store.write(&keys[2400], "").await?;
    /// store.delete_all(&keys).await?; // three calls of the store
    /// assert!(store.read(&keys[2400]).await?.is_none());
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    async fn delete_all(&self, keys: &[Key]) -> Result<()> {
        for chunk in keys.chunks(limits::DELETE_KEYS) {
            self.delete(chunk).await?;
        }
        Ok(())
    }

    /// Every object of a listing, page after page as it is read; groups of a delimiter are left out. Dropping the stream requests no further
    /// page. After an error it ends.
    ///
    /// # Errors
    /// In place of an object: as [`ObjectStore::list`].
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use futures_util::TryStreamExt;
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{Key, ListOptions, ObjectMeta, ObjectStoreExt};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MemoryStore::new();
    /// for name in ["logs/1", "logs/2", "other"] {
    ///     store.write(&Key::new(name)?, "line\n").await?;
    /// }
    /// let listing = store.list_all(ListOptions::default().with_prefix("logs/").with_limit(1));
    /// let logs: Vec<ObjectMeta> = listing.try_collect().await?;
    /// assert_eq!(logs.iter().map(|object| object.size).sum::<u64>(), 10);
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
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
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{Key, MultipartOptions, ObjectStoreExt};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MemoryStore::new();
    /// let upload = store.multipart(&Key::new("film.mp4")?, MultipartOptions::default()).await?;
    /// let part = upload.upload_part(1, "all of it").await?;
    /// assert_eq!(upload.complete(vec![part]).await?.size, 9);
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    async fn multipart(&self, key: &Key, options: MultipartOptions) -> Result<Multipart<'_, Self>> {
        let upload = self.create_multipart(key, options).await?;
        Ok(Multipart::new(self, key.clone(), upload))
    }

    /// Takes up a multipart upload by its id; nothing is checked until it is used.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{ErrorKind, Key, ObjectStoreExt, UploadId};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MemoryStore::new();
    /// let upload = store.resume_multipart(&Key::new("film.mp4")?, UploadId::new("of another bucket"));
    /// assert_eq!(upload.upload_part(1, "x").await.unwrap_err().kind(), ErrorKind::NoSuchUpload);
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
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
///
/// Beyond, and not up to: a part may go out as one of several only when it is known that another follows, as a body of exactly one part is
/// put whole, and the last part alone may be shorter.
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
