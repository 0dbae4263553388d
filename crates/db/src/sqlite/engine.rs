//! Running statements: which connection, which transaction, what comes back.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::connection::{Guarded, Settings, must_stop};
use super::disk::Disk;
use super::lane::{Lane, Slot};
use super::raw::{self, Failure, Prepared, Text};
use super::{SqliteOptions, fault, limited};
use crate::{Bookmark, Error, ErrorKind, Meta, QueryResult, Result, Row, Statement, Value, sql};

/// Connections that read at once.
const READERS: usize = 4;
/// How long to wait before a file is opened again that another process is busy with.
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

/// The database: its connections and what is known of it.
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
    /// Bytes in a page, which stay what they are.
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

/// How a job on a reader has ended.
enum Answer {
    Done(Vec<QueryResult>),
    /// Only the writer can run it.
    Writer(Work),
}

impl Engine {
    pub(super) async fn open(path: Option<&Path>, options: SqliteOptions) -> Result<Self> {
        let settings = Arc::new(Mutex::new(Settings::default()));
        let opener = |is_reader: bool| {
            let (path, settings) = (path.map(Path::to_owned), Arc::clone(&settings));
            let open = move || {
                // A lock that stays is an error in the end, however long the caller has.
                let last = Instant::now() + OPENING;
                loop {
                    match Guarded::open(path.as_deref(), is_reader, &settings) {
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
            disk: path.map(|path| Disk::new(path, options.disk_reserve)),
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
            writer: Lane::new(1, opener(false)),
            readers: path.map(|_| Lane::new(READERS, opener(true))),
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

    /// Where the database is now, in D1's form: it grows with every run.
    pub(super) fn bookmark(&self) -> Bookmark {
        let now = chrono::Utc::now().timestamp_micros();
        let before = self.shared.position.fetch_max(now, Ordering::SeqCst);
        let position = if before >= now { self.shared.position.fetch_add(1, Ordering::SeqCst) + 1 } else { now };
        let (high, low) = ((position >> 32) as u32, position as u32);
        Bookmark::new(format!("{high:08x}-{low:08x}-00000000-{:032x}", 0))
    }

    /// Runs statements in one transaction; a result for each that is not empty.
    pub(super) async fn run(&self, statements: Vec<Statement>) -> Result<Vec<QueryResult>> {
        let statements: Vec<_> = statements.into_iter().filter(|statement| !is_blank(statement.sql())).collect();
        if statements.is_empty() {
            return Err(Error::new(ErrorKind::Sql, NO_STATEMENT));
        }
        let reads = statements.iter().all(|statement| sql::split(statement.sql()).all(sql::is_read));
        self.work(Work::Batch(statements), reads).await
    }

    /// Runs a script in one transaction; a result for each of its statements.
    pub(super) async fn run_script(&self, script: &str) -> Result<Vec<QueryResult>> {
        let script = sql::without_transaction(script)?.into_owned();
        if sql::split(&script).next().is_none() {
            return Err(Error::new(ErrorKind::Sql, NO_STATEMENT));
        }
        self.work(Work::Script(script), false).await
    }

    /// The words of a statement choose the connection; whether it may run there is SQLite's to say.
    async fn work(&self, mut work: Work, reads: bool) -> Result<Vec<QueryResult>> {
        let limit = self.shared.options.time_limit;
        if let Some(readers) = self.readers.as_ref().filter(|_| reads) {
            let shared = Arc::clone(&self.shared);
            match readers.run(limit, move |slot| shared.read(slot, work)).await? {
                Answer::Done(results) => return Ok(results),
                Answer::Writer(same) => work = same,
            }
        }
        let shared = Arc::clone(&self.shared);
        self.writer.run(limit, move |slot| shared.write(slot, &work, reads)).await
    }

    /// Whether the database reads, and would write: see [`Database::health`](crate::Database::health).
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
    /// Runs what only reads. Several statements share a snapshot.
    fn read(&self, slot: &mut Slot, work: Work) -> Result<Answer> {
        let connection = slot.connection()?;
        connection.follow_settings().map_err(|failure| fault::of(&failure))?;
        let Work::Batch(statements) = &work else { return Ok(Answer::Writer(work)) };
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
        match results {
            Err(_) if to_writer => Ok(Answer::Writer(work)),
            results => results.map(Answer::Done),
        }
    }

    /// Runs everything else, and in memory all there is.
    fn write(&self, slot: &mut Slot, work: &Work, reads: bool) -> Result<Vec<QueryResult>> {
        if !reads {
            self.check_writable()?;
        }
        let connection = slot.connection()?;
        connection.follow_settings().map_err(|failure| fault::of(&failure))?;
        let outcome = self.transact(connection, work, reads);
        if !connection.roll_back() {
            self.lose(slot);
            return outcome;
        }
        if outcome.is_ok() && !reads {
            self.failing.store(false, Ordering::Relaxed);
            if let Err(failure) = connection.checkpoint() {
                // What was committed is in the log; only the copy is not.
                self.note(&failure);
            }
        }
        outcome
    }

    /// A transaction from its beginning to its end; the caller undoes what stays open after an error.
    fn transact(&self, connection: &Guarded, work: &Work, reads: bool) -> Result<Vec<QueryResult>> {
        let failed = |failure: Failure| {
            self.note(&failure);
            fault::of(&failure)
        };
        connection.own_statement(if reads { "BEGIN" } else { "BEGIN IMMEDIATE" }).map_err(failed)?;
        let results = self.batch(connection, work, reads)?;
        // A statement may have ended the transaction by itself (OR ROLLBACK), but then it has failed.
        connection.own_statement("COMMIT").map_err(failed)?;
        Ok(results)
    }

    fn batch(&self, connection: &Guarded, work: &Work, reads: bool) -> Result<Vec<QueryResult>> {
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
    fn statement(&self, connection: &Guarded, statement: &Statement, reads: bool) -> Result<QueryResult> {
        let wrong = |message: &str| Error::new(ErrorKind::Sql, message);
        let (start, before) = (Instant::now(), self.standing(connection, reads)?);
        let (text, mut at) = (Text::new(statement.sql()), 0);
        loop {
            let (sql, prepared, next) = self.prepare(connection, &text, at, false)?;
            at = next;
            let Some(mut prepared) = prepared else { return Err(wrong(ONLY_COMMENTS)) };
            let count = prepared.parameters();
            if !text.from(at).is_empty() {
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
            prepared.bind(statement.parameters()).map_err(failed)?;
            let (columns, rows) = self.run_to_end(connection, &mut prepared, sql)?;
            drop(prepared);
            return Ok(QueryResult::new(columns, rows, self.meta(connection, &before, start, reads)?));
        }
    }

    /// Runs a script's statements one after the other, each as it is prepared: the next may need what this one makes.
    fn script(&self, connection: &Guarded, script: &str) -> Result<Vec<QueryResult>> {
        let (text, mut next, mut results) = (Text::new(script), 0, Vec::new());
        while !text.from(next).is_empty() {
            let (start, before) = (Instant::now(), self.standing(connection, false)?);
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
        connection: &'c Guarded,
        text: &'s Text,
        at: usize,
        in_script: bool,
    ) -> Result<(&'s str, Option<Prepared<'c>>, usize)> {
        let rest = text.from(at);
        let found = match raw::prepare_at(connection.connection(), text, at) {
            Err(failure) => match limited::prepare(connection, rest, &failure) {
                Some(found) => found,
                None => Err(failure),
            },
            found => found,
        };
        match found {
            Ok((_, 0)) => Err(Error::new(ErrorKind::Sql, "the SQL has a NUL in it: SQLITE_ERROR")),
            Ok((prepared, read)) => {
                let (sql, tail) = rest.split_at(read);
                let tail = tail.trim_start_matches([' ', '\t', '\n', '\u{c}', '\r']);
                Ok((sql, prepared, at + rest.len() - tail.len()))
            }
            Err(mut failure) => {
                // In a script the place is told by its line.
                let offset = if in_script { failure.offset.take().map(|offset| at + offset) } else { None };
                let error = self.failed(connection, failure);
                Err(error.with_sql(sql::split(rest).next().unwrap_or(rest)).with_offset(offset))
            }
        }
    }

    /// The columns and the rows.
    fn run_to_end(
        &self,
        connection: &Guarded,
        prepared: &mut Prepared<'_>,
        sql: &str,
    ) -> Result<(Vec<String>, Vec<Row>)> {
        let failed = |failure| self.failed(connection, failure).with_sql(sql);
        let mut more = prepared.step().map_err(failed)?;
        let names = prepared.columns();
        let (shared, mut rows): (Arc<[String]>, _) = (names.clone().into(), Vec::new());
        while more {
            rows.push(Row::new(Arc::clone(&shared), prepared.row()));
            more = prepared.step().map_err(failed)?;
        }
        Ok((names, rows))
    }

    fn failed(&self, connection: &Guarded, failure: Failure) -> Error {
        self.note(&failure);
        if connection.refused_transaction() {
            return Error::new(ErrorKind::NotAuthorized, TRANSACTION);
        }
        fault::of(&failure)
    }

    /// Remembers what an error says of the disk.
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
                "a sync of {path} has failed, and what the disk holds of the last writes is uncertain: nothing is written \
                 until the database is opened again"
            );
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
        self.disk.as_ref().map_or(Ok(()), Disk::check)
    }

    /// Drops a connection that stays in a transaction. In memory the database goes with it.
    fn lose(&self, slot: &mut Slot) {
        if self.path.is_some() {
            slot.discard();
        }
    }

    /// Tries to write, for real where the last write failed.
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
            self.lose(slot);
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

    /// Looks at what the database is like: its size, and the connection's last row.
    fn look(&self, connection: &Guarded) -> Result<(), Failure> {
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
    fn standing(&self, connection: &Guarded, reads: bool) -> Result<Standing> {
        if !reads {
            self.look(connection).map_err(|failure| self.failed(connection, failure))?;
        }
        Ok(Standing {
            changes: connection.connection().total_changes(),
            last_row_id: self.last_row_id.load(Ordering::SeqCst),
            size: self.size.load(Ordering::SeqCst),
        })
    }

    fn meta(&self, connection: &Guarded, before: &Standing, start: Instant, reads: bool) -> Result<Meta> {
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
            // As miniflare's D1 has it: a view, a trigger or a new name changes nothing that it looks at.
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

fn check_on(connection: &Guarded, sql: &str) -> Result<()> {
    connection.own_statement(sql).map(drop).map_err(|failure| fault::of(&failure))
}

/// Returns whether D1 takes the text as not SQL; other comments count as SQL without a statement.
fn is_blank(sql: &str) -> bool {
    sql.lines().map(str::trim).all(|line| line.is_empty() || line.starts_with("--"))
}

#[cfg(all(test, feature = "local"))]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    async fn opened(path: &Path) -> Engine {
        Engine::open(Some(path), SqliteOptions::default()).await.unwrap()
    }

    #[tokio::test]
    async fn after_a_failed_sync_nothing_is_written_until_the_database_is_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db.sqlite");
        let engine = opened(&path).await;
        engine.run(vec!["CREATE TABLE t (a)".into()]).await.unwrap();
        let code = rusqlite::ffi::SQLITE_IOERR_FSYNC;
        engine.shared.note(&Failure { code, message: "disk I/O error".to_owned(), offset: None, system: 5 });
        let refused = engine.run(vec!["INSERT INTO t VALUES (1)".into()]).await.unwrap_err();
        assert!(refused.kind() == ErrorKind::Unavailable && refused.to_string().contains("opened again"), "{refused}");
        assert!(engine.health().await.is_err());
        assert_eq!(engine.run(vec!["SELECT a FROM t".into()]).await.unwrap()[0].rows.len(), 0);
        let again = opened(&path).await;
        again.run(vec!["INSERT INTO t VALUES (1)".into()]).await.unwrap();
        again.health().await.unwrap();
    }

    #[tokio::test]
    async fn a_job_that_panics_takes_its_connection_along_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let engine = opened(&folder.path().join("db.sqlite")).await;
        let limit = engine.shared.options.time_limit;
        let panicked = engine.writer.run::<()>(limit, |slot| {
            slot.connection()?.own_statement("BEGIN IMMEDIATE").map_err(|failure| fault::of(&failure))?;
            panic!("a bug")
        });
        assert_eq!(panicked.await.unwrap_err().kind(), ErrorKind::Internal);
        engine.run(vec!["CREATE TABLE t (a)".into()]).await.unwrap();
    }

    #[tokio::test]
    async fn a_long_log_is_copied_into_the_database() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db.sqlite");
        let engine = opened(&path).await;
        engine.run(vec!["CREATE TABLE t (a)".into()]).await.unwrap();
        let fill = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 1500) \
                    INSERT INTO t SELECT randomblob(4000) FROM c";
        engine.run(vec![fill.into()]).await.unwrap();
        engine.run(vec!["SELECT count(*) FROM t".into(), "DELETE FROM t WHERE 0".into()]).await.unwrap();
        assert!(std::fs::metadata(&path).unwrap().len() > 5_000_000);
    }
}
