//! The object that the kit drives: it runs lists of operations sent as JSON.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use chrono::Utc;
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use serde_json::{Value as Json, json};

use crate::{
    AlarmInfo, Body, CloseFrame, Error, ErrorKind, KvListOptions, Message, Request, Response, Result, SessionContext,
    SessionObject, Value, WebSocket, socket_pair, websocket_response,
};

/// The kit's object. A request to `/act` carries a list of operations (`{"op": ..., ...}`) and is answered with the list
/// of what they gave; a request with `Upgrade: websocket` to `/socket/<tag>` is answered with a WebSocket.
#[derive(Debug)]
pub struct Probe {
    context: SessionContext,
    /// Counts in the instance's memory: gone with it.
    memory: Cell<i64>,
    /// Notes, in order.
    notes: RefCell<Vec<String>>,
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
        Ok(Self { context, memory: Cell::default(), notes: RefCell::default() })
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
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
        Ok(())
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

impl Probe {
    fn act(&self, operation: Json) -> LocalBoxFuture<'_, Result<Json>> {
        async move {
            let text = |name: &str| operation[name].as_str().unwrap_or_default().to_owned();
            let number = |name: &str| operation[name].as_i64().unwrap_or_default();
            let storage = &self.context;
            Ok(match text("op").as_str() {
                "sql" => {
                    let values: Option<Vec<Value>> = operation["values"].as_array().map(|values| values.iter().map(value).collect());
                    let cursor = storage.sql().exec(&text("sql"), values.unwrap_or_default())?;
                    let columns = cursor.column_names().to_vec();
                    json!({"columns": columns, "rows": cursor.raw().iter().map(|row| row.iter().map(Value::to_json).collect()).collect::<Vec<Json>>()})
                }
                "caught" => match self.act(operation["do"].clone()).await {
                    Ok(value) => json!({"ok": value}),
                    Err(error) => json!({"error": error.to_string()}),
                },
                "get" => storage.kv().get::<Json>(&text("key"))?.unwrap_or_default(),
                "put" => {
                    storage.kv().put(&text("key"), &operation["value"])?;
                    Json::Null
                }
                "delete" => storage.kv().delete(&text("key"))?.into(),
                "list" => {
                    let option = |name: &str| operation[name].as_str().map(str::to_owned);
                    let options = KvListOptions {
                        start: option("start"),
                        start_after: option("startAfter"),
                        end: option("end"),
                        prefix: option("prefix"),
                        reverse: operation["reverse"].as_bool().unwrap_or_default(),
                        limit: operation["limit"].as_u64().and_then(|limit| usize::try_from(limit).ok()),
                    };
                    storage.kv().list::<Json>(&options)?.into_iter().map(|(key, _)| Json::from(key)).collect()
                }
                "transaction" => {
                    let run = || {
                        for step in operation["do"].as_array().into_iter().flatten() {
                            let done = self.act(step.clone()).now_or_never();
                            done.unwrap_or_else(|| Err(Error::application("a transaction cannot wait")))?;
                        }
                        Ok(())
                    };
                    storage.transaction(run)?;
                    Json::Null
                }
                "size" => storage.sql().database_size()?.into(),
                "delete all" => {
                    storage.delete_all()?;
                    Json::Null
                }
                "set alarm" => {
                    storage.set_alarm(Utc::now() + chrono::Duration::milliseconds(number("in")))?;
                    Json::Null
                }
                "alarm" => storage.alarm()?.map(|at| (at - Utc::now()).num_milliseconds()).into(),
                "delete alarm" => {
                    storage.delete_alarm()?;
                    Json::Null
                }
                "memory" => {
                    self.memory.set(self.memory.get() + 1);
                    self.memory.get().into()
                }
                "note" => {
                    self.notes.borrow_mut().push(text("text"));
                    Json::Null
                }
                "notes" => self.notes.borrow().clone().into(),
                "sleep" => {
                    sleep(number("ms").unsigned_abs()).await;
                    Json::Null
                }
                "block" => {
                    let context = storage.clone();
                    let ms = number("ms").unsigned_abs();
                    let fails = operation["fails"].as_bool().unwrap_or_default();
                    storage
                        .block_concurrency_while(async move {
                            sleep(ms).await;
                            context.kv().put("blocked", &true)?;
                            if fails { Err(Error::application("blocked boom")) } else { Ok(()) }
                        })
                        .await?;
                    Json::Null
                }
                "wait until" => {
                    let context = storage.clone();
                    let panics = operation["panics"].as_bool().unwrap_or_default();
                    storage.wait_until(async move {
                        sleep(20).await;
                        assert!(!panics, "the probe's background work panics on purpose");
                        drop(context.kv().put("waited", &true));
                    });
                    Json::Null
                }
                "sockets" => storage.websockets(operation["tag"].as_str()).len().into(),
                "socket tags" => storage.websockets(None).iter().map(|socket| Json::from(socket.tags())).collect(),
                "auto response" => {
                    storage.set_auto_response(Some((&text("request"), &text("response"))))?;
                    Json::Null
                }
                "accept" => {
                    let tags: Vec<String> = serde_json::from_value(operation["tags"].clone())?;
                    let (_client, server) = socket_pair();
                    let socket = storage.accept_websocket(server, &tags.iter().map(String::as_str).collect::<Vec<_>>())?;
                    socket.tags().into()
                }
                "id" => json!([storage.id().to_string(), storage.id().name()]),
                "fail" => return Err(Error::application(text("text"))),
                "abort" => {
                    storage.abort(&text("text"));
                    Json::Null
                }
                "panic" => panic!("the probe panics on purpose"),
                other => return Err(Error::new(ErrorKind::InvalidArgument, format!("no operation {other}"))),
            })
        }
        .boxed_local()
    }
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
