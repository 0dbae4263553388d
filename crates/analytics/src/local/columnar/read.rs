//! Reading a columnar segment: what is selected by time and index, and nothing else where statistics show it.
//!
//! Rows are sorted by index and time, and the file has the least and greatest of both for each page of 8,192 rows. Row groups and
//! then pages whose bounds cannot have a wanted row are not read; of the others only the columns that are asked for. Every block
//! that is read is compared with its checksum in the manifest before it is decoded.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMillisecondType;
use arrow_array::{Array, ArrayRef, BinaryArray, RecordBatch, RecordBatchOptions};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowSelection,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::PageIndexPolicy;

use super::file::CheckedFile;
use super::layout::{self, StoredColumn};
use crate::limits;
use crate::local::manifest::Entry;
use crate::local::snapshot::ColumnarSegment;

/// Most rows of a batch.
const BATCH_ROWS: usize = 8 * 1024;
/// Size in bytes that the texts of a batch have at most twice: where rows are long, it has less of them.
const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// The rows and columns that are wanted. The bounds are hints: other rows may come, too.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selection {
    /// The columns of the batches, without repetition, in this order.
    pub(crate) columns: Vec<StoredColumn>,
    /// Only rows at or after this time, in milliseconds.
    pub(crate) from: Option<i64>,
    /// Only rows before this time, in milliseconds.
    pub(crate) until: Option<i64>,
    /// Only rows with one of these indexes.
    pub(crate) indexes: Option<BTreeSet<Bytes>>,
    /// Whether text stays text, as it is in the file; else it comes as binary.
    pub(crate) keeps_text: bool,
}

/// The reason for which a segment cannot be read on.
///
/// The difference decides what happens to the segment: damage sets it aside, and the read goes on; an error of the system ends the read, and the
/// next one may succeed.
#[derive(Debug)]
pub(crate) enum Fault {
    /// Its content is damaged.
    Damaged(String),
    /// Its object is missing in the archive.
    Missing,
    /// The system cannot read it now.
    Io(std::io::Error),
}

impl From<ParquetError> for Fault {
    fn from(error: ParquetError) -> Self {
        match error {
            ParquetError::External(source) => match source.downcast::<std::io::Error>() {
                Ok(error) => Self::from(*error),
                Err(source) => Self::Damaged(source.to_string()),
            },
            error => Self::Damaged(error.to_string()),
        }
    }
}

impl From<ArrowError> for Fault {
    fn from(error: ArrowError) -> Self {
        match error {
            ArrowError::IoError(_, error) => Self::from(error),
            ArrowError::ExternalError(source) => match source.downcast::<ParquetError>() {
                Ok(error) => Self::from(*error),
                Err(source) => Self::Damaged(source.to_string()),
            },
            error => Self::Damaged(error.to_string()),
        }
    }
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof => Self::Damaged(error.to_string()),
            std::io::ErrorKind::NotFound => Self::Missing,
            _ => Self::Io(error),
        }
    }
}

/// The selected rows of one segment, in batches.
pub(crate) struct Columnar {
    reader: ParquetRecordBatchReader,
    schema: SchemaRef,
    /// Position of each wanted column among those that the reader yields.
    order: Vec<usize>,
    /// The source, which knows the errors that the decoder does not hand over as they were.
    file: CheckedFile,
}

impl Columnar {
    /// Opens a segment; `None` where no row of it is selected. Where the manifest shows that, nothing is read.
    pub(crate) fn open(segment: &ColumnarSegment, selection: &Selection) -> Result<Option<Self>, Fault> {
        if !may_have_index(&segment.entry, selection) {
            return Ok(None);
        }
        let file = checked(segment)?;
        let opened = Self::read(&file, selection);
        opened.map_err(|fault| file.take_failure().map_or(fault, Fault::from))
    }

    fn read(file: &CheckedFile, selection: &Selection) -> Result<Option<Self>, Fault> {
        let options =
            ArrowReaderOptions::new().with_skip_arrow_metadata(true).with_page_index_policy(PageIndexPolicy::Required);
        let metadata = ArrowReaderMetadata::load(file, options)?;
        let names = metadata.schema().fields().iter().map(|field| field.name().as_str());
        if !names.eq(StoredColumn::all().map(StoredColumn::name).collect::<Vec<_>>().iter().map(String::as_str)) {
            return Err(Fault::Damaged("the segment has other columns".to_owned()));
        }
        let pruning = Pruning { metadata: &metadata, selection };
        let Some(Selected { groups, ranges, rows }) = pruning.selected()? else { return Ok(None) };
        let batch_rows = pruning.batch_rows(&groups);
        let mut positions: Vec<usize> = selection.columns.iter().map(|column| column.position()).collect();
        file.plan(|| pruning.bytes(&groups, &ranges, &positions), positions.len());
        let fields = positions.iter().map(|position| field(metadata.schema().field(*position), selection));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let mask = ProjectionMask::leaves(metadata.parquet_schema(), positions.iter().copied());
        let wanted = positions.clone();
        positions.sort_unstable();
        let place =
            |position: &usize| positions.binary_search(position).expect("the sorted list has the same elements");
        let order = wanted.iter().map(place).collect();
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file.clone(), metadata);
        let builder = builder.with_projection(mask).with_batch_size(batch_rows).with_row_groups(groups);
        let reader = builder.with_row_selection(rows).build()?;
        Ok(Some(Self { reader, schema, order, file: file.clone() }))
    }
}

impl Iterator for Columnar {
    type Item = Result<RecordBatch, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = match self.reader.next()? {
            Ok(batch) => batch,
            Err(error) => return Some(Err(self.file.take_failure().map_or_else(|| error.into(), Fault::from))),
        };
        let columns = self.order.iter().zip(self.schema.fields());
        let columns = columns.map(|(position, field)| converted(batch.column(*position), field.data_type())).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Some(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options).map_err(Fault::from))
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

/// The field in which a column is delivered.
fn field(stored: &Field, selection: &Selection) -> Field {
    match stored.data_type() {
        DataType::Utf8 if !selection.keeps_text => stored.clone().with_data_type(DataType::Binary),
        _ => stored.clone(),
    }
}

/// Converts text to binary, without a copy, where that is wanted.
fn converted(array: &ArrayRef, wanted: &DataType) -> ArrayRef {
    match (array.data_type(), wanted) {
        (DataType::Utf8, DataType::Binary) => Arc::new(BinaryArray::from(array.as_string::<i32>().clone())),
        _ => Arc::clone(array),
    }
}

/// The rows that may be selected.
struct Selected {
    groups: Vec<usize>,
    /// For each of the groups, the ranges of its rows.
    ranges: Vec<Vec<Range<usize>>>,
    /// The same, of the rows of these groups together.
    rows: RowSelection,
}

/// The choice of row groups and pages by their statistics.
struct Pruning<'a> {
    metadata: &'a ArrowReaderMetadata,
    selection: &'a Selection,
}

impl Pruning<'_> {
    /// Returns the row groups that may have selected rows, and which of their rows; `None` where there are none.
    fn selected(&self) -> Result<Option<Selected>, Fault> {
        let all: Vec<usize> = (0..self.metadata.metadata().num_row_groups()).collect();
        let rows_of = |group: usize| self.metadata.metadata().row_group(group).num_rows() as usize;
        let by_time = self.ranges(StoredColumn::Timestamp, &all)?;
        let by_index = self.ranges(StoredColumn::Index, &all)?;
        let mut groups = Vec::new();
        let mut ranges = Vec::new();
        let mut consecutive = Vec::new();
        let mut base = 0;
        for group in all {
            let both = intersection(&by_time[group], &by_index[group]);
            if both.is_empty() {
                continue;
            }
            groups.push(group);
            consecutive.extend(both.iter().map(|range| base + range.start..base + range.end));
            ranges.push(both);
            base += rows_of(group);
        }
        if groups.is_empty() {
            return Ok(None);
        }
        let rows = RowSelection::from_consecutive_ranges(consecutive.into_iter(), base);
        Ok(Some(Selected { groups, ranges, rows }))
    }

    /// Returns where in the file the pages of these columns are that have these ranges of the groups' rows, and their dictionaries.
    fn bytes(&self, groups: &[usize], ranges: &[Vec<Range<usize>>], columns: &[usize]) -> Vec<Range<u64>> {
        let metadata = self.metadata.metadata();
        let mut bytes = Vec::new();
        for (group, ranges) in groups.iter().zip(ranges) {
            for column in columns {
                let (start, length) = metadata.row_group(*group).column(*column).byte_range();
                let index = metadata.page_index().and_then(|index| index.offset_index(*group, *column));
                let Some(index) = index else {
                    bytes.push(start..start + length);
                    continue;
                };
                let pages = index.page_locations();
                let first = pages.first().map_or(start, |page| page.offset as u64);
                // Before the first page is the dictionary, which is in front of the column.
                let mut of_column = start..first;
                for (number, page) in pages.iter().enumerate() {
                    let rows = page.first_row_index as usize;
                    let end = pages.get(number + 1).map_or(usize::MAX, |next| next.first_row_index as usize);
                    if !ranges.iter().any(|range| range.start < end && rows < range.end) {
                        continue;
                    }
                    let at = page.offset as u64;
                    if at > of_column.end {
                        bytes.push(std::mem::replace(&mut of_column, at..at));
                    }
                    of_column.end = at + page.compressed_page_size as u64;
                }
                bytes.push(of_column);
            }
        }
        bytes.retain(|range| !range.is_empty());
        bytes
    }

    /// Returns the number of rows of a batch: less where a page has more than its share of texts, which may all be of few rows.
    fn batch_rows(&self, groups: &[usize]) -> usize {
        let is_text = |column: &&StoredColumn| matches!(column, StoredColumn::Index | StoredColumn::Blob(_));
        let greatest = |column: &StoredColumn| {
            let pages = groups.iter().map(|group| self.greatest_page(*group, *column).unwrap_or(u64::MAX));
            pages.max().unwrap_or(0)
        };
        let bytes = self.selection.columns.iter().filter(is_text).map(greatest).fold(0, u64::saturating_add);
        if bytes <= BATCH_BYTES as u64 { BATCH_ROWS } else { BATCH_BYTES / (limits::INDEX_BYTES + limits::BLOB_BYTES) }
    }

    /// Returns the size in bytes of a column's texts in the page of a row group that has the most; `None` where it is not known.
    fn greatest_page(&self, group: usize, column: StoredColumn) -> Option<u64> {
        let index = self.metadata.metadata().page_index()?.offset_index(group, column.position())?;
        index.unencoded_byte_array_data_bytes()?.iter().map(|bytes| u64::try_from(*bytes).unwrap_or(u64::MAX)).max()
    }

    /// Returns, for each row group, the ranges of rows in whose pages this column may have selected values.
    ///
    /// Neighbouring pages become one range.
    fn ranges(&self, column: StoredColumn, groups: &[usize]) -> Result<Vec<Vec<Range<usize>>>, Fault> {
        let metadata = self.metadata.metadata();
        let whole = |group: usize| 0..metadata.row_group(group).num_rows() as usize;
        let is_bounded = match column {
            StoredColumn::Timestamp => self.selection.from.is_some() || self.selection.until.is_some(),
            _ => self.selection.indexes.is_some(),
        };
        if !is_bounded {
            return Ok(groups.iter().map(|group| vec![whole(*group)]).collect());
        }
        let pages = metadata.page_index();
        let pages = pages.ok_or_else(|| Fault::Damaged("the segment has no page index".to_owned()))?;
        let converter =
            StatisticsConverter::try_new(&column.name(), self.metadata.schema(), self.metadata.parquet_schema())?;
        let mut ranges = Vec::with_capacity(groups.len());
        for group in groups {
            let index = pages.offset_index(*group, column.position());
            let index = index.ok_or_else(|| Fault::Damaged("a column has no page index".to_owned()))?;
            let starts: Vec<usize> = index.page_locations().iter().map(|page| page.first_row_index as usize).collect();
            let least = converter.data_page_mins(pages.as_ref(), [group])?;
            let greatest = converter.data_page_maxes(pages.as_ref(), [group])?;
            let mut selected: Vec<Range<usize>> = Vec::new();
            for (page, start) in starts.iter().enumerate() {
                if !self.may_have(column, &least, &greatest, page) {
                    continue;
                }
                let end = starts.get(page + 1).copied().unwrap_or(whole(*group).end);
                match selected.last_mut().filter(|last| last.end == *start) {
                    Some(last) => last.end = end,
                    None => selected.push(*start..end),
                }
            }
            ranges.push(selected);
        }
        Ok(ranges)
    }

    /// Whether a page may have selected values, by its least and greatest ones. It may where they are not known.
    fn may_have(&self, column: StoredColumn, least: &ArrayRef, greatest: &ArrayRef, page: usize) -> bool {
        if page >= least.len() || page >= greatest.len() || least.is_null(page) || greatest.is_null(page) {
            return true;
        }
        let Selection { from, until, indexes, .. } = self.selection;
        if column == StoredColumn::Timestamp {
            let time =
                |array: &ArrayRef| array.as_primitive_opt::<TimestampMillisecondType>().map(|times| times.value(page));
            let (Some(least), Some(greatest)) = (time(least), time(greatest)) else { return true };
            return from.is_none_or(|from| from <= greatest) && until.is_none_or(|until| least < until);
        }
        let (Some(least), Some(greatest)) = (bytes(least, page), bytes(greatest, page)) else { return true };
        // The greatest may be cut off and rounded up, the least cut off: both are still bounds.
        indexes.as_ref().is_none_or(|indexes| {
            indexes
                .range::<[u8], _>((std::ops::Bound::Included(least), std::ops::Bound::Included(greatest)))
                .next()
                .is_some()
        })
    }
}

/// Returns a value of a column of texts.
pub(super) fn bytes(array: &ArrayRef, at: usize) -> Option<&[u8]> {
    match array.data_type() {
        DataType::Utf8 => array.as_string_opt::<i32>().map(|texts| texts.value(at).as_bytes()),
        DataType::Binary => array.as_binary_opt::<i32>().map(|texts| texts.value(at)),
        _ => None,
    }
}

/// Returns what is in both of these lists of ascending ranges.
fn intersection(left: &[Range<usize>], right: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut both = Vec::new();
    for left in left {
        for right in right {
            let range = left.start.max(right.start)..left.end.min(right.end);
            if !range.is_empty() {
                both.push(range);
            }
        }
    }
    both
}

impl Selection {
    /// Selects all rows, with all columns as they are in the file.
    pub(crate) fn everything() -> Self {
        Self { columns: StoredColumn::all().collect(), keeps_text: true, ..Self::default() }
    }
}

/// Returns the schema in which a file with these types is written again.
pub(crate) fn schema_of(batch: &RecordBatch) -> SchemaRef {
    let is_text = |column: StoredColumn| *batch.column(column.position()).data_type() == DataType::Utf8;
    layout::schema(is_text)
}
