//! The history of the file, where it keeps one: notes of commits, checkpoints, and the way back.
//!
//! A restore has three steps: an image of the state is made by a thread, in a temporary file, while the database
//! goes on; the writer's thread copies its pages over the database in one transaction; the history names the commit
//! that did so. A failure in the first two leaves the database as it was. One in the third is reported as what it
//! is: restored, and not noted.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use isobar_sqlite::Failure;
use isobar_sqlite::journal::{Disk, SystemDisk};

use super::Engine;
use super::shared::Shared;
use crate::sqlite::connection::{AuthorizedConnection, must_stop};
use crate::sqlite::fault;
use crate::sqlite::history::{Index, Keeper, Position, Recorder, not_restored};
use crate::sqlite::lane::Slot;
use crate::sqlite::threads::blocking;
use crate::{Bookmark, Error, ErrorKind, History, Restored, Result, SqliteOptions};

/// Returns whether the database in this file keeps a history, or is to.
pub(super) fn is_kept(path: Option<&Path>, options: &SqliteOptions) -> bool {
    path.is_some_and(|path| options.history.is_some() || Recorder::exists(path, Arc::new(SystemDisk)))
}

impl Shared {
    /// Notes a commit, before it is answered. Returns its position, if there was one and it can be known.
    pub(super) fn committed(&self, connection: &AuthorizedConnection) -> Option<Position> {
        let recorder = self.recorder.get()?;
        recorder.committed(connection.take_committed()?)
    }

    /// The error of a restore that was undone. A sync that has failed counts as that of a commit.
    fn not_restored(&self, error: &rusqlite::Error) -> Error {
        if let Some(failure) = fault::failure_of(error) {
            self.note(&failure);
        }
        not_restored(error)
    }

    /// Copies a long log into the database; where there is a history, once it is archived.
    pub(super) fn copy_long_log(&self, connection: &AuthorizedConnection) -> Result<(), Failure> {
        match self.recorder.get() {
            Some(recorder) if connection.has_long_log() => {
                recorder.turn(connection.log_pages(), || connection.checkpoint_now())
            }
            Some(_) => Ok(()),
            None => connection.checkpoint(),
        }
    }
}

impl Engine {
    /// Opens the history, with its files on this disk.
    pub(super) async fn open_history(&mut self, disk: Arc<dyn Disk>) -> Result<()> {
        let Some(path) = self.shared.path.clone() else { return Ok(()) };
        let given = self.shared.options.history;
        let open = move |_: &mut Slot| Recorder::open(&path, given, disk);
        let recorder = self.writer.run(Duration::MAX, open).await?;
        self.keeper = Some(Keeper::start(&recorder)?);
        // There is none yet: the engine has just been made.
        drop(self.shared.recorder.set(recorder));
        Ok(())
    }

    /// Returns whether there is a history.
    pub(in crate::sqlite) fn has_history(&self) -> bool {
        self.shared.recorder.get().is_some()
    }

    /// Runs work on the history, on a thread of its own: it may take long, and nothing waits for it.
    async fn with_history<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Recorder) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let recorder = self.shared.recorder.get();
        let message = "the database keeps no history: open it with SqliteOptions::with_history";
        let recorder = Arc::clone(recorder.ok_or_else(|| Error::new(ErrorKind::Unsupported, message))?);
        blocking(move || work(&recorder)).await
    }

    /// Reads what the history has, of all that was answered before.
    pub(in crate::sqlite) async fn settled_index(&self) -> Result<Index> {
        self.with_history(|recorder| {
            recorder.settle()?;
            recorder.index()
        })
        .await
    }

    /// Finds the bookmark of a time, in microseconds since 1970; of the newest state without one.
    pub(in crate::sqlite) async fn find(&self, at: Option<i64>) -> Result<Bookmark> {
        self.with_history(move |recorder| recorder.find(at)).await
    }

    pub(in crate::sqlite) async fn history(&self) -> Result<History> {
        self.with_history(Recorder::report).await
    }

    /// Makes the state of a bookmark the newest one.
    pub(in crate::sqlite) async fn restore(&self, to: &Bookmark) -> Result<Restored> {
        let to = to.clone();
        let ready = self.with_history(move |recorder| recorder.prepare(&to)).await?;
        let shared = Arc::clone(&self.shared);
        let copy = move |slot: &mut Slot| {
            shared.check_writable()?;
            let connection = slot.connection()?;
            ready.check(connection.connection())?;
            let copied = ready.copy_into(connection.connection_mut(), must_stop);
            copied.map_err(|error| shared.not_restored(&error))?;
            shared.note_success();
            if let Err(failure) = connection.count_copy().and_then(|()| shared.look(connection)) {
                shared.note(&failure);
            }
            Ok(shared.committed(connection))
        };
        // From here on it is restored, whatever becomes of its history.
        let restored = match self.writer.run(Duration::MAX, copy).await? {
            Some(commit) => self.with_history(move |recorder| recorder.restored(commit)).await,
            None => Err(Error::new(ErrorKind::Internal, "its commit has no position")),
        };
        restored.map_err(|error| {
            let message = format!("the database is restored, but its history does not show it: {}", error.message());
            Error::new(error.kind(), message)
        })
    }
}
