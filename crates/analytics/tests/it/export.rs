//! Exported files, and taking them in again.

use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, TimestampMillisecondArray, UInt32Array};
use isobar_analytics::local::{CompactionOptions, ExportFormat, LocalOptions, LocalSink};
use isobar_analytics::{DataPoint, ErrorKind, EventSink, EventSinkExt, ScanOptions};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::columnar::sink_at;

/// A dataset with points in both tiers, one of whose blobs is not text.
async fn dataset(folder: &Path) -> LocalSink {
    let sink = sink_at(folder, LocalOptions::default(), (0..4).map(|second| second * 1000 + 7));
    sink.write(DataPoint::new().with_index("b").with_blob("x,\"y\"\n").with_double(0.5));
    sink.write(DataPoint::new().with_index("a").with_blob("é").with_blob(vec![0xFF_u8]).with_double(f64::NAN));
    sink.compact(CompactionOptions::default()).await.unwrap();
    sink.write(DataPoint::new().with_index("c"));
    sink.write(DataPoint::new().with_index("d").with_double(-3.0));
    sink.flush().await.unwrap();
    sink
}

#[tokio::test]
async fn exported_parquet_is_imported_with_times_and_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let sink = dataset(&folder.path().join("from")).await;
    let file = folder.path().join("all.parquet");
    let report = sink.export(ScanOptions::default(), ExportFormat::Parquet, &file).await.unwrap();
    assert_eq!((report.points, report.damage.is_none()), (4, true));
    let other = LocalSink::open(folder.path().join("to")).unwrap();
    assert_eq!(other.import(&file).await.unwrap(), 4);
    let shown = async |sink: &LocalSink| {
        let events = sink.scan(ScanOptions::default()).await.unwrap().events;
        let values =
            |event: &isobar_analytics::Event| (event.index().to_vec(), event.blob(1).to_vec(), event.blob(2).to_vec());
        let shown = events.iter().map(|event| (event.timestamp, values(event), event.double(1).to_bits()));
        shown.collect::<Vec<_>>()
    };
    assert_eq!(shown(&other).await, shown(&sink).await);
    let exists = sink.export(ScanOptions::default(), ExportFormat::Parquet, &file).await.unwrap_err();
    assert_eq!((exists.operation(), exists.kind()), ("export", ErrorKind::Unsupported));
}

#[tokio::test]
async fn export_has_the_points_that_a_read_with_its_options_returns() {
    let folder = tempfile::tempdir().unwrap();
    let sink = dataset(&folder.path().join("d")).await;
    let at = |milliseconds| chrono::DateTime::from_timestamp_millis(milliseconds).unwrap();
    for (number, (options, points)) in [
        (ScanOptions::default(), 4),
        (ScanOptions::default().with_from(at(7)).with_until(at(1007)), 1),
        (ScanOptions::default().with_from(at(8)).with_until(at(3007)), 2),
        (ScanOptions::default().with_limit(3), 3),
        (ScanOptions::default().with_until(at(2000)).with_limit(1), 1),
    ]
    .into_iter()
    .enumerate()
    {
        let file = folder.path().join(format!("{number}.parquet"));
        let report = sink.export(options.clone(), ExportFormat::Parquet, &file).await.unwrap();
        let other = LocalSink::open(folder.path().join(number.to_string())).unwrap();
        other.import(&file).await.unwrap();
        let found = other.scan(ScanOptions::default()).await.unwrap().events;
        let expected = sink.scan(options).await.unwrap().events;
        let times = |events: &[isobar_analytics::Event]| events.iter().map(|event| event.timestamp).collect::<Vec<_>>();
        assert_eq!((times(&found), report.points, found.len()), (times(&expected), points, points as usize));
    }
}

#[tokio::test]
async fn failed_export_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let sink = dataset(&folder.path().join("d")).await;
    std::fs::write(folder.path().join("d/manifest.jsonl"), "").unwrap();
    let out = folder.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let error = sink.export(ScanOptions::default(), ExportFormat::Csv, out.join("all.csv")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 0);
}

#[tokio::test]
async fn invalid_rows_are_refused_and_nothing_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let sink = dataset(&folder.path().join("from")).await;
    let file = folder.path().join("all.parquet");
    sink.export(ScanOptions::default(), ExportFormat::Parquet, &file).await.unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(&file).unwrap()).unwrap();
    let batch = reader.build().unwrap().next().unwrap().unwrap();
    let with_column = |position: usize, column: ArrayRef, file: &Path| {
        let mut columns = batch.columns().to_vec();
        columns[position] = column;
        let changed = RecordBatch::try_new(batch.schema(), columns).unwrap();
        let mut writer = ArrowWriter::try_new(std::fs::File::create(file).unwrap(), batch.schema(), None).unwrap();
        writer.write(&changed).unwrap();
        writer.close().unwrap();
    };
    let empty = folder.path().join("empty.parquet");
    with_column(1, Arc::new(UInt32Array::from(vec![1, 1, 0, 1])), &empty);
    let late = folder.path().join("late.parquet");
    let times = TimestampMillisecondArray::from(vec![0, i64::MAX, 0, 0]).with_timezone("UTC");
    with_column(0, Arc::new(times), &late);
    let other = LocalSink::open(folder.path().join("to")).unwrap();
    for (file, problem) in [(empty, "row 3: _sample_interval is 0"), (late, "row 2: timestamp 9223372036854775807 ms")]
    {
        let error = other.import(&file).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.message().contains(problem), "{error}");
    }
    assert!(other.scan(ScanOptions::default()).await.unwrap().events.is_empty());
    assert!(crate::columnar::files(&folder.path().join("to"), ".parquet").is_empty());

    let sampled = folder.path().join("sampled.parquet");
    with_column(1, Arc::new(UInt32Array::from(vec![1, 1, 10, 1])), &sampled);
    assert_eq!(other.import(&sampled).await.unwrap(), 4);
    let events = other.scan(ScanOptions::default()).await.unwrap().events;
    assert_eq!(events.iter().map(|event| event.sample_interval).sum::<u32>(), 13);
}

#[tokio::test]
async fn exported_csv_is_quoted_and_bounded_by_time() {
    let folder = tempfile::tempdir().unwrap();
    let sink = dataset(&folder.path().join("d")).await;
    let file = folder.path().join("some.csv");
    let until = chrono::DateTime::from_timestamp_millis(3000).unwrap();
    let report = sink.export(ScanOptions::default().with_until(until), ExportFormat::Csv, &file).await.unwrap();
    let csv = std::fs::read_to_string(&file).unwrap();
    assert_eq!((report.points, csv.matches("\r\n").count()), (3, 4));
    assert!(csv.starts_with("timestamp,_sample_interval,index1,blob1,"), "{csv}");
    assert!(csv.contains("1970-01-01T00:00:00.007Z,1,b,\"x,\"\"y\"\"\n\",,"), "{csv}");
    assert!(csv.contains("1970-01-01T00:00:01.007Z,1,a,é,\u{FFFD},") && csv.contains(",NaN,0,"), "{csv}");
}

#[tokio::test]
async fn file_that_is_no_export_is_refused_and_nothing_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let sink = LocalSink::open(folder.path().join("d")).unwrap();
    let file = folder.path().join("text");
    std::fs::write(&file, "not Parquet").unwrap();
    let error = sink.import(&file).await.unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::Unsupported, "import"));
    assert!(sink.import(folder.path().join("none")).await.unwrap_err().to_string().contains("none"));
    assert!(sink.scan(ScanOptions::default()).await.unwrap().events.is_empty());
    assert!("xml".parse::<ExportFormat>().unwrap_err().to_string().contains("use parquet, csv or arrow"));
}
