//! Calls that are watched, and the reports of those that were slow.

use std::cell::OnceCell;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use futures_timer::Delay;
use futures_util::future::{Either, select};
use isobar_base::sync::IgnorePoison;

use super::{Outcome, SlowQuery, SlowQueryOptions};
use crate::{Database, Error, Operation, QueryResult, Queryable, Result, Row, Statement, Value, sql};

/// Bytes of SQL in a report.
const SQL_BYTES: usize = 4096;
/// Longest text or blob, in bytes, that is bound while a plan is asked for; NULL stands in place of a longer one.
const VALUE_BYTES: usize = 1024;
/// Time during which a statement's plan is not asked for again.
const AGAIN: Duration = Duration::from_secs(60);
/// Statements whose plans are asked for within that time.
const STATEMENTS: usize = 1024;
/// Longest wait of a call for the plans of its statements.
const PLAN_WAIT: Duration = Duration::from_secs(1);
/// Statements that have a plan.
const PLANNED: [&str; 7] = ["SELECT", "VALUES", "WITH", "INSERT", "UPDATE", "DELETE", "REPLACE"];

/// The state of the log.
#[derive(Debug)]
pub(super) struct Log {
    /// The database itself, which is asked for the plans of sessions' statements, too.
    pub(super) database: Arc<dyn Database>,
    options: SlowQueryOptions,
    planned: Mutex<Planned>,
}

/// Whether the plans of a call's statements are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plans {
    Asked,
    /// Of a transaction, which may hold the only connection.
    Skipped,
}

impl Log {
    pub(super) fn new(database: Arc<dyn Database>, options: SlowQueryOptions) -> Self {
        Self { database, options, planned: Mutex::default() }
    }

    pub(super) async fn query<Q: Queryable + ?Sized>(
        &self,
        on: &Q,
        plans: Plans,
        statement: Statement,
    ) -> Result<QueryResult> {
        let is_timed = !statement.is_rows_only();
        let mut call = Call::start(self, plans, Operation::Query, Source::of(std::slice::from_ref(&statement)));
        let result = on.query(statement).await;
        match &result {
            Ok(result) => {
                // D1 over REST leaves the report out where only rows are needed.
                let is_reported = is_timed || !result.meta.duration.is_zero();
                let duration = if is_reported { result.meta.duration } else { call.start.elapsed() };
                call.done(duration, Counts::of(result), |source| source.statement(0));
            }
            Err(error) => call.failed(error),
        }
        call.finish().await;
        result
    }

    pub(super) async fn batch<Q: Queryable + ?Sized>(
        &self,
        on: &Q,
        plans: Plans,
        statements: Vec<Statement>,
    ) -> Result<Vec<QueryResult>> {
        let mut call = Call::start(self, plans, Operation::Batch, Source::of(&statements));
        let results = on.batch(statements).await;
        match &results {
            Ok(results) => {
                if let Source::Statements(statements) = &mut call.source
                    && statements.len() != results.len()
                {
                    // Empty statements have no result.
                    statements.retain(|statement| sql::split(&statement.sql).next().is_some());
                }
                for (index, result) in results.iter().enumerate() {
                    call.done(result.meta.duration, Counts::of(result), |source| {
                        source.statement(index).filter(|_| source.len() == results.len())
                    });
                }
            }
            Err(error) => call.failed(error),
        }
        call.finish().await;
        results
    }

    pub(super) async fn script<Q: Queryable + ?Sized>(
        &self,
        on: &Q,
        plans: Plans,
        script: &str,
    ) -> Result<Vec<QueryResult>> {
        let mut call = Call::start(self, plans, Operation::Batch, Source::Script(script));
        let results = on.batch_script(script).await;
        match &results {
            Ok(results) => {
                // The script is cut once, and where something was slow.
                let pieces: OnceCell<Vec<Arc<Explainable>>> = OnceCell::new();
                for (index, result) in results.iter().enumerate() {
                    call.done(result.meta.duration, Counts::of(result), |_| {
                        pieces.get_or_init(|| pieces_of(script, results.len())).get(index).cloned()
                    });
                }
            }
            Err(error) => call.failed(error),
        }
        call.finish().await;
        results
    }

    /// Runs a script that is reported as a whole: by its duration and its changes.
    pub(super) async fn whole<T>(
        &self,
        operation: Operation,
        script: &str,
        run: impl Future<Output = Result<T>>,
        report: fn(&T) -> (Duration, u64),
    ) -> Result<T> {
        let mut call = Call::start(self, Plans::Asked, operation, Source::Script(script));
        let result = run.await;
        match &result {
            Ok(result) => {
                let (duration, changes) = report(result);
                call.done(duration, Counts { rows: 0, changes }, |_| pieces_of(script, 1).pop());
            }
            Err(error) => call.failed(error),
        }
        call.finish().await;
        result
    }

    /// Asks for the plan of a statement, unless that was done a short time ago.
    async fn plan(&self, statement: &Explainable, until: Instant) -> Option<Vec<String>> {
        let wait = until.saturating_duration_since(Instant::now());
        let is_one = sql::split(&statement.sql).nth(1).is_none();
        if wait.is_zero() || !is_one || !PLANNED.contains(&sql::keyword(&statement.sql).as_str()) {
            return None;
        }
        let is_admitted = self.planned.lock().ignore_poison().admit(&statement.sql, Instant::now());
        if !is_admitted {
            return None;
        }
        let explain = Statement::new(format!("EXPLAIN QUERY PLAN {}", statement.sql));
        let explain = explain.bind_all(statement.values.clone()).read_only();
        match select(self.database.query(explain), Delay::new(wait)).await {
            Either::Left((Ok(result), _)) => Some(lines_of(&result)),
            Either::Left((Err(_), _)) | Either::Right(_) => None,
        }
    }

    fn report(&self, slow: &SlowQuery) {
        #[cfg(feature = "tracing")]
        tracing::warn!(
            database = &*slow.database,
            operation = slow.operation.name(),
            milliseconds = slow.duration.as_secs_f64() * 1000.0,
            rows = slow.rows,
            changes = slow.changes,
            outcome = ?slow.outcome,
            sql = slow.sql,
            plan = slow.plan.as_deref().unwrap_or_default().join("\n"),
            "slow query"
        );
        if let Some(report) = &self.options.report {
            report(slow);
        }
    }
}

/// Rows of a statement.
struct Counts {
    rows: u64,
    changes: u64,
}

impl Counts {
    fn of(result: &QueryResult) -> Self {
        Self { rows: result.rows.len() as u64, changes: result.meta.changes }
    }
}

/// A statement as its plan is asked for.
#[derive(Debug)]
struct Explainable {
    sql: String,
    values: Vec<Value>,
}

impl Explainable {
    fn of(statement: &Statement) -> Self {
        let value = |value: &Value| match value {
            Value::Text(text) if text.len() > VALUE_BYTES => Value::Null,
            Value::Blob(bytes) if bytes.len() > VALUE_BYTES => Value::Null,
            value => value.clone(),
        };
        Self { sql: statement.sql().to_owned(), values: statement.parameters().iter().map(value).collect() }
    }
}

/// The SQL of a call.
#[derive(Debug)]
enum Source<'s> {
    Statements(Vec<Arc<Explainable>>),
    Script(&'s str),
}

impl Source<'_> {
    fn of(statements: &[Statement]) -> Self {
        let mut kept: Vec<Arc<Explainable>> = Vec::with_capacity(statements.len());
        for statement in statements {
            // A batch is often one statement with other values.
            let same = kept.last().filter(|last| last.sql == statement.sql()).cloned();
            kept.push(same.unwrap_or_else(|| Arc::new(Explainable::of(statement))));
        }
        Self::Statements(kept)
    }

    fn len(&self) -> usize {
        match self {
            Self::Statements(statements) => statements.len(),
            Self::Script(_) => 1,
        }
    }

    /// The statement of a batch at this place.
    fn statement(&self, index: usize) -> Option<Arc<Explainable>> {
        let Self::Statements(statements) = self else { return None };
        statements.get(index).cloned()
    }

    /// The SQL as a report has it.
    fn shown(&self) -> String {
        match self {
            Self::Statements(statements) => {
                // One more than a report can hold makes it end in `…`.
                let some = statements.iter().take(SQL_BYTES / "; ".len() + 1);
                shown(&some.map(|statement| &*statement.sql).collect::<Vec<_>>().join("; "))
            }
            Self::Script(script) => shown(script.trim()),
        }
    }
}

/// A call in flight, and its reports. What was not reported is when it is dropped: then the caller has dropped the call.
struct Call<'c> {
    log: &'c Log,
    plans: Plans,
    operation: Operation,
    source: Source<'c>,
    start: Instant,
    /// Reports that are complete but for their plan.
    slow: VecDeque<(SlowQuery, Option<Arc<Explainable>>)>,
    is_answered: bool,
}

impl<'c> Call<'c> {
    fn start(log: &'c Log, plans: Plans, operation: Operation, source: Source<'c>) -> Self {
        Self { log, plans, operation, source, start: Instant::now(), slow: VecDeque::new(), is_answered: false }
    }

    /// Notes a statement that was answered, if it was slow. The function finds it.
    fn done(&mut self, duration: Duration, counts: Counts, find: impl FnOnce(&Source<'_>) -> Option<Arc<Explainable>>) {
        self.is_answered = true;
        if duration < self.log.options.threshold {
            return;
        }
        let statement = find(&self.source);
        let sql = statement.as_ref().map_or_else(|| self.source.shown(), |statement| shown(&statement.sql));
        let mut slow = self.slow_query(sql, duration, Outcome::Done);
        slow.rows = counts.rows;
        slow.changes = counts.changes;
        self.slow.push_back((slow, statement));
    }

    /// Notes a call that has failed, if it took long.
    fn failed(&mut self, error: &Error) {
        self.is_answered = true;
        let elapsed = self.start.elapsed();
        if elapsed < self.log.options.threshold {
            return;
        }
        let statement = match (&self.source, error.sql()) {
            (Source::Statements(one), _) if one.len() == 1 => one.first().cloned(),
            (Source::Statements(all), Some(sql)) => all.iter().find(|one| one.sql == sql).cloned(),
            (Source::Script(_), Some(sql)) => Some(Arc::new(Explainable { sql: sql.to_owned(), values: Vec::new() })),
            (_, None) => None,
        };
        let sql = statement.as_ref().map_or_else(|| self.source.shown(), |statement| shown(&statement.sql));
        let slow = self.slow_query(sql, elapsed, Outcome::Failed(error.kind()));
        self.slow.push_back((slow, statement));
    }

    fn slow_query(&self, sql: String, duration: Duration, outcome: Outcome) -> SlowQuery {
        let database = Arc::clone(&self.log.options.name);
        SlowQuery { database, operation: self.operation, sql, duration, rows: 0, changes: 0, outcome, plan: None }
    }

    /// Asks for the plans and reports.
    async fn finish(mut self) {
        self.is_answered = true;
        let log = self.log;
        let until = Instant::now() + PLAN_WAIT;
        while let Some((_, statement)) = self.slow.front_mut() {
            let plan = match statement.take() {
                Some(statement) if self.plans == Plans::Asked => log.plan(&statement, until).await,
                _ => None,
            };
            if let Some((mut slow, _)) = self.slow.pop_front() {
                slow.plan = plan;
                log.report(&slow);
            }
        }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        // A report that panics while its call unwinds would abort the process.
        if thread::panicking() {
            return;
        }
        let elapsed = self.start.elapsed();
        if !self.is_answered && elapsed >= self.log.options.threshold {
            let slow = self.slow_query(self.source.shown(), elapsed, Outcome::Dropped);
            self.slow.push_back((slow, None));
        }
        self.slow.drain(..).for_each(|(slow, _)| self.log.report(&slow));
    }
}

/// Statements whose plans were asked for, by a hash of their text.
#[derive(Debug, Default)]
struct Planned {
    asked: HashMap<u64, Instant>,
    hasher: RandomState,
}

impl Planned {
    /// Returns whether a statement's plan is to be asked for now, and notes it.
    fn admit(&mut self, sql: &str, now: Instant) -> bool {
        let key = self.hasher.hash_one(sql);
        let is_recent = |at: &Instant| now.duration_since(*at) < AGAIN;
        if self.asked.get(&key).is_some_and(is_recent) {
            return false;
        }
        if self.asked.len() >= STATEMENTS {
            self.asked.retain(|_, at| is_recent(at));
        }
        let has_room = self.asked.len() < STATEMENTS;
        if has_room {
            self.asked.insert(key, now);
        }
        has_room
    }
}

/// The statements of a script that has so many. None where SQLite has cut the script into others.
fn pieces_of(script: &str, count: usize) -> Vec<Arc<Explainable>> {
    let Ok(script) = sql::without_transaction(script) else { return Vec::new() };
    let piece = |sql: &str| Arc::new(Explainable { sql: sql.to_owned(), values: Vec::new() });
    let pieces: Vec<_> = sql::split(&script).take(count + 1).map(piece).collect();
    if pieces.len() == count { pieces } else { Vec::new() }
}

/// SQL as a report has it.
fn shown(sql: &str) -> String {
    if sql.len() <= SQL_BYTES {
        return sql.to_owned();
    }
    format!("{}…", &sql[..sql.floor_char_boundary(SQL_BYTES)])
}

/// The lines of a plan.
fn lines_of(result: &QueryResult) -> Vec<String> {
    let mut depths: HashMap<i64, usize> = HashMap::new();
    let line = |values: &[Value]| {
        let [Value::Integer(id), Value::Integer(parent), _, Value::Text(detail)] = values else { return None };
        let depth = depths.get(parent).map_or(0, |depth| depth + 1);
        depths.insert(*id, depth);
        Some(format!("{}{detail}", "  ".repeat(depth)))
    };
    result.rows.iter().map(Row::values).filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_asked_for_once_a_minute_and_of_a_bounded_number_of_texts() {
        let mut planned = Planned::default();
        let start = Instant::now();
        assert!(planned.admit("a", start) && planned.admit("b", start));
        assert!(!planned.admit("a", start + AGAIN - Duration::from_millis(1)));
        assert!(planned.admit("a", start + AGAIN));
        let later = start + AGAIN * 2;
        let admitted = (0..STATEMENTS * 2).filter(|number| planned.admit(&number.to_string(), later)).count();
        assert_eq!((admitted, planned.asked.len()), (STATEMENTS, STATEMENTS));
        assert!(planned.admit("c", later + AGAIN), "old texts make room");
        assert_eq!(planned.asked.len(), 1);
    }

    #[test]
    fn long_sql_is_cut_at_a_character() {
        assert_eq!(shown("SELECT 1"), "SELECT 1");
        let cut = shown(&format!("x{}", "ä".repeat(SQL_BYTES)));
        assert_eq!((cut.len(), cut.chars().last()), (SQL_BYTES - 1 + "…".len(), Some('…')));
    }
}
