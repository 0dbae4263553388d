//! Choosing the rows of a columnar segment by its statistics.

use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMillisecondType;
use arrow_array::{Array, ArrayRef, PrimitiveArray};
use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::basic::Encoding;

use super::fault::Fault;
use super::layout::{StoredColumn, bytes};
use super::selection::Selection;
use crate::limits;

/// Most rows of a batch.
const BATCH_ROWS: usize = 8 * 1024;
/// Size in bytes that the texts of a batch have at most twice: where rows are long, it has less of them.
const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// A row group that may have selected rows.
#[derive(Debug)]
pub(super) struct Group {
    /// Number in the file.
    pub(super) number: usize,
    /// The number of the first of its rows in the file.
    pub(super) first_row: u64,
    /// Number of its rows.
    pub(super) rows: usize,
    /// The ranges of its rows in pages that may have selected ones.
    pub(super) ranges: Vec<Range<usize>>,
    /// Whether its statistics show that all of its rows are within the bounds.
    pub(super) is_within_bounds: bool,
}

impl Group {
    /// Whether all of its rows may be selected.
    pub(super) fn is_whole(&self) -> bool {
        matches!(&self.ranges[..], [range] if *range == (0..self.rows))
    }
}

/// The choice of row groups and pages by their statistics.
pub(super) struct Pruning<'a> {
    pub(super) metadata: &'a ArrowReaderMetadata,
    pub(super) selection: &'a Selection,
}

impl Pruning<'_> {
    /// Returns the row groups that may have selected rows, and which of their rows.
    pub(super) fn selected(&self) -> Result<Vec<Group>, Fault> {
        let all: Vec<usize> = (0..self.metadata.metadata().num_row_groups()).collect();
        let by_time = self.ranges(StoredColumn::Timestamp, &all)?;
        let by_index = self.ranges(StoredColumn::Index, &all)?;
        let times_within = self.times_within()?;
        let mut groups = Vec::new();
        let mut first_row = 0;
        for number in all {
            let rows = self.metadata.metadata().row_group(number).num_rows() as usize;
            let ranges = intersection(&by_time[number], &by_index[number]);
            if !ranges.is_empty() {
                let is_within_bounds = times_within[number] && self.is_index_within(number);
                groups.push(Group { number, first_row, rows, ranges, is_within_bounds });
            }
            first_row += rows as u64;
        }
        Ok(groups)
    }

    /// Returns, for each row group, whether all of its times are selected.
    fn times_within(&self) -> Result<Vec<bool>, Fault> {
        let groups = self.metadata.metadata().row_groups();
        let Selection { from, until, .. } = self.selection;
        if from.is_none() && until.is_none() {
            return Ok(vec![true; groups.len()]);
        }
        let name = StoredColumn::Timestamp.name();
        let converter = StatisticsConverter::try_new(&name, self.metadata.schema(), self.metadata.parquet_schema())?;
        let least = converter.row_group_mins(groups)?;
        let greatest = converter.row_group_maxes(groups)?;
        let (Some(least), Some(greatest)) = (times(&least), times(&greatest)) else {
            return Ok(vec![false; groups.len()]);
        };
        let is_within = |group: usize| {
            let is_known = !least.is_null(group) && !greatest.is_null(group);
            is_known
                && from.is_none_or(|from| from <= least.value(group))
                && until.is_none_or(|until| greatest.value(group) < until)
        };
        Ok((0..groups.len()).map(is_within).collect())
    }

    /// Whether all rows of a row group have one index, which is selected.
    fn is_index_within(&self, group: usize) -> bool {
        let Some(indexes) = &self.selection.indexes else { return true };
        let column = self.metadata.metadata().row_group(group).column(StoredColumn::Index.position());
        let Some(statistics) = column.statistics() else { return false };
        let is_exact = statistics.min_is_exact() && statistics.max_is_exact();
        let bounds = [statistics.min_bytes_opt(), statistics.max_bytes_opt()];
        is_exact && bounds[0] == bounds[1] && bounds[0].is_some_and(|index| indexes.contains(index))
    }

    /// Whether all texts of a column of these row groups are encoded by the groups' dictionaries.
    pub(super) fn is_dictionary(&self, groups: &[Group], column: usize) -> bool {
        groups.iter().all(|group| {
            let column = self.metadata.metadata().row_group(group.number).column(column);
            let encodings = column.page_encoding_stats_mask();
            column.dictionary_page_offset().is_some()
                && encodings.is_some_and(|encodings| encodings.is_only(Encoding::RLE_DICTIONARY))
        })
    }

    /// Returns where in the file the pages of these columns are that have these ranges of the groups' rows, and their dictionaries.
    pub(super) fn bytes(&self, groups: &[Group], columns: &[usize]) -> Vec<Range<u64>> {
        let metadata = self.metadata.metadata();
        let mut bytes = Vec::new();
        for Group { number: group, ranges, .. } in groups {
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
    pub(super) fn batch_rows(&self, groups: &[Group]) -> usize {
        let is_text = |column: &&StoredColumn| matches!(column, StoredColumn::Index | StoredColumn::Blob(_));
        let greatest = |column: &StoredColumn| {
            let pages = groups.iter().map(|group| self.greatest_page(group.number, *column).unwrap_or(u64::MAX));
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
            let time = |array: &ArrayRef| times(array).map(|times| times.value(page));
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

fn times(array: &ArrayRef) -> Option<&PrimitiveArray<TimestampMillisecondType>> {
    array.as_primitive_opt::<TimestampMillisecondType>()
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
