//! The object's alarm: as the turn has set it, and what the host does before and after its handler.

use super::ObjectState;
use crate::host::alarms::rebased;
use crate::host::storage::{AlarmRow, Storage};
use crate::{Error, ErrorKind, Result};

/// An alarm that a turn has set and not committed.
#[derive(Debug, Clone, Copy)]
pub(in crate::host) enum NewAlarm {
    /// Due at this time, in Unix milliseconds.
    At(i64),
    Deleted,
}

impl NewAlarm {
    /// Returns the time at which it is due; `None` without an alarm.
    pub(in crate::host) fn due(self) -> Option<i64> {
        match self {
            Self::At(due) => Some(due),
            Self::Deleted => None,
        }
    }
}

impl ObjectState {
    /// The stored alarm, for the host. One that was set while the clock was ahead is set anew.
    pub(in crate::host) fn stored_alarm(&self) -> Result<Option<AlarmRow>> {
        let row = self.with_storage(Storage::alarm)?;
        let Some(rebased) = row.and_then(|row| rebased(row, self.shared.alarms.now())) else { return Ok(row) };
        self.with_storage(|storage| storage.commit_own_alarm(Some(rebased)))?;
        self.flush()?;
        Ok(Some(rebased))
    }

    /// Claims the alarm's handler; whether it was free.
    pub(in crate::host) fn claim_alarm(&self) -> bool {
        !self.alarm_active.replace(true)
    }

    /// Gives the claim back, with the alarm as it is stored.
    pub(in crate::host) fn release_alarm(&self) {
        self.alarm_active.set(false);
        self.alarm_runs.set(false);
    }

    /// Tells the object that its alarm runs: nothing is set until it sets something.
    pub(in crate::host) fn begin_alarm(&self) {
        self.alarm_runs.set(true);
    }

    /// Stores the alarm that follows the one that `ran`: it stays when it was set anew meanwhile, else `next` replaces it. Also for
    /// an instance that the alarm has broken: the database is still there, with what earlier turns have set. After a failure the
    /// alarm is stored as it was, and a connection whose file has failed is closed.
    pub(in crate::host) fn end_alarm(&self, ran: AlarmRow, next: Option<AlarmRow>) -> Result<()> {
        self.alarm_active.set(false);
        let is_over = self.alarm_runs.replace(false) || self.broken.borrow().is_some();
        self.open_storage()?;
        let storage = self.storage.borrow();
        let Some(open) = &*storage else { return Err(Error::new(ErrorKind::Internal, "the storage is closed")) };
        let store = || {
            if is_over && open.alarm()? == Some(ran) {
                open.set_own_alarm(next)?;
            }
            open.commit()?;
            self.flush()?;
            open.alarm()
        };
        let stored = store();
        let verdict = open.verdict();
        if stored.is_err() {
            open.roll_back();
        }
        drop(storage);
        self.drop_unsound();
        let due = match (stored, verdict) {
            (Ok(row), None) => row.map(|row| row.due),
            (Err(error), _) | (Ok(_), Some(error)) => return Err(error),
        };
        // The index is set once this is durable: until then it wakes too early at worst.
        self.new_alarm.set(None);
        self.wake_at(due);
        Ok(())
    }

    /// Wakes the object again at this time, whatever is stored.
    pub(in crate::host) fn wake_at(&self, due: Option<i64>) {
        self.shared.alarms.set(self.id.as_bytes(), due, self.wakeup_of(due));
    }
}
