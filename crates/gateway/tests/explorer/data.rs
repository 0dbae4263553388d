//! Schemas, rows and plans.

use http::Method;
use isobar_gateway::keys::{KeyScope, Permission};
use serde_json::json;

use crate::setting::{Access, DATABASE, ask, explorer, own};

const SCHEMA: &str = "/explorer/v1/databases/orders/schema";
const EXPLAIN: &str = "/explorer/v1/databases/orders/explain";
const READ: &str = "/explorer/v1/databases/orders/read";

#[tokio::test]
async fn schema_has_tables_with_their_columns() {
    let door = explorer(Access::Read).await;
    let schema = own(&door, Method::GET, SCHEMA, "").await.result();
    let table = &schema["tables"][0];
    assert_eq!((&table["name"], &table["kind"]), (&json!("items"), &json!("table")));
    assert_eq!((&table["columns"][0]["name"], &table["columns"][0]["primary_key"]), (&json!("id"), &json!(1)));
    assert_eq!((&table["columns"][1]["name"], &table["columns"][1]["is_not_null"]), (&json!("name"), &json!(true)));
    assert_eq!(own(&door, Method::GET, "/explorer/v1/databases/nothing/schema", "").await.error(), (404, 7404));
    let id = DATABASE.rsplit('/').next().unwrap();
    own(&door, Method::GET, &format!("/explorer/v1/databases/{id}/schema"), "").await.result();
}

#[tokio::test]
async fn statement_is_planned_and_not_run() {
    let door = explorer(Access::Read).await;
    let plan = async |sql: &str| own(&door, Method::POST, EXPLAIN, &json!({"sql": sql}).to_string()).await;
    let steps = plan("SELECT * FROM items WHERE id = ?2 OR id = ?1;").await.result();
    assert!(steps[0]["detail"].as_str().unwrap().contains("items") && steps[0]["parent"] == 0, "{steps}");
    let search = plan("-- by the key\nSELECT * FROM items WHERE id = :id").await.result();
    assert!(search[0]["detail"].as_str().unwrap().starts_with("SEARCH items"), "{search}");
    plan("DELETE FROM items WHERE name = 'pen'").await.result();
    plan("INSERT INTO items SELECT id + 1, name FROM items").await.result();
    let items =
        door.post(&format!("{DATABASE}/query"), json!({"sql": "SELECT count(*) AS n FROM items"})).await.result();
    assert_eq!(items[0]["results"], json!([{"n": 1}]));
    for sql in ["", "-- nothing", "SELECT 1; DELETE FROM items", "EXPLAIN SELECT 1", "explain query plan SELECT 1"] {
        assert_eq!(plan(sql).await.error(), (400, 7400), "{sql}");
    }
    assert_eq!(plan("SELECT * FROM nothing").await.error(), (400, 7500));
    assert_eq!(own(&door, Method::POST, EXPLAIN, "{}").await.error(), (400, 7400));
}

/// The page runs the filter of its address, and whoever made a link to it has written that.
#[tokio::test]
async fn rows_are_read_and_nothing_else_whatever_the_key_may() {
    let door = explorer(Access::Write).await;
    let read = async |sql: &str| own(&door, Method::POST, READ, &json!({"sql": sql}).to_string()).await;
    let rows = read("SELECT * FROM items WHERE (id = 1\n) LIMIT 51 OFFSET 0").await.result();
    assert_eq!(rows[0]["results"], json!({"columns": ["id", "name"], "rows": [[1, "pen"]]}));
    for filter in ["1); DELETE FROM items; --", "1); DROP TABLE items; SELECT (1", "1); PRAGMA foreign_keys = off; --"]
    {
        let answer = read(&format!("SELECT * FROM items WHERE ({filter}\n) LIMIT 51 OFFSET 0")).await;
        assert_eq!(answer.error(), (403, 10000), "{filter}: {answer:?}");
    }
    let items = door.post(&format!("{DATABASE}/query"), json!({"sql": "SELECT count(*) AS n FROM items"})).await;
    assert_eq!(items.result()[0]["results"], json!([{"n": 1}]));
}

#[tokio::test]
async fn database_of_another_key_is_refused() {
    let door = explorer(Access::Read).await;
    let scopes = [
        KeyScope::new(Permission::ALL).with_database("others"),
        KeyScope::new([Permission::R2Read, Permission::R2Write, Permission::AnalyticsRead]),
    ];
    for scope in scopes {
        let token = door.issue(scope).await;
        assert_eq!(ask(&door, Some(&token), Method::GET, SCHEMA, "").await.error(), (403, 10000));
        let body = r#"{"sql": "SELECT 1"}"#;
        for path in [EXPLAIN, READ] {
            assert_eq!(ask(&door, Some(&token), Method::POST, path, body).await.error(), (403, 10000), "{path}");
        }
    }
    let writer = door.issue(KeyScope::new([Permission::D1Write]).with_database("orders")).await;
    ask(&door, Some(&writer), Method::GET, SCHEMA, "").await.result();
}
