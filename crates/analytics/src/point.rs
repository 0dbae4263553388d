//! Data points: as they are written ([`DataPoint`], [`PointRef`]), and as they are read ([`Event`]).
//!
//! The limits are checked here, once, for every backend: [`DataPoint::problem`] says which one a point exceeds, in the words of Cloudflare's
//! runtime, and a backend drops such a point as a whole, as Analytics Engine does. Nothing is cut to fit.

use std::fmt;

use bytes::Bytes;
use chrono::{DateTime, Utc};

use crate::limits;

/// A data point: an index for sampling, blobs for grouping, doubles for aggregation. The position determines the column:
/// `index1`, `blob1` to `blob20`, `double1` to `double20`.
///
/// ```
/// use isobar_analytics::{DataPoint, Problem};
///
/// let point = DataPoint::new().with_index("tenant-1").with_blob("/home").with_blob("GET").with_double(12.5);
/// assert_eq!(point.problem(), None);
///
/// let long = DataPoint::new().with_index("x".repeat(97));
/// assert_eq!(long.problem(), Some(Problem::IndexBytes));
/// assert_eq!(Problem::IndexBytes.to_string(), "writeDataPoint(): Maximum of 96 bytes in an index supported.");
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DataPoint {
    /// Indexes: at most one, of at most 96 bytes. Analytics Engine samples by it. Default: none.
    pub indexes: Vec<Bytes>,
    /// Blobs: at most 20, of at most 16 KiB together. Default: none; a blob that is not set reads as empty.
    pub blobs: Vec<Bytes>,
    /// Doubles: at most 20. Default: none; a double that is not set reads as 0.
    pub doubles: Vec<f64>,
}

impl DataPoint {
    /// Creates an empty data point.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the index.
    ///
    /// A second one makes the point invalid ([`Problem::Indexes`]). Analytics Engine samples by the index: points that are to be counted exactly
    /// beside each other, a tenant's, say, have one of their own.
    #[must_use]
    pub fn with_index(mut self, index: impl Into<Bytes>) -> Self {
        self.indexes.push(index.into());
        self
    }

    /// Adds the next blob.
    ///
    /// The first is `blob1`. Bytes need not be UTF-8, but answers in JSON replace what is not. For a position to be left out, add an empty one.
    #[must_use]
    pub fn with_blob(mut self, blob: impl Into<Bytes>) -> Self {
        self.blobs.push(blob.into());
        self
    }

    /// Adds the next double.
    ///
    /// The first is `double1`. NaN and infinity are stored as they are; JSON has null for them.
    #[must_use]
    pub fn with_double(mut self, double: f64) -> Self {
        self.doubles.push(double);
        self
    }

    /// Returns the limit that the point exceeds, if any. Such a point is dropped as a whole, as in Analytics Engine.
    ///
    /// The first of several: indexes, bytes of the index, blobs, bytes of the blobs, doubles.
    ///
    /// ```
    /// use isobar_analytics::{DataPoint, Problem, limits};
    ///
    /// let full = DataPoint::new().with_blob("b".repeat(limits::BLOB_BYTES));
    /// assert_eq!(full.problem(), None);
    /// assert_eq!(full.with_blob("b").problem(), Some(Problem::BlobBytes));
    /// assert_eq!(DataPoint::new().with_index("a").with_index("b").problem(), Some(Problem::Indexes));
    /// ```
    #[must_use]
    pub fn problem(&self) -> Option<Problem> {
        if self.indexes.len() > limits::INDEXES {
            return Some(Problem::Indexes);
        }
        let index = self.indexes.first().map(Bytes::as_ref);
        problem_of(index, self.blobs.iter().map(Bytes::len), self.doubles.len())
    }

    /// Calls a function with the same point, whose values are borrowed. The point is within the limits.
    #[cfg(all(feature = "local", not(target_arch = "wasm32")))]
    pub(crate) fn with_ref<T>(&self, use_point: impl FnOnce(&PointRef<'_>) -> T) -> T {
        let mut blobs: [&[u8]; limits::BLOBS] = [&[]; limits::BLOBS];
        for (slot, blob) in blobs.iter_mut().zip(&self.blobs) {
            *slot = blob;
        }
        let index = self.indexes.first().map(Bytes::as_ref);
        use_point(&PointRef::new(index, &blobs[..self.blobs.len()], &self.doubles))
    }
}

/// A data point whose values are borrowed: what a [typed event](crate::TypedEvent) is written as, without an allocation.
///
/// ```
/// use isobar_analytics::{DataPoint, PointRef};
///
/// let point = PointRef::new(Some(b"tenant-1"), &[b"/home", b"GET"], &[12.5]);
/// assert_eq!(point.problem(), None);
/// let owned = DataPoint::new().with_index("tenant-1").with_blob("/home").with_blob("GET").with_double(12.5);
/// assert_eq!(point.to_point(), owned);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct PointRef<'a> {
    /// The index, of at most 96 bytes. Default: none.
    pub index: Option<&'a [u8]>,
    /// Blobs: at most 20, of at most 16 KiB together.
    pub blobs: &'a [&'a [u8]],
    /// Doubles: at most 20.
    pub doubles: &'a [f64],
}

impl<'a> PointRef<'a> {
    /// Creates a data point out of its values.
    #[must_use]
    pub fn new(index: Option<&'a [u8]>, blobs: &'a [&'a [u8]], doubles: &'a [f64]) -> Self {
        Self { index, blobs, doubles }
    }

    /// Returns the limit that the point exceeds, if any, as [`DataPoint::problem`] does.
    #[must_use]
    pub fn problem(&self) -> Option<Problem> {
        problem_of(self.index, self.blobs.iter().map(|blob| blob.len()), self.doubles.len())
    }

    /// Returns the same point with values of its own.
    ///
    /// ```
    /// use isobar_analytics::{DataPoint, PointRef};
    ///
    /// let kept = {
    ///     let text = String::from("/home");
    ///     PointRef::new(None, &[text.as_bytes()], &[]).to_point()
    /// };
    /// assert_eq!(kept, DataPoint::new().with_blob("/home"));
    /// ```
    #[must_use]
    pub fn to_point(&self) -> DataPoint {
        DataPoint {
            indexes: self.index.map(Bytes::copy_from_slice).into_iter().collect(),
            blobs: self.blobs.iter().map(|blob| Bytes::copy_from_slice(blob)).collect(),
            doubles: self.doubles.to_vec(),
        }
    }
}

/// The first limit that these values exceed. One index at most.
///
/// The order of the checks is that of the messages which the runtime gives, so that a point with two problems has the same one everywhere.
fn problem_of(index: Option<&[u8]>, blobs: impl ExactSizeIterator<Item = usize>, doubles: usize) -> Option<Problem> {
    if index.is_some_and(|index| index.len() > limits::INDEX_BYTES) {
        Some(Problem::IndexBytes)
    } else if blobs.len() > limits::BLOBS {
        Some(Problem::Blobs)
    } else if blobs.sum::<usize>() > limits::BLOB_BYTES {
        Some(Problem::BlobBytes)
    } else if doubles > limits::DOUBLES {
        Some(Problem::Doubles)
    } else {
        None
    }
}

/// The reason for which a data point is dropped, shown with Analytics Engine's message if it has one.
///
/// | variant | limit |
/// |---|---|
/// | `Indexes` | more than 1 index |
/// | `IndexBytes` | an index of more than 96 bytes |
/// | `Blobs` | more than 20 blobs |
/// | `BlobBytes` | blobs of more than 16 KiB together |
/// | `Doubles` | more than 20 doubles |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "named after the limits")]
pub enum Problem {
    Indexes,
    IndexBytes,
    Blobs,
    BlobBytes,
    Doubles,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (limit, what) = match self {
            Self::Indexes => (limits::INDEXES, "indexes supported"),
            Self::IndexBytes => (limits::INDEX_BYTES, "bytes in an index supported"),
            Self::Blobs => (limits::BLOBS, "blobs supported"),
            Self::BlobBytes => (limits::BLOB_BYTES, "bytes of blobs supported"),
            Self::Doubles => (limits::DOUBLES, "doubles supported"),
        };
        write!(f, "writeDataPoint(): Maximum of {limit} {what}.")
    }
}

/// A stored data point with its timestamp. Columns are read by their numbers, as Analytics Engine's SQL names them.
///
/// ```
/// use isobar_analytics::{DataPoint, Event};
///
/// let point = DataPoint::new().with_index("tenant-1").with_blob("/home").with_double(12.5);
/// let event = Event::new(chrono::Utc::now(), point);
/// assert_eq!((event.index(), event.blob(1), event.double(1)), (&b"tenant-1"[..], &b"/home"[..], 12.5));
/// assert_eq!((event.blob(20), event.double(20)), (&b""[..], 0.0), "what is not set");
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Event {
    /// Time at which it was written, in milliseconds.
    ///
    /// The backend's clock sets it when [`write`](crate::EventSink::write) is called; a writer cannot.
    pub timestamp: DateTime<Utc>,
    /// The data point.
    pub point: DataPoint,
    /// Number of written points for which it stands, itself among them: `_sample_interval`. Default: 1, where nothing is sampled; never 0.
    pub sample_interval: u32,
}

impl Event {
    /// Creates the event of a data point at a time, which stands for itself alone.
    #[must_use]
    pub fn new(timestamp: DateTime<Utc>, point: DataPoint) -> Self {
        Self { timestamp, point, sample_interval: 1 }
    }

    /// Sets the number of written points for which it stands.
    ///
    /// ```
    /// use isobar_analytics::{DataPoint, Event};
    ///
    /// let event = Event::new(chrono::Utc::now(), DataPoint::new());
    /// assert_eq!((event.sample_interval, event.with_sample_interval(4).sample_interval), (1, 4));
    /// ```
    #[must_use]
    pub fn with_sample_interval(mut self, sample_interval: u32) -> Self {
        self.sample_interval = sample_interval;
        self
    }

    /// Returns `index1`; empty where it is not set, as in Analytics Engine.
    #[must_use]
    pub fn index(&self) -> &[u8] {
        self.point.indexes.first().map(Bytes::as_ref).unwrap_or_default()
    }

    /// Returns `blobN`, counted from 1; empty where it is not set.
    ///
    /// A number beyond 20, and 0, read as empty, too.
    #[must_use]
    pub fn blob(&self, number: usize) -> &[u8] {
        self.point.blobs.get(number.wrapping_sub(1)).map(Bytes::as_ref).unwrap_or_default()
    }

    /// Returns `doubleN`, counted from 1; 0 where it is not set.
    #[must_use]
    pub fn double(&self, number: usize) -> f64 {
        self.point.doubles.get(number.wrapping_sub(1)).copied().unwrap_or_default()
    }
}
