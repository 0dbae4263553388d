//! Imports and exports.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Method, Request, StatusCode, header};
use isobar_db::mock::MockDatabase;
use isobar_db::{Operation, SqliteDatabase};
use isobar_gateway::keys::{KeyScope, NewKey, Permission};
use isobar_gateway::rest::RestOptions;
use md5::{Digest, Md5};
use serde_json::{Value as Json, json};
use tower::ServiceExt;

use crate::door::{Answer, Door};

fn etag(file: &[u8]) -> String {
    hex::encode(Md5::digest(file))
}

/// Begins an import. Returns the file's name and the path of its upload.
async fn begun(door: &Door, path: &str, etag: &str) -> (String, String) {
    let begun = door.post(&format!("{path}/import"), json!({"action": "init", "etag": etag})).await.result();
    let url = begun["upload_url"].as_str().unwrap().strip_prefix("http://isobar.test").unwrap().to_owned();
    (begun["filename"].as_str().unwrap().to_owned(), url)
}

/// Sends a file without a token.
async fn sent(door: &Door, url: &str, file: &[u8]) -> Answer {
    door.send(Request::put(url).body(file.to_vec().into()).unwrap()).await
}

/// Imports a file, and returns the last answer.
async fn imported(door: &Door, path: &str, file: &[u8]) -> Json {
    let etag = etag(file);
    let (filename, url) = begun(door, path, &etag).await;
    let uploaded = sent(door, &url, file).await;
    assert_eq!(uploaded.status, 200, "{uploaded:?}");
    assert_eq!(uploaded.headers[header::ETAG], *format!("\"{etag}\""));
    let ingest = json!({"action": "ingest", "etag": etag, "filename": filename});
    let mut answer = door.post(&format!("{path}/import"), ingest).await.result();
    while answer["status"] == "active" {
        let poll = json!({"action": "poll", "current_bookmark": answer["at_bookmark"]});
        answer = door.post(&format!("{path}/import"), poll).await.result();
    }
    answer
}

async fn rows(door: &Door, path: &str, sql: &str) -> Json {
    let raw = door.post(&format!("{path}/raw"), json!({"sql": sql})).await.result();
    raw[0]["results"]["rows"].clone()
}

/// Exports a database, and returns its script.
async fn exported(door: &Door, path: &str, options: Json) -> String {
    let mut body = json!({"output_format": "polling", "dump_options": options});
    let answer = loop {
        let answer = door.post(&format!("{path}/export"), body.clone()).await.result();
        if answer["status"] != "active" {
            break answer;
        }
        body["current_bookmark"] = answer["at_bookmark"].clone();
    };
    assert_eq!((&answer["success"], &answer["status"]), (&json!(true), &json!("complete")), "{answer}");
    let url = answer["result"]["signed_url"].as_str().unwrap().strip_prefix("http://isobar.test").unwrap().to_owned();
    let file = door.send(Request::get(url).body("".into()).unwrap()).await;
    assert_eq!(file.status, 200);
    String::from_utf8(file.body.to_vec()).unwrap()
}

#[tokio::test]
async fn import_runs_a_file_with_triggers_and_counts_its_statements() {
    let door = Door::new().await;
    let path = door.database("d").await;
    let file =
        b"BEGIN TRANSACTION;\nCREATE TABLE t (a);\nCREATE TABLE log (a);\nCREATE TRIGGER x AFTER INSERT ON t BEGIN\n  \
                 INSERT INTO log VALUES (new.a);\nEND;\nINSERT INTO t VALUES (1), (2); -- done\nCOMMIT;\n";
    let answer = imported(&door, &path, file).await;
    assert_eq!((&answer["success"], &answer["status"]), (&json!(true), &json!("complete")));
    assert_eq!((&answer["type"], &answer["result"]["num_queries"]), (&json!("import"), &json!(4)));
    assert!(answer["result"]["meta"]["duration"].is_number());
    assert!(answer["result"]["final_bookmark"].as_str().is_some_and(|bookmark| !bookmark.is_empty()));
    assert_eq!(rows(&door, &path, "SELECT a FROM log ORDER BY a").await, json!([[1], [2]]));
}

#[tokio::test]
async fn import_that_fails_half_way_has_written_nothing() {
    let door = Door::new().await;
    let path = door.database("d").await;
    for (file, words) in [
        (&b"CREATE TABLE t (a UNIQUE); INSERT INTO t VALUES (1); INSERT INTO t VALUES (1);"[..], "UNIQUE"),
        (b"CREATE TABLE t (a); SELEC", "syntax error"),
        (b"CREATE TABLE t (a); INSERT INTO t VALUES ('\xff')", "UTF-8"),
        (b"CREATE TABLE t (a); ATTACH 'x' AS y;", "not authorized"),
    ] {
        let answer = imported(&door, &path, file).await;
        assert_eq!((&answer["success"], &answer["status"]), (&json!(false), &json!("error")), "{answer}");
        assert!(answer["error"].as_str().unwrap().contains(words), "{answer}");
        assert_eq!(rows(&door, &path, "SELECT name FROM sqlite_schema").await, json!([]), "{words}");
    }
}

#[tokio::test]
async fn repeated_ingest_runs_the_file_once() {
    let door = Door::new().await;
    let path = door.database("d").await;
    rows(&door, &path, "CREATE TABLE t (a)").await;
    let file = b"INSERT INTO t VALUES (1);";
    let etag = etag(file);
    let (filename, url) = begun(&door, &path, &etag).await;
    sent(&door, &url, file).await;
    let ingest = json!({"action": "ingest", "etag": etag, "filename": filename});
    for _ in 0..3 {
        let answer = door.post(&format!("{path}/import"), ingest.clone()).await.result();
        assert_eq!(answer["status"], "complete");
    }
    assert_eq!(rows(&door, &path, "SELECT count(*) FROM t").await, json!([[1]]));
    assert_eq!(sent(&door, &url, file).await.error(), (400, 7400), "the import has been started");
}

#[tokio::test]
async fn wrong_steps_of_an_import_are_refused() {
    let door = Door::new().await;
    let path = door.database("d").await;
    let other = door.database("other").await;
    let file = b"CREATE TABLE t (a);";
    let etag = etag(file);
    let (filename, url) = begun(&door, &path, &etag).await;
    let ingest = json!({"action": "ingest", "etag": etag, "filename": filename});
    assert_eq!(door.post(&format!("{path}/import"), ingest.clone()).await.error(), (400, 7400), "no file yet");
    assert_eq!(sent(&door, &url, b"another file").await.error(), (400, 7400), "another MD5");
    assert_eq!(sent(&door, &url[..url.len() - 1], file).await.error(), (404, 7400), "another id");
    sent(&door, &url, file).await;
    assert_eq!(door.post(&format!("{other}/import"), ingest).await.error(), (404, 7400), "another database");
    let wrong = json!({"action": "ingest", "etag": "0", "filename": filename});
    assert_eq!(door.post(&format!("{path}/import"), wrong).await.error(), (400, 7400));
    let poll = json!({"action": "poll", "current_bookmark": "nothing"});
    assert_eq!(door.post(&format!("{path}/import"), poll).await.error(), (404, 7400));
    assert_eq!(door.post(&format!("{path}/import"), json!({"action": "destroy"})).await.error(), (400, 7400));
    let downloaded = door.send(Request::get(url.replace("uploads", "downloads")).body("".into()).unwrap()).await;
    assert_eq!(downloaded.error(), (404, 7400), "a file that was uploaded cannot be read");
}

#[tokio::test]
async fn urls_of_files_end_with_the_key_that_began_them() {
    let door = Door::new().await;
    let path = door.database("d").await;
    let issued = door.keys.create(NewKey::new("guest", KeyScope::new([Permission::D1Write]))).await.unwrap();
    let asked = async |path: String, body: Json| {
        let answer = door.call_as(issued.token(), Method::POST, &path, body.to_string()).await.result();
        let url = answer["upload_url"].as_str().or(answer["result"]["signed_url"].as_str()).unwrap();
        url.strip_prefix("http://isobar.test").unwrap().to_owned()
    };
    let file = b"CREATE TABLE t (a);";
    let upload = asked(format!("{path}/import"), json!({"action": "init", "etag": etag(file)})).await;
    let download = asked(format!("{path}/export"), json!({"output_format": "polling"})).await;
    let downloaded = async || door.send(Request::get(&download).body(Body::empty()).unwrap()).await;
    assert_eq!((sent(&door, &upload, file).await.status, downloaded().await.status), (StatusCode::OK, StatusCode::OK));
    door.keys.revoke(&issued.key.id).await.unwrap();
    assert_eq!(sent(&door, &upload, file).await.error(), (404, 7400));
    assert_eq!(downloaded().await.error(), (404, 7400));
    let events = door.events.points();
    assert!(String::from_utf8_lossy(events.last().unwrap().blob(5)).contains("revoked"), "{}", events.len());
}

#[tokio::test]
async fn files_over_the_limits_are_refused() {
    let options = RestOptions::default().with_import_bytes(100).with_transfer_bytes(150);
    let door = Door::with(options, Vec::new()).await;
    let path = door.database("d").await;
    let file = vec![b' '; 101];
    let (_, url) = begun(&door, &path, &etag(&file)).await;
    assert_eq!(sent(&door, &url, &file).await.error(), (413, 7400));
    for (size, expected) in [(100, 200), (60, 400)] {
        let file = vec![b' '; size];
        let (_, url) = begun(&door, &path, &etag(&file)).await;
        assert_eq!(sent(&door, &url, &file).await.status.as_u16(), expected, "{size}");
    }
    rows(&door, &path, &format!("CREATE TABLE t (a DEFAULT '{}')", "x".repeat(100))).await;
    let answer = door.post(&format!("{path}/export"), json!({"output_format": "polling"})).await.result();
    assert_eq!((&answer["success"], &answer["status"]), (&json!(false), &json!("error")), "{answer}");
}

const SCHEMA: &str = r#"CREATE TABLE "we ird" (id INTEGER PRIMARY KEY AUTOINCREMENT, "a""b" TEXT, twice AS (id * 2), real REAL, body BLOB);
CREATE TABLE parent (id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE child (parent TEXT REFERENCES parent (id));
CREATE VIEW v AS SELECT * FROM child;
CREATE INDEX i ON child (parent);
CREATE TRIGGER x INSTEAD OF INSERT ON v BEGIN INSERT INTO child VALUES (new.parent); END;
INSERT INTO "we ird" (id, "a""b", real, body) VALUES (9, 'it''s' || char(0) || char(10) || 'é', 0.1, x'00ff'),
 (10, NULL, 9e999, NULL), (11, '', -1.5e-300, x''), (12, char(0), 3.0, 1);
INSERT INTO parent VALUES ('p'); INSERT INTO child VALUES ('p');
CREATE TABLE big (a); INSERT INTO big VALUES (9223372036854775807), (-9223372036854775808), (9007199254740993), ('1'), (1.0);"#;

#[tokio::test]
async fn export_is_lossless() {
    let door = Door::new().await;
    let from = door.database("from").await;
    let to = door.database("to").await;
    let answer = imported(&door, &from, SCHEMA.as_bytes()).await;
    assert_eq!(answer["status"], "complete", "{answer}");
    let script = exported(&door, &from, json!({})).await;
    let answer = imported(&door, &to, script.as_bytes()).await;
    assert_eq!(answer["status"], "complete", "{answer}\n{script}");
    assert_eq!(exported(&door, &to, json!({})).await, script);
    for sql in [
        "SELECT id, \"a\"\"b\", twice, real, hex(body), typeof(body), hex(\"a\"\"b\") FROM \"we ird\" ORDER BY id",
        "SELECT type, name FROM sqlite_schema ORDER BY 1, 2",
        "SELECT quote(a), typeof(a) FROM big",
        "SELECT * FROM sqlite_sequence",
    ] {
        assert_eq!(rows(&door, &to, sql).await, rows(&door, &from, sql).await, "{sql}");
    }
    rows(&door, &to, "INSERT INTO v VALUES ('p')").await;
    assert_eq!(rows(&door, &to, "SELECT count(*) FROM child").await, json!([[2]]), "the trigger runs");
}

#[tokio::test]
async fn options_of_an_export_leave_out_what_they_say() {
    let door = Door::new().await;
    let path = door.database("d").await;
    imported(&door, &path, SCHEMA.as_bytes()).await;
    let schema = exported(&door, &path, json!({"no_data": true})).await;
    assert!(schema.contains("CREATE TABLE parent") && !schema.contains("INSERT INTO \"parent\""), "{schema}");
    let data = exported(&door, &path, json!({"no_schema": true})).await;
    assert!(!data.contains("CREATE") && data.contains("INSERT INTO \"parent\""), "{data}");
    let all = exported(&door, &path, json!({"tables": []})).await;
    assert_eq!(all, exported(&door, &path, json!({})).await, "wrangler sends an empty list for every table");
    let one = exported(&door, &path, json!({"tables": ["child"]})).await;
    assert!(one.contains("CREATE INDEX i") && !one.contains("CREATE TABLE parent"), "{one}");
    assert!(!one.contains("sqlite_sequence"), "{one}");
    let neither = json!({"output_format": "polling", "dump_options": {"no_data": true, "no_schema": true}});
    assert_eq!(door.post(&format!("{path}/export"), neither).await.error(), (400, 7400));
}

#[tokio::test]
async fn export_of_what_is_hard_to_write_is_lossless() {
    let door = Door::new().await;
    let from = door.database("from").await;
    let to = door.database("to").await;
    let schema = b"CREATE TABLE t (a);\nCREATE VIEW v AS SELECT a FROM t -- the end\n;\n\
                   CREATE TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; END -- the end\n;\n\
                   CREATE VIRTUAL TABLE search USING fts5 (text);\nINSERT INTO search VALUES ('some words');\n\
                   INSERT INTO t VALUES ('a' || char(0, 13, 10, 39) || 'b'), ('c' || char(13)), (x'000d');\n";
    assert_eq!(imported(&door, &from, schema).await["status"], "complete");
    let script = exported(&door, &from, json!({})).await;
    let answer = imported(&door, &to, script.as_bytes()).await;
    assert_eq!(answer["status"], "complete", "{answer}\n{script}");
    for sql in [
        "SELECT hex(a), typeof(a) FROM v",
        "SELECT type, name FROM sqlite_schema ORDER BY 1, 2",
        "SELECT text FROM search WHERE search = 'words'",
    ] {
        assert_eq!(rows(&door, &to, sql).await, rows(&door, &from, sql).await, "{sql}");
    }
    let wrong = door.call(Method::POST, &format!("{from}/export"), r#"{"output_format": "file"}"#).await;
    assert_eq!(wrong.error(), (400, 7400));
    let missing = json!({"output_format": "polling", "dump_options": {"tables": ["nothing"]}});
    let answer = door.post(&format!("{from}/export"), missing).await.result();
    assert_eq!((&answer["status"], &answer["error"]), (&json!("error"), &json!("no such table: nothing")));
}

#[tokio::test]
async fn uploads_share_the_room_while_they_come() {
    let options = RestOptions::default().with_import_bytes(100).with_transfer_bytes(150);
    let door = Door::with(options, Vec::new()).await;
    let path = door.database("d").await;
    let file = vec![b' '; 100];
    let (_, url) = begun(&door, &path, &etag(&file)).await;
    let (asks_for_more, asked_for_more) = tokio::sync::oneshot::channel();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let first = stream::iter([Ok::<_, Infallible>(Bytes::from(file))]);
    let chunks = first.chain(stream::once(async move {
        asks_for_more.send(()).unwrap();
        drop(ended.await);
        Ok(Bytes::new())
    }));
    let request = Request::put(url).body(Body::from_stream(chunks)).unwrap();
    let slow = tokio::spawn(door.router.clone().oneshot(request));
    asked_for_more.await.unwrap(); // so the first chunk is in its file
    let other = vec![b' '; 60];
    let (_, url) = begun(&door, &path, &etag(&other)).await;
    assert_eq!(sent(&door, &url, &other).await.error(), (400, 7500), "100 bytes are there, though not all has come");
    drop(end);
    assert_eq!(slow.await.unwrap().unwrap().status(), 200);
    assert_eq!(sent(&door, &url, &other).await.error(), (400, 7500));
}

#[tokio::test]
async fn import_that_runs_counts_for_its_file_and_the_copy_of_the_database() {
    let options = RestOptions::default().with_import_bytes(100).with_transfer_bytes(150);
    let door = Door::with(options, Vec::new()).await;
    let mock = MockDatabase::new(SqliteDatabase::memory().await.unwrap());
    let path = format!("/d1/database/{}", door.catalog.insert_database("d", Arc::new(mock.clone())).id);
    let held = mock.script().hold_next(Operation::Import);
    let file = format!("CREATE TABLE t (a); -- {}", "x".repeat(36)).into_bytes();
    let (filename, url) = begun(&door, &path, &etag(&file)).await;
    sent(&door, &url, &file).await;
    let ingest = json!({"action": "ingest", "etag": etag(&file), "filename": filename});
    let mut answer = door.post(&format!("{path}/import"), ingest).await.result();
    assert_eq!(answer["status"], "active", "{answer}");
    let (_, other) = begun(&door, &path, &etag(&file)).await;
    assert_eq!(sent(&door, &other, &file).await.error(), (400, 7500), "twice 60 bytes are taken");
    held.release();
    while answer["status"] == "active" {
        let poll = json!({"action": "poll", "current_bookmark": answer["at_bookmark"]});
        answer = door.post(&format!("{path}/import"), poll).await.result();
    }
    assert_eq!(answer["status"], "complete", "{answer}");
    assert_eq!(sent(&door, &other, &file).await.status, 200, "an import that has ended takes no room");
}

#[tokio::test]
async fn etag_that_is_no_md5_is_refused() {
    let door = Door::new().await;
    let path = door.database("d").await;
    for etag in [String::new(), "x".repeat(32), "0".repeat(31), "0".repeat(1 << 20)] {
        let begun = door.post(&format!("{path}/import"), json!({"action": "init", "etag": etag})).await;
        assert_eq!(begun.error(), (400, 7400));
    }
}
