//! Health of a host: whether it may write, and which of its objects are damaged.
//!
//! | trouble | effect | ends |
//! |---|---|---|
//! | a failed sync (poison) | every write of the host is refused: the kernel may have dropped what it could not write, and a second sync would say yes | when the host is opened anew |
//! | less free disk than the reserve | writes are refused, alarms wait | when there is room; looked at once a second at most |
//! | a file that cannot take up its write-ahead log | reported; the log grows, up to 64 MiB | with the next checkpoint that succeeds |
//! | a journal that cannot be written | reported; each turn syncs its own file | with the next sync that succeeds |
//! | a damaged object, or one whose turns are withheld | that object alone is refused | when it is opened soundly; withheld ones with the next start |
//!
//! Each mutex is held for one look or one change, and none while another is taken, so there is no order of locks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

use isobar_base::sync::IgnorePoison;

use super::disk;
use crate::{Error, ErrorKind, Result};

/// Largest reserve of disk, when none is given.
const RESERVE: u64 = 64 * 1024 * 1024;
/// How long the free space is believed, in milliseconds.
const FRESH: u64 = 1000;

/// Health of a host.
#[derive(Debug)]
pub(super) struct Health {
    root: Option<PathBuf>,
    reserve: u64,
    started: Instant,
    /// When the free space was looked at, in milliseconds since the start, plus one; 0 before the first time.
    looked: AtomicU64,
    free: AtomicU64,
    is_poisoned: AtomicBool,
    poison: Mutex<Option<String>>,
    damaged: Mutex<BTreeMap<[u8; 32], String>>,
    /// Files that could not take up their write-ahead logs, and why.
    uncheckpointed: Mutex<BTreeMap<PathBuf, String>>,
    /// Threads whose journals could not be written, and why.
    journals: Mutex<BTreeMap<usize, String>>,
    /// Objects whose last turns could not be put back into their files, and why.
    withheld: BTreeMap<[u8; 32], String>,
}

impl Health {
    pub(super) fn new(root: Option<PathBuf>, reserve: Option<u64>) -> Self {
        let reserve = reserve.unwrap_or_else(|| {
            let total = root.as_deref().and_then(disk::space).map_or(u64::MAX, |(_, total)| total);
            RESERVE.min(total / 20)
        });
        Self {
            root,
            reserve,
            started: Instant::now(),
            looked: AtomicU64::new(0),
            free: AtomicU64::new(u64::MAX),
            is_poisoned: AtomicBool::new(false),
            poison: Mutex::default(),
            damaged: Mutex::default(),
            uncheckpointed: Mutex::default(),
            journals: Mutex::default(),
            withheld: BTreeMap::new(),
        }
    }

    /// Sets the objects that are not to be opened, and why.
    pub(super) fn with_withheld(mut self, withheld: BTreeMap<[u8; 32], String>) -> Self {
        for (id, why) in &withheld {
            self.mark_damaged(id, why);
        }
        self.withheld = withheld;
        self
    }

    /// Refuses an object whose last turns are in the journal still.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`]: its file would be opened without them.
    pub(super) fn check_withheld(&self, id: &[u8; 32]) -> Result<()> {
        self.withheld.get(id).map_or(Ok(()), |why| Err(Error::new(ErrorKind::Damaged, why.as_str())))
    }

    /// Checks that writes are accepted, and that logs do not grow.
    ///
    /// # Errors
    /// As [`check_write`](Self::check_write); [`ErrorKind::Storage`] while a checkpoint fails, or a journal cannot be written.
    pub(super) fn check(&self) -> Result<()> {
        self.check_write()?;
        if let Some(why) = self.lock_journals().values().next() {
            return Err(Error::new(ErrorKind::Storage, why.as_str()));
        }
        let mut failed = self.lock_uncheckpointed();
        // A log that went when its object fell asleep is in its file.
        failed.retain(|path, _| disk::has_log(path));
        failed.values().next().map_or(Ok(()), |why| Err(Error::new(ErrorKind::Storage, why.as_str())))
    }

    /// Notes how a checkpoint of this file ended: its failure, if it failed.
    pub(super) fn mark_checkpoint(&self, path: &Path, failure: Option<String>) {
        let mut failed = self.lock_uncheckpointed();
        match failure {
            None => drop(failed.remove(path)),
            Some(why) => {
                #[cfg(feature = "tracing")]
                if !failed.contains_key(path) {
                    tracing::error!(file = %path.display(), why, "a checkpoint failed: the write-ahead log grows");
                }
                failed.insert(path.to_owned(), why);
            }
        }
    }

    /// Notes how the last sync of a thread's journal ended: why it could not be written, if so.
    pub(super) fn mark_journal(&self, thread: usize, trouble: Option<&str>) {
        let mut journals = self.lock_journals();
        match trouble {
            None => drop(journals.remove(&thread)),
            Some(why) => {
                #[cfg(feature = "tracing")]
                if !journals.contains_key(&thread) {
                    tracing::error!(why, "each turn syncs its own file until the journal can be written");
                }
                journals.insert(thread, why.to_owned());
            }
        }
    }

    /// Refuses what would write, where that could not be kept.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`] after a failed sync, [`ErrorKind::StorageFull`] when the disk is down to the reserve.
    pub(super) fn check_write(&self) -> Result<()> {
        self.check_poison()?;
        let free = self.free();
        if free < self.reserve {
            let root = self.root.as_deref().unwrap_or_else(|| std::path::Path::new("memory")).display();
            let message = format!(
                "writing is refused: the disk of {root} has {} KiB left, less than the reserve of {} KiB; free some space",
                free / 1024,
                self.reserve / 1024
            );
            return Err(Error::new(ErrorKind::StorageFull, message));
        }
        Ok(())
    }

    /// Refuses to write after a failed sync: that a later one succeeds does not say what the first has lost.
    pub(super) fn check_poison(&self) -> Result<()> {
        if !self.is_poisoned.load(Ordering::Acquire) {
            return Ok(());
        }
        let why = self.lock_poison().clone().unwrap_or_default();
        let message = format!("writing is refused until the host is opened anew: {why}");
        Err(Error::new(ErrorKind::Storage, message))
    }

    /// Ends all writing: a sync has failed, and what it was to keep may be lost.
    pub(super) fn poison(&self, why: String) {
        #[cfg(feature = "tracing")]
        tracing::error!(why, "a sync failed: writing is refused until the host is opened anew");
        self.lock_poison().get_or_insert(why);
        self.is_poisoned.store(true, Ordering::Release);
    }

    /// Remembers that an object's file is damaged, and why.
    pub(super) fn mark_damaged(&self, id: &[u8; 32], why: &str) {
        let known = self.lock_damaged().insert(*id, why.to_owned());
        if known.is_none() {
            #[cfg(feature = "tracing")]
            tracing::error!(object = %hex::encode(id), why, "the file of a session object is damaged");
        }
    }

    /// The object's file could be read.
    pub(super) fn mark_sound(&self, id: &[u8; 32]) {
        self.lock_damaged().remove(id);
    }

    /// Why the object's file is damaged, if that was found.
    pub(super) fn damage(&self, id: &[u8; 32]) -> Option<String> {
        self.lock_damaged().get(id).cloned()
    }

    fn free(&self) -> u64 {
        let Some(root) = self.root.as_deref().filter(|_| self.reserve > 0) else { return u64::MAX };
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1;
        let looked = self.looked.load(Ordering::Relaxed);
        if looked == 0 || now - looked.min(now) > FRESH {
            self.free.store(disk::space(root).map_or(u64::MAX, |(free, _)| free), Ordering::Relaxed);
            self.looked.store(now, Ordering::Relaxed);
        }
        self.free.load(Ordering::Relaxed)
    }

    fn lock_poison(&self) -> MutexGuard<'_, Option<String>> {
        self.poison.lock().ignore_poison()
    }

    fn lock_uncheckpointed(&self) -> MutexGuard<'_, BTreeMap<PathBuf, String>> {
        // A map of whole entries: nothing is half changed.
        self.uncheckpointed.lock().ignore_poison()
    }

    fn lock_journals(&self) -> MutexGuard<'_, BTreeMap<usize, String>> {
        // A map of whole entries: nothing is half changed.
        self.journals.lock().ignore_poison()
    }

    fn lock_damaged(&self) -> MutexGuard<'_, BTreeMap<[u8; 32], String>> {
        // A map of whole entries: nothing is half changed.
        self.damaged.lock().ignore_poison()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_sync_ends_all_writing() {
        let health = Health::new(None, None);
        health.check_write().unwrap();
        health.poison("fsync of a.db-wal: EIO".into());
        health.poison("a later one".into());
        let error = health.check_write().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Storage);
        assert!(error.to_string().contains("a.db-wal"), "{error}");
    }

    #[test]
    fn writing_is_refused_below_the_reserve() {
        let folder = tempfile::tempdir().unwrap();
        let health = Health::new(Some(folder.path().to_owned()), Some(u64::MAX));
        let error = health.check_write().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        assert!(error.to_string().contains("reserve"), "{error}");
        Health::new(Some(folder.path().to_owned()), Some(0)).check_write().unwrap();
    }
}
