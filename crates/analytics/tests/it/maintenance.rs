//! Compaction beside readers and writers, what crashes leave, damage, erasure and retention.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use isobar_analytics::local::{CompactionOptions, ExportFormat, LocalOptions, LocalSink};
use isobar_analytics::query::{Column, LocalDatasets, ScanRequest, ScanSource};
use isobar_analytics::{DataPoint, ErrorKind, EventSink, EventSinkExt, Scan, ScanOptions};
use tokio::runtime::Handle;

use crate::columnar::{files, numbers, sink_at};
use crate::point;

async fn scan(folder: &Path) -> Scan {
    LocalSink::open(folder).unwrap().scan(ScanOptions::default()).await.unwrap()
}

fn sorted(scan: &Scan) -> Vec<usize> {
    let mut numbers = numbers(&scan.events);
    numbers.sort_unstable();
    numbers
}

async fn compact(sink: &LocalSink) {
    sink.compact(CompactionOptions::default()).await.unwrap();
}

/// One thread that writes through two sinks, one that compacts, and one that reads all the while.
struct Race<'a> {
    sink: &'a LocalSink,
    other: &'a LocalSink,
    is_over: AtomicBool,
    /// Number of points that were flushed.
    acknowledged: AtomicUsize,
}

impl Race<'_> {
    fn run(&self) {
        let runtime = Handle::current();
        std::thread::scope(|scope| {
            scope.spawn(|| self.write(&runtime));
            scope.spawn(|| self.compact(&runtime));
            self.read(&runtime);
        });
    }

    fn write(&self, runtime: &Handle) {
        for number in 0..3000 {
            let writer = if number % 3 == 0 { self.other } else { self.sink };
            writer.write(point(number));
            if number % 50 == 49 {
                runtime.block_on(self.sink.flush()).unwrap();
                runtime.block_on(self.other.flush()).unwrap();
                self.acknowledged.store(number + 1, Ordering::SeqCst);
            }
        }
        self.is_over.store(true, Ordering::SeqCst);
    }

    fn compact(&self, runtime: &Handle) {
        let mut round = 0;
        while !self.is_over.load(Ordering::SeqCst) {
            let options = CompactionOptions::default().with_seal_current(round % 2 == 0);
            let sink = if round % 3 == 0 { self.other } else { self.sink };
            runtime.block_on(sink.compact(options)).unwrap();
            round += 1;
        }
        assert!(round > 1);
    }

    fn read(&self, runtime: &Handle) {
        let mut looks = 0;
        loop {
            let is_last = self.is_over.load(Ordering::SeqCst);
            let before = self.acknowledged.load(Ordering::SeqCst);
            let scan = runtime.block_on(self.sink.scan(ScanOptions::default())).unwrap();
            let mut seen = sorted(&scan);
            let count = seen.len();
            seen.dedup();
            assert_eq!(seen.len(), count, "a point is read twice");
            let are_all_there = (0..before).all(|number| seen.binary_search(&number).is_ok());
            assert!(are_all_there, "{count} of {before}");
            looks += 1;
            if is_last {
                break;
            }
        }
        assert!(looks > 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_see_each_point_once_while_it_is_written_and_compacted() {
    let folder = tempfile::tempdir().unwrap();
    let options = || LocalOptions::default().with_segment_bytes(4096).with_retain_bytes(None);
    let sink = LocalSink::open_with(folder.path(), options()).unwrap();
    // Another process on the folder.
    let other = LocalSink::open_with(folder.path(), options()).unwrap();
    let state = Race { sink: &sink, other: &other, is_over: AtomicBool::new(false), acknowledged: AtomicUsize::new(0) };
    tokio::task::block_in_place(|| state.run());
    sink.close().await.unwrap();
    other.close().await.unwrap();
    drop((sink, other));
    assert_eq!(sorted(&scan(folder.path()).await), (0..3000).collect::<Vec<_>>());
    compact(&LocalSink::open(folder.path()).unwrap()).await;
    assert_eq!(sorted(&scan(folder.path()).await), (0..3000).collect::<Vec<_>>());
    assert!(files(folder.path(), ".seg").is_empty());
}

#[tokio::test]
async fn many_small_segments_are_compacted_and_erased_some_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let sink = LocalSink::open(folder.path()).unwrap();
    sink.write(point(1));
    sink.write(point(2));
    sink.close().await.unwrap();
    drop(sink);
    let fill = |numbers: std::ops::RangeInclusive<u32>, bytes: &[u8]| {
        numbers.for_each(|number| std::fs::write(folder.path().join(format!("{number:012}.seg")), bytes).unwrap());
    };
    let bytes = std::fs::read(folder.path().join("000000000001.seg")).unwrap();
    fill(2..=450, &bytes);
    let sink = LocalSink::open(folder.path()).unwrap();
    let report = sink.compact(CompactionOptions::default()).await.unwrap();
    assert_eq!((report.points, report.log_segments, report.columnar_segments), (900, 450, 3), "200 of them at once");
    fill(1001..=1450, &bytes);
    let report = sink.erase("1").await.unwrap();
    assert_eq!((report.points, report.rewritten_segments), (900, 3));
    assert_eq!(sorted(&sink.scan(ScanOptions::default()).await.unwrap()), vec![2; 900]);
    assert!(files(folder.path(), ".seg").is_empty());
}

#[tokio::test]
async fn what_a_crash_leaves_between_the_steps_is_neither_lost_nor_doubled() {
    let folder = tempfile::tempdir().unwrap();
    let sink = LocalSink::open(folder.path()).unwrap();
    (0..10).for_each(|number| sink.write(point(number)));
    sink.close().await.unwrap();
    drop(sink);
    let log = folder.path().join("000000000001.seg");
    let bytes = std::fs::read(&log).unwrap();
    // Before the manifest: a columnar segment that is in no manifest, finished or not.
    let sink = LocalSink::open(folder.path()).unwrap();
    compact(&sink).await;
    let [columnar] = &files(folder.path(), ".parquet")[..] else { panic!("one segment") };
    let written = std::fs::read(folder.path().join(columnar)).unwrap();
    std::fs::write(folder.path().join("000000000077.parquet"), &written).unwrap();
    std::fs::write(folder.path().join("000000000078.parquet.tmp"), &written[..20]).unwrap();
    std::fs::write(folder.path().join("manifest.jsonl.tmp"), "{").unwrap();
    // After it: a log segment that is covered.
    std::fs::write(&log, &bytes).unwrap();
    assert_eq!(sorted(&sink.scan(ScanOptions::default()).await.unwrap()), (0..10).collect::<Vec<_>>());
    sink.write(point(10));
    sink.flush().await.unwrap();
    assert_eq!(sorted(&sink.scan(ScanOptions::default()).await.unwrap()), (0..11).collect::<Vec<_>>());
    compact(&sink).await;
    assert_eq!(sorted(&sink.scan(ScanOptions::default()).await.unwrap()), (0..11).collect::<Vec<_>>());
    assert_eq!((files(folder.path(), ".seg").len(), files(folder.path(), ".parquet").len()), (0, 2));
    assert!(files(folder.path(), "parquet.tmp").is_empty());
}

#[tokio::test]
async fn numbers_of_covered_segments_are_not_used_again() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..5 {
        let sink = LocalSink::open(folder.path()).unwrap();
        sink.write(point(number));
        compact(&sink).await;
        sink.write(point(number + 100));
        sink.close().await.unwrap();
        let found = sorted(&scan(folder.path()).await);
        assert_eq!(found, (0..=number).chain(100..=number + 100).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn damaged_columnar_segment_is_skipped_named_and_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = folder.path().join("d");
    let sink = LocalSink::open(&dataset).unwrap();
    for round in 0..2 {
        (0..10).for_each(|number| sink.write(point(round * 10 + number)));
        compact(&sink).await;
    }
    let [first, second] = &files(&dataset, ".parquet")[..] else { panic!("two segments") };
    let path = dataset.join(first);
    let whole = std::fs::read(&path).unwrap();
    let source = LocalDatasets::open(folder.path());
    let request = ScanRequest::new("d", [Column::Double(1)]);
    for at in [0, 5, whole.len() / 2, whole.len() - 1] {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        std::fs::write(&path, damaged).unwrap();
        let events = sink.scan(ScanOptions::default()).await.unwrap();
        assert_eq!((sorted(&events), events.damage.files.first()), ((10..20).collect::<Vec<_>>(), Some(first)), "{at}");
        std::fs::write(&path, &whole).unwrap();
    }
    std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    // A query sets it aside, and every answer after it still mentions it.
    for _ in 0..3 {
        let mut rows = 0;
        let mut named = std::collections::BTreeSet::new();
        for scanned in source.scan(&request).unwrap() {
            let scanned = scanned.unwrap();
            rows += scanned.batch.num_rows();
            named.extend(scanned.damage.files);
        }
        assert_eq!((rows, named), (10, [first.clone()].into()));
        assert_eq!(files(&dataset, ".parquet"), std::slice::from_ref(second));
        assert_eq!(files(&dataset.join("quarantine"), ".parquet"), std::slice::from_ref(first));
    }
    std::fs::remove_file(dataset.join(second)).unwrap();
    let events = sink.scan(ScanOptions::default()).await.unwrap();
    assert_eq!((events.events.len(), events.damage.files.len()), (0, 2), "a segment that has gone is reported, too");
}

#[tokio::test]
async fn damaged_segment_that_a_crash_has_left_in_its_place_is_set_aside_and_stays_known() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = folder.path().join("d");
    let sink = LocalSink::open(&dataset).unwrap();
    sink.write(point(1));
    compact(&sink).await;
    let file = folder.path().join("export.parquet");
    sink.export(ScanOptions::default(), ExportFormat::Parquet, &file).await.unwrap();
    let name = files(&dataset, ".parquet").remove(0);
    let mut damaged = std::fs::read(dataset.join(&name)).unwrap();
    damaged[5] ^= 1;
    std::fs::write(dataset.join(&name), &damaged).unwrap();
    let source = LocalDatasets::open(folder.path());
    source.scan(&ScanRequest::new("d", [Column::Double(1)])).unwrap().for_each(|scanned| drop(scanned.unwrap()));
    // The crash: it is in the manifest as damaged, and its file was not moved yet.
    std::fs::rename(dataset.join("quarantine").join(&name), dataset.join(&name)).unwrap();
    compact(&sink).await;
    assert_eq!(std::fs::read(dataset.join("quarantine").join(&name)).unwrap(), damaged);
    // Another segment does not get its name.
    assert_eq!(sink.import(&file).await.unwrap(), 1);
    assert!(!files(&dataset, ".parquet").contains(&name));
    let scan = sink.scan(ScanOptions::default()).await.unwrap();
    assert_eq!((sorted(&scan), scan.damage.files), (vec![1], [name].into()));
}

#[tokio::test]
async fn damaged_log_segment_is_kept_aside_when_it_is_compacted() {
    let folder = tempfile::tempdir().unwrap();
    let sink = LocalSink::open(folder.path()).unwrap();
    (0..10).for_each(|number| sink.write(point(number)));
    sink.close().await.unwrap();
    drop(sink);
    let name = "000000000001.seg";
    let mut bytes = std::fs::read(folder.path().join(name)).unwrap();
    let frame = (bytes.len() - 8) / 10;
    bytes[8 + 2 * frame + 12] ^= 1;
    bytes.truncate(bytes.len() - 3); // torn, besides
    std::fs::write(folder.path().join(name), &bytes).unwrap();
    let before = scan(folder.path()).await;
    let sink = LocalSink::open(folder.path()).unwrap();
    let report = sink.compact(CompactionOptions::default()).await.unwrap();
    assert_eq!((report.points, report.damage.stretches, report.torn_bytes), (8, 2, 0));
    let after = scan(folder.path()).await;
    assert_eq!((sorted(&after), &after.damage), (vec![0, 1, 3, 4, 5, 6, 7, 8], &before.damage));
    assert_eq!(std::fs::read(folder.path().join("quarantine").join(name)).unwrap(), bytes);

    // What a crash leaves at the end alone was never durable, and is only counted.
    sink.write(point(20));
    sink.close().await.unwrap();
    drop(sink);
    let [last] = &files(folder.path(), ".seg")[..] else { panic!("one segment") };
    let path = folder.path().join(last);
    let torn = [std::fs::read(&path).unwrap(), vec![1, 2, 3]].concat();
    std::fs::write(&path, torn).unwrap();
    let report = LocalSink::open(folder.path()).unwrap().compact(CompactionOptions::default()).await.unwrap();
    assert_eq!((report.points, report.damage.stretches, report.torn_bytes), (1, 0, 3));
    assert_eq!(scan(folder.path()).await.damage, before.damage);
}

#[tokio::test]
async fn damaged_manifest_is_an_error_of_reading_and_not_of_writing() {
    let folder = tempfile::tempdir().unwrap();
    let sink = LocalSink::open(folder.path()).unwrap();
    sink.write(point(1));
    compact(&sink).await;
    let path = folder.path().join("manifest.jsonl");
    let manifest = std::fs::read(&path).unwrap();
    std::fs::write(&path, "{}\n").unwrap();
    assert_eq!(sink.scan(ScanOptions::default()).await.unwrap_err().kind(), ErrorKind::Corrupt);
    let error = sink.compact(CompactionOptions::default()).await.unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::Corrupt, "compact"));
    sink.write(point(2));
    sink.flush().await.unwrap();
    std::fs::write(&path, manifest).unwrap();
    assert_eq!(sorted(&sink.scan(ScanOptions::default()).await.unwrap()), [1, 2]);
}

#[tokio::test]
async fn nothing_is_read_or_removed_where_the_manifest_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = folder.path().join("d");
    let sink = LocalSink::open(&dataset).unwrap();
    (0..2).for_each(|number| sink.write(point(number)));
    compact(&sink).await;
    drop(sink);
    let manifest = std::fs::read(dataset.join("manifest.jsonl")).unwrap();
    std::fs::remove_file(dataset.join("manifest.jsonl")).unwrap();
    let columnar = files(&dataset, ".parquet");
    let options = LocalOptions::default().with_compact_every(Some(Duration::from_millis(1))).with_retain_bytes(Some(1));
    let sink = LocalSink::open_with(&dataset, options).unwrap();
    let error = sink.compact(CompactionOptions::default()).await.unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::Corrupt, "compact"));
    assert!(error.message().contains("the manifest is missing") && error.message().contains("import each"), "{error}");
    assert_eq!(sink.erase("1").await.unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(sink.scan(ScanOptions::default()).await.unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(LocalDatasets::open(folder.path()).scan(&ScanRequest::new("d", [])).is_err());
    // Points are taken nevertheless.
    sink.write(point(2));
    sink.flush().await.unwrap();
    sink.apply_retention().await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    drop(sink);
    assert_eq!((files(&dataset, ".parquet"), files(&dataset, ".seg").len()), (columnar.clone(), 1));
    std::fs::write(dataset.join("manifest.jsonl"), manifest).unwrap();
    assert_eq!(sorted(&scan(&dataset).await), [0, 1, 2]);

    // The other way that the message names.
    std::fs::remove_file(dataset.join("manifest.jsonl")).unwrap();
    std::fs::rename(dataset.join(&columnar[0]), folder.path().join(&columnar[0])).unwrap();
    let sink = LocalSink::open(&dataset).unwrap();
    assert_eq!(sink.import(folder.path().join(&columnar[0])).await.unwrap(), 2);
    assert_eq!(sorted(&sink.scan(ScanOptions::default()).await.unwrap()), [0, 1, 2]);
}

#[tokio::test]
async fn files_that_a_user_has_put_among_the_segments_stay() {
    let folder = tempfile::tempdir().unwrap();
    let sink = LocalSink::open(folder.path()).unwrap();
    sink.write(point(1));
    sink.flush().await.unwrap();
    let file = folder.path().join("november.parquet");
    sink.export(ScanOptions::default(), ExportFormat::Parquet, &file).await.unwrap();
    std::fs::write(folder.path().join("7.seg"), "").unwrap();
    compact(&sink).await;
    compact(&sink).await;
    assert!(file.exists() && folder.path().join("7.seg").exists());
}

#[tokio::test]
async fn erased_index_is_in_neither_tier_and_nothing_else_has_gone() {
    let folder = tempfile::tempdir().unwrap();
    let sink = LocalSink::open(folder.path()).unwrap();
    let write = |number: usize| {
        let index = if number % 10 == 3 { "erase-me" } else { "keep" };
        sink.write(DataPoint::new().with_index(index).with_double(number as f64));
    };
    (0..50).for_each(write);
    compact(&sink).await;
    // A segment without it stays as it is; one with nothing else goes.
    sink.write(DataPoint::new().with_index("keep").with_double(1000.0));
    compact(&sink).await;
    sink.write(DataPoint::new().with_index("erase-me").with_double(2000.0));
    compact(&sink).await;
    let columnar = files(folder.path(), ".parquet");
    (50..100).for_each(write);
    let report = sink.erase("erase-me").await.unwrap();
    assert_eq!((report.points, report.rewritten_segments, report.quarantined.len()), (11, 2, 0));
    let scan = sink.scan(ScanOptions::default()).await.unwrap();
    let expected: Vec<usize> = (0..100).filter(|number| number % 10 != 3).chain([1000]).collect();
    assert_eq!((sorted(&scan), scan.damage.is_none()), (expected, true));
    assert!(files(folder.path(), ".parquet").contains(&columnar[1]) && files(folder.path(), ".seg").is_empty());
    assert_eq!(sink.erase("erase-me").await.unwrap().points, 0);

    let other = LocalSink::open(folder.path()).unwrap();
    other.write(DataPoint::new().with_index("erase-me"));
    other.flush().await.unwrap();
    let error = sink.erase("erase-me").await.unwrap_err();
    assert!(
        error.to_string().starts_with("erase: ") && error.to_string().contains("another process is writing"),
        "{error}"
    );
}

#[tokio::test]
async fn retention_by_age_and_size_covers_both_tiers() {
    let folder = tempfile::tempdir().unwrap();
    let day = Duration::from_secs(24 * 60 * 60);
    let now = chrono::Utc::now().timestamp_millis();
    let times = [100, 95, 80, 1].map(|days| now - days * 24 * 60 * 60 * 1000);
    let options = || LocalOptions::default().with_segment_bytes(64);
    let sink = sink_at(folder.path(), options(), times);
    for number in 0..3 {
        sink.write(point(number));
        compact(&sink).await;
    }
    sink.write(point(3));
    sink.flush().await.unwrap();
    let removed = sink.apply_retention().await.unwrap();
    assert_eq!(sorted(&sink.scan(ScanOptions::default()).await.unwrap()), [2, 3]);
    assert_eq!((files(folder.path(), ".parquet").len(), removed > 0), (1, true));
    assert_eq!(sink.stats().expired_bytes, removed);
    drop(sink);

    let bytes = std::fs::metadata(folder.path().join(&files(folder.path(), ".parquet")[0])).unwrap().len();
    let small = options().with_retain_bytes(Some(bytes)).with_retain_for(Some(365 * day));
    let sink = LocalSink::open_with(folder.path(), small).unwrap();
    assert!(sink.apply_retention().await.unwrap() >= bytes, "there is no room for it and for a log segment");
    assert_eq!(sorted(&sink.scan(ScanOptions::default()).await.unwrap()), [3], "the newest stays");
    sink.close().await.unwrap();
    assert_eq!(sink.apply_retention().await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn complete_segments_are_compacted_in_the_background() {
    let folder = tempfile::tempdir().unwrap();
    let options = LocalOptions::default().with_segment_bytes(200).with_compact_every(Some(Duration::from_millis(20)));
    let sink = LocalSink::open_with(folder.path(), options).unwrap();
    for number in 0..40 {
        sink.write(point(number));
        sink.flush().await.unwrap();
    }
    for _ in 0..500 {
        if !files(folder.path(), ".parquet").is_empty() && files(folder.path(), ".seg").len() == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(files(folder.path(), ".seg").len(), 1, "the current one");
    assert_eq!(sorted(&sink.scan(ScanOptions::default()).await.unwrap()), (0..40).collect::<Vec<_>>());
}

#[tokio::test]
async fn disk_that_cannot_be_written_loses_nothing_to_a_compaction() {
    let folder = tempfile::tempdir().unwrap();
    let sink = LocalSink::open(folder.path()).unwrap();
    (0..10).for_each(|number| sink.write(point(number)));
    sink.flush().await.unwrap();
    // Where the new manifest is to go, there is a folder.
    std::fs::create_dir(folder.path().join("manifest.jsonl.tmp")).unwrap();
    sink.compact(CompactionOptions::default()).await.unwrap_err();
    assert_eq!(sorted(&sink.scan(ScanOptions::default()).await.unwrap()), (0..10).collect::<Vec<_>>());
    std::fs::remove_dir(folder.path().join("manifest.jsonl.tmp")).unwrap();
    compact(&sink).await;
    assert_eq!(sorted(&sink.scan(ScanOptions::default()).await.unwrap()), (0..10).collect::<Vec<_>>());
}
