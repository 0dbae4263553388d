//! Each step of moving a segment that fails, or that is the last before a crash.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use isobar_analytics::ErrorKind;
use isobar_analytics::local::{CompactionOptions, LocalSink, StoredSegments};
use isobar_storage::{Error as StorageError, ErrorKind as StorageErrorKind, Operation};
use tempfile::TempDir;

use super::bucket::{Bucket, copy_folder};
use super::{AGES, all, options, sorted, written};
use crate::columnar::files;

/// A dataset and its archive at one moment.
struct Moment {
    folder: TempDir,
    objects: BTreeMap<String, Bytes>,
}

/// Moves all segments, and checks that all points are there once and that the archive has the segments' objects and no other.
async fn goes_on(sink: &LocalSink, bucket: &Bucket, folder: &std::path::Path) {
    assert_eq!(sorted(sink).await, all());
    sink.archive(Duration::ZERO).await.unwrap();
    assert_eq!(sorted(sink).await, all());
    assert_eq!(files(folder, ".parquet").len(), 0);
    assert_eq!(bucket.objects().await.len(), AGES.len());
    assert_eq!(StoredSegments::of(folder).unwrap().archived_segments, AGES.len() as u64);
}

#[tokio::test]
async fn step_that_fails_leaves_the_segment_and_the_next_run_goes_on() {
    for step in ["put", "answer", "size", "get", "content"] {
        let folder = tempfile::tempdir().unwrap();
        let bucket = Bucket::new();
        let sink = written(folder.path(), options(&bucket)).await;
        let down = || StorageError::new(StorageErrorKind::Unavailable, "down");
        match step {
            "put" => bucket.script().fail_next(Operation::Put, down()),
            "answer" => bucket.lose_next_answer(),
            "size" => bucket.script().fail_next(Operation::Head, down()),
            "get" => bucket.script().fail_next(Operation::Get, down()),
            _ => bucket.flip_bits(true),
        }
        let error = sink.archive(Duration::ZERO).await.unwrap_err();
        assert_eq!((error.kind(), error.operation()), (ErrorKind::Unavailable, "archive"), "{step}: {error}");
        bucket.flip_bits(false);
        assert_eq!(files(folder.path(), ".parquet").len(), AGES.len(), "{step}");
        // The object that no segment has goes first, and its removal may fail, too.
        bucket.script().fail_next(Operation::Delete, down());
        sink.archive(Duration::ZERO).await.unwrap_err();
        goes_on(&sink, &bucket, folder.path()).await;
    }
}

#[tokio::test]
async fn object_that_cannot_be_removed_keeps_no_segment_from_the_archive() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = Bucket::new();
    let sink = written(folder.path(), options(&bucket)).await;
    for operation in [Operation::Head, Operation::Delete] {
        bucket.script().fail_next(operation, StorageError::new(StorageErrorKind::Unavailable, "down"));
        sink.archive(Duration::ZERO).await.unwrap_err();
    }
    assert_eq!(files(folder.path(), ".parquet").len(), 0);
    goes_on(&sink, &bucket, folder.path()).await;
}

#[tokio::test]
async fn crash_before_or_after_any_request_loses_and_doubles_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = Bucket::new();
    let sink = written(folder.path(), options(&bucket)).await;
    let moments: Arc<Mutex<Vec<Moment>>> = Arc::default();
    let taken = Arc::clone(&moments);
    let dataset = folder.path().to_owned();
    bucket.set_hook(move |bucket| {
        let folder = tempfile::tempdir().unwrap();
        copy_folder(&dataset, folder.path());
        let objects = futures_util::FutureExt::now_or_never(bucket.objects()).unwrap();
        taken.lock().unwrap().push(Moment { folder, objects });
    });
    sink.archive(Duration::ZERO).await.unwrap();
    let moments = std::mem::take(&mut *moments.lock().unwrap());
    assert_eq!(moments.len(), 3 * AGES.len(), "before and after each put, and before each look at the size");
    for Moment { folder, objects } in moments {
        let bucket = Bucket::of(&objects).await;
        let sink = LocalSink::open_with(folder.path(), options(&bucket)).unwrap();
        goes_on(&sink, &bucket, folder.path()).await;
    }
}

#[tokio::test]
async fn crash_before_the_removal_of_a_file_leaves_one_that_is_not_read_and_goes() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = Bucket::new();
    let sink = written(folder.path(), options(&bucket)).await;
    let before = tempfile::tempdir().unwrap();
    copy_folder(folder.path(), before.path());
    sink.archive(Duration::ZERO).await.unwrap();
    for name in files(before.path(), ".parquet") {
        std::fs::copy(before.path().join(&name), folder.path().join(&name)).unwrap();
    }
    assert_eq!(sorted(&sink).await, all());
    sink.compact(CompactionOptions::default()).await.unwrap();
    assert_eq!(sorted(&sink).await, all());
    let counted = StoredSegments::of(folder.path()).unwrap();
    assert_eq!((files(folder.path(), ".parquet").len(), counted.columnar_segments), (1, 1), "that of the log");
}

#[tokio::test]
async fn crash_within_an_erasure_or_an_expiry_leaves_objects_that_the_next_run_removes() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = Bucket::new();
    let sink = written(folder.path(), options(&bucket)).await;
    sink.archive(Duration::ZERO).await.unwrap();
    bucket.script().fail_next(Operation::Delete, StorageError::new(StorageErrorKind::Unavailable, "down"));
    let error = sink.erase("tenant-2").await.unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::Unavailable, "erase"));
    let left = sorted(&sink).await;
    assert!(left.iter().all(|number| number % 7 != 2));
    assert_eq!(bucket.objects().await.len(), AGES.len(), "they still have the points");
    assert_eq!(sink.erase("tenant-2").await.unwrap().points, 0, "none of them is read");
    assert_eq!((bucket.objects().await.len(), sorted(&sink).await), (0, left));
}
