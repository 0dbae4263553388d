//! The object's part when the journal has synced its commits, or could not.

use std::sync::Arc;

use isobar_sqlite::journal::DiskFile;

use super::ObjectState;
use crate::Error;
use crate::host::log::Held;
use crate::host::storage::Storage;

impl Held for ObjectState {
    fn release(&self) -> bool {
        self.is_held.set(false);
        self.let_out();
        self.wake_undurable();
        self.storage.borrow().as_ref().is_some_and(Storage::is_long) && !self.is_due.replace(true)
    }

    fn lose(&self, error: &Error) {
        self.is_held.set(false);
        if let Some(storage) = &*self.storage.borrow() {
            storage.condemn();
        }
        self.break_now(error.clone());
    }

    fn wal(&self) -> Option<Arc<dyn DiskFile>> {
        self.storage.borrow().as_ref().and_then(Storage::wal_file)
    }

    fn checkpoint(&self) {
        self.is_due.set(false);
        if let Some(storage) = &*self.storage.borrow() {
            storage.checkpoint();
        }
    }
}
