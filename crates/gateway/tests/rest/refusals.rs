//! Requests that are refused because of their token, and the audit of them.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use chrono::{TimeDelta, Utc};
use http::{Method, Request, header};
use isobar_db::mock::MockDatabase;
use isobar_db::{Error, ErrorKind, Operation, SqliteDatabase};
use isobar_gateway::keys::{FailedAttempts, KeyScope, NewKey, Permission};
use isobar_gateway::rest::RestDoor;
use isobar_storage::memory::MemoryStore;
use isobar_storage::mock::MockStore;
use isobar_storage::{Error as StoreError, ErrorKind as StoreErrorKind, Operation as StoreOperation};
use serde_json::json;

use crate::door::{Answer, Door, from};

const VERIFY: &str = "/client/v4/user/tokens/verify";

fn request(path: &str, authorization: Option<&str>) -> Request<Body> {
    let request = Request::get(path);
    let request = match authorization {
        Some(value) => request.header(header::AUTHORIZATION, value),
        None => request,
    };
    request.body(Body::empty()).unwrap()
}

#[tokio::test]
async fn token_is_verified() {
    let door = Door::new().await;
    let expires = Utc::now() + TimeDelta::days(1);
    let scope = KeyScope::new([Permission::R2Read]);
    let issued = door.keys.create(NewKey::new("x", scope).with_expires(expires)).await.unwrap();
    for path in [VERIFY.to_owned(), format!("{}/tokens/verify", door.account)] {
        let answer = door.call_as(issued.token(), Method::GET, &path, "").await;
        let result = answer.result();
        assert_eq!((&result["id"], &result["status"]), (&json!(issued.key.id), &json!("active")));
        assert!(result["expires_on"].is_string());
        assert_eq!(answer.json()["messages"][0]["code"], 10000);
    }
    let accounts = door.get("/client/v4/accounts").await.result();
    assert_eq!(accounts[0]["id"], door.keys.account_id());
    let membership = door.get("/client/v4/memberships").await.result();
    assert_eq!(membership[0]["account"]["id"], door.keys.account_id());
    assert_eq!(door.get("/client/v4/user").await.error(), (403, 9109));
}

#[tokio::test]
async fn bad_tokens_are_refused_and_reported() {
    let door = Door::new().await;
    let scope = KeyScope::new(Permission::ALL);
    let revoked = door.keys.create(NewKey::new("revoked", scope.clone())).await.unwrap();
    door.keys.revoke(&revoked.key.id).await.unwrap();
    let past = Utc::now() - TimeDelta::seconds(1);
    let expired = door.keys.create(NewKey::new("expired", scope).with_expires(past)).await.unwrap();
    let bearer = |token: &str| format!("Bearer {token}");
    let accounts = "/client/v4/accounts";
    for (path, authorization, error, reason) in [
        (accounts, None, (400, 9106), "no Authorization header"),
        (accounts, Some("Bearer".to_owned()), (400, 6003), "no bearer token"),
        (accounts, Some("Bearer ".to_owned()), (400, 6003), "no bearer token"),
        (accounts, Some("Basic YTpi".to_owned()), (400, 6003), "no bearer token"),
        (accounts, Some(bearer("unknown")), (403, 10000), "no key's"),
        (accounts, Some(bearer(revoked.token())), (403, 10000), "is revoked"),
        (accounts, Some(bearer(expired.token())), (403, 10000), "expired at"),
        (VERIFY, Some(bearer("unknown")), (401, 1000), "no key's"),
        (VERIFY, Some(bearer(revoked.token())), (401, 1000), "is revoked"),
        ("/client/v4/nothing", None, (400, 9106), "no Authorization header"),
    ] {
        let before = door.events.points().len();
        assert_eq!(door.send(request(path, authorization.as_deref())).await.error(), error, "{path} {authorization:?}");
        let events = door.events.points();
        assert_eq!(events.len(), before + 1);
        let reported = String::from_utf8_lossy(events[before].blob(5)).into_owned();
        assert!(reported.contains(reason), "{reported}");
    }
    // The same scheme in other case is the same.
    let lower = format!("bearer {}", door.token);
    assert_eq!(door.send(request(accounts, Some(&lower))).await.status, 200);
}

#[tokio::test]
async fn token_of_other_resources_is_refused() {
    let door = Door::new().await;
    let mine = door.database("mine").await;
    let other = door.database("other").await;
    for name in ["photos", "backups"] {
        door.post("/r2/buckets", json!({"name": name})).await.result();
    }
    let scope = KeyScope::new(Permission::ALL).with_bucket("photos").with_prefix("2026/").with_database("mine");
    let bound = door.issue(scope).await;
    let call = async |method: Method, path: &str, body: &str| -> Answer {
        door.call_as(&bound, method, path, body.to_owned()).await
    };
    let query = r#"{"sql": "SELECT 1"}"#;
    call(Method::POST, &format!("{mine}/query"), query).await.result();
    call(Method::GET, "/r2/buckets/photos/objects?prefix=2026/", "").await.result();
    for (method, path, body) in [
        (Method::POST, format!("{other}/query"), query),
        (Method::POST, format!("{other}/export"), r#"{"output_format": "polling"}"#),
        (Method::POST, format!("{other}/import"), r#"{"action": "init", "etag": "x"}"#),
        (Method::GET, other.clone(), ""),
        (Method::GET, "/d1/database/nothing".to_owned(), ""),
        (Method::DELETE, mine.clone(), ""),
        (Method::POST, "/d1/database".to_owned(), r#"{"name": "new"}"#),
        (Method::GET, "/r2/buckets/backups".to_owned(), ""),
        (Method::GET, "/r2/buckets/nothing".to_owned(), ""),
        (Method::GET, "/r2/buckets/photos/objects".to_owned(), ""),
        (Method::GET, "/r2/buckets/photos/objects?prefix=2026".to_owned(), ""),
        (Method::GET, "/r2/buckets/photos/objects/2025/a".to_owned(), ""),
        (Method::PUT, "/r2/buckets/photos/objects/2025/a".to_owned(), "x"),
        (Method::DELETE, "/r2/buckets/photos/objects/2025/a".to_owned(), ""),
        (Method::POST, "/r2/buckets".to_owned(), r#"{"name": "new-bucket"}"#),
        (Method::DELETE, "/r2/buckets/photos".to_owned(), ""),
    ] {
        let before = door.events.points().len();
        assert_eq!(call(method.clone(), &path, body).await.error(), (403, 10000), "{method} {path}");
        assert_eq!(door.events.points().len(), before + 1, "{method} {path}");
    }
    let names = call(Method::GET, "/d1/database", "").await.result();
    assert_eq!(names.as_array().unwrap().len(), 1);
    let buckets = call(Method::GET, "/r2/buckets", "").await.result();
    assert_eq!(buckets["buckets"].as_array().unwrap().len(), 1);
    // An object at the key's very prefix.
    call(Method::PUT, "/r2/buckets/photos/objects/2026/a", "x").await.result();
}

#[tokio::test]
async fn each_permission_is_needed() {
    let door = Door::new().await;
    let path = door.database("d").await;
    door.post("/r2/buckets", json!({"name": "photos"})).await.result();
    let sql = r#"{"sql": "CREATE TABLE t (a)"}"#;
    for (permission, method, path, body) in [
        (Permission::R2Read, Method::GET, "/r2/buckets".to_owned(), ""),
        (Permission::R2Read, Method::GET, "/r2/buckets/photos/objects".to_owned(), ""),
        (Permission::R2Read, Method::GET, "/r2/buckets/photos/objects/a".to_owned(), ""),
        (Permission::R2Write, Method::PUT, "/r2/buckets/photos/objects/a".to_owned(), "x"),
        (Permission::R2Write, Method::DELETE, "/r2/buckets/photos/objects/a".to_owned(), ""),
        (Permission::R2Write, Method::POST, "/r2/buckets".to_owned(), r#"{"name": "new-bucket"}"#),
        (Permission::D1Write, Method::POST, format!("{path}/query"), sql),
        (Permission::D1Write, Method::POST, "/d1/database".to_owned(), r#"{"name": "n"}"#),
        (Permission::SessionsRead, Method::GET, "/workers/durable_objects/namespaces".to_owned(), ""),
    ] {
        let all_others = KeyScope::new(Permission::ALL.into_iter().filter(|other| *other != permission));
        let token = door.issue(all_others).await;
        let answer = door.call_as(&token, method.clone(), &path, body).await;
        assert_eq!(answer.error(), (403, 10000), "{method} {path} without {permission}");
    }
    let no_d1 = KeyScope::new([Permission::R2Read, Permission::R2Write, Permission::SessionsRead]);
    let token = door.issue(no_d1).await;
    for (method, path) in
        [(Method::GET, "/d1/database".to_owned()), (Method::GET, path.clone()), (Method::POST, format!("{path}/query"))]
    {
        assert_eq!(door.call_as(&token, method, &path, "{}").await.error(), (403, 10000), "{path}");
    }
}

#[tokio::test]
async fn other_accounts_paths_and_methods_are_refused() {
    let door = Door::new().await;
    let answer = door.get("/client/v4/accounts/0123/d1/database").await;
    assert_eq!(answer.error(), (403, 7403));
    assert!(answer.json()["errors"][0]["message"].as_str().unwrap().contains(door.keys.account_id()));
    assert_eq!(door.get("/client/v4/zones").await.error(), (404, 7003));
    assert_eq!(door.get("/client/v4").await.error(), (404, 7003));
    assert_eq!(door.get("/client/v4accounts").await.error(), (404, 7003));
    assert_eq!(door.call(Method::PATCH, "/d1/database", "").await.error(), (405, 10405));
}

#[tokio::test]
async fn address_with_too_many_failures_is_blocked_but_for_known_tokens() {
    let door = Door::new().await;
    let attempts = FailedAttempts::new(3, Duration::from_secs(60));
    let router = RestDoor::new(door.keys.clone()).with_attempts(Arc::new(attempts)).into_router();
    let door = Door { router, ..door };
    let bearer = |token: &str| format!("Bearer {token}");
    let send = async |address: &str, token: &str| door.send(from(address, request(VERIFY, Some(&bearer(token))))).await;
    assert_eq!(send("203.0.113.1", &door.token).await.status, 200);
    for _ in 0..3 {
        assert_eq!(send("203.0.113.1", "guess").await.error(), (401, 1000));
    }
    let blocked = send("203.0.113.1", "guess").await;
    assert_eq!(blocked.error(), (429, 10429));
    assert!(blocked.headers.contains_key(header::RETRY_AFTER));
    let fresh = door.issue(KeyScope::new([Permission::R2Read])).await;
    assert_eq!(send("203.0.113.1", &fresh).await.error(), (429, 10429), "a token that was not seen before");
    assert_eq!(send("203.0.113.1", &door.token).await.status, 200, "a token that was verified before");
    assert_eq!(send("203.0.113.2", "guess").await.error(), (401, 1000), "another address");
}

#[tokio::test]
async fn uses_are_counted_for_verified_tokens_alone() {
    let door = Door::new().await;
    door.get("/client/v4/accounts").await.result();
    door.get("/client/v4/zones").await.error();
    door.send(request(VERIFY, Some("Bearer guess"))).await.error();
    door.keys.write_uses().await.unwrap();
    assert_eq!(door.keys.list().await.unwrap()[0].uses, 2);
}

#[tokio::test]
async fn failures_of_the_server_name_no_file_of_it() {
    const FILE: &str = "cannot sync /srv/state/file";
    let door = Door::new().await;
    let store = MockStore::new(MemoryStore::new());
    door.catalog.insert_bucket("photos", Arc::new(store.clone()));
    let database = MockDatabase::new(SqliteDatabase::memory().await.unwrap());
    let info = door.catalog.insert_database("d", Arc::new(database.clone()));
    let told = |answer: &Answer| {
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(!text.contains("/srv") && text.contains("server"), "{text}");
    };
    for kind in
        [StoreErrorKind::Unavailable, StoreErrorKind::Corrupt, StoreErrorKind::Internal, StoreErrorKind::StorageFull]
    {
        store.script().fail_next(StoreOperation::Get, StoreError::new(kind, FILE));
        told(&door.get("/r2/buckets/photos/objects/a").await);
        store.script().fail_next(StoreOperation::Delete, StoreError::new(kind, FILE));
        told(&door.call(Method::DELETE, "/r2/buckets/photos/objects/a", "").await);
    }
    for kind in [ErrorKind::Unavailable, ErrorKind::Corrupt, ErrorKind::Internal, ErrorKind::StorageFull] {
        database.script().fail_next(Operation::Query, Error::new(kind, FILE));
        told(&door.post(&format!("/d1/database/{}/query", info.id), json!({"sql": "CREATE TABLE t (a)"})).await);
    }
}
