//! Files opened, made and removed below a folder by their paths, where the system has no way to do it step by step.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::{Error, Result, rules};

pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    File::open(path)
}

pub(super) fn open_file(root: &Path, below: &Path) -> io::Result<File> {
    open_regular(&root.join(below))
}

pub(super) fn create_folder(root: &Path, below: &Path) -> io::Result<()> {
    fs::create_dir_all(root.join(below))
}

pub(super) fn remove(root: &Path, folder: &Path, name: &str) -> io::Result<()> {
    fs::remove_file(root.join(folder).join(name))
}

/// A file that is written beside its place; gone again unless it is finished.
#[derive(Debug)]
pub(crate) struct NewFile {
    path: PathBuf,
    part: PathBuf,
    file: File,
    is_whole: bool,
}

pub(super) fn create(root: &Path, below: &Path, name: &str) -> io::Result<NewFile> {
    let folder = root.join(below);
    fs::create_dir_all(&folder)?;
    let part = folder.join(format!(".{}.part", rules::random_id().map_err(io::Error::other)?));
    let file = File::create_new(&part)?;
    Ok(NewFile { path: folder.join(name), part, file, is_whole: false })
}

impl NewFile {
    pub(crate) fn write(mut self, chunk: &[u8]) -> Result<Self> {
        self.file.write_all(chunk).map_err(|error| super::plain("cannot write", error))?;
        Ok(self)
    }

    pub(crate) fn finish(mut self, is_new: bool) -> Result<()> {
        self.file.sync_data().map_err(|error| super::plain("cannot write", error))?;
        if is_new && self.path.symlink_metadata().is_ok() {
            let message = "there is such a file by now; the file system may take the names of two objects for one";
            return Err(Error::new(crate::ErrorKind::InvalidArgument, message));
        }
        fs::rename(&self.part, &self.path).map_err(|error| super::plain("cannot be put in its place", error))?;
        self.is_whole = true;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_whole {
            drop(fs::remove_file(&self.part));
        }
    }
}
