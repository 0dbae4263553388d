//! Namespaces of session objects, which clients know as Durable Objects.
//!
//! Listing needs a namespace in this process, and works where its host can list. The whole list is read
//! for each page: hosts list from an index in memory or of their own, and clients of this route are
//! tools.

use http::StatusCode;
use isobar_sessions::ErrorKind;
use serde_json::{Value as Json, json};

use super::call::{Call, require};
use super::door::RestDoor;
use super::envelope::{Answer, ApiError, code, success_with};
use super::page::page;
use crate::catalog::NamespaceEntry;
use crate::keys::{Key, Permission};

const PER_PAGE: usize = 20;
const MOST_PER_PAGE: usize = 1000;

/// Lists the namespaces.
pub(super) fn list(door: &RestDoor, call: &Call, key: &Key) -> Answer {
    require(key, Permission::SessionsRead)?;
    let shown: Vec<Json> = door.namespaces.iter().map(shown).collect();
    page(&shown, &call.query, PER_PAGE, MOST_PER_PAGE)
}

/// Objects that have stored something, in the order of their ids. The cursor is the last id of a page.
pub(super) async fn objects(door: &RestDoor, call: &Call, key: &Key, id: &str) -> Answer {
    require(key, Permission::SessionsRead)?;
    let entry =
        door.namespaces.iter().find(|entry| entry.id == id).ok_or_else(|| {
            ApiError::new(StatusCode::NOT_FOUND, code::NO_ROUTE, format!("there is no namespace {id}"))
        })?;
    let limit = match call.query.get("limit").map(str::parse::<usize>) {
        None => MOST_PER_PAGE,
        Some(Ok(limit)) if limit > 0 => limit.min(10 * MOST_PER_PAGE),
        Some(_) => return Err(ApiError::malformed("limit must be a number from 1 on")),
    };
    let listed = entry.namespace.list().await.map_err(|error| match error.kind() {
        ErrorKind::Unsupported => ApiError::malformed(error.message()),
        _ => {
            tracing::error!(error = &error as &dyn std::error::Error, "a namespace cannot be listed");
            let message = "the namespace cannot be listed; the server's log says why";
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, code::INTERNAL, message)
        }
    })?;
    let mut ids: Vec<String> = listed.iter().map(|object| object.id.to_string()).collect();
    ids.sort_unstable();
    if let Some(after) = call.query.get("cursor").filter(|cursor| !cursor.is_empty()) {
        ids.retain(|id| id.as_str() > after);
    }
    let is_truncated = ids.len() > limit;
    ids.truncate(limit);
    let cursor = ids.last().filter(|_| is_truncated).cloned().unwrap_or_default();
    let shown: Vec<Json> = ids.iter().map(|id| json!({"id": id, "hasStoredData": true})).collect();
    let info = json!({"count": shown.len(), "cursor": cursor, "cursors": {"after": cursor}});
    success_with(&shown, Some(info), &[])
}

/// A namespace as Cloudflare's API shows one.
fn shown(entry: &NamespaceEntry) -> Json {
    json!({
        "id": entry.id,
        "class": entry.class,
        "script": entry.script,
        "name": format!("{}_{}", entry.script, entry.class),
        "use_sqlite": true,
    })
}
