//! The native sink: a bounded buffer before durable segments in a folder.
//!
//! `write` sends the point to a bounded channel. One thread receives all waiting points, appends them to the current segment as
//! checksummed frames, and makes them durable with one fsync. A crash can tear only the end of the last segment. Reading skips
//! damaged data and reports it; a checksum covers the frame's position, too, so that bytes within an event are never read as another
//! one. Old segments are removed by age and by the dataset's size, except for those that a process still writes to. Only the owner
//! can access the folder and its files (modes 0700 and 0600).

mod frame;
mod options;
mod reader;
mod segment;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, RwLock};
use std::thread::JoinHandle;

use async_trait::async_trait;
use chrono::{SubsecRound, Utc};
use futures_channel::oneshot;
use isobar_base::sync::IgnorePoison;

use self::segment::{DurableEnd, Segments};
use self::writer::{Message, Writer};
use crate::{Batches, DataPoint, Error, ErrorKind, Event, EventSink, Operation, Result, ScanOptions, SinkStats};

pub use options::LocalOptions;

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
#[derive(Debug, Clone)]
pub struct LocalSink {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    /// The channel to the writer; `None` after [`close`](EventSink::close).
    sender: RwLock<Option<SyncSender<Message>>>,
    counts: Arc<Counts>,
    end: Arc<DurableEnd>,
    closed: AtomicBool,
    writer: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Counts {
    written: AtomicU64,
    stored: AtomicU64,
    invalid: AtomicU64,
    dropped: AtomicU64,
    expired_bytes: AtomicU64,
    /// Whether the last attempt to store points failed.
    is_failing: AtomicBool,
}

impl LocalSink {
    /// Opens the dataset in this folder, creating it if necessary.
    ///
    /// # Errors
    /// [`ErrorKind::PermissionDenied`], [`ErrorKind::StorageFull`].
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(folder, LocalOptions::default())
    }

    /// Opens the dataset as [`open`](Self::open) does, with options.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(folder: impl AsRef<Path>, options: LocalOptions) -> Result<Self> {
        let options = options.bounded();
        let folder = folder.as_ref().to_owned();
        let (sender, receiver) = sync_channel(options.buffer);
        let counts = Arc::new(Counts::default());
        let end = Arc::default();
        let linger = options.linger;
        let segments = Segments::open(&folder, options, Arc::clone(&end)).map_err(|error| error.during("open"))?;
        let writer = Writer::new(segments, receiver, Arc::clone(&counts), linger);
        let thread = std::thread::Builder::new().name("isobar-analytics".to_owned()).spawn(move || writer.run());
        let thread = thread.map_err(|error| Error::io(&folder, error).during("open"))?;
        let shared = Shared {
            folder,
            sender: RwLock::new(Some(sender)),
            counts,
            end,
            closed: AtomicBool::new(false),
            writer: Mutex::new(Some(thread)),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Reads durable points on the calling thread.
    #[cfg(feature = "query")]
    pub(crate) fn read_blocking(&self, options: ScanOptions) -> Result<BlockingBatches> {
        let segments = segment::to_read(&self.shared.folder, &self.shared.end, &options)?;
        reader::blocking(segments, options)
    }

    fn sender(&self) -> Option<SyncSender<Message>> {
        self.shared.sender.read().ignore_poison().clone()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The writer ends when the channel is closed, after making its points durable.
        *self.sender.get_mut().ignore_poison() = None;
        if let Some(writer) = self.writer.get_mut().ignore_poison().take() {
            drop(writer.join());
        }
    }
}

#[async_trait]
impl EventSink for LocalSink {
    fn write(&self, point: DataPoint) {
        let counts = &self.shared.counts;
        if let Some(_problem) = point.problem() {
            #[cfg(feature = "tracing")]
            tracing::warn!(problem = %_problem, "a data point was dropped");
            counts.invalid.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let event = Event { timestamp: Utc::now().trunc_subsecs(3), point };
        let sender = self.shared.sender.read().ignore_poison();
        let sender = sender.as_ref().filter(|_| !self.shared.closed.load(Ordering::Acquire));
        match sender.map(|sender| sender.try_send(Message::Event(event))) {
            Some(Ok(())) => counts.written.fetch_add(1, Ordering::Relaxed),
            Some(Err(TrySendError::Full(_) | TrySendError::Disconnected(_))) | None => {
                counts.dropped.fetch_add(1, Ordering::Relaxed)
            }
        };
    }

    async fn flush(&self) -> Result<()> {
        if self.shared.closed.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Closed, "the sink is closed").during(Operation::Flush));
        }
        request(self.sender(), Message::Flush).await.map_err(|error| error.during(Operation::Flush))
    }

    async fn close(&self) -> Result<()> {
        if self.shared.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let sender = self.shared.sender.write().ignore_poison().take();
        request(sender, Message::Flush).await.map_err(|error| error.during(Operation::Close))
    }

    async fn health(&self) -> Result<()> {
        if self.shared.closed.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Closed, "the sink is closed").during(Operation::Health));
        }
        if !self.shared.counts.is_failing.load(Ordering::Relaxed) {
            return Ok(());
        }
        request(self.sender(), Message::Probe).await.map_err(|error| error.during(Operation::Health))
    }

    fn stats(&self) -> SinkStats {
        let Counts { written, stored, invalid, dropped, expired_bytes, is_failing: _ } = &*self.shared.counts;
        let [written, stored, invalid, dropped, expired_bytes] =
            [written, stored, invalid, dropped, expired_bytes].map(|count| count.load(Ordering::Relaxed));
        SinkStats { written, stored, invalid, dropped, expired_bytes }
    }

    /// Reads durable points: flush first to include those just written.
    async fn read(&self, options: ScanOptions) -> Result<Batches> {
        segment::to_read(&self.shared.folder, &self.shared.end, &options)
            .and_then(|segments| reader::batches(segments, options))
            .map_err(|error| error.during(Operation::Read))
    }
}

/// Batches that are read on the calling thread.
#[cfg(feature = "query")]
pub(crate) type BlockingBatches = Box<dyn Iterator<Item = Result<crate::Batch>> + Send>;

/// Reads the points in the folder of a dataset that this process does not write to, on the calling thread.
#[cfg(feature = "query")]
pub(crate) fn read_folder(folder: &Path, options: ScanOptions) -> Result<BlockingBatches> {
    reader::blocking(segment::to_read(folder, &DurableEnd::default(), &options)?, options)
}

/// Sends a request to the writer thread and waits for its answer.
async fn request(
    sender: Option<SyncSender<Message>>,
    message: fn(oneshot::Sender<Result<()>>) -> Message,
) -> Result<()> {
    let ended = || Error::new(ErrorKind::Internal, "the writer thread has ended");
    let sender = sender.ok_or_else(ended)?;
    let (done, receiver) = oneshot::channel();
    match sender.try_send(message(done)) {
        Ok(()) => {}
        Err(TrySendError::Disconnected(_)) => return Err(ended()),
        // The buffer is full. The writer is emptying it, so this waits briefly, on its own thread, because the
        // caller's may drive everything else.
        Err(TrySendError::Full(message)) => drop(std::thread::spawn(move || sender.send(message))),
    }
    receiver.await.unwrap_or_else(|_| Err(ended()))
}
