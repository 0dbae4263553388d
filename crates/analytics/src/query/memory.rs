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
    #[must_use]
    pub fn with_dataset(mut self, name: impl Into<String>, sink: MemorySink) -> Self {
        self.datasets.insert(name.into(), Events::Sink(sink));
        self
    }

    /// Adds a dataset of these events, with their timestamps, or replaces that of the same name. For tests.
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
