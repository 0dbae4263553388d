//! Datasets in folders, for queries.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chrono::DateTime;

use super::events::{record_batch, unknown_dataset};
use super::{RecordBatches, ScanRequest, ScanSource, Scanned};
use crate::local::{self, LocalSink};
use crate::{Batch, Error, Event, Result, ScanOptions};

/// The datasets in the folders below a folder, as the platform keeps them in `.isobar/analytics`.
///
/// Datasets that this process writes to are added by their sinks ([`with_sink`](Self::with_sink)), so that points are seen once they
/// are durable and not before. Those of other processes are read as their files are.
///
/// ```
/// use isobar_analytics::local::LocalSink;
/// use isobar_analytics::query::{LocalDatasets, ScanSource};
/// use isobar_analytics::{DataPoint, EventSink};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// let sink = LocalSink::open(folder.path().join("visits"))?;
/// sink.write(DataPoint::new().with_blob("/home"));
/// sink.flush().await?;
/// let source = LocalDatasets::open(folder.path()).with_sink("visits", sink);
/// assert_eq!(source.datasets()?, ["visits"]);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct LocalDatasets {
    folder: PathBuf,
    sinks: BTreeMap<String, LocalSink>,
}

impl LocalDatasets {
    /// Reads the datasets of this folder. It need not exist; then there are none.
    pub fn open(folder: impl AsRef<Path>) -> Self {
        Self { folder: folder.as_ref().to_owned(), sinks: BTreeMap::new() }
    }

    /// Adds a dataset that this process writes to, or replaces the folder of the same name.
    #[must_use]
    pub fn with_sink(mut self, name: impl Into<String>, sink: LocalSink) -> Self {
        self.sinks.insert(name.into(), sink);
        self
    }
}

impl ScanSource for LocalDatasets {
    fn datasets(&self) -> Result<Vec<String>> {
        let failed = |error| Error::io(&self.folder, error).during("datasets");
        let mut names: Vec<String> = self.sinks.keys().cloned().collect();
        match std::fs::read_dir(&self.folder) {
            Ok(entries) => {
                for entry in entries {
                    let entry = entry.map_err(failed)?;
                    if entry.file_type().map_err(failed)?.is_dir() {
                        names.extend(entry.file_name().into_string());
                    }
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    fn scan(&self, request: &ScanRequest) -> Result<RecordBatches> {
        let second = |at: i64| DateTime::from_timestamp(at, 0);
        let options = ScanOptions {
            from: request.from.and_then(second),
            until: request.until.and_then(second),
            ..ScanOptions::default()
        };
        let events = match self.sinks.get(&request.dataset) {
            Some(sink) => sink.read_blocking(options),
            None => {
                // Only names of the list, so that none leads out of the folder.
                let known = self.datasets()?;
                if !known.contains(&request.dataset) {
                    return Err(unknown_dataset(&request.dataset, &known));
                }
                local::read_folder(&self.folder.join(&request.dataset), options)
            }
        };
        let request = request.clone();
        let batches = events.map_err(|error| error.during("scan"))?.map(move |batch| {
            let Batch { events, damage } = batch.map_err(|error| error.during("scan"))?;
            let wanted = events.iter().filter(|event| request.covers(event.timestamp.timestamp(), event.index()));
            let wanted: Vec<&Event> = wanted.collect();
            Ok(Scanned { damage, ..Scanned::new(record_batch(&request, &wanted)?) })
        });
        Ok(Box::new(batches))
    }
}
