//! The rooms of a tenant, and the users in them: quotas of rooms and revocations go by it.
//!
//! One object serves one tenant. The application asks it before it forwards a request that opens a socket or makes a room
//! ([`enter`]), and sends a revocation through it ([`revoke`]). It is the application's own: forward no client's request to it.
//!
//! Rooms count while they exist. A directory learns that a room is entered, and not that it is left, or stays empty: at a limit
//! [`enter`] asks the rooms, and those that keep nothing, have no socket and receive no message are forgotten before a request is
//! refused.

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::{StreamExt, stream};
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::occupancy::Occupancy;
use crate::participant::VALID;
use crate::participant::{ASK_AGAIN_WHY, Participant};
use crate::reply::{refusal, reply, too_many_for};
use crate::revocations::Revocations;
use crate::tables::Tables;
use isobar_sessions::{
    AlarmInfo, Body, Error, ErrorKind, ObjectId, Request, Response, Result, SessionContext, SessionNamespace,
    SessionObject,
};

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS rooms (
        object TEXT PRIMARY KEY, keeps INTEGER NOT NULL, used_at INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS stays (
        user TEXT NOT NULL, object TEXT NOT NULL, until INTEGER NOT NULL, seen_at INTEGER NOT NULL,
        PRIMARY KEY (user, object)
    ) WITHOUT ROWID;
    DROP TABLE IF EXISTS present";
/// `rooms.keeps` of a room that keeps nothing, of one that may keep something, and of one that was found to do so.
const KEEPS_NOTHING: i64 = 0;
const MAY_KEEP: i64 = 1;
const KEEPS: i64 = 2;
/// Interval at which stays and rooms that are over are deleted.
const LOOK: TimeDelta = TimeDelta::minutes(20);
/// A stay is written again when its end changes by this: a quick return costs no write.
const LONGER: TimeDelta = TimeDelta::minutes(1);
/// Multiple of the grace after which a room that was found to keep something is asked again: its messages may have ended since.
const KEPT_GRACES: i32 = 60;
/// Time for which a room that keeps nothing counts after its last use.
const COUNTS: TimeDelta = TimeDelta::hours(1);
/// Rooms that are asked between two decisions.
const ASKED_AT_ONCE: usize = 64;
/// Rooms that are waited for at once.
const CONCURRENT: usize = 16;
/// Time after which a request is decided by the answers that have come, in place of asking more rooms.
const ASKING: TimeDelta = TimeDelta::seconds(5);
/// Times that rooms are asked for one request.
const ROUNDS: u32 = 32;

/// The quotas of a tenant: the directory's environment.
///
/// ```
/// use chrono::TimeDelta;
/// use isobar_objects::directory::DirectoryOptions;
///
/// // 50 rooms of a tenant, of which a user may be in five at a time.
/// let options = DirectoryOptions::default().with_rooms(50, 5).with_grace(TimeDelta::seconds(30));
/// assert_eq!(options.rooms_of_user, 5);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DirectoryOptions {
    /// Largest number of rooms of a tenant, of all kinds; making one more is refused with 507. A room that keeps something counts until it is
    /// deleted, one that keeps nothing until an hour after its last use. Default: 1,000.
    pub rooms: u32,
    /// Largest number of rooms that one user may be in at a time; entering one more is refused with 429 and the time until the first of the
    /// user's sockets has to be opened anew. Default: 64.
    pub rooms_of_user: u32,
    /// Time for which an entered room, and a user in it, counts before the room is asked; a room that was found to keep
    /// something is asked again after 60 times as long without use. Default: 1 minute.
    pub grace: TimeDelta,
}

impl Default for DirectoryOptions {
    fn default() -> Self {
        Self { rooms: 1000, rooms_of_user: 64, grace: TimeDelta::minutes(1) }
    }
}

impl DirectoryOptions {
    /// Sets the number of a tenant's rooms, and of those that one user may be in at a time.
    ///
    /// A limit below what a tenant has closes nothing: it refuses what would be new.
    #[must_use]
    pub fn with_rooms(mut self, rooms: u32, of_user: u32) -> Self {
        self.rooms = rooms;
        self.rooms_of_user = of_user;
        self
    }

    /// Sets the time for which an entered room counts before it is asked.
    #[must_use]
    pub fn with_grace(mut self, grace: TimeDelta) -> Self {
        self.grace = grace;
        self
    }
}

/// The directory of one tenant, as a session object: [`enter`], [`forget`] and [`revoke`] speak to it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use isobar_objects::Participant;
/// use isobar_objects::directory::{self, Directory, DirectoryOptions, Room};
/// use isobar_sessions::SessionNamespace;
/// use isobar_sessions::memory::MemoryHost;
///
/// let options = DirectoryOptions::default().with_rooms(1, 1);
/// let sessions = MemoryHost::<Directory>::new("Sessions", move || options.clone())?;
/// let tenant = sessions.id_from_name("directory of tenant-1");
/// let ada = Participant::new("user-1", "Ada").with_writes(true);
///
/// let lobby = Room::new("tenant-1/lobby", true, true);
/// assert!(directory::enter(&sessions, &tenant, &ada, &lobby).await?.is_none());
///
/// // The tenant has as many rooms as it may have.
/// let garden = Room::new("tenant-1/garden", true, true);
/// let refused = directory::enter(&sessions, &tenant, &ada, &garden).await?.expect("the quota is one room");
/// assert_eq!(refused.status(), 507);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Directory {
    context: SessionContext,
    options: DirectoryOptions,
    tables: Tables,
    revocations: std::cell::RefCell<Revocations>,
}

/// A room that a participant is about to enter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Room {
    /// Name of the room's object in the namespace of session objects.
    pub object: String,
    /// Whether the room may keep something when it is empty, as a chat does and a call does not.
    pub keeps: bool,
    /// Whether a socket or stream is opened, and not only a request sent.
    pub stays: bool,
}

impl Room {
    /// Takes the room of this name.
    ///
    /// ```
    /// use isobar_objects::directory::Room;
    /// // A chat keeps its messages, a call nothing; both are entered by a socket.
    /// let chat = Room::new("tenant-1/lobby", true, true);
    /// let call = Room::new("tenant-1/standup", false, true);
    /// assert!(chat.keeps && !call.keeps);
    /// ```
    pub fn new(object: impl Into<String>, keeps: bool, stays: bool) -> Self {
        Self { object: object.into(), keeps, stays }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Entering {
    who: Participant,
    room: Room,
    /// Whether rooms are asked before a refusal.
    #[serde(default)]
    asks: bool,
}

/// Rooms to be asked before a participant is refused.
#[derive(Debug, Serialize, Deserialize)]
struct Question {
    user: String,
    objects: Vec<String>,
    asked_at: i64,
}

/// The answers of rooms; `None` for a room that gave none, and is taken to be as it was.
#[derive(Debug, Serialize, Deserialize)]
struct Answers {
    user: String,
    asked_at: i64,
    rooms: Vec<(String, Option<Occupancy>)>,
}

/// The decision on one who enters.
enum Decision {
    Granted,
    Refused(Box<Response>),
    /// At a limit, with rooms that may have been left.
    Asks(Vec<String>),
}

impl Decision {
    fn refused(response: Response) -> Self {
        Self::Refused(Box::new(response))
    }
}

/// Asks a tenant's directory whether a participant may enter a room. `None` lets the request through; an answer refuses it.
/// A room counts from when a participant enters it who may write.
///
/// # Errors
/// The namespace's error.
pub async fn enter(
    sessions: &dyn SessionNamespace,
    directory: &ObjectId,
    who: &Participant,
    room: &Room,
) -> Result<Option<Response>> {
    let asking_until = Utc::now() + ASKING;
    let mut rounds = 0;
    loop {
        let asks = rounds < ROUNDS && Utc::now() < asking_until;
        let entering = Entering { who: who.clone(), room: room.clone(), asks };
        let answer = sessions.fetch(directory, request(Method::PUT, serde_json::to_vec(&entering)?)).await?;
        if answer.status() != StatusCode::CONFLICT {
            return Ok((!answer.status().is_success()).then_some(answer));
        }
        rounds += 1;
        let question: Question = answer.into_body().json().await?;
        let answers = serde_json::to_vec(&ask(sessions, question).await)?;
        sessions.fetch(directory, request(Method::PATCH, answers)).await?;
    }
}

fn request(method: Method, body: Vec<u8>) -> Request {
    let mut request = Request::new(Body::from(body));
    *request.method_mut() = method;
    request
}

async fn ask(sessions: &dyn SessionNamespace, question: Question) -> Answers {
    let Question { user, objects, asked_at } = question;
    let asked = objects.into_iter().map(|object| ask_one(sessions, &user, object));
    let rooms = stream::iter(asked).buffer_unordered(CONCURRENT).collect().await;
    Answers { user, asked_at, rooms }
}

async fn ask_one(sessions: &dyn SessionNamespace, user: &str, object: String) -> (String, Option<Occupancy>) {
    let answer = sessions.fetch(&sessions.id_from_name(&object), Occupancy::question(user)).await;
    let occupancy = match answer {
        Ok(answer) if answer.status().is_success() => answer.into_body().json().await.ok(),
        _ => None,
    };
    (object, occupancy)
}

/// Takes a room out of a tenant's directory, once it has been deleted: it no longer counts towards the tenant's quota.
///
/// # Errors
/// The namespace's error.
pub async fn forget(sessions: &dyn SessionNamespace, directory: &ObjectId, object: &str) -> Result<()> {
    sessions.fetch(directory, request(Method::DELETE, object.as_bytes().to_vec())).await.map(drop)
}

/// Ends at once what a user has open in all rooms that the tenant's directory knows. Returns the number of rooms.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> isobar_sessions::Result<()> {
/// use isobar_objects::directory::{self, Directory, DirectoryOptions};
/// use isobar_sessions::SessionNamespace;
/// use isobar_sessions::memory::MemoryHost;
///
/// let sessions = MemoryHost::<Directory>::new("Sessions", DirectoryOptions::default)?;
/// let tenant = sessions.id_from_name("directory of tenant-1");
/// assert_eq!(directory::revoke(&sessions, &tenant, "user-1").await?, 0); // the user is in no room
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// The namespace's error; rooms that could be reached are closed nevertheless.
pub async fn revoke(sessions: &dyn SessionNamespace, directory: &ObjectId, user: &str) -> Result<usize> {
    let answer = sessions.fetch(directory, Participant::revocation(user)).await?;
    let objects: Vec<String> = serde_json::from_slice(&answer.into_body().bytes().await?)?;
    let rooms = objects.len();
    let revoked = objects.into_iter().map(|object| revoke_in(sessions, object, user));
    let revoked: Vec<Result<()>> = stream::iter(revoked).buffer_unordered(CONCURRENT).collect().await;
    revoked.into_iter().collect::<Result<()>>()?;
    Ok(rooms)
}

async fn revoke_in(sessions: &dyn SessionNamespace, object: String, user: &str) -> Result<()> {
    match sessions.fetch(&sessions.id_from_name(&object), Participant::revocation(user)).await {
        Ok(answer) if answer.status().is_success() => Ok(()),
        Ok(answer) => Err(Error::new(ErrorKind::Internal, format!("{object}: {}", answer.status()))),
        // It does not run, so nothing is open in it.
        Err(error) if error.kind() == ErrorKind::Damaged => Ok(()),
        Err(error) => Err(error),
    }
}

impl SessionObject for Directory {
    type Env = DirectoryOptions;

    async fn start(context: SessionContext, options: DirectoryOptions) -> Result<Self> {
        let tables = Tables::new(SCHEMA, "stays");
        // A directory of an earlier version has its rooms already.
        let sql = "SELECT count(*) FROM sqlite_schema WHERE name = 'rooms'";
        if !tables.are_there(&context)? && context.sql().exec(sql, ())?.one::<i64>()? > 0 {
            tables.make(&context)?;
        }
        Ok(Self { context, options, tables, revocations: Default::default() })
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        if let Some(user) = Participant::revoked_by(&request) {
            self.revocations.borrow_mut().add(&self.context, &user, true)?;
            return Ok(reply(StatusCode::OK, &self.end_stays(&user)?));
        }
        match *request.method() {
            Method::PUT => {
                let entering: Entering = request.into_body().json().await?;
                Ok(match self.enter(&entering)? {
                    Decision::Granted => reply(StatusCode::OK, &json!({})),
                    Decision::Refused(response) => *response,
                    Decision::Asks(objects) => {
                        let question =
                            Question { user: entering.who.user, objects, asked_at: Utc::now().timestamp_millis() };
                        reply(StatusCode::CONFLICT, &question)
                    }
                })
            }
            Method::PATCH => {
                let answers: Answers = request.into_body().json().await?;
                self.note(&answers)?;
                Ok(reply(StatusCode::OK, &json!({})))
            }
            Method::DELETE => {
                let object = request.into_body().text().await?;
                self.forget(&object)?;
                Ok(reply(StatusCode::OK, &json!({})))
            }
            _ => Ok(refusal(StatusCode::METHOD_NOT_ALLOWED, "a directory has PUT, PATCH, DELETE and revocations")),
        }
    }

    async fn alarm(&self, _: AlarmInfo) -> Result<()> {
        if !self.tables.are_there(&self.context)? {
            return Ok(());
        }
        let now = Utc::now();
        self.context.sql().exec("DELETE FROM stays WHERE until < ?", ((now - VALID).timestamp_millis(),))?;
        let unused = (now - COUNTS).timestamp_millis();
        self.context.sql().exec("DELETE FROM rooms WHERE keeps = 0 AND used_at < ?", (unused,))?;
        let sql = "SELECT (SELECT count(*) FROM stays) + (SELECT count(*) FROM rooms WHERE keeps = 0)";
        let left: i64 = self.context.sql().exec(sql, ())?.one()?;
        if left > 0 { self.context.set_alarm(now + LOOK) } else { Ok(()) }
    }
}

impl Directory {
    fn enter(&self, Entering { who, room, asks }: &Entering) -> Result<Decision> {
        if self.revocations.borrow_mut().covers(&self.context, who)? {
            return Ok(Decision::refused(refusal(StatusCode::FORBIDDEN, ASK_AGAIN_WHY)));
        }
        if who.writes {
            match self.count(room, *asks)? {
                Decision::Granted => {}
                other => return Ok(other),
            }
        }
        if room.stays { self.stay(who, &room.object, *asks) } else { Ok(Decision::Granted) }
    }

    /// Counts a room that is used, and may be made by it.
    fn count(&self, room: &Room, asks: bool) -> Result<Decision> {
        let are_there = self.tables.are_there(&self.context)?;
        let now = Utc::now();
        let one = "SELECT keeps, used_at FROM rooms WHERE object = ?";
        let known: Option<(i64, i64)> =
            if are_there { self.context.sql().exec(one, (&room.object,))?.next()? } else { None };
        // Written again long before a room may be taken for one that was left.
        let is_current = |(keeps, used_at): (i64, i64)| {
            let for_long = match keeps {
                KEEPS_NOTHING => LOOK,
                KEEPS => self.kept_grace() / 4,
                _ => self.options.grace / 4,
            };
            used_at > (now - for_long).timestamp_millis()
        };
        match known {
            Some(known) if is_current(known) => return Ok(Decision::Granted),
            // A room that has kept nothing for so long is not counted: it is one more.
            Some((keeps, used_at)) if keeps != KEEPS_NOTHING || used_at >= (now - COUNTS).timestamp_millis() => {}
            _ if are_there => {
                if let Some(decision) = self.check_rooms(asks, now)? {
                    return Ok(decision);
                }
            }
            _ => {}
        }
        self.tables.make(&self.context)?;
        let sql = "INSERT INTO rooms (object, keeps, used_at) VALUES (?, ?, ?) \
                   ON CONFLICT (object) DO UPDATE SET keeps = max(keeps, excluded.keeps), used_at = excluded.used_at";
        let keeps = if room.keeps { MAY_KEEP } else { KEEPS_NOTHING };
        self.context.sql().exec(sql, (&room.object, keeps, now.timestamp_millis()))?;
        self.look_later(now)?;
        Ok(Decision::Granted)
    }

    /// Decides on one room more; `None` while there are fewer than there may be.
    fn check_rooms(&self, asks: bool, now: DateTime<Utc>) -> Result<Option<Decision>> {
        let sql = "SELECT count(*) FROM rooms WHERE keeps > 0 OR used_at >= ?";
        let count: u32 = self.context.sql().exec(sql, ((now - COUNTS).timestamp_millis(),))?.one()?;
        if count < self.options.rooms {
            return Ok(None);
        }
        let sql = "SELECT object FROM rooms WHERE (keeps = ?1 AND used_at <= ?2) OR (keeps = ?3 AND used_at <= ?4) \
                   ORDER BY keeps, used_at LIMIT ?5";
        let before = (now - self.options.grace).timestamp_millis();
        let kept_before = (now - self.kept_grace()).timestamp_millis();
        let values = (MAY_KEEP, before, KEEPS, kept_before, ASKED_AT_ONCE as i64);
        let unsure: Vec<String> = self.context.sql().exec(sql, values)?.all()?;
        if asks && !unsure.is_empty() {
            return Ok(Some(Decision::Asks(unsure)));
        }
        let detail =
            format!("your team has {count} rooms, and the limit is {}: delete rooms first", self.options.rooms);
        Ok(Some(Decision::refused(refusal(StatusCode::INSUFFICIENT_STORAGE, &detail))))
    }

    /// Notes what rooms have answered. What has changed since they were asked stays as it is.
    fn note(&self, Answers { user, asked_at, rooms }: &Answers) -> Result<()> {
        if !self.tables.are_there(&self.context)? {
            return Ok(());
        }
        let now = Utc::now().timestamp_millis();
        let settled = asked_at - self.options.grace.num_milliseconds();
        let kept_settled = asked_at - self.kept_grace().num_milliseconds();
        for (object, occupancy) in rooms {
            let sql = self.context.sql();
            match occupancy {
                Some(Occupancy { is_kept: true, .. }) => {
                    let keep = "UPDATE rooms SET keeps = ?, used_at = max(used_at, ?) WHERE object = ? AND keeps <> ?";
                    sql.exec(keep, (KEEPS, now, object, KEEPS_NOTHING))?;
                }
                Some(Occupancy { sockets: 0, .. }) => {
                    let forget = "DELETE FROM rooms WHERE object = ?1 AND ((keeps = ?2 AND used_at <= ?3) \
                                  OR (keeps = ?4 AND used_at <= ?5))";
                    sql.exec(forget, (object, MAY_KEEP, settled, KEEPS, kept_settled))?;
                }
                _ => {
                    sql.exec(
                        "UPDATE rooms SET used_at = ? WHERE object = ? AND used_at <= ?",
                        (now, object, *asked_at),
                    )?;
                }
            }
            if occupancy.is_some_and(|occupancy| !occupancy.is_present) {
                let end = "DELETE FROM stays WHERE user = ? AND object = ? AND seen_at <= ?";
                sql.exec(end, (user, object, settled))?;
            } else {
                let see = "UPDATE stays SET seen_at = ? WHERE user = ? AND object = ? AND seen_at <= ?";
                sql.exec(see, (now, user, object, *asked_at))?;
            }
        }
        Ok(())
    }

    fn kept_grace(&self) -> TimeDelta {
        self.options.grace * KEPT_GRACES
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
            None => self.context.set_alarm(now + LOOK),
        }
    }

    /// Remembers that a user has something open in a room, for as long as the participant is valid.
    fn stay(&self, who: &Participant, object: &str, asks: bool) -> Result<Decision> {
        self.tables.make(&self.context)?;
        let now = Utc::now();
        let until = who.valid_until.timestamp_millis();
        let sql = "SELECT until, seen_at FROM stays WHERE user = ? AND object = ?";
        let known: Option<(i64, i64)> = self.context.sql().exec(sql, (&who.user, object))?.next()?;
        let known = known.filter(|(until, _)| *until >= now.timestamp_millis());
        if known.is_none()
            && let Some(decision) = self.check_stays(who, asks, now)?
        {
            return Ok(decision);
        }
        // The stay that is written may end sooner than the socket: it is written for longer than it is good.
        // Nor may it be taken for one that is over while the socket is being opened.
        let seen_lately = (now - self.options.grace / 4).timestamp_millis();
        if known.is_none_or(|(known, seen_at)| known < until || seen_at < seen_lately) {
            let written = known.map_or(0, |(known, _)| known).max(until + LONGER.num_milliseconds());
            let sql = "INSERT OR REPLACE INTO stays (user, object, until, seen_at) VALUES (?, ?, ?, ?)";
            self.context.sql().exec(sql, (&who.user, object, written, now.timestamp_millis()))?;
            self.look_later(now)?;
        }
        Ok(Decision::Granted)
    }

    /// Decides on one room more for a user; `None` while the user is in fewer than the limit.
    fn check_stays(&self, who: &Participant, asks: bool, now: DateTime<Utc>) -> Result<Option<Decision>> {
        let sql = "SELECT object, until, seen_at FROM stays WHERE user = ? AND until >= ? ORDER BY until";
        let rooms: Vec<(String, i64, i64)> =
            self.context.sql().exec(sql, (&who.user, now.timestamp_millis()))?.all()?;
        let limit = self.options.rooms_of_user as usize;
        if rooms.len() < limit {
            return Ok(None);
        }
        let before = (now - self.options.grace).timestamp_millis();
        let unsure = rooms.iter().filter(|(_, _, seen_at)| *seen_at <= before).map(|(object, ..)| object.clone());
        let unsure: Vec<_> = unsure.take(ASKED_AT_ONCE).collect();
        if asks && !unsure.is_empty() {
            return Ok(Some(Decision::Asks(unsure)));
        }
        // There is a place when as many have ended as there are too many.
        let ends = rooms.get(rooms.len() - limit).map_or(now.timestamp_millis(), |(_, until, _)| *until);
        let seconds = u64::try_from((ends - now.timestamp_millis()) / 1000 + 1).unwrap_or(1);
        let count = rooms.len();
        let detail =
            format!("you are in {count} rooms, and the limit is {limit}: leave some, or try again in {seconds} s");
        Ok(Some(Decision::refused(too_many_for(&detail, seconds))))
    }

    /// Returns the rooms in which a user may have something open. The stays are over, but are kept for as long as the user's sockets
    /// may last: a revocation that a room has missed reaches it with the next delivery.
    fn end_stays(&self, user: &str) -> Result<Vec<String>> {
        if !self.tables.are_there(&self.context)? {
            return Ok(Vec::new());
        }
        let over = Utc::now().timestamp_millis() - 1;
        let sql = "UPDATE stays SET until = ? WHERE user = ? AND until > ?";
        self.context.sql().exec(sql, (over, user, over))?;
        self.context.sql().exec("SELECT object FROM stays WHERE user = ?", (user,))?.all()
    }
}
