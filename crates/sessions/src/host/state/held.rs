//! The object's part when the journal has synced its commits, or could not.

use super::ObjectState;
use crate::Error;
use crate::host::log::Held;
use crate::host::storage::Storage;

impl Held for ObjectState {
    fn release(&self) -> bool {
        self.is_held.set(false);
        self.let_out();
        self.wake_undurable();
        self.storage.borrow().as_ref().is_some_and(Storage::is_long)
    }

    fn lose(&self, error: &Error) {
        self.is_held.set(false);
        if let Some(storage) = &*self.storage.borrow() {
            storage.condemn();
        }
        self.break_now(error.clone());
    }

    fn checkpoint(&self) {
        if let Some(storage) = &*self.storage.borrow() {
            storage.checkpoint();
        }
    }
}
