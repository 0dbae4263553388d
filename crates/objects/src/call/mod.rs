//! A video call: its participants, and the signals that their browsers exchange to connect to each other. Video and audio go from
//! browser to browser by WebRTC and never come here.
//!
//! `GET /socket` opens a WebSocket; `?resume=TOKEN` takes one's former place again. The room sends `welcome` (one's id, a token to
//! resume with, the roster, ICE servers), then `joined`, `away`, `back`, `left`, `state` of others, and `signal` of one other.
//! A client sends `{"type": "signal", "to": "...", "data": {...}}` - an offer, an answer, an ICE candidate, whatever: it is
//! only passed on -, `state` with what it shows (`audio`, `video`, `screen`), `leave`, and `{"type":"ping"}` every 15 s.
//!
//! A participant that is silent for 45 s, or whose connection breaks, is away; one that is away for 30 s has left. Signals to a
//! participant that is away wait for the return. A socket is closed with 4003 when its participant's validity has ended
//! ([`Participant::valid_until`]), and at once by [`Participant::revocation`]: the client comes back with its token. Taking part
//! is more than watching: it takes [`Participant::writes`], and the servers that cost something are for those alone.
//!
//! Limits are those of [`CallOptions`]. A command over one of them is answered by an `error` event with `status` 429 and
//! `retry_after_ms`, once for each series; a client that does not stop is closed with 1008, a message that is too large with
//! 1009. An empty call keeps nothing.

mod options;

use std::cell::RefCell;
use std::collections::HashMap;

use chrono::Utc;
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

pub use options::{CallOptions, Turn};

use crate::occupancy::Occupancy;
use crate::participant::{ASK_AGAIN, ASK_AGAIN_WHY, Participant};
use crate::rate::{Bucket, Verdict};
use crate::reply::{moment, parameter, refusal, reply, revoked};
use crate::revocations::Revocations;
use crate::tables::Tables;
use isobar_sessions::{
    AlarmInfo, CloseFrame, Message, Request, Response, Result, SessionContext, SessionObject, WebSocket, socket_pair,
    websocket_response,
};

/// Bytes of a signal.
const SIGNAL_BYTES: usize = 64 * 1024;
/// Bytes of a message that is read before it is refused: a signal over its limit, and what stands around it.
const MESSAGE_BYTES: usize = 2 * SIGNAL_BYTES;
/// Signals that wait for one participant, and their bytes.
const WAITING: i64 = 256;
const WAITING_BYTES: i64 = 1024 * 1024;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS participants (
        id TEXT PRIMARY KEY, user TEXT NOT NULL, name TEXT NOT NULL, resume_hash TEXT NOT NULL UNIQUE,
        state TEXT NOT NULL, joined_at TEXT NOT NULL, seen_at INTEGER NOT NULL, valid_until INTEGER NOT NULL,
        away_since INTEGER
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS signals (id INTEGER PRIMARY KEY AUTOINCREMENT, recipient TEXT NOT NULL, message TEXT NOT NULL);
    CREATE INDEX IF NOT EXISTS signals_recipient ON signals (recipient, id)";

/// A video call, as a session object: see the [module](self) for its protocol.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use http::Request;
/// use isobar_objects::Participant;
/// use isobar_objects::call::{CallOptions, CallRoom};
/// use isobar_sessions::memory::MemoryHost;
/// use isobar_sessions::{Body, ClientSocket, Message, SessionNamespace, take_websocket};
/// use serde_json::{Value, json};
///
/// async fn join(calls: &MemoryHost<CallRoom>, user: &str) -> Result<ClientSocket, Box<dyn std::error::Error>> {
///     let mut request = Request::get("/socket").header("upgrade", "websocket").body(Body::empty())?;
///     Participant::new(user, user).with_writes(true).insert(request.headers_mut());
///     let mut response = calls.fetch(&calls.id_from_name("standup"), request).await?;
///     Ok(take_websocket(&mut response).ok_or("no WebSocket")?)
/// }
///
/// async fn next(socket: &mut ClientSocket) -> Result<Value, Box<dyn std::error::Error>> {
///     match socket.receive().await {
///         Some(Ok(Message::Text(event))) => Ok(serde_json::from_str(&event)?),
///         other => Err(format!("{other:?}").into()),
///     }
/// }
///
/// let calls = MemoryHost::<CallRoom>::new("Call", CallOptions::default)?;
/// let mut ada = join(&calls, "ada").await?;
/// let welcome = next(&mut ada).await?;
/// let mut bob = join(&calls, "bob").await?;
/// next(&mut bob).await?;
///
/// // Bob's browser makes Ada's an offer; the room passes it on as it is.
/// let offer = json!({"type": "signal", "to": welcome["id"], "data": {"sdp": "..."}});
/// bob.send(offer.to_string().as_str())?;
/// assert_eq!(next(&mut ada).await?["type"], "joined");
/// assert_eq!(next(&mut ada).await?["data"]["sdp"], "...");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct CallRoom {
    context: SessionContext,
    options: CallOptions,
    tables: Tables,
    live: RefCell<Live>,
}

/// State that an instance keeps in memory.
#[derive(Debug, Default)]
struct Live {
    /// By participant.
    paces: HashMap<String, Pace>,
    revocations: Revocations,
}

/// Rate of one participant, and the time that was last written for it.
#[derive(Debug, Clone, Copy, Default)]
struct Pace {
    commands: Bucket,
    seen_at: i64,
}

/// A command of a client.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Command {
    Signal {
        to: String,
        data: Json,
    },
    State {
        audio: bool,
        video: bool,
        #[serde(default)]
        screen: bool,
    },
    Leave,
    /// Answered by the host as it is written above; otherwise written, here.
    Ping,
}

/// A participant as the roster shows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Member {
    id: String,
    user: String,
    name: String,
    state: String,
    joined_at: String,
    away_since: Option<i64>,
}

impl Member {
    /// Returns the member as clients see it.
    fn shown(&self) -> Json {
        let state: Json = serde_json::from_str(&self.state).unwrap_or_default();
        json!({"id": self.id, "user": self.user, "name": self.name, "state": state, "joined_at": self.joined_at,
            "away": self.away_since.is_some()})
    }
}

/// A participant's place in the call.
struct Place {
    id: String,
    /// The token to resume it with, which is new with each connection.
    token: String,
    /// Whether the participant had it before.
    is_back: bool,
}

impl SessionObject for CallRoom {
    type Env = CallOptions;

    async fn start(context: SessionContext, options: CallOptions) -> Result<Self> {
        context.set_auto_response(Some((r#"{"type":"ping"}"#, r#"{"type":"pong"}"#)))?;
        Ok(Self { context, options, tables: Tables::new(SCHEMA, "signals"), live: RefCell::default() })
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
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/socket") => self.join(&who, parameter(request.uri(), "resume")),
            (&Method::GET, "/roster") => Ok(reply(StatusCode::OK, &json!({"participants": self.roster()?}))),
            (&Method::GET, "/ice") => Ok(reply(StatusCode::OK, &json!({"ice_servers": self.ice(&who)}))),
            (_, path) => {
                Ok(refusal(StatusCode::NOT_FOUND, &format!("a call has /socket, /roster and /ice, not {path}")))
            }
        }
    }

    async fn message(&self, socket: &WebSocket, message: Message) -> Result<()> {
        let Ok(Some(id)) = socket.attachment::<String>() else { return Ok(()) }; // has left already
        if message.as_bytes().len() > MESSAGE_BYTES {
            return self.cut_off(socket, &id, 1009, "a signal has 65536 bytes at most");
        }
        let verdict = self
            .live
            .borrow_mut()
            .paces
            .entry(id.clone())
            .or_default()
            .commands
            .take(self.options.commands, Utc::now());
        match verdict {
            Verdict::Granted => {}
            Verdict::Refused { is_first: false, .. } => return Ok(()),
            Verdict::Refused { is_first: true, retry_after_ms } => {
                let detail = "you are sending too much at once; wait a moment";
                return socket.send_json(
                    &json!({"type": "error", "status": 429, "detail": detail, "retry_after_ms": retry_after_ms}),
                );
            }
            Verdict::Abusive => return self.cut_off(socket, &id, 1008, "too many messages"),
        }
        self.seen(&id)?;
        if message.as_bytes().len() > SIGNAL_BYTES {
            return tell(socket, "a signal has 65536 bytes at most");
        }
        match serde_json::from_slice(message.as_bytes()) {
            Ok(Command::Signal { to, data }) => self.signal(socket, &id, &to, &data),
            Ok(Command::State { audio, video, screen }) => {
                let state = json!({"audio": audio, "video": video, "screen": screen});
                let sql = "UPDATE participants SET state = ? WHERE id = ?";
                self.context.sql().exec(sql, (state.to_string(), &id))?;
                self.tell_others(&id, &json!({"type": "state", "id": id, "state": state}));
                Ok(())
            }
            Ok(Command::Leave) => {
                self.remove(&id)?;
                socket.set_attachment(&Json::Null)?;
                socket.close(1000, "you have left")
            }
            Ok(Command::Ping) => socket.send(r#"{"type":"pong"}"#),
            Err(_) => tell(socket, r#"send signal with "to" and "data", state, leave or ping"#),
        }
    }

    async fn closed(&self, socket: &WebSocket, _: CloseFrame) -> Result<()> {
        match socket.attachment::<String>() {
            Ok(Some(id)) => self.away(&id, Some(socket)),
            _ => Ok(()), // has left, or was taken over by a newer socket
        }
    }

    async fn alarm(&self, _: AlarmInfo) -> Result<()> {
        if !self.tables.are_there(&self.context)? {
            return Ok(());
        }
        let now = Utc::now();
        for socket in self.context.websockets(None) {
            let Ok(Some(id)) = socket.attachment::<String>() else { continue };
            let sql = "SELECT seen_at, valid_until FROM participants WHERE id = ?";
            let (seen, valid_until): (i64, i64) = self.context.sql().exec(sql, (&id,))?.next()?.unwrap_or_default();
            if valid_until < now.timestamp_millis() {
                self.cut_off(&socket, &id, ASK_AGAIN, ASK_AGAIN_WHY)?;
                continue;
            }
            let answered = socket.auto_responded().map(|at| at.timestamp_millis());
            let last = answered.into_iter().chain([seen]).max().unwrap_or_default();
            if last < (now - self.options.silent).timestamp_millis() {
                self.cut_off(&socket, &id, 4000, "you were silent for too long")?;
            }
        }
        // A restart takes the sockets without a word.
        let here: Vec<String> =
            self.context.sql().exec("SELECT id FROM participants WHERE away_since IS NULL", ())?.all()?;
        here.iter().filter(|id| self.socket_of(id).is_empty()).try_for_each(|id| self.away(id, None))?;
        let sql = "SELECT id FROM participants WHERE away_since <= ?";
        let gone: Vec<String> = self.context.sql().exec(sql, ((now - self.options.away).timestamp_millis(),))?.all()?;
        gone.iter().try_for_each(|id| self.remove(id))?;
        self.look_again()
    }
}

impl CallRoom {
    /// Closes a user's sockets: a client that may still take part comes back to its place.
    fn revoke(&self, user: &str) -> Result<usize> {
        self.live.borrow_mut().revocations.add(&self.context, user, true)?;
        if !self.tables.are_there(&self.context)? {
            return Ok(0);
        }
        let sql = "SELECT id FROM participants WHERE user = ?";
        let places: Vec<String> = self.context.sql().exec(sql, (user,))?.all()?;
        let mut closed = 0;
        for id in &places {
            for socket in self.socket_of(id) {
                self.cut_off(&socket, id, ASK_AGAIN, ASK_AGAIN_WHY)?;
                closed += 1;
            }
        }
        Ok(closed)
    }

    /// Returns how many participants are in the call, and whether this user is one of them. A call keeps nothing.
    fn occupancy(&self, user: &str) -> Result<Occupancy> {
        let mut occupancy = Occupancy { is_kept: false, sockets: 0, is_present: false };
        if self.tables.are_there(&self.context)? {
            let here: Vec<String> =
                self.context.sql().exec("SELECT user FROM participants WHERE away_since IS NULL", ())?.all()?;
            occupancy.sockets = here.len();
            occupancy.is_present = here.iter().any(|one| one == user);
        }
        Ok(occupancy)
    }

    /// Closes a participant's socket, and takes nothing more from it.
    fn cut_off(&self, socket: &WebSocket, id: &str, code: u16, why: &str) -> Result<()> {
        self.away(id, Some(socket))?;
        socket.set_attachment(&Json::Null)?;
        drop(socket.close(code, why)); // one that is closing already needs no word
        Ok(())
    }

    /// Writes that a participant was heard, as often as it takes to tell who is silent: writing costs a sync.
    fn seen(&self, id: &str) -> Result<()> {
        let now = Utc::now().timestamp_millis();
        let mut live = self.live.borrow_mut();
        let pace = live.paces.entry(id.to_owned()).or_default();
        if (now - pace.seen_at).abs() < self.options.silent.num_milliseconds() / 4 {
            return Ok(());
        }
        pace.seen_at = now;
        self.context.sql().exec("UPDATE participants SET seen_at = ? WHERE id = ?", (now, id)).map(drop)
    }

    /// Opens the socket of a participant, at its former place where `resume` names one.
    ///
    /// Refused are a revoked participant and one who may not write (403), a full call and a user with too many places (409).
    fn join(&self, who: &Participant, resume: Option<String>) -> Result<Response> {
        if self.live.borrow_mut().revocations.covers(&self.context, who)? {
            return Ok(refusal(StatusCode::FORBIDDEN, ASK_AGAIN_WHY));
        }
        let are_there = self.tables.are_there(&self.context)?;
        let known = match &resume {
            Some(token) if are_there => self.resumed(who, token)?,
            _ => None,
        };
        if known.is_none() && are_there && self.count()? >= self.options.limit {
            return Ok(refusal(StatusCode::CONFLICT, "the call is full"));
        }
        if !who.writes {
            return Ok(refusal(StatusCode::FORBIDDEN, "you may not take part in calls"));
        }
        self.tables.make(&self.context)?;
        let sql = "SELECT count(*) FROM participants WHERE user = ?";
        if known.is_none() && self.context.sql().exec(sql, (&who.user,))?.one::<usize>()? >= self.options.places_of_user
        {
            let places = self.options.places_of_user;
            let detail = format!("you are in this call {places} times, which is the limit: leave it elsewhere");
            return Ok(refusal(StatusCode::CONFLICT, &detail));
        }
        let Place { id, token, is_back } = self.place(who, known)?;
        let (client, server) = socket_pair();
        let client = client.with_message_bytes(MESSAGE_BYTES);
        let socket = self.context.accept_websocket(server, &[&id])?;
        socket.set_attachment(&id)?;
        let ice = self.ice(who);
        let welcome = json!({"type": "welcome", "id": id, "resume": token, "resumed": is_back, "participants": self.roster()?,
            "ice_servers": ice});
        socket.send_json(&welcome)?;
        for (row, message) in self.waiting(&id)? {
            socket.send(message)?;
            self.context.sql().exec("DELETE FROM signals WHERE id = ?", (row,))?;
        }
        let event = if is_back { "back" } else { "joined" };
        let participant = self.member(&id)?.map(|member| member.shown());
        self.tell_others(&id, &json!({"type": event, "id": id, "participant": participant}));
        self.look_again()?;
        Ok(websocket_response(client))
    }

    /// Makes a place for a participant, or gives back the one that is known.
    fn place(&self, who: &Participant, known: Option<String>) -> Result<Place> {
        let is_back = known.is_some();
        let id = match known {
            Some(id) => id,
            None => isobar_base::random::hex_id()?,
        };
        let token = isobar_base::random::hex_id()?;
        let now = Utc::now();
        let valid_until = who.valid_until.timestamp_millis();
        if is_back {
            // The newest connection is the participant's: an older one has missed that it is broken.
            for old in self.socket_of(&id) {
                old.set_attachment(&Json::Null)?;
                drop(old.close(4001, "you have come back elsewhere"));
            }
            let sql =
                "UPDATE participants SET resume_hash = ?, seen_at = ?, valid_until = ?, away_since = NULL WHERE id = ?";
            self.context.sql().exec(sql, (hash(&token), now.timestamp_millis(), valid_until, &id))?;
        } else {
            let sql = "INSERT INTO participants (id, user, name, resume_hash, state, joined_at, seen_at, valid_until) \
                       VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
            let state = json!({"audio": false, "video": false, "screen": false}).to_string();
            let at = now.timestamp_millis();
            let values = (&id, &who.user, &who.name, hash(&token), state, moment(now), at, valid_until);
            self.context.sql().exec(sql, values)?;
        }
        Ok(Place { id, token, is_back })
    }

    /// Returns the place that this token resumes: of the same user, and still in the call.
    fn resumed(&self, who: &Participant, token: &str) -> Result<Option<String>> {
        let sql = "SELECT id FROM participants WHERE resume_hash = ? AND user = ?";
        self.context.sql().exec(sql, (hash(token), &who.user))?.next()
    }

    /// Passes a signal on, or keeps it for a participant that is away: 256 of them, 1 MiB together.
    fn signal(&self, socket: &WebSocket, from: &str, to: &str, data: &Json) -> Result<()> {
        let Some(recipient) = self.member(to)? else { return tell(socket, "there is no such participant") };
        let message = json!({"type": "signal", "from": from, "data": data}).to_string();
        let sockets = self.socket_of(&recipient.id);
        if let Some(there) = sockets.first().filter(|_| recipient.away_since.is_none()) {
            drop(there.send(message));
            return Ok(());
        }
        let sql = "INSERT INTO signals (recipient, message) SELECT ?1, ?2 \
                   WHERE (SELECT count(*) < ?3 AND coalesce(sum(length(message)), 0) + length(?2) <= ?4 FROM signals \
                          WHERE recipient = ?1) RETURNING id";
        let kept: Option<i64> = self.context.sql().exec(sql, (to, message, WAITING, WAITING_BYTES))?.next()?;
        if kept.is_none() { tell(socket, "the participant is away and has too many signals waiting") } else { Ok(()) }
    }

    /// Returns the signals that wait for a participant, oldest first.
    fn waiting(&self, id: &str) -> Result<Vec<(i64, String)>> {
        let sql = "SELECT id, message FROM signals WHERE recipient = ? ORDER BY id";
        self.context.sql().exec(sql, (id,))?.all()
    }

    /// The connection is gone; its participant may come back.
    fn away(&self, id: &str, socket: Option<&WebSocket>) -> Result<()> {
        if self.socket_of(id).iter().any(|other| Some(other) != socket) {
            return Ok(()); // is here by another connection
        }
        let sql = "UPDATE participants SET away_since = ? WHERE id = ? AND away_since IS NULL RETURNING id";
        let gone: Option<String> = self.context.sql().exec(sql, (Utc::now().timestamp_millis(), id))?.next()?;
        if gone.is_some() {
            self.tell_others(id, &json!({"type": "away", "id": id}));
            self.look_again()?;
        }
        Ok(())
    }

    /// Deletes a participant that has left, and notifies the others.
    fn remove(&self, id: &str) -> Result<()> {
        self.context.sql().exec("DELETE FROM signals WHERE recipient = ?", (id,))?;
        self.context.sql().exec("DELETE FROM participants WHERE id = ?", (id,))?;
        self.live.borrow_mut().paces.remove(id);
        self.tell_others(id, &json!({"type": "left", "id": id}));
        Ok(())
    }

    /// Keeps the alarm while the call has participants.
    fn look_again(&self) -> Result<()> {
        if self.count()? == 0 {
            return self.context.delete_alarm();
        }
        match self.context.alarm()? {
            Some(_) => Ok(()),
            None => self.context.set_alarm(Utc::now() + self.options.look),
        }
    }

    /// Returns the number of places, those of participants that are away included.
    fn count(&self) -> Result<usize> {
        self.context.sql().exec("SELECT count(*) FROM participants", ())?.one()
    }

    /// Returns the participant of this id.
    fn member(&self, id: &str) -> Result<Option<Member>> {
        let sql = "SELECT id, user, name, state, joined_at, away_since FROM participants WHERE id = ?";
        self.context.sql().exec(sql, (id,))?.next()
    }

    /// Returns all participants in the order in which they have joined.
    fn roster(&self) -> Result<Vec<Json>> {
        if !self.tables.are_there(&self.context)? {
            return Ok(Vec::new());
        }
        let sql = "SELECT id, user, name, state, joined_at, away_since FROM participants ORDER BY joined_at, id";
        let members: Vec<Member> = self.context.sql().exec(sql, ())?.all()?;
        Ok(members.iter().map(Member::shown).collect())
    }

    /// Returns the ICE servers: STUN for all, TURN with credentials for those who may write.
    fn ice(&self, who: &Participant) -> Vec<Json> {
        let CallOptions { stun, turn, .. } = &self.options;
        let stun = (!stun.is_empty()).then(|| json!({ "urls": stun }));
        let turn = turn.as_ref().filter(|_| who.writes).map(|turn| {
            let (username, credential) = turn.credentials(&who.user, Utc::now());
            json!({"urls": turn.urls, "username": username, "credential": credential})
        });
        stun.into_iter().chain(turn).collect()
    }

    /// The open sockets of a participant: one, but for the moment of a return.
    fn socket_of(&self, id: &str) -> Vec<WebSocket> {
        let sockets = self.context.websockets(Some(id));
        sockets
            .into_iter()
            .filter(|socket| socket.is_open() && matches!(socket.attachment::<String>(), Ok(Some(own)) if own == id))
            .collect()
    }

    /// Sends an event to every participant but one.
    fn tell_others(&self, id: &str, event: &Json) {
        let event = event.to_string();
        for socket in self.context.websockets(None) {
            if matches!(socket.attachment::<String>(), Ok(Some(other)) if other != id) {
                drop(socket.send(event.as_str())); // one that is closing misses it
            }
        }
    }
}

/// Returns the hash of a token: the token itself is not stored.
fn hash(token: &str) -> String {
    hex::encode(Sha256::digest(token.as_bytes()))
}

/// Sends an error event.
fn tell(socket: &WebSocket, detail: &str) -> Result<()> {
    socket.send_json(&json!({"type": "error", "detail": detail}))
}
