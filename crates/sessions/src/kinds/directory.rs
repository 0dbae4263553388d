//! The rooms of a tenant, and who is in which: what a quota of rooms and a revocation are carried out by.
//!
//! One object serves one tenant. The application asks it before it forwards a request that opens a socket or makes a room
//! ([`enter`]), and sends a revocation through it ([`revoke`]). It is the application's own: no client's request is ever
//! forwarded to it.

use chrono::{DateTime, TimeDelta, Utc};
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::participant::VALID;
use super::reply::{refusal, reply, too_many};
use super::tables::Tables;
use super::{ASK_AGAIN_WHY, Participant, Revocations};
use crate::{
    AlarmInfo, Body, Error, ErrorKind, ObjectId, Request, Response, Result, SessionContext, SessionNamespace,
    SessionObject,
};

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS rooms (
        object TEXT PRIMARY KEY, keeps INTEGER NOT NULL, used_at INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS present (
        user TEXT NOT NULL, object TEXT NOT NULL, until INTEGER NOT NULL, PRIMARY KEY (user, object)
    ) WITHOUT ROWID";
/// How often what is over is forgotten.
const LOOK: TimeDelta = TimeDelta::minutes(20);
/// A stay is written anew when it is longer by this: who comes back soon costs no write.
const LONGER: TimeDelta = TimeDelta::minutes(1);
/// How long a room that keeps nothing counts after its last use.
const COUNTS: TimeDelta = TimeDelta::hours(24);

/// The quotas of a tenant: the directory's environment.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DirectoryOptions {
    /// Rooms of a tenant, of all kinds; making one more is refused with 507. A room that keeps something counts
    /// until it is deleted, another until it has not been used for a day. Default: 1,000.
    pub rooms: u32,
    /// Rooms that one user may be in at a time; entering one more is refused with 429. A user is taken to be in a room for as
    /// long as the [`Participant`] is good. Default: 64.
    pub rooms_of_user: u32,
}

impl Default for DirectoryOptions {
    fn default() -> Self {
        Self { rooms: 1000, rooms_of_user: 64 }
    }
}

impl DirectoryOptions {
    /// Sets how many rooms a tenant has, and how many of them one user may be in at a time.
    #[must_use]
    pub fn with_rooms(mut self, rooms: u32, of_user: u32) -> Self {
        self.rooms = rooms;
        self.rooms_of_user = of_user;
        self
    }
}

/// The directory of one tenant.
#[derive(Debug)]
pub struct Directory {
    context: SessionContext,
    options: DirectoryOptions,
    tables: Tables,
    revocations: std::cell::RefCell<Revocations>,
}

/// A room that someone is about to enter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Room {
    /// Its name in the namespace of session objects.
    pub object: String,
    /// Whether it keeps something when it is empty, as a chat does and a call does not.
    pub keeps: bool,
    /// Whether a socket or stream is opened, and not only a request sent.
    pub stays: bool,
}

impl Room {
    /// The room of this name.
    pub fn new(object: impl Into<String>, keeps: bool, stays: bool) -> Self {
        Self { object: object.into(), keeps, stays }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Entering {
    who: Participant,
    room: Room,
}

/// Asks a tenant's directory whether a participant may enter a room. `None` lets the request through; an answer refuses it.
/// A room counts from when someone enters who may write.
///
/// # Errors
/// The namespace's error.
pub async fn enter(
    sessions: &dyn SessionNamespace,
    directory: &ObjectId,
    who: &Participant,
    room: &Room,
) -> Result<Option<Response>> {
    let entering = Entering { who: who.clone(), room: room.clone() };
    let mut request = Request::new(Body::from(serde_json::to_vec(&entering)?));
    *request.method_mut() = Method::PUT;
    let answer = sessions.fetch(directory, request).await?;
    Ok((!answer.status().is_success()).then_some(answer))
}

/// Takes a room out of a tenant's directory, once it has been deleted.
///
/// # Errors
/// The namespace's error.
pub async fn forget(sessions: &dyn SessionNamespace, directory: &ObjectId, object: &str) -> Result<()> {
    let mut request = Request::new(Body::from(object.to_owned()));
    *request.method_mut() = Method::DELETE;
    sessions.fetch(directory, request).await.map(drop)
}

/// Ends what a user has open in all rooms that the tenant's directory knows, at once; in how many.
///
/// # Errors
/// The namespace's error; rooms that could be reached are closed nevertheless.
pub async fn revoke(sessions: &dyn SessionNamespace, directory: &ObjectId, user: &str) -> Result<usize> {
    let answer = sessions.fetch(directory, Participant::revocation(user)).await?;
    let objects: Vec<String> = serde_json::from_slice(&answer.into_body().bytes().await?)?;
    let mut failed = None;
    for object in &objects {
        let id = sessions.id_from_name(object);
        match sessions.fetch(&id, Participant::revocation(user)).await {
            Ok(answer) if answer.status().is_success() => {}
            // It does not run, so nothing is open in it.
            Err(error) if error.kind() == ErrorKind::Damaged => {}
            Ok(answer) => failed = Some(Error::new(ErrorKind::Internal, format!("{object}: {}", answer.status()))),
            Err(error) => failed = Some(error),
        }
    }
    failed.map_or(Ok(objects.len()), Err)
}

impl SessionObject for Directory {
    type Env = DirectoryOptions;

    async fn start(context: SessionContext, options: DirectoryOptions) -> Result<Self> {
        Ok(Self { context, options, tables: Tables::new(SCHEMA, "present"), revocations: Default::default() })
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        if let Some(user) = Participant::revoked_by(&request) {
            self.revocations.borrow_mut().add(&user);
            return Ok(reply(StatusCode::OK, &self.end_stays(&user)?));
        }
        match *request.method() {
            Method::PUT => {
                let entering: Entering = request.into_body().json().await?;
                self.enter(&entering)
            }
            Method::DELETE => {
                let object = request.into_body().text().await?;
                self.forget(&object)?;
                Ok(reply(StatusCode::OK, &json!({})))
            }
            _ => Ok(refusal(StatusCode::METHOD_NOT_ALLOWED, "a directory has PUT, DELETE and revocations")),
        }
    }

    async fn alarm(&self, _: AlarmInfo) -> Result<()> {
        let now = Utc::now();
        self.context.sql().exec("DELETE FROM present WHERE until < ?", ((now - VALID).timestamp_millis(),))?;
        let unused = (now - COUNTS).timestamp_millis();
        self.context.sql().exec("DELETE FROM rooms WHERE keeps = 0 AND used_at < ?", (unused,))?;
        let sql = "SELECT (SELECT count(*) FROM present) + (SELECT count(*) FROM rooms WHERE keeps = 0)";
        let left: i64 = self.context.sql().exec(sql, ())?.one()?;
        if left > 0 { self.context.set_alarm(later(now)) } else { Ok(()) }
    }
}

impl Directory {
    fn enter(&self, Entering { who, room }: &Entering) -> Result<Response> {
        if self.revocations.borrow_mut().covers(who) {
            return Ok(refusal(StatusCode::FORBIDDEN, ASK_AGAIN_WHY));
        }
        if who.writes
            && let Some(refused) = self.count(room)?
        {
            return Ok(refused);
        }
        if room.stays
            && let Some(refused) = self.stay(who, &room.object)?
        {
            return Ok(refused);
        }
        Ok(reply(StatusCode::OK, &json!({})))
    }

    /// Counts a room that is used, and may be made by it.
    fn count(&self, room: &Room) -> Result<Option<Response>> {
        let (are_there, now) = (self.tables.are_there(&self.context)?, Utc::now());
        let one = "SELECT used_at FROM rooms WHERE object = ?";
        let used_at: Option<i64> =
            if are_there { self.context.sql().exec(one, (&room.object,))?.next()? } else { None };
        let is_recent = |used_at: i64| (now - LOOK).timestamp_millis() < used_at;
        if used_at.is_some_and(|used_at| room.keeps || is_recent(used_at)) {
            return Ok(None);
        }
        let all = "SELECT count(*) FROM rooms";
        let count: u32 = if are_there { self.context.sql().exec(all, ())?.one()? } else { 0 };
        if used_at.is_none() && count >= self.options.rooms {
            let detail = format!("your team has {count} rooms, which is as many as it may have: delete some");
            return Ok(Some(refusal(StatusCode::INSUFFICIENT_STORAGE, &detail)));
        }
        self.tables.make(&self.context)?;
        let sql = "INSERT OR REPLACE INTO rooms (object, keeps, used_at) VALUES (?, ?, ?)";
        self.context.sql().exec(sql, (&room.object, room.keeps, now.timestamp_millis()))?;
        self.look_later(now)?;
        Ok(None)
    }

    fn forget(&self, object: &str) -> Result<()> {
        if self.tables.are_there(&self.context)? {
            self.context.sql().exec("DELETE FROM rooms WHERE object = ?", (object,))?;
        }
        Ok(())
    }

    fn look_later(&self, now: DateTime<Utc>) -> Result<()> {
        match self.context.alarm()? {
            Some(_) => Ok(()),
            None => self.context.set_alarm(later(now)),
        }
    }

    /// Remembers that somebody has something open in a room, for as long as that is good.
    fn stay(&self, who: &Participant, object: &str) -> Result<Option<Response>> {
        self.tables.make(&self.context)?;
        let (now, until) = (Utc::now(), who.valid_until.timestamp_millis());
        let sql = "SELECT until FROM present WHERE user = ? AND object = ?";
        let known: Option<i64> = self.context.sql().exec(sql, (&who.user, object))?.next()?;
        let known = known.filter(|known| *known >= now.timestamp_millis());
        if known.is_none() {
            let sql = "SELECT count(*) FROM present WHERE user = ? AND until >= ?";
            let rooms: u32 = self.context.sql().exec(sql, (&who.user, now.timestamp_millis()))?.one()?;
            if rooms >= self.options.rooms_of_user {
                return Ok(Some(too_many("you are in too many rooms at once: leave some")));
            }
        }
        // The stay that is written may end sooner than the socket: it is written for longer than it is good.
        if known.is_none_or(|known| known < until) {
            let written = until + LONGER.num_milliseconds();
            let sql = "INSERT OR REPLACE INTO present (user, object, until) VALUES (?, ?, ?)";
            self.context.sql().exec(sql, (&who.user, object, written))?;
            self.look_later(now)?;
        }
        Ok(None)
    }

    /// Returns the rooms in which a user may have something open. The stays are over, but are kept for as long as what was opened before
    /// may last: a room that could not be told of the revocation is told with its next delivery.
    fn end_stays(&self, user: &str) -> Result<Vec<String>> {
        if !self.tables.are_there(&self.context)? {
            return Ok(Vec::new());
        }
        let over = Utc::now().timestamp_millis() - 1;
        let sql = "UPDATE present SET until = ? WHERE user = ? AND until > ?";
        self.context.sql().exec(sql, (over, user, over))?;
        self.context.sql().exec("SELECT object FROM present WHERE user = ?", (user,))?.all()
    }
}

/// When the directory looks next.
fn later(now: DateTime<Utc>) -> DateTime<Utc> {
    now + LOOK
}
