//! The native sink: a bounded buffer before durable segments in a folder.
//!
//! `write` hands the point to a bounded channel; one thread takes what has come, appends it to the current segment as
//! checksummed frames, and makes it durable with one fsync for all of them. A crash can tear only the end
//! of the last segment, and reading stops there.

mod frame;
mod segment;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{SubsecRound, Utc};
use futures_channel::oneshot;

use self::segment::Segments;
use crate::{DataPoint, Error, ErrorKind, Event, EventSink, Result, ScanOptions, SinkStats};

/// How long events gather before the thread that writes looks again. A flush waits that long at most.
const GATHER: Duration = Duration::from_millis(2);

/// How a [`LocalSink`] buffers and cuts.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LocalOptions {
    /// Points that wait for the disk at most; one more is dropped and counted.
    pub buffer: usize,
    /// Bytes after which a new segment is begun.
    pub segment_bytes: u64,
    /// How long a point waits for company before it is made durable unasked.
    pub linger: Duration,
}

impl Default for LocalOptions {
    fn default() -> Self {
        Self { buffer: 65_536, segment_bytes: 64 * 1024 * 1024, linger: Duration::from_millis(200) }
    }
}

impl LocalOptions {
    /// Points that wait for the disk at most.
    #[must_use]
    pub fn with_buffer(mut self, points: usize) -> Self {
        self.buffer = points;
        self
    }

    /// Bytes after which a new segment is begun.
    #[must_use]
    pub fn with_segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes;
        self
    }
}

/// A dataset in a folder. Clones share it; when the last is dropped, what is buffered is made durable.
#[derive(Debug, Clone)]
pub struct LocalSink {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    /// Many write at once, and only the end takes it away.
    sender: RwLock<Option<SyncSender<Message>>>,
    counts: Arc<Counts>,
    closed: AtomicBool,
    writer: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Counts {
    written: AtomicU64,
    stored: AtomicU64,
    invalid: AtomicU64,
    dropped: AtomicU64,
}

enum Message {
    Event(Event),
    Flush(oneshot::Sender<Result<()>>),
}

impl LocalSink {
    /// Opens the dataset in this folder, creating it if need be.
    ///
    /// # Errors
    /// [`ErrorKind::PermissionDenied`], [`ErrorKind::StorageFull`].
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(folder, LocalOptions::default())
    }

    /// As [`open`](Self::open), with options.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(folder: impl AsRef<Path>, options: LocalOptions) -> Result<Self> {
        let LocalOptions { buffer, segment_bytes, linger } = options;
        let folder = folder.as_ref().to_owned();
        let segments = Segments::open(&folder, segment_bytes)?;
        let (sender, receiver) = sync_channel(buffer.max(1));
        let counts = Arc::new(Counts::default());
        let writer = Writer { segments, receiver, counts: Arc::clone(&counts), linger, failure: None };
        let thread = std::thread::Builder::new().name("isobar-analytics".to_owned()).spawn(move || writer.run());
        let thread = thread.map_err(|error| Error::io("open", &folder, error))?;
        let shared = Shared {
            folder,
            sender: RwLock::new(Some(sender)),
            counts,
            closed: AtomicBool::new(false),
            writer: Mutex::new(Some(thread)),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    fn sender(&self) -> Option<SyncSender<Message>> {
        self.shared.sender.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The writer ends when its channel does, after it has made durable what was in it.
        *self.sender.get_mut().unwrap_or_else(PoisonError::into_inner) = None;
        if let Some(writer) = self.writer.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
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
        let sender = self.shared.sender.read().unwrap_or_else(PoisonError::into_inner);
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
            return Err(Error::new(ErrorKind::Closed, "flush", "the sink is closed"));
        }
        request_flush(self.sender()).await
    }

    async fn close(&self) -> Result<()> {
        if self.shared.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let sender = self.shared.sender.write().unwrap_or_else(PoisonError::into_inner).take();
        request_flush(sender).await
    }

    fn stats(&self) -> SinkStats {
        let Counts { written, stored, invalid, dropped } = &*self.shared.counts;
        let [written, stored, invalid, dropped] =
            [written, stored, invalid, dropped].map(|count| count.load(Ordering::Relaxed));
        SinkStats { written, stored, invalid, dropped }
    }

    async fn scan(&self, options: ScanOptions) -> Result<Vec<Event>> {
        // Reads what is durable: flush first to see what was just written.
        let folder = self.shared.folder.clone();
        let (sender, receiver) = oneshot::channel();
        std::thread::spawn(move || sender.send(segment::scan(&folder, &options)));
        receiver.await.unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, "scan", "the reader ended early")))
    }
}

async fn request_flush(sender: Option<SyncSender<Message>>) -> Result<()> {
    let ended = || Error::new(ErrorKind::Internal, "flush", "the writer thread has ended");
    let sender = sender.ok_or_else(ended)?;
    let (done, receiver) = oneshot::channel();
    match sender.try_send(Message::Flush(done)) {
        Ok(()) => {}
        Err(TrySendError::Disconnected(_)) => return Err(ended()),
        // The buffer is full. The writer is emptying it, so this waits shortly; on a thread of its own, because the
        // caller's may drive everything else.
        Err(TrySendError::Full(message)) => drop(std::thread::spawn(move || sender.send(message))),
    }
    receiver.await.unwrap_or_else(|_| Err(ended()))
}

/// The thread that owns the files.
struct Writer {
    segments: Segments,
    receiver: Receiver<Message>,
    counts: Arc<Counts>,
    linger: Duration,
    /// The first failure since the last flush told of one.
    failure: Option<Error>,
}

impl Writer {
    fn run(mut self) {
        let mut waiting = Vec::new();
        loop {
            // With events appended but not durable, wait for company only so long.
            let message = match self.segments.is_dirty() {
                true => self.receiver.recv_timeout(self.linger),
                false => self.receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            let mut due = false;
            match message {
                Ok(message) => self.take(message, &mut waiting),
                Err(RecvTimeoutError::Timeout) => due = true,
                Err(RecvTimeoutError::Disconnected) => break self.sync(&mut waiting),
            }
            while self.segments.has_room() && self.segments.dirty_for() < self.linger {
                let Ok(message) = self.receiver.try_recv() else { break };
                self.take(message, &mut waiting);
            }
            if waiting.is_empty() && self.segments.is_dirty() {
                // Whoever writes an event wakes this thread where it waits for one, which costs more than the event: many
                // are to come for each time it does.
                std::thread::sleep(GATHER);
            }
            if due || !waiting.is_empty() || !self.segments.has_room() || self.segments.dirty_for() >= self.linger {
                self.sync(&mut waiting);
            }
        }
    }

    fn take(&mut self, message: Message, waiting: &mut Vec<oneshot::Sender<Result<()>>>) {
        match message {
            Message::Flush(done) => waiting.push(done),
            Message::Event(event) => self.segments.append(&event),
        }
    }

    fn sync(&mut self, waiting: &mut Vec<oneshot::Sender<Result<()>>>) {
        match self.segments.sync() {
            Ok(events) => drop(self.counts.stored.fetch_add(events, Ordering::Relaxed)),
            Err((error, events)) => self.fail(error, events),
        }
        if waiting.is_empty() {
            return; // a failure waits for the next who asks
        }
        let failure = self.failure.take();
        for done in waiting.drain(..) {
            let told = failure.as_ref().map_or(Ok(()), |error| Err(Error::new(error.kind(), "flush", error.message())));
            // Whoever no longer waits does not want to know.
            done.send(told).ok();
        }
    }

    fn fail(&mut self, error: Error, events: u64) {
        #[cfg(feature = "tracing")]
        tracing::error!(%error, events, "data points were lost");
        self.counts.dropped.fetch_add(events, Ordering::Relaxed);
        self.failure.get_or_insert(error);
    }
}
