//! Rules of buckets.

use axum::body::Body;
use http::Method;
use isobar_gateway::keys::{KeyScope, Permission};
use serde_json::json;

use crate::door::Door;

const CORS: &str = "/r2/buckets/photos/cors";

async fn door() -> Door {
    let door = Door::new().await;
    door.post("/r2/buckets", json!({"name": "photos"})).await.result();
    door
}

#[tokio::test]
async fn cors_rules_are_set_read_and_removed() {
    let door = door().await;
    assert_eq!(door.get(CORS).await.result(), json!({"rules": []}));
    let rules = json!({"rules": [
        {
            "id": "app",
            "allowed": {"methods": ["GET", "PUT"], "origins": ["https://*.example.com"], "headers": ["content-type"]},
            "exposeHeaders": ["ETag"],
            "maxAgeSeconds": 3600,
        },
        {"allowed": {"methods": ["HEAD"], "origins": ["*"]}},
    ]});
    assert_eq!(door.call(Method::PUT, CORS, rules.to_string()).await.result(), json!({}));
    assert_eq!(door.get(CORS).await.result(), rules);
    assert_eq!(door.call(Method::DELETE, CORS, "").await.result(), json!({}));
    assert_eq!(door.get(CORS).await.result(), json!({"rules": []}));
    for (method, body) in [(Method::GET, ""), (Method::PUT, "{}"), (Method::DELETE, "")] {
        assert_eq!(door.call(method, "/r2/buckets/nothing/cors", body).await.error(), (404, 10006));
    }
}

#[tokio::test]
async fn cors_rules_that_could_not_take_effect_are_refused() {
    let door = door().await;
    let fine = r#"{"rules": [{"allowed": {"methods": ["GET"], "origins": ["https://a"]}}]}"#;
    door.call(Method::PUT, CORS, fine).await.result();
    for (from, to, expected) in [
        ("GET", "PATCH", "PATCH"),
        ("https://a", "https://a/", "without a path"),
        ("\"origins\"", "\"AllowedOrigins\"", "unknown field"),
        ("}}]}", "", "not well formed"),
    ] {
        let refused = door.call(Method::PUT, CORS, fine.replace(from, to)).await;
        assert_eq!(refused.error(), (400, 10040), "{to}");
        let message = refused.json()["errors"][0]["message"].to_string();
        assert!(message.contains(expected), "{message}");
    }
    assert_eq!(door.get(CORS).await.result()["rules"][0]["allowed"]["methods"], json!(["GET"]));
}

#[tokio::test]
async fn tokens_that_are_bound_do_not_configure_buckets() {
    let door = door().await;
    let both = [Permission::R2Read, Permission::R2Write];
    let reader = door.issue(KeyScope::new([Permission::R2Read])).await;
    let bound = door.issue(KeyScope::new(both).with_bucket("photos")).await;
    let album = door.issue(KeyScope::new(both).with_bucket("photos").with_prefix("2026/")).await;
    let elsewhere = door.issue(KeyScope::new(both).with_bucket("backups")).await;
    for token in [&reader, &bound, &album, &elsewhere] {
        for (method, body) in [(Method::PUT, "{}"), (Method::DELETE, "")] {
            assert_eq!(door.call_as(token, method, CORS, body).await.error(), (403, 10000));
        }
    }
    for token in [&reader, &bound] {
        door.call_as(token, Method::GET, CORS, Body::empty()).await.result();
    }
    for token in [&album, &elsewhere] {
        assert_eq!(door.call_as(token, Method::GET, CORS, Body::empty()).await.error(), (403, 10000));
    }
}
