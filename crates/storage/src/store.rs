//! The trait [`ObjectStore`].

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
    fn capabilities(&self) -> Capabilities;

    /// Returns a number that changes whenever anything in the bucket may have changed. While it is the same, earlier reads are still
    /// valid. `None` where the backend cannot detect changes without requesting each object. Cheap enough for every request.
    ///
    /// [`LocalStore`](crate::local::LocalStore) detects writes of this process at once, and those of other processes within 50 ms.
    fn generation(&self) -> Option<u64> {
        None
    }

    /// Reports whether the backend accepts writes, for a readiness check. It uses local state only and sends no request, so it is
    /// cheap enough for every request. The default, for backends without such state, reports a healthy backend.
    ///
    /// # Errors
    /// The error with which the next write would fail. [`LocalStore`](crate::local::LocalStore): [`ErrorKind::Internal`] after a
    /// failed sync, until the store is opened again; [`ErrorKind::StorageFull`] while its disk has less free space than its reserve.
    fn health(&self) -> Result<()> {
        Ok(())
    }

    /// Returns the object's metadata, or `None` where no object has the key.
    ///
    /// # Errors
    /// Only failures of the backend itself.
    async fn head(&self, key: &Key) -> Result<Option<ObjectMeta>>;

    /// Returns the object's metadata and body. Checks are made in R2's order: a missing object first, then the conditions, then the
    /// range.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRange`] where the range contains no byte of the object.
    async fn get(&self, key: &Key, options: GetOptions) -> Result<GetResult>;

    /// Stores an object. An existing object with the key is replaced as a whole, including its metadata.
    ///
    /// Checks are made in this order: the announced size, the custom metadata, the length of the body, the checksum, the conditions.
    /// Conditions that do not hold are not an error: the result is [`PutResult::ConditionFailed`].
    ///
    /// # Errors
    /// In the order of the checks: [`ErrorKind::TooLarge`], [`ErrorKind::MetadataTooLarge`], [`ErrorKind::Body`] where the body does
    /// not have its announced length, [`ErrorKind::BadDigest`]. No object is written then.
    async fn put(&self, key: &Key, body: Body, options: PutOptions) -> Result<PutResult>;

    /// Deletes objects, at most 1000 in one call. A missing object is not an error.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for more than 1000 keys.
    async fn delete(&self, keys: &[Key]) -> Result<()>;

    /// Returns a page of the listing.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidListLimit`] for a limit outside 1..=1000, [`ErrorKind::InvalidArgument`] for an invalid cursor.
    async fn list(&self, options: ListOptions) -> Result<ListPage>;

    /// Starts a multipart upload. This method, `upload_part`, `complete_multipart` and `abort_multipart` need
    /// [`Capabilities::multipart`].
    ///
    /// # Errors
    /// [`ErrorKind::MetadataTooLarge`], and [`ErrorKind::Unsupported`] without the capability.
    async fn create_multipart(&self, _key: &Key, _options: MultipartOptions) -> Result<UploadId> {
        Err(unsupported(Operation::CreateMultipart))
    }

    /// Stores a part. An existing part with the number is replaced.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a number outside 1..=10000, [`ErrorKind::TooLarge`], and [`ErrorKind::NoSuchUpload`] (10024)
    /// for an upload that does not exist or has ended.
    async fn upload_part(&self, _key: &Key, _upload: &UploadId, _number: u16, _body: Body) -> Result<Part> {
        Err(unsupported(Operation::UploadPart))
    }

    /// Creates the object from the uploaded parts, in the order of their numbers, and ends the upload.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidPart`] for a part that was not uploaded or has been replaced, [`ErrorKind::PartTooSmall`]
    /// and [`ErrorKind::UnequalParts`] by R2's rules for the sizes of parts, [`ErrorKind::Internal`] (10001) for a part number that
    /// is given twice, and [`ErrorKind::NoSuchUpload`] for an upload that has ended (10024) or never existed (10001).
    async fn complete_multipart(&self, _key: &Key, _upload: &UploadId, _parts: Vec<Part>) -> Result<ObjectMeta> {
        Err(unsupported(Operation::CompleteMultipart))
    }

    /// Creates the object as [`complete_multipart`](Self::complete_multipart) does, if the conditions hold for the object that has the
    /// key. Where they do not, the upload ends as if it were aborted, as R2 has it. Needs [`Capabilities::conditional_complete`].
    ///
    /// # Errors
    /// As [`complete_multipart`](Self::complete_multipart), which are checked first, and [`ErrorKind::Unsupported`] without the capability.
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
    async fn abort_multipart(&self, _key: &Key, _upload: &UploadId) -> Result<()> {
        Err(unsupported(Operation::AbortMultipart))
    }

    /// Returns the parts that are uploaded so far, by number. Needs [`Capabilities::list_parts`].
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] without the capability, [`ErrorKind::NoSuchUpload`].
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
    /// # Errors
    /// [`ErrorKind::Unsupported`] without the capability.
    async fn copy(&self, _from: &Key, _to: &Key, _options: CopyOptions) -> Result<Option<PutResult>> {
        Err(unsupported(Operation::Copy))
    }

    /// Returns a URL whose bearer may perform one operation on one object until it expires. Needs [`Capabilities::presign`].
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] without the capability.
    async fn presign(&self, _options: PresignOptions) -> Result<String> {
        Err(unsupported(Operation::Presign))
    }
}

fn unsupported(operation: Operation) -> Error {
    Error::new(ErrorKind::Unsupported, "this backend does not have it; see its capabilities()").during(operation)
}

/// Implements the trait for a pointer by forwarding every method.
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
