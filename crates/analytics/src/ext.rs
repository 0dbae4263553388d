//! Convenience methods for [`EventSink`].

use std::time::Duration;

use async_trait::async_trait;
use futures_util::TryStreamExt;

use crate::{DataPoint, EventSink, Result, Scan, ScanOptions};

/// Convenience methods of every sink.
#[async_trait]
pub trait EventSinkExt: EventSink {
    /// Writes a duration: `blob1` is the name, `double1` the time in milliseconds.
    fn write_duration(&self, name: impl Into<bytes::Bytes>, duration: Duration) {
        self.write(DataPoint::new().with_blob(name).with_double(duration.as_secs_f64() * 1000.0));
    }

    /// Writes several points.
    fn write_all(&self, points: impl IntoIterator<Item = DataPoint>) {
        points.into_iter().for_each(|point| self.write(point));
    }

    /// Reads stored events into memory, oldest first, and reports damaged data that was skipped.
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
