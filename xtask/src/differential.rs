//! Sends the same requests to the platform natively and as a Worker; the responses must agree.

mod chat;
mod mail;
mod steps;

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::http::{Answer, Server, ask};
use crate::programs::program;
use crate::worker::{SECRETS, Workerd, build_platform, platform};
use crate::{Outcome, target};
use steps::{Step, steps};

/// Headers on which an application or a cache acts.
const HEADERS: [&str; 18] = [
    "accept-ranges",
    "allow",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-length",
    "content-location",
    "content-range",
    "content-type",
    "etag",
    "location",
    "set-cookie",
    "tus-extension",
    "tus-resumable",
    "upload-length",
    "upload-offset",
    "vary",
    "x-content-type-options",
];
/// Headers whose values differ between servers; only their presence is compared.
const PRESENT: [&str; 4] = ["last-modified", "mcp-session-id", "upload-expires", "x-request-id"];

/// Steps with an expected difference, with the reason. Each is listed in ARCHITECTURE.md, "Native and Worker".
const DIFFERENT: [(&str, &[&str], &str); 4] = [
    (
        "what events come to",
        &["status: native 200, Worker 501", "content-length", "content-type", "body"],
        "Analytics Engine's binding only writes; asking takes an Analytics SQL binding or an API token",
    ),
    (
        "a style sheet, compressed",
        &["content-encoding", "content-length", "etag", "body"],
        "each compresses what has no variant: Cloudflare by itself, natively the site, as the client likes best, under an etag of its own",
    ),
    (
        "it, compressed",
        &["content-encoding", "content-length", "body"],
        "Cloudflare compresses by itself what the site has no variant of",
    ),
    (
        "up and out, encoded",
        &["status: native 400, Worker 404", "cache-control", "content-length", "content-type", "vary", "body"],
        "the runtime resolves the dots of a URL before the Worker sees it",
    ),
];

/// One of the two servers, with the names that it has generated.
struct Side {
    address: String,
    names: BTreeMap<String, String>,
    /// The session cookie of the signed-in user.
    cookie: Option<String>,
}

pub(crate) fn run() -> Outcome {
    let program = program("platform")?;
    let state = std::path::absolute(target().join("differential-state"))?;
    if state.exists() {
        fs::remove_dir_all(&state)?;
    }
    let mut command = Command::new(program);
    let native =
        Server::start(command.args(["--port", "0", "--root"]).arg(&state).envs(SECRETS).env("MAIL_URL", "off"))?;
    let build = build_platform()?;
    let workerd = Workerd::start(&platform(build.clone(), 0)?)?;
    let side = |address: &str| Side { address: address.to_owned(), names: BTreeMap::new(), cookie: None };
    let mut native_side = side(&native.address);
    let mut worker_side = side(&workerd.address);

    let first = std::time::Instant::now();
    ask(&workerd.address, "GET", "/healthz", &[], b"")?;
    println!("workerd with the Worker is up in {:?}, its first answer takes {:?}", workerd.started_in, first.elapsed());

    let mut agreed = 0;
    let mut differing = Vec::new();
    for step in steps() {
        let one = native_side.take(&step)?;
        let other = worker_side.take(&step)?;
        let differences = compare(&one, &other);
        let known = DIFFERENT.iter().find(|(name, ..)| *name == step.name);
        let as_known = |what: &[&str]| {
            what.len() == differences.len() && what.iter().zip(&differences).all(|(known, is)| is.starts_with(known))
        };
        match (differences.is_empty(), known) {
            (true, None) => agreed += 1,
            (false, Some((name, what, why))) if as_known(what) => println!("differs  {name}: {why}"),
            (true, Some((name, ..))) => differing.push(format!("{name}: they agree now: take it off the list")),
            (false, _) => differing.push(format!("{}:\n    {}", step.name, differences.join("\n    "))),
        }
    }
    check_cache(&workerd.address, steps::MARK)?;
    // A response that must be revalidated is cached for one second, with its `Cache-Control` unchanged.
    let page = check_cache(&workerd.address, "/")?;
    let control = page.header("cache-control");
    let ours = page.header("x-isobar-cache-control");
    if (control.as_deref(), ours.as_deref()) != (Some("public, max-age=0, must-revalidate"), None) {
        return Err(format!("a page out of the cache says {:?}", page.headers).into());
    }
    for (name, talk) in [("the chat", chat::talk as fn(&str, &str) -> chat::Talk), ("the call", chat::call)] {
        let one = native_side.talk(talk)?;
        let other = worker_side.talk(talk)?;
        if one == other {
            agreed += 1;
        } else {
            differing.push(format!("{name}:\n    native: {one:#?}\n    worker: {other:#?}"));
        }
    }
    println!("native and Worker agree on {agreed} steps");
    mail::check(build)?;
    if differing.is_empty() {
        return Ok(());
    }
    Err(format!("native and Worker differ on {} steps:\n{}", differing.len(), differing.join("\n")).into())
}

/// Checks that a public response comes from the data centre's cache.
fn check_cache(address: &str, path: &str) -> Result<Answer, Box<dyn std::error::Error>> {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        let answer = ask(address, "GET", path, &[], b"")?;
        if answer.header("cf-cache-status").as_deref() == Some("HIT") {
            println!("the Worker's second answer for {path} is out of the cache");
            return Ok(answer);
        }
        if std::time::Instant::now() > deadline {
            return Err(format!("{path} never comes out of the cache: {:?}", answer.headers).into());
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

impl Side {
    /// Runs a step. In the response, the names that this server has generated are replaced by common ones.
    fn take(&mut self, step: &Step) -> Result<Answer, Box<dyn std::error::Error>> {
        let mut path = step.path.to_owned();
        for (name, value) in &self.names {
            path = path.replace(&format!("{{{name}}}"), value);
        }
        let named: Vec<(&str, String)> = step
            .headers
            .iter()
            .map(|(header, value)| {
                let named = |value: String, (name, own): (&String, &String)| value.replace(&format!("{{{name}}}"), own);
                (*header, self.names.iter().fold((*value).to_owned(), named))
            })
            .collect();
        let mut headers: Vec<(&str, &str)> = named.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let cookie = self.cookie.clone().filter(|_| !step.anonymous);
        if let Some(cookie) = &cookie {
            headers.push(("Cookie", cookie));
            if !headers.iter().any(|(name, _)| ["Sec-Fetch-Site", "Origin"].contains(name)) {
                headers.push(("Sec-Fetch-Site", "same-origin"));
            }
        }
        let mut body = step.body.clone();
        for (name, value) in &self.names {
            body = replace(&body, format!("{{{name}}}").as_bytes(), value.as_bytes());
        }
        let key = self.names.get("key").map(|key| format!("Bearer {key}"));
        if let Some(key) = key.as_ref().filter(|_| step.with_key) {
            headers.push(("Authorization", key));
        }
        let mut answer = ask(&self.address, step.method, &path, &headers, &body)?;
        if let Some(cookie) = answer.header("set-cookie") {
            self.cookie = cookie.split(';').next().map(ToOwned::to_owned);
        }
        if let Some(name) = step.names {
            let field = step.field;
            let id = |body: Value| match &body[field] {
                Value::String(id) => Some(id.clone()),
                Value::Number(id) => Some(id.to_string()),
                _ => None,
            };
            let id = answer.header(field).or_else(|| serde_json::from_slice::<Value>(&answer.body).ok().and_then(id));
            let id =
                id.ok_or_else(|| format!("{}: {} has no {field} in {}", self.address, step.name, answer.text()))?;
            self.names.insert(name.to_owned(), id);
        }
        self.normalise(&mut answer);
        Ok(answer)
    }

    fn talk(&self, talk: fn(&str, &str) -> chat::Talk) -> chat::Talk {
        talk(&self.address, self.cookie.as_deref().unwrap_or_default())
    }

    fn normalise(&self, answer: &mut Answer) {
        let mut boundary = None;
        for (name, value) in &mut answer.headers {
            if let Some((kind, own)) = value.split_once("boundary=").filter(|_| name == "content-type") {
                boundary = Some(own.trim_matches('"').to_owned());
                *value = format!("{kind}boundary=<boundary>");
            }
            if name == "set-cookie" {
                let (cookie, rest) = value.split_once(';').unwrap_or((value.as_str(), ""));
                let kind = if cookie.ends_with('=') { "nothing" } else { "a token" };
                *value = format!("{}={kind};{rest}", cookie.split('=').next().unwrap_or_default());
            }
            *value = self.rename(value);
        }
        if let Some(own) = boundary {
            answer.body = replace(&answer.body, own.as_bytes(), b"<boundary>");
        }
        if let Ok(mut json) = serde_json::from_slice::<Value>(&answer.body) {
            self.normalise_json(&mut json);
            answer.body = json.to_string().into_bytes();
        } else if let Ok(text) = std::str::from_utf8(&answer.body) {
            answer.body = self.rename(text).into_bytes();
        }
    }

    fn normalise_json(&self, json: &mut Value) {
        match json {
            Value::String(text) => {
                *text = if is_cursor(text) {
                    "<cursor>".to_owned()
                } else if is_time(text) {
                    "<time>".to_owned()
                } else {
                    self.rename(text)
                }
            }
            Value::Array(list) => list.iter_mut().for_each(|one| self.normalise_json(one)),
            Value::Object(object) if object.contains_key("prefix") => {
                // The random parts of an API key.
                object.remove("prefix");
                object.remove("key");
                object.values_mut().for_each(|one| self.normalise_json(one));
            }
            Value::Object(object) => object.values_mut().for_each(|one| self.normalise_json(one)),
            _ => {}
        }
    }

    fn rename(&self, text: &str) -> String {
        // Numbers are the same on both sides, so they are not replaced.
        let random = self.names.iter().filter(|(_, own)| own.parse::<u64>().is_err());
        let renamed = random.fold(text.to_owned(), |text, (name, own)| text.replace(own, &format!("<{name}>")));
        without_signature(&without_ids(&renamed.replace(&self.address, "<address>")))
    }
}

fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut replaced = Vec::new();
    let mut rest = bytes;
    while let Some(at) = rest.windows(from.len().max(1)).position(|window| window == from) {
        replaced.extend_from_slice(&rest[..at]);
        replaced.extend_from_slice(to);
        rest = &rest[at + from.len()..];
    }
    replaced.extend_from_slice(rest);
    replaced
}

/// Whether a text is a cursor of a list: base64 of JSON that begins with an array and a string.
fn is_cursor(text: &str) -> bool {
    text.starts_with("WyI") && text.len() > 20
}

/// Replaces UUIDs that no step has named, as they differ between servers.
fn without_ids(text: &str) -> String {
    let is_id = |bytes: &[u8]| {
        bytes.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
    };
    let mut replaced = text.as_bytes().to_vec();
    let mut from = 0;
    while let Some(at) = replaced[from..].windows(36).position(is_id) {
        replaced.splice(from + at..from + at + 36, *b"<id>");
        from += at + 4;
    }
    String::from_utf8(replaced).unwrap_or_else(|_| text.to_owned())
}

/// Removes the signature of a link, as each server has its own key.
fn without_signature(text: &str) -> String {
    match text.split_once("signature=") {
        Some((before, after)) => {
            let rest = after.trim_start_matches(|it: char| it.is_ascii_hexdigit());
            let before = before.split_once("expires=").map_or(before, |(before, _)| before);
            format!("{before}expires=<time>&signature=<signature>{rest}")
        }
        None => text.to_owned(),
    }
}

/// Whether a text begins with a time: `2026-11-23 10:11:12`, or with a T between date and time.
fn is_time(text: &str) -> bool {
    let shape: String = text.chars().take(19).map(|char| if char.is_ascii_digit() { '0' } else { char }).collect();
    matches!(shape.as_str(), "0000-00-00 00:00:00" | "0000-00-00T00:00:00")
}

fn compare(native: &Answer, worker: &Answer) -> Vec<String> {
    let mut differences = Vec::new();
    let mut differ = |what: &str, one: String, other: String| {
        if one != other {
            differences.push(format!("{what}: native {one}, Worker {other}"));
        }
    };
    differ("status", native.status.to_string(), worker.status.to_string());
    for name in HEADERS {
        // An empty body has no length inside Workers.
        let header = |answer: &Answer| answer.header(name).filter(|it| !(name == "content-length" && it == "0"));
        differ(name, format!("{:?}", header(native)), format!("{:?}", header(worker)));
    }
    for name in PRESENT {
        let is_there = |answer: &Answer| format!("there: {}", answer.header(name).is_some());
        differ(name, is_there(native), is_there(worker));
    }
    if native.body != worker.body {
        let cut = |answer: &Answer| answer.text().chars().take(300).collect::<String>();
        differ(
            "body",
            format!("{} bytes {}", native.body.len(), cut(native)),
            format!("{} bytes {}", worker.body.len(), cut(worker)),
        );
    }
    differences
}
