//! The native sink: a bounded buffer before durable segments in a folder.
//!
//! `write` encodes the point into a bounded buffer. One thread takes all that is in it, appends it to the current segment as
//! checksummed frames, and makes it durable with one fsync. A crash can tear only the end of the last segment. Reading skips
//! damaged data and reports it; a checksum covers the frame's position, too, so that bytes within an event are never read as another
//! one. Old segments are removed by age and by the dataset's size, except for those that a process still writes to. Only the owner
//! can access the folder and its files (modes 0700 and 0600).
//!
//! | in the folder | is |
//! |---|---|
//! | `000000000007.seg` | a log segment: a mark, then frames in the order in which they were written |
//! | `000000000009.parquet` | a columnar segment, sorted by index and time (feature `query`) |
//! | `manifest.jsonl` | which columnar segments count, and which log segments they replace |
//! | `manifest.lock` | locked by the process that changes the manifest |
//! | `archived` | the place of the dataset's archive, where it has one |
//! | `quarantine/` | damaged segments, kept for inspection |
//! | `*.tmp` | what is being written; leftovers of a crash are removed |
//!
//! The way of a point: [`EventSink::write`] checks its limits, `sampling` may leave it out, `buffer` encodes it, `writer` takes the buffer and
//! has `segment` append and sync it. The way back: `snapshot` opens the files of one moment, `reader` (events) or `maintenance` (columns)
//! reads them. `compact` moves points from the first tier to the second, `archiving` columnar segments to an archive
//! ([`ArchiveStore`]), `retention` removes the oldest of all.
//!
//! Locks, none of which is taken while another one is held: the sampler's mutex, for a count; the buffer's, for a copy of a frame; that of the
//! durable end, for a copy of a path. Between processes: a log segment is locked by the one that writes to it, the manifest by the one that
//! changes it, in this order: compaction takes the manifest first, and segments only where it need not wait.

#[cfg(feature = "query")]
mod archive;
#[cfg(feature = "query")]
mod archiving;
pub(crate) mod buffer;
#[cfg(feature = "query")]
mod columnar;
#[cfg(feature = "query")]
mod compact;
#[cfg(feature = "query")]
mod export;
mod files;
pub(crate) mod frame;
mod log;
#[cfg(feature = "query")]
mod maintenance;
mod manifest;
mod options;
mod reader;
mod retention;
mod sampling;
mod segment;
mod snapshot;
#[cfg(feature = "query")]
mod stored;
mod writer;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use async_trait::async_trait;
use futures_channel::oneshot;
use isobar_base::sync::IgnorePoison;

use self::buffer::{Buffer, Request};
use self::frame::Stamp;
use self::sampling::Sampler;
use self::segment::Segments;
use self::snapshot::{Dataset, Snapshot};
use self::writer::Writer;
use crate::{
    Batches, DataPoint, Error, ErrorKind, EventSink, Operation, PointRef, Problem, Result, ScanOptions, SinkStats,
};

#[cfg(feature = "query")]
pub use archive::{ArchiveBody, ArchiveStore, FolderArchive};
#[cfg(feature = "query")]
pub use archiving::{ArchiveReport, StoredSegments};
#[cfg(feature = "query")]
pub(crate) use columnar::{Selection, StoredColumn, TextForm};
#[cfg(feature = "query")]
pub use compact::{CompactionReport, ErasureReport};
#[cfg(feature = "query")]
pub use export::{ExportFormat, ExportReport};
#[cfg(feature = "query")]
pub use maintenance::CompactionOptions;
#[cfg(feature = "query")]
pub(crate) use maintenance::{LocalBatches, LocalCounts, LocalRows, scan_folder};
pub(crate) use options::Clock;
#[cfg(feature = "clickhouse")]
pub(crate) use options::MonotonicClock;
pub use options::{FullPolicy, LocalOptions};
pub use sampling::Sampling;

/// A dataset in a folder. Clones share it. When the last one is dropped, buffered points are made durable.
///
/// ```
/// use isobar_analytics::local::LocalSink;
/// use isobar_analytics::{DataPoint, EventSink, EventSinkExt, ScanOptions};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// let sink = LocalSink::open(folder.path().join("visits"))?;
/// sink.write(DataPoint::new().with_index("tenant-1").with_blob("/home"));
/// sink.flush().await?; // durable from here on
/// let scan = sink.scan(ScanOptions::default()).await?;
/// assert_eq!(scan.events[0].blob(1), b"/home");
/// assert!(scan.damage.is_none());
/// # Ok(()) }
/// ```
///
/// Several sinks, also of several processes, may have one folder open: each writes to a log segment of its own, and a reader sees all of them.
/// A process that ends without dropping its sink loses the points of the last [`linger`](LocalOptions::linger), where the disk keeps up, and
/// no point that was flushed.
#[derive(Debug, Clone)]
pub struct LocalSink {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    dataset: Dataset,
    buffer: Arc<Buffer>,
    clock: Option<Clock>,
    sampler: Option<Sampler>,
    writer: Mutex<Option<JoinHandle<()>>>,
    /// Compacts now and then, if the options say so.
    #[cfg(feature = "query")]
    compaction: Mutex<Option<maintenance::CompactionThread>>,
}

impl LocalSink {
    /// Opens the dataset in this folder, creating it if necessary.
    ///
    /// Nothing is read: a folder with damaged files opens, and damage shows when it is read. A thread is started, the writer, and with
    /// `LocalOptions::with_compact_every` another one. The folder's name is the dataset's for `query::LocalDatasets`.
    ///
    /// # Errors
    /// [`ErrorKind::PermissionDenied`], [`ErrorKind::StorageFull`]; [`ErrorKind::Internal`] where points are sampled and the system has no
    /// randomness.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(folder, LocalOptions::default())
    }

    /// Opens the dataset as [`open`](Self::open) does, with options.
    ///
    /// Options out of range are brought into it, without an error: each field says its bounds.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use isobar_analytics::local::{LocalOptions, LocalSink};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// // A small machine: a week of events, and at most 100 MiB of them.
    /// let week = Duration::from_secs(7 * 24 * 60 * 60);
    /// let options = LocalOptions::default().with_retain_for(Some(week)).with_retain_bytes(Some(100 << 20));
    /// let sink = LocalSink::open_with(folder.path().join("visits"), options)?;
    /// # drop(sink);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(folder: impl AsRef<Path>, options: LocalOptions) -> Result<Self> {
        let options = options.bounded();
        let dataset = Dataset {
            #[cfg(feature = "query")]
            archive: options.archive.clone(),
            ..Dataset::of(folder.as_ref())
        };
        let buffer = Arc::new(Buffer::new(&options));
        let clock = options.clock.clone();
        let sampler = options.sampling.as_ref().map(Sampler::new).transpose().map_err(|error| error.during("open"))?;
        #[cfg(feature = "query")]
        let compact_every = options.compact_every;
        #[cfg(feature = "query")]
        let archive_after = options.archive_after;
        let segments = Segments::open(&dataset.folder, options, Arc::clone(&dataset.end));
        let writer = Writer::new(segments.map_err(|error| error.during("open"))?, Arc::clone(&buffer));
        let thread = std::thread::Builder::new().name("isobar-analytics".to_owned()).spawn(move || writer.run());
        let thread = thread.map_err(|error| Error::io(&dataset.folder, error).during("open"))?;
        #[cfg(feature = "query")]
        let start = |every| maintenance::CompactionThread::start(dataset.clone(), every, archive_after);
        #[cfg(feature = "query")]
        let compaction = compact_every.map(start).transpose()?;
        let shared = Shared {
            dataset,
            buffer,
            clock,
            sampler,
            writer: Mutex::new(Some(thread)),
            #[cfg(feature = "query")]
            compaction: Mutex::new(compaction),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Removes what has expired by the options' age and size now, rather than with the next hour or segment. Returns the number of bytes
    /// removed. After a jump of the clock nothing is removed by age.
    ///
    /// Whole segments are removed, so that a segment goes when its newest event is too old. A segment that any process writes to stays. Those
    /// in an archive go by their age alone, as they take no disk, and count as what is removed.
    ///
    /// ```
    /// use isobar_analytics::local::LocalSink;
    /// use isobar_analytics::{DataPoint, EventSink};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// let sink = LocalSink::open(folder.path().join("visits"))?;
    /// sink.write(DataPoint::new());
    /// assert_eq!(sink.apply_retention().await?, 0, "nothing is 90 days old");
    /// sink.close().await?;
    /// assert!(sink.apply_retention().await.is_err());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] after [`close`](EventSink::close); those of an archive from which an expired segment cannot be removed, which is
    /// not read any more and is removed later.
    pub async fn apply_retention(&self) -> Result<u64> {
        const OPERATION: &str = "retention";
        self.ensure_open(OPERATION)?;
        let before = self.stats().expired_bytes;
        answer(self.shared.buffer.request(Request::Expire)).await.map_err(|error| error.during(OPERATION))?;
        #[cfg(feature = "query")]
        self.collect_garbage().await.map_err(|error| error.during(OPERATION))?;
        Ok(self.stats().expired_bytes - before)
    }

    /// Drops and counts a point that exceeds a limit.
    #[cold]
    fn drop_invalid(&self, _problem: Problem) {
        #[cfg(feature = "tracing")]
        tracing::warn!(problem = %_problem, "a data point was dropped");
        self.shared.buffer.count(|stats| stats.invalid += 1);
    }

    /// Fails for a closed sink.
    fn ensure_open(&self, operation: impl Into<&'static str>) -> Result<()> {
        if self.shared.buffer.is_closed() {
            return Err(Error::new(ErrorKind::Closed, "the sink is closed").during(operation));
        }
        Ok(())
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        #[cfg(feature = "query")]
        drop(self.compaction.get_mut().ignore_poison().take());
        // The writer ends when the buffer is closed, after making its points durable.
        self.buffer.close();
        if let Some(writer) = self.writer.get_mut().ignore_poison().take() {
            drop(writer.join());
        }
    }
}

#[async_trait]
impl EventSink for LocalSink {
    fn write(&self, point: DataPoint) {
        if let Some(problem) = point.problem() {
            return self.drop_invalid(problem);
        }
        point.with_ref(|point| self.shared.push(point));
    }

    fn write_ref(&self, point: &PointRef<'_>) {
        if let Some(problem) = point.problem() {
            return self.drop_invalid(problem);
        }
        self.shared.push(point);
    }

    async fn flush(&self) -> Result<()> {
        self.ensure_open(Operation::Flush)?;
        answer(self.shared.buffer.flush()).await.map_err(|error| error.during(Operation::Flush))
    }

    async fn close(&self) -> Result<()> {
        let Some(flushed) = self.shared.buffer.close() else { return Ok(()) };
        answer(flushed).await.map_err(|error| error.during(Operation::Close))
    }

    async fn health(&self) -> Result<()> {
        self.ensure_open(Operation::Health)?;
        if !self.shared.buffer.is_failing() {
            return Ok(());
        }
        answer(self.shared.buffer.request(Request::Probe)).await.map_err(|error| error.during(Operation::Health))
    }

    fn stats(&self) -> SinkStats {
        self.shared.buffer.stats()
    }

    /// Reads durable points: flush first to include those just written.
    async fn read(&self, options: ScanOptions) -> Result<Batches> {
        Snapshot::take(&self.shared.dataset, &options)
            .and_then(|snapshot| reader::batches(snapshot, options))
            .map_err(|error| error.during(Operation::Read))
    }
}

impl Shared {
    /// Stamps a point within the limits and adds it to the buffer, unless sampling leaves it out.
    fn push(&self, point: &PointRef<'_>) {
        let mut stamp = Stamp::at(Clock::milliseconds(self.clock.as_ref()));
        if let Some(sampler) = &self.sampler {
            let Some(interval) = sampler.next(stamp.milliseconds, point.index.unwrap_or_default()) else {
                return self.buffer.leave_out();
            };
            stamp.sample_interval = interval;
        }
        self.buffer.push(stamp, point);
    }
}

/// Waits for the answer of the writer thread.
pub(crate) async fn answer(answered: oneshot::Receiver<Result<()>>) -> Result<()> {
    answered.await.unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, "the writer thread has ended")))
}
