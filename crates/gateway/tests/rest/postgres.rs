//! D1's routes over a Postgres server, at the URL of `ISOBAR_POSTGRES_URL`: `cargo xtask postgres` starts one and runs these.

use std::sync::Arc;

use http::Method;
use isobar_db::{PostgresDatabase, PostgresOptions, QueryableExt};
use isobar_gateway::keys::{KeyScope, Permission};
use serde_json::{Value as Json, json};

use crate::door::Door;

/// A door over a database in a schema of its own, in which there is this table alone. Returns the path of its routes, too.
async fn door(schema: &str, table: &str) -> (Door, String) {
    let url =
        std::env::var("ISOBAR_POSTGRES_URL").expect("ISOBAR_POSTGRES_URL names a server: run cargo xtask postgres");
    let options = PostgresOptions::default().with_schema(schema);
    let database = PostgresDatabase::connect_with(&url, options).await.unwrap();
    database.run_script("DROP TABLE IF EXISTS t").await.unwrap();
    let door = Door::new().await;
    let info = door.catalog.insert_database("d", Arc::new(database));
    let path = format!("/d1/database/{}", info.id);
    let created = door.post(&format!("{path}/query"), json!({"sql": table})).await.result();
    assert_eq!((&created[0]["results"], &created[0]["meta"]["changed_db"]), (&json!([]), &json!(true)));
    (door, path)
}

/// The number of rows.
async fn count(door: &Door, path: &str) -> Json {
    let counted = door.post(&format!("{path}/query"), json!({"sql": "SELECT count(*) AS n FROM t"})).await.result();
    counted[0]["results"][0]["n"].clone()
}

#[tokio::test]
#[ignore = "needs a server: cargo xtask postgres"]
async fn query_and_raw_answer_as_over_sqlite() {
    let table = "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, size REAL, body BLOB)";
    let (door, path) = door("door_queries", table).await;
    let insert = "INSERT INTO t (id, name, size, body) VALUES (?, ?, ?, ?)";
    let rows = json!({"batch": [
        {"sql": insert, "params": [1, "a;b", 2.5, [0, 255]]},
        {"sql": insert, "params": [2, null, 0.5, null]},
    ]});
    let inserted = door.post(&format!("{path}/query"), rows).await.result();
    assert_eq!(inserted.as_array().unwrap().len(), 2);
    for result in inserted.as_array().unwrap() {
        let meta = &result["meta"];
        assert_eq!((&result["results"], &result["success"]), (&json!([]), &json!(true)));
        assert_eq!((&meta["changes"], &meta["changed_db"]), (&json!(1), &json!(true)));
        assert_eq!((&meta["served_by"], &meta["total_attempts"]), (&json!("postgres"), &json!(1)));
        assert!(meta["duration"].is_number() && meta["timings"]["sql_duration_ms"].is_number(), "{meta}");
        for absent in ["last_row_id", "rows_read", "rows_written"] {
            assert!(meta.get(absent).is_none(), "{absent} is not counted by Postgres: {meta}");
        }
    }

    let select = json!({"sql": "SELECT * FROM t WHERE id >= ? ORDER BY id", "params": [1]});
    let objects = door.post(&format!("{path}/query"), select.clone()).await.result();
    let first = json!({"id": 1, "name": "a;b", "size": 2.5, "body": [0, 255]});
    assert_eq!(objects[0]["results"], json!([first, {"id": 2, "name": null, "size": 0.5, "body": null}]));
    assert_eq!((&objects[0]["meta"]["changes"], &objects[0]["meta"]["changed_db"]), (&json!(0), &json!(false)));
    let raw = door.post(&format!("{path}/raw"), select).await.result();
    let rows = json!([[1, "a;b", 2.5, [0, 255]], [2, null, 0.5, null]]);
    assert_eq!(raw[0]["results"], json!({"columns": ["id", "name", "size", "body"], "rows": rows}));

    let several = json!({"sql": "DELETE FROM t WHERE id = 2; SELECT name FROM t WHERE size > ?", "params": [2]});
    let several = door.post(&format!("{path}/raw"), several).await.result();
    assert_eq!((&several[0]["meta"]["changes"], &several[1]["results"]["rows"]), (&json!(1), &json!([["a;b"]])));
    assert_eq!(door.get(&path).await.result()["num_tables"], 1);
}

#[tokio::test]
#[ignore = "needs a server: cargo xtask postgres"]
async fn refused_sql_is_400_with_code_7500_and_writes_nothing() {
    let (door, path) = door("door_refusals", "CREATE TABLE t (n INTEGER PRIMARY KEY)").await;
    door.post(&format!("{path}/query"), json!({"sql": "INSERT INTO t VALUES (1)"})).await.result();
    let twice = json!({"batch": [{"sql": "INSERT INTO t VALUES (2)"}, {"sql": "INSERT INTO t VALUES (1)"}]});
    for (body, words) in [
        (json!({"sql": "SELEC 1"}), "42601"),
        (json!({"sql": "SELECT * FROM missing"}), "missing"),
        (json!({"sql": "INSERT INTO t VALUES (1)"}), "UNIQUE constraint failed: t.n"),
        (twice, "UNIQUE constraint failed: t.n"),
        (json!({"sql": "INSERT INTO t VALUES (2); SELECT * FROM missing"}), "missing"),
        (json!({"sql": "SELECT * FROM t WHERE n = ?", "params": ["1"]}), "a text is not a number"),
        (json!({"sql": "SELECT ?", "params": []}), "Wrong number of parameter bindings"),
        (json!({"sql": "PRAGMA foreign_keys"}), "PRAGMA has no equivalent in Postgres"),
        (json!({"sql": "BEGIN; SELECT 1; COMMIT"}), "BEGIN TRANSACTION"),
    ] {
        for route in ["query", "raw"] {
            let answer = door.post(&format!("{path}/{route}"), body.clone()).await;
            assert_eq!(answer.error(), (400, 7500), "{body}");
            let message = answer.json()["errors"][0]["message"].to_string();
            assert!(message.contains(words), "{body}: {message}");
        }
    }
    assert_eq!(count(&door, &path).await, 1);
}

/// The first two look like reading, and Postgres itself refuses them.
#[tokio::test]
#[ignore = "needs a server: cargo xtask postgres"]
async fn reading_token_writes_nothing() {
    let (door, path) = door("door_readers", "CREATE TABLE t (n INTEGER PRIMARY KEY)").await;
    let reader = door.issue(KeyScope::new([Permission::D1Read])).await;
    for (sql, error) in [
        ("EXPLAIN ANALYZE INSERT INTO t VALUES (1)", (400, 7500)),
        ("SELECT nextval('t_n_seq')", (400, 7500)),
        ("INSERT INTO t VALUES (1)", (403, 10000)),
    ] {
        let body = json!({"sql": sql}).to_string();
        let answer = door.call_as(&reader, Method::POST, &format!("{path}/query"), body).await;
        assert_eq!(answer.error(), error, "{sql}");
    }
    assert_eq!(count(&door, &path).await, 0);
}
