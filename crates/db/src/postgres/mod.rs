//! PostgreSQL behind the same trait, for programs that have outgrown SQLite.
//!
//! ```text
//! PostgresDatabase  the public type: names the operation in errors
//! calls             queries, batches and scripts as jobs, for the database and for a transaction
//! pool              connections, and their cancellation
//! connection        one connection: prepared statements, rows
//! job               statements with their values
//! translate         SQLite's SQL in Postgres' words, by the tokens of lex
//! interactive       transactions that stay open
//! values, numeric   values both ways, none rounded
//! fault             SQLSTATEs as kinds of errors
//! tls               TLS by rustls
//! ```
//!
//! The client is tokio-postgres rather than sqlx: it lets the server say the type of each parameter, so that a value is looked at
//! before it is sent; it has the request to cancel; and it links no SQLite, of which sqlx 0.9 allows none as new as this workspace has.

mod calls;
mod connection;
mod fault;
mod interactive;
mod job;
mod lex;
mod numeric;
mod options;
mod pool;
mod tls;
mod translate;
mod values;

use std::fmt;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use isobar_base::backoff::Backoff;
use isobar_base::sync::IgnorePoison;

use self::calls::RunsJobs;
use self::fault::{Failure, Remedy};
use self::interactive::Interactive;
use self::job::{Access, Job};
pub use self::options::{Isolation, PostgresOptions};
use self::pool::{Lease, Pool};
use crate::options::ExportOptions;
use crate::result::Report;
use crate::{
    Bookmark, Capabilities, Consistency, Database, DatabaseSession, Dialect, Error, ErrorKind, ExecResult,
    InteractiveOptions, InteractiveTransaction, Operation, QueryResult, Queryable, Result, Statement,
};

/// Attempts of a batch that others overtake.
const ATTEMPTS: u32 = 20;

/// A PostgreSQL database, version 13 or later.
///
/// SQL that is written for SQLite and D1 is translated where its meaning is the same; what would give another result is refused, with its
/// construct. `d1 lint --for postgres` names most of it beforehand. A script behind the comment `/* isobar:postgres */` is Postgres' own
/// and is not translated. Transactions are [serializable](Isolation), as in SQLite; a batch that others overtake runs again.
///
/// ```no_run
/// use isobar_db::{PostgresDatabase, QueryableExt};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
/// let db = PostgresDatabase::connect("postgres://app@localhost/app?sslmode=require").await?;
/// db.run_script("CREATE TABLE IF NOT EXISTS users (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL)").await?;
/// let id: i64 = db.prepare("INSERT INTO users (name) VALUES (?) RETURNING id").bind("Ada").one().await?;
/// assert!(id > 0);
/// # Ok(()) }
/// ```
///
/// Where it differs from SQLite, with a translation or without:
///
/// | | here |
/// |---|---|
/// | `meta` | `changes` and `duration` are Postgres'; `last_row_id`, `rows_read`, `rows_written` are absent, `size_after` is 0: use `RETURNING` |
/// | values | those without a kind of SQLite's are text: times, UUIDs, JSON, NUMERIC with a fraction. Booleans are 0 and 1. Arrays are an error |
/// | parameters | a value goes only where it stays the same: no text into INTEGER, no double into NUMERIC |
/// | cancellation | a dropped call is cancelled on the server, and its transaction rolled back |
/// | sessions | there is one copy of the data, so any bookmark is already reached |
/// | export, time travel, optimistic transactions | not there: use `pg_dump`, Postgres' archives, [`begin`](Database::begin) |
///
/// It needs a Tokio runtime with I/O and time. Clones share the connections.
#[derive(Clone)]
pub struct PostgresDatabase {
    pool: Arc<Pool>,
}

impl PostgresDatabase {
    /// Connects, by a URL `postgres://user:password@host:port/database`. A socket is a host that begins with `/`, written `%2Frun%2Fpostgresql`
    /// or as `?host=/run/postgresql`. `sslmode` is `disable`, `prefer` (the default) or `require`; a certificate is verified in either
    /// case.
    ///
    /// # Errors
    /// [`ErrorKind::PermissionDenied`] for a URL that cannot be read, and a user or database that the server refuses;
    /// [`ErrorKind::Unavailable`] where it does not answer.
    pub async fn connect(url: &str) -> Result<Self> {
        Self::connect_with(url, PostgresOptions::default()).await
    }

    /// Connects with these options: see [`connect`](Self::connect).
    ///
    /// # Errors
    /// As [`connect`](Self::connect), and [`ErrorKind::PermissionDenied`] for root certificates that cannot be read.
    pub async fn connect_with(url: &str, options: PostgresOptions) -> Result<Self> {
        let pool = Arc::new(Pool::new(url, options)?);
        // The first connection says at once what is wrong with the URL.
        drop(pool.lease().await?);
        Ok(Self { pool })
    }
}

impl RunsJobs for PostgresDatabase {
    /// Runs jobs on one connection, as one transaction, until no other transaction is quicker.
    async fn run(&self, jobs: &[Job]) -> Result<Vec<QueryResult>> {
        let limit = self.pool.options.time_limit;
        let mut lease = self.pool.lease().await?;
        let result = tokio::time::timeout(limit, attempts(&mut lease, jobs)).await;
        result.unwrap_or_else(|_| Err(fault::too_long(limit)))
    }
}

/// Runs jobs again and again, as far as that helps.
async fn attempts(lease: &mut Lease, jobs: &[Job]) -> Result<Vec<QueryResult>> {
    let backoff = Backoff::new(Duration::from_millis(2), Duration::from_millis(250));
    let mut overtaken = 0;
    loop {
        let Failure { error, remedy } = match attempt(lease, jobs).await {
            Ok(mut results) => {
                results.iter_mut().for_each(|result| result.meta.total_attempts = overtaken + 1);
                return Ok(results);
            }
            Err(failure) => failure,
        };
        match remedy {
            Remedy::Prepare => {}
            Remedy::Again if overtaken + 1 < ATTEMPTS => {
                overtaken += 1;
                let share = isobar_base::random::fraction().unwrap_or(1.0);
                tokio::time::sleep(backoff.jittered(overtaken, share)).await;
            }
            Remedy::Again | Remedy::None => return Err(error),
        }
    }
}

/// Runs jobs once. A statement alone is a transaction by itself, unless its rows could fail to be read once it is committed.
async fn attempt(lease: &mut Lease, jobs: &[Job]) -> Result<Vec<QueryResult>, Failure> {
    let connection = lease.start();
    connection.forget_changes();
    if let [job] = jobs
        && let [_] = job.pieces.as_slice()
        && job.access == Access::ReadsAndWrites
        && job.result_bytes.is_none()
        && connection.reads_surely(job).await
    {
        let result = connection.run_jobs(jobs).await;
        lease.end();
        return result;
    }
    connection.control("BEGIN").await?;
    let result = match connection.run_jobs(jobs).await {
        Ok(results) => connection.control("COMMIT").await.map(|()| results),
        Err(failure) => match connection.control("ROLLBACK").await {
            Ok(()) => Err(failure),
            // The connection is lost, and the transaction with it.
            Err(_) => return Err(Failure { error: failure.error, remedy: Remedy::None }),
        },
    };
    lease.end();
    result
}

impl fmt::Debug for PostgresDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PostgresDatabase")
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Queryable for PostgresDatabase {
    async fn query(&self, statement: Statement) -> Result<QueryResult> {
        calls::query(self, statement).await
    }

    async fn batch(&self, statements: Vec<Statement>) -> Result<Vec<QueryResult>> {
        calls::batch(self, statements).await
    }

    async fn batch_script(&self, script: &str) -> Result<Vec<QueryResult>> {
        calls::batch_script(self, script).await
    }
}

#[async_trait]
impl Database for PostgresDatabase {
    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { exact_integers: true, interactive: true, ..Capabilities::default() }
    }

    async fn exec(&self, script: &str) -> Result<ExecResult> {
        let start = Instant::now();
        let statements = crate::statement::of_lines(script);
        let count = statements.len();
        let run = calls::statements(self, statements).await;
        run.map_err(|error| error.in_exec(script).during(Operation::Exec))?;
        Ok(ExecResult::new(count, start.elapsed()))
    }

    async fn export(&self, _: ExportOptions, _: Box<dyn Write + Send>) -> Result<Report> {
        let error = Error::new(ErrorKind::Unsupported, "a Postgres database has no export here: use pg_dump");
        Err(error.during(Operation::Export))
    }

    async fn begin(&self, options: InteractiveOptions) -> Result<Box<dyn InteractiveTransaction>> {
        let begun = Interactive::begin(&self.pool, options.time_limit).await;
        Ok(Box::new(begun.map_err(|error| error.during(Operation::Begin))?))
    }

    fn session(&self, consistency: Consistency) -> Arc<dyn DatabaseSession> {
        let seen = match consistency {
            Consistency::Bookmark(bookmark) => Some(bookmark),
            Consistency::FirstPrimary | Consistency::FirstUnconstrained => None,
        };
        Arc::new(Session { database: self.clone(), seen: Mutex::new(seen) })
    }
}

/// A session. All of them see the newest state, so a bookmark is the time alone.
#[derive(Debug)]
struct Session {
    database: PostgresDatabase,
    seen: Mutex<Option<Bookmark>>,
}

impl Session {
    fn advance(&self) {
        let now = Bookmark::of_time(chrono::Utc::now().timestamp_micros());
        let mut seen = self.seen.lock().ignore_poison();
        if seen.as_ref().is_none_or(|seen| *seen < now) {
            *seen = Some(now);
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Queryable for Session {
    async fn query(&self, statement: Statement) -> Result<QueryResult> {
        let result = self.database.query(statement).await;
        self.advance();
        result
    }

    async fn batch(&self, statements: Vec<Statement>) -> Result<Vec<QueryResult>> {
        let results = self.database.batch(statements).await;
        self.advance();
        results
    }

    async fn batch_script(&self, script: &str) -> Result<Vec<QueryResult>> {
        let results = self.database.batch_script(script).await;
        self.advance();
        results
    }
}

impl DatabaseSession for Session {
    fn bookmark(&self) -> Option<Bookmark> {
        self.seen.lock().ignore_poison().clone()
    }
}
