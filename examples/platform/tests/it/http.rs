//! Tests of the platform's routes, and of its start.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{JSON, Platform, png};

#[test]
fn routes_answer_with_their_status_and_type() {
    let folder = tempfile::tempdir().unwrap();
    let platform = Platform::owned(folder.path());
    for (path, status, content_type) in [
        ("/", 200, "text/html; charset=utf-8"),
        ("/dashboard/", 200, "text/html; charset=utf-8"),
        ("/dashboard/chat", 200, "text/html; charset=utf-8"),
        ("/legal/privacy", 200, "text/html; charset=utf-8"),
        ("/css/site.css", 200, "text/css; charset=utf-8"),
        ("/js/api.js", 200, "text/javascript; charset=utf-8"),
        ("/images/mark-0cf672fd.svg", 200, "image/svg+xml"),
        ("/nothing", 404, "text/html; charset=utf-8"),
        ("/%2e%2e/media/x", 400, "text/plain; charset=utf-8"),
        ("/healthz", 200, "text/plain; charset=utf-8"),
        ("/readyz", 200, "text/plain; charset=utf-8"),
        ("/api/projects", 200, "application/json"),
        ("/api/tenants/99", 404, "application/problem+json"),
        ("/api/openapi.json", 200, "application/json"),
        ("/api/docs", 200, "text/html; charset=utf-8"),
        ("/api/images/none", 404, "application/problem+json"),
        ("/api/none", 404, "application/problem+json"),
        ("/api/sessions/nowhere/a/history", 404, "application/problem+json"),
        ("/api/sessions/chat/a/nothing", 404, "application/problem+json"),
        ("/api/sessions/chat/a/socket", 426, "application/problem+json"),
    ] {
        let (got, head, body) = platform.get(path);
        assert_eq!((path, got), (path, status), "{}", String::from_utf8_lossy(&body));
        let typed = format!("content-type: {content_type}");
        assert!(head.to_ascii_lowercase().contains(&typed), "{path}: {head}");
    }
    // Only the site is public, not the rest of the bucket.
    assert_eq!(platform.get("/media/").0, 404);
}

#[test]
fn uploads_are_checked_and_contents_are_served_by_range() {
    let folder = tempfile::tempdir().unwrap();
    let platform = Platform::owned(folder.path());
    assert_eq!(platform.ask("POST", "/api/images", "", b"x").0, 400);
    assert_eq!(platform.ask("POST", "/api/images?name=evil.html", "", b"x").0, 415);
    assert_eq!(platform.ask("POST", "/api/images?name=../x.png", "", b"x").0, 400);
    let mut stream = TcpStream::connect(&platform.address).unwrap();
    let session = platform.session();
    let head =
        format!("POST /api/images?name=big.png HTTP/1.1\r\nHost: x\r\n{session}Content-Length: 99999999999\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).unwrap();
    assert_eq!(&start, b"HTTP/1.1 413");
    drop(stream);
    // An interrupted upload leaves nothing behind.
    let mut stream = TcpStream::connect(&platform.address).unwrap();
    let head =
        format!("POST /api/images?name=half.png HTTP/1.1\r\nHost: x\r\n{session}Content-Length: 100000\r\n\r\nhalf");
    stream.write_all(head.as_bytes()).unwrap();
    drop(stream);
    assert_eq!(platform.json("/api/images")["items"], json!([]));

    let (_, image) = {
        let (status, _, body) = platform.ask("POST", "/api/images?name=a.png", "", &png(9));
        (status, serde_json::from_slice::<Value>(&body).unwrap())
    };
    let content = format!("/api/images/{}/content", image["id"].as_str().unwrap());
    let key = format!("images/{}.png", image["id"].as_str().unwrap());
    for path in [format!("/{key}"), format!("/../{key}"), format!("/%2e%2e/{key}"), format!("/static/../{key}")] {
        assert!([400, 404].contains(&platform.get(&path).0), "{path}");
    }
    assert!(platform.get(&content).1.to_ascii_lowercase().contains("cache-control: private, no-cache"));
    assert_eq!(platform.ask("GET", &content, "Range: bytes=1-3\r\n", b"").2, b"PNG");
    assert_eq!(platform.ask("GET", &content, "Range: bytes=99-\r\n", b"").0, 416);
    assert_eq!(platform.ask("GET", &content, "If-None-Match: *\r\n", b"").0, 304);
    assert_eq!(platform.ask("DELETE", content.trim_end_matches("/content"), "", b"").0, 204);
    assert_eq!(platform.get(&content).0, 404);
}

#[test]
fn invalid_rows_and_properties_are_refused_by_field_and_requests_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let platform = Platform::owned(folder.path());
    let worker = json!({"name": "a"});
    let (status, problem) = platform.post("/api/workers", &json!({"name": "Not A Slug", "status": "gone"}));
    assert_eq!((status, problem["errors"].as_array().map(Vec::len)), (400, Some(2)), "{problem}");
    assert_eq!(platform.post("/api/workers", &worker).0, 201);
    let (status, problem) = platform.post("/api/workers", &worker);
    assert_eq!((status, problem["errors"][0]["field"].as_str()), (409, Some("name")), "{problem}");

    assert_eq!(platform.post("/api/analytics/track", &json!({"name": "tested", "properties": {"round": 1}})).0, 202);
    let personal = json!({"name": "tested", "properties": {"email": "x", "who": "ada@example.com", "list": []}});
    let (status, problem) = platform.post("/api/analytics/track", &personal);
    assert_eq!((status, problem["errors"].as_array().map(Vec::len)), (400, Some(3)), "{problem}");
    let stats = platform.json("/api/stats?hours=1");
    let routes = stats["routes"].as_array().unwrap();
    let workers = routes.iter().find(|route| route["route"] == "/api/workers").expect("the route");
    assert!(workers["count"] == 3 && workers["database_ms"].as_f64() > Some(0.0), "{stats}");
    assert_eq!(stats["events"], json!([{"name": "tested", "count": 1, "users": 1}]));
}

#[test]
fn port_in_use_and_invalid_configuration_are_reported() {
    let folder = tempfile::tempdir().unwrap();
    let platform = Platform::start(&folder.path().join("one"));
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_platform"))
            .args(arguments)
            .arg("--root")
            .arg(folder.path().join("two"))
            .output()
            .unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let port = platform.address.rsplit(':').next().unwrap();
    let (success, error) = run(&["--port", port]);
    assert!(!success && error.contains("is in use by another program"), "{error}");
    assert!(!folder.path().join("two").exists(), "a taken port changes nothing");
    let (success, error) = run(&["--config", "/no/such/wrangler.toml"]);
    assert!(!success && error.contains("/no/such/wrangler.toml: cannot be read"), "{error}");
    let broken = folder.path().join("wrangler.toml");
    std::fs::write(&broken, "name = \"x\"\n[[r2_buckets]\n").unwrap();
    let (success, error) = run(&["--config", broken.to_str().unwrap()]);
    assert!(!success && error.contains("wrangler.toml:2: "), "{error}");
}

#[test]
fn days_of_history_are_refused_with_a_postgres_server() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    let output = Command::new(env!("CARGO_BIN_EXE_platform"))
        .args(["--port", "0", "--database", "postgres:///none?host=/no/such/folder", "--history-days", "7", "--root"])
        .arg(&root)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{error}");
    assert!(error.contains("--history-days <DAYS>") && error.contains("cannot be used with"), "{error}");
    assert!(!root.exists(), "nothing was opened");
}

#[test]
fn only_the_site_answers_without_a_session() {
    let folder = tempfile::tempdir().unwrap();
    let mut platform = Platform::owned(folder.path());
    let (_, image) = {
        let (status, _, body) = platform.ask("POST", "/api/images?name=a.png", "", &png(9));
        (status, serde_json::from_slice::<Value>(&body).unwrap())
    };
    let document = platform.json("/api/openapi.json");
    let cookie = platform.cookie.take();
    let image = image["id"].as_str().unwrap();
    let content = format!("/api/images/{image}/content");
    let own = [
        "/api/images",
        &content,
        "/api/projects",
        "/api/stats",
        "/api/mcp",
        "/api/sessions/call/standup/roster",
        "/api/sessions/browser/mine/session",
        "/api/uploads",
        "/api/uploads/x",
        "/api/sessions/chat/lobby/history",
        "/api/auth/me",
    ];
    // Routes for signing in: they validate their input without a session.
    let doors = [
        "signup",
        "login",
        "logout",
        "join",
        "invitations/read",
        "oauth",
        "oauth/{provider}",
        "forgot",
        "reset",
        "verify",
    ];
    let doors = doors.map(|door| format!("/auth/{door}"));
    let declared = document["paths"].as_object().unwrap().keys().filter(|path| !doors.contains(path));
    let declared = declared.map(|path| format!("/api{}", path.replace("{id}", "x")));
    let paths: Vec<_> = own.iter().map(|path| (*path).to_owned()).chain(declared).collect();
    assert!(paths.len() > 50);
    for path in &paths {
        for method in ["GET", "POST", "PATCH", "DELETE", "PUT"] {
            let (status, ..) = platform.ask(method, path, JSON, b"{}");
            assert!([401, 404, 405].contains(&status), "{method} {path}: {status}");
        }
    }
    for door in doors {
        let (status, ..) = platform.ask("POST", &format!("/api{}", door.replace("{provider}", "x")), JSON, b"{}");
        let expected = if door == "/auth/logout" { 204..=204 } else { 400..=405 };
        assert!(expected.contains(&status), "{door}: {status}");
    }
    // Nor with a session if the request comes from another site.
    platform.cookie = cookie;
    refuses_other_sites(&platform, &paths);
    assert_eq!(platform.get(&content).0, 200);
}

fn refuses_other_sites(platform: &Platform, paths: &[String]) {
    for path in paths.iter().filter(|path| !path.contains("/auth/")) {
        let session = platform.session().replace("same-origin", "cross-site");
        let mut stream = TcpStream::connect(&platform.address).unwrap();
        let head = format!("DELETE {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{session}\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok();
        assert!(answer.starts_with("HTTP/1.1 403"), "{path}: {answer}");
    }
}
