//! Datasets in folders, for queries.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{TimestampMillisecondType, TimestampSecondType};
use arrow_array::{Array, ArrayRef, BinaryArray, RecordBatch, RecordBatchOptions};
use arrow_schema::Schema;
use chrono::DateTime;

use super::events::{record_batch, unknown_dataset};
use super::{Column, RecordBatches, ScanRequest, ScanSource, Scanned};
use crate::local::{
    self, ArchiveStore, LocalBatches, LocalCounts, LocalRows, LocalSink, Selection, StoredColumn, TextForm,
};
use crate::{Error, ErrorKind, Event, Result, ScanOptions};

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
    archives: BTreeMap<String, Arc<dyn ArchiveStore>>,
}

impl LocalDatasets {
    /// Reads the datasets of this folder. It need not exist; then there are none.
    ///
    /// Nothing is read yet: folders that appear later are found by later queries.
    ///
    /// ```
    /// use isobar_analytics::query::{Analytics, LocalDatasets, Query};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// let analytics = Analytics::new(LocalDatasets::open(folder.path().join("none yet")));
    /// assert_eq!(analytics.run(&Query::new("SHOW TABLES"))?.rows(), 0);
    /// let error = analytics.run(&Query::new("SELECT count() FROM visits")).unwrap_err();
    /// assert!(error.message().contains("there is no dataset visits; there are none"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(folder: impl AsRef<Path>) -> Self {
        Self { folder: folder.as_ref().to_owned(), sinks: BTreeMap::new(), archives: BTreeMap::new() }
    }

    /// Adds a dataset that this process writes to, or replaces the folder of the same name.
    ///
    /// Without it the dataset is read as another process's: points of a batch that is just being synced may be seen.
    #[must_use]
    pub fn with_sink(mut self, name: impl Into<String>, sink: LocalSink) -> Self {
        self.sinks.insert(name.into(), sink);
        self
    }

    /// Adds the archive of a dataset that is read from its folder. A dataset's sink has one of its own.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::time::Duration;
    ///
    /// use isobar_analytics::local::{CompactionOptions, FolderArchive, LocalOptions, LocalSink};
    /// use isobar_analytics::query::{Analytics, LocalDatasets, Query};
    /// use isobar_analytics::{DataPoint, EventSink};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// let old = Arc::new(FolderArchive::new(folder.path().join("old")));
    /// let datasets = folder.path().join("datasets");
    /// let options = LocalOptions::default().with_archive(old.clone());
    /// let sink = LocalSink::open_with(datasets.join("visits"), options)?;
    /// sink.write(DataPoint::new());
    /// sink.compact(CompactionOptions::default()).await?;
    /// sink.archive(Duration::ZERO).await?;
    ///
    /// let count = Query::new("SELECT count() FROM visits");
    /// let error = Analytics::new(LocalDatasets::open(&datasets)).run(&count).unwrap_err();
    /// assert!(error.message().contains("the dataset has segments in the archive"));
    /// let analytics = Analytics::new(LocalDatasets::open(&datasets).with_archive("visits", old));
    /// assert_eq!(analytics.run(&count)?.text(0, 0), "1");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn with_archive(mut self, name: impl Into<String>, archive: Arc<dyn ArchiveStore>) -> Self {
        self.archives.insert(name.into(), archive);
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
        let mut parts = self.scan_parts(request, 1)?;
        Ok(parts.pop().expect("a scan has one part at least"))
    }

    fn scan_parts(&self, request: &ScanRequest, most: usize) -> Result<Vec<RecordBatches>> {
        let second = |at: i64| DateTime::from_timestamp(at, 0);
        let options = ScanOptions {
            from: request.from.and_then(second),
            until: request.until.and_then(second),
            ..ScanOptions::default()
        };
        let scan = match self.sinks.get(&request.dataset) {
            Some(sink) => sink.scan_columns(&options),
            None => {
                // Only names of the list, so that none leads out of the folder.
                let known = self.datasets()?;
                if !known.contains(&request.dataset) {
                    return Err(unknown_dataset(&request.dataset, &known));
                }
                let archive = self.archives.get(&request.dataset);
                local::scan_folder(&self.folder.join(&request.dataset), archive, &options)
            }
        };
        let parts = scan.map_err(|error| error.during("scan"))?.read(&options, &selection(request), most);
        Ok(parts.into_iter().map(|batches| record_batches(request.clone(), batches)).collect())
    }
}

/// The batches of a request out of those of a snapshot.
fn record_batches(request: ScanRequest, batches: LocalBatches) -> RecordBatches {
    Box::new(batches.map(move |read| {
        let (rows, counts) = read.map_err(|error| error.during("scan"))?;
        let is_within_bounds = matches!(rows, LocalRows::Columns { is_within_bounds: true, .. });
        let batch = match rows {
            LocalRows::Columns { batch, .. } => stored_batch(&request, &batch, is_within_bounds)?,
            LocalRows::Events(events) => {
                let is_wanted = |event: &&Event| request.covers(event.timestamp.timestamp(), event.index());
                record_batch(&request, &events.iter().filter(is_wanted).collect::<Vec<_>>())?
            }
            LocalRows::Nothing => record_batch(&request, &[])?,
        };
        let LocalCounts { pruned, read, damage } = counts;
        Ok(Scanned { damage, segments_read: read, segments_pruned: pruned, is_within_bounds, ..Scanned::new(batch) })
    }))
}

/// Returns the part of the columnar segments that a request needs.
fn selection(request: &ScanRequest) -> Selection {
    let milliseconds = |seconds: i64| seconds.saturating_mul(1000);
    let stored = |columns: &[Column]| columns.iter().filter_map(|column| stored(*column)).collect();
    Selection {
        columns: stored(&request.columns),
        bound_columns: stored(&request.bound_columns),
        from: request.from.map(milliseconds),
        until: request.until.map(milliseconds),
        indexes: request.indexes.clone(),
        texts: if request.allows_dictionaries { TextForm::Dictionary } else { TextForm::Binary },
    }
}

/// The column of a columnar segment that has the values; the dataset's name is in none.
fn stored(column: Column) -> Option<StoredColumn> {
    match column {
        Column::Dataset => None,
        Column::Timestamp => Some(StoredColumn::Timestamp),
        Column::SampleInterval => Some(StoredColumn::SampleInterval),
        Column::Index => Some(StoredColumn::Index),
        Column::Blob(number) => Some(StoredColumn::Blob(number.into())),
        Column::Double(number) => Some(StoredColumn::Double(number.into())),
    }
}

/// The columns of a request out of those that were selected for it: all, or those that are not for its bounds alone.
fn stored_batch(request: &ScanRequest, batch: &RecordBatch, is_within_bounds: bool) -> Result<RecordBatch> {
    let mut stored = batch.columns().iter();
    let mut next = || stored.next().expect("the selection has each column but the dataset");
    let is_left_out = |column: &&Column| is_within_bounds && request.bound_columns.contains(column);
    let mut fields = Vec::new();
    let mut columns = Vec::new();
    for column in request.columns.iter().filter(|column| !is_left_out(column)) {
        let array = match column {
            Column::Dataset => {
                let names = std::iter::repeat_n(&request.dataset, batch.num_rows());
                Arc::new(BinaryArray::from_iter_values(names)) as ArrayRef
            }
            Column::Timestamp => {
                let times = next().as_primitive::<TimestampMillisecondType>();
                Arc::new(times.unary::<_, TimestampSecondType>(|milliseconds| milliseconds.div_euclid(1000)))
            }
            _ => Arc::clone(next()),
        };
        fields.push(column.field().with_data_type(array.data_type().clone()));
        columns.push(array);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
        .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()).with_source(error).during("scan"))
}
