//! A chat room: an ordered, durable history; who is there, who types, what who has read.
//!
//! `GET /socket` opens a WebSocket. The room sends `history`, then `presence`, `message`, `edited`, `deleted`, `typing` and
//! `read` as they happen, each a JSON object with a `type`. A client sends
//! `{"type": "send", "text": "...", "nonce": "..."}` - a nonce sent again is not said again -, `edit`, `delete`, `typing`,
//! `read` with an `id`, and `ping`, which is answered without waking the room.
//!
//! `GET /history?before=17&limit=50` pages backwards, `?after=17` forwards; `GET /members` says who is there;
//! `POST /messages` says something without a socket.
//!
//! A socket is closed with 4003 at the first message or event after its participant's word is over
//! ([`Participant::valid_until`]): the client comes back. A room in which nothing happens is not woken for it.

use chrono::{TimeDelta, Utc};
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::reply::{moment, parameter, refusal, reply};
use super::{ASK_AGAIN, ASK_AGAIN_WHY, Participant};
use crate::{
    CloseFrame, Message, Request, Response, Result, SessionContext, SessionObject, WebSocket, socket_pair,
    websocket_response,
};

/// Bytes of text in a message.
pub const TEXT_BYTES: usize = 4096;
/// Messages of a page, when not asked otherwise.
const PAGE: i64 = 50;
const MAX_PAGE: i64 = 200;
/// What one user may say within ten seconds.
const BURST: i64 = 20;
const ONLY_READS: &str = "you may only read here";
const BURST_WITHIN: TimeDelta = TimeDelta::seconds(10);

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS messages (
        id INTEGER PRIMARY KEY AUTOINCREMENT, author_id TEXT NOT NULL, author TEXT NOT NULL, text TEXT NOT NULL,
        nonce TEXT, at TEXT NOT NULL, edited_at TEXT, deleted_at TEXT
    );
    CREATE UNIQUE INDEX IF NOT EXISTS messages_nonce ON messages (author_id, nonce) WHERE nonce IS NOT NULL;
    CREATE INDEX IF NOT EXISTS messages_author ON messages (author_id, at);
    CREATE TABLE IF NOT EXISTS reads (user TEXT PRIMARY KEY, id INTEGER NOT NULL, at TEXT NOT NULL) WITHOUT ROWID";
const COLUMNS: &str = "id, author_id, author, text, at, edited_at, deleted_at";

/// One room.
#[derive(Debug)]
pub struct ChatRoom {
    context: SessionContext,
}

/// A message, as the room tells of it. What was deleted has no text any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Entry {
    /// Its number: each is larger than those before it.
    pub id: i64,
    /// The author's id.
    pub author_id: String,
    /// The author's name when it was said.
    pub author: String,
    /// What was said.
    pub text: String,
    /// When: RFC 3339.
    pub at: String,
    /// When it was last changed.
    pub edited_at: Option<String>,
    /// When it was deleted.
    pub deleted_at: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Command {
    Send { text: String, nonce: Option<String> },
    Edit { id: i64, text: String },
    Delete { id: i64 },
    Typing,
    Read { id: i64 },
}

/// What is wrong with a command: its sender is told, and nobody else.
#[derive(Debug)]
struct Refused {
    status: StatusCode,
    detail: &'static str,
}

type Done<T> = Result<std::result::Result<T, Refused>>;

impl SessionObject for ChatRoom {
    type Env = ();

    async fn start(context: SessionContext, (): ()) -> Result<Self> {
        context.sql().exec(SCHEMA, ())?;
        context.set_auto_response(Some((r#"{"type":"ping"}"#, r#"{"type":"pong"}"#)))?;
        Ok(Self { context })
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        let who = match Participant::of(&request) {
            Ok(who) => who,
            Err(refused) => return Ok(*refused),
        };
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/socket") => self.join(&who),
            (&Method::GET, "/history") => {
                let number = |name| parameter(request.uri(), name).and_then(|text| text.parse::<i64>().ok());
                let limit = number("limit").unwrap_or(PAGE).clamp(1, MAX_PAGE);
                let messages = match number("after") {
                    Some(after) => self.after(after, limit)?,
                    None => self.before(number("before").unwrap_or(i64::MAX), limit)?,
                };
                Ok(reply(StatusCode::OK, &json!({"messages": messages, "reads": self.reads()?})))
            }
            (&Method::GET, "/members") => Ok(reply(StatusCode::OK, &json!({"members": self.members(None)}))),
            (&Method::POST, "/messages") => {
                let body: Option<Json> = request.into_body().json().await.ok();
                let text = |name: &str| body.as_ref().and_then(|body| body[name].as_str()).map(str::to_owned);
                let said = self.say(&who, text("text").unwrap_or_default(), text("nonce"))?;
                Ok(match said {
                    Ok(entry) => reply(StatusCode::CREATED, &entry),
                    Err(refused) => refusal(refused.status, refused.detail),
                })
            }
            (_, path) => {
                let detail = format!("a room has /socket, /history, /members and /messages, not {path}");
                Ok(refusal(StatusCode::NOT_FOUND, &detail))
            }
        }
    }

    async fn message(&self, socket: &WebSocket, message: Message) -> Result<()> {
        let Some(who) = self.participant(socket)? else { return Ok(()) };
        let command = match serde_json::from_slice(message.as_bytes()) {
            Ok(command) => command,
            Err(_) => return tell(socket, r#"send {"type": "send", "text": "..."}, edit, delete, typing or read"#),
        };
        let done = match command {
            Command::Send { .. } | Command::Edit { .. } | Command::Delete { .. } | Command::Typing if !who.writes => {
                Err(refused(StatusCode::FORBIDDEN, ONLY_READS))
            }
            Command::Send { text, nonce } => self.say(&who, text, nonce)?.map(drop),
            Command::Edit { id, text } => self.edit(&who, id, &text)?,
            Command::Delete { id } => self.delete(&who, id)?,
            Command::Read { id } => self.read(&who, id)?,
            Command::Typing => {
                let typing = json!({"type": "typing", "user": who.user, "name": who.name});
                self.tell_all(&typing, Some(socket))?;
                Ok(())
            }
        };
        done.or_else(|refused| tell(socket, refused.detail))
    }

    async fn closed(&self, socket: &WebSocket, _: CloseFrame) -> Result<()> {
        self.tell_presence(Some(socket))
    }
}

impl ChatRoom {
    fn join(&self, who: &Participant) -> Result<Response> {
        let (client, server) = socket_pair();
        let socket = self.context.accept_websocket(server, &[])?;
        socket.set_attachment(who)?;
        let messages = self.before(i64::MAX, PAGE)?;
        socket.send_json(&json!({"type": "history", "messages": messages, "reads": self.reads()?, "me": {"user": who.user, "name": who.name}}))?;
        self.tell_presence(None)?;
        Ok(websocket_response(client))
    }

    /// Whose socket it is; `None` where that is not known any more.
    fn participant(&self, socket: &WebSocket) -> Result<Option<Participant>> {
        let who = socket.attachment::<Participant>()?;
        if who.as_ref().is_some_and(|who| who.valid_until < Utc::now()) {
            drop(socket.close(ASK_AGAIN, ASK_AGAIN_WHY)); // one that is closing already needs no word
            return Ok(None);
        }
        Ok(who)
    }

    fn say(&self, who: &Participant, text: String, nonce: Option<String>) -> Done<Entry> {
        if !who.writes {
            return Ok(Err(refused(StatusCode::FORBIDDEN, ONLY_READS)));
        }
        if !fits(&text) || nonce.as_ref().is_some_and(|nonce| nonce.len() > 64) {
            return Ok(Err(refused(
                StatusCode::BAD_REQUEST,
                "a message has 1 to 4096 bytes of text, a nonce 64 at most",
            )));
        }
        if let Some(nonce) = &nonce {
            let sql = format!("SELECT {COLUMNS} FROM messages WHERE author_id = ? AND nonce = ?");
            if let Some(entry) = self.context.sql().exec(&sql, (&who.user, nonce))?.next()? {
                return Ok(Ok(entry)); // said already; the others have heard it
            }
        }
        let since = moment(Utc::now() - BURST_WITHIN);
        let sql = "SELECT count(*) FROM messages WHERE author_id = ? AND at > ?";
        if self.context.sql().exec(sql, (&who.user, since))?.one::<i64>()? >= BURST {
            return Ok(Err(refused(StatusCode::TOO_MANY_REQUESTS, "you are saying too much at once; wait a moment")));
        }
        let sql = format!(
            "INSERT INTO messages (author_id, author, text, nonce, at) VALUES (?, ?, ?, ?, ?) RETURNING {COLUMNS}"
        );
        let values = (&who.user, &who.name, text, nonce, moment(Utc::now()));
        let entry: Entry = self.context.sql().exec(&sql, values)?.one()?;
        // What is sent here leaves when the insert is durable, and not before.
        self.tell_all(&json!({"type": "message", "message": entry}), None)?;
        Ok(Ok(entry))
    }

    fn edit(&self, who: &Participant, id: i64, text: &str) -> Done<()> {
        if !fits(text) {
            return Ok(Err(refused(StatusCode::BAD_REQUEST, "a message has 1 to 4096 bytes of text")));
        }
        // What somebody has said is theirs: a moderator takes it away, but puts no words into their mouth.
        let sql = format!(
            "UPDATE messages SET text = ?, edited_at = ? WHERE id = ? AND author_id = ? AND deleted_at IS NULL RETURNING {COLUMNS}"
        );
        let entry: Option<Entry> = self.context.sql().exec(&sql, (text, moment(Utc::now()), id, &who.user))?.next()?;
        self.changed("edited", entry)
    }

    fn delete(&self, who: &Participant, id: i64) -> Done<()> {
        let sql = format!(
            "UPDATE messages SET text = '', deleted_at = ? WHERE id = ? AND (author_id = ? OR ?) AND deleted_at IS NULL \
             RETURNING {COLUMNS}"
        );
        let values = (moment(Utc::now()), id, &who.user, who.moderates);
        let entry: Option<Entry> = self.context.sql().exec(&sql, values)?.next()?;
        self.changed("deleted", entry)
    }

    fn changed(&self, what: &str, entry: Option<Entry>) -> Done<()> {
        match entry {
            Some(entry) => self.tell_all(&json!({"type": what, "message": entry}), None).map(Ok),
            None => Ok(Err(refused(StatusCode::NOT_FOUND, "there is no such message of yours"))),
        }
    }

    fn read(&self, who: &Participant, id: i64) -> Done<()> {
        // Never back, and never beyond what there is.
        let sql = "INSERT INTO reads (user, id, at) SELECT ?1, min(?2, coalesce(max(id), 0)), ?3 FROM messages WHERE true \
                   ON CONFLICT (user) DO UPDATE SET id = excluded.id, at = excluded.at WHERE excluded.id > id RETURNING id";
        let at = moment(Utc::now());
        let read: Option<i64> = self.context.sql().exec(sql, (&who.user, id, &at))?.next()?;
        if let Some(id) = read {
            self.tell_all(&json!({"type": "read", "user": who.user, "id": id, "at": at}), None)?;
        }
        Ok(Ok(()))
    }

    /// The messages before this one, oldest first.
    fn before(&self, before: i64, limit: i64) -> Result<Vec<Entry>> {
        let sql = format!("SELECT {COLUMNS} FROM messages WHERE id < ? ORDER BY id DESC LIMIT ?");
        let mut entries: Vec<Entry> = self.context.sql().exec(&sql, (before, limit))?.all()?;
        entries.reverse();
        Ok(entries)
    }

    fn after(&self, after: i64, limit: i64) -> Result<Vec<Entry>> {
        let sql = format!("SELECT {COLUMNS} FROM messages WHERE id > ? ORDER BY id LIMIT ?");
        self.context.sql().exec(&sql, (after, limit))?.all()
    }

    fn reads(&self) -> Result<Vec<Json>> {
        self.context.sql().exec("SELECT user, id, at FROM reads ORDER BY user LIMIT 1000", ())?.all()
    }

    /// Who is there, each once, however many windows they have open.
    fn members(&self, leaving: Option<&WebSocket>) -> Vec<Json> {
        let mut members: Vec<Participant> = Vec::new();
        let sockets = self.context.websockets(None);
        let here = sockets.iter().rev().filter(|socket| Some(*socket) != leaving);
        for member in here.filter_map(|socket| socket.attachment::<Participant>().ok().flatten()) {
            if members.iter().all(|known| known.user != member.user) {
                members.push(member);
            }
        }
        members.into_iter().map(|member| json!({"user": member.user, "name": member.name})).collect()
    }

    fn tell_presence(&self, leaving: Option<&WebSocket>) -> Result<()> {
        let presence = json!({"type": "presence", "members": self.members(leaving)});
        self.tell_all(&presence, leaving)
    }

    fn tell_all(&self, event: &Json, except: Option<&WebSocket>) -> Result<()> {
        let event = event.to_string();
        for socket in self.context.websockets(None).iter().filter(|socket| Some(*socket) != except) {
            // One that is closing misses it, and nobody else does.
            if self.participant(socket)?.is_some() {
                drop(socket.send(event.as_str()));
            }
        }
        Ok(())
    }
}

fn fits(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= TEXT_BYTES
}

fn refused(status: StatusCode, detail: &'static str) -> Refused {
    Refused { status, detail }
}

fn tell(socket: &WebSocket, detail: &str) -> Result<()> {
    socket.send_json(&json!({"type": "error", "detail": detail}))
}
