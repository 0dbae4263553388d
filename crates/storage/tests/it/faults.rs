//! A disk that fails: the caller is told, and nothing that was acknowledged is lost.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use isobar_storage::local::{Disk, DiskFile, FsckOptions, LocalOptions, LocalStore, SystemDisk};
use isobar_storage::{ErrorKind, ObjectStore, ObjectStoreExt};

use crate::fsck::blobs;
use crate::local::key;

const WELL: u8 = 0;
const FULL: u8 = 1;
const FORBIDDEN: u8 = 2;
/// Writing the log seems to work; syncing it does not.
const BROKEN_LOG: u8 = 3;
const NO_LINKS: u8 = 4;

/// The system's disk, until it is told to fail.
#[derive(Debug, Clone, Default)]
struct Fragile(Arc<AtomicU8>);

impl Fragile {
    fn is(&self, state: u8) -> bool {
        self.0.load(Ordering::SeqCst) == state
    }

    fn set(&self, state: u8) {
        self.0.store(state, Ordering::SeqCst);
    }
}

impl Disk for Fragile {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        if self.is(FORBIDDEN) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(Box::new(FragileFile { disk: self.clone(), file: SystemDisk.create(path)?, is_log: false }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(FragileFile { disk: self.clone(), file: SystemDisk.open(path)?, is_log: true }))
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        SystemDisk.create_folder(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        SystemDisk.remove(path)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        if self.is(NO_LINKS) { Err(io::ErrorKind::StorageFull.into()) } else { SystemDisk.link(from, to) }
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        SystemDisk.sync_folder(path)
    }
}

struct FragileFile {
    disk: Fragile,
    file: Box<dyn DiskFile>,
    is_log: bool,
}

impl Write for FragileFile {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if self.disk.is(FULL) { Err(io::ErrorKind::StorageFull.into()) } else { self.file.write(buffer) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl DiskFile for FragileFile {
    fn sync(&mut self) -> io::Result<()> {
        if self.is_log && self.disk.is(BROKEN_LOG) {
            Err(io::Error::other("input/output error"))
        } else {
            self.file.sync()
        }
    }
}

#[tokio::test]
async fn a_full_or_forbidden_disk_is_told_and_leaves_what_was_there() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), Fragile::default());
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
    let (folder, disk) = (tempfile::tempdir().unwrap(), Fragile::default());
    let options = LocalOptions::default().with_disk(disk.clone());
    let store = LocalStore::open_with(folder.path(), options.clone()).await.unwrap();
    store.write(&key("before"), "acknowledged").await.unwrap();
    store.write(&key("large"), vec![1; 100_000]).await.unwrap();
    disk.set(BROKEN_LOG);
    let error = store.write(&key("large"), vec![2; 100_000]).await.unwrap_err();
    assert!(error.to_string().contains("cannot sync") && error.to_string().contains("index.db-wal"), "{error}");
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
async fn what_cannot_be_kept_is_not_given_up() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), Fragile::default());
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
