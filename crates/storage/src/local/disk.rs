//! The file operations that change anything, so that a test can record, fail or lose them.

use std::fmt::Debug;
use std::fs::{self, File};
use std::io::{self, Seek, Write};
use std::path::Path;

/// The disk beneath a [`LocalStore`](super::LocalStore): what changes blobs, packs and folders, and what makes changes
/// durable, those of the index's log among them. Reading needs no disguise, and SQLite writes by a VFS of its own.
///
/// What a program is promised by [`SystemDisk`], a test's disk may break: the store must lose nothing that it has
/// acknowledged. Errors of the system are handed through as they are.
pub trait Disk: Debug + Send + Sync {
    /// Creates a file that is not there yet.
    ///
    /// # Errors
    /// What the system answers.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Opens a file that is there, to write more to it, or to make durable what somebody else has written.
    ///
    /// # Errors
    /// What the system answers.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Creates a folder that is not there yet.
    ///
    /// # Errors
    /// What the system answers.
    fn create_folder(&self, path: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// What the system answers.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Gives a file another name besides the one it has.
    ///
    /// # Errors
    /// What the system answers.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// What the system answers.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
}

/// A file that is being written.
pub trait DiskFile: Write + Seek + Send {
    /// Makes what was written durable.
    ///
    /// # Errors
    /// What the system answers.
    fn sync(&mut self) -> io::Result<()>;

    /// Begins to bring to the disk what was written, and does not wait for it: a sync that comes soon has less to do. Nothing is
    /// promised by it, and a file may do nothing.
    fn start_sync(&mut self) {}
}

/// The system's own disk.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemDisk;

impl Disk for SystemDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(File::create_new(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(File::options().write(true).open(path)?))
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}

impl DiskFile for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_data() // its length is data; its times are not worth a write
    }

    #[cfg(target_os = "linux")]
    #[allow(unsafe_code, reason = "the standard library has no such call")]
    fn start_sync(&mut self) {
        use std::os::fd::AsRawFd;
        // SAFETY: the call takes numbers alone, and the file is open. 0 and 0: from its beginning to its end.
        unsafe { libc::sync_file_range(self.as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE) };
    }
}
