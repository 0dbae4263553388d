//! Tests both servers with external clients and providers: tus-js-client, oidc-provider, lighthouse.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::http::{Answer, Server, ask, free_port};
use crate::programs::program;
use crate::worker::{SECRETS, Workerd, build_platform, first_owner, platform};
use crate::{Outcome, browser, npm, target};

const PACKAGES: [&str; 4] =
    ["oidc-provider@9.13.3", "tus-js-client@4.3.1", "lighthouse@12.8.2", "puppeteer-core@24.31.0"];
const SCRIPTS: [(&str, &str); 3] = [
    ("oidc.mjs", include_str!("../js/oidc.mjs")),
    ("tus.mjs", include_str!("../js/tus.mjs")),
    ("lighthouse.mjs", include_str!("../js/lighthouse.mjs")),
];
/// Least score that lighthouse must give.
const SCORE: u64 = 95;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

pub(crate) fn run() -> Outcome {
    let folder = std::path::absolute(target().join("clients"))?;
    install(&folder)?;
    // Before the native server searches for it.
    let chromium = browser::chromium_path()?;
    let program = program("platform")?;
    let provider_port = free_port()?;
    let port = free_port()?;
    let provider = json!([{"name": "local", "title": "Local", "client_id": "isobar", "scopes": "openid email profile",
        "issuer": format!("http://127.0.0.1:{provider_port}")}])
    .to_string();
    let settings =
        [("OAUTH_PROVIDERS", provider.as_str()), ("OAUTH_LOCAL_SECRET", "the-clients-secret-0123456789-0123456789")];

    let mut command = Command::new("node");
    command.current_dir(&folder).arg("oidc.mjs").args([provider_port, port].map(|it| it.to_string())).arg("3");
    let _provider = Server::start(command.stderr(Stdio::null()))?;
    {
        let state = folder.join("state");
        if state.exists() {
            std::fs::remove_dir_all(&state)?;
        }
        let mut command = Command::new(program);
        command.args(["--port", &port.to_string(), "--root"]).arg(&state).envs(SECRETS).envs(settings);
        let native = Server::start(command.env("RUST_LOG", "warn"))?;
        let session = exercise("native", &native.address, &folder)?;
        judge(&folder, &native.address, &session)?;
    }
    let mut options = platform(build_platform()?, port)?;
    options.browser = Some(("BROWSER".to_owned(), chromium.into()));
    options.vars.extend(settings.map(|(name, value)| (name.to_owned(), value.into())));
    let workerd = Workerd::start(&options)?;
    exercise("Worker", &workerd.address, &folder).map(drop)
}

/// Runs everything against one server. Returns the owner's session.
fn exercise(name: &str, address: &str, folder: &Path) -> Result<String> {
    let mut owner = Browser::new(address);
    owner.post("/api/auth/signup", &first_owner())?.is(201)?;
    let key = owner.post("/api/auth/keys", &json!({"name": "clients"}))?.is(201)?["key"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let uploads = uploads(address, folder, &format!("Bearer {key}"))?;
    println!("{name}: tus-js-client: {uploads} uploads, interrupted and gone on with, are whole");
    sign_ins(address, &mut owner)?;
    println!("{name}: oidc-provider: connected, signed in by it, refreshed, refused where it should be");
    renders(&mut owner)?;
    println!("{name}: chromium: a picture, a document and a page, and what nobody may look at");
    Ok(owner.cookies["__Host-session"].clone())
}

/// Renders pages in a browser: chromium natively, Cloudflare's binding in workerd.
fn renders(owner: &mut Browser) -> Outcome {
    let html = json!({"html": "<!doctype html><title>x</title><h1>Hello</h1><script>document.title = 'changed'</script>", "width": 320, "height": 200});
    let own = |format: &str| format!("/api/sessions/browser/mine/{format}");
    let starts: [(&str, &str, &[u8]); 3] = [
        ("screenshot", "image/png", b"\x89PNG"),
        ("pdf", "application/pdf", b"%PDF-"),
        ("content", "text/html; charset=utf-8", b"<!DOCTYPE html>"),
    ];
    for (format, kind, start) in starts {
        let answered = owner.post(&own(format), &html)?.answer;
        let fits = answered.status == 200 && answered.header("content-type").as_deref() == Some(kind);
        if !fits || !answered.body.starts_with(start) {
            return Err(format!(
                "{format}: {} {:?} {}",
                answered.status,
                answered.header("content-type"),
                answered.text()
            )
            .into());
        }
        if format == "content" && !answered.text().contains("<title>changed</title>") {
            return Err(format!("the scripts of the page did not run: {}", answered.text()).into());
        }
    }
    for url in ["http://127.0.0.1/", "http://localhost/", "file:///etc/passwd", "http://169.254.169.254/"] {
        owner.post(&own("content"), &json!({"url": url}))?.is(403)?;
    }
    let session = owner.send("GET", &own("session"), None)?.is(200)?;
    if session["open"] != true || session["renders"] != 3 {
        return Err(format!("the browser's session is {session}").into());
    }
    owner.send("DELETE", &own("session"), None)?.is(204).map(drop)
}

/// Uploads files of several sizes, interrupted at several offsets.
fn uploads(address: &str, folder: &Path, authorization: &str) -> Result<usize> {
    let part = 5 * 1024 * 1024;
    // Length, offset of the interruption, size of the chunks, whether the first request has data.
    let cases = [
        (1_000, 0, 0, false),
        (1_000, 0, 0, true),
        (12_000_000, 5_000_001, 0, false),
        (12_000_000, part + 7, 0, false),
        (2 * part, 0, 3_000_000, false),
        (2 * part + 1, 7_000_000, 2_000_000, true),
    ];
    for (number, (size, cut, chunk, with_data)) in cases.iter().enumerate() {
        let film: Vec<u8> =
            b"\0\0\0\x18ftypmp42".iter().copied().chain((0..size - 12).map(|at| (at % 251) as u8)).collect();
        let file = folder.join(format!("film-{number}.mp4"));
        std::fs::write(&file, &film)?;
        let output = Command::new("node")
            .current_dir(folder)
            .arg("tus.mjs")
            .arg(format!("http://{address}/api/uploads"))
            .arg(&file)
            .args([authorization, &cut.to_string(), &chunk.to_string(), &with_data.to_string()])
            .output()?;
        let told: Value = serde_json::from_slice(&output.stdout)
            .map_err(|_| format!("tus-js-client: {}", String::from_utf8_lossy(&output.stderr)))?;
        // The native server keeps all bytes that were sent; a Worker whose client disconnects keeps at least whole parts.
        let resumed_at = told["resumedAt"].as_u64().unwrap_or_default() as usize;
        if *cut > 0 && resumed_at + part < *cut {
            return Err(format!("cut at {cut}, it went on at {resumed_at}").into());
        }
        let url = told["url"].as_str().unwrap_or_default();
        let id = url.rsplit('/').next().unwrap_or_default();
        let content =
            ask(address, "GET", &format!("/api/images/{id}/content"), &[("Authorization", authorization)], b"")?;
        if content.status != 200 || content.body != film {
            return Err(format!("{url}: {} and {} bytes instead of {size}", content.status, content.body.len()).into());
        }
    }
    Ok(cases.len())
}

/// Signs in through the provider, with and without a connected account.
fn sign_ins(address: &str, owner: &mut Browser) -> Outcome {
    // No user has connected this account.
    let mut alice = Browser::new(address);
    alice.ends_at("login", "alice", "/dashboard/login#oauth=unknown")?;
    owner.ends_at("connect", "alice", "/dashboard/settings")?;
    alice.ends_at("login", "alice", "/dashboard/settings")?;
    let who = alice.send("GET", "/api/auth/me", None)?.is(200)?;
    if who["user"]["email"] != "owner@example.com" {
        return Err(format!("signed in as {who}").into());
    }
    Browser::new(address).ends_at("login", "bob", "/dashboard/login#oauth=unknown")?;
    Browser::new(address).ends_at("login", "deny", "/dashboard/login#oauth=denied")?;
    // The connection, its sealed token, and a refreshed one.
    let connections = owner.send("GET", "/api/oauth_connections", None)?.is(200)?;
    let connection = connections["items"][0].clone();
    if connection["provider"] != "local" || connection["subject"] != "alice" || connection["status"] != "active" {
        return Err(format!("the connection is {connections}").into());
    }
    let tokens = owner.send("GET", "/api/oauth_tokens", None)?.is(200)?;
    if tokens["items"][0]["access_token"] != json!({"sealed": true}) {
        return Err(format!("the token is {tokens}").into());
    }
    let refresh = format!("/api/auth/oauth/connections/{}/refresh", connection["id"].as_str().unwrap_or_default());
    for _ in 0..3 {
        owner.send("POST", &refresh, None)?.is(200)?; // the provider gives a new refresh token each time, and takes each once
    }
    Ok(())
}

/// Rates pages with lighthouse.
fn judge(folder: &Path, address: &str, session: &str) -> Outcome {
    let chromium = browser::chromium_path()?;
    let origin = format!("http://localhost:{}", address.rsplit(':').next().unwrap_or_default());
    let pages = ["/", "/dashboard/", "/dashboard/media", "/dashboard/settings"];
    let output = Command::new("node")
        .current_dir(folder)
        .arg("lighthouse.mjs")
        .arg(chromium)
        .arg(format!("__Host-session={session}"))
        .args(pages.map(|path| format!("{origin}{path}")))
        .output()?;
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let judged: Vec<Value> = lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    if judged.len() != pages.len() {
        return Err(format!("lighthouse: {lines}{}", String::from_utf8_lossy(&output.stderr)).into());
    }
    for page in judged {
        let scores = ["accessibility", "best-practices"].map(|name| page[name]["score"].as_u64().unwrap_or_default());
        println!("lighthouse: {} accessibility {}, best practices {}", page["url"], scores[0], scores[1]);
        if page["final"] != page["url"] || scores.iter().any(|score| *score < SCORE) {
            return Err(format!("lighthouse: {page}").into());
        }
    }
    Ok(())
}

/// A client that keeps cookies and follows redirects.
struct Browser {
    address: String,
    cookies: BTreeMap<String, String>,
    /// Cookies of the provider.
    elsewhere: BTreeMap<String, String>,
}

impl Browser {
    fn new(address: &str) -> Self {
        Self { address: address.to_owned(), cookies: BTreeMap::new(), elsewhere: BTreeMap::new() }
    }

    fn post(&mut self, path: &str, body: &Value) -> Result<Answered> {
        self.send("POST", path, Some(body))
    }

    fn send(&mut self, method: &str, path: &str, body: Option<&Value>) -> Result<Answered> {
        let cookie = header(&self.cookies);
        let headers =
            [("Content-Type", "application/json"), ("Sec-Fetch-Site", "same-origin"), ("Cookie", cookie.as_str())];
        let body = body.map(Value::to_string).unwrap_or_default();
        let answer = ask(&self.address, method, path, &headers, body.as_bytes())?;
        keep(&mut self.cookies, &answer);
        Ok(Answered { what: format!("{method} {path}"), answer })
    }

    /// Signs in through the provider as a user, and checks where the redirects end.
    fn ends_at(&mut self, intent: &str, who: &str, expected: &str) -> Outcome {
        let begin = json!({"intent": intent, "return_to": "/dashboard/settings"});
        let url = self.post("/api/auth/oauth/local", &begin)?.is(200)?["url"].as_str().unwrap_or_default().to_owned();
        let mut url = format!("{url}&login_hint={who}");
        self.elsewhere.clear();
        for _ in 0..10 {
            let rest = url.strip_prefix("http://").ok_or_else(|| format!("sent to {url}"))?;
            let (host, path) = rest.split_once('/').ok_or("a path")?;
            let host = host.to_owned();
            let path = format!("/{path}");
            if host == self.address {
                let answered = self.send("GET", &path, None)?;
                let location = answered.answer.header("location").unwrap_or_default();
                let fits = answered.answer.status == 303 && location == expected;
                let told =
                    || format!("{intent} as {who} ends at {location:?}, not {expected}: {}", answered.answer.text());
                return if fits { Ok(()) } else { Err(told().into()) };
            }
            let cookie = header(&self.elsewhere);
            let answer = ask(&host, "GET", &path, &[("Cookie", cookie.as_str())], b"")?;
            keep(&mut self.elsewhere, &answer);
            let location = answer.header("location").ok_or_else(|| format!("{url}: {}", answer.text()))?;
            url = if location.starts_with('/') { format!("http://{host}{location}") } else { location };
        }
        Err("the provider sends us around in circles".into())
    }
}

struct Answered {
    what: String,
    answer: Answer,
}

impl Answered {
    fn is(self, status: u16) -> Result<Value> {
        if self.answer.status != status {
            return Err(format!("{}: {} {}", self.what, self.answer.status, self.answer.text()).into());
        }
        Ok(serde_json::from_slice(&self.answer.body).unwrap_or_default())
    }
}

fn header(cookies: &BTreeMap<String, String>) -> String {
    cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
}

fn keep(cookies: &mut BTreeMap<String, String>, answer: &Answer) {
    for (_, cookie) in answer.headers.iter().filter(|(name, _)| name == "set-cookie") {
        // A server may send several cookies in one line; a date has a comma, too.
        for cookie in cookie.split(", ").filter(|it| it.contains('=')) {
            let pair = cookie.split(';').next().unwrap_or_default();
            if let Some((name, value)) = pair.split_once('=') {
                match value {
                    "" => drop(cookies.remove(name)),
                    value => drop(cookies.insert(name.to_owned(), value.to_owned())),
                }
            }
        }
    }
}

fn install(folder: &PathBuf) -> Outcome {
    std::fs::create_dir_all(folder)?;
    for (name, text) in SCRIPTS {
        std::fs::write(folder.join(name), text)?;
    }
    npm::install(folder, &PACKAGES)
}
