//! The trait.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures_util::stream::BoxStream;

use crate::{DataPoint, Error, ErrorKind, Event, Result};

/// Stored events as they are read, a bounded batch at a time; see [`EventSink::read`].
pub type Batches = BoxStream<'static, Result<Batch>>;

/// A dataset: where data points go.
#[async_trait]
pub trait EventSink: Debug + Send + Sync {
    /// Writes a data point, stamped with the time. Never blocks and never fails its caller: a point over the limits, one
    /// more than the buffer holds, and one after [`close`](Self::close) is dropped and counted in [`stats`](Self::stats).
    fn write(&self, point: DataPoint);

    /// Returns when every point written before is durable.
    ///
    /// # Errors
    /// What the backend suffers; points it could not store are then counted as dropped. [`ErrorKind::Closed`] after
    /// [`close`](Self::close).
    async fn flush(&self) -> Result<()>;

    /// Flushes and takes no more: for shutdown. Closing twice is no error.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    async fn close(&self) -> Result<()>;

    /// What has become of the points so far.
    fn stats(&self) -> SinkStats;

    /// Whether the sink can store points now: for readiness. Does no work while writing succeeds; after a failure it tries
    /// the storage again, so that a sink that was repaired reports so without a new point.
    ///
    /// # Errors
    /// Why points cannot be stored, as [`flush`](Self::flush); [`ErrorKind::Closed`] after [`close`](Self::close).
    async fn health(&self) -> Result<()>;

    /// Reads stored events back in the order in which they were written, in batches of bounded size; nothing is read ahead
    /// of the stream's reader. Damaged data is skipped, and counted and named in the [`Batch`] that follows it.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where the backend only writes. The stream ends after the first error.
    async fn read(&self, _options: ScanOptions) -> Result<Batches> {
        Err(Error::new(ErrorKind::Unsupported, "read", "this sink only writes"))
    }
}

/// Some of the events that are read.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Batch {
    /// The events, in the order in which they were written.
    pub events: Vec<Event>,
    /// Damage met since the batch before.
    pub damage: Damage,
}

impl Batch {
    /// A batch of these events, read without damage.
    #[must_use]
    pub fn new(events: Vec<Event>) -> Self {
        Self { events, damage: Damage::default() }
    }
}

/// Stored data that cannot be read and was skipped. A crash leaves at most one such stretch, at the end of a segment:
/// points that were not durable yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Damage {
    /// Stretches of damaged bytes; a stretch may have held several events.
    pub stretches: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// The files that have them, by name.
    pub files: BTreeSet<String>,
}

impl Damage {
    /// Whether nothing is damaged.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.stretches == 0
    }

    /// Adds other damage to this.
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
    /// The events, oldest first; those of one millisecond in the order in which they were written.
    pub events: Vec<Event>,
    /// Data that was skipped because it is damaged.
    pub damage: Damage,
}

/// What has become of the points written so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct SinkStats {
    /// Taken, whether durable already or still buffered.
    pub written: u64,
    /// Durable.
    pub stored: u64,
    /// Dropped because they are over a limit.
    pub invalid: u64,
    /// Dropped because the buffer was full, the sink closed, the backend failed, or its disk is at its reserve.
    pub dropped: u64,
    /// Bytes of stored points that were removed because of their age or of the limit of the dataset's size.
    pub expired_bytes: u64,
}

/// Options of [`EventSink::read`] and [`EventSinkExt::scan`](crate::EventSinkExt::scan).
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ScanOptions {
    /// Only events from this time on.
    pub from: Option<DateTime<Utc>>,
    /// Only events before this time.
    pub until: Option<DateTime<Utc>>,
    /// The newest so many of them; all when not given.
    pub limit: Option<usize>,
}

impl ScanOptions {
    /// Only events from this time on.
    #[must_use]
    pub fn with_from(mut self, from: DateTime<Utc>) -> Self {
        self.from = Some(from);
        self
    }

    /// Only events before this time.
    #[must_use]
    pub fn with_until(mut self, until: DateTime<Utc>) -> Self {
        self.until = Some(until);
        self
    }

    /// The newest so many.
    #[must_use]
    pub fn with_limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Whether an event of this time is asked for: for backends.
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
