//! Record of acknowledged writes of the platform: rows, objects with their bytes, chat messages.

use std::error::Error;
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket};

use super::platform::Platform;

/// Bytes of a body that lies in a pack, and of one that is a blob of its own.
const SMALL: usize = 3_000;
const LARGE: usize = 90_000;

/// An acknowledged write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    /// A row: its id and subject.
    Ticket(String, String),
    /// An object: its id, the seed of its bytes, and their number.
    Image(String, u32, usize),
    /// A chat message: its room and text.
    Said(String, String),
}

/// The state in which an entry was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    Whole,
    /// The response was an error with this status.
    Error(u16),
    /// The response was as if it had never existed.
    Missing,
    /// The response had different content, the worst case.
    Changed(String),
}

/// Checks whether a body is the acknowledged one.
type Judge = Box<dyn Fn(&[u8]) -> bool>;

/// All acknowledged writes, in order.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) entries: Vec<Entry>,
    next: u32,
}

/// The outcome of one attempt to write.
pub(super) type Attempt = Result<(), (u16, String)>;

impl Ledger {
    /// Writes one entry of each kind and records the acknowledged ones. Returns the refusals.
    pub(super) fn write(&mut self, platform: &Platform) -> Result<Vec<(u16, String)>, Box<dyn Error>> {
        let attempts = [
            self.ticket(platform)?,
            self.image(platform, SMALL)?,
            self.image(platform, LARGE)?,
            self.say(platform, "lobby"),
        ];
        Ok(attempts.into_iter().filter_map(Result::err).collect())
    }

    /// Writes a row.
    pub(super) fn ticket(&mut self, platform: &Platform) -> Result<Attempt, Box<dyn Error>> {
        let subject = format!("ticket {}", self.number());
        let body = json!({ "subject": subject }).to_string();
        let answer =
            platform.ask("POST", "/api/support_tickets", &[("Content-Type", "application/json")], body.as_bytes())?;
        if answer.status != 201 {
            return Ok(Err((answer.status, answer.text())));
        }
        self.entries.push(Entry::Ticket(id(&answer.body)?, subject));
        Ok(Ok(()))
    }

    /// Writes an object with its row.
    pub(super) fn image(&mut self, platform: &Platform, bytes: usize) -> Result<Attempt, Box<dyn Error>> {
        let seed = self.number();
        let answer = platform.ask("POST", &format!("/api/images?name=i{seed}.png"), &[], &png(seed, bytes))?;
        if answer.status != 201 {
            return Ok(Err((answer.status, answer.text())));
        }
        self.entries.push(Entry::Image(id(&answer.body)?, seed, bytes));
        Ok(Ok(()))
    }

    /// Sends a message to a room; its echo is the acknowledgement.
    pub(super) fn say(&mut self, platform: &Platform, room: &str) -> Attempt {
        let text = format!("message {}", self.number());
        match say(platform, room, &text) {
            Ok(()) => {
                self.entries.push(Entry::Said(room.to_owned(), text));
                Ok(())
            }
            Err(error) => Err((0, error.to_string())),
        }
    }

    fn number(&mut self) -> u32 {
        self.next += 1;
        self.next
    }

    /// Looks every entry up.
    pub(super) fn look_up(&self, platform: &Platform) -> Result<Vec<(Entry, Found)>, Box<dyn Error>> {
        self.entries.iter().map(|entry| Ok((entry.clone(), find(platform, entry)?))).collect()
    }

    /// Fails unless all acknowledged writes are intact.
    pub(super) fn is_whole(&self, platform: &Platform, when: &str) -> crate::Outcome {
        let lost: Vec<String> = self
            .look_up(platform)?
            .into_iter()
            .filter(|(_, found)| *found != Found::Whole)
            .map(|(entry, found)| format!("{entry:?}: {found:?}"))
            .collect();
        if lost.is_empty() {
            return Ok(());
        }
        Err(format!(
            "{when}: {} of {} entries are not as acknowledged:\n{}",
            lost.len(),
            self.entries.len(),
            lost.join("\n")
        )
        .into())
    }
}

fn find(platform: &Platform, entry: &Entry) -> Result<Found, Box<dyn Error>> {
    let (path, judge): (String, Judge) = match entry {
        Entry::Ticket(id, subject) => {
            let subject = subject.clone();
            let is_it = move |body: &[u8]| {
                serde_json::from_slice::<Value>(body).is_ok_and(|row| row["subject"] == subject.as_str())
            };
            (format!("/api/support_tickets/{id}"), Box::new(is_it))
        }
        Entry::Image(id, seed, bytes) => {
            let whole = png(*seed, *bytes);
            (format!("/api/images/{id}/content"), Box::new(move |body| body == whole))
        }
        Entry::Said(room, text) => return said(platform, room, text),
    };
    let answer = match platform.get(&path) {
        Ok(answer) => answer,
        // An incomplete body is an error that the client sees.
        Err(error) if error.to_string().contains("no HTTP response") => return Ok(Found::Error(0)),
        Err(error) => return Err(error),
    };
    let length: Option<usize> = answer.header("content-length").and_then(|length| length.parse().ok());
    Ok(match answer.status {
        200 if length.is_some_and(|length| length != answer.body.len()) => Found::Error(200),
        200 if judge(&answer.body) => Found::Whole,
        200 => Found::Changed(format!("{} bytes", answer.body.len())),
        404 => Found::Missing,
        status => Found::Error(status),
    })
}

/// Looks a message up in its room's history, which is read to its beginning.
fn said(platform: &Platform, room: &str, text: &str) -> Result<Found, Box<dyn Error>> {
    let mut before = String::new();
    loop {
        let answer = platform.get(&format!("/api/sessions/chat/{room}/history{before}"))?;
        if answer.status != 200 {
            return Ok(if answer.status == 404 { Found::Missing } else { Found::Error(answer.status) });
        }
        let page: Value = serde_json::from_slice(&answer.body)?;
        let messages = page["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
        if messages.iter().any(|message| message["text"] == text) {
            return Ok(Found::Whole);
        }
        match messages.first().and_then(|first| first["id"].as_i64()) {
            Some(first) if first > 1 => before = format!("?before={first}"),
            _ => return Ok(Found::Missing),
        }
    }
}

fn say(platform: &Platform, room: &str, text: &str) -> Result<(), Box<dyn Error>> {
    let mut socket = join(platform, room)?;
    socket.send(Message::text(json!({"type": "send", "text": text}).to_string()))?;
    loop {
        let message = socket.read()?;
        let event: Value = serde_json::from_str(message.to_text()?).unwrap_or_default();
        match event["type"].as_str() {
            Some("message") if event["message"]["text"] == text => return Ok(()),
            Some("error") => return Err(event.to_string().into()),
            _ => {}
        }
    }
}

/// Opens a socket to a chat room.
pub(super) fn join(platform: &Platform, room: &str) -> Result<WebSocket<TcpStream>, Box<dyn Error>> {
    let stream = TcpStream::connect(platform.address())?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut request = format!("ws://{}/api/sessions/chat/{room}/socket", platform.address()).into_client_request()?;
    request.headers_mut().insert("cookie", platform.cookie.parse()?);
    request.headers_mut().insert("origin", format!("http://{}", platform.address()).parse()?);
    let (socket, _) = tungstenite::client(request, stream).map_err(|error| error.to_string())?;
    Ok(socket)
}

fn id(body: &[u8]) -> Result<String, Box<dyn Error>> {
    let value: Value = serde_json::from_slice(body)?;
    match &value["id"] {
        Value::String(id) => Ok(id.clone()),
        Value::Number(id) => Ok(id.to_string()),
        _ => Err(format!("no id in {value}").into()),
    }
}

const HEAD: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x04\0\0\0\x04\x08\x06\0\0\0";

/// Creates a PNG of 4 x 4 pixels with further bytes from a seed.
fn png(seed: u32, rest: usize) -> Vec<u8> {
    let mut state = u64::from(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let bytes = std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    });
    HEAD.iter().copied().chain(bytes.take(rest)).collect()
}
