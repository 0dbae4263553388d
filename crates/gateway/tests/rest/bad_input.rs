//! Keys, listings and bodies that are hostile, at the routes of objects.

use std::time::Duration;

use axum::body::Body;
use futures_util::stream;
use http::{Method, Request, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

use crate::door::{Answer, Door};

async fn bucket(door: &Door) -> String {
    door.post("/r2/buckets", json!({"name": "photos"})).await.result();
    "/r2/buckets/photos/objects".to_owned()
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// Puts a body of a length that is announced.
async fn put(door: &Door, path: &str, length: usize, body: impl Into<Body>) -> Answer {
    let request = Request::put(format!("{}{path}", door.account)).header(header::CONTENT_LENGTH, length);
    let request = request.header(header::AUTHORIZATION, format!("Bearer {}", door.token));
    door.send(request.body(body.into()).unwrap()).await
}

#[tokio::test]
async fn keys_of_every_byte_class_are_kept() {
    let door = Door::new().await;
    let objects = bucket(&door).await;
    let keys = [
        "a%2Fb",
        "a/../b",
        "./x",
        "//double",
        "tab\tkey",
        "cr\rkey",
        "lf\nkey",
        "bell\u{7}",
        "<&>\"'\\",
        "ünï/日本",
        "trail/",
        "a?b#c",
        "+ +",
        "\u{10ffff}",
    ];
    for key in keys {
        let path = format!("{objects}/{}", encoded(key));
        assert_eq!(put(&door, &path, key.len(), key).await.result()["key"], key);
        assert_eq!(door.get(&path).await.body, key.as_bytes(), "{key:?}");
    }
    let listed = door.get(&objects).await.result();
    let mut listed: Vec<&str> = listed.as_array().unwrap().iter().map(|one| one["key"].as_str().unwrap()).collect();
    let mut expected = keys.to_vec();
    listed.sort_unstable();
    expected.sort_unstable();
    assert_eq!(listed, expected);
    for key in keys {
        door.call(Method::DELETE, &format!("{objects}/{}", encoded(key)), "").await.result();
    }
    assert_eq!(door.get(&objects).await.result(), json!([]));
}

#[tokio::test]
async fn keys_that_are_none_are_refused() {
    let door = Door::new().await;
    let objects = bucket(&door).await;
    for (key, error) in
        [("k".repeat(1025), (400, 10020)), ("%FF".to_owned(), (400, 7400)), ("%".to_owned(), (404, 10007))]
    {
        assert_eq!(door.get(&format!("{objects}/{key}")).await.error(), error, "{key}");
    }
    assert_eq!(put(&door, &format!("{objects}/%FF"), 1, "x").await.error().0, 400);
    assert_eq!(door.get(&objects).await.result(), json!([]));
}

#[tokio::test]
async fn hostile_delimiters_end() {
    let door = Door::new().await;
    let objects = bucket(&door).await;
    for number in 0..50 {
        let path = format!("{objects}/{number}%2F{}", "ab".repeat(400));
        put(&door, &path, 0, "").await.result();
    }
    for delimiter in ["a", "b", "ab".repeat(400).as_str(), "\u{10ffff}", "/", "0", " ", "%2F", "<&>"] {
        let mut cursor = String::new();
        let mut found = 0;
        let mut pages = 0;
        loop {
            let query = format!("per_page=7&delimiter={}&cursor={}", encoded(delimiter), encoded(&cursor));
            let page = door.get(&format!("{objects}?{query}")).await;
            let info = page.json()["result_info"].clone();
            let groups = info["delimited"].as_array().map_or(0, Vec::len);
            let here = page.result().as_array().unwrap().len() + groups;
            assert!(here <= 7, "{delimiter}: {here}");
            found += here;
            pages += 1;
            assert!(pages <= 10, "{delimiter}");
            if info["cursor"] == "" {
                break;
            }
            cursor = info["cursor"].as_str().unwrap().to_owned();
        }
        assert!((1..=50).contains(&found), "{delimiter}: {found}");
    }
}

#[tokio::test]
async fn silent_client_keeps_nobody_else_waiting() {
    let door = Door::new().await;
    let path = format!("{}/k", bucket(&door).await);
    let silent = Body::from_stream(stream::pending::<Result<bytes::Bytes, std::io::Error>>());
    let mut waiting = Box::pin(put(&door, &path, 10, silent));
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut waiting).await.is_err());
    assert_eq!(door.get(&path).await.error(), (404, 10007));
    assert_eq!(put(&door, &path, 1, "x").await.result()["size"], "1");
    // A server drops the request when it ends the connection.
    drop(waiting);
    assert_eq!(door.get(&path).await.body, &b"x"[..]);
}
