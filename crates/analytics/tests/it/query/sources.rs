//! Queries over sources whose parts panic, never end, or are within the bounds.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arrow_array::{ArrayRef, BinaryArray, Float64Array, RecordBatch};
use isobar_analytics::query::{
    Analytics, Answer, Column, Query, QueryOptions, RecordBatches, ScanRequest, ScanSource, Scanned, schema,
};
use isobar_analytics::{ErrorKind, Result};

type Part = fn(&ScanRequest) -> RecordBatches;

/// A source of these parts, which counts how often it is scanned.
#[derive(Debug, Clone)]
struct Parts {
    parts: Vec<Part>,
    scans: Arc<AtomicUsize>,
}

impl Parts {
    fn new(parts: &[Part]) -> Self {
        Self { parts: parts.to_vec(), scans: Arc::default() }
    }

    fn scans(&self) -> usize {
        self.scans.load(Ordering::Relaxed)
    }

    fn run(&self, sql: &str, memory: usize) -> Result<Answer> {
        let options = QueryOptions::default().with_memory_bytes(memory).with_time_limit(Some(Duration::from_secs(20)));
        Analytics::new(self.clone()).with_options(options).run(&Query::new(sql))
    }
}

impl ScanSource for Parts {
    fn datasets(&self) -> Result<Vec<String>> {
        Ok(vec!["d".to_owned()])
    }

    fn scan(&self, request: &ScanRequest) -> Result<RecordBatches> {
        Ok(Box::new(self.scan_parts(request, 1)?.into_iter().flatten()))
    }

    fn scan_parts(&self, request: &ScanRequest, _most: usize) -> Result<Vec<RecordBatches>> {
        self.scans.fetch_add(1, Ordering::Relaxed);
        Ok(self.parts.iter().map(|part| part(request)).collect())
    }
}

/// A batch of these columns: of the index, and of doubles.
fn batch(columns: &[Column], index: &[&str], doubles: &[f64]) -> RecordBatch {
    let array = |column: &Column| -> ArrayRef {
        if *column == Column::Index {
            Arc::new(BinaryArray::from_iter_values(index))
        } else {
            Arc::new(Float64Array::from(doubles.to_vec()))
        }
    };
    RecordBatch::try_new(schema(columns.iter().copied()), columns.iter().map(array).collect()).unwrap()
}

fn hundred(request: &ScanRequest) -> RecordBatches {
    let doubles: Vec<f64> = (0..100).map(f64::from).collect();
    let scanned = Scanned::new(batch(&request.columns, &[], &doubles));
    Box::new(std::iter::once(Ok(scanned)))
}

fn endless(request: &ScanRequest) -> RecordBatches {
    let scanned = Scanned::new(batch(&request.columns, &[], &[1.0, 2.0]));
    Box::new(std::iter::repeat_with(move || Ok(scanned.clone())))
}

fn panicking(_request: &ScanRequest) -> RecordBatches {
    Box::new(std::iter::from_fn(|| -> Option<Result<Scanned>> { panic!("a part of the source panics") }))
}

/// A batch of two indexes, and one that is within the bounds of the request for the first of them.
fn mixed(request: &ScanRequest) -> RecordBatches {
    assert_eq!(request.bound_columns, [Column::Index]);
    let rest: Vec<Column> = request.columns.iter().copied().filter(|at| !request.bound_columns.contains(at)).collect();
    let mut within = Scanned::new(batch(&rest, &["a", "a"], &[3.0, 1.0]));
    within.is_within_bounds = true;
    let scanned = Scanned::new(batch(&request.columns, &["a", "b"], &[2.0, 0.0]));
    Box::new([Ok(scanned), Ok(within)].into_iter())
}

#[test]
fn panic_of_a_part_is_an_error_of_the_query_and_ends_the_other_parts() {
    let both: [[Part; 2]; 2] = [[panicking, endless], [endless, panicking]];
    for parts in both {
        let error = Parts::new(&parts).run("SELECT sum(double1) FROM d", 1 << 20).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal, "{error}");
    }
    // Read on the query's own thread.
    let error = Parts::new(&[panicking]).run("SELECT double1 FROM d", 1 << 20).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal, "{error}");
}

#[test]
fn query_beyond_its_memory_runs_again_only_if_it_was_read_in_parts() {
    let sql = "SELECT double1, count() FROM d GROUP BY double1";
    let one = Parts::new(&[hundred]);
    assert_eq!(one.run(sql, 1024).unwrap_err().kind(), ErrorKind::MemoryLimit);
    assert_eq!(one.scans(), 1);
    let two = Parts::new(&[hundred, hundred]);
    assert_eq!(two.run(sql, 1024).unwrap_err().kind(), ErrorKind::MemoryLimit);
    assert_eq!(two.scans(), 2);
}

#[test]
fn rows_are_sorted_where_only_some_batches_have_the_columns_of_the_bounds() {
    let sql = "SELECT first_value(double1), last_value(double1) FROM d WHERE index1 = 'a' ORDER BY double1";
    let answer = Parts::new(&[mixed]).run(sql, 1 << 20).unwrap();
    assert_eq!([answer.text(0, 0), answer.text(0, 1)], ["1", "3"]);
}
