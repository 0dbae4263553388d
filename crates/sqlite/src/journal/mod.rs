//! A journal for many databases: one append-only log takes the commits of all of them, and one sync makes all of them durable.
//!
//! The databases are in WAL mode with `synchronous=NORMAL`: COMMIT writes to their write-ahead logs and syncs nothing. After each
//! COMMIT, [`capture`](Journal::capture) puts the new frames into a batch, as differences from earlier versions of their pages;
//! [`sync`](Journal::sync) writes the batch to the log and syncs that. What was committed may be acknowledged then. After a crash,
//! [`recover`] puts the frames back into the write-ahead logs, before SQLite opens them.
//!
//! Rules for its user; where they are not kept, a crash loses or damages databases:
//! - `locking_mode=EXCLUSIVE`: another process would write and checkpoint behind the journal's back.
//! - No automatic checkpoints, and none before [`sync`](Journal::sync) has made durable what was captured of that database, the one
//!   that closing the connection runs included ([`close`](Journal::close)).
//! - Never `synchronous=OFF`: SQLite has to sync the header when a write-ahead log begins anew.
//! - One journal for a database at a time, and [`recover`] before the first.
//!
//! The log has two halves. When one is full the other takes over, and the write-ahead logs of the databases in the full one are synced
//! by a thread of its own; then it is empty.
//!
//! ```
//! use std::sync::Arc;
//!
//! use isobar_sqlite::WalPages;
//! use isobar_sqlite::journal::{Journal, JournalOptions, SystemDisk, recover};
//! use rusqlite::Connection;
//!
//! # let root = tempfile::tempdir()?;
//! # let root = root.path();
//! let folder = root.join("journal");
//! recover(&folder, root, &SystemDisk)?; // what a crash has left
//! let mut journal = Journal::new(folder, 0, JournalOptions::default(), Arc::new(SystemDisk));
//!
//! let mut connection = Connection::open(root.join("a.db"))?;
//! connection.execute_batch("PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL")?;
//! let wal = WalPages::count(&mut connection)?;
//! let mut follower = journal.follow("a.db", &root.join("a.db"));
//!
//! connection.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (1)")?;
//! if let Some(frames) = wal.take_committed() {
//!     journal.capture(&mut follower, frames)?;
//! }
//! // ... the commits of other databases ...
//! journal.sync()?; // all of them are durable
//! assert!(journal.is_durable(&follower));
//!
//! journal.close(&mut follower, || connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").is_ok())?;
//! drop(connection);
//! journal.finish()?;
//! assert!(!root.join("journal").exists(), "an orderly end leaves no log behind");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | after a call fails | the captured commits | the databases |
//! |---|---|---|
//! | [`Journal::capture`] | that database's are not kept; others' are | close that one without a checkpoint |
//! | [`Journal::sync`], [`Journal::settle`] | uncertain | none may be checkpointed or written; start again with [`recover`] |
//! | [`Journal::close`] | as for `sync` | close without a checkpoint |
//! | [`Journal::finish`] | in the logs | close without a checkpoint; the next start recovers |
//! | [`recover`] with an error | in the logs, as before | open none |
//! | [`recover`] with withheld databases | in a log of their own | open all but these |
//!
//! Why one log: a sync costs the same for one page as for a hundred, and hundreds of databases that commit in the
//! same moment would each pay for one. Why not SQLite's own log: it is one for each database. Why differences: a
//! commit of one row changes some dozens of bytes of a page of 4,096.

pub(crate) mod delta;
mod disk;
mod follower;
mod format;
mod half;
mod recovery;
mod turnover;
mod varint;
mod writer;

pub use self::{
    disk::{Disk, DiskFile, SystemDisk},
    follower::Follower,
    recovery::{Recovered, RecoveryError, recover},
    writer::{Journal, JournalOptions},
};
