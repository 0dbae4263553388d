//! Points that are compacted: what reads back, by event and by column, and what is left unread.

use std::collections::BTreeSet;
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, TimestampSecondType};
use chrono::{DateTime, TimeDelta, Utc};
use isobar_analytics::local::{CompactionOptions, ExportFormat, LocalOptions, LocalSink};
use isobar_analytics::query::{Column, LocalDatasets, ScanRequest, ScanSource};
use isobar_analytics::{Damage, DataPoint, EventSink, EventSinkExt, ScanOptions};

use crate::point;

/// A sink whose clock says each of these times once, in milliseconds.
pub(crate) fn sink_at(folder: &Path, options: LocalOptions, times: impl IntoIterator<Item = i64>) -> LocalSink {
    let times = std::sync::Mutex::new(times.into_iter().collect::<Vec<_>>().into_iter());
    let next = move || DateTime::from_timestamp_millis(times.lock().unwrap().next().unwrap()).unwrap();
    LocalSink::open_with(folder, options.with_clock(next)).unwrap()
}

pub(crate) fn numbers(events: &[isobar_analytics::Event]) -> Vec<usize> {
    events.iter().map(|event| event.double(1) as usize).collect()
}

pub(crate) fn files(folder: &Path, extension: &str) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.ends_with(extension)).collect();
    names.sort();
    names
}

#[tokio::test]
async fn compacted_points_read_back_with_every_value() {
    let folder = tempfile::tempdir().unwrap();
    let points = [
        DataPoint::new(),
        DataPoint {
            indexes: vec![vec![0_u8, 255].into()],
            blobs: vec!["".into(), "é".into()],
            doubles: vec![-0.5, f64::MAX],
        },
        DataPoint { blobs: vec![vec![b'b'; 800].into(); 20], doubles: vec![1.0; 20], ..DataPoint::new() },
        DataPoint::new().with_index("i".repeat(96)).with_double(-0.0).with_double(f64::INFINITY),
        DataPoint::new().with_index("z").with_blob(vec![0xE2_u8]).with_blob("x"),
    ];
    let sink = sink_at(folder.path(), LocalOptions::default(), [-5, 7, 9, 11, 13]);
    points.iter().for_each(|point| sink.write(point.clone()));
    sink.write(DataPoint::new().with_blob("x".repeat(16 * 1024 + 1))); // invalid
    let report = sink.compact(CompactionOptions::default()).await.unwrap();
    assert_eq!((report.points, report.log_segments, report.columnar_segments, report.open_segments), (5, 1, 1, 0));
    assert_eq!((files(folder.path(), ".seg").len(), files(folder.path(), ".parquet").len()), (0, 1));
    let events = sink.scan(ScanOptions::default()).await.unwrap().events;
    assert_eq!(events.iter().map(|event| event.timestamp.timestamp_millis()).collect::<Vec<_>>(), [-5, 7, 9, 11, 13]);
    for (event, point) in events.iter().zip(&points) {
        for number in 1..=20 {
            let expected = point.blobs.get(number - 1).map(bytes::Bytes::as_ref).unwrap_or_default();
            assert_eq!(event.blob(number), expected, "blob{number}");
            let expected = point.doubles.get(number - 1).copied().unwrap_or_default();
            assert_eq!(event.double(number).to_bits(), expected.to_bits(), "double{number}");
        }
        assert_eq!(event.index(), point.indexes.first().map(bytes::Bytes::as_ref).unwrap_or_default());
    }
}

#[tokio::test]
async fn nan_is_kept_and_found() {
    let folder = tempfile::tempdir().unwrap();
    let sink = LocalSink::open(folder.path()).unwrap();
    [f64::NAN, 1.0, -f64::NAN, f64::NEG_INFINITY]
        .into_iter()
        .for_each(|double| sink.write(DataPoint::new().with_double(double)));
    sink.compact(CompactionOptions::default()).await.unwrap();
    let events = sink.scan(ScanOptions::default()).await.unwrap().events;
    let shown: Vec<_> = events.iter().map(|event| event.double(1).to_string()).collect();
    assert_eq!(shown, ["NaN", "1", "NaN", "-inf"]);
}

#[tokio::test]
async fn limits_and_bounds_hold_over_both_tiers() {
    let folder = tempfile::tempdir().unwrap();
    let sink = sink_at(folder.path(), LocalOptions::default(), (0..60).map(|second| second * 1000));
    for round in 0..3 {
        (0..20).for_each(|number| sink.write(point(round * 20 + number)));
        if round < 2 {
            sink.compact(CompactionOptions::default()).await.unwrap();
        }
    }
    sink.flush().await.unwrap();
    for limit in [0, 1, 20, 21, 40, 45, 60, 100] {
        let newest = sink.scan(ScanOptions::default().with_limit(limit)).await.unwrap().events;
        assert_eq!(numbers(&newest), (60_usize.saturating_sub(limit)..60).collect::<Vec<_>>(), "{limit}");
    }
    let at = |second| DateTime::<Utc>::UNIX_EPOCH + TimeDelta::seconds(second);
    let between = ScanOptions::default().with_from(at(15)).with_until(at(45));
    assert_eq!(numbers(&sink.scan(between.clone()).await.unwrap().events), (15..45).collect::<Vec<_>>());
    assert_eq!(numbers(&sink.scan(between.with_limit(3)).await.unwrap().events), [42, 43, 44]);
}

#[tokio::test]
async fn limit_selects_the_newest_points_also_where_they_were_imported() {
    let folder = tempfile::tempdir().unwrap();
    let newer = sink_at(&folder.path().join("newer"), LocalOptions::default(), (10..20).map(|second| second * 1000));
    (10..20).for_each(|number| newer.write(point(number)));
    let file = folder.path().join("newer.parquet");
    newer.flush().await.unwrap();
    newer.export(ScanOptions::default(), ExportFormat::Parquet, &file).await.unwrap();
    let sink = sink_at(&folder.path().join("d"), LocalOptions::default(), (0..15).map(|second| second * 1000 + 500));
    (100..115).for_each(|number| sink.write(point(number)));
    sink.flush().await.unwrap();
    sink.import(&file).await.unwrap();
    // The newest of the log are between those that were imported.
    let expected =
        [15, 16, 17, 18, 19].into_iter().rev().chain((10..15).rev().flat_map(|number| [number + 100, number]));
    let expected: Vec<usize> = expected.chain((100..110).rev()).collect();
    for limit in [0, 1, 5, 6, 10, 15, 16, 25, 30] {
        let mut newest = numbers(&sink.scan(ScanOptions::default().with_limit(limit)).await.unwrap().events);
        newest.reverse();
        assert_eq!(newest, expected[..limit.min(25)], "{limit}");
    }
}

/// Seconds, index, double1.
type Row = (i64, String, f64);

/// The rows of a request, with the damage and the segments read and left out.
fn rows(source: &LocalDatasets, request: &ScanRequest) -> (Vec<Row>, Damage, (u64, u64)) {
    let mut rows = Vec::new();
    let mut damage = Damage::default();
    let mut segments = (0, 0);
    for scanned in source.scan(request).unwrap() {
        let scanned = scanned.unwrap();
        damage.merge(scanned.damage);
        segments.0 += scanned.segments_read;
        segments.1 += scanned.segments_pruned;
        let batch = &scanned.batch;
        assert!(batch.num_rows() <= 20_000);
        for row in 0..batch.num_rows() {
            let time = batch.column(2).as_primitive::<TimestampSecondType>().value(row);
            let index = String::from_utf8(batch.column(0).as_binary::<i32>().value(row).to_vec()).unwrap();
            assert_eq!(batch.column(1).as_binary::<i32>().value(row), request.dataset.as_bytes());
            rows.push((time, index, batch.column(3).as_primitive::<Float64Type>().value(row)));
        }
    }
    rows.sort_by(|a, b| a.partial_cmp(b).unwrap());
    (rows, damage, segments)
}

fn request() -> ScanRequest {
    ScanRequest::new("d", [Column::Index, Column::Dataset, Column::Timestamp, Column::Double(1)])
}

#[tokio::test]
async fn scans_by_column_read_both_tiers_and_leave_out_what_statistics_show() {
    let folder = tempfile::tempdir().unwrap();
    const POINTS: i64 = 60_000;
    let sink = sink_at(&folder.path().join("d"), LocalOptions::default(), (0..2 * POINTS + 1).map(|at| at * 500 - 1));
    let write = |number: i64| {
        sink.write(DataPoint::new().with_index(format!("tenant-{:03}", number % 100)).with_double(number as f64));
    };
    (0..POINTS).for_each(write);
    sink.compact(CompactionOptions::default()).await.unwrap();
    (POINTS..2 * POINTS).for_each(write);
    sink.compact(CompactionOptions::default()).await.unwrap();
    write(2 * POINTS);
    sink.flush().await.unwrap();
    for source in [
        LocalDatasets::open(folder.path()).with_sink("d", sink.clone()),
        LocalDatasets::open(folder.path()), // as another process sees it
    ] {
        let (all, damage, segments) = rows(&source, &request());
        assert_eq!((all.len() as i64, damage, segments), (2 * POINTS + 1, Damage::default(), (3, 0)));
        let seconds = |number: i64| (number * 500 - 1).div_euclid(1000);
        assert!(all.iter().all(|(time, index, double)| {
            let number = *double as i64;
            (*time, index.as_str()) == (seconds(number), format!("tenant-{:03}", number % 100).as_str())
        }));
        // One index and an hour of it.
        let selective = request().with_indexes(["tenant-042".into()]).with_from(3600).with_until(7200);
        let (some, _, segments) = rows(&source, &selective);
        let wanted = |(time, index, _): &&Row| index == "tenant-042" && (3600..7200).contains(time);
        let expected: BTreeSet<i64> = all.iter().filter(wanted).map(|(_, _, double)| *double as i64).collect();
        let found: BTreeSet<i64> = some.iter().filter(wanted).map(|(_, _, double)| *double as i64).collect();
        assert_eq!((found, expected.len()), (expected, 72));
        assert!(some.len() <= 2 * 8 * 1024 + 1, "pages without the index are not read: {}", some.len());
        assert!(segments.1 >= 1, "the other segment is not read: {segments:?}");
        // Beyond all of them.
        let (none, _, segments) = rows(&source, &request().with_from(1 << 40));
        assert_eq!((none.len(), segments.1), (0, 2));
        let (none, ..) = rows(&source, &request().with_indexes(["a".into(), "tenant-0420".into()]));
        assert!(none.len() <= 2 * 8 * 1024, "one page at most of each segment: {}", none.len());
        // A count needs no column.
        let counted: usize =
            source.scan(&ScanRequest::new("d", [])).unwrap().map(|scanned| scanned.unwrap().batch.num_rows()).sum();
        assert_eq!(counted as i64, 2 * POINTS + 1);
    }
}

#[tokio::test]
async fn batches_of_long_rows_are_small_in_either_tier() {
    let folder = tempfile::tempdir().unwrap();
    let options = LocalOptions::default().with_buffer_bytes(64 << 20);
    let sink = LocalSink::open_with(folder.path().join("d"), options).unwrap();
    // The same text in each row, which a dictionary has once; and short ones behind.
    let long = vec![b'x'; 16 * 1024];
    for number in 0..1500 {
        sink.write(DataPoint::new().with_index("long").with_blob(long.clone()).with_double(f64::from(number)));
    }
    (0..20_000).for_each(|_| sink.write(DataPoint::new().with_index("short").with_blob("x")));
    let source = LocalDatasets::open(folder.path()).with_sink("d", sink.clone());
    for is_compacted in [false, true] {
        if is_compacted {
            sink.compact(CompactionOptions::default()).await.unwrap();
        } else {
            sink.flush().await.unwrap();
        }
        let mut rows = 0;
        for scanned in source.scan(&ScanRequest::new("d", [Column::Blob(1)])).unwrap() {
            let batch = scanned.unwrap().batch;
            let bytes = batch.column(0).as_binary::<i32>().value_data().len();
            assert!(bytes <= 20 << 20, "{bytes} bytes in {} rows, {is_compacted}", batch.num_rows());
            rows += batch.num_rows();
        }
        assert_eq!(rows, 21_500);
    }
    // A column without texts comes in whole batches.
    let most = source
        .scan(&ScanRequest::new("d", [Column::Double(1)]))
        .unwrap()
        .map(|scanned| scanned.unwrap().batch.num_rows());
    assert_eq!(most.max(), Some(8192));
}
