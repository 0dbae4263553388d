//! The native backend: a folder.
//!
//! ```text
//! index.db          SQLite (WAL, synchronous=FULL): keys, metadata, bodies up to 32 KiB
//! blobs/ab/ab12...  larger bodies and parts: immutable files with random names
//! ```
//!
//! A write first makes its blob durable (write, fsync, fsync of the folder), then commits the row that names it in one
//! transaction with the check of its conditions. So a committed row never names a blob that is not durable,
//! compare-and-swap holds across processes, and a crash leaves only blobs that no row names, which
//! [`LocalStore::sweep`] removes. Replaced blobs are unlinked later, when no reader can still be about to open them.

pub(crate) mod blobs;
mod index;

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, SubsecRound, Utc};

use self::blobs::{Blobs, Segment};
use self::index::{Content, Index};
use crate::checksum::Digests;
use crate::{
    Body, ByteRange, Capabilities, Clock, CopyOptions, Error, ErrorKind, GetOptions, GetResult, Key, ListOptions,
    ListPage, MultipartOptions, ObjectMeta, ObjectStore, Part, PartInfo, PutOptions, PutResult, Result, UploadId,
    rules, system_clock,
};

/// Bodies up to this many bytes live in the index; larger ones in files of their own.
const INLINE_BYTES: u64 = 32 * 1024;

/// A bucket in a folder, durable and safe to open from several processes. Clones share it.
///
/// Divergence from R2: none in semantics; `copy` and `list_parts` are there as well.
#[derive(Clone)]
pub struct LocalStore {
    shared: Arc<Shared>,
}

struct Shared {
    root: PathBuf,
    index: Index,
    blobs: Blobs,
    clock: Clock,
    /// Blobs of writes under way: the sweep leaves them alone, however long they take.
    under_way: Mutex<HashSet<String>>,
}

/// What a [`LocalStore::sweep`] removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sweep {
    /// Multipart uploads past their seven days.
    pub uploads: u64,
    /// Blobs that no object names any more.
    pub blobs: u64,
}

impl LocalStore {
    /// Opens the store in this folder, creating it if need be.
    ///
    /// # Errors
    /// [`ErrorKind::PermissionDenied`], [`ErrorKind::StorageFull`]; [`ErrorKind::Corrupt`] where the folder holds
    /// something else or an index of a newer version.
    pub async fn open(root: impl AsRef<Path>) -> Result<Self> {
        Self::open_with_clock(root, system_clock()).await
    }

    /// As [`open`](Self::open), taking the time from `clock`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn open_with_clock(root: impl AsRef<Path>, clock: Clock) -> Result<Self> {
        let root = root.as_ref().to_owned();
        let shared = blocking(move || {
            let blobs = Blobs::open(&root.join("blobs"))?;
            let index = Index::open(&root.join("index.db"))?;
            blobs::sync_folder(&root)?;
            Ok(Shared { root, index, blobs, clock, under_way: Mutex::default() })
        });
        let shared = shared.await.map_err(|error| error.during("open"))?;
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Removes what crashes and old uploads have left: uploads past their seven days, replaced blobs, and blobs that no
    /// row names. Safe beside running readers and writers: everything younger than an hour stays.
    ///
    /// # Errors
    /// What the file system answers; what has been removed until then stays removed.
    pub async fn sweep(&self) -> Result<Sweep> {
        let now = self.shared.now();
        self.run("sweep", move |shared| {
            let uploads = shared.index.expire_uploads(now)?;
            let mut blobs = 0;
            for (blob, written) in shared.blobs.list()? {
                let old = now - written > chrono::Duration::hours(1) && !shared.under_way().contains(&blob);
                if old && !shared.index.is_named(&blob)? {
                    shared.blobs.remove(&blob)?;
                    blobs += 1;
                }
            }
            Ok(Sweep { uploads, blobs })
        })
        .await
    }

    /// Runs blocking work on the store, and names the operation in its errors.
    async fn run<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Shared) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let shared = Arc::clone(&self.shared);
        blocking(move || work(&shared)).await.map_err(|error| error.during(operation))
    }

    /// Makes a body durable outside the index where it is large; hashes it on the way.
    async fn take_body(&self, body: Body, digests: Digests) -> Result<(Content, Digests, Option<UnderWay>)> {
        if body.length() <= INLINE_BYTES {
            let (bytes, mut digests) = (body.bytes().await?, digests);
            digests.update(&bytes);
            return Ok((Content::Inline(bytes), digests, None));
        }
        let (blob, size) = (rules::random_id()?, body.length());
        let under_way = UnderWay::new(&self.shared, &blob);
        let digests = self.shared.blobs.write(&blob, body, digests).await?;
        Ok((Content::Segments(vec![Segment { blob, size }]), digests, Some(under_way)))
    }

    async fn put_object(&self, key: &Key, body: Body, options: PutOptions) -> Result<PutResult> {
        let PutOptions { conditions, http, custom, checksum, storage_class } = options;
        rules::check_size(&body)?;
        rules::check_metadata(&custom)?;
        let size = body.length();
        let (content, digests, under_way) = self.take_body(body, Digests::new(checksum)).await?;
        let checksums = match digests.finish() {
            Ok(checksums) => checksums,
            Err(error) => return Err(self.drop_content(content, error).await),
        };
        let mut meta =
            ObjectMeta::new(key.clone(), rules::random_id()?, size, checksums[0].hex.clone(), self.shared.now());
        (meta.http, meta.custom, meta.checksums, meta.storage_class) = (http, custom, checksums, storage_class);
        self.run("put", move |shared| {
            shared.check_content(&content)?;
            let stored = shared.index.put(&meta, &content, conditions.as_ref());
            drop(under_way);
            if !matches!(stored, Ok(true)) {
                shared.remove_or_leave(&content);
            }
            if !stored? {
                return Ok(PutResult::ConditionFailed);
            }
            shared.collect();
            Ok(PutResult::Stored(meta))
        })
        .await
    }

    async fn drop_content(&self, content: Content, error: Error) -> Error {
        let removed = self.run("put", move |shared| {
            shared.remove_or_leave(&content);
            Ok(())
        });
        drop(removed.await);
        error
    }

    async fn get_object(&self, key: &Key, options: GetOptions) -> Result<GetResult> {
        let key = key.clone();
        self.run("get", move |shared| {
            let Some((meta, content)) = shared.index.get(&key)? else { return Ok(GetResult::Missing) };
            if options.conditions.as_ref().is_some_and(|conditions| !conditions.hold(Some(&meta))) {
                return Ok(GetResult::ConditionFailed(meta));
            }
            let range = options.resolve_range(meta.size)?;
            let body = match content {
                Content::Inline(bytes) => inline_body(&meta, &bytes, range)?,
                Content::Segments(segments) => shared.blobs.read(&segments, range)?,
            };
            Ok(GetResult::Object { meta, range, body })
        })
        .await
    }

    async fn store_part(&self, key: &Key, upload: &UploadId, number: u16, body: Body) -> Result<Part> {
        rules::check_part_number(number)?;
        rules::check_size(&body)?;
        let (key, upload, now) = (key.clone(), upload.clone(), self.shared.now());
        let (checked_key, checked) = (key.clone(), upload.clone());
        self.run("uploadPart", move |shared| shared.index.check_upload(&checked_key, &checked, now)).await?;

        let (blob, size) = (rules::random_id()?, body.length());
        let under_way = UnderWay::new(&self.shared, &blob);
        let digests = self.shared.blobs.write(&blob, body, Digests::new(None)).await?;
        let md5 = digests.finish()?.swap_remove(0).hex;
        let part = Part { part_number: number, etag: rules::random_id()? };
        self.run("uploadPart", move |shared| {
            let content = Content::Segments(vec![Segment { blob, size }]);
            shared.check_content(&content)?;
            let Content::Segments(segments) = &content else { return Ok(part) };
            let stored = shared.index.put_part(&key, &upload, now, &part, &md5, &segments[0]);
            drop(under_way);
            stored.inspect_err(|_| shared.remove_or_leave(&content))?;
            Ok(part)
        })
        .await
    }
}

impl Shared {
    fn now(&self) -> DateTime<Utc> {
        (self.clock)().trunc_subsecs(3)
    }

    fn under_way(&self) -> MutexGuard<'_, HashSet<String>> {
        // A set, changed in single steps.
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes sure that what a row is about to name is there: another process's sweep may have thought it an orphan.
    fn check_content(&self, content: &Content) -> Result<()> {
        let gone = |segment: &&Segment| !self.blobs.exists(&segment.blob);
        match content {
            Content::Segments(segments) if segments.iter().any(|segment| gone(&segment)) => {
                Err(Error::new(ErrorKind::Unavailable, "the body was swept away before it could be committed"))
            }
            Content::Segments(_) | Content::Inline(_) => Ok(()),
        }
    }

    /// Removes the blobs of content that nothing names; what cannot be removed is the sweep's.
    fn remove_or_leave(&self, content: &Content) {
        let Content::Segments(segments) = content else { return };
        for segment in segments {
            if let Err(_error) = self.blobs.remove(&segment.blob) {
                #[cfg(feature = "tracing")]
                tracing::warn!(error = %_error, "a blob is left to the sweep");
            }
        }
    }

    /// Unlinks blobs that were replaced long enough ago that no reader can be about to open them. A failure is told, and
    /// tried again with the next write; what was committed stays committed.
    fn collect(&self) {
        let collected = self.index.garbage(self.now()).and_then(|blobs| {
            blobs.iter().try_for_each(|blob| self.blobs.remove(blob))?;
            if blobs.is_empty() { Ok(()) } else { self.index.forget_garbage(&blobs) }
        });
        if let Err(_error) = collected {
            #[cfg(feature = "tracing")]
            tracing::warn!(error = %_error, "replaced blobs could not be removed");
        }
    }
}

/// Keeps a blob from the sweep until it is dropped.
struct UnderWay {
    shared: Arc<Shared>,
    blob: String,
}

impl UnderWay {
    fn new(shared: &Arc<Shared>, blob: &str) -> Self {
        shared.under_way().insert(blob.to_owned());
        Self { shared: Arc::clone(shared), blob: blob.to_owned() }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.shared.under_way().remove(&self.blob);
    }
}

fn inline_body(meta: &ObjectMeta, bytes: &Bytes, range: ByteRange) -> Result<Body> {
    if bytes.len() as u64 != meta.size {
        let message = format!("{}: {} bytes stored inline, {} in the index", meta.key, bytes.len(), meta.size);
        return Err(Error::new(ErrorKind::Corrupt, message));
    }
    // Inline bodies are at most INLINE_BYTES long, so positions fit usize.
    Ok(bytes.slice(range.offset as usize..(range.offset + range.length) as usize).into())
}

pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::new(ErrorKind::Internal, format!("a storage task ended early: {error}"))),
    }
}

impl fmt::Debug for LocalStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalStore({})", self.shared.root.display())
    }
}

#[async_trait]
impl ObjectStore for LocalStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities { copy: true, presign: false, list_parts: true }
    }

    async fn head(&self, key: &Key) -> Result<Option<ObjectMeta>> {
        let key = key.clone();
        self.run("head", move |shared| shared.index.head(&key)).await
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<GetResult> {
        self.get_object(key, options).await
    }

    async fn put(&self, key: &Key, body: Body, options: PutOptions) -> Result<PutResult> {
        self.put_object(key, body, options).await.map_err(|error| error.during("put"))
    }

    async fn delete(&self, keys: &[Key]) -> Result<()> {
        rules::check_delete(keys).map_err(|error| error.during("delete"))?;
        let (keys, now) = (keys.to_vec(), self.shared.now());
        self.run("delete", move |shared| {
            shared.index.delete(&keys, now)?;
            shared.collect();
            Ok(())
        })
        .await
    }

    async fn list(&self, options: ListOptions) -> Result<ListPage> {
        self.run("list", move |shared| shared.index.list(&options)).await
    }

    async fn create_multipart(&self, key: &Key, options: MultipartOptions) -> Result<UploadId> {
        rules::check_metadata(&options.custom).map_err(|error| error.during("createMultipartUpload"))?;
        let (key, now, id) = (key.clone(), self.shared.now(), UploadId::new(rules::random_id()?));
        self.run("createMultipartUpload", move |shared| {
            shared.index.create_upload(&id, &key, &options, now)?;
            Ok(id)
        })
        .await
    }

    async fn upload_part(&self, key: &Key, upload: &UploadId, number: u16, body: Body) -> Result<Part> {
        self.store_part(key, upload, number, body).await.map_err(|error| error.during("uploadPart"))
    }

    async fn complete_multipart(&self, key: &Key, upload: &UploadId, parts: Vec<Part>) -> Result<ObjectMeta> {
        let (key, upload, now) = (key.clone(), upload.clone(), self.shared.now());
        self.run("completeMultipartUpload", move |shared| {
            let meta = shared.index.complete_upload(&key, &upload, &parts, now)?;
            shared.collect();
            Ok(meta)
        })
        .await
    }

    async fn abort_multipart(&self, key: &Key, upload: &UploadId) -> Result<()> {
        let (key, upload, now) = (key.clone(), upload.clone(), self.shared.now());
        self.run("abortMultipartUpload", move |shared| shared.index.abort_upload(&key, &upload, now)).await
    }

    async fn list_parts(&self, key: &Key, upload: &UploadId) -> Result<Vec<PartInfo>> {
        let (key, upload, now) = (key.clone(), upload.clone(), self.shared.now());
        self.run("listParts", move |shared| shared.index.list_parts(&key, &upload, now)).await
    }

    async fn copy(&self, from: &Key, to: &Key, options: CopyOptions) -> Result<Option<PutResult>> {
        let (from, to, now) = (from.clone(), to.clone(), self.shared.now());
        self.run("copy", move |shared| shared.index.copy(&from, &to, &options, now)).await
    }
}
