//! Options of the native sink.

use std::time::Duration;

const MIB: u64 = 1024 * 1024;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Options of a [`LocalSink`](super::LocalSink).
///
/// ```
/// use std::time::Duration;
///
/// use isobar_analytics::local::{LocalOptions, LocalSink};
///
/// # let folder = tempfile::tempdir()?;
/// let month = Duration::from_secs(30 * 24 * 60 * 60);
/// let options = LocalOptions::default().with_retain_for(Some(month)).with_retain_bytes(Some(512 * 1024 * 1024));
/// let sink = LocalSink::open_with(folder.path().join("visits"), options)?;
/// # drop(sink);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LocalOptions {
    /// Most points that wait for the disk; further points are dropped and counted. Default: 65,536.
    pub buffer: usize,
    /// Size in bytes after which a new segment is begun; one is also begun each day. At most a quarter of `retain_bytes`.
    /// Default: 64 MiB.
    pub segment_bytes: u64,
    /// Longest time for which a point waits for others before it is made durable without a flush. Default: 200 ms.
    pub linger: Duration,
    /// Age after which events are removed, by whole segments, checked every hour. After a jump of the clock nothing is removed
    /// for an hour. Default: 90 days, about the three months of Analytics Engine; `None` keeps events forever.
    pub retain_for: Option<Duration>,
    /// Size limit of the dataset on disk in bytes; the oldest segments are removed before a new one is begun. Default: 2 GiB;
    /// `None` for no limit.
    pub retain_bytes: Option<u64>,
    /// Free space of the disk in bytes below which points are dropped and counted, so that events do not take the space that other
    /// data needs. Default: 256 MiB or 5 % of the file system, whichever is less; 0 for no reserve. Unix only.
    pub reserve_bytes: Option<u64>,
}

impl Default for LocalOptions {
    fn default() -> Self {
        Self {
            buffer: 65_536,
            segment_bytes: 64 * MIB,
            linger: Duration::from_millis(200),
            retain_for: Some(90 * DAY),
            retain_bytes: Some(2048 * MIB),
            reserve_bytes: None,
        }
    }
}

impl LocalOptions {
    /// The default reserve on a large disk, in bytes.
    pub(super) const RESERVE_BYTES: u64 = 256 * MIB;

    /// Sets the most points that wait for the disk; at least 1.
    #[must_use]
    pub fn with_buffer(mut self, points: usize) -> Self {
        self.buffer = points;
        self
    }

    /// Sets the size in bytes after which a new segment is begun.
    #[must_use]
    pub fn with_segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// Sets the age after which events are removed; `None` keeps them forever.
    #[must_use]
    pub fn with_retain_for(mut self, age: Option<Duration>) -> Self {
        self.retain_for = age;
        self
    }

    /// Sets the size limit of the dataset on disk in bytes; `None` for no limit.
    #[must_use]
    pub fn with_retain_bytes(mut self, bytes: Option<u64>) -> Self {
        self.retain_bytes = bytes;
        self
    }

    /// Sets the free space of the disk in bytes below which points are dropped; 0 for no reserve.
    #[must_use]
    pub fn with_reserve_bytes(mut self, bytes: u64) -> Self {
        self.reserve_bytes = Some(bytes);
        self
    }

    /// Returns the options with consistent values.
    pub(super) fn bounded(mut self) -> Self {
        self.buffer = self.buffer.max(1);
        if let Some(bytes) = self.retain_bytes {
            self.segment_bytes = self.segment_bytes.min(bytes / 4);
        }
        self
    }
}
