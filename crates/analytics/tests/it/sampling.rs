//! Sampling on write, by what reads the rows.

use std::path::Path;
use std::time::Duration;

use chrono::DateTime;
use isobar_analytics::local::{CompactionOptions, ExportFormat, LocalOptions, LocalSink, Sampling};
use isobar_analytics::query::{Analytics, Format, LocalDatasets, Query};
use isobar_analytics::{DataPoint, Event, EventSink, EventSinkExt, PointRef, ScanOptions, conformance};

fn options(sampling: Option<Sampling>) -> LocalOptions {
    let noon = DateTime::from_timestamp(1_795_953_600, 0).unwrap();
    LocalOptions::default().with_sampling(sampling).with_clock(move || noon)
}

fn hourly(points: u32) -> Sampling {
    Sampling::new(points, Duration::from_secs(3600)).with_seed(7)
}

/// Points of a busy and of a quiet index, with 1 or 3 as their double, by turns.
fn write(sink: &LocalSink) {
    for number in 0..20_000 {
        let double = if number % 2 == 0 { 1.0 } else { 3.0 };
        sink.write(DataPoint::new().with_index("busy").with_blob("GET").with_double(double));
    }
    for _ in 0..5 {
        sink.write_ref(&PointRef::new(Some(b"quiet"), &[b"PUT"], &[1.0]));
    }
}

async fn events(sink: &LocalSink) -> Vec<Event> {
    let mut events = sink.scan(ScanOptions::default()).await.unwrap().events;
    // A compaction sorts by index and time, and all of them have one time.
    events.sort_by_key(|event| (event.index().to_vec(), event.sample_interval, event.double(1) as u64));
    events
}

/// The rows, the points, the sum and the mean of the double, by index.
fn answer(folder: &Path) -> String {
    let sql = "SELECT index1, count(), SUM(_sample_interval), SUM(_sample_interval * double1), \
               SUM(_sample_interval * double1) / SUM(_sample_interval) FROM d GROUP BY index1 ORDER BY index1";
    let answer = Analytics::new(LocalDatasets::open(folder)).run(&Query::new(sql)).unwrap();
    String::from_utf8(answer.to_bytes(Format::TabSeparated)).unwrap()
}

#[tokio::test]
async fn sink_that_samples_conforms() {
    let folders = tempfile::tempdir().unwrap();
    let mut count = 0;
    let sink = async || {
        count += 1;
        let options = LocalOptions::default().with_sampling(Some(hourly(10_000)));
        std::sync::Arc::new(LocalSink::open_with(folders.path().join(count.to_string()), options).unwrap()) as _
    };
    conformance::run(sink, true).await.assert_green();
}

#[tokio::test]
async fn stored_points_stand_for_all_of_them_in_both_tiers() {
    let home = tempfile::tempdir().unwrap();
    let sink = LocalSink::open_with(home.path().join("d"), options(Some(hourly(100)))).unwrap();
    write(&sink);
    sink.flush().await.unwrap();
    let stats = sink.stats();
    assert_eq!((stats.written + stats.sampled_out, stats.dropped, stats.invalid), (20_005, 0, 0));
    assert_eq!(stats.stored, stats.written);

    let logged = events(&sink).await;
    let (busy, quiet) = logged.split_at(logged.len() - 5);
    assert!(quiet.iter().all(|event| event.index() == b"quiet" && event.sample_interval == 1), "{quiet:?}");
    // 100, 50 for each of seven doublings, and of the last 7,200 one of 256.
    assert!((478..=479).contains(&busy.len()), "{}", busy.len());
    let points: u32 = busy.iter().map(|event| event.sample_interval).sum();
    assert!(points.abs_diff(20_000) < 256, "{points}");

    let first = answer(home.path());
    let expected = format!("busy\t{}\t{points}\t", busy.len());
    assert!(first.starts_with(&expected) && first.ends_with("quiet\t5\t5\t5\t1\n"), "{first}");

    sink.compact(CompactionOptions::default()).await.unwrap();
    assert_eq!(events(&sink).await, logged);
    assert_eq!(answer(home.path()), first);

    let file = home.path().join("all.parquet");
    sink.export(ScanOptions::default(), ExportFormat::Parquet, &file).await.unwrap();
    let other = tempfile::tempdir().unwrap();
    let copy = LocalSink::open(other.path().join("d")).unwrap();
    copy.import(&file).await.unwrap();
    assert_eq!(events(&copy).await, logged);
    assert_eq!(answer(other.path()), first);
}

/// One seed may be off; the mean of 40 has a standard deviation of about 0.6 % of the sum.
#[tokio::test]
async fn sums_of_weighted_values_are_unbiased() {
    const SEEDS: u64 = 40;
    let home = tempfile::tempdir().unwrap();
    let mut sum = 0.0;
    for seed in 0..SEEDS {
        let sink = LocalSink::open_with(home.path().join(seed.to_string()), options(Some(hourly(100).with_seed(seed))));
        let sink = sink.unwrap();
        write(&sink);
        sink.flush().await.unwrap();
        let busy = events(&sink).await.into_iter().filter(|event| event.index() == b"busy");
        sum += busy.map(|event| f64::from(event.sample_interval) * event.double(1)).sum::<f64>();
    }
    let mean = sum / SEEDS as f64;
    assert!((mean - 40_000.0).abs() < 1_200.0, "{mean}");
}

#[tokio::test]
async fn every_point_is_stored_without_the_option() {
    let home = tempfile::tempdir().unwrap();
    let sink = LocalSink::open_with(home.path().join("d"), options(None)).unwrap();
    write(&sink);
    sink.flush().await.unwrap();
    assert_eq!((sink.stats().stored, sink.stats().sampled_out), (20_005, 0));
    assert!(events(&sink).await.iter().all(|event| event.sample_interval == 1));
}

#[tokio::test]
async fn points_for_a_closed_sink_are_dropped_and_not_sampled_out() {
    let home = tempfile::tempdir().unwrap();
    let sink = LocalSink::open_with(home.path(), options(Some(hourly(10)))).unwrap();
    (0..15).for_each(|_| sink.write(DataPoint::new()));
    let before = sink.stats().sampled_out;
    sink.close().await.unwrap();
    (0..100).for_each(|_| sink.write(DataPoint::new()));
    assert_eq!((sink.stats().drops.closed, sink.stats().sampled_out), (100, before));
}
