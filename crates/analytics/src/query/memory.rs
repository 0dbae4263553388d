//! Datasets in memory, for queries.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::events::{record_batch, unknown_dataset};
use super::{RecordBatches, ScanRequest, ScanSource, Scanned};
use crate::memory::MemorySink;
use crate::{Event, Result};

/// Most events of a batch.
const BATCH_EVENTS: usize = 8192;

/// Datasets of [`MemorySink`]s, or of events as they are, by name. See [`ScanSource`] for an example.
#[derive(Debug, Clone, Default)]
pub struct MemoryDatasets {
    datasets: BTreeMap<String, Events>,
}

#[derive(Debug, Clone)]
enum Events {
    Sink(MemorySink),
    Fixed(Arc<[Event]>),
}

impl MemoryDatasets {
    /// Creates a source without datasets.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a dataset, or replaces that of the same name.
    ///
    /// The sink is read at each query: points that are written later are seen by later ones.
    #[must_use]
    pub fn with_dataset(mut self, name: impl Into<String>, sink: MemorySink) -> Self {
        self.datasets.insert(name.into(), Events::Sink(sink));
        self
    }

    /// Adds a dataset of these events, with their timestamps, or replaces that of the same name. For tests.
    ///
    /// ```
    /// use isobar_analytics::query::{Analytics, MemoryDatasets, Query};
    /// use isobar_analytics::{DataPoint, Event};
    ///
    /// let event = Event::new("2026-11-24T01:02:03Z".parse().unwrap(), DataPoint::new().with_blob("/home"));
    /// let analytics = Analytics::new(MemoryDatasets::new().with_events("visits", [event]));
    /// let answer = analytics.run(&Query::new("SELECT toHour(timestamp), blob1 FROM visits")).unwrap();
    /// assert_eq!((answer.text(0, 0), answer.text(0, 1)), ("1".to_owned(), "/home".to_owned()));
    /// ```
    #[must_use]
    pub fn with_events(mut self, name: impl Into<String>, events: impl IntoIterator<Item = Event>) -> Self {
        self.datasets.insert(name.into(), Events::Fixed(events.into_iter().collect()));
        self
    }
}

impl ScanSource for MemoryDatasets {
    fn datasets(&self) -> Result<Vec<String>> {
        Ok(self.datasets.keys().cloned().collect())
    }

    fn scan(&self, request: &ScanRequest) -> Result<RecordBatches> {
        let events: Arc<[Event]> = match self.datasets.get(&request.dataset) {
            Some(Events::Sink(sink)) => sink.points().into(),
            Some(Events::Fixed(events)) => Arc::clone(events),
            None => return Err(unknown_dataset(&request.dataset, &self.datasets()?)),
        };
        let request = request.clone();
        let batch = move |number: usize| {
            let from = number * BATCH_EVENTS;
            let batch = events.get(from..(from + BATCH_EVENTS).min(events.len())).filter(|batch| !batch.is_empty())?;
            let wanted = batch.iter().filter(|event| request.covers(event.timestamp.timestamp(), event.index()));
            Some(record_batch(&request, &wanted.collect::<Vec<_>>()).map(Scanned::new))
        };
        Ok(Box::new((0..).map_while(batch)))
    }
}
