//! Histories beside a model: the images of all states.

use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::journal::{Disk, DiskFile, SystemDisk};
use crate::{WalPages, copy_pages, image_of, open_image};

/// Small random numbers: the same seed, the same numbers.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// A database with a history, and the images of its states.
struct Place {
    connection: Connection,
    wal: WalPages,
    history: PageHistory,
    times: Vec<(u32, i64)>,
    clock: i64,
    bounds: HistoryBounds,
    images: Vec<Vec<u8>>,
    log: Arc<dyn DiskFile>,
    database: Arc<dyn DiskFile>,
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let mut connection = Connection::open(&path).unwrap();
        let settings = "PRAGMA page_size = 512; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA locking_mode = EXCLUSIVE;
            PRAGMA journal_mode = WAL; PRAGMA cache_size = 10; CREATE TABLE t (a INTEGER PRIMARY KEY, b)";
        connection.execute_batch(settings).unwrap();
        let wal = WalPages::count(&mut connection).unwrap();
        let log = SystemDisk.open(&folder.path().join("a.db-wal")).unwrap();
        let database = SystemDisk.open(&path).unwrap();
        let files = DatabaseFiles { wal: Some(&*log), database: &*database };
        let beginning = Beginning { page_size: files.page_size().unwrap(), mark: files.mark().unwrap(), time: 1000 };
        let history = PageHistory::create(&Self::path(&folder), &beginning).unwrap();
        let mut place = Self {
            connection,
            wal,
            history,
            times: Vec::new(),
            clock: 1000,
            bounds: HistoryBounds::default(),
            images: Vec::new(),
            log,
            database,
            folder,
        };
        place.note();
        place.times.clear();
        place
    }

    fn path(folder: &TempDir) -> PathBuf {
        folder.path().join("history").join("a.db")
    }

    fn image(&self) -> Vec<u8> {
        image_of(&self.connection).unwrap()
    }

    /// Remembers the state after a commit.
    fn note(&mut self) {
        let image = self.image();
        self.images.push(image);
        self.times.push((self.wal.pages(), self.clock));
    }

    fn run(&mut self, sql: &str) {
        self.clock += 10;
        let _ = self.wal.take_committed(); // of what was before
        self.connection.execute_batch(sql).unwrap();
        if self.wal.take_committed().is_some() {
            self.note();
        }
    }

    fn archive(&mut self) {
        let files = DatabaseFiles { wal: Some(&*self.log), database: &*self.database };
        self.history.archive(&files, &self.times, self.clock, self.bounds).unwrap();
        self.times.clear();
        assert_eq!(self.newest(), self.images.len() as u64 - 1);
    }

    fn newest(&self) -> u64 {
        self.history.state().unwrap().newest.number
    }

    fn checkpoint(&mut self) {
        self.archive();
        self.wal.checkpoint_now(&self.connection).map_err(|failure| failure.message).unwrap();
    }

    fn reopen_history(&mut self) {
        self.history = PageHistory::open(&Self::path(&self.folder)).unwrap().unwrap();
    }

    /// Compares a state with the model's.
    fn check(&self, number: u64) {
        let mut image = self.image();
        self.history.rewind(&mut image, number).unwrap();
        let expected = &self.images[usize::try_from(number).unwrap()];
        assert!(rows(&image) == rows(expected), "state {number}");
        assert_eq!(image.len(), expected.len(), "state {number}");
    }

    fn restore(&mut self, number: u64) {
        let mut image = self.image();
        self.history.rewind(&mut image, number).unwrap();
        self.clock += 10;
        copy_pages(&open_image(image).unwrap(), &mut self.connection, || false).unwrap();
        self.connection.execute_batch("BEGIN; COMMIT").unwrap();
        assert!(self.wal.take_committed().is_some());
        self.note();
    }
}

/// Rows of an image, after a check of its structure.
fn rows(image: &[u8]) -> Vec<(i64, Option<Vec<u8>>)> {
    let image = open_image(image.to_vec()).unwrap();
    let checked: String = image.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(checked, "ok");
    let mut rows = image.prepare("SELECT a, CAST(b AS BLOB) FROM t ORDER BY a").unwrap();
    rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(std::result::Result::unwrap).collect()
}

/// A random commit: rows that come, change and go, a page that is cut off, much that spills the cache.
fn change(place: &mut Place, random: &mut Random) {
    let key = random.below(60);
    let size = random.below(3000);
    let sql = match random.below(9) {
        0 => format!("DELETE FROM t WHERE a % 5 = {}", key % 5),
        1 => "DELETE FROM t; PRAGMA incremental_vacuum".to_owned(),
        2 => "PRAGMA incremental_vacuum".to_owned(),
        3 => format!("CREATE TABLE IF NOT EXISTS other_{} (n)", key % 4),
        4 => format!("DROP TABLE IF EXISTS other_{}", key % 4),
        5 => "WITH RECURSIVE n (i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n WHERE i < 140)
            INSERT OR REPLACE INTO t SELECT i, randomblob(400) FROM n"
            .to_owned(),
        _ => format!("INSERT OR REPLACE INTO t VALUES ({key}, zeroblob({size}) || 'x{key}')"),
    };
    // One commit: several would be noted as one.
    place.run(&format!("BEGIN; {sql}; COMMIT"));
}

#[test]
fn every_state_comes_back_whatever_was_copied_and_begun_anew_in_between() {
    for seed in 0..6 {
        let mut random = Random(seed);
        let mut place = Place::new();
        for _ in 0..120 {
            change(&mut place, &mut random);
            match random.below(10) {
                0 => place.archive(),
                1 => place.checkpoint(),
                2 => {
                    place.archive();
                    place.reopen_history();
                }
                3 => {
                    place.archive();
                    let to = random.below(place.newest() + 1);
                    place.restore(to);
                }
                _ => {}
            }
        }
        place.archive();
        for number in 0..=place.newest() {
            place.check(number);
        }
    }
}

#[test]
fn a_time_means_the_last_commit_that_was_not_later() {
    let mut place = Place::new();
    for number in 1..=3 {
        place.run(&format!("INSERT INTO t VALUES ({number}, 1)"));
    }
    place.archive();
    let at = |time| place.history.at(time, 2000).map(|point| point.number).map_err(|error| error.to_string());
    assert_eq!([1000, 1009, 1010, 1029, 1030, 2000].map(at), [0, 0, 1, 2, 3, 3].map(Ok));
    assert!(at(999).unwrap_err().contains("begins at 1970-01-01T00:00:01.000Z"), "{:?}", at(999));
    assert!(at(2001).unwrap_err().contains("future"));
}

#[test]
fn a_commit_whose_time_is_unknown_has_the_one_at_which_it_was_archived() {
    let mut place = Place::new();
    place.run("INSERT INTO t VALUES (1, 1)");
    place.times.clear(); // lost in a crash
    place.clock = 5000;
    place.archive();
    assert_eq!(place.history.state().unwrap().newest, Point { number: 1, time: 5000 });
}

#[test]
fn what_passes_the_bounds_is_forgotten_and_the_rest_comes_back() {
    let mut place = Place::new();
    let mut random = Random(9);
    for _ in 0..200 {
        change(&mut place, &mut random);
    }
    place.archive();
    let all = place.history.state().unwrap().bytes;
    place.bounds = HistoryBounds { max_bytes: all / 3, ..HistoryBounds::default() };
    place.run("INSERT OR REPLACE INTO t VALUES (1, 'bytes')");
    place.archive();
    let state = place.history.state().unwrap();
    assert!(state.bytes <= all / 3 && state.oldest.number > 20, "{state:?}");
    for number in state.oldest.number..=state.newest.number {
        place.check(number);
    }
    let error = place.history.at(state.oldest.time - 1, place.clock).unwrap_err();
    assert!(matches!(error, HistoryError::NoState(_)), "{error}");
    let old = Position { generation: state.generation, number: state.oldest.number - 1 }.bookmark(state.id);
    assert!(place.history.find(&old).unwrap_err().to_string().contains("older than the history"));

    place.clock += 10_000_000;
    place.bounds = HistoryBounds { max_age: Duration::from_secs(5000), ..HistoryBounds::default() };
    place.run("INSERT OR REPLACE INTO t VALUES (2, 'age')");
    place.archive();
    let state = place.history.state().unwrap();
    // The state before was the one of that time.
    assert_eq!(state.oldest.number, state.newest.number - 1);
    place.check(state.oldest.number);
}

#[test]
fn a_state_that_is_to_be_restored_is_not_forgotten() {
    let mut place = Place::new();
    place.run("INSERT INTO t VALUES (1, 1)");
    place.archive();
    place.history.ask_restore(1).unwrap();
    place.bounds = HistoryBounds { max_bytes: 0, ..HistoryBounds::default() };
    place.run("INSERT INTO t VALUES (2, 2)");
    place.archive();
    assert_eq!(place.history.state().unwrap().oldest.number, 1);
    place.check(1);
}

#[test]
fn a_restore_that_is_larger_than_the_bound_can_be_undone_until_others_pass_it() {
    let mut place = Place::new();
    let fill = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100)
        INSERT OR REPLACE INTO t SELECT i, randomblob(400) FROM n";
    place.run(fill);
    place.archive();
    place.bounds = HistoryBounds { max_bytes: 10_000, ..HistoryBounds::default() };
    let undo = place.history.ask_restore(0).unwrap();
    assert_eq!(place.history.begin_restore().unwrap(), Some(0));
    place.restore(0);
    place.archive();
    place.history.end_restore().unwrap();
    place.run("INSERT INTO t VALUES (1, 'small')");
    place.archive();
    let state = place.history.state().unwrap();
    assert!(state.bytes > 10_000, "{state:?}");
    assert_eq!(place.history.find(&undo.bookmark(state.id)).unwrap().number, 1);
    place.check(1);

    place.run(fill);
    place.run("UPDATE t SET b = randomblob(400)");
    place.archive();
    assert!(place.history.state().unwrap().bytes <= 10_000);
    let error = place.history.find(&undo.bookmark(state.id)).unwrap_err();
    assert!(error.to_string().contains("older than the history"), "{error}");
}

#[test]
fn the_end_of_a_generation_means_the_state_before_its_restore() {
    let mut place = Place::new();
    place.run("INSERT INTO t VALUES (1, 1)");
    place.archive();
    let id = place.history.state().unwrap().id;
    let first = place.history.position(1).unwrap();
    let undo = place.history.ask_restore(0).unwrap();
    assert!(undo > first);
    place.run("INSERT INTO t VALUES (2, 2)"); // before the restore, and undone by it
    place.archive();
    assert_eq!(place.history.find(&undo.bookmark(id)).unwrap().number, 2);
    for _ in 0..2 {
        // Broken off before its end, the second time is as the first.
        assert_eq!(place.history.begin_restore().unwrap(), Some(0));
        place.restore(0);
        place.archive();
        place.reopen_history();
    }
    place.history.end_restore().unwrap();
    assert_eq!(place.history.begin_restore().unwrap(), None);
    assert_eq!(place.history.find(&undo.bookmark(id)).unwrap().number, 2);
    assert!(rows(&place.image()).is_empty());
    let after = place.history.position(4).unwrap();
    assert!(after > undo && after.generation == undo.generation + 1);
    assert_eq!(place.history.find(&after.bookmark(id)).unwrap().number, 4);
    place.check(2);
}

#[test]
fn bookmarks_that_mean_no_state_are_refused() {
    let mut place = Place::new();
    place.run("INSERT INTO t VALUES (1, 1)");
    place.archive();
    let state = place.history.state().unwrap();
    let refused = |bookmark: &str| place.history.find(bookmark).unwrap_err().to_string();
    let of = |generation, number| Position { generation, number }.bookmark(state.id);
    assert!(refused("yesterday").contains("invalid bookmark"));
    assert!(refused(&of(state.generation, 2)).contains("in the future"));
    assert!(refused(&of(state.generation + 1, 0)).contains("in the future"));
    assert!(refused(&of(state.generation - 1, 0)).contains("older than the history"));
    let other = Position { generation: state.generation, number: 1 }.bookmark(HistoryId([1; 16]));
    assert!(refused(&other).contains("of another object"));
}

#[test]
fn a_changed_byte_of_the_history_does_not_go_unnoticed() {
    let mut place = Place::new();
    for number in 1..20 {
        place.run(&format!("INSERT INTO t VALUES ({number}, zeroblob(900))"));
    }
    place.archive();
    let sql = "UPDATE undo SET change = CAST(substr(change, 1, length(change) - 1) || x'77' AS BLOB) WHERE number = 10";
    assert!(place.history.connection.execute(sql, []).unwrap() > 0);
    place.history.rewind(&mut place.image(), 10).unwrap();
    let error = place.history.rewind(&mut place.image(), 9).unwrap_err();
    assert!(matches!(error, HistoryError::Damaged(_)), "{error}");
    place.history.connection.execute("DELETE FROM commits WHERE number = 15", []).unwrap();
    let error = place.history.rewind(&mut place.image(), 12).unwrap_err();
    assert!(error.to_string().contains("lost its commit 15"), "{error}");
}

#[test]
fn images_are_recorded_as_commits_are() {
    let connection = Connection::open_in_memory().unwrap();
    connection.execute_batch("PRAGMA auto_vacuum = FULL; CREATE TABLE t (a INTEGER PRIMARY KEY, b)").unwrap();
    let image = || image_of(&connection).unwrap();
    let mut images = vec![image()];
    let beginning = Beginning { page_size: 4096, mark: WalMark::default(), time: 0 };
    let mut history = PageHistory::memory(&beginning).unwrap();
    let mut random = Random(3);
    for time in 1..60 {
        let key = random.below(9);
        let sql = match random.below(3) {
            0 => format!("DELETE FROM t WHERE a <= {key}"),
            _ => format!("INSERT OR REPLACE INTO t VALUES ({key}, zeroblob({}))", random.below(20_000)),
        };
        connection.execute_batch(&sql).unwrap();
        let image = image();
        history.record(&images[images.len() - 1], &image, time, HistoryBounds::default()).unwrap();
        if images.last() != Some(&image) {
            images.push(image);
        }
    }
    assert!(images.len() > 30);
    for (number, expected) in (0..).zip(&images) {
        let mut image = image();
        history.rewind(&mut image, number).unwrap();
        assert!(rows(&image) == rows(expected), "state {number}");
    }
}

#[test]
fn a_history_whose_making_broke_off_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    assert!(PageHistory::open(&path).unwrap().is_none());
    Connection::open(&path).unwrap().execute_batch("PRAGMA journal_mode = WAL").unwrap();
    assert!(PageHistory::open(&path).unwrap().is_none());
    let beginning = Beginning { page_size: 4096, mark: WalMark::default(), time: 7 };
    PageHistory::create(&path, &beginning).unwrap();
    assert_eq!(PageHistory::open(&path).unwrap().unwrap().state().unwrap().oldest.time, 7);
    Connection::open(&path).unwrap().execute_batch("PRAGMA user_version = 2").unwrap();
    assert!(PageHistory::open(&path).unwrap_err().to_string().contains("version 2"));
}
