//! A backend that records its calls and fails, waits or holds as scripted, over any other backend.

use std::sync::Arc;

use async_trait::async_trait;
use isobar_kit::Script;

use crate::{
    Bookmark, Capabilities, Consistency, Database, DatabaseSession, Dialect, Error, ExecResult, QueryResult, Queryable,
    Result, Statement,
};

/// Any database, with a [`Script`] before every operation: `query`, `batch` (scripts too), `exec`, `health`; a call's
/// subject is its SQL.
#[derive(Debug, Clone)]
pub struct MockDatabase {
    inner: Arc<dyn Database>,
    script: Script<Error>,
}

impl MockDatabase {
    /// A mock over this backend; without a script it only records.
    pub fn new(inner: impl Database + 'static) -> Self {
        Self { inner: Arc::new(inner), script: Script::default() }
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
        self.script.enter("query", statement.sql()).await?;
        self.inner.query(statement).await
    }
    async fn batch(&self, statements: Vec<Statement>) -> Result<Vec<QueryResult>> {
        self.script.enter("batch", joined(&statements)).await?;
        self.inner.batch(statements).await
    }
    async fn batch_script(&self, script: &str) -> Result<Vec<QueryResult>> {
        self.script.enter("batch", script).await?;
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
        self.script.enter("exec", script).await?;
        self.inner.exec(script).await
    }
    async fn health(&self) -> Result<()> {
        self.script.enter("health", "").await?;
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
        self.script.enter("query", statement.sql()).await?;
        self.inner.query(statement).await
    }
    async fn batch(&self, statements: Vec<Statement>) -> Result<Vec<QueryResult>> {
        self.script.enter("batch", joined(&statements)).await?;
        self.inner.batch(statements).await
    }
    async fn batch_script(&self, script: &str) -> Result<Vec<QueryResult>> {
        self.script.enter("batch", script).await?;
        self.inner.batch_script(script).await
    }
}

#[deny(clippy::missing_trait_methods)]
impl DatabaseSession for MockSession {
    fn bookmark(&self) -> Option<Bookmark> {
        self.inner.bookmark()
    }
}
