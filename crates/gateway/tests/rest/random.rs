//! Random requests: none panics, and none without a token reads anything. `ISOBAR_CASES` and `ISOBAR_SEED` set the cases.

use axum::body::Body;
use http::{Method, Request, header};
use proptest::prelude::*;
use serde_json::json;

use crate::door::Door;

const SECRET: &str = "the secret of the object";

/// A segment of a path: one that routes know, or anything.
fn segment() -> impl Strategy<Value = String> {
    let known = proptest::sample::select(vec![
        "client",
        "v4",
        "accounts",
        "ACCOUNT",
        "r2",
        "buckets",
        "photos",
        "objects",
        "cors",
        "lifecycle",
        "a",
        "d1",
        "database",
        "d",
        "query",
        "raw",
        "import",
        "export",
        "time_travel",
        "bookmark",
        "restore",
        "user",
        "tokens",
        "verify",
        "memberships",
        "graphql",
        "uploads",
        "downloads",
        "workers",
        "durable_objects",
        "namespaces",
    ]);
    prop_oneof![
        12 => known.prop_map(str::to_owned),
        1 => "[ -~]{0,8}".prop_map(|text| percent_encoding::utf8_percent_encode(&text, percent_encoding::NON_ALPHANUMERIC).to_string()),
        1 => "(%[0-9A-F]{2}){1,3}",
    ]
}

/// Paths: random ones, and those of real routes with something behind them.
fn path() -> impl Strategy<Value = String> {
    let real = proptest::sample::select(vec![
        "client/v4/accounts/ACCOUNT/r2/buckets/photos/objects/a",
        "client/v4/accounts/ACCOUNT/r2/buckets/photos/objects",
        "client/v4/accounts/ACCOUNT/r2/buckets/photos/cors",
        "client/v4/accounts/ACCOUNT/r2/buckets",
        "client/v4/accounts/ACCOUNT/d1/database/d/query",
        "client/v4/accounts/ACCOUNT/d1/database/d/raw",
        "client/v4/accounts/ACCOUNT/d1/database/d/import",
        "client/v4/accounts/ACCOUNT/d1/database/d/export",
        "client/v4/accounts/ACCOUNT/d1/database/d",
        "client/v4/graphql",
        "client/v4/accounts",
    ]);
    let tail = proptest::collection::vec(segment(), 0..3);
    let extended = (real, tail).prop_map(|(path, tail)| [vec![path.to_owned()], tail].concat().join("/"));
    prop_oneof![2 => extended, 1 => proptest::collection::vec(segment(), 0..9).prop_map(|segments| segments.join("/"))]
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let real = proptest::sample::select(vec![
        r#"{"sql": "SELECT * FROM t"}"#,
        r#"{"sql": "SELECT ?1, ?", "params": [1, null, "x", 1e999, [1, 2], true]}"#,
        r#"{"batch": [{"sql": "SELECT 1"}, {"sql": "INSERT INTO t VALUES (?)", "params": [[300]]}]}"#,
        r#"{"action": "init", "etag": ""}"#,
        r#"{"action": "poll", "current_bookmark": "../../x"}"#,
        r#"{"action": "ingest", "filename": "é", "etag": "x"}"#,
        r#"{"output_format": "polling", "dump_options": {"tables": ["t"]}}"#,
        r#"{"operationName": "getR2StorageMetrics", "variables": {"filter": {"bucketName": "photos"}}}"#,
        r#"{"name": "a-bucket"}"#,
    ]);
    prop_oneof![3 => real.prop_map(|text| text.as_bytes().to_vec()), 1 => proptest::collection::vec(any::<u8>(), 0..64)]
}

fn authorization(token: &str) -> impl Strategy<Value = Option<String>> {
    let half = token[..token.len() / 2].to_owned();
    let whole = token.to_owned();
    let altered = (0..token.len()).prop_map(move |at| {
        let other = if &whole[at..=at] == "0" { "1" } else { "0" };
        Some(format!("Bearer {}{other}{}", &whole[..at], &whole[at + 1..]))
    });
    prop_oneof![
        Just(None),
        Just(Some("Bearer ".to_owned())),
        Just(Some(format!("Bearer {half}"))),
        altered,
        "[ -~]{0,40}".prop_map(Some),
        "Bearer isobar_[0-9a-f]{32}_[A-Za-z0-9_-]{43}".prop_map(Some),
    ]
}

fn query() -> impl Strategy<Value = String> {
    prop_oneof![2 => Just(String::new()), 1 => "[a-z_]{0,8}=[!-~&&[^#]]{0,12}(&[a-z]{1,4}=%[0-9A-F]{2}){0,2}"]
}

async fn prepared() -> Door {
    let door = Door::new().await;
    door.post("/r2/buckets", json!({"name": "photos"})).await.result();
    door.call(Method::PUT, "/r2/buckets/photos/objects/a", SECRET).await.result();
    let path = door.database("d").await;
    let sql = format!("CREATE TABLE t (a); INSERT INTO t VALUES ('{SECRET}')");
    door.post(&format!("{path}/query"), json!({"sql": sql})).await.result();
    door
}

fn built(
    door: &Door,
    method: &str,
    path: &str,
    query: &str,
    authorization: Option<&str>,
    body: Vec<u8>,
) -> Option<Request<Body>> {
    let path = path.replace("ACCOUNT", door.keys.account_id());
    let uri = if query.is_empty() { format!("/{path}") } else { format!("/{path}?{query}") };
    let request = Request::builder().method(method).uri(uri).header(header::HOST, "isobar.test");
    let request = match authorization {
        Some(value) => request.header(header::AUTHORIZATION, value),
        None => request,
    };
    request.body(body.into()).ok()
}

fn methods() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec!["GET", "PUT", "POST", "DELETE", "PATCH", "HEAD", "OPTIONS"])
}

#[test]
fn no_request_without_a_token_reads_anything() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let door = runtime.block_on(prepared());
    let input = (methods(), path(), query(), authorization(&door.token), body());
    let mut runner = crate::cases::runner("no_request_without_a_token_reads_anything");
    let result = runner.run(&input, |(method, path, query, authorization, body)| {
        let Some(request) = built(&door, method, &path, &query, authorization.as_deref(), body) else { return Ok(()) };
        let answer = runtime.block_on(door.send(request));
        prop_assert!(answer.status.is_client_error(), "{answer:?}");
        prop_assert!(!String::from_utf8_lossy(&answer.body).contains(SECRET));
        if method != "HEAD" {
            prop_assert_eq!(&answer.json()["success"], &json!(false));
        }
        Ok(())
    });
    result.unwrap();
}

#[test]
fn no_request_with_a_token_panics_or_leaves_the_envelope() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let door = runtime.block_on(prepared());
    let authorization = format!("Bearer {}", door.token);
    let input = (methods(), path(), query(), body());
    let mut runner = crate::cases::runner("no_request_with_a_token_panics_or_leaves_the_envelope");
    let result = runner.run(&input, |(method, path, query, body)| {
        let Some(request) = built(&door, method, &path, &query, Some(&authorization), body) else { return Ok(()) };
        let answer = runtime.block_on(door.send(request));
        prop_assert!(!answer.status.is_server_error(), "{answer:?}");
        if answer.status.is_client_error() && method != "HEAD" {
            prop_assert_eq!(&answer.json()["success"], &json!(false));
        }
        Ok(())
    });
    result.unwrap();
}
