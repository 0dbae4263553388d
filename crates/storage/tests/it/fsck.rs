//! Tests that damage of every kind is found, reported and repaired.

use std::fs;
use std::path::{Path, PathBuf};

use isobar_storage::local::{FsckOptions, LocalOptions, LocalStore, Problem};
use isobar_storage::{ErrorKind, Key, MultipartOptions, ObjectStore, ObjectStoreExt};

use crate::local::{key, shifted_clock};

/// The files of the blobs.
pub(crate) fn blobs(root: &Path) -> Vec<PathBuf> {
    let folders = fs::read_dir(root.join("blobs")).unwrap();
    folders.flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap()).map(|file| file.unwrap().path()).collect()
}

/// The files of small bodies, in their order.
pub(crate) fn packs(root: &Path) -> Vec<PathBuf> {
    let mut packs: Vec<_> = fs::read_dir(root.join("packs")).unwrap().map(|file| file.unwrap().path()).collect();
    packs.retain(|path| path.extension().is_some_and(|extension| extension == "pack"));
    packs.sort();
    packs
}

/// Changes bytes of a file that are there once.
pub(crate) fn change(path: &Path, from: &[u8], to: &[u8]) {
    let mut bytes = fs::read(path).unwrap();
    let places: Vec<_> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
    assert_eq!(places.len(), 1, "it is there {} times", places.len());
    bytes[places[0]..places[0] + to.len()].copy_from_slice(to);
    fs::write(path, bytes).unwrap();
}

/// Runs SQL on the index behind the store's back.
pub(crate) fn meddle(root: &Path, sql: &str) {
    rusqlite::Connection::open(root.join("index.db")).unwrap().execute_batch(sql).unwrap();
}

async fn filled(root: &Path) -> LocalStore {
    let store = LocalStore::open(root).await.unwrap();
    store.write(&key("small.txt"), "small").await.unwrap();
    store.write(&key("large.bin"), vec![7; 300_000]).await.unwrap();
    store
}

async fn problems(store: &LocalStore, options: FsckOptions) -> Vec<Problem> {
    store.fsck(options, |_| {}).await.unwrap().findings.into_iter().map(|finding| finding.problem).collect()
}

#[tokio::test]
async fn a_sound_store_is_clean_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let store = filled(folder.path()).await;
    let upload = store.multipart(&key("parts"), MultipartOptions::default()).await.unwrap();
    upload.upload_part(1, "part").await.unwrap();
    let done = store.multipart(&key("done"), MultipartOptions::default()).await.unwrap();
    let part = done.upload_part(1, vec![1; 6_000_000]).await.unwrap();
    let last = done.upload_part(2, "end").await.unwrap();
    done.complete(vec![part, last]).await.unwrap();
    let mut seen = Vec::new();
    let report = store.fsck(FsckOptions::default().with_exclusive(true), |meta| seen.push(meta.key.to_string())).await;
    let report = report.unwrap();
    assert_eq!(report.findings, [], "{report:?}");
    assert_eq!((report.objects, report.bytes, report.uploads), (3, 6_300_008, 1));
    assert_eq!(seen, ["done", "large.bin", "small.txt"]);
    assert!(report.is_clean() && !report.has_loss());
}

#[tokio::test]
async fn missing_cut_and_changed_bodies_are_set_aside() {
    for damage in ["missing", "cut", "changed"] {
        let folder = tempfile::tempdir().unwrap();
        let store = filled(folder.path()).await;
        let blob = blobs(folder.path()).pop().unwrap();
        match damage {
            "missing" => fs::remove_file(&blob).unwrap(),
            "cut" => fs::write(&blob, "cut").unwrap(),
            _ => fs::write(&blob, vec![8; 300_000]).unwrap(),
        }
        let found = problems(&store, FsckOptions::default()).await;
        assert!(matches!(&found[..], [Problem::Body { key, .. }] if key == "large.bin"), "{damage}: {found:?}");
        // Lengths alone do not tell a changed body.
        let quick = problems(&store, FsckOptions::default().with_bodies(false)).await;
        assert_eq!(quick.len(), usize::from(damage != "changed"));
        let report = store.fsck(FsckOptions::default().with_repair(true), |_| {}).await.unwrap();
        assert!(report.is_clean() && report.has_loss(), "{report:?}");
        assert!(store.head(&key("large.bin")).await.unwrap().is_none());
        assert_eq!(store.read(&key("small.txt")).await.unwrap().unwrap().1, "small");
        let lost: Vec<_> = fs::read_dir(folder.path().join("lost")).unwrap().map(|file| file.unwrap().path()).collect();
        let told = lost.iter().find(|path| path.extension().is_some_and(|it| it == "json")).unwrap();
        assert!(fs::read_to_string(told).unwrap().contains("large.bin"));
        assert_eq!(lost.len(), 1 + usize::from(damage != "missing"));
        assert_eq!(problems(&store, FsckOptions::default().with_exclusive(true)).await, []);
    }
}

#[tokio::test]
async fn a_changed_small_body_is_found_and_never_read() {
    let folder = tempfile::tempdir().unwrap();
    drop(filled(folder.path()).await);
    let pack = packs(folder.path()).pop().unwrap();
    change(&pack, b"}small", b"}SMALL");
    let options = LocalOptions::default().with_verify_on_read(true);
    let store = LocalStore::open_with(folder.path(), options).await.unwrap();
    assert_eq!(store.read(&key("small.txt")).await.unwrap_err().kind(), ErrorKind::Corrupt);
    let found = problems(&store, FsckOptions::default()).await;
    assert!(matches!(&found[..], [Problem::Body { key, .. }] if key == "small.txt"), "{found:?}");
    fs::remove_file(pack).unwrap();
    assert_eq!(store.read(&key("small.txt")).await.unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(store.fsck(FsckOptions::default().with_repair(true), |_| {}).await.unwrap().is_clean());
    assert!(store.head(&key("small.txt")).await.unwrap().is_none());
}

#[tokio::test]
async fn large_bodies_are_verified_as_they_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let options = LocalOptions::default().with_verify_on_read(true);
    let store = LocalStore::open_with(folder.path(), options).await.unwrap();
    store.write(&key("large.bin"), vec![7; 3_000_000]).await.unwrap();
    let upload = store.multipart(&key("parts"), MultipartOptions::default()).await.unwrap();
    let parts = [upload.upload_part(1, vec![1; 6_000_000]).await.unwrap(), upload.upload_part(2, "").await.unwrap()];
    upload.complete(parts.to_vec()).await.unwrap();
    for name in ["large.bin", "parts"] {
        store.read(&key(name)).await.unwrap().unwrap();
    }
    for blob in blobs(folder.path()) {
        let mut bytes = fs::read(&blob).unwrap();
        // Behind the body are less than 2000 bytes of sums: it is changed in its last block.
        if bytes.len() > 2000 {
            let at = bytes.len() - 2000;
            bytes[at] += 1;
            fs::write(&blob, bytes).unwrap();
        }
    }
    for name in ["large.bin", "parts"] {
        // As a whole, and as a stream, which ends in the error.
        assert_eq!(store.read(&key(name)).await.unwrap_err().kind(), ErrorKind::Corrupt);
        let (_, body) = store.get(&key(name), Default::default()).await.unwrap().into_object().unwrap();
        let chunks: Vec<_> = futures_util::StreamExt::collect(body.into_stream()).await;
        assert_eq!(chunks.last().unwrap().as_ref().unwrap_err().kind(), ErrorKind::Corrupt);
    }
}

#[tokio::test]
async fn what_is_left_over_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let (clock, hours) = shifted_clock();
    let store = LocalStore::open_with(folder.path(), LocalOptions::default().with_clock(clock)).await.unwrap();
    store.write(&key("kept"), vec![7; 300_000]).await.unwrap();
    let upload = store.multipart(&key("parts"), MultipartOptions::default()).await.unwrap();
    upload.upload_part(1, "part").await.unwrap();
    fs::write(folder.path().join("blobs/ff").join("f".repeat(32)), "orphan").unwrap();
    fs::write(folder.path().join("blobs/ff/README"), "not ours").unwrap();
    meddle(folder.path(), "INSERT INTO segments VALUES ('nobody''s', 0, 'none', 1)");
    hours.store(8 * 24, std::sync::atomic::Ordering::SeqCst);
    let report = store.fsck(FsckOptions::default(), |_| {}).await.unwrap();
    let kinds: Vec<_> = report.findings.iter().map(|finding| finding.problem.to_string()).collect();
    assert_eq!(kinds.len(), 3, "{kinds:?}");
    assert!(!report.has_loss() && !report.is_clean());
    assert_eq!(report.foreign, [folder.path().join("blobs/ff/README")]);
    assert!(store.fsck(FsckOptions::default().with_repair(true), |_| {}).await.unwrap().is_clean());
    assert_eq!(problems(&store, FsckOptions::default()).await, []);
    assert!(folder.path().join("blobs/ff/README").exists(), "what is not ours is left alone");
    assert_eq!(store.read(&key("kept")).await.unwrap().unwrap().1.len(), 300_000);
}

#[tokio::test]
async fn a_damaged_index_is_told_and_what_is_cut_is_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalStore::open(folder.path()).await.unwrap();
    for number in 0..2000 {
        store.write(&Key::new(format!("{number}")).unwrap(), vec![1; 2000]).await.unwrap();
    }
    drop(store);
    let index = folder.path().join("index.db");
    let mut bytes = fs::read(&index).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 40_000].fill(0xa5);
    fs::write(&index, &bytes).unwrap();
    let store = LocalStore::open(folder.path()).await.unwrap();
    let report = store.fsck(FsckOptions::default(), |_| {}).await;
    assert!(report.map_or_else(|error| error.kind() == ErrorKind::Corrupt, |report| report.has_loss()));
    drop(store);
    fs::write(&index, &bytes[..1000]).unwrap();
    let error = LocalStore::open(folder.path()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains("index.db") && error.to_string().contains("--rebuild"), "{error}");
    assert_eq!(fs::read(&index).unwrap().len(), 1000, "it is left as it is");
}

#[tokio::test]
async fn a_damaged_header_of_a_frame_is_reported_and_its_objects_are_read() {
    // The mark, the checksum, the length, the id of the frame before, its own.
    for offset in [0, 8, 12, 16, 24] {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::open(folder.path()).await.unwrap();
        for number in 0..4 {
            store.write(&key(&format!("{number}")), vec![number; 100]).await.unwrap();
        }
        let pack = packs(folder.path()).pop().unwrap();
        let mut bytes = fs::read(&pack).unwrap();
        let frames: Vec<_> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(b"isobarF1")).collect();
        bytes[frames[1] + offset] ^= 1;
        fs::write(&pack, bytes).unwrap();
        let report = store.fsck(FsckOptions::default().with_repair(true), |_| {}).await.unwrap();
        let [finding] = &report.findings[..] else { panic!("{offset}: {report:?}") };
        assert_eq!(finding.problem, Problem::Header { pack: 1, position: frames[1] as u64 }, "{offset}");
        assert!(finding.problem.to_string().contains("header"));
        assert!(!report.is_clean() && !report.has_loss() && report.objects == 4);
        for number in 0..4 {
            assert_eq!(store.read(&key(&format!("{number}"))).await.unwrap().unwrap().1, vec![number; 100]);
        }
    }
}
