//! A disk that fails: the caller is told, and nothing that was acknowledged is lost.

use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use futures_util::StreamExt;
use isobar_storage::local::{Disk, DiskFile, FsckOptions, LocalOptions, LocalStore, Space, SystemDisk};
use isobar_storage::{ErrorKind, ObjectStore, ObjectStoreExt};

use crate::fsck::blobs;
use crate::local::key;
use crate::packs::{SHORT, closed_index, read};
use crate::rebuild::{lose_index, rebuild};

const WELL: u8 = 0;
const FULL: u8 = 1;
const FORBIDDEN: u8 = 2;
/// Writing the index's log seems to work; syncing it does not.
const BROKEN_LOG: u8 = 3;
const NO_LINKS: u8 = 4;
/// The same of packs.
const BROKEN_PACK: u8 = 5;
/// No pack can be removed: as if the process had been killed before it came to that.
const NO_REMOVALS: u8 = 6;
/// No folder can be synced once a pack has been removed.
const UNSYNCED_REMOVALS: u8 = 7;
const BROKEN_FOLDERS: u8 = 8;

/// The system's disk, until it is told to fail.
#[derive(Debug, Clone, Default)]
struct Fragile(Arc<AtomicU8>, Arc<AtomicU64>);

impl Fragile {
    fn is(&self, state: u8) -> bool {
        self.0.load(Ordering::SeqCst) == state
    }

    fn set(&self, state: u8) {
        self.0.store(state, Ordering::SeqCst);
    }

    fn file(&self, path: &Path, file: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        let cannot_be_synced_if = match path.extension().and_then(|extension| extension.to_str()) {
            Some("db-wal") => BROKEN_LOG,
            Some("pack") => BROKEN_PACK,
            _ => u8::MAX,
        };
        Box::new(FragileFile { disk: self.clone(), file, cannot_be_synced_if })
    }
}

impl Disk for Fragile {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        if self.is(FORBIDDEN) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(self.file(path, SystemDisk.create(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(self.file(path, SystemDisk.open(path)?))
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        SystemDisk.create_folder(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let is_pack = path.extension().is_some_and(|extension| extension == "pack");
        if is_pack && self.is(UNSYNCED_REMOVALS) {
            self.set(BROKEN_FOLDERS);
        }
        if is_pack && self.is(NO_REMOVALS) { Err(io::ErrorKind::ResourceBusy.into()) } else { SystemDisk.remove(path) }
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        if self.is(NO_LINKS) { Err(io::ErrorKind::StorageFull.into()) } else { SystemDisk.link(from, to) }
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        if self.is(BROKEN_FOLDERS) { Err(io::Error::other("cannot be synced")) } else { SystemDisk.sync_folder(path) }
    }

    /// As many MiB free as the test wants, of 10 GiB; nothing is known until it says so.
    fn free(&self, _: &Path) -> io::Result<Option<Space>> {
        let free = self.1.load(Ordering::SeqCst);
        Ok((free > 0).then_some(Space { free: free << 20, total: 10 << 30 }))
    }
}

struct FragileFile {
    disk: Fragile,
    file: Box<dyn DiskFile>,
    cannot_be_synced_if: u8,
}

impl Write for FragileFile {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if self.disk.is(FULL) { Err(io::ErrorKind::StorageFull.into()) } else { self.file.write(buffer) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for FragileFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

impl DiskFile for FragileFile {
    fn sync(&mut self) -> io::Result<()> {
        if self.disk.is(self.cannot_be_synced_if) {
            Err(io::Error::other("input/output error"))
        } else {
            self.file.sync()
        }
    }
}

#[tokio::test]
async fn a_full_or_forbidden_disk_is_told_and_leaves_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Fragile::default();
    let store = LocalStore::open_with(folder.path(), LocalOptions::default().with_disk(disk.clone())).await.unwrap();
    store.write(&key("large"), vec![1; 100_000]).await.unwrap();
    for (state, kind) in [(FULL, ErrorKind::StorageFull), (FORBIDDEN, ErrorKind::PermissionDenied)] {
        disk.set(state);
        let error = store.write(&key("large"), vec![2; 100_000]).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().starts_with("put: cannot write"), "{error}");
        disk.set(WELL);
        assert_eq!(store.read(&key("large")).await.unwrap().unwrap().1[0], 1);
    }
    assert_eq!(blobs(folder.path()).len(), 1, "what failed has left nothing");
    store.write(&key("large"), vec![3; 100_000]).await.unwrap();
    assert_eq!(store.read(&key("large")).await.unwrap().unwrap().1[0], 3);
}

#[tokio::test]
async fn after_a_failed_sync_nothing_is_written_until_the_store_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Fragile::default();
    let options = LocalOptions::default().with_disk(disk.clone());
    let store = LocalStore::open_with(folder.path(), options.clone()).await.unwrap();
    store.write(&key("before"), "acknowledged").await.unwrap();
    store.write(&key("large"), vec![1; 100_000]).await.unwrap();
    assert!(store.health().is_ok());
    disk.set(BROKEN_LOG);
    // The names of large objects are in the packs; an upload is in the log alone.
    let error = store.multipart(&key("large"), Default::default()).await.unwrap_err();
    assert!(error.to_string().contains("cannot sync") && error.to_string().contains("index.db-wal"), "{error}");
    let error = store.write(&key("large"), vec![2; 100_000]).await.unwrap_err();
    assert!(error.to_string().contains("open the store anew"), "{error}");
    assert!(store.health().unwrap_err().to_string().contains("open the store anew"), "readiness is told");
    // Whether the disk works again does not matter: what it has lost meanwhile, nobody knows.
    disk.set(WELL);
    for _ in 0..2 {
        let error = store.delete(&[key("before")]).await.unwrap_err();
        assert!(error.to_string().contains("open the store anew"), "{error}");
    }
    drop(store);
    let store = LocalStore::open_with(folder.path(), options).await.unwrap();
    assert_eq!(store.read(&key("before")).await.unwrap().unwrap().1, "acknowledged");
    // It is the old one or the new one, and whole: the log may have come to the disk after all.
    assert_eq!(store.read(&key("large")).await.unwrap().unwrap().1.len(), 100_000);
    store.write(&key("after"), "written").await.unwrap();
    let report = store.fsck(FsckOptions::default(), |_| {}).await.unwrap();
    assert_eq!(report.findings, []);
}

#[tokio::test]
async fn a_small_body_that_cannot_be_written_is_told_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Fragile::default();
    let store = LocalStore::open_with(folder.path(), LocalOptions::default().with_disk(disk.clone())).await.unwrap();
    store.write(&key("small"), "before").await.unwrap();
    disk.set(FULL);
    let puts = (0..20).map(async |number| store.write(&key(&format!("{number}")), "new").await);
    for put in futures_util::future::join_all(puts).await {
        assert_eq!(put.unwrap_err().kind(), ErrorKind::StorageFull);
    }
    let error = store.write(&key("small"), "after").await.unwrap_err();
    assert!(error.to_string().starts_with("put: cannot write") && error.to_string().contains(".pack"), "{error}");
    disk.set(WELL);
    assert_eq!(store.read(&key("small")).await.unwrap().unwrap().1, "before");
    store.write(&key("small"), "after").await.unwrap();
    drop(store);
    let store = LocalStore::open(folder.path()).await.unwrap();
    assert_eq!(store.read(&key("small")).await.unwrap().unwrap().1, "after");
    assert!(store.head(&key("7")).await.unwrap().is_none(), "what failed is not there");
}

#[tokio::test]
async fn after_a_failed_sync_of_a_pack_nobody_sees_what_was_in_it() {
    for puts in [1, 20] {
        let folder = tempfile::tempdir().unwrap();
        let disk = Fragile::default();
        let options = LocalOptions::default().with_disk(disk.clone());
        let store = LocalStore::open_with(folder.path(), options).await.unwrap();
        store.write(&key("before"), "acknowledged").await.unwrap();
        disk.set(BROKEN_PACK);
        let failed = (0..puts).map(async |number| store.write(&key(&format!("{number}")), "new").await.unwrap_err());
        let failed = futures_util::future::join_all(failed).await;
        assert!(failed[0].to_string().contains("cannot sync"), "{}", failed[0]);
        disk.set(WELL);
        assert!(store.write(&key("before"), "changed").await.unwrap_err().to_string().contains("open the store anew"));
        assert!(store.head(&key("0")).await.unwrap().is_none(), "it may not be durable");
        assert_eq!(store.read(&key("before")).await.unwrap().unwrap().1, "acknowledged");
        drop(store);
        // What can be read of it may be in memory alone: it is written and synced anew before it is anybody's.
        for (state, kind) in [(FULL, ErrorKind::StorageFull), (BROKEN_PACK, ErrorKind::Internal)] {
            disk.set(state);
            let options = LocalOptions::default().with_disk(disk.clone());
            assert_eq!(LocalStore::open_with(folder.path(), options).await.unwrap_err().kind(), kind);
            disk.set(WELL);
        }
        let store = LocalStore::open(folder.path()).await.unwrap();
        assert_eq!(store.read(&key("before")).await.unwrap().unwrap().1, "acknowledged");
        assert!(store.head(&key("0")).await.unwrap().is_some());
        store.write(&key("after"), "written").await.unwrap();
        assert_eq!(store.fsck(FsckOptions::default(), |_| {}).await.unwrap().findings, []);
    }
}

#[tokio::test]
async fn what_has_changed_nothing_is_answered_when_what_it_has_seen_is_durable() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Fragile::default();
    let store = LocalStore::open_with(folder.path(), LocalOptions::default().with_disk(disk.clone())).await.unwrap();
    disk.set(BROKEN_LOG);
    // Another process may have deleted it just now.
    let error = store.delete(&[key("gone")]).await.unwrap_err();
    assert!(error.to_string().contains("cannot sync"), "{error}");
}

#[tokio::test]
async fn after_a_failed_sync_nothing_is_collected_either() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Fragile::default();
    let (clock, hours) = crate::local::shifted_clock();
    let options = LocalOptions::default().with_disk(disk.clone()).with_clock(clock);
    let store = LocalStore::open_with(folder.path(), options).await.unwrap();
    store.write(&key("large"), vec![1; 100_000]).await.unwrap();
    disk.set(BROKEN_PACK);
    store.write(&key("large"), vec![2; 100_000]).await.unwrap_err();
    disk.set(WELL);
    hours.store(1, Ordering::SeqCst);
    store.write(&key("any"), "x").await.unwrap_err();
    assert_eq!(blobs(folder.path()).len(), 2, "which of them is named on the disk, nobody knows");
}

#[tokio::test]
async fn nothing_is_collected_before_what_gave_it_up_is_durable() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Fragile::default();
    let (clock, hours) = crate::local::shifted_clock();
    let options = LocalOptions::default().with_disk(disk.clone()).with_clock(clock);
    let store = LocalStore::open_with(folder.path(), options).await.unwrap();
    for byte in [1, 2] {
        store.write(&key("large"), vec![byte; 100_000]).await.unwrap();
    }
    hours.store(1, Ordering::SeqCst);
    // By another process, as it were, which had not come to sync it: a small put syncs its pack alone.
    disk.set(BROKEN_LOG);
    let mut refused = None;
    for _ in 0..100 {
        refused = store.write(&key("small"), "x").await.err().or(refused);
    }
    // A log that could not be synced is not believed a second time.
    disk.set(WELL);
    assert!(refused.is_some_and(|error| error.to_string().contains("open the store anew")));
    store.write(&key("small"), "x").await.unwrap_err();
    assert_eq!(blobs(folder.path()).len(), 2);
}

#[tokio::test]
async fn what_cannot_be_kept_is_not_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Fragile::default();
    let store = LocalStore::open_with(folder.path(), LocalOptions::default().with_disk(disk.clone())).await.unwrap();
    store.write(&key("large"), vec![1; 100_000]).await.unwrap();
    std::fs::write(blobs(folder.path()).pop().unwrap(), vec![2; 100_000]).unwrap();
    disk.set(NO_LINKS);
    let repair = FsckOptions::default().with_repair(true);
    let error = store.fsck(repair, |_| {}).await.unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::StorageFull, "fsck"), "{error}");
    assert!(store.head(&key("large")).await.unwrap().is_some(), "it is not gone before it is kept");
    disk.set(WELL);
    assert!(store.fsck(repair, |_| {}).await.unwrap().is_clean());
    assert!(store.head(&key("large")).await.unwrap().is_none());
    let kept =
        std::fs::read_dir(folder.path().join("lost")).unwrap().map(|file| file.unwrap().metadata().unwrap().len());
    assert!(kept.into_iter().any(|length| length == 100_000));
}

#[tokio::test]
async fn a_job_that_fails_takes_none_of_its_neighbours_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalStore::open(folder.path()).await.unwrap();
    // Half of them fail in the middle of the transaction: their upload is not there.
    let upload = isobar_storage::UploadId::new("none");
    let jobs = (0..200).map(async |number: usize| {
        let name = key(&format!("{number}"));
        if number.is_multiple_of(2) {
            store.write(&name, format!("{number}")).await.map(drop)
        } else {
            store.complete_multipart(&name, &upload, Vec::new()).await.map(drop)
        }
    });
    for (number, outcome) in futures_util::future::join_all(jobs).await.into_iter().enumerate() {
        assert_eq!(outcome.is_ok(), number.is_multiple_of(2), "{number}: {outcome:?}");
        let found = store.read(&key(&format!("{number}"))).await.unwrap();
        assert_eq!(found.is_some(), number.is_multiple_of(2));
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_folder_that_may_not_be_written_is_told_by_its_name() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("closed");
    std::fs::create_dir(&inner).unwrap();
    std::fs::set_permissions(&inner, std::fs::Permissions::from_mode(0o500)).unwrap();
    // Who may do everything is not kept out.
    if std::fs::write(inner.join("probe"), "").is_ok() {
        return;
    }
    let error = LocalStore::open(inner.join("store")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert!(error.to_string().contains("closed"), "{error}");
}

#[tokio::test]
async fn puts_are_refused_before_the_disk_is_full_and_deletions_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Fragile::default();
    disk.1.store(200, Ordering::SeqCst);
    let store = LocalStore::open_with(folder.path(), LocalOptions::default().with_disk(disk.clone())).await.unwrap();
    store.write(&key("small"), "x").await.unwrap();
    // It would leave less than 64 MiB.
    let large = isobar_storage::Body::from_stream(150 << 20, futures_util::stream::pending());
    let error = store.put(&key("large"), large, Default::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert!(error.to_string().starts_with("put: ") && error.to_string().contains("200 MiB free"), "{error}");
    store.write(&key("large"), vec![1; 1 << 20]).await.unwrap();
    assert!(store.health().is_ok());

    disk.1.store(63, Ordering::SeqCst);
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let upload = isobar_storage::UploadId::new("none");
    let kinds = [
        store.write(&key("small"), "y").await.map(drop),
        store.write(&key("large"), vec![2; 100_000]).await.map(drop),
        store.copy(&key("small"), &key("copy"), Default::default()).await.map(drop),
        store.create_multipart(&key("parts"), Default::default()).await.map(drop),
        store.upload_part(&key("parts"), &upload, 1, "x".into()).await.map(drop),
        store.health(),
    ]
    .map(|outcome| outcome.unwrap_err().kind());
    assert_eq!(kinds, [ErrorKind::StorageFull; 6]);
    assert_eq!(store.read(&key("small")).await.unwrap().unwrap().1, "x");
    store.delete(&[key("large")]).await.unwrap();

    disk.1.store(65, Ordering::SeqCst);
    store.write(&key("small"), "y").await.unwrap();
    assert!(store.health().is_ok(), "it is looked at anew each time while there is no room");
    disk.1.store(1, Ordering::SeqCst);
    let options = LocalOptions::default().with_disk(disk.clone()).with_reserve_bytes(0);
    let store = LocalStore::open_with(folder.path(), options).await.unwrap();
    store.write(&key("small"), "z").await.unwrap();
}

#[tokio::test]
async fn a_body_in_flight_counts_as_written() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Fragile::default();
    disk.1.store(200, Ordering::SeqCst);
    let store = LocalStore::open_with(folder.path(), LocalOptions::default().with_disk(disk.clone())).await.unwrap();
    let endless = || isobar_storage::Body::from_stream(100 << 20, futures_util::stream::pending());
    let first = tokio::spawn({
        let store = store.clone();
        async move { store.put(&key("first"), endless(), Default::default()).await.map(drop) }
    });
    while blobs(folder.path()).is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let second = store.put(&key("second"), endless(), Default::default()).await.unwrap_err();
    assert_eq!(second.kind(), ErrorKind::StorageFull);
    first.abort();
    drop(first.await);
    store.write(&key("third"), vec![1; 50 << 20]).await.unwrap();
}

#[tokio::test]
async fn what_is_written_of_a_body_counts_once() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Fragile::default();
    disk.1.store(200, Ordering::SeqCst);
    let store = LocalStore::open_with(folder.path(), LocalOptions::default().with_disk(disk.clone())).await.unwrap();
    let first = tokio::spawn({
        let store = store.clone();
        let written = futures_util::stream::iter([Ok(bytes::Bytes::from(vec![0; 90 << 20]))]);
        let body = isobar_storage::Body::from_stream(100 << 20, written.chain(futures_util::stream::pending()));
        async move { store.put(&key("first"), body, Default::default()).await.map(drop) }
    });
    let is_written = || blobs(folder.path()).iter().any(|path| path.metadata().unwrap().len() >= 90 << 20);
    while !is_written() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await; // the disk is asked again
    disk.1.store(110, Ordering::SeqCst);
    store.write(&key("second"), vec![1; 30 << 20]).await.unwrap();
    assert!(store.health().is_ok());
    first.abort();
    drop(first.await);
}

#[tokio::test]
async fn a_pack_that_was_not_removed_goes_before_the_deletion_of_what_is_in_it() {
    for is_reopened in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let disk = Fragile::default();
        let open = async || {
            let options = LocalOptions::default().with_pack_bytes(SHORT).with_disk(disk.clone());
            LocalStore::open_with(folder.path(), options).await.unwrap()
        };
        let mut store = open().await;
        let churn = async |store: &LocalStore, rounds: usize| {
            for round in 0..rounds {
                store.write(&key("often"), format!("{round}").repeat(150)).await.unwrap();
            }
        };
        let first = folder.path().join("packs/000000000001.pack");
        store.write(&key("deleted"), "x").await.unwrap();
        disk.set(NO_REMOVALS);
        churn(&store, 60).await; // the object is relocated, and its first pack forgotten
        let index = rusqlite::Connection::open(folder.path().join("index.db")).unwrap();
        let is_forgotten = "SELECT NOT EXISTS (SELECT 1 FROM packs WHERE id = 1)";
        assert!(index.query_row(is_forgotten, [], |row| row.get::<_, bool>(0)).unwrap() && first.exists());
        drop(index);
        if is_reopened {
            drop(store);
            closed_index(folder.path());
            store = open().await;
        }
        disk.set(WELL);
        store.delete(&[key("deleted")]).await.unwrap();
        churn(&store, 200).await;
        assert!(!first.exists());
        drop(store);
        lose_index(folder.path());
        rebuild(folder.path()).await;
        let store = open().await;
        assert_eq!(read(&store, "deleted").await, None);
        assert_eq!(read(&store, "often").await, Some("199".repeat(150)));
    }
}

#[tokio::test]
async fn a_commit_succeeds_when_the_removal_of_an_old_pack_cannot_be_synced() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Fragile::default();
    let options = LocalOptions::default().with_pack_bytes(SHORT).with_disk(disk.clone());
    let store = LocalStore::open_with(folder.path(), options).await.unwrap();
    disk.set(UNSYNCED_REMOVALS);
    let mut last = String::new();
    for round in 0..200 {
        last = format!("{round}").repeat(200);
        store.write(&key("often"), last.clone()).await.unwrap();
        if store.health().is_err() {
            break;
        }
    }
    // No more is written, as after each failed sync.
    assert!(disk.is(BROKEN_FOLDERS) && store.health().is_err());
    assert!(store.write(&key("often"), "refused").await.is_err());
    disk.set(WELL);
    drop(store);
    closed_index(folder.path());
    let store = LocalStore::open(folder.path()).await.unwrap();
    assert_eq!(read(&store, "often").await, Some(last));
}
