//! The lock of a store's folder: shared by all that have the store open, and exclusive for a rebuild.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::{Duration, Instant};

use super::disk::private;
use crate::{Error, ErrorKind, Result};

/// The locked file. It stays when the store is closed: the lock is the system's, and ends with the process.
const NAME: &str = "store.lock";
/// Time to wait for a lock: a store is closed a moment after its last handle was dropped.
const PATIENCE: Duration = Duration::from_secs(1);
const SLEEP: Duration = Duration::from_millis(5);

/// A lock that is held until it is dropped.
#[derive(Debug)]
pub(super) struct StoreLock {
    _file: File,
}

impl StoreLock {
    /// Locks the folder of a store that is open.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] while its index is rebuilt.
    pub(super) fn shared(root: &Path) -> Result<Self> {
        Self::lock(root, File::try_lock_shared, "its index is being rebuilt: wait for the end of fsck --rebuild")
    }

    /// Locks the folder of a store that is rebuilt.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] while the store is open, here or in another process.
    pub(super) fn exclusive(root: &Path) -> Result<Self> {
        Self::lock(root, File::try_lock, "the store is open elsewhere: stop the processes that use it first")
    }

    fn lock(root: &Path, lock: fn(&File) -> Result<(), TryLockError>, refusal: &str) -> Result<Self> {
        let path = root.join(NAME);
        let failed = |error| Error::io(format_args!("cannot lock {}", path.display()), error);
        let file = private().create(true).truncate(false).open(&path).map_err(failed)?;
        let since = Instant::now();
        loop {
            match lock(&file) {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::WouldBlock) if since.elapsed() < PATIENCE => std::thread::sleep(SLEEP),
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::new(ErrorKind::Unavailable, format!("{}: {refusal}", root.display())));
                }
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
        }
    }
}
