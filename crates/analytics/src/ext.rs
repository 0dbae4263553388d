//! Convenience methods for [`EventSink`].

use std::time::Duration;

use async_trait::async_trait;
use futures_util::TryStreamExt;

use crate::{DataPoint, EventSink, Result, Scan, ScanOptions, TypedEvent};

/// Convenience methods of every sink.
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use std::time::Duration;
///
/// use isobar_analytics::memory::MemorySink;
/// use isobar_analytics::{DataPoint, EventSinkExt, ScanOptions};
///
/// # futures_util::FutureExt::now_or_never(async {
/// let sink = MemorySink::new();
/// sink.write_all(["a", "b"].map(|name| DataPoint::new().with_blob(name)));
/// sink.write_duration("query", Duration::from_micros(1500));
/// let events = sink.scan(ScanOptions::default()).await?.events;
/// assert_eq!((events.len(), events[2].blob(1), events[2].double(1)), (3, &b"query"[..], 1.5));
/// # Ok::<(), isobar_analytics::Error>(())
/// # }).unwrap().unwrap(); }
/// ```
#[async_trait]
pub trait EventSinkExt: EventSink {
    /// Writes an event whose columns have names and fixed positions; see `#[derive(Event)]` (feature `derive`).
    ///
    /// The event's dataset is not looked at: the sink is a dataset of its own.
    fn write_event(&self, event: &impl TypedEvent) {
        event.with_point(|point| self.write_ref(point));
    }

    /// Writes a duration: `blob1` is the name, `double1` the time in milliseconds.
    ///
    /// There is no index, so that points of all names are sampled together on Analytics Engine.
    fn write_duration(&self, name: impl Into<bytes::Bytes>, duration: Duration) {
        self.write(DataPoint::new().with_blob(name).with_double(duration.as_secs_f64() * 1000.0));
    }

    /// Writes several points.
    fn write_all(&self, points: impl IntoIterator<Item = DataPoint>) {
        points.into_iter().for_each(|point| self.write(point));
    }

    /// Reads stored events into memory, oldest first, and reports damaged data that was skipped.
    ///
    /// All selected events are in memory at once: bound them by time or by number, or [read](EventSink::read) them in batches.
    ///
    /// # Errors
    /// As [`EventSink::read`].
    async fn scan(&self, options: ScanOptions) -> Result<Scan> {
        let mut scan = Scan::default();
        let mut batches = self.read(options).await?;
        while let Some(batch) = batches.try_next().await? {
            scan.events.extend(batch.events);
            scan.damage.merge(batch.damage);
        }
        // Stable: events of one millisecond keep the order in which they were written.
        scan.events.sort_by_key(|event| event.timestamp);
        Ok(scan)
    }
}

impl<S: EventSink + ?Sized> EventSinkExt for S {}
