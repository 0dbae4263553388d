//! Session objects: their classes, what they have stored, and SQL on them.
//!
//! One permission, `sessions:read`, covers all classes and all that objects store: scopes know no
//! classes. Nothing here writes.

use std::sync::Arc;

use axum::body::Body;
use http::StatusCode;
use serde::Deserialize;

use super::door::ExplorerDoor;
use crate::catalog::{CatalogError, SessionCatalog};
use crate::keys::{Key, Permission};
use crate::rest::parts::{Answer, ApiError, Call, OTHERS, code, json, require, success};

const PER_PAGE: usize = 100;
const MOST_PER_PAGE: usize = 1000;

/// Statement for an object.
#[derive(Debug, Deserialize)]
struct Asked {
    sql: String,
}

/// Lists the classes that have objects.
pub(super) async fn classes(door: &ExplorerDoor, key: &Key) -> Answer {
    success(&looked_into(door, key)?.classes().await.map_err(failed)?)
}

/// A page of objects: the one after `after`, of `limit` objects (1 to 1000, default: 100).
pub(super) async fn list(door: &ExplorerDoor, call: &Call, key: &Key, class: &str) -> Answer {
    let sessions = looked_into(door, key)?;
    let limit = match call.query.get("limit").map(str::parse::<usize>) {
        None => PER_PAGE,
        Some(Ok(limit)) if (1..=MOST_PER_PAGE).contains(&limit) => limit,
        Some(_) => return Err(ApiError::malformed("limit must be a number from 1 to 1000")),
    };
    let after = call.query.get("after").filter(|after| !after.is_empty());
    found(sessions.list(class, after, limit).await, class)
}

/// Describes an object, by its id or name.
pub(super) async fn details(door: &ExplorerDoor, key: &Key, class: &str, id: &str) -> Answer {
    found(looked_into(door, key)?.details(class, id).await, id)
}

/// Runs one statement that reads.
pub(super) async fn query(door: &ExplorerDoor, key: &Key, (class, id): (&str, &str), body: Body) -> Answer {
    let sessions = looked_into(door, key)?;
    let Asked { sql } = json(body, door.rest.options.json_bytes).await?;
    found(sessions.query(class, id, &sql).await, id)
}

/// The catalog, for a key that may read it.
fn looked_into(door: &ExplorerDoor, key: &Key) -> Answer<Arc<dyn SessionCatalog>> {
    require(key, Permission::SessionsRead)?;
    door.sessions.clone().ok_or_else(|| ApiError::malformed("this server has no session objects to look into"))
}

/// Answers what was found, or 404.
fn found<T: serde::Serialize>(found: Result<Option<T>, CatalogError>, name: &str) -> Answer {
    let missing =
        || ApiError::new(StatusCode::NOT_FOUND, code::NO_OBJECT, format!("there is no session object {name:?}"));
    success(&found.map_err(failed)?.ok_or_else(missing)?)
}

/// The error of the catalog.
fn failed(error: CatalogError) -> ApiError {
    ApiError::of_catalog(&error, OTHERS)
}
