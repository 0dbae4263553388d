//! Files opened, made and removed below a folder step by step, so that no link that is put in the way meanwhile leads out.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::{Error, Result, rules};

/// Opens a regular file; a FIFO is not waited for.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    regular(rustix::fs::open(path, reading(), Mode::empty())?)
}

/// Opens a regular file below a folder, neither of whose paths has a link in it.
pub(super) fn open_file(root: &Path, below: &Path) -> io::Result<File> {
    let folder = below.parent().unwrap_or(Path::new(""));
    let name = below.file_name().unwrap_or_default();
    let folder = open_folder(root, folder, false)?;
    regular(rustix::fs::openat(&folder, name, reading() | OFlags::NOFOLLOW, Mode::empty())?)
}

fn reading() -> OFlags {
    OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY
}

fn regular(file: OwnedFd) -> io::Result<File> {
    match FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) {
        FileType::RegularFile => Ok(File::from(file)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")),
    }
}

/// Opens a folder below another, making those that are missing where `create` says so.
fn open_folder(root: &Path, below: &Path, create: bool) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut folder = rustix::fs::open(root, flags, Mode::empty())?;
    for component in below.components() {
        let Component::Normal(name) = component else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path leads elsewhere"));
        };
        let open = |folder: &OwnedFd| rustix::fs::openat(folder, name, flags | OFlags::NOFOLLOW, Mode::empty());
        folder = match open(&folder) {
            Err(Errno::NOENT) if create => {
                match rustix::fs::mkdirat(&folder, name, Mode::from_raw_mode(0o777)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
                open(&folder)?
            }
            opened => opened?,
        };
    }
    Ok(folder)
}

pub(super) fn create_folder(root: &Path, below: &Path) -> io::Result<()> {
    open_folder(root, below, true).map(drop)
}

/// Removes a file, or the link that stands in its place; links to folders on the way to it are not followed.
pub(super) fn remove(root: &Path, folder: &Path, name: &str) -> io::Result<()> {
    let folder = open_folder(root, folder, false)?;
    Ok(rustix::fs::unlinkat(&folder, name, AtFlags::empty())?)
}

/// A file that is written beside its place; gone again unless it is finished.
#[derive(Debug)]
pub(crate) struct NewFile {
    folder: OwnedFd,
    part: String,
    name: String,
    file: File,
    is_whole: bool,
}

/// Makes a file beside the place of `name`, and the folders above it.
pub(super) fn create(root: &Path, below: &Path, name: &str) -> io::Result<NewFile> {
    let folder = open_folder(root, below, true)?;
    let part = format!(".{}.part", rules::random_id().map_err(io::Error::other)?);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::openat(&folder, &*part, flags, Mode::from_raw_mode(0o666))?;
    Ok(NewFile { folder, part, name: name.to_owned(), file: File::from(file), is_whole: false })
}

impl NewFile {
    pub(crate) fn write(mut self, chunk: &[u8]) -> Result<Self> {
        self.file.write_all(chunk).map_err(|error| super::plain("cannot write", error))?;
        Ok(self)
    }

    /// Puts the file in its place. `is_new` refuses to replace what is there by now: where a file system takes two names for
    /// one, the second would replace the first.
    pub(crate) fn finish(mut self, is_new: bool) -> Result<()> {
        self.file.sync_data().map_err(|error| super::plain("cannot write", error))?;
        self.rename(is_new).map_err(|error| match Errno::from_io_error(&error) {
            Some(Errno::EXIST) => {
                let message = "there is such a file by now: somebody has made it meanwhile, or the file system takes the names of \
                    two objects for one, as they differ in case or in Unicode form alone; leave one of them out by a filter";
                Error::new(crate::ErrorKind::InvalidArgument, message)
            }
            _ => super::plain("cannot be put in its place", error),
        })?;
        self.is_whole = true;
        Ok(())
    }

    fn rename(&self, is_new: bool) -> io::Result<()> {
        let folder = self.folder.as_fd();
        let part = &*self.part;
        let name = &*self.name;
        if is_new {
            #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
            match rustix::fs::renameat_with(folder, part, folder, name, RenameFlags::NOREPLACE) {
                // This file system cannot say so.
                Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
                renamed => return Ok(renamed?),
            }
            if rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
                return Err(Errno::EXIST.into());
            }
        }
        Ok(rustix::fs::renameat(folder, part, folder, name)?)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_whole {
            // A remaining part does no harm.
            let _ = rustix::fs::unlinkat(&self.folder, &*self.part, AtFlags::empty());
        }
    }
}
