//! Ranges of blobs that were verified a moment ago: what is read again and again out of memory is not summed again and again.
//!
//! A file that was changed since then, or just before, counts as not verified: its inode, length and times are part of what is
//! remembered. What a disk does to a file behind the system's back is noticed when the time is over at the latest.

use std::fs::Metadata;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// How long a range counts as verified.
const FRESH: Duration = Duration::from_secs(60);
/// The times of a file are of clock ticks, up to 10 ms apart: a change that comes within the same tick is not seen by them.
const TICKS: Duration = Duration::from_millis(20);
const SLOTS: usize = 4096;

/// A small table: what falls into the same slot replaces what is there.
#[derive(Debug)]
pub(super) struct Recent {
    slots: Box<[Slot]>,
    hasher: RandomState,
    start: Instant,
}

#[derive(Debug, Default)]
struct Slot {
    mark: AtomicU64,
    /// Milliseconds since the start.
    at: AtomicU64,
}

/// The mark remembered of a range of a file in its present state.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark(u64);

impl Recent {
    pub(super) fn new() -> Self {
        let slots = (0..SLOTS).map(|_| Slot::default()).collect();
        Self { slots, hasher: RandomState::new(), start: Instant::now() }
    }

    /// The mark of a range; `None` where the file was changed just now, or the system does not say when.
    #[cfg(unix)]
    pub(super) fn mark(&self, blob: &str, file: &Metadata, range: (u64, u64)) -> Option<Mark> {
        use std::os::unix::fs::MetadataExt;
        let changed = file.ctime().max(file.mtime());
        let since = SystemTime::UNIX_EPOCH.elapsed().ok()?;
        let nanoseconds = if changed == file.ctime() { file.ctime_nsec() } else { file.mtime_nsec() };
        let changed = Duration::new(u64::try_from(changed).ok()?, u32::try_from(nanoseconds).ok()?);
        if since.checked_sub(changed)? < TICKS {
            return None;
        }
        let times = (file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec());
        let mark = self.hasher.hash_one((blob, file.dev(), file.ino(), file.len(), times, range));
        Some(Mark(mark.max(1))) // 0 is an empty slot
    }

    #[cfg(not(unix))]
    pub(super) fn mark(&self, _: &str, _: &Metadata, _: (u64, u64)) -> Option<Mark> {
        None
    }

    pub(super) fn has(&self, mark: Mark) -> bool {
        let slot = self.slot(mark);
        let at = Duration::from_millis(slot.at.load(Ordering::Acquire));
        slot.mark.load(Ordering::Acquire) == mark.0 && self.start.elapsed().saturating_sub(at) < FRESH
    }

    /// Remembers a range that was verified after its mark was made.
    pub(super) fn insert(&self, mark: Mark) {
        let slot = self.slot(mark);
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        slot.mark.store(mark.0, Ordering::Release);
        slot.at.store(now, Ordering::Release);
    }

    fn slot(&self, mark: Mark) -> &Slot {
        &self.slots[(mark.0 % SLOTS as u64) as usize]
    }
}
