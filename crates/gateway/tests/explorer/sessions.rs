//! Session objects, looked into.

use std::sync::Arc;

use async_trait::async_trait;
use http::Method;
use isobar_gateway::catalog::{
    CatalogError, CatalogErrorKind, SessionCatalog, SessionDetails, SessionInfo, SessionPage, SessionRows,
    SessionSocket, SessionTable, SessionTimer,
};
use isobar_gateway::explorer::ExplorerDoor;
use isobar_gateway::keys::{KeyScope, Permission};
use isobar_gateway::rest::RestDoor;
use serde_json::json;

use crate::door::Door;
use crate::setting::{ask, own};

const ROOMS: &str = "/explorer/v1/sessions/Room";

/// Objects `0` to `249` of the class `Room`, the first of which is named `lobby`.
#[derive(Debug)]
struct Rooms;

fn info(number: usize) -> SessionInfo {
    let mut info = SessionInfo::new(format!("{number:064x}"));
    info.name = (number == 0).then(|| "lobby".to_owned());
    info
}

fn is_known(class: &str, id: &str) -> bool {
    class == "Room" && (id == "lobby" || id == info(0).id)
}

#[async_trait]
impl SessionCatalog for Rooms {
    async fn classes(&self) -> Result<Vec<String>, CatalogError> {
        Ok(vec!["Room".to_owned()])
    }

    async fn list(&self, class: &str, after: Option<&str>, limit: usize) -> Result<Option<SessionPage>, CatalogError> {
        if class != "Room" {
            return Ok(None);
        }
        let invalid = || CatalogError::new(CatalogErrorKind::InvalidArgument, "the cursor is no id");
        let from = match after {
            Some(after) => usize::from_str_radix(after, 16).map_err(|_| invalid())? + 1,
            None => 0,
        };
        let objects: Vec<SessionInfo> = (from..250).take(limit).map(info).collect();
        let cursor = objects.last().map(|last| last.id.clone()).filter(|last| *last != info(249).id);
        Ok(Some(SessionPage::new(objects, cursor)))
    }

    async fn details(&self, class: &str, id: &str) -> Result<Option<SessionDetails>, CatalogError> {
        Ok(is_known(class, id).then(|| {
            let mut details = SessionDetails::new(info(0), 2, vec![SessionTable::new("messages", 3)]);
            let mut socket = SessionSocket::new(1, vec!["ada".to_owned()]);
            socket.attachment = Some(json!({"colour": "red"}));
            details.sockets = Some(vec![socket]);
            details.timers = vec![SessionTimer::new("remind")];
            details
        }))
    }

    async fn query(&self, class: &str, id: &str, sql: &str) -> Result<Option<SessionRows>, CatalogError> {
        if sql.starts_with("DELETE") {
            return Err(CatalogError::new(CatalogErrorKind::InvalidArgument, "not authorized"));
        }
        Ok(is_known(class, id).then(|| SessionRows::new(vec!["n".to_owned()], vec![vec![json!(1)]])))
    }
}

async fn door() -> Door {
    let door = Door::new().await;
    let explorer = ExplorerDoor::new(RestDoor::new(door.keys.clone())).with_sessions(Arc::new(Rooms));
    Door { router: explorer.into_router(), ..door }
}

#[tokio::test]
async fn objects_are_listed_by_pages() {
    let door = door().await;
    assert_eq!(own(&door, Method::GET, "/explorer/v1/session", "").await.result()["has_sessions"], true);
    assert_eq!(own(&door, Method::GET, "/explorer/v1/sessions", "").await.result(), json!(["Room"]));
    let mut cursor = String::new();
    let mut counts = Vec::new();
    loop {
        let page = own(&door, Method::GET, &format!("{ROOMS}?after={cursor}"), "").await.result();
        counts.push(page["objects"].as_array().unwrap().len());
        match page["cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(counts, [100, 100, 50]);
    let two = own(&door, Method::GET, &format!("{ROOMS}?limit=2"), "").await.result();
    assert_eq!((&two["objects"][0]["name"], &two["objects"][1]["name"]), (&json!("lobby"), &json!(null)));
    for query in ["limit=0", "limit=1001", "limit=x", "after=x"] {
        assert_eq!(own(&door, Method::GET, &format!("{ROOMS}?{query}"), "").await.error(), (400, 7400), "{query}");
    }
}

#[tokio::test]
async fn object_is_looked_into_and_queried() {
    let door = door().await;
    let lobby = own(&door, Method::GET, &format!("{ROOMS}/lobby"), "").await.result();
    assert_eq!((&lobby["id"], &lobby["keys"]), (&json!(info(0).id), &json!(2)));
    assert_eq!(lobby["tables"], json!([{"name": "messages", "rows": 3}]));
    let socket = json!({"id": 1, "tags": ["ada"], "attachment": {"colour": "red"}, "is_open": true});
    assert_eq!(lobby["sockets"], json!([socket]));
    assert_eq!(lobby["timers"], json!([{"name": "remind", "due": null, "cron": null, "retries": 0}]));
    let query = async |path: &str, sql: &str| own(&door, Method::POST, path, &json!({"sql": sql}).to_string()).await;
    let rows = query(&format!("{ROOMS}/lobby/query"), "SELECT 1 AS n").await.result();
    assert_eq!(rows, json!({"columns": ["n"], "rows": [[1]]}));
    assert_eq!(query(&format!("{ROOMS}/lobby/query"), "DELETE FROM messages").await.error(), (400, 7400));
    assert_eq!(query(&format!("{ROOMS}/other/query"), "SELECT 1").await.error(), (404, 10007));
    for path in [format!("{ROOMS}/other"), "/explorer/v1/sessions/Other/lobby".to_owned()] {
        assert_eq!(own(&door, Method::GET, &path, "").await.error(), (404, 10007), "{path}");
    }
}

#[tokio::test]
async fn sessions_need_their_permission() {
    let door = door().await;
    let token = door.issue(KeyScope::new([Permission::D1Write, Permission::R2Read])).await;
    for path in ["/explorer/v1/sessions".to_owned(), ROOMS.to_owned(), format!("{ROOMS}/lobby")] {
        assert_eq!(ask(&door, Some(&token), Method::GET, &path, "").await.error(), (403, 10000), "{path}");
        assert_eq!(ask(&door, None, Method::GET, &path, "").await.status, 401);
    }
    let body = r#"{"sql": "SELECT 1"}"#;
    let query = format!("{ROOMS}/lobby/query");
    assert_eq!(ask(&door, Some(&token), Method::POST, &query, body).await.error(), (403, 10000));
}
