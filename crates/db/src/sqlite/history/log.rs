//! The file that commits are appended to.
//!
//! Frames become differences where the version before is at hand: in a cache of the last 512 to 1,024 pages. A page
//! that is not in it is written whole, which costs bytes and nothing else. The cache begins empty with each log, so
//! a log can be read without the ones before it.

use std::collections::HashMap;
use std::io;
use std::mem;
use std::path::PathBuf;
use std::sync::Arc;

use isobar_base::fs::parent;
use isobar_sqlite::journal::DiskFile;

use super::fault;
use super::folder::Folder;
use super::format::{BlockBuilder, HEADER, Header, Kind, WalState};
use super::index::Extent;
use super::position::Position;
use crate::Result;

/// Pages whose last versions are kept for the next difference, in each half of the cache.
const CACHED: usize = 512;

/// A log that is open for appending.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    pub(super) bytes: u64,
    /// Bytes that are durable.
    synced: u64,
    pages: Pages,
}

impl Log {
    /// Creates a log, durably.
    pub(super) fn create(folder: &Folder, header: Header) -> Result<Self> {
        let path = folder.file(Kind::Log, header.start);
        let create = || -> io::Result<Arc<dyn DiskFile>> {
            if path.exists() {
                // It has no commit: it would be continued.
                folder.disk.remove(&path)?;
            }
            let file = folder.disk.create(&path)?;
            file.write_at(&header.to_bytes(), 0)?;
            file.sync()?;
            folder.disk.sync_folder(parent(&path))?;
            Ok(file)
        };
        let file = create().map_err(|error| {
            // One without commits may not stand behind a log that goes on.
            drop(folder.disk.remove(&path));
            fault::of_file("create", &path, error)
        })?;
        let pages = Pages::default();
        Ok(Self { path, file, bytes: HEADER as u64, synced: HEADER as u64, pages })
    }

    /// Opens a log behind its last commit; what a crash has left there is cut off.
    pub(super) fn resume(folder: &Folder, extent: &Extent) -> Result<Self> {
        let path = extent.entry.path.clone();
        let open = || -> io::Result<Arc<dyn DiskFile>> {
            if extent.valid < extent.bytes {
                let file = std::fs::File::options().write(true).open(&path)?;
                file.set_len(extent.valid)?;
                file.sync_all()?;
            }
            folder.disk.open(&path)
        };
        let file = open().map_err(|error| fault::of_file("open", &path, error))?;
        // A process that was killed may have left it without a sync.
        file.sync().map_err(|error| fault::of_file("sync", &path, error))?;
        let pages = Pages::default();
        Ok(Self { path, file, bytes: extent.valid, synced: extent.valid, pages })
    }

    /// Returns whether it has no commit.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes == HEADER as u64
    }

    pub(super) fn append(&mut self, block: &[u8]) -> Result<()> {
        self.file.write_at(block, self.bytes).map_err(|error| fault::of_file("write", &self.path, error))?;
        self.bytes += block.len() as u64;
        Ok(())
    }

    /// Makes what was appended durable.
    ///
    /// After a failure the file is cut back to what was durable, and the history is opened anew: the commits are still
    /// in the write-ahead log.
    pub(super) fn sync(&mut self) -> Result<()> {
        if self.synced < self.bytes {
            self.file.sync().map_err(|error| {
                // The system may have dropped what it could not write, and another sync would succeed without it: so it is
                // archived again, out of the write-ahead log.
                let file = std::fs::File::options().write(true).open(&self.path);
                drop(file.and_then(|file| file.set_len(self.synced)));
                fault::of_file("sync", &self.path, error)
            })?;
            self.synced = self.bytes;
        }
        Ok(())
    }

    /// Adds a frame to a block, as a difference where the version before is at hand.
    pub(super) fn push(&mut self, block: &mut BlockBuilder, page: u32, commit: Option<(u32, i64)>, bytes: &[u8]) {
        let before = self.pages.replace(page, bytes);
        block.push(page, commit, bytes, before.as_deref());
    }

    /// Writes the frames of a block, the first of which has this position.
    pub(super) fn write(&mut self, block: &mut BlockBuilder, first: Position, wal: WalState) -> Result<()> {
        if block.is_empty() {
            return Ok(());
        }
        let sealed = block.seal(first, wal).map_err(|error| fault::of_file("write", &self.path, error))?;
        self.append(&sealed.1)
    }
}

/// The last versions of pages that this log has: those that were used last, in two halves that take turns.
#[derive(Debug, Default)]
struct Pages {
    young: HashMap<u32, Box<[u8]>>,
    old: HashMap<u32, Box<[u8]>>,
}

impl Pages {
    /// Keeps a version of a page. Returns the one before.
    fn replace(&mut self, page: u32, bytes: &[u8]) -> Option<Box<[u8]>> {
        let before = self.young.insert(page, bytes.into());
        let before = before.or_else(|| self.old.remove(&page));
        if self.young.len() >= CACHED {
            self.old = mem::take(&mut self.young);
        }
        before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_before_is_the_last_one_or_none() {
        let mut pages = Pages::default();
        for round in 0..5_u8 {
            for page in 0..300 {
                let before = pages.replace(page, &[round]);
                assert_eq!(before.as_deref(), round.checked_sub(1).map(|round| vec![round]).as_deref());
            }
        }
        for page in 1000..3000 {
            assert_eq!(pages.replace(page, &[9]), None);
            assert!(pages.young.len() + pages.old.len() <= 2 * CACHED);
        }
        assert_eq!(pages.replace(5, &[7]), None);
    }
}
