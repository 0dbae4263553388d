//! Queries over a dataset that is read in parts, with dictionaries and without what its statistics show.

use isobar_analytics::local::{CompactionOptions, LocalOptions};
use isobar_analytics::query::{
    Analytics, Column, Format, LocalDatasets, Query, QueryOptions, RecordBatches, ScanRequest, ScanSource,
};
use isobar_analytics::{DataPoint, ErrorKind, EventSink, Result};

use crate::columnar::sink_at;

/// Points of one segment: more than are read in one part.
const POINTS: i64 = 70_000;

/// A source that is read in one part, row by row: no dictionaries, and nothing about bounds.
#[derive(Debug)]
struct Plain(LocalDatasets);

impl ScanSource for Plain {
    fn datasets(&self) -> Result<Vec<String>> {
        self.0.datasets()
    }

    fn scan(&self, request: &ScanRequest) -> Result<RecordBatches> {
        let mut request = request.clone();
        request.bound_columns.clear();
        request.allows_dictionaries = false;
        let batches = self.0.scan(&request)?;
        Ok(Box::new(batches.map(|scanned| {
            let mut scanned = scanned?;
            scanned.is_within_bounds = false;
            Ok(scanned)
        })))
    }
}

/// Two segments, and a few points in the log: a second apart from 1970-01-02 on.
async fn written(folder: &std::path::Path) {
    let times = (0..2 * POINTS + 10).map(|number| (86_400 + number) * 1000);
    let options = LocalOptions::default().with_buffer_bytes(64 << 20);
    let sink = sink_at(&folder.join("d"), options, times);
    for number in 0..2 * POINTS + 10 {
        let point = DataPoint::new()
            .with_index(format!("tenant-{:02}", number % 20))
            .with_blob(format!("route-{}", number * 7919 % 31))
            .with_blob(if number % 3 == 0 { "" } else { "b" })
            .with_blob(format!("{number}"));
        sink.write(point.with_double((number % 1000) as f64).with_double(number as f64));
        if number + 1 == POINTS || number + 1 == 2 * POINTS {
            sink.compact(CompactionOptions::default()).await.unwrap();
        }
    }
    sink.flush().await.unwrap();
}

/// The text of an answer, of which the rows are in no order that is promised, and yet in the same one.
fn answered(source: impl ScanSource + 'static, sql: &str) -> String {
    let answer = Analytics::new(source).run(&Query::new(sql)).unwrap();
    String::from_utf8(answer.to_bytes(Format::TabSeparated)).unwrap()
}

#[tokio::test]
async fn parts_and_dictionaries_answer_as_one_plain_scan_does() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path()).await;
    let source = LocalDatasets::open(folder.path());
    let parts = source.scan_parts(&ScanRequest::new("d", [Column::Blob(1)]), 4).unwrap();
    let rows = parts.into_iter().map(|part| part.map(|scanned| scanned.unwrap().batch.num_rows() as i64).sum::<i64>());
    assert_eq!(rows.collect::<Vec<_>>(), [POINTS, POINTS + 10]);
    for sql in [
        "SELECT count(), sum(double1), avg(double2), min(blob1), max(blob3), sum(_sample_interval) FROM d",
        "SELECT blob1, count(), sum(double2), first_value(blob3), last_value(blob3) FROM d GROUP BY blob1",
        "SELECT blob1, blob2, index1, count() FROM d GROUP BY blob1, blob2, index1",
        "SELECT blob2, argMin(blob3, double1), argMax(blob1, double2), min(double2), max(timestamp) FROM d GROUP BY blob2",
        "SELECT index1, quantileExactWeighted(0.9)(double1, _sample_interval), topK(3)(blob1) FROM d GROUP BY index1",
        "SELECT 'one' AS k, count(DISTINCT blob1), countIf(blob2 = '') FROM d GROUP BY k",
        "SELECT 'one' AS k, count() FROM d GROUP BY k",
        "SELECT upper(blob1) AS k, toStartOfHour(timestamp) AS h, count() FROM d WHERE blob2 LIKE 'b%' GROUP BY k, h",
        "SELECT blob3, count() FROM d GROUP BY blob3 HAVING blob3 LIKE '%9999'",
        "SELECT blob1, blob3 FROM d WHERE blob1 IN ('route-3', 'route-4') AND double1 > 990 ORDER BY blob1, blob3",
        "SELECT blob1, length(blob3) FROM d WHERE substring(blob3, 1, 3) = '777' LIMIT 7",
        "SELECT if(blob2 = 'b', blob1, blob2) AS x, count() FROM d GROUP BY x",
    ] {
        assert_eq!(answered(source.clone(), sql), answered(Plain(source.clone()), sql), "{sql}");
    }
}

#[tokio::test]
async fn bounds_of_all_of_some_or_of_no_rows_select_the_same() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path()).await;
    let source = LocalDatasets::open(folder.path());
    let first = "1970-01-02 00:00:00";
    let middle = "1970-01-02 05:00:00";
    for (condition, count) in [
        (format!("timestamp >= toDateTime('{first}')"), 2 * POINTS + 10),
        (format!("timestamp > toDateTime('{first}')"), 2 * POINTS + 9),
        (format!("timestamp < toDateTime('{first}')"), 0),
        (format!("timestamp <= toDateTime('{first}')"), 1),
        (format!("timestamp = toDateTime('{middle}')"), 1),
        (format!("timestamp != toDateTime('{middle}')"), 2 * POINTS + 9),
        (format!("toDateTime('{middle}') > timestamp"), 5 * 3600),
        (format!("timestamp >= toDateTime('{middle}') AND blob2 = ''"), (2 * POINTS + 10 - 5 * 3600 + 2) / 3),
        (format!("timestamp >= toDateTime('{middle}') AND toHour(timestamp) < 24"), 2 * POINTS + 10 - 5 * 3600),
        ("timestamp >= toDateTime(0) AND index1 IN ('tenant-03', 'tenant-04')".to_owned(), (2 * POINTS + 10) / 10 + 1),
        ("index1 = 'tenant-03' AND index1 = 'tenant-04'".to_owned(), 0),
    ] {
        let sql = format!("SELECT count(), max(blob3) FROM d WHERE {condition}");
        let answer = answered(source.clone(), &sql);
        assert_eq!(answer, answered(Plain(source.clone()), &sql), "{sql}");
        assert_eq!(answer.split('\t').next(), Some(count.to_string().as_str()), "{sql}");
    }
    // Of a segment that is within the bounds, the columns that they need are not read.
    let mut request = ScanRequest::new("d", [Column::Timestamp, Column::Blob(1)]).with_from(86_400 + POINTS);
    request.bound_columns = vec![Column::Timestamp];
    let scanned = source.scan(&request).unwrap().map(|scanned| scanned.unwrap());
    let within: Vec<_> = scanned.filter(|scanned| scanned.is_within_bounds).collect();
    assert!(within.iter().all(|scanned| scanned.batch.num_columns() == 1));
    assert_eq!(within.iter().map(|scanned| scanned.batch.num_rows() as i64).sum::<i64>(), POINTS);
}

#[tokio::test]
async fn groups_that_fit_into_the_memory_once_are_answered_by_one_part() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path()).await;
    let grouped = Query::new("SELECT count() FROM (SELECT blob1, double1, count() FROM d GROUP BY blob1, double1)");
    let run = |bytes: usize| {
        let options = QueryOptions::default().with_memory_bytes(bytes);
        Analytics::new(LocalDatasets::open(folder.path())).with_options(options).run(&grouped)
    };
    // In steps that are less than what two parts take more than one.
    let sizes = std::iter::successors(Some(1 << 20), |bytes| Some(bytes / 4 * 5));
    for bytes in sizes.take(20) {
        match run(bytes) {
            Ok(answer) => {
                assert_eq!((answer.text(0, 0).as_str(), answer.stats().rows_read), ("31000", 2 * POINTS as u64 + 10));
                return;
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::MemoryLimit, "{error}"),
        }
    }
    panic!("no size is enough");
}

#[tokio::test]
async fn failure_of_a_part_is_that_of_the_query() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path()).await;
    let analytics = Analytics::new(LocalDatasets::open(folder.path()));
    // The last point alone has no value: it is in the last part.
    let last = 2 * POINTS + 9;
    let error =
        analytics.run(&Query::new(format!("SELECT sum(intDiv(1, toUInt32(double2) - {last})) FROM d"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Query, "{error}");
    assert!(error.message().contains("division by zero"), "{error}");
}
