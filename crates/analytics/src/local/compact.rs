//! Compaction, erasure and quarantine: what changes the columnar tier.
//!
//! The order of a compaction, each step durable before the next: the columnar segment under its name; the manifest that lists it and
//! covers the log segments; their removal. A crash before the manifest leaves a file that is not read, a crash after it log segments
//! that are not read; [`Compactor::begin`] removes both.
//!
//! | a crash after | leaves | which is |
//! |---|---|---|
//! | the temporary file | `*.parquet.tmp` | removed by the next [`Compactor::begin`] |
//! | the columnar segment has its name | a `.parquet` that is in no manifest | not read, and removed |
//! | the manifest | log segments that it covers | not read, and removed |
//! | their removal | nothing | |
//!
//! An erasure is the same for the log, with the rows of one index left out, and for each columnar segment: a new file without them, the
//! manifest, the removal of the old one. Only when the removal is durable does it return: erased points must not come back by a power loss.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, BooleanArray, RecordBatch};
use arrow_schema::DataType;
use bytes::Bytes;

use super::archive::ArchiveStore;
use super::columnar::{Columnar, ColumnarWriter, Fault, Rows, Selection, StoredColumn, schema_of};
use super::files::{remove, rename, sync_dir};
use super::frame::Stamp;
use super::log::{self, Sealed, Segment};
use super::manifest::{self, Entry, Manifest, ManifestLock, QUARANTINE, Quarantined};
use super::reader::{Decoded, Frames};
use super::segment::DurableEnd;
use super::snapshot::{ColumnarSegment, Dataset};
use super::stored;
use crate::{Damage, Error, ErrorKind, Result};

/// Most log segments that are compacted at once, as each is open meanwhile.
const RUN_SEGMENTS: usize = 200;
/// Rows that are handed to the writer of a file at once.
const APPEND_ROWS: usize = 64 * 1024;

/// The outcome of a compaction.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct CompactionReport {
    /// Number of points moved from the log into columnar segments.
    pub points: u64,
    /// Number of log segments compacted.
    pub log_segments: u64,
    /// Size of the log segments compacted, in bytes.
    pub log_bytes: u64,
    /// Number of columnar segments written.
    pub columnar_segments: u64,
    /// Size of the columnar segments written, in bytes.
    pub columnar_bytes: u64,
    /// Number of log segments left alone, because this or another process still writes to them.
    pub open_segments: u64,
    /// Number of bytes of unfinished writes that crashes have left at the ends of log segments; their points were never durable.
    pub torn_bytes: u64,
    /// Damage of log segments, which are kept in the folder `quarantine`; their other points are compacted.
    pub damage: Damage,
}

/// The outcome of an erasure.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct ErasureReport {
    /// Number of points erased.
    pub points: u64,
    /// Number of columnar segments rewritten or removed.
    pub rewritten_segments: u64,
    /// Names of damaged segments in the folder `quarantine`, which may still hold points with the index: delete these files by hand. Of
    /// segments that are damaged or missing in an archive, its place and the names of their objects.
    pub quarantined: Vec<String>,
}

/// Changes a dataset's columnar tier, alone.
///
/// Has the lock of the manifest, and the manifest as it is on the disk: every change commits a whole new one and keeps it.
pub(super) struct Compactor {
    pub(super) folder: PathBuf,
    pub(super) lock: ManifestLock,
    pub(super) manifest: Manifest,
    pub(super) archive: Option<Arc<dyn ArchiveStore>>,
}

impl Compactor {
    /// Waits for the right to change the dataset, and removes what a crash has left.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] where the manifest is damaged or lost: then nothing is removed; I/O errors.
    pub(super) fn begin(folder: &Path) -> Result<Self> {
        let lock = ManifestLock::take(folder)?;
        let mut manifest = Manifest::read(folder)?;
        if manifest.generation == 0 {
            // Before the first segment, so that segments without a manifest have lost it.
            manifest = lock.commit(manifest)?;
        }
        // One that was killed before its last sync has left a manifest that a power loss may take back: nothing goes by it before.
        sync_dir(folder)?;
        let mut compactor = Self { folder: folder.to_owned(), lock, manifest, archive: None };
        compactor.remove_leftovers()?;
        Ok(compactor)
    }

    /// Compacts every log segment that no process writes to; at most this many bytes of them into one columnar segment.
    ///
    /// Runs are independent: an error in one leaves those before it done.
    pub(super) fn compact(&mut self, run_bytes: u64) -> Result<CompactionReport> {
        let mut report = CompactionReport::default();
        let mut run = Vec::new();
        let mut bytes = 0;
        for segment in self.log()? {
            let Some(sealed) = Sealed::lock(&segment) else {
                report.open_segments += 1;
                continue;
            };
            let size = sealed.segment.bytes;
            if (bytes > 0 && bytes + size > run_bytes) || run.len() == RUN_SEGMENTS {
                self.compact_run(std::mem::take(&mut run), None, &mut report)?;
                bytes = 0;
            }
            bytes += size;
            run.push(sealed);
        }
        if !run.is_empty() {
            self.compact_run(run, None, &mut report)?;
        }
        Ok(report)
    }

    /// Erases the points with this index from both tiers, but for those that this process has begun to write meanwhile, of whose segment
    /// this is the end.
    pub(super) fn erase(&mut self, index: &[u8], run_bytes: u64, own: &DurableEnd) -> Result<ErasureReport> {
        self.ensure_archive()?;
        // Nothing is erased where one is being written. Those that are not are not written to again.
        let mut sealed = Vec::new();
        for segment in self.log()? {
            if sealed_for_erasure(&segment, own)?.is_some() {
                sealed.push(segment);
            }
        }
        let mut report = ErasureReport::default();
        let mut run = Vec::new();
        let mut bytes = 0;
        for segment in sealed {
            let Some(one) = sealed_for_erasure(&segment, own)? else { continue };
            bytes += one.segment.bytes;
            run.push(one);
            if bytes >= run_bytes || run.len() == RUN_SEGMENTS {
                let run = std::mem::take(&mut run);
                report.points += self.compact_run(run, Some(index), &mut CompactionReport::default())?;
                bytes = 0;
            }
        }
        if !run.is_empty() {
            report.points += self.compact_run(run, Some(index), &mut CompactionReport::default())?;
        }
        self.erase_columnar(index, &mut report)?;
        self.collect_garbage()?;
        // Whatever was removed, now or by an erasure that has failed here: it must not come back after a power loss.
        sync_dir(&self.folder)?;
        Ok(report)
    }

    /// Erases the points with this index from the columnar segments.
    fn erase_columnar(&mut self, index: &[u8], report: &mut ErasureReport) -> Result<()> {
        let place = self.manifest.archive.clone().unwrap_or_default();
        for entry in self.manifest.segments.clone() {
            match self.rewrite(&entry, index) {
                Ok(0) => {}
                Ok(erased) => {
                    report.points += erased;
                    report.rewritten_segments += 1;
                }
                Err(Rewrite::Read(Fault::Damaged(reason))) => self.quarantine(entry.number, reason)?,
                Err(Rewrite::Read(Fault::Missing)) => {
                    report.quarantined.extend(entry.object.map(|object| format!("{place}/{object}")));
                }
                Err(Rewrite::Read(fault)) => {
                    stored::met(&self.existing(&entry)?, fault)?;
                }
                Err(Rewrite::Write(error)) => return Err(error),
            }
        }
        report.quarantined.extend(self.manifest.quarantined.iter().map(|segment| match &segment.object {
            Some(object) => format!("{place}/{object}"),
            None => segment.name.clone(),
        }));
        Ok(())
    }

    /// Adds columnar segments to the dataset. Returns the number of their rows.
    pub(super) fn add(&mut self, entries: Vec<Entry>) -> Result<u64> {
        let rows = entries.iter().map(|entry| entry.rows).sum();
        let mut manifest = self.manifest.clone();
        manifest.segments.extend(entries);
        self.manifest = self.lock.commit(manifest)?;
        Ok(rows)
    }

    /// Removes columnar segments that were written and are not added. What stays goes with the next compaction.
    pub(super) fn discard(&self, entries: &[Entry]) {
        for entry in entries {
            drop(remove(&self.folder.join(entry.name())));
        }
    }

    /// Takes a damaged columnar segment out of what is read, and moves its file away.
    pub(super) fn quarantine(&mut self, number: u64, reason: String) -> Result<()> {
        let mut manifest = self.manifest.clone();
        let Some(at) = manifest.segments.iter().position(|entry| entry.number == number) else { return Ok(()) };
        let entry = manifest.segments.remove(at);
        let name = entry.name();
        let Entry { bytes, from, until, object, .. } = entry;
        let is_archived = object.is_some();
        manifest.quarantined.push(Quarantined { name: name.clone(), bytes, stretches: 1, from, until, reason, object });
        self.manifest = self.lock.commit(manifest)?;
        // An object stays where it is.
        if is_archived { Ok(()) } else { self.set_aside(&name) }
    }

    /// The log segments whose events are in no columnar segment.
    fn log(&self) -> Result<Vec<Segment>> {
        let mut log = log::list(&self.folder)?;
        log.retain(|segment| !self.manifest.covered.contains(&segment.number));
        Ok(log)
    }

    /// Writes the events of these log segments, but for those with an erased index, to one columnar segment. Returns the number of
    /// erased events.
    ///
    /// The segments' locks are held from the reading to the removal. Damage within a segment sets it aside; a torn end, which a crash leaves, does
    /// not, as its points were never durable.
    fn compact_run(&mut self, run: Vec<Sealed>, erased: Option<&[u8]>, report: &mut CompactionReport) -> Result<u64> {
        let mut rows = Rows::default();
        let mut entries = Vec::new();
        let mut manifest = self.manifest.clone();
        let mut count = 0;
        for sealed in &run {
            let segment = &sealed.segment;
            let mut frames = Frames::open(&sealed.log_segment()?);
            while let Some(is_erased) = frames.next_with(|frame| {
                let milliseconds = frame.timestamp.timestamp_millis();
                Decoded::of(frame.with_point(|sample_interval, point| {
                    take(&mut rows, Stamp { milliseconds, sample_interval }, point, erased)
                }))
            }) {
                count += u64::from(is_erased);
                if rows.is_full() {
                    entries.push(self.write(std::mem::take(&mut rows))?);
                }
            }
            if frames.damage.stretches == 1 && frames.is_torn {
                report.torn_bytes += frames.damage.bytes;
            } else if !frames.damage.is_none() {
                let Damage { stretches, bytes, .. } = frames.damage;
                let (from, until) = frames.damaged_times();
                let name = log::name(segment.number);
                let reason = "damaged events".to_owned();
                manifest.quarantined.push(Quarantined { name, bytes, stretches, from, until, reason, object: None });
                report.damage.merge(frames.damage);
            }
            manifest.covered.insert(segment.number);
            manifest.through = manifest.through.max(segment.number);
            report.log_segments += 1;
            report.log_bytes += segment.bytes;
        }
        if rows.len() > 0 {
            entries.push(self.write(rows)?);
        }
        report.points += entries.iter().map(|entry| entry.rows).sum::<u64>();
        report.columnar_segments += entries.len() as u64;
        report.columnar_bytes += entries.iter().map(|entry| entry.bytes).sum::<u64>();
        manifest.segments.extend(entries);
        self.manifest = self.lock.commit(manifest)?;
        self.retire(run.iter().map(|sealed| sealed.segment.number))?;
        Ok(count)
    }

    /// Writes a columnar segment of these rows, which is not read until it is [added](Self::add).
    pub(super) fn write(&self, rows: Rows) -> Result<Entry> {
        let sorted = rows.into_sorted();
        let mut writer = ColumnarWriter::create(&self.folder, self.next_number()?, sorted.schema().clone())?;
        let mut start = 0;
        while start < sorted.len() {
            let end = (start + APPEND_ROWS).min(sorted.len());
            let batch = sorted.batch(start..end);
            writer.append(
                &batch.map_err(|error| Error::new(ErrorKind::Internal, error.to_string()).with_source(error))?,
            )?;
            start = end;
        }
        writer.finish()
    }

    /// Writes a columnar segment again without the events with this index. Returns their number; 0 where nothing has changed.
    ///
    /// Reads the index column first, and the others only where there is something to erase.
    fn rewrite(&mut self, entry: &Entry, index: &[u8]) -> Result<u64, Rewrite> {
        let segment = self.existing(entry)?;
        let indexes = Some([Bytes::copy_from_slice(index)].into());
        let wanted = Selection { columns: vec![StoredColumn::Index], indexes, ..Selection::default() };
        let Some(columnar) = Columnar::open(&segment, &wanted).map_err(Rewrite::Read)? else { return Ok(0) };
        let mut erased = 0;
        for batch in columnar {
            erased += without(batch.map_err(Rewrite::Read)?.column(0).as_ref(), index).false_count() as u64;
        }
        if erased == 0 {
            return Ok(0);
        }
        let all = Columnar::open(&segment, &Selection::everything()).map_err(Rewrite::Read)?;
        let mut writer = None;
        for batch in all.into_iter().flatten() {
            let kept = kept(&batch.map_err(Rewrite::Read)?, index).map_err(Rewrite::Read)?;
            if kept.num_rows() == 0 {
                continue;
            }
            if writer.is_none() {
                writer = Some(ColumnarWriter::create(&self.folder, self.next_number()?, schema_of(&kept))?);
            }
            writer.as_mut().expect("the writer was made above").append(&kept)?;
        }
        let mut manifest = self.manifest.clone();
        manifest.segments.retain(|other| other.number != entry.number);
        if let Some(writer) = writer {
            manifest.segments.push(writer.finish()?);
        }
        manifest.garbage.extend(entry.object.clone());
        self.manifest = self.lock.commit(manifest)?;
        remove(&self.folder.join(entry.name()))?;
        sync_dir(&self.folder)?;
        Ok(erased)
    }

    /// Opens a columnar segment; `None` where its file is missing.
    pub(super) fn opened(&self, entry: &Entry) -> Result<Option<ColumnarSegment>> {
        let dataset = Dataset { archive: self.archive.clone(), ..Dataset::of(&self.folder) };
        let file = dataset.open(&self.manifest, entry)?;
        Ok(file.map(|file| ColumnarSegment { entry: entry.clone(), file }))
    }

    /// Opens a columnar segment.
    fn existing(&self, entry: &Entry) -> Result<ColumnarSegment> {
        let missing = || Error::io(&self.folder.join(entry.name()), std::io::ErrorKind::NotFound.into());
        self.opened(entry)?.ok_or_else(missing)
    }

    /// The number of the next columnar segment: none that a file of either tier has, or one that was set aside.
    fn next_number(&self) -> Result<u64> {
        let Manifest { through, segments, quarantined, .. } = &self.manifest;
        let log = log::list(&self.folder)?.into_iter().map(|segment| segment.number);
        let columnar = columnar_files(&self.folder)?.into_iter().filter_map(|path| manifest::number(&path));
        let aside = quarantined.iter().filter_map(|segment| manifest::number(Path::new(&segment.name)));
        let listed = segments.iter().map(|entry| entry.number);
        let greatest = log.chain(columnar).chain(aside).chain(listed).max();
        Ok(greatest.unwrap_or(0).max(*through) + 1)
    }

    /// Removes log segments that the manifest covers, and sets damaged ones aside.
    fn retire(&self, numbers: impl IntoIterator<Item = u64>) -> Result<()> {
        for number in numbers {
            let name = log::name(number);
            if self.manifest.quarantined.iter().any(|segment| segment.name == name) {
                self.set_aside(&name)?;
            } else {
                remove(&self.folder.join(name))?;
            }
        }
        sync_dir(&self.folder)
    }

    /// Moves a damaged file into the quarantine, unless it is there. Durable.
    fn set_aside(&self, name: &str) -> Result<()> {
        let folder = self.folder.join(QUARANTINE);
        isobar_base::fs::create_dir(&folder).map_err(|error| Error::io(&folder, error))?;
        let path = self.folder.join(name);
        match rename(&path, &folder.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io(&path, error)),
            // Where it is before where it was, so that it is in one of them at any time.
            _ => sync_dir(&folder).and_then(|()| sync_dir(&self.folder)),
        }
    }

    /// Removes files that a crash has left: covered log segments, and columnar segments that are not in the manifest. What that has as
    /// damaged is set aside.
    fn remove_leftovers(&mut self) -> Result<()> {
        let listed: Vec<u64> = log::list(&self.folder)?.iter().map(|segment| segment.number).collect();
        let covered: Vec<u64> = listed.into_iter().filter(|number| self.manifest.covered.contains(number)).collect();
        if !covered.is_empty() {
            self.retire(covered)?;
        }
        self.manifest.covered.clear(); // with the next commit
        let mut is_changed = false;
        for path in columnar_files(&self.folder)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if self.manifest.segments.iter().any(|entry| entry.object.is_none() && entry.name() == name) {
                continue;
            }
            if self.manifest.quarantined.iter().any(|segment| segment.object.is_none() && segment.name == name) {
                self.set_aside(&name)?;
                continue;
            }
            remove(&path)?;
            is_changed = true;
        }
        if is_changed { sync_dir(&self.folder) } else { Ok(()) }
    }
}

/// Locks a segment for an erasure; `None` where it has expired, or is the one that this process has begun meanwhile.
fn sealed_for_erasure(segment: &Segment, own: &DurableEnd) -> Result<Option<Sealed>> {
    let sealed = Sealed::lock(segment);
    if sealed.is_some() || own.is_of(&segment.path) || !segment.path.exists() {
        return Ok(sealed);
    }
    let path = segment.path.display();
    let message = format!("{path}: another process is writing to this segment; stop it and erase again");
    Err(Error::new(ErrorKind::Unavailable, message))
}

/// Adds an event, or says that it is erased.
fn take(rows: &mut Rows, stamp: Stamp, point: &crate::PointRef<'_>, erased: Option<&[u8]>) -> bool {
    let is_erased = erased.is_some_and(|erased| point.index.unwrap_or_default() == erased);
    if !is_erased {
        rows.push(stamp, point);
    }
    is_erased
}

/// The reason for which a segment is not rewritten.
enum Rewrite {
    Read(Fault),
    Write(Error),
}

impl From<Error> for Rewrite {
    fn from(error: Error) -> Self {
        Self::Write(error)
    }
}

/// The rows of a batch with another index than this.
fn kept(batch: &RecordBatch, index: &[u8]) -> Result<RecordBatch, Fault> {
    let mask = without(batch.column(StoredColumn::Index.position()).as_ref(), index);
    Ok(arrow_select::filter::filter_record_batch(batch, &mask)?)
}

/// Marks the rows with another index than this.
fn without(indexes: &dyn Array, index: &[u8]) -> BooleanArray {
    let other = |row: usize| match indexes.data_type() {
        DataType::Utf8 => indexes.as_string::<i32>().value(row).as_bytes() != index,
        _ => indexes.as_binary::<i32>().value(row) != index,
    };
    (0..indexes.len()).map(|row| Some(other(row))).collect()
}

/// The files of columnar segments, finished or not. Other files that a user has put there are none.
fn columnar_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |error| Error::io(folder, error);
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let is_unfinished = path.extension().is_some_and(|extension| extension == "tmp");
        let finished = if is_unfinished { path.with_extension("") } else { path.clone() };
        if manifest::number(&finished).is_some() {
            paths.push(path);
        }
    }
    Ok(paths)
}

/// Sets a damaged columnar segment aside, if no other process is changing the dataset. Best effort: its damage is reported in any case.
pub(super) fn quarantine(folder: &Path, entry: &Entry, reason: String) {
    let Ok(Some(lock)) = ManifestLock::try_take(folder) else { return };
    let Ok(manifest) = Manifest::read(folder) else { return };
    // Moved to the archive meanwhile, it was whole.
    if !manifest.segments.iter().any(|other| other.number == entry.number && other.object == entry.object) {
        return;
    }
    let number = entry.number;
    let mut compactor = Compactor { folder: folder.to_owned(), lock, manifest, archive: None };
    if let Err(_error) = compactor.quarantine(number, reason) {
        #[cfg(feature = "tracing")]
        tracing::warn!(folder = %folder.display(), number, error = %_error, "a damaged segment cannot be set aside");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::files::record;
    use crate::local::{CompactionOptions, LocalSink};
    use crate::{DataPoint, EventSink};

    async fn written(folder: &Path) -> LocalSink {
        let sink = LocalSink::open(folder).unwrap();
        sink.write(DataPoint::new().with_index("keep"));
        sink.write(DataPoint::new().with_index("erase-me"));
        sink.flush().await.unwrap();
        sink
    }

    /// The step that makes the names in a folder durable.
    fn synced(folder: &Path) -> String {
        format!("sync {}", folder.file_name().unwrap().to_string_lossy())
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn each_step_of_a_compaction_and_a_quarantine_is_durable_before_the_next() {
        let folder = tempfile::tempdir().unwrap();
        drop(written(folder.path()).await);
        let mut compactor = Compactor::begin(folder.path()).unwrap();
        let synced = synced(folder.path());
        let committed = ["sync manifest.jsonl.tmp", "name manifest.jsonl", synced.as_str()];
        record::take();
        assert_eq!(compactor.compact(1 << 20).unwrap().points, 2);
        let steps = record::take();
        assert_eq!(steps[..3], ["sync 000000000002.parquet.tmp", "name 000000000002.parquet", synced.as_str()]);
        assert_eq!(steps[3..6], committed);
        assert_eq!(steps[6..], ["remove 000000000001.seg", synced.as_str()]);

        compactor.quarantine(2, "damaged".to_owned()).unwrap();
        let steps = record::take();
        assert_eq!(steps[..3], committed);
        assert_eq!(steps[3..], ["name 000000000002.parquet", "sync quarantine", synced.as_str()]);
    }

    #[tokio::test]
    async fn erased_files_are_removed_durably_before_the_erasure_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let sink = written(folder.path()).await;
        sink.compact(CompactionOptions::default()).await.unwrap();
        let before = columnar_files(folder.path()).unwrap();
        let mut compactor = Compactor::begin(folder.path()).unwrap();
        record::take();
        let report = compactor.erase(b"erase-me", 1 << 20, &DurableEnd::default()).unwrap();
        assert_eq!((report.points, report.rewritten_segments), (1, 1));
        let steps = record::take();
        let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
        let removed = steps.iter().position(|step| *step == format!("remove {}", name(&before[0])));
        assert!(steps[removed.unwrap()..].contains(&synced(folder.path())), "{steps:?}");
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn erasure_passes_over_the_segment_that_this_process_writes_to_and_none_of_others() {
        let folder = tempfile::tempdir().unwrap();
        let sink = written(folder.path()).await;
        let mut compactor = Compactor::begin(folder.path()).unwrap();
        assert_eq!(compactor.erase(b"erase-me", 1 << 20, &sink.shared.dataset.end).unwrap().points, 0);
        let error = compactor.erase(b"erase-me", 1 << 20, &DurableEnd::default()).unwrap_err();
        assert!(error.message().contains("another process is writing to this segment"), "{error}");
    }
}
