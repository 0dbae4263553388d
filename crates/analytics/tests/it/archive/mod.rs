//! Segments in an archive: the same answers from there, few requests, and nothing lost or doubled where a step fails.

mod bucket;
mod steps;

use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use isobar_analytics::local::{
    CompactionOptions, ExportFormat, FolderArchive, LocalOptions, LocalSink, StoredSegments,
};
use isobar_analytics::query::{Analytics, Answer, Format, LocalDatasets, Query};
use isobar_analytics::{DataPoint, ErrorKind, EventSink, EventSinkExt, ScanOptions};
use isobar_storage::{Error as StorageError, ErrorKind as StorageErrorKind, Operation};

use crate::columnar::{files, numbers, sink_at};

use self::bucket::Bucket;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Ages in days of the segments that a test writes.
const AGES: [i64; 3] = [100, 60, 10];
/// Points of each.
const POINTS: usize = 60;

const QUERIES: [&str; 5] = [
    "SELECT count() AS n, sum(double1) AS s FROM visits",
    "SELECT index1, count() AS n, max(double1) AS m FROM visits GROUP BY index1 ORDER BY index1",
    "SELECT blob1, double1 FROM visits WHERE index1 = 'tenant-3' ORDER BY double1",
    "SELECT double1 FROM visits WHERE timestamp < now() - INTERVAL '20' DAY ORDER BY double1 DESC LIMIT 7",
    "SELECT toYYYYMM(timestamp) AS month, sum(_sample_interval) AS n FROM visits GROUP BY month ORDER BY month",
];

fn options(bucket: &Bucket) -> LocalOptions {
    LocalOptions::default().with_retain_for(None).with_retain_bytes(None).with_archive(bucket.archive())
}

fn at(days_ago: i64) -> DateTime<Utc> {
    Utc::now() - TimeDelta::days(days_ago)
}

/// A dataset with a segment of each age, and a few points in its log.
async fn written(folder: &Path, options: LocalOptions) -> LocalSink {
    let times = AGES.iter().flat_map(|days| {
        let begin = at(*days).timestamp_millis();
        (0..POINTS as i64).map(move |second| begin + second * 1000)
    });
    let times: Vec<i64> = times.chain((0..5).map(|_| Utc::now().timestamp_millis())).collect();
    let sink = sink_at(folder, options, times);
    let point = |number: usize| {
        let point = DataPoint::new().with_index(format!("tenant-{}", number % 7)).with_double(number as f64);
        point.with_blob(format!("/page/{}", number % 13))
    };
    for (round, _) in AGES.iter().enumerate() {
        (0..POINTS).for_each(|number| sink.write(point(round * POINTS + number)));
        sink.compact(CompactionOptions::default()).await.unwrap();
    }
    (0..5).for_each(|number| sink.write(point(AGES.len() * POINTS + number)));
    sink.flush().await.unwrap();
    sink
}

fn all() -> Vec<usize> {
    (0..AGES.len() * POINTS + 5).collect()
}

async fn sorted(sink: &LocalSink) -> Vec<usize> {
    let scan = sink.scan(ScanOptions::default()).await.unwrap();
    assert!(scan.damage.is_none(), "{:?}", scan.damage);
    let mut numbers = numbers(&scan.events);
    numbers.sort_unstable();
    numbers
}

fn ask(sink: &LocalSink, sql: &str) -> Answer {
    let datasets = LocalDatasets::open("none").with_sink("visits", sink.clone());
    Analytics::new(datasets).run(&Query::new(sql)).unwrap()
}

#[tokio::test]
async fn the_same_query_has_the_same_answer_over_local_mixed_and_archived_segments() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = Bucket::new();
    let dataset = folder.path().join("visits");
    let sink = written(&dataset, options(&bucket)).await;
    let answers = |sink: &LocalSink| QUERIES.map(|sql| ask(sink, sql).to_bytes(Format::TabSeparated));
    let local = answers(&sink);
    for (age, moved, left) in [(30 * DAY, 2, 1), (30 * DAY, 0, 1), (Duration::ZERO, 1, 0)] {
        let report = sink.archive(age).await.unwrap();
        assert_eq!((report.segments, report.points, report.removed_objects), (moved, moved * POINTS as u64, 0));
        assert!(report.damage.is_none() && (report.bytes > 0) == (moved > 0));
        assert_eq!(files(&dataset, ".parquet").len(), left);
        assert_eq!(bucket.objects().await.len(), AGES.len() - left);
        assert_eq!(answers(&sink), local);
        assert_eq!(sorted(&sink).await, all());
        let newest = sink.scan(ScanOptions::default().with_limit(80)).await.unwrap().events;
        assert_eq!(numbers(&newest), all()[all().len() - 80..]);
    }
    let file = folder.path().join("all.csv");
    assert_eq!(sink.export(ScanOptions::default(), ExportFormat::Csv, file).await.unwrap().points, all().len() as u64);
    let counted = StoredSegments::of(&dataset).unwrap();
    assert_eq!((counted.columnar_segments, counted.archived_segments, counted.log_segments), (0, 3, 1));
    assert_eq!((counted.archive.as_deref(), counted.archived_points), (Some("r2://old/visits"), 180));
    // As another process reads it.
    drop(sink);
    let datasets = LocalDatasets::open(folder.path()).with_archive("visits", bucket.archive());
    let answer = Analytics::new(datasets).run(&Query::new(QUERIES[0])).unwrap();
    assert_eq!(answer.to_bytes(Format::TabSeparated), local[0]);
    let reopened = LocalSink::open_with(&dataset, options(&bucket)).unwrap();
    assert_eq!(sorted(&reopened).await, all());
}

#[tokio::test]
async fn dataset_is_read_only_with_the_archive_that_has_its_segments() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = Bucket::new();
    let sink = written(folder.path(), options(&bucket)).await;
    sink.archive(30 * DAY).await.unwrap();
    drop(sink);
    let without = LocalSink::open(folder.path()).unwrap();
    let error = without.scan(ScanOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().contains("segments in the archive r2://old/visits; open it with that"), "{error}");
    let recent = without.scan(ScanOptions::default().with_from(at(20))).await.unwrap();
    assert_eq!(recent.events.len(), POINTS + 5, "their segments are here");
    for error in [without.archive(DAY).await.unwrap_err(), without.erase("tenant-1").await.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    }
    drop(without);
    let other = std::sync::Arc::new(FolderArchive::new(folder.path().join("other")));
    let other = LocalSink::open_with(folder.path(), LocalOptions::default().with_archive(other)).unwrap();
    let error = other.scan(ScanOptions::default()).await.unwrap_err();
    assert!(error.message().contains("and was opened with"), "{error}");
    drop(other);
    assert_eq!(sorted(&LocalSink::open_with(folder.path(), options(&bucket)).unwrap()).await, all());
}

/// Bytes that do not compress.
fn noise(seed: usize, length: usize) -> Vec<u8> {
    let mut state = seed as u64 * 2 + 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

#[tokio::test]
async fn selective_query_fetches_few_ranges_of_the_objects_that_it_needs() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = Bucket::new();
    let times: Vec<i64> = [3, 2, 1].iter().flat_map(|day| vec![at(*day).timestamp_millis(); 10_000]).collect();
    let sink = sink_at(folder.path(), options(&bucket), times);
    for day in 0..3 {
        for number in 0..10_000 {
            let point = DataPoint::new().with_index(format!("tenant-{:03}", number % 500)).with_double(1.0);
            sink.write(point.with_blob(noise(day * 10_000 + number, 600)));
            if number % 2_000 == 0 {
                sink.flush().await.unwrap();
            }
        }
        sink.compact(CompactionOptions::default()).await.unwrap();
    }
    sink.archive(Duration::ZERO).await.unwrap();
    let objects = bucket.objects().await;
    assert!(objects.len() == 3 && objects.values().all(|object| object.len() > 5_000_000));
    bucket.take_fetched();

    let day = "timestamp > now() - INTERVAL '60' HOUR AND timestamp < now() - INTERVAL '36' HOUR";
    let selective = format!("SELECT count() AS n, sum(double1) AS s FROM visits WHERE index1 = 'tenant-007' AND {day}");
    let answer = ask(&sink, &selective);
    assert_eq!(answer.to_bytes(Format::TabSeparated), b"20\t20\n");
    let fetched = bucket.take_fetched();
    let bytes: u64 = fetched.iter().map(|(_, range)| range.end - range.start).sum();
    assert!(fetched.iter().all(|(name, _)| *name == fetched[0].0), "of the second day alone");
    assert!(fetched.len() <= 4 && bytes <= 1_500_000, "{bytes} bytes by {fetched:?}");
    assert_eq!((answer.stats().segments_read, answer.stats().segments_pruned), (1, 2));

    // By the manifest alone.
    let answer = ask(&sink, "SELECT count() AS n FROM visits WHERE index1 = 'tenant-999'");
    assert_eq!((answer.text(0, 0), answer.stats().segments_pruned), ("0".to_owned(), 3));
    assert!(bucket.take_fetched().is_empty());

    // All of a large column, by windows.
    let answer = ask(&sink, "SELECT sum(length(blob1)) AS n FROM visits");
    assert!(answer.rows() == 1);
    let fetched = bucket.take_fetched();
    let bytes: u64 = fetched.iter().map(|(_, range)| range.end - range.start).sum();
    let all: u64 = objects.values().map(|object| object.len() as u64).sum();
    assert!(fetched.len() <= 3 * 6 && bytes <= all + all / 2, "{bytes} of {all} bytes by {fetched:?}");
    let most = fetched.iter().map(|(_, range)| range.end - range.start).max().unwrap();
    assert!(most <= 4 << 20, "{most} bytes at once");
}

#[tokio::test]
async fn missing_object_is_mentioned_by_the_answer_and_read_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = Bucket::new();
    let sink = written(folder.path(), options(&bucket)).await;
    sink.archive(30 * DAY).await.unwrap();
    let objects = bucket.objects().await;
    let (name, bytes) = objects.first_key_value().unwrap();
    bucket.lose(name).await;
    for _ in 0..2 {
        let answer = ask(&sink, "SELECT count() AS n FROM visits");
        assert_eq!(answer.text(0, 0), (all().len() - POINTS).to_string());
        let damage = &answer.stats().damage;
        assert_eq!((damage.stretches, damage.bytes), (1, bytes.len() as u64));
    }
    let scan = sink.scan(ScanOptions::default()).await.unwrap();
    assert_eq!((scan.events.len(), scan.damage.stretches), (all().len() - POINTS, 1));
    let erased = sink.erase("tenant-1").await.unwrap();
    assert_eq!(erased.quarantined, [format!("r2://old/visits/{name}")], "it may come back");
    bucket.replace(name, bytes.clone()).await;
    let answer = ask(&sink, "SELECT count() AS n FROM visits WHERE index1 != 'tenant-1'");
    assert!(answer.stats().damage.is_none());
    assert_eq!(answer.text(0, 0), all().iter().filter(|number| *number % 7 != 1).count().to_string());
}

#[tokio::test]
async fn damaged_object_is_quarantined_and_an_unreachable_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = Bucket::new();
    let sink = written(folder.path(), options(&bucket)).await;
    sink.archive(30 * DAY).await.unwrap();
    let count = Query::new("SELECT count() AS n FROM visits");
    let analytics = Analytics::new(LocalDatasets::open("none").with_sink("visits", sink.clone()));
    let unreachable = || StorageError::new(StorageErrorKind::Unavailable, "no route to host");
    bucket.script().fail_next(Operation::Get, unreachable());
    let error = analytics.run(&count).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("no route to host"), "{error}");
    bucket.script().fail_next(Operation::Get, StorageError::new(StorageErrorKind::PermissionDenied, "wrong key"));
    assert_eq!(analytics.run(&count).unwrap_err().kind(), ErrorKind::PermissionDenied);
    assert_eq!(analytics.run(&count).unwrap().text(0, 0), all().len().to_string());

    let objects = bucket.objects().await;
    let (name, bytes) = objects.first_key_value().unwrap();
    let mut damaged = bytes.to_vec();
    damaged[100] ^= 1;
    bucket.replace(name, damaged.into()).await;
    for _ in 0..2 {
        let answer = analytics.run(&count).unwrap();
        assert_eq!(answer.text(0, 0), (all().len() - POINTS).to_string());
        assert_eq!(answer.stats().damage.stretches, 1);
        let counted = StoredSegments::of(folder.path()).unwrap();
        assert_eq!((counted.archived_segments, counted.quarantined), (1, 1));
    }
    assert!(bucket.objects().await.contains_key(name), "it is kept for inspection");
    // It goes with the retention of its time.
    drop((sink, analytics));
    let options = options(&bucket).with_retain_for(Some(20 * DAY));
    let sink = LocalSink::open_with(folder.path(), options).unwrap();
    assert!(sink.apply_retention().await.unwrap() > 0);
    assert_eq!(bucket.objects().await.len(), 0);
    assert_eq!(sorted(&sink).await, all()[2 * POINTS..]);
}

#[tokio::test]
async fn expired_segments_go_from_the_archive_by_age_and_not_by_size() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = Bucket::new();
    let sink = written(folder.path(), options(&bucket)).await;
    sink.archive(30 * DAY).await.unwrap();
    drop(sink);
    let small = LocalOptions::default()
        .with_retain_for(Some(70 * DAY))
        .with_retain_bytes(Some(1))
        .with_archive(bucket.archive());
    let sink = LocalSink::open_with(folder.path(), small).unwrap();
    bucket.script().fail_next(Operation::Delete, StorageError::new(StorageErrorKind::Unavailable, "down"));
    let error = sink.apply_retention().await.unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::Unavailable, "retention"));
    assert_eq!((bucket.objects().await.len(), sorted(&sink).await.len()), (2, POINTS), "it is not read any more");
    sink.apply_retention().await.unwrap();
    assert_eq!(bucket.objects().await.len(), 1, "the one of 60 days ago");
    assert_eq!(sorted(&sink).await, all()[POINTS..2 * POINTS]);
}

#[tokio::test]
async fn object_that_may_not_be_removed_keeps_no_other_one() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = Bucket::new();
    let sink = written(folder.path(), options(&bucket)).await;
    sink.archive(30 * DAY).await.unwrap();
    drop(sink);
    let options = options(&bucket).with_retain_for(Some(20 * DAY));
    let sink = LocalSink::open_with(folder.path(), options).unwrap();
    bucket.script().fail_next(Operation::Delete, StorageError::new(StorageErrorKind::PermissionDenied, "locked"));
    let error = sink.apply_retention().await.unwrap_err();
    assert_eq!((error.kind(), bucket.objects().await.len()), (ErrorKind::PermissionDenied, 1), "{error}");
    sink.apply_retention().await.unwrap();
    assert_eq!(bucket.objects().await.len(), 0);
}

#[tokio::test]
async fn erased_points_are_in_no_object_when_the_erasure_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = Bucket::new();
    let sink = written(folder.path(), options(&bucket)).await;
    sink.archive(30 * DAY).await.unwrap();
    assert_eq!(sink.erase("tenant-8").await.unwrap().points, 0);
    assert_eq!(bucket.objects().await.len(), 2, "nothing of them was erased");
    let report = sink.erase("tenant-3").await.unwrap();
    assert!(report.quarantined.is_empty());
    assert_eq!(report.points, all().len() as u64 - sorted(&sink).await.len() as u64);
    assert_eq!(bucket.objects().await.len(), 0, "they were written again, into the folder");
    assert_eq!(ask(&sink, "SELECT count() AS n FROM visits WHERE index1 = 'tenant-3'").text(0, 0), "0");
    let left = sorted(&sink).await;
    sink.archive(30 * DAY).await.unwrap();
    assert_eq!((bucket.objects().await.len(), sorted(&sink).await), (2, left));
}

#[tokio::test]
async fn old_segments_move_in_the_background() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = Bucket::new();
    let options =
        options(&bucket).with_compact_every(Some(Duration::from_millis(20))).with_archive_after(Some(30 * DAY));
    let sink = written(folder.path(), options).await;
    for _ in 0..500 {
        if StoredSegments::of(folder.path()).unwrap().archived_segments == 2 {
            assert_eq!(sorted(&sink).await, all());
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{:?}", StoredSegments::of(folder.path()));
}
