//! The write-ahead log of an object's file: its journal, its checkpoints, its end.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use isobar_sqlite::journal::{DiskFile, Follower};
use rusqlite::config::DbConfig;

use super::past::Past;
use super::{Place, Storage, in_file};
use crate::host::fault::{Fault, failure};
use crate::{Error, ErrorKind, Result};

/// Pages in a write-ahead log beyond which writes are refused while its checkpoints fail: 64 MiB.
pub(super) const MAX_WAL_PAGES: u32 = 16 * 1024;

impl Storage {
    /// Copies what is in the write-ahead log of a file that has just been opened.
    pub(super) fn copy_log(&self, path: &Path) -> Result<()> {
        // What a crash has left in the log may be in memory alone, after a sync that failed: write it anew.
        let copied = self.own("PRAGMA wal_checkpoint(TRUNCATE)");
        // Otherwise the log can be read, and the checkpoint of a later commit copies it.
        if self.fault.take() == Some(Fault::Sync) {
            copied?;
        } else if let Err(_error) = copied {
            #[cfg(feature = "tracing")]
            tracing::warn!(path = %path.display(), error = %_error, "the log of a session object is not copied into its file yet");
            #[cfg(not(feature = "tracing"))]
            let _ = path;
        }
        Ok(())
    }

    /// Hands the commit to the journal. Where it cannot be taken, the file is closed, and opened anew with what is durable.
    pub(super) fn capture(&self) -> Result<()> {
        let mut follower = self.follower.borrow_mut();
        let (Some(log), Some(follower)) = (&self.log, follower.as_mut()) else { return Ok(()) };
        let Some(frames) = self.wal.take_committed() else { return Ok(()) };
        log.capture(follower, frames).map_err(|error| {
            self.is_unsound.set(true);
            in_file(Path::new(follower.name()), "has writes that could not be made durable", error)
        })
    }

    /// The journal's batch that the last commit waits for, while it is not durable.
    pub(in crate::host) fn pending(&self) -> Option<u64> {
        let follower = self.follower.borrow();
        self.log.as_ref().zip(follower.as_ref()).and_then(|(log, follower)| log.pending(follower))
    }

    /// The write-ahead log, where the journal follows it.
    pub(in crate::host) fn wal_file(&self) -> Option<Arc<dyn DiskFile>> {
        self.follower.borrow().as_ref().and_then(Follower::wal)
    }

    /// Whether the write-ahead log should be copied into the file, or into the object's history.
    pub(in crate::host) fn is_long(&self) -> bool {
        self.wal.is_long() || self.past.as_ref().is_some_and(Past::is_due)
    }

    /// Copies a long write-ahead log into the file, and first into the object's history. What was committed is durable in the log, so a failure
    /// ends no event: the host's health reports it. Nothing is copied that the journal has not made durable, as a crash would undo some of
    /// it.
    pub(in crate::host) fn checkpoint(&self) {
        let Place::File(path) = &self.place else { return };
        let follower = self.follower.borrow();
        if self.is_unsound.get() || follower.as_ref().is_some_and(Follower::is_behind) || self.pending().is_some() {
            return;
        }
        if !self.is_long() {
            return;
        }
        if let Err(error) = self.archive() {
            return self.health.mark_checkpoint(path, Some(error.to_string()));
        }
        let Some(done) = self.wal.checkpoint(&self.connection) else {
            return self.health.mark_checkpoint(path, None); // the history alone was late
        };
        let failed = done.err().map(rusqlite::Error::from).map(|error| {
            let message =
                format!("the write-ahead log of {} cannot be copied into it: {}", self.name(), failure(&error));
            if Fault::of(&error) == Some(Fault::Sync) {
                self.health.poison(message.clone());
            }
            message
        });
        self.health.mark_checkpoint(path, failed);
    }

    /// Refuses to write while the log is as long as it may become and cannot be shortened.
    pub(super) fn check_log(&self) -> Result<()> {
        if self.wal.pages() >= MAX_WAL_PAGES {
            if let Some(log) = &self.log {
                log.flush()?;
            }
            self.checkpoint();
        }
        if self.wal.pages() < MAX_WAL_PAGES {
            return Ok(());
        }
        let message =
            format!("writing is refused: {} cannot take up its write-ahead log, which has 64 MiB", self.name());
        Err(Error::new(ErrorKind::Storage, message))
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        if !self.end_log() {
            // SQLite would copy what a crash may undo, or what is not in the history. The option is known, so setting it does not fail.
            drop(self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true));
        }
    }
}

impl Storage {
    /// Ends the write-ahead log, before the connection is closed. Returns whether SQLite may copy what is left of it.
    fn end_log(&mut self) -> bool {
        let connection = &self.connection;
        let past = self.past.as_ref();
        let trusted = &self.trusted;
        let has_ended = || {
            trusted.store(true, Ordering::Relaxed);
            connection.is_autocommit() || connection.execute_batch("ROLLBACK").is_ok()
        };
        let health = &self.health;
        let place = &self.place;
        let is_archived = || match (past.map_or(Ok(()), Past::archive), place) {
            (Ok(()), _) => true,
            (Err(error), Place::File(path)) => {
                let why = format!("the history of {} cannot take its write-ahead log: {error}", path.display());
                health.mark_checkpoint(path, Some(why));
                false
            }
            (Err(_), _) => false,
        };
        let (Some(log), Some(follower)) = (&self.log, self.follower.get_mut()) else {
            return past.is_none() || (health.check_poison().is_ok() && has_ended() && is_archived());
        };
        let is_whole = log.close(follower, || {
            let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
            let may_copy = has_ended() && is_archived();
            may_copy && connection.query_row(sql, [], |row| row.get::<_, i64>(0)).is_ok_and(|busy| busy == 0)
        });
        is_whole && is_archived()
    }
}
