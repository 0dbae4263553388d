//! The object's side: what a [`SessionContext`](crate::SessionContext) stands on inside a Durable Object.
//!
//! The runtime's SQL and key-value storage are synchronous, so most operations are one call. Differences are made up for here:
//!
//! - `getAlarm` answers by a promise. The alarm is asked for before each event, and what the event sets is remembered.
//! - Integers beyond 2^53 would be rounded on their way through JavaScript: they are bound as text under a cast, and refused
//!   where a result may have been rounded.
//! - `transactionSync` rolls back when its closure throws: an error of ours is thrown as an exception and taken out of it again.
//! - The runtime's gates are its own: nothing here holds back output, or waits for a write to become durable.

use std::cell::{Cell, RefCell};
use std::panic::AssertUnwindSafe;
use std::rc::Rc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use isobar_base::sync::IgnorePoison;
use isobar_cloudflare::binding::js_sys::{Array, Promise};
use isobar_cloudflare::binding::wasm_bindgen::JsValue;
use isobar_cloudflare::binding::wasm_bindgen::closure::{Closure, ScopedClosure};
use isobar_cloudflare::binding::wasm_bindgen_futures::future_to_promise;
use isobar_cloudflare::binding::{JsError, Object, bytes, date, millis, uint8_array};
use isobar_cloudflare::sql::{ExactIntegers, is_exact};

use super::failure;
use super::namespace::object_id;
use super::sockets::{JsSocket, number_of};
use crate::context::{DELETE_IN_TRANSACTION, TransactionBody};
use crate::{
    Bookmark, Cursor, Error, ErrorKind, KvListOptions, ObjectId, Result, ServerSocket, SessionBackend, Value, WebSocket,
};

/// A Durable Object's `state`.
pub(super) struct State {
    id: ObjectId,
    state: Object,
    storage: Object,
    /// The alarm as it was when the event began, or as the event has set it: `getAlarm` answers only later.
    alarm: Cell<Option<DateTime<Utc>>>,
    sockets: Cell<u64>,
    /// Number of transactions that are open, one within the other.
    transactions: Cell<u32>,
    reset: Reset,
}

/// Resets the object, once.
#[derive(Clone)]
struct Reset {
    state: Object,
    is_done: Rc<Cell<bool>>,
}

impl State {
    pub(super) fn new(state: Object) -> Result<Self> {
        let id = state.object("id");
        let id = object_id(&id, id.text("name").as_deref())?;
        let storage = state.object("storage");
        let reset = Reset { state: state.clone(), is_done: Rc::default() };
        Ok(Self {
            id,
            state,
            storage,
            alarm: Cell::default(),
            sockets: Cell::default(),
            transactions: Cell::default(),
            reset,
        })
    }

    /// Looks at the alarm anew: at the start of each event. The runtime delivers no other event meanwhile.
    pub(super) async fn refresh_alarm(&self) -> Result<()> {
        let alarm = self.storage.ask("getAlarm", &[]).await.map_err(failure)?;
        self.alarm.set(millis(&alarm));
        Ok(())
    }

    pub(super) fn socket(&self, socket: Object) -> WebSocket {
        let id = number_of(&socket, || {
            self.sockets.set(self.sockets.get() + 1);
            self.sockets.get()
        });
        WebSocket::new(Rc::new(JsSocket { state: self.state.clone(), socket, id }))
    }

    /// See [`Reset::at_once`].
    pub(super) fn reset(&self, reason: &str) {
        self.reset.at_once(reason);
    }

    /// Whether it has been reset: nothing of it may be answered any more.
    pub(super) fn is_reset(&self) -> bool {
        self.reset.is_done.get()
    }

    fn kv(&self, method: &str, arguments: &[JsValue]) -> Result<JsValue> {
        self.storage.object("kv").call(method, arguments).map_err(failure)
    }

    /// Asks for a bookmark.
    fn bookmark(&self, method: &'static str, arguments: Vec<JsValue>) -> LocalBoxFuture<'static, Result<Bookmark>> {
        let storage = self.storage.clone();
        Box::pin(async move {
            let bookmark = storage.ask(method, &arguments).await.map_err(failure)?;
            let text = bookmark.as_string();
            text.map(Bookmark::new).ok_or_else(|| Error::new(ErrorKind::Internal, "the runtime gave no bookmark"))
        })
    }
}

impl Reset {
    /// Resets the object: what is not committed is undone, and events in flight fail with the reason.
    ///
    /// The runtime's `abort` ends JavaScript on the spot and forgets the microtasks that wait. One of them may be the
    /// executor's, which runs every other object and request of this isolate and would wait for it for ever. So it is
    /// called from a microtask of its own, after as many others as a turn can plausibly still bring, and still within the
    /// turn: before anything of it is committed.
    fn at_once(&self, reason: &str) {
        const MICROTASKS: u32 = 64;
        if self.is_done.replace(true) {
            return;
        }
        let abort = self.state.object("abort").call("bind", &[self.state.value().clone(), reason.into()]);
        hop(MICROTASKS, abort.unwrap_or_default());
    }
}

impl SessionBackend for State {
    fn id(&self) -> &ObjectId {
        &self.id
    }

    fn exec(&self, sql: &str, parameters: Vec<Value>) -> Result<Cursor> {
        let is_integer = |number: usize| matches!(parameters.get(number - 1), Some(Value::Integer(_)));
        let has_integers = parameters.iter().any(|value| matches!(value, Value::Integer(_)));
        let sql = if has_integers { ExactIntegers::new(sql, is_integer) } else { ExactIntegers::unchanged(sql) };
        let mut arguments = vec![JsValue::from(sql.sql())];
        arguments.extend(parameters.iter().map(bound));
        let refused = |mut error: JsError| {
            error.message = sql.message(&error.message);
            failure(error)
        };
        let cursor = Object::from(self.storage.object("sql").call("exec", &arguments).map_err(refused)?);
        let columns = cursor.object("columnNames").elements();
        let columns = columns.iter().filter_map(JsValue::as_string).map(|name| sql.column(&name)).collect();
        let rows = Object::from(cursor.call("raw", &[]).map_err(failure)?).call("toArray", &[]).map_err(refused)?;
        let row = |row: JsValue| Object::from(row).elements().iter().map(value).collect::<Result<Vec<_>>>();
        let rows = Object::from(rows).elements().into_iter().map(row).collect::<Result<_>>()?;
        let count = |name| cursor.number(name).map(|count| count as u64);
        Ok(Cursor::new(columns, rows, count("rowsRead"), count("rowsWritten")))
    }

    fn database_size(&self) -> Result<u64> {
        Ok(self.storage.object("sql").number("databaseSize").unwrap_or_default() as u64)
    }

    fn transaction(&self, body: TransactionBody<'_>) -> Result<()> {
        let alarm = self.alarm.get();
        let failed = RefCell::new(None);
        let panicked = RefCell::new(None);
        // Thrown, an error makes the runtime roll back; its caller gets our own, or the panic.
        let mut body = || -> Result<JsValue, JsValue> {
            match std::panic::catch_unwind(AssertUnwindSafe(&mut *body)) {
                Ok(Ok(())) => Ok(JsValue::UNDEFINED),
                Ok(Err(error)) => {
                    let thrown = JsError::new(error.to_string()).into();
                    *failed.borrow_mut() = Some(error);
                    Err(thrown)
                }
                Err(panic) => {
                    *panicked.borrow_mut() = Some(panic);
                    Err(JsError::new("the transaction panicked").into())
                }
            }
        };
        self.transactions.set(self.transactions.get() + 1);
        let result = {
            let callback =
                ScopedClosure::<dyn FnMut() -> Result<JsValue, JsValue>>::borrow_mut_assert_unwind_safe(&mut body);
            self.storage.call("transactionSync", &[callback.as_js_value().clone()])
        };
        self.transactions.set(self.transactions.get() - 1);
        if result.is_err() {
            self.alarm.set(alarm); // undone with the rest
        }
        if let Some(panic) = panicked.into_inner() {
            std::panic::resume_unwind(panic); // on to the event, which resets the object
        }
        match failed.into_inner() {
            Some(error) => Err(error),
            None => result.map(drop).map_err(failure),
        }
    }

    fn kv_get(&self, key: &str) -> Result<Option<Bytes>> {
        let value = self.kv("get", &[key.into()])?;
        if value.is_undefined() { Ok(None) } else { kv_text(key, &value).map(Some) }
    }

    fn kv_put(&self, key: &str, value: Bytes) -> Result<()> {
        // As its JSON text: JavaScript's own numbers would round.
        self.kv("put", &[key.into(), String::from_utf8_lossy(&value).as_ref().into()]).map(drop)
    }

    fn kv_delete(&self, key: &str) -> Result<bool> {
        Ok(self.kv("delete", &[key.into()])?.is_truthy())
    }

    fn kv_list(&self, options: &KvListOptions) -> Result<Vec<(String, Bytes)>> {
        let KvListOptions { start, start_after, end, prefix, reverse, limit } = options;
        let js = Object::empty()
            .with_some("start", start.as_deref())
            .with_some("startAfter", start_after.as_deref())
            .with_some("end", end.as_deref())
            .with_some("prefix", prefix.as_deref())
            .with("reverse", *reverse)
            .with_some("limit", limit.map(|limit| limit as f64));
        let entries = self.kv("list", &[js.into()])?;
        let entry = |entry: JsValue| {
            let pair = Array::from(&entry);
            let key = pair.get(0).as_string().unwrap_or_default();
            let value = kv_text(&key, &pair.get(1))?;
            Ok((key, value))
        };
        // An iterable, not a list.
        let entries = Object::global().object("Array").call("from", &[entries]).map_err(failure)?;
        Object::from(entries).elements().into_iter().map(entry).collect()
    }

    fn delete_all(&self) -> Result<()> {
        if self.transactions.get() > 0 {
            // The runtime would lose the transaction, and end the object with an internal error.
            return Err(Error::new(ErrorKind::InvalidArgument, DELETE_IN_TRANSACTION));
        }
        // On SQLite it is done at once; only its answer comes later. Before 2026-02-24 the alarm is not among it.
        self.storage.call("deleteAlarm", &[]).map_err(failure)?;
        self.storage.call("deleteAll", &[]).map_err(failure)?;
        self.alarm.set(None);
        Ok(())
    }

    fn alarm(&self) -> Result<Option<DateTime<Utc>>> {
        Ok(self.alarm.get())
    }

    fn set_alarm(&self, at: Option<DateTime<Utc>>) -> Result<()> {
        // Their answers say only that the write is durable, which the output gate waits for.
        match at {
            Some(at) => self.storage.call("setAlarm", &[date(at)]),
            None => self.storage.call("deleteAlarm", &[]),
        }
        .map_err(failure)?;
        self.alarm.set(at.map(|at| at.max(Utc::now())));
        Ok(())
    }

    fn accept_websocket(&self, socket: ServerSocket, tags: Vec<String>) -> Result<WebSocket> {
        let pair = Object::construct("WebSocketPair", &[]).map_err(failure)?;
        let server = pair.object("1");
        server.set("binaryType", "arraybuffer");
        let tags: Array = tags.into_iter().map(JsValue::from).collect();
        self.state.call("acceptWebSocket", &[server.value().clone(), tags.into()]).map_err(failure)?;
        // The other end is found by the response that carries this socket's client.
        let mut link = socket.link().lock().ignore_poison();
        *link = Some(Box::new(pair.object("0")));
        drop(link);
        Ok(self.socket(server))
    }

    fn websockets(&self, tag: Option<&str>) -> Vec<WebSocket> {
        let arguments: Vec<JsValue> = tag.into_iter().map(JsValue::from).collect();
        // Only a tag that no socket can have is refused: then there is none.
        let sockets = self.state.call("getWebSockets", &arguments).map(Object::from);
        let sockets = sockets.map_or_else(|_| Vec::new(), |sockets| sockets.elements());
        sockets.into_iter().map(Object::from).map(|socket| self.socket(socket)).collect()
    }

    fn set_auto_response(&self, pair: Option<(String, String)>) -> Result<()> {
        let pair = match pair {
            Some((request, response)) => {
                let pair = Object::construct("WebSocketRequestResponsePair", &[request.into(), response.into()]);
                vec![JsValue::from(pair.map_err(failure)?)]
            }
            None => Vec::new(),
        };
        self.state.call("setWebSocketAutoResponse", &pair).map(drop).map_err(failure)
    }

    fn auto_response(&self) -> Option<(String, String)> {
        let pair = Object::from(self.state.call("getWebSocketAutoResponse", &[]).ok()?);
        Some((pair.text("request")?, pair.text("response")?))
    }

    fn block_concurrency_while(
        &self,
        work: LocalBoxFuture<'static, Result<()>>,
    ) -> LocalBoxFuture<'static, Result<()>> {
        let state = self.state.clone();
        Box::pin(block(state, work))
    }

    fn durable(&self) -> LocalBoxFuture<'static, Result<()>> {
        let storage = self.storage.clone();
        Box::pin(async move { storage.ask("sync", &[]).await.map(drop).map_err(failure) })
    }

    fn wait_until(&self, work: LocalBoxFuture<'static, ()>) {
        let reset = self.reset.clone();
        let promise = promise(async move {
            if AssertUnwindSafe(work).catch_unwind().await.is_err() {
                reset.at_once("work that the session object waited for panicked");
            }
            Ok(JsValue::UNDEFINED)
        });
        // It takes any promise.
        drop(self.state.call("waitUntil", &[promise.into()]));
    }

    fn current_bookmark(&self) -> LocalBoxFuture<'static, Result<Bookmark>> {
        self.bookmark("getCurrentBookmark", Vec::new())
    }

    fn bookmark_for_time(&self, at: DateTime<Utc>) -> LocalBoxFuture<'static, Result<Bookmark>> {
        self.bookmark("getBookmarkForTime", vec![date(at)])
    }

    fn restore_on_next_start(&self, to: &Bookmark) -> LocalBoxFuture<'static, Result<Bookmark>> {
        self.bookmark("onNextSessionRestoreBookmark", vec![to.as_str().into()])
    }

    fn abort(&self, reason: &str) {
        self.reset(reason);
    }
}

/// A value of the key-value storage: JSON's text, as this backend writes it.
fn kv_text(key: &str, value: &JsValue) -> Result<Bytes> {
    let foreign = || {
        let message =
            format!("the value of {key:?} was not written by isobar: {}", Object::from(value.clone()).class());
        Error::new(ErrorKind::Decode, message)
    };
    value.as_string().map(Bytes::from).ok_or_else(foreign)
}

/// Calls a function after this number of microtasks.
fn hop(microtasks: u32, function: JsValue) {
    let next = match microtasks {
        0 => function,
        _ => Closure::once_into_js(AssertUnwindSafe(move || hop(microtasks - 1, function))),
    };
    // It refuses only what is no function.
    drop(Object::global().call("queueMicrotask", &[next]));
}

/// Runs work while no other event of the object goes on; its failure resets the object.
pub(super) async fn block(state: Object, work: LocalBoxFuture<'static, Result<()>>) -> Result<()> {
    let outcome = Rc::new(RefCell::new(None));
    let slot = Rc::clone(&outcome);
    let callback = Closure::once_into_js(AssertUnwindSafe(move || {
        promise(async move {
            let result = work.await;
            let thrown = result.as_ref().err().map(|error| JsValue::from(JsError::new(error.to_string())));
            *slot.borrow_mut() = Some(result);
            thrown.map_or(Ok(JsValue::UNDEFINED), Err)
        })
    }));
    let done = state.ask("blockConcurrencyWhile", &[callback]).await;
    match (outcome.take(), done) {
        (Some(result), _) => result,
        (None, Err(error)) => Err(failure(error)),
        (None, Ok(_)) => Err(Error::new(ErrorKind::Internal, "the runtime did not run the blocking work")),
    }
}

/// A promise of JavaScript's; a panic rejects it.
pub(super) fn promise(work: impl Future<Output = Result<JsValue, JsValue>> + 'static) -> Promise {
    // What a panic leaves behind belongs to an object that is reset.
    future_to_promise(AssertUnwindSafe(work))
}

fn bound(value: &Value) -> JsValue {
    match value {
        Value::Null => JsValue::NULL,
        Value::Integer(integer) => integer.to_string().into(),
        Value::Real(real) => (*real).into(),
        Value::Text(text) => text.as_str().into(),
        Value::Blob(bytes) => uint8_array(bytes),
    }
}

fn value(value: &JsValue) -> Result<Value> {
    if let Some(number) = value.as_f64() {
        if !is_exact(number) {
            let message = format!("JavaScript may have rounded an integer to {number}: select it as CAST(... AS TEXT)");
            return Err(Error::new(ErrorKind::Decode, message));
        }
        let is_integer = number.fract() == 0.0 && number.abs() < 2f64.powi(63);
        return Ok(if is_integer { Value::Integer(number as i64) } else { Value::Real(number) });
    }
    if let Some(text) = value.as_string() {
        return Ok(Value::Text(text));
    }
    Ok(if value.is_null() || value.is_undefined() { Value::Null } else { Value::Blob(bytes(value)) })
}
