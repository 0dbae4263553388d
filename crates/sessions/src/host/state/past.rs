//! The object's way back in time: bookmarks, and a restore before the instance starts.
//!
//! A restore has an order of its own, so that a crash leaves the old state or the new one, and an alarm that is restored finds the object
//! awake in time:
//!
//! 1. all commits are durable, and in the history; there the present generation ends;
//! 2. the index is told of the restored alarm, as of one that is due at once;
//! 3. the database takes the earlier state, in one commit, which is made durable;
//! 4. the history forgets that it was asked for a restore.
//!
//! Broken off before the commit of 3 is durable, the next start does it again; after it, the next start restores the same state once more.

use std::rc::{Rc, Weak};

use super::ObjectState;
use crate::host::storage::Storage;
use crate::{Bookmark, Error, ErrorKind, Result};

impl ObjectState {
    /// Returns the bookmark of the state at a time, in milliseconds since 1970; of the newest without one.
    pub(in crate::host) async fn bookmark(this: Weak<Self>, at: Option<i64>) -> Result<Bookmark> {
        Self::settled(this).await?.with_storage(|storage| storage.bookmark(at))
    }

    /// Asks for the restore of a state with the next start. Returns the bookmark of the state before that.
    pub(in crate::host) async fn ask_restore(this: Weak<Self>, to: Bookmark) -> Result<Bookmark> {
        let state = Self::settled(this).await?;
        let undo = state.with_storage(|storage| storage.ask_restore(&to))?;
        // Should the host end before the object starts anew, its next start wakes it for that: there may be an alarm to restore.
        let now = state.shared.alarms.now();
        state.shared.alarms.record_wakeup(state.id.as_bytes(), state.id.name(), Some(now))?;
        Ok(undo)
    }

    /// The object when the present turn has ended, its storage in a file, and all of it durable.
    async fn settled(this: Weak<Self>) -> Result<Rc<Self>> {
        loop {
            tokio::task::yield_now().await; // the turn ends here, and commits
            let Some(state) = this.upgrade() else { return Err(Error::new(ErrorKind::Reset, "the object is gone")) };
            if let Some(error) = state.broken() {
                return Err(error);
            }
            let is_dirty = state.storage.borrow().as_ref().is_some_and(Storage::is_dirty);
            if !is_dirty {
                state.store_draft()?;
                state.flush()?;
                return Ok(state);
            }
        }
    }

    /// Makes a draft a file: its state is to be found again.
    fn store_draft(&self) -> Result<()> {
        if self.shared.histories.is_none() {
            return Ok(());
        }
        self.open_storage()?;
        if !self.storage.borrow().as_ref().is_some_and(Storage::is_draft) {
            return Ok(());
        }
        let stored = || {
            self.shared.alarms.record_wakeup(self.id.as_bytes(), self.id.name(), None)?;
            self.is_indexed.set(true);
            self.publish()
        };
        stored().inspect_err(|error| self.break_with(error.clone()))
    }

    /// Whether a restore is asked for.
    pub(super) fn is_restore_asked(&self) -> bool {
        self.storage.borrow().as_ref().is_some_and(Storage::is_restore_asked)
    }

    /// When the index is to have the object woken, whose alarm is due then: at once while a restore is asked for, which a change of the
    /// alarm does not take back.
    pub(super) fn wakeup_of(&self, due: Option<i64>) -> Option<i64> {
        if self.is_restore_asked() { Some(self.shared.alarms.now()) } else { due }
    }

    /// Wakes an object that is to be restored: its earlier state may have an alarm that is due.
    pub(super) fn wake_for_restore(&self) {
        if self.is_restore_asked() {
            self.wake_at(Some(self.shared.alarms.now()));
        }
    }

    /// Restores an earlier state, if that was asked for, before an instance starts.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`] where the history does not fit the object's file; those of a write.
    pub(in crate::host) fn settle_restore(&self) -> Result<()> {
        if self.shared.histories.is_none() {
            return Ok(());
        }
        if let Some(error) = self.broken() {
            return Err(error);
        }
        self.open_storage()?;
        if !self.is_restore_asked() {
            return Ok(());
        }
        let restored = self.shared.health.check_write().and_then(|()| self.restore());
        self.drop_unsound();
        restored
    }

    fn restore(&self) -> Result<()> {
        let id = self.id.as_bytes();
        self.flush()?;
        let Some(earlier) = self.on_storage(Storage::prepare_restore)? else { return Ok(()) };
        if earlier.due.is_some() {
            self.shared.alarms.record_wakeup(id, self.id.name(), self.wakeup_of(earlier.due))?;
        }
        let mut storage = self.storage.borrow_mut();
        let restored = storage.as_mut().map_or(Ok(()), |storage| {
            storage.restore(&earlier).inspect_err(|_| storage.condemn()) // whatever of it was done is not seen
        });
        drop(storage);
        restored?;
        self.flush()?;
        self.on_storage(Storage::end_restore)?;
        self.wake_at(earlier.due);
        #[cfg(feature = "tracing")]
        tracing::info!(object = %self.id, "a session object was restored to an earlier state");
        Ok(())
    }

    fn on_storage<T>(&self, work: impl FnOnce(&Storage) -> Result<T>) -> Result<T> {
        let storage = self.storage.borrow();
        let Some(open) = &*storage else { return Err(Error::new(ErrorKind::Internal, "the storage is closed")) };
        work(open)
    }
}
