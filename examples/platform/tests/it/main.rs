//! Tests of the built binary on a fresh folder: it is driven over HTTP, killed, restarted, and must have all acknowledged writes.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod accounts;
mod deploying;
mod keyring;
mod sessions;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

struct Platform {
    process: Child,
    address: String,
    /// Token of the link for the first owner, before there is one.
    setup: Option<String>,
    /// Session cookie of the signed-in user.
    cookie: Option<String>,
}

impl Platform {
    fn start(root: &Path) -> Self {
        Self::start_with(root, Stdio::null())
    }

    /// Starts with its full log going to an output.
    fn start_with(root: &Path, log: Stdio) -> Self {
        Self::start_as(root, &[], log)
    }

    fn start_as(root: &Path, arguments: &[&str], log: Stdio) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_platform"))
            .args(["--port", "0", "--root"])
            .arg(root)
            .args(arguments)
            .stdout(Stdio::piped())
            .env("RUST_LOG", "debug")
            .stderr(log)
            .spawn()
            .unwrap();
        let mut address = None;
        let mut setup = None;
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        while address.is_none() {
            let line = lines.next().expect("it says where it serves").unwrap();
            setup = line.split_once("/dashboard/setup#").map(|(_, token)| token.to_owned()).or(setup);
            address =
                line.strip_prefix("serving on http://").and_then(|rest| rest.split(' ').next()).map(str::to_owned);
        }
        Self { process, address: address.unwrap(), setup, cookie: None }
    }

    /// Starts with the first owner signed in.
    fn owned(root: &Path) -> Self {
        Self::start(root).with_owner()
    }

    fn with_owner(self) -> Self {
        let mut platform = self;
        let token = platform.setup.clone().expect("a fresh platform has a set-up link");
        let (status, head, body) = platform.ask("POST", "/api/auth/signup", JSON, sign_up("ada", &token).as_bytes());
        assert_eq!(status, 201, "{}", String::from_utf8_lossy(&body));
        platform.cookie = Some(cookie(&head));
        platform
    }

    /// Starts again, with the same session cookie.
    fn again(root: &Path, before: &Self) -> Self {
        let mut platform = Self::start(root);
        platform.cookie.clone_from(&before.cookie);
        platform
    }

    /// Kills the process with SIGKILL, so that it cannot flush anything.
    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    fn ask(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let session = self.session();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{session}{headers}Content-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        // A server that refuses early may close the connection before it has read everything.
        stream.write_all(body).ok();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok();
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("an answer has a head");
        let head = String::from_utf8_lossy(&answer[..end]).into_owned();
        (head[9..12].parse().unwrap(), head, answer[end + 4..].to_vec())
    }

    /// Returns the headers that a signed-in browser sends.
    fn session(&self) -> String {
        let cookie = self.cookie.iter().map(|cookie| format!("Cookie: {cookie}\r\nSec-Fetch-Site: same-origin\r\n"));
        cookie.collect()
    }

    fn get(&self, path: &str) -> (u16, String, Vec<u8>) {
        self.ask("GET", path, "", b"")
    }

    fn json(&self, path: &str) -> Value {
        let (status, _, body) = self.get(path);
        assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).unwrap()
    }

    fn post(&self, path: &str, value: &Value) -> (u16, Value) {
        let (status, _, body) =
            self.ask("POST", path, "Content-Type: application/json\r\n", value.to_string().as_bytes());
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    async fn chat(&self) -> Chat {
        let url = format!("ws://{}/api/sessions/chat/lobby/socket", self.address);
        let mut request = url.into_client_request().unwrap();
        request.headers_mut().insert("cookie", self.cookie.as_ref().unwrap().parse().unwrap());
        request.headers_mut().insert("origin", format!("http://{}", self.address).parse().unwrap());
        Chat(tokio_tungstenite::connect_async(request).await.unwrap().0)
    }
}

/// Creates a PNG of 4 x 4 pixels with this number of bytes after its head.
fn png(rest: usize) -> Vec<u8> {
    let head = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x04\0\0\0\x04\x08\x06\0\0\0";
    head.iter().copied().chain((0..rest).map(|at| (at % 251) as u8)).collect()
}

const JSON: &str = "Content-Type: application/json\r\n";

fn sign_up(name: &str, token: &str) -> String {
    json!({
        "email": format!("{name}@example.com"), "password": "correct horse battery", "name": name,
        "tenant": {"slug": name, "name": name}, "token": token,
    })
    .to_string()
}

/// Returns the session's cookie as it was sent.
fn cookie(head: &str) -> String {
    let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with("set-cookie: ")).expect("a cookie");
    line["set-cookie: ".len()..].split(';').next().unwrap().to_owned()
}

impl Drop for Platform {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

struct Chat(tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>);

impl Chat {
    async fn say(&mut self, text: &str) {
        self.0.send(Message::text(json!({"type": "send", "text": text}).to_string())).await.unwrap();
    }

    /// Returns the next event of this type.
    async fn next(&mut self, kind: &str) -> Value {
        let wait = async {
            loop {
                let message = self.0.next().await.unwrap().unwrap();
                let event: Value = serde_json::from_str(message.to_text().unwrap()).unwrap();
                if event["type"] == kind {
                    return event;
                }
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(10), wait)
            .await
            .expect("the event comes within ten seconds")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_platform_keeps_what_it_acknowledged_through_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("state");
    let mut platform = Platform::owned(&root);
    let picture = png(300_000);

    let (status, ticket) = platform.post("/api/support_tickets", &json!({"subject": "Help"}));
    assert_eq!((status, ticket["status"].as_str()), (201, Some("open")));
    let (status, _, image) = platform.ask("POST", "/api/images?name=cat.png", "", &picture);
    assert_eq!(status, 201);
    let image: Value = serde_json::from_slice(&image).unwrap();
    let content = format!("/api/images/{}/content", image["id"].as_str().unwrap());
    let mut ada = platform.chat().await;
    let mut bob = platform.chat().await;
    ada.say("hello").await;
    assert_eq!(bob.next("message").await["message"]["author"], "ada");
    ada.say("still there?").await;
    assert_eq!(bob.next("message").await["message"]["text"], "still there?");

    platform.kill();
    let platform = Platform::again(&root, &platform);
    assert_eq!(platform.setup, None, "there is an owner");
    assert_eq!(platform.json("/api/support_tickets?q=help")["items"][0], ticket);
    assert_eq!(platform.json("/api/images")["items"][0], image);
    let (status, head, body) = platform.get(&content);
    assert_eq!(
        (status, body == picture, head.to_ascii_lowercase().contains("content-type: image/png")),
        (200, true, true),
        "{head}"
    );
    let history = platform.chat().await.next("history").await;
    let texts: Vec<_> =
        history["messages"].as_array().unwrap().iter().map(|message| message["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["hello", "still there?"]);
    assert_eq!(platform.json("/api/sessions/chat/lobby/history?before=2")["messages"][0]["text"], "hello");
}

#[test]
fn acknowledged_uploads_survive_a_kill_at_any_moment() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    let mut session = None;
    for round in 0..4u64 {
        let mut platform = match &session {
            None => Platform::owned(folder.path()),
            Some(_) => Platform::start(folder.path()),
        };
        platform.cookie = session.or_else(|| platform.cookie.take());
        session = platform.cookie.clone();
        let address = platform.address.clone();
        let session = platform.session();
        let uploads = std::thread::spawn(move || {
            let mut done = Vec::new();
            for number in 0..1000 {
                let body = png(10 + 700 * number);
                let head = format!(
                    "POST /api/images?name=r{round}n{number}.png HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{session}Content-Length: {}\r\n\r\n",
                    body.len()
                );
                let mut answer = String::new();
                let asked = TcpStream::connect(&address).and_then(|mut stream| {
                    stream.write_all(head.as_bytes())?;
                    stream.write_all(&body)?;
                    stream.read_to_string(&mut answer)
                });
                if asked.is_err() || !answer.starts_with("HTTP/1.1 201") || !answer.ends_with('}') {
                    break;
                }
                let image: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
                done.push((image["id"].as_str().unwrap().to_owned(), body.len()));
            }
            done
        });
        std::thread::sleep(std::time::Duration::from_millis(150 + 130 * round));
        platform.kill();
        acknowledged.extend(uploads.join().unwrap());
    }
    assert!(acknowledged.len() > 20, "{} uploads were acknowledged", acknowledged.len());
    let mut platform = Platform::start(folder.path());
    platform.cookie = session;
    for (id, size) in acknowledged {
        let (status, _, body) = platform.get(&format!("/api/images/{id}/content"));
        assert_eq!((status, body.len()), (200, size), "{id}");
    }
}

#[test]
fn pages_api_and_errors_are_as_expected() {
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

    let worker = json!({"name": "a"});
    let (status, problem) = platform.post("/api/workers", &json!({"name": "Not A Slug", "status": "gone"}));
    assert_eq!((status, problem["errors"].as_array().map(Vec::len)), (400, Some(2)), "{problem}");
    assert_eq!(platform.post("/api/workers", &worker).0, 201);
    let (status, problem) = platform.post("/api/workers", &worker);
    assert_eq!((status, problem["errors"][0]["field"].as_str()), (409, Some("name")), "{problem}");

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
    for path in paths.iter().filter(|path| !path.contains("/auth/")) {
        let session = platform.session().replace("same-origin", "cross-site");
        let mut stream = TcpStream::connect(&platform.address).unwrap();
        let head = format!("DELETE {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{session}\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok();
        assert!(answer.starts_with("HTTP/1.1 403"), "{path}: {answer}");
    }
    assert_eq!(platform.get(&content).0, 200);
}

#[test]
fn every_declared_table_takes_rows_and_secrets_stay_sealed() {
    let folder = tempfile::tempdir().unwrap();
    let log = std::fs::File::create(folder.path().join("log")).unwrap();
    let platform = Platform::start_with(folder.path(), log.into()).with_owner();
    let document = platform.json("/api/openapi.json");
    let mut made = std::collections::BTreeMap::new();
    let mut waiting: Vec<String> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .filter(|(_, item)| item["post"]["operationId"].as_str().is_some_and(|id| id.starts_with("create_")))
        .map(|(path, _)| path.trim_start_matches('/').to_owned())
        .collect();
    assert_eq!(waiting.len(), 14);
    // A row that refers to another is created after it.
    waiting.sort_by_key(|name| match name.as_str() {
        "deployments" | "external_connections" => 1,
        _ => 0,
    });
    for name in &waiting {
        let body = match name.as_str() {
            "credentials" => json!({"name": "SMTP", "secret": "plain-credential"}),
            "external_connections" => json!({"name": "Mail", "kind": "api", "credential_id": made["credentials"]}),
            "workflows" => json!({"name": "Nightly"}),
            "workers" | "tools" => json!({"name": "edge"}),
            "agent_commands" => json!({"name": "sum-up", "template": "Sum up: {text}"}),
            "deployments" => json!({"worker_id": made["workers"], "version": "1.0.0"}),
            "themes" => json!({"slug": "forest", "name": "Forest", "tokens": {"accent": "#2b6"}}),
            "configurations" => json!({"key": "locale", "value": "en"}),
            "prompts" | "knowledge_articles" => json!({"title": "Pandas", "body": "What pandas eat"}),
            "chat_messages" => json!({"room": "lobby", "text": "hello"}),
            "support_tickets" => json!({"subject": "Help"}),
            "customer_feedback" => json!({"text": "Lovely", "rating": 5}),
            other => panic!("{other} is new: say what a row of it is"),
        };
        let (status, row) = platform.post(&format!("/api/{name}"), &body);
        assert_eq!(status, 201, "{name}: {row}");
        let id = row["id"].as_str().unwrap().to_owned();
        assert_eq!(platform.json(&format!("/api/{name}/{id}")), row, "{name}");
        assert_eq!(platform.json(&format!("/api/{name}"))["items"].as_array().unwrap().len(), 1);
        made.insert(name.clone(), id);
    }
    for name in ["prompts", "knowledge_articles"] {
        assert_eq!(platform.json(&format!("/api/{name}?q=panda"))["items"].as_array().unwrap().len(), 1);
        assert_eq!(platform.json(&format!("/api/{name}?q=bears"))["items"], json!([]));
    }
    assert_eq!(platform.json("/api/tenants")["items"][0]["slug"], "ada");
    assert_eq!(platform.json("/api/memberships")["items"][0]["role"], "owner");
    // A key is shown once; wrong passwords and keys are not logged either.
    let (_, made_key) = platform.post("/api/auth/keys", &json!({"name": "CI"}));
    let api_key = made_key["key"].as_str().unwrap().splitn(3, '_').nth(2).unwrap().to_owned();
    let wrong = json!({"email": "ada@example.com", "password": "a wrong password of somebody"});
    platform.post("/api/auth/login", &wrong);
    platform.ask("GET", "/api/prompts", "Authorization: Bearer iso_0_not-a-key-of-anybody\r\n", b"");
    assert!(std::fs::metadata(folder.path().join("log")).unwrap().len() > 1000, "there is a log");
    // All files: databases, their logs, the events, the server's log.
    let keyring = std::fs::read_to_string(folder.path().join("keyring")).unwrap();
    let key = keyring.trim().split_once(':').unwrap().1;
    let cookie = platform.cookie.as_ref().unwrap().split_once('=').unwrap().1;
    let secrets = [
        "plain-credential",
        "correct horse battery",
        "a wrong password of somebody",
        "not-a-key-of-anybody",
        &api_key,
        cookie,
        key,
    ];
    let mut folders = vec![folder.path().to_owned()];
    let mut files = 0;
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if !path.ends_with("keyring") {
                let bytes = std::fs::read(&path).unwrap();
                files += 1;
                for secret in secrets {
                    let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
                    assert!(!found, "{secret} stands in {}", path.display());
                }
            }
        }
    }
    assert!(files > 5);
}

#[test]
fn migrations_have_the_tables_of_the_crates() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/business"));
    for (name, schema) in [
        ("0001_accounts.sql", isobar_api::auth::MIGRATIONS[0]),
        ("0002_vault.sql", isobar_db::vault::SCHEMA),
        ("0003_api.sql", isobar_api::MIGRATIONS[0]),
        ("0004_oauth.sql", isobar_api::auth::OAUTH_SCHEMA),
        ("0010_images.sql", isobar_api::media::MIGRATIONS[0]),
        ("0011_accounts.sql", isobar_api::auth::MIGRATIONS[1]),
        ("0012_quotas.sql", isobar_api::MIGRATIONS[1]),
        ("0013_media.sql", isobar_api::media::MIGRATIONS[1]),
        ("0014_uploads.sql", isobar_api::media::MIGRATIONS[2]),
    ] {
        assert_eq!(std::fs::read_to_string(folder.join(name)).unwrap(), schema, "{name}");
    }
}

#[tokio::test]
async fn the_legacy_database_is_copied_by_its_map() {
    use isobar_db::{Database, QueryableExt, SqliteDatabase, migrations, transfer};
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations"));
    let old = SqliteDatabase::memory().await.unwrap();
    let new = SqliteDatabase::memory().await.unwrap();
    for (database, name) in [(&old, "meauxos"), (&new, "business")] {
        migrations::apply(database, &migrations::from_folder(folder.join(name)).unwrap()).await.unwrap();
    }
    old.exec(
        "INSERT INTO tenants (id, short_name, display_name) VALUES (1, 'Inner Animal', 'Inner Animal Media')
         INSERT INTO users (id, tenant, mail, full_name, is_admin) VALUES (1, 1, 'Ada@Example.com', 'Ada', 1), (2, 1, 'bob@example.com', NULL, 0)
         INSERT INTO chat (tenant, user, channel, body, sent) VALUES (1, 1, 'lobby', 'hello', 1700000000), (1, 2, 'lobby', NULL, 1700000001)",
    )
    .await
    .unwrap();
    let map: transfer::Map = toml::from_str(&std::fs::read_to_string(folder.join("legacy.toml")).unwrap()).unwrap();
    for (dry_run, copied) in [(true, [1, 2, 2, 1]), (false, [1, 2, 2, 1]), (false, [0, 0, 0, 0])] {
        let report = transfer::transfer(&old, "meauxos", &new, &map, dry_run, |_| ()).await.unwrap();
        assert_eq!(report.tables.iter().map(|table| table.copied).collect::<Vec<_>>(), copied, "{report:?}");
        let skipped = &report.tables[3].skipped;
        assert!(skipped.len() == 1 && skipped[0].reason.contains("chat_messages.text"), "{skipped:?}");
    }
    let sql = "SELECT u.email, t.slug, m.role, c.text FROM chat_messages c JOIN users u ON u.id = c.user_id \
               JOIN tenants t ON t.id = c.tenant_id JOIN memberships m ON m.user_id = u.id";
    let row: Vec<String> = new.prepare(sql).one().await.unwrap();
    assert_eq!(row, ["ada@example.com", "inner-animal", "admin", "hello"]);
}
