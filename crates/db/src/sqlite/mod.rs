//! SQLite through sqlx, in a file or in memory, with D1's rules.
//!
//! One connection writes, so writes are serialised as in D1; in a file, others read beside it (WAL). Every connection
//! carries D1's limits and authorizer ([`guard`]).

mod engine;
mod guard;

use std::fmt;
#[cfg(feature = "local")]
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use self::engine::Engine;
use crate::{
    Bookmark, Capabilities, Consistency, Database, DatabaseSession, Dialect, Error, ErrorKind, ExecResult, QueryResult,
    Queryable, Result, Statement,
};

/// A database with D1's semantics on SQLite. Clones share it.
///
/// Divergences from D1: integers are exact to 64 bits, `rows_read` and `rows_written` are not counted, and a query has
/// no time limit.
#[derive(Clone)]
pub struct SqliteDatabase {
    engine: Arc<Engine>,
}

impl SqliteDatabase {
    /// An empty database in memory: a faithful fake.
    ///
    /// # Errors
    /// Only what SQLite suffers.
    #[cfg(feature = "memory")]
    pub async fn memory() -> Result<Self> {
        Ok(Self { engine: Arc::new(Engine::open(None).await?) })
    }

    /// The database in this file, created if need be, its folder too. WAL, `synchronous=FULL`: what is answered
    /// survives power loss. Several processes may open it.
    ///
    /// # Errors
    /// [`ErrorKind::PermissionDenied`], [`ErrorKind::Corrupt`] when the file is something else.
    #[cfg(feature = "local")]
    pub async fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        if let Some(folder) = path.parent() {
            create_folder(folder).map_err(|error| {
                let message = format!("cannot create the folder {}: {error}", folder.display());
                Error::new(ErrorKind::PermissionDenied, message).with_source(error)
            })?;
        }
        let engine = Engine::open(Some(path)).await;
        Ok(Self { engine: Arc::new(engine.map_err(|error| error.in_migration(&path.display().to_string()))?) })
    }
}

/// Creates a folder and what is missing above it, each durable in the one above.
#[cfg(feature = "local")]
fn create_folder(folder: &Path) -> std::io::Result<()> {
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create_folder(parent)?;
    match std::fs::create_dir(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    std::fs::File::open(parent)?.sync_all()
}

impl fmt::Debug for SqliteDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SqliteDatabase({})", self.engine.name())
    }
}

#[async_trait]
impl Queryable for SqliteDatabase {
    async fn query(&self, statement: Statement) -> Result<QueryResult> {
        let results = self.engine.run(vec![statement]).await?;
        results.into_iter().next_back().ok_or_else(|| Error::new(ErrorKind::Internal, "a statement without a result"))
    }

    async fn batch(&self, statements: Vec<Statement>) -> Result<Vec<QueryResult>> {
        self.engine.run(statements).await
    }
}

#[async_trait]
impl Database for SqliteDatabase {
    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { row_counts: false, exact_integers: true }
    }

    async fn exec(&self, script: &str) -> Result<ExecResult> {
        let start = std::time::Instant::now();
        let lines = script.trim().lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("--"));
        let statements: Vec<_> = lines.map(|line| Statement::new(line.to_owned())).collect();
        let count = statements.len();
        self.engine.run(statements).await.map_err(|error| error.in_exec(script))?;
        Ok(ExecResult::new(count, start.elapsed()))
    }

    fn session(&self, consistency: Consistency) -> Arc<dyn DatabaseSession> {
        let seen = match consistency {
            Consistency::Bookmark(bookmark) => Some(bookmark),
            Consistency::FirstPrimary | Consistency::FirstUnconstrained => None,
        };
        Arc::new(Session { database: self.clone(), seen: Mutex::new(seen) })
    }
}

/// There is one copy of the data, so every session sees everything; the bookmark only tells how far it has come.
#[derive(Debug)]
struct Session {
    database: SqliteDatabase,
    seen: Mutex<Option<Bookmark>>,
}

impl Session {
    fn advance(&self) {
        let now = self.database.engine.bookmark();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.as_ref().is_none_or(|seen| *seen < now) {
            *seen = Some(now);
        }
    }
}

#[async_trait]
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
}

impl DatabaseSession for Session {
    fn bookmark(&self) -> Option<Bookmark> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
