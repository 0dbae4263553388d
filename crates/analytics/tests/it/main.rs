//! The conformance kit on every sink, and tests of single sinks.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod archive;
mod clickhouse;
mod columnar;
mod damage;
mod export;
mod layers;
mod maintenance;
mod query;
mod sampling;
mod sql_api;
mod typed;

use std::sync::Arc;

use isobar_analytics::local::{LocalOptions, LocalSink};
use isobar_analytics::memory::MemorySink;
use isobar_analytics::mock::MockSink;
use isobar_analytics::{DataPoint, Error, ErrorKind, EventSink, EventSinkExt, ScanOptions, conformance};

fn point(number: usize) -> DataPoint {
    DataPoint::new().with_index(number.to_string()).with_double(number as f64)
}

#[tokio::test]
async fn memory_conforms() {
    conformance::run(async || Arc::new(MemorySink::new()) as _, true).await.assert_green();
}

#[tokio::test]
async fn local_conforms() {
    let folders = tempfile::tempdir().unwrap();
    let mut count = 0;
    let sink = async || {
        count += 1;
        Arc::new(LocalSink::open(folders.path().join(count.to_string())).unwrap()) as _
    };
    conformance::run(sink, true).await.assert_green();
}

#[tokio::test]
async fn a_mock_without_a_script_conforms() {
    conformance::run(async || Arc::new(MockSink::new(MemorySink::new())) as _, true).await.assert_green();
}

#[tokio::test]
async fn scripted_write_failure_is_counted_and_not_returned() {
    let sink = MockSink::new(MemorySink::new());
    sink.script().fail_next("write", Error::new(ErrorKind::Unavailable, "no"));
    sink.write(point(1));
    sink.write(point(2));
    assert_eq!((sink.script().count("write"), sink.stats().written), (2, 1));
}

#[tokio::test]
async fn flushed_events_survive_reopening_and_rotation() {
    let folder = tempfile::tempdir().unwrap();
    let options = || LocalOptions::default().with_segment_bytes(200);
    for round in 0..3 {
        let sink = LocalSink::open_with(folder.path(), options()).unwrap();
        for number in 0..10 {
            sink.write(point(round * 10 + number));
            sink.flush().await.unwrap();
        }
    }
    assert!(std::fs::read_dir(folder.path()).unwrap().count() > 3);
    let events = LocalSink::open(folder.path()).unwrap().scan(ScanOptions::default()).await.unwrap().events;
    assert_eq!(events.iter().map(|event| event.double(1) as usize).collect::<Vec<_>>(), (0..30).collect::<Vec<_>>());
}

#[tokio::test]
async fn torn_end_loses_only_the_torn_event() {
    let folder = tempfile::tempdir().unwrap();
    let sink = LocalSink::open(folder.path()).unwrap();
    (0..3).for_each(|number| sink.write(point(number)));
    sink.close().await.unwrap();
    let segment = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    let bytes = std::fs::read(&segment).unwrap();
    std::fs::write(&segment, &bytes[..bytes.len() - 3]).unwrap();
    let sink = LocalSink::open(folder.path()).unwrap();
    sink.write(point(9));
    sink.flush().await.unwrap();
    let events = sink.scan(ScanOptions::default()).await.unwrap().events;
    assert_eq!(events.iter().map(|event| event.double(1)).collect::<Vec<_>>(), [0.0, 1.0, 9.0]);
}

#[tokio::test]
async fn dropping_the_last_sink_makes_everything_durable() {
    let folder = tempfile::tempdir().unwrap();
    let sink = LocalSink::open(folder.path()).unwrap();
    (0..1000).for_each(|number| sink.write(point(number)));
    drop(sink);
    let sink = LocalSink::open(folder.path()).unwrap();
    assert_eq!(sink.scan(ScanOptions::default()).await.unwrap().events.len(), 1000);
}

#[tokio::test]
async fn a_full_buffer_drops_counts_and_never_blocks() {
    let folder = tempfile::tempdir().unwrap();
    let sink = LocalSink::open_with(folder.path(), LocalOptions::default().with_buffer(8)).unwrap();
    let start = std::time::Instant::now();
    (0..200_000).for_each(|number| sink.write(point(number)));
    assert!(start.elapsed() < std::time::Duration::from_secs(5));
    sink.flush().await.unwrap();
    let stats = sink.stats();
    assert!(stats.dropped > 0, "{stats:?}");
    assert_eq!((stats.written + stats.dropped, stats.drops.buffer_full), (200_000, stats.dropped));
    assert_eq!(stats.stored, stats.written);
    assert_eq!(sink.scan(ScanOptions::default()).await.unwrap().events.len() as u64, stats.stored);
}

#[tokio::test]
async fn points_have_the_time_of_the_injected_clock() {
    let folder = tempfile::tempdir().unwrap();
    let time = chrono::DateTime::from_timestamp_millis(-1_234).unwrap();
    let sink = LocalSink::open_with(folder.path(), LocalOptions::default().with_clock(move || time)).unwrap();
    sink.write(point(1));
    sink.flush().await.unwrap();
    assert_eq!(sink.scan(ScanOptions::default()).await.unwrap().events[0].timestamp, time);
}

#[tokio::test]
async fn a_complete_batch_is_durable_without_a_flush_and_before_its_time() {
    let folder = tempfile::tempdir().unwrap();
    let hour = std::time::Duration::from_secs(60 * 60);
    let options = LocalOptions::default().with_linger(hour).with_batch(10, usize::MAX);
    let sink = LocalSink::open_with(folder.path(), options).unwrap();
    (0..10).for_each(|number| sink.write(point(number)));
    for _ in 0..500 {
        if sink.stats().stored == 10 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("{:?}", sink.stats());
}

#[tokio::test]
async fn failing_disk_is_reported_by_flush_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = folder.path().join("dataset");
    let sink = LocalSink::open(&dataset).unwrap();
    std::fs::remove_dir(&dataset).unwrap();
    sink.write(point(1));
    tokio::time::sleep(std::time::Duration::from_millis(500)).await; // the background attempt failed
    let error = sink.flush().await.unwrap_err();
    assert!(error.to_string().contains("dataset"), "{error}");
    assert_eq!(error.operation(), "flush");
    assert!(std::error::Error::source(&error).is_some_and(|source| source.is::<std::io::Error>()), "{error:?}");
    assert_eq!((sink.stats().written, sink.stats().stored, sink.stats().drops.failed), (1, 0, 1));
    assert_eq!(sink.health().await.unwrap_err().operation(), "health");
    std::fs::create_dir(&dataset).unwrap();
    sink.health().await.unwrap(); // tries again, without a point
    sink.write(point(2));
    sink.flush().await.unwrap();
    assert_eq!(sink.stats().stored, 1);
}
