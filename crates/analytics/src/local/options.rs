//! Options of the native sink.

use std::time::Duration;

const MIB: u64 = 1024 * 1024;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How a [`LocalSink`](super::LocalSink) buffers, cuts and keeps.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LocalOptions {
    /// Points that wait for the disk at most; one more is dropped and counted. Default: 65,536.
    pub buffer: usize,
    /// Bytes after which a new segment is begun; one is begun each day in any case. At most a quarter of `retain_bytes`.
    /// Default: 64 MiB.
    pub segment_bytes: u64,
    /// How long a point waits for company before it is made durable unasked. Default: 200 ms.
    pub linger: Duration,
    /// Age after which events are removed, by whole segments, looked at each hour. A clock that jumps removes nothing for
    /// an hour. Default: 90 days, about the three months of Analytics Engine; `None` keeps them for ever.
    pub retain_for: Option<Duration>,
    /// Bytes of the dataset on disk at most; the oldest segments are removed before a new one is begun. Default: 2 GiB;
    /// `None` for no limit.
    pub retain_bytes: Option<u64>,
    /// Free bytes of the disk below which points are dropped and counted, so that events do not take the space that other
    /// data needs. Default: 256 MiB or a twentieth of the file system, whichever is less; 0 for no reserve. Unix only.
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
    /// The reserve on a large disk.
    pub(super) const RESERVE_BYTES: u64 = 256 * MIB;

    /// Points that wait for the disk at most; at least one.
    #[must_use]
    pub fn with_buffer(mut self, points: usize) -> Self {
        self.buffer = points;
        self
    }

    /// Bytes after which a new segment is begun.
    #[must_use]
    pub fn with_segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// Age after which events are removed; `None` keeps them for ever.
    #[must_use]
    pub fn with_retain_for(mut self, age: Option<Duration>) -> Self {
        self.retain_for = age;
        self
    }

    /// Bytes of the dataset on disk at most; `None` for no limit.
    #[must_use]
    pub fn with_retain_bytes(mut self, bytes: Option<u64>) -> Self {
        self.retain_bytes = bytes;
        self
    }

    /// Free bytes of the disk below which points are dropped; 0 for no reserve.
    #[must_use]
    pub fn with_reserve_bytes(mut self, bytes: u64) -> Self {
        self.reserve_bytes = Some(bytes);
        self
    }

    /// The options with values that fit each other.
    pub(super) fn bounded(mut self) -> Self {
        self.buffer = self.buffer.max(1);
        if let Some(bytes) = self.retain_bytes {
            self.segment_bytes = self.segment_bytes.min(bytes / 4);
        }
        self
    }
}
