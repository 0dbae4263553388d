//! An in-memory sink with the limits, timestamps and counts of the others.
//!
//! It is a faithful fake: limits, counts, closing and the precision of timestamps are those of the local sink, and the conformance kit runs on
//! both. It differs in three things: memory is not bounded, nothing outlives the process, and a point is stored when `write` returns, so that
//! `flush` has nothing to wait for.

use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use chrono::{SubsecRound, Utc};
use futures_util::{StreamExt, stream};
use isobar_base::sync::IgnorePoison;

use crate::{
    Batch, Batches, DataPoint, DropReason, Error, ErrorKind, Event, EventSink, Operation, Result, ScanOptions,
    SinkStats,
};

/// A dataset in memory. Clones share it.
///
/// ```
/// use isobar_analytics::memory::MemorySink;
/// use isobar_analytics::{DataPoint, EventSink};
///
/// let visits = MemorySink::new();
/// visits.write(DataPoint::new().with_index("tenant-1").with_blob("/home").with_double(1.0));
/// let points = visits.points();
/// assert_eq!((points.len(), points[0].blob(1)), (1, &b"/home"[..]));
/// // What is over a limit is dropped and counted, as everywhere.
/// visits.write(DataPoint::new().with_index("i".repeat(97)));
/// assert_eq!((visits.points().len(), visits.stats().invalid), (1, 1));
/// ```
///
/// Memory grows with each point and is freed when the last clone is dropped: for tests, and for datasets that are known to be small.
#[derive(Debug, Clone, Default)]
pub struct MemorySink {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    events: Vec<Event>,
    stats: SinkStats,
    closed: bool,
}

impl MemorySink {
    /// Creates an empty dataset.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns all written events, oldest first.
    ///
    /// A copy: the dataset is not locked after it. Also after [`close`](EventSink::close).
    ///
    /// ```
    /// use isobar_analytics::memory::MemorySink;
    /// use isobar_analytics::{DataPoint, EventSink};
    ///
    /// let sink = MemorySink::new();
    /// sink.write(DataPoint::new().with_blob("a"));
    /// sink.write(DataPoint::new().with_blob("b"));
    /// let blobs: Vec<_> = sink.points().iter().map(|event| event.blob(1).to_vec()).collect();
    /// assert_eq!(blobs, [b"a", b"b"]);
    /// ```
    #[must_use]
    pub fn points(&self) -> Vec<Event> {
        self.lock().events.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Plain data, changed in single steps.
        self.state.lock().ignore_poison()
    }
}

#[async_trait]
impl EventSink for MemorySink {
    fn write(&self, point: DataPoint) {
        let mut state = self.lock();
        if point.problem().is_some() {
            state.stats.invalid += 1;
        } else if state.closed {
            state.stats.count_dropped(DropReason::Closed, 1);
        } else {
            state.stats.written += 1;
            state.stats.stored += 1;
            state.events.push(Event::new(Utc::now().trunc_subsecs(3), point));
        }
    }

    async fn flush(&self) -> Result<()> {
        if self.lock().closed {
            return Err(Error::new(ErrorKind::Closed, "the sink is closed").during(Operation::Flush));
        }
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        self.lock().closed = true;
        Ok(())
    }

    fn stats(&self) -> SinkStats {
        self.lock().stats
    }

    async fn health(&self) -> Result<()> {
        if self.lock().closed {
            return Err(Error::new(ErrorKind::Closed, "the sink is closed").during(Operation::Health));
        }
        Ok(())
    }

    async fn read(&self, options: ScanOptions) -> Result<Batches> {
        let state = self.lock();
        let events: Vec<_> = state.events.iter().filter(|event| options.covers(event.timestamp)).cloned().collect();
        let skip = options.limit.map_or(0, |limit| events.len().saturating_sub(limit));
        let events: Vec<Event> = events.into_iter().skip(skip).collect();
        Ok(stream::iter([Ok(Batch::new(events))]).boxed())
    }
}
