//! The group commit: one thread writes, and what has come meanwhile shares one transaction and one sync.
//!
//! A job checks and writes inside the transaction, so that its decision and its effect are one. What jobs put is in the
//! transaction's frame, which is synced before the commit: nobody sees it before it is durable, and the index itself need not be
//! synced (`synchronous = NORMAL`; a checkpoint does, before it touches the database). Deletions and the names of blobs are in
//! frames, too. What is in no frame - an upload, a part - is in SQLite's log, which is synced after the commit, before anybody is
//! answered.
//!
//! The frame is written before the rows of its puts, so that the disk has begun when the sync comes.
//!
//! A job that fails after it has written something takes the transaction with it, and every job of the batch is done again by
//! itself: one's failure is nobody else's. So it is with a commit that fails: SQLite takes it back, and the next transaction begins
//! as if it had not been. When something cannot be synced, nobody knows any more what of it is on the disk: nothing is written then
//! until the store is opened anew, whoever has tried to sync, SQLite itself included. (A blob that cannot be synced fails its put
//! alone: nothing that was acknowledged is in it, and nothing names it.)

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;

use bytes::Bytes;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::oneshot;

use super::blobs::{Segment, sync_folder};
use super::disk::{Disk, DiskFile};
use super::index::{Content, Result, TxError, packs, replace};
use super::packs::{Appender, NewFrame, Note, Packs, Place, Tail, head_of};
use crate::{Error, ErrorKind, Key, ObjectMeta};

/// Jobs of one transaction, so that the first of them does not wait long for the last.
const BATCH: usize = 256;

/// Hands jobs to the thread that writes.
#[derive(Debug)]
pub(super) struct Writer {
    /// Whether a sync has failed.
    is_lost: Arc<AtomicBool>,
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

/// What is done between two transactions.
pub(super) type After = Box<dyn FnMut(&mut Connection, &mut Log) + Send>;

/// What else is done on the thread that writes.
pub(super) struct Hooks {
    /// With every transaction, which will still put so many bytes, before they are in its frame.
    pub(super) before: fn(&mut Batch<'_>, usize) -> Result<()>,
    /// After every transaction.
    pub(super) after: After,
    /// When something is durable, before anybody hears of it.
    pub(super) told: Box<dyn Fn() + Send>,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(connection: Connection, appender: Appender, log: Log, hooks: Hooks) -> crate::Result<Self> {
        let (jobs, queue) = mpsc::channel();
        let is_lost = Arc::new(AtomicBool::new(false));
        let desk = Desk { connection, appender, log, hooks, is_lost: Arc::clone(&is_lost) };
        let thread = std::thread::Builder::new().name(THREAD.to_owned()).spawn(move || desk.serve(&queue));
        let thread = thread.map_err(|error| Error::io("cannot start the thread that writes", error))?;
        Ok(Self { is_lost, jobs: Some(jobs), thread: Some(thread) })
    }

    /// An error where no write will be taken any more.
    pub(super) fn health(&self) -> crate::Result<()> {
        if self.is_lost.load(Ordering::Acquire) {
            return Err(lost());
        }
        match &self.thread {
            Some(thread) if !thread.is_finished() => Ok(()),
            _ => Err(gone()),
        }
    }

    /// Puts an object, whatever is there, as [`write`](Self::write) does.
    pub(super) async fn put(&self, meta: ObjectMeta, body: Bytes) -> crate::Result<()> {
        let (answer, answered) = oneshot::channel();
        let (head, crc) = (head_of(&meta)?, crc32fast::hash(&body));
        self.send(Job::Put(Box::new(Put { meta, head, body, crc, result: Ok(()), answer })))?;
        answered.await.map_err(|_| gone())?
    }

    /// Runs `work` in a transaction, perhaps with others', perhaps more than once; its value when that is durable. Dropped
    /// while it waits, it is done all the same.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl Fn(&mut Batch<'_>) -> Result<T> + Send + 'static,
    ) -> crate::Result<T> {
        let (answer, answered) = oneshot::channel();
        self.send(Job::Other(Box::new(Waiting { work, result: None, answer })))?;
        answered.await.map_err(|_| gone())?
    }

    fn send(&self, job: Job) -> crate::Result<()> {
        self.jobs.as_ref().ok_or_else(gone)?.send(job).map_err(|_| gone())
    }
}

fn gone() -> Error {
    Error::new(ErrorKind::Internal, "the thread that writes has ended")
}

const THREAD: &str = "isobar-write";

impl Drop for Writer {
    /// Waits for what was handed over: a store that is closed leaves no transaction behind.
    fn drop(&mut self) {
        self.jobs = None;
        // A job may have held the last handle of the store: a thread cannot wait for itself.
        let is_ours = std::thread::current().name() == Some(THREAD);
        if let Some(thread) = self.thread.take().filter(|_| !is_ours) {
            drop(thread.join());
        }
    }
}

/// A transaction, and the frame of what is put in it.
pub(super) struct Batch<'d> {
    transaction: Transaction<'d>,
    packs: &'d Packs,
    frame: Option<NewFrame>,
    /// Whether the frame says all that was changed.
    is_logged: bool,
    /// Packs to be removed when the transaction is durable.
    dead: Vec<u64>,
}

impl<'d> Deref for Batch<'d> {
    type Target = Transaction<'d>;

    fn deref(&self) -> &Self::Target {
        &self.transaction
    }
}

impl Batch<'_> {
    /// Puts an object into the frame; where its body will lie. Whoever does so says with it all that he changes: it is what is done
    /// again if the index forgets.
    pub(super) fn log(&mut self, meta: &ObjectMeta, body: &[u8]) -> Result<Place> {
        Ok(self.frame()?.push(&head_of(meta)?, body, crc32fast::hash(body))?)
    }

    /// Puts the names of a large object's blobs into the frame, as [`log`](Self::log) does a body; the pack that the frame is in.
    pub(super) fn name(&mut self, object: &ObjectMeta, segments: &[Segment]) -> Result<u64> {
        let note = Note::Named { object: object.clone(), segments: segments.to_vec() };
        Ok(self.frame()?.note(&note)?)
    }

    /// Puts a deletion into the frame, as [`log`](Self::log) does a body.
    pub(super) fn log_deletion(&mut self, key: &Key) -> Result<()> {
        self.frame()?.note(&Note::Deleted { key: key.clone() })?;
        Ok(())
    }

    /// Something was changed that the frame does not say, besides what it says: the index is synced.
    pub(super) fn changes_more(&mut self) {
        self.is_logged = false;
    }

    fn frame(&mut self) -> Result<&mut NewFrame> {
        Ok(match &mut self.frame {
            Some(frame) => frame,
            none => {
                let tail = self.packs.place_of(packs::tail(&self.transaction)?)?;
                packs::begin(&self.transaction, tail)?;
                none.insert(NewFrame::begin(tail)?)
            }
        })
    }

    /// A small body, which may have been put by this very transaction.
    pub(super) fn body(&self, place: Place) -> Result<Bytes> {
        if let Some(body) = self.frame.as_ref().and_then(|frame| frame.body(place)) {
            return Ok(Bytes::copy_from_slice(body));
        }
        Ok(self.packs.read_verified(place)?.ok_or_else(|| self.packs.missing(place))?)
    }

    /// Removes a pack when the index has forgotten it for good.
    pub(super) fn remove_pack(&mut self, pack: u64) {
        self.dead.push(pack);
    }

    pub(super) fn packs(&self) -> &Packs {
        self.packs
    }

    pub(super) fn frame_bytes(&self) -> usize {
        self.frame.as_ref().map_or(0, NewFrame::length)
    }

    /// Something that changes when anything was changed, and something that changes when anything was logged.
    fn state(&self) -> (u64, usize) {
        (self.transaction.total_changes(), self.frame.as_ref().map_or(0, NewFrame::records))
    }
}

enum Job {
    /// A put without conditions: it is known what it will be, whatever is there.
    Put(Box<Put>),
    Other(Box<dyn Work>),
}

struct Put {
    meta: ObjectMeta,
    head: Vec<u8>,
    body: Bytes,
    crc: u32,
    result: Result<()>,
    answer: oneshot::Sender<crate::Result<()>>,
}

trait Work: Send {
    /// Does it, whatever came of it before; whether it succeeded.
    fn run(&mut self, batch: &mut Batch<'_>) -> bool;
    /// Tells whoever waits what has come of it.
    fn settle(self: Box<Self>, committed: Result<(), Error>);
}

struct Waiting<T, W> {
    work: W,
    result: Option<Result<T>>,
    answer: oneshot::Sender<crate::Result<T>>,
}

impl<T: Send, W: Fn(&mut Batch<'_>) -> Result<T> + Send> Work for Waiting<T, W> {
    fn run(&mut self, batch: &mut Batch<'_>) -> bool {
        let result = (self.work)(batch);
        let is_ok = result.is_ok();
        self.result = Some(result);
        is_ok
    }

    fn settle(self: Box<Self>, committed: Result<(), Error>) {
        let never = || TxError::Ours(Error::new(ErrorKind::Internal, "the job was not run"));
        let result = self.result.unwrap_or_else(|| Err(never()));
        drop(self.answer.send(committed.and(result.map_err(Error::from)))); // who does not wait any more has what was asked for
    }
}

/// Jobs of one transaction.
#[derive(Default)]
struct Jobs {
    others: Vec<Box<dyn Work>>,
    puts: Vec<Put>,
}

impl FromIterator<Job> for Jobs {
    fn from_iter<I: IntoIterator<Item = Job>>(all: I) -> Self {
        let mut jobs = Self::default();
        for job in all {
            match job {
                Job::Put(put) => jobs.puts.push(*put),
                Job::Other(work) => jobs.others.push(work),
            }
        }
        jobs
    }
}

impl Jobs {
    fn len(&self) -> usize {
        self.others.len() + self.puts.len()
    }

    fn into_each(self) -> impl Iterator<Item = Job> {
        self.others.into_iter().map(Job::Other).chain(self.puts.into_iter().map(|put| Job::Put(Box::new(put))))
    }

    fn settle(self, outcome: Result<(), &Error>) {
        for work in self.others {
            work.settle(outcome.map_err(again));
        }
        for put in self.puts {
            drop(put.answer.send(outcome.map_err(again).and(put.result.map_err(Error::from))));
        }
    }
}

/// What the thread that writes has.
struct Desk {
    connection: Connection,
    appender: Appender,
    log: Log,
    hooks: Hooks,
    /// Whether a sync has failed.
    is_lost: Arc<AtomicBool>,
}

/// Why nothing of a transaction remains, or nobody knows what.
enum Failure {
    /// A job has failed half way: nothing remains but, perhaps, a frame that the next transaction writes over.
    Job,
    /// The transaction could not be made durable: as above.
    Undone(Error),
    /// Nobody knows.
    Lost(Error),
}

impl Desk {
    fn serve(mut self, queue: &Receiver<Job>) {
        while let Ok(first) = queue.recv() {
            self.commit(std::iter::once(first).chain(queue.try_iter().take(BATCH - 1)).collect());
            if !self.is_lost() {
                (self.hooks.after)(&mut self.connection, &mut self.log);
                if self.log.has_failed {
                    self.lose();
                }
            }
        }
    }

    fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Acquire)
    }

    fn lose(&self) {
        self.is_lost.store(true, Ordering::Release);
    }

    /// Runs the jobs in one transaction, or else each in its own, and answers when they are durable.
    fn commit(&mut self, mut jobs: Jobs) {
        if self.is_lost() {
            return jobs.settle(Err(&lost()));
        }
        // What could not be rolled back when it failed is now: otherwise no transaction could begin any more.
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            return jobs.settle(Err(&TxError::from(error).into()));
        }
        let is_alone = jobs.len() == 1;
        let Self { connection, appender, log, hooks, .. } = self;
        let transaction = match connection.transaction_with_behavior(TransactionBehavior::Immediate) {
            Ok(transaction) => transaction,
            // Another process has held the lock for too long: one by one it would be as long again for each.
            Err(error) => return jobs.settle(Err(&TxError::from(error).into())),
        };
        match together(transaction, appender, log, hooks.before, &mut jobs) {
            Ok(()) => {
                (hooks.told)();
                jobs.settle(Ok(()));
            }
            Err(Failure::Lost(error)) => {
                self.is_lost.store(true, Ordering::Release);
                (hooks.told)();
                jobs.settle(Err(&error));
            }
            Err(Failure::Job) if is_alone => jobs.settle(Ok(())), // it knows itself
            Err(Failure::Undone(error)) if is_alone => jobs.settle(Err(&error)),
            Err(Failure::Job | Failure::Undone(_)) => {
                jobs.into_each().for_each(|job| self.commit(std::iter::once(job).collect()));
            }
        }
    }
}

/// Runs the jobs in one transaction and makes it durable.
fn together(
    transaction: Transaction<'_>,
    appender: &mut Appender,
    log: &mut Log,
    before: impl FnOnce(&mut Batch<'_>, usize) -> Result<()>,
    jobs: &mut Jobs,
) -> Result<(), Failure> {
    let packs = appender.packs().clone();
    let mut batch = Batch { transaction, packs: &packs, frame: None, is_logged: true, dead: Vec::new() };
    for work in &mut jobs.others {
        batch.run(&mut **work)?;
    }
    before(&mut batch, jobs.puts.iter().map(|put| put.head.len() + put.body.len()).sum())?;
    let places = jobs.puts.iter().map(|put| batch.push(put)).collect::<Result<Vec<Place>>>()?;
    batch.cover()?;
    let written = batch.write(appender)?;
    for (put, place) in jobs.puts.iter_mut().zip(places) {
        put.result = replace(&batch, &put.meta, &Content::Packed(place), put.meta.uploaded);
        if put.result.is_err() {
            return Err(Failure::Job); // its frame says that it is done
        }
    }
    if let Some(tail) = written {
        appender.sync(tail).map_err(Failure::Lost)?;
    }
    let Batch { transaction, is_logged, dead, .. } = batch;
    transaction.commit().map_err(uncommitted)?;
    if !is_logged || !dead.is_empty() {
        log.sync().map_err(Failure::Lost)?;
    }
    for pack in dead {
        if let Err(_error) = packs.remove(pack) {
            #[cfg(feature = "tracing")]
            tracing::warn!(error = %_error, "a pack is left to the sweep");
        }
    }
    Ok(())
}

/// Why a commit has failed. SQLite has taken it back, but where it was a sync that failed, what was committed before may be lost with
/// it: the log begins anew in a file that has to be durable.
fn uncommitted(error: rusqlite::Error) -> Failure {
    use rusqlite::ffi::{SQLITE_IOERR_DIR_FSYNC, SQLITE_IOERR_FSYNC};
    match error.sqlite_error().map(|error| error.extended_code) {
        Some(SQLITE_IOERR_FSYNC | SQLITE_IOERR_DIR_FSYNC) => Failure::Lost(TxError::from(error).into()),
        _ => error.into(),
    }
}

impl Batch<'_> {
    fn push(&mut self, put: &Put) -> Result<Place> {
        Ok(self.frame()?.push(&put.head, &put.body, put.crc)?)
    }

    /// Runs a job that is no plain put. An error means that it has failed half way; one that fails before it has changed anything
    /// is nobody's trouble.
    fn run(&mut self, work: &mut dyn Work) -> Result<(), Failure> {
        let before = self.state();
        let is_done = work.run(self);
        let after = self.state();
        // SQLite itself gives a transaction up where the disk is full or broken.
        if !is_done && (self.is_autocommit() || after != before) {
            return Err(Failure::Job);
        }
        // One that has changed nothing may have seen what another process has not made durable yet.
        self.is_logged &= after.1 != before.1;
        Ok(())
    }

    /// Sees to it that no frame follows that is none of ours: one that was written by a transaction which never came to its commit
    /// would do again, after the next crash, what this one may undo. Where this one has no frame to take its place, an empty one
    /// does.
    fn cover(&mut self) -> Result<(), Failure> {
        if self.frame.is_some() {
            return Ok(());
        }
        let tail = packs::tail(&self.transaction)?;
        if let Some((tail, _)) = self.packs.follower(tail).map_err(TxError::from)? {
            packs::begin(&self.transaction, tail)?;
            self.frame = Some(NewFrame::begin(tail).map_err(TxError::from)?);
        }
        Ok(())
    }

    /// Writes the frame of what was put, if anything was; where it begins.
    fn write(&mut self, appender: &mut Appender) -> Result<Option<Tail>, Failure> {
        let Some(mut frame) = self.frame.take() else { return Ok(None) };
        let (tail, bytes) = frame.sealed();
        appender.write(tail, bytes).map_err(Failure::Undone)?;
        packs::advance(&self.transaction, frame.next(), frame.weight())?;
        Ok(Some(tail))
    }
}

/// The log of the index.
pub(super) struct Log {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    file: Option<Box<dyn DiskFile>>,
    /// Whether its name is durable.
    is_named: bool,
    /// Whether a sync has failed: that a later one does not says nothing of what the first has lost.
    has_failed: bool,
}

impl Log {
    /// The log, if it is there already.
    pub(super) fn open(path: PathBuf, disk: Arc<dyn Disk>) -> crate::Result<Self> {
        let file = match disk.open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            opened => Some(opened.map_err(|error| Error::io(format_args!("cannot open {}", path.display()), error))?),
        };
        Ok(Self { path, disk, file, is_named: false, has_failed: false })
    }

    /// Makes durable what was committed. Never again, once it has failed.
    pub(super) fn sync(&mut self) -> crate::Result<()> {
        if self.has_failed {
            return Err(lost());
        }
        let synced = self.try_sync();
        self.has_failed = synced.is_err();
        synced
    }

    fn try_sync(&mut self) -> crate::Result<()> {
        let failed = |error| Error::io(format_args!("cannot sync {}", self.path.display()), error);
        // The log is there from the first transaction on, and stays as long as a connection is open.
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(self.disk.open(&self.path).map_err(failed)?),
        };
        file.sync().map_err(failed)?;
        if !self.is_named {
            sync_folder(&*self.disk, self.path.parent().unwrap_or(&self.path))?;
            self.is_named = true;
        }
        Ok(())
    }
}

impl From<TxError> for Failure {
    fn from(fault: TxError) -> Self {
        Self::Undone(fault.into())
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        TxError::from(error).into()
    }
}

fn lost() -> Error {
    let what = "the disk has failed to keep what was written to it: open the store anew, and see what is there (fsck)";
    Error::new(ErrorKind::Internal, what)
}

/// The same error for each of those it befell.
fn again(error: &Error) -> Error {
    let copy = Error::new(error.kind(), error.message());
    match error.code() {
        Some(code) => copy.with_code(code),
        None => copy,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    use futures_util::future::join_all;

    use super::*;
    use crate::local::SystemDisk;

    /// A writer of a new database with one table, which waits for its lock for this long.
    fn writer(folder: &Path, patience: Duration) -> Writer {
        let path = folder.join("index.db");
        let connection = Connection::open(&path).expect("a new database");
        let sql = "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; CREATE TABLE t (n INTEGER);
            CREATE TABLE packs (id, bytes, last); INSERT INTO packs VALUES (1, 0, 7)";
        connection.execute_batch(sql).expect("a new table");
        connection.busy_timeout(patience).expect("a time");
        let log = Log::open(path.with_extension("db-wal"), Arc::new(SystemDisk)).expect("it is there");
        let appender = Appender::new(Packs::new(&folder.join("packs"), Arc::new(SystemDisk), 1 << 20));
        let hooks = Hooks { before: |_, _| Ok(()), after: Box::new(|_, _| {}), told: Box::new(|| {}) };
        Writer::start(connection, appender, log, hooks).expect("a thread")
    }

    /// Runs `work` with 0 to 9 as jobs of one batch: they are all there before the job in front of them is over.
    async fn together(writer: &Writer, work: fn(&Transaction<'_>, i64) -> Result<()>) -> Vec<bool> {
        let (gate, was_held) = (Arc::new(Barrier::new(2)), Arc::new(AtomicBool::new(false)));
        let (opens, waits) = (Arc::clone(&gate), gate);
        let held = writer.write(move |_| {
            if !was_held.swap(true, Ordering::SeqCst) {
                waits.wait();
            }
            Ok(())
        });
        let jobs = join_all((0..10).map(|number| writer.write(move |transaction| work(transaction, number))));
        let open = async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            opens.wait();
        };
        let (held, jobs, ()) = tokio::join!(held, jobs, open);
        held.expect("it does nothing");
        jobs.into_iter().map(|job| job.is_ok()).collect()
    }

    fn insert(transaction: &Transaction<'_>, number: i64) -> Result<()> {
        transaction.execute("INSERT INTO t VALUES (?)", [number])?;
        Ok(())
    }

    fn rows(folder: &Path) -> Vec<i64> {
        let connection = Connection::open(folder.join("index.db")).expect("the database");
        let mut statement = connection.prepare("SELECT n FROM t ORDER BY n").expect("the table");
        let rows = statement.query_map([], |row| row.get(0)).expect("rows").collect::<rusqlite::Result<_>>();
        rows.expect("numbers")
    }

    fn failure() -> TxError {
        Error::new(ErrorKind::InvalidArgument, "as the test wants it").into()
    }

    #[tokio::test]
    async fn a_job_that_fails_half_way_leaves_nothing_and_takes_nobody_with_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let writer = writer(folder.path(), Duration::from_secs(1));
        let outcomes = together(&writer, |transaction, number| {
            insert(transaction, number)?;
            if number % 3 == 0 { Err(failure()) } else { Ok(()) }
        });
        let expected: Vec<bool> = (0..10).map(|number| number % 3 != 0).collect();
        assert_eq!(outcomes.await, expected);
        assert_eq!(rows(folder.path()), [1, 2, 4, 5, 7, 8]);
    }

    #[tokio::test]
    async fn a_transaction_that_sqlite_gives_up_is_done_again_and_nothing_twice() {
        let folder = tempfile::tempdir().expect("a folder");
        let writer = writer(folder.path(), Duration::from_secs(1));
        let outcomes = together(&writer, |transaction, number| {
            if number == 5 {
                // As SQLite does by itself where the disk is full: nothing was changed, and nothing is left.
                transaction.execute_batch("ROLLBACK")?;
                return Err(failure());
            }
            insert(transaction, number)
        });
        assert_eq!(outcomes.await, (0..10).map(|number| number != 5).collect::<Vec<_>>());
        assert_eq!(rows(folder.path()), [0, 1, 2, 3, 4, 6, 7, 8, 9]);
    }

    #[tokio::test]
    async fn a_lock_that_is_not_had_is_waited_for_once_by_all() {
        let folder = tempfile::tempdir().expect("a folder");
        let patience = Duration::from_millis(300);
        let writer = writer(folder.path(), patience);
        let other = Connection::open(folder.path().join("index.db")).expect("the database");
        other.execute_batch("BEGIN IMMEDIATE").expect("nobody else writes");
        let from = Instant::now();
        let jobs = (0..50).map(|number| writer.write(move |transaction| insert(transaction, number)));
        let outcomes = join_all(jobs).await;
        let kinds = outcomes.into_iter().map(|outcome| outcome.expect_err("it has no lock").kind());
        assert!(kinds.into_iter().all(|kind| kind == ErrorKind::Unavailable));
        // Those that came together wait together, however many batches the first of them made.
        assert!(from.elapsed() < patience * 6, "{:?}", from.elapsed());
        other.execute_batch("ROLLBACK").expect("it has begun");
        writer.write(|transaction| insert(transaction, 1)).await.expect("the lock is free");
        assert_eq!(rows(folder.path()), [1]);
    }
}
