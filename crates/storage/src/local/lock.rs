//! The lock of a store's folder: shared by all that have the store open, and exclusive for a rebuild.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

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
        let file = open(&path).map_err(failed)?;
        let since = Instant::now();
        loop {
            match lock(&file) {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::WouldBlock) if since.elapsed() < PATIENCE => std::thread::sleep(SLEEP),
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

/// Opens the file, which is empty, for reading by everybody who gets into the folder: a command that another user has run, such as
/// root, keeps nobody out. Some file systems lock only what can be read.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o644);
    match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => File::open(path).map_err(|_| error),
        opened => opened,
    }
}
