//! Objects as a catalog shows them, and the reports of what it has done.

use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::ObjectId;

/// Options of [`Catalog::list`](super::Catalog::list).
///
/// ```
/// use isobar_sessions::local::CatalogListOptions;
///
/// let options = CatalogListOptions::default().with_limit(100).with_check();
/// assert_eq!(options.limit, 100);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CatalogListOptions {
    /// Object after which the page begins: the cursor of the page before. Default: `None`, from the first.
    pub after: Option<ObjectId>,
    /// Largest number of objects in the page, at least 1. Default: 1000.
    pub limit: usize,
    /// Whether each file is read and checked by SQLite, which takes as long as reading it. Otherwise only a file that is missing or
    /// empty is found to be damaged. Default: `false`.
    pub check: bool,
}

impl Default for CatalogListOptions {
    fn default() -> Self {
        Self { after: None, limit: 1000, check: false }
    }
}

impl CatalogListOptions {
    /// Begins the page after this object.
    #[must_use]
    pub fn with_after(mut self, after: Option<ObjectId>) -> Self {
        self.after = after;
        self
    }

    /// Sets the largest number of objects in the page.
    #[must_use]
    pub fn with_limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Reads and checks each file.
    #[must_use]
    pub fn with_check(mut self) -> Self {
        self.check = true;
        self
    }
}

/// Options of [`Catalog::alarms`](super::Catalog::alarms).
///
/// ```
/// use isobar_sessions::local::AlarmListOptions;
///
/// // Who is woken when, by the host's index alone.
/// let options = AlarmListOptions::default().with_limit(10).without_files();
/// assert!(!options.files && options.until.is_none());
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AlarmListOptions {
    /// Place after which the page begins: the cursor of the page before. Default: `None`, with the first alarm.
    pub after: Option<AlarmCursor>,
    /// Largest number of objects in the page, at least 1. Default: 1000.
    pub limit: usize,
    /// Time of the last wake-up that is listed. Default: `None`, all.
    pub until: Option<DateTime<Utc>>,
    /// Whether each object's file is read, by which the alarm's failures and the number of timers are known; while a host runs, a
    /// file is copied for that. Default: `true`.
    pub files: bool,
}

impl Default for AlarmListOptions {
    fn default() -> Self {
        Self { after: None, limit: 1000, until: None, files: true }
    }
}

impl AlarmListOptions {
    /// Begins the page after this place.
    #[must_use]
    pub fn with_after(mut self, after: Option<AlarmCursor>) -> Self {
        self.after = after;
        self
    }

    /// Sets the largest number of objects in the page.
    #[must_use]
    pub fn with_limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Lists no object that is woken later.
    #[must_use]
    pub fn with_until(mut self, until: DateTime<Utc>) -> Self {
        self.until = Some(until);
        self
    }

    /// Lists by the host's index alone: when objects are woken.
    #[must_use]
    pub fn without_files(mut self) -> Self {
        self.files = false;
        self
    }
}

/// Place in the list of alarms: a time, and an object of those that are woken then.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AlarmCursor {
    /// In Unix milliseconds.
    pub(super) at: i64,
    pub(super) id: [u8; 32],
}

/// Objects in the order in which they are woken.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct AlarmPage {
    /// The objects.
    pub objects: Vec<ObjectAlarm>,
    /// Place after which the next page begins, which may turn out to be empty; `None` where nothing follows.
    pub cursor: Option<AlarmCursor>,
}

/// An object and its alarm.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObjectAlarm {
    /// The object.
    pub entry: CatalogEntry,
    /// Its alarm; `None` where it has none, its file cannot be read, or files are not read.
    pub alarm: Option<AlarmDetails>,
    /// Number of its timers (`isobar_sessions::timers`), those that are given up among them. Default: 0, also where its file is not read.
    pub timers: u64,
}

/// A named timer of an object, as its file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TimerDetails {
    /// Its name.
    pub name: String,
    /// Time for which it was set; of a cron expression the first that has not run yet.
    pub scheduled: DateTime<Utc>,
    /// Time at which it runs: later than `scheduled` after a failure; `None` once it is given up.
    pub due: Option<DateTime<Utc>>,
    /// Cron expression of a timer that runs again and again.
    pub cron: Option<String>,
    /// Number of runs for this time that have failed, 0 to 7.
    pub retries: u32,
    /// First 1000 characters of the last failure, until a run succeeds.
    pub failure: Option<String>,
    /// Size of its payload, which is JSON, in bytes.
    pub payload_bytes: u64,
}

/// Bounds of [`Catalog::query`](super::Catalog::query), for SQL that comes from others, and the time of
/// [`Catalog::details`](super::Catalog::details) and [`Catalog::timers`](super::Catalog::timers). Default: none.
///
/// ```
/// use std::time::Duration;
/// use isobar_sessions::local::QueryBounds;
///
/// let bounds = QueryBounds::default().with_time(Duration::from_secs(30)).with_bytes(64 << 20);
/// assert_eq!(bounds.bytes, Some(64 << 20));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueryBounds {
    /// Time after which a statement, or the look at an object's file, is broken off: between steps of SQLite's, one of which is the
    /// `count(*)` of a whole table. Default: `None`, never.
    pub time: Option<Duration>,
    /// Largest size of a statement's rows in memory, in bytes. Default: `None`, any.
    pub bytes: Option<usize>,
}

impl QueryBounds {
    /// Breaks a statement, or the look at an object's file, off after this time.
    #[must_use]
    pub fn with_time(mut self, time: Duration) -> Self {
        self.time = Some(time);
        self
    }

    /// Refuses rows that take more bytes of memory.
    #[must_use]
    pub fn with_bytes(mut self, bytes: usize) -> Self {
        self.bytes = Some(bytes);
        self
    }
}

/// Objects in the order of their ids.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct CatalogPage {
    /// The objects.
    pub objects: Vec<CatalogEntry>,
    /// Object after which the next page begins; `None` where nothing follows.
    pub cursor: Option<ObjectId>,
}

/// An object that has stored something.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CatalogEntry {
    /// The object's id, with its name where that is known.
    pub id: ObjectId,
    /// Bytes of its file and its write-ahead log.
    pub bytes: u64,
    /// Time at which its host will wake it for its alarm, or earlier; `None` without an alarm.
    pub alarm: Option<DateTime<Utc>>,
    /// Time at which its file or its log was last written; `None` where it has none.
    pub changed: Option<DateTime<Utc>>,
    /// Reason for which its file cannot be read, with the file's name; `None` when nothing is known to be wrong.
    pub damage: Option<String>,
}

/// An object, by a look into its file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObjectDetails {
    /// The object. Its damage is what a check by SQLite has found; the other fields are empty then.
    pub entry: CatalogEntry,
    /// Its file.
    pub file: PathBuf,
    /// Its alarm.
    pub alarm: Option<AlarmDetails>,
    /// Number of its keys.
    pub keys: u64,
    /// Number of its timers (`isobar_sessions::timers`), those that are given up among them.
    pub timers: u64,
    /// Its tables, by name, without those of the host and of SQLite.
    pub tables: Vec<TableDetails>,
}

/// An alarm as the object's file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AlarmDetails {
    /// Time for which it was set.
    pub scheduled: DateTime<Utc>,
    /// Time at which it is to run: later than `scheduled` after a failure.
    pub due: DateTime<Utc>,
    /// Number of runs that have failed, 0 to 6.
    pub retries: u32,
}

/// A table of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TableDetails {
    /// Its name.
    pub name: String,
    /// Number of its rows.
    pub rows: u64,
}

/// Outcome of an export.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExportReport {
    /// Number of objects that were written.
    pub objects: u64,
    /// Bytes of their files.
    pub bytes: u64,
    /// Objects that could not be read, and why: they are not in the export.
    pub damaged: Vec<(ObjectId, String)>,
}

/// Rule for an imported object that is there already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnExisting {
    /// End the import with an error. What was imported before stays.
    #[default]
    Refuse,
    /// Leave the object as it is.
    Skip,
    /// Put the imported one in its place.
    Replace,
}

/// Outcome of an import.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImportReport {
    /// Number of objects that were put in place, durably.
    pub objects: u64,
    /// Bytes of their files.
    pub bytes: u64,
    /// Number of objects that were there already, and were left as they are.
    pub skipped: u64,
    /// Objects that were damaged when the export was made, and are not in it.
    pub missing: Vec<String>,
}
