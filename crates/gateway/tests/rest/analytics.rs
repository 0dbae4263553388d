//! Analytics Engine's SQL.

use std::sync::Arc;

use http::{Method, header};
use isobar_analytics::memory::MemorySink;
use isobar_analytics::query::MemoryDatasets;
use isobar_analytics::{DataPoint, EventSink};
use isobar_gateway::keys::{KeyScope, Permission};
use isobar_gateway::rest::RestDoor;
use serde_json::json;

use crate::door::Door;

const PATH: &str = "/analytics_engine/sql";

async fn door() -> Door {
    let door = Door::new().await;
    let sink = |blob: &'static str| {
        let sink = MemorySink::new();
        sink.write(DataPoint::new().with_index("i").with_blob(blob).with_double(2.5));
        sink
    };
    let datasets = MemoryDatasets::new().with_dataset("visits", sink("/home")).with_dataset("orders", sink("secret"));
    let router = RestDoor::new(door.keys.clone()).with_datasets(Arc::new(datasets)).into_router();
    Door { router, ..door }
}

#[tokio::test]
async fn sql_is_answered_in_the_format_that_it_asks_for() {
    let door = door().await;
    let json = door.call(Method::POST, PATH, "SELECT blob1, double1 FROM visits").await;
    assert_eq!(json.status, 200, "{json:?}");
    assert_eq!(json.json()["data"], json!([{"blob1": "/home", "double1": 2.5}]));
    let lines = door.call(Method::POST, PATH, "SELECT count() AS n FROM visits FORMAT TabSeparated").await;
    assert_eq!(&lines.body[..], b"1\n");
    assert!(lines.headers[header::CONTENT_TYPE].to_str().unwrap().starts_with("text/tab-separated-values"));
}

#[tokio::test]
async fn invalid_sql_and_other_datasets_are_refused() {
    let door = door().await;
    for sql in ["SELEC", "", "SELECT nothing FROM visits", "SELECT blob1 FROM nowhere"] {
        assert_eq!(door.call(Method::POST, PATH, sql).await.error(), (400, 7400), "{sql}");
    }
    assert_eq!(door.call(Method::POST, PATH, vec![0xff]).await.error(), (400, 7400));
    let bound = door.issue(KeyScope::new([Permission::AnalyticsRead]).with_dataset("visits")).await;
    let query = async |sql: &'static str| door.call_as(&bound, Method::POST, PATH, sql).await;
    assert_eq!(query("SELECT count() AS n FROM visits").await.status, 200);
    for sql in ["SELECT blob1 FROM orders", "SELECT blob1 FROM (SELECT blob1 FROM orders)"] {
        assert_eq!(query(sql).await.error(), (403, 10000), "{sql}");
    }
    let tables = query("SHOW TABLES FORMAT TabSeparated").await;
    assert_eq!(&tables.body[..], b"visits\n");
    let other = door.issue(KeyScope::new([Permission::D1Write])).await;
    assert_eq!(door.call_as(&other, Method::POST, PATH, "SELECT 1").await.error(), (403, 10000));
}
