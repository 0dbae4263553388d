//! Datasets in memory, for queries.

use std::collections::BTreeMap;

use super::events::{record_batch, unknown_dataset};
use super::{RecordBatches, ScanRequest, ScanSource, Scanned};
use crate::memory::MemorySink;
use crate::{Event, Result};

/// Most events of a batch.
const BATCH_EVENTS: usize = 8192;

/// Datasets of [`MemorySink`]s by name. See [`ScanSource`] for an example.
#[derive(Debug, Clone, Default)]
pub struct MemoryDatasets {
    sinks: BTreeMap<String, MemorySink>,
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
        self.sinks.insert(name.into(), sink);
        self
    }
}

impl ScanSource for MemoryDatasets {
    fn datasets(&self) -> Result<Vec<String>> {
        Ok(self.sinks.keys().cloned().collect())
    }

    fn scan(&self, request: &ScanRequest) -> Result<RecordBatches> {
        let sink = self.sinks.get(&request.dataset);
        let sink =
            sink.ok_or_else(|| unknown_dataset(&request.dataset, &self.sinks.keys().cloned().collect::<Vec<_>>()))?;
        let mut events = sink.points().into_iter();
        let request = request.clone();
        Ok(Box::new(std::iter::from_fn(move || {
            let batch: Vec<Event> = events.by_ref().take(BATCH_EVENTS).collect();
            let wanted = batch.iter().filter(|event| request.covers(event.timestamp.timestamp(), event.index()));
            let wanted: Vec<&Event> = wanted.collect();
            (!batch.is_empty()).then(|| record_batch(&request, &wanted).map(Scanned::new))
        })))
    }
}
