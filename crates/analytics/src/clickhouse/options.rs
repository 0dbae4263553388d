//! Options of the sink.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use crate::local::{Clock, FullPolicy, LocalOptions, MonotonicClock};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Options of a [`ClickHouseSink`](super::ClickHouseSink).
///
/// ```
/// use std::time::Duration;
///
/// use isobar_analytics::clickhouse::ClickHouseOptions;
/// use isobar_analytics::local::FullPolicy;
///
/// let options = ClickHouseOptions::default()
///     .with_batch(50_000, 8 << 20)
///     .with_linger(Duration::from_secs(5))
///     .with_when_full(FullPolicy::DropOld)
///     .with_dead_letters("state/web.dead.jsonl");
/// assert_eq!(options.batch_points, 50_000);
/// ```
///
/// The server prefers few large inserts: each is a part of the table, which it merges later.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ClickHouseOptions {
    /// Most points that wait for the server; [`when_full`](Self::when_full) says what happens to further ones. Default: 65,536.
    pub buffer: usize,
    /// Size limit in bytes of the points that wait; at least 32 KiB. As many are in memory again while they are sent. Default: 16 MiB.
    pub buffer_bytes: usize,
    /// Policy of a full buffer. Default: the new point is dropped.
    pub when_full: FullPolicy,
    /// Most points of an insert, and the number at which one is sent without waiting for more; at most half of `buffer`.
    /// Default: 16,384.
    pub batch_points: usize,
    /// Size limit of an insert in bytes, and the size at which one is sent without waiting for more; at most half of `buffer_bytes`.
    /// Default: 4 MiB.
    pub batch_bytes: usize,
    /// Longest time for which a point waits for others before it is sent without a flush. Default: 1 s.
    pub linger: Duration,
    /// Age after which the server removes points of the table, where the sink creates it. Default: 90 days; `None` keeps them forever.
    ///
    /// A table that exists keeps the time that it has.
    pub retain_for: Option<Duration>,
    /// Whether the table is created where it does not exist. Default: it is.
    pub creates_table: bool,
    /// File for batches that the server does not take. Default: none, so that they are lost, and counted.
    pub dead_letters: Option<PathBuf>,
    /// Size limit of that file in bytes; a batch beyond it is lost, and counted. Default: 256 MiB.
    pub dead_letter_bytes: u64,
    /// The source of timestamps. Default: the system's clock.
    pub(super) clock: Option<Clock>,
    /// The source of the time for which points wait. Default: the system's.
    monotonic_clock: Option<MonotonicClock>,
}

impl Default for ClickHouseOptions {
    fn default() -> Self {
        Self {
            buffer: 65_536,
            buffer_bytes: 16 << 20,
            when_full: FullPolicy::DropNew,
            batch_points: 16_384,
            batch_bytes: 4 << 20,
            linger: Duration::from_secs(1),
            retain_for: Some(90 * DAY),
            creates_table: true,
            dead_letters: None,
            dead_letter_bytes: 256 << 20,
            clock: None,
            monotonic_clock: None,
        }
    }
}

impl ClickHouseOptions {
    /// Sets the most points that wait for the server.
    ///
    /// Default: 65,536; at least 1.
    #[must_use]
    pub fn with_buffer(mut self, points: usize) -> Self {
        self.buffer = points;
        self
    }

    /// Sets the size limit in bytes of the points that wait.
    ///
    /// Default: 16 MiB; at least 32 KiB.
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

    /// Sets the most points and bytes of an insert, at which one is sent without waiting for more.
    ///
    /// Default: 16,384 points and 4 MiB. Both are brought to at least 1 and at most half of the buffer.
    #[must_use]
    pub fn with_batch(mut self, points: usize, bytes: usize) -> Self {
        self.batch_points = points;
        self.batch_bytes = bytes;
        self
    }

    /// Sets the longest time for which a point waits for others before it is sent without a flush.
    ///
    /// Default: 1 s.
    #[must_use]
    pub fn with_linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// Sets the age after which the server removes points, in whole seconds; `None` keeps them forever.
    ///
    /// Default: 90 days. For tables that the sink creates.
    #[must_use]
    pub fn with_retain_for(mut self, age: Option<Duration>) -> Self {
        self.retain_for = age;
        self
    }

    /// Leaves the creation of the table to its owner: for a user without the right, or another engine (a replicated one, say).
    ///
    /// The table needs the columns `timestamp`, `index1`, `blob1` to `blob20` and `double1` to `double20`, and for queries `dataset` and
    /// `_sample_interval`. Without `non_replicated_deduplication_window`, a table that is not replicated takes a repeated insert twice.
    #[must_use]
    pub fn with_existing_table(mut self) -> Self {
        self.creates_table = false;
        self
    }

    /// Sets the file for batches that the server does not take. Sinks may share one.
    ///
    /// Default: none. A JSON line has `reason`, `query` (the `INSERT`) and `body` (its rows in base64), so that it can be sent again.
    #[must_use]
    pub fn with_dead_letters(mut self, file: impl Into<PathBuf>) -> Self {
        self.dead_letters = Some(file.into());
        self
    }

    /// Sets the size limit of the dead-letter file in bytes.
    ///
    /// Default: 256 MiB.
    #[must_use]
    pub fn with_dead_letter_bytes(mut self, bytes: u64) -> Self {
        self.dead_letter_bytes = bytes;
        self
    }

    /// Sets the source of the points' timestamps, for tests and simulations. A table has whole seconds.
    ///
    /// Default: the system's clock. The clock of retries is that of the [client](super::ClickHouse::with_client).
    #[must_use]
    pub fn with_clock(mut self, clock: impl Fn() -> DateTime<Utc> + Send + Sync + 'static) -> Self {
        self.clock = Some(Clock(Arc::new(clock)));
        self
    }

    /// Sets the source of the time for which points wait ([`linger`](Self::linger)), for tests and simulations. It is looked at every
    /// 5 ms while points wait.
    ///
    /// Default: [`Instant::now`].
    #[must_use]
    pub fn with_monotonic_clock(mut self, clock: impl Fn() -> Instant + Send + Sync + 'static) -> Self {
        self.monotonic_clock = Some(MonotonicClock(Arc::new(clock)));
        self
    }

    /// The options of the buffer, within their bounds.
    pub(super) fn of_buffer(&self) -> LocalOptions {
        let mut options = LocalOptions::default();
        options.monotonic_clock.clone_from(&self.monotonic_clock);
        options
            .with_buffer(self.buffer)
            .with_buffer_bytes(self.buffer_bytes)
            .with_when_full(self.when_full)
            .with_batch(self.batch_points, self.batch_bytes)
            .with_linger(self.linger)
            .bounded()
    }
}
