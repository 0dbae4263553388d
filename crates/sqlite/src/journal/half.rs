//! One of the two logs of a journal, and the databases that have frames in it.
//!
//! A log is written with zeros once, when it is made, so that syncing it later writes data alone and no metadata of
//! the file: that is the difference between one write and several to the disk. It is never truncated; emptying
//! overwrites the header of its first batch.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Disk, DiskFile};
use super::format::SECTOR;

static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// A log. It has been written with zeros, so that syncing it changes no metadata.
#[derive(Debug)]
pub(super) struct Half {
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn DiskFile>,
    /// Bytes that it has room for.
    pub(super) size: u64,
    /// Where the next batch goes.
    pub(super) end: u64,
}

impl Half {
    /// Creates a log, and makes it durable.
    pub(super) fn create(disk: &dyn Disk, path: PathBuf, size: u64) -> io::Result<Self> {
        let file = disk.create(&path)?;
        let made = fill(&*file, 0, size).and_then(|()| disk.sync_folder(isobar_base::fs::parent(&path)));
        if let Err(error) = made {
            drop(disk.remove(&path)); // a log without a batch says nothing
            return Err(error);
        }
        Ok(Self { path, file, size, end: 0 })
    }

    /// Whether a batch of this size fits.
    pub(super) fn has_room(&self, bytes: u64) -> bool {
        self.end + bytes <= self.size
    }

    /// Empties the log, durably: its first batch is no batch any more.
    pub(super) fn empty(&mut self) -> io::Result<()> {
        self.file.write_at(&ZEROS[..SECTOR], 0)?;
        self.file.sync()?;
        self.end = 0;
        Ok(())
    }

    /// Makes more room. Where the disk has none, the log stays as it is.
    pub(super) fn grow(&mut self, size: u64) {
        if self.size < size && fill(&*self.file, self.size, size).is_ok() {
            self.size = size;
        }
    }
}

/// Writes zeros, and makes them durable.
fn fill(file: &dyn DiskFile, from: u64, to: u64) -> io::Result<()> {
    let mut at = from;
    while at < to {
        let length = usize::try_from(to - at).unwrap_or(usize::MAX).min(ZEROS.len());
        file.write_at(&ZEROS[..length], at)?;
        at += length as u64;
    }
    file.sync()
}

/// Path of a log in the journal's folder.
pub(super) fn path(folder: &Path, number: usize, letter: char) -> PathBuf {
    folder.join(format!("{number}-{letter}.log"))
}

/// The databases that have frames in a log.
#[derive(Debug, Default)]
pub(super) struct Members {
    /// Their write-ahead logs, by their handles; `None` for those that need no sync any more.
    wals: Vec<Option<Arc<dyn DiskFile>>>,
    handles: HashMap<String, u32>,
}

impl Members {
    /// Enters a database. Returns its handle, and whether it is new here.
    pub(super) fn enter(&mut self, name: &str, wal: &Arc<dyn DiskFile>) -> (u32, bool) {
        let wal = Some(Arc::clone(wal));
        if let Some(handle) = self.handles.get(name) {
            self.wals[*handle as usize] = wal;
            return (*handle, false);
        }
        let handle = u32::try_from(self.wals.len()).expect("a log has room for far fewer than 2^32 names");
        self.wals.push(wal);
        self.handles.insert(name.to_owned(), handle);
        (handle, true)
    }

    /// Whether a database has frames in the log.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.handles.contains_key(name)
    }

    /// Notes that the database itself has all that its write-ahead log had.
    pub(super) fn leave(&mut self, handle: u32) {
        self.wals[handle as usize] = None;
    }

    /// Makes the write-ahead logs durable by themselves: the log is not needed for them any more.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.wals.iter().flatten().try_for_each(|wal| wal.sync())
    }
}
