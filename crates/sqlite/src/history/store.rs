//! The history's own database: what it has, and which state a time or a bookmark means.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use super::bookmark::{HistoryId, Position};
use super::log::WalMark;
use super::{HistoryError, Result};

/// Settings of a connection. A commit is durable when it is answered.
const SETTINGS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -512;";
/// Tables, and the version of their form. `undo` has what turns a page back into the one before a commit: see
/// [`writer`](super::writer). `history` has the newest state, the oldest one, and how far the write-ahead log is known.
const TABLES: &str = "
    CREATE TABLE history (
        one INTEGER PRIMARY KEY CHECK (one = 1), id BLOB NOT NULL, page_size INTEGER NOT NULL,
        salts BLOB NOT NULL, frames INTEGER NOT NULL, generation INTEGER NOT NULL,
        number INTEGER NOT NULL, time INTEGER NOT NULL, oldest INTEGER NOT NULL, oldest_time INTEGER NOT NULL,
        bytes INTEGER NOT NULL, restore INTEGER, restore_generation INTEGER
    );
    CREATE TABLE commits (number INTEGER PRIMARY KEY, time INTEGER NOT NULL, pages INTEGER NOT NULL, bytes INTEGER NOT NULL);
    CREATE TABLE undo (
        number INTEGER, page INTEGER, sum INTEGER NOT NULL, change BLOB NOT NULL, PRIMARY KEY (number, page)
    ) WITHOUT ROWID;
    CREATE TABLE generations (generation INTEGER PRIMARY KEY, last INTEGER NOT NULL);
    PRAGMA user_version = 1;";
/// Version of the tables.
const VERSION: i64 = 1;

/// State in which a history begins.
#[derive(Debug, Clone, Copy)]
pub struct Beginning {
    /// Size of the database's pages in bytes.
    pub page_size: u32,
    /// End of what the write-ahead log has of that state.
    pub mark: WalMark,
    /// Time from which on the database is known to be in that state, in milliseconds since 1970.
    pub time: i64,
}

/// A state in a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// Number of the commit that made it; 0 is the one in which the history begins.
    pub number: u64,
    /// Time of that commit, in milliseconds since 1970.
    pub time: i64,
}

/// Extent of a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistoryState {
    /// Its id.
    pub id: HistoryId,
    /// Size of the database's pages in bytes.
    pub page_size: u32,
    /// Generation of the newest state: the number of restores, from a first one that grows with the time.
    pub generation: u32,
    /// The oldest state that it reaches.
    pub oldest: Point,
    /// The newest one that was archived.
    pub newest: Point,
    /// Bytes of differences.
    pub bytes: u64,
    /// Number of the state that is to be restored, if a restore was asked for and is not done.
    pub restore: Option<u64>,
    pub(super) mark: WalMark,
}

/// History of the pages of one database. See the [module](super).
#[derive(Debug)]
pub struct PageHistory {
    pub(super) connection: Connection,
}

impl PageHistory {
    /// Opens the history in this file. `None` where there is none, or one whose making broke off.
    ///
    /// # Errors
    /// SQLite's; [`HistoryError::Damaged`] for one of a later version.
    pub fn open(path: &Path) -> Result<Option<Self>> {
        if std::fs::metadata(path).map_or(0, |meta| meta.len()) == 0 {
            return Ok(None);
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.execute_batch(SETTINGS)?;
        Self::look(connection)
    }

    /// Takes a connection to a copy of a history, to look into it. `None` where it has none.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn look(connection: Connection) -> Result<Option<Self>> {
        match connection.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0))? {
            0 => Ok(None),
            VERSION => Ok(Some(Self { connection })),
            version => {
                let message = format!("the history is of version {version}, and this program knows version {VERSION}");
                Err(HistoryError::Damaged(message))
            }
        }
    }

    /// Creates a history in this file, and the folder that it is in, for their owner alone. One whose making broke off is made anew.
    ///
    /// # Errors
    /// The system's and SQLite's; there is a history already.
    pub fn create(path: &Path, beginning: &Beginning) -> Result<Self> {
        isobar_base::fs::create_dir(isobar_base::fs::parent(path))?;
        drop(isobar_base::fs::private_file().create(true).truncate(false).write(true).open(path)?);
        Self::begin(Connection::open(path)?, beginning)
    }

    /// Creates a history in memory.
    ///
    /// # Errors
    /// SQLite's.
    pub fn memory(beginning: &Beginning) -> Result<Self> {
        Self::begin(Connection::open_in_memory()?, beginning)
    }

    fn begin(mut connection: Connection, beginning: &Beginning) -> Result<Self> {
        // Before the first page is written: what is forgotten gives its room back.
        connection.execute_batch("PRAGMA auto_vacuum = FULL")?;
        connection.execute_batch(SETTINGS)?;
        let id = HistoryId::new()?;
        let Beginning { page_size, mark, time } = *beginning;
        let transaction = connection.transaction()?;
        transaction.execute_batch(TABLES)?;
        transaction.execute(
            "INSERT INTO history VALUES (1, ?1, ?2, ?3, ?4, ?5, 0, ?6, 0, ?6, 0, NULL, NULL)",
            params![id.0, page_size, mark.salts, mark.frames, first_generation(), time],
        )?;
        transaction.commit()?;
        Ok(Self { connection })
    }

    /// Returns the extent.
    ///
    /// # Errors
    /// SQLite's; [`HistoryError::Damaged`] where it has none.
    pub fn state(&self) -> Result<HistoryState> {
        let sql = "SELECT id, page_size, generation, oldest, oldest_time, number, time, bytes, restore, salts, frames FROM history";
        let state = self.connection.query_row(sql, [], |row| {
            Ok(HistoryState {
                id: HistoryId(row.get(0)?),
                page_size: row.get(1)?,
                generation: row.get(2)?,
                oldest: Point { number: unsigned(row.get(3)?), time: row.get(4)? },
                newest: Point { number: unsigned(row.get(5)?), time: row.get(6)? },
                bytes: unsigned(row.get(7)?),
                restore: row.get::<_, Option<i64>>(8)?.map(unsigned),
                mark: WalMark { salts: row.get(9)?, frames: row.get(10)? },
            })
        });
        state.optional()?.ok_or_else(|| HistoryError::Damaged("the history has lost its extent".to_owned()))
    }

    /// Finds the state at a time: after the last commit that was not later. Both times are in milliseconds since 1970. Where the clock was set
    /// back, the last commit in the order of the history counts.
    ///
    /// # Errors
    /// [`HistoryError::NoState`] for a time that is later than `now`, or before the oldest state; SQLite's.
    pub fn at(&self, time: i64, now: i64) -> Result<Point> {
        let state = self.state()?;
        if time > now {
            return Err(HistoryError::NoState("the time is in the future".to_owned()));
        }
        let sql = "SELECT number, time FROM commits WHERE time <= ?1 ORDER BY number DESC LIMIT 1";
        let found = self.connection.query_row(sql, [time], point).optional()?;
        let oldest = Some(state.oldest).filter(|oldest| oldest.time <= time);
        found.or(oldest).ok_or_else(|| {
            HistoryError::NoState(format!("the history begins at {}, after that time", self.shown(state.oldest.time)))
        })
    }

    /// Finds the state that a bookmark means.
    ///
    /// # Errors
    /// [`HistoryError::NoState`] for a text that is not a bookmark, one of another history, one that is older than the history, and one of
    /// a state that there is not; SQLite's.
    pub fn find(&self, bookmark: &str) -> Result<Point> {
        let state = self.state()?;
        let none = HistoryError::NoState;
        let (position, id) = Position::parse(bookmark).ok_or_else(|| {
            let form = "00000000-00000000-00000000-00000000000000000000000000000000";
            none(format!("invalid bookmark {bookmark:?}: a bookmark has the form {form}"))
        })?;
        if id != state.id {
            return Err(none(format!(
                "the bookmark {bookmark} is of another object, or of a history that was deleted"
            )));
        }
        let is_ahead = position.generation > state.generation
            || (position.generation == state.generation && !position.is_end() && position.number > state.newest.number);
        if is_ahead {
            return Err(none(format!("the bookmark {bookmark} is in the future: the history has no such state yet")));
        }
        let older = || {
            let begin = self.shown(state.oldest.time);
            none(format!("the bookmark {bookmark} is older than the history, which begins at {begin}"))
        };
        let last = self.last_of(&state, position.generation)?.ok_or_else(older)?;
        let number = if position.is_end() { last } else { position.number };
        if number < state.oldest.number {
            return Err(older());
        }
        if number > last {
            return Err(none(format!("the bookmark {bookmark} means no state of the history")));
        }
        self.point(&state, number)
    }

    /// Returns the position of a state.
    ///
    /// # Errors
    /// SQLite's.
    pub fn position(&self, number: u64) -> Result<Position> {
        let state = self.state()?;
        Ok(Position { generation: self.generation_of(&state, number)?, number })
    }

    /// Returns a state by its number.
    ///
    /// # Errors
    /// SQLite's; [`HistoryError::Damaged`] where it is not there, or is forgotten.
    pub fn point_of(&self, number: u64) -> Result<Point> {
        self.point(&self.state()?, number)
    }

    fn point(&self, state: &HistoryState, number: u64) -> Result<Point> {
        if number == state.oldest.number {
            return Ok(state.oldest);
        }
        let sql = "SELECT number, time FROM commits WHERE number = ?1";
        let found = self.connection.query_row(sql, [signed(number)], point).optional()?;
        found.ok_or_else(|| HistoryError::Damaged(format!("the history has lost its commit {number}")))
    }

    /// A time as it is shown: RFC 3339, in UTC.
    fn shown(&self, millis: i64) -> String {
        let sql = "SELECT strftime('%Y-%m-%dT%H:%M:%fZ', ?1 / 1000.0, 'unixepoch')";
        let shown = self.connection.query_row(sql, [millis], |row| row.get::<_, Option<String>>(0));
        shown.ok().flatten().unwrap_or_else(|| format!("{millis} ms since 1970"))
    }

    /// The last state of a generation; `None` where that is forgotten.
    fn last_of(&self, state: &HistoryState, generation: u32) -> Result<Option<u64>> {
        if generation == state.generation {
            return Ok(Some(state.newest.number));
        }
        let sql = "SELECT last FROM generations WHERE generation = ?1";
        Ok(self.connection.query_row(sql, [generation], |row| row.get(0)).optional()?.map(unsigned))
    }

    /// The generation in which a state was made.
    fn generation_of(&self, state: &HistoryState, number: u64) -> Result<u32> {
        let sql = "SELECT generation FROM generations WHERE last >= ?1 ORDER BY generation LIMIT 1";
        let ended = self.connection.query_row(sql, [signed(number)], |row| row.get(0)).optional()?;
        Ok(ended.unwrap_or(state.generation))
    }
}

fn point(row: &rusqlite::Row<'_>) -> rusqlite::Result<Point> {
    Ok(Point { number: unsigned(row.get(0)?), time: row.get(1)? })
}

/// The first generation of a new history: greater than those of histories that began before, unless they had a restore each second.
fn first_generation() -> u32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u32::try_from(now.as_secs()).unwrap_or(u32::MAX)
}

/// A number as SQLite has it.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number of SQLite's that is never negative.
pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}
