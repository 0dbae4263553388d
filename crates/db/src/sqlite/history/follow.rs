//! Connections that watch a database's write-ahead log: one asks how far it is committed, and read transactions keep it from beginning
//! anew before it is archived.
//!
//! Three connections, beside those that work: two take turns as the anchor, and a free one asks. Each has SQLite's
//! checkpoint on close switched off: the last connection of a process would copy the log and delete it.
//!
//! `PRAGMA wal_checkpoint(NOOP)` reports how many frames are committed, and how many of them the file has, without
//! copying any.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use isobar_base::fs::SqliteFile;
use isobar_sqlite::journal::{Disk, DiskFile};
use isobar_sqlite::{WAL_HEADER, WalHeader};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::fault;
use crate::{Error, ErrorKind, Result};

/// Longest wait for another process's lock.
const BUSY: Duration = Duration::from_secs(5);
/// Tries to see the log while it begins anew.
const TRIES: u32 = 100;

/// The write-ahead log of a database, by a descriptor of its own: SQLite's locks are on other files.
#[derive(Debug)]
pub(super) struct WalFile {
    path: PathBuf,
    file: Option<Arc<dyn DiskFile>>,
    disk: Arc<dyn Disk>,
}

impl WalFile {
    pub(super) fn new(database: &Path, disk: Arc<dyn Disk>) -> Self {
        Self { path: SqliteFile::Wal.beside(database), file: None, disk }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn file(&mut self) -> io::Result<Arc<dyn DiskFile>> {
        if let Some(file) = &self.file {
            return Ok(Arc::clone(file));
        }
        let file = self.disk.open(&self.path)?;
        self.file = Some(Arc::clone(&file));
        Ok(file)
    }

    /// Reads the header; `None` where the log is empty or missing, or where it is just being written.
    pub(super) fn header(&mut self) -> Result<Option<WalHeader>> {
        let mut bytes = [0; WAL_HEADER];
        let read = self.file().and_then(|file| file.read_at(&mut bytes, 0));
        match read {
            Ok(()) => Ok(WalHeader::parse(&bytes)),
            Err(error) if [io::ErrorKind::UnexpectedEof, io::ErrorKind::NotFound].contains(&error.kind()) => Ok(None),
            Err(error) => Err(fault::of_file("read", &self.path, error)),
        }
    }

    pub(super) fn read(&mut self, buffer: &mut [u8], offset: u64) -> Result<()> {
        let read = self.file().and_then(|file| file.read_at(buffer, offset));
        read.map_err(|error| fault::of_file("read", &self.path, error))
    }
}

/// How far a write-ahead log is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Committed {
    pub(super) header: WalHeader,
    /// Its last committed frame; 0 where there is none.
    pub(super) frames: u32,
    /// Its last frame that the database's file has.
    pub(super) copied: u32,
}

/// The connections.
#[derive(Debug)]
pub(super) struct Watch {
    /// Without a transaction, but for moments.
    free: Connection,
    /// One of them is in a read transaction: that one is the anchor.
    anchors: [Connection; 2],
    anchor: usize,
}

impl Watch {
    /// Opens the connections, and anchors the log.
    pub(super) fn open(database: &Path) -> Result<Self> {
        let failed = |error| fault::of_sqlite("watch the write-ahead log", &error);
        let open = || connect(database).map_err(failed);
        let watch = Self { free: open()?, anchors: [open()?, open()?], anchor: 0 };
        begin_read(&watch.anchors[0]).map_err(failed)?;
        Ok(watch)
    }

    /// Asks how far the log is committed; `None` where it is empty.
    pub(super) fn committed(&self, wal: &mut WalFile) -> Result<Option<Committed>> {
        let [one, other] = &self.anchors;
        let free = [&self.free, one, other].into_iter().find(|connection| connection.is_autocommit());
        let free = free.expect("one of the three connections has no transaction");
        committed(free, wal)
    }

    /// Begins a new anchor at the newest commit. The old one ends when `archive` has archived all that the new one may have skipped.
    ///
    /// There is always one anchor: the new one begins before the old one ends.
    pub(super) fn renew(&mut self, archive: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        let failed = |error| fault::of_sqlite("watch the write-ahead log", &error);
        let next = 1 - self.anchor;
        begin_read(&self.anchors[next]).map_err(failed)?;
        if let Err(error) = archive(self) {
            drop(self.anchors[next].execute_batch("ROLLBACK"));
            return Err(error);
        }
        self.anchors[self.anchor].execute_batch("ROLLBACK").map_err(failed)?;
        self.anchor = next;
        Ok(())
    }

    /// Runs work while no other connection can write, of any process.
    pub(super) fn while_locked<T>(&self, work: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        let failed = |error| fault::of_sqlite("lock the database", &error);
        self.free.execute_batch("BEGIN IMMEDIATE").map_err(failed)?;
        let done = work(self);
        self.free.execute_batch("ROLLBACK").map_err(failed)?;
        done
    }

    /// Copies the log into the database's file, as far as the anchor and other readers let it.
    pub(super) fn copy(&self) -> Result<()> {
        checkpoint(&self.free, "PASSIVE").map(drop)
    }

    /// Empties the log, which the file has all of. Returns `false` where another connection uses it, or has written.
    pub(super) fn truncate(&self) -> Result<bool> {
        Ok(!checkpoint(&self.free, "TRUNCATE")?.is_busy)
    }

    /// Closes the connections as others are closed: the last one of all removes the log, which is empty.
    pub(super) fn close(self) -> Result<()> {
        let Self { free, anchors: [one, other], anchor } = self;
        let (last, idle) = if anchor == 0 { (one, other) } else { (other, one) };
        drop(free);
        drop(idle);
        let removes = last.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false);
        removes.map(drop).map_err(|error| fault::of_sqlite("close the database", &error))
    }
}

/// Asks by a connection without a transaction how far a log is committed; `None` where it is empty.
pub(super) fn committed(free: &Connection, wal: &mut WalFile) -> Result<Option<Committed>> {
    for _ in 0..TRIES {
        let before = wal.header()?;
        let seen = checkpoint(free, "NOOP")?;
        let (frames, copied) = seen.counts;
        if !seen.is_busy && before == wal.header()? && (before.is_some() || frames == 0) {
            return Ok(before.map(|header| Committed { header, frames, copied }));
        }
        // It begins anew, or another process makes its index.
        std::thread::sleep(Duration::from_millis(1));
    }
    Err(fault::damaged(wal.path(), "its header does not come to rest"))
}

/// Opens a connection that does nothing when it is closed: the last one would copy the log and remove it.
pub(super) fn connect(database: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(database, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.execute_batch("PRAGMA wal_autocheckpoint = 0; PRAGMA synchronous = FULL")?;
    Ok(connection)
}

/// Begins a transaction that sees the newest commit.
pub(super) fn begin_read(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch("BEGIN")?;
    let seen = connection.query_row("PRAGMA schema_version", [], |row| row.get::<_, i64>(0));
    if seen.is_err() {
        drop(connection.execute_batch("ROLLBACK"));
    }
    seen.map(drop)
}

/// Answer of a checkpoint.
struct Checkpoint {
    is_busy: bool,
    /// Frames of the log, and how many of them the file has.
    counts: (u32, u32),
}

fn checkpoint(connection: &Connection, mode: &str) -> Result<Checkpoint> {
    let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?));
    let answer = connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], read);
    let (busy, frames, copied) = answer.map_err(|error| fault::of_sqlite("look at the write-ahead log", &error))?;
    match (u32::try_from(frames), u32::try_from(copied)) {
        (Ok(frames), Ok(copied)) => Ok(Checkpoint { is_busy: busy != 0, counts: (frames, copied) }),
        _ if busy != 0 => Ok(Checkpoint { is_busy: true, counts: (0, 0) }),
        _ => Err(Error::new(ErrorKind::Internal, "the database has no write-ahead log any more")),
    }
}
