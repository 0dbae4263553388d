//! Threads that own connections, and the queue before them.
//!
//! A lane is a queue with some threads, each of which owns a connection. The writer's has one thread; what may share a
//! transaction is taken out of the queue together, up to 256 tasks, as far as they stand next to each other. A call that is
//! dropped abandons its task: it is skipped, or interrupted if it runs.
//!
//! A panic in a task concerns that task. The connection may be in any state then, so it is replaced; a database in memory would
//! be lost with it, and there the transaction is undone instead, and only if that fails does the database report that it is lost.
//!
//! Why threads and a queue, rather than a pool of the runtime's blocking threads: a connection stays with its
//! thread, so that what it keeps prepared is there for the next call; the crate needs no runtime; and tasks that
//! wait side by side can be taken together, which is what group commit is.

use std::collections::VecDeque;
use std::convert::Infallible;
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

/// Runs tasks that were waiting together, each with the time of its arrival.
pub(super) type RunShared<J> = dyn Fn(&mut Slot, Vec<(J, Instant)>) + Send + Sync;

/// Tasks that are run together at most.
const TOGETHER: usize = 256;

/// Runs alone, and takes the time that it has waited.
type RunAlone = dyn FnOnce(&mut Slot, Duration) + Send;

/// A task in the queue.
enum Task<J> {
    Alone(Box<RunAlone>),
    /// Runs together with others of the kind that wait beside it.
    Shared(J),
}

/// A thread's connection: none before its first use, and where the last one had to be dropped.
///
/// Invariant: `lost` is set only in memory, and never unset.
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

    /// Opens another connection, for use beside this thread's.
    pub(super) fn open_another(&self) -> Result<AuthorizedConnection> {
        (self.open)()
    }

    /// Drops the connection; the next use opens another. A database in memory is lost with it, and says so from then on.
    pub(super) fn discard(&mut self) {
        self.lost |= self.in_memory && self.connection.is_some();
        self.connection = None;
    }

    /// Goes on after a panic: with a new connection, since the state of the old one is unknown, or, in memory, with the old
    /// one and its transaction undone.
    pub(super) fn recover(&mut self) {
        let keeps = self.in_memory && self.connection.as_ref().is_none_or(AuthorizedConnection::reset);
        if !keeps {
            self.discard();
        }
    }
}

/// Threads, each with a connection of its own, that take calls first come, first served. They start as they are needed.
/// `J` is the type of tasks that a thread takes together.
///
/// Threads start with the first task that finds none idle, and end when the lane is dropped. The queue is not
/// bounded: a task in it has a time limit, and its caller holds its memory.
pub(super) struct Lane<J = Infallible> {
    queue: Arc<Queue<J>>,
    /// The most threads.
    threads: usize,
    in_memory: bool,
    open: Arc<Open>,
    run_shared: Arc<RunShared<J>>,
    started: Mutex<Vec<JoinHandle<()>>>,
}

struct Queue<J> {
    state: Mutex<State<J>>,
    arrived: Condvar,
}

struct State<J> {
    tasks: VecDeque<(Task<J>, Instant)>,
    threads: usize,
    idle: usize,
    closed: bool,
}

impl<J> Queue<J> {
    fn lock(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().ignore_poison()
    }
}

/// Abandons the call when its future is dropped.
pub(super) struct Waiting(pub(super) Arc<Call>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

impl<J: Send + 'static> Lane<J> {
    /// A lane of up to `threads` threads. `in_memory` says that the database is the connection's memory.
    pub(super) fn new(threads: usize, in_memory: bool, open: Arc<Open>, run_shared: Arc<RunShared<J>>) -> Self {
        let state = State { tasks: VecDeque::new(), threads: 0, idle: 0, closed: false };
        let queue = Arc::new(Queue { state: Mutex::new(state), arrived: Condvar::new() });
        Self { queue, threads, in_memory, open, run_shared, started: Mutex::default() }
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
        self.submit(Task::Alone(Box::new(move |slot: &mut Slot, waited| {
            if call.is_abandoned() {
                return;
            }
            let result = if waited > limit { Err(fault::queued_too_long()) } else { turn(slot, &call, job) };
            // The caller may have gone meanwhile, and the answer with it.
            drop(answer.send(result));
        })))?;
        let result = answered.await;
        drop(waiting);
        result.unwrap_or_else(|_| Err(ended()))
    }

    /// Queues a job that takes the time that it has waited, and sends its own answer. It sets the [`Turn`] of what it runs.
    pub(super) fn hold(&self, job: impl FnOnce(&mut Slot, Duration) + Send + 'static) -> Result<()> {
        self.submit(Task::Alone(Box::new(move |slot: &mut Slot, waited| {
            if catch_unwind(AssertUnwindSafe(|| job(slot, waited))).is_err() {
                slot.recover();
            }
        })))
    }

    /// Queues a task that is run together with others of the kind that wait beside it.
    pub(super) fn share(&self, task: J) -> Result<()> {
        self.submit(Task::Shared(task))
    }

    fn submit(&self, task: Task<J>) -> Result<()> {
        let mut state = self.queue.lock();
        state.tasks.push_back((task, Instant::now()));
        if state.idle < state.tasks.len() && state.threads < self.threads {
            state.threads += 1;
            let queue = Arc::clone(&self.queue);
            let run_shared = Arc::clone(&self.run_shared);
            let slot = Slot { connection: None, open: Arc::clone(&self.open), in_memory: self.in_memory, lost: false };
            let name = "isobar-db".to_owned();
            let spawned = thread::Builder::new().name(name).spawn(move || work(&queue, &*run_shared, slot));
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

impl<J> fmt::Debug for Lane<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lane({})", self.threads)
    }
}

impl<J> Drop for Lane<J> {
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

/// The error of a call whose thread has gone without an answer.
pub(super) fn ended() -> Error {
    Error::new(ErrorKind::Internal, "the thread that ran the statement has panicked")
}

/// Takes tasks until the lane is dropped.
fn work<J>(queue: &Queue<J>, run_shared: &RunShared<J>, mut slot: Slot) {
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
        match task {
            Task::Alone(run) => {
                drop(state);
                run(&mut slot, arrived.elapsed());
            }
            Task::Shared(first) => {
                let mut tasks = vec![(first, arrived)];
                while tasks.len() < TOGETHER && matches!(state.tasks.front(), Some((Task::Shared(_), _))) {
                    if let Some((Task::Shared(next), arrived)) = state.tasks.pop_front() {
                        tasks.push((next, arrived));
                    }
                }
                drop(state);
                if catch_unwind(AssertUnwindSafe(|| run_shared(&mut slot, tasks))).is_err() {
                    slot.recover();
                }
            }
        }
    }
}

/// Runs a job as the call that its connection belongs to for the time, and turns a panic into an error of that
/// call.
fn turn<T>(slot: &mut Slot, call: &Arc<Call>, job: impl FnOnce(&mut Slot) -> Result<T>) -> Result<T> {
    let _turn = Turn::start(call);
    catch_unwind(AssertUnwindSafe(|| job(slot))).unwrap_or_else(|_| {
        slot.recover();
        Err(ended())
    })
}
