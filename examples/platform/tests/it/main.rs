//! The built binary on a fresh folder: driven over HTTP, killed, started again, asked for everything it acknowledged.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

struct Platform {
    process: Child,
    address: String,
}

impl Platform {
    fn start(root: &Path) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_platform"))
            .args(["--port", "0", "--root"])
            .arg(root)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let address = lines
            .find_map(|line| Some(line.unwrap().strip_prefix("serving on http://")?.split(' ').next()?.to_owned()));
        Self { process, address: address.expect("it says where it serves") }
    }

    /// SIGKILL: nothing is flushed, nothing is said.
    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    fn ask(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        // A server that refuses early may close before it has read everything.
        stream.write_all(body).ok();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok();
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("an answer has a head");
        let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
        (head[9..12].parse().unwrap(), head, answer[end + 4..].to_vec())
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

    async fn chat(&self, name: &str) -> Chat {
        let url = format!("ws://{}/api/sessions/chat/lobby/socket?name={name}", self.address);
        Chat(tokio_tungstenite::connect_async(url).await.unwrap().0)
    }
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
        self.0.send(Message::text(json!({"text": text}).to_string())).await.unwrap();
    }

    /// The next event of this type.
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
    let mut platform = Platform::start(&root);
    let picture: Vec<u8> = (0..300_000u32).map(|at| (at % 251) as u8).collect();

    let (status, tenant) = platform.post("/api/tenants", &json!({"slug": "iam", "name": "Inner Animal"}));
    assert_eq!((status, tenant["slug"].as_str()), (201, Some("iam")));
    let (status, _, image) = platform.ask("POST", "/api/images?name=cat.png", "", &picture);
    assert_eq!(status, 201);
    let image: Value = serde_json::from_slice(&image).unwrap();
    let content = format!("/api/images/{}/content", image["id"].as_str().unwrap());
    let (mut ada, mut bob) = (platform.chat("Ada").await, platform.chat("Bob").await);
    ada.say("hello").await;
    assert_eq!(bob.next("message").await["message"]["author"], "Ada");
    ada.say("still there?").await;
    assert_eq!(bob.next("message").await["message"]["text"], "still there?");

    platform.kill();
    let platform = Platform::start(&root);
    assert_eq!(platform.json("/api/tenants")[0], tenant);
    assert_eq!(platform.json("/api/images")[0], image);
    let (status, head, body) = platform.get(&content);
    assert_eq!((status, body == picture, head.contains("content-type: image/png")), (200, true, true), "{head}");
    let history = platform.chat("Cy").await.next("history").await;
    let texts: Vec<_> =
        history["messages"].as_array().unwrap().iter().map(|message| message["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["hello", "still there?"]);
    assert_eq!(platform.json("/api/sessions/chat/lobby/history?before=2")["messages"][0]["text"], "hello");
}

#[test]
fn acknowledged_uploads_survive_a_kill_at_any_moment() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..4u64 {
        let mut platform = Platform::start(folder.path());
        let address = platform.address.clone();
        let uploads = std::thread::spawn(move || {
            let mut done = Vec::new();
            for number in 0..1000 {
                let body = vec![b'x'; 10 + 700 * number];
                let head = format!(
                    "POST /api/images?name=r{round}n{number}.gif HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
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
    let platform = Platform::start(folder.path());
    for (id, size) in acknowledged {
        let (status, _, body) = platform.get(&format!("/api/images/{id}/content"));
        assert_eq!((status, body.len()), (200, size), "{id}");
    }
}

#[test]
fn pages_api_and_errors_answer_as_they_should() {
    let folder = tempfile::tempdir().unwrap();
    let platform = Platform::start(folder.path());
    for (path, status, content_type) in [
        ("/", 200, "text/html; charset=utf-8"),
        ("/dashboard/", 200, "text/html; charset=utf-8"),
        ("/dashboard/chat", 200, "text/html; charset=utf-8"),
        ("/legal/privacy", 200, "text/html; charset=utf-8"),
        ("/css/site.css", 200, "text/css; charset=utf-8"),
        ("/js/api.js", 200, "text/javascript; charset=utf-8"),
        ("/images/mark-0cf672fd.svg", 200, "image/svg+xml; charset=utf-8"),
        ("/nothing", 404, "text/html; charset=utf-8"),
        ("/%2e%2e/media/x", 400, "text/plain; charset=utf-8"),
        ("/healthz", 200, "text/plain; charset=utf-8"),
        ("/readyz", 200, "text/plain; charset=utf-8"),
        ("/api/projects", 200, "application/json"),
        ("/api/tenants/99", 404, "application/problem+json"),
        ("/api/tenants/abc", 400, "text/plain; charset=utf-8"),
        ("/api/images/none", 404, "application/problem+json"),
        ("/api/none", 404, "application/problem+json"),
        ("/api/sessions/nowhere/a/history", 404, "application/problem+json"),
        ("/api/sessions/chat/a/nothing", 404, "application/json"),
        ("/api/sessions/chat/a/socket", 426, "application/problem+json"),
    ] {
        let (got, head, body) = platform.get(path);
        assert_eq!((path, got), (path, status), "{}", String::from_utf8_lossy(&body));
        assert!(head.contains(&format!("content-type: {content_type}")), "{path}: {head}");
    }
    // Nothing of the bucket but the site is public.
    assert_eq!(platform.get("/media/").0, 404);

    let (status, problem) = platform.post("/api/tenants", &json!({"slug": "Not A Slug", "name": ""}));
    assert_eq!((status, problem["errors"].as_array().map(Vec::len)), (400, Some(2)), "{problem}");
    assert_eq!(platform.post("/api/tenants", &json!({"slug": "a"})).0, 422);
    assert_eq!(platform.post("/api/tenants", &json!({"slug": "a", "name": "A"})).0, 201);
    let (status, problem) = platform.post("/api/tenants", &json!({"slug": "a", "name": "A"}));
    assert_eq!((status, problem["detail"].as_str()), (409, Some("there is one with this value already")));

    assert_eq!(platform.ask("POST", "/api/images", "", b"x").0, 400);
    assert_eq!(platform.ask("POST", "/api/images?name=evil.html", "", b"x").0, 400);
    assert_eq!(platform.ask("POST", "/api/images?name=../x.png", "", b"x").0, 400);
    let mut stream = TcpStream::connect(&platform.address).unwrap();
    stream
        .write_all(b"POST /api/images?name=big.png HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
        .unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).unwrap();
    assert_eq!(&start, b"HTTP/1.1 413");
    drop(stream);
    // An upload that breaks off leaves nothing behind.
    let mut stream = TcpStream::connect(&platform.address).unwrap();
    stream
        .write_all(b"POST /api/images?name=half.png HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nhalf")
        .unwrap();
    drop(stream);
    assert_eq!(platform.json("/api/images"), json!([]));

    let (_, image) = {
        let (status, _, body) = platform.ask("POST", "/api/images?name=a.png", "", b"0123456789");
        (status, serde_json::from_slice::<Value>(&body).unwrap())
    };
    let content = format!("/api/images/{}/content", image["id"].as_str().unwrap());
    let key = format!("media/{}.png", image["id"].as_str().unwrap());
    for path in [format!("/{key}"), format!("/../{key}"), format!("/%2e%2e/{key}"), format!("/static/../{key}")] {
        assert!([400, 404].contains(&platform.get(&path).0), "{path}");
    }
    assert_eq!(platform.ask("GET", &content, "Range: bytes=2-4\r\n", b"").2, b"234");
    assert_eq!(platform.ask("GET", &content, "Range: bytes=99-\r\n", b"").0, 416);
    assert_eq!(platform.ask("GET", &content, "If-None-Match: *\r\n", b"").0, 304);
    assert_eq!(platform.ask("DELETE", content.trim_end_matches("/content"), "", b"").0, 204);
    assert_eq!(platform.get(&content).0, 404);

    let summary = platform.json("/api/events/summary");
    let routes = summary["routes"].as_array().unwrap();
    assert!(routes.iter().any(|route| route["route"] == "/api/tenants/{id}" && route["requests"] == 2), "{summary}");
}

#[test]
fn a_taken_port_and_a_wrong_configuration_are_told() {
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
