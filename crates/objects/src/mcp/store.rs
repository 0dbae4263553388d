//! The database of an MCP object: the sessions of one user, their events, their subscriptions.
//!
//! Events are numbered for a session, over all of its streams, and an event's id names stream and number. Kept are the newest
//! 1,000, and of these at most [`McpLimits::event_bytes`] as soon as one of more than 16 KiB comes: a client that comes back
//! within that gets all it has missed.
//! Sessions that were unused for 24 hours end by the object's alarm, which looks once an hour while there is one.

use chrono::{DateTime, TimeDelta, Utc};
use rmcp::model::{ClientCapabilities, LoggingLevel, ProtocolVersion};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::McpLimits;
use crate::tables::Tables;
use isobar_sessions::{Result, SessionContext};

/// Time after which an unused session ends.
const IDLE: TimeDelta = TimeDelta::hours(24);
/// Interval at which a session's last use is written.
const USE_WRITTEN: TimeDelta = TimeDelta::minutes(1);
/// Interval at which unused sessions are looked for.
const LOOK: TimeDelta = TimeDelta::hours(1);
/// The newest events of a session, which can be sent again.
const MAX_EVENTS: i64 = 1000;
/// Events up to this size are bounded by their number alone.
const SMALL_EVENT: usize = 16 * 1024;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS mcp_sessions (
        id TEXT PRIMARY KEY, version TEXT NOT NULL, capabilities TEXT NOT NULL, level TEXT,
        created_at INTEGER NOT NULL, used_at INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS mcp_events (
        session TEXT NOT NULL, id INTEGER NOT NULL, stream TEXT NOT NULL, data TEXT NOT NULL, is_last INTEGER NOT NULL,
        UNIQUE (session, id)
    );
    CREATE INDEX IF NOT EXISTS mcp_events_stream ON mcp_events (session, stream, id);
    CREATE TABLE IF NOT EXISTS mcp_streams (
        session TEXT NOT NULL, stream TEXT NOT NULL, request TEXT NOT NULL, PRIMARY KEY (session, stream)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS mcp_subscriptions (
        session TEXT NOT NULL, uri TEXT NOT NULL, PRIMARY KEY (session, uri)
    ) WITHOUT ROWID";

/// The database of one user's sessions.
#[derive(Debug, Clone)]
pub(super) struct Store {
    context: SessionContext,
    tables: Tables,
    limits: McpLimits,
}

/// A session.
#[derive(Debug, Clone)]
pub(super) struct Session {
    pub(super) id: String,
    pub(super) version: ProtocolVersion,
    pub(super) client: ClientCapabilities,
    pub(super) level: Option<LoggingLevel>,
}

/// An event of a stream, to send again.
#[derive(Debug, Deserialize)]
pub(super) struct Event {
    pub(super) id: i64,
    pub(super) data: String,
    pub(super) is_last: i64,
}

/// A session as it is stored.
#[derive(Debug, Deserialize)]
struct Row {
    version: String,
    capabilities: String,
    level: Option<String>,
    used_at: i64,
}

impl Store {
    /// The database as it is: the first session makes its tables.
    pub(super) fn new(context: SessionContext, limits: McpLimits) -> Self {
        Self { context, tables: Tables::new(SCHEMA, "mcp_subscriptions"), limits }
    }

    /// Whether the object has stored something.
    pub(super) fn is_used(&self) -> Result<bool> {
        Ok(self.are_there()? || self.context.kv().get::<Vec<u8>>("mcp state key")?.is_some())
    }

    /// Whether the tables exist: before the first session there is nothing to read.
    fn are_there(&self) -> Result<bool> {
        self.tables.are_there(&self.context)
    }

    /// The key that what tools leave for themselves is sealed with; made at the first use.
    pub(super) fn key(&self) -> Result<Vec<u8>> {
        if let Some(key) = self.context.kv().get("mcp state key")? {
            return Ok(key);
        }
        let key = isobar_base::random::bytes::<32>()?.to_vec();
        self.context.kv().put("mcp state key", &key)?;
        Ok(key)
    }

    /// Creates a session. Returns its id, 128 random bits.
    pub(super) fn create(&self, version: &ProtocolVersion, client: &ClientCapabilities) -> Result<String> {
        self.tables.make(&self.context)?;
        let id = isobar_base::random::hex_id()?;
        let now = Utc::now();
        let sql =
            "INSERT INTO mcp_sessions (id, version, capabilities, created_at, used_at) VALUES (?1, ?2, ?3, ?4, ?4)";
        let client = serde_json::to_string(client)?;
        self.context.sql().exec(sql, (&id, version.as_str(), client, now.timestamp_millis()))?;
        self.look_again(now)?;
        Ok(id)
    }

    /// Returns a session, and notes its use.
    pub(super) fn find(&self, id: &str) -> Result<Option<Session>> {
        if !self.are_there()? {
            return Ok(None);
        }
        let sql = "SELECT version, capabilities, level, used_at FROM mcp_sessions WHERE id = ?";
        let Some(row) = self.context.sql().exec(sql, (id,))?.next::<Row>()? else { return Ok(None) };
        let now = Utc::now().timestamp_millis();
        if now - row.used_at > USE_WRITTEN.num_milliseconds() {
            self.context.sql().exec("UPDATE mcp_sessions SET used_at = ? WHERE id = ?", (now, id))?;
        }
        let version = serde_json::from_value(Json::String(row.version))?;
        let level = row.level.and_then(|level| serde_json::from_value(Json::String(level)).ok());
        Ok(Some(Session { id: id.to_owned(), version, client: serde_json::from_str(&row.capabilities)?, level }))
    }

    /// Sets the lowest level of log messages that a session receives.
    pub(super) fn set_level(&self, id: &str, level: LoggingLevel) -> Result<()> {
        let level = text(&level)?;
        self.context.sql().exec("UPDATE mcp_sessions SET level = ? WHERE id = ?", (level, id))?;
        Ok(())
    }

    /// Ends a session; whether it was there.
    pub(super) fn end(&self, id: &str) -> Result<bool> {
        let sql = "DELETE FROM mcp_sessions WHERE id = ? RETURNING id";
        let ended: Option<String> = self.context.sql().exec(sql, (id,))?.next()?;
        self.clean()?;
        Ok(ended.is_some())
    }

    /// Subscribes a session to a resource, or ends that; whether there was room for it.
    pub(super) fn subscribe(&self, id: &str, uri: &str, is_wanted: bool) -> Result<bool> {
        if !is_wanted {
            let sql = "DELETE FROM mcp_subscriptions WHERE session = ? AND uri = ?";
            return self.context.sql().exec(sql, (id, uri)).map(|_| true);
        }
        if self.is_subscribed(id, uri)? {
            return Ok(true);
        }
        let sql = "INSERT INTO mcp_subscriptions (session, uri) SELECT ?1, ?2 \
                   WHERE (SELECT count(*) FROM mcp_subscriptions) < ?3 RETURNING uri";
        let kept: Option<String> = self.context.sql().exec(sql, (id, uri, self.limits.subscriptions))?.next()?;
        Ok(kept.is_some())
    }

    /// Whether a session is subscribed to a resource.
    pub(super) fn is_subscribed(&self, id: &str, uri: &str) -> Result<bool> {
        let sql = "SELECT count(*) FROM mcp_subscriptions WHERE session = ? AND uri = ?";
        Ok(self.context.sql().exec(sql, (id, uri))?.one::<i64>()? > 0)
    }

    /// Returns the sessions that may be notified, and whether each has had notifications before, and so can resume their stream.
    pub(super) fn notified_sessions(&self, stream: &str) -> Result<Vec<(String, bool)>> {
        if !self.are_there()? {
            return Ok(Vec::new());
        }
        let sql = "SELECT id, EXISTS (SELECT 1 FROM mcp_events WHERE session = mcp_sessions.id AND stream = ?) FROM mcp_sessions";
        let sessions: Vec<(String, i64)> = self.context.sql().exec(sql, (stream,))?.all()?;
        Ok(sessions.into_iter().map(|(session, has_events)| (session, has_events != 0)).collect())
    }

    /// A stream that answers this request.
    pub(super) fn begin(&self, session: &str, stream: &str, request: &Json) -> Result<()> {
        let sql = "INSERT INTO mcp_streams (session, stream, request) VALUES (?, ?, ?)";
        self.context.sql().exec(sql, (session, stream, request.to_string()))?;
        Ok(())
    }

    /// The request that a stream was to answer, if it has not.
    pub(super) fn unanswered(&self, session: &str, stream: &str) -> Result<Option<Json>> {
        let sql = "SELECT request FROM mcp_streams WHERE session = ? AND stream = ?";
        let request: Option<String> = self.context.sql().exec(sql, (session, stream))?.next()?;
        Ok(request.map(|request| serde_json::from_str(&request)).transpose()?)
    }

    /// Keeps an event, to send it again when the connection breaks; its number within the session.
    pub(super) fn keep(&self, session: &str, stream: &str, data: &str, is_last: bool) -> Result<i64> {
        let sql = "INSERT INTO mcp_events (session, id, stream, data, is_last) \
                   SELECT ?1, coalesce(max(id), 0) + 1, ?2, ?3, ?4 FROM mcp_events WHERE session = ?1 RETURNING id";
        let id: i64 = self.context.sql().exec(sql, (session, stream, data, is_last))?.one()?;
        self.context.sql().exec("DELETE FROM mcp_events WHERE session = ? AND id <= ?", (session, id - MAX_EVENTS))?;
        if data.len() > SMALL_EVENT {
            let sql = "DELETE FROM mcp_events WHERE session = ?1 AND id < (SELECT max(id) FROM mcp_events WHERE session = ?1) AND id <= \
                       (SELECT max(id) FROM (SELECT id, sum(length(data)) OVER (ORDER BY id DESC) AS bytes \
                        FROM mcp_events WHERE session = ?1) WHERE bytes > ?2)";
            let bytes = i64::try_from(self.limits.event_bytes).unwrap_or(i64::MAX);
            self.context.sql().exec(sql, (session, bytes))?;
        }
        if is_last {
            self.context.sql().exec("DELETE FROM mcp_streams WHERE session = ? AND stream = ?", (session, stream))?;
        }
        Ok(id)
    }

    /// The events of a stream after this one.
    pub(super) fn events(&self, session: &str, stream: &str, after: i64) -> Result<Vec<Event>> {
        let sql = "SELECT id, data, is_last FROM mcp_events WHERE session = ? AND stream = ? AND id > ? ORDER BY id";
        self.context.sql().exec(sql, (session, stream, after))?.all()
    }

    /// Ends the least recently used sessions, to make room for one more. Returns their ids.
    pub(super) fn make_room(&self) -> Result<Vec<String>> {
        if !self.are_there()? {
            return Ok(Vec::new());
        }
        let sql = "DELETE FROM mcp_sessions WHERE id IN \
                   (SELECT id FROM mcp_sessions ORDER BY used_at DESC LIMIT -1 OFFSET ?) RETURNING id";
        let ended = self.context.sql().exec(sql, (i64::from(self.limits.sessions) - 1,))?.all()?;
        self.clean()?;
        Ok(ended)
    }

    /// Ends sessions that were not used for a day. Returns their ids.
    pub(super) fn sweep(&self) -> Result<Vec<String>> {
        if !self.are_there()? {
            return Ok(Vec::new());
        }
        let now = Utc::now();
        let since = (now - IDLE).timestamp_millis();
        let ended =
            self.context.sql().exec("DELETE FROM mcp_sessions WHERE used_at < ? RETURNING id", (since,))?.all()?;
        self.clean()?;
        let left: i64 = self.context.sql().exec("SELECT count(*) FROM mcp_sessions", ())?.one()?;
        if left > 0 {
            self.look_again(now)?;
        }
        Ok(ended)
    }

    /// Deletes what belongs to sessions that have ended.
    fn clean(&self) -> Result<()> {
        ["mcp_events", "mcp_streams", "mcp_subscriptions"].iter().try_for_each(|table| {
            let sql = format!("DELETE FROM {table} WHERE session NOT IN (SELECT id FROM mcp_sessions)");
            self.context.sql().exec(&sql, ()).map(drop)
        })
    }

    /// Sets the alarm that ends unused sessions, if there is none.
    fn look_again(&self, now: DateTime<Utc>) -> Result<()> {
        match self.context.alarm()? {
            Some(_) => Ok(()),
            None => self.context.set_alarm(now + LOOK),
        }
    }
}

/// Returns the text by which JSON represents the value of an enum.
fn text(value: &impl Serialize) -> Result<String> {
    Ok(serde_json::to_value(value)?.as_str().unwrap_or_default().to_owned())
}
