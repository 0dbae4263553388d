//! Requests that are refused: without a token, without a permission, and by an explorer that only reads.

use http::{Method, header};
use isobar_gateway::keys::{KeyScope, Permission};
use serde_json::json;

use crate::door::Door;
use crate::setting::{Access, DATABASE, ask, explorer, own};

const SESSION: &str = "/explorer/v1/session";

/// Requests that write, with every permission. The last one is the explorer's own.
fn writes(door: &Door) -> Vec<(Method, String, &'static str)> {
    let account = &door.account;
    let query = format!("{account}{DATABASE}/query");
    vec![
        (Method::PUT, format!("{account}/r2/buckets/photos/objects/new"), "x"),
        (Method::DELETE, format!("{account}/r2/buckets/photos/objects/top"), ""),
        (Method::POST, format!("{account}/r2/buckets"), r#"{"name": "new-bucket"}"#),
        (Method::DELETE, format!("{account}/r2/buckets/photos"), ""),
        (Method::PUT, format!("{account}/r2/buckets/photos/cors"), r#"{"rules": []}"#),
        (Method::DELETE, format!("{account}/r2/buckets/photos/cors"), ""),
        (Method::PUT, format!("{account}/r2/buckets/photos/lifecycle"), r#"{"rules": []}"#),
        (Method::POST, query.clone(), r#"{"sql": "INSERT INTO items VALUES (2, 'ink')"}"#),
        (Method::POST, query.clone(), r#"{"sql": "SELECT 1; DELETE FROM items"}"#),
        (Method::POST, query.clone(), r#"{"sql": "WITH a AS (SELECT 1) DELETE FROM items"}"#),
        (Method::POST, query, r#"{"batch": [{"sql": "SELECT 1"}, {"sql": "UPDATE items SET name = 'x'"}]}"#),
        (Method::POST, format!("{account}{DATABASE}/raw"), r#"{"sql": "CREATE TABLE more (a)"}"#),
        (Method::POST, format!("{account}{DATABASE}/raw"), r#"{"sql": "PRAGMA foreign_keys = off"}"#),
        (Method::POST, format!("{account}{DATABASE}/import"), r#"{"action": "init", "etag": "x"}"#),
        (Method::POST, format!("{account}{DATABASE}/time_travel/restore"), "{}"),
        (Method::POST, format!("{account}/d1/database"), r#"{"name": "new"}"#),
        (Method::DELETE, format!("{account}{DATABASE}"), ""),
        (Method::PUT, "/client/v4/uploads/0123456789abcdef0123456789abcdef".to_owned(), "x"),
        (Method::POST, "/explorer/v1/deploys/first/rollback".to_owned(), ""),
    ]
}

#[tokio::test]
async fn nothing_is_answered_without_a_token() {
    let door = explorer(Access::Write).await;
    for path in [SESSION, "/explorer/v1/deploys", "/explorer/v1/databases/orders/schema", "/explorer/v1/nothing"] {
        for token in [None, Some("unknown"), Some("")] {
            let answer = ask(&door, token, Method::GET, path, "").await;
            assert_eq!(answer.status, 401, "{path} {token:?}: {answer:?}");
            assert_eq!(answer.headers[header::WWW_AUTHENTICATE], "Bearer");
            assert!(answer.json()["result"].is_null());
        }
    }
    assert_eq!(ask(&door, None, Method::POST, "/explorer/v1/links", "{}").await.status, 401);
    assert_eq!(ask(&door, None, Method::GET, &format!("{}/r2/buckets", door.account), "").await.error(), (400, 9106));
    for (method, path, body) in writes(&door) {
        let status = ask(&door, None, method.clone(), &path, body).await.status;
        assert!(status.is_client_error(), "{method} {path}: {status}");
    }
    let doors: Vec<_> =
        door.events.points().iter().map(|point| String::from_utf8_lossy(point.blob(2)).into_owned()).collect();
    assert!(doors.len() > 20 && doors.iter().all(|name| name == "explorer"), "{doors:?}");
}

#[tokio::test]
async fn revoked_token_is_refused_from_then_on() {
    let door = explorer(Access::Read).await;
    let session = own(&door, Method::GET, SESSION, "").await.result();
    door.keys.revoke(session["key"]["id"].as_str().unwrap()).await.unwrap();
    assert_eq!(own(&door, Method::GET, SESSION, "").await.status, 401);
}

#[tokio::test]
async fn read_only_explorer_refuses_every_write() {
    let door = explorer(Access::Read).await;
    for (method, path, body) in writes(&door) {
        let answer = own(&door, method.clone(), &path, body).await;
        assert_eq!(answer.error(), (403, 10000), "{method} {path} {body}");
        let message = answer.json()["errors"][0]["message"].to_string();
        assert!(message.contains("read-only here"), "{message}");
    }
    let items = door.post(&format!("{DATABASE}/query"), json!({"sql": "SELECT name FROM items"})).await.result();
    assert_eq!(items[0]["results"], json!([{"name": "pen"}]));
    let objects = door.get("/r2/buckets/photos/objects").await.result();
    assert_eq!(objects.as_array().unwrap().len(), 3);
    assert_eq!(door.get("/r2/buckets").await.result()["buckets"].as_array().unwrap().len(), 1);
    assert_eq!(own(&door, Method::GET, "/explorer/v1/deploys", "").await.result()[0]["is_current"], true);
    let export = door.post(&format!("{DATABASE}/export"), json!({"output_format": "polling"})).await.result();
    assert_eq!(export["status"], "complete");
}

#[tokio::test]
async fn writable_explorer_writes_what_the_key_allows() {
    let door = explorer(Access::Write).await;
    let reader = door.issue(KeyScope::new([Permission::R2Read, Permission::D1Read])).await;
    for (method, path, body) in writes(&door) {
        // The URL of an upload is its own authorization, and there is no import of this one.
        let expected = if path.contains("/uploads/") { 404 } else { 403 };
        let answer = ask(&door, Some(&reader), method.clone(), &path, body).await;
        assert_eq!(answer.status, expected, "{method} {path} {body}: {answer:?}");
    }
    let put = own(&door, Method::PUT, &format!("{}/r2/buckets/photos/objects/new", door.account), "x").await;
    assert_eq!(put.result()["key"], "new");
    door.post(&format!("{DATABASE}/query"), json!({"sql": "INSERT INTO items VALUES (2, 'ink')"})).await.result();
    assert_eq!(own(&door, Method::POST, "/explorer/v1/deploys/first/rollback", "").await.result()["is_current"], true);
    assert_eq!(own(&door, Method::POST, "/explorer/v1/deploys/other/rollback", "").await.status, 404);
}

#[tokio::test]
async fn door_that_is_read_only_stays_so() {
    let door = Door::new().await;
    let rest = isobar_gateway::rest::RestDoor::new(door.keys.clone()).with_buckets(door.catalog.clone()).read_only();
    let explorer = isobar_gateway::explorer::ExplorerDoor::new(rest).with_writes();
    let door = Door { router: explorer.into_router(), ..door };
    assert_eq!(door.post("/r2/buckets", json!({"name": "photos"})).await.error(), (403, 10000));
    assert_eq!(own(&door, Method::GET, SESSION, "").await.result()["is_writable"], false);
}

#[tokio::test]
async fn session_says_what_the_key_may_see() {
    let door = explorer(Access::Read).await;
    let session = own(&door, Method::GET, SESSION, "").await.result();
    assert_eq!(session["account_id"], door.keys.account_id());
    assert_eq!((&session["is_writable"], &session["has_datasets"]), (&json!(false), &json!(true)));
    assert_eq!((&session["requests"], &session["deploys"]["prefix"]), (&json!("visits"), &json!("static/")));
    let scope =
        KeyScope::new([Permission::R2Read, Permission::AnalyticsRead]).with_bucket("photos").with_dataset("orders");
    let bound = door.issue(scope).await;
    let session = ask(&door, Some(&bound), Method::GET, SESSION, "").await.result();
    assert_eq!(session["scope"]["buckets"], json!(["photos"]));
    assert!(session["requests"].is_null() && session["deploys"].is_null(), "{session}");
    assert_eq!(ask(&door, Some(&bound), Method::GET, "/explorer/v1/deploys", "").await.error(), (403, 10000));
}
