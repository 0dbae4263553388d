//! Moving columnar segments to an archive, and removing what is not needed there.
//!
//! Each step is durable before the next. The name of an object is in the manifest before the object is put, and stays there until a segment
//! needs it or it is removed: nothing that was put is forgotten, and nothing is removed that another has put.
//!
//! | a crash after | leaves | which is |
//! |---|---|---|
//! | the manifest names the object as garbage | perhaps a part of it, or all | removed by the next maintenance |
//! | the object was read back and compared | the object, as garbage | the same; the segment is moved again |
//! | the manifest gives the segment the object | the segment's file | not read, and removed by the next [`Compactor::begin`] |
//! | the removal of the file | nothing | |
//!
//! Segments that expire, and those that an erasure writes again, leave their objects as garbage in the same way. Readers whose snapshots have
//! the file keep it open. Those that have an object that was removed fail, and succeed when they are tried again.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::{StreamExt, stream};

use super::archive::{ArchiveBody, ArchiveStore, block_on};
use super::columnar::{Columnar, Fault, Selection, StoredColumn, verify};
use super::compact::Compactor;
use super::files::{Part, remove, sync_dir};
use super::log::{self, milliseconds};
use super::manifest::{Entry, Manifest};
use super::snapshot::{Archived, ColumnarSegment, SegmentFile, archive_of, damage};
use super::stored;
use crate::{Damage, Error, ErrorKind, Result};

/// Most bytes of a chunk of what is put.
const CHUNK: u64 = 1024 * 1024;

/// The outcome of moving segments to an archive.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct ArchiveReport {
    /// Number of segments moved.
    pub segments: u64,
    /// Number of their points.
    pub points: u64,
    /// Their size in bytes, which the disk has no more.
    pub bytes: u64,
    /// Number of objects removed from the archive, which no segment needed.
    pub removed_objects: u64,
    /// Damage of segments, which are kept in the folder `quarantine` and not moved.
    pub damage: Damage,
}

/// The segments of a dataset, by the places that they are in.
///
/// ```
/// use isobar_analytics::local::{CompactionOptions, LocalSink, StoredSegments};
/// use isobar_analytics::{DataPoint, EventSink};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// let sink = LocalSink::open(folder.path().join("visits"))?;
/// sink.write(DataPoint::new());
/// sink.compact(CompactionOptions::default()).await?;
/// let segments = StoredSegments::of(folder.path().join("visits"))?;
/// assert_eq!((segments.columnar_segments, segments.columnar_points, segments.archive), (1, 1, None));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct StoredSegments {
    /// Number of log segments.
    pub log_segments: u64,
    /// Their size in bytes.
    pub log_bytes: u64,
    /// Number of columnar segments in the folder.
    pub columnar_segments: u64,
    /// Number of their points.
    pub columnar_points: u64,
    /// Their size in bytes.
    pub columnar_bytes: u64,
    /// The place of the archive, if the dataset has one: the text of [`ArchiveStore::location`].
    pub archive: Option<String>,
    /// Number of columnar segments in the archive.
    pub archived_segments: u64,
    /// Number of their points.
    pub archived_points: u64,
    /// Their size in bytes.
    pub archived_bytes: u64,
    /// Number of damaged segments, which are not read.
    pub quarantined: u64,
}

impl StoredSegments {
    /// Counts the segments of the dataset in this folder. The archive is not asked.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] where the manifest is lost or damaged; I/O errors, also where there is no such folder.
    pub fn of(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        let count = || -> Result<Self> {
            let manifest = Manifest::read(folder)?;
            let mut counted =
                Self { archive: manifest.archive, quarantined: manifest.quarantined.len() as u64, ..Self::default() };
            for segment in log::list(folder)? {
                if !manifest.covered.contains(&segment.number) {
                    counted.log_segments += 1;
                    counted.log_bytes += segment.bytes;
                }
            }
            for entry in manifest.segments {
                if entry.object.is_some() {
                    counted.archived_segments += 1;
                    counted.archived_points += entry.rows;
                    counted.archived_bytes += entry.bytes;
                } else {
                    counted.columnar_segments += 1;
                    counted.columnar_points += entry.rows;
                    counted.columnar_bytes += entry.bytes;
                }
            }
            Ok(counted)
        };
        count().map_err(|error| error.during("segments"))
    }
}

/// Does in the background what [`LocalSink::archive`](super::LocalSink::archive) does, as long as it may go on; without an age removes only
/// what is not needed.
pub(super) fn maintain(
    folder: &Path,
    archive: Option<&Arc<dyn ArchiveStore>>,
    after: Option<Duration>,
    may_go_on: impl Fn() -> bool,
) {
    let Some(archive) = archive else { return };
    let work = || {
        let mut compactor = Compactor::begin(folder)?.with_archive(Some(Arc::clone(archive)));
        match after {
            Some(after) => compactor.archive(before(after), may_go_on),
            None => Ok(ArchiveReport { removed_objects: compactor.collect_garbage()?, ..ArchiveReport::default() }),
        }
    };
    match work() {
        Ok(_report) =>
        {
            #[cfg(feature = "tracing")]
            if _report != ArchiveReport::default() {
                tracing::info!(folder = %folder.display(), report = ?_report, "segments were archived");
            }
        }
        // What could not be moved stays, and the next interval tries again.
        Err(_error) => {
            #[cfg(feature = "tracing")]
            tracing::error!(folder = %folder.display(), error = %_error, "segments cannot be archived");
        }
    }
}

/// Returns the time, in milliseconds since 1970, that was this long ago.
pub(super) fn before(age: Duration) -> i64 {
    let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    milliseconds(SystemTime::now()).saturating_sub(age)
}

impl Compactor {
    /// Sets the archive of the dataset.
    pub(super) fn with_archive(mut self, archive: Option<Arc<dyn ArchiveStore>>) -> Self {
        self.archive = archive;
        self
    }

    /// Moves the columnar segments of the folder whose newest event is not after this time, in milliseconds, to the archive, the oldest first.
    /// Asks before each whether it may go on. An object that cannot be removed is an error at the end: where the right to remove is missing,
    /// segments are moved all the same, and not kept until their disk is full.
    pub(super) fn archive(&mut self, before: i64, may_go_on: impl Fn() -> bool) -> Result<ArchiveReport> {
        let store = self.store()?;
        let collected = self.collect_garbage();
        let mut report = ArchiveReport::default();
        let old = self.manifest.segments.iter().filter(|entry| entry.object.is_none() && entry.until <= before);
        for entry in old.cloned().collect::<Vec<_>>() {
            if !may_go_on() {
                break;
            }
            self.move_segment(&store, entry, &mut report)?;
        }
        report.removed_objects = collected?;
        Ok(report)
    }

    /// Removes the objects that no segment needs. Returns their number. Without such objects the archive is not asked. One that cannot be
    /// removed keeps none of the others, and is the error at the end; an archive that cannot be reached ends it at once.
    pub(super) fn collect_garbage(&mut self) -> Result<u64> {
        if self.manifest.garbage.is_empty() {
            return Ok(0);
        }
        let store = self.store()?;
        let mut manifest = self.manifest.clone();
        let mut removed = 0;
        let mut failure: Option<Error> = None;
        for name in &self.manifest.garbage {
            match block_on(store.delete(name)) {
                Ok(()) => {
                    manifest.garbage.remove(name);
                    removed += 1;
                }
                Err(error) => {
                    let is_away = error.is_retryable();
                    failure.get_or_insert(error);
                    if is_away {
                        break;
                    }
                }
            }
        }
        if removed > 0 {
            self.manifest = self.lock.commit(manifest)?;
        }
        failure.map_or(Ok(removed), Err)
    }

    /// Fails where the dataset has objects in another archive than this.
    pub(super) fn ensure_archive(&self) -> Result<()> {
        if self.manifest.uses_archive() { self.store().map(drop) } else { Ok(()) }
    }

    fn store(&self) -> Result<Arc<dyn ArchiveStore>> {
        archive_of(&self.manifest, self.archive.as_ref()).cloned()
    }

    /// Moves one segment; sets it aside where it is damaged.
    fn move_segment(&mut self, store: &Arc<dyn ArchiveStore>, entry: Entry, report: &mut ArchiveReport) -> Result<()> {
        // One that is missing is reported by those who read.
        let Some(segment) = self.opened(&entry)? else { return Ok(()) };
        match verify(&segment) {
            Ok(()) => {}
            Err(Fault::Damaged(reason)) => {
                report.damage.merge(damage(entry.name(), 1, entry.bytes));
                return self.quarantine(entry.number, reason);
            }
            Err(fault) => return stored::met(&segment, fault).map(drop),
        }
        let name = self.name_object(store, &entry)?;
        if let SegmentFile::Local(file) = &segment.file {
            block_on(store.put(&name, entry.bytes, chunks(Part::first(Arc::clone(file), entry.bytes))))?;
        }
        let indexes = match &entry.indexes {
            Some(indexes) => Some(indexes.clone()),
            None => indexes_of(&segment)?,
        };
        let moved = Entry { indexes, object: Some(name.clone()), ..entry };
        let object = Archived { folder: self.folder.clone(), store: Arc::clone(store), name: name.clone() };
        self.compare(&ColumnarSegment { entry: moved.clone(), file: SegmentFile::Archived(object) })?;
        report.segments += 1;
        report.points += moved.rows;
        report.bytes += moved.bytes;
        let file = self.folder.join(moved.name());
        let mut manifest = self.manifest.clone();
        manifest.garbage.remove(&name);
        manifest.segments.retain(|other| other.number != moved.number);
        manifest.segments.push(moved);
        self.manifest = self.lock.commit(manifest)?;
        remove(&file)?;
        sync_dir(&self.folder)
    }

    /// Notes, durably, a new name for an object, as one that is not needed.
    fn name_object(&mut self, store: &Arc<dyn ArchiveStore>, entry: &Entry) -> Result<String> {
        let id = isobar_base::random::hex_id();
        let id = id.map_err(|error| Error::new(ErrorKind::Internal, error.to_string()).with_source(error))?;
        let name = format!("{:012}-{id}.parquet", entry.number);
        let location = store.location();
        if self.manifest.archive.as_ref() != Some(&location) {
            self.lock.mark_archive(&location)?;
        }
        let mut manifest = self.manifest.clone();
        manifest.archive = Some(location);
        manifest.garbage.insert(name.clone());
        self.manifest = self.lock.commit(manifest)?;
        Ok(name)
    }

    /// Reads an object back, and compares it with the segment that it is to replace.
    fn compare(&self, object: &ColumnarSegment) -> Result<()> {
        let SegmentFile::Archived(Archived { store, name, .. }) = &object.file else { return Ok(()) };
        let differs = |problem: &str| {
            let message = format!("{}/{name}: {problem}; the segment stays where it is", store.location());
            Error::new(ErrorKind::Unavailable, message)
        };
        let bytes = object.entry.bytes;
        match block_on(store.size(name))? {
            Some(size) if size == bytes => {}
            Some(size) => {
                return Err(differs(&format!("the object has {size} bytes and not the {bytes} that were put")));
            }
            None => return Err(differs("the object is missing after it was put")),
        }
        match verify(object) {
            Ok(()) => Ok(()),
            Err(Fault::Damaged(problem)) => Err(differs(&format!("the object is not what was put: {problem}"))),
            Err(Fault::Missing) => Err(differs("the object is missing after it was put")),
            Err(fault @ Fault::Io(_)) => stored::met(object, fault).map(drop),
        }
    }
}

/// Returns a file's bytes in chunks.
fn chunks(mut part: Part) -> ArchiveBody {
    let next = move || {
        let size = part.left().min(CHUNK);
        let mut chunk = vec![0; size as usize];
        let read = || std::io::Read::read_exact(&mut part, &mut chunk).map(|()| Bytes::from(chunk));
        (size > 0).then(read)
    };
    stream::iter(std::iter::from_fn(next)).boxed()
}

/// Returns the least and the greatest index of a segment, which is sorted by it.
fn indexes_of(segment: &ColumnarSegment) -> Result<Option<(String, String)>> {
    use arrow_array::Array;
    use arrow_array::cast::AsArray;

    let selection = Selection { columns: vec![StoredColumn::Index], ..Selection::default() };
    let failed = |fault| stored::met(segment, fault).map(|_damage| None);
    let batches = match Columnar::open(segment, &selection) {
        Ok(batches) => batches,
        Err(fault) => return failed(fault),
    };
    let mut ends: Option<(String, String)> = None;
    for batch in batches.into_iter().flatten() {
        let batch = match batch {
            Ok(batch) => batch,
            Err(fault) => return failed(fault),
        };
        let indexes = batch.column(0).as_binary::<i32>();
        let Some(last) = indexes.len().checked_sub(1) else { continue };
        let (_, greatest) = ends.get_or_insert_with(|| (hex::encode(indexes.value(0)), String::new()));
        *greatest = hex::encode(indexes.value(last));
    }
    Ok(ends)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::local::files::record;
    use crate::local::{FolderArchive, LocalOptions, LocalSink, manifest};

    #[tokio::test]
    async fn retention_without_garbage_does_not_wait_for_a_segment_that_is_being_moved() {
        let folder = tempfile::tempdir().unwrap();
        let dataset = folder.path().join("visits");
        let archive = Arc::new(FolderArchive::new(folder.path().join("old")));
        let sink = LocalSink::open_with(&dataset, LocalOptions::default().with_archive(archive)).unwrap();
        let _moving = Compactor::begin(&dataset).unwrap();
        let removed = tokio::time::timeout(Duration::from_secs(20), sink.apply_retention()).await;
        assert_eq!(removed.expect("there is nothing to wait for").unwrap(), 0);
    }

    #[test]
    fn manifest_of_a_process_that_was_killed_is_durable_before_anything_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        drop(Compactor::begin(folder.path()).unwrap());
        std::fs::write(folder.path().join(manifest::name(7)), "not in the manifest").unwrap();
        record::take();
        drop(Compactor::begin(folder.path()).unwrap());
        let synced = format!("sync {}", folder.path().file_name().unwrap().to_string_lossy());
        assert_eq!(record::take(), [synced.as_str(), "remove 000000000007.parquet", synced.as_str()]);
    }
}
