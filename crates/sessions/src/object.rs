//! The trait of session objects: an application implements it.

use std::future::{Future, ready};

use chrono::{DateTime, Utc};

use crate::{CloseFrame, Message, Request, Response, Result, SessionContext, WebSocket};

/// A session object: one live instance per id, pinned to its thread.
///
/// Events interleave at awaits only, so code between two awaits is atomic; what it wrote is durable before anything it
/// answers or sends leaves. An instance may be dropped whenever no event is in flight, and is then started again by the
/// next: what must last belongs into the storage. A panic resets the object and fails the event.
///
/// ```
/// # #[cfg(not(feature = "memory"))]
/// # fn main() {}
/// # #[cfg(feature = "memory")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> isobar_sessions::Result<()> {
/// use chrono::{TimeDelta, Utc};
/// use isobar_sessions::memory::MemoryHost;
/// use isobar_sessions::{
///     AlarmInfo, Body, Message, Request, Response, Result, SessionContext, SessionNamespaceExt, SessionObject, socket_pair,
///     websocket_response,
/// };
///
/// /// A timer: a POST sets it, and its WebSockets learn when the time is over.
/// struct Timer(SessionContext);
///
/// impl SessionObject for Timer {
///     type Env = ();
///
///     async fn start(context: SessionContext, _: ()) -> Result<Self> {
///         Ok(Self(context))
///     }
///
///     async fn fetch(&self, request: Request) -> Result<Response> {
///         if request.method() == "POST" {
///             self.0.set_alarm(Utc::now() + TimeDelta::milliseconds(10))?;
///             return Ok(Response::default());
///         }
///         let (client, server) = socket_pair();
///         self.0.accept_websocket(server, &[])?;
///         Ok(websocket_response(client))
///     }
///
///     async fn alarm(&self, _: AlarmInfo) -> Result<()> {
///         self.0.websockets(None).iter().try_for_each(|socket| socket.send("the time is over"))
///     }
/// }
///
/// let timers = MemoryHost::<Timer>::new("Timer", || ())?;
/// let egg = timers.id("egg");
/// let mut socket = timers.connect(&egg, "/").await?;
/// timers.post(&egg, "/", Body::empty()).await?;
/// assert_eq!(socket.receive().await, Some(Ok(Message::from("the time is over"))));
/// # Ok(())
/// # }
/// ```
///
/// | event | handler's error | panic |
/// |---|---|---|
/// | start | every event that waits fails with it; the next one starts again | the same, as [`ErrorKind::Reset`](crate::ErrorKind::Reset) |
/// | request | its caller receives it | its caller and those of other events in flight get `Reset`, sockets end |
/// | alarm | retried, 6 times | a failure, too; the object is reset |
/// | message, closed | logged | the object is reset |
///
/// Writes of a failed handler before its error stay: only a [transaction](SessionContext::transaction) undoes it. After a
/// panic, what was not committed is undone.
pub trait SessionObject: Sized + 'static {
    /// The environment of the application's objects: databases, buckets, secrets.
    type Env: Clone + 'static;

    /// Starts an instance; no event is delivered before it is done. Create the schema here: a native host keeps what is
    /// defined here from the object's first row on, and until then each start defines it again, so that an object that was
    /// only looked at leaves no file.
    ///
    /// # Errors
    /// The object's own: the event that woke the object fails with it.
    fn start(context: SessionContext, env: Self::Env) -> impl Future<Output = Result<Self>>;

    /// Handles a request.
    ///
    /// # Errors
    /// The object's own: the caller receives it.
    fn fetch(&self, request: Request) -> impl Future<Output = Result<Response>>;

    /// Handles the alarm, at the time that [`SessionContext::set_alarm`] has set or later. Default: does nothing.
    ///
    /// # Errors
    /// A failing alarm runs again after 2 s, doubling each time, 6 times at most; then it is dropped.
    fn alarm(&self, _info: AlarmInfo) -> impl Future<Output = Result<()>> {
        ready(Ok(()))
    }

    /// Handles a message over an accepted WebSocket. Messages of one socket come in their order. Default: does nothing.
    ///
    /// # Errors
    /// They are logged (feature `tracing`); the socket stays open.
    fn message(&self, _socket: &WebSocket, _message: Message) -> impl Future<Output = Result<()>> {
        ready(Ok(()))
    }

    /// Returns the bytes of memory that the instance holds beside its storage. A native host asks after each event, and lets idle
    /// objects hibernate that have too much together (`HostOptions::awake_bytes`). An object that keeps much in memory, a cache for
    /// example, adds it. Default: the size of the type itself, without what it points to.
    ///
    /// ```
    /// # use isobar_sessions::{Request, Response, Result, SessionContext, SessionObject};
    /// struct Tiles {
    ///     rendered: Vec<u8>,
    /// }
    ///
    /// impl SessionObject for Tiles {
    /// #   type Env = ();
    /// #   async fn start(_: SessionContext, _: ()) -> Result<Self> { Ok(Self { rendered: Vec::new() }) }
    /// #   async fn fetch(&self, _: Request) -> Result<Response> { Ok(Response::default()) }
    ///     // ... start, fetch ...
    ///     fn memory(&self) -> usize {
    ///         size_of::<Self>() + self.rendered.capacity()
    ///     }
    /// }
    /// ```
    fn memory(&self) -> usize {
        size_of::<Self>()
    }

    /// Handles the end of an accepted WebSocket: its client has closed it, or the connection broke. Default: does nothing.
    ///
    /// # Errors
    /// They are logged (feature `tracing`).
    fn closed(&self, _socket: &WebSocket, _close: CloseFrame) -> impl Future<Output = Result<()>> {
        ready(Ok(()))
    }
}

/// Information about one run of an alarm.
///
/// A handler that fails is run again with growing waits, six times; after that the alarm is gone. A handler that must happen
/// later whatever fails sets the alarm anew itself. Source: Cloudflare's documentation, "Alarms".
///
/// ```
/// use chrono::Utc;
/// use isobar_sessions::AlarmInfo;
/// assert!(!AlarmInfo::new(Utc::now(), 0).is_retry());
/// assert!(AlarmInfo::new(Utc::now(), 6).is_retry()); // the last run
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AlarmInfo {
    /// Time for which the alarm was set; the same at every retry.
    pub scheduled: DateTime<Utc>,
    /// Number of runs that have failed before, 0 to 6.
    pub retry_count: u32,
}

impl AlarmInfo {
    /// Creates the information, as a host does.
    #[must_use]
    pub fn new(scheduled: DateTime<Utc>, retry_count: u32) -> Self {
        Self { scheduled, retry_count }
    }

    /// Returns whether the alarm has failed before.
    #[must_use]
    pub fn is_retry(&self) -> bool {
        self.retry_count > 0
    }
}
