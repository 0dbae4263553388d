//! Compaction and erasure of a sink, and reading both of its tiers by column.
//!
//! Both change files, may take minutes, and block: they run on a thread of their own, and the future waits for its answer. Dropping the
//! future does not stop the work; the lock of the manifest keeps a second one from beginning meanwhile.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use arrow_array::RecordBatch;
use bytes::Bytes;
use futures_channel::oneshot;

use super::archive::ArchiveStore;
use super::archiving::{self, ArchiveReport};
use super::buffer::Request;
use super::columnar::{Columnar, Fault, ROW_GROUP_ROWS, Selection};
use super::compact::{self, CompactionReport, Compactor, ErasureReport};
use super::log::LogSegment;
use super::manifest::Manifest;
use super::reader::Frames;
use super::snapshot::{ColumnarSegment, Dataset, Snapshot};
use super::{LocalSink, answer, stored};
use crate::{Damage, Error, ErrorKind, Event, Result, ScanOptions};

/// Most events of the log in a batch.
const BATCH_EVENTS: usize = 8 * 1024;
/// Size in bytes of the events of the log at which a batch is complete.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// Fewest rows of a part of a scan on the average: a thread is started for them.
const ROWS_FOR_A_THREAD: u64 = 64 * 1024;

/// Options of [`LocalSink::compact`].
///
/// ```
/// use isobar_analytics::local::{CompactionOptions, LocalSink};
/// use isobar_analytics::{DataPoint, EventSink};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// let sink = LocalSink::open(folder.path().join("visits"))?;
/// sink.write(DataPoint::new().with_index("tenant-1"));
/// let small = CompactionOptions::default().with_run_bytes(16 << 20);
/// assert_eq!(sink.compact(small).await?.points, 1);
/// # Ok(()) }
/// ```
///
/// Memory: about `run_bytes`, and at most 256 MiB, for the rows of a run, and a row group of the file that is written.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CompactionOptions {
    /// Whether the current log segment is ended first, so that everything written so far is compacted. Default: true.
    pub seal_current: bool,
    /// Most bytes of log that become one columnar segment; its rows are sorted in memory, which takes about as much. Default: 128 MiB.
    pub run_bytes: u64,
}

impl Default for CompactionOptions {
    fn default() -> Self {
        Self { seal_current: true, run_bytes: 128 * 1024 * 1024 }
    }
}

impl CompactionOptions {
    /// Sets whether the current log segment is ended first.
    ///
    /// Default: true. Without it the segment that is being written waits for its end, of 64 MiB or a day, and no small segments are made.
    ///
    /// ```
    /// use isobar_analytics::local::{CompactionOptions, LocalSink};
    /// use isobar_analytics::{DataPoint, EventSink};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// let sink = LocalSink::open(folder.path().join("visits"))?;
    /// sink.write(DataPoint::new());
    /// sink.flush().await?;
    /// let report = sink.compact(CompactionOptions::default().with_seal_current(false)).await?;
    /// assert_eq!((report.points, report.open_segments), (0, 1));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn with_seal_current(mut self, seal: bool) -> Self {
        self.seal_current = seal;
        self
    }

    /// Sets the most bytes of log that become one columnar segment.
    ///
    /// Default: 128 MiB. A single log segment that is larger is a run of its own.
    #[must_use]
    pub fn with_run_bytes(mut self, bytes: u64) -> Self {
        self.run_bytes = bytes;
        self
    }
}

impl LocalSink {
    /// Moves points from the log into columnar segments: Parquet files in the dataset's folder, sorted by index and time, which take a
    /// fraction of the log's space and which any reader of Parquet reads. Others may write and read meanwhile; a reader sees each point
    /// once. Log segments that another process writes to are left alone.
    ///
    /// Points that are compacted come out of [`read`](crate::EventSink::read) by index and time, and what is not set in one is not told
    /// from what is empty.
    ///
    /// ```
    /// use isobar_analytics::local::{CompactionOptions, LocalSink};
    /// use isobar_analytics::{DataPoint, EventSink, EventSinkExt, ScanOptions};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// let sink = LocalSink::open(folder.path().join("visits"))?;
    /// sink.write(DataPoint::new().with_index("tenant-1").with_blob("/home"));
    /// let report = sink.compact(CompactionOptions::default()).await?;
    /// assert_eq!((report.points, report.columnar_segments), (1, 1));
    /// let scan = sink.scan(ScanOptions::default()).await?;
    /// assert_eq!(scan.events[0].blob(1), b"/home");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::StorageFull`], [`ErrorKind::PermissionDenied`], [`ErrorKind::Unavailable`], [`ErrorKind::Corrupt`] where the manifest
    /// is damaged, [`ErrorKind::Closed`] after [`close`](crate::EventSink::close). No point is lost; what was done before stays done.
    pub async fn compact(&self, options: CompactionOptions) -> Result<CompactionReport> {
        const OPERATION: &str = "compact";
        self.ensure_open(OPERATION)?;
        if options.seal_current {
            self.seal().await.map_err(|error| error.during(OPERATION))?;
        }
        let folder = self.shared.dataset.folder.clone();
        on_a_thread(move || Compactor::begin(&folder)?.compact(options.run_bytes))
            .await
            .map_err(|error| error.during(OPERATION))
    }

    /// Erases all points with this index from the dataset's files, for example those of a customer who asks for it. Compacts the log on
    /// the way. Points that are written meanwhile may stay. Segments of an archive that have such points are written again, into the folder, and
    /// their objects removed.
    ///
    /// ```
    /// use isobar_analytics::local::LocalSink;
    /// use isobar_analytics::{DataPoint, EventSink, EventSinkExt, ScanOptions};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// let sink = LocalSink::open(folder.path().join("visits"))?;
    /// for tenant in ["tenant-1", "tenant-2", "tenant-1"] {
    ///     sink.write(DataPoint::new().with_index(tenant));
    /// }
    /// let report = sink.erase("tenant-1").await?;
    /// assert_eq!(report.points, 2);
    /// assert!(report.quarantined.is_empty(), "no damaged file may still have them");
    /// let left = sink.scan(ScanOptions::default()).await?.events;
    /// assert_eq!((left.len(), left[0].index()), (1, &b"tenant-2"[..]));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] while another process writes to the dataset, [`ErrorKind::Unsupported`] where it has segments in an archive
    /// with which the sink was not opened: then nothing has been erased; else as [`compact`](Self::compact), and those of the archive. After
    /// an error some points may be erased and others not: erase again.
    pub async fn erase(&self, index: impl Into<Bytes>) -> Result<ErasureReport> {
        const OPERATION: &str = "erase";
        self.ensure_open(OPERATION)?;
        self.seal().await.map_err(|error| error.during(OPERATION))?;
        let dataset = self.shared.dataset.clone();
        let index = index.into();
        let run_bytes = CompactionOptions::default().run_bytes;
        let erased = on_a_thread(move || {
            let mut compactor = Compactor::begin(&dataset.folder)?.with_archive(dataset.archive);
            compactor.erase(&index, run_bytes, &dataset.end)
        });
        let erased = erased.await;
        erased.map_err(|error| error.during(OPERATION))
    }

    /// Moves the columnar segments whose newest point is older than this to the archive that the sink was opened with
    /// ([`with_archive`](super::LocalOptions::with_archive)), and removes from there what no segment needs. Others may write and read
    /// meanwhile; a reader sees each point once.
    ///
    /// Each segment is put, read back and compared, before its file is removed. The log is not moved: [`compact`](Self::compact) it before.
    ///
    /// An example is at [`FolderArchive`](super::FolderArchive).
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] without an archive, and where the dataset has segments in another one; those of the archive;
    /// [`ErrorKind::Unavailable`] where it does not have the bytes that were put; else as [`compact`](Self::compact). No point is lost; what
    /// was moved before stays moved, and the next call goes on.
    pub async fn archive(&self, older_than: Duration) -> Result<ArchiveReport> {
        const OPERATION: &str = "archive";
        self.ensure_open(OPERATION)?;
        let dataset = self.shared.dataset.clone();
        let archived = on_a_thread(move || {
            Compactor::begin(&dataset.folder)?
                .with_archive(dataset.archive)
                .archive(archiving::before(older_than), || true)
        });
        archived.await.map_err(|error| error.during(OPERATION))
    }

    /// Removes the objects of expired segments from the archive, if the sink was opened with one.
    pub(super) async fn collect_garbage(&self) -> Result<u64> {
        let dataset = self.shared.dataset.clone();
        if dataset.archive.is_none() {
            return Ok(0);
        }
        let collect = move || -> Result<u64> {
            // The right to change the dataset is waited for, which takes as long as a segment that is being moved.
            if Manifest::read(&dataset.folder)?.garbage.is_empty() {
                return Ok(0);
            }
            Compactor::begin(&dataset.folder)?.with_archive(dataset.archive).collect_garbage()
        };
        on_a_thread(collect).await
    }

    /// Makes all points durable and ends the current segment, so that compaction may have it. The next point begins another one.
    async fn seal(&self) -> Result<()> {
        answer(self.shared.buffer.flush()).await?;
        answer(self.shared.buffer.request(Request::Seal)).await
    }

    /// Opens the segments of both tiers that may have selected rows.
    pub(crate) fn scan_columns(&self, options: &ScanOptions) -> Result<LocalScan> {
        LocalScan::take(&self.shared.dataset, options)
    }
}

/// Opens the segments of a dataset that this process does not write to, and whose old ones may be in this archive.
pub(crate) fn scan_folder(
    folder: &Path,
    archive: Option<&Arc<dyn ArchiveStore>>,
    options: &ScanOptions,
) -> Result<LocalScan> {
    LocalScan::take(&Dataset { archive: archive.cloned(), ..Dataset::of(folder) }, options)
}

/// Runs what blocks on a thread of its own. Where the thread panics, the answer is [`ErrorKind::Internal`].
pub(super) async fn on_a_thread<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let (done, result) = oneshot::channel();
    let thread = std::thread::Builder::new().name("isobar-analytics-compact".to_owned());
    let started = thread.spawn(move || drop(done.send(work())));
    started.map_err(|error| Error::new(ErrorKind::Unavailable, format!("cannot start a thread: {error}")))?;
    result.await.unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, "the compacting thread ended early")))
}

/// A thread that compacts complete log segments at an interval, and then moves old columnar segments to the archive, until it is dropped;
/// dropping it waits for the work that is in flight.
#[derive(Debug)]
pub(super) struct CompactionThread {
    /// Dropped to end the thread.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl CompactionThread {
    pub(super) fn start(dataset: Dataset, every: Duration, archive_after: Option<Duration>) -> Result<Self> {
        let (stop, stopped) = channel();
        let Dataset { folder, archive, .. } = dataset;
        let thread = std::thread::Builder::new().name("isobar-analytics-compact".to_owned());
        let run_bytes = CompactionOptions::default().run_bytes;
        let thread = thread.spawn(move || {
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(every) {
                let compacted = Compactor::begin(&folder).and_then(|mut compactor| compactor.compact(run_bytes));
                match compacted {
                    Ok(_report) =>
                    {
                        #[cfg(feature = "tracing")]
                        if _report.points > 0 {
                            tracing::info!(folder = %folder.display(), report = ?_report, "events were compacted");
                        }
                    }
                    // The log stays as it is, and the next interval tries again.
                    Err(_error) => {
                        #[cfg(feature = "tracing")]
                        tracing::error!(folder = %folder.display(), error = %_error, "events cannot be compacted");
                    }
                }
                // A segment may take long, and the next one is not begun once the sink is dropped.
                let may_go_on = || !matches!(stopped.try_recv(), Err(TryRecvError::Disconnected));
                archiving::maintain(&folder, archive.as_ref(), archive_after, may_go_on);
            }
        });
        let thread =
            thread.map_err(|error| Error::new(ErrorKind::Unavailable, format!("cannot start a thread: {error}")))?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for CompactionThread {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// A snapshot of a dataset, to be read by column.
#[derive(Debug, Clone)]
pub(crate) struct LocalScan {
    folder: PathBuf,
    snapshot: Snapshot,
}

impl LocalScan {
    pub(super) fn take(dataset: &Dataset, options: &ScanOptions) -> Result<Self> {
        Ok(Self { folder: dataset.folder.clone(), snapshot: Snapshot::take(dataset, options)? })
    }

    /// Reads the snapshot in at most this many parts, which have about as many rows of columnar segments: of each part they precede those of the
    /// next. The log is in the last one.
    pub(crate) fn read(self, options: &ScanOptions, selection: &Selection, most: usize) -> Vec<LocalBatches> {
        let Snapshot { mut log, columnar, pruned, damage } = self.snapshot;
        log.reverse();
        let rows: u64 = columnar.iter().map(|segment| segment.entry.rows).sum();
        let count = (rows / ROWS_FOR_A_THREAD).clamp(1, most.max(1) as u64);
        let empty = |_| LocalBatches {
            folder: self.folder.clone(),
            options: options.clone(),
            selection: selection.clone(),
            log: Vec::new(),
            frames: None,
            columnar: Vec::new(),
            rows: None,
            counts: LocalCounts::default(),
        };
        let mut parts: Vec<LocalBatches> = (0..count).map(empty).collect();
        let part_of = |row: u64| (row * count / rows.max(1)).min(count - 1);
        let mut first_row = 0;
        for segment in columnar {
            let last_row = first_row + segment.entry.rows.saturating_sub(1);
            let is_damaged = Arc::new(AtomicBool::new(false));
            let begin = |part: u64| nearest_group((part * rows).div_ceil(count) - first_row);
            let numbers = part_of(first_row)..=part_of(last_row);
            for part in numbers.clone() {
                let from = if part == *numbers.start() { 0 } else { begin(part) };
                let until = if part == *numbers.end() { u64::MAX } else { begin(part + 1) };
                if from < until && (from == 0 || from < segment.entry.rows) {
                    let is_damaged = Arc::clone(&is_damaged);
                    let part = &mut parts[part as usize].columnar;
                    part.push(SegmentPart { segment: segment.clone(), rows: from..until, is_damaged });
                }
            }
            first_row += segment.entry.rows;
        }
        let mut number = 0;
        parts.retain(|part| {
            number += 1;
            number == count || !part.columnar.is_empty()
        });
        parts.iter_mut().for_each(|part| part.columnar.reverse());
        parts.first_mut().expect("the last part is kept").counts = LocalCounts { pruned, read: 0, damage };
        parts.last_mut().expect("the last part is kept").log = log;
        parts
    }
}

/// The begin of a row group, in rows of its segment, that is nearest to this row.
fn nearest_group(row: u64) -> u64 {
    let rows = ROW_GROUP_ROWS as u64;
    (row + rows / 2) / rows * rows
}

/// A columnar segment, or a part of its row groups.
#[derive(Debug)]
struct SegmentPart {
    segment: ColumnarSegment,
    /// The row groups that begin in this range of the segment's rows.
    rows: Range<u64>,
    /// Whether one of the segment's parts has met its damage, which counts once.
    is_damaged: Arc<AtomicBool>,
}

impl SegmentPart {
    /// Whether the segment is counted with this part.
    fn is_first(&self) -> bool {
        self.rows.start == 0
    }
}

/// The rows of a part of a snapshot.
#[derive(Debug)]
pub(crate) enum LocalRows {
    /// Events of the log.
    Events(Vec<Event>),
    /// Rows of a columnar segment, with the selected columns; where all rows are within the bounds, without the bounds' columns.
    Columns { batch: RecordBatch, is_within_bounds: bool },
    /// None: only the counts have changed.
    Nothing,
}

/// Segments and damage met since the previous batch.
#[derive(Debug, Default)]
pub(crate) struct LocalCounts {
    /// Number of segments without selected rows.
    pub(crate) pruned: u64,
    /// Number of segments that have been opened and read.
    pub(crate) read: u64,
    pub(crate) damage: Damage,
}

/// The batches of a part of a snapshot: first the columnar segments, then the log. The rows are not in any order: a query sorts.
///
/// Pull-based and blocking: each `next` reads one batch, so that memory is one batch and a query can end between two. A segment that turns out
/// damaged is counted, set aside, and the reading goes on with the next.
pub(crate) struct LocalBatches {
    folder: PathBuf,
    options: ScanOptions,
    selection: Selection,
    /// Remaining segments, the next one last.
    log: Vec<LogSegment>,
    frames: Option<Frames>,
    /// Remaining segments, the next one last.
    columnar: Vec<SegmentPart>,
    rows: Option<(Columnar, SegmentPart)>,
    counts: LocalCounts,
}

impl LocalBatches {
    fn next_rows(&mut self) -> Result<Option<LocalRows>> {
        if let Some((mut columnar, part)) = self.rows.take() {
            match columnar.next() {
                Some(Ok(batch)) => {
                    let is_within_bounds = columnar.is_within_bounds();
                    self.rows = Some((columnar, part));
                    return Ok(Some(LocalRows::Columns { batch, is_within_bounds }));
                }
                Some(Err(fault)) => self.meet(&part, fault)?,
                None => {}
            }
            return Ok(Some(LocalRows::Nothing));
        }
        if let Some(part) = self.columnar.pop() {
            match Columnar::open_part(&part.segment, &self.selection, &part.rows) {
                Ok(Some(columnar)) => {
                    self.counts.read += u64::from(part.is_first());
                    self.rows = Some((columnar, part));
                }
                Ok(None) => self.counts.pruned += u64::from(part.is_first()),
                Err(fault) => self.meet(&part, fault)?,
            }
            return Ok(Some(LocalRows::Nothing));
        }
        if self.frames.is_none() {
            let Some(segment) = self.log.pop() else { return Ok(None) };
            self.counts.read += 1;
            self.frames = Some(Frames::open(&segment));
        }
        let frames = self.frames.as_mut().expect("the frames were opened above");
        let mut events = Vec::new();
        let mut bytes = 0;
        while events.len() < BATCH_EVENTS && bytes < BATCH_BYTES {
            match frames.next(&self.options) {
                Some(event) => {
                    bytes += event.point.blobs.iter().map(Bytes::len).sum::<usize>();
                    events.push(event);
                }
                None => {
                    self.counts.damage.merge(frames.take_damage(&self.options));
                    self.frames = None;
                    break;
                }
            }
        }
        Ok(Some(LocalRows::Events(events)))
    }

    /// Notes the damage of a segment, and sets it aside.
    fn meet(&mut self, part: &SegmentPart, fault: Fault) -> Result<()> {
        let reason = if let Fault::Damaged(reason) = &fault { Some(reason.clone()) } else { None };
        let damage = stored::met(&part.segment, fault)?;
        if part.is_damaged.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        self.counts.damage.merge(damage);
        if let Some(reason) = reason {
            compact::quarantine(&self.folder, &part.segment.entry, reason);
        }
        Ok(())
    }
}

impl Iterator for LocalBatches {
    type Item = Result<(LocalRows, LocalCounts)>;

    fn next(&mut self) -> Option<Self::Item> {
        let rows = self.next_rows();
        let counts = std::mem::take(&mut self.counts);
        match rows {
            Ok(Some(rows)) => Some(Ok((rows, counts))),
            // What was left out or is damaged is reported also where there is no row.
            Ok(None) if counts.pruned > 0 || !counts.damage.is_none() => Some(Ok((LocalRows::Nothing, counts))),
            Ok(None) => None,
            Err(error) => Some(Err(error)),
        }
    }
}
