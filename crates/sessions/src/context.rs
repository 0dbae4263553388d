//! The context of an object: its storage, its alarm, its WebSockets.

mod storage;
mod time_travel;

use std::fmt;
use std::future::Future;
use std::rc::Rc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::future::LocalBoxFuture;

pub use self::storage::{Kv, Sql};
use crate::{
    Bookmark, Cursor, Error, ErrorKind, KvListOptions, ObjectId, Result, ServerSocket, Value, WebSocket, limits,
};

/// Text of the error for [`SessionContext::delete_all`] within a transaction.
#[cfg(any(
    feature = "cloudflare-binding",
    all(any(feature = "memory", feature = "local"), not(target_arch = "wasm32"))
))]
pub(crate) const DELETE_IN_TRANSACTION: &str = "deleteAll() cannot be called inside a transaction";

/// Text of the error for a bookmark of a host that keeps no history.
pub(crate) const NO_HISTORY: &str = "this host keeps no history of its objects: open it with HostOptions::with_history";

/// The body of a transaction: run once, inside it.
pub type TransactionBody<'a> = &'a mut dyn FnMut() -> Result<()>;

/// Irreducible operations that a host provides behind a [`SessionContext`]. Applications use the context; only a host implements this
/// trait, and a context over an implementation of its own is how a test stands in for a host.
///
/// ```
/// use std::cell::RefCell;
/// use std::collections::BTreeMap;
/// use std::rc::Rc;
///
/// use bytes::Bytes;
/// # use chrono::{DateTime, Utc};
/// # use futures_util::future::LocalBoxFuture;
/// use isobar_sessions::{ErrorKind, IdScheme, ObjectId, Result, SessionBackend, SessionContext};
/// # use isobar_sessions::{Cursor, KvListOptions, ServerSocket, TransactionBody, Value, WebSocket};
///
/// /// A host that has keys alone.
/// struct Keys {
///     id: ObjectId,
///     values: RefCell<BTreeMap<String, Bytes>>,
/// }
///
/// /// The other operations are denied.
/// fn denied<T>() -> Result<T> {
///     Err(isobar_sessions::Error::new(ErrorKind::Internal, "a host of keys has no such operation"))
/// }
///
/// impl SessionBackend for Keys {
///     fn id(&self) -> &ObjectId {
///         &self.id
///     }
///     fn exec(&self, _: &str, _: Vec<Value>) -> Result<Cursor> {
///         denied()
///     }
///     fn kv_get(&self, key: &str) -> Result<Option<Bytes>> {
///         Ok(self.values.borrow().get(key).cloned())
///     }
///     fn kv_put(&self, key: &str, value: Bytes) -> Result<()> {
///         self.values.borrow_mut().insert(key.to_owned(), value);
///         Ok(())
///     }
///     fn kv_delete(&self, key: &str) -> Result<bool> {
///         Ok(self.values.borrow_mut().remove(key).is_some())
///     }
///     // ... and the others alike.
/// #   fn database_size(&self) -> Result<u64> { denied() }
/// #   fn transaction(&self, _: TransactionBody<'_>) -> Result<()> { denied() }
/// #   fn kv_list(&self, _: &KvListOptions) -> Result<Vec<(String, Bytes)>> { denied() }
/// #   fn delete_all(&self) -> Result<()> { denied() }
/// #   fn alarm(&self) -> Result<Option<DateTime<Utc>>> { denied() }
/// #   fn set_alarm(&self, _: Option<DateTime<Utc>>) -> Result<()> { denied() }
/// #   fn accept_websocket(&self, _: ServerSocket, _: Vec<String>) -> Result<WebSocket> { denied() }
/// #   fn websockets(&self, _: Option<&str>) -> Vec<WebSocket> { Vec::new() }
/// #   fn set_auto_response(&self, _: Option<(String, String)>) -> Result<()> { denied() }
/// #   fn auto_response(&self) -> Option<(String, String)> { None }
/// #   fn block_concurrency_while(&self, work: LocalBoxFuture<'static, Result<()>>) -> LocalBoxFuture<'static, Result<()>> { work }
/// #   fn durable(&self) -> LocalBoxFuture<'static, Result<()>> { Box::pin(async { denied() }) }
/// #   fn wait_until(&self, _: LocalBoxFuture<'static, ()>) {}
/// #   fn abort(&self, _: &str) {}
/// }
///
/// let host = Keys { id: IdScheme::new("Counter").from_name("a"), values: RefCell::default() };
/// let context = SessionContext::new(Rc::new(host));
/// context.kv().put("visits", &3)?;
/// assert_eq!(context.kv().get::<u32>("visits")?, Some(3));
/// assert!(context.sql().exec("SELECT 1", ()).is_err());
/// # Ok::<(), isobar_sessions::Error>(())
/// ```
pub trait SessionBackend {
    /// Returns the object's id.
    fn id(&self) -> &ObjectId;
    /// Runs SQL. The last statement takes the parameters and gives the rows.
    ///
    /// # Errors
    /// As [`Sql::exec`].
    fn exec(&self, sql: &str, parameters: Vec<Value>) -> Result<Cursor>;
    /// Returns the size of the database in bytes.
    ///
    /// # Errors
    /// As [`Sql::database_size`].
    fn database_size(&self) -> Result<u64>;
    /// Runs the body in a transaction or, inside one, in a savepoint, which is rolled back if the body fails.
    ///
    /// # Errors
    /// The body's error, and those of the storage.
    fn transaction(&self, body: TransactionBody<'_>) -> Result<()>;
    /// Returns the JSON of a key's value; `None` where there is no such key.
    ///
    /// # Errors
    /// Those of the storage, as for the other operations on keys.
    fn kv_get(&self, key: &str) -> Result<Option<Bytes>>;
    /// Sets a key. [`Kv::put`] has checked the size.
    fn kv_put(&self, key: &str, value: Bytes) -> Result<()>;
    /// Removes a key. Returns whether it was there.
    fn kv_delete(&self, key: &str) -> Result<bool>;
    /// Lists keys with the JSON of their values, in byte order of the keys. [`Kv::list`] has checked the options.
    fn kv_list(&self, options: &KvListOptions) -> Result<Vec<(String, Bytes)>>;
    /// Removes all tables, keys and the alarm, atomically. Fails within a transaction.
    fn delete_all(&self) -> Result<()>;
    /// Returns the time of the alarm; `None` without one, and while its handler runs and has set no other.
    fn alarm(&self) -> Result<Option<DateTime<Utc>>>;
    /// Sets the alarm, or removes it.
    fn set_alarm(&self, at: Option<DateTime<Utc>>) -> Result<()>;
    /// Accepts the object's end of a WebSocket. [`SessionContext::accept_websocket`] has checked the tags.
    fn accept_websocket(&self, socket: ServerSocket, tags: Vec<String>) -> Result<WebSocket>;
    /// Returns the accepted WebSockets with this tag, or all, the newest first.
    fn websockets(&self, tag: Option<&str>) -> Vec<WebSocket>;
    /// Sets a text that is answered without waking the object, and its answer.
    fn set_auto_response(&self, pair: Option<(String, String)>) -> Result<()>;
    /// Returns what [`set_auto_response`](Self::set_auto_response) has set.
    fn auto_response(&self) -> Option<(String, String)>;
    /// Holds the input gate until the future is done, for 30 s at most: no other event is delivered or goes on.
    fn block_concurrency_while(&self, work: LocalBoxFuture<'static, Result<()>>)
    -> LocalBoxFuture<'static, Result<()>>;
    /// Returns a future that is done when all that was written before is durable.
    ///
    /// # Errors
    /// As [`SessionContext::durable`].
    fn durable(&self) -> LocalBoxFuture<'static, Result<()>>;
    /// Runs a future beyond its event, and keeps the instance in memory until it is done.
    fn wait_until(&self, work: LocalBoxFuture<'static, ()>);
    /// Keeps the object in memory for an idle connection until the future is done: see [`SessionContext::linger`]. Without an
    /// implementation of its own a host keeps it as for [`wait_until`](Self::wait_until).
    fn linger(&self, until: LocalBoxFuture<'static, ()>) {
        self.wait_until(until);
    }
    /// Returns the bookmark of the object's storage after all that was written before. Without an implementation of its own a host keeps
    /// no history: see [`Capabilities::time_travel`](crate::Capabilities::time_travel).
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`], and as [`SessionContext::current_bookmark`].
    fn current_bookmark(&self) -> LocalBoxFuture<'static, Result<Bookmark>> {
        time_travel::unsupported()
    }
    /// Returns the bookmark of the object's storage at a time.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`], and as [`SessionContext::bookmark_for_time`].
    fn bookmark_for_time(&self, _at: DateTime<Utc>) -> LocalBoxFuture<'static, Result<Bookmark>> {
        time_travel::unsupported()
    }
    /// Restores the state of a bookmark when the object next starts. Returns the bookmark of the state before that.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`], and as [`SessionContext::restore_on_next_start`].
    fn restore_on_next_start(&self, _to: &Bookmark) -> LocalBoxFuture<'static, Result<Bookmark>> {
        time_travel::unsupported()
    }
    /// Resets the object, as [`SessionContext::abort`] does.
    fn abort(&self, reason: &str);
    /// Returns the time of the clock that the alarm goes by. Without an implementation of its own that is the system's.
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }
}

/// Context of a session object: storage, alarm, WebSockets. Cheap to clone; not `Send`, as it stays on the object's thread.
///
/// ```
/// # #[cfg(not(feature = "memory"))]
/// # fn main() {}
/// # #[cfg(feature = "memory")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> isobar_sessions::Result<()> {
/// use isobar_sessions::memory::MemoryHost;
/// use isobar_sessions::{Request, Response, Result, SessionContext, SessionNamespaceExt, SessionObject};
///
/// struct Account(SessionContext);
///
/// impl SessionObject for Account {
///     type Env = ();
///
///     async fn start(context: SessionContext, _: ()) -> Result<Self> {
///         context.sql().exec("CREATE TABLE IF NOT EXISTS entries (amount INTEGER NOT NULL)", ())?;
///         Ok(Self(context))
///     }
///
///     async fn fetch(&self, _: Request) -> Result<Response> {
///         // Both, or neither of them.
///         let balance = self.0.transaction(|| {
///             self.0.sql().exec("INSERT INTO entries VALUES (?)", (250,))?;
///             let balance: i64 = self.0.sql().exec("SELECT sum(amount) FROM entries", ())?.one()?;
///             self.0.kv().put("balance", &balance)?;
///             Ok(balance)
///         })?;
///         Ok(Response::new(balance.to_string().into()))
///     }
/// }
///
/// let accounts = MemoryHost::<Account>::new("Account", || ())?;
/// let ada = accounts.id("ada");
/// accounts.get(&ada, "/").await?;
/// assert_eq!(accounts.get(&ada, "/").await?.into_body().text().await?, "500");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SessionContext {
    backend: Rc<dyn SessionBackend>,
}

impl fmt::Debug for SessionContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionContext({})", self.id())
    }
}

impl SessionContext {
    /// Creates a context over a backend, for hosts and tests.
    #[must_use]
    pub fn new(backend: Rc<dyn SessionBackend>) -> Self {
        Self { backend }
    }

    /// Returns the object's id.
    #[must_use]
    pub fn id(&self) -> &ObjectId {
        self.backend.id()
    }

    /// Returns the object's database.
    #[must_use]
    pub fn sql(&self) -> Sql<'_> {
        Sql(&*self.backend)
    }

    /// Returns the object's key-value storage, which is in the same database: a transaction covers both.
    #[must_use]
    pub fn kv(&self) -> Kv<'_> {
        Kv(&*self.backend)
    }

    /// Runs `body` in a transaction, which is rolled back if it fails. Transactions nest. All between two awaits is atomic as it is;
    /// a transaction is for work that may fail on its way.
    ///
    /// ```
    /// use isobar_sessions::{Error, Result, SessionContext};
    ///
    /// /// Moves points, or nothing where the giver has too few.
    /// fn give(context: &SessionContext, from: &str, to: &str, points: i64) -> Result<()> {
    ///     context.transaction(|| {
    ///         let left = context.kv().get::<i64>(from)?.unwrap_or(0) - points;
    ///         context.kv().put(from, &left)?;
    ///         context.kv().put(to, &(context.kv().get::<i64>(to)?.unwrap_or(0) + points))?;
    ///         if left < 0 { Err(Error::application("too few points")) } else { Ok(()) }
    ///     })
    /// }
    /// # let _ = give;
    /// ```
    ///
    /// # Errors
    /// The body's error, and those of the object's file: [`ErrorKind::Storage`], [`ErrorKind::StorageFull`], [`ErrorKind::Damaged`].
    /// [`ErrorKind::Reset`] where the body has aborted the object.
    pub fn transaction<T>(&self, body: impl FnOnce() -> Result<T>) -> Result<T> {
        let mut body = Some(body);
        let mut value = None;
        self.backend.transaction(&mut || {
            if let Some(body) = body.take() {
                value = Some(body()?);
            }
            Ok(())
        })?;
        value.ok_or_else(|| Error::new(ErrorKind::Internal, "the host did not run the transaction"))
    }

    /// Removes all tables, keys and the alarm, atomically. WebSockets stay open.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] within a [transaction](Self::transaction), which could not be undone inside Workers;
    /// [`ErrorKind::Storage`], [`ErrorKind::StorageFull`] and [`ErrorKind::Damaged`] when the object's file fails.
    pub fn delete_all(&self) -> Result<()> {
        self.backend.delete_all()
    }

    /// Returns the time of the alarm; `None` without one, and while its handler runs and has set no other.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`], [`ErrorKind::StorageFull`] and [`ErrorKind::Damaged`] when the object's file fails.
    pub fn alarm(&self) -> Result<Option<DateTime<Utc>>> {
        self.backend.alarm()
    }

    /// Returns the time of the clock that the alarm goes by: the system's, unless a test has given the host another one.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.backend.now()
    }

    /// Sets the alarm, in place of the one there is; a time in the past means now. An object has one alarm.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for 1970 and before; as [`alarm`](Self::alarm).
    pub fn set_alarm(&self, at: DateTime<Utc>) -> Result<()> {
        if at.timestamp_millis() <= 0 {
            let message = "setAlarm() cannot be called with an alarm time <= 0";
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        self.backend.set_alarm(Some(at))
    }

    /// Removes the alarm.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`], [`ErrorKind::StorageFull`] and [`ErrorKind::Damaged`] when the object's file fails.
    pub fn delete_alarm(&self) -> Result<()> {
        self.backend.set_alarm(None)
    }

    /// Accepts a WebSocket with up to 10 tags of 256 bytes: its messages come to [`SessionObject::message`](crate::SessionObject::message), also after
    /// the object has hibernated.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for more than 10 tags or a tag over 256 bytes, [`ErrorKind::Overloaded`] for more
    /// than 32,768 sockets.
    pub fn accept_websocket(&self, socket: ServerSocket, tags: &[&str]) -> Result<WebSocket> {
        let mut unique: Vec<String> = Vec::new();
        for tag in tags {
            if tag.len() > limits::TAG_BYTES {
                let message =
                    format!("\"{tag}\" is longer than the max tag length ({} characters).", limits::TAG_BYTES);
                return Err(Error::new(ErrorKind::InvalidArgument, message));
            }
            if !unique.iter().any(|seen| seen == tag) {
                unique.push((*tag).to_owned());
            }
        }
        if unique.len() > limits::TAGS {
            let message = format!("a Hibernatable WebSocket cannot have more than {} tags", limits::TAGS);
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        self.backend.accept_websocket(socket, unique)
    }

    /// Returns the accepted WebSockets with this tag, or all, the newest first. One that the object has closed is among them until its
    /// client has answered, as in workerd: see [`WebSocket::is_open`].
    #[must_use]
    pub fn websockets(&self, tag: Option<&str>) -> Vec<WebSocket> {
        self.backend.websockets(tag)
    }

    /// Sets a text that the host answers without waking the object, and the answer; `None` removes them. Each has 2,048 bytes at most.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when either is over 2,048 bytes.
    pub fn set_auto_response(&self, pair: Option<(&str, &str)>) -> Result<()> {
        for (what, text) in pair.iter().flat_map(|(request, response)| [("Request", request), ("Response", response)]) {
            if text.len() > limits::AUTO_RESPONSE_BYTES {
                let limit = limits::AUTO_RESPONSE_BYTES;
                let size = text.len();
                let lower = what.to_lowercase();
                let message =
                    format!("{what} cannot be larger than {limit} bytes. A {lower} of size {size} was provided.");
                return Err(Error::new(ErrorKind::InvalidArgument, message));
            }
        }
        self.backend.set_auto_response(pair.map(|(request, response)| (request.to_owned(), response.to_owned())))
    }

    /// Returns the pair that [`set_auto_response`](Self::set_auto_response) has set.
    #[must_use]
    pub fn auto_response(&self) -> Option<(String, String)> {
        self.backend.auto_response()
    }

    /// Runs `work` while no other event of the object is delivered or goes on; at most 30 s. What it has written is committed before the
    /// event goes on: an abort that follows does not undo it.
    ///
    /// # Errors
    /// The error of `work`, or [`ErrorKind::Reset`] when it takes too long; either resets the object, and events in flight end with
    /// [`ErrorKind::Reset`] and the error's message, or with the error where storage has failed.
    pub async fn block_concurrency_while<T: 'static>(
        &self,
        work: impl Future<Output = Result<T>> + 'static,
    ) -> Result<T> {
        let value = Rc::new(std::cell::RefCell::new(None));
        let slot = Rc::clone(&value);
        let work = Box::pin(async move {
            *slot.borrow_mut() = Some(work.await?);
            Ok(())
        });
        self.backend.block_concurrency_while(work).await?;
        value.take().ok_or_else(|| Error::new(ErrorKind::Internal, "the host did not run the blocking work"))
    }

    /// Waits until all that was written before is durable. Needed before a call to something outside the object, such as a bucket;
    /// responses and WebSocket messages wait for it anyway (the output gate).
    ///
    /// ```
    /// use isobar_sessions::{Result, SessionContext};
    ///
    /// /// Notes an order before a shop outside is asked for it, so that a crash orders nothing unknown.
    /// async fn order(context: &SessionContext, number: u64) -> Result<()> {
    ///     context.kv().put(&format!("order/{number}"), &"asked")?;
    ///     context.durable().await?;
    ///     // ... ask the shop
    ///     Ok(())
    /// }
    /// # let _ = order;
    /// ```
    ///
    /// # Errors
    /// The error with which the instance has ended, where it has: what was written before it ended may be lost then, or was undone.
    /// [`ErrorKind::Storage`] after a failed sync.
    pub async fn durable(&self) -> Result<()> {
        self.backend.durable().await
    }

    /// Runs `work` beyond the event's response, and keeps the instance in memory until it is done.
    pub fn wait_until(&self, work: impl Future<Output = ()> + 'static) {
        self.backend.wait_until(Box::pin(work));
    }

    /// Keeps the object in memory for an idle connection, such as a stream of events that has nothing to send, until the future is
    /// done. A native host that needs the room for another object ends the instance all the same: the connection ends with
    /// what the instance holds of it, and its client comes back. The future must not use the storage.
    pub fn linger(&self, until: impl Future<Output = ()> + 'static) {
        self.backend.linger(Box::pin(until));
    }

    /// Resets the object: every event in flight fails with the reason, uncommitted writes are rolled back, WebSockets end.
    pub fn abort(&self, reason: &str) {
        self.backend.abort(reason);
    }
}
