//! Queries over datasets in folders.

use isobar_analytics::local::{LocalOptions, LocalSink};
use isobar_analytics::query::{Analytics, LocalDatasets, Query, QueryExecutor, Value};
use isobar_analytics::{DataPoint, ErrorKind, EventSink};

async fn written(folder: &std::path::Path, name: &str, points: u32) -> LocalSink {
    let sink = LocalSink::open_with(folder.join(name), LocalOptions::default().with_segment_bytes(1000)).unwrap();
    for number in 0..points {
        let point = DataPoint::new().with_index(format!("tenant-{}", number % 3)).with_blob("/home");
        sink.write(point.with_double(f64::from(number)));
    }
    sink.flush().await.unwrap();
    sink
}

#[tokio::test]
async fn datasets_of_a_folder_are_queried_with_and_without_their_sink() {
    let folder = tempfile::tempdir().unwrap();
    let sink = written(folder.path(), "visits", 100).await;
    let query = Query::new(
        "SELECT index1, count() AS n, sum(double1) AS s FROM visits WHERE index1 IN ('tenant-1') GROUP BY index1",
    );
    for source in [LocalDatasets::open(folder.path()), LocalDatasets::open(folder.path()).with_sink("visits", sink)] {
        let analytics = Analytics::new(source);
        let answer = analytics.query(&query).await.unwrap();
        assert_eq!((answer.value(0, 1), answer.value(0, 2)), (Value::UInt(33), Value::Float(1617.0)));
        assert_eq!(answer.stats().rows_read, 33, "the index has been looked at before");
        let tables = analytics.query(&"SHOW TABLES".into()).await.unwrap();
        assert_eq!((tables.rows(), tables.text(0, 0)), (1, "visits".to_owned()));
        let recent = Query::new("SELECT count() FROM visits WHERE timestamp > now() - INTERVAL '1' HOUR");
        assert_eq!(analytics.query(&recent).await.unwrap().value(0, 0), Value::UInt(100));
    }
}

#[tokio::test]
async fn datasets_that_are_not_there_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let analytics = Analytics::new(LocalDatasets::open(folder.path().join("none")));
    let error = analytics.query(&"SELECT 1 FROM `../etc`".into()).await.unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::Query, "scan"));
    assert!(error.message().contains("there is no dataset ../etc; there are none"), "{error}");
    assert_eq!(analytics.query(&"SHOW TABLES".into()).await.unwrap().rows(), 0);
}

#[tokio::test]
async fn damage_is_part_of_the_answer() {
    let folder = tempfile::tempdir().unwrap();
    drop(written(folder.path(), "visits", 5).await);
    let segment = std::fs::read_dir(folder.path().join("visits")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[30] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let analytics = Analytics::new(LocalDatasets::open(folder.path()));
    let answer = analytics.query(&"SELECT count() FROM visits".into()).await.unwrap();
    assert_eq!((answer.value(0, 0), answer.stats().damage.stretches), (Value::UInt(4), 1));
}
