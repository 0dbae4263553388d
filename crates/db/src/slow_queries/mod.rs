//! The slow-query log: a layer over any database that reports statements which take longer than a threshold, with their plan.

mod log;

use std::fmt;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use self::log::{Log, Plans};
use crate::options::ExportOptions;
use crate::result::Report;
use crate::{
    Bookmark, Capabilities, Consistency, Database, DatabaseSession, Dialect, ErrorKind, ExecResult, Imported,
    InteractiveOptions, InteractiveTransaction, Operation, QueryResult, Queryable, Result, Statement, TimeTravel,
};

/// A database whose slow statements are reported, once each: as an event of the level `WARN` (feature `tracing`), and to
/// [a function](SlowQueryOptions::with_report). Clones share the log. For native targets.
///
/// - A report has the text of the SQL and the [plan](SlowQuery::plan), never a bound value. What is written into the text itself is in it.
/// - A plan is asked for by `EXPLAIN QUERY PLAN` once the statement has been run, and once a minute for each distinct text, for 1,024
///   texts a minute. The call that reports waits for it, 1 s at most; others without a plan do not wait.
/// - It costs a copy of each statement's SQL and of its values up to 1,024 bytes each, for as long as the call runs.
/// - Sessions are reported, too, and interactive transactions, without plans; exports and health checks are not.
///
/// ```
/// # #[cfg(feature = "memory")]
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
/// use std::sync::mpsc;
/// use std::time::Duration;
///
/// use isobar_db::slow_queries::{SlowQueries, SlowQueryOptions};
/// use isobar_db::{QueryableExt, SqliteDatabase};
///
/// let (report, reports) = mpsc::channel();
/// let options = SlowQueryOptions::default()
///     .with_threshold(Duration::ZERO) // everything; 100 ms unless it is set
///     .with_report(move |slow| drop(report.send(slow.clone())));
/// let db = SlowQueries::new(SqliteDatabase::memory().await?, options);
/// db.run_script("CREATE TABLE users (name TEXT)").await?;
/// db.prepare("SELECT name FROM users WHERE name = ?").bind("Ada").all::<String>().await?;
///
/// let slow = reports.iter().nth(1).expect("both are reported");
/// assert_eq!(slow.sql, "SELECT name FROM users WHERE name = ?");
/// assert_eq!(slow.plan, Some(vec!["SCAN users".to_owned()]));
/// # Ok(()) }
/// # #[cfg(not(feature = "memory"))] fn main() {}
/// ```
#[derive(Debug, Clone)]
pub struct SlowQueries(Arc<Log>);

impl SlowQueries {
    /// Reports the slow statements of this database.
    pub fn new(inner: impl Database + 'static, options: SlowQueryOptions) -> Self {
        Self(Arc::new(Log::new(Arc::new(inner), options)))
    }
}

/// Takes a report.
type ReportFn = dyn Fn(&SlowQuery) + Send + Sync;

/// Options of the slow-query log.
///
/// ```
/// use std::time::Duration;
///
/// use isobar_db::slow_queries::SlowQueryOptions;
///
/// let options = SlowQueryOptions::default().with_threshold(Duration::from_millis(20)).with_name("DB");
/// assert_eq!((options.threshold, &*options.name), (Duration::from_millis(20), "DB"));
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct SlowQueryOptions {
    /// Duration from which on a statement is slow; 0 reports all. Default: 100 ms.
    pub threshold: Duration,
    /// Name of the database in reports. Default: empty.
    pub name: Arc<str>,
    report: Option<Arc<ReportFn>>,
}

impl Default for SlowQueryOptions {
    fn default() -> Self {
        Self { threshold: Duration::from_millis(100), name: Arc::from(""), report: None }
    }
}

impl SlowQueryOptions {
    /// Sets [`threshold`](Self::threshold).
    #[must_use]
    pub fn with_threshold(mut self, threshold: Duration) -> Self {
        self.threshold = threshold;
        self
    }

    /// Sets [`name`](Self::name).
    #[must_use]
    pub fn with_name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the function that gets each report. Default: none. It is called on the task of the call: it must not block, and
    /// a panic in it is one of the call.
    #[must_use]
    pub fn with_report(mut self, report: impl Fn(&SlowQuery) + Send + Sync + 'static) -> Self {
        self.report = Some(Arc::new(report));
        self
    }
}

impl fmt::Debug for SlowQueryOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlowQueryOptions")
            .field("threshold", &self.threshold)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Report of a slow statement.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SlowQuery {
    /// Name of the database: [`SlowQueryOptions::name`].
    pub database: Arc<str>,
    /// The operation by which it was run.
    pub operation: Operation,
    /// The SQL without its bound values: the first 4,096 bytes, and `…` where there are more. Of `exec` and `import`, which report all
    /// their statements as one, and of a batch of which it is not known which statement took the time, it is the SQL of all.
    pub sql: String,
    /// Duration of the SQL as the database reports it ([`Meta::duration`](crate::Meta::duration)): without the waits for its turn and for the network. For a
    /// statement that has failed or was dropped, the time since the call.
    pub duration: Duration,
    /// Rows of the answer.
    pub rows: u64,
    /// Rows that were inserted, updated and deleted.
    pub changes: u64,
    /// End of the statement.
    pub outcome: Outcome,
    /// Lines of `EXPLAIN QUERY PLAN`, indented by two spaces for each level. `None` where there is none, for a text whose plan was asked
    /// for less than a minute ago, and where the database did not answer within 1 s. A text or blob of more than 1,024 bytes counts as
    /// NULL in it.
    pub plan: Option<Vec<String>>,
}

/// End of a slow statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It was answered.
    Done,
    /// It has failed: by the time limit of the database, say.
    Failed(ErrorKind),
    /// The caller has dropped the future before the answer.
    Dropped,
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Queryable for SlowQueries {
    async fn query(&self, statement: Statement) -> Result<QueryResult> {
        self.0.query(&*self.0.database, Plans::Asked, statement).await
    }
    async fn batch(&self, statements: Vec<Statement>) -> Result<Vec<QueryResult>> {
        self.0.batch(&*self.0.database, Plans::Asked, statements).await
    }
    async fn batch_script(&self, script: &str) -> Result<Vec<QueryResult>> {
        self.0.script(&*self.0.database, Plans::Asked, script).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Database for SlowQueries {
    fn dialect(&self) -> Dialect {
        self.0.database.dialect()
    }
    fn capabilities(&self) -> Capabilities {
        self.0.database.capabilities()
    }
    async fn exec(&self, script: &str) -> Result<ExecResult> {
        let run = self.0.database.exec(script);
        self.0.whole(Operation::Exec, script, run, |result: &ExecResult| (result.duration, 0)).await
    }
    async fn health(&self) -> Result<()> {
        self.0.database.health().await
    }
    async fn export(&self, options: ExportOptions, output: Box<dyn Write + Send>) -> Result<Report> {
        self.0.database.export(options, output).await
    }
    async fn import(&self, script: &str) -> Result<Imported> {
        let run = self.0.database.import(script);
        let report = |imported: &Imported| (imported.meta.duration, imported.meta.changes);
        self.0.whole(Operation::Import, script, run, report).await
    }
    async fn begin(&self, options: InteractiveOptions) -> Result<Box<dyn InteractiveTransaction>> {
        let inner = self.0.database.begin(options).await?;
        Ok(Box::new(SlowTransaction { inner, log: Arc::clone(&self.0) }))
    }
    fn session(&self, consistency: Consistency) -> Arc<dyn DatabaseSession> {
        Arc::new(SlowSession { inner: self.0.database.session(consistency), log: Arc::clone(&self.0) })
    }
    fn time_travel(&self) -> Option<&dyn TimeTravel> {
        self.0.database.time_travel()
    }
}

#[derive(Debug)]
struct SlowSession {
    inner: Arc<dyn DatabaseSession>,
    log: Arc<Log>,
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Queryable for SlowSession {
    async fn query(&self, statement: Statement) -> Result<QueryResult> {
        self.log.query(&*self.inner, Plans::Asked, statement).await
    }
    async fn batch(&self, statements: Vec<Statement>) -> Result<Vec<QueryResult>> {
        self.log.batch(&*self.inner, Plans::Asked, statements).await
    }
    async fn batch_script(&self, script: &str) -> Result<Vec<QueryResult>> {
        self.log.script(&*self.inner, Plans::Asked, script).await
    }
}

#[deny(clippy::missing_trait_methods)]
impl DatabaseSession for SlowSession {
    fn bookmark(&self) -> Option<Bookmark> {
        self.inner.bookmark()
    }
}

#[derive(Debug)]
struct SlowTransaction {
    inner: Box<dyn InteractiveTransaction>,
    log: Arc<Log>,
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Queryable for SlowTransaction {
    async fn query(&self, statement: Statement) -> Result<QueryResult> {
        self.log.query(&*self.inner, Plans::Skipped, statement).await
    }
    async fn batch(&self, statements: Vec<Statement>) -> Result<Vec<QueryResult>> {
        self.log.batch(&*self.inner, Plans::Skipped, statements).await
    }
    async fn batch_script(&self, script: &str) -> Result<Vec<QueryResult>> {
        self.log.script(&*self.inner, Plans::Skipped, script).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl InteractiveTransaction for SlowTransaction {
    async fn commit(self: Box<Self>) -> Result<()> {
        self.inner.commit().await
    }
    async fn rollback(self: Box<Self>) -> Result<()> {
        self.inner.rollback().await
    }
}
