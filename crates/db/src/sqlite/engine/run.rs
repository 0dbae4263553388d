//! Running the statements of a batch or a script on a connection: their rows, their meta, the places of their errors.
//!
//! Everything here runs within a transaction that its caller has begun and will end, on either kind of connection.
//! Statements are prepared one at a time, since the next may need what this one creates, and end where SQLite says
//! that they end.
//!
//! `meta` is made of three numbers before and after: changes, last row, size. D1 counts a database as changed where
//! one of them differs. Rows read and written are SQLite's own counts of the run, where it has them; of a text with several statements,
//! those of the last one, as D1 reports them.

use std::sync::Arc;
use std::time::Instant;

use isobar_sqlite::{Failure, Prepared, RowCounts, Text};

use super::result_bytes::ResultBytes;
use super::shared::{Shared, Standing};
use crate::sqlite::connection::AuthorizedConnection;
use crate::sqlite::fault;
use crate::sqlite::values::to_sql;
use crate::statement::WRONG_BINDINGS;
use crate::{Error, ErrorKind, Imported, Meta, QueryResult, Result, Row, Statement, Value, sql};

const ONLY_COMMENTS: &str = "SQL code did not contain a statement.";
const EARLY_PARAMETER: &str =
    "When executing multiple SQL statements in a single call, only the last statement can have parameters.";
const FORBIDDEN_WRITE: &str = "not authorized: the statement may only read, and would write";
const TRANSACTION: &str = "To execute a transaction, please use batch() instead of the SQL BEGIN TRANSACTION or \
                           SAVEPOINT statements. D1 refuses them too: a transaction cannot stay open between calls.";

/// Statements that are kept prepared: the authorizer's answer to them does not change, and it learns nothing from them.
const KEPT: [&str; 7] = ["SELECT", "VALUES", "WITH", "INSERT", "UPDATE", "DELETE", "REPLACE"];

/// Work that runs in one transaction.
pub(super) enum Work {
    /// Statements, with a result each.
    Batch(Vec<Statement>),
    /// A script, with a result for each statement in it.
    Script(Text),
    /// A script, with one result: the sum of the reports, and the number of statements as its only value.
    Import(Text),
}

impl Work {
    /// Returns whether it is a statement alone, which needs no transaction to be atomic.
    pub(super) fn is_single(&self) -> bool {
        match self {
            Self::Batch(statements) if statements.len() == 1 => sql::split(statements[0].sql()).nth(1).is_none(),
            _ => false,
        }
    }
}

/// Whether the work is taken for work that only reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Reads,
    Writes,
}

/// Part of a script's results that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    /// Their rows.
    Rows,
    /// Their reports alone.
    Nothing,
}

/// Outcome of a statement that has run to its end.
#[derive(Debug, Default)]
pub(super) struct Ran {
    columns: Vec<String>,
    rows: Vec<Row>,
    counts: Option<RowCounts>,
}

impl Ran {
    /// The result with this report, which gets the counts.
    pub(super) fn into_result(self, mut meta: Meta) -> QueryResult {
        meta.rows_read = self.counts.map(|counts| counts.read);
        meta.rows_written = self.counts.map(|counts| counts.written);
        QueryResult::new(self.columns, self.rows, meta)
    }
}

/// Effect of a statement's SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// It reads and changes rows.
    Rows,
    Any,
}

impl Shared {
    /// Runs work in the transaction that is open.
    pub(super) fn batch(
        &self,
        connection: &AuthorizedConnection,
        work: &Work,
        access: Access,
    ) -> Result<Vec<QueryResult>> {
        let standing = match access {
            Access::Writes => self.look_again(connection)?,
            Access::Reads => self.standing(connection),
        };
        self.batch_from(connection, work, access, standing)
    }

    /// Runs work in the transaction that is open, and in which nobody else can have changed this state.
    pub(super) fn batch_from(
        &self,
        connection: &AuthorizedConnection,
        work: &Work,
        access: Access,
        standing: Standing,
    ) -> Result<Vec<QueryResult>> {
        match work {
            Work::Batch(statements) => self.statements(connection, statements, access, standing),
            Work::Script(script) => {
                let mut results = Vec::new();
                self.script(connection, script, standing, Keep::Rows, |result| results.push(result))?;
                Ok(results)
            }
            Work::Import(script) => {
                let mut imported = Imported::default();
                self.script(connection, script, standing, Keep::Nothing, |result| imported.add(result.meta))?;
                let columns: Arc<[String]> = Arc::new(["statements".to_owned()]);
                let count = Row::new(columns, vec![Value::Integer(imported.statements as i64)]);
                Ok(vec![QueryResult::new(Vec::new(), vec![count], imported.meta)])
            }
        }
    }

    /// Runs statements, with a result each. The size of the database is looked at after the last one and after those that do more
    /// than work on rows, as that costs as much as a short statement; others of the batch report the size that was found then.
    fn statements(
        &self,
        connection: &AuthorizedConnection,
        statements: &[Statement],
        access: Access,
        mut standing: Standing,
    ) -> Result<Vec<QueryResult>> {
        let mut results: Vec<QueryResult> = Vec::with_capacity(statements.len());
        let bytes = ResultBytes::default();
        let mut unseen = 0;
        for (index, statement) in statements.iter().enumerate() {
            let start = Instant::now();
            let failed = |error: Error| error.with_sql(statement.sql()).with_statement(index);
            bytes.begin(statement);
            let (ran, effect) = self.statement(connection, statement, access, &bytes).map_err(failed)?;
            let looks = effect == Effect::Any || index + 1 == statements.len();
            let meta = self.meta(connection, &mut standing, start, access, looks).map_err(failed)?;
            results.push(ran.into_result(meta));
            if looks {
                results[unseen..].iter_mut().for_each(|result| result.meta.size_after = standing.size);
                unseen = results.len();
            }
        }
        Ok(results)
    }

    /// Runs a statement's SQL, which may be several: the parameters are the last one's, and so are the rows.
    fn statement(
        &self,
        connection: &AuthorizedConnection,
        statement: &Statement,
        access: Access,
        bytes: &ResultBytes,
    ) -> Result<(Ran, Effect)> {
        if statement.is_read_only() {
            return self.read_only(connection, statement, bytes);
        }
        let kept = if may_keep(connection, access) { connection.kept(statement.sql()) } else { None };
        let Some(mut prepared) = kept else { return self.run_anew(connection, statement, access, bytes) };
        let ran = self.run_bound(connection, &mut prepared, statement, statement.sql(), bytes)?;
        connection.keep(statement.sql(), prepared);
        Ok((ran, Effect::Rows))
    }

    /// Runs a statement that may not write, on whichever connection. It is prepared anew: the authorizer is to see it.
    fn read_only(
        &self,
        connection: &AuthorizedConnection,
        statement: &Statement,
        bytes: &ResultBytes,
    ) -> Result<(Ran, Effect)> {
        let failed = |failure| self.failed(connection, failure);
        connection.forbid_writes(true).map_err(failed)?;
        let result = self.run_anew(connection, statement, Access::Reads, bytes);
        connection.forbid_writes(false).map_err(failed)?;
        result
    }

    /// Prepares and runs a statement's SQL.
    ///
    /// Only the last statement of the text may have parameters, and its rows are the result; the others run to their
    /// ends.
    fn run_anew(
        &self,
        connection: &AuthorizedConnection,
        statement: &Statement,
        access: Access,
        bytes: &ResultBytes,
    ) -> Result<(Ran, Effect)> {
        let wrong = |message: &str| Error::new(ErrorKind::Sql, message);
        let text = Text::new(statement.sql());
        let mut at = 0;
        loop {
            let (sql, prepared, next) = self.prepare(connection, &text, at, false)?;
            at = next;
            let Some(mut prepared) = prepared else { return Err(wrong(ONLY_COMMENTS)) };
            if statement.is_read_only() && !(prepared.is_read_only() || prepared.is_explain()) {
                return Err(Error::new(ErrorKind::NotAuthorized, FORBIDDEN_WRITE).with_sql(sql));
            }
            if text.rest(at).is_empty() {
                let ran = self.run_bound(connection, &mut prepared, statement, sql, bytes)?;
                let is_whole = sql.len() == statement.sql().len() && prepared.is_as_written();
                let works_on_rows = is_whole && KEPT.contains(&sql::keyword(sql).as_str());
                if works_on_rows && may_keep(connection, access) {
                    connection.keep(sql, prepared);
                }
                return Ok((ran, if works_on_rows { Effect::Rows } else { Effect::Any }));
            }
            if prepared.parameters() > 0 {
                return Err(wrong(EARLY_PARAMETER));
            }
            self.run_to_end(connection, &mut prepared, sql, bytes)?;
        }
    }

    /// Runs the last statement of a text with its parameters.
    fn run_bound(
        &self,
        connection: &AuthorizedConnection,
        prepared: &mut Prepared<'_>,
        statement: &Statement,
        sql: &str,
        bytes: &ResultBytes,
    ) -> Result<Ran> {
        if prepared.parameters() != statement.parameters().len() {
            return Err(Error::new(ErrorKind::Sql, WRONG_BINDINGS));
        }
        let failed = |failure| self.failed(connection, failure).with_sql(sql);
        prepared.bind(statement.parameters().iter().map(to_sql)).map_err(failed)?;
        self.run_to_end(connection, prepared, sql, bytes)
    }

    /// Runs a script's statements one after the other, each as it is prepared: the next may use a table that this one creates.
    fn script(
        &self,
        connection: &AuthorizedConnection,
        text: &Text,
        mut standing: Standing,
        keep: Keep,
        mut take: impl FnMut(QueryResult),
    ) -> Result<()> {
        let script = text.rest(0);
        let bytes = ResultBytes::default();
        let mut next = 0;
        let mut number = 0;
        while !text.rest(next).is_empty() {
            let start = Instant::now();
            let at = next;
            let placed = |error: Error| error.with_statement(number).with_position(script, at);
            let (sql, prepared, after) = self.prepare(connection, text, at, true).map_err(placed)?;
            next = after;
            let Some(mut prepared) = prepared else { continue };
            if prepared.parameters() > 0 {
                return Err(placed(Error::new(ErrorKind::Sql, WRONG_BINDINGS).with_sql(sql)));
            }
            let ran = match keep {
                Keep::Rows => self.run_to_end(connection, &mut prepared, sql, &bytes).map_err(placed)?,
                Keep::Nothing => {
                    let failed = |failure| placed(self.failed(connection, failure).with_sql(sql));
                    while prepared.step().map_err(failed)? {}
                    Ran { counts: prepared.take_row_counts(), ..Ran::default() }
                }
            };
            drop(prepared);
            let meta = self.meta(connection, &mut standing, start, Access::Writes, true)?;
            take(ran.into_result(meta));
            number += 1;
        }
        Ok(())
    }

    /// Prepares the first statement from a position on: its text, the statement if there is one, and where the next begins.
    #[allow(clippy::type_complexity, reason = "three values that belong together for a line")]
    fn prepare<'c, 's>(
        &self,
        connection: &'c AuthorizedConnection,
        text: &'s Text,
        at: usize,
        in_script: bool,
    ) -> Result<(&'s str, Option<Prepared<'c>>, usize)> {
        let rest = text.rest(at);
        match connection.prepare_next(text, at) {
            Ok((_, 0)) => Err(Error::new(ErrorKind::Sql, "the SQL has a NUL in it: SQLITE_ERROR")),
            Ok((prepared, read)) => {
                let (sql, tail) = rest.split_at(read);
                let tail = tail.trim_start_matches([' ', '\t', '\n', '\u{c}', '\r']);
                Ok((sql, prepared, at + rest.len() - tail.len()))
            }
            Err(mut failure) => {
                let offset = failure.offset.map(|offset| at + offset);
                if in_script {
                    failure.offset = None; // the text has the line in its place
                }
                let error = self.failed(connection, failure);
                Err(error.with_sql(sql::split(rest).next().unwrap_or(rest)).with_offset(offset))
            }
        }
    }

    /// Runs a statement to its end.
    fn run_to_end(
        &self,
        connection: &AuthorizedConnection,
        prepared: &mut Prepared<'_>,
        sql: &str,
        bytes: &ResultBytes,
    ) -> Result<Ran> {
        run_to_end(prepared, bytes).map_err(|failure| self.failed(connection, failure).with_sql(sql))
    }

    pub(super) fn failed(&self, connection: &AuthorizedConnection, failure: Failure) -> Error {
        self.note(&failure);
        if connection.refused_transaction() {
            return Error::new(ErrorKind::NotAuthorized, TRANSACTION);
        }
        fault::of(&failure)
    }

    /// Looks at the state and returns it.
    fn look_again(&self, connection: &AuthorizedConnection) -> Result<Standing> {
        self.look(connection).map_err(|failure| self.failed(connection, failure))?;
        Ok(self.standing(connection))
    }

    /// The report of a statement since `standing`, which becomes that from which the next one is counted. Unless it looks, the size
    /// is taken to be the same.
    fn meta(
        &self,
        connection: &AuthorizedConnection,
        standing: &mut Standing,
        start: Instant,
        access: Access,
        looks: bool,
    ) -> Result<Meta> {
        let before = *standing;
        let mut meta = meta_of_read(&before, start);
        if access == Access::Writes {
            if looks {
                *standing = self.look_again(connection)?;
            } else {
                standing.changes = connection.connection().total_changes();
                standing.last_row_id = connection.connection().last_insert_rowid();
            }
            meta.changes = standing.changes - before.changes;
            meta.last_row_id = Some(standing.last_row_id);
            meta.size_after = standing.size;
            // As miniflare's D1: a view, a trigger or a new name changes none of the three.
            meta.changed_db = *standing != before;
        }
        Ok(meta)
    }
}

/// The report of a statement that has changed nothing.
pub(super) fn meta_of_read(standing: &Standing, start: Instant) -> Meta {
    Meta {
        served_by: "isobar.sqlite".to_owned(),
        served_by_primary: true,
        duration: start.elapsed(),
        last_row_id: Some(standing.last_row_id),
        size_after: standing.size,
        total_attempts: 1,
        ..Meta::default()
    }
}

/// Runs a statement to its end.
pub(super) fn run_to_end(prepared: &mut Prepared<'_>, bytes: &ResultBytes) -> Result<Ran, Failure> {
    let mut more = prepared.step()?;
    let columns = prepared.shared_columns();
    let mut values = Vec::new();
    while more {
        prepared.read_row(|value| bytes.take(value), &mut values);
        bytes.check()?;
        more = prepared.step()?;
    }
    let counts = prepared.take_row_counts();
    Ok(Ran { columns: columns.to_vec(), rows: Row::of_result(&columns, values), counts })
}

/// Returns whether statements may be kept prepared. On the writer the authorizer has another answer for work that is taken for
/// reading than for the same statement among writes.
fn may_keep(connection: &AuthorizedConnection, access: Access) -> bool {
    access == Access::Writes || connection.is_reader()
}
