//! Session objects, to look into.
//!
//! An object is looked into without being started: its class need not be in this process, and its code
//! does not run. Types here are serialised as the explorer's page reads them, so that their fields are
//! a contract with it.

use std::fmt::Debug;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value as Json;

use super::CatalogError;

/// A session object that has stored something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SessionInfo {
    /// Id: 64 hexadecimal digits.
    pub id: String,
    /// Name that the id was made from, where it is known. Default: none.
    pub name: Option<String>,
    /// Size of what it stores, in bytes. Default: 0.
    pub bytes: u64,
    /// Time at which it is woken for its alarm. Default: none, it has no alarm.
    pub alarm: Option<DateTime<Utc>>,
    /// Time of its last write, where that is known. Default: none.
    pub changed: Option<DateTime<Utc>>,
    /// Reason for which it cannot be read. Default: none, nothing is known to be wrong.
    pub damage: Option<String>,
}

impl SessionInfo {
    /// Returns the entry of an object of which nothing but the id is known.
    #[must_use]
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), name: None, bytes: 0, alarm: None, changed: None, damage: None }
    }
}

/// Objects in the order of their ids.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SessionPage {
    /// The objects.
    pub objects: Vec<SessionInfo>,
    /// Id after which the next page begins; `None` where nothing follows.
    pub cursor: Option<String>,
}

impl SessionPage {
    /// Returns a page of these objects.
    #[must_use]
    pub fn new(objects: Vec<SessionInfo>, cursor: Option<String>) -> Self {
        Self { objects, cursor }
    }
}

/// A table of a session object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SessionTable {
    /// Name.
    pub name: String,
    /// Number of its rows.
    pub rows: u64,
}

impl SessionTable {
    /// Returns the entry of a table.
    #[must_use]
    pub fn new(name: impl Into<String>, rows: u64) -> Self {
        Self { name: name.into(), rows }
    }
}

/// A WebSocket of a session object.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SessionSocket {
    /// Its number, unique in the object's lifetime.
    pub id: u64,
    /// Tags that it was accepted with.
    pub tags: Vec<String>,
    /// Attachment. Default: none was set.
    pub attachment: Option<Json>,
    /// Whether neither side has closed it. Default: true.
    pub is_open: bool,
}

impl SessionSocket {
    /// Returns the entry of an open socket without an attachment.
    #[must_use]
    pub fn new(id: u64, tags: Vec<String>) -> Self {
        Self { id, tags, attachment: None, is_open: true }
    }
}

/// A timer of a session object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SessionTimer {
    /// Name.
    pub name: String,
    /// Time at which it runs. Default: none, it has failed too often.
    pub due: Option<DateTime<Utc>>,
    /// Cron expression of a timer that runs again and again. Default: none.
    pub cron: Option<String>,
    /// Number of runs for this time that have failed. Default: 0.
    pub retries: u32,
}

impl SessionTimer {
    /// Returns the entry of a timer that is given up.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), due: None, cron: None, retries: 0 }
    }
}

/// A session object, looked into.
///
/// ```
/// use isobar_gateway::catalog::{SessionDetails, SessionInfo, SessionTable};
///
/// let mut info = SessionInfo::new("00".repeat(32));
/// info.name = Some("lobby".to_owned());
/// let details = SessionDetails::new(info, 3, vec![SessionTable::new("messages", 250)]);
/// let shown = serde_json::to_value(&details)?;
/// assert_eq!(shown["name"], "lobby");
/// assert_eq!(shown["keys"], 3);
/// assert_eq!(shown["tables"][0]["rows"], 250);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SessionDetails {
    /// The object.
    #[serde(flatten)]
    pub info: SessionInfo,
    /// Number of runs of its alarm that have failed. Default: 0.
    pub alarm_retries: u32,
    /// Number of its key-value pairs.
    pub keys: u64,
    /// Its tables, by name.
    pub tables: Vec<SessionTable>,
    /// Its named timers, 100 at most. Default: none.
    pub timers: Vec<SessionTimer>,
    /// Its WebSockets, where the catalog is in the process that hosts it. Default: none, they are not known.
    pub sockets: Option<Vec<SessionSocket>>,
}

impl SessionDetails {
    /// Returns the details of an object whose alarm has not failed, without timers, and whose sockets are not known.
    #[must_use]
    pub fn new(info: SessionInfo, keys: u64, tables: Vec<SessionTable>) -> Self {
        Self { info, alarm_retries: 0, keys, tables, timers: Vec::new(), sockets: None }
    }
}

/// Rows of a statement on an object's database.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SessionRows {
    /// Names of the columns.
    pub columns: Vec<String>,
    /// The rows' values. A blob is an array of its bytes.
    pub rows: Vec<Vec<Json>>,
}

impl SessionRows {
    /// Returns rows.
    #[must_use]
    pub fn new(columns: Vec<String>, rows: Vec<Vec<Json>>) -> Self {
        Self { columns, rows }
    }
}

/// Session objects by their classes, to look into without starting them.
///
/// ```
/// use async_trait::async_trait;
/// use isobar_gateway::catalog::{CatalogError, SessionCatalog, SessionDetails, SessionPage, SessionRows};
///
/// #[derive(Debug)]
/// struct Nothing;
///
/// #[async_trait]
/// impl SessionCatalog for Nothing {
///     async fn classes(&self) -> Result<Vec<String>, CatalogError> {
///         Ok(Vec::new())
///     }
///     async fn list(&self, _class: &str, _after: Option<&str>, _limit: usize) -> Result<Option<SessionPage>, CatalogError> {
///         Ok(None)
///     }
///     async fn details(&self, _class: &str, _id: &str) -> Result<Option<SessionDetails>, CatalogError> {
///         Ok(None)
///     }
///     async fn query(&self, _class: &str, _id: &str, _sql: &str) -> Result<Option<SessionRows>, CatalogError> {
///         Ok(None)
///     }
/// }
/// ```
#[async_trait]
pub trait SessionCatalog: Debug + Send + Sync {
    /// Returns the classes, in byte order. One may have no object yet.
    ///
    /// # Errors
    /// [`CatalogErrorKind::Unavailable`](super::CatalogErrorKind::Unavailable).
    async fn classes(&self) -> Result<Vec<String>, CatalogError>;

    /// Returns objects of a class, from the one after this id on, and `limit` at most; `None` where there is no such class.
    ///
    /// # Errors
    /// [`InvalidArgument`](super::CatalogErrorKind::InvalidArgument) for an id that is not one of the class,
    /// [`Unavailable`](super::CatalogErrorKind::Unavailable).
    async fn list(&self, class: &str, after: Option<&str>, limit: usize) -> Result<Option<SessionPage>, CatalogError>;

    /// Returns what an object has stored; `None` where there is no such class or object. The object is named by its id or its name.
    ///
    /// # Errors
    /// [`CatalogErrorKind::Unavailable`](super::CatalogErrorKind::Unavailable).
    async fn details(&self, class: &str, id: &str) -> Result<Option<SessionDetails>, CatalogError>;

    /// Runs one statement that reads on an object's database; `None` where there is no such class or object.
    ///
    /// # Errors
    /// [`InvalidArgument`](super::CatalogErrorKind::InvalidArgument) for a statement that is refused, with SQLite's reason;
    /// [`Unavailable`](super::CatalogErrorKind::Unavailable).
    async fn query(&self, class: &str, id: &str, sql: &str) -> Result<Option<SessionRows>, CatalogError>;
}
