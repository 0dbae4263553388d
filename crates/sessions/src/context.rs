//! The context of an object: its storage, its alarm, its WebSockets.

use std::fmt;
use std::future::Future;
use std::rc::Rc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::future::LocalBoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, ErrorKind, ObjectId, Parameters, Result, ServerSocket, Value, WebSocket, limits};

/// The body of a transaction: run once, inside it.
pub type TransactionBody<'a> = &'a mut dyn FnMut() -> Result<()>;

/// Irreducible operations that a host provides behind a [`SessionContext`].
pub trait SessionBackend {
    /// The object's id.
    fn id(&self) -> &ObjectId;
    /// Runs SQL; the parameters go to the last statement, and the rows are its.
    fn exec(&self, sql: &str, parameters: Vec<Value>) -> Result<Cursor>;
    /// Bytes in the database.
    fn database_size(&self) -> Result<u64>;
    /// Runs the body in a transaction or, inside one, in a savepoint; undone where it fails.
    fn transaction(&self, body: TransactionBody<'_>) -> Result<()>;
    /// A key's value.
    fn kv_get(&self, key: &str) -> Result<Option<Bytes>>;
    /// Sets a key.
    fn kv_put(&self, key: &str, value: Bytes) -> Result<()>;
    /// Removes a key; whether it was there.
    fn kv_delete(&self, key: &str) -> Result<bool>;
    /// Keys and values in byte order.
    fn kv_list(&self, options: &KvListOptions) -> Result<Vec<(String, Bytes)>>;
    /// Removes everything, the alarm too, at once.
    fn delete_all(&self) -> Result<()>;
    /// When the alarm is to run; nothing while it runs.
    fn alarm(&self) -> Result<Option<DateTime<Utc>>>;
    /// Sets or removes the alarm.
    fn set_alarm(&self, at: Option<DateTime<Utc>>) -> Result<()>;
    /// Takes over a WebSocket's object end.
    fn accept_websocket(&self, socket: ServerSocket, tags: Vec<String>) -> Result<WebSocket>;
    /// The accepted WebSockets, of one tag or all.
    fn websockets(&self, tag: Option<&str>) -> Vec<WebSocket>;
    /// The text that is answered without waking the object, and its answer.
    fn set_auto_response(&self, pair: Option<(String, String)>) -> Result<()>;
    /// See [`SessionContext::set_auto_response`].
    fn auto_response(&self) -> Option<(String, String)>;
    /// Holds all other events until the future is done.
    fn block_concurrency_while(&self, work: LocalBoxFuture<'static, Result<()>>)
    -> LocalBoxFuture<'static, Result<()>>;
    /// Done when what was written before is durable.
    fn durable(&self) -> LocalBoxFuture<'static, Result<()>>;
    /// Keeps the object alive until the future is done.
    fn wait_until(&self, work: LocalBoxFuture<'static, ()>);
    /// Keeps the object in memory for an idle connection until the future is done: see [`SessionContext::linger`]. Without an
    /// implementation of its own a host keeps it as for [`wait_until`](Self::wait_until).
    fn linger(&self, until: LocalBoxFuture<'static, ()>) {
        self.wait_until(until);
    }
    /// Resets the object.
    fn abort(&self, reason: &str);
}

/// An object's way to its host. Cheap to clone; stays on its thread.
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
    /// A context as a host makes it.
    #[must_use]
    pub fn new(backend: Rc<dyn SessionBackend>) -> Self {
        Self { backend }
    }

    /// The object's id.
    #[must_use]
    pub fn id(&self) -> &ObjectId {
        self.backend.id()
    }

    /// The object's database.
    #[must_use]
    pub fn sql(&self) -> Sql<'_> {
        Sql(&*self.backend)
    }

    /// The object's key-value storage, in the same database.
    #[must_use]
    pub fn kv(&self) -> Kv<'_> {
        Kv(&*self.backend)
    }

    /// Runs `body` in a transaction; its writes are undone where it fails. Nests.
    ///
    /// # Errors
    /// The body's error.
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

    /// Removes all tables, keys and the alarm, at once.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`], [`ErrorKind::StorageFull`] and [`ErrorKind::Damaged`] when the object's file fails.
    pub fn delete_all(&self) -> Result<()> {
        self.backend.delete_all()
    }

    /// When the alarm is to run; `None` when there is none, and while it runs.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`], [`ErrorKind::StorageFull`] and [`ErrorKind::Damaged`] when the object's file fails.
    pub fn alarm(&self) -> Result<Option<DateTime<Utc>>> {
        self.backend.alarm()
    }

    /// Sets the alarm, replacing the one there is; a time in the past means now.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for 1970 and before.
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

    /// Takes over a WebSocket: its messages come to [`SessionObject::message`](crate::SessionObject::message), also after
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

    /// The accepted WebSockets, of one tag or all; the newest first. One that the object has closed is among them until its
    /// client has answered, as in workerd: see [`WebSocket::is_open`].
    #[must_use]
    pub fn websockets(&self, tag: Option<&str>) -> Vec<WebSocket> {
        self.backend.websockets(tag)
    }

    /// A text that is answered without waking the object, and its answer; `None` ends it.
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

    /// Runs `work` while no other event of the object is delivered or goes on; at most 30 s.
    ///
    /// # Errors
    /// The error of `work`, or [`ErrorKind::Reset`] when it takes too long; either resets the object.
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

    /// Waits until what was written before is durable: before calling something outside the object that acts on it. Answers
    /// and WebSocket messages wait by themselves.
    ///
    /// # Errors
    /// None of its own: a commit that fails resets the object.
    pub async fn durable(&self) -> Result<()> {
        self.backend.durable().await
    }

    /// Lets `work` go on after the event's answer, and keeps the object alive for it.
    pub fn wait_until(&self, work: impl Future<Output = ()> + 'static) {
        self.backend.wait_until(Box::pin(work));
    }

    /// Keeps the object in memory for an idle connection, such as a stream of events that has nothing to send, until the future is
    /// done. A native host that needs the room for another object ends the instance all the same: the connection ends with
    /// what the instance holds of it, and its client comes back. The future must not use the storage.
    pub fn linger(&self, until: impl Future<Output = ()> + 'static) {
        self.backend.linger(Box::pin(until));
    }

    /// Resets the object: every event in flight fails with the reason, what is not committed is undone.
    pub fn abort(&self, reason: &str) {
        self.backend.abort(reason);
    }
}

/// An object's database.
#[derive(Clone, Copy)]
pub struct Sql<'a>(&'a dyn SessionBackend);

impl fmt::Debug for Sql<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sql({})", self.0.id())
    }
}

impl Sql<'_> {
    /// Runs SQL at once; of several statements the last has the parameters and gives the rows. A later one's failure
    /// leaves the earlier ones done: use [`SessionContext::transaction`] where it must not.
    ///
    /// # Errors
    /// [`ErrorKind::Sql`], [`ErrorKind::Constraint`], [`ErrorKind::NotAuthorized`].
    pub fn exec(&self, sql: &str, parameters: impl Parameters) -> Result<Cursor> {
        self.0.exec(sql, parameters.into_values())
    }

    /// Bytes in the database.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`], [`ErrorKind::StorageFull`] and [`ErrorKind::Damaged`] when the object's file fails.
    pub fn database_size(&self) -> Result<u64> {
        self.0.database_size()
    }
}

/// The rows of a statement.
#[derive(Debug, Clone, Default)]
pub struct Cursor {
    columns: Vec<String>,
    rows: std::collections::VecDeque<Vec<Value>>,
    rows_read: Option<u64>,
    rows_written: Option<u64>,
}

impl Cursor {
    /// A cursor as a host makes it.
    #[must_use]
    pub fn new(columns: Vec<String>, rows: Vec<Vec<Value>>, rows_read: Option<u64>, rows_written: Option<u64>) -> Self {
        Self { columns, rows: rows.into(), rows_read, rows_written }
    }

    /// The columns' names, duplicates kept.
    #[must_use]
    pub fn column_names(&self) -> &[String] {
        &self.columns
    }

    /// Rows read, where the host counts them.
    #[must_use]
    pub fn rows_read(&self) -> Option<u64> {
        self.rows_read
    }

    /// Rows written, where the host counts them.
    #[must_use]
    pub fn rows_written(&self) -> Option<u64> {
        self.rows_written
    }

    /// Exactly one row as `T`: a struct by the columns' names, or, for a single column, its value.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] when there is no row, or more than one, or it is no `T`.
    pub fn one<T: DeserializeOwned>(self) -> Result<T> {
        match self.rows.len() {
            1 => Ok(self.all()?.swap_remove(0)),
            0 => Err(decode("Expected exactly one result from SQL query, but got no results.")),
            _ => Err(decode("Expected exactly one result from SQL query, but got multiple results.")),
        }
    }

    /// The remaining rows as `T`: Durable Objects' `toArray`.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] when one is no `T`.
    pub fn all<T: DeserializeOwned>(self) -> Result<Vec<T>> {
        let Self { columns, rows, .. } = self;
        rows.into_iter().map(|row| take(&columns, &row)).collect()
    }

    /// The remaining rows as values in the order of the columns.
    pub fn raw(self) -> Vec<Vec<Value>> {
        self.rows.into()
    }

    /// The next row as `T`.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] when it is no `T`.
    #[allow(clippy::should_implement_trait, reason = "the name is Durable Objects'; the row's type is the caller's")]
    pub fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        self.rows.pop_front().map(|row| take(&self.columns, &row)).transpose()
    }
}

/// A row as `T`: by names where `T` has some; else its only column's value, or all in order.
fn take<T: DeserializeOwned>(columns: &[String], row: &[Value]) -> Result<T> {
    let object = columns.iter().cloned().zip(row.iter().map(Value::to_json)).collect();
    let by_name = serde_json::from_value(serde_json::Value::Object(object));
    let Err(error) = by_name else { return Ok(by_name?) };
    let by_order = match row {
        [value] => value.to_json(),
        _ => row.iter().map(Value::to_json).collect(),
    };
    serde_json::from_value(by_order).map_err(|_| decode(&format!("a row of {columns:?}: {error}")))
}

fn decode(message: &str) -> Error {
    Error::new(ErrorKind::Decode, message)
}

/// An object's key-value storage; values are JSON.
#[derive(Clone, Copy)]
pub struct Kv<'a>(&'a dyn SessionBackend);

impl fmt::Debug for Kv<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kv({})", self.0.id())
    }
}

impl Kv<'_> {
    /// A key's value.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] when it is no `T`.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        self.0.kv_get(key)?.map(|json| Ok(serde_json::from_slice(&json)?)).transpose()
    }

    /// Sets a key.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when key and value are over 4 MiB together.
    pub fn put(&self, key: &str, value: &impl Serialize) -> Result<()> {
        let json = serde_json::to_vec(value)?;
        if key.len() + json.len() > limits::VALUE_BYTES {
            return Err(Error::new(ErrorKind::InvalidArgument, "string or blob too big: SQLITE_TOOBIG"));
        }
        self.0.kv_put(key, json.into())
    }

    /// Removes a key; whether it was there.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`], [`ErrorKind::StorageFull`] and [`ErrorKind::Damaged`] when the object's file fails.
    pub fn delete(&self, key: &str) -> Result<bool> {
        self.0.kv_delete(key)
    }

    /// Keys and values in byte order of the keys, or against it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for both `start` and `start_after`, and for a limit of 0; [`ErrorKind::Decode`]
    /// when a value is no `T`.
    pub fn list<T: DeserializeOwned>(&self, options: &KvListOptions) -> Result<Vec<(String, T)>> {
        let invalid = |message| Err(Error::new(ErrorKind::InvalidArgument, message));
        if options.start.is_some() && options.start_after.is_some() {
            return invalid("list() cannot be called with both start and startAfter values.");
        }
        if options.limit == Some(0) {
            return invalid("List limit must be positive.");
        }
        let entries = self.0.kv_list(options)?;
        entries.into_iter().map(|(key, json)| Ok((key, serde_json::from_slice(&json)?))).collect()
    }
}

/// Options of [`Kv::list`].
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct KvListOptions {
    /// From this key on.
    pub start: Option<String>,
    /// After this key.
    pub start_after: Option<String>,
    /// Before this key.
    pub end: Option<String>,
    /// Only keys that start with this.
    pub prefix: Option<String>,
    /// From the last to the first.
    pub reverse: bool,
    /// So many at most.
    pub limit: Option<usize>,
}

impl KvListOptions {
    /// From this key on.
    #[must_use]
    pub fn with_start(mut self, key: impl Into<String>) -> Self {
        self.start = Some(key.into());
        self
    }

    /// After this key.
    #[must_use]
    pub fn with_start_after(mut self, key: impl Into<String>) -> Self {
        self.start_after = Some(key.into());
        self
    }

    /// Before this key.
    #[must_use]
    pub fn with_end(mut self, key: impl Into<String>) -> Self {
        self.end = Some(key.into());
        self
    }

    /// Only keys that start with this.
    #[must_use]
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// From the last to the first.
    #[must_use]
    pub fn reversed(mut self) -> Self {
        self.reverse = true;
        self
    }

    /// So many at most.
    #[must_use]
    pub fn with_limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }
}
