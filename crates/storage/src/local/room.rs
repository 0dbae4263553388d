//! Room on the disk: a reserve below which nothing is put, so that deletions, and the end of what is in flight, still find some.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::disk::{Disk, Space};
use crate::{Error, ErrorKind, Result};

/// Milliseconds for which a look at the disk is good, as long as less is put than it found room for.
const LOOK_EVERY: u64 = 1000;
/// The reserve is at most one part in this many of the file system.
const LARGEST_PART: u64 = 20;

/// How much may be put. A put costs a clock and an addition; the disk is asked once a second, and when what was put since then is as
/// much as there was room for.
#[derive(Debug)]
pub(super) struct Room {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    reserve: u64,
    start: Instant,
    /// When to look again, in milliseconds since the start.
    next: AtomicU64,
    /// Bytes above the reserve, when it was looked at.
    margin: AtomicU64,
    /// Bytes that were put since then.
    taken: AtomicU64,
    /// Bytes of bodies that are being written: the disk does not know of them yet.
    in_flight: AtomicU64,
}

impl Room {
    pub(super) fn new(disk: Arc<dyn Disk>, path: PathBuf, reserve: u64) -> Self {
        let zero = || AtomicU64::new(0);
        let start = Instant::now();
        Self { disk, path, reserve, start, next: zero(), margin: zero(), taken: zero(), in_flight: zero() }
    }

    /// Admits a put of this many bytes.
    pub(super) fn admit(&self, bytes: u64) -> Result<()> {
        if self.reserve == 0 {
            return Ok(());
        }
        let taken = self.taken.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        if now < self.next.load(Ordering::Relaxed) && taken <= self.margin.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.look(bytes, now)
    }

    fn look(&self, bytes: u64, now: u64) -> Result<()> {
        // A disk that does not say how much room there is says so when there is none.
        let space = self.disk.free(&self.path).ok().flatten();
        let (free, reserve) =
            space.map_or((u64::MAX, 0), |Space { free, total }| (free, self.reserve.min(total / LARGEST_PART)));
        let margin = free.saturating_sub(reserve).saturating_sub(self.in_flight.load(Ordering::Relaxed));
        self.margin.store(margin, Ordering::Relaxed);
        self.next.store(now.saturating_add(LOOK_EVERY), Ordering::Relaxed);
        if bytes <= margin {
            self.taken.store(bytes, Ordering::Relaxed);
            return Ok(());
        }
        self.taken.store(0, Ordering::Relaxed);
        let message = format!(
            "{} has {} MiB free, and nothing is put that leaves less than {} MiB: delete something, or lower the reserve",
            self.path.display(),
            free >> 20,
            reserve >> 20,
        );
        Err(Error::new(ErrorKind::StorageFull, message))
    }

    pub(super) fn begin(&self, bytes: u64) {
        self.in_flight.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn end(&self, bytes: u64) {
        self.in_flight.fetch_sub(bytes, Ordering::Relaxed);
    }
}
