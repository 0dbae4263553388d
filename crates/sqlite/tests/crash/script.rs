//! Turns on many databases with one journal, drawn by chance.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use isobar_sqlite::WalPages;
use isobar_sqlite::journal::{Follower, Journal, JournalOptions};
use rusqlite::Connection;

use crate::Random;
use crate::record::{self, Op, RecordedDisk};

/// Databases of a script.
pub(crate) const DATABASES: usize = 24;
/// Rows of a database. The first has the number of the last turn, each of the others that of the last turn that came to it.
const ROWS: i64 = 40;
/// Bytes of each log: few, so that they take turns.
const LOG_BYTES: u64 = 128 << 10;

/// How the journal is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// As it is meant to be.
    Right,
    /// The log's syncs are skipped.
    NoSync,
    /// A turn is acknowledged before the log is synced.
    EarlyGate,
    /// Databases are checkpointed before the log is synced.
    EarlyCheckpoint,
}

/// The last number of each database that is acknowledged at a step.
pub(crate) type Acknowledged = Vec<[i64; DATABASES]>;

/// A database that is open.
struct Database {
    connection: Connection,
    wal: WalPages,
    follower: Follower,
    number: i64,
}

pub(crate) struct Script<'r> {
    root: &'r Path,
    way: Use,
    page_size: usize,
    random: Random,
    journal: Journal,
    databases: Vec<Database>,
    steps: Acknowledged,
}

pub(crate) fn name(number: usize) -> String {
    format!("{:02}/{number}.db", number % 4)
}

fn path(root: &Path, number: usize) -> PathBuf {
    root.join(name(number))
}

/// Opens a database as the journal asks for.
pub(crate) fn open(path: &Path) -> rusqlite::Result<(Connection, WalPages)> {
    let mut connection = Connection::open(path)?;
    connection.execute_batch(
        "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = 12",
    )?;
    let wal = WalPages::count(&mut connection)?;
    Ok((connection, wal))
}

/// Copies the write-ahead log into the database. Returns whether all of it was copied.
pub(crate) fn checkpoint(connection: &Connection, mode: &str) -> bool {
    let sql = format!("PRAGMA wal_checkpoint({mode})");
    connection
        .query_row(&sql, [], |row| Ok(row.get::<_, i64>(0)? == 0 && row.get::<_, i64>(1)? == row.get(2)?))
        .unwrap()
}

impl<'r> Script<'r> {
    /// Records a script of this many turns. Returns what it has done, and what was acknowledged when.
    pub(crate) fn run(root: &'r Path, way: Use, page_size: usize, seed: u64, turns: usize) -> (Vec<Op>, Acknowledged) {
        record::start(root);
        for folder in ["00", "01", "02", "03", "journal"] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
            record::record(&root.join(folder), Op::CreateFolder);
        }
        let disk = Arc::new(RecordedDisk { lies: way == Use::NoSync });
        let options = JournalOptions::default().with_bytes(LOG_BYTES).unwrap();
        let journal = Journal::new(root.join("journal"), 0, options, disk);
        let random = Random(seed);
        let mut script = Script { root, way, page_size, random, journal, databases: Vec::new(), steps: Vec::new() };
        (0..DATABASES).for_each(|number| script.create(number));
        script.acknowledge();
        for _ in 0..turns {
            script.batch();
        }
        let ops = record::stop();
        (ops, script.steps)
    }

    /// Creates a database, durably by itself.
    fn create(&mut self, number: usize) {
        let path = path(self.root, number);
        let connection = Connection::open(&path).unwrap();
        let rows = format!("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})");
        connection
            .execute_batch(&format!(
                "PRAGMA page_size = {}; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
                 CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, pad BLOB);
                 {rows} INSERT INTO t SELECT i, 0, zeroblob(i * 20) FROM n;",
                self.page_size
            ))
            .unwrap();
        drop(connection);
        record::record(path.parent().unwrap(), Op::SyncFolder);
        self.databases.push(self.database(number, 0));
    }

    fn database(&self, number: usize, turn: i64) -> Database {
        let path = path(self.root, number);
        let (connection, wal) = open(&path).unwrap();
        let follower = self.journal.follow(&name(number), &path);
        Database { connection, wal, follower, number: turn }
    }

    /// Runs some turns, makes them durable together, and acknowledges them.
    fn batch(&mut self) {
        for _ in 0..1 + self.random.below(12) {
            let number = self.random.below(DATABASES);
            self.turn(number);
            if self.way == Use::EarlyCheckpoint && self.random.below(2) == 0 {
                checkpoint(&self.databases[number].connection, "PASSIVE");
                // The write-ahead log begins anew, and grows beyond what the journal has of it.
                (0..self.random.below(9)).for_each(|_| self.turn(number));
            }
        }
        if self.way == Use::EarlyGate {
            self.acknowledge();
        }
        self.journal.sync().unwrap();
        self.acknowledge();
        for number in 0..DATABASES {
            let is_long = self.databases[number].wal.pages() > 30;
            match self.random.below(60) {
                _ if is_long => drop(checkpoint(&self.databases[number].connection, "PASSIVE")),
                0 => self.reopen(number),
                _ => {}
            }
        }
    }

    fn turn(&mut self, number: usize) {
        let database = &mut self.databases[number];
        let connection = &database.connection;
        let next = database.number + 1;
        let kind = self.random.below(20);
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        write(connection, next).unwrap();
        let pads = match kind {
            // More than the cache holds: pages go into the write-ahead log before the commit, or before the rollback.
            0..4 => "UPDATE t SET pad = zeroblob(50 * id)",
            4 => "UPDATE t SET pad = randomblob(800)",
            5 => "UPDATE t SET pad = randomblob(4000)", // more than the log has room for
            6..9 => "UPDATE t SET pad = randomblob(90) WHERE id % 9 = 4",
            _ => "",
        };
        connection.execute_batch(pads).unwrap();
        if kind < 2 {
            return connection.execute_batch("ROLLBACK").unwrap();
        }
        connection.execute_batch("COMMIT").unwrap();
        database.number = next;
        let frames = database.wal.take_committed().expect("a turn changes pages");
        self.journal.capture(&mut database.follower, frames).unwrap();
    }

    /// Closes a database, and opens it again.
    fn reopen(&mut self, number: usize) {
        let turn = self.databases[number].number;
        let mut database = self.databases.remove(number);
        let connection = &database.connection;
        assert!(self.journal.close(&mut database.follower, || checkpoint(connection, "TRUNCATE")).unwrap());
        drop(database);
        self.databases.insert(number, self.database(number, turn));
    }

    /// Acknowledges all turns so far.
    fn acknowledge(&mut self) {
        let mut numbers = [0; DATABASES];
        for (number, database) in numbers.iter_mut().zip(&self.databases) {
            *number = database.number;
        }
        self.steps.push(numbers);
        record::step(self.steps.len() - 1);
    }
}

/// The row that a turn comes to, beside the first.
fn row_of(turn: i64) -> i64 {
    2 + turn % (ROWS - 1)
}

/// Writes the turn of this number.
pub(crate) fn write(connection: &Connection, turn: i64) -> rusqlite::Result<()> {
    connection.execute("UPDATE t SET n = ?1 WHERE id IN (1, ?2)", [turn, row_of(turn)]).map(drop)
}

/// The number of a database's last turn, if it is whole.
pub(crate) fn read(path: &Path) -> Result<i64, String> {
    let read = || {
        let (connection, _) = open(path)?;
        let health: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
        let mut statement = connection.prepare("SELECT n FROM t ORDER BY id")?;
        let numbers = statement.query_map([], |row| row.get(0))?.collect::<Result<Vec<i64>, _>>()?;
        Ok((health, numbers))
    };
    let (health, found) = read().map_err(|error: rusqlite::Error| format!("{}: {error}", path.display()))?;
    let last = found.first().copied().unwrap_or_default();
    let mut right = vec![0; ROWS as usize];
    (1..=last).for_each(|turn| right[row_of(turn) as usize - 1] = turn);
    right[0] = last;
    if health != "ok" || found != right {
        return Err(format!("{}: {found:?}, {health}", path.display()));
    }
    Ok(last)
}
