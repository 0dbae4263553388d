//! Threads that own connections, and the queue before them.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use isobar_base::sync::IgnorePoison;
use tokio::sync::oneshot;

use super::connection::{AuthorizedConnection, Call, Turn};
use super::fault;
use crate::{Error, ErrorKind, Result};

/// Opens a connection.
pub(super) type Open = dyn Fn() -> Result<AuthorizedConnection> + Send + Sync;

type Task = Box<dyn FnOnce(&mut Slot, Duration) + Send>;

/// A thread's connection: none before its first use, and where the last one had to be dropped.
pub(super) struct Slot {
    connection: Option<AuthorizedConnection>,
    open: Arc<Open>,
    /// The database is the connection's memory, and is lost with it.
    in_memory: bool,
    /// The database in memory is lost.
    lost: bool,
}

impl Slot {
    /// The connection, opened if need be.
    pub(super) fn connection(&mut self) -> Result<&mut AuthorizedConnection> {
        if self.lost {
            let message = "the database in memory is lost: a transaction of it could neither be ended nor undone";
            return Err(Error::new(ErrorKind::Unavailable, message).for_good());
        }
        match &mut self.connection {
            Some(connection) => Ok(connection),
            empty => Ok(empty.insert((self.open)()?)),
        }
    }

    /// Drops the connection; the next use opens another. A database in memory is lost with it, and says so from then on.
    pub(super) fn discard(&mut self) {
        self.lost |= self.in_memory && self.connection.is_some();
        self.connection = None;
    }

    /// Goes on after a panic: with a new connection, since the state of the old one is unknown, or, in memory, with the old
    /// one and its transaction undone.
    fn recover(&mut self) {
        let keeps = self.in_memory && self.connection.as_ref().is_none_or(AuthorizedConnection::reset);
        if !keeps {
            self.discard();
        }
    }
}

/// Threads, each with a connection of its own, that take calls first come, first served. They start as they are needed.
pub(super) struct Lane {
    queue: Arc<Queue>,
    /// The most threads.
    threads: usize,
    in_memory: bool,
    open: Arc<Open>,
    started: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Default)]
struct State {
    tasks: VecDeque<(Task, Instant)>,
    threads: usize,
    idle: usize,
    closed: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().ignore_poison()
    }
}

/// Abandons the call when its future is dropped.
struct Waiting(Arc<Call>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

impl Lane {
    /// A lane of up to `threads` threads. `in_memory` says that the database is the connection's memory.
    pub(super) fn new(threads: usize, in_memory: bool, open: Arc<Open>) -> Self {
        Self { queue: Arc::default(), threads, in_memory, open, started: Mutex::default() }
    }

    /// Runs a job on a connection. When the returned future is dropped, a running job is interrupted, and one that waits in
    /// the queue is not run.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        limit: Duration,
        job: impl FnOnce(&mut Slot) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting(Arc::new(Call::new(limit)));
        let call = Arc::clone(&waiting.0);
        self.submit(Box::new(move |slot: &mut Slot, waited| {
            if call.is_abandoned() {
                return;
            }
            let result = if waited > limit { Err(fault::queued_too_long()) } else { turn(slot, &call, job) };
            // The caller may have gone meanwhile, and the answer with it.
            drop(answer.send(result));
        }))?;
        let result = answered.await;
        drop(waiting);
        result.unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, "the thread that ran the statement has ended")))
    }

    fn submit(&self, task: Task) -> Result<()> {
        let mut state = self.queue.lock();
        state.tasks.push_back((task, Instant::now()));
        if state.idle < state.tasks.len() && state.threads < self.threads {
            state.threads += 1;
            let queue = Arc::clone(&self.queue);
            let slot = Slot { connection: None, open: Arc::clone(&self.open), in_memory: self.in_memory, lost: false };
            let spawned = thread::Builder::new().name("isobar-db".to_owned()).spawn(move || work(&queue, slot));
            match spawned {
                Ok(thread) => self.started.lock().ignore_poison().push(thread),
                Err(error) => {
                    state.threads -= 1;
                    if state.threads == 0 {
                        state.tasks.pop_back();
                        let message = format!("cannot start a thread for the database: {error}");
                        return Err(Error::new(ErrorKind::Unavailable, message).with_source(error));
                    }
                }
            }
        }
        drop(state);
        self.queue.arrived.notify_one();
        Ok(())
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lane({})", self.threads)
    }
}

impl Drop for Lane {
    /// Closes the connections before it returns. It does not wait long: no caller is left, so a running job is interrupted.
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.arrived.notify_all();
        for thread in self.started.get_mut().ignore_poison().drain(..) {
            // A thread that has panicked has ended, too.
            drop(thread.join());
        }
    }
}

/// Takes tasks until the lane is dropped.
fn work(queue: &Queue, mut slot: Slot) {
    loop {
        let mut state = queue.lock();
        let (task, arrived) = loop {
            if let Some(next) = state.tasks.pop_front() {
                break next;
            }
            if state.closed {
                return;
            }
            state.idle += 1;
            state = queue.arrived.wait(state).ignore_poison();
            state.idle -= 1;
        };
        drop(state);
        task(&mut slot, arrived.elapsed());
    }
}

fn turn<T>(slot: &mut Slot, call: &Arc<Call>, job: impl FnOnce(&mut Slot) -> Result<T>) -> Result<T> {
    let _turn = Turn::start(call);
    catch_unwind(AssertUnwindSafe(|| job(slot))).unwrap_or_else(|_| {
        slot.recover();
        Err(Error::new(ErrorKind::Internal, "the thread that ran the statement has panicked"))
    })
}
