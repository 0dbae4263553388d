//! Archivers beside other programs, and on disks that fail.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use isobar_base::fs::SqliteFile;
use isobar_sqlite::journal::{Disk, DiskFile, SystemDisk};
use isobar_sqlite::{WalHeader, copy_pages};
use rusqlite::Connection;
use tempfile::TempDir;

use super::archiver::Archiver;
use super::base::Temporary;
use super::folder::Folder;
use super::follow::WalFile;
use super::format::{HEADER, Kind};
use super::index::{Index, Limit};
use super::marks::Marks;
use super::position::HistoryId;
use super::recorder::{Keeper, Recorder};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Open,
    Write,
    Sync,
}

type Question = dyn Fn(Act, &Path) -> io::Result<()> + Send + Sync;

/// The system's disk, with a question before each of these acts.
#[derive(Clone)]
struct Asking(Arc<Question>);

impl fmt::Debug for Asking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Asking")
    }
}

#[derive(Debug)]
struct AskingFile {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    disk: Asking,
}

impl Asking {
    fn file(&self, path: &Path, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(AskingFile { file, path: path.to_owned(), disk: self.clone() })
    }
}

impl Disk for Asking {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(path, SystemDisk.create(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        (self.0)(Act::Open, path)?;
        Ok(self.file(path, SystemDisk.open(path)?))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        SystemDisk.remove(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        SystemDisk.sync_folder(path)
    }
}

impl DiskFile for AskingFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        (self.disk.0)(Act::Write, &self.path)?;
        self.file.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        (self.disk.0)(Act::Sync, &self.path)?;
        self.file.sync()
    }

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }
}

fn is(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}

/// A database, and another program that has it open and copies no log by itself.
struct Place {
    _folder: TempDir,
    path: PathBuf,
    shell: Arc<Mutex<Connection>>,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = super::folder::real_path(folder.path()).join("a.db");
        let shell = Connection::open(&path).unwrap();
        let settings = "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; PRAGMA synchronous = OFF";
        shell.execute_batch(settings).unwrap();
        shell.execute_batch("CREATE TABLE t (n)").unwrap();
        shell.busy_timeout(Duration::ZERO).unwrap();
        Self { _folder: folder, path, shell: Arc::new(Mutex::new(shell)) }
    }

    fn run(&self, sql: &str) {
        self.shell.lock().unwrap().execute_batch(sql).unwrap();
    }

    fn copy_log(&self) {
        let shell = self.shell.lock().unwrap();
        shell.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).unwrap();
    }

    fn folder(&self, disk: &Arc<dyn Disk>) -> Folder {
        Folder::of(&self.path, Arc::clone(disk))
    }

    fn open(&self, disk: &Arc<dyn Disk>) -> (Archiver, Marks) {
        let marks = Marks::new(WalFile::new(&self.path, Arc::clone(disk)));
        let start = Instant::now();
        loop {
            if let Some(archiver) = Archiver::open(&self.path, &self.folder(disk), &marks).unwrap() {
                return (archiver, marks);
            }
            // A process that another test starts has a copy of a lock that was held, until it runs its program.
            assert!(start.elapsed() < Duration::from_secs(10), "another process keeps it");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Opens it, and takes a snapshot.
    fn open_with_base(&self, disk: &Arc<dyn Disk>) -> (Archiver, Marks) {
        let (mut archiver, marks) = self.open(disk);
        self.take_base(&mut archiver, &marks, disk);
        (archiver, marks)
    }

    fn take_base(&self, archiver: &mut Archiver, marks: &Marks, disk: &Arc<dyn Disk>) {
        let base = archiver.begin_base(marks).unwrap().write(&self.folder(disk), || false).unwrap();
        archiver.take_base(base);
    }

    /// Spoils the headers of the history's logs, but for so many old ones.
    fn damage_logs(&self, disk: &Arc<dyn Disk>, kept: usize) {
        let entries = self.folder(disk).entries().unwrap();
        let logs = entries.into_iter().filter(|entry| entry.kind == Kind::Log);
        let logs: Vec<_> = logs.skip(kept).collect();
        assert!(!logs.is_empty());
        for log in logs {
            let mut bytes = std::fs::read(&log.path).unwrap();
            bytes[HEADER / 2] ^= 1;
            std::fs::write(&log.path, bytes).unwrap();
        }
    }

    fn check(&self, disk: &Arc<dyn Disk>) {
        assert_eq!(self.compare(disk).report().gaps, []);
    }

    /// Compares the newest state with the database.
    fn compare(&self, disk: &Arc<dyn Disk>) -> Index {
        let folder = self.folder(disk);
        let index = Index::read(&folder).unwrap().unwrap();
        let image = Temporary::new(&folder).unwrap();
        index.plan(index.find(Limit::Newest).unwrap()).unwrap().build(&image.path).unwrap();
        let archived = rows(&Connection::open(&image.path).unwrap());
        assert_eq!(archived, rows(&self.shell.lock().unwrap()), "of the history, and of the database");
        index
    }
}

fn rows(connection: &Connection) -> Vec<String> {
    let mut select = connection.prepare("SELECT hex(substr(n, 1, 20)) FROM t ORDER BY rowid").unwrap();
    select.query_map([], |row| row.get(0)).unwrap().collect::<rusqlite::Result<_>>().unwrap()
}

#[test]
fn a_log_that_the_file_has_all_of_is_archived_before_it_begins_anew() {
    let place = Place::new();
    let system: Arc<dyn Disk> = Arc::new(SystemDisk);
    drop(place.open_with_base(&system));
    // The process that kept the history has been killed; nothing keeps the log of what is written now.
    place.run("INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)");
    place.copy_log();
    let shell = Arc::clone(&place.shell);
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    let disk: Arc<dyn Disk> = Arc::new(Asking(Arc::new(move |act, path| {
        if act == Act::Open && is(path, "log") {
            // The first write would begin the log anew, just while the history is opened. It may have to wait.
            drop(shell.lock().unwrap().execute_batch("INSERT INTO t VALUES (3)"));
            counted.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    })));
    let (mut archiver, marks) = place.open(&disk);
    assert_eq!(tries.load(Ordering::SeqCst), 1);
    place.run("INSERT INTO t VALUES (4)");
    archiver.archive(&marks).unwrap();
    place.check(&disk);
}

#[test]
fn what_an_anchor_leaves_is_durable_in_the_history() {
    let place = Place::new();
    let shell = Arc::clone(&place.shell);
    let wal = WalFile::new(&place.path, Arc::new(SystemDisk));
    let wal = Mutex::new(wal);
    let begun_anew = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&begun_anew);
    let disk: Arc<dyn Disk> = Arc::new(Asking(Arc::new(move |act, path| {
        if act == Act::Sync && is(path, "log") {
            let salts = || wal.lock().unwrap().header().unwrap().map(|header: WalHeader| header.salts());
            let before = salts();
            // A write begins the log anew if no anchor keeps it. Just now one may have it locked.
            drop(shell.lock().unwrap().execute_batch("INSERT INTO t VALUES (3)"));
            counted.fetch_add(usize::from(salts() != before), Ordering::SeqCst);
        }
        Ok(())
    })));
    let (mut archiver, marks) = place.open_with_base(&disk);
    archiver.turn(&marks, |_| place.run("INSERT INTO t VALUES (1)")).unwrap();
    place.copy_log();
    archiver.turn(&marks, |_| ()).unwrap();
    assert_eq!(begun_anew.load(Ordering::SeqCst), 0, "the log began anew before its archive was synced");
    archiver.archive(&marks).unwrap();
    place.check(&disk);
}

#[test]
fn after_a_failure_nothing_is_appended_until_the_history_is_opened_again() {
    let place = Place::new();
    // Writes of the log from this one on fail.
    let left = Arc::new(AtomicUsize::new(usize::MAX));
    let counted = Arc::clone(&left);
    let disk: Arc<dyn Disk> = Arc::new(Asking(Arc::new(move |act, path| {
        let is_counted = act == Act::Write && is(path, "log") && counted.load(Ordering::SeqCst) != usize::MAX;
        if is_counted && counted.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_err() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    })));
    let (mut archiver, marks) = place.open_with_base(&disk);
    place.run("INSERT INTO t VALUES (randomblob(1200000)); INSERT INTO t VALUES (randomblob(1200000))");
    left.store(1, Ordering::SeqCst);
    let error = archiver.begin_base(&marks).unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::StorageFull);
    left.store(usize::MAX, Ordering::SeqCst);
    // It would append some frames once more.
    assert_eq!(archiver.archive(&marks).unwrap_err().kind(), crate::ErrorKind::StorageFull);
    drop(archiver);
    let (mut archiver, marks) = place.open(&disk);
    place.run("INSERT INTO t VALUES (5)");
    archiver.archive(&marks).unwrap();
    place.check(&disk);
    let index = Index::read(&place.folder(&disk)).unwrap().unwrap();
    assert_eq!(index.find(Limit::Newest).unwrap(), archiver.newest());
}

#[test]
fn what_a_failed_sync_may_have_lost_is_archived_again() {
    let place = Place::new();
    let fails = Arc::new(AtomicUsize::new(0));
    let asked = Arc::clone(&fails);
    let disk: Arc<dyn Disk> = Arc::new(Asking(Arc::new(move |act, path| {
        let fails = act == Act::Sync && is(path, "log") && asked.load(Ordering::SeqCst) != 0;
        if fails { Err(io::Error::other("the disk is broken")) } else { Ok(()) }
    })));
    let (mut archiver, marks) = place.open_with_base(&disk);
    let bytes = || Index::read(&place.folder(&disk)).unwrap().unwrap().bytes();
    let before = bytes();
    place.run("INSERT INTO t VALUES (1)");
    archiver.archive(&marks).unwrap();
    assert!(bytes() > before);
    fails.store(1, Ordering::SeqCst);
    archiver.sync().unwrap_err();
    fails.store(0, Ordering::SeqCst);
    assert_eq!(bytes(), before);
    archiver.sync().unwrap_err();
    archiver.archive(&marks).unwrap_err();
    drop(archiver);
    let _reopened = place.open(&disk);
    place.check(&disk);
}

#[test]
fn a_history_whose_logs_are_damaged_begins_again_behind_all_of_its_states() {
    let place = Place::new();
    let system: Arc<dyn Disk> = Arc::new(SystemDisk);
    let (archiver, _) = place.open_with_base(&system);
    let first = archiver.newest();
    drop(archiver);
    place.damage_logs(&system, 0);
    place.run("INSERT INTO t VALUES (1); PRAGMA wal_checkpoint(TRUNCATE)");
    assert_eq!(std::fs::metadata(SqliteFile::Wal.beside(&place.path)).unwrap().len(), 0);
    let (mut archiver, marks) = place.open_with_base(&system);
    place.run("INSERT INTO t VALUES (2)");
    archiver.archive(&marks).unwrap();
    let index = place.compare(&system);
    assert_eq!(index.find(Limit::Newest).unwrap(), archiver.newest());
    assert_eq!(index.find(Limit::At(first.position)).unwrap(), first);
    assert_eq!(index.report().gaps.len(), 1);
}

#[test]
fn a_history_whose_newest_log_is_damaged_does_not_go_on_in_one_before_its_newest_snapshot() {
    let place = Place::new();
    let system: Arc<dyn Disk> = Arc::new(SystemDisk);
    let (mut archiver, marks) = place.open_with_base(&system);
    place.run("INSERT INTO t VALUES (1)");
    place.take_base(&mut archiver, &marks, &system);
    place.run("INSERT INTO t VALUES (2)");
    archiver.archive(&marks).unwrap();
    drop(archiver);
    place.damage_logs(&system, 1);
    let (mut archiver, marks) = place.open(&system);
    if archiver.wants_base() {
        place.take_base(&mut archiver, &marks, &system);
    }
    place.run("INSERT INTO t VALUES (3)");
    archiver.archive(&marks).unwrap();
    let index = place.compare(&system);
    assert_eq!(index.find(Limit::Newest).unwrap(), archiver.newest());
}

/// A history that was begun again behind a gap, on the same write-ahead log, while another process follows it: the process that keeps
/// it, its marks, and the follower.
fn begun_again(place: &Place, disk: &Arc<dyn Disk>) -> (Archiver, Marks, Arc<Recorder>) {
    let (archiver, _) = place.open_with_base(disk);
    let follower = Recorder::open(&place.path, None, Arc::clone(disk)).unwrap();
    let before = archiver.newest().position.generation;
    drop(archiver);
    place.damage_logs(disk, 0);
    let (archiver, marks) = place.open_with_base(disk);
    assert!(archiver.newest().position.generation > before);
    (archiver, marks, follower)
}

#[test]
fn a_follower_waits_for_the_last_commit_behind_a_gap_too() {
    let place = Place::new();
    let system: Arc<dyn Disk> = Arc::new(SystemDisk);
    let (mut archiver, marks, follower) = begun_again(&place, &system);
    place.run("INSERT INTO t VALUES (1)");
    let asks = Arc::clone(&follower);
    let answer = thread::spawn(move || asks.settle());
    thread::sleep(Duration::from_millis(200));
    archiver.archive(&marks).unwrap();
    archiver.sync().unwrap();
    assert_eq!(answer.join().unwrap().unwrap(), archiver.newest());
}

#[test]
fn a_follower_counts_its_commits_behind_a_gap_as_the_process_that_keeps_the_history() {
    let place = Place::new();
    let system: Arc<dyn Disk> = Arc::new(SystemDisk);
    let (archiver, _marks, follower) = begun_again(&place, &system);
    let generation = || follower.committed(1).unwrap().generation;
    assert!(generation() < archiver.newest().position.generation);
    let _keeper = Keeper::start(&follower).unwrap();
    let start = Instant::now();
    while generation() != archiver.newest().position.generation {
        assert!(start.elapsed() < Duration::from_secs(10), "it has not looked at the files");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_copy_into_a_database_that_stays_locked_ends() {
    let place = Place::new();
    let from = Connection::open_in_memory().unwrap();
    from.execute_batch("CREATE TABLE t (n); INSERT INTO t VALUES (7)").unwrap();
    let mut into = Connection::open(&place.path).unwrap();
    into.busy_timeout(Duration::from_millis(50)).unwrap();
    place.run("BEGIN IMMEDIATE");
    let start = Instant::now();
    let error = copy_pages(&from, &mut into, || start.elapsed() > Duration::from_secs(10)).unwrap_err();
    assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::DatabaseBusy), "{error}");
    place.run("ROLLBACK");
    copy_pages(&from, &mut into, || false).unwrap();
    assert_eq!(rows(&place.shell.lock().unwrap()), ["37"]);
}

#[test]
fn a_snapshot_that_fails_or_is_stopped_leaves_nothing_on_the_disk() {
    let place = Place::new();
    let disk: Arc<dyn Disk> = Arc::new(Asking(Arc::new(|act, path| match act {
        Act::Sync if is(path, "base") => Err(io::ErrorKind::StorageFull.into()),
        _ => Ok(()),
    })));
    let (mut archiver, marks) = place.open(&disk);
    let folder = place.folder(&disk);
    for must_stop in [false, true] {
        place.run("INSERT INTO t VALUES (1)");
        let snapshot = archiver.begin_base(&marks).unwrap();
        snapshot.write(&folder, || must_stop).unwrap_err();
        let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let left: Vec<_> = names.filter(|path| is(path, "base") || is(path, "tmp")).collect();
        assert_eq!(left, [] as [PathBuf; 0], "{must_stop}");
    }
}

#[test]
fn write_ahead_logs_are_counted_though_this_process_writes_nothing() {
    let place = Place::new();
    let mut file = WalFile::new(&place.path, Arc::new(SystemDisk));
    let marks = Marks::new(WalFile::new(&place.path, Arc::new(SystemDisk)));
    marks.set(HistoryId([0; 16]), 10, file.header().unwrap().unwrap().salts());
    for number in 1..=300 {
        place.copy_log();
        place.run("INSERT INTO t VALUES (1)");
        if number % 100 == 0 {
            marks.look();
        }
    }
    assert_eq!(marks.generation(&file.header().unwrap().unwrap()), 310);
}

#[tokio::test]
async fn a_restore_whose_archiving_fails_says_that_the_database_is_restored() {
    use crate::{Database, HistoryOptions, QueryableExt, SqliteDatabase, SqliteOptions};
    let folder = tempfile::tempdir().unwrap();
    let fails = Arc::new(AtomicUsize::new(0));
    let asked = Arc::clone(&fails);
    let disk: Arc<dyn Disk> = Arc::new(Asking(Arc::new(move |act, path| {
        let fails = act == Act::Write && is(path, "log") && asked.load(Ordering::SeqCst) != 0;
        if fails { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    })));
    let options = SqliteOptions::default().with_history(HistoryOptions::default());
    let db = SqliteDatabase::open_on(folder.path().join("a.db"), options, disk).await.unwrap();
    db.run_script("CREATE TABLE t (n); INSERT INTO t VALUES (1);").await.unwrap();
    let travel = db.time_travel().unwrap();
    let one = travel.bookmark(None).await.unwrap();
    db.run_script("DELETE FROM t;").await.unwrap();
    travel.bookmark(None).await.unwrap();
    fails.store(1, Ordering::SeqCst);
    let error = travel.restore(&one).await.unwrap_err();
    assert!(error.message().contains("the database is restored"), "{error}");
    assert_eq!(error.kind(), crate::ErrorKind::StorageFull);
    assert_eq!(db.prepare("SELECT n FROM t").one::<i64>().await.unwrap(), 1);
}
