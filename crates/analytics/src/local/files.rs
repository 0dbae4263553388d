//! Files: reads at a position, and changes of names that are to survive a power loss.
//!
//! Syncs, renames and removals whose order matters go through here, and in tests are noted by [`record`], so that their order is compared with
//! what a crash allows: a file is synced before it is named, its folder after, and a file is removed only when what replaces it is durable.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
#[cfg(feature = "query")]
use std::path::PathBuf;
use std::sync::Arc;

#[cfg(feature = "query")]
use crate::ErrorKind;
use crate::{Error, Result};

/// Reads at a position, without moving one that others share. Returns the number of bytes.
pub(super) fn read_at(file: &File, into: &mut [u8], at: u64) -> io::Result<usize> {
    #[cfg(unix)]
    return std::os::unix::fs::FileExt::read_at(file, into, at);
    #[cfg(windows)]
    return std::os::windows::fs::FileExt::seek_read(file, into, at);
}

/// Whether a path names this open file: not none, and not another one that has its name by now.
///
/// Compared by device and inode where there are such; elsewhere a path that exists counts.
pub(super) fn is_at(path: &Path, file: &File) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let id = |meta: fs::Metadata| (meta.dev(), meta.ino());
        let named = fs::metadata(path).ok().map(id);
        named.is_some() && named == file.metadata().ok().map(id)
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        path.exists()
    }
}

/// Makes a file durable; its name is once its folder is [synced](sync_dir).
pub(super) fn sync(file: &File, _path: &Path) -> io::Result<()> {
    file.sync_all()?;
    #[cfg(test)]
    record::step("sync", _path);
    Ok(())
}

/// Gives a file another name, in place of a file that has it. Durable once the folder of that name is [synced](sync_dir).
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    #[cfg(test)]
    record::step("name", to);
    Ok(())
}

/// Removes a file, unless it has gone. Durable once its folder is [synced](sync_dir).
#[cfg(feature = "query")]
pub(super) fn remove(path: &Path) -> Result<()> {
    #[cfg(test)]
    record::step("remove", path);
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io(path, error)),
        _ => Ok(()),
    }
}

/// Makes the names in a folder durable.
pub(super) fn sync_dir(folder: &Path) -> Result<()> {
    isobar_base::fs::sync_dir(folder).map_err(|error| Error::io(folder, error))?;
    #[cfg(test)]
    record::step("sync", folder);
    Ok(())
}

/// A file that gets its name when it is whole and durable. Removed when it is dropped before.
#[cfg(feature = "query")]
#[derive(Debug)]
pub(super) struct NewFile {
    path: PathBuf,
    /// Its name until then, in the same folder.
    temporary: PathBuf,
}

#[cfg(feature = "query")]
impl NewFile {
    /// Creates the file for a name that is free.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where the name is taken; I/O errors.
    pub(super) fn create(path: &Path) -> Result<(Self, File)> {
        if fs::symlink_metadata(path).is_ok() {
            return Err(exists(path));
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        for number in 0.. {
            let temporary = path.with_file_name(format!(".{name}.{number}.tmp"));
            match isobar_base::fs::private_file().write(true).create_new(true).open(&temporary) {
                Ok(file) => return Ok((Self { path: path.to_owned(), temporary }, file)),
                // Another export has it, or one that was killed.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::io(path, error)),
            }
        }
        unreachable!("there are more numbers than files")
    }

    /// Makes the file durable, and gives it its name.
    ///
    /// # Errors
    /// As [`create`](Self::create). Then there is no file of this name that was not there before.
    pub(super) fn publish(self, file: &File) -> Result<()> {
        let Self { path, temporary } = &self;
        sync(file, temporary).map_err(|error| Error::io(path, error))?;
        // A link, in contrast to a rename, does not replace a file that another process has made meanwhile.
        match fs::hard_link(temporary, path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(exists(path)),
            // A file system without links.
            Err(_) if fs::symlink_metadata(path).is_ok() => return Err(exists(path)),
            Err(_) => fs::rename(temporary, path).map_err(|error| Error::io(path, error))?,
        }
        #[cfg(test)]
        record::step("name", path);
        let folder = isobar_base::fs::parent(path);
        let named = remove(temporary).and_then(|()| sync_dir(folder));
        if named.is_err() {
            drop(fs::remove_file(path));
        }
        named
    }
}

#[cfg(feature = "query")]
impl Drop for NewFile {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.temporary));
    }
}

#[cfg(feature = "query")]
fn exists(path: &Path) -> Error {
    Error::new(ErrorKind::Unsupported, format!("{}: the file exists; use another name, or remove it", path.display()))
}

/// A part of a file that is read from its beginning to its end.
#[derive(Debug)]
pub(super) struct Part {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Part {
    /// Reads the first bytes of a file.
    pub(super) fn first(file: Arc<File>, bytes: u64) -> Self {
        Self { file, at: 0, end: bytes }
    }

    /// Returns the number of bytes that are still to be read.
    pub(super) fn left(&self) -> u64 {
        self.end - self.at
    }
}

impl Read for Part {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left()).unwrap_or(usize::MAX).min(into.len());
        let read = read_at(&self.file, &mut into[..most], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// Record of the files that this thread has synced, named and removed, in order, for tests of what is durable when.
#[cfg(test)]
pub(super) mod record {
    use std::cell::RefCell;
    use std::path::Path;

    thread_local!(static STEPS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) });

    pub(in crate::local) fn step(step: &str, path: &Path) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        STEPS.with_borrow_mut(|steps| steps.push(format!("{step} {name}")));
    }

    /// Takes the steps since the last call.
    pub(in crate::local) fn take() -> Vec<String> {
        STEPS.take()
    }
}

#[cfg(all(test, feature = "query"))]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn new_file_is_durable_before_it_has_its_name_and_its_name_is_durable_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("all.csv");
        let (new, mut file) = NewFile::create(&path).unwrap();
        file.write_all(b"a").unwrap();
        assert!(!path.exists(), "it is not whole yet");
        record::take();
        new.publish(&file).unwrap();
        let last = format!("sync {}", folder.path().file_name().unwrap().to_string_lossy());
        let steps = ["sync .all.csv.0.tmp", "name all.csv", "remove .all.csv.0.tmp", last.as_str()];
        assert_eq!(record::take(), steps);
        assert_eq!(fs::read(&path).unwrap(), b"a");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn new_file_replaces_none_and_leaves_nothing_when_it_fails() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("all.csv");
        let (first, file) = NewFile::create(&path).unwrap();
        drop(NewFile::create(&path).unwrap());
        fs::write(&path, "of another process").unwrap();
        let error = first.publish(&file).unwrap_err();
        assert!(error.message().ends_with("all.csv: the file exists; use another name, or remove it"), "{error}");
        assert_eq!(NewFile::create(&path).unwrap_err().kind(), ErrorKind::Unsupported);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(fs::read(&path).unwrap(), b"of another process");
    }
}
