//! State shared by the threads: the disk, the health, and what the last run has left.
//!
//! The size and the last row are read after each write on the writer's connection, and are what `meta` reports for reads in
//! between: asking again for each read would cost more than the read.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use isobar_base::fs::Space;
use isobar_sqlite::Failure;

use crate::sqlite::connection::AuthorizedConnection;
use crate::sqlite::disk::Disk;
use crate::sqlite::fault;
use crate::sqlite::lane::Slot;
use crate::{Error, ErrorKind, Result, SqliteOptions, Value};

/// State shared by the threads.
///
/// `poisoned` never goes back: a failed sync is uncertain for good. `failing` does, with the next write that
/// succeeds; it makes a health check write a page rather than believe that an empty transaction says something.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: SqliteOptions,
    pub(super) path: Option<PathBuf>,
    disk: Option<Disk>,
    /// A sync has failed: nothing is written any more.
    poisoned: AtomicBool,
    /// The last write failed for want of room or by an error of the disk.
    failing: AtomicBool,
    last_row_id: AtomicI64,
    size: AtomicU64,
    /// Bytes in a page; they never change.
    page_bytes: AtomicU64,
    /// Microseconds since 1970 of the last run, never going back: the bookmark.
    pub(super) position: AtomicI64,
    /// The history, where the file keeps one.
    #[cfg(feature = "local")]
    pub(super) recorder: std::sync::OnceLock<std::sync::Arc<crate::sqlite::history::Recorder>>,
}

/// The state by which D1 decides whether a statement has changed the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) changes: u64,
    pub(super) last_row_id: i64,
    pub(super) size: u64,
}

impl Shared {
    /// The state of the database in this file, or in memory, on a disk with the room that the function reports.
    pub(super) fn new(
        path: Option<&Path>,
        options: SqliteOptions,
        room: impl Fn(&Path) -> Option<Space> + Send + Sync + 'static,
    ) -> Self {
        Self {
            disk: path.map(|path| Disk::new(path, options.disk_reserve, room)),
            options,
            path: path.map(Path::to_owned),
            poisoned: AtomicBool::new(false),
            failing: AtomicBool::new(false),
            last_row_id: AtomicI64::new(0),
            size: AtomicU64::new(0),
            page_bytes: AtomicU64::new(0),
            position: AtomicI64::new(0),
            #[cfg(feature = "local")]
            recorder: std::sync::OnceLock::new(),
        }
    }

    /// Remembers an error of the disk.
    pub(super) fn note(&self, failure: &Failure) {
        if fault::is_failed_sync(failure) {
            self.poisoned.store(true, Ordering::SeqCst);
        }
        if fault::is_of_the_disk(failure) {
            self.failing.store(true, Ordering::Relaxed);
        }
    }

    /// Remembers that a write has succeeded.
    pub(super) fn note_success(&self) {
        self.failing.store(false, Ordering::Relaxed);
    }

    /// Returns whether a sync has failed, so that nothing is written any more.
    pub(super) fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::SeqCst)
    }

    pub(super) fn check_writable(&self) -> Result<()> {
        if self.is_poisoned() {
            let path = self.path.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
            let message = format!(
                "a sync of {path} has failed, and it is uncertain which of the last writes are on the disk: nothing is written \
                 until the database is opened again"
            );
            return Err(Error::new(ErrorKind::Unavailable, message).for_good());
        }
        self.disk.as_ref().map_or(Ok(()), Disk::check)
    }

    /// Begins and ends a write; writes a page where the last write has failed.
    pub(super) fn probe(&self, slot: &mut Slot) -> Result<()> {
        self.check_writable()?;
        let connection = slot.connection()?;
        let write = || {
            connection.begin("BEGIN IMMEDIATE")?;
            if self.failing.load(Ordering::Relaxed) {
                let version = connection.own_statement("PRAGMA user_version")?;
                let Some(Value::Integer(version)) = version else { return Ok(()) };
                connection.own_statement(&format!("PRAGMA user_version = {version}"))?;
            }
            connection.commit()
        };
        let written = write();
        if !connection.roll_back() {
            slot.discard();
        }
        match written {
            Ok(()) => self.note_success(),
            Err(failure) => {
                self.note(&failure);
                return Err(fault::of(&failure));
            }
        }
        Ok(())
    }

    /// Reads the database's size and the connection's last row. Pages that are free count for nothing, as in D1.
    pub(super) fn look(&self, connection: &AuthorizedConnection) -> Result<(), Failure> {
        if self.page_bytes.load(Ordering::Relaxed) == 0
            && let Some(Value::Integer(bytes)) = connection.own_statement("PRAGMA page_size")?
        {
            self.page_bytes.store(bytes.unsigned_abs(), Ordering::Relaxed);
        }
        let pages = connection.own_statement("PRAGMA page_count")?;
        let free = connection.own_statement("PRAGMA freelist_count")?;
        if let (Some(Value::Integer(pages)), Some(Value::Integer(free))) = (pages, free) {
            let used = pages.saturating_sub(free).unsigned_abs();
            self.size.store(used * self.page_bytes.load(Ordering::Relaxed), Ordering::SeqCst);
        }
        self.note_last_row(connection);
        Ok(())
    }

    /// Notes the connection's last row, which an insert that is undone changes, too: reads report it, as D1's do.
    pub(super) fn note_last_row(&self, connection: &AuthorizedConnection) {
        self.last_row_id.store(connection.connection().last_insert_rowid(), Ordering::SeqCst);
    }

    /// The state as the last [`look`](Self::look) has found it.
    pub(super) fn standing(&self, connection: &AuthorizedConnection) -> Standing {
        Standing {
            changes: connection.connection().total_changes(),
            last_row_id: self.last_row_id.load(Ordering::SeqCst),
            size: self.size.load(Ordering::SeqCst),
        }
    }
}
