//! A chat room: an ordered, durable history, with presence, typing and read marks.
//!
//! `GET /socket` opens a WebSocket. The room sends `history`, then `presence`, `message`, `edited`, `deleted`, `typing` and
//! `read` as they happen, each a JSON object with a `type`. A client sends
//! `{"type": "send", "text": "...", "nonce": "..."}` - a nonce makes one message, however often it is sent -, `edit`, `delete`, `typing`,
//! `read` with an `id`, and `ping`, which is answered without waking the room.
//!
//! `GET /history?before=17&limit=50` pages backwards, `?after=17` forwards; `GET /members` lists the members present;
//! `POST /messages` adds a message without a socket; `DELETE /history`, by a moderator, deletes the room with all that it keeps.
//!
//! A socket is closed with 4003 at the first message or event after its participant's validity has ended
//! ([`Participant::valid_until`]), and at once by [`Participant::revocation`]: the client comes back. A room in which nothing
//! happens is not woken for it.
//!
//! Limits are those of [`ChatOptions`]. A command over one of them is answered by an `error` event with `status` 429 and
//! `retry_after_ms`, once for each series; a client that does not stop is closed with 1008, a message that is too large with
//! 1009, and a socket too many is refused with 429. Looking makes nothing: a room has tables from its first message on.
//!
//! | command | needs | refused |
//! |---|---|---|
//! | `send` | `writes` | 400 for a text of 0 or more than 4,096 bytes or a nonce over 64, 429 for more than 20 in 10 s |
//! | `edit` | `writes`, an own message | 400 as for `send`, 404 for another's message |
//! | `delete` | `writes`, an own message or `moderates` | 404 for another's message |
//! | `typing` | `writes` | dropped within 2 s of the one before |
//! | `read` | nothing | |
//!
//! Ids grow with each message, and are not used again until the room is deleted: `after` with the last id that a client has
//! seen gives all that it has missed, once.

mod options;
mod pace;
mod presence;

use std::cell::RefCell;
use std::rc::Rc;

use chrono::{TimeDelta, Utc};
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

pub use options::ChatOptions;

use crate::occupancy::Occupancy;
use crate::participant::{ASK_AGAIN, ASK_AGAIN_WHY, Participant};
use crate::refusal::Stop;
use crate::reply::{moment, parameter, refusal, reply, revoked, too_many};
use crate::tables::Tables;
use isobar_sessions::{
    CloseFrame, Message, Request, Response, Result, SessionContext, SessionObject, WebSocket, socket_pair,
    websocket_response,
};
use pace::Live;

/// Bytes of text in a message: 4,096 at most.
pub const TEXT_BYTES: usize = 4096;
/// Messages of a page by default.
const PAGE: i64 = 50;
const MAX_PAGE: i64 = 200;
/// Messages of one user within [`BURST_WITHIN`].
const BURST: i64 = 20;
const ONLY_READS: &str = "you may only read here";
const BURST_WITHIN: TimeDelta = TimeDelta::seconds(10);
/// Messages over their age that one new message takes along.
const AGED: i64 = 100;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS messages (
        id INTEGER PRIMARY KEY AUTOINCREMENT, author_id TEXT NOT NULL, author TEXT NOT NULL, text TEXT NOT NULL,
        nonce TEXT, at TEXT NOT NULL, edited_at TEXT, deleted_at TEXT
    );
    CREATE UNIQUE INDEX IF NOT EXISTS messages_nonce ON messages (author_id, nonce) WHERE nonce IS NOT NULL;
    CREATE INDEX IF NOT EXISTS messages_author ON messages (author_id, at);
    CREATE TABLE IF NOT EXISTS reads (user TEXT PRIMARY KEY, id INTEGER NOT NULL, at TEXT NOT NULL) WITHOUT ROWID";
const COLUMNS: &str = "id, author_id, author, text, at, edited_at, deleted_at";

/// A chat room, as a session object: see the [module](self) for its protocol.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use http::Request;
/// use isobar_objects::Participant;
/// use isobar_objects::chat::{ChatOptions, ChatRoom, Entry};
/// use isobar_sessions::memory::MemoryHost;
/// use isobar_sessions::{Body, SessionNamespace};
///
/// let rooms = MemoryHost::<ChatRoom>::new("Chat", ChatOptions::default)?;
/// let mut request = Request::post("/messages").body(Body::from(r#"{"text": "hello"}"#))?;
/// Participant::new("user-1", "Ada").with_writes(true).insert(request.headers_mut());
///
/// let response = rooms.fetch(&rooms.id_from_name("lobby"), request).await?;
/// assert_eq!(response.status(), 201);
/// let entry: Entry = response.into_body().json().await?;
/// assert_eq!((entry.author.as_str(), entry.text.as_str()), ("Ada", "hello"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ChatRoom {
    context: SessionContext,
    options: ChatOptions,
    tables: Tables,
    live: Rc<RefCell<Live>>,
}

/// A message of the history. A deleted one has no text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Entry {
    /// Number of the message, from 1; larger than those of the messages before it.
    pub id: i64,
    /// The author's id.
    pub author_id: String,
    /// The author's name at the time of the message.
    pub author: String,
    /// Text of the message, 1 to 4,096 bytes; empty once it is deleted.
    pub text: String,
    /// Time of the message: RFC 3339.
    pub at: String,
    /// Time of the last edit; `None` without one.
    pub edited_at: Option<String>,
    /// Time of the deletion; `None` without one.
    pub deleted_at: Option<String>,
}

/// A command of a client.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Command {
    Send { text: String, nonce: Option<String> },
    Edit { id: i64, text: String },
    Delete { id: i64 },
    Typing,
    Read { id: i64 },
}

/// The refusal of a command, for its sender alone.
#[derive(Debug)]
struct Refused {
    status: StatusCode,
    detail: &'static str,
}

impl Refused {
    /// Returns the response to a refused request.
    fn into_response(self) -> Response {
        match self.status {
            StatusCode::TOO_MANY_REQUESTS => too_many(self.detail),
            status => refusal(status, self.detail),
        }
    }
}

/// Result of a command, which may be refused.
type Done<T> = crate::refusal::Done<T, Refused>;

/// A request whose body is being received.
#[derive(Debug)]
struct Receiving(Rc<RefCell<Live>>);

impl Drop for Receiving {
    fn drop(&mut self) {
        self.0.borrow_mut().receiving -= 1;
    }
}

impl SessionObject for ChatRoom {
    type Env = ChatOptions;

    async fn start(context: SessionContext, options: ChatOptions) -> Result<Self> {
        context.set_auto_response(Some((r#"{"type":"ping"}"#, r#"{"type":"pong"}"#)))?;
        Ok(Self { context, options, tables: Tables::new(SCHEMA, "reads"), live: Rc::default() })
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        if let Some(user) = Participant::revoked_by(&request) {
            return self.revoke(&user).map(revoked);
        }
        if let Some(user) = Occupancy::asked_by(&request) {
            return self.occupancy(&user).map(Occupancy::into_reply);
        }
        let who = match Participant::of(&request) {
            Ok(who) => who,
            Err(refused) => return Ok(*refused),
        };
        if let Some(refused) = self.covered(&who)? {
            return Ok(refused);
        }
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
            (&Method::GET, "/members") => {
                let (members, count) = self.members(None);
                Ok(reply(StatusCode::OK, &json!({"members": members, "count": count})))
            }
            (&Method::POST, "/messages") => {
                let receiving = self.receiving();
                let body: Option<Json> = request.into_body().json().await.ok();
                drop(receiving);
                // The body may have taken its time.
                if let Some(refused) = self.covered(&who)? {
                    return Ok(refused);
                }
                let text = |name: &str| body.as_ref().and_then(|body| body[name].as_str()).map(str::to_owned);
                match self.say(&who, text("text").unwrap_or_default(), text("nonce")) {
                    Ok(entry) => Ok(reply(StatusCode::CREATED, &entry)),
                    Err(stop) => stop.answered(Refused::into_response),
                }
            }
            (&Method::DELETE, "/history") => self.clear(&who),
            (_, path) => {
                let detail = format!("a room has /socket, /history, /members and /messages, not {path}");
                Ok(refusal(StatusCode::NOT_FOUND, &detail))
            }
        }
    }

    async fn message(&self, socket: &WebSocket, message: Message) -> Result<()> {
        let Some(who) = self.participant(socket)? else { return Ok(()) };
        if message.as_bytes().len() > self.options.message_bytes {
            let why = format!("a message has {} bytes at most", self.options.message_bytes);
            return cut_off(socket, 1009, &why);
        }
        if !self.admits(socket, &who, |pace| &mut pace.commands, self.options.commands)? {
            return Ok(());
        }
        let command = match serde_json::from_slice(message.as_bytes()) {
            Ok(command) => command,
            Err(_) => {
                let detail = r#"send {"type": "send", "text": "..."}, edit, delete, typing or read"#;
                return tell(socket, &Refused { status: StatusCode::BAD_REQUEST, detail });
            }
        };
        if matches!(command, Command::Edit { .. } | Command::Delete { .. })
            && who.writes
            && !self.admits(socket, &who, |pace| &mut pace.changes, self.options.changes)?
        {
            return Ok(());
        }
        let done = match command {
            Command::Send { .. } | Command::Edit { .. } | Command::Delete { .. } | Command::Typing if !who.writes => {
                Err(refused(StatusCode::FORBIDDEN, ONLY_READS))
            }
            Command::Send { text, nonce } => self.say(&who, text, nonce).map(drop),
            Command::Edit { id, text } => self.edit(&who, id, &text),
            Command::Delete { id } => self.delete(&who, id),
            Command::Read { id } => self.read(&who, id),
            Command::Typing => {
                if self.starts_typing(&who) {
                    let typing = json!({"type": "typing", "user": who.user, "name": who.name});
                    self.tell_all(&typing, Some(socket))?;
                }
                Ok(())
            }
        };
        match done {
            Ok(()) => Ok(()),
            Err(Stop::Refused(refused)) => tell(socket, &refused),
            Err(Stop::Failed(error)) => Err(error),
        }
    }

    async fn closed(&self, socket: &WebSocket, _: CloseFrame) -> Result<()> {
        self.live.borrow_mut().good_until.remove(&socket.id());
        self.tell_presence(Some(socket))
    }
}

impl ChatRoom {
    /// Returns the refusal of a participant who was judged before a revocation.
    fn covered(&self, who: &Participant) -> Result<Option<Response>> {
        let is_covered = self.live.borrow_mut().revocations.covers(&self.context, who)?;
        Ok(is_covered.then(|| refusal(StatusCode::FORBIDDEN, ASK_AGAIN_WHY)))
    }

    /// Returns how many sockets are open, whether this user has one of them, and whether the room keeps messages.
    fn occupancy(&self, user: &str) -> Result<Occupancy> {
        let sql = "SELECT EXISTS (SELECT 1 FROM messages)";
        let is_kept = self.tables.are_there(&self.context)? && self.context.sql().exec(sql, ())?.one::<i64>()? == 1;
        let is_present = !self.open_sockets(Some(&tag(user))).is_empty();
        let sockets = self.open_sockets(None).len() + self.live.borrow().receiving;
        Ok(Occupancy { is_kept, sockets, is_present })
    }

    /// Counts a request as one that may write, until the value is dropped.
    fn receiving(&self) -> Receiving {
        self.live.borrow_mut().receiving += 1;
        Receiving(Rc::clone(&self.live))
    }

    /// Opens a socket: `history` is the first event on it, `presence` the next.
    fn join(&self, who: &Participant) -> Result<Response> {
        let tag = tag(&who.user);
        if self.open_sockets(Some(&tag)).len() >= self.options.sockets_of_user {
            let detail = format!(
                "you have {} connections to this room, which is the limit: close some",
                self.options.sockets_of_user
            );
            return Ok(too_many(&detail));
        }
        if self.open_sockets(None).len() >= self.options.sockets {
            return Ok(too_many(&format!("the room has {} connections, which is the limit", self.options.sockets)));
        }
        let (client, server) = socket_pair();
        let client = client.with_message_bytes(self.options.message_bytes);
        let socket = self.context.accept_websocket(server, &[&tag])?;
        socket.set_attachment(who)?;
        let messages = self.before(i64::MAX, PAGE)?;
        socket.send_json(&json!({"type": "history", "messages": messages, "reads": self.reads()?, "me": {"user": who.user, "name": who.name}}))?;
        self.tell_presence(None)?;
        Ok(websocket_response(client))
    }

    /// Deletes what the room keeps, and closes its sockets: there is nothing on their clients' pages any more.
    fn clear(&self, who: &Participant) -> Result<Response> {
        if !who.moderates {
            return Ok(refusal(StatusCode::FORBIDDEN, "only moderators may delete a room"));
        }
        self.context.delete_all()?;
        self.tables.forget();
        self.live.borrow().revocations.store(&self.context)?;
        let sockets = self.open_sockets(None);
        sockets.iter().try_for_each(|socket| cut_off(socket, ASK_AGAIN, "the room was deleted"))?;
        Ok(reply(StatusCode::OK, &json!({"closed": sockets.len()})))
    }

    /// The sockets that neither side has closed, of one user's tag or all.
    fn open_sockets(&self, tag: Option<&str>) -> Vec<WebSocket> {
        self.context.websockets(tag).into_iter().filter(WebSocket::is_open).collect()
    }

    /// Closes a user's sockets: a client that may still enter comes back.
    fn revoke(&self, user: &str) -> Result<usize> {
        self.live.borrow_mut().revocations.add(&self.context, user, true)?;
        let sockets = self.open_sockets(Some(&tag(user)));
        sockets.iter().try_for_each(|socket| cut_off(socket, ASK_AGAIN, ASK_AGAIN_WHY))?;
        Ok(sockets.len())
    }

    /// Returns the participant of a socket; `None` once the socket is being closed.
    fn participant(&self, socket: &WebSocket) -> Result<Option<Participant>> {
        let who = attached(socket)?;
        if who.as_ref().is_some_and(|who| who.valid_until < Utc::now()) {
            drop(socket.close(ASK_AGAIN, ASK_AGAIN_WHY)); // one that is closing already needs no word
            return Ok(None);
        }
        Ok(who)
    }

    /// Adds a message and sends it to all. A message with a nonce that the author has used before is returned as it is.
    ///
    /// # Errors
    /// Refused: 403 without the right to write, 400 for an empty or long text or a long nonce, 429 for more than 20 messages in 10 s.
    fn say(&self, who: &Participant, text: String, nonce: Option<String>) -> Done<Entry> {
        if !who.writes {
            return Err(refused(StatusCode::FORBIDDEN, ONLY_READS));
        }
        if !fits(&text) || nonce.as_ref().is_some_and(|nonce| nonce.len() > 64) {
            return Err(refused(StatusCode::BAD_REQUEST, "a message has 1 to 4096 bytes of text, a nonce 64 at most"));
        }
        self.tables.make(&self.context)?;
        if let Some(nonce) = &nonce {
            let sql = format!("SELECT {COLUMNS} FROM messages WHERE author_id = ? AND nonce = ?");
            if let Some(entry) = self.context.sql().exec(&sql, (&who.user, nonce))?.next()? {
                return Ok(entry); // said already; the others have heard it
            }
        }
        let since = moment(Utc::now() - BURST_WITHIN);
        let sql = "SELECT count(*) FROM messages WHERE author_id = ? AND at > ?";
        if self.context.sql().exec(sql, (&who.user, since))?.one::<i64>()? >= BURST {
            return Err(refused(StatusCode::TOO_MANY_REQUESTS, "you are saying too much at once; wait a moment"));
        }
        let sql = format!(
            "INSERT INTO messages (author_id, author, text, nonce, at) VALUES (?, ?, ?, ?, ?) RETURNING {COLUMNS}"
        );
        let values = (&who.user, &who.name, text, nonce, moment(Utc::now()));
        let entry: Entry = self.context.sql().exec(&sql, values)?.one()?;
        self.forget_old(entry.id)?;
        // What is sent here leaves when the insert is durable, and not before.
        self.tell_all(&json!({"type": "message", "message": entry}), None)?;
        Ok(entry)
    }

    /// Keeps the history within its limits.
    fn forget_old(&self, newest: i64) -> Result<()> {
        let sql = "DELETE FROM messages WHERE id <= ?";
        self.context.sql().exec(sql, (newest - i64::from(self.options.history),))?;
        if self.options.history_age.is_some() {
            let sql = "DELETE FROM messages WHERE id IN (SELECT id FROM messages ORDER BY id LIMIT ?) AND at < ?";
            self.context.sql().exec(sql, (AGED, self.oldest()))?;
        }
        Ok(())
    }

    /// The moment before which messages are not shown any more.
    fn oldest(&self) -> String {
        self.options.history_age.map(|age| moment(Utc::now() - age)).unwrap_or_default()
    }

    /// Changes the text of a message of one's own.
    ///
    /// # Errors
    /// Refused: 400 for an empty or long text, 404 where the user has no such message.
    fn edit(&self, who: &Participant, id: i64, text: &str) -> Done<()> {
        if !self.tables.are_there(&self.context)? {
            return self.changed("edited", None);
        }
        if !fits(text) {
            return Err(refused(StatusCode::BAD_REQUEST, "a message has 1 to 4096 bytes of text"));
        }
        // A message is its author's: a moderator deletes it, and does not change its text.
        let sql = format!(
            "UPDATE messages SET text = ?, edited_at = ? WHERE id = ? AND author_id = ? AND deleted_at IS NULL RETURNING {COLUMNS}"
        );
        let entry: Option<Entry> = self.context.sql().exec(&sql, (text, moment(Utc::now()), id, &who.user))?.next()?;
        self.changed("edited", entry)
    }

    /// Deletes the text of a message, of one's own or as a moderator. Its number stays.
    ///
    /// # Errors
    /// Refused: 404 where there is no such message.
    fn delete(&self, who: &Participant, id: i64) -> Done<()> {
        if !self.tables.are_there(&self.context)? {
            return self.changed("deleted", None);
        }
        let sql = format!(
            "UPDATE messages SET text = '', deleted_at = ? WHERE id = ? AND (author_id = ? OR ?) AND deleted_at IS NULL \
             RETURNING {COLUMNS}"
        );
        let values = (moment(Utc::now()), id, &who.user, who.moderates);
        let entry: Option<Entry> = self.context.sql().exec(&sql, values)?.next()?;
        self.changed("deleted", entry)
    }

    /// Sends a changed message to all; refuses the command where there is none.
    fn changed(&self, what: &str, entry: Option<Entry>) -> Done<()> {
        match entry {
            Some(entry) => Ok(self.tell_all(&json!({"type": what, "message": entry}), None)?),
            None => Err(refused(StatusCode::NOT_FOUND, "there is no such message of yours")),
        }
    }

    /// Moves the read mark of a user forward, and sends it to all.
    fn read(&self, who: &Participant, id: i64) -> Done<()> {
        if !self.tables.are_there(&self.context)? {
            return Ok(()); // there is nothing to be read
        }
        // What is known already is not written again: writing costs a sync.
        let sql = "SELECT EXISTS (SELECT 1 FROM reads WHERE user = ?1 AND id >= min(?2, (SELECT coalesce(max(id), 0) FROM messages)))";
        if self.context.sql().exec(sql, (&who.user, id))?.one::<i64>()? == 1 {
            return Ok(());
        }
        // Never back, and never beyond what there is.
        let sql = "INSERT INTO reads (user, id, at) SELECT ?1, min(?2, coalesce(max(id), 0)), ?3 FROM messages WHERE true \
                   ON CONFLICT (user) DO UPDATE SET id = excluded.id, at = excluded.at WHERE excluded.id > id RETURNING id";
        let at = moment(Utc::now());
        let read: Option<i64> = self.context.sql().exec(sql, (&who.user, id, &at))?.next()?;
        if let Some(id) = read {
            self.tell_all(&json!({"type": "read", "user": who.user, "id": id, "at": at}), None)?;
        }
        Ok(())
    }

    /// The messages before this one, oldest first.
    fn before(&self, before: i64, limit: i64) -> Result<Vec<Entry>> {
        if !self.tables.are_there(&self.context)? {
            return Ok(Vec::new());
        }
        let sql = format!("SELECT {COLUMNS} FROM messages WHERE id < ? AND at >= ? ORDER BY id DESC LIMIT ?");
        let mut entries: Vec<Entry> = self.context.sql().exec(&sql, (before, self.oldest(), limit))?.all()?;
        entries.reverse();
        Ok(entries)
    }

    /// Returns the messages after this one, oldest first.
    fn after(&self, after: i64, limit: i64) -> Result<Vec<Entry>> {
        if !self.tables.are_there(&self.context)? {
            return Ok(Vec::new());
        }
        let sql = format!("SELECT {COLUMNS} FROM messages WHERE id > ? AND at >= ? ORDER BY id LIMIT ?");
        self.context.sql().exec(&sql, (after, self.oldest(), limit))?.all()
    }

    /// Returns the read marks of up to 1,000 users.
    fn reads(&self) -> Result<Vec<Json>> {
        if !self.tables.are_there(&self.context)? {
            return Ok(Vec::new());
        }
        self.context.sql().exec("SELECT user, id, at FROM reads ORDER BY user LIMIT 1000", ())?.all()
    }
}

/// The tag of a user's sockets. Ids of any length make tags of one.
fn tag(user: &str) -> String {
    hex::encode(Sha256::digest(user.as_bytes()))
}

/// Returns the participant that a socket was opened for; `None` once it was cut off.
fn attached(socket: &WebSocket) -> Result<Option<Participant>> {
    Ok(socket.attachment::<Option<Participant>>()?.flatten())
}

/// Closes a socket, and takes nothing more from it: what its client has sent already still comes.
fn cut_off(socket: &WebSocket, code: u16, why: &str) -> Result<()> {
    socket.set_attachment(&Json::Null)?;
    socket.close(code, why)
}

/// Whether a text is neither blank nor over 4,096 bytes.
fn fits(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= TEXT_BYTES
}

/// Returns a refusal, for `?`.
fn refused(status: StatusCode, detail: &'static str) -> Stop<Refused> {
    Stop::Refused(Refused { status, detail })
}

/// Sends an error event to the sender of a refused command.
fn tell(socket: &WebSocket, refused: &Refused) -> Result<()> {
    socket.send_json(&json!({"type": "error", "status": refused.status.as_u16(), "detail": refused.detail}))
}
