//! History of a database's pages: every state since it began, within bounds, out of the differences between states.
//!
//! A [`PageHistory`] is a small database of its own. For each commit it has what turns the pages that the commit has written back into
//! what they were before, as differences. An earlier state is made out of the newest one, by undoing the commits in between. So a
//! history needs no copy of the database to begin with, and forgetting the oldest states is deleting rows.
//!
//! Its user has one duty: nothing is copied from the write-ahead log into the database's file before
//! [`archive`](PageHistory::archive) has taken it, and nothing is archived that is not durable. Then no crash loses a commit from the
//! history: what is not in it is in the log.
//!
//! ```
//! use isobar_sqlite::history::{Beginning, DatabaseFiles, HistoryBounds, PageHistory};
//! use isobar_sqlite::journal::{Disk, SystemDisk};
//! use isobar_sqlite::{WalPages, copy_pages, image_of, open_image};
//! use rusqlite::Connection;
//!
//! # let root = tempfile::tempdir()?;
//! # let root = root.path();
//! let mut connection = Connection::open(root.join("a.db"))?;
//! connection.execute_batch("PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; CREATE TABLE t (a)")?;
//! let wal = WalPages::count(&mut connection)?; // and no checkpoint of SQLite's own
//! let log = SystemDisk.open(&root.join("a.db-wal"))?;
//! let database = SystemDisk.open(&root.join("a.db"))?; // closed after the connection
//! let files = DatabaseFiles { wal: Some(&*log), database: &*database };
//!
//! let beginning = Beginning { page_size: 4096, mark: files.mark()?, time: 1_000 };
//! let mut history = PageHistory::create(&root.join("a-history.db"), &beginning)?;
//! connection.execute_batch("INSERT INTO t VALUES ('kept')")?;
//! history.archive(&files, &[(wal.pages(), 2_000)], 2_000, HistoryBounds::default())?;
//! let kept = history.state()?.newest.number;
//! connection.execute_batch("DELETE FROM t")?;
//! history.archive(&files, &[(wal.pages(), 3_000)], 3_000, HistoryBounds::default())?;
//! assert_eq!(history.at(2_500, 4_000)?.number, kept);
//!
//! let mut image = image_of(&connection)?;
//! history.rewind(&mut image, kept)?;
//! copy_pages(&open_image(image)?, &mut connection, || false)?;
//! assert_eq!(connection.query_row("SELECT a FROM t", [], |row| row.get::<_, String>(0))?, "kept");
//! # drop(connection);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod bookmark;
mod log;
mod restore;
mod store;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests;
mod writer;

use std::fmt;
use std::io;
use std::time::Duration;

use isobar_base::random::NoRandomness;

pub use self::{
    bookmark::{HistoryId, Position},
    log::{DatabaseFiles, WalMark, page_size},
    store::{Beginning, HistoryState, PageHistory, Point},
};

/// Bounds of a history. What passes either is forgotten, the oldest states first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryBounds {
    /// Age of a state, by the time at which another one followed it. Default: 30 days.
    pub max_age: Duration,
    /// Bytes of differences, beside those of the last restore. Default: 64 MiB.
    pub max_bytes: u64,
}

impl Default for HistoryBounds {
    fn default() -> Self {
        Self { max_age: Duration::from_secs(30 * 24 * 60 * 60), max_bytes: 64 << 20 }
    }
}

/// A failure of a history.
#[derive(Debug)]
#[non_exhaustive]
pub enum HistoryError {
    /// There is no such state in it; the text says why.
    NoState(String),
    /// It is damaged, or does not fit its database; the text says how.
    Damaged(String),
    /// SQLite's, of its own file.
    Sqlite(rusqlite::Error),
    /// The system's, of a file.
    Io(io::Error),
}

impl fmt::Display for HistoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoState(why) | Self::Damaged(why) => f.write_str(why),
            Self::Sqlite(error) => error.fmt(f),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for HistoryError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NoState(_) | Self::Damaged(_) => None,
            Self::Sqlite(error) => Some(error),
            Self::Io(error) => Some(error),
        }
    }
}

impl From<rusqlite::Error> for HistoryError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<io::Error> for HistoryError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<NoRandomness> for HistoryError {
    fn from(error: NoRandomness) -> Self {
        Self::Io(io::Error::other(error))
    }
}

/// A result of this module.
type Result<T, E = HistoryError> = std::result::Result<T, E>;
