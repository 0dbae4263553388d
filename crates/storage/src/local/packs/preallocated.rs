//! The next pack, made ready while the one before fills up: as long as it will be, and durable.
//!
//! Syncing a file that grows takes twice as long as syncing one that has its length: the file system keeps a journal of lengths and
//! places, and none of bytes.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crate::local::disk::Disk;
use crate::rules;

const PREFIX: &str = "spare-";
/// Small pieces: large ones want memory in large pieces, which is slower to be had.
const ZEROS: [u8; 16 * 1024] = [0; _];

/// A file of zeros without a place yet; gone again unless it gets one.
pub(super) struct PreallocatedPack {
    disk: Arc<dyn Disk>,
    is_unwanted: Arc<AtomicBool>,
    making: Option<JoinHandle<io::Result<PathBuf>>>,
}

impl PreallocatedPack {
    /// Begins to make one of this length, in a thread of its own.
    pub(super) fn make(folder: &Path, length: u64, disk: Arc<dyn Disk>) -> Option<Self> {
        let path = folder.join(format!("{PREFIX}{}", rules::random_id().ok()?));
        let below = Arc::clone(&disk);
        let is_unwanted = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&is_unwanted);
        let make = move || match fill(&path, length, &*below, &is_over) {
            Ok(()) => Ok(path),
            Err(error) => {
                drop(below.remove(&path));
                Err(error)
            }
        };
        let making = std::thread::Builder::new().name("isobar-spare".to_owned()).spawn(make).ok()?;
        Some(Self { disk, is_unwanted, making: Some(making) })
    }

    pub(super) fn is_ready(&self) -> bool {
        self.making.as_ref().is_some_and(JoinHandle::is_finished)
    }

    /// Becomes the file at this path, unless there is one: that one may be another process's.
    pub(super) fn become_file(mut self, path: &Path) -> io::Result<()> {
        let next = self.finish().ok_or(io::ErrorKind::NotFound)??;
        let linked = self.disk.link(&next, path);
        drop(self.disk.remove(&next)); // otherwise left to the garbage collection
        linked
    }

    fn finish(&mut self) -> Option<io::Result<PathBuf>> {
        self.making.take()?.join().ok()
    }
}

impl Drop for PreallocatedPack {
    fn drop(&mut self) {
        self.is_unwanted.store(true, Ordering::Relaxed); // who closes the store does not wait for it
        if let Some(Ok(path)) = self.finish() {
            drop(self.disk.remove(&path)); // otherwise left to the garbage collection
        }
    }
}

/// Whether a file in the folder is one that some process has made, or is making.
pub(super) fn is_preallocated(name: &str) -> bool {
    name.starts_with(PREFIX)
}

fn fill(path: &Path, length: u64, disk: &dyn Disk, is_over: &AtomicBool) -> io::Result<()> {
    let mut file = disk.create(path)?;
    let mut missing = length;
    while missing > 0 {
        if is_over.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let some = missing.min(ZEROS.len() as u64);
        file.write_all(&ZEROS[..some as usize])?;
        missing -= some;
    }
    file.sync()
}
