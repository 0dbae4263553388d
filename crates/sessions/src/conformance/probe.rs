//! The object that the kit drives: it runs lists of operations sent as JSON.

mod exact;

use std::cell::{Cell, RefCell};
use std::time::Duration;

use chrono::Utc;
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use serde_json::{Value as Json, json};

use super::calls::{Count, Echo, Panic, Refuse};
use super::outcome;
use crate::timers::{Timer, Timers};
use crate::{
    AlarmInfo, Body, Bookmark, CloseFrame, Dispatch, Error, ErrorKind, KvListOptions, Message, Request, Response,
    Result, SessionContext, SessionObject, Value, WebSocket, socket_pair, websocket_response,
};

/// The kit's object. A request to `/act` carries a list of operations (`{"op": ..., ...}`) and is answered with the list
/// of what they gave; a request with `Upgrade: websocket` to `/socket/<tag>` is answered with a WebSocket.
///
/// ```
/// # #[cfg(not(feature = "memory"))]
/// # fn main() {}
/// # #[cfg(feature = "memory")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> isobar_sessions::Result<()> {
/// use isobar_sessions::conformance::Probe;
/// use isobar_sessions::memory::MemoryHost;
/// use isobar_sessions::{Body, SessionNamespaceExt};
///
/// let host = MemoryHost::<Probe>::new("Probe", || ())?;
/// let operations = r#"[{"op": "put", "key": "a", "value": 1}, {"op": "get", "key": "a"}]"#;
/// let response = host.post(&host.id("one"), "/act", Body::from(operations)).await?;
/// assert_eq!(response.into_body().text().await?, "[null,1]");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Probe {
    context: SessionContext,
    /// Counts in the instance's memory: gone with it.
    memory: Cell<i64>,
    /// Notes, in order.
    notes: RefCell<Vec<String>>,
    timers: Timers,
}

impl SessionObject for Probe {
    type Env = ();

    async fn start(context: SessionContext, (): ()) -> Result<Self> {
        let storage = context.clone();
        let made = context.block_concurrency_while(async move {
            sleep(1).await;
            storage.sql().exec("CREATE TABLE IF NOT EXISTS starts (n INTEGER)", ())?;
            storage.sql().exec("INSERT INTO starts VALUES (1)", ())?;
            Ok(())
        });
        made.await?;
        if context.kv().get::<bool>("refuse to start")?.unwrap_or_default() {
            return Err(Error::application("refused to start"));
        }
        let timers = Timers::new(&context);
        Ok(Self { context, memory: Cell::default(), notes: RefCell::default(), timers })
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        Dispatch::new(request)
            .on(async |call: Echo| Ok(call.0))
            .on(async |call: Refuse| Err(Error::new(call.kind(), call.message)))
            .on(async |Count { by }| self.count(by))
            .on(async |Panic| panic!("the probe panics on purpose"))
            .or(async |request| self.other(request).await)
            .await
    }

    async fn alarm(&self, info: AlarmInfo) -> Result<()> {
        let seen = self.context.alarm()?.is_some();
        let entry = json!({"retry": info.retry_count, "alarm": seen});
        self.context.sql().exec("CREATE TABLE IF NOT EXISTS alarms (entry TEXT)", ())?;
        self.context.sql().exec("INSERT INTO alarms VALUES (?)", (entry.to_string(),))?;
        if let Some(operations) = self.context.kv().get::<Vec<Json>>("in the alarm")? {
            for operation in operations {
                self.act(operation).await?;
            }
        }
        self.timers.run(&info, async |timer| self.fired(timer).await).await
    }

    async fn message(&self, socket: &WebSocket, message: Message) -> Result<()> {
        let Message::Text(text) = message else { return socket.send(message) };
        match text.split_once(' ').unwrap_or((&text, "")) {
            ("attach", value) => socket.set_attachment(&value)?,
            ("attachment", _) => socket.send(socket.attachment::<String>()?.unwrap_or_default())?,
            ("tags", _) => socket.send(socket.tags().join(","))?,
            ("close", reason) => {
                socket.close(4001, reason)?;
                socket.close(4002, "again")?;
                let sockets = self.context.websockets(None);
                let open = sockets.iter().filter(|socket| socket.is_open()).count();
                self.context.kv().put("sockets after close", &json!([sockets.len(), open]))?;
                if let Err(error) = socket.send("after") {
                    self.context.kv().put("send after close", &error.to_string())?;
                }
            }
            ("broadcast", text) => {
                for other in self.context.websockets(Some("all")) {
                    other.send(text)?;
                }
            }
            ("memory", _) => {
                self.memory.set(self.memory.get() + 1);
                socket.send(self.memory.get().to_string())?;
            }
            ("fail", _) => return Err(Error::application("message boom")),
            _ => socket.send(format!("echo {text}"))?,
        }
        Ok(())
    }

    async fn closed(&self, _: &WebSocket, close: CloseFrame) -> Result<()> {
        let CloseFrame { code, reason, was_clean } = close;
        self.context.kv().put("closed", &json!([code, reason, was_clean]))
    }
}

/// An operation that an event is to run.
#[derive(Clone, Copy)]
struct Operation<'o>(&'o Json);

impl Operation<'_> {
    fn name(&self) -> &str {
        self.0["op"].as_str().unwrap_or_default()
    }

    fn text(&self, field: &str) -> String {
        self.0[field].as_str().unwrap_or_default().to_owned()
    }

    fn number(&self, field: &str) -> i64 {
        self.0[field].as_i64().unwrap_or_default()
    }

    fn is(&self, field: &str) -> bool {
        self.0[field].as_bool().unwrap_or_default()
    }

    fn list_options(&self) -> KvListOptions {
        let option = |field: &str| self.0[field].as_str().map(str::to_owned);
        KvListOptions {
            start: option("start"),
            start_after: option("startAfter"),
            end: option("end"),
            prefix: option("prefix"),
            reverse: self.is("reverse"),
            limit: self.0["limit"].as_u64().and_then(|limit| usize::try_from(limit).ok()),
        }
    }
}

impl Probe {
    /// Handles a request that is not a call.
    async fn other(&self, request: Request) -> Result<Response> {
        if let Some(tag) = request.uri().path().strip_prefix("/socket/") {
            let (client, server) = socket_pair();
            let socket = self.context.accept_websocket(server, &[tag, "all"])?;
            socket.send(format!("welcome {tag}"))?;
            return Ok(websocket_response(client));
        }
        if request.uri().path() == "/encoded" {
            let mut response = Response::new(Body::from("taken for gzip by its header alone"));
            response.headers_mut().insert(http::header::CONTENT_ENCODING, http::HeaderValue::from_static("gzip"));
            return Ok(response);
        }
        let operations: Vec<Json> = request.into_body().json().await?;
        let mut results = Vec::new();
        for operation in operations {
            results.push(self.act(operation).await?);
        }
        Ok(Response::new(Body::from(Json::from(results).to_string())))
    }

    fn count(&self, by: i64) -> Result<i64> {
        let count = self.context.kv().get::<i64>("count")?.unwrap_or_default() + by;
        self.context.kv().put("count", &count)?;
        Ok(count)
    }

    /// Runs an operation.
    fn act(&self, operation: Json) -> LocalBoxFuture<'_, Result<Json>> {
        async move {
            let operation = Operation(&operation);
            if let Some(done) = self.on_storage(operation)? {
                return Ok(done);
            }
            if let Some(done) = self.on_sockets(operation)? {
                return Ok(done);
            }
            if let Some(done) = self.on_timers(operation)? {
                return Ok(done);
            }
            if let Some(done) = self.exactly(operation)? {
                return Ok(done);
            }
            if let Some(done) = self.in_time(operation).await? {
                return Ok(done);
            }
            if let Some(bookmark) = self.in_history(operation).await? {
                return Ok(bookmark.as_str().into());
            }
            match operation.name() {
                "caught" => Ok(match self.act(operation.0["do"].clone()).await {
                    Ok(value) => json!({"ok": value}),
                    Err(error) => json!({"error": error.to_string()}),
                }),
                "try" => Ok(outcome(self.act(operation.0["do"].clone()).await)),
                "memory" => {
                    self.memory.set(self.memory.get() + 1);
                    Ok(self.memory.get().into())
                }
                "note" => {
                    self.notes.borrow_mut().push(operation.text("text"));
                    Ok(Json::Null)
                }
                "notes" => Ok(self.notes.borrow().clone().into()),
                "id" => Ok(json!([self.context.id().to_string(), self.context.id().name()])),
                "fail" => Err(Error::application(operation.text("text"))),
                "abort" => {
                    self.context.abort(&operation.text("text"));
                    Ok(Json::Null)
                }
                "panic" => panic!("the probe panics on purpose"),
                other => Err(Error::new(ErrorKind::InvalidArgument, format!("no operation {other}"))),
            }
        }
        .boxed_local()
    }

    /// Runs an operation on SQL, keys or the alarm; `None` for another.
    fn on_storage(&self, operation: Operation<'_>) -> Result<Option<Json>> {
        let storage = &self.context;
        Ok(Some(match operation.name() {
            "sql" => {
                let values: Vec<Value> = operation.0["values"].as_array().into_iter().flatten().map(value).collect();
                let cursor = storage.sql().exec(&operation.text("sql"), values)?;
                let columns = cursor.column_names().to_vec();
                let shown = |row: &Vec<Value>| row.iter().map(Value::to_json).collect::<Json>();
                json!({"columns": columns, "rows": cursor.raw().iter().map(shown).collect::<Vec<_>>()})
            }
            "get" => storage.kv().get::<Json>(&operation.text("key"))?.unwrap_or_default(),
            "put" => done(storage.kv().put(&operation.text("key"), &operation.0["value"]))?,
            "delete" => storage.kv().delete(&operation.text("key"))?.into(),
            "list" => self.list(operation)?,
            "transaction" => done(storage.transaction(|| self.act_at_once(&operation.0["do"])))?,
            "size" => storage.sql().database_size()?.into(),
            "delete all" => done(storage.delete_all())?,
            "set alarm" => {
                done(storage.set_alarm(Utc::now() + chrono::Duration::milliseconds(operation.number("in"))))?
            }
            "alarm" => storage.alarm()?.map(|at| (at - Utc::now()).num_milliseconds()).into(),
            "delete alarm" => done(storage.delete_alarm())?,
            _ => return Ok(None),
        }))
    }

    fn list(&self, operation: Operation<'_>) -> Result<Json> {
        let options = operation.list_options();
        Ok(self.context.kv().list::<Json>(&options)?.into_iter().map(|(key, _)| Json::from(key)).collect())
    }

    /// Runs operations that do not wait.
    fn act_at_once(&self, operations: &Json) -> Result<()> {
        for operation in operations.as_array().into_iter().flatten() {
            let done = self.act(operation.clone()).now_or_never();
            done.unwrap_or_else(|| Err(Error::application("a transaction cannot wait")))?;
        }
        Ok(())
    }

    /// Runs an operation on timers; `None` for another.
    fn on_timers(&self, operation: Operation<'_>) -> Result<Option<Json>> {
        let timers = &self.timers;
        let name = operation.text("name");
        Ok(Some(match operation.name() {
            "set timer" => {
                let at = self.context.now() + chrono::Duration::milliseconds(operation.number("in"));
                done(timers.set(&name, at, &operation.0["do"]))?
            }
            "every" => done(timers.every(&name, &operation.text("cron"), &operation.0["do"]))?,
            "cancel timer" => timers.cancel(&name)?.into(),
            "timers" => {
                let until = |timer: &Timer| timer.due.map(|due| (due - self.context.now()).num_milliseconds());
                let shown = |timer: Timer| {
                    json!({"name": timer.name, "in": until(&timer), "scheduled": timer.scheduled.timestamp_millis(),
                           "cron": timer.cron, "retries": timer.retries, "failure": timer.failure})
                };
                timers.list()?.into_iter().map(shown).collect()
            }
            _ => return Ok(None),
        }))
    }

    /// Notes that a timer runs, and does what its payload says.
    async fn fired(&self, timer: Timer) -> Result<()> {
        self.context.sql().exec("CREATE TABLE IF NOT EXISTS fired (name TEXT, retries INTEGER)", ())?;
        self.context.sql().exec("INSERT INTO fired VALUES (?, ?)", (&timer.name, timer.retries))?;
        for operation in timer.payload::<Option<Vec<Json>>>()?.unwrap_or_default() {
            self.act(operation).await?;
        }
        Ok(())
    }

    /// Runs an operation on WebSockets; `None` for another.
    fn on_sockets(&self, operation: Operation<'_>) -> Result<Option<Json>> {
        let context = &self.context;
        Ok(Some(match operation.name() {
            "sockets" => context.websockets(operation.0["tag"].as_str()).len().into(),
            "socket tags" => context.websockets(None).iter().map(|socket| Json::from(socket.tags())).collect(),
            "auto response" => {
                let request = operation.text("request");
                done(context.set_auto_response(Some((&request, &operation.text("response")))))?
            }
            "accept" => {
                let tags: Vec<String> = serde_json::from_value(operation.0["tags"].clone())?;
                let (_client, server) = socket_pair();
                let socket = context.accept_websocket(server, &tags.iter().map(String::as_str).collect::<Vec<_>>())?;
                socket.tags().into()
            }
            _ => return Ok(None),
        }))
    }

    /// Runs an operation on the object's history; `None` for another.
    async fn in_history(&self, operation: Operation<'_>) -> Result<Option<Bookmark>> {
        let context = &self.context;
        Ok(Some(match operation.name() {
            "bookmark" => context.current_bookmark().await?,
            "bookmark at" => {
                let ago = chrono::Duration::milliseconds(operation.number("ago"));
                context.bookmark_for_time(context.now() - ago).await?
            }
            "restore" => context.restore_on_next_start(&Bookmark::new(operation.text("to"))).await?,
            _ => return Ok(None),
        }))
    }

    /// Runs an operation that takes time; `None` for another.
    async fn in_time(&self, operation: Operation<'_>) -> Result<Option<Json>> {
        let context = self.context.clone();
        let ms = operation.number("ms").unsigned_abs();
        match operation.name() {
            "sleep" => sleep(ms).await,
            "durable" => self.context.durable().await?,
            "block" => {
                let fails = operation.is("fails");
                let work = async move {
                    sleep(ms).await;
                    context.kv().put("blocked", &true)?;
                    if fails { Err(Error::application("blocked boom")) } else { Ok(()) }
                };
                self.context.block_concurrency_while(work).await?;
            }
            "wait until" => {
                let panics = operation.is("panics");
                self.context.wait_until(async move {
                    sleep(20).await;
                    assert!(!panics, "the probe's background work panics on purpose");
                    drop(context.kv().put("waited", &true));
                });
            }
            _ => return Ok(None),
        }
        Ok(Some(Json::Null))
    }
}

/// Returns the result of an operation that gives nothing.
fn done(result: Result<()>) -> Result<Json> {
    result.map(|()| Json::Null)
}

fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(truth) => (*truth).into(),
        Json::Number(number) => number.as_i64().map_or_else(|| number.as_f64().into(), Value::Integer),
        other => Value::Text(other.as_str().map_or_else(|| other.to_string(), str::to_owned)),
    }
}

async fn sleep(ms: u64) {
    isobar_testkit::sleep(Duration::from_millis(ms)).await;
}
