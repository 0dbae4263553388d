//! The group commit: one thread writes, another makes durable, and what has come meanwhile shares one transaction and one sync.
//!
//! A job checks and writes inside the transaction, so that its decision and its effect are one. A committed transaction is in
//! SQLite's log, and not yet on the disk: the connection does not sync (`synchronous = NORMAL`; a checkpoint does, before it
//! touches the database). The thread that syncs does, and then answers; meanwhile the next transaction is written. So an answer
//! means durable, and answers come in the order of the transactions.
//!
//! A job that fails after it has written something takes the transaction with it, and every job of the batch is done again by
//! itself: one's failure is nobody else's. When the log cannot be synced, nobody knows any more what of it is on the disk:
//! nothing is written then until the store is opened anew.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread::JoinHandle;

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::oneshot;

use super::disk::{Disk, DiskFile};
use super::index::{Fault, Result};
use crate::{Error, ErrorKind};

/// Jobs of one transaction, so that the first of them does not wait long for the last.
const BATCH: usize = 256;
/// Hands jobs to the thread that writes.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: Option<Sender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
}

/// The log of the index, to sync.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) path: PathBuf,
    pub(super) disk: Arc<dyn Disk>,
}

type Batch = Vec<Box<dyn Job>>;

impl Writer {
    /// Starts the threads; `after` runs on the writing one after every transaction, `told` before anybody hears of it.
    pub(super) fn start(
        connection: Connection,
        log: Log,
        after: impl FnMut(&mut Connection) + Send + 'static,
        told: impl Fn() + Send + 'static,
    ) -> crate::Result<Self> {
        let failed = |error| Error::io("cannot start the threads that write", error);
        let (jobs, queue) = mpsc::channel();
        // One may wait in between: whoever is slower sets the pace, and what comes meanwhile makes the next batch larger.
        let (commits, committed) = mpsc::sync_channel(1);
        let is_lost = Arc::new(AtomicBool::new(false));
        let lost = Arc::clone(&is_lost);
        let syncing = std::thread::Builder::new().name("isobar-sync".to_owned());
        let syncing = syncing.spawn(move || sync(&log, &committed, &lost, told)).map_err(failed)?;
        let writing = std::thread::Builder::new().name("isobar-write".to_owned());
        let thread = writing.spawn(move || {
            write(connection, &queue, &commits, &is_lost, after);
            drop(commits);
            drop(syncing.join());
        });
        Ok(Self { jobs: Some(jobs), thread: Some(thread.map_err(failed)?) })
    }

    /// Runs `work` in a transaction, perhaps with others', perhaps more than once; its value when that is durable. Dropped
    /// while it waits, it is done all the same.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl Fn(&Transaction<'_>) -> Result<T> + Send + 'static,
    ) -> crate::Result<T> {
        let (answer, answered) = oneshot::channel();
        let job = Waiting { work, result: None, answer };
        let gone = || Error::new(ErrorKind::Internal, "the thread that writes has ended");
        self.jobs.as_ref().ok_or_else(gone)?.send(Box::new(job)).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

impl Drop for Writer {
    /// Waits for what was handed over: a store that is closed leaves no transaction behind.
    fn drop(&mut self) {
        self.jobs = None;
        // A job may have held the last handle of the store: a thread cannot wait for itself, nor for the one before it.
        let is_ours = std::thread::current().name().is_some_and(|name| name == "isobar-write" || name == "isobar-sync");
        if let Some(thread) = self.thread.take().filter(|_| !is_ours) {
            drop(thread.join());
        }
    }
}

trait Job: Send {
    /// Does the work, whatever came of it before; whether it succeeded.
    fn run(&mut self, transaction: &Transaction<'_>) -> bool;
    /// Tells whoever waits what has come of it.
    fn settle(self: Box<Self>, committed: Result<(), Error>);
}

struct Waiting<T, W> {
    work: W,
    result: Option<Result<T>>,
    answer: oneshot::Sender<crate::Result<T>>,
}

impl<T: Send, W: Fn(&Transaction<'_>) -> Result<T> + Send> Job for Waiting<T, W> {
    fn run(&mut self, transaction: &Transaction<'_>) -> bool {
        let result = (self.work)(transaction);
        let is_ok = result.is_ok();
        self.result = Some(result);
        is_ok
    }

    fn settle(self: Box<Self>, committed: Result<(), Error>) {
        let never = || Fault::Ours(Error::new(ErrorKind::Internal, "the job was not run"));
        let outcome = match committed {
            Ok(()) => self.result.unwrap_or_else(|| Err(never())).map_err(Error::from),
            Err(error) => Err(error),
        };
        drop(self.answer.send(outcome)); // who does not wait any more has what was asked for
    }
}

fn write(
    mut connection: Connection,
    queue: &Receiver<Box<dyn Job>>,
    commits: &SyncSender<Batch>,
    is_lost: &AtomicBool,
    mut after: impl FnMut(&mut Connection),
) {
    while let Ok(first) = queue.recv() {
        let batch: Batch = std::iter::once(first).chain(queue.try_iter().take(BATCH - 1)).collect();
        if is_lost.load(Ordering::Acquire) {
            settle(batch, Err(&lost()));
        } else {
            commit(&mut connection, batch, commits);
            after(&mut connection);
        }
    }
}

/// Runs the jobs and hands them on, to be answered when they are durable.
fn commit(connection: &mut Connection, mut batch: Batch, commits: &SyncSender<Batch>) {
    let transaction = match connection.transaction_with_behavior(TransactionBehavior::Immediate) {
        Ok(transaction) => transaction,
        // Another process has held the lock for too long: one by one it would be as long again for each.
        Err(error) => return settle(batch, Err(&Fault::from(error).into())),
    };
    match together(transaction, &mut batch) {
        Ok(()) => drop(commits.send(batch)),
        Err(error) if batch.len() == 1 => settle(batch, Err(&error)),
        Err(_) => batch.into_iter().for_each(|job| commit(connection, vec![job], commits)),
    }
}

/// Runs the jobs in one transaction. An error means that nothing of any of them remains.
fn together(transaction: Transaction<'_>, batch: &mut [Box<dyn Job>]) -> crate::Result<()> {
    let run = || -> Result<()> {
        let is_alone = batch.len() == 1;
        for job in batch {
            let before = transaction.total_changes();
            let has_failed = !job.run(&transaction);
            if has_failed && is_alone {
                return Ok(()); // rolled back; the job itself knows why
            }
            // SQLite itself gives a transaction up where the disk is full or broken.
            let is_over = transaction.is_autocommit();
            if has_failed && (is_over || transaction.total_changes() != before) {
                return Err(Error::new(ErrorKind::Internal, "a job failed half way").into());
            }
        }
        Ok(transaction.commit()?)
    };
    Ok(run()?)
}

/// Makes durable what was committed, and answers.
fn sync(log: &Log, committed: &Receiver<Batch>, is_lost: &AtomicBool, told: impl Fn()) {
    let mut file = None;
    while let Ok(batch) = committed.recv() {
        let synced = match is_lost.load(Ordering::Acquire) {
            false => log.sync(&mut file),
            true => Err(lost()),
        };
        if synced.is_err() {
            is_lost.store(true, Ordering::Release);
        }
        told();
        settle(batch, synced.as_ref().copied());
    }
}

impl Log {
    fn sync(&self, file: &mut Option<Box<dyn DiskFile>>) -> crate::Result<()> {
        let failed = |error| Error::io(format_args!("cannot sync {}", self.path.display()), error);
        if let Some(file) = file {
            return file.sync().map_err(failed);
        }
        // The log is there from the first transaction on, and stays as long as a connection is open.
        let mut opened = self.disk.open(&self.path).map_err(failed)?;
        opened.sync().map_err(failed)?;
        self.disk.sync_folder(self.path.parent().unwrap_or(&self.path)).map_err(failed)?;
        *file = Some(opened);
        Ok(())
    }
}

fn lost() -> Error {
    let what = "the disk has failed to keep what was written to it: open the store anew, and see what is there (fsck)";
    Error::new(ErrorKind::Internal, what)
}

fn settle(batch: Batch, outcome: Result<(), &Error>) {
    batch.into_iter().for_each(|job| job.settle(outcome.map_err(again)));
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
    use std::time::{Duration, Instant};

    use futures_util::future::join_all;

    use super::*;
    use crate::local::SystemDisk;

    /// A writer of a new database with one table, which waits for its lock for this long.
    fn writer(folder: &Path, patience: Duration) -> Writer {
        let path = folder.join("index.db");
        let connection = Connection::open(&path).expect("a new database");
        let sql = "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; CREATE TABLE t (n INTEGER)";
        connection.execute_batch(sql).expect("a new table");
        connection.busy_timeout(patience).expect("a time");
        let log = Log { path: path.with_extension("db-wal"), disk: Arc::new(SystemDisk) };
        Writer::start(connection, log, |_| {}, || {}).expect("two threads")
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

    fn failure() -> Fault {
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
