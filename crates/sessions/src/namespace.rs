//! The namespace of session objects, as callers hold it.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use crate::{Error, ErrorKind, ObjectId, Operation, Request, Response, Result};

/// Operations that not every host has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// Whether [`SessionNamespace::list`] works. Default: `false`.
    pub list: bool,
    /// Whether [`SessionNamespace::evict`] works. Default: `false`.
    pub evict: bool,
    /// Whether objects have a history: [`SessionContext::current_bookmark`](crate::SessionContext::current_bookmark) and its neighbours
    /// work. Cloudflare keeps one for 30 days, a native host one that was asked for; workerd by itself has none, and its binding cannot tell.
    /// Default: `false`.
    pub time_travel: bool,
}

impl Capabilities {
    /// Creates capabilities, for hosts.
    #[must_use]
    pub fn new(list: bool, evict: bool) -> Self {
        Self { list, evict, time_travel: false }
    }

    /// Says whether objects have a history.
    #[must_use]
    pub fn with_time_travel(mut self, has_history: bool) -> Self {
        self.time_travel = has_history;
        self
    }

    /// Returns whether there is the capability of this name: `list`, `evict`, `time_travel`.
    ///
    /// ```
    /// use isobar_sessions::Capabilities;
    /// let native = Capabilities::new(true, true);
    /// assert!(native.has("list") && native.has("evict") && !native.has("fly"));
    /// let binding = Capabilities::default().with_time_travel(true); // Cloudflare's
    /// assert!(binding.has("time_travel") && !binding.has("list"));
    /// ```
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        match name {
            "list" => self.list,
            "evict" => self.evict,
            "time_travel" => self.time_travel,
            _ => false,
        }
    }
}

/// An object as [`SessionNamespace::list`] names it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListedObject {
    /// The object's id, with its name where the host knows it.
    pub id: ObjectId,
    /// Reason for which the object's file cannot be read, with the file's name; `None` when nothing is known to be wrong.
    pub damage: Option<String>,
}

impl ListedObject {
    /// Creates an entry, for hosts.
    #[must_use]
    pub fn new(id: ObjectId, damage: Option<String>) -> Self {
        Self { id, damage }
    }
}

/// A WebSocket of an object, as [`SessionNamespace::sockets`] lists it.
#[cfg(not(target_arch = "wasm32"))]
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketDetails {
    /// Its number, unique in the object's lifetime.
    pub id: u64,
    /// Tags that it was accepted with.
    pub tags: Vec<String>,
    /// Attachment, which is JSON. Default: `None`, none was set.
    pub attachment: Option<bytes::Bytes>,
    /// Time of the last auto-response. Default: `None`, there was none.
    pub auto_responded: Option<chrono::DateTime<chrono::Utc>>,
    /// Whether neither side has closed it. Default: `true`.
    pub is_open: bool,
}

#[cfg(not(target_arch = "wasm32"))]
impl SocketDetails {
    /// Creates an entry of an open socket, for hosts.
    #[must_use]
    pub fn new(id: u64, tags: Vec<String>) -> Self {
        Self { id, tags, attachment: None, auto_responded: None, is_open: true }
    }
}

/// The objects of one class, by id.
///
/// A function that takes `&dyn SessionNamespace` knows no host, and is tested with one in memory:
///
/// ```
/// # #[cfg(not(feature = "memory"))]
/// # fn main() {}
/// # #[cfg(feature = "memory")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> isobar_sessions::Result<()> {
/// # use isobar_sessions::memory::MemoryHost;
/// # use isobar_sessions::{Request, Response, SessionContext, SessionObject};
/// use isobar_sessions::{Result, SessionNamespace, SessionNamespaceExt};
/// # struct Counter(SessionContext);
/// # impl SessionObject for Counter {
/// #     type Env = ();
/// #     async fn start(context: SessionContext, _: ()) -> Result<Self> {
/// #         Ok(Self(context))
/// #     }
/// #     async fn fetch(&self, _: Request) -> Result<Response> {
/// #         let count = self.0.kv().get::<u64>("count")?.unwrap_or_default() + 1;
/// #         self.0.kv().put("count", &count)?;
/// #         Ok(Response::new(count.to_string().into()))
/// #     }
/// # }
///
/// async fn count_visit(counters: &dyn SessionNamespace, page: &str) -> Result<u64> {
///     let response = counters.get(&counters.id_from_name(page), "/").await?;
///     response.into_body().json().await
/// }
///
/// let counters = MemoryHost::<Counter>::new("Counter", || ())?;
/// assert_eq!(count_visit(&counters, "/home").await?, 1);
/// assert_eq!(count_visit(&counters, "/home").await?, 2);
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait SessionNamespace: Debug + Send + Sync {
    /// Returns which of the operations that not every host has this one has.
    fn capabilities(&self) -> Capabilities;

    /// Returns the id of a name, which is always the same. Any text is a name.
    fn id_from_name(&self, name: &str) -> ObjectId;

    /// Returns a new random id.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] when the system has no randomness.
    fn unique_id(&self) -> Result<ObjectId>;

    /// Parses an id from its text: 64 hexadecimal digits.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidId`] when it is malformed or of another namespace.
    fn parse_id(&self, text: &str) -> Result<ObjectId>;

    /// Sends a request to an object, and starts it if it does not run. The path is all of the URI that the object goes by.
    ///
    /// The response leaves when all that the object wrote before is durable. Its body may be a stream, which the object goes
    /// on with.
    ///
    /// Dropping the future does not undo anything: a request that waits for room natively is given up, one that has begun runs
    /// to its end, and its answer is dropped.
    ///
    /// # Errors
    /// The error of the object's handler; [`ErrorKind::Reset`], [`ErrorKind::Overloaded`], [`ErrorKind::InvalidId`].
    async fn fetch(&self, id: &ObjectId, request: Request) -> Result<Response>;

    /// Lists every object that has stored something, with the damage that was found. Needs
    /// [`Capabilities::list`].
    ///
    /// All ids are in memory at once, some hundred bytes each. `local::Catalog` (feature `catalog`) lists by pages.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`].
    async fn list(&self) -> Result<Vec<ListedObject>> {
        Err(Error::new(ErrorKind::Unsupported, "this host cannot list its objects").during(Operation::List))
    }

    /// Checks that the host can store, for readiness checks. Durable Objects always can.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`] when a sync has failed and writing is refused until the host is opened anew, and while a file cannot take
    /// up its write-ahead log, which grows until then; [`ErrorKind::StorageFull`] when the disk is down to the host's reserve.
    async fn health(&self) -> Result<()> {
        Ok(())
    }

    /// Drops an object's instance as soon as no event is in flight, as hibernation would; its sockets stay open, and its streams end. For
    /// tests. Needs [`Capabilities::evict`].
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`].
    async fn evict(&self, _id: &ObjectId) -> Result<()> {
        Err(Error::new(ErrorKind::Unsupported, "this host cannot evict its objects").during(Operation::Evict))
    }

    /// Lists the WebSockets of an object in the order of their numbers, without starting it: those that are open, and those whose end the
    /// object has not handled yet. An object that was never asked has none. For operators: Cloudflare's binding has no counterpart, and
    /// there is no such method inside Workers.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`], unless the host is native; [`ErrorKind::Reset`] when it has stopped.
    #[cfg(not(target_arch = "wasm32"))]
    async fn sockets(&self, _id: &ObjectId) -> Result<Vec<SocketDetails>> {
        Err(Error::new(ErrorKind::Unsupported, "this host cannot list sockets").during(Operation::Sockets))
    }

    /// Ends the host's work in order, before it is dropped: no more alarms begin, events in flight end, and what they have sent leaves;
    /// then every WebSocket is closed with 1001, what its client had sent before is handled, and its end, too, if the client answers
    /// within 2 s. All of it takes this time at most. What is dropped without it breaks events off at their next await; nothing that was
    /// answered is lost either way, and alarms that come due meanwhile run with the next start.
    ///
    /// Requests are still taken, as events in flight may need other objects: end what calls from outside first. There is no such method
    /// inside Workers. Default: does nothing.
    ///
    /// ```
    /// # #[cfg(not(feature = "memory"))]
    /// # fn main() {}
    /// # #[cfg(feature = "memory")]
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> isobar_sessions::Result<()> {
    /// use std::time::Duration;
    /// # use isobar_sessions::memory::MemoryHost;
    /// # use isobar_sessions::{Request, Response, Result, SessionContext, SessionObject};
    /// use isobar_sessions::SessionNamespace;
    /// # struct Any;
    /// # impl SessionObject for Any {
    /// #     type Env = ();
    /// #     async fn start(_: SessionContext, _: ()) -> Result<Self> { Ok(Self) }
    /// #     async fn fetch(&self, _: Request) -> Result<Response> { Ok(Response::default()) }
    /// # }
    /// let host = MemoryHost::<Any>::new("Any", || ())?;
    /// // ... the server takes no more requests ...
    /// host.drain(Duration::from_secs(10)).await?;
    /// drop(host);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Reset`] when events are still in flight after this time: they are broken off when the host is dropped.
    #[cfg(not(target_arch = "wasm32"))]
    async fn drain(&self, _limit: std::time::Duration) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<N: SessionNamespace + ?Sized> SessionNamespace for Arc<N> {
    fn capabilities(&self) -> Capabilities {
        (**self).capabilities()
    }
    fn id_from_name(&self, name: &str) -> ObjectId {
        (**self).id_from_name(name)
    }
    fn unique_id(&self) -> Result<ObjectId> {
        (**self).unique_id()
    }
    fn parse_id(&self, text: &str) -> Result<ObjectId> {
        (**self).parse_id(text)
    }
    async fn fetch(&self, id: &ObjectId, request: Request) -> Result<Response> {
        (**self).fetch(id, request).await
    }
    async fn list(&self) -> Result<Vec<ListedObject>> {
        (**self).list().await
    }
    async fn health(&self) -> Result<()> {
        (**self).health().await
    }
    async fn evict(&self, id: &ObjectId) -> Result<()> {
        (**self).evict(id).await
    }
    #[cfg(not(target_arch = "wasm32"))]
    async fn sockets(&self, id: &ObjectId) -> Result<Vec<SocketDetails>> {
        (**self).sockets(id).await
    }
    #[cfg(not(target_arch = "wasm32"))]
    async fn drain(&self, limit: std::time::Duration) -> Result<()> {
        (**self).drain(limit).await
    }
}
