//! The history of an open database: what its threads ask of it, and the thread that archives beside them.
//!
//! One process *keeps* a history: it has the folder's lock and an [`Archiver`]. Others *follow*: they note
//! positions of their own commits, so that their bookmarks are right, and leave the files alone. Where keeping
//! fails (a full disk), the database goes on without its history, the failure is reported by [`Recorder::report`],
//! and another try is made every 5 s, behind a gap.
//!
//! Lock order: `state`, then `last_turn`, then those of [`Marks`]. `signal` is taken alone. The writing thread
//! takes `state` for the first commit of a write-ahead log alone, and tries it for a copy of a long log: a snapshot
//! that is being written does not hold it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, TryLockError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use isobar_base::sync::IgnorePoison;
use isobar_sqlite::Failure;
use isobar_sqlite::journal::Disk;

use super::archiver::Archiver;
use super::fault;
use super::folder::{Folder, real_path};
use super::follow::{Committed, WalFile, committed, connect};
use super::format::Kind;
use super::index::{Extent, Index, Limit};
use super::marks::{First, Marks};
use super::position::Position;
use super::span::Point;
use crate::{Bookmark, Error, ErrorKind, History, HistoryOptions, Result};

/// Longest time after which commits of other processes are archived.
const TICK: Duration = Duration::from_secs(1);
/// Wait for more commits, which share a block then.
const LINGER: Duration = Duration::from_millis(5);
/// Wait before the next try after a failure.
const RETRY: Duration = Duration::from_secs(5);
/// Time between two looks at the bounds.
const PRUNE: Duration = Duration::from_secs(60 * 60);
/// Pages of a write-ahead log from which on it is copied though it cannot be archived.
const MOST_PAGES: u32 = 16_000;
/// Shortest time between two tries to copy a log that readers keep from beginning anew.
const TURN: Duration = Duration::from_millis(100);
/// Wait before the next try to take a snapshot after one that has failed.
const SNAPSHOT_RETRY: Duration = Duration::from_secs(60);
/// Bytes of a database up to which its first snapshot is taken before it is used.
const SMALL: u64 = 64 << 20;
/// Longest wait for another process to begin a history, or to archive a commit.
const OTHER: Duration = Duration::from_secs(10);
/// Wait between two looks at what another process does.
const LOOK: Duration = Duration::from_millis(10);

/// The history of an open database.
#[derive(Debug)]
pub(in crate::sqlite) struct Recorder {
    database: PathBuf,
    folder: Folder,
    marks: Marks,
    state: Mutex<State>,
    last_turn: Mutex<Option<Instant>>,
    /// The last snapshot has failed.
    snapshot_failure: Mutex<Option<(Error, Instant)>>,
    signal: Mutex<Signal>,
    signalled: Condvar,
}

/// This process's part in the history.
///
/// Transitions: `Keeps` or `Follows` at the opening; `Keeps` to `Failed` by an error; `Failed` to either of the
/// first two by the next try; `Follows` to `Keeps` when the process that kept it has gone; any to `Closed`.
#[derive(Debug)]
enum State {
    Keeps(Box<Archiver>),
    /// Another process keeps it.
    Follows,
    /// It cannot be kept at the moment.
    Failed(Error, Instant),
    Closed,
}

#[derive(Debug, Default)]
struct Signal {
    is_woken: bool,
    is_closed: bool,
}

/// The thread that archives; dropping it ends the history's keeping in good order.
#[derive(Debug)]
pub(in crate::sqlite) struct Keeper {
    recorder: Arc<Recorder>,
    thread: Option<JoinHandle<()>>,
}

impl Recorder {
    /// Opens the history of a database that a connection has open, and takes the first snapshot of a small one if there is none.
    pub(in crate::sqlite) fn open(
        database: &Path,
        given: Option<HistoryOptions>,
        disk: Arc<dyn Disk>,
    ) -> Result<Arc<Self>> {
        let database = real_path(database);
        let recorder = Self {
            folder: Folder::of(&database, Arc::clone(&disk)),
            marks: Marks::new(WalFile::new(&database, disk)),
            database,
            state: Mutex::new(State::Closed),
            last_turn: Mutex::default(),
            snapshot_failure: Mutex::default(),
            signal: Mutex::default(),
            signalled: Condvar::new(),
        };
        recorder.folder.create()?;
        // Here alone, so that those that were given last apply, whichever process keeps the history.
        recorder.folder.bounds(given)?;
        recorder.begin()?;
        if std::fs::metadata(&recorder.database).is_ok_and(|metadata| metadata.len() <= SMALL) {
            recorder.take_base();
        }
        Ok(Arc::new(recorder))
    }

    /// Returns whether a database has a history.
    pub(in crate::sqlite) fn exists(database: &Path, disk: Arc<dyn Disk>) -> bool {
        Folder::of(database, disk).exists()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().ignore_poison()
    }

    /// Keeps the history, or follows the process that does.
    fn begin(&self) -> Result<()> {
        let archiver = Archiver::open(&self.database, &self.folder, &self.marks)?;
        let state = match archiver {
            Some(archiver) => State::Keeps(Box::new(archiver)),
            None => {
                self.follow()?;
                State::Follows
            }
        };
        *self.lock() = state;
        Ok(())
    }

    /// Counts write-ahead logs as the process does that keeps the history.
    fn follow(&self) -> Result<()> {
        let start = Instant::now();
        let index = loop {
            match Index::read(&self.folder)? {
                Some(index) => break index,
                None if start.elapsed() < OTHER => thread::sleep(LOOK),
                None => {
                    let message = "another process keeps the history, and has not begun it";
                    return Err(Error::new(crate::ErrorKind::Unavailable, message));
                }
            }
        };
        if let Some(log) = index.newest_log() {
            self.marks.set(index.history, log.end.position.generation, log.wal.salts);
            self.marks.reach(log.end.position);
        }
        Ok(())
    }

    /// Notes a commit of this process, before it is answered. The first one in a write-ahead log is durable in the history then, so that
    /// every answered commit follows what the history has. Returns the commit's position, unless that cannot be known.
    pub(in crate::sqlite) fn committed(&self, frames: u32) -> Option<Position> {
        let noted = self.marks.committed(frames).unwrap_or_else(|error| {
            self.fail(&mut self.lock(), error);
            None
        });
        if let Some((_, First::Yes)) = noted {
            self.keep(|archiver, marks| {
                archiver.archive(marks)?;
                archiver.sync()
            });
        }
        let mut signal = self.signal.lock().ignore_poison();
        if !signal.is_woken {
            signal.is_woken = true;
            self.signalled.notify_all();
        }
        noted.map(|(position, _)| position)
    }

    /// Returns the bookmark of the newest commit that has been answered.
    pub(in crate::sqlite) fn bookmark(&self) -> Bookmark {
        self.marks.newest().bookmark(self.marks.history())
    }

    /// Has a long write-ahead log of this many pages copied into the database by `copy`, once it is archived.
    pub(in crate::sqlite) fn turn(
        &self,
        pages: u32,
        copy: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let is_huge = pages >= MOST_PAGES;
        let last = *self.last_turn.lock().ignore_poison();
        if last.is_some_and(|last| last.elapsed() < TURN) && !is_huge {
            return Ok(());
        }
        let mut state = match self.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // The next commit tries again.
            Err(TryLockError::WouldBlock) if !is_huge => return Ok(()),
            Err(TryLockError::WouldBlock) => self.lock(),
        };
        *self.last_turn.lock().ignore_poison() = Some(Instant::now());
        match &mut *state {
            State::Keeps(archiver) => match archiver.turn(&self.marks, |_| copy()) {
                Ok(copied) => copied,
                Err(error) => {
                    self.fail(&mut state, error);
                    Ok(())
                }
            },
            // The data come before their history.
            State::Failed(..) if is_huge => copy(),
            State::Failed(..) | State::Follows | State::Closed => Ok(()),
        }
    }

    /// Has a log copied into the database that other processes have made long.
    fn turn_for_others(&self) {
        self.keep(|archiver, marks| {
            let mut last = self.last_turn.lock().ignore_poison();
            if !archiver.has_long_log() || last.is_some_and(|last| last.elapsed() < TURN) {
                return Ok(());
            }
            *last = Some(Instant::now());
            drop(last);
            archiver.turn_long(marks)
        });
    }

    /// Runs work on the archiver, if this process keeps the history.
    fn keep(&self, work: impl FnOnce(&mut Archiver, &Marks) -> Result<()>) {
        let mut state = self.lock();
        if let State::Keeps(archiver) = &mut *state
            && let Err(error) = work(archiver, &self.marks)
        {
            self.fail(&mut state, error);
        }
    }

    /// Gives the keeping up for a while: what is committed meanwhile may be missing from the history.
    fn fail(&self, state: &mut State, error: Error) {
        #[cfg(feature = "tracing")]
        tracing::warn!(database = %self.database.display(), %error, "the history is not kept at the moment");
        if matches!(state, State::Keeps(_) | State::Failed(..)) {
            *state = State::Failed(error, Instant::now());
        }
    }

    /// Archives what is committed, durably, by this process or the one that keeps the history. Returns the newest state.
    ///
    /// For what must include every answered commit: a report, a bookmark, a restore, a backup. It blocks: for a sync of
    /// the log, or up to 10 s for the process that keeps the history.
    pub(in crate::sqlite) fn settle(&self) -> Result<Point> {
        {
            let mut state = self.lock();
            match &mut *state {
                State::Keeps(archiver) => {
                    let settled = archiver.archive(&self.marks).and_then(|()| archiver.sync());
                    let newest = archiver.newest();
                    return settled.map(|()| newest).inspect_err(|error| self.fail(&mut state, error.clone()));
                }
                State::Failed(error, _) => return Err(error.clone()),
                State::Follows => {}
                State::Closed => return Err(fault::no_point("the database is closed".to_owned())),
            }
        }
        let mut position = self.marks.newest();
        let mut counted_from = None;
        let start = Instant::now();
        loop {
            let index = self.index()?;
            // The position is counted as in the files that it is compared with.
            let log = index.newest_log().map(|log| log.header);
            if counted_from != Some(log) {
                if let Some(header) = &log {
                    self.marks.follow(header);
                }
                self.look_at_log()?;
                position = self.marks.newest();
                counted_from = Some(log);
            }
            let newest = index.find(Limit::Newest)?;
            if newest.position >= position {
                return Ok(newest);
            }
            if start.elapsed() >= OTHER {
                let message = "the process that keeps the history has not archived the last commits yet: try again";
                return Err(Error::new(crate::ErrorKind::Unavailable, message));
            }
            thread::sleep(LOOK);
        }
    }

    /// Counts write-ahead logs on from the newest file: the process that keeps the history may have begun it again, behind a gap.
    fn look_at_files(&self) -> Result<()> {
        let log = self.folder.entries()?.into_iter().rfind(|entry| entry.kind == Kind::Log);
        if let Some(header) = log.map(|log| Extent::header_of(&log)).transpose()?.flatten() {
            self.marks.follow(&header);
        }
        Ok(())
    }

    /// Notes what any process has committed, beside the one that keeps the history.
    fn look_at_log(&self) -> Result<()> {
        let failed = |error| fault::of_sqlite("look at the write-ahead log", &error);
        let connection = connect(&self.database).map_err(failed)?;
        let mut wal = WalFile::new(&self.database, Arc::clone(&self.folder.disk));
        if let Some(Committed { header, frames, .. }) = committed(&connection, &mut wal)?
            && frames > 0
        {
            self.marks.reach(Position::new(self.marks.generation(&header), frames));
        }
        Ok(())
    }

    /// Reads what the history has.
    pub(in crate::sqlite) fn index(&self) -> Result<Index> {
        let index = Index::read(&self.folder)?;
        index.ok_or_else(|| fault::no_point("the history has no snapshot yet: try again in a moment".to_owned()))
    }

    pub(super) fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Returns the extent of the history.
    pub(in crate::sqlite) fn report(&self) -> Result<History> {
        let settled = self.settle();
        let mut report = Index::read(&self.folder)?.map(|index| index.report()).unwrap_or_default();
        let of_snapshot = self.snapshot_failure.lock().ignore_poison().as_ref().map(|(error, _)| error.to_string());
        report.failure = settled.err().map(|error| error.to_string()).or(of_snapshot);
        Ok(report)
    }

    /// Takes a snapshot if it is time for one, and removes what is beyond the bounds then. Commits go on meanwhile, and are archived where
    /// it fails, too.
    fn take_base(&self) {
        let is_soon = |(_, since): &(Error, Instant)| since.elapsed() < SNAPSHOT_RETRY;
        if self.snapshot_failure.lock().ignore_poison().as_ref().is_some_and(is_soon) {
            return;
        }
        let taken = self.try_take_base();
        let failure = taken.err().map(|error| (error, Instant::now()));
        #[cfg(feature = "tracing")]
        if let Some((error, _)) = &failure {
            tracing::warn!(database = %self.database.display(), %error, "no snapshot could be taken for the history");
        }
        *self.snapshot_failure.lock().ignore_poison() = failure;
    }

    fn try_take_base(&self) -> Result<()> {
        let snapshot = match &mut *self.lock() {
            State::Keeps(archiver) if archiver.wants_base() => archiver.begin_base(&self.marks)?,
            _ => return Ok(()),
        };
        let base = snapshot.write(&self.folder, || self.signal.lock().ignore_poison().is_closed)?;
        if let State::Keeps(archiver) = &mut *self.lock() {
            archiver.take_base(base);
        }
        self.prune()
    }

    fn prune(&self) -> Result<()> {
        match &mut *self.lock() {
            State::Keeps(archiver) => archiver.prune(),
            _ => Ok(()),
        }
    }

    /// Archives until the database is closed.
    fn run(&self) {
        let mut pruned = Instant::now();
        while self.wait() {
            // After a panic the history is as after a failure of its disk: it is opened anew, behind a gap.
            if catch_unwind(AssertUnwindSafe(|| self.run_once(&mut pruned))).is_err() {
                let error = Error::new(ErrorKind::Internal, "the history's thread panicked");
                self.fail(&mut self.lock(), error);
            }
        }
    }

    fn run_once(&self, pruned: &mut Instant) {
        let must_begin = match &*self.lock() {
            State::Failed(_, since) => since.elapsed() >= RETRY,
            State::Follows => {
                // What cannot be read now is read the next time.
                drop(self.look_at_files());
                self.marks.look();
                true
            }
            State::Keeps(_) | State::Closed => false,
        };
        if must_begin {
            self.begin_again();
        }
        self.keep(Archiver::archive);
        self.turn_for_others();
        self.take_base();
        if pruned.elapsed() >= PRUNE {
            *pruned = Instant::now();
            self.keep(|archiver, _| archiver.prune());
        }
    }

    /// Waits for a commit, or for some time. Returns `false` when the database is closed.
    fn wait(&self) -> bool {
        let signal = self.signal.lock().ignore_poison();
        let waits = |signal: &mut Signal| !signal.is_woken && !signal.is_closed;
        let (mut signal, _) = self.signalled.wait_timeout_while(signal, TICK, waits).ignore_poison();
        if signal.is_woken && !signal.is_closed {
            let (again, _) =
                self.signalled.wait_timeout_while(signal, LINGER, |signal| !signal.is_closed).ignore_poison();
            signal = again;
        }
        signal.is_woken = false;
        !signal.is_closed
    }

    /// Tries to keep the history again, or to take it over.
    fn begin_again(&self) {
        let opened = Archiver::open(&self.database, &self.folder, &self.marks);
        let mut state = self.lock();
        match opened {
            Ok(Some(archiver)) => *state = State::Keeps(Box::new(archiver)),
            Ok(None) if matches!(*state, State::Failed(..)) => *state = State::Follows,
            Ok(None) => {}
            Err(error) => self.fail(&mut state, error),
        }
    }

    /// Ends the history's keeping.
    fn close(&self) {
        let state = std::mem::replace(&mut *self.lock(), State::Closed);
        if let State::Keeps(archiver) = state
            && let Err(_error) = archiver.close(&self.marks)
        {
            // The log that is left is archived when the database is opened next.
            #[cfg(feature = "tracing")]
            tracing::warn!(database = %self.database.display(), error = %_error, "the history was not closed in good order");
        }
    }
}

impl Keeper {
    /// Starts the thread.
    pub(in crate::sqlite) fn start(recorder: &Arc<Recorder>) -> Result<Self> {
        let runs = Arc::clone(recorder);
        let thread = thread::Builder::new().name("isobar-history".to_owned()).spawn(move || runs.run());
        let thread = thread.map_err(|error| {
            let message = format!("cannot start a thread for the history: {error}");
            Error::new(crate::ErrorKind::Unavailable, message).with_source(error)
        })?;
        Ok(Self { recorder: Arc::clone(recorder), thread: Some(thread) })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.recorder.signal.lock().ignore_poison().is_closed = true;
        self.recorder.signalled.notify_all();
        if let Some(thread) = self.thread.take() {
            // One that has panicked has ended, too.
            drop(thread.join());
        }
        self.recorder.close();
    }
}
