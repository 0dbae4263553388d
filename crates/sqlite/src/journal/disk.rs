//! The disk beneath the journal: the system's, or one of a test's that records or fails.
//!
//! The trait is as small as the journal's needs, so that a test's disk can record each operation and lose power
//! after any of them (`tests/crash`). Reads and writes name their offset: a file has no position that threads could
//! fight over.

use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// A disk with the journal's logs and the write-ahead logs of its databases.
///
/// ```
/// use isobar_sqlite::journal::{Disk, SystemDisk};
///
/// # let folder = tempfile::tempdir()?;
/// let file = SystemDisk.create(&folder.path().join("0-a.log"))?;
/// file.write_at(b"frames", 512)?;
/// file.sync()?;
/// let mut bytes = [0; 6];
/// file.read_at(&mut bytes, 512)?;
/// assert_eq!(&bytes, b"frames");
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// Promises of an implementation: after `sync` has answered, the file's bytes survive a loss of power; after
/// `sync_folder`, so do the names in it. Nothing else need survive, and what was not synced may survive in part and
/// in any order.
pub trait Disk: Debug + Send + Sync {
    /// Creates a file that only its owner may read.
    ///
    /// # Errors
    /// The system's; there is a file of this name already.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file that is there.
    ///
    /// # Errors
    /// The system's.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Removes a file; the folder is not synced.
    ///
    /// # Errors
    /// The system's.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// The system's.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
}

/// An open file.
///
/// A file of a test's disk that cannot be synced, around the system's:
///
/// ```
/// use std::io;
/// use std::sync::Arc;
///
/// use isobar_sqlite::journal::{Disk, DiskFile, SystemDisk};
///
/// #[derive(Debug)]
/// struct Unsynced(Arc<dyn DiskFile>);
///
/// impl DiskFile for Unsynced {
///     fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
///         self.0.read_at(buffer, offset)
///     }
///     fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
///         self.0.write_at(bytes, offset)
///     }
///     fn sync(&self) -> io::Result<()> {
///         Err(io::Error::other("the disk is gone"))
///     }
///     fn length(&self) -> io::Result<u64> {
///         self.0.length()
///     }
/// }
///
/// # let folder = tempfile::tempdir()?;
/// let file = Unsynced(SystemDisk.create(&folder.path().join("0-a.log"))?);
/// file.write_at(b"frames", 0)?;
/// assert_eq!(file.length()?, 6);
/// assert!(file.sync().is_err());
/// # Ok::<(), io::Error>(())
/// ```
pub trait DiskFile: Debug + Send + Sync {
    /// Fills the buffer from the bytes at this offset.
    ///
    /// # Errors
    /// The system's; the file ends before the buffer is full.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all bytes at this offset.
    ///
    /// # Errors
    /// The system's; what was written then is unknown.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes what was written durable.
    ///
    /// # Errors
    /// The system's; what was lost then is unknown, and another try proves nothing.
    fn sync(&self) -> io::Result<()>;

    /// Returns the length in bytes.
    ///
    /// # Errors
    /// The system's.
    fn length(&self) -> io::Result<u64>;
}

/// The system's disk.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemDisk;

impl Disk for SystemDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = isobar_base::fs::private_file().read(true).write(true).create_new(true).open(path)?;
        Ok(Arc::new(SystemFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(SystemFile(File::options().read(true).write(true).open(path)?)))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        isobar_base::fs::sync_dir(path)
    }
}

/// A file of the system's.
#[derive(Debug)]
struct SystemFile(File);

impl DiskFile for SystemFile {
    #[cfg(unix)]
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.0, buffer, offset)
    }

    #[cfg(not(unix))]
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        use std::io::{Read, Seek};
        // A file has one user at a time, so its position is nobody else's.
        let mut file = &self.0;
        file.seek(io::SeekFrom::Start(offset))?;
        file.read_exact(buffer)
    }

    #[cfg(unix)]
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.0, bytes, offset)
    }

    #[cfg(not(unix))]
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        use std::io::{Seek, Write};
        let mut file = &self.0;
        file.seek(io::SeekFrom::Start(offset))?;
        file.write_all(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}
