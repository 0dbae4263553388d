//! The traits.
//!
//! Four traits, each the smallest that its user needs: [`Queryable`] runs statements, [`Database`] adds the rest
//! of D1's interface, [`DatabaseSession`] is a `Queryable` with a bookmark, `InteractiveTransaction` one with an
//! end. All are dyn-safe; conveniences that need generics stand in [`QueryableExt`](crate::QueryableExt).
//!
//! Methods with a default body are those that a backend can do better but need not. A wrapper forwards all of them
//! (`#[deny(clippy::missing_trait_methods)]`), or it would silently give up what its backend does better.

use std::fmt::Debug;
use std::io::Write;
use std::sync::Arc;

use async_trait::async_trait;

use crate::options::ExportOptions;
#[cfg(not(target_arch = "wasm32"))]
use crate::options::InteractiveOptions;
use crate::result::Report;
use crate::{
    Bookmark, Capabilities, Consistency, Dialect, Error, ErrorKind, ExecResult, Imported, Operation, QueryResult,
    Result, Statement, TimeTravel, sql,
};

/// A runner of statements: a database, a session on one, a transaction. Code that needs nothing else takes this trait, and runs on all.
///
/// ```
/// # #[cfg(feature = "memory")]
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
/// use isobar_db::{Consistency, Database, Queryable, QueryableExt, Result, SqliteDatabase, Statement};
///
/// async fn add(db: &dyn Queryable, name: &str) -> Result<()> {
///     let user = Statement::new("INSERT INTO users VALUES (?)").bind(name);
///     let entry = Statement::new("INSERT INTO log VALUES ('added ' || ?)").bind(name);
///     db.batch(vec![user, entry]).await.map(drop) // both or neither
/// }
///
/// let db = SqliteDatabase::memory().await?;
/// db.batch_script("CREATE TABLE users (name); CREATE TABLE log (entry);").await?;
/// add(&db, "Ada").await?;
/// add(&db.session(Consistency::FirstPrimary), "Grace").await?;
/// assert_eq!(db.prepare("SELECT count(*) FROM log").one::<i64>().await?, 2);
/// # Ok(()) }
/// # #[cfg(not(feature = "memory"))] fn main() {}
/// ```
///
/// Cancellation: a future that is dropped ends the work where the backend can end it. The local backend interrupts
/// the statement and rolls back; D1's answer is no longer waited for, and what was sent may run all the same.
#[async_trait]
pub trait Queryable: Debug + Send + Sync {
    /// Runs a statement; where it holds several, all of them in one transaction, and the rows are the last one's.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
    /// use isobar_db::{Queryable, SqliteDatabase, Statement};
    ///
    /// let db = SqliteDatabase::memory().await?;
    /// let sql = "CREATE TABLE t (a); INSERT INTO t VALUES (1), (2); SELECT a FROM t WHERE a > ?";
    /// let result = db.query(Statement::new(sql).bind(1)).await?; // the parameter is the last statement's
    /// assert_eq!(result.rows_as::<i64>()?, [2]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Sql`](crate::ErrorKind::Sql), [`Constraint`](crate::ErrorKind::Constraint),
    /// [`NotAuthorized`](crate::ErrorKind::NotAuthorized), [`TooBig`](crate::ErrorKind::TooBig). Nothing is written
    /// then.
    async fn query(&self, statement: Statement) -> Result<QueryResult>;

    /// Runs statements in one transaction, all or nothing, one result each. Empty statements among others are dropped.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
    /// use isobar_db::{Queryable, QueryableExt, SqliteDatabase, Statement};
    ///
    /// let db = SqliteDatabase::memory().await?;
    /// db.run_script("CREATE TABLE t (id INTEGER PRIMARY KEY)").await?;
    /// let insert = |id: i64| Statement::new("INSERT INTO t VALUES (?) RETURNING id").bind(id);
    /// let results = db.batch(vec![insert(1), insert(2)]).await?;
    /// assert_eq!(results[1].rows_as::<i64>()?, [2]);
    ///
    /// // The second of these fails, and the first is undone.
    /// let error = db.batch(vec![insert(3), insert(1)]).await.unwrap_err();
    /// assert_eq!(error.statement_index(), Some(1));
    /// assert_eq!(db.prepare("SELECT max(id) FROM t").one::<i64>().await?, 2);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`query`](Self::query); an empty batch is one.
    async fn batch(&self, statements: Vec<Statement>) -> Result<Vec<QueryResult>>;

    /// Runs a script in one transaction, all or nothing, one result for each statement: a file of SQL, with triggers and
    /// comments, statements that span lines. `BEGIN TRANSACTION` and `COMMIT` around it, as sqlite3's `.dump` writes them, are
    /// skipped.
    ///
    /// By default the script is cut by [`sql::split`](crate::sql::split) and run as a [`batch`](Self::batch); the local
    /// backend has SQLite cut it, and its errors have the [line](crate::Error::line).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
    /// use isobar_db::{Queryable, QueryableExt, SqliteDatabase};
    ///
    /// let db = SqliteDatabase::memory().await?;
    /// let script = "
    ///     CREATE TABLE t (a); -- a comment; with a semicolon
    ///     CREATE TABLE log (a);
    ///     CREATE TRIGGER log_t AFTER INSERT ON t BEGIN
    ///         INSERT INTO log VALUES (new.a);
    ///     END;
    ///     INSERT INTO t VALUES ('x;y');
    /// ";
    /// assert_eq!(db.batch_script(script).await?.len(), 4);
    /// assert_eq!(db.prepare("SELECT a FROM log").one::<String>().await?, "x;y");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`batch`](Self::batch); [`ErrorKind::NotAuthorized`](crate::ErrorKind::NotAuthorized) for several transactions.
    async fn batch_script(&self, script: &str) -> Result<Vec<QueryResult>> {
        let script = sql::without_transaction(script)?;
        self.batch(sql::split(&script).map(|statement| Statement::new(statement.to_owned())).collect()).await
    }
}

/// A database with D1's semantics.
///
/// Writes are serialised and durable when answered; reads see every write answered before them.
///
/// Code that runs on any backend takes `&dyn Database`, or keeps an `Arc<dyn Database>`:
///
/// ```
/// # #[cfg(feature = "memory")]
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
/// use std::sync::Arc;
///
/// use isobar_db::{Database, QueryableExt, Result, SqliteDatabase};
///
/// async fn count_users(db: &dyn Database) -> Result<i64> {
///     db.prepare("SELECT count(*) FROM users").one().await
/// }
///
/// let db: Arc<dyn Database> = Arc::new(SqliteDatabase::memory().await?);
/// db.exec("CREATE TABLE users (name TEXT)").await?;
/// db.health().await?; // for a readiness check
/// assert_eq!(count_users(&*db).await?, 0);
/// # Ok(()) }
/// # #[cfg(not(feature = "memory"))] fn main() {}
/// ```
///
/// Durability: a write that is answered survives a loss of power on the local backend with a file, where the disk
/// keeps what it has said to have synced. One that is answered with an error has changed nothing, but for the two
/// exceptions at [`Error::is_retryable`](crate::Error::is_retryable).
#[async_trait]
pub trait Database: Queryable {
    /// The SQL dialect.
    ///
    /// [`Dialect::Sqlite`] but for `PostgresDatabase`; it is there for layers that write SQL.
    fn dialect(&self) -> Dialect;

    /// Abilities in which the backend may differ from others.
    ///
    /// The answer is the same for as long as the database exists, and asks no one.
    fn capabilities(&self) -> Capabilities;

    /// Runs a script of one or more statements a line, in one transaction. A statement may not span lines: use
    /// [`QueryableExt::run_script`](crate::QueryableExt::run_script) for files.
    ///
    /// D1's `exec` is like this; its documentation advises against it for anything but maintenance, since nothing can
    /// be bound. Lines of space or of a `--` comment do not count.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
    /// use isobar_db::{Database, SqliteDatabase};
    ///
    /// let db = SqliteDatabase::memory().await?;
    /// let done = db.exec("CREATE TABLE t (a)\n-- two rows\nINSERT INTO t VALUES (1), (2)").await?;
    /// assert_eq!(done.count, 2);
    /// let error = db.exec("SELEC 1").await.unwrap_err();
    /// assert!(error.to_string().starts_with("D1_EXEC_ERROR: Error in line 1: SELEC 1: "));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `D1_EXEC_ERROR`, with the script's first line; nothing is written then.
    async fn exec(&self, script: &str) -> Result<ExecResult>;

    /// Checks that the database reads and could write: for readiness. By default it runs a query that reads; the local backend
    /// also begins and ends a write, makes one where the last write has failed, and reports failed syncs and a disk below its
    /// reserve.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
    /// use isobar_db::{Database, SqliteDatabase};
    ///
    /// let db = SqliteDatabase::memory().await?;
    /// let status = match db.health().await {
    ///     Ok(()) => "200 ready".to_owned(),
    ///     Err(error) => format!("503 {error}"),
    /// };
    /// assert_eq!(status, "200 ready");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those that a write would meet: [`ErrorKind::StorageFull`](crate::ErrorKind::StorageFull),
    /// [`Unavailable`](crate::ErrorKind::Unavailable), [`Corrupt`](crate::ErrorKind::Corrupt).
    async fn health(&self) -> Result<()> {
        self.query(Statement::new("SELECT 1").rows_only()).await.map(drop)
    }

    /// Writes the database as SQL, without loss: the state of one moment, in bounded memory, while others may go on writing; see
    /// [`dump`](mod@crate::dump). The output is written on a thread of the backend's, where it may block, and is dropped there. An export
    /// whose future is dropped ends with its next write.
    ///
    /// ```
    /// # #[cfg(feature = "memory")]
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use isobar_db::dump::ExportOptions;
    /// use isobar_db::{Database, SqliteDatabase};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// # let file = folder.path().join("app.sql");
    /// let db = SqliteDatabase::memory().await?;
    /// db.import("CREATE TABLE t (a); INSERT INTO t VALUES (1), (2);").await?;
    /// let report = db.export(ExportOptions::default(), Box::new(std::fs::File::create(&file)?)).await?;
    /// assert_eq!((report.tables, report.rows), (1, 2));
    /// assert!(std::fs::read_to_string(&file)?.contains("CREATE TABLE t"));
    /// # Ok(()) }
    /// # #[cfg(not(feature = "memory"))] fn main() {}
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where the backend has no export ([`Capabilities::export`]), which is the default, and for a virtual
    /// table whose rows cannot be had out of it; [`ErrorKind::Sql`] for a table that is named and does not exist; those of the output.
    async fn export(&self, _options: ExportOptions, _output: Box<dyn Write + Send>) -> Result<Report> {
        Err(Error::new(ErrorKind::Unsupported, "this database has no export").during(Operation::Export))
    }

    /// Runs a script as [`batch_script`](Queryable::batch_script) does, and keeps no rows of it: for scripts that are long, as an
    /// [`export`](Self::export) is.
    ///
    /// By default it is [`batch_script`](Queryable::batch_script), whose results are in memory until they are counted.
    ///
    /// The script is one transaction, so a long one holds up other writes, within [the time
    /// limit](crate::SqliteOptions::time_limit). For a file that becomes a new database there is `dump::import`
    /// (feature `local`), which has no such limit.
    ///
    /// # Errors
    /// As [`batch_script`](Queryable::batch_script).
    async fn import(&self, script: &str) -> Result<Imported> {
        let results = self.batch_script(script).await.map_err(|error| error.during(Operation::Import))?;
        Ok(Imported::of(&results))
    }

    /// Begins an [interactive transaction](crate::InteractiveTransaction), in which the program decides between the statements. By default
    /// there are none. On native targets alone: no backend inside Workers has them.
    ///
    /// The local backend has one writer. It waits its turn, and from then on other writes and health checks wait until the transaction
    /// ends, in memory the reads, too: within it, use the transaction and not the database, which would wait until the time limit has
    /// ended the transaction. A write that has then waited longer than [its own limit](crate::SqliteOptions::time_limit) fails. For
    /// programs that are to run on D1, and for transactions that wait for anything else, there is
    /// [`transaction`](mod@crate::transaction), which holds up nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where the backend has none ([`Capabilities::interactive`]), which is the default;
    /// [`Unavailable`](ErrorKind::Unavailable) where its turn did not come within [the time limit](crate::SqliteOptions::time_limit);
    /// [`StorageFull`](ErrorKind::StorageFull).
    #[cfg(not(target_arch = "wasm32"))]
    async fn begin(&self, _options: InteractiveOptions) -> Result<Box<dyn InteractiveTransaction>> {
        let message = "this database has no interactive transactions: use QueryableExt::transaction";
        Err(Error::new(ErrorKind::Unsupported, message).during(Operation::Begin))
    }

    /// Starts a session: its queries see everything that its earlier queries and the bookmark have seen.
    ///
    /// It does not fail and asks no one: a session on a database that is gone fails with its first query. See
    /// [`Consistency`] for an example.
    fn session(&self, consistency: Consistency) -> Arc<dyn DatabaseSession>;

    /// Returns the database's history, where it keeps one. Default: `None`.
    ///
    /// `None` says that bookmarks of this database are positions only, which nothing can go back to.
    fn time_travel(&self) -> Option<&dyn TimeTravel> {
        None
    }
}

/// A session on a database: D1's `withSession`. Dropping it ends it.
///
/// ```
/// # #[cfg(feature = "memory")]
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
/// use isobar_db::{Consistency, Database, DatabaseSession, QueryableExt, SqliteDatabase};
///
/// let db = SqliteDatabase::memory().await?;
/// let session = db.session(Consistency::FirstUnconstrained);
/// assert_eq!(session.bookmark(), None);
/// session.prepare("SELECT 1").run().await?;
/// let seen = session.bookmark().expect("a query has been answered");
/// assert!(!seen.as_str().is_empty()); // it goes to the client, and begins the session of its next request
/// # Ok(()) }
/// # #[cfg(not(feature = "memory"))] fn main() {}
/// ```
///
/// Queries of one session that run at once may be answered by different states; each bookmark is that of the newest
/// one.
pub trait DatabaseSession: Queryable {
    /// The newest state that the session has seen; `None` before the first query, unless it was started with a bookmark.
    fn bookmark(&self) -> Option<Bookmark>;
}

/// An open transaction, from [`Database::begin`](crate::Database::begin). Everything that runs statements works on it: `prepare`,
/// [`batch`](Queryable::batch), [`run_script`](crate::QueryableExt::run_script). Dropping it rolls it back.
///
/// - It reads its own writes. Others see none of them before the commit; then all of them, durable when the commit is answered.
/// - A call that fails is undone alone, and the transaction goes on, unless the database itself has ended it (`OR ROLLBACK`, a full
///   disk, a write that was interrupted by the database's own time limit). A batch is all or nothing in it.
/// - A call whose future is dropped before the answer rolls the transaction back, since the caller cannot know whether it was run. So does
///   the time limit. Every later call fails with [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) then, and nothing is written; begin
///   again. A commit whose future is dropped is done or rolled back.
///
/// ```
/// # #[cfg(feature = "memory")]
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
/// use isobar_db::{Database, InteractiveOptions, QueryableExt, SqliteDatabase};
///
/// let db = SqliteDatabase::memory().await?;
/// db.run_script("CREATE TABLE accounts (name TEXT, euros INTEGER); INSERT INTO accounts VALUES ('Ada', 5), ('Bob', 0);").await?;
///
/// let tx = db.begin(InteractiveOptions::default()).await?;
/// let euros: i64 = tx.prepare("SELECT euros FROM accounts WHERE name = 'Ada'").one().await?;
/// if euros >= 3 {
///     tx.prepare("UPDATE accounts SET euros = euros - 3 WHERE name = 'Ada'").run().await?;
///     tx.prepare("UPDATE accounts SET euros = euros + 3 WHERE name = 'Bob'").run().await?;
/// }
/// tx.commit().await?;
/// assert_eq!(db.prepare("SELECT euros FROM accounts").all::<i64>().await?, [2, 3]);
///
/// let tx = db.begin(InteractiveOptions::default()).await?;
/// tx.prepare("DELETE FROM accounts").run().await?;
/// drop(tx); // rolled back
/// assert_eq!(db.prepare("SELECT count(*) FROM accounts").one::<i64>().await?, 2);
/// # Ok(()) }
/// # #[cfg(not(feature = "memory"))] fn main() {}
/// ```
#[cfg(not(target_arch = "wasm32"))]
#[async_trait]
pub trait InteractiveTransaction: Queryable {
    /// Commits. What is answered is durable.
    ///
    /// # Errors
    /// [`ErrorKind::Constraint`](crate::ErrorKind::Constraint) for a deferred foreign key that is broken;
    /// [`Unavailable`](crate::ErrorKind::Unavailable) where the transaction was over before, by its time limit, say; those of writes. It
    /// is rolled back then; a commit whose sync has failed may be there when the database is opened again
    /// ([`Error::is_retryable`](crate::Error::is_retryable)).
    async fn commit(self: Box<Self>) -> Result<()>;

    /// Rolls back, and returns when others can write again; a drop does not wait for that.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) where the transaction was over before; it was rolled back then, too.
    async fn rollback(self: Box<Self>) -> Result<()>;
}

macro_rules! forward {
    ($($wrapper:ty),*) => {$(
        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<D: Queryable + ?Sized> Queryable for $wrapper {
            async fn query(&self, statement: Statement) -> Result<QueryResult> {
                (**self).query(statement).await
            }
            async fn batch(&self, statements: Vec<Statement>) -> Result<Vec<QueryResult>> {
                (**self).batch(statements).await
            }
            async fn batch_script(&self, script: &str) -> Result<Vec<QueryResult>> {
                (**self).batch_script(script).await
            }
        }

        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<D: Database + ?Sized> Database for $wrapper {
            fn dialect(&self) -> Dialect {
                (**self).dialect()
            }
            fn capabilities(&self) -> Capabilities {
                (**self).capabilities()
            }
            async fn exec(&self, script: &str) -> Result<ExecResult> {
                (**self).exec(script).await
            }
            async fn health(&self) -> Result<()> {
                (**self).health().await
            }
            async fn export(&self, options: ExportOptions, output: Box<dyn Write + Send>) -> Result<Report> {
                (**self).export(options, output).await
            }
            async fn import(&self, script: &str) -> Result<Imported> {
                (**self).import(script).await
            }
            #[cfg(not(target_arch = "wasm32"))]
            async fn begin(&self, options: InteractiveOptions) -> Result<Box<dyn InteractiveTransaction>> {
                (**self).begin(options).await
            }
            fn session(&self, consistency: Consistency) -> Arc<dyn DatabaseSession> {
                (**self).session(consistency)
            }
            fn time_travel(&self) -> Option<&dyn TimeTravel> {
                (**self).time_travel()
            }
        }
    )*};
}
forward!(Arc<D>, Box<D>);
