//! The trait [`EventSink`].
//!
//! Writing is one function without a result, as the code that writes an event has a request to answer and could do nothing about a failure. So
//! every loss has a count instead ([`SinkStats`]), by its reason ([`Drops`]), and the two functions that do fail, `flush` and `health`, are for
//! shutdown, tests and readiness checks. Which of the methods a backend must implement: those without a default, and `write_ref` where it
//! can do without a copy.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures_util::stream::BoxStream;

use crate::{DataPoint, Error, ErrorKind, Event, Operation, PointRef, Result};

/// A stream of stored events in bounded batches; see [`EventSink::read`].
pub type Batches = BoxStream<'static, Result<Batch>>;

/// A dataset to which data points are written.
///
/// Code that runs on any backend takes `&dyn EventSink`, or keeps an `Arc<dyn EventSink>`:
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use isobar_analytics::memory::MemorySink;
/// use isobar_analytics::{DataPoint, EventSink};
///
/// fn count_visit(events: &dyn EventSink, page: &str) {
///     events.write(DataPoint::new().with_index("tenant-1").with_blob(page.to_owned()));
/// }
///
/// # futures_util::FutureExt::now_or_never(async {
/// let sink = MemorySink::new();
/// count_visit(&sink, "/home");
/// sink.close().await?; // at the end: flushes
/// count_visit(&sink, "/late");
/// let stats = sink.stats();
/// assert_eq!((stats.stored, stats.dropped), (1, 1));
/// # Ok::<(), isobar_analytics::Error>(())
/// # }).unwrap().unwrap(); }
/// ```
#[async_trait]
pub trait EventSink: Debug + Send + Sync {
    /// Writes a data point with the current time. Never blocks and never fails: points over the limits, beyond the buffer, or
    /// after [`close`](Self::close) are dropped and counted in [`stats`](Self::stats).
    ///
    /// No backend of this crate waits for its storage here, unless `local::FullPolicy::Wait` is chosen. May be called on any thread, inside a
    /// runtime or not.
    fn write(&self, point: DataPoint);

    /// Writes a data point out of borrowed values, as [`write`](Self::write) does. Most callers use
    /// [`write_event`](crate::EventSinkExt::write_event). The default copies the values; `local::LocalSink` does not allocate.
    fn write_ref(&self, point: &PointRef<'_>) {
        self.write(point.to_point());
    }

    /// Returns when every point written before is durable.
    ///
    /// Points that are written meanwhile may be durable with it or later. Dropping the future cancels the wait and nothing else. "Durable" is what
    /// the backend says it is: `local::LocalSink` has synced the file, `memory::MemorySink` has nothing to survive, and inside Workers the runtime
    /// has taken the point.
    ///
    /// # Errors
    /// [`ErrorKind::StorageFull`], [`ErrorKind::PermissionDenied`] or [`ErrorKind::Unavailable`] where the backend could not store
    /// points, which then count as dropped. [`ErrorKind::Closed`] after [`close`](Self::close).
    async fn flush(&self) -> Result<()>;

    /// Flushes and accepts no further points, for shutdown. Closing twice is not an error: each call returns when the points are durable.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    async fn close(&self) -> Result<()>;

    /// Returns the counts of the points so far.
    ///
    /// The counts begin at 0 with the process, and do not come from the storage. Once a flush has returned without an error,
    /// `written == stored` plus what was dropped after it had been accepted (`evicted`, and failures).
    fn stats(&self) -> SinkStats;

    /// Checks whether the sink can store points, for readiness checks. Does nothing while writing succeeds; after a failure it tries
    /// the storage again, so that a repaired sink is healthy again without a new point.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_analytics::memory::MemorySink;
    /// use isobar_analytics::{ErrorKind, EventSink};
    ///
    /// # futures_util::FutureExt::now_or_never(async {
    /// let sink = MemorySink::new();
    /// assert!(sink.health().await.is_ok());
    /// sink.close().await?;
    /// assert_eq!(sink.health().await.unwrap_err().kind(), ErrorKind::Closed);
    /// # Ok::<(), isobar_analytics::Error>(())
    /// # }).unwrap().unwrap(); }
    /// ```
    ///
    /// # Errors
    /// The reason for which points cannot be stored, as in [`flush`](Self::flush); [`ErrorKind::Closed`] after [`close`](Self::close).
    async fn health(&self) -> Result<()>;

    /// Reads stored events in the order in which they were written, in batches of bounded size, on demand. Damaged data is skipped
    /// and reported in the [`Batch`] that follows it.
    ///
    /// The stream is a snapshot of the moment at which this returns. It reads a batch when it is polled for one, so that a slow reader holds one
    /// batch; dropping it ends the reading. [`scan`](crate::EventSinkExt::scan) collects all of it.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use futures_util::TryStreamExt;
    /// use isobar_analytics::memory::MemorySink;
    /// use isobar_analytics::{DataPoint, EventSink, ScanOptions};
    ///
    /// # futures_util::FutureExt::now_or_never(async {
    /// let sink = MemorySink::new();
    /// sink.write(DataPoint::new().with_double(1.0));
    /// sink.write(DataPoint::new().with_double(2.0));
    /// let mut sum = 0.0;
    /// let mut batches = sink.read(ScanOptions::default()).await?;
    /// while let Some(batch) = batches.try_next().await? {
    ///     assert!(batch.damage.is_none());
    ///     sum += batch.events.iter().map(|event| event.double(1)).sum::<f64>();
    /// }
    /// assert_eq!(sum, 3.0);
    /// # Ok::<(), isobar_analytics::Error>(())
    /// # }).unwrap().unwrap(); }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where the backend is write-only. The stream ends after the first error.
    async fn read(&self, _options: ScanOptions) -> Result<Batches> {
        Err(Error::new(ErrorKind::Unsupported, "this sink is write-only").during(Operation::Read))
    }
}

/// A batch of events.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Batch {
    /// The events, in the order in which they were written.
    pub events: Vec<Event>,
    /// Damage found since the previous batch.
    pub damage: Damage,
}

impl Batch {
    /// Creates a batch of these events, without damage.
    ///
    /// ```
    /// use chrono::Utc;
    /// use isobar_analytics::{Batch, DataPoint, Event};
    ///
    /// let batch = Batch::new(vec![Event::new(Utc::now(), DataPoint::new())]);
    /// assert!(batch.events.len() == 1 && batch.damage.is_none());
    /// ```
    #[must_use]
    pub fn new(events: Vec<Event>) -> Self {
        Self { events, damage: Damage::default() }
    }
}

/// Damaged data that was skipped. A crash leaves at most one damaged stretch, at the end of a segment, of points that were not
/// durable yet.
///
/// ```
/// use isobar_analytics::Damage;
///
/// let mut one = Damage::default();
/// assert!(one.is_none());
/// one.stretches = 1;
/// one.bytes = 40;
/// one.files.insert("000000000001.seg".to_owned());
/// let mut all = Damage::default();
/// all.merge(one);
/// assert_eq!((all.is_none(), all.bytes, all.files.len()), (false, 40, 1));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Damage {
    /// Number of damaged stretches; each may have had several events.
    pub stretches: u64,
    /// Number of damaged bytes.
    pub bytes: u64,
    /// Names of the damaged files.
    pub files: BTreeSet<String>,
}

impl Damage {
    /// Whether there is no damage.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.stretches == 0
    }

    /// Adds other damage to this one.
    ///
    /// A file that is in both counts once.
    pub fn merge(&mut self, other: Self) {
        let Self { stretches, bytes, files } = other;
        self.stretches += stretches;
        self.bytes += bytes;
        self.files.extend(files);
    }
}

/// All events of a [`scan`](crate::EventSinkExt::scan).
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Scan {
    /// The events, oldest first; events of one millisecond in the order in which they were written.
    pub events: Vec<Event>,
    /// Damaged data that was skipped.
    pub damage: Damage,
}

/// Counts of the points written so far.
///
/// | a point that ... | counts as |
/// |---|---|
/// | exceeds a limit | `invalid` |
/// | finds the buffer full, or the sink closed | `dropped` |
/// | is left out by sampling | `sampled_out` |
/// | is accepted and waits | `written` |
/// | is accepted and durable | `written`, `stored` |
/// | is accepted and makes room for a newer one, or cannot be stored | `written`, `dropped` |
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct SinkStats {
    /// Accepted points: durable, still buffered, or dropped later.
    ///
    /// Points that were never accepted (invalid ones, and those beyond the buffer or after a close) are not among them.
    pub written: u64,
    /// Durable points.
    pub stored: u64,
    /// Points dropped because they exceed a limit.
    ///
    /// They are not among [`dropped`](Self::dropped), as the application is at fault and not the storage.
    pub invalid: u64,
    /// Points that were left out by sampling, for which others stand: see `local::Sampling`.
    pub sampled_out: u64,
    /// Points dropped for any other reason: the sum of [`drops`](Self::drops).
    pub dropped: u64,
    /// The dropped points by reason.
    pub drops: Drops,
    /// Number of bytes removed because of the age of points or the size limit of the dataset.
    pub expired_bytes: u64,
}

impl SinkStats {
    /// Counts dropped points. For backends.
    ///
    /// ```
    /// use isobar_analytics::{DropReason, SinkStats};
    ///
    /// let mut stats = SinkStats::default();
    /// stats.count_dropped(DropReason::StorageFull, 3);
    /// assert_eq!((stats.dropped, stats.drops.storage_full), (3, 3));
    /// ```
    pub fn count_dropped(&mut self, reason: DropReason, points: u64) {
        let Drops { buffer_full, evicted, closed, storage_full, refused, failed } = &mut self.drops;
        let count = match reason {
            DropReason::BufferFull => buffer_full,
            DropReason::Evicted => evicted,
            DropReason::Closed => closed,
            DropReason::StorageFull => storage_full,
            DropReason::Refused => refused,
            DropReason::Failed => failed,
        };
        *count += points;
        self.dropped += points;
    }
}

/// Numbers of valid points that were dropped, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Drops {
    /// The buffer was full: see `local::FullPolicy`.
    ///
    /// More memory (`local::LocalOptions::buffer_bytes`) or fewer points help.
    pub buffer_full: u64,
    /// Buffered points that made room for newer ones.
    pub evicted: u64,
    /// The sink had been closed.
    pub closed: u64,
    /// The disk was full or at its reserve.
    ///
    /// Shorter retention, or more space.
    pub storage_full: u64,
    /// The backend refused the data of their batch.
    ///
    /// `clickhouse::ClickHouseSink` writes such a batch to its dead-letter file, where it has one.
    pub refused: u64,
    /// The backend failed otherwise.
    pub failed: u64,
}

/// The reason for which a valid point is dropped. The names are those of the counts in [`Drops`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "documented at the counts")]
pub enum DropReason {
    BufferFull,
    Evicted,
    Closed,
    StorageFull,
    Refused,
    Failed,
}

/// Options of [`EventSink::read`] and [`EventSinkExt::scan`](crate::EventSinkExt::scan).
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use isobar_analytics::memory::MemorySink;
/// use isobar_analytics::{EventSinkExt, ScanOptions};
///
/// # futures_util::FutureExt::now_or_never(async {
/// let sink = MemorySink::new();
/// sink.write_duration("first", std::time::Duration::from_millis(3));
/// sink.write_duration("second", std::time::Duration::from_millis(5));
/// let newest = sink.scan(ScanOptions::default().with_limit(1)).await?.events;
/// assert_eq!((newest.len(), newest[0].double(1)), (1, 5.0));
/// # Ok::<(), isobar_analytics::Error>(())
/// # }).unwrap().unwrap(); }
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ScanOptions {
    /// Only events at or after this time. Default: all.
    pub from: Option<DateTime<Utc>>,
    /// Only events before this time. Default: all.
    pub until: Option<DateTime<Utc>>,
    /// Only this many of the newest events. Default: all.
    ///
    /// 0 selects none.
    pub limit: Option<usize>,
}

impl ScanOptions {
    /// Selects only events at or after this time.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use chrono::{TimeDelta, Utc};
    /// use isobar_analytics::memory::MemorySink;
    /// use isobar_analytics::{DataPoint, EventSink, EventSinkExt, ScanOptions};
    ///
    /// # futures_util::FutureExt::now_or_never(async {
    /// let sink = MemorySink::new();
    /// sink.write(DataPoint::new());
    /// let last_hour = ScanOptions::default().with_from(Utc::now() - TimeDelta::hours(1));
    /// assert_eq!(sink.scan(last_hour).await?.events.len(), 1);
    /// let later = ScanOptions::default().with_from(Utc::now() + TimeDelta::hours(1));
    /// assert_eq!(sink.scan(later).await?.events.len(), 0);
    /// # Ok::<(), isobar_analytics::Error>(())
    /// # }).unwrap().unwrap(); }
    /// ```
    #[must_use]
    pub fn with_from(mut self, from: DateTime<Utc>) -> Self {
        self.from = Some(from);
        self
    }

    /// Selects only events before this time.
    #[must_use]
    pub fn with_until(mut self, until: DateTime<Utc>) -> Self {
        self.until = Some(until);
        self
    }

    /// Selects only this many of the newest events.
    #[must_use]
    pub fn with_limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Whether an event of this time is selected. For backends.
    ///
    /// ```
    /// use chrono::{TimeDelta, Utc};
    /// use isobar_analytics::ScanOptions;
    ///
    /// let now = Utc::now();
    /// let hour = ScanOptions::default().with_from(now - TimeDelta::hours(1)).with_until(now);
    /// assert!(hour.covers(now - TimeDelta::hours(1)) && !hour.covers(now), "the end is excluded");
    /// ```
    #[must_use]
    pub fn covers(&self, at: DateTime<Utc>) -> bool {
        self.from.is_none_or(|from| from <= at) && self.until.is_none_or(|until| at < until)
    }
}

macro_rules! forward {
    ($($wrapper:ty),*) => {$(
        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<S: EventSink + ?Sized> EventSink for $wrapper {
            fn write(&self, point: DataPoint) {
                (**self).write(point);
            }
            fn write_ref(&self, point: &PointRef<'_>) {
                (**self).write_ref(point);
            }
            async fn flush(&self) -> Result<()> {
                (**self).flush().await
            }
            async fn close(&self) -> Result<()> {
                (**self).close().await
            }
            fn stats(&self) -> SinkStats {
                (**self).stats()
            }
            async fn health(&self) -> Result<()> {
                (**self).health().await
            }
            async fn read(&self, options: ScanOptions) -> Result<Batches> {
                (**self).read(options).await
            }
        }
    )*};
}
forward!(Arc<S>, Box<S>);
