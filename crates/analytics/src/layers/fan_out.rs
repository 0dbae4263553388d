use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::join_all;

use crate::{
    Batches, DataPoint, Drops, Error, ErrorKind, EventSink, Operation, PointRef, Result, ScanOptions, SinkStats,
};

/// Several sinks as one: each point is written to all of them, in their order. A sink that fails or drops points keeps no other one from
/// having them, and each counts its own drops by reason ([`stats_by_sink`](Self::stats_by_sink)).
///
/// - `write` returns when every sink's `write` has: none of them blocks, but for `local::FullPolicy::Wait`.
/// - `flush`, `close` and `health` go to all sinks at once. The first error, in the order of the sinks, is returned after all have
///   answered, with the sink's name in its message; with the feature `tracing` each error is logged.
/// - `read` reads the first sink that is not write-only.
/// - `stats` has the worst of any sink, so that a point that one of them has not stored does not count as stored.
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use isobar_analytics::layers::FanOut;
/// use isobar_analytics::memory::MemorySink;
/// use isobar_analytics::{DataPoint, EventSink, EventSinkExt, ScanOptions};
///
/// # futures_util::FutureExt::now_or_never(async {
/// let live = MemorySink::new(); // a `local::LocalSink`, say,
/// let archive = MemorySink::new(); // and a sink of your own
/// let sink = FanOut::new("live", live.clone()).with_sink("archive", archive.clone());
/// sink.write(DataPoint::new().with_index("tenant-1").with_blob("/home"));
///
/// archive.close().await?; // one of them drops from here on; the other one goes on
/// sink.write(DataPoint::new().with_index("tenant-1").with_blob("/about"));
/// assert_eq!((live.points().len(), archive.points().len()), (2, 1));
/// assert_eq!(sink.scan(ScanOptions::default()).await?.events.len(), 2);
///
/// assert_eq!((sink.stats().stored, sink.stats().dropped), (1, 1));
/// let dropped: Vec<_> = sink.stats_by_sink().map(|(name, stats)| (name, stats.drops.closed)).collect();
/// assert_eq!(dropped, [("live", 0), ("archive", 1)]);
/// assert_eq!(sink.flush().await.unwrap_err().to_string(), "flush: sink archive: the sink is closed");
/// # Ok::<(), isobar_analytics::Error>(())
/// # }).unwrap().unwrap(); }
/// ```
#[derive(Debug, Clone)]
pub struct FanOut {
    /// At least one.
    sinks: Vec<Named>,
}

#[derive(Debug, Clone)]
struct Named {
    name: Arc<str>,
    sink: Arc<dyn EventSink>,
}

impl FanOut {
    /// Creates a fan-out of one sink, with its name in errors and counts.
    pub fn new(name: impl Into<Arc<str>>, sink: impl EventSink + 'static) -> Self {
        Self { sinks: Vec::new() }.with_sink(name, sink)
    }

    /// Adds a sink, with its name in errors and counts.
    #[must_use]
    pub fn with_sink(mut self, name: impl Into<Arc<str>>, sink: impl EventSink + 'static) -> Self {
        self.sinks.push(Named { name: name.into(), sink: Arc::new(sink) });
        self
    }

    /// Returns the name of each sink and its own counts, in the order of the sinks.
    pub fn stats_by_sink(&self) -> impl Iterator<Item = (&str, SinkStats)> {
        self.sinks.iter().map(|named| (&*named.name, named.sink.stats()))
    }

    /// Returns the first error of these results, which are those of the sinks in their order.
    fn first_error(&self, operation: Operation, results: Vec<Result<()>>) -> Result<()> {
        let mut first = Ok(());
        for (named, result) in self.sinks.iter().zip(results) {
            let Err(error) = result else { continue };
            #[cfg(feature = "tracing")]
            tracing::warn!(sink = &*named.name, %error, "a sink of a fan-out failed");
            if first.is_ok() {
                first = Err(named.name_error(operation, error));
            }
        }
        first
    }
}

impl Named {
    /// Adds the sink's name to its error.
    fn name_error(&self, operation: Operation, error: Error) -> Error {
        let message = format!("sink {}: {}", self.name, error.message());
        Error::new(error.kind(), message).during(operation).with_source(error)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl EventSink for FanOut {
    fn write(&self, point: DataPoint) {
        let Some((last, others)) = self.sinks.split_last() else { return };
        others.iter().for_each(|named| named.sink.write(point.clone()));
        last.sink.write(point);
    }
    fn write_ref(&self, point: &PointRef<'_>) {
        self.sinks.iter().for_each(|named| named.sink.write_ref(point));
    }
    async fn flush(&self) -> Result<()> {
        let results = join_all(self.sinks.iter().map(|named| named.sink.flush())).await;
        self.first_error(Operation::Flush, results)
    }
    async fn close(&self) -> Result<()> {
        let results = join_all(self.sinks.iter().map(|named| named.sink.close())).await;
        self.first_error(Operation::Close, results)
    }
    /// The worst of any sink: the smallest of `written` and `stored`; the largest of `invalid`, of `sampled_out`, of the drops by each
    /// reason, whose sum is `dropped`, and of `expired_bytes`.
    fn stats(&self) -> SinkStats {
        self.sinks.iter().map(|named| named.sink.stats()).reduce(worst).unwrap_or_default()
    }
    async fn health(&self) -> Result<()> {
        let results = join_all(self.sinks.iter().map(|named| named.sink.health())).await;
        self.first_error(Operation::Health, results)
    }
    async fn read(&self, options: ScanOptions) -> Result<Batches> {
        for named in &self.sinks {
            match named.sink.read(options.clone()).await {
                Err(error) if error.kind() == ErrorKind::Unsupported => {}
                Err(error) => return Err(named.name_error(Operation::Read, error)),
                Ok(batches) => return Ok(batches),
            }
        }
        Err(Error::new(ErrorKind::Unsupported, "all of these sinks are write-only").during(Operation::Read))
    }
}

fn worst(one: SinkStats, other: SinkStats) -> SinkStats {
    let Drops { buffer_full, evicted, closed, storage_full, refused, failed } = other.drops;
    let drops = Drops {
        buffer_full: one.drops.buffer_full.max(buffer_full),
        evicted: one.drops.evicted.max(evicted),
        closed: one.drops.closed.max(closed),
        storage_full: one.drops.storage_full.max(storage_full),
        refused: one.drops.refused.max(refused),
        failed: one.drops.failed.max(failed),
    };
    SinkStats {
        written: one.written.min(other.written),
        stored: one.stored.min(other.stored),
        invalid: one.invalid.max(other.invalid),
        sampled_out: one.sampled_out.max(other.sampled_out),
        dropped: drops.buffer_full + drops.evicted + drops.closed + drops.storage_full + drops.refused + drops.failed,
        drops,
        expired_bytes: one.expired_bytes.max(other.expired_bytes),
    }
}
