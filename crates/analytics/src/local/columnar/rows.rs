//! Events as columns, in memory; and events out of columns.
//!
//! A dataset has 20 blobs and 20 doubles, most of which most datasets never use: a column exists from the first event on that has
//! it, and is filled up with empty values where an event has none. Indexes are few and repeat, so rows have their numbers.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, TimestampMillisecondType, UInt32Type};
use arrow_array::{
    ArrayRef, BinaryArray, Float64Array, RecordBatch, StringArray, TimestampMillisecondArray, UInt32Array,
};
use arrow_schema::{ArrowError, DataType, SchemaRef};
use bytes::Bytes;
use chrono::DateTime;

use super::layout::{StoredColumn, schema};
use crate::local::frame::Stamp;
use crate::{DataPoint, Event, PointRef, limits};

/// Size in bytes of the values that are sorted in memory at once, whatever the size of the log segments.
const MOST_BYTES: usize = 256 * 1024 * 1024;

/// Events in the order in which they were written, as columns. Columns that no event has are not kept.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    timestamps: Vec<i64>,
    /// Empty as long as each event stands for itself alone.
    intervals: Vec<u32>,
    /// Position of each row's index among the distinct ones.
    indexes: Vec<u32>,
    distinct: HashMap<Bytes, u32>,
    blobs: Vec<Texts>,
    doubles: Vec<Vec<f64>>,
    /// Size in bytes of the texts and of the distinct indexes.
    text_bytes: usize,
}

/// The texts of one column.
#[derive(Debug, Default)]
struct Texts {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl Texts {
    fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len() as u32);
    }

    fn get(&self, row: usize) -> &[u8] {
        let start = if row == 0 { 0 } else { self.ends[row - 1] as usize };
        &self.bytes[start..self.ends[row] as usize]
    }

    /// Fills up with empty texts.
    fn pad(&mut self, rows: usize) {
        self.ends.resize(rows, self.bytes.len() as u32);
    }
}

impl Rows {
    pub(crate) fn push(&mut self, stamp: Stamp, point: &PointRef<'_>) {
        let rows = self.len();
        if stamp.sample_interval != 1 || !self.intervals.is_empty() {
            self.intervals.resize(rows, 1);
            self.intervals.push(stamp.sample_interval);
        }
        self.text_bytes += point.blobs.iter().map(|blob| blob.len()).sum::<usize>();
        self.timestamps.push(stamp.milliseconds);
        let index = point.index.unwrap_or_default();
        let next = self.distinct.len() as u32;
        let number = match self.distinct.get(index) {
            Some(number) => *number,
            None => {
                self.text_bytes += size_of::<(Bytes, u32)>() + index.len();
                *self.distinct.entry(Bytes::copy_from_slice(index)).or_insert(next)
            }
        };
        self.indexes.push(number);
        self.blobs.resize_with(self.blobs.len().max(point.blobs.len()), Texts::default);
        for (texts, blob) in self.blobs.iter_mut().zip(point.blobs) {
            texts.pad(rows);
            texts.push(blob);
        }
        self.doubles.resize_with(self.doubles.len().max(point.doubles.len()), Vec::new);
        for (numbers, double) in self.doubles.iter_mut().zip(point.doubles) {
            numbers.resize(rows, 0.0);
            numbers.push(*double);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.timestamps.len()
    }

    /// Whether there are as many values as are to be sorted at once.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes() >= MOST_BYTES
    }

    /// Size in bytes. In a column that one event has, each takes its place.
    fn bytes(&self) -> usize {
        let row = size_of::<i64>() + size_of::<u32>() * (1 + self.blobs.len()) + size_of::<f64>() * self.doubles.len();
        self.text_bytes + self.len() * row + size_of_val(self.intervals.as_slice())
    }

    /// Ends the collection, and sorts by index and time. Events of one index and millisecond keep their order.
    ///
    /// Sorts row numbers and not rows: distinct indexes are ranked once, so that a comparison is of three integers.
    pub(crate) fn into_sorted(mut self) -> SortedRows {
        let rows = self.len();
        self.blobs.iter_mut().for_each(|texts| texts.pad(rows));
        self.doubles.iter_mut().for_each(|numbers| numbers.resize(rows, 0.0));
        let mut distinct: Vec<(Bytes, u32)> = std::mem::take(&mut self.distinct).into_iter().collect();
        distinct.sort_unstable();
        let mut ranks = vec![0_u32; distinct.len()];
        for (rank, (_, number)) in distinct.iter().enumerate() {
            ranks[*number as usize] = rank as u32;
        }
        self.indexes.iter_mut().for_each(|number| *number = ranks[*number as usize]);
        let mut order: Vec<u32> = (0..rows as u32).collect();
        order.sort_unstable_by_key(|row| {
            let at = *row as usize;
            (self.indexes[at], self.timestamps[at], *row)
        });
        let distinct = distinct.into_iter().map(|(index, _)| index).collect::<Vec<_>>();
        let is_text = |bytes: &[u8]| std::str::from_utf8(bytes).is_ok();
        let schema = schema(|column| match column {
            StoredColumn::Index => distinct.iter().all(|index| is_text(index)),
            // Checked value by value: two halves of a character are not text.
            StoredColumn::Blob(number) => {
                self.blobs.get(number - 1).is_none_or(|texts| (0..rows).all(|row| is_text(texts.get(row))))
            }
            _ => false,
        });
        SortedRows { rows: self, distinct, order, schema }
    }
}

/// Rows by index and time.
#[derive(Debug)]
pub(crate) struct SortedRows {
    rows: Rows,
    /// The distinct indexes, sorted.
    distinct: Vec<Bytes>,
    order: Vec<u32>,
    schema: SchemaRef,
}

impl SortedRows {
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    /// Returns a range of the sorted rows as a batch.
    pub(crate) fn batch(&self, range: Range<usize>) -> Result<RecordBatch, ArrowError> {
        let rows = &self.order[range];
        let columns = StoredColumn::all().map(|column| self.array(column, rows)).collect::<Result<_, _>>()?;
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
    }

    fn array(&self, column: StoredColumn, rows: &[u32]) -> Result<ArrayRef, ArrowError> {
        let at = |row: &u32| *row as usize;
        let is_text = *self.schema.field(column.position()).data_type() == DataType::Utf8;
        Ok(match column {
            StoredColumn::Timestamp => {
                let times =
                    TimestampMillisecondArray::from_iter_values(rows.iter().map(|row| self.rows.timestamps[at(row)]));
                Arc::new(times.with_timezone("UTC"))
            }
            StoredColumn::SampleInterval if self.rows.intervals.is_empty() => {
                Arc::new(UInt32Array::from_value(1, rows.len()))
            }
            StoredColumn::SampleInterval => {
                Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| self.rows.intervals[at(row)])))
            }
            StoredColumn::Index => {
                let index = |row: &u32| self.distinct[self.rows.indexes[at(row)] as usize].as_ref();
                texts(rows.iter().map(index), is_text)?
            }
            StoredColumn::Blob(number) => match self.rows.blobs.get(number - 1) {
                Some(column) => texts(rows.iter().map(|row| column.get(at(row))), is_text)?,
                None => texts(rows.iter().map(|_| &b""[..]), is_text)?,
            },
            StoredColumn::Double(number) => match self.rows.doubles.get(number - 1) {
                Some(column) => Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| column[at(row)]))),
                None => Arc::new(Float64Array::from_value(0.0, rows.len())),
            },
        })
    }
}

/// Makes an array of texts or of bytes.
fn texts<'t>(values: impl Iterator<Item = &'t [u8]>, is_text: bool) -> Result<ArrayRef, ArrowError> {
    let binary = BinaryArray::from_iter_values(values);
    Ok(if is_text { Arc::new(StringArray::try_from_binary(binary)?) } else { Arc::new(binary) })
}

/// Returns the events of a batch with all columns, in its order. What is not set is not told from what is empty.
pub(crate) fn events(batch: &RecordBatch) -> Vec<Event> {
    let timestamps = batch.column(StoredColumn::Timestamp.position()).as_primitive::<TimestampMillisecondType>();
    let intervals = batch.column(StoredColumn::SampleInterval.position()).as_primitive::<UInt32Type>();
    let index = batch.column(StoredColumn::Index.position()).as_binary::<i32>();
    let blobs: Vec<_> = (1..=limits::BLOBS)
        .map(|number| batch.column(StoredColumn::Blob(number).position()).as_binary::<i32>())
        .collect();
    let doubles: Vec<_> = (1..=limits::DOUBLES)
        .map(|number| batch.column(StoredColumn::Double(number).position()).as_primitive::<Float64Type>())
        .collect();
    let event = |row: usize| {
        let indexes = Some(index.value(row)).filter(|index| !index.is_empty()).map(Bytes::copy_from_slice);
        let used = blobs.iter().rposition(|blob| !blob.value(row).is_empty()).map_or(0, |last| last + 1);
        let blobs = blobs[..used].iter().map(|blob| Bytes::copy_from_slice(blob.value(row))).collect();
        let used = doubles.iter().rposition(|double| double.value(row).to_bits() != 0).map_or(0, |last| last + 1);
        let doubles = doubles[..used].iter().map(|double| double.value(row)).collect();
        let timestamp = DateTime::from_timestamp_millis(timestamps.value(row)).unwrap_or_default();
        let point = DataPoint { indexes: indexes.into_iter().collect(), blobs, doubles };
        Event::new(timestamp, point).with_sample_interval(intervals.value(row))
    };
    (0..batch.num_rows()).map(event).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_that_one_event_has_count_for_all() {
        let mut rows = Rows::default();
        let narrow = PointRef::new(None, &[], &[]);
        rows.push(Stamp::at(0), &PointRef::new(None, &[&b"a"[..]; limits::BLOBS], &[1.0; limits::DOUBLES]));
        (0..999).for_each(|number| rows.push(Stamp::at(number), &narrow));
        let counted = rows.bytes();
        rows.push(Stamp::at(999), &PointRef::new(None, &[&b"a"[..]; limits::BLOBS], &[1.0; limits::DOUBLES]));
        let held: usize = rows.blobs.iter().map(|texts| texts.bytes.len() + 4 * texts.ends.len()).sum::<usize>()
            + rows.doubles.iter().map(|numbers| 8 * numbers.len()).sum::<usize>();
        assert!(held > 200 * 1000 && counted >= held - 1000, "{counted} counted, {held} held");
    }
}
