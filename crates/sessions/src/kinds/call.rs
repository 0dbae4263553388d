//! A video call: who is in it, and the signals that their browsers exchange to find each other. Pictures and sound go from
//! browser to browser by WebRTC and never come here.
//!
//! `GET /socket` opens a WebSocket; `?resume=TOKEN` comes back as who one was. The room sends `welcome` (one's id, a token to
//! resume with, the roster, ICE servers), then `joined`, `away`, `back`, `left`, `state` of others, and `signal` of one other.
//! A client sends `{"type": "signal", "to": "...", "data": {...}}` - an offer, an answer, an ICE candidate, whatever: it is
//! only passed on -, `state` with what it shows (`audio`, `video`, `screen`), `leave`, and `{"type":"ping"}` every 15 s.
//!
//! Whoever is silent for 45 s, or whose connection breaks, is away; whoever is away for 30 s has left. Signals to somebody who
//! is away wait for their return. A socket is closed with 4003 when its participant's word is over
//! ([`Participant::valid_until`]): the client comes back with its token. Taking part is more than watching: it takes
//! [`Participant::writes`], and the servers that cost something are for those alone.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use hmac::{Hmac, KeyInit, Mac};
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::reply::{moment, parameter, refusal, reply};
use super::{ASK_AGAIN, ASK_AGAIN_WHY, Participant, random};
use crate::{
    AlarmInfo, CloseFrame, Message, Request, Response, Result, SessionContext, SessionObject, WebSocket, socket_pair,
    websocket_response,
};

/// Bytes of a signal.
const SIGNAL_BYTES: usize = 64 * 1024;
/// Signals that wait for one participant.
const WAITING: i64 = 256;
/// Places of one user in one call: windows and machines, and those that have just been left.
const PLACES_OF_USER: usize = 4;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS participants (
        id TEXT PRIMARY KEY, user TEXT NOT NULL, name TEXT NOT NULL, resume_hash TEXT NOT NULL UNIQUE,
        state TEXT NOT NULL, joined_at TEXT NOT NULL, seen_at INTEGER NOT NULL, valid_until INTEGER NOT NULL,
        away_since INTEGER
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS signals (id INTEGER PRIMARY KEY AUTOINCREMENT, recipient TEXT NOT NULL, message TEXT NOT NULL);
    CREATE INDEX IF NOT EXISTS signals_recipient ON signals (recipient, id)";

/// How calls behave: the room's environment.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CallOptions {
    /// How many may take part; 16 when not given.
    pub limit: usize,
    /// STUN servers: `stun:stun.example.com:3478`.
    pub stun: Vec<String>,
    /// The TURN server, for browsers that cannot reach each other.
    pub turn: Option<Turn>,
    /// How long somebody may be silent; 45 s when not given.
    pub silent: TimeDelta,
    /// How long somebody may be away; 30 s when not given.
    pub away: TimeDelta,
    /// How often the room looks; 15 s when not given.
    pub look: TimeDelta,
}

impl Default for CallOptions {
    fn default() -> Self {
        let [silent, away, look] = [45, 30, 15].map(TimeDelta::seconds);
        Self { limit: 16, stun: Vec::new(), turn: None, silent, away, look }
    }
}

impl CallOptions {
    /// How many may take part.
    #[must_use]
    pub fn with_limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// How long somebody may be silent and away, and how often the room looks.
    #[must_use]
    pub fn with_patience(mut self, silent: TimeDelta, away: TimeDelta, look: TimeDelta) -> Self {
        (self.silent, self.away, self.look) = (silent, away, look);
        self
    }

    /// STUN servers.
    #[must_use]
    pub fn with_stun(mut self, urls: impl IntoIterator<Item = String>) -> Self {
        self.stun = urls.into_iter().collect();
        self
    }

    /// The TURN server.
    #[must_use]
    pub fn with_turn(mut self, turn: Turn) -> Self {
        self.turn = Some(turn);
        self
    }
}

/// A TURN server that shares a secret with the application (coturn's `use-auth-secret`): credentials are made for each
/// participant and are good for a while.
#[derive(Clone)]
pub struct Turn {
    urls: Vec<String>,
    secret: String,
    lifetime: TimeDelta,
}

impl std::fmt::Debug for Turn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Turn").field("urls", &self.urls).finish_non_exhaustive()
    }
}

impl Turn {
    /// A server by its URLs (`turn:turn.example.com:3478`); credentials are good for an hour.
    pub fn new(urls: impl IntoIterator<Item = String>, secret: impl Into<String>) -> Self {
        Self { urls: urls.into_iter().collect(), secret: secret.into(), lifetime: TimeDelta::hours(1) }
    }

    /// The name and the password for a user until then: `draft-uberti-behave-turn-rest`, as coturn has it.
    #[must_use]
    pub fn credentials(&self, user: &str, now: DateTime<Utc>) -> (String, String) {
        let name = format!("{}:{user}", (now + self.lifetime).timestamp());
        let mut mac = Hmac::<Sha1>::new_from_slice(self.secret.as_bytes()).expect("HMAC takes keys of every length");
        mac.update(name.as_bytes());
        let password = STANDARD.encode(mac.finalize().into_bytes());
        (name, password)
    }
}

/// One call.
#[derive(Debug)]
pub struct CallRoom {
    context: SessionContext,
    options: CallOptions,
}

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
    fn shown(&self) -> Json {
        let state: Json = serde_json::from_str(&self.state).unwrap_or_default();
        json!({"id": self.id, "user": self.user, "name": self.name, "state": state, "joined_at": self.joined_at,
            "away": self.away_since.is_some()})
    }
}

impl SessionObject for CallRoom {
    type Env = CallOptions;

    async fn start(context: SessionContext, options: CallOptions) -> Result<Self> {
        context.sql().exec(SCHEMA, ())?;
        context.set_auto_response(Some((r#"{"type":"ping"}"#, r#"{"type":"pong"}"#)))?;
        Ok(Self { context, options })
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
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
        let now = Utc::now().timestamp_millis();
        self.context.sql().exec("UPDATE participants SET seen_at = ? WHERE id = ?", (now, &id))?;
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
        let now = Utc::now();
        for socket in self.context.websockets(None) {
            let Ok(Some(id)) = socket.attachment::<String>() else { continue };
            let sql = "SELECT seen_at, valid_until FROM participants WHERE id = ?";
            let (seen, valid_until): (i64, i64) = self.context.sql().exec(sql, (&id,))?.next()?.unwrap_or_default();
            if valid_until < now.timestamp_millis() {
                self.away(&id, Some(&socket))?;
                socket.set_attachment(&Json::Null)?;
                drop(socket.close(ASK_AGAIN, ASK_AGAIN_WHY));
                continue;
            }
            let answered = socket.auto_responded().map(|at| at.timestamp_millis());
            let last = answered.into_iter().chain([seen]).max().unwrap_or_default();
            if last < (now - self.options.silent).timestamp_millis() {
                self.away(&id, Some(&socket))?;
                socket.set_attachment(&Json::Null)?;
                drop(socket.close(4000, "you were silent for too long"));
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
    fn join(&self, who: &Participant, resume: Option<String>) -> Result<Response> {
        let known = match &resume {
            Some(token) => self.resumed(who, token)?,
            None => None,
        };
        if known.is_none() && self.count()? >= self.options.limit {
            return Ok(refusal(StatusCode::CONFLICT, "the call is full"));
        }
        if !who.writes {
            return Ok(refusal(StatusCode::FORBIDDEN, "you may not take part in calls"));
        }
        let sql = "SELECT count(*) FROM participants WHERE user = ?";
        if known.is_none() && self.context.sql().exec(sql, (&who.user,))?.one::<usize>()? >= PLACES_OF_USER {
            return Ok(refusal(StatusCode::CONFLICT, "you are in this call too often already: leave it elsewhere"));
        }
        let (id, is_back) = match known {
            Some(id) => (id, true),
            None => (hex::encode(random::<16>()?), false),
        };
        let token = hex::encode(random::<16>()?);
        let (now, valid_until) = (Utc::now(), who.valid_until.timestamp_millis());
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
            let sql = "INSERT INTO participants (id, user, name, resume_hash, state, joined_at, seen_at, valid_until) VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
            let state = json!({"audio": false, "video": false, "screen": false}).to_string();
            let at = now.timestamp_millis();
            let values = (&id, &who.user, &who.name, hash(&token), state, moment(now), at, valid_until);
            self.context.sql().exec(sql, values)?;
        }
        let (client, server) = socket_pair();
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

    /// Who comes back with this token: the same user, and still in the call.
    fn resumed(&self, who: &Participant, token: &str) -> Result<Option<String>> {
        let sql = "SELECT id FROM participants WHERE resume_hash = ? AND user = ?";
        self.context.sql().exec(sql, (hash(token), &who.user))?.next()
    }

    fn signal(&self, socket: &WebSocket, from: &str, to: &str, data: &Json) -> Result<()> {
        let Some(recipient) = self.member(to)? else { return tell(socket, "there is no such participant") };
        let message = json!({"type": "signal", "from": from, "data": data}).to_string();
        let sockets = self.socket_of(&recipient.id);
        if let Some(there) = sockets.first().filter(|_| recipient.away_since.is_none()) {
            drop(there.send(message));
            return Ok(());
        }
        let sql = "INSERT INTO signals (recipient, message) SELECT ?1, ?2 \
                   WHERE (SELECT count(*) FROM signals WHERE recipient = ?1) < ?3 RETURNING id";
        let kept: Option<i64> = self.context.sql().exec(sql, (to, message, WAITING))?.next()?;
        if kept.is_none() { tell(socket, "the participant is away and has too many signals waiting") } else { Ok(()) }
    }

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

    fn remove(&self, id: &str) -> Result<()> {
        self.context.sql().exec("DELETE FROM signals WHERE recipient = ?", (id,))?;
        self.context.sql().exec("DELETE FROM participants WHERE id = ?", (id,))?;
        self.tell_others(id, &json!({"type": "left", "id": id}));
        Ok(())
    }

    /// The alarm goes on while there is somebody.
    fn look_again(&self) -> Result<()> {
        if self.count()? == 0 {
            return self.context.delete_alarm();
        }
        match self.context.alarm()? {
            Some(_) => Ok(()),
            None => self.context.set_alarm(Utc::now() + self.options.look),
        }
    }

    fn count(&self) -> Result<usize> {
        self.context.sql().exec("SELECT count(*) FROM participants", ())?.one()
    }

    fn member(&self, id: &str) -> Result<Option<Member>> {
        let sql = "SELECT id, user, name, state, joined_at, away_since FROM participants WHERE id = ?";
        self.context.sql().exec(sql, (id,))?.next()
    }

    fn roster(&self) -> Result<Vec<Json>> {
        let sql = "SELECT id, user, name, state, joined_at, away_since FROM participants ORDER BY joined_at, id";
        let members: Vec<Member> = self.context.sql().exec(sql, ())?.all()?;
        Ok(members.iter().map(Member::shown).collect())
    }

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
            .filter(|socket| matches!(socket.attachment::<String>(), Ok(Some(own)) if own == id))
            .collect()
    }

    fn tell_others(&self, id: &str, event: &Json) {
        let event = event.to_string();
        for socket in self.context.websockets(None) {
            if matches!(socket.attachment::<String>(), Ok(Some(other)) if other != id) {
                drop(socket.send(event.as_str())); // one that is closing misses it
            }
        }
    }
}

fn hash(token: &str) -> String {
    hex::encode(Sha256::digest(token.as_bytes()))
}

fn tell(socket: &WebSocket, detail: &str) -> Result<()> {
    socket.send_json(&json!({"type": "error", "detail": detail}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turn_credentials_are_what_coturn_expects() {
        // printf '1700003600:ada' | openssl dgst -sha1 -hmac north -binary | base64
        let turn = Turn::new(["turn:turn.example.com".to_owned()], "north");
        let (name, password) = turn.credentials("ada", DateTime::from_timestamp(1_700_000_000, 0).expect("a moment"));
        assert_eq!((name.as_str(), password.as_str()), ("1700003600:ada", "xnSlQG4JwD6eDlwPBFdbTt6sTJk="));
        assert!(!format!("{turn:?}").contains("north"));
    }
}
