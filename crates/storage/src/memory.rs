//! A faithful fake: R2's semantics in a map.
//!
//! It keeps all that R2's rules ask for, and shares the code of the rules with the local store ([`rules`]):
//! conditions, ranges, checksums, listings with cursors, multipart uploads with their limits and their expiry. So a test against
//! it sees the errors that R2 answers. It keeps nothing when it is dropped, and does no I/O: every operation is ready at once, so
//! that a test needs no runtime. Bodies are in memory whole.
//!
//! Everything stands behind one lock, which is held for a look-up or an insertion and never while a body is read: a put reads its body first,
//! then judges its conditions and stores in one go. Uploads that have ended stay in the map, as R2 answers them otherwise than unknown ones.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Duration, SubsecRound, Utc};
use isobar_base::sync::IgnorePoison;

use crate::checksum::Digests;
use crate::rules::{self, GetDecision, StoredPart};
use crate::{
    Body, Capabilities, Clock, Conditions, CopyOptions, Error, GetOptions, GetResult, Key, ListOptions, ListPage,
    ListUploadsOptions, MultipartOptions, ObjectMeta, ObjectStore, Operation, Part, PartInfo, PutOptions, PutResult,
    Result, UploadId, UploadInfo, limits, system_clock,
};

/// A bucket in memory, with R2's semantics. Clones share it. It has every capability but presigned URLs, and no limit but the memory.
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use isobar_storage::memory::MemoryStore;
/// use isobar_storage::{Key, ObjectStore, ObjectStoreExt};
/// # futures_util::FutureExt::now_or_never(async {
/// let store = MemoryStore::new();
/// store.write(&Key::new("a")?, "1").await?;
/// assert!(store.clone().head(&Key::new("a")?).await?.is_some());
/// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
/// ```
#[derive(Clone)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
    clock: Clock,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<Key, (ObjectMeta, Bytes)>,
    uploads: HashMap<String, Upload>,
    /// Counts what was done to the objects.
    changes: u64,
}

impl State {
    fn store(&mut self, meta: &ObjectMeta, bytes: Bytes) {
        self.changes += 1;
        self.objects.insert(meta.key.clone(), (meta.clone(), bytes));
    }
}

struct Upload {
    key: Key,
    options: MultipartOptions,
    created: DateTime<Utc>,
    /// `None` once completed or aborted.
    parts: Option<BTreeMap<u16, (StoredPart, Bytes)>>,
}

impl MemoryStore {
    /// An empty bucket.
    ///
    /// ```
    /// use isobar_storage::memory::MemoryStore;
    ///
    /// assert_eq!(format!("{:?}", MemoryStore::new()), "MemoryStore(0 objects)");
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(system_clock())
    }

    /// An empty bucket that takes the time from `clock`: for tests of what depends on it, as the seven days of an upload.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
    /// use std::sync::Arc;
    ///
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{ErrorKind, Key, MultipartOptions, ObjectStoreExt};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let seconds = Arc::new(AtomicI64::new(1_700_000_000));
    /// let ticking = Arc::clone(&seconds);
    /// let clock = move || chrono::DateTime::from_timestamp(ticking.load(Relaxed), 0).expect("a time in range");
    /// let store = MemoryStore::with_clock(Arc::new(clock));
    /// let upload = store.multipart(&Key::new("film.mp4")?, MultipartOptions::default()).await?;
    /// seconds.fetch_add(7 * 24 * 3600, Relaxed);
    /// assert_eq!(upload.upload_part(1, "late").await.unwrap_err().kind(), ErrorKind::NoSuchUpload);
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    #[must_use]
    pub fn with_clock(clock: Clock) -> Self {
        Self { state: Arc::default(), clock }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change to the maps is a single insert or remove: a panic elsewhere leaves nothing half done.
        self.state.lock().ignore_poison()
    }

    fn now(&self) -> DateTime<Utc> {
        (self.clock)().trunc_subsecs(3)
    }

    async fn put_object(&self, key: &Key, body: Body, options: PutOptions) -> Result<PutResult> {
        let PutOptions { conditions, http, custom, checksum, storage_class } = options;
        rules::check_size(&body)?;
        rules::check_metadata(&custom)?;
        let bytes = body.bytes().await?;
        let mut digests = Digests::new(checksum);
        digests.update(&bytes);
        let checksums = digests.finish()?;

        let mut meta =
            ObjectMeta::new(key.clone(), rules::random_id()?, bytes.len() as u64, checksums[0].hex.clone(), self.now());
        meta.http = http;
        meta.custom = custom;
        meta.checksums = checksums;
        meta.storage_class = storage_class;
        let mut state = self.lock();
        if conditions.is_some_and(|conditions| !conditions.hold(state.objects.get(key).map(|(meta, _)| meta))) {
            return Ok(PutResult::ConditionFailed);
        }
        state.store(&meta, bytes);
        Ok(PutResult::Stored(meta))
    }

    fn get_object(&self, key: &Key, options: &GetOptions) -> Result<GetResult> {
        let state = self.lock();
        let (meta, bytes) = state.objects.get(key).cloned().unzip();
        drop(state);
        Ok(match rules::decide_get(meta, options)? {
            GetDecision::Missing => GetResult::Missing,
            GetDecision::ConditionFailed(meta) => GetResult::ConditionFailed(meta),
            GetDecision::Read(meta, range) => {
                // The body is in memory, so its positions fit usize.
                let end = (range.offset + range.length) as usize;
                let body = bytes.unwrap_or_default().slice(range.offset as usize..end).into();
                GetResult::Object { meta, range, body }
            }
        })
    }

    async fn store_part(&self, key: &Key, upload: &UploadId, number: u16, body: Body) -> Result<Part> {
        rules::check_part_number(number)?;
        rules::check_size(&body)?;
        self.open_parts(&mut self.lock(), key, upload)?;
        let bytes = body.bytes().await?;
        let md5: [u8; 16] = <md5::Md5 as sha2::Digest>::digest(&bytes).into();
        let part = StoredPart { etag: rules::random_id()?, md5, size: bytes.len() as u64 };
        let etag = part.etag.clone();
        self.open_parts(&mut self.lock(), key, upload)?.insert(number, (part, bytes));
        Ok(Part { part_number: number, etag })
    }

    fn open_parts<'a>(
        &self,
        state: &'a mut State,
        key: &Key,
        upload: &UploadId,
    ) -> Result<&'a mut BTreeMap<u16, (StoredPart, Bytes)>> {
        let expired = self.now() - Duration::days(limits::UPLOAD_DAYS);
        let upload = state.uploads.get_mut(upload.as_str()).filter(|upload| upload.key == *key);
        let open = upload.filter(|upload| upload.created > expired).and_then(|upload| upload.parts.as_mut());
        open.ok_or_else(rules::no_such_upload)
    }

    fn join_parts(
        &self,
        key: &Key,
        upload: &UploadId,
        given: &[Part],
        conditions: Option<&Conditions>,
    ) -> Result<PutResult> {
        let mut guard = self.lock();
        let state = &mut *guard;
        let known = state.uploads.get(upload.as_str()).is_some_and(|upload| upload.key == *key);
        let parts =
            self.open_parts(state, key, upload).map_err(|over| if known { over } else { rules::unknown_upload() })?;
        let stored = parts.iter().map(|(number, (part, _))| (*number, part.clone())).collect();
        let (numbers, etag) = rules::complete_parts(given, &stored)?;
        if conditions.is_some_and(|conditions| !conditions.hold(state.objects.get(key).map(|(meta, _)| meta))) {
            if let Some(upload) = state.uploads.get_mut(upload.as_str()) {
                upload.parts = None;
            }
            return Ok(PutResult::ConditionFailed);
        }
        let parts = self.open_parts(state, key, upload)?;
        let mut bytes = BytesMut::new();
        numbers.iter().for_each(|number| bytes.extend_from_slice(&parts[number].1));
        let mut meta = ObjectMeta::new(key.clone(), rules::random_id()?, bytes.len() as u64, etag, self.now());
        if let Some(upload) = state.uploads.get_mut(upload.as_str()) {
            let MultipartOptions { http, custom, storage_class } = upload.options.clone();
            meta.http = http;
            meta.custom = custom;
            meta.storage_class = storage_class;
            upload.parts = None;
        }
        state.store(&meta, bytes.freeze());
        Ok(PutResult::Stored(meta))
    }

    fn copy_object(&self, from: &Key, to: &Key, options: CopyOptions) -> Result<Option<PutResult>> {
        let CopyOptions { source_conditions, conditions } = options;
        let mut state = self.lock();
        let Some((mut meta, bytes)) = state.objects.get(from).cloned() else { return Ok(None) };
        let destination = state.objects.get(to).map(|(meta, _)| meta);
        if source_conditions.is_some_and(|conditions| !conditions.hold(Some(&meta)))
            || conditions.is_some_and(|conditions| !conditions.hold(destination))
        {
            return Ok(Some(PutResult::ConditionFailed));
        }
        meta.key = to.clone();
        meta.version = rules::random_id()?;
        meta.uploaded = self.now();
        state.store(&meta, bytes);
        Ok(Some(PutResult::Stored(meta)))
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryStore({} objects)", self.lock().objects.len())
    }
}

#[async_trait]
impl ObjectStore for MemoryStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            copy: true,
            presign: false,
            multipart: true,
            list_parts: true,
            list_uploads: true,
            conditional_complete: true,
            delete_version: true,
        }
    }

    fn generation(&self) -> Option<u64> {
        Some(self.lock().changes)
    }

    async fn head(&self, key: &Key) -> Result<Option<ObjectMeta>> {
        Ok(self.lock().objects.get(key).map(|(meta, _)| meta.clone()))
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<GetResult> {
        self.get_object(key, &options).map_err(|error| error.during(Operation::Get))
    }

    async fn put(&self, key: &Key, body: Body, options: PutOptions) -> Result<PutResult> {
        self.put_object(key, body, options).await.map_err(|error| error.during(Operation::Put))
    }

    async fn delete(&self, keys: &[Key]) -> Result<()> {
        rules::check_delete(keys).map_err(|error| error.during(Operation::Delete))?;
        let mut state = self.lock();
        state.changes += 1;
        keys.iter().for_each(|key| drop(state.objects.remove(key)));
        Ok(())
    }

    async fn delete_version(&self, key: &Key, version: &str) -> Result<bool> {
        let mut state = self.lock();
        if state.objects.get(key).is_none_or(|(meta, _)| meta.version != version) {
            return Ok(false);
        }
        state.changes += 1;
        state.objects.remove(key);
        Ok(true)
    }

    async fn list(&self, options: ListOptions) -> Result<ListPage> {
        let state = self.lock();
        rules::list_page(&options, |start, limit| {
            let from = if start.inclusive { Bound::Included(&*start.bytes) } else { Bound::Excluded(&*start.bytes) };
            let objects = state.objects.range::<[u8], _>((from, Bound::Unbounded));
            Ok(objects.take(limit).map(|(_, (meta, _))| meta.clone()).collect())
        })
        .map_err(|error: Error| error.during(Operation::List))
    }

    async fn create_multipart(&self, key: &Key, options: MultipartOptions) -> Result<UploadId> {
        rules::check_metadata(&options.custom).map_err(|error| error.during(Operation::CreateMultipart))?;
        let id = rules::random_id()?;
        let upload = Upload { key: key.clone(), options, created: self.now(), parts: Some(BTreeMap::new()) };
        self.lock().uploads.insert(id.clone(), upload);
        Ok(UploadId::new(id))
    }

    async fn upload_part(&self, key: &Key, upload: &UploadId, number: u16, body: Body) -> Result<Part> {
        self.store_part(key, upload, number, body).await.map_err(|error| error.during(Operation::UploadPart))
    }

    async fn complete_multipart(&self, key: &Key, upload: &UploadId, parts: Vec<Part>) -> Result<ObjectMeta> {
        let joined = self.join_parts(key, upload, &parts, None);
        let joined = joined.map_err(|error| error.during(Operation::CompleteMultipart))?;
        Ok(joined.stored().expect("without a condition the object is stored"))
    }

    async fn complete_multipart_if(
        &self,
        key: &Key,
        upload: &UploadId,
        parts: Vec<Part>,
        conditions: Conditions,
    ) -> Result<PutResult> {
        let joined = self.join_parts(key, upload, &parts, Some(&conditions));
        joined.map_err(|error| error.during(Operation::CompleteMultipart))
    }

    async fn abort_multipart(&self, key: &Key, upload: &UploadId) -> Result<()> {
        let mut state = self.lock();
        let upload = state.uploads.get_mut(upload.as_str()).filter(|upload| upload.key == *key);
        let upload = upload.ok_or_else(|| rules::unknown_upload().during(Operation::AbortMultipart))?;
        upload.parts = None;
        Ok(())
    }

    async fn list_parts(&self, key: &Key, upload: &UploadId) -> Result<Vec<PartInfo>> {
        let mut state = self.lock();
        let parts = self.open_parts(&mut state, key, upload).map_err(|error| error.during(Operation::ListParts))?;
        let info = |(number, (part, _)): (&u16, &(StoredPart, Bytes))| {
            PartInfo::new(Part { part_number: *number, etag: part.etag.clone() }, part.size)
        };
        Ok(parts.iter().map(info).collect())
    }

    async fn list_uploads(&self, options: ListUploadsOptions) -> Result<Vec<UploadInfo>> {
        let limit = rules::check_limit(options.limit).map_err(|error| error.during(Operation::ListUploads))?;
        let expired = self.now() - Duration::days(limits::UPLOAD_DAYS);
        let state = self.lock();
        let open = state.uploads.iter().filter(|(_, upload)| upload.parts.is_some() && upload.created > expired);
        let open = open.map(|(id, upload)| (UploadId::new(id.as_str()), upload));
        let mut uploads: Vec<UploadInfo> = open
            .filter(|(id, upload)| options.covers(&upload.key, id))
            .map(|(id, upload)| {
                let info = UploadInfo::new(upload.key.clone(), id, upload.created);
                UploadInfo { storage_class: upload.options.storage_class, ..info }
            })
            .collect();
        uploads.sort_by(|a, b| (a.key.as_str(), a.id.as_str()).cmp(&(b.key.as_str(), b.id.as_str())));
        uploads.truncate(limit);
        Ok(uploads)
    }

    async fn copy(&self, from: &Key, to: &Key, options: CopyOptions) -> Result<Option<PutResult>> {
        self.copy_object(from, to, options).map_err(|error: Error| error.during(Operation::Copy))
    }
}
