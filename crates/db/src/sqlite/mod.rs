//! SQLite, in a file or in memory, with D1's rules.
//!
//! One connection writes, so writes are serialised as in D1; in a file, others read beside it (WAL): short statements on the
//! calling task, longer ones on threads ([`lane`]). Each connection has D1's limits and its authorizer ([`connection`]).
//!
//! ```text
//! SqliteDatabase   the public type: names the operation in errors
//! engine           chooses the connection; runs statements, batches, scripts, exports, restores
//! lane             threads that own connections, and the queue before them
//! connection       one connection with D1's rules, and what may interrupt it
//! disk, fault      room on the disk, modes of files; SQLite's errors in D1's words
//! history          every commit of a file, kept for a time
//! pages            copies of all pages of a database
//! replica          a copy that stays behind, for tests of bookmarks
//! ```
//!
//! Locks: a statement of a reader holds its place in the pool and nothing else. The writer's thread holds none
//! while it runs SQL; a commit takes the history's locks for a moment, in the order `state`, then those of the
//! marks. No lock is held over an `await`, but for the asynchronous one of a replica that is brought forward.
//!
//! Tests: `engine/tests` by scripts and kills, `tests/it` by the conformance kit, `tests/crash` by losing the
//! power.

mod connection;
mod disk;
mod engine;
mod fault;
#[cfg(feature = "local")]
mod history;
mod lane;
mod replica;
#[cfg(feature = "local")]
mod threads;
#[cfg(feature = "local")]
mod time_travel;
mod values;

use std::fmt;
use std::io::Write;
#[cfg(feature = "local")]
use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use isobar_base::sync::IgnorePoison;

use self::engine::Engine;
#[cfg(feature = "local")]
pub(crate) use self::history::{
    Content, Cutter, HistoryId, Image, Index, Kind, Limit, Piece, Point, Position, Span, last_commit, of_bookmark,
    of_file, spans,
};
use self::replica::{Replica, may_run};
#[cfg(feature = "local")]
pub(crate) use self::threads::blocking;
use crate::options::ExportOptions;
use crate::result::Report;
use crate::{
    Bookmark, Capabilities, Consistency, Database, DatabaseSession, Dialect, Error, ErrorKind, ExecResult, Imported,
    InteractiveOptions, InteractiveTransaction, Operation, QueryResult, Queryable, ReplicaLag, Result, SqliteOptions,
    Statement,
};

/// A database with D1's semantics on SQLite. Clones share it.
///
/// A short read runs on the calling task: a few microseconds, without a thread's turn. What takes longer, by a budget of SQLite's
/// instructions, and every write runs on threads of the database's own. Writes that wait at the same time are made durable by one
/// sync; each is answered after it, and is undone alone when it fails.
///
/// A query whose future is dropped is interrupted and rolled back; one that takes longer than
/// [`SqliteOptions::time_limit`] is, too, unless it is being committed: what was committed is answered as done. After a failed commit the next write starts afresh. After a failed sync nothing is
/// written until the database is opened again, since the state of the disk is uncertain then.
///
/// With [`SqliteOptions::with_history`] every commit of a file is kept for a time, and [`TimeTravel`](crate::TimeTravel) goes back to any
/// of them; a bookmark of a session means the newest commit that was answered before. In a process beside the one that keeps the history,
/// commits of the other may be missing from it.
///
/// `rows_read` and `rows_written` are counted as D1 counts them with the crate's feature `row-counts`, and are `None` without it, and on
/// Windows. Divergence from D1: integers are exact to 64 bits.
///
/// ```
/// # #[cfg(feature = "local")]
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use isobar_db::{Database, QueryableExt, SqliteDatabase};
///
/// # let folder = tempfile::tempdir()?;
/// let path = folder.path().join("state/db.sqlite");
/// let db = SqliteDatabase::open(&path).await?;
/// db.exec("CREATE TABLE t (a)\nINSERT INTO t VALUES ('durable')").await?;
/// drop(db);
///
/// let again = SqliteDatabase::open(&path).await?;
/// assert_eq!(again.prepare("SELECT a FROM t").one::<String>().await?, "durable");
/// # Ok(()) }
/// # #[cfg(not(feature = "local"))] fn main() {}
/// ```
///
/// | | in memory | in a file |
/// |---|---|---|
/// | connections | one, its thread's | one that writes, 2 to 8 that read on the calling task, up to 4 on threads |
/// | a read while a write runs | waits for its turn | runs beside it, on the state before |
/// | several processes | no | yes: SQLite's locks |
/// | durable when answered | no | yes |
/// | `disk_reserve`, `history` | without effect | as set |
///
/// Dropping the last clone closes the connections and waits for that; a running statement is interrupted.
#[derive(Clone)]
pub struct SqliteDatabase {
    engine: Arc<Engine>,
    replica: Option<Arc<Replica>>,
}

impl SqliteDatabase {
    /// An empty database in memory: a faithful fake.
    ///
    /// Each call makes a database of its own; clone the value to share one.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
    /// use isobar_db::{QueryableExt, SqliteDatabase};
    ///
    /// let db = SqliteDatabase::memory().await?;
    /// let same = db.clone();
    /// same.run_script("CREATE TABLE t (a)").await?;
    /// assert!(db.prepare("SELECT a FROM t").all::<i64>().await?.is_empty());
    /// assert!(SqliteDatabase::memory().await?.prepare("SELECT a FROM t").run().await.is_err(), "another one");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// SQLite's: no memory.
    #[cfg(feature = "memory")]
    pub async fn memory() -> Result<Self> {
        Self::memory_with(SqliteOptions::default()).await
    }

    /// An empty database in memory, with options.
    ///
    /// # Errors
    /// As [`memory`](Self::memory).
    #[cfg(feature = "memory")]
    pub async fn memory_with(options: SqliteOptions) -> Result<Self> {
        Self::of(Engine::open(None, options).await?).await
    }

    /// The database in this file, created if need be, its folder too. WAL, `synchronous=FULL`: what is answered
    /// survives power loss. Several processes may open it.
    ///
    /// The file, its log and the log's index are their owner's alone (mode 0600, existing ones tightened), and so are new folders
    /// (0700). An existing folder is tightened where it holds nothing but databases.
    ///
    /// It blocks the calling task for as long as the files are looked at, and waits for another process that has the
    /// database locked, up to 30 s and within the time limit. A path's folder is created with it; a relative one counts
    /// from the working directory.
    ///
    /// # Errors
    /// [`ErrorKind::PermissionDenied`], [`ErrorKind::StorageFull`], [`ErrorKind::Corrupt`] when the file is something else, or is
    /// missing while its write-ahead log or journal is there; each names the file.
    #[cfg(feature = "local")]
    pub async fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, SqliteOptions::default()).await
    }

    /// The database in this file, with options.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    ///
    /// use isobar_db::{ErrorKind, SqliteDatabase, SqliteOptions};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// let options = SqliteOptions::default().with_time_limit(Duration::from_secs(5)).with_disk_reserve(0);
    /// SqliteDatabase::open_with(folder.path().join("app.sqlite"), options.clone()).await?;
    ///
    /// std::fs::write(folder.path().join("notes.txt"), "not a database".repeat(100))?;
    /// let error = SqliteDatabase::open_with(folder.path().join("notes.txt"), options).await.unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Corrupt);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`open`](Self::open).
    #[cfg(feature = "local")]
    pub async fn open_with(path: impl AsRef<Path>, options: SqliteOptions) -> Result<Self> {
        let path = path.as_ref();
        disk::check_left(path)?;
        disk::make_private(path).map_err(|error| {
            let kind = match isobar_base::io::Class::of(&error) {
                isobar_base::io::Class::Full => ErrorKind::StorageFull,
                _ => ErrorKind::PermissionDenied,
            };
            Error::new(kind, format!("cannot open the database: {error}"))
                .with_source(error)
                .in_file(&path.display().to_string())
        })?;
        let engine = Engine::open(Some(path), options).await;
        Self::of(engine.map_err(|error| error.in_file(&path.display().to_string()))?).await
    }

    async fn of(engine: Engine) -> Result<Self> {
        let replica = match engine.options().replica_lag {
            Some(ReplicaLag::UntilAdvanced) => Some(Arc::new(Replica::open(&engine).await?)),
            None => None,
        };
        Ok(Self { engine: Arc::new(engine), replica })
    }

    /// Brings the [simulated replica](ReplicaLag) forward to the newest state, of which it returns the bookmark: a session with this
    /// bookmark or an earlier one reads from the replica. It copies the whole database.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] without the option [`SqliteOptions::with_replica_lag`]; [`ErrorKind::Unavailable`] when another process
    /// holds a lock.
    pub async fn advance_replica(&self) -> Result<Bookmark> {
        let Some(replica) = &self.replica else {
            let message = "the database has no replica: open it with SqliteOptions::with_replica_lag";
            return Err(Error::new(ErrorKind::Unsupported, message).during("advance_replica"));
        };
        replica.advance(&self.engine).await.map_err(|error| error.during("advance_replica"))
    }
}

/// For tests that lose the power.
#[cfg(feature = "local")]
impl SqliteDatabase {
    /// The database in this file, with the files of its history on this disk.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    #[doc(hidden)]
    pub async fn open_on(
        path: impl AsRef<Path>,
        options: SqliteOptions,
        disk: Arc<dyn isobar_sqlite::journal::Disk>,
    ) -> Result<Self> {
        Self::of(Engine::open_on(path.as_ref(), options, disk).await?).await
    }
}

impl fmt::Debug for SqliteDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SqliteDatabase({})", self.engine.name())
    }
}

#[async_trait]
impl Queryable for SqliteDatabase {
    async fn query(&self, statement: Statement) -> Result<QueryResult> {
        self.engine.query(statement).await.map_err(|error| error.during(Operation::Query))
    }

    async fn batch(&self, statements: Vec<Statement>) -> Result<Vec<QueryResult>> {
        self.engine.run(statements).await.map_err(|error| error.during(Operation::Batch))
    }

    async fn batch_script(&self, script: &str) -> Result<Vec<QueryResult>> {
        self.engine.run_script(script).await.map_err(|error| error.during(Operation::Batch))
    }
}

#[async_trait]
impl Database for SqliteDatabase {
    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            row_counts: isobar_sqlite::COUNTS_ROWS,
            exact_integers: true,
            export: true,
            interactive: true,
            sqlite: true,
        }
    }

    async fn exec(&self, script: &str) -> Result<ExecResult> {
        let start = std::time::Instant::now();
        let statements = crate::statement::of_lines(script);
        let count = statements.len();
        self.engine.run(statements).await.map_err(|error| error.in_exec(script).during(Operation::Exec))?;
        Ok(ExecResult::new(count, start.elapsed()))
    }

    async fn health(&self) -> Result<()> {
        self.engine.health().await.map_err(|error| error.during(Operation::Health))
    }

    async fn export(&self, options: ExportOptions, output: Box<dyn Write + Send>) -> Result<Report> {
        self.engine.export(options, output).await.map_err(|error| error.during(Operation::Export))
    }

    async fn import(&self, script: &str) -> Result<Imported> {
        self.engine.import(script).await.map_err(|error| error.during(Operation::Import))
    }

    async fn begin(&self, options: InteractiveOptions) -> Result<Box<dyn InteractiveTransaction>> {
        let begun = self.engine.begin(options.time_limit).await;
        Ok(Box::new(begun.map_err(|error| error.during(Operation::Begin))?))
    }

    fn session(&self, consistency: Consistency) -> Arc<dyn DatabaseSession> {
        let starts_at_primary = consistency == Consistency::FirstPrimary;
        let seen = match consistency {
            Consistency::Bookmark(bookmark) => Some(bookmark),
            Consistency::FirstPrimary | Consistency::FirstUnconstrained => None,
        };
        Arc::new(Session { database: self.clone(), starts_at_primary, seen: Mutex::new(seen) })
    }

    #[cfg(feature = "local")]
    fn time_travel(&self) -> Option<&dyn crate::TimeTravel> {
        self.engine.has_history().then_some(self as &dyn crate::TimeTravel)
    }
}

/// A session. Without a replica there is one copy of the data, so every session sees everything; the bookmark is its position alone.
#[derive(Debug)]
struct Session {
    database: SqliteDatabase,
    /// The first query goes to the primary.
    starts_at_primary: bool,
    seen: Mutex<Option<Bookmark>>,
}

impl Session {
    /// Returns the replica and its position, if it may answer these texts: they only read, and it has what the session has seen.
    fn replica<'s>(&self, mut texts: impl Iterator<Item = &'s str>) -> Option<(Arc<Replica>, Bookmark)> {
        let replica = self.database.replica.as_ref().filter(|_| texts.all(may_run))?;
        let position = replica.position();
        let has_all = match &*self.seen.lock().ignore_poison() {
            Some(seen) => *seen <= position,
            None => !self.starts_at_primary,
        };
        has_all.then(|| (Arc::clone(replica), position))
    }

    /// Notes that the session has seen this state.
    fn advance(&self, now: Bookmark) {
        let mut seen = self.seen.lock().ignore_poison();
        if seen.as_ref().is_none_or(|seen| *seen < now) {
            *seen = Some(now);
        }
    }
}

#[async_trait]
impl Queryable for Session {
    async fn query(&self, statement: Statement) -> Result<QueryResult> {
        let replica = self.replica(std::iter::once(statement.sql()));
        if let Some((replica, position)) = replica {
            let result = replica.query(statement).await;
            self.advance(position);
            return result;
        }
        let result = self.database.query(statement).await;
        self.advance(self.database.engine.bookmark());
        result
    }

    async fn batch(&self, statements: Vec<Statement>) -> Result<Vec<QueryResult>> {
        let replica = self.replica(statements.iter().map(Statement::sql));
        if let Some((replica, position)) = replica {
            let results = replica.batch(statements).await;
            self.advance(position);
            return results;
        }
        let results = self.database.batch(statements).await;
        self.advance(self.database.engine.bookmark());
        results
    }

    async fn batch_script(&self, script: &str) -> Result<Vec<QueryResult>> {
        if let Some((replica, position)) = self.replica(std::iter::once(script)) {
            let results = replica.batch_script(script).await;
            self.advance(position);
            return results;
        }
        let results = self.database.batch_script(script).await;
        self.advance(self.database.engine.bookmark());
        results
    }
}

impl DatabaseSession for Session {
    fn bookmark(&self) -> Option<Bookmark> {
        self.seen.lock().ignore_poison().clone()
    }
}
