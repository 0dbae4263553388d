//! The trait.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::{DataPoint, Error, ErrorKind, Event, Result};

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

    /// Reads stored events back, oldest first. A backend that only writes has none of it.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where the backend only writes.
    async fn scan(&self, _options: ScanOptions) -> Result<Vec<Event>> {
        Err(Error::new(ErrorKind::Unsupported, "scan", "this sink only writes"))
    }
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
    /// Dropped because the buffer was full, the sink closed, or the backend failed.
    pub dropped: u64,
}

/// Options of [`EventSink::scan`].
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
            async fn scan(&self, options: ScanOptions) -> Result<Vec<Event>> {
                (**self).scan(options).await
            }
        }
    )*};
}
forward!(Arc<S>, Box<S>);
