//! The fixed columns of a dataset.

use std::fmt;
#[cfg(all(feature = "query", not(target_arch = "wasm32")))]
use std::sync::Arc;

#[cfg(all(feature = "query", not(target_arch = "wasm32")))]
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::limits;

/// A column of a dataset, as Analytics Engine's tables have them. Source: its documentation, "Table structure".
///
/// ```
/// use isobar_analytics::query::Column;
///
/// assert_eq!(Column::from_name("blob3"), Some(Column::Blob(3)));
/// assert_eq!(Column::Blob(3).to_string(), "blob3");
/// assert_eq!(Column::from_name("blob21"), None);
/// assert_eq!(Column::all().count(), 44);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Column {
    /// `dataset`: the dataset's name, in every row. Binary.
    Dataset,
    /// `timestamp`: time at which the point was written. Seconds since 1970, without a zone; fractions are cut off.
    Timestamp,
    /// `_sample_interval`: how many points the row stands for; 1 where nothing is sampled. 32 bits, unsigned.
    SampleInterval,
    /// `index1`: the index. Binary; empty where it is not set.
    Index,
    /// `blob1` to `blob20`, by number. Binary; empty where it is not set.
    Blob(u8),
    /// `double1` to `double20`, by number. 64-bit floats; 0 where it is not set.
    Double(u8),
}

impl Column {
    /// Returns all columns in the order of `SELECT *`.
    ///
    /// ```
    /// use isobar_analytics::query::Column;
    ///
    /// let names: Vec<String> = Column::all().take(5).map(|column| column.to_string()).collect();
    /// assert_eq!(names, ["dataset", "timestamp", "_sample_interval", "index1", "blob1"]);
    /// ```
    pub fn all() -> impl Iterator<Item = Self> {
        let fixed = [Self::Dataset, Self::Timestamp, Self::SampleInterval, Self::Index];
        let blobs = (1..=limits::BLOBS as u8).map(Self::Blob);
        let doubles = (1..=limits::DOUBLES as u8).map(Self::Double);
        fixed.into_iter().chain(blobs).chain(doubles)
    }

    /// Returns the column of this name, in which case matters.
    ///
    /// A number has no leading zero: `blob01` is not a column.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let number = |prefix: &str, most: usize| {
            let digits = name.strip_prefix(prefix).filter(|digits| !digits.starts_with(['0', '+']))?;
            digits.parse::<u8>().ok().filter(|number| usize::from(*number) <= most)
        };
        match name {
            "dataset" => Some(Self::Dataset),
            "timestamp" => Some(Self::Timestamp),
            "_sample_interval" => Some(Self::SampleInterval),
            "index1" => Some(Self::Index),
            _ => number("blob", limits::BLOBS)
                .map(Self::Blob)
                .or_else(|| number("double", limits::DOUBLES).map(Self::Double)),
        }
    }
}

#[cfg(all(feature = "query", not(target_arch = "wasm32")))]
impl Column {
    /// Returns the arrow type in which a [`ScanSource`](super::ScanSource) delivers the column.
    ///
    /// | column | type |
    /// |---|---|
    /// | `dataset`, `index1`, `blobN` | `Binary` |
    /// | `timestamp` | `Timestamp(Second, None)` |
    /// | `_sample_interval` | `UInt32` |
    /// | `doubleN` | `Float64` |
    #[must_use]
    pub fn data_type(self) -> DataType {
        match self {
            Self::Dataset | Self::Index | Self::Blob(_) => DataType::Binary,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Second, None),
            Self::SampleInterval => DataType::UInt32,
            Self::Double(_) => DataType::Float64,
        }
    }

    /// Returns the arrow field: the name, the type, never null.
    ///
    /// ```
    /// use arrow_schema::DataType;
    /// use isobar_analytics::query::Column;
    ///
    /// let field = Column::Double(3).field();
    /// assert_eq!((field.name().as_str(), field.data_type(), field.is_nullable()), ("double3", &DataType::Float64, false));
    /// ```
    #[must_use]
    pub fn field(self) -> Field {
        Field::new(self.to_string(), self.data_type(), false)
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dataset => f.write_str("dataset"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::SampleInterval => f.write_str("_sample_interval"),
            Self::Index => f.write_str("index1"),
            Self::Blob(number) => write!(f, "blob{number}"),
            Self::Double(number) => write!(f, "double{number}"),
        }
    }
}

/// Returns the schema of a batch of these columns; of all of them, in order: `schema(Column::all())`.
///
/// No column is nullable. Texts are binary, as blobs may be any bytes; a request may also allow dictionaries of them
/// ([`ScanRequest::allows_dictionaries`](super::ScanRequest::allows_dictionaries)). An array of another type is an error.
///
/// ```
/// use isobar_analytics::query::{Column, schema};
///
/// let schema = schema([Column::Timestamp, Column::Double(1)]);
/// assert_eq!(schema.field(1).name(), "double1");
/// ```
#[cfg(all(feature = "query", not(target_arch = "wasm32")))]
pub fn schema(columns: impl IntoIterator<Item = Column>) -> SchemaRef {
    Arc::new(Schema::new(columns.into_iter().map(Column::field).collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_is_found_by_its_name() {
        for column in Column::all() {
            assert_eq!(Column::from_name(&column.to_string()), Some(column));
        }
        for name in ["", "blob", "blob0", "blob01", "blob+1", "double21", "Blob1", "index2"] {
            assert_eq!(Column::from_name(name), None, "{name}");
        }
    }
}
