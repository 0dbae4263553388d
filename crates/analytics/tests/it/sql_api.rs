//! Analytics Engine's SQL API, with exchanges as in its documentation.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use http::{Request, Response};
use isobar_analytics::cloudflare::AnalyticsEngineSql;
use isobar_analytics::{ErrorKind, ScanOptions};
use isobar_cloudflare::client::{Account, Body, Client, Transport, TransportError};
use serde_json::{Value, json};

/// Answers each request with the same response, and records the requests.
#[derive(Debug, Clone)]
struct Replay {
    status: u16,
    answer: String,
    asked: Arc<Mutex<Vec<(http::request::Parts, String)>>>,
}

#[async_trait]
impl Transport for Replay {
    async fn send(&self, request: Request<Body>) -> Result<Response<Body>, TransportError> {
        let (parts, body) = request.into_parts();
        let body = body.bytes(1 << 20).await.unwrap();
        self.asked.lock().unwrap().push((parts, String::from_utf8(body.to_vec()).unwrap()));
        Ok(Response::builder().status(self.status).body(Body::from(self.answer.clone())).unwrap())
    }
}

fn api(status: u16, answer: impl ToString) -> (AnalyticsEngineSql, Replay) {
    let replay = Replay { status, answer: answer.to_string(), asked: Arc::default() };
    let account = Account::new("account-1", "the-token").unwrap().with_client(Client::new(replay.clone()));
    (AnalyticsEngineSql::new(account), replay)
}

#[tokio::test]
async fn query_returns_columns_and_rows() {
    let (api, replay) = api(
        200,
        json!({
            "meta": [{"name": "route", "type": "String"}, {"name": "requests", "type": "UInt64"}],
            "data": [{"route": "/api/health", "requests": "9007199254740993"}],
            "rows": 1,
            "rows_before_limit_at_least": 3,
        }),
    );
    let result =
        api.query("SELECT blob1 AS route, SUM(_sample_interval) AS requests FROM inneranimalmedia").await.unwrap();
    assert_eq!(result.columns[1].kind, "UInt64");
    assert_eq!(result.rows[0]["requests"], "9007199254740993");
    assert_eq!(result.rows_before_limit_at_least, Some(3));

    let asked = replay.asked.lock().unwrap();
    let (parts, sql) = &asked[0];
    assert_eq!(parts.method, "POST");
    assert_eq!(parts.uri.path(), "/client/v4/accounts/account-1/analytics_engine/sql");
    assert_eq!(parts.headers["authorization"], "Bearer the-token");
    assert!(sql.starts_with("SELECT blob1"), "{sql}");
}

#[tokio::test]
async fn scan_returns_events_oldest_first() {
    let row = |second: u32, index: &str, blob2: &str, double1: f64| {
        let mut row: Value =
            (1..=20).flat_map(|n| [(format!("blob{n}"), json!("")), (format!("double{n}"), json!(0))]).collect();
        row["timestamp"] = json!(format!("2026-11-24 01:02:{second:02}"));
        row["_sample_interval"] = json!(second);
        row["index1"] = json!(index);
        row["blob2"] = json!(blob2);
        row["double1"] = json!(double1);
        row
    };
    let (api, _) =
        api(200, json!({"meta": [], "data": [row(9, "tenant-2", "", 0.0), row(3, "", "/home", 12.5)], "rows": 2}));
    let events = api.scan("inneranimalmedia", ScanOptions::default()).await.unwrap();
    assert_eq!(events.len(), 2);
    assert_eq!(events[0].timestamp.to_rfc3339(), "2026-11-24T01:02:03+00:00");
    assert_eq!([events[0].sample_interval, events[1].sample_interval], [3, 9]);
    assert_eq!(
        (events[0].point.blobs.as_slice(), events[0].point.doubles.as_slice()),
        (&["".into(), "/home".into()][..], &[12.5][..])
    );
    assert!(events[0].point.indexes.is_empty());
    assert_eq!(events[1].point.indexes, ["tenant-2"]);
    assert!(events[1].point.blobs.is_empty() && events[1].point.doubles.is_empty());
}

#[tokio::test]
async fn extensions_are_refused_before_they_are_sent() {
    use isobar_analytics::query::{Query, QueryExecutor};
    let (api, replay) = api(200, json!({"meta": [], "data": [], "rows": 0}));
    let sql = "SELECT timestamp FROM web ORDER BY timestamp WITH FILL STEP 60";
    let errors = [api.query(sql).await.unwrap_err(), QueryExecutor::query(&api, &Query::new(sql)).await.unwrap_err()];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Query);
        assert!(error.message().starts_with("line 1, column 46: WITH FILL is an extension of the local"), "{error}");
    }
    assert!(replay.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn refusals_have_different_kinds() {
    let kind = async |status, answer: &str| api(status, answer).0.query("SELECT").await.unwrap_err().kind();
    assert_eq!(kind(422, "Input was not valid SQL").await, ErrorKind::Query);
    assert_eq!(
        kind(403, r#"{"success":false,"errors":[{"code":10000,"message":"Authentication error"}]}"#).await,
        ErrorKind::PermissionDenied
    );
    assert_eq!(kind(200, "1\t2\n").await, ErrorKind::Internal);
}

#[tokio::test]
async fn the_api_answers_the_same_queries_as_the_local_executor() {
    use isobar_analytics::query::{Format, Query, QueryExecutor, Value as Typed};
    let (api, replay) = api(
        200,
        json!({
            "meta": [{"name": "n", "type": "UInt64"}, {"name": "at", "type": "DateTime"}, {"name": "x", "type": "Float64"},
                {"name": "top", "type": "Array(String)"}],
            "data": [{"n": "18446744073709551615", "at": "2026-11-24 01:02:03", "x": null, "top": ["a"]}],
            "rows": 1,
        }),
    );
    let query = Query::new("SELECT $1 AS a FROM web FORMAT JSONEachRow").with("it's");
    let answer = QueryExecutor::query(&api, &query).await.unwrap();
    assert_eq!(answer.value(0, 0), Typed::UInt(u64::MAX));
    assert_eq!((answer.text(0, 1), answer.text(0, 2)), ("2026-11-24 01:02:03".to_owned(), "nan".to_owned()));
    let line = "{\"n\":\"18446744073709551615\",\"at\":\"2026-11-24 01:02:03\",\"x\":null,\"top\":[\"a\"]}\n";
    assert_eq!(
        (answer.format(), answer.to_bytes(Format::JsonEachRow)),
        (Format::JsonEachRow, line.as_bytes().to_vec())
    );
    assert_eq!(replay.asked.lock().unwrap()[0].1, "SELECT 'it\\'s' AS a FROM web");
}
