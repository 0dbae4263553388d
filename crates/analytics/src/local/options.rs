//! Options of the native sink.
//!
//! The defaults are for a server that writes an event for each request: 65,536 points of 256 bytes fill the buffer of 16 MiB, a batch of a
//! quarter of that is synced at once, and a point waits at most 200 ms. What a crash may take is that wait; what a stalled disk may take is the
//! buffer.
//!
//! | for | set |
//! |---|---|
//! | fewer syncs | `linger` up, `batch` up |
//! | less loss in a crash | `linger` down: each batch is a sync |
//! | bursts | `buffer`, `buffer_bytes` up |
//! | imports that must not lose a point | `when_full` to [`FullPolicy::Wait`] |
//! | small disks | `retain_bytes` down, `reserve_bytes` up |

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use chrono::{DateTime, Utc};

#[cfg(feature = "query")]
use super::archive::ArchiveStore;
use super::frame;
use super::sampling::Sampling;

const MIB: u64 = 1024 * 1024;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The policy of a full buffer. Whatever it drops is counted by reason in [`SinkStats::drops`](crate::SinkStats::drops).
///
/// ```
/// use std::time::Duration;
///
/// use isobar_analytics::local::{FullPolicy, LocalOptions, LocalSink};
/// use isobar_analytics::{DataPoint, EventSink};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// // An import: more points than the buffer has room for, none of which is lost.
/// let wait = FullPolicy::Wait(Duration::from_secs(60));
/// let options = LocalOptions::default().with_buffer(500).with_when_full(wait);
/// let sink = LocalSink::open_with(folder.path().join("visits"), options)?;
/// for number in 0..2000 {
///     sink.write(DataPoint::new().with_double(f64::from(number)));
/// }
/// sink.flush().await?;
/// assert_eq!((sink.stats().stored, sink.stats().dropped), (2000, 0));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum FullPolicy {
    /// Drops the new point.
    #[default]
    DropNew,
    /// Drops the oldest buffered points, so that the new one has room.
    DropOld,
    /// Lets the writing thread wait for room, at most this long; then the new point is dropped. For importers and tests: a thread
    /// that waits serves no requests.
    Wait(Duration),
}

/// The source of the points' timestamps, in place of the system's clock.
#[derive(Clone)]
pub(crate) struct Clock(pub(crate) Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>);

impl Clock {
    /// Returns the time of a clock, or of the system's, in milliseconds since 1970.
    pub(crate) fn milliseconds(clock: Option<&Self>) -> i64 {
        if let Some(Self(now)) = clock {
            return now().timestamp_millis();
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        now.map_or_else(|before| -(before.duration().as_millis() as i64), |now| now.as_millis() as i64)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// The source of the time for which points wait, in place of the system's monotonic clock.
#[derive(Clone)]
pub(crate) struct MonotonicClock(pub(crate) Arc<dyn Fn() -> Instant + Send + Sync>);

impl fmt::Debug for MonotonicClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MonotonicClock")
    }
}

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
    /// Most points that wait for the disk; [`when_full`](Self::when_full) says what happens to further ones. Default: 65,536.
    pub buffer: usize,
    /// Size limit in bytes of the points that wait for the disk; at least 32 KiB, so that each point fits. Twice as much address
    /// space is reserved at once, and memory is taken as far as it is used. Default: 16 MiB.
    pub buffer_bytes: usize,
    /// Policy of a full buffer. Default: the new point is dropped.
    pub when_full: FullPolicy,
    /// Number of points after which a batch is made durable without waiting for more; at most half of `buffer`. Default: 16,384.
    pub batch_points: usize,
    /// Size in bytes of a batch that is made durable without waiting for more; at most half of `buffer_bytes`. Default: 4 MiB.
    pub batch_bytes: usize,
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
    /// Interval at which a thread of the sink compacts the log segments that are complete into columnar ones. Default: `None`,
    /// so that only [`LocalSink::compact`](super::LocalSink::compact) does. At least 1 ms.
    #[cfg(feature = "query")]
    pub compact_every: Option<Duration>,
    /// The place for segments that are too old for the disk, from which they are read, too. Default: `None`.
    #[cfg(feature = "query")]
    pub archive: Option<Arc<dyn ArchiveStore>>,
    /// Age of its newest point at which a columnar segment is moved to the archive, after each compaction in the background. Default:
    /// `None`, so that only [`LocalSink::archive`](super::LocalSink::archive) moves segments. Without `compact_every` nothing is in the
    /// background.
    #[cfg(feature = "query")]
    pub archive_after: Option<Duration>,
    /// Sampling of the points of an index that has many of them. Default: `None`, each point is stored.
    pub sampling: Option<Sampling>,
    /// The source of timestamps. Default: the system's clock.
    pub(super) clock: Option<Clock>,
    /// The source of the time for which points wait. Default: the system's.
    pub(crate) monotonic_clock: Option<MonotonicClock>,
}

impl Default for LocalOptions {
    fn default() -> Self {
        Self {
            buffer: 65_536,
            buffer_bytes: 16 * MIB as usize,
            when_full: FullPolicy::DropNew,
            batch_points: 16_384,
            batch_bytes: 4 * MIB as usize,
            segment_bytes: 64 * MIB,
            linger: Duration::from_millis(200),
            retain_for: Some(90 * DAY),
            retain_bytes: Some(2048 * MIB),
            reserve_bytes: None,
            #[cfg(feature = "query")]
            compact_every: None,
            #[cfg(feature = "query")]
            archive: None,
            #[cfg(feature = "query")]
            archive_after: None,
            sampling: None,
            clock: None,
            monotonic_clock: None,
        }
    }
}

impl LocalOptions {
    /// The default reserve on a large disk, in bytes.
    pub(super) const RESERVE_BYTES: u64 = 256 * MIB;

    /// Sets the most points that wait for the disk; at least 1.
    ///
    /// Default: 65,536.
    #[must_use]
    pub fn with_buffer(mut self, points: usize) -> Self {
        self.buffer = points;
        self
    }

    /// Sets the size limit in bytes of the points that wait for the disk; at least 32 KiB.
    ///
    /// Default: 16 MiB.
    #[must_use]
    pub fn with_buffer_bytes(mut self, bytes: usize) -> Self {
        self.buffer_bytes = bytes;
        self
    }

    /// Sets the policy of a full buffer.
    ///
    /// Default: [`FullPolicy::DropNew`].
    #[must_use]
    pub fn with_when_full(mut self, policy: FullPolicy) -> Self {
        self.when_full = policy;
        self
    }

    /// Sets the number of points and the size in bytes at which a batch is made durable without waiting for more.
    ///
    /// Default: 16,384 points and 4 MiB. Both are brought to at least 1 and at most half of the buffer, so that one half is filled while the other
    /// is written.
    #[must_use]
    pub fn with_batch(mut self, points: usize, bytes: usize) -> Self {
        self.batch_points = points;
        self.batch_bytes = bytes;
        self
    }

    /// Sets the longest time for which a point waits for others before it is made durable without a flush.
    ///
    /// Default: 200 ms. Zero makes each point durable as soon as the disk has done with those before.
    #[must_use]
    pub fn with_linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// Sets the source of the points' timestamps, for tests and simulations.
    ///
    /// Fractions of a millisecond are cut off. Ages are not measured by it: retention asks the file system's times and the system's clock.
    ///
    /// ```
    /// use chrono::{DateTime, Utc};
    /// use isobar_analytics::local::{LocalOptions, LocalSink};
    /// use isobar_analytics::{DataPoint, EventSink, EventSinkExt, ScanOptions};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// let at: DateTime<Utc> = "2026-11-24T01:02:03.456Z".parse()?;
    /// let sink = LocalSink::open_with(folder.path().join("visits"), LocalOptions::default().with_clock(move || at))?;
    /// sink.write(DataPoint::new());
    /// sink.flush().await?;
    /// assert_eq!(sink.scan(ScanOptions::default()).await?.events[0].timestamp, at);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn with_clock(mut self, clock: impl Fn() -> DateTime<Utc> + Send + Sync + 'static) -> Self {
        self.clock = Some(Clock(Arc::new(clock)));
        self
    }

    /// Sets the source of the time for which points wait ([`linger`](Self::linger)), for tests and simulations. It is looked at every
    /// 5 ms while points wait.
    ///
    /// Default: [`Instant::now`]. The waits of [`FullPolicy::Wait`] are by the system's clock.
    #[must_use]
    pub fn with_monotonic_clock(mut self, clock: impl Fn() -> Instant + Send + Sync + 'static) -> Self {
        self.monotonic_clock = Some(MonotonicClock(Arc::new(clock)));
        self
    }

    /// Sets the sampling of the points of an index that has many of them; `None` stores each point.
    #[must_use]
    pub fn with_sampling(mut self, sampling: Option<Sampling>) -> Self {
        self.sampling = sampling;
        self
    }

    /// Sets the size in bytes after which a new segment is begun.
    ///
    /// Default: 64 MiB, and at most a quarter of `retain_bytes`. Retention and compaction go by whole segments: smaller ones are finer, and more
    /// files.
    #[must_use]
    pub fn with_segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// Sets the age after which events are removed; `None` keeps them forever.
    ///
    /// Default: 90 days. An age is looked at every hour, and by [`apply_retention`](super::LocalSink::apply_retention).
    #[must_use]
    pub fn with_retain_for(mut self, age: Option<Duration>) -> Self {
        self.retain_for = age;
        self
    }

    /// Sets the size limit of the dataset on disk in bytes; `None` for no limit.
    ///
    /// Default: 2 GiB, both tiers together. Looked at before each new segment.
    #[must_use]
    pub fn with_retain_bytes(mut self, bytes: Option<u64>) -> Self {
        self.retain_bytes = bytes;
        self
    }

    /// Sets the free space of the disk in bytes below which points are dropped; 0 for no reserve.
    ///
    /// Default: 256 MiB or 5 % of the file system, whichever is less. Looked at before each batch; points that are refused for it are
    /// [`Drops::storage_full`](crate::Drops::storage_full).
    ///
    /// ```
    /// use isobar_analytics::local::{LocalOptions, LocalSink};
    /// use isobar_analytics::{DataPoint, ErrorKind, EventSink};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// // More than any disk has: no point is stored.
    /// let options = LocalOptions::default().with_reserve_bytes(u64::MAX);
    /// let sink = LocalSink::open_with(folder.path().join("visits"), options)?;
    /// sink.write(DataPoint::new());
    /// assert_eq!(sink.flush().await.unwrap_err().kind(), ErrorKind::StorageFull);
    /// assert_eq!(sink.stats().drops.storage_full, 1);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn with_reserve_bytes(mut self, bytes: u64) -> Self {
        self.reserve_bytes = Some(bytes);
        self
    }

    /// Sets the interval at which complete log segments are compacted in the background.
    ///
    /// Default: none. The current segment is left alone, so that compaction lags behind by a segment; its failures are logged (feature `tracing`)
    /// and tried again with the next interval.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use isobar_analytics::local::{LocalOptions, LocalSink};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// let options = LocalOptions::default().with_compact_every(Some(Duration::from_secs(60 * 60)));
    /// let sink = LocalSink::open_with(folder.path().join("visits"), options)?;
    /// # drop(sink);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "query")]
    #[must_use]
    pub fn with_compact_every(mut self, interval: Option<Duration>) -> Self {
        self.compact_every = interval;
        self
    }

    /// Sets the place for segments that are too old for the disk.
    ///
    /// A dataset that has segments there is read only with it: without, reading fails with
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) and names the place, unless the segments that are asked for are on the disk.
    /// Writing needs no archive. An example is at [`FolderArchive`](super::FolderArchive).
    #[cfg(feature = "query")]
    #[must_use]
    pub fn with_archive(mut self, archive: Arc<dyn ArchiveStore>) -> Self {
        self.archive = Some(archive);
        self
    }

    /// Sets the age at which columnar segments are moved to the archive in the background, after each compaction.
    ///
    /// Default: none. It should be less than `retain_for`, and the points of that time should fit into `retain_bytes`: else they are removed before.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::time::Duration;
    ///
    /// use isobar_analytics::local::{FolderArchive, LocalOptions, LocalSink};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// let day = Duration::from_secs(24 * 60 * 60);
    /// let options = LocalOptions::default()
    ///     .with_compact_every(Some(day / 24))
    ///     .with_archive(Arc::new(FolderArchive::new(folder.path().join("old"))))
    ///     .with_archive_after(Some(30 * day))
    ///     .with_retain_for(Some(5 * 365 * day));
    /// let sink = LocalSink::open_with(folder.path().join("visits"), options)?;
    /// # drop(sink);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "query")]
    #[must_use]
    pub fn with_archive_after(mut self, age: Option<Duration>) -> Self {
        self.archive_after = age;
        self
    }

    /// Returns the options with consistent values: a buffer that takes the largest point, two batches that fit into it, and four segments that
    /// fit into the dataset.
    pub(crate) fn bounded(mut self) -> Self {
        self.buffer = self.buffer.max(1);
        self.buffer_bytes = self.buffer_bytes.max(frame::MAX_FRAME);
        self.batch_points = self.batch_points.clamp(1, (self.buffer / 2).max(1));
        self.batch_bytes = self.batch_bytes.clamp(1, self.buffer_bytes / 2);
        #[cfg(feature = "query")]
        {
            self.compact_every = self.compact_every.map(|every| every.max(Duration::from_millis(1)));
        }
        if let Some(bytes) = self.retain_bytes {
            self.segment_bytes = self.segment_bytes.min(bytes / 4);
        }
        self
    }
}
