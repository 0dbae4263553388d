//! Tasks of the commit thread.
//!
//! A plain put is not a closure but data: its outcome does not depend on what is there, so its frame can be written before its row, and many
//! of them in one go. Everything else is [`Work`]: a closure that may run more than once, when the transaction that it shared was rolled back
//! because of another. So it must not consume what it has, and its effects must all be in the transaction.

use bytes::Bytes;
use tokio::sync::oneshot;

use super::batch::Batch;
use crate::local::index::{Result, TxError};
use crate::{Error, ErrorKind, ObjectMeta};

pub(super) enum WriteTask {
    /// A put without conditions: its outcome does not depend on what is there.
    Put(Box<Put>),
    Other(Box<dyn Work>),
}

pub(super) struct Put {
    pub(super) meta: ObjectMeta,
    pub(super) head: Vec<u8>,
    pub(super) body: Bytes,
    pub(super) crc: u32,
    pub(super) result: Result<()>,
    pub(super) answer: oneshot::Sender<crate::Result<()>>,
}

pub(super) trait Work: Send {
    /// Runs it, replacing the result of an earlier run; returns whether it succeeded.
    ///
    /// A failure before any change leaves the transaction to the others; one after a change takes it with it ([`Batch::run`]).
    fn run(&mut self, batch: &mut Batch<'_>) -> bool;
    /// Answers the caller: with the error of the transaction, or else with the task's own result. Called once, when the transaction is durable
    /// or has failed for good.
    fn settle(self: Box<Self>, committed: Result<(), Error>);
}

/// Work with a caller that waits for its result.
pub(super) struct Waiting<T, W> {
    work: W,
    result: Option<Result<T>>,
    answer: oneshot::Sender<crate::Result<T>>,
}

impl<T, W> Waiting<T, W> {
    pub(super) fn new(work: W, answer: oneshot::Sender<crate::Result<T>>) -> Self {
        Self { work, result: None, answer }
    }
}

impl<T: Send, W: Fn(&mut Batch<'_>) -> Result<T> + Send> Work for Waiting<T, W> {
    fn run(&mut self, batch: &mut Batch<'_>) -> bool {
        let result = (self.work)(batch);
        let is_ok = result.is_ok();
        self.result = Some(result);
        is_ok
    }

    fn settle(self: Box<Self>, committed: Result<(), Error>) {
        let never = || TxError::Ours(Error::new(ErrorKind::Internal, "the task was not run"));
        let result = self.result.unwrap_or_else(|| Err(never()));
        drop(self.answer.send(committed.and(result.map_err(Error::from)))); // a caller that has gone needs no answer
    }
}

/// Tasks of one transaction.
#[derive(Default)]
pub(super) struct Tasks {
    pub(super) others: Vec<Box<dyn Work>>,
    pub(super) puts: Vec<Put>,
}

/// Puts and other work apart. Their order among each other is lost, which no caller can tell: none of them has been answered yet.
impl FromIterator<WriteTask> for Tasks {
    fn from_iter<I: IntoIterator<Item = WriteTask>>(all: I) -> Self {
        let mut tasks = Self::default();
        for task in all {
            match task {
                WriteTask::Put(put) => tasks.puts.push(*put),
                WriteTask::Other(work) => tasks.others.push(work),
            }
        }
        tasks
    }
}

impl Tasks {
    pub(super) fn len(&self) -> usize {
        self.others.len() + self.puts.len()
    }

    pub(super) fn into_each(self) -> impl Iterator<Item = WriteTask> {
        let puts = self.puts.into_iter().map(|put| WriteTask::Put(Box::new(put)));
        self.others.into_iter().map(WriteTask::Other).chain(puts)
    }

    pub(super) fn settle(self, outcome: Result<(), &Error>) {
        for work in self.others {
            work.settle(outcome.map_err(copy_of));
        }
        for put in self.puts {
            drop(put.answer.send(outcome.map_err(copy_of).and(put.result.map_err(Error::from))));
        }
    }
}

/// Returns the same error for each of the tasks that it concerns.
fn copy_of(error: &Error) -> Error {
    let copy = Error::new(error.kind(), error.message());
    match error.code() {
        Some(code) => copy.with_code(code),
        None => copy,
    }
}
