//! The columns of a columnar segment.
//!
//! The order, the names and the types are a format that other readers of Parquet rely on: 43 columns, those of Analytics Engine's tables without
//! the dataset's name. Index and blobs have one of two types in a file, text where all of its values are UTF-8, else binary; code that reads
//! takes binary for both.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMillisecondType;
use arrow_array::{Array, ArrayRef, BinaryArray, RecordBatch, StringArray};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::limits;

/// A column of a columnar segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StoredColumn {
    /// Milliseconds since 1970, UTC.
    Timestamp,
    /// Number of points that the row stands for.
    SampleInterval,
    Index,
    /// By number, from 1.
    Blob(usize),
    /// By number, from 1.
    Double(usize),
}

/// Number of columns before the blobs.
const BEFORE_BLOBS: usize = 3;

impl StoredColumn {
    /// Returns all columns in the order of the file.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let blobs = (1..=limits::BLOBS).map(Self::Blob);
        let doubles = (1..=limits::DOUBLES).map(Self::Double);
        [Self::Timestamp, Self::SampleInterval, Self::Index].into_iter().chain(blobs).chain(doubles)
    }

    /// Returns the position in the file.
    pub(crate) fn position(self) -> usize {
        match self {
            Self::Timestamp => 0,
            Self::SampleInterval => 1,
            Self::Index => 2,
            Self::Blob(number) => BEFORE_BLOBS + number - 1,
            Self::Double(number) => BEFORE_BLOBS + limits::BLOBS + number - 1,
        }
    }

    /// Returns the column's name, that of Analytics Engine's SQL.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Timestamp => "timestamp".to_owned(),
            Self::SampleInterval => "_sample_interval".to_owned(),
            Self::Index => "index1".to_owned(),
            Self::Blob(number) => format!("blob{number}"),
            Self::Double(number) => format!("double{number}"),
        }
    }

    fn data_type(self, is_text: bool) -> DataType {
        match self {
            Self::Timestamp => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
            Self::SampleInterval => DataType::UInt32,
            Self::Index | Self::Blob(_) if is_text => DataType::Utf8,
            Self::Index | Self::Blob(_) => DataType::Binary,
            Self::Double(_) => DataType::Float64,
        }
    }
}

/// Returns the schema of a file in which these of its columns are text.
pub(super) fn schema(is_text: impl Fn(StoredColumn) -> bool) -> SchemaRef {
    let field = |column: StoredColumn| Field::new(column.name(), column.data_type(is_text(column)), false);
    Arc::new(Schema::new(StoredColumn::all().map(field).collect::<Vec<_>>()))
}

/// Returns the schema of a file in which these of its columns are text: first the index, then the blobs.
pub(crate) fn file_schema(is_text: &[bool; 1 + limits::BLOBS]) -> SchemaRef {
    schema(|column| match column {
        StoredColumn::Index => is_text[0],
        StoredColumn::Blob(number) => is_text[number],
        _ => false,
    })
}

/// Returns the batch with the types of this schema.
///
/// # Errors
/// Where a column has a type that is not equivalent, or nulls; or binary values are not text.
pub(crate) fn with_schema(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let column = |(array, field): (&ArrayRef, &Arc<Field>)| -> Result<ArrayRef, ArrowError> {
        Ok(match (array.data_type(), field.data_type()) {
            (stored, wanted) if stored == wanted => Arc::clone(array),
            (DataType::Utf8, DataType::Binary) => Arc::new(BinaryArray::from(array.as_string::<i32>().clone())),
            (DataType::Binary, DataType::Utf8) => {
                Arc::new(StringArray::try_from_binary(array.as_binary::<i32>().clone())?)
            }
            (DataType::Timestamp(TimeUnit::Millisecond, _), DataType::Timestamp(TimeUnit::Millisecond, zone)) => {
                Arc::new(array.as_primitive::<TimestampMillisecondType>().clone().with_timezone_opt(zone.clone()))
            }
            (stored, wanted) => {
                let message = format!("the column {} is {stored} and not {wanted}", field.name());
                return Err(ArrowError::SchemaError(message));
            }
        })
    };
    let columns = batch.columns().iter().zip(schema.fields()).map(column).collect::<Result<_, _>>()?;
    RecordBatch::try_new(Arc::clone(schema), columns)
}

/// Returns a value of a column of texts.
pub(super) fn bytes(array: &ArrayRef, at: usize) -> Option<&[u8]> {
    match array.data_type() {
        DataType::Utf8 => array.as_string_opt::<i32>().map(|texts| texts.value(at).as_bytes()),
        DataType::Binary => array.as_binary_opt::<i32>().map(|texts| texts.value(at)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_and_names_are_those_of_the_schema() {
        let schema = schema(|_| true);
        assert_eq!(schema.fields().len(), 43);
        for (position, column) in StoredColumn::all().enumerate() {
            assert_eq!((column.position(), &column.name()), (position, schema.field(position).name()));
        }
    }
}
