//! The platform's session object: today a chat room with an ordered, durable history.

use chrono::Utc;
use http::{Method, StatusCode, header};
use isobar_sessions::{
    Body, CloseFrame, Message, Request, Response, Result, SessionContext, SessionObject, WebSocket, socket_pair,
    websocket_response,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Bytes of text in a message.
const TEXT_BYTES: usize = 4096;
/// Messages that a newcomer is sent, and a page of the history.
const PAGE: i64 = 50;

/// One room by its name. `GET /socket?name=Ada` opens a WebSocket: the room sends the latest messages, then each new one;
/// a client sends `{"text": "..."}`. `GET /history?before=17` pages backwards.
#[derive(Debug)]
pub struct IamSession {
    context: SessionContext,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    id: i64,
    author: String,
    text: String,
    at: String,
}

#[derive(Debug, Deserialize)]
struct Incoming {
    text: String,
}

impl SessionObject for IamSession {
    type Env = ();

    async fn start(context: SessionContext, (): ()) -> Result<Self> {
        context.sql().exec(
            "CREATE TABLE IF NOT EXISTS messages (
                id INTEGER PRIMARY KEY AUTOINCREMENT, author TEXT NOT NULL, text TEXT NOT NULL, at TEXT NOT NULL
            )",
            (),
        )?;
        context.set_auto_response(Some(("ping", "pong")))?;
        Ok(Self { context })
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        let query = |name: &str| query_value(request.uri().query().unwrap_or_default(), name);
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/socket") => self.join(query("name").unwrap_or_else(|| "guest".to_owned())),
            (&Method::GET, "/history") => {
                let before = query("before").and_then(|before| before.parse().ok()).unwrap_or(i64::MAX);
                Ok(answer(StatusCode::OK, &json!({"messages": self.history(before)?})))
            }
            (_, path) => {
                let detail = format!("a room has /socket and /history, not {path}");
                Ok(answer(StatusCode::NOT_FOUND, &json!({"status": 404, "title": "Not Found", "detail": detail})))
            }
        }
    }

    async fn message(&self, socket: &WebSocket, message: Message) -> Result<()> {
        let incoming = serde_json::from_slice::<Incoming>(message.as_bytes());
        let text = match incoming {
            Ok(Incoming { text }) if !text.trim().is_empty() && text.len() <= TEXT_BYTES => text,
            Ok(_) => {
                return socket.send_json(&json!({"type": "error", "detail": "a message has 1 to 4096 bytes of text"}));
            }
            Err(_) => return socket.send_json(&json!({"type": "error", "detail": "send {\"text\": \"...\"}"})),
        };
        let author = socket.attachment::<String>()?.unwrap_or_default();
        let sql = "INSERT INTO messages (author, text, at) VALUES (?, ?, ?) RETURNING id, author, text, at";
        let entry: Entry = self.context.sql().exec(sql, (author, text, Utc::now().to_rfc3339()))?.one()?;
        // What is sent here leaves when the insert is durable, and not before.
        let message = json!({"type": "message", "message": entry}).to_string();
        for member in self.context.websockets(None) {
            member.send(message.as_str())?;
        }
        Ok(())
    }

    async fn closed(&self, socket: &WebSocket, _: CloseFrame) -> Result<()> {
        self.tell_presence(Some(socket))
    }
}

impl IamSession {
    fn join(&self, name: String) -> Result<Response> {
        let name: String = name.chars().filter(|char| !char.is_control()).take(40).collect();
        let (client, server) = socket_pair();
        let socket = self.context.accept_websocket(server, &[])?;
        socket.set_attachment(&name)?;
        socket.send_json(&json!({"type": "history", "messages": self.history(i64::MAX)?}))?;
        self.tell_presence(None)?;
        Ok(websocket_response(client))
    }

    /// The messages before this one, oldest first.
    fn history(&self, before: i64) -> Result<Vec<Entry>> {
        let sql = "SELECT id, author, text, at FROM messages WHERE id < ? ORDER BY id DESC LIMIT ?";
        let mut entries: Vec<Entry> = self.context.sql().exec(sql, (before, PAGE))?.all()?;
        entries.reverse();
        Ok(entries)
    }

    fn tell_presence(&self, leaving: Option<&WebSocket>) -> Result<()> {
        let members: Vec<_> = self.context.websockets(None).into_iter().filter(|one| Some(one) != leaving).collect();
        let names: Vec<String> = members.iter().filter_map(|member| member.attachment().ok().flatten()).collect();
        members.iter().try_for_each(|member| member.send_json(&json!({"type": "presence", "names": names})))
    }
}

fn answer(status: StatusCode, value: &serde_json::Value) -> Response {
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}

fn query_value(query: &str, name: &str) -> Option<String> {
    let value = query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name)?.1;
    Some(percent_encoding::percent_decode_str(&value.replace('+', " ")).decode_utf8_lossy().into_owned())
}
