//! Checkpoints of write-ahead logs, run by us: a failure of one of SQLite's own ones is reported to no caller, and the log grows
//! without bound.
//!
//! SQLite would copy a log of 1,000 pages into its database as part of the commit that made it so long, and a failure of that
//! would be reported to nobody. So automatic checkpoints are off, the pages are counted, and whoever writes calls
//! [`WalPages::checkpoint`] when the answers are out. It waits neither for readers nor for writers (`PASSIVE`): what it cannot
//! copy now, a later one does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use rusqlite::Connection;

use crate::Failure;
use crate::prepared::{checkpoint, on_commit};

/// Pages in a log from which on it is long: 4 MiB, SQLite's own default.
const LONG: u32 = 1000;

/// Number of pages in the write-ahead log of one connection, as its last commit left it; 0 after a
/// [checkpoint](Self::checkpoint), until the next commit.
///
/// ```
/// use isobar_sqlite::{DURABLE, WalPages};
///
/// # let folder = tempfile::tempdir()?;
/// let mut connection = rusqlite::Connection::open(folder.path().join("a.db"))?;
/// connection.execute_batch(DURABLE)?;
/// let wal = WalPages::count(&mut connection)?;
/// connection.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (1)")?;
/// assert!(wal.pages() > 0 && !wal.is_long());
/// assert_eq!(wal.take_committed(), Some(wal.pages()));
/// assert_eq!(wal.take_committed(), None, "nothing was committed since");
/// wal.checkpoint_now(&connection).map_err(|failure| failure.message)?;
/// assert_eq!(wal.pages(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct WalPages(Arc<Counted>);

/// Counts of the hook.
#[derive(Debug, Default)]
struct Counted {
    pages: AtomicU32,
    /// A commit has written since that was last asked.
    has_committed: AtomicBool,
}

impl WalPages {
    /// Counts the pages of the connection's log from now on. SQLite's own checkpoints end with this.
    ///
    /// # Errors
    /// SQLite's: there is no memory.
    pub fn count(connection: &mut Connection) -> rusqlite::Result<Self> {
        let wal = Self::default();
        let counted = Arc::clone(&wal.0);
        on_commit(connection, move |pages| {
            counted.pages.store(pages, Ordering::Relaxed);
            counted.has_committed.store(true, Ordering::Relaxed);
        })?;
        Ok(wal)
    }

    /// Copies the log into its database as far as readers and writers let it, if the log [is long](Self::is_long). Returns the outcome,
    /// or `None` if the log is short. After a failure nothing is lost: the log has it all, and the next commit tries again.
    ///
    /// Call it when the answers are out, on the connection that has written: it takes as long as copying 4 MiB and two
    /// syncs do.
    ///
    /// # Errors
    /// SQLite's: the disk is full or fails.
    pub fn checkpoint(&self, connection: &Connection) -> Option<Result<(), Failure>> {
        self.is_long().then(|| self.checkpoint_now(connection))
    }

    /// Copies the log into its database as [`checkpoint`](Self::checkpoint) does, if the log is short, too.
    ///
    /// # Errors
    /// As [`checkpoint`](Self::checkpoint).
    pub fn checkpoint_now(&self, connection: &Connection) -> Result<(), Failure> {
        checkpoint(connection)?;
        self.0.pages.store(0, Ordering::Relaxed); // the next commit counts what is left
        Ok(())
    }

    /// Returns the number of pages.
    #[must_use]
    pub fn pages(&self) -> u32 {
        self.0.pages.load(Ordering::Relaxed)
    }

    /// Returns whether the log is so long that it should be copied into its database: from 1,000 pages on.
    #[must_use]
    pub fn is_long(&self) -> bool {
        self.pages() >= LONG
    }

    /// Returns the number of pages, if a commit has written some since this was last asked: for a
    /// [journal](crate::journal).
    #[must_use]
    pub fn take_committed(&self) -> Option<u32> {
        self.0.has_committed.swap(false, Ordering::Relaxed).then(|| self.pages())
    }
}
