//! Reading a columnar segment: what is selected by time and index, and nothing else where statistics show it.
//!
//! Rows are sorted by index and time, and the file has the least and greatest of both for each page of 8,192 rows. Row groups and
//! then pages whose bounds cannot have a wanted row are not read; of the others only the columns that are asked for. Every block
//! that is read is compared with its checksum in the manifest before it is decoded.

use std::ops::Range;
use std::sync::Arc;
use std::vec::IntoIter;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt32Type;
use arrow_array::{Array, ArrayRef, BinaryArray, RecordBatch, RecordBatchOptions};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowSelection,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::PageIndexPolicy;

use super::fault::Fault;
use super::file::CheckedFile;
use super::layout::{self, StoredColumn};
use super::prune::{Group, Pruning};
use super::selection::{Selection, TextForm};
use crate::local::manifest::Entry;
use crate::local::snapshot::ColumnarSegment;

/// The selected rows of one segment, in batches, each of one row group.
pub(crate) struct Columnar {
    /// The source, which knows the errors that the decoder does not hand over as they were.
    file: CheckedFile,
    metadata: ArrowReaderMetadata,
    batch_rows: usize,
    /// The remaining row groups.
    groups: IntoIter<Group>,
    all_columns: Projection,
    /// Without those that are needed for the bounds alone.
    within_bounds: Projection,
    /// The reader of the current row group.
    reader: Option<ParquetRecordBatchReader>,
    is_within_bounds: bool,
}

impl Columnar {
    /// Opens a segment; `None` where no row of it is selected. Where the manifest shows that, nothing is read.
    pub(crate) fn open(segment: &ColumnarSegment, selection: &Selection) -> Result<Option<Self>, Fault> {
        Self::open_part(segment, selection, &(0..u64::MAX))
    }

    /// Opens the row groups of a segment that begin in this range of its rows; `None` where no row of the whole segment is selected.
    pub(crate) fn open_part(
        segment: &ColumnarSegment,
        selection: &Selection,
        rows: &Range<u64>,
    ) -> Result<Option<Self>, Fault> {
        if !may_have_index(&segment.entry, selection) {
            return Ok(None);
        }
        let file = checked(segment)?;
        let opened = Self::read(&file, selection, rows);
        opened.map_err(|fault| file.take_failure().map_or(fault, Fault::from))
    }

    fn read(file: &CheckedFile, selection: &Selection, rows: &Range<u64>) -> Result<Option<Self>, Fault> {
        let options =
            ArrowReaderOptions::new().with_skip_arrow_metadata(true).with_page_index_policy(PageIndexPolicy::Required);
        let mut metadata = ArrowReaderMetadata::load(file, options)?;
        let names = metadata.schema().fields().iter().map(|field| field.name().as_str());
        if !names.eq(StoredColumn::all().map(StoredColumn::name).collect::<Vec<_>>().iter().map(String::as_str)) {
            return Err(Fault::Damaged("the segment has other columns".to_owned()));
        }
        let pruning = Pruning { metadata: &metadata, selection };
        let mut groups = pruning.selected()?;
        if groups.is_empty() {
            return Ok(None);
        }
        groups.retain(|group| rows.contains(&group.first_row));
        let batch_rows = pruning.batch_rows(&groups);
        let positions: Vec<usize> = selection.columns.iter().map(|column| column.position()).collect();
        file.plan(|| pruning.bytes(&groups, &positions), positions.len());
        if selection.texts == TextForm::Dictionary {
            let is_dictionary =
                |position: usize| positions.contains(&position) && pruning.is_dictionary(&groups, position);
            let options = ArrowReaderOptions::new().with_schema(with_dictionaries(metadata.schema(), is_dictionary));
            metadata = ArrowReaderMetadata::try_new(Arc::clone(metadata.metadata()), options)?;
        }
        let bounds: Vec<usize> = selection.bound_columns.iter().map(|column| column.position()).collect();
        let rest = positions.iter().copied().filter(|position| !bounds.contains(position)).collect();
        Ok(Some(Self {
            all_columns: Projection::new(&metadata, positions, selection.texts),
            within_bounds: Projection::new(&metadata, rest, selection.texts),
            file: file.clone(),
            metadata,
            batch_rows,
            groups: groups.into_iter(),
            reader: None,
            is_within_bounds: false,
        }))
    }

    /// Whether all rows of the last batch are within the bounds, so that it does not have the columns that those alone need.
    pub(crate) fn is_within_bounds(&self) -> bool {
        self.is_within_bounds
    }

    /// Opens a row group.
    fn open_group(&self, group: Group) -> Result<ParquetRecordBatchReader, ParquetError> {
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(self.file.clone(), self.metadata.clone());
        let mask = self.projection(group.is_within_bounds).mask.clone();
        let mut builder =
            builder.with_projection(mask).with_batch_size(self.batch_rows).with_row_groups(vec![group.number]);
        if !group.is_whole() {
            let rows = RowSelection::from_consecutive_ranges(group.ranges.into_iter(), group.rows);
            builder = builder.with_row_selection(rows);
        }
        builder.build()
    }

    fn projection(&self, is_within_bounds: bool) -> &Projection {
        if is_within_bounds { &self.within_bounds } else { &self.all_columns }
    }

    /// Returns the next batch of the decoder; `None` at the end.
    fn decoded(&mut self) -> Result<Option<RecordBatch>, Fault> {
        loop {
            if let Some(batch) = self.reader.as_mut().and_then(Iterator::next) {
                return Ok(Some(batch?));
            }
            let Some(group) = self.groups.next() else { return Ok(None) };
            self.is_within_bounds = group.is_within_bounds;
            self.reader = Some(self.open_group(group)?);
        }
    }
}

impl Iterator for Columnar {
    type Item = Result<RecordBatch, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.decoded().map_err(|fault| self.file.take_failure().map_or(fault, Fault::from)).transpose()?;
        Some(batch.and_then(|batch| self.projection(self.is_within_bounds).delivered(&batch).map_err(Fault::from)))
    }
}

/// The columns of a batch.
struct Projection {
    /// The columns for the decoder, which yields them in the order of the file.
    mask: ProjectionMask,
    /// Position of each wanted column among those that the decoder yields.
    order: Vec<usize>,
    schema: SchemaRef,
}

impl Projection {
    fn new(metadata: &ArrowReaderMetadata, wanted: Vec<usize>, texts: TextForm) -> Self {
        let fields = wanted.iter().map(|position| field(metadata.schema().field(*position), texts));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let mask = ProjectionMask::leaves(metadata.parquet_schema(), wanted.iter().copied());
        let mut sorted = wanted.clone();
        sorted.sort_unstable();
        let place = |position: &usize| sorted.binary_search(position).expect("the sorted list has the same elements");
        Self { mask, order: wanted.iter().map(place).collect(), schema }
    }

    /// Returns a batch of the decoder in the order and with the types that are wanted.
    fn delivered(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let columns = self.order.iter().zip(self.schema.fields());
        let columns = columns.map(|(position, field)| converted(batch.column(*position), field.data_type())).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
    }
}

/// Returns what a segment is read from.
fn checked(segment: &ColumnarSegment) -> Result<CheckedFile, Fault> {
    let unsummed = || Fault::Damaged("the manifest has no checksums of the segment".to_owned());
    CheckedFile::new(&segment.file, &segment.entry).ok_or_else(unsummed)
}

/// Reads all of a segment, and compares it with its checksums.
pub(crate) fn verify(segment: &ColumnarSegment) -> Result<(), Fault> {
    let file = checked(segment)?;
    file.verify().map_err(|error| file.take_failure().unwrap_or(error).into())
}

/// Whether a segment may have one of the selected indexes, by what the manifest says of it.
fn may_have_index(entry: &Entry, selection: &Selection) -> bool {
    let (Some((least, greatest)), Some(indexes)) = (&entry.indexes, &selection.indexes) else { return true };
    // As the digits of bytes compare as the bytes do.
    indexes.iter().map(hex::encode).any(|index| *least <= index && index <= *greatest)
}

/// The schema of a file in which these of its columns are read as dictionaries.
fn with_dictionaries(schema: &Schema, is_dictionary: impl Fn(usize) -> bool) -> SchemaRef {
    let field = |(position, field): (usize, &Arc<Field>)| match field.data_type() {
        text @ (DataType::Utf8 | DataType::Binary) if is_dictionary(position) => {
            Arc::new(field.as_ref().clone().with_data_type(dictionary(text.clone())))
        }
        _ => Arc::clone(field),
    };
    Arc::new(Schema::new(schema.fields().iter().enumerate().map(field).collect::<Vec<_>>()))
}

fn dictionary(values: DataType) -> DataType {
    DataType::Dictionary(Box::new(DataType::UInt32), Box::new(values))
}

/// The field in which a column is delivered.
fn field(stored: &Field, texts: TextForm) -> Field {
    match stored.data_type() {
        DataType::Utf8 if texts != TextForm::Stored => stored.clone().with_data_type(DataType::Binary),
        DataType::Dictionary(..) => stored.clone().with_data_type(dictionary(DataType::Binary)),
        _ => stored.clone(),
    }
}

/// Converts text to binary, without a copy, where that is wanted.
fn converted(array: &ArrayRef, wanted: &DataType) -> ArrayRef {
    match (array.data_type(), wanted) {
        (DataType::Utf8, DataType::Binary) => Arc::new(BinaryArray::from(array.as_string::<i32>().clone())),
        (DataType::Dictionary(_, values), DataType::Dictionary(..)) if **values == DataType::Utf8 => {
            let dictionary = array.as_dictionary::<UInt32Type>();
            let values = BinaryArray::from(dictionary.values().as_string::<i32>().clone());
            Arc::new(dictionary.with_values(Arc::new(values)))
        }
        _ => Arc::clone(array),
    }
}

/// Returns the schema in which a file with these types is written again.
pub(crate) fn schema_of(batch: &RecordBatch) -> SchemaRef {
    let is_text = |column: StoredColumn| *batch.column(column.position()).data_type() == DataType::Utf8;
    layout::schema(is_text)
}
