//! Running statements: their connection, their transaction, their results.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use isobar_base::fs::Space;
use isobar_sqlite::{Failure, Prepared, Text};

use super::connection::{AuthorizedConnection, Settings, must_stop};
use super::disk::{self, Disk};
use super::lane::{Lane, Slot};
use super::values::{from_sql, to_sql};
use super::{SqliteOptions, fault};
use crate::{Bookmark, Error, ErrorKind, Meta, QueryResult, Result, Row, Statement, Value, sql};

/// Connections that read at once.
const READERS: usize = 4;
/// Wait before another try to open a file that another process is busy with.
const RETRY: Duration = Duration::from_millis(2);
/// Longest wait for a database that another process has locked while it is opened.
const OPENING: Duration = Duration::from_secs(30);

const NO_STATEMENT: &str = "No SQL statements detected.";
const ONLY_COMMENTS: &str = "SQL code did not contain a statement.";
const WRONG_BINDINGS: &str = "Wrong number of parameter bindings for SQL query.";
const EARLY_PARAMETER: &str =
    "When executing multiple SQL statements in a single call, only the last statement can have parameters.";
const TRANSACTION: &str = "To execute a transaction, please use batch() instead of the SQL BEGIN TRANSACTION or \
                           SAVEPOINT statements. D1 refuses them too: a transaction cannot stay open between calls.";

/// The database: its connections and their shared state.
#[derive(Debug)]
pub(super) struct Engine {
    writer: Lane,
    /// `None` in memory, where a second connection would be another database.
    readers: Option<Lane>,
    shared: Arc<Shared>,
}

/// State shared by the threads.
#[derive(Debug)]
struct Shared {
    options: SqliteOptions,
    path: Option<PathBuf>,
    disk: Option<Disk>,
    /// A sync has failed: nothing is written any more.
    poisoned: AtomicBool,
    /// The last write failed for want of room or by an error of the disk.
    failing: AtomicBool,
    last_row_id: AtomicI64,
    size: AtomicU64,
    /// Bytes in a page; they never change.
    page_bytes: AtomicU64,
    /// Microseconds since 1970 of the last run, never going back: the bookmark.
    position: AtomicI64,
}

/// Work that runs in one transaction.
pub(super) enum Work {
    /// Statements, with a result each.
    Batch(Vec<Statement>),
    /// A script, with a result for each statement in it.
    Script(String),
}

/// The connection that work goes to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Route {
    /// One of those that read; the writer where only it can answer.
    Reader,
    /// The writer's, for work that only reads: neither a failed sync nor a full disk is in its way.
    ReadOnWriter,
    /// The writer's.
    Writer,
}

/// How a job on a reader has ended.
enum Answer {
    Done(Vec<QueryResult>),
    /// Only the writer can run it, by this route.
    Writer(Work, Route),
}

impl Engine {
    /// Opens the file, or a database in memory.
    pub(super) async fn open(path: Option<&Path>, options: SqliteOptions) -> Result<Self> {
        Self::open_on(path, options, disk::room).await
    }

    /// As [`open`](Self::open), on a disk with the room that the function reports.
    async fn open_on(
        path: Option<&Path>,
        options: SqliteOptions,
        room: impl Fn(&Path) -> Option<Space> + Send + Sync + 'static,
    ) -> Result<Self> {
        let settings = Arc::new(Mutex::new(Settings::default()));
        let opener = |is_reader: bool| {
            let path = path.map(Path::to_owned);
            let settings = Arc::clone(&settings);
            let open = move || {
                // A lock that stays becomes an error, even where the caller's time limit is longer.
                let last = Instant::now() + OPENING;
                loop {
                    match AuthorizedConnection::open(path.as_deref(), is_reader, &settings) {
                        // SQLite itself does not wait while another process makes the log.
                        Err(error) if fault::is_busy(&error) && !must_stop() && Instant::now() < last => {
                            thread::sleep(RETRY);
                        }
                        opened => return opened.map_err(|error| fault::of_open(&error)),
                    }
                }
            };
            Arc::new(open) as Arc<super::lane::Open>
        };
        let shared = Shared {
            disk: path.map(|path| Disk::new(path, options.disk_reserve, room)),
            options,
            path: path.map(Path::to_owned),
            poisoned: AtomicBool::new(false),
            failing: AtomicBool::new(false),
            last_row_id: AtomicI64::new(0),
            size: AtomicU64::new(0),
            page_bytes: AtomicU64::new(0),
            position: AtomicI64::new(0),
        };
        let engine = Self {
            writer: Lane::new(1, path.is_none(), opener(false)),
            readers: path.map(|_| Lane::new(READERS, false, opener(true))),
            shared: Arc::new(shared),
        };
        let shared = Arc::clone(&engine.shared);
        let open = move |slot: &mut Slot| shared.look(slot.connection()?).map_err(|failure| fault::of(&failure));
        engine.writer.run(engine.shared.options.time_limit, open).await?;
        Ok(engine)
    }

    pub(super) fn name(&self) -> String {
        self.shared.path.as_ref().map_or_else(|| "memory".to_owned(), |path| path.display().to_string())
    }

    /// The database's position in D1's form: it grows with every run.
    pub(super) fn bookmark(&self) -> Bookmark {
        let now = chrono::Utc::now().timestamp_micros();
        let before = self.shared.position.fetch_max(now, Ordering::SeqCst);
        let position = if before >= now { self.shared.position.fetch_add(1, Ordering::SeqCst) + 1 } else { now };
        let high = (position >> 32) as u32;
        let low = position as u32;
        Bookmark::new(format!("{high:08x}-{low:08x}-00000000-{:032x}", 0))
    }

    /// Runs statements in one transaction; a result for each that is not empty.
    pub(super) async fn run(&self, statements: Vec<Statement>) -> Result<Vec<QueryResult>> {
        let statements: Vec<_> = statements.into_iter().filter(|statement| !is_blank(statement.sql())).collect();
        if statements.is_empty() {
            return Err(Error::new(ErrorKind::Sql, NO_STATEMENT));
        }
        let all = |test: fn(&str) -> bool| statements.iter().all(|statement| sql::split(statement.sql()).all(test));
        let route = match all(sql::is_read) {
            // The answer of a PRAGMA is the writer's: only its connection has D1's settings and `data_version`.
            true if all(|statement| !sql::is_pragma(statement)) => Route::Reader,
            true => Route::ReadOnWriter,
            false => Route::Writer,
        };
        self.work(Work::Batch(statements), route).await
    }

    /// Runs a script in one transaction; a result for each of its statements.
    pub(super) async fn run_script(&self, script: &str) -> Result<Vec<QueryResult>> {
        let script = sql::without_transaction(script)?.into_owned();
        if sql::split(&script).next().is_none() {
            return Err(Error::new(ErrorKind::Sql, NO_STATEMENT));
        }
        self.work(Work::Script(script), Route::Writer).await
    }

    /// The words of a statement choose the connection; SQLite decides whether it may run there.
    async fn work(&self, mut work: Work, mut route: Route) -> Result<Vec<QueryResult>> {
        let limit = self.shared.options.time_limit;
        if let Some(readers) = self.readers.as_ref().filter(|_| route == Route::Reader) {
            let shared = Arc::clone(&self.shared);
            match readers.run(limit, move |slot| shared.read(slot, work)).await? {
                Answer::Done(results) => return Ok(results),
                Answer::Writer(same, on) => {
                    work = same;
                    route = on;
                }
            }
        }
        let shared = Arc::clone(&self.shared);
        self.writer.run(limit, move |slot| shared.write(slot, &work, route != Route::Writer)).await
    }

    /// Checks that the database reads and could write: see [`Database::health`](crate::Database::health).
    pub(super) async fn health(&self) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        if let Some(readers) = &self.readers {
            readers
                .run(self.shared.options.time_limit, |slot| check(slot, "SELECT 0 FROM sqlite_schema LIMIT 1"))
                .await?;
        }
        self.writer.run(self.shared.options.time_limit, move |slot| shared.probe(slot)).await
    }
}

impl Shared {
    /// Runs work that only reads. Several statements share a snapshot.
    fn read(&self, slot: &mut Slot, work: Work) -> Result<Answer> {
        let connection = slot.connection()?;
        connection.follow_settings().map_err(|failure| fault::of(&failure))?;
        let Work::Batch(statements) = &work else { return Ok(Answer::Writer(work, Route::Writer)) };
        let snapshot = statements.len() > 1 || sql::split(statements[0].sql()).nth(1).is_some();
        if snapshot {
            check_on(connection, "BEGIN")?;
        }
        let results = self.batch(connection, &work, true);
        if !connection.roll_back() {
            slot.discard();
            return results.map(Answer::Done);
        }
        let to_writer = connection.took_to_writer();
        let writes = connection.refused_write();
        match results {
            Err(_) if writes => Ok(Answer::Writer(work, Route::Writer)),
            Err(_) if to_writer => Ok(Answer::Writer(work, Route::ReadOnWriter)),
            results => results.map(Answer::Done),
        }
    }

    /// Runs everything else, and in memory everything.
    fn write(&self, slot: &mut Slot, work: &Work, reads: bool) -> Result<Vec<QueryResult>> {
        if !reads {
            self.check_writable()?;
        }
        let connection = slot.connection()?;
        connection.follow_settings().map_err(|failure| fault::of(&failure))?;
        connection.expect_reads(reads);
        let outcome = self.transact(connection, work, reads);
        let writes = connection.refused_write();
        if !connection.roll_back() {
            slot.discard();
            return outcome;
        }
        if reads && writes && outcome.is_err() {
            return self.write(slot, work, false);
        }
        if outcome.is_ok() && !reads {
            self.failing.store(false, Ordering::Relaxed);
            if let Err(failure) = connection.checkpoint() {
                // The commit is durable in the log; only the copy is not.
                self.note(&failure);
            }
        }
        outcome
    }

    /// Runs a transaction from BEGIN to COMMIT. After an error the caller rolls back.
    fn transact(&self, connection: &AuthorizedConnection, work: &Work, reads: bool) -> Result<Vec<QueryResult>> {
        let failed = |failure: Failure| {
            self.note(&failure);
            fault::of(&failure)
        };
        connection.own_statement(if reads { "BEGIN" } else { "BEGIN IMMEDIATE" }).map_err(failed)?;
        let results = self.batch(connection, work, reads)?;
        // A statement may have ended the transaction (OR ROLLBACK), but then it has failed.
        connection.own_statement("COMMIT").map_err(failed)?;
        Ok(results)
    }

    fn batch(&self, connection: &AuthorizedConnection, work: &Work, reads: bool) -> Result<Vec<QueryResult>> {
        match work {
            Work::Batch(statements) => {
                let run = |(index, statement): (usize, &Statement)| {
                    let run = self.statement(connection, statement, reads);
                    run.map_err(|error| error.with_sql(statement.sql()).with_statement(index))
                };
                statements.iter().enumerate().map(run).collect()
            }
            Work::Script(script) => self.script(connection, script),
        }
    }

    /// Runs a statement's SQL, which may be several: the parameters are the last one's, and so are the rows.
    fn statement(&self, connection: &AuthorizedConnection, statement: &Statement, reads: bool) -> Result<QueryResult> {
        let wrong = |message: &str| Error::new(ErrorKind::Sql, message);
        let start = Instant::now();
        let before = self.standing(connection, reads)?;
        let text = Text::new(statement.sql());
        let mut at = 0;
        loop {
            let (sql, prepared, next) = self.prepare(connection, &text, at, false)?;
            at = next;
            let Some(mut prepared) = prepared else { return Err(wrong(ONLY_COMMENTS)) };
            let count = prepared.parameters();
            if !text.rest(at).is_empty() {
                if count > 0 {
                    return Err(wrong(EARLY_PARAMETER));
                }
                self.run_to_end(connection, &mut prepared, sql)?;
                continue;
            }
            if count != statement.parameters().len() {
                return Err(wrong(WRONG_BINDINGS));
            }
            let failed = |failure| self.failed(connection, failure).with_sql(sql);
            prepared.bind(statement.parameters().iter().map(to_sql)).map_err(failed)?;
            let (columns, rows) = self.run_to_end(connection, &mut prepared, sql)?;
            drop(prepared);
            return Ok(QueryResult::new(columns, rows, self.meta(connection, &before, start, reads)?));
        }
    }

    /// Runs a script's statements one after the other, each as it is prepared: the next may use a table that this one creates.
    fn script(&self, connection: &AuthorizedConnection, script: &str) -> Result<Vec<QueryResult>> {
        let text = Text::new(script);
        let mut next = 0;
        let mut results = Vec::new();
        while !text.rest(next).is_empty() {
            let start = Instant::now();
            let before = self.standing(connection, false)?;
            let at = next;
            let number = results.len();
            let placed = |error: Error| error.with_statement(number).with_position(script, at);
            let (sql, prepared, after) = self.prepare(connection, &text, at, true).map_err(placed)?;
            next = after;
            let Some(mut prepared) = prepared else { continue };
            if prepared.parameters() > 0 {
                return Err(placed(Error::new(ErrorKind::Sql, WRONG_BINDINGS).with_sql(sql)));
            }
            let (columns, rows) = self.run_to_end(connection, &mut prepared, sql).map_err(placed)?;
            drop(prepared);
            results.push(QueryResult::new(columns, rows, self.meta(connection, &before, start, false)?));
        }
        Ok(results)
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
                // In a script the error has the line in place of the offset.
                let offset = if in_script { failure.offset.take().map(|offset| at + offset) } else { None };
                let error = self.failed(connection, failure);
                Err(error.with_sql(sql::split(rest).next().unwrap_or(rest)).with_offset(offset))
            }
        }
    }

    /// Runs a statement to its end. Returns the columns and the rows.
    fn run_to_end(
        &self,
        connection: &AuthorizedConnection,
        prepared: &mut Prepared<'_>,
        sql: &str,
    ) -> Result<(Vec<String>, Vec<Row>)> {
        let failed = |failure| self.failed(connection, failure).with_sql(sql);
        let mut more = prepared.step().map_err(failed)?;
        let names = prepared.columns();
        let shared: Arc<[String]> = names.clone().into();
        let mut rows = Vec::new();
        while more {
            rows.push(Row::new(Arc::clone(&shared), prepared.row(from_sql)));
            more = prepared.step().map_err(failed)?;
        }
        Ok((names, rows))
    }

    fn failed(&self, connection: &AuthorizedConnection, failure: Failure) -> Error {
        self.note(&failure);
        if connection.refused_transaction() {
            return Error::new(ErrorKind::NotAuthorized, TRANSACTION);
        }
        fault::of(&failure)
    }

    /// Remembers an error of the disk.
    fn note(&self, failure: &Failure) {
        if fault::is_failed_sync(failure) {
            self.poisoned.store(true, Ordering::SeqCst);
        }
        if fault::is_of_the_disk(failure) {
            self.failing.store(true, Ordering::Relaxed);
        }
    }

    fn check_writable(&self) -> Result<()> {
        if self.poisoned.load(Ordering::SeqCst) {
            let path = self.path.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
            let message = format!(
                "a sync of {path} has failed, and it is uncertain which of the last writes are on the disk: nothing is written \
                 until the database is opened again"
            );
            return Err(Error::new(ErrorKind::Unavailable, message).for_good());
        }
        self.disk.as_ref().map_or(Ok(()), Disk::check)
    }

    /// Begins and ends a write; writes a page where the last write has failed.
    fn probe(&self, slot: &mut Slot) -> Result<()> {
        self.check_writable()?;
        let connection = slot.connection()?;
        let write = || {
            connection.own_statement("BEGIN IMMEDIATE")?;
            if self.failing.load(Ordering::Relaxed) {
                let version = connection.own_statement("PRAGMA user_version")?;
                let Some(Value::Integer(version)) = version else { return Ok(None) };
                connection.own_statement(&format!("PRAGMA user_version = {version}"))?;
            }
            connection.own_statement("COMMIT")
        };
        let written = write();
        if !connection.roll_back() {
            slot.discard();
        }
        match written {
            Ok(_) => self.failing.store(false, Ordering::Relaxed),
            Err(failure) => {
                self.note(&failure);
                return Err(fault::of(&failure));
            }
        }
        Ok(())
    }

    /// Reads the database's size and the connection's last row.
    fn look(&self, connection: &AuthorizedConnection) -> Result<(), Failure> {
        if self.page_bytes.load(Ordering::Relaxed) == 0
            && let Some(Value::Integer(bytes)) = connection.own_statement("PRAGMA page_size")?
        {
            self.page_bytes.store(bytes.unsigned_abs(), Ordering::Relaxed);
        }
        if let Some(Value::Integer(pages)) = connection.own_statement("PRAGMA page_count")? {
            self.size.store(pages.unsigned_abs() * self.page_bytes.load(Ordering::Relaxed), Ordering::SeqCst);
        }
        self.last_row_id.store(connection.connection().last_insert_rowid(), Ordering::SeqCst);
        Ok(())
    }

    /// Returns the state from which the next statement's changes are counted.
    fn standing(&self, connection: &AuthorizedConnection, reads: bool) -> Result<Standing> {
        if !reads {
            self.look(connection).map_err(|failure| self.failed(connection, failure))?;
        }
        Ok(Standing {
            changes: connection.connection().total_changes(),
            last_row_id: self.last_row_id.load(Ordering::SeqCst),
            size: self.size.load(Ordering::SeqCst),
        })
    }

    fn meta(&self, connection: &AuthorizedConnection, before: &Standing, start: Instant, reads: bool) -> Result<Meta> {
        let mut meta = Meta {
            served_by: "isobar.sqlite".to_owned(),
            served_by_primary: true,
            duration: start.elapsed(),
            last_row_id: Some(before.last_row_id),
            size_after: before.size,
            total_attempts: 1,
            ..Meta::default()
        };
        if !reads {
            let after = self.standing(connection, false)?;
            meta.changes = after.changes - before.changes;
            meta.last_row_id = Some(after.last_row_id);
            meta.size_after = after.size;
            // As miniflare's D1: a view, a trigger or a new name changes none of the three.
            meta.changed_db = after != *before;
        }
        Ok(meta)
    }
}

/// The state by which D1 decides whether a statement has changed the database.
#[derive(PartialEq, Eq)]
struct Standing {
    changes: u64,
    last_row_id: i64,
    size: u64,
}

fn check(slot: &mut Slot, sql: &str) -> Result<()> {
    check_on(slot.connection()?, sql)
}

fn check_on(connection: &AuthorizedConnection, sql: &str) -> Result<()> {
    connection.own_statement(sql).map(drop).map_err(|failure| fault::of(&failure))
}

/// Returns whether D1 takes the text as not SQL; other comments count as SQL without a statement.
fn is_blank(sql: &str) -> bool {
    sql.lines().map(str::trim).all(|line| line.is_empty() || line.starts_with("--"))
}

#[cfg(all(test, feature = "local"))]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests;
