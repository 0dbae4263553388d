//! Namespaces of session objects, which clients know as Durable Objects.
//!
//! A namespace is one in this process, whose host can list, or a class of the catalog of a place, whose
//! objects are read from their files whoever hosts them. The whole list of a host is read for each page:
//! hosts list from an index in memory or of their own, and clients of this route are tools.

use std::sync::Arc;

use http::StatusCode;
use isobar_sessions::{ErrorKind, SessionNamespace};
use md5::{Digest, Md5};
use serde_json::{Value as Json, json};

use super::call::{Call, require};
use super::door::RestDoor;
use super::envelope::{Answer, ApiError, OTHERS, code, success_with};
use super::page::page;
use crate::catalog::{CatalogError, SessionCatalog};
use crate::keys::{Key, Permission};

const PER_PAGE: usize = 20;
const MOST_PER_PAGE: usize = 1000;

/// Lists the namespaces: those of this process, and those of the catalog behind them.
pub(super) async fn list(door: &RestDoor, call: &Call, key: &Key) -> Answer {
    require(key, Permission::SessionsRead)?;
    let own = door.namespaces.iter().map(|entry| shown(&entry.id, &entry.class, &entry.script));
    let mut all: Vec<Json> = own.collect();
    if let Some((program, sessions)) = &door.sessions {
        let classes = sessions.classes().await.map_err(failed)?;
        all.extend(classes.iter().map(|class| shown(&id_of(program, class), class, program)));
    }
    page(&all, &call.query, PER_PAGE, MOST_PER_PAGE)
}

/// Objects that have stored something, in the order of their ids. The cursor is the last id of a page.
pub(super) async fn objects(door: &RestDoor, call: &Call, key: &Key, id: &str) -> Answer {
    require(key, Permission::SessionsRead)?;
    let limit = match call.query.get("limit").map(str::parse::<usize>) {
        None => MOST_PER_PAGE,
        Some(Ok(limit)) if limit > 0 => limit.min(10 * MOST_PER_PAGE),
        Some(_) => return Err(ApiError::malformed("limit must be a number from 1 on")),
    };
    let after = call.query.get("cursor").filter(|cursor| !cursor.is_empty());
    let own = door.namespaces.iter().find(|entry| entry.id == id);
    let (ids, cursor) = match own {
        Some(entry) => of_host(&entry.namespace, after, limit).await?,
        None => of_catalog(door, id, after, limit).await?,
    };
    let cursor = cursor.unwrap_or_default();
    let shown: Vec<Json> = ids.iter().map(|id| json!({"id": id, "hasStoredData": true})).collect();
    let info = json!({"count": shown.len(), "cursor": cursor, "cursors": {"after": cursor}});
    success_with(&shown, Some(info), &[])
}

/// A page of ids, and the cursor of the next one.
type Ids = (Vec<String>, Option<String>);

/// Lists the objects of a namespace in this process.
async fn of_host(namespace: &Arc<dyn SessionNamespace>, after: Option<&str>, limit: usize) -> Answer<Ids> {
    let listed = namespace.list().await.map_err(|error| match error.kind() {
        ErrorKind::Unsupported => ApiError::malformed(error.message()),
        _ => {
            tracing::error!(error = &error as &dyn std::error::Error, "a namespace cannot be listed");
            let message = "the namespace cannot be listed; the server's log says why";
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, code::INTERNAL, message)
        }
    })?;
    let mut ids: Vec<String> = listed.iter().map(|object| object.id.to_string()).collect();
    ids.sort_unstable();
    if let Some(after) = after {
        ids.retain(|id| id.as_str() > after);
    }
    let is_truncated = ids.len() > limit;
    ids.truncate(limit);
    let cursor = ids.last().filter(|_| is_truncated).cloned();
    Ok((ids, cursor))
}

/// Lists the objects of a class of the catalog.
async fn of_catalog(door: &RestDoor, id: &str, after: Option<&str>, limit: usize) -> Answer<Ids> {
    let missing = || ApiError::new(StatusCode::NOT_FOUND, code::NO_ROUTE, format!("there is no namespace {id}"));
    let (program, sessions) = door.sessions.as_ref().ok_or_else(missing)?;
    let class = class_of(sessions, program, id).await?.ok_or_else(missing)?;
    let page = sessions.list(&class, after, limit).await.map_err(failed)?.ok_or_else(missing)?;
    Ok((page.objects.into_iter().map(|object| object.id).collect(), page.cursor))
}

/// Returns the class whose namespace has this id.
async fn class_of(sessions: &Arc<dyn SessionCatalog>, program: &str, id: &str) -> Answer<Option<String>> {
    let classes = sessions.classes().await.map_err(failed)?;
    Ok(classes.into_iter().find(|class| id_of(program, class) == id))
}

/// The id of a class's namespace: 32 hexadecimal digits, the same after a restart and on every machine.
fn id_of(program: &str, class: &str) -> String {
    // A name has no line feed in it, so that no other pair is the same text.
    hex::encode(Md5::digest(format!("{program}\n{class}")))
}

/// The error of the catalog.
fn failed(error: CatalogError) -> ApiError {
    ApiError::of_catalog(&error, OTHERS)
}

/// A namespace as Cloudflare's API shows one.
fn shown(id: &str, class: &str, script: &str) -> Json {
    json!({
        "id": id,
        "class": class,
        "script": script,
        "name": format!("{script}_{class}"),
        "use_sqlite": true,
    })
}
