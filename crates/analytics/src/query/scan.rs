//! The interface between a query and the datasets it reads.
//!
//! A source knows nothing of SQL: it gets columns by their fixed positions, bounds as hints, and hands over arrow batches. So a backend with
//! files of its own, or a cache, can be queried by implementing two functions. The query filters again, whatever the source leaves out.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;

use arrow_array::RecordBatch;
use bytes::Bytes;

use super::Column;
use crate::{Damage, Result};

/// Batches of a scan. Blocking: whoever drives it does so on a thread that may block, and drops it to cancel the scan.
pub type RecordBatches = Box<dyn Iterator<Item = Result<Scanned>> + Send>;

/// Datasets that can be read by column.
///
/// Implementations block: they read files on the calling thread, and a batch at a time, so that memory is bounded and a query can
/// be cancelled between batches. The query engine calls them on a thread of its own.
///
/// A scan is a snapshot: rows that are written or moved to another tier after [`scan`](Self::scan) has returned are not seen twice
/// or lost. Rows come in any order.
///
/// ```
/// # #[cfg(feature = "memory")] { (|| {
/// use isobar_analytics::memory::MemorySink;
/// use isobar_analytics::query::{Column, MemoryDatasets, ScanRequest, ScanSource};
/// use isobar_analytics::{DataPoint, EventSink};
///
/// let sink = MemorySink::new();
/// sink.write(DataPoint::new().with_index("tenant-1").with_blob("/home").with_double(12.5));
/// let source = MemoryDatasets::new().with_dataset("visits", sink);
/// assert_eq!(source.datasets()?, ["visits"]);
/// let request = ScanRequest::new("visits", [Column::Blob(1), Column::Double(1)]);
/// let rows: usize = source.scan(&request)?.map(|scanned| Ok(scanned?.batch.num_rows())).sum::<Result<_, isobar_analytics::Error>>()?;
/// assert_eq!(rows, 1);
/// # Ok::<(), isobar_analytics::Error>(()) })().unwrap(); }
/// ```
///
/// A scan may be dropped before its end, where a `LIMIT` has enough rows, the query is cancelled, or a bound is reached.
pub trait ScanSource: Debug + Send + Sync {
    /// Returns the names of the datasets, sorted.
    ///
    /// # Errors
    /// [`ErrorKind::PermissionDenied`](crate::ErrorKind::PermissionDenied), [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable).
    fn datasets(&self) -> Result<Vec<String>>;

    /// Returns the rows of a dataset in batches of at most some ten thousand rows, with exactly the columns of the request in its
    /// order and the types of [`Column::data_type`]. A request without columns yields batches that have a number of rows alone.
    ///
    /// The request's bounds and indexes are hints: rows outside of them may be left out and need not be, as the query filters again.
    ///
    /// # Errors
    /// [`ErrorKind::Query`](crate::ErrorKind::Query) where there is no such dataset;
    /// [`ErrorKind::PermissionDenied`](crate::ErrorKind::PermissionDenied), [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable).
    /// Damaged data is no error: it is skipped and reported in [`Scanned::damage`].
    fn scan(&self, request: &ScanRequest) -> Result<RecordBatches>;

    /// Returns the rows of [`scan`](Self::scan) in at least one part and at most this many, which threads of their own may read at once.
    ///
    /// All parts are of one snapshot. A query that groups reads each on a thread, and merges the groups in the order of the parts: if that is the
    /// order of the rows in `scan`, then ties and the order of groups do not depend on the number of parts. Default: one part.
    ///
    /// # Errors
    /// As [`scan`](Self::scan).
    fn scan_parts(&self, request: &ScanRequest, most: usize) -> Result<Vec<RecordBatches>> {
        let _ = most;
        Ok(vec![self.scan(request)?])
    }
}

impl<S: ScanSource + ?Sized> ScanSource for Arc<S> {
    fn datasets(&self) -> Result<Vec<String>> {
        (**self).datasets()
    }

    fn scan(&self, request: &ScanRequest) -> Result<RecordBatches> {
        (**self).scan(request)
    }

    fn scan_parts(&self, request: &ScanRequest, most: usize) -> Result<Vec<RecordBatches>> {
        (**self).scan_parts(request, most)
    }
}

/// The rows that a query needs.
///
/// ```
/// use isobar_analytics::query::{Column, ScanRequest};
///
/// let request = ScanRequest::new("visits", [Column::Double(1)]).with_from(100).with_until(200).with_indexes(["a".into()]);
/// assert!(request.covers(100, b"a"));
/// assert!(!request.covers(200, b"a") && !request.covers(150, b"b"));
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ScanRequest {
    /// Name of the dataset.
    pub dataset: String,
    /// The columns to deliver, without repetition, in this order.
    pub columns: Vec<Column>,
    /// Only rows at or after this time are needed, in seconds since 1970. Default: all.
    pub from: Option<i64>,
    /// Only rows before this time are needed, in seconds since 1970. Default: all.
    pub until: Option<i64>,
    /// Only rows with one of these indexes are needed. Default: all.
    pub indexes: Option<BTreeSet<Bytes>>,
    /// Those of the columns that are needed only to compare rows with the bounds above. Default: none.
    ///
    /// A batch that is [within the bounds](Scanned::is_within_bounds) does not have them.
    pub bound_columns: Vec<Column>,
    /// Whether texts may also be delivered as `Dictionary(UInt32, Binary)` without nulls. Default: no.
    pub allows_dictionaries: bool,
}

impl ScanRequest {
    /// Requests these columns of all rows of a dataset.
    pub fn new(dataset: impl Into<String>, columns: impl IntoIterator<Item = Column>) -> Self {
        let columns = columns.into_iter().collect();
        Self {
            dataset: dataset.into(),
            columns,
            from: None,
            until: None,
            indexes: None,
            bound_columns: Vec::new(),
            allows_dictionaries: false,
        }
    }

    /// Restricts the rows to those at or after a time, in seconds since 1970.
    #[must_use]
    pub fn with_from(mut self, from: i64) -> Self {
        self.from = Some(from);
        self
    }

    /// Restricts the rows to those before a time, in seconds since 1970.
    ///
    /// The time itself is excluded.
    #[must_use]
    pub fn with_until(mut self, until: i64) -> Self {
        self.until = Some(until);
        self
    }

    /// Restricts the rows to those with one of these indexes.
    ///
    /// None at all selects no row.
    #[must_use]
    pub fn with_indexes(mut self, indexes: impl IntoIterator<Item = Bytes>) -> Self {
        self.indexes = Some(indexes.into_iter().collect());
        self
    }

    /// Whether a row of this time, in seconds, and index may be needed. For sources that look at rows one by one.
    #[must_use]
    pub fn covers(&self, seconds: i64, index: &[u8]) -> bool {
        self.from.is_none_or(|from| from <= seconds)
            && self.until.is_none_or(|until| seconds < until)
            && self.indexes.as_ref().is_none_or(|indexes| indexes.contains(index))
    }
}

/// A batch of a scan, and what has happened since the one before.
///
/// ```
/// use std::sync::Arc;
///
/// use arrow_array::{ArrayRef, Float64Array, RecordBatch};
/// use isobar_analytics::query::{Column, Scanned, schema};
///
/// let values: ArrayRef = Arc::new(Float64Array::from(vec![1.0, 2.0]));
/// let batch = RecordBatch::try_new(schema([Column::Double(1)]), vec![values])?;
/// let scanned = Scanned::new(batch);
/// assert!(scanned.batch.num_rows() == 2 && scanned.damage.is_none());
/// # Ok::<(), arrow_schema::ArrowError>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Scanned {
    /// The rows; may be empty.
    pub batch: RecordBatch,
    /// Damage found since the previous batch.
    pub damage: Damage,
    /// Number of segments that have been opened since the previous batch.
    pub segments_read: u64,
    /// Number of segments that have been left out by the request's bounds since the previous batch, unread.
    pub segments_pruned: u64,
    /// Whether the source knows that all rows are within the request's bounds. Then the query does not compare them, and the batch has the
    /// request's columns without [`ScanRequest::bound_columns`]. Default: no.
    pub is_within_bounds: bool,
}

impl Scanned {
    /// Creates a batch of rows without damage.
    #[must_use]
    pub fn new(batch: RecordBatch) -> Self {
        Self { batch, damage: Damage::default(), segments_read: 0, segments_pruned: 0, is_within_bounds: false }
    }
}
