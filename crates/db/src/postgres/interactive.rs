//! Interactive transactions. One holds a connection; others go on beside it, and the one that Postgres finds overtaken fails.
//!
//! Each call runs in a savepoint, by which it is undone where it fails: Postgres would refuse all that follows otherwise. A call that is
//! dropped, and the time limit, end the transaction, and later calls report why.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::calls::{self, RunsJobs};
use super::fault::{Failure, Remedy};
use super::job::Job;
use super::pool::{Lease, Pool};
use crate::{
    Error, ErrorKind, InteractiveOptions, InteractiveTransaction, Operation, QueryResult, Queryable, Result, Statement,
};

/// An open transaction, which is rolled back when this is dropped.
#[derive(Debug)]
pub(super) struct Interactive {
    open: Arc<Open>,
    timer: JoinHandle<()>,
}

/// The connection, as long as the transaction is open.
struct Open {
    lease: Mutex<Option<Lease>>,
    /// The reason for which it is over, other than its caller's will.
    over: OnceLock<Error>,
    until: Instant,
    limit: Duration,
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Open(limit: {:?})", self.limit)
    }
}

impl Drop for Interactive {
    fn drop(&mut self) {
        self.timer.abort();
    }
}

/// A call whose answer has not been read. Dropped, it ends the transaction, since the lease it holds is dropped with it.
struct Unanswered<'o> {
    open: &'o Open,
    lease: Option<Lease>,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if self.lease.is_some() {
            let message = "a call of the interactive transaction was dropped before its answer, so the transaction was rolled back";
            self.open.end(message);
        }
    }
}

impl Open {
    /// Ends the transaction for this reason, unless there is one already.
    fn end(&self, reason: impl Into<String>) {
        drop(self.over.set(Error::new(ErrorKind::Unavailable, reason).for_good()));
    }

    fn end_late(&self) {
        self.end(format!(
            "the interactive transaction has taken longer than {:?}, its time limit, and was rolled back: do less in it, or set a \
             longer one",
            self.limit
        ));
    }

    /// The reason for which there is no transaction any more.
    fn reason(&self) -> Error {
        let ended = || Error::new(ErrorKind::Internal, "the interactive transaction has ended");
        self.over.get().cloned().unwrap_or_else(ended)
    }

    /// Works on the connection, and leaves it for the next call where the transaction goes on.
    async fn work(&self, work: Work<'_>) -> Result<Vec<QueryResult>> {
        let mut slot = self.lease.lock().await;
        let mut call = Unanswered { open: self, lease: slot.take() };
        let Some(lease) = call.lease.as_mut() else { return Err(self.reason()) };
        let done = tokio::time::timeout_at(self.until, work.run(lease)).await;
        let lease = call.lease.take();
        let Ok(result) = done else {
            self.end_late();
            return Err(self.reason());
        };
        if lease.as_ref().is_some_and(Lease::is_lost) {
            self.end("the connection of the interactive transaction was closed, so the transaction was rolled back");
        } else if lease.as_ref().is_some_and(Lease::is_open) {
            *slot = lease;
        } else if matches!(work, Work::Jobs(_)) {
            // Postgres would answer COMMIT, and roll back.
            self.end("a failed call of the interactive transaction could not be undone alone, so the transaction was rolled back");
        }
        result.map_err(|failure| failure.error)
    }
}

/// A call.
#[derive(Clone, Copy)]
enum Work<'j> {
    Jobs(&'j [Job]),
    Commit,
    Rollback,
}

impl Work<'_> {
    async fn run(self, lease: &mut Lease) -> Result<Vec<QueryResult>, Failure> {
        let control = match self {
            Self::Jobs(jobs) => return run_in_savepoint(lease, jobs).await,
            Self::Commit => "COMMIT",
            Self::Rollback => "ROLLBACK",
        };
        lease.start().control(control).await?;
        lease.end();
        Ok(Vec::new())
    }
}

impl Interactive {
    /// Begins a transaction.
    pub(super) async fn begin(pool: &Arc<Pool>, limit: Duration) -> Result<Self> {
        let limit = limit.min(InteractiveOptions::LONGEST);
        let mut lease = pool.lease().await?;
        let connection = lease.start();
        connection.forget_changes();
        connection.control("BEGIN").await.map_err(|failure| failure.error)?;
        lease.pause();
        let until = Instant::now() + limit;
        let open = Arc::new(Open { lease: Mutex::new(Some(lease)), over: OnceLock::new(), until, limit });
        let timed = Arc::downgrade(&open);
        let timer = tokio::spawn(async move {
            tokio::time::sleep_until(until).await;
            if let Some(open) = timed.upgrade() {
                open.end_late();
                drop(open.lease.lock().await.take());
            }
        });
        Ok(Self { open, timer })
    }
}

impl RunsJobs for Interactive {
    async fn run(&self, jobs: &[Job]) -> Result<Vec<QueryResult>> {
        self.open.work(Work::Jobs(jobs)).await
    }
}

/// Runs a call in a savepoint, to which it returns where it fails.
async fn run_in_savepoint(lease: &mut Lease, jobs: &[Job]) -> Result<Vec<QueryResult>, Failure> {
    let connection = lease.start();
    loop {
        connection.control("SAVEPOINT isobar").await?;
        let result = connection.run_jobs(jobs).await;
        if result.is_err() {
            connection.control("ROLLBACK TO isobar").await?;
        }
        connection.control("RELEASE isobar").await?;
        match result {
            Err(Failure { remedy: Remedy::Prepare, .. }) => {}
            result => {
                lease.pause();
                return result;
            }
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Queryable for Interactive {
    async fn query(&self, statement: Statement) -> Result<QueryResult> {
        calls::query(self, statement).await
    }

    async fn batch(&self, statements: Vec<Statement>) -> Result<Vec<QueryResult>> {
        calls::batch(self, statements).await
    }

    async fn batch_script(&self, script: &str) -> Result<Vec<QueryResult>> {
        calls::batch_script(self, script).await
    }
}

#[async_trait]
impl InteractiveTransaction for Interactive {
    async fn commit(self: Box<Self>) -> Result<()> {
        self.open.work(Work::Commit).await.map(drop).map_err(|error| error.during(Operation::Commit))
    }

    async fn rollback(self: Box<Self>) -> Result<()> {
        self.open.work(Work::Rollback).await.map(drop).map_err(|error| error.during(Operation::Rollback))
    }
}
