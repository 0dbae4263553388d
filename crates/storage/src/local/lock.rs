//! The lock of a store's folder: shared by all that have the store open, and exclusive for a rebuild or an upgrade of its index.
//!
//! | holder | lock | excludes |
//! |---|---|---|
//! | an open store | shared | rebuild, upgrade, removal |
//! | a rebuild, a removal | exclusive | everything |
//! | an upgrade of the index | exclusive | everything |
//!
//! SQLite's own locks do the rest: they order the transactions of the processes that have the store open. The lock is the first to be taken
//! and the last to be released.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::disk::private;
use crate::{Error, ErrorKind, Result};

/// The locked file. It stays when the store is closed: the lock is the system's, and ends with the process.
const NAME: &str = "store.lock";
/// Time to wait for a lock: a store is closed a moment after its last handle was dropped.
const TIMEOUT: Duration = Duration::from_secs(1);
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
    /// [`ErrorKind::Unavailable`] while its index is rebuilt or upgraded.
    pub(super) fn shared(root: &Path) -> Result<Self> {
        let refusal = "its index is being rebuilt or upgraded: wait for the end of that";
        Self::lock(root, File::try_lock_shared, refusal)
    }

    /// Locks the folder of a store whose index is upgraded.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] while the store is open, here or in another process.
    pub(super) fn for_upgrade(root: &Path) -> Result<Self> {
        Self::lock(root, File::try_lock, "its index is being upgraded, or the store is open elsewhere")
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
        let file = open(&path).map_err(failed)?;
        let since = Instant::now();
        loop {
            match lock(&file) {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::WouldBlock) if since.elapsed() < TIMEOUT => std::thread::sleep(SLEEP),
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::new(ErrorKind::Unavailable, format!("{}: {refusal}", root.display())));
                }
                // A file system without locks has stores all the same; a rebuild there is not kept out.
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                    #[cfg(feature = "tracing")]
                    tracing::warn!(path = %path.display(), "the file system has no locks: nothing keeps a rebuild out");
                    return Ok(Self { _file: file });
                }
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
        }
    }
}

/// Opens the file for reading, too: some file systems lock only what can be read. A new one is the folder's owner's, so that a command
/// that root has run keeps nobody out.
fn open(path: &Path) -> io::Result<File> {
    let mut options = private();
    options.read(true).create_new(true);
    match options.open(path) {
        Ok(file) => {
            #[cfg(unix)]
            give_to_owner(path);
            Ok(file)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            OpenOptions::new().read(true).write(true).open(path)
        }
        Err(error) => Err(error),
    }
}

/// Gives the file the owner of its folder. Only root can, and only root has to.
#[cfg(unix)]
fn give_to_owner(path: &Path) {
    use std::os::unix::fs::{MetadataExt, chown};
    let folder = path.parent().and_then(|folder| std::fs::metadata(folder).ok());
    if let Some(folder) = folder {
        drop(chown(path, Some(folder.uid()), Some(folder.gid())));
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{MetadataExt, chown};

    use super::*;

    #[test]
    fn a_store_that_is_rebuilt_is_not_locked_by_another() {
        let folder = tempfile::tempdir().expect("a folder");
        let held = StoreLock::exclusive(folder.path()).expect("nothing else has it");
        let error = StoreLock::shared(folder.path()).expect_err("a rebuild has it");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("its index is being rebuilt"), "{error}");
        drop(held);
        drop(StoreLock::shared(folder.path()).expect("the rebuild is over"));
    }

    #[test]
    fn a_new_lock_belongs_to_the_folders_owner() {
        let folder = tempfile::tempdir().expect("a folder");
        drop(chown(folder.path(), Some(12_345), None)); // only root can
        let owner = std::fs::metadata(folder.path()).expect("the folder is there").uid();
        drop(StoreLock::shared(folder.path()).expect("a lock"));
        let file = std::fs::metadata(folder.path().join(NAME)).expect("the file is there");
        assert_eq!((file.uid(), file.mode() & 0o777), (owner, 0o600));
    }
}
