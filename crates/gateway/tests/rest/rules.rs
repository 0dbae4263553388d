//! Rules of buckets.

use axum::body::Body;
use http::{Method, Request, header};
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
        ("}}]}", "", "not valid"),
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

#[tokio::test]
async fn features_that_buckets_do_not_have_are_absent_and_cannot_be_set() {
    let door = door().await;
    let bucket = "/r2/buckets/photos";
    let notifications = "/event_notifications/r2/photos/configuration".to_owned();
    for (path, absent) in [
        (format!("{bucket}/domains/custom"), json!({"domains": []})),
        (format!("{bucket}/domains/managed"), json!({"bucketId": "photos", "domain": "", "enabled": false})),
        (format!("{bucket}/sippy"), json!({"enabled": false})),
        (format!("{bucket}/local-uploads"), json!({"enabled": false})),
        (format!("{bucket}/lock"), json!({"rules": []})),
        (notifications.clone(), json!({"bucketName": "photos", "queues": []})),
    ] {
        assert_eq!(door.get(&path).await.result(), absent, "{path}");
        assert_eq!(door.get(&path.replace("photos", "nothing")).await.error(), (404, 10006), "{path}");
    }
    for path in
        ["/domains/custom", "/domains/custom/example.com", "/domains/managed", "/sippy", "/local-uploads", "/lock"]
    {
        let refused = door.call(Method::PUT, &format!("{bucket}{path}"), r#"{"enabled": true}"#).await;
        assert_eq!(refused.error(), (400, 7400), "{path}");
    }
    assert_eq!(door.call(Method::PUT, &format!("{notifications}/queues/q"), "{}").await.error(), (400, 7400));
    for path in [format!("{bucket}/domains/custom/example.com"), format!("{notifications}/queues/q")] {
        assert_eq!(door.get(&path).await.error(), (404, 7003), "{path}");
        assert_eq!(door.get(&path.replace("photos", "nothing")).await.error(), (404, 10006), "{path}");
    }
    let reader = door.issue(KeyScope::new([Permission::R2Read])).await;
    assert_eq!(door.call_as(&reader, Method::PUT, &format!("{bucket}/lock"), "{}").await.error(), (403, 10000));
}

#[tokio::test]
async fn storage_class_of_a_bucket_is_standard_alone() {
    let door = door().await;
    let edit = async |token: &str, class: &str| {
        let request = Request::patch(format!("{}/r2/buckets/photos", door.account));
        let request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        door.send(request.header("cf-r2-storage-class", class).body(Body::empty()).unwrap()).await
    };
    assert_eq!(edit(&door.token, "Standard").await.result()["storage_class"], "Standard");
    assert_eq!(edit(&door.token, "InfrequentAccess").await.error(), (400, 7400));
    let bound = door.issue(KeyScope::new([Permission::R2Write]).with_bucket("photos")).await;
    assert_eq!(edit(&bound, "Standard").await.error(), (403, 10000));
}

const LIFECYCLE: &str = "/r2/buckets/photos/lifecycle";

#[tokio::test]
async fn lifecycle_rules_are_set_and_read() {
    let door = door().await;
    let default = door.get(LIFECYCLE).await.result();
    let upload_age = json!({"condition": {"type": "Age", "maxAge": 604_800}});
    let expected = json!({"rules": [{
        "id": "Default Multipart Abort Rule",
        "enabled": true,
        "conditions": {"prefix": ""},
        "abortMultipartUploadsTransition": upload_age,
    }]});
    assert_eq!(default, expected);
    // As wrangler adds one: to those that there are, and without a prefix where there is none.
    let mut rules = default["rules"].as_array().unwrap().clone();
    let age = json!({"condition": {"maxAge": 86_400, "type": "Age"}});
    rules.push(json!({"id": "logs", "enabled": true, "conditions": {}, "deleteObjectsTransition": age}));
    assert_eq!(door.call(Method::PUT, LIFECYCLE, json!({"rules": rules}).to_string()).await.result(), json!({}));
    let read = door.get(LIFECYCLE).await.result();
    assert_eq!(read["rules"][1]["conditions"], json!({"prefix": ""}));
    assert_eq!(read["rules"][1]["deleteObjectsTransition"], age);
    door.call(Method::PUT, LIFECYCLE, r#"{"rules": []}"#).await.result();
    assert_eq!(door.get(LIFECYCLE).await.result(), json!({"rules": []}), "the default is removed as well");
    assert_eq!(door.call(Method::DELETE, LIFECYCLE, "").await.error().0, 405, "Cloudflare has no such route");
    assert_eq!(door.get("/r2/buckets/nothing/lifecycle").await.error(), (404, 10006));
}

#[tokio::test]
async fn lifecycle_rules_that_cannot_be_carried_out_are_refused() {
    let door = door().await;
    let condition = json!({"type": "Age", "maxAge": 60});
    let rule = |more: &str, value: serde_json::Value| {
        let mut rule = json!({"id": "a", "enabled": true, "conditions": {"prefix": ""}});
        rule[more] = value;
        json!({"rules": [rule]}).to_string()
    };
    let class = json!([{"condition": condition, "storageClass": "InfrequentAccess"}]);
    for (body, expected) in [
        (rule("storageClassTransitions", class), "storage class"),
        (rule("abortMultipartUploadsTransition", json!({"condition": {"type": "Age", "maxAge": 700_000}})), "7 days"),
        (rule("conditions", json!({"suffix": ".log"})), "unknown field"),
        (rule("deleteObjectsTransition", json!({"condition": {"type": "Date", "date": "soon"}})), "soon"),
        (rule("deleteObjectsTransition", json!({})), "condition"),
    ] {
        let refused = door.call(Method::PUT, LIFECYCLE, body.clone()).await;
        assert_eq!(refused.error(), (400, 10040), "{body}");
        let message = refused.json()["errors"][0]["message"].to_string();
        assert!(message.contains(expected), "{message}");
    }
    let reader = door.issue(KeyScope::new([Permission::R2Read])).await;
    assert_eq!(door.call_as(&reader, Method::PUT, LIFECYCLE, "{}").await.error(), (403, 10000));
    door.call_as(&reader, Method::GET, LIFECYCLE, Body::empty()).await.result();
}

#[tokio::test]
async fn store_that_cannot_delete_a_version_takes_no_expiry() {
    let door = Door::new().await;
    let read_only = isobar_storage::layers::ReadOnly::new(isobar_storage::memory::MemoryStore::new());
    door.catalog.insert_bucket("photos", std::sync::Arc::new(read_only));
    let age = r#"{"rules": [{"id": "a", "enabled": true, "conditions": {"prefix": ""},
        "deleteObjectsTransition": {"condition": {"type": "Age", "maxAge": 60}}}]}"#;
    let refused = door.call(Method::PUT, LIFECYCLE, age).await;
    assert_eq!(refused.error(), (400, 7400));
    assert!(refused.json()["errors"][0]["message"].as_str().unwrap().contains("set the rule where its objects are"));
}

/// A bucket of a jurisdiction is another one than that of the same name without: nothing of the latter is read or changed.
#[tokio::test]
async fn buckets_of_a_jurisdiction_are_refused() {
    let door = door().await;
    let send = async |method: &Method, path: &str, body: &str, jurisdiction: &str| {
        let request = Request::builder().method(method).uri(format!("{}{path}", door.account));
        let request = request.header(header::AUTHORIZATION, format!("Bearer {}", door.token));
        door.send(request.header("cf-r2-jurisdiction", jurisdiction).body(body.to_owned().into()).unwrap()).await
    };
    let create = r#"{"name": "anywhere"}"#;
    for (method, path, body) in [
        (Method::POST, "/r2/buckets", create),
        (Method::GET, "/r2/buckets", ""),
        (Method::GET, "/r2/buckets/photos", ""),
        (Method::PUT, "/r2/buckets/photos/objects/a", "x"),
        (Method::PUT, LIFECYCLE, r#"{"rules": []}"#),
        (Method::GET, "/event_notifications/r2/photos/configuration", ""),
        (Method::DELETE, "/r2/buckets/photos", ""),
    ] {
        assert_eq!(send(&method, path, body, "eu").await.error(), (400, 7400), "{method} {path}");
    }
    assert_eq!(door.get(LIFECYCLE).await.result()["rules"].as_array().unwrap().len(), 1);
    send(&Method::POST, "/r2/buckets", create, "default").await.result();
    assert_eq!(door.get("/r2/buckets").await.result()["buckets"].as_array().unwrap().len(), 2);
}
