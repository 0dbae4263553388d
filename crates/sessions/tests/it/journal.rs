//! The journal of a host: what it puts back, and a disk that fails beneath it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use isobar_sessions::conformance::{self, Probe};
use isobar_sessions::local::{HostOptions, LocalHost};
use isobar_sessions::{
    ErrorKind, Request, Response, Result, SessionContext, SessionNamespace, SessionNamespaceExt, SessionObject,
};
use isobar_sqlite::journal::{Disk, DiskFile, SystemDisk};
use serde_json::{Value, json};

use super::faults::{act, put, try_act};
use super::restart::copy;

/// A fault of the disk beneath the logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Writing finds no room.
    Full,
    /// Syncing fails.
    Sync,
}

/// The system's disk, with a fault while there is one; counts the syncs of logs.
#[derive(Debug, Default)]
struct FaultyDisk {
    fault: Arc<Mutex<Option<Fault>>>,
    syncs: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct FaultyFile {
    file: Arc<dyn DiskFile>,
    fault: Arc<Mutex<Option<Fault>>>,
    syncs: Arc<AtomicUsize>,
}

impl FaultyDisk {
    fn set(&self, fault: Option<Fault>) {
        *self.fault.lock().unwrap() = fault;
    }

    fn file(&self, path: &Path, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        if path.extension().is_none_or(|extension| extension != "log") {
            return file;
        }
        Arc::new(FaultyFile { file, fault: Arc::clone(&self.fault), syncs: Arc::clone(&self.syncs) })
    }
}

impl FaultyFile {
    fn check(&self, fault: Fault, kind: io::ErrorKind) -> io::Result<()> {
        if *self.fault.lock().unwrap() == Some(fault) { Err(io::Error::from(kind)) } else { Ok(()) }
    }
}

impl Disk for FaultyDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(path, SystemDisk.create(path)?))
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(path, SystemDisk.open(path)?))
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        SystemDisk.remove(path)
    }
    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        SystemDisk.sync_folder(path)
    }
}

impl DiskFile for FaultyFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at(buffer, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.check(Fault::Full, io::ErrorKind::StorageFull)?;
        self.file.write_at(bytes, offset)
    }
    fn sync(&self) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.check(Fault::Sync, io::ErrorKind::Other)?;
        self.file.sync()
    }
    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }
}

fn open(folder: &Path, disk: &Arc<FaultyDisk>) -> LocalHost<Probe> {
    let options = HostOptions::default().with_threads(1).with_journal_disk(Arc::clone(disk) as _);
    LocalHost::open(folder, "Probe", &options, || ()).unwrap()
}

/// An object that reports, from outside of its events, whether what it has written is durable.
struct Reporter {
    context: SessionContext,
    reports: mpsc::Sender<Result<()>>,
}

impl SessionObject for Reporter {
    type Env = mpsc::Sender<Result<()>>;

    async fn start(context: SessionContext, reports: Self::Env) -> Result<Self> {
        Ok(Self { context, reports })
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        let context = self.context.clone();
        if request.uri().path() == "/read" {
            return Ok(Response::new(format!("{:?}", context.kv().get::<u8>("k")?).into()));
        }
        let count = context.kv().get::<u8>("k")?.unwrap_or_default() + 1;
        context.kv().put("k", &count)?;
        if request.uri().path() == "/alarm" {
            context.set_alarm(chrono::Utc::now() + chrono::Duration::hours(1))?;
            return Ok(Response::default());
        }
        let reports = self.reports.clone();
        tokio::task::spawn_local(async move { reports.send(context.durable().await) });
        Ok(Response::default())
    }
}

fn reporters(folder: &Path, disk: &Arc<FaultyDisk>) -> (LocalHost<Reporter>, mpsc::Receiver<Result<()>>) {
    let options = HostOptions::default().with_threads(1).with_journal_disk(Arc::clone(disk) as _);
    let (reports, reported) = mpsc::channel();
    (LocalHost::open(folder, "Reporter", &options, move || reports.clone()).unwrap(), reported)
}

fn get(key: &str) -> Value {
    json!([{"op": "get", "key": key}])
}

fn files(folder: &Path, suffix: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, suffix));
        } else if path.to_string_lossy().ends_with(suffix) {
            found.push(path);
        }
    }
    found
}

#[tokio::test]
async fn local_conforms_without_a_journal() {
    let folder = tempfile::tempdir().unwrap();
    let options = HostOptions::default().with_journal_bytes(0);
    let host = LocalHost::<Probe>::open(folder.path(), "Probe", &options, || ()).unwrap();
    conformance::run(async || Arc::new(host.clone()) as _).await.assert_green();
    assert!(!folder.path().join("journal").exists());
}

#[tokio::test]
async fn turns_are_put_back_from_the_journal_alone_and_an_orderly_end_leaves_none() {
    let folder = tempfile::tempdir().unwrap();
    let crashed = tempfile::tempdir().unwrap();
    let disk = Arc::default();
    let host = open(folder.path(), &disk);
    for round in ["first", "second", "third"] {
        for object in ["a", "b", "c"] {
            act(&host, object, put(round)).await;
        }
    }
    copy(folder.path(), crashed.path());
    assert_eq!(files(crashed.path(), ".db-wal").len(), 4, "those of the objects, and the index's");
    for wal in files(&crashed.path().join("objects"), ".db-wal") {
        std::fs::remove_file(wal).unwrap();
    }
    for _ in 0..2 {
        let host = open(crashed.path(), &disk);
        for object in ["a", "b", "c"] {
            assert_eq!(act(&host, object, get("third")).await, json!([1]), "{object}");
        }
        tokio::task::spawn_blocking(move || drop(host)).await.unwrap();
        assert!(!crashed.path().join("journal").exists());
        assert!(files(crashed.path(), "-wal").is_empty());
    }
}

#[tokio::test]
async fn turns_at_once_share_syncs() {
    let folder = tempfile::tempdir().unwrap();
    let disk: Arc<FaultyDisk> = Arc::default();
    let host = open(folder.path(), &disk);
    let names: Vec<_> = (0..64).map(|number| number.to_string()).collect();
    for _ in 0..2 {
        for name in &names {
            act(&host, name, put("before")).await;
        }
    }
    let before = disk.syncs.load(Ordering::Relaxed);
    for round in 0..10 {
        let key = round.to_string();
        futures_util::future::join_all(names.iter().map(|name| act(&host, name, put(&key)))).await;
    }
    let syncs = disk.syncs.load(Ordering::Relaxed) - before;
    assert!((10..320).contains(&syncs), "{syncs} syncs for 640 turns");
}

#[tokio::test]
async fn a_full_disk_beneath_the_journal_loses_no_turn_and_shows_in_the_health() {
    let folder = tempfile::tempdir().unwrap();
    let crashed = tempfile::tempdir().unwrap();
    let disk: Arc<FaultyDisk> = Arc::default();
    let host = open(folder.path(), &disk);
    act(&host, "a", put("first")).await;
    act(&host, "a", put("before")).await;
    disk.set(Some(Fault::Full));
    act(&host, "a", put("meanwhile")).await;
    act(&host, "a", put("again")).await;
    let error = host.health().await.unwrap_err();
    assert!(error.kind() == ErrorKind::Storage && error.to_string().contains("journal"), "{error}");
    copy(folder.path(), crashed.path());
    disk.set(None);
    act(&host, "a", put("after")).await;
    host.health().await.unwrap();
    drop(host);
    for (folder, key) in [(crashed.path(), "again"), (folder.path(), "after")] {
        let host = open(folder, &disk);
        assert_eq!(act(&host, "a", get(key)).await, json!([1]), "{key}");
    }
}

#[tokio::test]
async fn a_failed_sync_of_the_journal_ends_all_writing_until_the_host_is_opened_anew() {
    let folder = tempfile::tempdir().unwrap();
    let disk: Arc<FaultyDisk> = Arc::default();
    let host = open(folder.path(), &disk);
    for object in ["a", "b"] {
        act(&host, object, put("first")).await;
        act(&host, object, put("before")).await;
    }
    disk.set(Some(Fault::Sync));
    let error = try_act(&host, "a", put("lost")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Storage, "{error}");
    disk.set(None);
    for object in ["a", "b"] {
        let error = try_act(&host, object, put("refused")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Storage, "{error}");
    }
    assert_eq!(host.health().await.unwrap_err().kind(), ErrorKind::Storage);
    assert_eq!(act(&host, "b", get("before")).await, json!([1]), "what is certain is read");
    assert!(try_act(&host, "a", get("lost")).await.is_err(), "what is not certain is not");
    tokio::task::spawn_blocking(move || drop(host)).await.unwrap();
    let host = open(folder.path(), &disk);
    for object in ["a", "b"] {
        assert_eq!(act(&host, object, get("before")).await, json!([1]));
        act(&host, object, put("after")).await;
    }
}

#[tokio::test]
async fn an_object_that_cannot_be_put_back_is_withheld_alone() {
    let folder = tempfile::tempdir().unwrap();
    let crashed = tempfile::tempdir().unwrap();
    let disk = Arc::default();
    let host = open(folder.path(), &disk);
    for object in ["a", "b"] {
        act(&host, object, put("first")).await;
        act(&host, object, put("second")).await;
    }
    copy(folder.path(), crashed.path());
    let hex = host.id("a").to_string();
    let wal = crashed.path().join("objects").join(&hex[..2]).join(hex.clone() + ".db-wal");
    std::fs::remove_file(&wal).unwrap();
    std::fs::create_dir(&wal).unwrap();
    for _ in 0..2 {
        let host = open(crashed.path(), &disk);
        assert_eq!(act(&host, "b", get("second")).await, json!([1]));
        let error = try_act(&host, "a", get("second")).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Damaged && error.to_string().contains(&hex), "{error}");
        let listed = host.list().await.unwrap();
        let damaged: Vec<_> =
            listed.iter().filter(|object| object.damage.is_some()).map(|object| object.id.to_string()).collect();
        assert_eq!(damaged, [hex.as_str()]);
        tokio::task::spawn_blocking(move || drop(host)).await.unwrap();
    }
    std::fs::remove_dir(&wal).unwrap();
    let host = open(crashed.path(), &disk);
    assert_eq!(act(&host, "a", get("second")).await, json!([1]));
}

#[tokio::test]
async fn a_damaged_journal_is_refused_until_it_is_moved_away() {
    let folder = tempfile::tempdir().unwrap();
    let crashed = tempfile::tempdir().unwrap();
    let disk = Arc::default();
    let host = open(folder.path(), &disk);
    for key in ["first", "second", "third", "fourth"] {
        act(&host, "a", put(key)).await;
    }
    copy(folder.path(), crashed.path());
    let log = crashed.path().join("journal/0-a.log");
    let mut bytes = std::fs::read(&log).unwrap();
    let second = (1..).map(|sector| sector * 512).find(|at| bytes[*at..*at + 4] == *b"IBJ1").unwrap();
    bytes[second + 40] ^= 1;
    std::fs::write(&log, bytes).unwrap();
    let options = HostOptions::default().with_threads(1);
    let open = || LocalHost::<Probe>::open(crashed.path(), "Probe", &options, || ());
    let error = open().unwrap_err();
    assert!(error.kind() == ErrorKind::Damaged && error.to_string().contains("0-a.log"), "{error}");
    assert!(open().is_err(), "it is left as it is");
    std::fs::rename(crashed.path().join("journal"), crashed.path().join("given up")).unwrap();
    assert_eq!(act(&open().unwrap(), "a", get("first")).await, json!([1]));
}

#[tokio::test]
async fn durable_fails_when_what_was_written_may_be_lost() {
    let folder = tempfile::tempdir().unwrap();
    let disk: Arc<FaultyDisk> = Arc::default();
    let (host, reported) = reporters(folder.path(), &disk);
    let id = host.id("a");
    let next = || reported.recv_timeout(Duration::from_secs(10)).expect("it reports");
    for _ in 0..2 {
        host.get(&id, "/").await.unwrap();
        next().unwrap();
    }
    disk.set(Some(Fault::Sync));
    assert_eq!(host.get(&id, "/").await.unwrap_err().kind(), ErrorKind::Storage);
    assert_eq!(next().unwrap_err().kind(), ErrorKind::Storage);
}

#[tokio::test]
async fn object_whose_alarm_may_be_lost_is_refused_and_does_not_hang() {
    let folder = tempfile::tempdir().unwrap();
    let disk: Arc<FaultyDisk> = Arc::default();
    let (host, _reported) = reporters(folder.path(), &disk);
    let id = host.id("a");
    for _ in 0..2 {
        host.get(&id, "/").await.unwrap();
    }
    disk.set(Some(Fault::Sync));
    assert_eq!(host.get(&id, "/alarm").await.unwrap_err().kind(), ErrorKind::Storage);
    disk.set(None);
    let read = tokio::time::timeout(Duration::from_secs(10), host.get(&id, "/read")).await.expect("it is answered");
    assert_eq!(read.unwrap_err().kind(), ErrorKind::Storage, "what is not certain is not read");
    tokio::task::spawn_blocking(move || drop(host)).await.unwrap();
    let (host, _reported) = reporters(folder.path(), &disk);
    let read = host.get(&id, "/read").await.unwrap().into_body().text().await.unwrap();
    assert!(["Some(2)", "Some(3)"].contains(&read.as_str()), "{read}");
}

#[tokio::test]
async fn journal_of_a_size_out_of_its_range_is_refused_and_the_range_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let open = |bytes| {
        let options = HostOptions::default().with_threads(1).with_journal_bytes(bytes);
        LocalHost::<Probe>::open(folder.path(), "Probe", &options, || ())
    };
    for bytes in [1, (64 << 10) - 1, (256 << 20) + 1, u64::MAX] {
        let error = open(bytes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        for part in [&bytes.to_string(), "journal_bytes", "65536 to 268435456", "0 for no journal"] {
            assert!(error.message().contains(part), "{error}");
        }
    }
    for bytes in [0, 64 << 10, 100_001, 256 << 20] {
        act(&open(bytes).unwrap(), "a", put("k")).await;
    }
}
