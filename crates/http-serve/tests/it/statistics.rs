//! Statistics: their figures over columnar segments and the log, by hand; each tenant's own, over HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use axum::Router;
use axum::body::Body;
use chrono::{DateTime, TimeDelta, Utc};
use http::Request;
use http_body_util::BodyExt;
use isobar_analytics::local::{CompactionOptions, LocalOptions, LocalSink};
use isobar_analytics::memory::MemorySink;
use isobar_analytics::mock::MockExecutor;
use isobar_analytics::query::{Analytics as Executor, LocalDatasets, MemoryDatasets};
use isobar_analytics::{DataPoint, Error, ErrorKind, EventSink};
use isobar_api::{Api, Principal, Role};
use isobar_db::vault::{self, Keyring, Vault};
use isobar_db::{QueryableExt, SqliteDatabase};
use isobar_http_serve::{Analytics, DatasetQueries, stats};
use serde_json::{Value as Json, json};
use tower::ServiceExt;

/// A request's event.
fn request(route: &'static str, status: &'static str, cache: &'static str, doubles: [f64; 4]) -> DataPoint {
    let blobs = ["request", route, "GET", status, cache, ""];
    let point = blobs.into_iter().fold(DataPoint::new().with_index(route), DataPoint::with_blob);
    doubles.into_iter().fold(point, DataPoint::with_double)
}

/// An event of the product.
fn happened(name: &'static str, user: &'static str, tenant: &'static str) -> DataPoint {
    ["event", name, user, tenant, "{}"].into_iter().fold(DataPoint::new().with_index(name), DataPoint::with_blob)
}

fn begin() -> DateTime<Utc> {
    "2026-11-24T00:00:00Z".parse().unwrap()
}

/// A dataset of two columnar segments and a log, whose events have the times of this clock.
async fn segments(folder: &std::path::Path) -> LocalSink {
    let clock = Arc::new(AtomicI64::new(0));
    let now = Arc::clone(&clock);
    let options = LocalOptions::default()
        .with_retain_for(None)
        .with_clock(move || DateTime::from_timestamp_millis(now.load(Ordering::Relaxed)).unwrap());
    let sink = LocalSink::open_with(folder, options).unwrap();
    let write = |at: TimeDelta, points: &[DataPoint]| {
        clock.store((begin() + at).timestamp_millis(), Ordering::Relaxed);
        points.iter().for_each(|point| sink.write(point.clone()));
    };
    write(TimeDelta::milliseconds(-1), &[request("/before", "500", "none", [1.0, 1.0, 1.0, 1.0])]);
    let first = [
        request("/a", "200", "hit", [10.0, 100.0, 2.0, 1.0]),
        request("/a", "503", "none", [30.0, 0.0, 4.0, 2.0]),
        happened("saved", "u1", "t1"),
    ];
    write(TimeDelta::hours(1), &first);
    sink.compact(CompactionOptions::default()).await.unwrap();
    let second = [
        // An event of an older version, without a weight.
        request("/b", "200", "none", [1234.0, 50.0, 0.0, 0.0]),
        happened("saved", "u2", "t1"),
        happened("saved", "u3", "t2"),
        happened("opened", "u3", "t2"),
    ];
    write(TimeDelta::hours(5), &second);
    sink.compact(CompactionOptions::default()).await.unwrap();
    write(TimeDelta::milliseconds(24 * 3_600_000 - 1), &[request("/a", "200", "none", [20.04, 1.0, 6.0, 1.0])]);
    write(TimeDelta::hours(24), &[request("/after", "500", "none", [1.0, 1.0, 1.0, 1.0])]);
    sink.flush().await.unwrap();
    sink
}

#[tokio::test]
async fn figures_are_those_of_all_segments_and_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let sink = segments(&folder.path().join("web")).await;
    let names = std::fs::read_dir(folder.path().join("web")).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let count = |extension: &str| names.iter().filter(|name| name.ends_with(extension)).count();
    assert!(count(".parquet") == 2 && count(".seg") > 0, "{names:?}");

    let source = LocalDatasets::open(folder.path()).with_sink("web", sink.clone());
    let queries = DatasetQueries::new(Executor::new(source), "web");
    let day = stats(&sink, &queries, begin(), begin() + TimeDelta::hours(24), None).await.unwrap();
    let json = serde_json::to_value(&day).unwrap();
    let figures = |json: &Json| {
        let number = |name: &str| json[name].as_f64().unwrap();
        ["count", "errors", "bytes", "median_ms", "p95_ms", "p99_ms", "database_ms"].map(number)
    };
    assert_eq!(figures(&json["requests"]), [5.0, 2.0, 151.0, 30.0, 1230.0, 1230.0, 3.2]);
    assert_eq!(json["caches"], json!({"hit": 1, "none": 4}));
    let routes: Vec<_> = day.routes.iter().map(|route| route.route.as_str()).collect();
    assert_eq!(routes, ["/a", "/b"]);
    assert_eq!(figures(&json["routes"][0]), [4.0, 2.0, 101.0, 20.0, 30.0, 30.0, 4.0]);
    assert_eq!(figures(&json["routes"][1]), [1.0, 0.0, 50.0, 1230.0, 1230.0, 1230.0, 0.0]);
    let steps: Vec<_> = day.series.iter().map(|step| step.requests.count).collect();
    let mut expected = [0; 24];
    expected[1] = 3;
    expected[5] = 1;
    expected[23] = 1;
    assert_eq!(steps, expected);
    assert_eq!(day.series[5].at, begin() + TimeDelta::hours(5));
    let events = json!([{"name": "saved", "count": 3, "users": 3}, {"name": "opened", "count": 1, "users": 1}]);
    assert_eq!(json["events"], events);
    assert!(day.damage.is_none() && !day.is_partial && day.dropped == 0);

    let own = stats(&sink, &queries, begin(), begin() + TimeDelta::hours(24), Some("t1")).await.unwrap();
    let json = serde_json::to_value(&own).unwrap();
    assert_eq!(json["events"], json!([{"name": "saved", "count": 2, "users": 2}]));
    assert!(own.requests.count == 0 && own.routes.is_empty() && own.caches.is_empty() && own.series.len() == 24);
    let none = stats(&sink, &queries, begin(), begin() + TimeDelta::hours(24), Some("' OR 1=1 --")).await.unwrap();
    assert!(none.events.is_empty(), "{:?}", none.events);
}

/// The routes of an API of two tenants and the operator `op`.
async fn routes(sink: &MemorySink, queries: DatasetQueries) -> Router {
    let database = Arc::new(SqliteDatabase::memory().await.unwrap());
    let schema = [isobar_api::SCHEMA, vault::SCHEMA, isobar_api::auth::SCHEMA].join(";");
    let operator = "INSERT INTO tenants (id, slug, name, created_at, updated_at) VALUES ('op', 'op', 'Op', '', '');
        INSERT INTO operator (id, tenant_id, redeemed_at) VALUES (1, 'op', '')";
    database.run_script(&format!("{schema};{operator}")).await.unwrap();
    let keyring = Keyring::generate("test").unwrap().expose_text().unwrap().parse().unwrap();
    let vault = Vault::new(database.clone(), "test", keyring);
    let analytics = Analytics::new(Arc::new(sink.clone()), queries, vault, database.clone());
    analytics.mount(Api::new(database)).into_router()
}

/// Sends a request as an admin of a tenant.
async fn send(routes: &Router, tenant: &str, method: &str, path: &str, body: Option<Json>) -> (u16, Json) {
    let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    let mut request = request.body(body.map_or_else(Body::empty, |body| Body::from(body.to_string()))).unwrap();
    request.extensions_mut().insert(Principal::member(format!("user-of-{tenant}"), tenant, Role::Admin));
    let response = routes.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    (parts.status.as_u16(), serde_json::from_slice(&bytes).unwrap_or_default())
}

#[tokio::test]
async fn a_tenant_sees_its_own_events_and_the_operator_all() {
    let sink = MemorySink::new();
    let executor = Executor::new(MemoryDatasets::new().with_dataset("my-web", sink.clone()));
    let routes = routes(&sink, DatasetQueries::new(executor, "my-web")).await;
    sink.write(request("/a", "200", "none", [10.0, 100.0, 2.0, 1.0]));
    for (tenant, name) in [("one", "saved"), ("one", "saved"), ("two", "opened")] {
        let (status, problem) = send(&routes, tenant, "POST", "/analytics/track", Some(json!({"name": name}))).await;
        assert_eq!(status, 202, "{problem}");
    }
    let (_, one) = send(&routes, "one", "GET", "/stats", None).await;
    assert_eq!(one["events"], json!([{"name": "saved", "count": 2, "users": 1}]), "{one}");
    assert_eq!((&one["requests"]["count"], &one["routes"]), (&json!(0), &json!([])));
    let (_, two) = send(&routes, "two", "GET", "/stats?hours=2208", None).await;
    assert_eq!(two["events"], json!([{"name": "opened", "count": 1, "users": 1}]), "{two}");
    let (_, all) = send(&routes, "op", "GET", "/stats?hours=1", None).await;
    assert_eq!((&all["requests"]["count"], &all["routes"][0]["route"]), (&json!(1), &json!("/a")), "{all}");
    assert_eq!(all["events"].as_array().map(Vec::len), Some(2), "{all}");
    let (status, _) = send(&routes, "one", "GET", "/stats?hours=2209", None).await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn without_a_dataset_that_can_be_asked_the_answer_says_what_to_configure() {
    let sink = MemorySink::new();
    let executor = |kind, message: &'static str| MockExecutor::new(move |_| Err(Error::new(kind, message)));
    let queries = DatasetQueries::new(executor(ErrorKind::Unsupported, "set CLOUDFLARE_ACCOUNT_ID"), "web");
    let (status, problem) = send(&routes(&sink, queries).await, "one", "GET", "/stats", None).await;
    assert_eq!((status, &problem["detail"]), (501, &json!("set CLOUDFLARE_ACCOUNT_ID")));
    let queries = DatasetQueries::new(executor(ErrorKind::TimedOut, "the query has taken longer than 20s"), "web");
    let (status, problem) = send(&routes(&sink, queries).await, "one", "GET", "/stats", None).await;
    assert_eq!(status, 503, "{problem}");
}
