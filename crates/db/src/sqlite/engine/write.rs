//! Writes: group commit. What waits is run in one transaction, with a savepoint for each task, and made durable by one sync; no
//! task is answered before it. A task that fails is undone alone. One that would end the transaction for the others, or hold it
//! up, runs in a transaction of its own, and the others are run again without it: none of them has been answered yet.
//!
//! | a task in a group | what becomes of it | and of the others |
//! |---|---|---|
//! | succeeds | answered after the commit | go on |
//! | fails | its savepoint is undone, its error is answered after the commit | go on |
//! | leaves a deferred foreign key broken | undone, runs alone: there it fails its own COMMIT | go on |
//! | takes longer than 10 ms behind another | undone, runs alone | go on |
//! | ends the transaction (`OR ROLLBACK`, a full disk) | answered, or runs alone | run again without it |
//!
//! A commit that fails is tried again task by task, alone. A commit whose *sync* fails is answered to all as an error, and
//! nothing is written any more: nobody knows what of it is on the disk.
//!
//! `last_insert_rowid()` is the connection's, not the transaction's, so it is set back by hand where a task is undone.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use isobar_sqlite::Failure;
use tokio::sync::oneshot;

use super::route::Route;
use super::run::{Access, Work};
use super::shared::Shared;
use crate::sqlite::connection::{AuthorizedConnection, Call, Turn};
use crate::sqlite::fault;
use crate::sqlite::lane::Slot;
use crate::{Error, QueryResult, Result};

/// Longest time of a shared transaction, and of a task in it behind the first: what takes longer runs alone, so that it holds up
/// the answers to others no longer than this.
const SLICE: Duration = Duration::from_millis(10);

/// A task of the writer's.
pub(super) struct WriteTask {
    work: Work,
    route: Route,
    call: Arc<Call>,
    /// `None` when it has been answered.
    answer: Option<oneshot::Sender<Result<Vec<QueryResult>>>>,
}

/// The end of a task in a shared transaction.
enum Outcome {
    /// It has run, or has failed and was undone.
    Ended(Result<Vec<QueryResult>>),
    /// It was undone, and is to run alone.
    Alone,
    /// Its caller has gone.
    Abandoned,
}

/// The end of a shared transaction.
enum Attempt {
    /// It is durable. The outcomes are those of the first tasks; the others have not run.
    Committed(Vec<Outcome>),
    /// This task has ended the transaction for all.
    EndedBy(usize, Outcome),
    /// It could not begin, for a reason that all share.
    NotBegun(Error),
    /// It could not be committed, and is undone.
    NotCommitted(Error),
}

impl WriteTask {
    pub(super) fn new(
        work: Work,
        route: Route,
        call: Arc<Call>,
        answer: oneshot::Sender<Result<Vec<QueryResult>>>,
    ) -> Self {
        Self { work, route, call, answer: Some(answer) }
    }

    fn answer(&mut self, result: Result<Vec<QueryResult>>) {
        if let Some(answer) = self.answer.take() {
            // The caller may have gone meanwhile, and the answer with it.
            drop(answer.send(result));
        }
    }
}

impl Shared {
    /// Runs tasks that were waiting together, each with the time of its arrival, and answers them.
    pub(super) fn write_all(&self, slot: &mut Slot, tasks: Vec<(WriteTask, Instant)>) {
        let mut waiting = VecDeque::from(tasks);
        while let Some((mut task, arrived)) = waiting.pop_front() {
            if task.call.is_abandoned() {
                continue;
            }
            if arrived.elapsed() > self.options.time_limit {
                task.answer(Err(fault::queued_too_long()));
                continue;
            }
            let shares = |(task, _): &(WriteTask, _)| task.route == Route::Shared;
            if task.route != Route::Shared || !waiting.front().is_some_and(shares) {
                self.write_alone(slot, task);
                continue;
            }
            let mut group = vec![(task, arrived)];
            while waiting.front().is_some_and(shares) {
                group.extend(waiting.pop_front());
            }
            for task in self.write_group(slot, group).into_iter().rev() {
                waiting.push_front(task);
            }
        }
    }

    /// Runs a task in a transaction of its own, and answers it.
    fn write_alone(&self, slot: &mut Slot, mut task: WriteTask) {
        let turn = Turn::start(&task.call);
        let result = self.write(slot, &task.work, task.route);
        drop(turn);
        let has_written = result.is_ok() && task.route != Route::ReadOnWriter;
        task.answer(result);
        if has_written && let Ok(connection) = slot.connection() {
            self.checkpoint(connection);
        }
    }

    fn write(&self, slot: &mut Slot, work: &Work, route: Route) -> Result<Vec<QueryResult>> {
        let access = route.access();
        if access == Access::Writes {
            self.check_writable()?;
        }
        let connection = slot.connection()?;
        connection.follow_settings().map_err(|failure| fault::of(&failure))?;
        connection.expect_reads(access == Access::Reads);
        let outcome = self.transact(connection, work, access);
        self.note_last_row(connection);
        let writes = connection.refused_write();
        if !connection.roll_back() {
            slot.discard();
            return outcome;
        }
        if access == Access::Reads && writes && outcome.is_err() {
            return self.write(slot, work, Route::Writer);
        }
        if outcome.is_ok() && access == Access::Writes {
            self.note_success();
        }
        outcome
    }

    /// Runs a transaction from BEGIN to COMMIT. After an error the caller rolls back.
    fn transact(&self, connection: &AuthorizedConnection, work: &Work, access: Access) -> Result<Vec<QueryResult>> {
        let failed = |failure: Failure| {
            self.note(&failure);
            fault::of(&failure)
        };
        connection.begin(if access == Access::Reads { "BEGIN" } else { "BEGIN IMMEDIATE" }).map_err(failed)?;
        let results = self.batch(connection, work, access)?;
        // A statement may have ended the transaction (OR ROLLBACK), but then it has failed.
        connection.commit().map_err(failed)?;
        self.note_commit(connection);
        Ok(results)
    }

    /// Runs tasks in a shared transaction, and answers them. Returns those that it had no time for.
    fn write_group(&self, slot: &mut Slot, mut group: Vec<(WriteTask, Instant)>) -> Vec<(WriteTask, Instant)> {
        let mut alone = Vec::new();
        let rest = loop {
            if group.is_empty() {
                break group;
            }
            match self.attempt(slot, &mut group) {
                Attempt::Committed(outcomes) => {
                    let rest = group.split_off(outcomes.len());
                    for ((mut task, _), outcome) in group.into_iter().zip(outcomes) {
                        match outcome {
                            Outcome::Ended(result) => task.answer(result),
                            Outcome::Alone => alone.push(task),
                            Outcome::Abandoned => {}
                        }
                    }
                    break rest;
                }
                Attempt::EndedBy(index, outcome) => {
                    let (mut task, _) = group.remove(index);
                    match outcome {
                        Outcome::Ended(result) => task.answer(result),
                        Outcome::Alone => alone.push(task),
                        Outcome::Abandoned => {}
                    }
                }
                Attempt::NotCommitted(_) if !self.is_poisoned() => {
                    alone.extend(group.into_iter().map(|(task, _)| task));
                    break Vec::new();
                }
                Attempt::NotBegun(error) | Attempt::NotCommitted(error) => {
                    group.iter_mut().for_each(|(task, _)| task.answer(Err(error.clone())));
                    break Vec::new();
                }
            }
        };
        if let Ok(connection) = slot.connection() {
            self.checkpoint(connection);
        }
        for task in alone {
            if !task.call.is_abandoned() {
                self.write_alone(slot, task);
            }
        }
        rest
    }

    /// Runs tasks in a shared transaction. Where it does not commit, it is as if none of them had run.
    fn attempt(&self, slot: &mut Slot, group: &mut [(WriteTask, Instant)]) -> Attempt {
        let begun = self.begin_group(slot, group);
        let connection = match begun.and_then(|()| slot.connection()) {
            Ok(connection) => connection,
            Err(error) => return Attempt::NotBegun(error),
        };
        let rowid = connection.connection().last_insert_rowid();
        let attempt = self.run_group(connection, group);
        if !matches!(attempt, Attempt::Committed(_)) {
            let is_usable = connection.roll_back();
            isobar_sqlite::set_last_insert_rowid(connection.connection(), rowid);
            self.note_last_row(connection);
            if !is_usable {
                slot.discard();
            }
        } else {
            self.note_last_row(connection);
            self.note_success();
        }
        attempt
    }

    /// Begins a shared transaction. It waits for another process's lock as long as a call may, and while one of the callers waits.
    fn begin_group(&self, slot: &mut Slot, group: &[(WriteTask, Instant)]) -> Result<()> {
        self.check_writable()?;
        let calls = group.iter().map(|(task, _)| Arc::clone(&task.call)).collect();
        let _turn = Turn::start(&Arc::new(Call::of_all(calls, self.options.time_limit)));
        let connection = slot.connection()?;
        connection.follow_settings().map_err(|failure| fault::of(&failure))?;
        connection.expect_reads(false);
        connection.begin("BEGIN IMMEDIATE").map_err(|failure| self.failed(connection, failure))
    }

    /// Runs tasks in the shared transaction that is open, and commits it.
    fn run_group(&self, connection: &AuthorizedConnection, group: &mut [(WriteTask, Instant)]) -> Attempt {
        let start = Instant::now();
        let mut outcomes = Vec::with_capacity(group.len());
        for (index, (task, _)) in group.iter().enumerate() {
            let limit = match index {
                0 => self.options.time_limit,
                _ if start.elapsed() >= SLICE => break,
                _ => SLICE,
            };
            let outcome = match self.run_member(connection, task, limit, outcomes.last()) {
                Ok(outcome) => outcome,
                Err(failure) => return Attempt::NotCommitted(self.failed(connection, failure)),
            };
            if connection.connection().is_autocommit() {
                return Attempt::EndedBy(index, outcome);
            }
            outcomes.push(outcome);
        }
        #[cfg(test)]
        early::answer(group, &outcomes);
        match connection.commit() {
            Ok(()) => {
                self.note_commit(connection);
                Attempt::Committed(outcomes)
            }
            Err(failure) => Attempt::NotCommitted(self.failed(connection, failure)),
        }
    }

    /// Runs a task within a savepoint, and undoes it where it fails. Where it has ended the transaction, the outcome is what is to
    /// become of it.
    fn run_member(
        &self,
        connection: &AuthorizedConnection,
        task: &WriteTask,
        limit: Duration,
        previous: Option<&Outcome>,
    ) -> Result<Outcome, Failure> {
        if task.call.is_abandoned() {
            return Ok(Outcome::Abandoned);
        }
        let rowid = connection.connection().last_insert_rowid();
        connection.own_statement("SAVEPOINT isobar")?;
        let turn = Turn::start_within(&task.call, limit);
        let result = match previous {
            // It has looked at the state at its end, and the transaction is ours.
            Some(Outcome::Ended(Ok(_))) => {
                self.batch_from(connection, &task.work, Access::Writes, self.standing(connection))
            }
            _ => self.batch(connection, &task.work, Access::Writes),
        };
        let was_cut_off = turn.is_over() && limit < self.options.time_limit;
        let is_out_of_time = turn.is_over() && !was_cut_off;
        drop(turn);
        let outcome = match result {
            Err(_) if task.call.is_abandoned() => Outcome::Abandoned,
            Err(_) if was_cut_off => Outcome::Alone,
            // Alone it breaks its own COMMIT only.
            Ok(_) if isobar_sqlite::breaks_foreign_keys(connection.connection()) => Outcome::Alone,
            // What has ended the transaction may owe it to the others: a full disk.
            Err(_) if connection.connection().is_autocommit() && !is_out_of_time => Outcome::Alone,
            result => Outcome::Ended(result),
        };
        if connection.connection().is_autocommit() {
            return Ok(outcome);
        }
        if !matches!(outcome, Outcome::Ended(Ok(_))) {
            connection.own_statement("ROLLBACK TO isobar")?;
        }
        if !matches!(outcome, Outcome::Ended(_)) {
            isobar_sqlite::set_last_insert_rowid(connection.connection(), rowid);
        }
        connection.own_statement("RELEASE isobar")?;
        Ok(outcome)
    }

    /// Copies a long log into the database. The commits are durable in the log; a failure loses nothing.
    pub(super) fn checkpoint(&self, connection: &AuthorizedConnection) {
        #[cfg(feature = "local")]
        let copied = self.copy_long_log(connection);
        #[cfg(not(feature = "local"))]
        let copied = connection.checkpoint();
        if let Err(failure) = copied {
            self.note(&failure);
        }
    }

    /// Notes a commit in the history, before it is answered.
    #[cfg_attr(not(feature = "local"), allow(unused_variables, reason = "only a file has a history"))]
    pub(super) fn note_commit(&self, connection: &AuthorizedConnection) {
        #[cfg(feature = "local")]
        self.committed(connection);
    }
}

/// A group commit that is broken on purpose, for the test that must find it.
#[cfg(test)]
pub(super) mod early {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    use super::{Outcome, WriteTask};

    /// Set: tasks are answered before the commit.
    pub(in crate::sqlite::engine) static ANSWERS: AtomicBool = AtomicBool::new(false);

    pub(super) fn answer(group: &mut [(WriteTask, Instant)], outcomes: &[Outcome]) {
        if !ANSWERS.load(Ordering::SeqCst) {
            return;
        }
        for ((task, _), outcome) in group.iter_mut().zip(outcomes) {
            if let Outcome::Ended(result) = outcome {
                task.answer(result.clone());
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
