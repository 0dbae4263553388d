//! A backend that records its calls and fails, waits or holds as scripted, over any other backend.
//!
//! For tests of what a program does when its database fails: a real backend stays underneath, so that everything
//! that is not scripted works as it does in production. Calls are recorded before they are passed on.

use std::io::Write;
use std::sync::Arc;

use async_trait::async_trait;
pub use isobar_testkit::{Call, Release, Script};

pub use crate::Operation;
use crate::options::ExportOptions;
use crate::result::Report;
use crate::{
    Bookmark, Capabilities, Consistency, Database, DatabaseSession, Dialect, Error, ExecResult, Imported, QueryResult,
    Queryable, Result, Statement, TimeTravel,
};
#[cfg(not(target_arch = "wasm32"))]
use crate::{InteractiveOptions, InteractiveTransaction};

/// Any database, with a [`Script`] before every [`Operation`]; a script of SQL is a batch, and a call's subject is its SQL. A
/// scripted error names the operation that it fails, as a backend's own errors do.
///
/// ```
/// # #[cfg(feature = "memory")]
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
/// use isobar_db::mock::{MockDatabase, Operation};
/// use isobar_db::{Error, ErrorKind, QueryableExt, SqliteDatabase};
///
/// let db = MockDatabase::new(SqliteDatabase::memory().await?);
/// db.script().fail_next(Operation::Query, Error::new(ErrorKind::Unavailable, "the database is busy"));
/// let error = db.prepare("SELECT 1").run().await.unwrap_err();
/// assert_eq!((error.operation(), error.to_string().as_str()), ("query", "D1_ERROR: the database is busy"));
/// assert!(error.is_retryable());
/// db.prepare("SELECT 1").run().await?;
/// assert_eq!(db.script().count(Operation::Query), 2);
/// # Ok(()) }
/// # #[cfg(not(feature = "memory"))] fn main() {}
/// ```
///
/// Clones share the script and the record. Sessions, and [`time_travel`](Database::time_travel), are the backend's
/// own; the operations of a session and of an interactive transaction go through the script, those of time travel do not.
#[derive(Debug, Clone)]
pub struct MockDatabase {
    inner: Arc<dyn Database>,
    script: Script<Error>,
}

impl MockDatabase {
    /// A mock over this backend; without a script it only records.
    pub fn new(inner: impl Database + 'static) -> Self {
        Self { inner: Arc::new(inner), script: Script::new(Operation::ALL) }
    }

    /// The script and the record of calls.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
    /// use isobar_db::mock::{MockDatabase, Operation};
    /// use isobar_db::{Database, Queryable, SqliteDatabase};
    ///
    /// let db = MockDatabase::new(SqliteDatabase::memory().await?);
    /// db.exec("CREATE TABLE t (a)").await?;
    /// db.batch(vec!["INSERT INTO t VALUES (1)".into(), "INSERT INTO t VALUES (2)".into()]).await?;
    /// assert_eq!((db.script().count(Operation::Exec), db.script().count(Operation::Batch)), (1, 1));
    /// assert_eq!(db.script().count(Operation::Query), 0);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn script(&self) -> &Script<Error> {
        &self.script
    }
}

/// Records a call and plays its step.
async fn enter(script: &Script<Error>, operation: Operation, subject: impl Into<String> + Send) -> Result<()> {
    script.enter(operation, subject).await.map_err(|error| error.during(operation))
}

fn joined(statements: &[Statement]) -> String {
    statements.iter().map(Statement::sql).collect::<Vec<_>>().join("; ")
}

/// Runs statements behind the script of a wrapper.
macro_rules! scripted {
    ($($wrapper:ty),*) => {$(
        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl Queryable for $wrapper {
            async fn query(&self, statement: Statement) -> Result<QueryResult> {
                enter(&self.script, Operation::Query, statement.sql()).await?;
                self.inner.query(statement).await
            }
            async fn batch(&self, statements: Vec<Statement>) -> Result<Vec<QueryResult>> {
                enter(&self.script, Operation::Batch, joined(&statements)).await?;
                self.inner.batch(statements).await
            }
            async fn batch_script(&self, script: &str) -> Result<Vec<QueryResult>> {
                enter(&self.script, Operation::Batch, script).await?;
                self.inner.batch_script(script).await
            }
        }
    )*};
}
scripted!(MockDatabase, MockSession);
#[cfg(not(target_arch = "wasm32"))]
scripted!(MockTransaction);

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Database for MockDatabase {
    fn dialect(&self) -> Dialect {
        self.inner.dialect()
    }
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
    async fn exec(&self, script: &str) -> Result<ExecResult> {
        enter(&self.script, Operation::Exec, script).await?;
        self.inner.exec(script).await
    }
    async fn health(&self) -> Result<()> {
        enter(&self.script, Operation::Health, "").await?;
        self.inner.health().await
    }
    async fn export(&self, options: ExportOptions, output: Box<dyn Write + Send>) -> Result<Report> {
        enter(&self.script, Operation::Export, options.tables.join(", ")).await?;
        self.inner.export(options, output).await
    }
    async fn import(&self, script: &str) -> Result<Imported> {
        enter(&self.script, Operation::Import, script).await?;
        self.inner.import(script).await
    }
    #[cfg(not(target_arch = "wasm32"))]
    async fn begin(&self, options: InteractiveOptions) -> Result<Box<dyn InteractiveTransaction>> {
        enter(&self.script, Operation::Begin, "").await?;
        let inner = self.inner.begin(options).await?;
        Ok(Box::new(MockTransaction { inner, script: self.script.clone() }))
    }
    fn session(&self, consistency: Consistency) -> Arc<dyn DatabaseSession> {
        Arc::new(MockSession { inner: self.inner.session(consistency), script: self.script.clone() })
    }
    fn time_travel(&self) -> Option<&dyn TimeTravel> {
        self.inner.time_travel()
    }
}

#[derive(Debug)]
struct MockSession {
    inner: Arc<dyn DatabaseSession>,
    script: Script<Error>,
}

#[deny(clippy::missing_trait_methods)]
impl DatabaseSession for MockSession {
    fn bookmark(&self) -> Option<Bookmark> {
        self.inner.bookmark()
    }
}

/// A transaction of a mock. A commit or rollback that a script lets fail drops the transaction, which rolls it back.
#[cfg(not(target_arch = "wasm32"))]
#[derive(Debug)]
struct MockTransaction {
    inner: Box<dyn InteractiveTransaction>,
    script: Script<Error>,
}

#[cfg(not(target_arch = "wasm32"))]
#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl InteractiveTransaction for MockTransaction {
    async fn commit(self: Box<Self>) -> Result<()> {
        enter(&self.script, Operation::Commit, "").await?;
        self.inner.commit().await
    }
    async fn rollback(self: Box<Self>) -> Result<()> {
        enter(&self.script, Operation::Rollback, "").await?;
        self.inner.rollback().await
    }
}
