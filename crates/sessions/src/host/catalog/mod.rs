//! A look into a host's folder, and changes to it while no host runs: for tools.
//!
//! Looking takes no lock that a host would meet: an object of a running host is read from a copy ([`snapshot`]).

mod alarms;
mod archive;
pub mod backup;
mod export;
mod import;
mod listing;
mod place;
mod reader;
mod snapshot;
mod time_travel;
mod types;
mod writer;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use isobar_sqlite::journal::SystemDisk;

use self::listing::Index;
use self::reader::{CHECK, Reader};
use self::snapshot::{Snapshot, damaged};
use super::storage::AlarmRow;
use super::{LOCK, LOCK_PAUSE, disk, log, recovery};
use crate::{Cursor, Error, ErrorKind, IdScheme, ObjectId, Parameters, Result};

pub use time_travel::{HistoryPoint, ObjectHistory, RestorePoint, RestoredObject};
pub use types::{
    AlarmCursor, AlarmDetails, AlarmListOptions, AlarmPage, CatalogEntry, CatalogListOptions, CatalogPage,
    ExportReport, ImportReport, ObjectAlarm, ObjectDetails, OnExisting, QueryBounds, TableDetails, TimerDetails,
};
pub use writer::CatalogWriter;

/// Time of looks one after the other after which the lock is left for a moment, so that a host that waits for it can start.
const RESTLESS: Duration = Duration::from_millis(200);

/// A look into the folder of a [`LocalHost`](super::LocalHost), also while that runs: lists its objects, reads them by SQL, exports
/// them. It changes no object and creates no file; a host that has not ended in order is put right first, as its next start would do,
/// by putting its journal back.
///
/// Nothing here waits for a host, or makes it wait: while one runs, its files are read from copies in the system's folder of temporary
/// files, each of one moment. Its functions block; call them where that does no harm. [`CatalogWriter`] changes objects while no host
/// runs.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use isobar_sessions::local::{Catalog, CatalogListOptions, HostOptions, LocalHost};
/// # use isobar_sessions::{Request, Response, Result, SessionContext, SessionNamespaceExt, SessionObject};
/// # struct Counter(SessionContext);
/// # impl SessionObject for Counter {
/// #     type Env = ();
/// #     async fn start(context: SessionContext, _: ()) -> Result<Self> {
/// #         context.sql().exec("CREATE TABLE IF NOT EXISTS hits (at INTEGER)", ())?;
/// #         Ok(Self(context))
/// #     }
/// #     async fn fetch(&self, _: Request) -> Result<Response> {
/// #         self.0.sql().exec("INSERT INTO hits VALUES (17)", ())?;
/// #         Ok(Response::default())
/// #     }
/// # }
/// # let folder = tempfile::tempdir()?;
/// let counters = LocalHost::<Counter>::open(folder.path(), "Counter", &HostOptions::default(), || ())?;
/// counters.get(&counters.id("/home"), "/").await?;
///
/// let catalog = Catalog::open(folder.path(), "Counter")?;
/// let page = catalog.list(&CatalogListOptions::default())?;
/// assert_eq!(page.objects[0].id.name(), Some("/home"));
/// let rows = catalog.query(&page.objects[0].id, "SELECT count(*) FROM hits", ())?;
/// assert_eq!(rows.expect("the object is there").one::<i64>()?, 1);
/// # Ok(())
/// # }
/// ```
pub struct Catalog {
    root: PathBuf,
    namespace: String,
    scheme: IdScheme,
    /// The host's lock, where a writer holds it for the catalog.
    held: Option<File>,
    bounds: QueryBounds,
    /// Objects whose last turns could not be put back into their files, and why.
    withheld: RefCell<BTreeMap<[u8; 32], String>>,
    /// A copy of the index, for the pages of a list.
    index: RefCell<Option<Index>>,
    /// When a host that waits for the lock last had its turn.
    rested: Cell<Instant>,
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Catalog({} in {})", self.namespace, self.root.display())
    }
}

/// Keeps a host from starting while a file is read in its place.
struct Guard {
    _lock: Option<File>,
    /// A host runs, and may change any file meanwhile.
    is_live: bool,
}

impl Catalog {
    /// Looks into the folder of a host of this namespace.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`] when there is no such folder, or it cannot be read.
    pub fn open(root: impl AsRef<Path>, namespace: &str) -> Result<Self> {
        Self::new(root.as_ref(), namespace, None)
    }

    fn new(root: &Path, namespace: &str, held: Option<File>) -> Result<Self> {
        if !root.is_dir() {
            let message = format!("there are no session objects of {namespace}: there is no folder {}", root.display());
            return Err(Error::new(ErrorKind::Storage, message));
        }
        let scheme = IdScheme::new(namespace);
        Ok(Self {
            root: root.to_owned(),
            namespace: namespace.to_owned(),
            scheme,
            held,
            bounds: QueryBounds::default(),
            withheld: RefCell::default(),
            index: RefCell::default(),
            rested: Cell::new(Instant::now()),
        })
    }

    /// Sets the bounds of the queries that follow, and the time of looks at an object's [`details`](Self::details). Default: none.
    #[must_use]
    pub fn with_bounds(mut self, bounds: QueryBounds) -> Self {
        self.bounds = bounds;
        self
    }

    /// Returns whether a process hosts the objects now, or changes them.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`] when the folder cannot be read.
    pub fn is_live(&self) -> Result<bool> {
        Ok(self.guard()?.is_live)
    }

    /// Returns the id that a text stands for: 64 hexadecimal digits of an id of this namespace, else the name that an id is made from.
    #[must_use]
    pub fn id(&self, text: &str) -> ObjectId {
        self.scheme.parse(text).unwrap_or_else(|_| self.scheme.from_name(text))
    }

    /// Lists objects that have stored something, a page at a time, in the order of their ids. The index of the host is read where it
    /// is whole, else the files themselves. An object that is damaged is listed with that.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`], and [`ErrorKind::Overloaded`] when a host changes its index all the time.
    pub fn list(&self, options: &CatalogListOptions) -> Result<CatalogPage> {
        listing::page(self, options)
    }

    /// Returns an object as [`list`](Self::list) has it, without a check of its file; `None` where there is no such object.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub fn entry(&self, id: &ObjectId) -> Result<Option<CatalogEntry>> {
        drop(self.index.take()); // of an earlier list
        listing::entry_of(self, id, &self.guard()?)
    }

    /// Returns what is known of an object and what its file has, after a check of the file; `None` where there is no such object.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`], [`ErrorKind::Overloaded`] when a host writes to it all the time, and [`ErrorKind::Sql`] when the look takes
    /// longer than the [bounds](Self::with_bounds) allow.
    pub fn details(&self, id: &ObjectId) -> Result<Option<ObjectDetails>> {
        drop(self.index.take()); // of an earlier list
        let guard = self.guard()?;
        let Some(mut entry) = listing::entry_of(self, id, &guard)? else { return Ok(None) };
        let file = self.file(id);
        let nothing =
            |entry| ObjectDetails { entry, file: file.clone(), alarm: None, keys: 0, timers: 0, tables: Vec::new() };
        if entry.damage.is_some() {
            return Ok(Some(nothing(entry)));
        }
        let look = || -> Result<Option<_>> {
            let Some(mut reader) = self.reader(id, &guard)? else { return Ok(None) };
            reader.bound(self.bounds.time)?;
            self.check(id, &reader)?;
            let failed = |error: rusqlite::Error| reader.overdue(CHECK).unwrap_or_else(|| damaged(&file, &error));
            let alarm = reader.alarm().map_err(failed)?.map(|row| alarm_details(&row));
            let keys = reader.keys().map_err(failed)?;
            let timers = reader.timers().map_err(failed)?;
            Ok(Some((alarm, keys, timers, reader.tables().map_err(failed)?)))
        };
        match look() {
            Ok(Some((alarm, keys, timers, tables))) => {
                Ok(Some(ObjectDetails { entry, file, alarm, keys, timers, tables }))
            }
            Ok(None) => Ok(None),
            Err(error) if error.kind() == ErrorKind::Damaged => {
                entry.damage = Some(error.to_string());
                Ok(Some(nothing(entry)))
            }
            Err(error) => Err(error),
        }
    }

    /// Runs one statement that reads on an object's database, by the rules of its own SQL; the tables of its host, which begin with
    /// `_cf_`, may be read, too. Returns `None` where there is no such object.
    ///
    /// # Errors
    /// As [`Sql::exec`](crate::Sql::exec); [`ErrorKind::Sql`] for one that passes the [bounds](Self::with_bounds),
    /// [`ErrorKind::NotAuthorized`] for a statement that writes, [`ErrorKind::Damaged`],
    /// and [`ErrorKind::Overloaded`] when a host writes to the object all the time.
    pub fn query(&self, id: &ObjectId, sql: &str, parameters: impl Parameters) -> Result<Option<Cursor>> {
        let guard = self.guard()?;
        let Some(mut reader) = self.reader(id, &guard)? else { return Ok(None) };
        reader.query(sql, &parameters.into_values(), self.bounds).map(Some)
    }

    /// Opens an object's file; `None` where there is none.
    fn reader(&self, id: &ObjectId, guard: &Guard) -> Result<Option<Reader>> {
        if let Some(why) = self.withheld(id.as_bytes()) {
            return Err(Error::new(ErrorKind::Damaged, why));
        }
        let path = self.file(id);
        Snapshot::take(&path, guard.is_live)?.map(|snapshot| Reader::open(snapshot, &path)).transpose()
    }

    /// As [`reader`](Self::reader), for a file that SQLite finds nothing wrong with.
    fn sound_reader(&self, id: &ObjectId, guard: &Guard) -> Result<Option<Reader>> {
        let reader = self.reader(id, guard)?;
        reader.as_ref().map_or(Ok(()), |reader| self.check(id, reader))?;
        Ok(reader)
    }

    /// Refuses a file that SQLite finds something wrong with.
    fn check(&self, id: &ObjectId, reader: &Reader) -> Result<()> {
        let Some(problem) = reader.problem()? else { return Ok(()) };
        let message = format!("the session object's file {} is damaged: {problem}", self.file(id).display());
        Err(Error::new(ErrorKind::Damaged, message))
    }

    fn file(&self, id: &ObjectId) -> PathBuf {
        disk::object_file(&self.root.join(disk::OBJECTS), id.as_bytes())
    }

    fn withheld(&self, id: &[u8; 32]) -> Option<String> {
        self.withheld.borrow().get(id).cloned()
    }

    /// Keeps hosts away for as long as the guard lives, if none runs. The journal of one that has not ended in order is put back.
    fn guard(&self) -> Result<Guard> {
        let live = Ok(Guard { _lock: None, is_live: true });
        if self.held.is_some() {
            return Ok(Guard { _lock: None, is_live: false });
        }
        if self.rested.get().elapsed() >= RESTLESS {
            std::thread::sleep(2 * LOCK_PAUSE);
            self.rested.set(Instant::now());
        }
        let path = self.root.join(LOCK);
        let mut is_recovered = false; // what cannot be put back stays in the journal
        loop {
            let lock = match File::open(&path) {
                Ok(lock) => Some(lock),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => None, // no host has run in this folder
                Err(error) => return Err(self.failed(&error)),
            };
            match lock.as_ref().map_or(Ok(()), File::try_lock_shared) {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return live,
                Err(TryLockError::Error(error)) => return Err(self.failed(&error)),
            }
            if is_recovered || !self.has_journal() {
                return Ok(Guard { _lock: lock, is_live: false });
            }
            drop(lock);
            let own = disk::create_file(&path, false).map_err(|error| self.failed(&error))?;
            match own.try_lock() {
                Ok(()) => self.recover()?,
                Err(TryLockError::WouldBlock) => return live,
                Err(TryLockError::Error(error)) => return Err(self.failed(&error)),
            }
            is_recovered = true;
        }
    }

    /// Puts the journal back, while no other process has the folder.
    fn recover(&self) -> Result<()> {
        *self.withheld.borrow_mut() = recovery::recover(&self.root, &SystemDisk)?;
        Ok(())
    }

    /// Whether a host that has not ended in order has left logs.
    fn has_journal(&self) -> bool {
        let entries = std::fs::read_dir(self.root.join(log::FOLDER));
        entries.into_iter().flatten().flatten().any(|entry| entry.path().extension().is_some_and(|it| it == "log"))
    }

    fn failed(&self, error: &std::io::Error) -> Error {
        let message = format!("the folder of session objects {} cannot be read: {error}", self.root.display());
        Error::new(ErrorKind::Storage, message)
    }
}

fn alarm_details(row: &AlarmRow) -> AlarmDetails {
    AlarmDetails { scheduled: time(row.scheduled), due: time(row.due), retries: row.retries }
}

/// A time in Unix milliseconds. One that no calendar has is the last there is.
fn time(millis: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(millis).unwrap_or(DateTime::<Utc>::MAX_UTC)
}
