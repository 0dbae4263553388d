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
    /// Syncing a write-ahead log fails.
    WalSync,
    /// Syncing a write-ahead log does not end.
    WalHangs,
}

/// The system's disk beneath the journal's logs and the write-ahead logs, with a fault while there is one; counts their syncs.
#[derive(Debug, Default)]
struct FaultyDisk {
    fault: Arc<Mutex<Option<Fault>>>,
    syncs: Arc<AtomicUsize>,
    wal_syncs: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct FaultyFile {
    file: Arc<dyn DiskFile>,
    fault: Arc<Mutex<Option<Fault>>>,
    syncs: Arc<AtomicUsize>,
}

/// A write-ahead log, as the journal has it open.
#[derive(Debug)]
struct FaultyWal {
    file: Arc<dyn DiskFile>,
    fault: Arc<Mutex<Option<Fault>>>,
    syncs: Arc<AtomicUsize>,
}

impl FaultyDisk {
    fn set(&self, fault: Option<Fault>) {
        *self.fault.lock().unwrap() = fault;
    }

    fn file(&self, path: &Path, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        let fault = Arc::clone(&self.fault);
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("log") => Arc::new(FaultyFile { file, fault, syncs: Arc::clone(&self.syncs) }),
            Some("db-wal") => Arc::new(FaultyWal { file, fault, syncs: Arc::clone(&self.wal_syncs) }),
            _ => file,
        }
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

impl DiskFile for FaultyWal {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at(buffer, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }
    fn sync(&self) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        loop {
            let fault = *self.fault.lock().unwrap();
            match fault {
                Some(Fault::WalHangs) => std::thread::sleep(Duration::from_millis(1)),
                Some(Fault::WalSync) => return Err(io::Error::from(io::ErrorKind::Other)),
                _ => return self.file.sync(),
            }
        }
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

/// A table of 60 pages, each with one row; what changes of a page takes some bytes of the journal.
const TABLE: &str = "CREATE TABLE t (n INTEGER, text TEXT)";
const ROWS: &str = "WITH RECURSIVE rows (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM rows WHERE n < 60)
    INSERT INTO t SELECT 10, hex(zeroblob(1500)) FROM rows";
/// Adds 60 pages to the write-ahead log, which is long with 1,000.
const CHANGE: &str = "UPDATE t SET n = n + 1";

fn sql(sql: &str) -> Value {
    json!([{"op": "sql", "sql": sql}])
}

async fn fill(host: &LocalHost<Probe>, object: &str) {
    for statement in [TABLE, ROWS] {
        act(host, object, sql(statement)).await;
    }
}

/// An object that changes its database in each turn, and has no turn without, until its file has been brought up to date.
struct Busy {
    context: SessionContext,
    objects: PathBuf,
}

impl SessionObject for Busy {
    type Env = PathBuf;

    async fn start(context: SessionContext, objects: PathBuf) -> Result<Self> {
        Ok(Self { context, objects })
    }

    async fn fetch(&self, _: Request) -> Result<Response> {
        let run = async |statement: &str| -> Result<()> {
            self.context.sql().exec(statement, ())?;
            tokio::task::yield_now().await;
            Ok(())
        };
        run(TABLE).await?;
        run("INSERT INTO t VALUES (1, 'with this row the object has a file')").await?;
        let file = files(&self.objects, ".db").remove(0);
        run(ROWS).await?;
        for _ in 0..20 {
            run(CHANGE).await?;
        }
        let mut is_up_to_date = false;
        for _ in 0..10_000 {
            is_up_to_date = std::fs::metadata(&file).is_ok_and(|file| file.len() > 60 * 4096);
            if is_up_to_date {
                break;
            }
            run("UPDATE t SET n = n + 1 WHERE rowid = 1").await?;
        }
        Ok(Response::new(is_up_to_date.to_string().into()))
    }
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
async fn failed_sync_of_a_long_write_ahead_log_ends_all_writing_and_keeps_the_journal() {
    let folder = tempfile::tempdir().unwrap();
    let disk: Arc<FaultyDisk> = Arc::default();
    let host = open(folder.path(), &disk);
    fill(&host, "a").await;
    act(&host, "b", put("before")).await;
    disk.set(Some(Fault::WalSync));
    let mut acknowledged = 10;
    let error = loop {
        match try_act(&host, "a", sql(CHANGE)).await {
            Ok(_) => acknowledged += 1,
            Err(error) => break error,
        }
        assert!(acknowledged < 100, "its write-ahead log is long, and was not synced");
        tokio::time::sleep(Duration::from_millis(2)).await;
    };
    assert_eq!(error.kind(), ErrorKind::Storage, "{error}");
    let health = host.health().await.unwrap_err().to_string();
    assert!(health.contains("a write-ahead log cannot be synced"), "{health}");
    disk.set(None); // a sync that succeeds now proves nothing
    assert_eq!(try_act(&host, "b", put("refused")).await.unwrap_err().kind(), ErrorKind::Storage);
    tokio::task::spawn_blocking(move || drop(host)).await.unwrap();
    assert!(!files(&folder.path().join("journal"), ".log").is_empty(), "the journal alone has it for certain");
    for wal in files(&folder.path().join("objects"), ".db-wal") {
        std::fs::remove_file(wal).unwrap();
    }
    let host = open(folder.path(), &disk);
    let found = act(&host, "a", sql("SELECT min(n), max(n) FROM t")).await;
    assert_eq!(found[0]["rows"], json!([[acknowledged, acknowledged]]));
}

#[tokio::test]
async fn turns_go_on_while_a_long_write_ahead_log_is_synced() {
    let folder = tempfile::tempdir().unwrap();
    let disk: Arc<FaultyDisk> = Arc::default();
    let host = open(folder.path(), &disk);
    fill(&host, "a").await;
    disk.set(Some(Fault::WalHangs));
    let turns = async {
        while disk.wal_syncs.load(Ordering::Relaxed) == 0 {
            act(&host, "a", sql(CHANGE)).await;
        }
        for object in ["a", "b"] {
            act(&host, object, put("meanwhile")).await;
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(20), turns).await;
    disk.set(None);
    ended.expect("no turn waits for the write-ahead log");
}

#[tokio::test]
async fn busy_objects_file_is_brought_up_to_date_between_its_turns() {
    let folder = tempfile::tempdir().unwrap();
    let objects = folder.path().join("objects");
    let options = HostOptions::default().with_threads(1);
    let host = LocalHost::<Busy>::open(folder.path(), "Busy", &options, move || objects.clone()).unwrap();
    let is_up_to_date = host.get(&host.id("a"), "/").await.unwrap().into_body().text().await.unwrap();
    assert_eq!(is_up_to_date, "true", "each turn has left a commit that is not durable yet");
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
