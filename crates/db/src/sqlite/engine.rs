//! Running statements: which connection, which transaction, what comes back.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::TryStreamExt;
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteRow, SqliteSynchronous,
};
use sqlx::{
    Arguments, AssertSqlSafe, Column, Connection, Executor, Row as _, SqlSafeStr, Statement as _, TypeInfo, ValueRef,
};

use super::guard;
use crate::{Bookmark, Error, ErrorKind, Meta, QueryResult, Result, Row, Statement, Value, sql};

/// How long a connection waits for another process's write.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections that read at once.
const READERS: u32 = 4;

const NO_STATEMENT: &str = "No SQL statements detected.";
const ONLY_COMMENTS: &str = "SQL code did not contain a statement.";
const WRONG_BINDINGS: &str = "Wrong number of parameter bindings for SQL query.";
const EARLY_PARAMETER: &str =
    "When executing multiple SQL statements in a single call, only the last statement can have parameters.";
const TRANSACTION: &str = "To execute a transaction, please use batch() instead of the SQL BEGIN TRANSACTION or \
                           SAVEPOINT statements. D1 refuses them too: a transaction cannot stay open between calls.";

/// The database: its connections and what is known of it.
pub(super) struct Engine {
    writer: SqlitePool,
    /// `None` in memory, where a second connection would be another database.
    readers: Option<SqlitePool>,
    path: Option<PathBuf>,
    /// The writer's changes so far, to tell what a statement has added.
    changes: AtomicU64,
    last_row_id: AtomicI64,
    size: AtomicU64,
    /// Microseconds since 1970 of the last run, never going back: the bookmark.
    position: AtomicI64,
}

/// A statement ready to run: one piece of SQL and its values.
struct Step {
    sql: String,
    values: Vec<Value>,
}

impl Engine {
    pub(super) async fn open(path: Option<&Path>) -> Result<Self> {
        let options = SqliteConnectOptions::new().foreign_keys(true).busy_timeout(BUSY_TIMEOUT);
        let options = match path {
            Some(path) => options
                .filename(path)
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Full),
            None => options.in_memory(true),
        };
        let writer = pool(1).connect_with(options.clone()).await.map_err(|error| failure(&error, None))?;
        let readers =
            path.map(|_| pool(READERS).connect_lazy_with(options.create_if_missing(false).pragma("query_only", "ON")));
        let engine = Self {
            writer,
            readers,
            path: path.map(Path::to_owned),
            changes: AtomicU64::new(0),
            last_row_id: AtomicI64::new(0),
            size: AtomicU64::new(0),
            position: AtomicI64::new(0),
        };
        let mut connection = engine.writer.acquire().await.map_err(|error| failure(&error, None))?;
        engine.count(&mut connection).await?;
        drop(connection);
        Ok(engine)
    }

    pub(super) fn name(&self) -> String {
        self.path.as_ref().map_or_else(|| "memory".to_owned(), |path| path.display().to_string())
    }

    /// Where the database is now, in D1's form: it grows with every run.
    pub(super) fn bookmark(&self) -> Bookmark {
        let now = chrono::Utc::now().timestamp_micros();
        let before = self.position.fetch_max(now, Ordering::SeqCst);
        let position = if before >= now { self.position.fetch_add(1, Ordering::SeqCst) + 1 } else { now };
        let (high, low) = ((position >> 32) as u32, position as u32);
        Bookmark::new(format!("{high:08x}-{low:08x}-00000000-{:032x}", 0))
    }

    /// Runs statements in one transaction; a result for each that is not empty.
    pub(super) async fn run(&self, statements: Vec<Statement>) -> Result<Vec<QueryResult>> {
        let statements: Vec<_> = statements.into_iter().filter(|statement| !is_blank(statement.sql())).collect();
        if statements.is_empty() {
            return Err(Error::new(ErrorKind::Sql, NO_STATEMENT));
        }
        let plan = statements.into_iter().map(steps).collect::<Result<Vec<Vec<Step>>>>()?;
        let reads = plan.iter().flatten().all(|step| sql::is_read(&step.sql));
        let pool = self.readers.as_ref().filter(|_| reads).unwrap_or(&self.writer);
        let mut connection = pool.acquire().await.map_err(|error| failure(&error, None))?;
        if reads && plan.len() == 1 && plan[0].len() == 1 {
            read_schema(&mut connection).await?;
            return Ok(vec![self.step(&mut connection, &plan[0][0]).await?]);
        }
        let begin = if reads { "BEGIN" } else { "BEGIN IMMEDIATE" };
        let mut transaction = connection.begin_with(begin).await.map_err(|error| failure(&error, None))?;
        let results = match self.steps(&mut transaction, &plan, reads).await {
            Ok(results) => results,
            Err(error) => {
                if guard::has_left_transaction(&mut transaction).await {
                    // sqlx believes that it is still in one: give it one to roll back.
                    let begun = sqlx::query("BEGIN").execute(&mut *transaction).await;
                    begun.map_err(|error| failure(&error, None))?;
                }
                return Err(error);
            }
        };
        transaction.commit().await.map_err(|error| failure(&error, None))?;
        Ok(results)
    }

    /// Runs the plan inside its transaction; a result for each statement.
    async fn steps(
        &self,
        connection: &mut SqliteConnection,
        plan: &[Vec<Step>],
        reads: bool,
    ) -> Result<Vec<QueryResult>> {
        let mut results = Vec::with_capacity(plan.len());
        read_schema(connection).await?;
        if !reads {
            self.count(connection).await?; // what was undone before counts for SQLite, and not for us
        }
        for steps in plan {
            let changes = self.changes.load(Ordering::SeqCst);
            let mut last = None;
            for step in steps {
                last = Some(self.step(connection, step).await?);
            }
            let mut result = last.ok_or_else(|| Error::new(ErrorKind::Sql, ONLY_COMMENTS))?;
            if !reads {
                self.count(connection).await?;
                result.meta.changes = self.changes.load(Ordering::SeqCst) - changes;
                result.meta.last_row_id = Some(self.last_row_id.load(Ordering::SeqCst));
                result.meta.changed_db = result.meta.changes > 0 || steps.iter().any(|step| is_definition(&step.sql));
                result.meta.size_after = self.size.load(Ordering::SeqCst);
            }
            results.push(result);
        }
        Ok(results)
    }

    async fn step(&self, connection: &mut SqliteConnection, step: &Step) -> Result<QueryResult> {
        let start = Instant::now();
        let fetched = fetch(connection, step).await;
        let (mut columns, rows) = match fetched {
            Ok(fetched) => fetched,
            Err(error) => return Err(failure(&error, guard::error_offset(connection).await).with_sql(&step.sql)),
        };
        if columns.is_empty() && may_have_columns(&step.sql) {
            // sqlx would answer with the columns of before the last change of the schema.
            connection.clear_cached_statements().await.map_err(|error| failure(&error, None))?;
            let prepared = connection.prepare(AssertSqlSafe(step.sql.as_str()).into_sql_str());
            let prepared = prepared.await.map_err(|error| failure(&error, None))?;
            columns = prepared.columns().iter().map(|column| column.name().to_owned()).collect::<Vec<_>>().into();
        }
        let meta = Meta {
            served_by: "isobar.sqlite".to_owned(),
            served_by_primary: true,
            duration: start.elapsed(),
            last_row_id: Some(self.last_row_id.load(Ordering::Relaxed)),
            size_after: self.size.load(Ordering::Relaxed),
            total_attempts: 1,
            ..Meta::default()
        };
        Ok(QueryResult::new(columns.to_vec(), rows, meta))
    }

    /// Asks the writer what it has changed so far and how large the database is.
    async fn count(&self, connection: &mut SqliteConnection) -> Result<()> {
        let sql = "SELECT total_changes(), last_insert_rowid(), page_count * page_size FROM pragma_page_count, pragma_page_size";
        let (changes, last, size): (i64, i64, i64) =
            sqlx::query_as(sql).fetch_one(connection).await.map_err(|error| failure(&error, None))?;
        self.changes.store(changes.unsigned_abs(), Ordering::SeqCst);
        self.last_row_id.store(last, Ordering::SeqCst);
        self.size.store(size.unsigned_abs(), Ordering::SeqCst);
        Ok(())
    }
}

fn pool(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .min_connections(u32::from(connections == 1))
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .after_connect(|connection, _| Box::pin(guard::install(connection)))
}

/// What D1 takes for no SQL at all; other comments count as SQL without a statement.
fn is_blank(sql: &str) -> bool {
    sql.lines().map(str::trim).all(|line| line.is_empty() || line.starts_with("--"))
}

fn is_pragma(sql: &str, name: &str) -> bool {
    sql::keyword(sql) == "PRAGMA" && sql::has_word(sql, name)
}

/// Whether a statement without rows may have columns all the same.
fn may_have_columns(sql: &str) -> bool {
    sql::is_read(sql) || matches!(sql::keyword(sql).as_str(), "PRAGMA" | "EXPLAIN") || sql::has_word(sql, "RETURNING")
}

fn is_definition(sql: &str) -> bool {
    matches!(sql::keyword(sql).as_str(), "CREATE" | "DROP" | "ALTER")
}

/// Cuts a statement's SQL into steps, checks what D1 checks before it runs, and gives the last step the parameters.
fn steps(statement: Statement) -> Result<Vec<Step>> {
    let wrong = |message: &str| Error::new(ErrorKind::Sql, message).with_sql(statement.sql());
    let pieces: Vec<&str> = sql::split(statement.sql()).collect();
    let Some((_, earlier)) = pieces.split_last() else { return Err(wrong(ONLY_COMMENTS)) };
    let mut steps = Vec::with_capacity(pieces.len());
    for (index, piece) in pieces.iter().enumerate() {
        if matches!(sql::keyword(piece).as_str(), "BEGIN" | "COMMIT" | "END" | "ROLLBACK" | "SAVEPOINT" | "RELEASE") {
            return Err(Error::new(ErrorKind::NotAuthorized, TRANSACTION).with_sql(piece));
        }
        // The authorizer lets the engine's own question through, so it is refused here.
        if sql::has_word(piece, "pragma_page_count") || is_pragma(piece, "page_count") {
            return Err(Error::new(ErrorKind::NotAuthorized, "not authorized: SQLITE_AUTH").with_sql(piece));
        }
        let (numbered, count) = sql::number_parameters(piece);
        let is_last = index == earlier.len();
        if !is_last && count > 0 {
            return Err(wrong(EARLY_PARAMETER));
        }
        let values = if is_last { statement.parameters().to_vec() } else { Vec::new() };
        if is_last && count != values.len() && count <= crate::limits::PARAMETERS {
            return Err(wrong(WRONG_BINDINGS));
        }
        steps.push(Step { sql: numbered.into_owned(), values });
    }
    Ok(steps)
}

/// Lets the connection notice what others have changed in the schema. sqlx notes a statement's columns when it prepares
/// it and breaks where SQLite finds others when it runs: hence this, and no statement that is cached (`fetch`).
async fn read_schema(connection: &mut SqliteConnection) -> Result<()> {
    let looked = sqlx::query("SELECT 0 FROM sqlite_schema LIMIT 0").execute(connection).await;
    looked.map(drop).map_err(|error| failure(&error, None))
}

/// The columns - none where there is no row - and the rows.
async fn fetch(connection: &mut SqliteConnection, step: &Step) -> Result<(Arc<[String]>, Vec<Row>), sqlx::Error> {
    let query = sqlx::query_with(AssertSqlSafe(step.sql.as_str()), arguments(&step.values)?).persistent(false);
    let mut columns: Arc<[String]> = Arc::new([]);
    let mut rows = Vec::new();
    let mut stream = query.fetch(connection);
    while let Some(row) = stream.try_next().await? {
        if rows.is_empty() {
            columns = row.columns().iter().map(|column| column.name().to_owned()).collect();
        }
        rows.push(Row::new(Arc::clone(&columns), values(&row)?));
    }
    Ok((columns, rows))
}

fn arguments(values: &[Value]) -> Result<SqliteArguments, sqlx::Error> {
    let mut arguments = SqliteArguments::default();
    for value in values {
        match value {
            Value::Null => arguments.add(None::<i64>),
            // As D1: what is no number is NULL.
            Value::Real(real) if !real.is_finite() => arguments.add(None::<f64>),
            Value::Real(real) => arguments.add(*real),
            Value::Integer(integer) => arguments.add(*integer),
            Value::Text(text) => arguments.add(text.clone()),
            Value::Blob(bytes) => arguments.add(bytes.to_vec()),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

fn values(row: &SqliteRow) -> Result<Vec<Value>, sqlx::Error> {
    (0..row.len())
        .map(|index| {
            let raw = row.try_get_raw(index)?;
            if raw.is_null() {
                return Ok(Value::Null);
            }
            // For what is not NULL this is the value's own kind, whatever the column declares.
            let kind = raw.type_info().name().to_owned();
            drop(raw);
            Ok(match kind.as_str() {
                "INTEGER" => Value::Integer(row.try_get_unchecked(index)?),
                "REAL" => Value::Real(row.try_get_unchecked(index)?),
                "BLOB" => Value::Blob(Bytes::from(row.try_get_unchecked::<Vec<u8>, _>(index)?)),
                _ => Value::Text(row.try_get_unchecked(index)?),
            })
        })
        .collect()
}

/// sqlx's error as ours, in D1's words.
fn failure(error: &sqlx::Error, offset: Option<usize>) -> Error {
    let Some(database) = error.as_database_error() else {
        let kind = match error {
            sqlx::Error::PoolTimedOut | sqlx::Error::WorkerCrashed => ErrorKind::Unavailable,
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => ErrorKind::Decode,
            _ => ErrorKind::Internal,
        };
        return Error::new(kind, error.to_string());
    };
    let code = database.code().and_then(|code| code.parse().ok()).unwrap_or(1);
    // SQLite keeps the offset of an earlier error where the last one has none; only plain errors have one.
    let offset = offset.filter(|_| code == 1).map(|offset| format!(" at offset {offset}")).unwrap_or_default();
    let message = format!("{}{offset}: {}", database.message(), guard::code_name(code));
    Error::new(guard::kind(code, database.message()), message)
}
