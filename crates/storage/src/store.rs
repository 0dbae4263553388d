//! The trait.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use crate::{
    Body, Capabilities, CopyOptions, Error, ErrorKind, GetOptions, GetResult, Key, ListOptions, ListPage,
    MultipartOptions, ObjectMeta, Operation, Part, PartInfo, PresignOptions, PutOptions, PutResult, Result, UploadId,
};

/// A bucket: objects by key, with R2's semantics.
///
/// Operations are linearizable per key: what `put` has answered, every later `get`, `head` and `list` sees. A durable
/// backend answers a write only when it will survive power loss. Dropping the future of a write leaves it either
/// done or not done, never half done.
///
/// An application holds `Arc<dyn ObjectStore>`; [`ObjectStoreExt`](crate::ObjectStoreExt) has the shorter calls. For a backend of your
/// own see [`rules`](crate::rules), and the example `custom-store`.
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
    /// Returns the capabilities of this backend: the operations that not every backend has.
    fn capabilities(&self) -> Capabilities;

    /// A number that is another one once anything in the bucket may have changed: what was read under the same number is
    /// still so. `None` where the backend cannot tell without being asked for each object. Cheap enough for every request.
    ///
    /// [`LocalStore`](crate::local::LocalStore) notices what this process writes at once, and what another one does within 50 ms.
    fn generation(&self) -> Option<u64> {
        None
    }

    /// Whether the backend still takes writes, as far as it knows without asking anybody: for a readiness check. Cheap enough for
    /// every request. A backend that knows nothing of itself is well.
    ///
    /// # Errors
    /// The error with which the next write would fail. [`LocalStore`](crate::local::LocalStore): [`ErrorKind::Internal`] once a
    /// sync has failed, until the store is opened anew; [`ErrorKind::StorageFull`] while its disk has less room than its reserve.
    fn health(&self) -> Result<()> {
        Ok(())
    }

    /// The object's metadata, or `None`.
    ///
    /// # Errors
    /// Only what the backend itself suffers.
    async fn head(&self, key: &Key) -> Result<Option<ObjectMeta>>;

    /// The object. The order is R2's: a missing key first, then the conditions, then the range.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRange`] where the range holds no byte of the object.
    async fn get(&self, key: &Key, options: GetOptions) -> Result<GetResult>;

    /// Stores an object, replacing the one of that key as a whole, metadata included.
    ///
    /// # Errors
    /// [`ErrorKind::BadDigest`] (checked before the conditions), [`ErrorKind::MetadataTooLarge`],
    /// [`ErrorKind::TooLarge`], and [`ErrorKind::Body`] where the body is not of its announced length. Nothing is
    /// written then.
    async fn put(&self, key: &Key, body: Body, options: PutOptions) -> Result<PutResult>;

    /// Deletes objects, up to 1000 a call; what is not there is no error.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for more than 1000 keys.
    async fn delete(&self, keys: &[Key]) -> Result<()>;

    /// A page of the listing.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidListLimit`] for a limit outside 1..=1000, [`ErrorKind::InvalidArgument`] for a cursor that
    /// is none.
    async fn list(&self, options: ListOptions) -> Result<ListPage>;

    /// Starts a multipart upload. This and the next three need [`Capabilities::multipart`].
    ///
    /// # Errors
    /// [`ErrorKind::MetadataTooLarge`], [`ErrorKind::Unsupported`].
    async fn create_multipart(&self, _key: &Key, _options: MultipartOptions) -> Result<UploadId> {
        Err(unsupported(Operation::CreateMultipart))
    }

    /// Stores a part; a part of that number is overwritten.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchUpload`] (10024), [`ErrorKind::InvalidArgument`] for a number outside 1..=10000,
    /// [`ErrorKind::TooLarge`].
    async fn upload_part(&self, _key: &Key, _upload: &UploadId, _number: u16, _body: Body) -> Result<Part> {
        Err(unsupported(Operation::UploadPart))
    }

    /// Makes an object out of uploaded parts, in the order of their numbers.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidPart`] for a part that was never uploaded or has been overwritten, [`ErrorKind::PartTooSmall`]
    /// and [`ErrorKind::UnequalParts`] by R2's rules of sizes, [`ErrorKind::Internal`] (10001) for a part number given
    /// twice, and [`ErrorKind::NoSuchUpload`] for an upload that is over (10024) or was never there (10001).
    async fn complete_multipart(&self, _key: &Key, _upload: &UploadId, _parts: Vec<Part>) -> Result<ObjectMeta> {
        Err(unsupported(Operation::CompleteMultipart))
    }

    /// Gives an upload up and frees its parts; doing so again, or after completion, is no error.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchUpload`] (10001) for an upload that never was.
    async fn abort_multipart(&self, _key: &Key, _upload: &UploadId) -> Result<()> {
        Err(unsupported(Operation::AbortMultipart))
    }

    /// The parts uploaded so far, by number. Needs [`Capabilities::list_parts`].
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`], [`ErrorKind::NoSuchUpload`].
    async fn list_parts(&self, _key: &Key, _upload: &UploadId) -> Result<Vec<PartInfo>> {
        Err(unsupported(Operation::ListParts))
    }

    /// Copies an object within the bucket, metadata included, without moving its bytes through the caller; `None` where
    /// the source is missing. Needs [`Capabilities::copy`].
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`].
    async fn copy(&self, _from: &Key, _to: &Key, _options: CopyOptions) -> Result<Option<PutResult>> {
        Err(unsupported(Operation::Copy))
    }

    /// A URL that lets its bearer do one thing to one object for a while. Needs [`Capabilities::presign`].
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`].
    async fn presign(&self, _options: PresignOptions) -> Result<String> {
        Err(unsupported(Operation::Presign))
    }
}

fn unsupported(operation: Operation) -> Error {
    Error::new(ErrorKind::Unsupported, "this backend does not have it; see its capabilities()").during(operation)
}

/// Forwards every method to what a pointer or wrapper points to.
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
            async fn abort_multipart(&self, key: &Key, upload: &UploadId) -> Result<()> {
                (**self).abort_multipart(key, upload).await
            }
            async fn list_parts(&self, key: &Key, upload: &UploadId) -> Result<Vec<PartInfo>> {
                (**self).list_parts(key, upload).await
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
