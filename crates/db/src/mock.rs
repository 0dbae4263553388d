//! A backend that records its calls and fails, waits or holds as scripted, over any other backend.

use std::sync::Arc;

use async_trait::async_trait;
pub use isobar_testkit::{Call, Release, Script};

use crate::{
    Bookmark, Capabilities, Consistency, Database, DatabaseSession, Dialect, Error, ExecResult, QueryResult, Queryable,
    Result, Statement,
};

/// An operation of [`Queryable`] and [`Database`], as its mock's script and record name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the names are the trait's")]
pub enum Operation {
    Query,
    Batch,
    Exec,
    Health,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Query, Self::Batch, Self::Exec, Self::Health];

    /// The operation's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Batch => "batch",
            Self::Exec => "exec",
            Self::Health => "health",
        }
    }
}

impl AsRef<str> for Operation {
    fn as_ref(&self) -> &str {
        self.name()
    }
}

impl From<Operation> for &'static str {
    fn from(operation: Operation) -> Self {
        operation.name()
    }
}

/// Any database, with a [`Script`] before every [`Operation`]; a script of SQL is a batch, and a call's subject is its SQL.
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
    #[must_use]
    pub fn script(&self) -> &Script<Error> {
        &self.script
    }
}

fn joined(statements: &[Statement]) -> String {
    statements.iter().map(Statement::sql).collect::<Vec<_>>().join("; ")
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Queryable for MockDatabase {
    async fn query(&self, statement: Statement) -> Result<QueryResult> {
        self.script.enter(Operation::Query, statement.sql()).await?;
        self.inner.query(statement).await
    }
    async fn batch(&self, statements: Vec<Statement>) -> Result<Vec<QueryResult>> {
        self.script.enter(Operation::Batch, joined(&statements)).await?;
        self.inner.batch(statements).await
    }
    async fn batch_script(&self, script: &str) -> Result<Vec<QueryResult>> {
        self.script.enter(Operation::Batch, script).await?;
        self.inner.batch_script(script).await
    }
}

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
        self.script.enter(Operation::Exec, script).await?;
        self.inner.exec(script).await
    }
    async fn health(&self) -> Result<()> {
        self.script.enter(Operation::Health, "").await?;
        self.inner.health().await
    }
    fn session(&self, consistency: Consistency) -> Arc<dyn DatabaseSession> {
        Arc::new(MockSession { inner: self.inner.session(consistency), script: self.script.clone() })
    }
}

#[derive(Debug)]
struct MockSession {
    inner: Arc<dyn DatabaseSession>,
    script: Script<Error>,
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Queryable for MockSession {
    async fn query(&self, statement: Statement) -> Result<QueryResult> {
        self.script.enter(Operation::Query, statement.sql()).await?;
        self.inner.query(statement).await
    }
    async fn batch(&self, statements: Vec<Statement>) -> Result<Vec<QueryResult>> {
        self.script.enter(Operation::Batch, joined(&statements)).await?;
        self.inner.batch(statements).await
    }
    async fn batch_script(&self, script: &str) -> Result<Vec<QueryResult>> {
        self.script.enter(Operation::Batch, script).await?;
        self.inner.batch_script(script).await
    }
}

#[deny(clippy::missing_trait_methods)]
impl DatabaseSession for MockSession {
    fn bookmark(&self) -> Option<Bookmark> {
        self.inner.bookmark()
    }
}
