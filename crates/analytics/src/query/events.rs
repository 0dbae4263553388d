//! Record batches out of events.

use std::sync::Arc;

use arrow_array::builder::BinaryBuilder;
use arrow_array::{
    ArrayRef, BinaryArray, Float64Array, RecordBatch, RecordBatchOptions, TimestampSecondArray, UInt32Array,
};

use super::{Column, ScanRequest, schema};
use crate::{Error, ErrorKind, Event, Result};

/// Returns the columns of a request for these events, all of which are delivered.
pub(super) fn record_batch(request: &ScanRequest, events: &[&Event]) -> Result<RecordBatch> {
    let columns = request.columns.iter().map(|column| array(&request.dataset, *column, events)).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(events.len()));
    RecordBatch::try_new_with_options(schema(request.columns.iter().copied()), columns, &options)
        .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()).with_source(error).during("scan"))
}

fn array(dataset: &str, column: Column, events: &[&Event]) -> ArrayRef {
    match column {
        Column::Dataset => Arc::new(BinaryArray::from_iter_values(events.iter().map(|_| dataset))),
        Column::Timestamp => {
            Arc::new(TimestampSecondArray::from_iter_values(events.iter().map(|event| event.timestamp.timestamp())))
        }
        Column::SampleInterval => {
            Arc::new(UInt32Array::from_iter_values(events.iter().map(|event| event.sample_interval)))
        }
        Column::Index => Arc::new(texts(events, Event::index)),
        Column::Blob(number) => Arc::new(texts(events, |event| event.blob(number.into()))),
        Column::Double(number) => {
            Arc::new(Float64Array::from_iter_values(events.iter().map(|event| event.double(number.into()))))
        }
    }
}

fn texts<'e>(events: &[&'e Event], text: impl Fn(&'e Event) -> &'e [u8]) -> BinaryArray {
    let bytes = events.iter().map(|event| text(event).len()).sum();
    let mut texts = BinaryBuilder::with_capacity(events.len(), bytes);
    events.iter().for_each(|event| texts.append_value(text(event)));
    texts.finish()
}

/// Returns the error of a dataset that does not exist.
pub(super) fn unknown_dataset(name: &str, known: &[String]) -> Error {
    let known = if known.is_empty() { "there are none".to_owned() } else { format!("there are: {}", known.join(", ")) };
    Error::new(ErrorKind::Query, format!("there is no dataset {name}; {known}")).during("scan")
}
