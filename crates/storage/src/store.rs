//! The trait [`ObjectStore`].
//!
//! It has the operations that a backend cannot build out of others, and is dyn-safe: an application holds `Arc<dyn ObjectStore>` and does
//! not change when its backend does. What can be built out of them is in [`ObjectStoreExt`](crate::ObjectStoreExt). Methods that a backend
//! may lack have a default that answers [`ErrorKind::Unsupported`], so that a new method breaks no backend; a wrapper must forward all of
//! them nevertheless, and says `#[deny(clippy::missing_trait_methods)]`.
//!
//! The contract stands here, the order of checks included; where a backend differs, its type says so. The kit in `conformance` (feature of
//! that name) judges every backend by it.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use crate::{
    Body, Capabilities, Conditions, CopyOptions, Error, ErrorKind, GetOptions, GetResult, Key, ListOptions, ListPage,
    ListUploadsOptions, MultipartOptions, ObjectMeta, Operation, Part, PartInfo, PresignOptions, PutOptions, PutResult,
    Result, UploadId, UploadInfo,
};

/// A bucket: objects by key, with R2's semantics.
///
/// Operations are linearizable per key: once `put` has returned, every later `get`, `head` and `list` sees the object. A durable
/// backend acknowledges a write only after it is durable, so that it survives power loss. A write whose future is dropped is either
/// complete or absent, never partial.
///
/// An application holds `Arc<dyn ObjectStore>`; [`ObjectStoreExt`](crate::ObjectStoreExt) adds shorter calls. To implement a backend,
/// see [`rules`](crate::rules) and the example `custom-store`.
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use std::sync::Arc;
///
/// use isobar_storage::memory::MemoryStore;
/// use isobar_storage::{GetOptions, GetResult, Key, ObjectStore, PutOptions, Result};
/// # futures_util::FutureExt::now_or_never(async {
/// async fn archive(store: &dyn ObjectStore, key: &Key) -> Result<bool> {
///     let Some(meta) = store.head(key).await? else { return Ok(false) };
///     let to = Key::new(format!("archive/{}/{key}", meta.version))?;
///     let GetResult::Object { body, .. } = store.get(key, GetOptions::default()).await? else { return Ok(false) };
///     let copied = store.put(&to, body, PutOptions::default().with_http(meta.http)).await?;
///     Ok(copied.stored().is_some())
/// }
///
/// let store: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
/// store.put(&Key::new("a")?, "1".into(), PutOptions::default()).await?.stored();
/// assert!(archive(&*store, &Key::new("a")?).await?);
/// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
/// ```
#[async_trait]
pub trait ObjectStore: Debug + Send + Sync {
    /// Returns the optional operations that this backend supports.
    ///
    /// ```
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::ObjectStore;
    ///
    /// let store = MemoryStore::new();
    /// assert!(store.capabilities().copy && !store.capabilities().presign);
    /// ```
    fn capabilities(&self) -> Capabilities;

    /// Returns a number that changes whenever anything in the bucket may have changed. While it is the same, earlier reads are still
    /// valid. `None` where the backend cannot detect changes without requesting each object. Cheap enough for every request.
    ///
    /// [`LocalStore`](crate::local::LocalStore) detects writes of this process at once, and those of other processes within 50 ms.
    ///
    /// The number says nothing about the order of changes, and is not the same after a restart. It may change without a change of the
    /// bucket, and a cache then reads once too often.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{Key, ObjectStore, ObjectStoreExt};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MemoryStore::new();
    /// let before = store.generation();
    /// store.read(&Key::new("a")?).await?;
    /// assert_eq!(store.generation(), before);
    /// store.write(&Key::new("a")?, "1").await?;
    /// assert_ne!(store.generation(), before);
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    fn generation(&self) -> Option<u64> {
        None
    }

    /// Reports whether the backend accepts writes, for a readiness check. It uses local state only and sends no request, so it is
    /// cheap enough for every request. The default, for backends without such state, reports a healthy backend.
    ///
    /// # Errors
    /// The error with which the next write would fail. [`LocalStore`](crate::local::LocalStore): [`ErrorKind::Internal`] after a
    /// failed sync, until the store is opened again; [`ErrorKind::StorageFull`] while its disk has less free space than its reserve.
    ///
    /// ```
    /// use isobar_storage::ObjectStore;
    /// use isobar_storage::memory::MemoryStore;
    ///
    /// /// The answer of a server's readiness check.
    /// fn status(store: &dyn ObjectStore) -> u16 {
    ///     if store.health().is_ok() { 200 } else { 503 }
    /// }
    /// assert_eq!(status(&MemoryStore::new()), 200);
    /// ```
    fn health(&self) -> Result<()> {
        Ok(())
    }

    /// Returns the object's metadata, or `None` where no object has the key.
    ///
    /// # Errors
    /// Only failures of the backend itself.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{Key, ObjectStore, ObjectStoreExt};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MemoryStore::new();
    /// store.write(&Key::new("a.txt")?, "hello").await?;
    /// let meta = store.head(&Key::new("a.txt")?).await?.expect("it was written");
    /// assert_eq!((meta.size, meta.http.content_type.as_deref()), (5, Some("text/plain; charset=utf-8")));
    /// assert!(store.head(&Key::new("b.txt")?).await?.is_none());
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    async fn head(&self, key: &Key) -> Result<Option<ObjectMeta>>;

    /// Returns the object's metadata and body. Checks are made in R2's order: a missing object first, then the conditions, then the range.
    ///
    /// | object | conditions | range | answer |
    /// |---|---|---|---|
    /// | missing | any | any | [`GetResult::Missing`] |
    /// | there | one does not hold | any | [`GetResult::ConditionFailed`] |
    /// | there | all hold, or none given | none given, or has a byte of the object | [`GetResult::Object`] |
    /// | there | all hold, or none given | has no byte of the object | [`ErrorKind::InvalidRange`]; the whole object where [`GetOptions::range_or_whole`] says so |
    ///
    /// The future completes when the metadata is known; the body is read as it is consumed, and fails on the way where its source does. Metadata
    /// and body are of one write. Dropping the body ends the operation.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRange`] where the range contains no byte of the object.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{ErrorKind, GetOptions, GetResult, Key, ObjectStore, ObjectStoreExt, Range};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MemoryStore::new();
    /// store.write(&Key::new("a")?, "0123456789").await?;
    /// let middle = GetOptions::default().with_range(Range::From { offset: 2, length: Some(3) });
    /// let GetResult::Object { meta, range, body } = store.get(&Key::new("a")?, middle).await? else { panic!("it is there") };
    /// assert_eq!((meta.size, range.offset, &*body.bytes().await?), (10, 2, &b"234"[..]));
    /// let behind = GetOptions::default().with_range(Range::From { offset: 10, length: None });
    /// assert!(matches!(store.get(&Key::new("b")?, behind.clone()).await?, GetResult::Missing));
    /// assert_eq!(store.get(&Key::new("a")?, behind).await.unwrap_err().kind(), ErrorKind::InvalidRange);
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    async fn get(&self, key: &Key, options: GetOptions) -> Result<GetResult>;

    /// Stores an object. An existing object with the key is replaced as a whole, including its metadata.
    ///
    /// Checks are made in this order: the announced size, the custom metadata, the length of the body, the checksum, the conditions.
    /// Conditions that do not hold are not an error: the result is [`PutResult::ConditionFailed`].
    ///
    /// # Errors
    /// In the order of the checks: [`ErrorKind::TooLarge`], [`ErrorKind::MetadataTooLarge`], [`ErrorKind::Body`] where the body does
    /// not have its announced length, [`ErrorKind::BadDigest`]. No object is written then.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{Key, ObjectStore, PutOptions};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MemoryStore::new();
    /// let key = Key::new("a")?;
    /// let described = PutOptions::default().with_custom("author", "Ada");
    /// store.put(&key, "first".into(), described).await?.stored().expect("there is no condition");
    /// // Nothing of the object that was there remains, its metadata neither.
    /// let second = store.put(&key, "second".into(), PutOptions::default()).await?.stored().expect("there is no condition");
    /// assert!(second.custom.is_empty());
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    async fn put(&self, key: &Key, body: Body, options: PutOptions) -> Result<PutResult>;

    /// Deletes objects, at most 1000 in one call. A missing object is not an error.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for more than 1000 keys.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{ErrorKind, Key, ObjectStore, ObjectStoreExt};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MemoryStore::new();
    /// store.write(&Key::new("a")?, "1").await?;
    /// store.delete(&[Key::new("a")?, Key::new("never written")?]).await?;
    /// assert!(store.head(&Key::new("a")?).await?.is_none());
    /// // For more keys there is `ObjectStoreExt::delete_all`.
    /// let many = vec![Key::new("a")?; 1001];
    /// assert_eq!(store.delete(&many).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    async fn delete(&self, keys: &[Key]) -> Result<()>;

    /// Deletes an object if its [`ObjectMeta::version`] is this one still, so that a write that came between is not lost. Returns
    /// whether it was deleted. Needs [`Capabilities::delete_version`].
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] without the capability.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{Key, ObjectStore, ObjectStoreExt};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MemoryStore::new();
    /// let key = Key::new("a")?;
    /// let old = store.write(&key, "1").await?;
    /// let new = store.write(&key, "1").await?; // the same bytes, and another write
    /// assert!(!store.delete_version(&key, &old.version).await?);
    /// assert!(store.delete_version(&key, &new.version).await?);
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    async fn delete_version(&self, _key: &Key, _version: &str) -> Result<bool> {
        Err(unsupported(Operation::Delete))
    }

    /// Returns a page of the listing, in byte order of the keys: `Z` comes before `a`, and `a/b` between `a-b` and `a0`.
    ///
    /// A page may have fewer entries than the limit and still not be the last: [`ListPage::cursor`] alone says so. Each page shows the bucket as
    /// it is when it is read. Objects that are written or deleted between two pages are in the later ones or not, by their keys; no object that
    /// was there all the time is missed or listed twice.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidListLimit`] for a limit outside 1..=1000, [`ErrorKind::InvalidArgument`] for an invalid cursor.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{Key, ListOptions, ObjectStore, ObjectStoreExt};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MemoryStore::new();
    /// for name in ["a0", "a/b", "a-b"] {
    ///     store.write(&Key::new(name)?, "").await?;
    /// }
    /// let page = store.list(ListOptions::default().with_prefix("a").with_limit(2)).await?;
    /// let names: Vec<&str> = page.objects.iter().map(|object| object.key.as_str()).collect();
    /// assert_eq!((names, page.cursor.is_some()), (vec!["a-b", "a/b"], true));
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    async fn list(&self, options: ListOptions) -> Result<ListPage>;

    /// Starts a multipart upload. This method, `upload_part`, `complete_multipart` and `abort_multipart` need
    /// [`Capabilities::multipart`].
    ///
    /// # Errors
    /// [`ErrorKind::MetadataTooLarge`], and [`ErrorKind::Unsupported`] without the capability.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{Key, MultipartOptions, ObjectStore};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MemoryStore::new();
    /// let key = Key::new("film.mp4")?;
    /// let upload = store.create_multipart(&key, MultipartOptions::default()).await?;
    /// let part = store.upload_part(&key, &upload, 1, "the only part".into()).await?;
    /// assert!(store.head(&key).await?.is_none()); // not before it is completed
    /// let meta = store.complete_multipart(&key, &upload, vec![part]).await?;
    /// assert!(meta.etag.ends_with("-1"));
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    async fn create_multipart(&self, _key: &Key, _options: MultipartOptions) -> Result<UploadId> {
        Err(unsupported(Operation::CreateMultipart))
    }

    /// Stores a part. An existing part with the number is replaced. Parts may be sent in any order and several at once. Whether their sizes
    /// fit together is checked when the upload is completed.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a number outside 1..=10000, [`ErrorKind::TooLarge`], and [`ErrorKind::NoSuchUpload`] (10024)
    /// for an upload that does not exist or has ended.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{ErrorKind, Key, MultipartOptions, ObjectStore};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MemoryStore::new();
    /// let key = Key::new("film.mp4")?;
    /// let upload = store.create_multipart(&key, MultipartOptions::default()).await?;
    /// let broken = store.upload_part(&key, &upload, 1, "brok".into()).await?;
    /// let whole = store.upload_part(&key, &upload, 1, "whole".into()).await?;
    /// // Each has an etag of its own, and the one that was replaced is not found any more.
    /// let error = store.complete_multipart(&key, &upload, vec![broken]).await.unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::InvalidPart);
    /// assert_eq!(store.complete_multipart(&key, &upload, vec![whole]).await?.size, 5);
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    async fn upload_part(&self, _key: &Key, _upload: &UploadId, _number: u16, _body: Body) -> Result<Part> {
        Err(unsupported(Operation::UploadPart))
    }

    /// Creates the object from the uploaded parts, in the order of their numbers, and ends the upload. The numbers need not be
    /// consecutive; parts that are not given are dropped. The object replaces the one of its key in one step.
    ///
    /// The parts are checked in this order:
    ///
    /// | parts | answer |
    /// |---|---|
    /// | a number is given twice | [`ErrorKind::Internal`] (10001), as R2 has it |
    /// | one was not uploaded, or has been replaced | [`ErrorKind::InvalidPart`] (10025) |
    /// | one that is not the last has less than 5 MiB | [`ErrorKind::PartTooSmall`] (10011) |
    /// | those before the last differ in size, or the last is larger | [`ErrorKind::UnequalParts`] (10048) |
    ///
    /// # Errors
    /// Those of the table, and [`ErrorKind::NoSuchUpload`] for an upload that has ended (10024) or never existed (10001).
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{ErrorKind, Key, MultipartOptions, ObjectStore};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MemoryStore::new();
    /// let key = Key::new("film.mp4")?;
    /// let upload = store.create_multipart(&key, MultipartOptions::default()).await?;
    /// let first = store.upload_part(&key, &upload, 1, "short".into()).await?;
    /// let second = store.upload_part(&key, &upload, 2, "end".into()).await?;
    /// let error = store.complete_multipart(&key, &upload, vec![first.clone(), second]).await.unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::PartTooSmall);
    /// // The second is left out: then the first is the last.
    /// assert_eq!(store.complete_multipart(&key, &upload, vec![first]).await?.size, 5);
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    async fn complete_multipart(&self, _key: &Key, _upload: &UploadId, _parts: Vec<Part>) -> Result<ObjectMeta> {
        Err(unsupported(Operation::CompleteMultipart))
    }

    /// Creates the object as [`complete_multipart`](Self::complete_multipart) does, if the conditions hold for the object that has the
    /// key. Where they do not, the upload ends as if it were aborted, as R2 has it. Needs [`Capabilities::conditional_complete`].
    ///
    /// # Errors
    /// As [`complete_multipart`](Self::complete_multipart), which are checked first, and [`ErrorKind::Unsupported`] without the capability.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{Conditions, Key, MultipartOptions, ObjectStore, ObjectStoreExt, PutResult};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MemoryStore::new();
    /// let key = Key::new("film.mp4")?;
    /// let upload = store.create_multipart(&key, MultipartOptions::default()).await?;
    /// let part = store.upload_part(&key, &upload, 1, "mine".into()).await?;
    /// store.write(&key, "another writer's").await?;
    /// let completed = store.complete_multipart_if(&key, &upload, vec![part], Conditions::create_only()).await?;
    /// assert_eq!(completed, PutResult::ConditionFailed);
    /// assert!(store.list_parts(&key, &upload).await.is_err()); // it has ended all the same
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    async fn complete_multipart_if(
        &self,
        _key: &Key,
        _upload: &UploadId,
        _parts: Vec<Part>,
        _conditions: Conditions,
    ) -> Result<PutResult> {
        Err(unsupported(Operation::CompleteMultipart))
    }

    /// Aborts an upload and deletes its parts. Aborting it again, or after its completion, is not an error.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchUpload`] (10001) for an upload that never existed.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{Key, MultipartOptions, ObjectStore, UploadId};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MemoryStore::new();
    /// let key = Key::new("film.mp4")?;
    /// let upload = store.create_multipart(&key, MultipartOptions::default()).await?;
    /// store.abort_multipart(&key, &upload).await?;
    /// store.abort_multipart(&key, &upload).await?;
    /// let unknown = store.abort_multipart(&key, &UploadId::new("unknown")).await.unwrap_err();
    /// assert_eq!(unknown.code(), Some(10001));
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    async fn abort_multipart(&self, _key: &Key, _upload: &UploadId) -> Result<()> {
        Err(unsupported(Operation::AbortMultipart))
    }

    /// Returns the parts that are uploaded so far, by number. Needs [`Capabilities::list_parts`].
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] without the capability, [`ErrorKind::NoSuchUpload`].
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{Key, MultipartOptions, ObjectStore};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MemoryStore::new();
    /// let key = Key::new("film.mp4")?;
    /// let upload = store.create_multipart(&key, MultipartOptions::default()).await?;
    /// store.upload_part(&key, &upload, 7, "seven".into()).await?;
    /// store.upload_part(&key, &upload, 2, "two".into()).await?;
    /// let parts = store.list_parts(&key, &upload).await?;
    /// let sizes: Vec<(u16, u64)> = parts.iter().map(|info| (info.part.part_number, info.size)).collect();
    /// assert_eq!(sizes, [(2, 3), (7, 5)]);
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    async fn list_parts(&self, _key: &Key, _upload: &UploadId) -> Result<Vec<PartInfo>> {
        Err(unsupported(Operation::ListParts))
    }

    /// Returns the uploads that are open, in byte order of their keys, and of their ids where the keys are equal. Needs
    /// [`Capabilities::list_uploads`].
    ///
    /// # Errors
    /// [`ErrorKind::InvalidListLimit`] for a limit outside 1..=1000, [`ErrorKind::Unsupported`] without the capability.
    async fn list_uploads(&self, _options: ListUploadsOptions) -> Result<Vec<UploadInfo>> {
        Err(unsupported(Operation::ListUploads))
    }

    /// Copies an object with its metadata within the bucket, without moving its bytes through the caller. Returns `None` where the
    /// source is missing. Needs [`Capabilities::copy`].
    ///
    /// The copy has the etag, the checksums and the metadata of its source, and a version and a time of its own. The conditions for the source
    /// are checked before those for the destination; where one does not hold the answer is [`PutResult::ConditionFailed`].
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] without the capability.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{CopyOptions, Key, ObjectStore, ObjectStoreExt, PutResult};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MemoryStore::new();
    /// let source = store.write(&Key::new("a.txt")?, "text").await?;
    /// let copied = store.copy(&source.key, &Key::new("b.txt")?, CopyOptions::default()).await?;
    /// let Some(PutResult::Stored(copy)) = copied else { panic!("the source is there, and there are no conditions") };
    /// assert!(copy.etag == source.etag && copy.version != source.version);
    /// assert_eq!(store.copy(&Key::new("c")?, &source.key, CopyOptions::default()).await?, None);
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    async fn copy(&self, _from: &Key, _to: &Key, _options: CopyOptions) -> Result<Option<PutResult>> {
        Err(unsupported(Operation::Copy))
    }

    /// Returns a URL whose bearer may perform one operation on one object until it expires. Needs [`Capabilities::presign`].
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] without the capability.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use std::time::Duration;
    ///
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{ErrorKind, Key, ObjectStore, PresignMethod, PresignOptions};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MemoryStore::new(); // has no server, and cannot
    /// let options = PresignOptions::new(Key::new("a")?, PresignMethod::Get, Duration::from_secs(60));
    /// assert_eq!(store.presign(options).await.unwrap_err().kind(), ErrorKind::Unsupported);
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    async fn presign(&self, _options: PresignOptions) -> Result<String> {
        Err(unsupported(Operation::Presign))
    }
}

fn unsupported(operation: Operation) -> Error {
    Error::new(ErrorKind::Unsupported, "this backend does not have it; see its capabilities()").during(operation)
}

/// Implements the trait for a pointer by forwarding every method.
///
/// A macro and not a blanket `impl<P: Deref<Target = S>>`: that would overlap with every backend of another crate. The lint on it makes
/// the build fail for a method that was added to the trait and forgotten here, which would answer `Unsupported` for a backend that has it.
macro_rules! forward {
    ($($wrapper:ty),*) => {$(
        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<S: ObjectStore + ?Sized> ObjectStore for $wrapper {
            fn capabilities(&self) -> Capabilities {
                (**self).capabilities()
            }
            fn generation(&self) -> Option<u64> {
                (**self).generation()
            }
            fn health(&self) -> Result<()> {
                (**self).health()
            }
            async fn head(&self, key: &Key) -> Result<Option<ObjectMeta>> {
                (**self).head(key).await
            }
            async fn get(&self, key: &Key, options: GetOptions) -> Result<GetResult> {
                (**self).get(key, options).await
            }
            async fn put(&self, key: &Key, body: Body, options: PutOptions) -> Result<PutResult> {
                (**self).put(key, body, options).await
            }
            async fn delete(&self, keys: &[Key]) -> Result<()> {
                (**self).delete(keys).await
            }
            async fn delete_version(&self, key: &Key, version: &str) -> Result<bool> {
                (**self).delete_version(key, version).await
            }
            async fn list(&self, options: ListOptions) -> Result<ListPage> {
                (**self).list(options).await
            }
            async fn create_multipart(&self, key: &Key, options: MultipartOptions) -> Result<UploadId> {
                (**self).create_multipart(key, options).await
            }
            async fn upload_part(&self, key: &Key, upload: &UploadId, number: u16, body: Body) -> Result<Part> {
                (**self).upload_part(key, upload, number, body).await
            }
            async fn complete_multipart(&self, key: &Key, upload: &UploadId, parts: Vec<Part>) -> Result<ObjectMeta> {
                (**self).complete_multipart(key, upload, parts).await
            }
            async fn complete_multipart_if(
                &self,
                key: &Key,
                upload: &UploadId,
                parts: Vec<Part>,
                conditions: Conditions,
            ) -> Result<PutResult> {
                (**self).complete_multipart_if(key, upload, parts, conditions).await
            }
            async fn abort_multipart(&self, key: &Key, upload: &UploadId) -> Result<()> {
                (**self).abort_multipart(key, upload).await
            }
            async fn list_parts(&self, key: &Key, upload: &UploadId) -> Result<Vec<PartInfo>> {
                (**self).list_parts(key, upload).await
            }
            async fn list_uploads(&self, options: ListUploadsOptions) -> Result<Vec<UploadInfo>> {
                (**self).list_uploads(options).await
            }
            async fn copy(&self, from: &Key, to: &Key, options: CopyOptions) -> Result<Option<PutResult>> {
                (**self).copy(from, to, options).await
            }
            async fn presign(&self, options: PresignOptions) -> Result<String> {
                (**self).presign(options).await
            }
        }
    )*};
}
forward!(Arc<S>, Box<S>);
