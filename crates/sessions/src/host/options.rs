//! Options of a host, and its clock.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use isobar_sqlite::history::HistoryBounds;
use isobar_sqlite::journal::{Disk, JournalOptions, SystemDisk};

use crate::{Error, ErrorKind, Result};

/// Descriptors that an awake object holds: its database and the write-ahead log, once for SQLite and once for the journal.
const DESCRIPTORS: u64 = 3;
/// Descriptors that an awake object holds beside them where its history is kept: its database, once more.
const HISTORY_DESCRIPTORS: u64 = 1;

/// Options of a native host.
///
/// ```
/// use std::time::Duration;
/// # #[cfg(feature = "local")]
/// use isobar_sessions::local::HostOptions;
/// # #[cfg(not(feature = "local"))]
/// # use isobar_sessions::memory::HostOptions;
///
/// // A small machine: two threads, 100 databases open at once, instances for a minute.
/// let options = HostOptions::default().with_threads(2).with_open_objects(100).with_idle(Duration::from_secs(60));
/// assert_eq!(options.events, 4096);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HostOptions {
    /// Number of threads, at least 1; an object stays on one. Default: one for each processor, at most 8.
    pub threads: usize,
    /// Time for which an object without events keeps its instance and its open database. Default: 10 s.
    pub idle: Duration,
    /// Largest number of events in flight on one object; one more is refused with [`ErrorKind::Overloaded`](crate::ErrorKind). Default: 4096.
    pub events: usize,
    /// Largest number of events in flight on all objects together; one more is refused with
    /// [`ErrorKind::Overloaded`](crate::ErrorKind). Default: 65,536.
    pub queue: usize,
    /// Objects that may be awake at once, each with three file descriptors, or four where its history is kept. The least recently used
    /// idle one hibernates to make room; its sockets stay open. An event that finds all of them busy for [`wait`](Self::wait) is refused with
    /// [`ErrorKind::Overloaded`](crate::ErrorKind). Default: a sixteenth of the process's soft limit of descriptors,
    /// 16 to 4096. At least one for each thread.
    pub open_objects: usize,
    /// Memory of awake objects, in bytes, beyond which idle ones hibernate, the least recently used one first; their sockets stay
    /// open. Busy ones stay, so a moment may see more; each thread has an equal part. Counted are, whenever an event of an object has
    /// ended: the page cache, schema and statements of its database as SQLite measures them (a cache of 512 KiB at most, and what one
    /// turn writes), 96 KiB for the connection, 4 KiB for the host's state, and the instance as it
    /// [declares it](crate::SessionObject::memory). `LocalHost::awake` and `MemoryHost::awake` return the sum. Default: 512 MiB.
    pub awake_bytes: usize,
    /// Time for which an event waits for room when every awake object is busy. Default: 5 s.
    pub wait: Duration,
    /// Bytes of disk below which an object's writes are refused with
    /// [`ErrorKind::StorageFull`](crate::ErrorKind); reading goes on, and alarms wait. Default (`None`): 64 MiB, at most
    /// 5 % of the file system.
    pub reserve: Option<u64>,
    /// Bytes of messages that may wait for one client that does not read; one more, and its socket is closed with 1013.
    /// Default: 64 MiB.
    pub socket_bytes: usize,
    /// Bytes of messages that may wait for all clients together. Beyond, a socket that has more than 64 KiB waiting is
    /// closed with 1013 when another message is sent to it. Default: 128 MiB.
    pub outgoing_bytes: usize,
    /// Bytes of received messages whose handlers have not ended, for each object; beyond, its sockets are not read.
    /// Default: 16 MiB.
    pub incoming_bytes: usize,
    /// Largest size in bytes of each of the two logs that a thread writes the turns of its objects to, so that one sync makes many
    /// of them durable; they begin with 1 MiB and grow while they are full within 10 s. With 0 there are none, and each turn syncs its
    /// object's file: slower, and another process may open an object's file meanwhile. Otherwise 64 KiB to 256 MiB: a host with another
    /// size is not opened, and an [`InvalidArgument`](crate::ErrorKind::InvalidArgument) says so; a start after a crash holds the logs
    /// in memory. Default: 16 MiB.
    pub journal_bytes: u64,
    /// History of each object, for [`SessionContext::current_bookmark`](crate::SessionContext::current_bookmark) and its neighbours. With
    /// `None` a host in a folder keeps the histories that are kept there already, with the options of the last time, and begins none. To
    /// end them, delete its folder `history` while no process hosts the objects, or run `isobar sessions time-travel disable`.
    /// Default: `None`, as a history costs disk, and some syncs when an object falls asleep; a turn costs no more either way.
    pub history: Option<HistoryOptions>,
    /// Disk of the journal.
    pub(super) journal_disk: Arc<dyn Disk>,
    /// Clock of alarms and histories. Default: the system's clock.
    pub clock: Clock,
    /// Longest time before the host compares its wake-ups with the clock, which may have been set meanwhile.
    /// Default: 15 s.
    pub clock_check: Duration,
}

impl Default for HostOptions {
    fn default() -> Self {
        Self {
            threads: std::thread::available_parallelism().map_or(1, usize::from).min(8),
            idle: Duration::from_secs(10),
            events: 4096,
            queue: 65_536,
            open_objects: usize::try_from(soft_limit() / 16).unwrap_or(4096).clamp(16, 4096),
            awake_bytes: 512 * 1024 * 1024,
            wait: Duration::from_secs(5),
            reserve: None,
            socket_bytes: 64 * 1024 * 1024,
            outgoing_bytes: 128 * 1024 * 1024,
            incoming_bytes: 16 * 1024 * 1024,
            journal_bytes: 16 * 1024 * 1024,
            history: None,
            journal_disk: Arc::new(SystemDisk),
            clock: Clock::default(),
            clock_check: Duration::from_secs(15),
        }
    }
}

impl HostOptions {
    /// Sets the number of threads.
    ///
    /// An object stays on the thread that its id chooses: threads share the objects of a namespace, and do not speed up one of
    /// them.
    #[must_use]
    pub fn with_threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Sets how long an object without events keeps its instance and its open database.
    ///
    /// A longer time saves starts of objects, a shorter one memory. Sockets stay open either way.
    #[must_use]
    pub fn with_idle(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self
    }

    /// Sets how many events may be in flight on one object.
    ///
    /// One object runs on one thread, so more in flight is mostly more waiting: a lower number answers sooner that it is too
    /// much.
    #[must_use]
    pub fn with_events(mut self, events: usize) -> Self {
        self.events = events;
        self
    }

    /// Sets how many events may be in flight on all objects together.
    #[must_use]
    pub fn with_queue(mut self, queue: usize) -> Self {
        self.queue = queue;
        self
    }

    /// Sets how many objects may be awake at once.
    ///
    /// More are created all the same: this bounds those with an instance in memory. Raise it together with the process's limit
    /// of descriptors (`ulimit -n`), with three for each object, or four where histories are kept.
    #[must_use]
    pub fn with_open_objects(mut self, open_objects: usize) -> Self {
        self.open_objects = open_objects;
        self
    }

    /// Sets how many objects may be awake at once by the file descriptors that they may hold together: three each, or four with the
    /// [`history`](Self::history) that was set before.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_sessions::memory::{HistoryOptions, HostOptions};
    /// assert_eq!(HostOptions::default().with_descriptors(300).open_objects, 100);
    /// let kept = HostOptions::default().with_history(HistoryOptions::default());
    /// assert_eq!(kept.with_descriptors(300).open_objects, 75);
    /// assert_eq!(HostOptions::default().with_descriptors(0).open_objects, 1);
    /// # }
    /// ```
    #[must_use]
    pub fn with_descriptors(self, descriptors: u64) -> Self {
        let each = DESCRIPTORS + if self.history.is_some() { HISTORY_DESCRIPTORS } else { 0 };
        let objects = usize::try_from(descriptors / each).unwrap_or(usize::MAX);
        self.with_open_objects(objects.max(1))
    }

    /// Sets the memory of awake objects, in bytes, beyond which idle ones hibernate.
    ///
    /// A small object takes some 150 KB while it is awake. The databases of a host in memory are not counted: sleep does not free
    /// them.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_sessions::memory::HostOptions;
    /// let options = HostOptions::default().with_awake_bytes(64 << 20); // some 400 small objects
    /// assert_eq!(options.awake_bytes, 64 * 1024 * 1024);
    /// # }
    /// ```
    #[must_use]
    pub fn with_awake_bytes(mut self, bytes: usize) -> Self {
        self.awake_bytes = bytes;
        self
    }

    /// Sets how long an event waits for room when every awake object is busy.
    #[must_use]
    pub fn with_wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// Sets the bytes of disk below which writes are refused; 0 ends the check.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_sessions::memory::HostOptions;
    /// let options = HostOptions::default().with_reserve(1 << 30); // 1 GiB stays free for the rest of the machine
    /// assert_eq!(options.reserve, Some(1 << 30));
    /// # }
    /// ```
    #[must_use]
    pub fn with_reserve(mut self, bytes: u64) -> Self {
        self.reserve = Some(bytes);
        self
    }

    /// Sets the bytes of messages that may wait for one client that does not read.
    #[must_use]
    pub fn with_socket_bytes(mut self, bytes: usize) -> Self {
        self.socket_bytes = bytes;
        self
    }

    /// Sets the bytes of messages that may wait for all clients together.
    #[must_use]
    pub fn with_outgoing_bytes(mut self, bytes: usize) -> Self {
        self.outgoing_bytes = bytes;
        self
    }

    /// Sets the bytes of received messages whose handlers have not ended, for each object.
    #[must_use]
    pub fn with_incoming_bytes(mut self, bytes: usize) -> Self {
        self.incoming_bytes = bytes;
        self
    }

    /// Sets the largest size of each of a thread's two logs, 64 KiB to 256 MiB; 0 has each turn sync its object's file.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_sessions::ErrorKind;
    /// # use isobar_sessions::{Request, Response, Result, SessionContext, SessionObject};
    /// use isobar_sessions::memory::{HostOptions, MemoryHost};
    /// # struct Any;
    /// # impl SessionObject for Any {
    /// #     type Env = ();
    /// #     async fn start(_: SessionContext, _: ()) -> Result<Self> { Ok(Self) }
    /// #     async fn fetch(&self, _: Request) -> Result<Response> { Ok(Response::default()) }
    /// # }
    /// let options = HostOptions::default().with_journal_bytes(1000); // too small
    /// let error = MemoryHost::<Any>::with_options("Any", &options, || ()).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    /// # }
    /// ```
    #[must_use]
    pub fn with_journal_bytes(mut self, bytes: u64) -> Self {
        self.journal_bytes = bytes;
        self
    }

    /// Keeps a history of each object.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_sessions::memory::{HistoryOptions, HostOptions};
    /// let options = HostOptions::default().with_history(HistoryOptions::default().with_max_bytes(16 << 20));
    /// assert_eq!(options.history.map(|history| history.max_bytes), Some(16 << 20));
    /// # }
    /// ```
    #[must_use]
    pub fn with_history(mut self, history: HistoryOptions) -> Self {
        self.history = Some(history);
        self
    }

    /// Options of the threads' journals; `None` where each turn syncs its object's file.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a size that a log cannot have.
    pub(super) fn journal(&self) -> Result<Option<JournalOptions>> {
        if self.journal_bytes == 0 {
            return Ok(None);
        }
        let options = JournalOptions::default().with_bytes(self.journal_bytes).map_err(|error| {
            let message = format!("the option journal_bytes of a session host: {error}, or 0 for no journal");
            Error::new(ErrorKind::InvalidArgument, message).with_source(error)
        });
        options.map(Some)
    }

    /// Sets the disk beneath the journal: for tests.
    #[doc(hidden)]
    #[must_use]
    pub fn with_journal_disk(mut self, disk: Arc<dyn Disk>) -> Self {
        self.journal_disk = disk;
        self
    }

    /// Sets where the time comes from: for tests.
    ///
    /// See [`Clock`] for a test that moves the time. Alarms go by it; hibernation and timeouts go by the machine's monotonic
    /// clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets how long the host sleeps at most before it compares its wake-ups with the clock.
    #[must_use]
    pub fn with_clock_check(mut self, interval: Duration) -> Self {
        self.clock_check = interval;
        self
    }
}

/// Bounds of the history of each object of a host. What passes either is forgotten, the oldest states first, when more of the object's
/// history is written: while it falls asleep after it has changed, say.
///
/// ```
/// use std::time::Duration;
/// # #[cfg(feature = "local")]
/// use isobar_sessions::local::HistoryOptions;
/// # #[cfg(not(feature = "local"))]
/// # use isobar_sessions::memory::HistoryOptions;
///
/// let week = HistoryOptions::default().with_max_age(Duration::from_secs(7 * 24 * 60 * 60));
/// assert_eq!(week.max_bytes, 64 << 20);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistoryOptions {
    /// Age of the oldest state that is kept, by the time at which another one followed it. A clock that is set ahead while the host
    /// runs makes no state older before the host's next start. Default: 30 days, as Cloudflare.
    pub max_age: Duration,
    /// Bytes of the differences between the states of one object. A turn that changes a row or a key takes some hundreds. Those of the
    /// last restore, as many as the object's file has at most, do not count: it can be undone. Default: 64 MiB.
    pub max_bytes: u64,
}

impl Default for HistoryOptions {
    fn default() -> Self {
        let HistoryBounds { max_age, max_bytes } = HistoryBounds::default();
        Self { max_age, max_bytes }
    }
}

impl HistoryOptions {
    /// Sets the age of the oldest state that is kept.
    #[must_use]
    pub fn with_max_age(mut self, age: Duration) -> Self {
        self.max_age = age;
        self
    }

    /// Sets the bytes that the history of one object may have.
    #[must_use]
    pub fn with_max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }
}

/// Wall clock of a host, by which alarms are due and states of histories have their times. Default: the system's. A test moves its own.
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicI64, Ordering};
///
/// use chrono::DateTime;
/// use isobar_sessions::memory::{Clock, HostOptions};
///
/// let millis = Arc::new(AtomicI64::new(1_700_000_000_000));
/// let time = Arc::clone(&millis);
/// let clock = Clock::new(move || DateTime::from_timestamp_millis(time.load(Ordering::Relaxed)).unwrap_or_default());
/// let options = HostOptions::default().with_clock(clock.clone());
/// millis.fetch_add(60_000, Ordering::Relaxed); // a minute later
/// assert_eq!(clock.now().timestamp(), 1_700_000_060);
/// # drop(options);
/// # }
/// ```
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>);

impl Clock {
    /// Takes the time from this function.
    pub fn new(now: impl Fn() -> DateTime<Utc> + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// Returns the time.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        (self.0)()
    }

    /// Returns the milliseconds since 1970.
    pub(super) fn millis(&self) -> i64 {
        self.now().timestamp_millis()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new(Utc::now)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({})", self.now())
    }
}

/// The process's soft limit of file descriptors.
#[cfg(unix)]
fn soft_limit() -> u64 {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(65_536)
}

#[cfg(not(unix))]
fn soft_limit() -> u64 {
    8192
}
