//! Group commit: one thread writes, and the tasks that arrive meanwhile share one transaction and one sync.
//!
//! A task checks and writes inside the transaction, so that its decision and its effect are one. Objects that tasks put are in the
//! transaction's frame, which is synced before the commit: nothing is visible before it is durable, and the index itself need not be
//! synced (`synchronous = NORMAL`; a checkpoint is, before it touches the database). Deletions and the names of blobs are in
//! frames, too. Changes that are in no frame - an upload, a part - are in SQLite's write-ahead log, which is synced after the
//! commit, before a caller is answered.
//!
//! The frame is written before the rows of its puts, so that the disk has begun when the sync comes.
//!
//! A task that fails after it has written something takes the transaction with it, and every task of the batch is run again in a
//! transaction of its own: a failure concerns its own task alone. A commit that fails is treated alike: SQLite rolls it back, and
//! the next transaction begins as if it had not been. After a failed sync it is unknown what is on the disk: the store is poisoned,
//! and nothing is written until it is opened anew, whichever file failed to sync, SQLite's included. (A blob that cannot be synced
//! fails its put alone: it holds nothing acknowledged, and nothing names it.)

mod batch;
mod task;
mod thread;
mod wal;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;

use bytes::Bytes;
use rusqlite::Connection;
use tokio::sync::oneshot;

use self::task::{Put, Waiting, WriteTask};
use self::thread::CommitThread;
use super::index::Result;
use super::packs::{Appender, head_of};
use crate::{Error, ErrorKind, ObjectMeta};

pub(super) use self::batch::Batch;
pub(super) use self::wal::Wal;

const THREAD: &str = "isobar-write";

/// Handle of the commit thread.
#[derive(Debug)]
pub(super) struct Writer {
    /// Whether a sync has failed.
    is_poisoned: Arc<AtomicBool>,
    tasks: Option<Sender<WriteTask>>,
    thread: Option<JoinHandle<()>>,
}

/// Work between two transactions.
pub(super) type After = Box<dyn FnMut(&mut Connection, &mut Wal) + Send>;

/// Further work of the commit thread.
pub(super) struct Hooks {
    /// Runs in every transaction, with the number of bytes that its plain puts will add to the frame.
    pub(super) before: fn(&mut Batch<'_>, usize) -> Result<()>,
    /// Runs after every transaction.
    pub(super) after: After,
    /// Runs when a transaction is durable, before its callers are answered.
    pub(super) committed: Box<dyn Fn() + Send>,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(connection: Connection, appender: Appender, wal: Wal, hooks: Hooks) -> crate::Result<Self> {
        let (tasks, queue) = mpsc::channel();
        let is_poisoned = Arc::new(AtomicBool::new(false));
        let commits = CommitThread::new(connection, appender, wal, hooks, Arc::clone(&is_poisoned));
        let thread = std::thread::Builder::new().name(THREAD.to_owned()).spawn(move || commits.serve(&queue));
        let thread = thread.map_err(|error| Error::io("cannot start the commit thread", error))?;
        Ok(Self { is_poisoned, tasks: Some(tasks), thread: Some(thread) })
    }

    /// Returns the error that every further write would get, if there is one.
    pub(super) fn health(&self) -> crate::Result<()> {
        if self.is_poisoned.load(Ordering::Acquire) {
            return Err(poisoned());
        }
        match &self.thread {
            Some(thread) if !thread.is_finished() => Ok(()),
            _ => Err(gone()),
        }
    }

    /// Puts an object unconditionally; otherwise as [`write`](Self::write).
    pub(super) async fn put(&self, meta: ObjectMeta, body: Bytes) -> crate::Result<()> {
        let (answer, answered) = oneshot::channel();
        let head = head_of(&meta)?;
        let crc = crc32fast::hash(&body);
        self.send(WriteTask::Put(Box::new(Put { meta, head, body, crc, result: Ok(()), answer })))?;
        answered.await.map_err(|_| gone())?
    }

    /// Runs `work` in a transaction, which it may share with others' and which may be repeated, and returns its value when that is
    /// durable. Work whose future is dropped is done all the same.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl Fn(&mut Batch<'_>) -> Result<T> + Send + 'static,
    ) -> crate::Result<T> {
        let (answer, answered) = oneshot::channel();
        self.send(WriteTask::Other(Box::new(Waiting::new(work, answer))))?;
        answered.await.map_err(|_| gone())?
    }

    fn send(&self, task: WriteTask) -> crate::Result<()> {
        self.tasks.as_ref().ok_or_else(gone)?.send(task).map_err(|_| gone())
    }
}

impl Drop for Writer {
    /// Waits for the tasks that were sent: a closed store leaves no transaction behind.
    fn drop(&mut self) {
        self.tasks = None;
        // A task may have held the last handle of the store: a thread cannot wait for itself.
        let is_ours = std::thread::current().name() == Some(THREAD);
        if let Some(thread) = self.thread.take().filter(|_| !is_ours) {
            drop(thread.join());
        }
    }
}

fn gone() -> Error {
    Error::new(ErrorKind::Internal, "the commit thread has ended")
}

/// The error of each write after a failed sync.
fn poisoned() -> Error {
    let what = "the disk has failed to keep what was written to it: open the store anew, and see what is there (fsck)";
    Error::new(ErrorKind::Internal, what)
}
