//! The sink, and the thread that sends its points.
//!
//! The thread takes all of the buffer, as the writer of `local::LocalSink` does, splits it into inserts, and sends one after the other. While
//! it waits for the server, the buffer fills, and the policy of a full buffer is the backpressure. A flush is answered when every point
//! written before it is acknowledged or given up.
//!
//! The thread has a runtime of its own with one worker, so that its connections are served while it waits for points.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use isobar_base::random::hex_id;
use tokio::runtime::Runtime;

use super::connection::Failure;
use super::dead_letters::{DeadLetter, DeadLetters};
use super::rows::{self, Insert};
use super::table::Table;
use super::{ClickHouse, ClickHouseOptions};
use crate::local::buffer::{Batch, Buffer, Request};
use crate::local::frame::{self, Stamp};
use crate::local::{Clock, answer};
use crate::{DataPoint, DropReason, Error, ErrorKind, EventSink, Operation, PointRef, Problem, Result, SinkStats};

/// Longest wait of the thread without a point.
const IDLE: Duration = Duration::from_secs(60 * 60);

/// A dataset that is a table of a ClickHouse server. Clones share it. It is write-only: [`ClickHouse`] answers queries.
///
/// ```no_run
/// use isobar_analytics::clickhouse::{ClickHouse, ClickHouseOptions, ClickHouseSink};
/// use isobar_analytics::{DataPoint, EventSink};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = ClickHouse::new("http://127.0.0.1:8123")?;
/// let options = ClickHouseOptions::default().with_dead_letters("state/visits.dead.jsonl");
/// let sink = ClickHouseSink::open_with(server, "visits", options)?;
/// sink.write(DataPoint::new().with_index("tenant-1").with_blob("/home"));
/// sink.flush().await?; // the server has acknowledged it
/// sink.close().await?;
/// # Ok(()) }
/// ```
///
/// Points are not durable before the server has them: a process that ends loses those that wait, at most `linger` old where the server keeps
/// up. [`close`](EventSink::close) sends them; dropping the last clone only begins to. `layers::FanOut` writes to a local sink as well.
#[derive(Debug, Clone)]
pub struct ClickHouseSink {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    buffer: Arc<Buffer>,
    clock: Option<Clock>,
    dead_lettered: Arc<AtomicU64>,
}

impl ClickHouseSink {
    /// Opens a dataset, whose table the first insert creates where it does not exist.
    ///
    /// The server is not asked: one that is away does not keep a service from starting. A thread and a runtime with one worker are started.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for a dataset's name with other characters than letters, digits, `_` and `-`;
    /// [`ErrorKind::Unavailable`] where a thread cannot be started; [`ErrorKind::Internal`] where the system has no randomness.
    pub fn open(server: ClickHouse, dataset: &str) -> Result<Self> {
        Self::open_with(server, dataset, ClickHouseOptions::default())
    }

    /// Opens a dataset as [`open`](Self::open) does, with options. Those out of range are brought into it.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(server: ClickHouse, dataset: &str, options: ClickHouseOptions) -> Result<Self> {
        let table = Table::new(server, dataset)?;
        let no_thread = |error: std::io::Error| {
            Error::new(ErrorKind::Unavailable, format!("cannot start a thread: {error}"))
                .with_source(error)
                .during("open")
        };
        let id = hex_id().map_err(|error| Error::new(ErrorKind::Internal, error.to_string()).during("open"))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("isobar-clickhouse-io")
            .enable_all()
            .build()
            .map_err(no_thread)?;
        let of_buffer = options.of_buffer();
        let buffer = Arc::new(Buffer::new(&of_buffer));
        let dead_lettered = Arc::new(AtomicU64::new(0));
        let shared = Shared {
            buffer: Arc::clone(&buffer),
            clock: options.clock.clone(),
            dead_lettered: Arc::clone(&dead_lettered),
        };
        let sender = Sender {
            table,
            buffer,
            most_points: of_buffer.batch_points,
            most_bytes: of_buffer.batch_bytes,
            retain_for: options.retain_for,
            creates_table: options.creates_table,
            has_table: !options.creates_table,
            dead_letters: options.dead_letters.map(|path| DeadLetters::new(path, options.dead_letter_bytes)),
            dead_lettered,
            failure: None,
            id,
            inserts: 0,
        };
        let thread = std::thread::Builder::new().name("isobar-clickhouse".to_owned());
        thread.spawn(move || sender.run(&runtime)).map_err(no_thread)?;
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Returns the number of points in batches that are in the dead-letter file, among those that [`stats`](EventSink::stats) counts as
    /// dropped. It begins at 0 with the sink.
    #[must_use]
    pub fn dead_lettered(&self) -> u64 {
        self.shared.dead_lettered.load(Ordering::Relaxed)
    }

    #[cold]
    fn drop_invalid(&self, _problem: Problem) {
        #[cfg(feature = "tracing")]
        tracing::warn!(problem = %_problem, "a data point was dropped");
        self.shared.buffer.count(|stats| stats.invalid += 1);
    }

    fn ensure_open(&self, operation: Operation) -> Result<()> {
        if self.shared.buffer.is_closed() {
            return Err(Error::new(ErrorKind::Closed, "the sink is closed").during(operation));
        }
        Ok(())
    }
}

impl Shared {
    fn push(&self, point: &PointRef<'_>) {
        self.buffer.push(Stamp::at(Clock::milliseconds(self.clock.as_ref())), point);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The thread ends after it has sent what waits; a server that does not answer must not hold up the caller.
        drop(self.buffer.close());
    }
}

#[async_trait]
impl EventSink for ClickHouseSink {
    fn write(&self, point: DataPoint) {
        match point.problem() {
            Some(problem) => self.drop_invalid(problem),
            None => point.with_ref(|point| self.shared.push(point)),
        }
    }

    fn write_ref(&self, point: &PointRef<'_>) {
        match point.problem() {
            Some(problem) => self.drop_invalid(problem),
            None => self.shared.push(point),
        }
    }

    /// Returns when the server has acknowledged every point written before.
    async fn flush(&self) -> Result<()> {
        self.ensure_open(Operation::Flush)?;
        answer(self.shared.buffer.flush()).await.map_err(|error| error.during(Operation::Flush))
    }

    async fn close(&self) -> Result<()> {
        let Some(flushed) = self.shared.buffer.close() else { return Ok(()) };
        answer(flushed).await.map_err(|error| error.during(Operation::Close))
    }

    fn stats(&self) -> SinkStats {
        self.shared.buffer.stats()
    }

    async fn health(&self) -> Result<()> {
        self.ensure_open(Operation::Health)?;
        if !self.shared.buffer.is_failing() {
            return Ok(());
        }
        answer(self.shared.buffer.request(Request::Probe)).await.map_err(|error| error.during(Operation::Health))
    }
}

/// The thread that sends the points.
struct Sender {
    table: Table,
    buffer: Arc<Buffer>,
    most_points: usize,
    most_bytes: usize,
    retain_for: Option<Duration>,
    creates_table: bool,
    /// Whether the table is known to exist.
    has_table: bool,
    dead_letters: Option<DeadLetters>,
    dead_lettered: Arc<AtomicU64>,
    /// The first failure since the last flush reported one.
    failure: Option<Error>,
    /// With the number of the insert, its token.
    id: String,
    inserts: u64,
}

impl Sender {
    fn run(mut self, runtime: &Runtime) {
        let mut batch = self.buffer.batch();
        while self.buffer.next(&mut batch, Instant::now() + IDLE).is_some() {
            runtime.block_on(self.store(&mut batch));
            for (_, answer) in std::mem::take(&mut batch.requests) {
                // The only request is a probe. The caller may no longer be waiting.
                answer.send(runtime.block_on(self.probe())).ok();
            }
        }
    }

    async fn probe(&self) -> Result<()> {
        let probed = self.table.probe().await;
        self.buffer.set_failing(probed.is_err());
        probed.map_err(|failure| failure.into_error(ErrorKind::Internal))
    }

    /// Sends the points of the batch, and answers those who wait for that.
    async fn store(&mut self, batch: &mut Batch) {
        let frames = batch.frames();
        frame::seal(frames, None);
        let mut rest = &*frames;
        while let Some(insert) = rows::take(&mut rest, self.most_points, self.most_bytes) {
            self.inserts += 1;
            let token = format!("{}-{}", self.id, self.inserts);
            let sent = self.send(&insert, &token).await;
            self.buffer.set_failing(sent.is_err());
            match sent {
                Ok(()) => self.buffer.count(|stats| stats.stored += insert.points),
                Err(failure) => self.give_up(failure, &insert, &token),
            }
        }
        batch.answer_flushes(&mut self.failure);
    }

    /// Inserts rows, into a new table where there is none.
    async fn send(&mut self, insert: &Insert, token: &str) -> Result<(), Failure> {
        self.ensure_table().await?;
        let sent = self.table.insert(insert, token).await;
        if self.creates_table && sent.as_ref().is_err_and(Failure::is_unknown_table) {
            // It was removed meanwhile.
            self.has_table = false;
            self.ensure_table().await?;
            return self.table.insert(insert, token).await;
        }
        sent
    }

    async fn ensure_table(&mut self) -> Result<(), Failure> {
        if !self.has_table {
            self.table.create(self.retain_for).await?;
            self.has_table = true;
        }
        Ok(())
    }

    /// Writes the rows to the dead-letter file, counts them as dropped, and keeps the first failure until a flush reports it.
    fn give_up(&mut self, failure: Failure, insert: &Insert, token: &str) {
        let points = insert.points;
        let reason = match failure.kind() {
            None => DropReason::Refused,
            Some(ErrorKind::StorageFull) => DropReason::StorageFull,
            Some(_) => DropReason::Failed,
        };
        let cause = failure.into_error(ErrorKind::Internal);
        let kept = self.keep(&cause, insert, token);
        self.buffer.count(|stats| stats.count_dropped(reason, points));
        let message = format!("{points} points are not in ClickHouse{kept}: {}", cause.message());
        #[cfg(feature = "tracing")]
        tracing::error!(error = %message, "data points were not stored");
        let error = Error::new(cause.kind(), message).with_code(cause.code()).with_source(cause);
        self.failure.get_or_insert(error.not_retryable());
    }

    /// Writes the rows to the dead-letter file, and says where they are.
    fn keep(&self, cause: &Error, insert: &Insert, token: &str) -> String {
        let Some(letters) = &self.dead_letters else { return " and are lost".to_owned() };
        let query = self.table.statement(insert);
        let dataset = self.table.dataset();
        match letters.append(&DeadLetter { dataset, token, reason: cause.message(), query: &query, insert }) {
            Ok(()) => {
                self.dead_lettered.fetch_add(insert.points, Ordering::Relaxed);
                format!(" but in {}", letters.path().display())
            }
            Err(error) => format!(" and are lost ({})", error.message()),
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        // Also when this thread panics: no caller may wait for it without end.
        self.buffer.end();
    }
}
