//! The object's history, where one is kept: what it takes while the object runs, and the way back to an earlier state.
//!
//! A turn costs nothing but the note of its time. The history takes commits out of the write-ahead log before they are copied into the file:
//! when the log is long, when a minute has gone since the first of them, when the object falls asleep, and before a bookmark is given.
//! After a crash those that it has not taken are in the log, which recovery has put back; their times are lost, and are those of the
//! next start.
//!
//! In memory there is no log: each commit is taken at once, by the image of the whole database.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use isobar_base::fs::SqliteFile;
use isobar_sqlite::history::{Beginning, DatabaseFiles, HistoryError, PageHistory, WalMark, page_size};
use isobar_sqlite::journal::DiskFile;
use isobar_sqlite::{copy_pages, open_image};
use rusqlite::{Connection, OptionalExtension};

use super::{Place, Storage, has_table};
use crate::context::NO_HISTORY;
use crate::host::disk;
use crate::host::fault::Fault;
use crate::host::history::{Histories, kind_of};
use crate::{Bookmark, Error, ErrorKind, Result};

/// Time after a commit from which on the history is to take it with the next one: a crash loses the times of no more.
const LATE: Duration = Duration::from_secs(60);

/// A result of the history's own.
type Kept<T> = std::result::Result<T, HistoryError>;

/// History of an object whose database is open.
#[derive(Debug)]
pub(super) struct Past {
    place: PastPlace,
    /// A restore is asked for.
    is_asked: Cell<bool>,
}

#[derive(Debug)]
enum PastPlace {
    File(FilePast),
    Memory(Box<MemoryPast>),
}

/// A history in a file.
#[derive(Debug)]
struct FilePast {
    histories: Arc<Histories>,
    path: PathBuf,
    /// The object's file.
    database: PathBuf,
    /// The object's file, once it was read: closed after its connection, which would lose its locks.
    file: RefCell<Option<Arc<dyn DiskFile>>>,
    /// There is a history already.
    is_begun: Cell<bool>,
    /// Where it begins if there is none: the end of the log when the object was opened, and the time.
    mark: Cell<WalMark>,
    opened: i64,
    /// Frames of the log after commits that it has not taken, and their times.
    times: RefCell<Vec<(u32, i64)>>,
    since: Cell<Option<Instant>>,
}

/// A history in memory.
#[derive(Debug)]
struct MemoryPast {
    histories: Arc<Histories>,
    history: RefCell<PageHistory>,
    /// The database as its last commit has left it.
    image: RefCell<Vec<u8>>,
}

/// An earlier state, to be restored.
pub(in crate::host) struct Earlier {
    image: Connection,
    /// When its alarm is due, in milliseconds since 1970.
    pub(in crate::host) due: Option<i64>,
}

impl Past {
    /// Whether commits wait for so long that the history should take them.
    pub(super) fn is_due(&self) -> bool {
        match &self.place {
            PastPlace::File(past) => past.since.get().is_some_and(|since| since.elapsed() >= LATE),
            PastPlace::Memory(_) => false,
        }
    }

    /// Takes what the write-ahead log has, all of it durable already. A history begins with the first commit.
    pub(super) fn archive(&self) -> Kept<()> {
        match &self.place {
            PastPlace::File(past) if past.has_news() => past.with_archived(|_| Ok(())),
            PastPlace::File(past) => {
                past.times.borrow_mut().clear(); // of commits that wrote nothing
                past.since.set(None);
                Ok(())
            }
            PastPlace::Memory(_) => Ok(()),
        }
    }

    /// Runs work on the history, which has all commits.
    fn with<T>(&self, work: impl FnOnce(&mut PageHistory) -> Kept<T>) -> Kept<T> {
        match &self.place {
            PastPlace::File(past) => past.with_archived(work),
            PastPlace::Memory(past) => work(&mut past.history.borrow_mut()),
        }
    }

    fn now(&self) -> i64 {
        match &self.place {
            PastPlace::File(past) => past.histories.now(),
            PastPlace::Memory(past) => past.histories.now(),
        }
    }

    /// The history's file, for errors.
    fn path(&self) -> Option<&Path> {
        match &self.place {
            PastPlace::File(past) => Some(&past.path),
            PastPlace::Memory(_) => None,
        }
    }
}

impl FilePast {
    /// Whether the log may have what the history has not.
    fn has_news(&self) -> bool {
        disk::has_log(&self.database) && (self.is_begun.get() || !self.times.borrow().is_empty())
    }

    fn with_archived<T>(&self, work: impl FnOnce(&mut PageHistory) -> Kept<T>) -> Kept<T> {
        let mut history = self.open_or_begin()?;
        let times = self.times.take();
        let now = self.histories.now();
        let bounds = self.histories.bounds();
        let archived = self.with_files(|files| history.archive(files, &times, now, bounds));
        if let Err(error) = archived {
            *self.times.borrow_mut() = times;
            return Err(error);
        }
        self.since.set(None);
        work(&mut history)
    }

    fn open_or_begin(&self) -> Kept<PageHistory> {
        if let Some(history) = PageHistory::open(&self.path)? {
            return Ok(history);
        }
        let page_size = self.with_files(|files| Ok(files.page_size()?))?;
        let beginning = Beginning { page_size, mark: self.mark.get(), time: self.opened };
        let history = PageHistory::create(&self.path, &beginning)?;
        self.is_begun.set(true);
        Ok(history)
    }

    fn with_files<T>(&self, work: impl FnOnce(&DatabaseFiles<'_>) -> Kept<T>) -> Kept<T> {
        let known = self.file.borrow().clone();
        let database = match known {
            Some(file) => file,
            None => self.histories.disk.open(&self.database)?,
        };
        *self.file.borrow_mut() = Some(Arc::clone(&database));
        let has_log = disk::has_log(&self.database);
        let wal = has_log.then(|| self.histories.disk.open(&SqliteFile::Wal.beside(&self.database))).transpose()?;
        work(&DatabaseFiles { wal: wal.as_deref(), database: &*database })
    }
}

impl Storage {
    /// Keeps the object's history on, where histories are kept.
    pub(super) fn begin_past(&mut self, histories: Option<&Arc<Histories>>) -> Result<()> {
        let Some(histories) = histories else { return Ok(()) };
        let past = match (&self.place, histories.file(self.path())) {
            (Place::Memory, _) => self.memory_past(histories)?,
            (Place::File(database), Some(path)) => {
                file_past(histories, database, &path).map_err(|error| self.of_history_in(&path, error))?
            }
            _ => return Ok(()),
        };
        self.past = Some(past);
        Ok(())
    }

    fn path(&self) -> &Path {
        match &self.place {
            Place::File(path) | Place::Draft(path) => path,
            Place::Memory => Path::new(""),
        }
    }

    fn memory_past(&self, histories: &Arc<Histories>) -> Result<Past> {
        let image = self.image()?;
        let begin = || -> Kept<PageHistory> {
            let page_size = page_size(&image)?;
            PageHistory::memory(&Beginning { page_size, mark: WalMark::default(), time: histories.now() })
        };
        let history = RefCell::new(begin().map_err(|error| self.of_history(error))?);
        let place = MemoryPast { histories: Arc::clone(histories), history, image: RefCell::new(image) };
        Ok(Past { place: PastPlace::Memory(Box::new(place)), is_asked: Cell::new(false) })
    }

    /// Notes where the history begins, if there is none: what the log has now is copied into the file without it.
    pub(super) fn mark_past(&self) -> Result<()> {
        let Some(Past { place: PastPlace::File(past), .. }) = &self.past else { return Ok(()) };
        if past.is_begun.get() || !disk::has_log(&past.database) {
            return Ok(());
        }
        let mark = past.with_files(|files| files.mark()).map_err(|error| self.of_history(error))?;
        past.mark.set(mark);
        Ok(())
    }

    /// Notes a commit.
    pub(super) fn note_commit(&self) -> Result<()> {
        let Some(past) = &self.past else { return Ok(()) };
        match &past.place {
            PastPlace::File(past) => {
                let frames = self.wal.pages();
                let mut times = past.times.borrow_mut();
                // A commit without frames of its own has written nothing.
                if times.last().is_none_or(|(known, _)| *known != frames) {
                    times.push((frames, past.histories.now()));
                }
                if past.since.get().is_none() {
                    past.since.set(Some(Instant::now()));
                }
                Ok(())
            }
            PastPlace::Memory(past) => {
                let image = self.image()?;
                let before = past.image.replace(image);
                let after = past.image.borrow();
                let now = past.histories.now();
                let recorded = past.history.borrow_mut().record(&before, &after, now, past.histories.bounds());
                recorded.map_err(|error| self.of_history(error))
            }
        }
    }

    /// Lets the history take what the write-ahead log has, all of it durable already. Without a history there is nothing to do.
    pub(super) fn archive(&self) -> Result<()> {
        self.past.as_ref().map_or(Ok(()), |past| past.archive().map_err(|error| self.of_history(error)))
    }

    /// Returns the bookmark of the state at a time, in milliseconds since 1970; of the newest without one. All commits are durable.
    pub(in crate::host) fn bookmark(&self, at: Option<i64>) -> Result<Bookmark> {
        let past = self.certain_past()?;
        let found = past.with(|history| {
            let state = history.state()?;
            let number = match at {
                Some(at) => history.at(at, past.now())?.number,
                None => state.newest.number,
            };
            Ok(history.position(number)?.bookmark(state.id))
        });
        found.map(Bookmark::new).map_err(|error| self.of_history(error))
    }

    /// Asks for the restore of a state, durably. Returns the bookmark of the state before it. All commits are durable.
    pub(in crate::host) fn ask_restore(&self, to: &Bookmark) -> Result<Bookmark> {
        let past = self.certain_past()?;
        let asked = past.with(|history| {
            let number = history.find(to.as_str())?.number;
            Ok(history.ask_restore(number)?.bookmark(history.state()?.id))
        });
        let undo = asked.map_err(|error| self.of_history(error))?;
        past.is_asked.set(true);
        Ok(Bookmark::new(undo))
    }

    /// Whether a restore is asked for.
    pub(in crate::host) fn is_restore_asked(&self) -> bool {
        self.past.as_ref().is_some_and(|past| past.is_asked.get())
    }

    /// Makes the state that is to be restored, and ends the present one's generation, durably. All commits are durable. `None` where no
    /// restore is asked for.
    pub(in crate::host) fn prepare_restore(&self) -> Result<Option<Earlier>> {
        let past = self.required_past()?;
        let mut image = self.image()?;
        let prepared = past.with(|history| {
            let Some(number) = history.begin_restore()? else { return Ok(None) };
            history.rewind(&mut image, number)?;
            let image = open_image(image)?;
            let due = due_of(&image)?;
            Ok(Some(Earlier { image, due }))
        });
        prepared.map_err(|error| self.of_history(error))
    }

    /// Takes an earlier state, in one commit.
    pub(in crate::host) fn restore(&mut self, earlier: &Earlier) -> Result<()> {
        self.roll_back();
        self.trusted.store(true, Ordering::Relaxed);
        let copied = copy_pages(&earlier.image, &mut self.connection, || false);
        self.trusted.store(false, Ordering::Relaxed);
        copied.map_err(|error| self.failed(&error))?;
        self.own("BEGIN; COMMIT")?; // SQLite reports the commit of a copy with the next statement
        self.find_metadata()?;
        self.note_commit()?;
        self.capture()
    }

    fn find_metadata(&self) -> Result<()> {
        self.has_metadata.set(self.trusted(|connection| has_table(connection, "_cf_METADATA"))?);
        Ok(())
    }

    /// Notes that the restore is done, when its commit is durable.
    pub(in crate::host) fn end_restore(&self) -> Result<()> {
        let past = self.required_past()?;
        past.with(PageHistory::end_restore).map_err(|error| self.of_history(error))?;
        past.is_asked.set(false);
        Ok(())
    }

    fn required_past(&self) -> Result<&Past> {
        self.past.as_ref().ok_or_else(|| Error::new(ErrorKind::Unsupported, NO_HISTORY))
    }

    /// The history that is to take what the write-ahead log has. After a failed sync that may be in memory alone: the history would be ahead
    /// of the file.
    fn certain_past(&self) -> Result<&Past> {
        let past = self.required_past()?;
        self.health.check_poison()?;
        Ok(past)
    }

    /// The database as a file.
    pub(super) fn image(&self) -> Result<Vec<u8>> {
        self.trusted(isobar_sqlite::image_of)
    }

    /// An error of the history. After a failed sync of it the host writes no more.
    fn of_history(&self, error: HistoryError) -> Error {
        self.of_history_in(self.past.as_ref().and_then(Past::path).unwrap_or(Path::new("memory")), error)
    }

    /// As [`of_history`](Self::of_history), of the history in this file.
    fn of_history_in(&self, path: &Path, error: HistoryError) -> Error {
        let kind = kind_of(&error);
        if kind == ErrorKind::History {
            return Error::new(kind, error.to_string());
        }
        let advice = match kind {
            ErrorKind::Damaged => format!("; to give its history up, stop the host and delete {}", path.display()),
            _ => String::new(),
        };
        let message = format!("the history of {} failed: {error}{advice}", self.name());
        if matches!(&error, HistoryError::Sqlite(error) if Fault::of(error) == Some(Fault::Sync)) {
            self.health.poison(message.clone());
        }
        Error::new(kind, message).with_source(error)
    }
}

fn file_past(histories: &Arc<Histories>, database: &Path, path: &Path) -> Kept<Past> {
    let state = PageHistory::open(path)?.map(|history| history.state()).transpose()?;
    let past = FilePast {
        histories: Arc::clone(histories),
        path: path.to_owned(),
        database: database.to_owned(),
        file: RefCell::default(),
        is_begun: Cell::new(state.is_some()),
        mark: Cell::default(),
        opened: histories.now(),
        times: RefCell::default(),
        since: Cell::default(),
    };
    let is_asked = state.is_some_and(|state| state.restore.is_some());
    Ok(Past { place: PastPlace::File(past), is_asked: Cell::new(is_asked) })
}

/// When the alarm of a state is due.
fn due_of(image: &Connection) -> rusqlite::Result<Option<i64>> {
    if !has_table(image, "_cf_ALARM")? {
        return Ok(None); // of an older version
    }
    image.query_row("SELECT due FROM _cf_ALARM", [], |row| row.get(0)).optional()
}
