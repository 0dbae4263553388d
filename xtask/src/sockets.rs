//! The platform's session objects under one hostile user: thousands of sockets, floods into rooms that nobody reads. Prints and
//! limits the cost in memory and the latency of other users meanwhile.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::bench::memory;
use crate::http::{Server, ask};
use crate::programs::program;
use crate::worker::{SECRETS, first_owner};
use crate::{Outcome, target};

/// Number of sockets that one user tries to open in one room.
const SOCKETS: usize = 1500;
/// Number of sockets that read nothing, and of their rooms.
const DEAF: usize = 300;
const ROOMS: usize = 20;
/// Duration of the flood of events into them: `typing`, edits and messages, as fast as possible.
const FLOOD: Duration = Duration::from_secs(8);
/// Number of subscriptions that one MCP session requests.
const SUBSCRIPTIONS: usize = 3000;
/// Limit of the additional memory in MiB. How much the allocator holds for events in flight, at most 256 of each room, depends on the
/// machine's speed: up to 122 MiB were seen. Without the limits that are tested here it was 600 MiB.
const MEMORY: u64 = 192;
/// Time limit for a response meanwhile, in a development build.
const PATIENCE: Duration = Duration::from_secs(1);

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// The platform under test, with a signed-in user.
struct Attacked {
    server: Server,
    cookie: String,
}

pub(crate) fn run() -> Outcome {
    let program = program("platform")?;
    let root = target().join("sockets-state");
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    let mut command = Command::new(program);
    let server =
        Server::start(command.args(["--port", "0", "--root"]).arg(&root).envs(SECRETS).env("RUST_LOG", "error"))?;
    let body = first_owner().to_string();
    let json = [("Content-Type", "application/json"), ("Sec-Fetch-Site", "same-origin")];
    let answer = ask(&server.address, "POST", "/api/auth/signup", &json, body.as_bytes())?;
    let cookies: Vec<_> = answer.headers.iter().filter(|(name, _)| name == "set-cookie").map(|(_, it)| it).collect();
    let cookies = cookies.iter().filter_map(|cookie| cookie.split(';').next());
    let attacked = Attacked { cookie: cookies.collect::<Vec<_>>().join("; "), server };
    if answer.status != 201 {
        return Err(format!("the owner cannot sign up: {}", answer.text()).into());
    }
    attacked.others("alone")?;
    many_sockets(&attacked)?;
    floods(&attacked)?;
    subscriptions(&attacked)?;
    attacked.others("at the end")?;
    Ok(())
}

impl Attacked {
    fn headers(&self) -> [(&'static str, String); 3] {
        [
            ("Cookie", self.cookie.clone()),
            ("Sec-Fetch-Site", "same-origin".to_owned()),
            ("Origin", format!("http://{}", self.server.address)),
        ]
    }

    fn ask(&self, method: &str, path: &str, more: &[(&str, &str)], body: &str) -> Result<crate::http::Answer> {
        let own = self.headers();
        let headers: Vec<_> =
            own.iter().map(|(name, value)| (*name, value.as_str())).chain(more.iter().copied()).collect();
        Ok(ask(&self.server.address, method, path, &headers, body.as_bytes())?)
    }

    fn memory(&self) -> u64 {
        memory(self.server.pid()) >> 20
    }

    /// Measures the latency of other users: for a page, for the database, for their own room.
    fn others(&self, when: &str) -> Result<Duration> {
        let mut slowest = Duration::ZERO;
        for number in 0..10 {
            for (method, path, body) in [
                ("GET", "/healthz", String::new()),
                ("GET", "/api/support_tickets", String::new()),
                ("GET", "/api/sessions/chat/quiet/history", String::new()),
                ("POST", "/api/sessions/chat/quiet/messages", json!({"text": format!("{when} {number}")}).to_string()),
            ] {
                let begun = Instant::now();
                let status = self.ask(method, path, &[("Content-Type", "application/json")], &body)?.status;
                slowest = slowest.max(begun.elapsed());
                // Ten messages are within the user's rate limit, but earlier ones may still count.
                if !matches!((method, status), (_, 200 | 201) | ("POST", 429)) {
                    return Err(format!("{when}: {method} {path} is answered by {status}").into());
                }
            }
        }
        println!("{when}: others are answered within {:.1} ms", slowest.as_secs_f64() * 1000.0);
        if slowest > PATIENCE {
            return Err(format!("{when}: an answer took {slowest:?}").into());
        }
        Ok(slowest)
    }

    /// Opens a socket to a room. Returns the status, which is 101 for an open socket.
    fn socket(&self, room: &str) -> Result<(u16, TcpStream)> {
        let mut stream = TcpStream::connect(&self.server.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut head = format!("GET /api/sessions/chat/{room}/socket HTTP/1.1\r\nHost: {}\r\n", self.server.address);
        for (name, value) in self.headers() {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n");
        stream.write_all(head.as_bytes())?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        let status = std::str::from_utf8(&status[9..])?.parse()?;
        Ok((status, stream))
    }

    fn check_memory(&self, before: u64, what: &str) -> Outcome {
        let more = self.memory().saturating_sub(before);
        println!("  they take {more} MiB");
        if more > MEMORY { Err(format!("{what}: {more} MiB are too much").into()) } else { Ok(()) }
    }
}

/// Formats a text frame with a zero mask.
fn frame(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).unwrap_or(125).min(125);
    [&[0x81, 0x80 | length, 0, 0, 0, 0], &text.as_bytes()[..usize::from(length)]].concat()
}

fn many_sockets(attacked: &Attacked) -> Outcome {
    let before = attacked.memory();
    let mut open = Vec::new();
    let mut refused = 0;
    for _ in 0..SOCKETS {
        match attacked.socket("crowd")? {
            (101, stream) => open.push(stream),
            (429, _) => refused += 1,
            (status, _) => return Err(format!("a socket is answered by {status}").into()),
        }
    }
    println!("of {SOCKETS} sockets of one user in a room {} are open and {refused} refused", open.len());
    if open.len() > 16 {
        return Err("that is more than one user may have".into());
    }
    attacked.others("beside them")?;
    attacked.check_memory(before, "sockets of one user")
}

fn floods(attacked: &Attacked) -> Outcome {
    let before = attacked.memory();
    let mut deaf = Vec::new();
    for number in 0..DEAF {
        let room = format!("flood-{}", number % ROOMS);
        let (status, stream) = attacked.socket(&room)?;
        if status != 101 {
            return Err(format!("a socket of {room} is answered by {status}").into());
        }
        stream.set_nonblocking(true)?;
        deaf.push(Some(stream));
    }
    let frames =
        [r#"{"type":"typing"}"#, r#"{"type":"edit","id":1,"text":"x"}"#, r#"{"type":"send","text":"x"}"#].map(frame);
    let begun = Instant::now();
    let mut sent = 0;
    let mut slowest = Duration::ZERO;
    let mut looked = Instant::now();
    while begun.elapsed() < FLOOD && deaf.iter().any(Option::is_some) {
        for (number, socket) in deaf.iter_mut().enumerate() {
            let Some(stream) = socket else { continue };
            match stream.write(&frames[(number + sent) % frames.len()]) {
                Ok(_) => sent += 1,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => *socket = None, // it was closed: that is what should happen
            }
        }
        if looked.elapsed() > Duration::from_secs(2) {
            looked = Instant::now();
            slowest = slowest.max(attacked.others("beside floods")?);
        }
    }
    let left = deaf.iter().flatten().count();
    let took = begun.elapsed().as_secs_f64();
    println!("{DEAF} sockets that read nothing sent {sent} events in {took:.1} s; {left} of them are left");
    slowest = slowest.max(attacked.others("after floods")?);
    println!("  others waited {:.1} ms at most", slowest.as_secs_f64() * 1000.0);
    attacked.check_memory(before, "floods")
}

fn subscriptions(attacked: &Attacked) -> Outcome {
    let before = attacked.memory();
    let accept = ("Accept", "application/json, text/event-stream");
    let json_type = ("Content-Type", "application/json");
    let initialize = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25",
        "capabilities": {}, "clientInfo": {"name": "attack", "version": "1"}}});
    let answer = attacked.ask("POST", "/api/mcp", &[accept, json_type], &initialize.to_string())?;
    let session = answer.header("mcp-session-id").ok_or("no session of MCP was begun")?;
    let headers = [accept, json_type, ("Mcp-Session-Id", session.as_str()), ("MCP-Protocol-Version", "2025-11-25")];
    let mut taken = 0;
    let mut refused = 0;
    for number in 0..SUBSCRIPTIONS {
        let uri = format!("isobar://prompts/{number}");
        let subscribe =
            json!({"jsonrpc": "2.0", "id": number, "method": "resources/subscribe", "params": {"uri": uri}});
        match attacked.ask("POST", "/api/mcp", &headers, &subscribe.to_string())?.status {
            200 => taken += 1,
            429 => refused += 1,
            status => return Err(format!("a subscription is answered by {status}").into()),
        }
    }
    println!("of {SUBSCRIPTIONS} subscriptions of one session {taken} are taken and {refused} refused");
    if taken > 200 {
        return Err("that is more than one user may have".into());
    }
    attacked.check_memory(before, "subscriptions")
}
