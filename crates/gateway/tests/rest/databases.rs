//! Databases: the catalog, queries, and what is refused.

use std::sync::Arc;

use http::Method;
use isobar_db::mock::MockDatabase;
use isobar_db::{Error, ErrorKind, HistoryOptions, Operation, SqliteDatabase, SqliteOptions};
use isobar_gateway::keys::{KeyScope, Permission};
use isobar_gateway::rest::RestOptions;
use serde_json::{Value as Json, json};

use crate::door::Door;

#[tokio::test]
async fn databases_are_created_listed_found_and_deleted() {
    let door = Door::new().await;
    let created = door.post("/d1/database", json!({"name": "orders"})).await.result();
    let id = created["uuid"].as_str().unwrap();
    assert_eq!((&created["name"], &created["num_tables"]), (&json!("orders"), &json!(0)));
    assert!(created["file_size"].as_u64().is_some());
    assert_eq!(door.post("/d1/database", json!({"name": "orders"})).await.error(), (400, 7502));
    for name in ["orders-2", "users"] {
        door.post("/d1/database", json!({"name": name})).await.result();
    }
    let names = |answer: Json| answer.as_array().unwrap().iter().map(|one| one["name"].clone()).collect::<Vec<_>>();
    assert_eq!(names(door.get("/d1/database").await.result()), ["orders", "orders-2", "users"]);
    assert_eq!(names(door.get("/d1/database?name=orders").await.result()), ["orders", "orders-2"]);
    for path in [format!("/d1/database/{id}"), "/d1/database/orders".to_owned()] {
        assert_eq!(door.get(&path).await.result()["uuid"], id);
    }
    let fields = door.get("/d1/database/orders?fields=uuid,name").await.result();
    assert_eq!(fields, json!({"uuid": id, "name": "orders"}));
    assert_eq!(door.call(Method::DELETE, &format!("/d1/database/{id}"), "").await.result(), Json::Null);
    assert_eq!(door.get(&format!("/d1/database/{id}")).await.error(), (404, 7404));
    assert_eq!(door.call(Method::DELETE, &format!("/d1/database/{id}"), "").await.error(), (404, 7404));
}

#[tokio::test]
async fn page_behind_the_end_is_empty() {
    let door = Door::new().await;
    for name in ["a", "b", "c"] {
        door.database(name).await;
    }
    let page = door.get("/d1/database?per_page=2&page=2").await;
    assert_eq!(page.result().as_array().unwrap().len(), 1);
    let info = &page.json()["result_info"];
    assert_eq!(*info, json!({"page": 2, "per_page": 2, "count": 1, "total_count": 3, "total_pages": 2}));
    assert_eq!(door.get("/d1/database?page=2").await.result(), json!([]));
    assert_eq!(door.get("/d1/database?page=99999999999999").await.result(), json!([]));
    for wrong in ["page=0", "page=x", "per_page=-1", "page=99999999999999999999999"] {
        assert_eq!(door.get(&format!("/d1/database?{wrong}")).await.error(), (400, 7400), "{wrong}");
    }
    assert_eq!(door.get("/client/v4/accounts?page=2").await.result(), json!([]));
    assert_eq!(door.get("/client/v4/memberships?page=2").await.result(), json!([]));
}

#[tokio::test]
async fn query_answers_objects_and_raw_arrays() {
    let door = Door::new().await;
    let path = door.database("d").await;
    let sql = "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, size REAL, body BLOB);
               INSERT INTO t (name, size, body) VALUES ('a;b', 2.0, x'00ff'), (NULL, 0.5, NULL)";
    let results = door.post(&format!("{path}/query"), json!({"sql": sql})).await.result();
    assert_eq!(results.as_array().unwrap().len(), 2);
    assert_eq!((&results[1]["results"], &results[1]["success"]), (&json!([]), &json!(true)));
    assert_eq!((&results[1]["meta"]["changes"], &results[1]["meta"]["last_row_id"]), (&json!(2), &json!(2)));
    for field in ["duration", "timings", "changed_db", "size_after", "served_by"] {
        assert!(!results[1]["meta"][field].is_null(), "{field}");
    }

    let select = json!({"sql": "SELECT * FROM t WHERE id >= ? ORDER BY id", "params": ["1"]});
    let rows = door.post(&format!("{path}/query"), select.clone()).await.result();
    let first = json!({"id": 1, "name": "a;b", "size": 2, "body": [0, 255]});
    assert_eq!(rows[0]["results"], json!([first, {"id": 2, "name": null, "size": 0.5, "body": null}]));
    let raw = door.post(&format!("{path}/raw"), select).await.result();
    let rows = json!([[1, "a;b", 2, [0, 255]], [2, null, 0.5, null]]);
    assert_eq!(raw[0]["results"], json!({"columns": ["id", "name", "size", "body"], "rows": rows}));
    let twice = door.post(&format!("{path}/raw"), json!({"sql": "SELECT 1 AS a, 2 AS a"})).await.result();
    assert_eq!(twice[0]["results"], json!({"columns": ["a", "a"], "rows": [[1, 2]]}));
}

#[tokio::test]
async fn batch_is_all_or_nothing_with_a_result_for_each_statement() {
    let door = Door::new().await;
    let path = door.database("d").await;
    door.post(&format!("{path}/query"), json!({"sql": "CREATE TABLE t (a UNIQUE)"})).await.result();
    let insert = |value: Json| json!({"sql": "INSERT INTO t VALUES (?)", "params": [value]});
    let batch = json!({"batch": [insert(json!(1)), insert(json!("x")), {"sql": "SELECT count(*) AS n FROM t"}]});
    let results = door.post(&format!("{path}/query"), batch).await.result();
    assert_eq!((results.as_array().unwrap().len(), &results[2]["results"]), (3, &json!([{"n": 2}])));
    let several = json!({"sql": "SELECT 1 AS n; SELECT count(*) + ? AS n FROM t", "params": [40]});
    let results = door.post(&format!("{path}/query"), json!({"batch": [several, {"sql": "SELECT 7 AS n"}]})).await;
    let rows: Vec<_> = results.result().as_array().unwrap().iter().map(|result| result["results"].clone()).collect();
    assert_eq!(rows, [json!([{"n": 42}]), json!([{"n": 7}])], "one result for each query, that of its last statement");
    let failing = json!({"batch": [insert(json!(2)), insert(json!(1))]});
    assert_eq!(door.post(&format!("{path}/query"), failing).await.error(), (400, 7500));
    let several = json!({"sql": "INSERT INTO t VALUES (3); INSERT INTO t VALUES (1)"});
    assert_eq!(door.post(&format!("{path}/query"), several).await.error(), (400, 7500));
    let count = door.post(&format!("{path}/query"), json!({"sql": "SELECT count(*) AS n FROM t"})).await.result();
    assert_eq!(count[0]["results"], json!([{"n": 2}]), "nothing is half-written");
}

#[tokio::test]
async fn refused_sql_is_400_with_code_7500() {
    let door = Door::new().await;
    let path = door.database("d").await;
    let too_many: Vec<u32> = (0..101).collect();
    let marks = vec!["?"; 101].join(",");
    for (body, words) in [
        (json!({"sql": "SELEC 1"}), "syntax error"),
        (json!({"sql": "SELECT * FROM missing"}), "no such table: missing"),
        (json!({"sql": ""}), "No SQL statements detected"),
        (json!({"sql": "-- nothing"}), "No SQL statements detected"),
        (json!({"batch": []}), "No SQL statements detected"),
        (json!({"sql": "BEGIN; SELECT 1; COMMIT"}), ""),
        (json!({"sql": "ATTACH 'x' AS y"}), "not authorized"),
        (json!({"sql": "PRAGMA journal_mode = DELETE"}), "not authorized"),
        (json!({"sql": "SELECT ?", "params": []}), "parameter"),
        (json!({"sql": "SELECT ?", "params": [{"a": 1}]}), "D1_TYPE_ERROR"),
        (json!({"sql": format!("SELECT {marks}"), "params": too_many}), ""),
        (json!({"sql": format!("SELECT '{}'", "x".repeat(100_001))}), ""),
    ] {
        let answer = door.post(&format!("{path}/query"), body.clone()).await;
        let shown: String = body.to_string().chars().take(80).collect();
        assert_eq!(answer.error(), (400, 7500), "{shown}");
        let message = answer.json()["errors"][0]["message"].as_str().unwrap().to_owned();
        assert!(message.contains(words), "{shown}: {message}");
    }
}

#[tokio::test]
async fn malformed_bodies_are_400_with_code_7400() {
    let door = Door::new().await;
    let path = door.database("d").await;
    for body in [
        "",
        "{",
        "[]",
        "{}",
        "null",
        "{\"sql\": 1}",
        "{\"sql\": \"SELECT 1\", \"batch\": []}",
        "{\"params\": []}",
        "\u{0}",
    ] {
        let answer = door.call(Method::POST, &format!("{path}/query"), body).await;
        assert_eq!(answer.error(), (400, 7400), "{body}");
    }
    let big = format!("{{\"sql\": \"SELECT '{}'\"}}", "x".repeat(9 << 20));
    assert_eq!(door.call(Method::POST, &format!("{path}/query"), big).await.error(), (413, 7400));
}

#[tokio::test]
async fn reading_token_runs_no_statement_that_writes() {
    let door = Door::new().await;
    let path = door.database("d").await;
    door.post(&format!("{path}/query"), json!({"sql": "CREATE TABLE t (a)"})).await.result();
    let reader = door.issue(KeyScope::new([Permission::D1Read])).await;
    let query = async |sql: &str| {
        door.call_as(&reader, Method::POST, &format!("{path}/query"), json!({"sql": sql}).to_string()).await
    };
    query("SELECT * FROM t").await.result();
    for sql in [
        "INSERT INTO t VALUES (1)",
        "SELECT 1; DELETE FROM t",
        "WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x",
        "PRAGMA foreign_keys = OFF",
        "SELECT * FROM pragma_optimize",
        "CREATE TABLE u (a)",
        "/* SELECT */ DROP TABLE t",
        "EXPLAIN SELECT 1; DROP TABLE t",
    ] {
        assert_eq!(query(sql).await.error(), (403, 10000), "{sql}");
    }
    // What only SQLite sees: a view that writes statistics.
    let view =
        "CREATE VIEW v AS SELECT * FROM pragma_optimize('0x10002'); INSERT INTO t VALUES (1); CREATE INDEX i ON t (a)";
    door.post(&format!("{path}/query"), json!({"sql": view})).await.result();
    assert_eq!(query("SELECT * FROM v").await.error(), (400, 7500));
    let statistics = json!({"sql": "SELECT count(*) AS n FROM sqlite_schema WHERE name = 'sqlite_stat1'"});
    let statistics = door.post(&format!("{path}/query"), statistics).await.result();
    assert_eq!(statistics[0]["results"], json!([{"n": 0}]));
    door.post(&format!("{path}/query"), json!({"sql": "DELETE FROM t"})).await.result();
    for route in ["import", "time_travel/restore"] {
        let answer = door.call_as(&reader, Method::POST, &format!("{path}/{route}"), "{}").await;
        assert_eq!(answer.error(), (403, 10000), "{route}");
    }
    let rows = door.post(&format!("{path}/query"), json!({"sql": "SELECT count(*) AS n FROM t"})).await.result();
    assert_eq!(rows[0]["results"], json!([{"n": 0}]));
}

#[tokio::test]
async fn rows_of_an_answer_are_bounded() {
    let door = Door::with(RestOptions::default().with_result_bytes(1000), Vec::new()).await;
    let path = door.database("d").await;
    let query = async |sql: &str| door.post(&format!("{path}/query"), json!({"sql": sql})).await;
    query("SELECT zeroblob(900)").await.result();
    for sql in [
        "SELECT zeroblob(2000000), zeroblob(2000000)",
        "SELECT zeroblob(600); SELECT zeroblob(600)",
        "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n) SELECT n FROM n",
    ] {
        let answer = query(sql).await;
        assert_eq!(answer.error(), (400, 7500), "{sql}");
        let message = answer.json()["errors"][0]["message"].as_str().unwrap().to_owned();
        assert!(message.contains("more than 1000 bytes"), "{message}");
    }
}

#[tokio::test]
async fn failed_write_is_never_a_status_that_sdks_repeat() {
    let door = Door::new().await;
    let mock = MockDatabase::new(SqliteDatabase::memory().await.unwrap());
    let info = door.catalog.insert_database("d", Arc::new(mock.clone()));
    let path = format!("/d1/database/{}/query", info.id);
    for kind in [ErrorKind::Unavailable, ErrorKind::StorageFull, ErrorKind::Internal] {
        mock.script().fail_next(Operation::Query, Error::new(kind, "the network broke"));
        assert_eq!(door.post(&path, json!({"sql": "CREATE TABLE t (a)"})).await.error(), (400, 7500));
    }
    mock.script().fail_next(Operation::Query, Error::new(ErrorKind::Unavailable, "busy"));
    assert_eq!(door.post(&path, json!({"sql": "SELECT 1"})).await.error(), (503, 7500), "a read may be repeated");
}

#[tokio::test]
async fn time_travel_without_a_history_answers_the_current_bookmark_alone() {
    let door = Door::new().await;
    let path = door.database("d").await;
    let bookmark = door.get(&format!("{path}/time_travel/bookmark")).await.result();
    assert!(bookmark["bookmark"].as_str().is_some_and(|bookmark| !bookmark.is_empty()));
    let past = door.get(&format!("{path}/time_travel/bookmark?timestamp=2026-01-01T00:00:00Z")).await;
    assert_eq!(past.error(), (400, 7500));
    let restore = door.post(&format!("{path}/time_travel/restore?bookmark=0"), json!({})).await;
    assert_eq!(restore.error(), (400, 7500));
}

#[tokio::test]
async fn time_travel_restores_a_bookmark_or_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteOptions::default().with_history(HistoryOptions::default());
    let database = SqliteDatabase::open_with(folder.path().join("d.sqlite"), options).await.unwrap();
    let door = Door::new().await;
    let info = door.catalog.insert_database("d", Arc::new(database));
    let path = format!("/d1/database/{}", info.id);
    let query = async |sql: &str| door.post(&format!("{path}/query"), json!({"sql": sql})).await.result();
    query("CREATE TABLE t (n); INSERT INTO t VALUES (1)").await;
    let one = door.get(&format!("{path}/time_travel/bookmark")).await.result();
    let one = one["bookmark"].as_str().unwrap();
    let time = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
    query("INSERT INTO t VALUES (2)").await;
    let then = door.get(&format!("{path}/time_travel/bookmark?timestamp={time}")).await.result();
    assert_eq!(then["bookmark"], one);
    let restored = door.post(&format!("{path}/time_travel/restore?bookmark={one}"), json!({})).await.result();
    assert_eq!(query("SELECT n FROM t").await[0]["results"], json!([{"n": 1}]));
    assert!(restored["bookmark"].as_str().unwrap() > restored["previous_bookmark"].as_str().unwrap());
    let undo = restored["previous_bookmark"].as_str().unwrap();
    door.post(&format!("{path}/time_travel/restore?bookmark={undo}"), json!({})).await.result();
    assert_eq!(query("SELECT n FROM t").await[0]["results"], json!([{"n": 1}, {"n": 2}]));
    door.post(&format!("{path}/time_travel/restore?timestamp={time}"), json!({})).await.result();
    assert_eq!(query("SELECT n FROM t").await[0]["results"], json!([{"n": 1}]));
    for wrong in ["", "?bookmark=zzz", "?timestamp=yesterday", &format!("?bookmark={one}&timestamp={time}")] {
        let refused = door.post(&format!("{path}/time_travel/restore{wrong}"), json!({})).await;
        assert_eq!(refused.error(), (400, 7500), "{wrong}");
    }
}

#[tokio::test]
async fn replicas_and_jurisdictions_are_refused() {
    let door = Door::new().await;
    let mode = |mode: &str| json!({"read_replication": {"mode": mode}});
    for body in [json!({"name": "a", "jurisdiction": "eu"}), json!({"name": "a", "read_replication": {"mode": "auto"}})]
    {
        assert_eq!(door.post("/d1/database", body.clone()).await.error(), (400, 7400), "{body}");
    }
    let body = json!({"name": "a", "primary_location_hint": "weur", "read_replication": {"mode": "disabled"}});
    let id = door.post("/d1/database", body).await.result()["uuid"].as_str().unwrap().to_owned();
    let path = format!("/d1/database/{id}");
    for method in [Method::PUT, Method::PATCH] {
        let edited = door.call(method.clone(), &path, mode("disabled").to_string()).await.result();
        assert_eq!((&edited["uuid"], &edited["read_replication"]), (&json!(id), &json!({"mode": "disabled"})));
        assert_eq!(door.call(method.clone(), &path, "{}").await.result()["uuid"], id);
        assert_eq!(door.call(method.clone(), &path, mode("auto").to_string()).await.error(), (400, 7400));
        assert_eq!(door.call(method.clone(), "/d1/database/none", "{}").await.error(), (404, 7404));
        let bound = door.issue(KeyScope::new([Permission::D1Write]).with_database("a")).await;
        assert_eq!(door.call_as(&bound, method, &path, "{}").await.error(), (403, 10000));
    }
}
