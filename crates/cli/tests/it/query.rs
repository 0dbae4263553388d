//! `isobar analytics` on datasets that another process has written.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;

use isobar_analytics::local::LocalSink;
use isobar_analytics::{DataPoint, EventSink};

use crate::{folder, ok, refused, run};

#[tokio::test]
async fn datasets_are_listed_and_queried_in_each_format() {
    let folder = folder();
    let here = folder.path();
    assert_eq!(ok(here, &["analytics", "tables"]).lines().count(), 2, "the heading alone");
    let sink = LocalSink::open(here.join(".isobar/analytics/visits")).unwrap();
    for (page, seconds) in [("/home", 1.5), ("/about", 2.5), ("/home", 2.0)] {
        sink.write(DataPoint::new().with_index("tenant-1").with_blob(page).with_double(seconds));
    }
    sink.close().await.unwrap();
    let tables = ok(here, &["analytics", "tables"]);
    assert!(tables.starts_with("name    log bytes  segments  bytes  archived  bytes  archive\n"), "{tables}");
    assert!(tables.lines().count() == 3 && tables.lines().last().unwrap().starts_with("visits  "), "{tables}");
    let sql = "SELECT blob1 AS page, count() AS n, sum(double1) AS s FROM visits GROUP BY page ORDER BY n DESC";
    let query = |more: &[&str]| ok(here, &[&["analytics", "query", sql][..], more].concat());
    assert_eq!(query(&[]), "page    n  s\n------  -  ---\n/home   2  3.5\n/about  1  2.5\n");
    assert_eq!(query(&["--format", "TabSeparated"]), "/home\t2\t3.5\n/about\t1\t2.5\n");
    assert!(query(&["--json"]).starts_with("{\n\t\"meta\":"));
    let by_clause = ok(here, &["analytics", "query", &format!("{sql} LIMIT 1 FORMAT JSONEachRow")]);
    assert_eq!(by_clause, "{\"page\":\"\\/home\",\"n\":\"2\",\"s\":3.5}\n");
    let bars = query(&["--chart"]);
    assert!(bars.starts_with("/home 2   ████") && bars.lines().nth(1).unwrap().ends_with("▊ 2.5"), "{bars}");
    let plan = query(&["--explain"]);
    assert!(
        plan.starts_with("select page: String, n: UInt64, s: Float64\n")
            && plan.ends_with("scan visits: blob1, double1\n"),
        "{plan}"
    );
    let parameter =
        &["analytics", "query", "SELECT count() AS n FROM visits WHERE blob1 = $1", "--param", "' OR 1=1 --"];
    assert_eq!(ok(here, parameter), "n\n-\n0\n");
}

#[tokio::test]
async fn columns_are_called_by_the_names_of_a_schema_file() {
    let folder = folder();
    let here = folder.path();
    let sink = LocalSink::open(here.join(".isobar/analytics/visits")).unwrap();
    sink.write(DataPoint::new().with_index("tenant-1").with_blob("/home").with_double(1.5));
    sink.close().await.unwrap();
    let schema = r#"{"dataset": "visits", "index": "tenant", "blobs": ["page"], "doubles": ["seconds"]}"#;
    std::fs::create_dir(here.join("schemas")).unwrap();
    std::fs::write(here.join("schemas/visits.json"), schema).unwrap();
    let sql = "SELECT page, sum(seconds) AS s FROM visits WHERE tenant = $1 GROUP BY page";
    let query = &["analytics", "query", sql, "--param", "tenant-1"];
    assert_eq!(ok(here, query), "page   s\n-----  ---\n/home  1.5\n");
    std::fs::rename(here.join("schemas/visits.json"), here.join("other.json")).unwrap();
    assert!(refused(here, query).contains("unknown column tenant"));
    assert_eq!(ok(here, &[&query[..], &["--schema", "other.json"]].concat()), "page   s\n-----  ---\n/home  1.5\n");
    std::fs::write(here.join("schemas/visits.json"), schema.replace("visits", "other")).unwrap();
    let told = refused(here, query);
    assert!(told.contains("schemas/visits.json: the file is the schema of the dataset other"), "{told}");
    std::fs::write(here.join("schemas/visits.json"), "{").unwrap();
    assert!(refused(here, query).contains("schemas/visits.json: EOF while parsing"));
}

#[test]
fn an_invalid_query_names_its_place() {
    let folder = folder();
    let told = refused(folder.path(), &["analytics", "query", "SELECT nope FROM visits"]);
    let place =
        "error: query: line 1, column 8: unknown column nope; a dataset has dataset, timestamp, _sample_interval, ";
    assert!(told.ends_with(&format!("{place}index1, blob1 to blob20 and double1 to double20\n")), "{told}");
    let told = refused(folder.path(), &["analytics", "query", "SELECT 1 FROM visits"]);
    assert!(told.ends_with("error: scan: there is no dataset visits; there are none\n"), "{told}");
    assert!(!run(folder.path(), &["analytics", "query", "SELECT 1", "--format", "CSV"]).status.success());
}

#[test]
fn query_is_answered_by_a_clickhouse_server() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"FROM visits") {
            let mut chunk = [0; 4096];
            let read = stream.read(&mut chunk).unwrap();
            assert!(read > 0, "{}", String::from_utf8_lossy(&request));
            request.extend_from_slice(&chunk[..read]);
        }
        let body = r#"{"meta": [{"name": "n", "type": "UInt64"}], "data": [["3"]], "rows": 1}"#;
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len()).unwrap();
        String::from_utf8(request).unwrap()
    });
    let folder = folder();
    let mut command = Command::new(env!("CARGO_BIN_EXE_isobar"));
    command.args(["analytics", "query", "SELECT count() AS n FROM visits", "--json", "--clickhouse", &url]);
    command.env("CLICKHOUSE_USER", "reader").env("CLICKHOUSE_PASSWORD", "secret").env("CLICKHOUSE_DATABASE", "events");
    let output = command.current_dir(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["data"][0]["n"], "3");
    let request = server.join().unwrap().to_lowercase();
    assert!(request.starts_with("post /?database=events&"), "{request}");
    assert!(
        request.contains("\r\nx-clickhouse-user: reader\r\n") && request.contains("\r\nx-clickhouse-key: secret\r\n")
    );
}

#[test]
fn url_with_a_password_is_refused_and_not_printed() {
    let folder = folder();
    let query = ["analytics", "query", "SELECT 1", "--clickhouse", "http://reader:secret@127.0.0.1:8123"];
    let error = refused(folder.path(), &query);
    assert!(error.contains("give user and password as credentials") && !error.contains("secret"), "{error}");
    let both = ["analytics", "query", "SELECT 1", "--remote", "--clickhouse", "http://127.0.0.1:8123"];
    assert!(refused(folder.path(), &both).contains("cannot be used with"));
}
