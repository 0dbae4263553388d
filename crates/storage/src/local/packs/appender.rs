//! Appending frames to the packs.
//!
//! One for each process that has the store open, used by its commit thread alone and only while it holds the index's write lock: so there is
//! one writer at a time over all processes, and the position that the index says is where the next frame goes. Writing and syncing are apart:
//! between them the rows are written, while the disk has begun (`start_sync`).
//!
//! A frame that was written and whose transaction was rolled back stays in the file. It does no harm: the next frame is written over it, or
//! `fence_stale_frame` puts an empty one in its place.

use std::io::{self, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use super::preallocated::PreallocatedPack;
use super::{LogPosition, Packs};
use crate::local::disk::DiskFile;
use crate::{Error, Result};

/// Appends frames: belongs to the commit thread, and works under the index's lock.
pub(in crate::local) struct Appender {
    packs: Packs,
    open: Option<(u64, Box<dyn DiskFile>)>,
    next: Option<PreallocatedPack>,
    /// Bytes.
    written: u64,
}

impl Appender {
    pub(in crate::local) fn new(packs: Packs) -> Self {
        Self { packs, open: None, next: None, written: 0 }
    }

    pub(in crate::local) fn packs(&self) -> &Packs {
        &self.packs
    }

    /// Writes a frame where it goes. It is not durable yet, but on its way, and an error leaves nothing that would be taken for one.
    pub(in crate::local) fn write(&mut self, tail: LogPosition, bytes: &[u8]) -> Result<()> {
        let path = self.packs.path(tail.pack);
        if tail.position == 0 {
            self.use_preallocated(&path);
        }
        let failed = |error| Error::io(format_args!("cannot write {}", path.display()), error);
        let file = self.open(tail.pack).map_err(failed)?;
        file.seek(SeekFrom::Start(tail.position)).map_err(failed)?;
        file.write_all(bytes).map_err(failed)?;
        file.start_sync();
        self.written += bytes.len() as u64;
        self.preallocate(tail);
        Ok(())
    }

    /// Makes durable what was written to a pack, from here on.
    pub(in crate::local) fn sync(&mut self, from: LogPosition) -> Result<()> {
        let path = self.packs.path(from.pack);
        let failed = |error| Error::io(format_args!("cannot sync {}", path.display()), error);
        self.open(from.pack).and_then(|file| file.sync()).map_err(failed)?;
        // A new one has a name to be made durable, too.
        if from.position == 0 { self.packs.sync_names() } else { Ok(()) }
    }

    /// Opens a pack. A pack is one file from its first byte on, whichever process makes it, so an open file is the current one.
    fn open(&mut self, pack: u64) -> io::Result<&mut Box<dyn DiskFile>> {
        let open = match self.open.take().filter(|(open, _)| *open == pack) {
            Some(open) => open,
            None => (pack, self.open_or_create(&self.packs.path(pack))?),
        };
        Ok(&mut self.open.insert(open).1)
    }

    fn open_or_create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        match self.packs.disk.open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.packs.disk.create(path),
            opened => opened,
        }
    }

    /// A pack begins: with what is ready for it. Without that it grows as it is written.
    fn use_preallocated(&mut self, path: &Path) {
        if let Some(next) = self.next.take_if(|next| next.is_ready())
            && let Err(_error) = next.become_file(path)
        {
            #[cfg(feature = "tracing")]
            tracing::debug!(error = %_error, "a pack could not be made ready");
        }
    }

    /// Begins to make the next pack once this one is half full and much was written: a process that puts a few objects does not need
    /// it.
    fn preallocate(&mut self, tail: LogPosition) {
        let capacity = self.packs.capacity(tail.pack);
        if self.next.is_none() && tail.position >= capacity / 2 && self.written >= capacity / 8 {
            let length = self.packs.capacity(tail.pack + 1);
            self.next = PreallocatedPack::make(&self.packs.root, length, Arc::clone(&self.packs.disk));
        }
    }
}
