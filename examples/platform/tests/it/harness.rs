//! A running platform, and its client.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use futures_util::{SinkExt, StreamExt};
use isobar_db::{PostgresDatabase, QueryableExt};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

/// A running platform. Dropping it kills the process.
pub(crate) struct Platform {
    process: Child,
    /// Host and port.
    pub(crate) address: String,
    /// Token of the link for the first owner, before there is one.
    pub(crate) setup: Option<String>,
    /// Session cookie of the signed-in user.
    pub(crate) cookie: Option<String>,
}

impl Platform {
    /// Starts a platform, discarding its log.
    pub(crate) fn start(root: &Path) -> Self {
        Self::start_with(root, Stdio::null())
    }

    /// Starts with its full log going to an output.
    pub(crate) fn start_with(root: &Path, log: Stdio) -> Self {
        Self::start_as(root, &[], log)
    }

    /// Starts with more arguments.
    pub(crate) fn start_as(root: &Path, arguments: &[&str], log: Stdio) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_platform"))
            .args(["--port", "0", "--root"])
            .arg(root)
            .args(arguments)
            .args(database_of(root).iter().flat_map(|url| ["--database", url]))
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
    pub(crate) fn owned(root: &Path) -> Self {
        Self::start(root).with_owner()
    }

    /// Signs the first owner up.
    pub(crate) fn with_owner(self) -> Self {
        let mut platform = self;
        let token = platform.setup.clone().expect("a fresh platform has a set-up link");
        let (status, head, body) = platform.ask("POST", "/api/auth/signup", JSON, sign_up("ada", &token).as_bytes());
        assert_eq!(status, 201, "{}", String::from_utf8_lossy(&body));
        platform.cookie = Some(cookie(&head));
        platform
    }

    /// Starts again, with the same session cookie.
    pub(crate) fn again(root: &Path, before: &Self) -> Self {
        let mut platform = Self::start(root);
        platform.cookie.clone_from(&before.cookie);
        platform
    }

    /// Kills the process with SIGKILL, so that it cannot flush anything.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Sends a request with the session's cookie. Returns status, head and body of the answer.
    pub(crate) fn ask(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
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
    pub(crate) fn session(&self) -> String {
        let cookie = self.cookie.iter().map(|cookie| format!("Cookie: {cookie}\r\nSec-Fetch-Site: same-origin\r\n"));
        cookie.collect()
    }

    pub(crate) fn get(&self, path: &str) -> (u16, String, Vec<u8>) {
        self.ask("GET", path, "", b"")
    }

    pub(crate) fn json(&self, path: &str) -> Value {
        let (status, _, body) = self.get(path);
        assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).unwrap()
    }

    pub(crate) fn post(&self, path: &str, value: &Value) -> (u16, Value) {
        let (status, _, body) =
            self.ask("POST", path, "Content-Type: application/json\r\n", value.to_string().as_bytes());
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    pub(crate) async fn chat(&self) -> Chat {
        let url = format!("ws://{}/api/sessions/chat/lobby/socket", self.address);
        let mut request = url.into_client_request().unwrap();
        request.headers_mut().insert("cookie", self.cookie.as_ref().unwrap().parse().unwrap());
        request.headers_mut().insert("origin", format!("http://{}", self.address).parse().unwrap());
        Chat(tokio_tungstenite::connect_async(request).await.unwrap().0)
    }
}

/// Returns the URL of a database for this root, where the tests run on the Postgres server at `ISOBAR_POSTGRES_URL`: `cargo xtask postgres`.
fn database_of(root: &Path) -> Option<String> {
    let server = std::env::var("ISOBAR_POSTGRES_URL").ok()?;
    let mut hasher = DefaultHasher::new();
    root.hash(&mut hasher);
    let name = format!("platform_{:x}", hasher.finish());
    let url = server.replacen("/postgres?", &format!("/{name}?"), 1);
    assert_ne!(url, server, "the URL names the database postgres");
    let create = async move {
        let database = PostgresDatabase::connect(&server).await.unwrap();
        let known = "SELECT count(*) FROM pg_database WHERE datname = ?";
        if database.prepare(known).bind(&name).one::<i64>().await.unwrap() == 0 {
            database.prepare(format!("CREATE DATABASE {name}")).run().await.unwrap();
        }
    };
    // A test may run in a runtime of its own, in which there cannot be another.
    std::thread::spawn(|| tokio::runtime::Runtime::new().unwrap().block_on(create)).join().unwrap();
    Some(url)
}

/// Creates a PNG of 4 x 4 pixels with this number of bytes after its head.
pub(crate) fn png(rest: usize) -> Vec<u8> {
    let head = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x04\0\0\0\x04\x08\x06\0\0\0";
    head.iter().copied().chain((0..rest).map(|at| (at % 251) as u8)).collect()
}

/// The header of a JSON body.
pub(crate) const JSON: &str = "Content-Type: application/json\r\n";

/// Returns the body of a sign-up.
pub(crate) fn sign_up(name: &str, token: &str) -> String {
    json!({
        "email": format!("{name}@example.com"), "password": "correct horse battery", "name": name,
        "tenant": {"slug": name, "name": name}, "token": token,
    })
    .to_string()
}

/// Returns the session's cookie as it was sent.
pub(crate) fn cookie(head: &str) -> String {
    let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with("set-cookie: ")).expect("a cookie");
    line["set-cookie: ".len()..].split(';').next().unwrap().to_owned()
}

impl Drop for Platform {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// A socket of the room `lobby`.
pub(crate) struct Chat(
    pub(crate) tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>,
);

impl Chat {
    pub(crate) async fn say(&mut self, text: &str) {
        self.0.send(Message::text(json!({"type": "send", "text": text}).to_string())).await.unwrap();
    }

    /// Returns the next event of this type.
    pub(crate) async fn next(&mut self, kind: &str) -> Value {
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
