//! Links to objects.

use std::time::Duration;

use axum::body::Body;
use http::{Method, Request, StatusCode, header};
use isobar_gateway::keys::{KeyScope, NewKey, Permission};
use serde_json::json;

use crate::door::{Answer, Door};
use crate::setting::{Access, ask, explorer, own};

const LINKS: &str = "/explorer/v1/links";

async fn sign(door: &Door, token: &str, key: &str, seconds: u64) -> Answer {
    let body = json!({"bucket": "photos", "key": key, "seconds": seconds});
    ask(door, Some(token), Method::POST, LINKS, &body.to_string()).await
}

async fn open(door: &Door, url: &str) -> Answer {
    ask(door, None, Method::GET, url, "").await
}

#[tokio::test]
async fn link_gives_one_object_as_an_attachment() {
    let door = explorer(Access::Read).await;
    let signed = sign(&door, &door.token, "2026/a.html", 60).await.result();
    let url = signed["url"].as_str().unwrap().to_owned();
    assert!(url.starts_with(LINKS) && signed["expires_on"].is_string(), "{signed}");
    let got = open(&door, &url).await;
    assert_eq!((got.status, &got.body[..]), (StatusCode::OK, &b"<script>alert(1)</script>"[..]));
    assert_eq!(got.headers[header::CONTENT_DISPOSITION], "attachment; filename*=UTF-8''a%2Ehtml");
    assert!(got.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap().ends_with("; sandbox"));
    assert_eq!(got.headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    assert_eq!(got.headers[header::CACHE_CONTROL], "no-store");
    let range = Request::get(&url).header(header::RANGE, "bytes=1-6").body(Body::empty()).unwrap();
    let part = door.send(range).await;
    assert_eq!((part.status, &part.body[..]), (StatusCode::PARTIAL_CONTENT, &b"script"[..]));
    for other in [
        url.replace("a.html", "b.txt"),
        url.replace("/photos/", "/backups/"),
        url.replace("/2026/", "/2026/../2026/"),
        url.replace("expires=", "expires=9"),
        url.split('?').next().unwrap().to_owned(),
        format!("{url}0"),
    ] {
        assert_ne!(other, url);
        let status = open(&door, &other).await.status;
        assert_eq!(status, StatusCode::FORBIDDEN, "{other}");
    }
    assert_eq!(ask(&door, None, Method::PUT, &url, "x").await.status, 401);
}

#[tokio::test]
async fn link_ends_with_its_time_and_with_its_key() {
    let door = explorer(Access::Read).await;
    for seconds in [0, 7 * 24 * 3600 + 1, u64::MAX] {
        assert_eq!(sign(&door, &door.token, "top", seconds).await.status, 400, "{seconds}");
    }
    let short = sign(&door, &door.token, "top", 1).await.result();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(open(&door, short["url"].as_str().unwrap()).await.status, 403);
    let issued = door.keys.create(NewKey::new("guest", KeyScope::new([Permission::R2Read]))).await.unwrap();
    let url = sign(&door, issued.token(), "top", 60).await.result()["url"].as_str().unwrap().to_owned();
    assert_eq!(open(&door, &url).await.status, 200);
    door.keys.revoke(&issued.key.id).await.unwrap();
    assert_eq!(open(&door, &url).await.error(), (403, 10000));
    let events = door.events.points();
    let reason = String::from_utf8_lossy(events.last().unwrap().blob(5)).into_owned();
    assert!(reason.contains("revoked"), "{reason}");
}

#[tokio::test]
async fn link_reaches_no_further_than_its_key() {
    let door = explorer(Access::Read).await;
    let bound = door.issue(KeyScope::new([Permission::R2Read]).with_bucket("photos").with_prefix("2026/")).await;
    assert_eq!(sign(&door, &bound, "top", 60).await.error(), (403, 10000));
    assert_eq!(sign(&door, &bound, "2026/b.txt", 60).await.status, 200);
    let body = r#"{"bucket": "backups", "key": "2026/b.txt", "seconds": 60}"#;
    assert_eq!(ask(&door, Some(&bound), Method::POST, LINKS, body).await.error(), (403, 10000));
    for permissions in [vec![Permission::R2Write], vec![Permission::D1Write, Permission::AnalyticsRead]] {
        let token = door.issue(KeyScope::new(permissions)).await;
        assert_eq!(sign(&door, &token, "top", 60).await.error(), (403, 10000));
    }
    assert_eq!(own(&door, Method::POST, LINKS, "{}").await.error(), (400, 7400));
}

#[tokio::test]
async fn keys_of_every_form_have_links() {
    let door = explorer(Access::Write).await;
    for key in ["a b+c%.txt", "é/ü", "/slash", "a//b/", "x?y#z", "quote\"'"] {
        let path = percent_encoding::utf8_percent_encode(key, percent_encoding::NON_ALPHANUMERIC);
        let path = format!("{}/r2/buckets/photos/objects/{path}", door.account);
        own(&door, Method::PUT, &path, key).await.result();
        let signed = sign(&door, &door.token, key, 60).await.result();
        let got = open(&door, signed["url"].as_str().unwrap()).await;
        assert_eq!((got.status, &got.body[..]), (StatusCode::OK, key.as_bytes()), "{key}");
    }
    let missing = sign(&door, &door.token, "not/there", 60).await.result();
    assert_eq!(open(&door, missing["url"].as_str().unwrap()).await.error(), (404, 10007));
}
