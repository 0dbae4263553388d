//! Session objects with the semantics of SQLite-backed Durable Objects, wherever they run.
//!
//! An application implements [`SessionObject`]; a host runs one live instance per id and hands each a
//! [`SessionContext`]: synchronous SQL and key-value storage, transactions, an alarm, hibernatable WebSockets. Callers
//! hold an `Arc<dyn` [`SessionNamespace`]`>` and know no host.
//!
//! Hosts: `memory::MemoryHost` (feature `memory`, default), `local::LocalHost` (feature `local`: one SQLite file per
//! object, alarms that survive restarts), Durable Objects (feature `cloudflare-binding`), `mock::MockNamespace` (feature `mock`) over any of them.
//!
//! ```
//! # #[cfg(feature = "memory")] {
//! use isobar_sessions::{Body, Request, Response, Result, SessionContext, SessionNamespaceExt, SessionObject};
//! use isobar_sessions::memory::MemoryHost;
//!
//! struct Counter(SessionContext);
//! impl SessionObject for Counter {
//!     type Env = ();
//!     async fn start(context: SessionContext, _: ()) -> Result<Self> {
//!         context.sql().exec("CREATE TABLE IF NOT EXISTS hits (at INTEGER)", ())?;
//!         Ok(Self(context))
//!     }
//!     async fn fetch(&self, _: Request) -> Result<Response> {
//!         self.0.sql().exec("INSERT INTO hits VALUES (?)", (1,))?;
//!         let count: i64 = self.0.sql().exec("SELECT count(*) FROM hits", ())?.one()?;
//!         Ok(Response::new(Body::from(count.to_string())))
//!     }
//! }
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let counters = MemoryHost::<Counter>::new("Counter", || ())?;
//! let id = counters.id("room-1");
//! counters.get(&id, "/").await?;
//! assert_eq!(counters.get(&id, "/").await?.into_body().text().await?, "2");
//! # Ok::<_, isobar_sessions::Error>(()) }).unwrap();
//! # }
//! ```
//!
//! # Durable Objects' API, and this one
//!
//! | JavaScript | here |
//! |---|---|
//! | `constructor(state, env)` with `blockConcurrencyWhile` | [`SessionObject::start`] |
//! | `fetch`, `alarm`, `webSocketMessage`, `webSocketClose`, `webSocketError` | [`fetch`](SessionObject::fetch), [`alarm`](SessionObject::alarm), [`message`](SessionObject::message), [`closed`](SessionObject::closed) for both ends |
//! | `ctx.storage.sql.exec(...).one()`, `.toArray()`, `.raw()` | [`Sql::exec`], [`Cursor::one`], [`Cursor::all`], [`Cursor::raw`] |
//! | `ctx.storage.get`, `put`, `delete`, `list` | [`Kv`], with values as JSON |
//! | `ctx.storage.transaction`, `transactionSync` | [`SessionContext::transaction`] |
//! | `ctx.storage.setAlarm`, `getAlarm`, `deleteAlarm` | [`SessionContext::set_alarm`], [`alarm`](SessionContext::alarm), [`delete_alarm`](SessionContext::delete_alarm) |
//! | `ctx.storage.sync()` | [`SessionContext::durable`] |
//! | `ctx.storage.getCurrentBookmark`, `getBookmarkForTime`, `onNextSessionRestoreBookmark` | [`SessionContext::current_bookmark`], [`bookmark_for_time`](SessionContext::bookmark_for_time), [`restore_on_next_start`](SessionContext::restore_on_next_start) |
//! | `ctx.acceptWebSocket`, `getWebSockets`, `setWebSocketAutoResponse` | [`SessionContext::accept_websocket`], [`websockets`](SessionContext::websockets), [`set_auto_response`](SessionContext::set_auto_response) |
//! | `ws.serializeAttachment`, `deserializeAttachment` | [`WebSocket::set_attachment`], [`WebSocket::attachment`] |
//! | `env.ROOMS.idFromName`, `newUniqueId`, `idFromString`, `get(id).fetch` | [`SessionNamespace`] |
//! | RPC methods | [`Call`] and [`Dispatch`] |
#![cfg_attr(docsrs, feature(doc_cfg))]

mod body;
mod bookmark;
mod call;
mod context;
mod cursor;
mod deferred;
mod error;
mod ext;
mod id;
mod kv_list;
mod message;
mod namespace;
mod object;
mod operation;
mod pipe;
pub mod scheduler;
#[cfg(feature = "timers")]
pub mod timers;
#[cfg(feature = "timers")]
pub mod triggers;
mod upgrade;
mod value;
mod websocket;

#[cfg(feature = "cloudflare-binding")]
pub mod cloudflare;
#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(all(any(feature = "memory", feature = "local"), not(target_arch = "wasm32")))]
mod host;
#[cfg(feature = "mock")]
pub mod mock;

/// The native host: one SQLite file per object. Feature `catalog` adds tools for its folder.
#[cfg(all(feature = "local", not(target_arch = "wasm32")))]
pub mod local {
    #[cfg(feature = "catalog")]
    pub use crate::host::{
        AlarmCursor, AlarmDetails, AlarmListOptions, AlarmPage, Catalog, CatalogEntry, CatalogListOptions, CatalogPage,
        CatalogWriter, ExportReport, HistoryPoint, ImportReport, ObjectAlarm, ObjectDetails, ObjectHistory, OnExisting,
        QueryBounds, RestorePoint, RestoredObject, TableDetails, TimerDetails,
    };
    pub use crate::host::{AwakeObjects, Clock, HistoryOptions, HostOptions, LocalHost};
}
/// The host in memory: a faithful fake.
#[cfg(all(feature = "memory", not(target_arch = "wasm32")))]
pub mod memory {
    pub use crate::host::{AwakeObjects, Clock, HistoryOptions, HostOptions, MemoryHost};
}

#[cfg(all(feature = "catalog", not(target_arch = "wasm32")))]
pub use host::backup;

pub use body::Body;
pub use bookmark::Bookmark;
pub use call::{CALL_PATH, Call, Dispatch, SessionStub};
pub use context::{Kv, SessionBackend, SessionContext, Sql, TransactionBody};
pub use cursor::Cursor;
pub use deferred::DeferredNamespace;
pub use error::{Error, ErrorKind, Result};
pub use ext::SessionNamespaceExt;
pub use id::{IdScheme, ObjectId};
pub use kv_list::KvListOptions;
pub use message::{CloseFrame, Message};
#[cfg(not(target_arch = "wasm32"))]
pub use namespace::SocketDetails;
pub use namespace::{Capabilities, ListedObject, SessionNamespace};
pub use object::{AlarmInfo, SessionObject};
pub use operation::Operation;
pub use upgrade::take_websocket;
pub use value::{Parameters, Value};
#[cfg(feature = "cloudflare-binding")]
pub(crate) use websocket::take_client;
pub use websocket::{
    ClientReceiver, ClientSender, ClientSocket, ServerSender, ServerSocket, SocketBackend, WebSocket, socket_pair,
    websocket_response,
};

/// A request to a session object.
pub type Request = http::Request<Body>;
/// A session object's response.
pub type Response = http::Response<Body>;

/// Limits of Durable Objects, which every host keeps. Source: Cloudflare's documentation, "Limits", and workerd.
pub mod limits {
    #[doc(inline)]
    pub use isobar_sqlite::limits::{COLUMNS, PARAMETERS, SQL_BYTES};

    /// Bytes in a value or row, and in a key with its value: 4 MiB. (workerd alone would take 8 MiB.)
    pub const VALUE_BYTES: usize = 4 * 1024 * 1024;
    /// Keys in one key-value operation: 128.
    pub const KV_KEYS: usize = 128;
    /// WebSockets of an object: 32,768.
    pub const SOCKETS: usize = 32_768;
    /// Tags of a WebSocket: 10.
    pub const TAGS: usize = 10;
    /// Bytes of a tag: 256.
    pub const TAG_BYTES: usize = 256;
    /// Bytes of a WebSocket's attachment: 16 KiB.
    pub const ATTACHMENT_BYTES: usize = 16_384;
    /// Bytes of the request, and of the response, of an auto-response: 2 KiB.
    pub const AUTO_RESPONSE_BYTES: usize = 2_048;
    /// Bytes of a WebSocket message: 32 MiB.
    pub const MESSAGE_BYTES: usize = 32 * 1024 * 1024;
    /// Bytes of a close frame's reason: 123.
    pub const CLOSE_REASON_BYTES: usize = 123;
    /// Retries of a failing alarm: 6.
    pub const ALARM_RETRIES: u32 = 6;
    /// Seconds that `block_concurrency_while` may take: 30.
    pub const BLOCK_SECONDS: u64 = 30;
}

/// The quick start of the README, compiled and run as a doctest.
#[cfg(all(doctest, feature = "memory", feature = "timers"))]
#[doc = include_str!("../README.md")]
struct Readme;
