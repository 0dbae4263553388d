//! The native backend: a folder.
//!
//! ```text
//! index.db             SQLite (WAL): keys, metadata, where the bodies are
//! packs/00...01.pack   bodies up to 32 KiB, many in a file that is appended to, and the log of what was put
//! blobs/ab/ab12...     larger bodies and parts: immutable files with random names
//! ```
//!
//! A large body is first made durable as a blob (write, fsync, fsync of the folder); then the row that names it is committed in one
//! transaction with the check of its conditions, when a pack that names it, too, is synced. So a committed row never names a blob
//! that is not durable, compare-and-swap holds across processes, and a crash leaves only blobs that no row names, which
//! [`LocalStore::gc`] removes. Replaced blobs are unlinked later, when no reader can still be about to open them.
//!
//! Small bodies that come at the same time share one transaction: they are appended to a pack with their metadata, the pack is
//! synced, and their rows are committed. The names of large objects' blobs, and deletions, are in packs as well. The index itself is
//! then not synced: changes that it loses in a power failure are replayed from the packs when the store is opened, and a lost index is
//! rebuilt from them ([`LocalStore::rebuild`]). A pack that is more than half garbage is compacted step by step, and removed.
//!
//! Reads are verified ([`LocalOptions::with_verify_on_read`]).

mod blobs;
mod commit;
mod disk;
mod engine;
mod fsck;
mod in_flight;
mod index;
mod lock;
mod open;
mod options;
mod packs;
mod rebuild;
mod recent;
mod remove;
mod room;
mod signing;
mod store;
mod sums;
mod verify;

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use chrono::{DateTime, SubsecRound, Utc};
use isobar_base::sync::IgnorePoison;

use self::blobs::{BlobPart, Blobs, Checking, Found};
use self::engine::{Index, NewBody};
use self::in_flight::InFlight;
use self::index::Content;
use self::lock::StoreLock;
use self::packs::Packs;
use self::room::Room;
use self::verify::Verify;
use crate::checksum::Digests;
use crate::files::blocking;
use crate::rules::GetDecision;
use crate::signed::Signer;
use crate::{
    Body, Clock, Error, ErrorKind, GetOptions, GetResult, Key, ObjectMeta, Operation, Part, PutOptions, PutResult,
    Result, UploadId, rules,
};

pub use self::disk::{Disk, DiskFile, Space, SystemDisk};
pub use self::fsck::{Finding, Fsck, FsckOptions, Problem};
pub use self::options::LocalOptions;
pub use self::rebuild::Rebuild;
pub use self::remove::Removal;

/// Folder of damaged objects and packs.
const QUARANTINE: &str = "lost";

/// Bodies up to this many bytes lie in packs; larger ones in files of their own.
const SMALL_BYTES: u64 = 32 * 1024;

/// Approximate disk space that an object takes besides its body: its row, its head in a frame.
const OBJECT_BYTES: u64 = 1024;

/// Blobs without a name and younger than this may belong to a write in flight.
const YOUNG: chrono::Duration = chrono::Duration::hours(1);

/// A bucket in a folder, durable and safe to open from several processes. Clones share it.
///
/// Writes that come at the same time share a transaction and its fsync (two where small puts and others meet); each is answered when
/// it is durable.
///
/// ```
/// use isobar_storage::local::LocalStore;
/// use isobar_storage::{Key, ObjectStoreExt};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// let store = LocalStore::open(folder.path().join("bucket")).await?;
/// let key = Key::new("notes.md")?;
/// store.write(&key, "# Notes").await?; // durable from here on
/// assert_eq!(store.read(&key).await?.expect("it was written").1, "# Notes");
/// # Ok(())
/// # }
/// ```
///
/// Divergence from R2: none in semantics; `copy` and `list_parts` are there as well. Keys are taken as they are, as
/// miniflare does; R2 itself stores them in Unicode's NFC ([`layers::NfcKeys`](crate::layers) does here, too).
#[derive(Clone)]
pub struct LocalStore {
    shared: Arc<Shared>,
}

struct Shared {
    root: PathBuf,
    index: Index,
    packs: Packs,
    blobs: Blobs,
    clock: Clock,
    verify_on_read: bool,
    signer: Option<Signer>,
    room: Room,
    /// Blobs of writes in flight: the garbage collection leaves them alone, however long they take.
    in_flight: Mutex<HashSet<String>>,
    /// Released when all else is closed.
    _lock: StoreLock,
}

/// Report of [`LocalStore::gc`]: the number of removed files and rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gc {
    /// Multipart uploads past their seven days.
    pub uploads: u64,
    /// Blobs that no object names any more.
    pub blobs: u64,
}

impl LocalStore {
    /// Opens the store in this folder, creating it if need be.
    ///
    /// # Errors
    /// [`ErrorKind::PermissionDenied`], [`ErrorKind::StorageFull`]; [`ErrorKind::Unavailable`] where a rebuild or an upgrade of its
    /// index does not end within 30 s, and where the index is of an earlier version and another process has it open;
    /// [`ErrorKind::Corrupt`] where the folder holds something else, an index of a newer version, packs or blobs without an index, or
    /// with one that does not belong to them: the message says what to do, and nothing is changed ([`rebuild`](Self::rebuild)).
    ///
    /// ```
    /// use isobar_storage::ErrorKind;
    /// use isobar_storage::local::LocalStore;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// // A database of another program is refused, and stays as it is.
    /// std::fs::write(folder.path().join("index.db"), "not ours")?;
    /// let error = LocalStore::open(folder.path()).await.unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Corrupt);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn open(root: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(root, LocalOptions::default()).await
    }

    /// As [`open`](Self::open), with options.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn open_with(root: impl AsRef<Path>, options: LocalOptions) -> Result<Self> {
        let root = root.as_ref().to_owned();
        let shared = blocking(move || open::open(root, options)).await.map_err(|error| error.during("open"))?;
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Returns the secret that URLs of this bucket are signed with: made at the first use, and kept in the file `signing-key` beside
    /// the index, readable by its owner alone. It has 32 bytes. Every process that calls this has the same; a copy of the folder has it, too.
    ///
    /// # Errors
    /// Errors of the file system; [`ErrorKind::Corrupt`] for a file that is not such a key.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use isobar_storage::local::{LocalOptions, LocalStore};
    /// use isobar_storage::signed::Signer;
    /// use isobar_storage::{Key, ObjectStore, PresignMethod, PresignOptions};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// let signer = Signer::new("https://example.com/r2/assets", LocalStore::signing_secret(folder.path()).await?)?;
    /// let store = LocalStore::open_with(folder.path(), LocalOptions::default().with_signer(signer)).await?;
    /// let options = PresignOptions::new(Key::new("report.pdf")?, PresignMethod::Get, Duration::from_secs(600));
    /// assert!(store.presign(options).await?.starts_with("https://example.com/r2/assets/report.pdf?expires="));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn signing_secret(root: impl AsRef<Path>) -> Result<Vec<u8>> {
        let path = root.as_ref().join("signing-key");
        blocking(move || signing::secret(&path)).await.map_err(|error| error.during(Operation::Presign))
    }

    /// Removes the remains of crashes and old uploads: uploads past their seven days, replaced blobs, blobs that no row names, and
    /// packs that the index has forgotten. Safe beside running readers and writers: blobs younger than an hour stay. The index is
    /// checked first (some 3 s for 1 GiB).
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] where the index is damaged: it may not find the rows of what would be removed, and nothing is. The open
    /// store refuses puts, copies, lists and deletes from then on. Errors of the file system; blobs and packs that have been removed
    /// until then stay removed.
    ///
    /// ```
    /// use isobar_storage::local::LocalStore;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// let store = LocalStore::open(folder.path()).await?;
    /// // Once a day, say: nothing but room depends on it.
    /// let removed = store.gc().await?;
    /// assert_eq!((removed.uploads, removed.blobs), (0, 0));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn gc(&self) -> Result<Gc> {
        let now = self.shared.now();
        self.run("gc", |shared| shared.index.check_whole()).await?;
        let uploads = self.shared.index.expire_uploads(now).await.map_err(|error| error.during("gc"))?;
        let (orphans, _) = self.run("gc", |shared| shared.orphans(Some(YOUNG))).await?;
        let blobs = self.unlink(&orphans).await.map_err(|error| error.during("gc"))?.len() as u64;
        self.remove_unknown_packs().await.map_err(|error| error.during("gc"))?;
        self.run("gc", move |shared| shared.packs.remove_preallocated(now - YOUNG)).await?;
        Ok(Gc { uploads, blobs })
    }

    /// Unlinks those of these blobs that nothing names, and returns them.
    ///
    /// Each is looked up again under the lock of writers: since the list was made a write may have named it.
    async fn unlink(&self, orphans: &[Found]) -> Result<Vec<String>> {
        let mut unlinked = Vec::new();
        // Some at a time: writers wait meanwhile.
        for some in orphans.chunks(256) {
            let names = some.iter().map(|found| found.blob.clone()).collect();
            let blobs = self.shared.blobs.clone();
            unlinked.extend(self.shared.index.unlink_unnamed(names, move |blob| blobs.remove(blob)).await?);
        }
        Ok(unlinked)
    }

    /// Removes packs that the index has forgotten, and a crash has left, and returns them.
    async fn remove_unknown_packs(&self) -> Result<Vec<u64>> {
        let packs = self.shared.packs.clone();
        self.shared.index.remove_unknown_packs(move || Ok(packs.list()?.0)).await
    }

    /// Runs blocking work on the store, and names the operation in its errors.
    async fn run<T: Send + 'static>(
        &self,
        operation: impl Into<&'static str>,
        work: impl FnOnce(&Shared) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let shared = Arc::clone(&self.shared);
        let operation = operation.into();
        blocking(move || work(&shared)).await.map_err(|error| error.during(operation))
    }

    /// Makes a body durable as a blob where it is large; hashes it on the way.
    ///
    /// The blob is announced as in flight before its file is made and until the caller's transaction is over, so that no garbage collection of
    /// this process takes it; that of another process leaves blobs of less than an hour.
    async fn take_body(&self, body: Body, digests: Digests) -> Result<(NewBody, Digests, Option<InFlight>)> {
        if body.length() <= SMALL_BYTES {
            let bytes = body.bytes().await?;
            let mut digests = digests;
            digests.update(&bytes);
            return Ok((NewBody::Small(bytes), digests, None));
        }
        let blob = rules::random_id()?;
        let size = body.length();
        let in_flight = InFlight::new(&self.shared, &blob, size);
        let digests = self.shared.blobs.write(&blob, body, digests, in_flight.written()).await?;
        Ok((NewBody::Blobs(vec![BlobPart { blob, size }]), digests, Some(in_flight)))
    }

    async fn put_object(&self, key: &Key, body: Body, options: PutOptions) -> Result<PutResult> {
        let PutOptions { conditions, http, custom, checksum, storage_class } = options;
        rules::check_size(&body)?;
        rules::check_metadata(&custom)?;
        let size = body.length();
        self.shared.admit(size)?;
        let (body, digests, in_flight) = self.take_body(body, Digests::new(checksum)).await?;
        let checksums = match digests.finish() {
            Ok(checksums) => checksums,
            Err(error) => {
                self.drop_body(body).await;
                return Err(error);
            }
        };
        let mut meta =
            ObjectMeta::new(key.clone(), rules::random_id()?, size, checksums[0].hex.clone(), self.shared.now());
        meta.http = http;
        meta.custom = custom;
        meta.checksums = checksums;
        meta.storage_class = storage_class;
        let row = meta.clone();
        let shared = Arc::clone(&self.shared);
        let kept = body.clone();
        let stored = self.shared.index.put(row, body, conditions, move |segments| {
            let _in_flight = &in_flight; // until the job is over, however it ends
            shared.check_segments(segments)
        });
        match stored.await {
            Ok(true) => Ok(PutResult::Stored(meta)),
            Ok(false) => {
                self.drop_body(kept).await;
                Ok(PutResult::ConditionFailed)
            }
            // Whether it was committed is not known: a row may name the blob. What nothing names is left to the garbage collection.
            Err(error) => Err(error),
        }
    }

    async fn drop_body(&self, body: NewBody) {
        let NewBody::Blobs(segments) = body else { return };
        let removed = self.run(Operation::Put, move |shared| {
            shared.remove_or_leave(&segments);
            Ok(())
        });
        drop(removed.await);
    }

    async fn get_object(&self, key: &Key, options: GetOptions) -> Result<GetResult> {
        let key = key.clone();
        self.run(Operation::Get, move |shared| {
            let found = shared.with_object(&key, |meta, content| shared.get(meta, content, &options))?;
            Ok(found.unwrap_or(GetResult::Missing))
        })
        .await
    }

    async fn store_part(&self, key: &Key, upload: &UploadId, number: u16, body: Body) -> Result<Part> {
        rules::check_part_number(number)?;
        rules::check_size(&body)?;
        self.shared.admit(body.length())?;
        let key = key.clone();
        let upload = upload.clone();
        let now = self.shared.now();
        let checked_key = key.clone();
        let checked = upload.clone();
        self.run(Operation::UploadPart, move |shared| shared.index.check_upload(&checked_key, &checked, now)).await?;

        let blob = rules::random_id()?;
        let size = body.length();
        let in_flight = InFlight::new(&self.shared, &blob, size);
        let digests = self.shared.blobs.write(&blob, body, Digests::new(None), in_flight.written()).await?;
        let md5 = digests.finish()?.swap_remove(0).hex;
        let part = Part { part_number: number, etag: rules::random_id()? };
        let segment = BlobPart { blob, size };
        let shared = Arc::clone(&self.shared);
        let stored = self.shared.index.put_part((key, upload), now, part.clone(), md5, segment, move |segments| {
            let _in_flight = &in_flight; // until the job is over, however it ends
            shared.check_segments(segments)
        });
        stored.await?; // what nothing names then is left to the garbage collection
        Ok(part)
    }
}

impl Shared {
    fn now(&self) -> DateTime<Utc> {
        (self.clock)().trunc_subsecs(3)
    }

    /// Admits a body of this length, unless a sync has failed or the disk is full.
    fn admit(&self, bytes: u64) -> Result<()> {
        self.index.health()?;
        self.room.admit(bytes + OBJECT_BYTES)
    }

    fn in_flight(&self) -> MutexGuard<'_, HashSet<String>> {
        // A set, changed in single steps.
        self.in_flight.lock().ignore_poison()
    }

    /// Returns the blobs that nothing names, those above this age if one is given; and the foreign files.
    fn orphans(&self, age: Option<chrono::Duration>) -> Result<(Vec<Found>, Vec<PathBuf>)> {
        // The blobs first: what is written after that has its name by the time the names are read, or is young.
        let (mut blobs, foreign) = self.blobs.list()?;
        let named = self.index.named_blobs()?;
        let now = self.now();
        let in_flight = self.in_flight();
        blobs.retain(|found| {
            age.is_none_or(|age| now - found.written > age)
                && !named.contains(&found.blob)
                && !in_flight.contains(&found.blob)
        });
        Ok((blobs, foreign))
    }

    /// Does something with an object as it is stored; `None` from `work` where its small body is in a pack that is not there.
    /// Such a pack was emptied since the row was read: so once more, with where the body is now. A body that is missing in the same place
    /// twice is lost, and an error.
    fn with_object<T>(
        &self,
        key: &Key,
        mut work: impl FnMut(ObjectMeta, &Content) -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        let mut missed = None;
        loop {
            let Some((meta, content)) = self.index.get(key)? else { return Ok(None) };
            if let Some(done) = work(meta, &content)? {
                return Ok(Some(done));
            }
            match content {
                Content::Packed(place) if missed != Some(place) => missed = Some(place),
                Content::Packed(place) => return Err(self.packs.missing(place)),
                Content::Blobs(..) => return Err(Error::new(ErrorKind::Internal, "blobs are in no pack")),
            }
        }
    }

    fn get(&self, meta: ObjectMeta, content: &Content, options: &GetOptions) -> Result<Option<GetResult>> {
        let (meta, range) = match rules::decide_get(Some(meta), options)? {
            GetDecision::Missing => return Ok(Some(GetResult::Missing)),
            GetDecision::ConditionFailed(meta) => return Ok(Some(GetResult::ConditionFailed(meta))),
            GetDecision::Read(meta, range) => (meta, range),
        };
        let body = match content {
            Content::Packed(place) => {
                let read =
                    if self.verify_on_read { self.packs.read_verified(*place)? } else { self.packs.read(*place)? };
                let Some(bytes) = read else { return Ok(None) };
                if self.verify_on_read && place.crc.is_none() {
                    Verify::whole(&meta, &bytes)?;
                }
                // Small bodies are at most SMALL_BYTES long, so positions fit usize.
                bytes.slice(range.offset as usize..(range.offset + range.length) as usize).into()
            }
            Content::Blobs(segments, _) => {
                let is_whole = range.length == meta.size;
                let checking = match self.verify_on_read {
                    true => Checking::On(is_whole.then_some(&meta)),
                    false => Checking::Off,
                };
                self.blobs.read(segments, range, checking)?
            }
        };
        Ok(Some(GetResult::Object { meta, range, body }))
    }

    /// Makes sure that the blobs of a new row are there: another process's garbage collection may have taken them for orphans.
    fn check_segments(&self, segments: &[BlobPart]) -> Result<()> {
        if segments.iter().all(|segment| self.blobs.exists(&segment.blob)) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Unavailable, "the body was swept away before it could be committed"))
    }

    /// Removes blobs that nothing names; a failure leaves them to the garbage collection.
    fn remove_or_leave(&self, segments: &[BlobPart]) {
        for segment in segments {
            if let Err(_error) = self.blobs.remove(&segment.blob) {
                #[cfg(feature = "tracing")]
                tracing::warn!(error = %_error, "a blob is left to the garbage collection");
            }
        }
    }
}

impl fmt::Debug for LocalStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalStore({})", self.shared.root.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ObjectStoreExt;

    #[tokio::test]
    async fn a_body_that_has_moved_is_looked_for_where_it_is_now_and_one_that_is_gone_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = LocalStore::open(folder.path()).await.expect("a new store");
        let key = Key::new("k").expect("a key");
        store.write(&key, "body").await.expect("there is room");
        let index = rusqlite::Connection::open(folder.path().join("index.db")).expect("it is there");
        let mut looks = 0;
        let found = store.shared.with_object(&key, |_, _| {
            looks += 1;
            // Its pack was emptied and removed between the look at its row and this one.
            index.execute_batch("UPDATE objects SET pack = pack + 1").expect("nobody writes");
            Ok((looks == 3).then_some(looks))
        });
        assert_eq!(found.expect("it was found"), Some(3));
        let gone = store.shared.with_object::<()>(&key, |_, _| Ok(None));
        assert_eq!(gone.expect_err("it is nowhere").kind(), ErrorKind::Corrupt);
    }
}
