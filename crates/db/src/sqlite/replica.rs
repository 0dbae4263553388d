//! A replica that stays behind its database, for tests of bookmarks.

use std::sync::Mutex;

use isobar_base::sync::IgnorePoison;

use super::engine::Engine;
use crate::{Bookmark, Operation, QueryResult, Result, SqliteOptions, Statement, sql};

/// A copy of the database as it was when it was last brought forward.
#[derive(Debug)]
pub(super) struct Replica {
    engine: Engine,
    /// The newest state that it has for certain.
    position: Mutex<Bookmark>,
    /// Held while it is brought forward: a later copy is not overtaken by an earlier one.
    advancing: tokio::sync::Mutex<()>,
}

impl Replica {
    /// Copies the database.
    pub(super) async fn open(primary: &Engine) -> Result<Self> {
        let options = SqliteOptions::default().with_time_limit(primary.options().time_limit);
        let engine = Engine::open(None, options).await?;
        let position = Mutex::new(primary.bookmark());
        let replica = Self { engine, position, advancing: tokio::sync::Mutex::default() };
        replica.advance(primary).await?;
        Ok(replica)
    }

    /// Brings it forward to the newest state, of which it returns the bookmark.
    pub(super) async fn advance(&self, primary: &Engine) -> Result<Bookmark> {
        let _advancing = self.advancing.lock().await;
        // What was answered before has an earlier bookmark, and is in the copy.
        let position = primary.bookmark();
        let copy = primary.copy().await?;
        self.engine.replace(copy).await?;
        *self.position.lock().ignore_poison() = position.clone();
        Ok(position)
    }

    /// Returns the bookmark of its state.
    pub(super) fn position(&self) -> Bookmark {
        self.position.lock().ignore_poison().clone()
    }

    pub(super) async fn query(&self, statement: Statement) -> Result<QueryResult> {
        let result = self.engine.query(statement).await;
        result.map(of_replica).map_err(|error| error.during(Operation::Query))
    }

    pub(super) async fn batch(&self, statements: Vec<Statement>) -> Result<Vec<QueryResult>> {
        let results = self.engine.run(statements).await.map_err(|error| error.during(Operation::Batch))?;
        Ok(results.into_iter().map(of_replica).collect())
    }

    pub(super) async fn batch_script(&self, script: &str) -> Result<Vec<QueryResult>> {
        let results = self.engine.run_script(script).await.map_err(|error| error.during(Operation::Batch))?;
        Ok(results.into_iter().map(of_replica).collect())
    }
}

/// Returns whether a replica may run the SQL: it only reads.
pub(super) fn may_run(text: &str) -> bool {
    sql::split(text).all(sql::is_read)
}

fn of_replica(mut result: QueryResult) -> QueryResult {
    result.meta.served_by_primary = false;
    result
}
