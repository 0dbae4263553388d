//! SQLite's write-ahead log, as far as it is synced here.
//!
//! Changes that no frame repeats (uploads, parts, forgotten packs) are durable only when SQLite's log is. SQLite syncs it at a
//! checkpoint alone (`synchronous = NORMAL`), so it is synced here, by a descriptor of our own, after such a commit. Once a sync
//! has failed, each later one fails too.

use std::path::PathBuf;
use std::sync::Arc;

use super::poisoned;
use crate::Error;
use crate::local::disk::{Disk, DiskFile, sync_folder};

/// The write-ahead log of the index.
pub(in crate::local) struct Wal {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    file: Option<Box<dyn DiskFile>>,
    /// Whether its name is durable.
    is_named: bool,
    /// Whether a sync has failed: a later success says nothing of what the first has lost.
    has_failed: bool,
}

impl Wal {
    /// Opens the log, if it is there already.
    pub(in crate::local) fn open(path: PathBuf, disk: Arc<dyn Disk>) -> crate::Result<Self> {
        let file = match disk.open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            opened => Some(opened.map_err(|error| Error::io(format_args!("cannot open {}", path.display()), error))?),
        };
        Ok(Self { path, disk, file, is_named: false, has_failed: false })
    }

    /// Makes durable what was committed. Fails for good once it has failed.
    pub(in crate::local) fn sync(&mut self) -> crate::Result<()> {
        if self.has_failed {
            return Err(poisoned());
        }
        let synced = self.try_sync();
        self.has_failed = synced.is_err();
        synced
    }

    pub(super) fn has_failed(&self) -> bool {
        self.has_failed
    }

    fn try_sync(&mut self) -> crate::Result<()> {
        let failed = |error| Error::io(format_args!("cannot sync {}", self.path.display()), error);
        // The log is there from the first transaction on, and stays as long as a connection is open.
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(self.disk.open(&self.path).map_err(failed)?),
        };
        file.sync().map_err(failed)?;
        if !self.is_named {
            sync_folder(&*self.disk, self.path.parent().unwrap_or(&self.path))?;
            self.is_named = true;
        }
        Ok(())
    }
}
