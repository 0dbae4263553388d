//! The thread that commits.
//!
//! One turn: take the tasks that wait, at most 256; begin a transaction; run the tasks that check and write; let compaction add
//! what it relocates; add the small bodies; write the frame, then the rows that say where the bodies lie; sync the pack; commit.
//! Tasks are answered after that, and their future completes when what they did is durable.
//!
//! | failure | consequence |
//! |---|---|
//! | the lock of another process | all tasks of the turn fail: one by one it would last as long for each |
//! | a task, after it has written | rolled back; each task runs again in a transaction of its own |
//! | the commit | the same |
//! | a sync, of the pack, the log, or within SQLite | the store is poisoned: every further write fails until it is opened anew |
//!
//! After a failed sync a second one proves nothing: the kernel may have dropped the pages that it could not write, and then
//! reports success.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::batch::{Batch, Failure, Written};
use super::task::{Tasks, WriteTask};
use super::wal::Wal;
use super::{Hooks, poisoned};
use crate::local::index::{Content, Result, TxError, replace};
use crate::local::packs::{Appender, PackLocation, Packs};

/// Tasks of one transaction at most, so that the first of them does not wait long for the last.
const BATCH: usize = 256;

/// The state of the commit thread.
pub(super) struct CommitThread {
    connection: Connection,
    appender: Appender,
    wal: Wal,
    hooks: Hooks,
    /// Whether a sync has failed.
    is_poisoned: Arc<AtomicBool>,
}

impl CommitThread {
    pub(super) fn new(
        connection: Connection,
        appender: Appender,
        wal: Wal,
        hooks: Hooks,
        is_poisoned: Arc<AtomicBool>,
    ) -> Self {
        Self { connection, appender, wal, hooks, is_poisoned }
    }

    pub(super) fn serve(mut self, queue: &Receiver<WriteTask>) {
        while let Ok(first) = queue.recv() {
            self.commit(std::iter::once(first).chain(queue.try_iter().take(BATCH - 1)).collect());
            if !self.is_poisoned() {
                (self.hooks.after)(&mut self.connection, &mut self.wal);
                if self.wal.has_failed() {
                    self.poison();
                }
            }
        }
    }

    fn is_poisoned(&self) -> bool {
        self.is_poisoned.load(Ordering::Acquire)
    }

    fn poison(&self) {
        self.is_poisoned.store(true, Ordering::Release);
    }

    /// Runs the tasks in one transaction, or else each in its own, and answers when they are durable.
    fn commit(&mut self, mut tasks: Tasks) {
        if self.is_poisoned() {
            return tasks.settle(Err(&poisoned()));
        }
        // A transaction that could not be rolled back when it failed is rolled back now: no other could begin beside it.
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            return tasks.settle(Err(&TxError::from(error).into()));
        }
        let is_alone = tasks.len() == 1;
        let Self { connection, appender, wal, hooks, .. } = self;
        let transaction = match connection.transaction_with_behavior(TransactionBehavior::Immediate) {
            Ok(transaction) => transaction,
            // Another process has held the lock for too long: one by one it would be as long again for each.
            Err(error) => return tasks.settle(Err(&TxError::from(error).into())),
        };
        match commit_batch(transaction, appender, wal, hooks.before, &mut tasks) {
            Ok(dead) => {
                (hooks.committed)();
                // The commit is durable: a failure concerns what comes next.
                if remove_packs(appender.packs(), dead).is_err() {
                    self.is_poisoned.store(true, Ordering::Release);
                }
                tasks.settle(Ok(()));
            }
            Err(Failure::Poisoned(error)) => {
                self.is_poisoned.store(true, Ordering::Release);
                (hooks.committed)();
                tasks.settle(Err(&error));
            }
            Err(Failure::Task) if is_alone => tasks.settle(Ok(())), // its own result is the error
            Err(Failure::Undone(error)) if is_alone => tasks.settle(Err(&error)),
            Err(Failure::Task | Failure::Undone(_)) => {
                tasks.into_each().for_each(|task| self.commit(std::iter::once(task).collect()));
            }
        }
    }
}

/// Runs the tasks in one transaction and makes it durable. Returns the packs that the index has forgotten with it.
fn commit_batch(
    transaction: Transaction<'_>,
    appender: &mut Appender,
    wal: &mut Wal,
    before: impl FnOnce(&mut Batch<'_>, usize) -> Result<()>,
    tasks: &mut Tasks,
) -> Result<Vec<u64>, Failure> {
    let packs = appender.packs().clone();
    let mut batch = Batch::new(transaction, &packs);
    for work in &mut tasks.others {
        batch.run(|batch| work.run(batch))?;
    }
    before(&mut batch, tasks.puts.iter().map(|put| put.head.len() + put.body.len()).sum())?;
    let places = tasks
        .puts
        .iter()
        .map(|put| batch.push(&put.head, &put.body, put.crc))
        .collect::<Result<Vec<PackLocation>>>()?;
    batch.fence_stale_frame()?;
    let written = batch.write(appender)?;
    for (put, place) in tasks.puts.iter_mut().zip(places) {
        put.result = replace(&batch, &put.meta, &Content::Packed(place), put.meta.uploaded);
        if put.result.is_err() {
            return Err(Failure::Task); // its frame says that it is done
        }
    }
    if let Some(tail) = written {
        appender.sync(tail).map_err(Failure::Poisoned)?;
    }
    let Written { transaction, is_logged, dead } = batch.into_written();
    transaction.commit().map_err(uncommitted)?;
    if !is_logged || !dead.is_empty() {
        wal.sync().map_err(Failure::Poisoned)?;
    }
    Ok(dead)
}

/// Removes packs that the index has forgotten, the oldest first, each durably before the next: a later one may have the deletion of
/// what is in an earlier one.
///
/// # Errors
/// That of the folder's sync: which packs there are after a crash is unknown.
fn remove_packs(packs: &Packs, mut dead: Vec<u64>) -> crate::Result<()> {
    dead.sort_unstable();
    dead.dedup();
    for pack in dead {
        if let Err(_error) = packs.remove(pack) {
            #[cfg(feature = "tracing")]
            tracing::warn!(error = %_error, "a pack is left to the next removal");
            break;
        }
        packs.sync_names()?;
    }
    Ok(())
}

/// Why a commit has failed. SQLite has rolled it back, but where a sync has failed, earlier commits may be lost with it: the
/// write-ahead log begins anew in a file that has to be durable.
fn uncommitted(error: rusqlite::Error) -> Failure {
    use rusqlite::ffi::{SQLITE_IOERR_DIR_FSYNC, SQLITE_IOERR_FSYNC};
    match error.sqlite_error().map(|error| error.extended_code) {
        Some(SQLITE_IOERR_FSYNC | SQLITE_IOERR_DIR_FSYNC) => Failure::Poisoned(TxError::from(error).into()),
        _ => error.into(),
    }
}
