//! Readers. A short statement runs on the calling task, on a connection of the pool, under a budget of instructions; one that
//! takes longer is ended and runs again on a thread of the lane, so that it holds up no executor.
//!
//! A read takes three steps, and most end with the first:
//!
//! 1. The statement has run before on an idle connection of the pool, and is kept there prepared: it is bound and run, without a
//!    look at its words.
//! 2. It is prepared on the calling task, under the budget. The authorizer of a reader refuses what only the writer knows, and
//!    notes it.
//! 3. It is over its budget, or no connection is idle: it runs again from its beginning on a thread of the lane, which also opens
//!    the connections of the pool.
//!
//! Work that the authorizer has refused as the writer's goes there, as [`Answer::Writer`]. A read has no effect, so running it again
//! is safe; each step has a snapshot of its own. Threads look first at a place of their own in the pool, as their statements are
//! kept there.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, TryLockError};
use std::thread;
use std::time::Instant;

use super::result_bytes::ResultBytes;
use super::route::Route;
use super::run::{Access, Work, meta_of_read, run_to_end};
use super::shared::Shared;
use crate::sqlite::connection::{AuthorizedConnection, Budget};
use crate::sqlite::fault;
use crate::sqlite::lane::{Lane, Open, Slot};
use crate::sqlite::values::to_sql;
use crate::{QueryResult, Result, Statement};

/// Threads that run long statements at once.
const THREADS: usize = 4;
/// The most connections of the pool: as many as there are processors, within these bounds.
const POOL: std::ops::RangeInclusive<usize> = 2..=8;

/// The end of work on a reader.
pub(super) enum Answer {
    Done(Vec<QueryResult>),
    /// Only the writer can run it, by this route.
    Writer(Work, Route),
}

/// An outcome on a reader, the work apart.
enum Outcome {
    Done(Vec<QueryResult>),
    Writer(Route),
}

impl Outcome {
    fn with(self, work: Work) -> Answer {
        match self {
            Self::Done(results) => Answer::Done(results),
            Self::Writer(route) => Answer::Writer(work, route),
        }
    }
}

/// Whether a connection can go on, or can only be dropped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Usable {
    Yes,
    No,
}

/// The connections that read.
#[derive(Debug)]
pub(super) struct Readers {
    lane: Lane,
    pool: Arc<Pool>,
}

impl Readers {
    pub(super) fn new(open: Arc<Open>) -> Self {
        let processors = thread::available_parallelism().map_or(*POOL.start(), usize::from);
        let connections = processors.clamp(*POOL.start(), *POOL.end());
        let pool = Pool { places: (0..connections).map(|_| Mutex::default()).collect() };
        Self { lane: Lane::new(THREADS, false, open, Arc::new(|_, _| ())), pool: Arc::new(pool) }
    }

    /// Runs a statement on the calling task that has run there before. `None` where it has not, takes too long, or fails: `run` is
    /// for all that.
    pub(super) fn query_kept(&self, shared: &Shared, statement: &Statement) -> Option<QueryResult> {
        self.pool.with(|connection| (query_kept(shared, connection, statement), Usable::Yes))?
    }

    /// Runs work that only reads.
    pub(super) async fn run(&self, shared: &Arc<Shared>, work: Work) -> Result<Answer> {
        let inline = self.pool.with(|connection| {
            let budget = Budget::start();
            let (outcome, usable) = shared.read(connection, &work);
            ((!budget.is_exceeded()).then_some(outcome), usable)
        });
        if let Some(outcome) = inline.flatten() {
            return Ok(outcome?.with(work));
        }
        let on_thread = Arc::clone(shared);
        let pool = Arc::clone(&self.pool);
        let run = move |slot: &mut Slot| {
            let (outcome, usable) = on_thread.read(slot.connection()?, &work);
            if usable == Usable::No {
                slot.discard();
            }
            pool.fill(slot);
            Ok(outcome?.with(work))
        };
        self.lane.run(shared.options.time_limit, run).await
    }

    /// Reads something.
    pub(super) async fn check(&self, shared: &Shared) -> Result<()> {
        let check = |slot: &mut Slot| {
            let read = slot.connection()?.own_statement("SELECT 0 FROM sqlite_schema LIMIT 1");
            read.map(drop).map_err(|failure| fault::of(&failure))
        };
        self.lane.run(shared.options.time_limit, check).await
    }
}

impl Shared {
    /// Runs work that only reads. Several statements share a snapshot.
    fn read(&self, connection: &mut AuthorizedConnection, work: &Work) -> (Result<Outcome>, Usable) {
        let results = self.read_snapshot(connection, work);
        if !connection.roll_back() {
            return (results.map(Outcome::Done), Usable::No);
        }
        let to_writer = connection.took_to_writer();
        let writes = connection.refused_write();
        let outcome = match results {
            Err(_) if writes => Ok(Outcome::Writer(Route::Writer)),
            Err(_) if to_writer => Ok(Outcome::Writer(Route::ReadOnWriter)),
            results => results.map(Outcome::Done),
        };
        (outcome, Usable::Yes)
    }

    fn read_snapshot(&self, connection: &mut AuthorizedConnection, work: &Work) -> Result<Vec<QueryResult>> {
        connection.follow_settings().map_err(|failure| fault::of(&failure))?;
        if !work.is_single() {
            connection.begin("BEGIN").map_err(|failure| fault::of(&failure))?;
        }
        self.batch(connection, work, Access::Reads)
    }
}

fn query_kept(shared: &Shared, connection: &mut AuthorizedConnection, statement: &Statement) -> Option<QueryResult> {
    let bytes = ResultBytes::default();
    bytes.begin(statement);
    connection.follow_settings().ok()?;
    let start = Instant::now();
    let standing = shared.standing(connection);
    let mut prepared = connection.kept(statement.sql())?;
    let result = {
        let _budget = Budget::start();
        let matches = prepared.parameters() == statement.parameters().len();
        let bound = matches && prepared.bind(statement.parameters().iter().map(to_sql)).is_ok();
        bound.then(|| run_to_end(&mut prepared, &bytes).ok()).flatten()
    };
    connection.keep(statement.sql(), prepared);
    if result.is_none() {
        // The general way finds out again what was refused.
        connection.forget_refusals();
    }
    Some(result?.into_result(meta_of_read(&standing, start)))
}

/// Connections for short statements. They are opened by the lane, when the first statements have found none.
#[derive(Debug)]
struct Pool {
    places: Box<[Mutex<Option<AuthorizedConnection>>]>,
}

thread_local! {
    /// The place at which a thread looks first: its statements are kept there.
    static FIRST: Cell<usize> = Cell::new({
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        THREADS.fetch_add(1, Ordering::Relaxed)
    });
}

impl Pool {
    /// Runs something on an idle connection; `None` where there is none, or on a panic, after which the connection is dropped.
    fn with<T>(&self, run: impl FnOnce(&mut AuthorizedConnection) -> (T, Usable)) -> Option<T> {
        let first = FIRST.get();
        for number in 0..self.places.len() {
            let mut place = match self.places[(first + number) % self.places.len()].try_lock() {
                Ok(place) => place,
                Err(TryLockError::Poisoned(place)) => place.into_inner(),
                Err(TryLockError::WouldBlock) => continue,
            };
            let Some(mut connection) = place.take() else { continue };
            let (result, usable) = catch_unwind(AssertUnwindSafe(|| run(&mut connection))).ok()?;
            if usable == Usable::Yes {
                *place = Some(connection);
            }
            return Some(result);
        }
        None
    }

    /// Opens a connection for an empty place, if there is one. Where that fails the place stays empty, and the lane has its work.
    fn fill(&self, slot: &Slot) {
        let empty = self.places.iter().find_map(|place| place.try_lock().ok().filter(|place| place.is_none()));
        if let Some(mut place) = empty {
            *place = slot.open_another().ok();
        }
    }
}
