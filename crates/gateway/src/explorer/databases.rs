//! The schema of a database, its rows, plans of statements, and its history.
//!
//! Statements run read-only, by SQLite's own protection. The schema is read anew each time: it is small,
//! and others may change it.

use axum::body::Body;
use isobar_db::schema::Schema;
use isobar_db::{ErrorKind, History, Statement, Value, sql};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::door::ExplorerDoor;
use crate::keys::{Key, Permission};
use crate::rest::parts::{
    Answer, ApiError, Kind, Shape, failed, json as body_of, open_database, query_database, require, success,
};

/// Statement to be explained.
#[derive(Debug, Deserialize)]
struct Asked {
    sql: String,
}

/// A line of `EXPLAIN QUERY PLAN`.
#[derive(Debug, Serialize, Deserialize)]
struct Step {
    id: i64,
    /// Id of the step that this one is part of; 0 for one of the whole plan.
    parent: i64,
    detail: String,
}

/// Tables with their columns, indexes and foreign keys, views and triggers.
pub(super) async fn schema(door: &ExplorerDoor, key: &Key, id: &str) -> Answer {
    require(key, Permission::D1Read)?;
    let (_, database) = open_database(&door.rest, key, id).await?;
    let schema = Schema::read(&*database).await.map_err(|error| failed(&error, Kind::Read))?;
    success(&schema)
}

/// Rows, as `raw` gives them, of statements that only read, whatever the door and the token allow: the page sends what is in its
/// address, which somebody else may have written.
pub(super) async fn read(door: &ExplorerDoor, key: &Key, id: &str, body: Body) -> Answer {
    query_database(&door.rest.clone().read_only(), key, id, Shape::Arrays, body).await
}

/// The plan of one statement, which is not run. Its parameters need no values.
pub(super) async fn explain(door: &ExplorerDoor, key: &Key, id: &str, body: Body) -> Answer {
    require(key, Permission::D1Read)?;
    let (_, database) = open_database(&door.rest, key, id).await?;
    let asked: Asked = body_of(body, door.rest.options.json_bytes).await?;
    let plan = database.query(explained(&asked.sql)?).await.and_then(|result| result.rows_as::<Step>());
    success(&plan.map_err(|error| failed(&error, Kind::Read))?)
}

/// The extent of the history by which the database goes back in time; null where it keeps none, and an object without fields where its
/// backend does not report it, as D1.
pub(super) async fn history(door: &ExplorerDoor, key: &Key, id: &str) -> Answer {
    require(key, Permission::D1Read)?;
    let (info, database) = open_database(&door.rest, key, id).await?;
    let Some(travel) = database.time_travel() else { return success(&None::<History>) };
    let mut history = match travel.history().await {
        Err(error) if error.kind() == ErrorKind::Unsupported => return success(&json!({})),
        history => history.map_err(|error| failed(&error, Kind::Read))?,
    };
    if let Some(reason) = history.failure.take() {
        // It may name files of the server.
        tracing::warn!(database = %info.name, %reason, "commits of a database are not kept");
        history.failure = Some("commits are not kept at the moment; the server's log says why".to_owned());
    }
    success(&history)
}

/// The statement that plans another one, without running it.
///
/// # Errors
/// No statement or several, and one that explains already.
fn explained(sql: &str) -> Answer<Statement> {
    let mut statements = sql::split(sql);
    let (Some(statement), None) = (statements.next(), statements.next()) else {
        return Err(ApiError::malformed("one statement is explained at a time"));
    };
    if sql::keyword(statement) == "EXPLAIN" {
        return Err(ApiError::malformed("the statement begins with EXPLAIN already: run it as it is"));
    }
    // SQLite plans without the values of parameters; there are as many as the statement has.
    let parameters = sql::parameter_names(statement).len();
    let explained = Statement::new(format!("EXPLAIN QUERY PLAN {statement}"));
    Ok(explained.bind_all(vec![Value::Null; parameters]).rows_only().read_only())
}
