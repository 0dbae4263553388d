//! The file operations that change anything, so that a test can record, fail or lose them.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, Write};
use std::path::Path;

pub use isobar_base::fs::Space;

use crate::{Error, Result};

/// The disk beneath a [`LocalStore`](super::LocalStore): operations that change blobs, packs and folders, and that make changes
/// durable, those of the index's log among them. Files are read directly, and SQLite writes by a VFS of its own.
///
/// ```
/// use std::io;
/// use std::path::Path;
///
/// use isobar_storage::local::{Disk, DiskFile, LocalOptions, SystemDisk};
///
/// /// A disk on which nothing can be removed.
/// #[derive(Debug)]
/// struct Keeping;
///
/// impl Disk for Keeping {
///     fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
///         SystemDisk.create(path)
///     }
///     fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
///         SystemDisk.open(path)
///     }
///     fn create_folder(&self, path: &Path) -> io::Result<()> {
///         SystemDisk.create_folder(path)
///     }
///     fn remove(&self, _: &Path) -> io::Result<()> {
///         Err(io::ErrorKind::PermissionDenied.into())
///     }
///     fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
///         SystemDisk.link(from, to)
///     }
///     fn sync_folder(&self, path: &Path) -> io::Result<()> {
///         SystemDisk.sync_folder(path)
///     }
/// }
///
/// let options = LocalOptions::default().with_disk(Keeping);
/// ```
///
/// A test's disk may break every promise that [`SystemDisk`] keeps but that of a sync: the store must lose nothing that it has
/// acknowledged. Errors of the system are handed through as they are.
pub trait Disk: Debug + Send + Sync {
    /// Creates a file that is not there yet.
    ///
    /// # Errors
    /// The system's error.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Opens a file that is there, to write more to it, or to make durable what another process has written.
    ///
    /// # Errors
    /// The system's error.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Creates a folder that is not there yet.
    ///
    /// # Errors
    /// The system's error.
    fn create_folder(&self, path: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// The system's error.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Gives a file another name besides the one it has.
    ///
    /// # Errors
    /// The system's error.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// The system's error.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;

    /// Bytes that may still be written to the file system of this path; `None` where that is not known.
    ///
    /// # Errors
    /// The system's error.
    fn free(&self, path: &Path) -> io::Result<Option<Space>> {
        let _ = path;
        Ok(None)
    }
}

/// A file that is being written.
///
/// ```
/// use std::fs::File;
/// use std::io::{self, Seek, SeekFrom, Write};
///
/// use isobar_storage::local::DiskFile;
///
/// /// A file on a disk that takes every write and keeps none: its syncs fail.
/// struct Unsyncable(File);
///
/// impl Write for Unsyncable {
///     fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
///         self.0.write(bytes)
///     }
///     fn flush(&mut self) -> io::Result<()> {
///         self.0.flush()
///     }
/// }
///
/// impl Seek for Unsyncable {
///     fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
///         self.0.seek(position)
///     }
/// }
///
/// impl DiskFile for Unsyncable {
///     fn sync(&mut self) -> io::Result<()> {
///         Err(io::ErrorKind::StorageFull.into())
///     }
/// }
/// # let file: Box<dyn DiskFile> = Box::new(Unsyncable(tempfile::tempfile()?));
/// # drop(file);
/// # Ok::<(), io::Error>(())
/// ```
pub trait DiskFile: Write + Seek + Send {
    /// Makes what was written durable.
    ///
    /// # Errors
    /// The system's error.
    fn sync(&mut self) -> io::Result<()>;

    /// Begins to bring to the disk what was written, and does not wait for it: a sync that comes soon has less to do. Nothing is
    /// promised by it, and a file may do nothing.
    fn start_sync(&mut self) {}
}

/// The system's own disk.
///
/// | operation | call on Unix | promise |
/// |---|---|---|
/// | [`create`](Disk::create), [`open`](Disk::open) | `open`; a new file has mode 0600 | the name is durable after [`sync_folder`](Disk::sync_folder) |
/// | [`DiskFile::sync`] | `fdatasync` (`F_FULLFSYNC` on Apple's systems) | bytes and length are durable |
/// | [`sync_folder`](Disk::sync_folder) | `fsync` of the folder | names are durable |
/// | [`link`](Disk::link) | `link` | both names are the same file |
///
/// ```
/// use std::io::Write;
///
/// use isobar_storage::local::{Disk, SystemDisk};
///
/// # let folder = tempfile::tempdir()?;
/// let mut file = SystemDisk.create(&folder.path().join("a"))?;
/// file.write_all(b"bytes")?;
/// file.sync()?;
/// SystemDisk.sync_folder(folder.path())?;
/// assert!(SystemDisk.create(&folder.path().join("a")).is_err(), "it is there");
/// # Ok::<_, std::io::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemDisk;

impl Disk for SystemDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(private().create_new(true).open(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(File::options().write(true).open(path)?))
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        isobar_base::fs::private_dir().create(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        isobar_base::fs::sync_dir(path)
    }

    fn free(&self, path: &Path) -> io::Result<Option<Space>> {
        isobar_base::fs::space(path)
    }
}

/// Opens files for writing; new ones are their owner's alone (mode 0600).
pub(super) fn private() -> OpenOptions {
    let mut options = isobar_base::fs::private_file();
    options.write(true);
    options
}

/// Makes a file or folder of the store private to its owner, as those of earlier versions were not. A missing one is skipped; one
/// of another user is left as it is, with a warning in the log.
pub(super) fn make_private(path: &Path) {
    match isobar_base::fs::restrict(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            #[cfg(feature = "tracing")]
            tracing::warn!(%error, path = %path.display(), "others may read it: its mode cannot be changed");
        }
        _ => {}
    }
}

/// Makes the names in a folder durable.
pub(super) fn sync_folder(disk: &dyn Disk, path: &Path) -> Result<()> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let synced = disk.sync_folder(path);
    synced.map_err(|error| Error::io(format_args!("cannot sync the folder {}", path.display()), error))
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
