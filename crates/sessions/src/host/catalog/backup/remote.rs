//! A target for code that blocks: a thread asks, and the task that waits for it awaits the target.

use std::collections::VecDeque;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::sync::{mpsc, oneshot};

use super::BackupTarget;
use crate::host::spawn;
use crate::{Error, ErrorKind, Result};

/// Operations that are in flight at a time.
pub(super) const IN_FLIGHT: usize = 8;

/// An answer that is to come.
pub(super) type Answer<T> = oneshot::Receiver<Result<T>>;

enum Request {
    Put(String, Bytes, oneshot::Sender<Result<()>>),
    Get(String, oneshot::Sender<Result<Option<Bytes>>>),
    List(String, oneshot::Sender<Result<Vec<String>>>),
    Delete(String, oneshot::Sender<Result<()>>),
}

impl Request {
    /// Does what is asked for. An answer that nobody waits for is dropped.
    async fn answer(self, target: &dyn BackupTarget) {
        match self {
            Self::Put(name, bytes, answer) => drop(answer.send(target.put(&name, bytes).await)),
            Self::Get(name, answer) => drop(answer.send(target.get(&name).await)),
            Self::List(prefix, answer) => drop(answer.send(target.list(&prefix).await)),
            Self::Delete(name, answer) => drop(answer.send(target.delete(&name).await)),
        }
    }
}

/// The thread's side. It fails once the task has gone.
pub(super) struct Remote {
    requests: mpsc::Sender<Request>,
    /// Names that are put or deleted, and have not been answered.
    changes: VecDeque<(String, Answer<()>)>,
}

/// Runs `work` on a thread of its own, and what it asks of the target here. When this is dropped, the thread ends with its next request.
pub(super) async fn with_target<T: Send + 'static>(
    target: &dyn BackupTarget,
    work: impl FnOnce(&mut Remote) -> Result<T> + Send + 'static,
) -> Result<T> {
    let (requests, incoming) = mpsc::channel(IN_FLIGHT);
    let (done, result) = oneshot::channel();
    let run = move || {
        let mut remote = Remote { requests, changes: VecDeque::new() };
        let result = work(&mut remote);
        drop(remote); // which ends the stream of requests
        drop(done.send(result));
    };
    spawn("isobar-backup".to_owned(), run)?;
    let incoming = stream::unfold(incoming, |mut incoming| async move {
        let request: Request = incoming.recv().await?;
        Some((request, incoming))
    });
    incoming.for_each_concurrent(IN_FLIGHT, |request| request.answer(target)).await;
    result.await.unwrap_or_else(|_| Err(ended()))
}

fn ended() -> Error {
    Error::new(ErrorKind::Internal, "the backup was broken off")
}

/// Waits for an answer.
pub(super) fn wait<T>(answer: Answer<T>) -> Result<T> {
    answer.blocking_recv().unwrap_or_else(|_| Err(ended()))
}

impl Remote {
    fn send(&self, request: Request) -> Result<()> {
        self.requests.blocking_send(request).map_err(|_| ended())
    }

    /// Begins to store bytes. The error may be that of an earlier change.
    pub(super) fn put(&mut self, name: String, bytes: Bytes) -> Result<()> {
        // The blocks of equal objects have one name.
        if self.changes.iter().any(|(other, _)| *other == name) {
            return Ok(());
        }
        let (answer, answered) = oneshot::channel();
        self.send(Request::Put(name.clone(), bytes, answer))?;
        self.add(name, answered)
    }

    /// Begins to remove a name. The error may be that of an earlier change.
    pub(super) fn delete(&mut self, name: String) -> Result<()> {
        let (answer, answered) = oneshot::channel();
        self.send(Request::Delete(name.clone(), answer))?;
        self.add(name, answered)
    }

    fn add(&mut self, name: String, answer: Answer<()>) -> Result<()> {
        self.changes.push_back((name, answer));
        if self.changes.len() < IN_FLIGHT { Ok(()) } else { self.settle_first() }
    }

    fn settle_first(&mut self) -> Result<()> {
        self.changes.pop_front().map_or(Ok(()), |(_, answer)| wait(answer))
    }

    /// Waits until all that was put and deleted is durable.
    pub(super) fn settle(&mut self) -> Result<()> {
        while !self.changes.is_empty() {
            self.settle_first()?;
        }
        Ok(())
    }

    /// Begins to read what is stored under a name.
    pub(super) fn ask(&self, name: String) -> Result<Answer<Option<Bytes>>> {
        let (answer, answered) = oneshot::channel();
        self.send(Request::Get(name, answer))?;
        Ok(answered)
    }

    /// Reads what is stored under a name; `None` where nothing is.
    pub(super) fn get(&self, name: String) -> Result<Option<Bytes>> {
        wait(self.ask(name)?)
    }

    pub(super) fn list(&self, prefix: String) -> Result<Vec<String>> {
        let (answer, answered) = oneshot::channel();
        self.send(Request::List(prefix, answer))?;
        wait(answered)
    }
}
