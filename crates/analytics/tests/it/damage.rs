//! Damaged segments, the size of a dataset, and its permissions.

use std::path::{Path, PathBuf};

use chrono::DateTime;
use isobar_analytics::local::{CompactionOptions, LocalOptions, LocalSink};
use isobar_analytics::query::{Column, LocalDatasets, ScanRequest, ScanSource};
use isobar_analytics::{DataPoint, EventSink, EventSinkExt, Scan, ScanOptions};

use crate::columnar::{files, sink_at};
use crate::point;

async fn write(folder: &Path, numbers: std::ops::Range<usize>) {
    let sink = LocalSink::open(folder).unwrap();
    numbers.for_each(|number| sink.write(point(number)));
    sink.close().await.unwrap();
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

async fn scan(folder: &Path) -> Scan {
    LocalSink::open(folder).unwrap().scan(ScanOptions::default()).await.unwrap()
}

fn numbers(scan: &Scan) -> Vec<usize> {
    scan.events.iter().map(|event| event.double(1) as usize).collect()
}

#[tokio::test]
async fn events_behind_damage_are_read_and_the_damage_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 0..10).await;
    write(folder.path(), 10..20).await;
    let [first, second] = &segments(folder.path())[..] else { panic!("two segments") };
    let frame = (std::fs::metadata(first).unwrap().len() as usize - 8) / 10;
    // A bit of the third event's payload; a length and a checksum; zeros over two events.
    change(first, |bytes| bytes[8 + 2 * frame + 12] ^= 1);
    change(first, |bytes| bytes[8 + 5 * frame..8 + 5 * frame + 8].fill(0xFF));
    change(second, |bytes| {
        let frame = (bytes.len() - 8) / 10;
        bytes[8 + frame..8 + 3 * frame].fill(0);
    });
    let scan = scan(folder.path()).await;
    let expected: Vec<_> = (0..20).filter(|number| ![2, 5, 11, 12].contains(number)).collect();
    assert_eq!(numbers(&scan), expected);
    assert_eq!(scan.damage.stretches, 3);
    let names: Vec<_> = scan.damage.files.iter().map(String::as_str).collect();
    assert_eq!(names, ["000000000001.seg", "000000000002.seg"]);
    assert!(scan.damage.bytes >= 4 * frame as u64, "{:?}", scan.damage);
}

#[tokio::test]
async fn a_segment_without_its_mark_or_its_end_is_damaged_and_the_rest_is_read() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 0..3).await;
    change(&segments(folder.path())[0], |bytes| bytes[..8].copy_from_slice(b"nonsense"));
    assert_eq!((numbers(&scan(folder.path()).await), scan(folder.path()).await.damage.stretches), (vec![0, 1, 2], 1));
    change(&segments(folder.path())[0], |bytes| bytes.truncate(bytes.len() - 3));
    let torn = scan(folder.path()).await;
    assert_eq!((numbers(&torn), torn.damage.stretches), (vec![0, 1], 2));
    // A segment without data is not damaged.
    std::fs::write(folder.path().join("000000000002.seg"), b"isob").unwrap();
    std::fs::write(folder.path().join("000000000003.seg"), b"").unwrap();
    assert_eq!(scan(folder.path()).await.damage.files.len(), 1);
}

#[tokio::test]
async fn frame_within_a_damaged_event_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 66..67).await;
    let forged = std::fs::read(&segments(folder.path())[0]).unwrap()[8..].to_vec();
    let sink = LocalSink::open(folder.path()).unwrap();
    sink.write(DataPoint::new().with_blob(forged));
    sink.write(point(1));
    sink.close().await.unwrap();
    change(&segments(folder.path())[1], |bytes| bytes[13] ^= 1); // of the checksum; the length is right
    let scan = scan(folder.path()).await;
    assert_eq!((numbers(&scan), scan.damage.stretches), (vec![66, 1], 1));
}

#[tokio::test]
async fn a_frame_within_adjacent_damaged_events_is_not_taken_for_an_event() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 66..67).await;
    let forged = std::fs::read(&segments(folder.path())[0]).unwrap()[8..].to_vec();
    std::fs::remove_file(&segments(folder.path())[0]).unwrap();
    let sink = LocalSink::open(folder.path()).unwrap();
    for _ in 0..2 {
        sink.write(DataPoint::new().with_blob(forged.clone()));
    }
    sink.write(point(1));
    sink.close().await.unwrap();
    let frame = 8 + 11 + 2 + forged.len();
    for damage in [vec![0..4, frame..frame + 4], vec![13..14, frame + 13..frame + 14], vec![13..14, frame..frame + 2]] {
        let path = &segments(folder.path())[0];
        let before = std::fs::read(path).unwrap();
        change(path, |bytes| damage.iter().for_each(|range| bytes[8 + range.start..8 + range.end].fill(0xFF)));
        let scan = scan(folder.path()).await;
        assert_eq!((numbers(&scan), scan.damage.stretches), (vec![1], 1), "{damage:?}");
        std::fs::write(path, before).unwrap();
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_segment_that_is_written_to_is_not_removed_by_others() {
    let folder = tempfile::tempdir().unwrap();
    let slow = LocalSink::open(folder.path()).unwrap();
    slow.write(point(1));
    slow.flush().await.unwrap();
    let options = LocalOptions::default().with_segment_bytes(1000).with_retain_bytes(Some(10_000));
    let busy = LocalSink::open_with(folder.path(), options).unwrap();
    let fill = async || {
        for number in 100..600 {
            busy.write(point(number));
            if number % 10 == 0 {
                busy.flush().await.unwrap();
            }
        }
        busy.flush().await.unwrap();
    };
    fill().await;
    assert!(busy.stats().expired_bytes > 0);
    slow.write(point(2));
    slow.flush().await.unwrap();
    let kept = numbers(&scan(folder.path()).await);
    assert!(kept.contains(&1) && kept.contains(&2), "what was flushed is there: {kept:?}");
    // Closed, it is as any other.
    slow.close().await.unwrap();
    drop(slow);
    fill().await;
    assert!(!numbers(&scan(folder.path()).await).contains(&1));
}

#[tokio::test]
async fn a_limit_counts_the_events_that_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 0..10).await;
    write(folder.path(), 10..20).await;
    change(&segments(folder.path())[1], |bytes| {
        let frame = (bytes.len() - 8) / 10;
        bytes[8 + 4 * frame + 12] ^= 1;
    });
    let sink = LocalSink::open(folder.path()).unwrap();
    let newest = sink.scan(ScanOptions::default().with_limit(12)).await.unwrap();
    assert_eq!(numbers(&newest), [7, 8, 9, 10, 11, 12, 13, 15, 16, 17, 18, 19]);
}

#[tokio::test]
async fn old_segments_are_removed_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let options = LocalOptions::default().with_segment_bytes(1000).with_retain_bytes(Some(10_000));
    let sink = LocalSink::open_with(folder.path(), options).unwrap();
    for number in 0..500 {
        sink.write(point(number));
        if number % 10 == 0 {
            sink.flush().await.unwrap();
        }
    }
    sink.flush().await.unwrap();
    let bytes: u64 = segments(folder.path()).iter().map(|path| std::fs::metadata(path).unwrap().len()).sum();
    assert!(bytes <= 10_000, "{bytes}");
    let kept = numbers(&sink.scan(ScanOptions::default()).await.unwrap());
    assert_eq!(kept, (500 - kept.len()..500).collect::<Vec<_>>(), "the newest stay");
    sink.close().await.unwrap();
    assert!(sink.stats().expired_bytes > 0, "{:?}", sink.stats());
}

#[cfg(unix)]
#[tokio::test]
async fn dataset_is_private_to_its_user() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let dataset = folder.path().join("analytics").join("events");
    write(&dataset, 0..1).await;
    assert_eq!((mode(&folder.path().join("analytics")), mode(&dataset)), (0o700, 0o700));
    assert_eq!(mode(&segments(&dataset)[0]), 0o600);
    // A dataset made by an earlier version.
    std::fs::set_permissions(&dataset, std::fs::Permissions::from_mode(0o755)).unwrap();
    write(&dataset, 1..2).await;
    assert_eq!(mode(&dataset), 0o700);
}

const HOUR: i64 = 60 * 60 * 1000;

/// The names of the damaged files that a read of these hours mentions.
async fn damaged_between(sink: &LocalSink, hours: std::ops::Range<f64>) -> Vec<String> {
    let at = |hours: f64| DateTime::from_timestamp_millis((hours * HOUR as f64) as i64).unwrap();
    let options = ScanOptions::default().with_from(at(hours.start)).with_until(at(hours.end));
    sink.scan(options).await.unwrap().damage.files.into_iter().collect()
}

#[tokio::test]
async fn damage_of_a_log_segment_is_mentioned_for_the_times_that_it_may_have() {
    let folder = tempfile::tempdir().unwrap();
    let sink = sink_at(folder.path(), LocalOptions::default(), (1..=5).map(|hour| hour * HOUR));
    (0..5).for_each(|number| sink.write(point(number)));
    sink.close().await.unwrap();
    drop(sink);
    // The second and the fourth event, and the end of the last.
    change(&segments(folder.path())[0], |bytes| {
        let frame = (bytes.len() - 8) / 5;
        bytes[8 + frame + 12] ^= 1;
        bytes[8 + 3 * frame + 12] ^= 1;
        bytes.truncate(bytes.len() - 3);
    });
    let sink = LocalSink::open(folder.path()).unwrap();
    let name = ["000000000001.seg"];
    for is_quarantined in [false, true] {
        if is_quarantined {
            sink.compact(CompactionOptions::default()).await.unwrap();
            assert_eq!(files(&folder.path().join("quarantine"), ".seg"), name);
        }
        assert!(damaged_between(&sink, 0.0..0.5).await.is_empty(), "before its first event, {is_quarantined}");
        assert_eq!(damaged_between(&sink, 1.5..2.5).await, name, "{is_quarantined}");
        assert_eq!(damaged_between(&sink, 4.5..5.5).await, name, "behind the last that can be read, {is_quarantined}");
    }
}

#[tokio::test]
async fn damage_of_a_columnar_segment_is_mentioned_for_its_times() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = folder.path().join("d");
    let sink = sink_at(&dataset, LocalOptions::default(), [HOUR, 3 * HOUR, 10 * HOUR]);
    (0..2).for_each(|number| sink.write(point(number)));
    sink.compact(CompactionOptions::default()).await.unwrap();
    sink.write(point(2));
    sink.compact(CompactionOptions::default()).await.unwrap();
    let first = files(&dataset, ".parquet").remove(0);
    change(&dataset.join(&first), |bytes| bytes[5] ^= 1);
    // A query sets it aside.
    let source = LocalDatasets::open(folder.path());
    assert!(source.scan(&ScanRequest::new("d", [Column::Double(1)])).unwrap().all(|scanned| scanned.is_ok()));
    assert_eq!(files(&dataset.join("quarantine"), ".parquet"), std::slice::from_ref(&first));
    assert_eq!(damaged_between(&sink, 0.0..0.5).await, Vec::<String>::new());
    assert_eq!(damaged_between(&sink, 0.5..1.5).await, std::slice::from_ref(&first));
    assert_eq!(damaged_between(&sink, 2.0..2.5).await, [first]);
    assert_eq!(damaged_between(&sink, 3.5..20.0).await, Vec::<String>::new());
}

#[cfg(unix)]
#[tokio::test]
async fn what_another_process_is_just_writing_is_not_damage() {
    let folder = tempfile::tempdir().unwrap();
    let sink = LocalSink::open(folder.path()).unwrap();
    sink.write(point(1));
    sink.flush().await.unwrap();
    let path = &segments(folder.path())[0];
    change(path, |bytes| bytes.extend_from_within(8..20));
    let other = scan(folder.path()).await;
    assert_eq!((numbers(&other), other.damage.stretches), (vec![1], 0));
    sink.close().await.unwrap();
    drop(sink);
    let other = scan(folder.path()).await;
    assert_eq!((numbers(&other), other.damage.bytes), (vec![1], 12), "nobody goes on with it");
}

#[tokio::test]
async fn times_at_the_ends_of_the_calendar_select_everything() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 0..3).await;
    let sink = LocalSink::open(folder.path()).unwrap();
    let all =
        ScanOptions::default().with_from(DateTime::<chrono::Utc>::MIN_UTC).with_until(DateTime::<chrono::Utc>::MAX_UTC);
    assert_eq!(sink.scan(all).await.unwrap().events.len(), 3);
}
