//! Interactive transactions. One holds the writer's thread, which waits for its statements: other writes stay in the queue until it
//! ends, and its time limit bounds that.
//!
//! Each call runs in a savepoint, by which it is undone where it fails. The end is decided on the thread alone; what ended the
//! transaction, other than its caller, is left for later calls to report.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use isobar_sqlite::Failure;
use tokio::sync::oneshot;

use super::route::Route;
use super::run::{Access, Work};
use super::shared::Shared;
use super::{Engine, NO_STATEMENT, route, text_of};
use crate::sqlite::connection::{AuthorizedConnection, Call, Turn};
use crate::sqlite::fault;
use crate::sqlite::lane::{Slot, Waiting, ended};
use crate::{
    Error, ErrorKind, InteractiveOptions, InteractiveTransaction, Operation, QueryResult, Queryable, Result, Statement,
};

/// An open transaction, which is rolled back when this is dropped: the thread notices that no call can come any more.
#[derive(Debug)]
pub(in crate::sqlite) struct Interactive {
    // Before the engine, which ends when its writer is free.
    commands: Sender<Command>,
    over: Arc<OnceLock<Error>>,
    engine: Arc<Engine>,
}

/// A call of the transaction.
enum Command {
    Run(Task<Vec<QueryResult>>, Work, Access),
    Commit(Task<()>),
    Rollback(Task<()>),
    /// A call was dropped before its answer was read.
    Leave,
}

/// A call, and who waits for it.
struct Task<T> {
    call: Arc<Call>,
    answer: oneshot::Sender<Result<T>>,
}

/// A call whose answer has not been read. Dropped, it ends the transaction: the caller cannot know whether it was run.
struct Unanswered<'t> {
    call: Arc<Call>,
    commands: &'t Sender<Command>,
    is_answered: bool,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.call.abandon();
            // The thread may have answered before. Where the transaction is over, nothing has to learn of it.
            drop(self.commands.send(Command::Leave));
        }
    }
}

/// A transaction that has begun.
struct Begun {
    commands: Sender<Command>,
    over: Arc<OnceLock<Error>>,
}

/// The transaction as its thread knows it.
struct Open {
    /// Set when it is over for another reason than its caller's will, before anything is dropped that a caller waits for.
    over: Arc<OnceLock<Error>>,
    until: Instant,
    limit: Duration,
}

/// The end of a transaction.
enum End {
    Committed(Task<()>),
    NotCommitted(Task<()>, Error),
    RolledBack(Task<()>),
    /// By its time limit, or by a call that failed or was dropped: later calls report it.
    Over,
    /// Its guard was dropped.
    Dropped,
}

/// The end of a call.
enum Outcome {
    Done(Vec<QueryResult>),
    /// It has failed, and was undone.
    Undone(Error),
    /// It has failed, and SQLite has rolled the transaction back.
    Ended(Error),
}

impl Engine {
    /// Begins a transaction, when its turn has come.
    pub(in crate::sqlite) async fn begin(self: &Arc<Self>, limit: Duration) -> Result<Interactive> {
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting(Arc::new(Call::new(self.shared.options.time_limit)));
        let call = Arc::clone(&waiting.0);
        let shared = Arc::clone(&self.shared);
        self.writer.hold(move |slot: &mut Slot, waited: Duration| {
            if call.is_abandoned() {
                return;
            }
            if waited > shared.options.time_limit {
                // The caller may have gone meanwhile, and the answer with it.
                drop(answer.send(Err(fault::queued_too_long())));
                return;
            }
            shared.hold(slot, &call, limit.min(InteractiveOptions::LONGEST), answer);
        })?;
        let begun = answered.await;
        drop(waiting);
        let Begun { commands, over } = begun.unwrap_or_else(|_| Err(ended()))?;
        Ok(Interactive { commands, over, engine: Arc::clone(self) })
    }
}

impl Interactive {
    async fn run(&self, work: Work, route: Route) -> Result<Vec<QueryResult>> {
        self.send(|task| Command::Run(task, work, route.access())).await
    }

    /// Sends a call and waits for its answer. A call whose future is dropped ends the transaction.
    async fn send<T>(&self, command: impl FnOnce(Task<T>) -> Command) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        let call = Arc::new(Call::new(self.engine.shared.options.time_limit));
        let task = Task { call: Arc::clone(&call), answer };
        let is_sent = self.commands.send(command(task)).is_ok();
        let mut waiting = Unanswered { call, commands: &self.commands, is_answered: false };
        let result = if is_sent { answered.await.ok() } else { None };
        waiting.is_answered = true;
        result.unwrap_or_else(|| Err(self.over.get().cloned().unwrap_or_else(ended)))
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Queryable for Interactive {
    async fn query(&self, statement: Statement) -> Result<QueryResult> {
        let mut statements = vec![statement];
        let missing = || Error::new(ErrorKind::Sql, NO_STATEMENT).during(Operation::Query);
        let route = route(&mut statements).ok_or_else(missing)?;
        let results = self.run(Work::Batch(statements), route).await.map_err(|error| error.during(Operation::Query))?;
        let without = || Error::new(ErrorKind::Internal, "a statement without a result").during(Operation::Query);
        results.into_iter().next_back().ok_or_else(without)
    }

    async fn batch(&self, mut statements: Vec<Statement>) -> Result<Vec<QueryResult>> {
        let missing = || Error::new(ErrorKind::Sql, NO_STATEMENT).during(Operation::Batch);
        let route = route(&mut statements).ok_or_else(missing)?;
        self.run(Work::Batch(statements), route).await.map_err(|error| error.during(Operation::Batch))
    }

    async fn batch_script(&self, script: &str) -> Result<Vec<QueryResult>> {
        let script = text_of(script).map_err(|error| error.during(Operation::Batch))?;
        self.run(Work::Script(script), Route::Writer).await.map_err(|error| error.during(Operation::Batch))
    }
}

#[async_trait]
impl InteractiveTransaction for Interactive {
    async fn commit(self: Box<Self>) -> Result<()> {
        self.send(Command::Commit).await.map_err(|error| error.during(Operation::Commit))
    }

    async fn rollback(self: Box<Self>) -> Result<()> {
        self.send(Command::Rollback).await.map_err(|error| error.during(Operation::Rollback))
    }
}

impl<T> Task<T> {
    /// Answers. Returns whether the caller was still there.
    fn answer(self, result: Result<T>) -> bool {
        self.answer.send(result).is_ok()
    }
}

impl Open {
    fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// Ends the transaction if its time is over.
    fn is_too_late(&self) -> bool {
        let is_over = self.left().is_zero();
        if is_over {
            self.end(over(format!(
                "the interactive transaction has taken longer than {:?}, its time limit, and was rolled back: do less in it, or set \
                 a longer one",
                self.limit
            )));
        }
        is_over
    }

    /// Ends the transaction for this reason.
    fn end(&self, error: Error) -> End {
        // The first reason stays.
        drop(self.over.set(error));
        End::Over
    }
}

/// The error of a transaction that is over. Its calls do not succeed any more.
fn over(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Unavailable, message).for_good()
}

fn abandoned() -> Error {
    over("a call of the interactive transaction was dropped before its answer, so the transaction was rolled back")
}

impl Shared {
    /// Runs a transaction on the writer's thread, from its beginning to its end.
    fn hold(&self, slot: &mut Slot, call: &Arc<Call>, limit: Duration, answer: oneshot::Sender<Result<Begun>>) {
        if let Err(error) = self.begin_interactive(slot, call) {
            drop(answer.send(Err(error)));
            return;
        }
        let (commands, received) = channel();
        let open = Open { over: Arc::default(), until: Instant::now() + limit, limit };
        // Where the caller has gone, what was sent is dropped, and with it the only sender: the transaction is rolled back.
        drop(answer.send(Ok(Begun { commands, over: Arc::clone(&open.over) })));
        let Ok(connection) = slot.connection() else { return };
        let end = self.serve(connection, &received, &open);
        let is_usable = connection.roll_back();
        if let Err(failure) = self.look(connection) {
            self.note(&failure);
        }
        if !is_usable {
            slot.discard();
        }
        drop(received);
        match end {
            End::Committed(task) => {
                task.answer(Ok(()));
                if let Ok(connection) = slot.connection() {
                    self.checkpoint(connection);
                }
            }
            End::RolledBack(task) => {
                task.answer(Ok(()));
            }
            End::NotCommitted(task, error) => {
                task.answer(Err(error));
            }
            End::Over | End::Dropped => {}
        }
    }

    /// Begins. It waits for another process's lock as long as a call may, and while the caller waits.
    fn begin_interactive(&self, slot: &mut Slot, call: &Arc<Call>) -> Result<()> {
        let _turn = Turn::start(call);
        self.check_writable()?;
        let connection = slot.connection()?;
        connection.follow_settings().map_err(|failure| fault::of(&failure))?;
        connection.expect_reads(false);
        connection.begin("BEGIN IMMEDIATE").map_err(|failure| self.failed(connection, failure))
    }

    /// Takes calls until one of them, the time or the caller ends the transaction.
    fn serve(&self, connection: &AuthorizedConnection, commands: &Receiver<Command>, open: &Open) -> End {
        loop {
            let command = commands.recv_timeout(open.left());
            if matches!(command, Err(RecvTimeoutError::Disconnected)) {
                return End::Dropped;
            }
            if open.is_too_late() {
                return End::Over;
            }
            match command {
                Ok(Command::Run(task, work, access)) => {
                    if let Some(end) = self.run_call(connection, task, (&work, access), open) {
                        return end;
                    }
                }
                Ok(Command::Rollback(task)) => return End::RolledBack(task),
                Ok(Command::Commit(task)) if task.call.is_abandoned() => return End::Dropped,
                Ok(Command::Commit(task)) => return self.commit_call(connection, task),
                Ok(Command::Leave) => return open.end(abandoned()),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
        }
    }

    fn commit_call(&self, connection: &AuthorizedConnection, task: Task<()>) -> End {
        match connection.commit() {
            Ok(()) => {
                self.note_commit(connection);
                self.note_success();
                End::Committed(task)
            }
            Err(failure) => End::NotCommitted(task, self.failed(connection, failure)),
        }
    }

    /// Runs a call and answers it. `None` where the transaction goes on.
    fn run_call(
        &self,
        connection: &AuthorizedConnection,
        task: Task<Vec<QueryResult>>,
        work: (&Work, Access),
        open: &Open,
    ) -> Option<End> {
        let outcome = match task.call.is_abandoned() {
            true => return Some(open.end(abandoned())),
            false => self.run_in_savepoint(connection, &task.call, work, open),
        };
        let result = match outcome {
            Ok(Outcome::Done(results)) => Ok(results),
            // Interrupted writes end the transaction in SQLite.
            Ok(Outcome::Undone(_) | Outcome::Ended(_)) if task.call.is_abandoned() => {
                return Some(open.end(abandoned()));
            }
            Ok(Outcome::Undone(_) | Outcome::Ended(_)) if open.is_too_late() => return Some(End::Over),
            Ok(Outcome::Undone(error)) => Err(error),
            Ok(Outcome::Ended(error)) => {
                let end = open.end(over(format!("an earlier call has ended the transaction: {}", error.message())));
                task.answer(Err(error));
                return Some(end);
            }
            Err(failure) => return Some(open.end(self.failed(connection, failure))),
        };
        if task.answer(result) { None } else { Some(open.end(abandoned())) }
    }

    /// Runs a call in a savepoint, and undoes it where it fails. One that writes is refused where the database may not be written now.
    fn run_in_savepoint(
        &self,
        connection: &AuthorizedConnection,
        call: &Arc<Call>,
        (work, access): (&Work, Access),
        open: &Open,
    ) -> Result<Outcome, Failure> {
        if access == Access::Writes
            && let Err(error) = self.check_writable()
        {
            return Ok(Outcome::Undone(error));
        }
        connection.own_statement("SAVEPOINT isobar")?;
        let turn = Turn::start_within(call, open.left());
        let result = self.batch(connection, work, Access::Writes);
        drop(turn);
        let outcome = match result {
            Ok(results) => Outcome::Done(results),
            Err(error) if connection.connection().is_autocommit() => return Ok(Outcome::Ended(error)),
            Err(error) => {
                connection.own_statement("ROLLBACK TO isobar")?;
                Outcome::Undone(error)
            }
        };
        connection.own_statement("RELEASE isobar")?;
        Ok(outcome)
    }
}
