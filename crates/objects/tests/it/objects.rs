//! The ready-made objects, as their clients see them: chat, call, MCP, browsers.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::TimeDelta;
use http_body_util::BodyExt;
use isobar_objects::Participant;
use isobar_objects::browser::{
    BrowserEngine, BrowserError, BrowserErrorKind, BrowserOptions, BrowserSession, RenderJob, Rendered,
};
use isobar_objects::call::{CallOptions, CallRoom};
use isobar_objects::chat::{ChatOptions, ChatRoom};
use isobar_objects::mcp::model::{
    CallToolResponse, CallToolResult, ContentBlock, ErrorData, Implementation, InitializeResult, ServerCapabilities,
    Tool,
};
use isobar_objects::mcp::{McpCall, McpOptions, McpService, McpSession};
use isobar_sessions::local::{HostOptions, LocalHost};
use isobar_sessions::memory::MemoryHost;
use isobar_sessions::{Body, ClientSocket, Message, Response, SessionNamespace, SessionNamespaceExt, take_websocket};
use serde_json::{Value as Json, json};

pub(super) fn ada() -> Participant {
    Participant::new("ada", "Ada").with_writes(true)
}

pub(super) fn bob() -> Participant {
    Participant::new("bob", "Bob").with_writes(true)
}

pub(super) async fn send(
    sessions: &dyn SessionNamespace,
    who: Option<&Participant>,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Json,
) -> Response {
    let mut request = http::Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
    let mut request = request.body(body).unwrap();
    if let Some(who) = who {
        who.insert(request.headers_mut());
    }
    sessions.fetch(&sessions.id("one"), request).await.unwrap()
}

pub(super) async fn ask(
    sessions: &dyn SessionNamespace,
    who: &Participant,
    method: &str,
    path: &str,
    body: Json,
) -> (u16, Json) {
    let answer = send(sessions, Some(who), method, path, &[], body).await;
    let status = answer.status().as_u16();
    (status, answer.into_body().json().await.unwrap_or_default())
}

/// A socket, and what it is told.
pub(super) struct Socket(pub(super) ClientSocket);

impl Socket {
    pub(super) async fn open(sessions: &dyn SessionNamespace, who: &Participant, path: &str) -> Self {
        let mut answer = send(sessions, Some(who), "GET", path, &[("upgrade", "websocket")], Json::Null).await;
        assert_eq!(answer.status(), 101);
        Self(take_websocket(&mut answer).unwrap())
    }

    pub(super) fn say(&self, value: Json) {
        self.0.send(value.to_string().as_str()).unwrap();
    }

    /// The next event of this type; others are passed over.
    pub(super) async fn hear(&mut self, kind: &str) -> Json {
        let wait = async {
            loop {
                match self.0.receive().await {
                    Some(Ok(Message::Text(text))) => {
                        let event: Json = serde_json::from_str(&text).unwrap();
                        if event["type"] == kind {
                            return event;
                        }
                    }
                    other => panic!("instead of {kind}: {other:?}"),
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wait).await.unwrap_or_else(|_| panic!("{kind} does not come"))
    }

    pub(super) async fn closed(&mut self) -> u16 {
        let wait = async {
            loop {
                if let Some(Err(close)) = self.0.receive().await {
                    return close.code;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wait).await.expect("it is closed")
    }
}

#[tokio::test]
async fn a_chat_is_ordered_and_says_nothing_twice() {
    let rooms = MemoryHost::<ChatRoom>::new("Chat", ChatOptions::default).unwrap();
    assert_eq!(send(&rooms, None, "GET", "/history", &[], Json::Null).await.status(), 401);
    let mut a = Socket::open(&rooms, &ada(), "/socket").await;
    assert_eq!(a.hear("history").await["me"], json!({"user": "ada", "name": "Ada"}));
    let mut b = Socket::open(&rooms, &bob(), "/socket").await;
    assert_eq!(b.hear("presence").await["members"].as_array().unwrap().len(), 2);
    a.say(json!({"type": "send", "text": "one", "nonce": "1"}));
    a.say(json!({"type": "send", "text": "one", "nonce": "1"}));
    a.say(json!({"type": "send", "text": "two"}));
    assert_eq!(b.hear("message").await["message"]["text"], "one");
    let two = b.hear("message").await["message"].clone();
    assert_eq!((&two["text"], &two["author"], &two["id"]), (&json!("two"), &json!("Ada"), &json!(2)));
    b.say(json!({"type": "typing"}));
    assert_eq!(a.hear("typing").await["user"], "bob");
    // One's own words are one's own; a moderator takes them away, and puts none in their place.
    b.say(json!({"type": "edit", "id": 2, "text": "three"}));
    b.hear("error").await;
    a.say(json!({"type": "edit", "id": 2, "text": "three"}));
    assert_eq!(b.hear("edited").await["message"]["text"], "three");
    let mut moderator =
        Socket::open(&rooms, &Participant::new("mo", "Mo").with_writes(true).with_moderates(true), "/socket").await;
    moderator.say(json!({"type": "edit", "id": 1, "text": "x"}));
    moderator.hear("error").await;
    moderator.say(json!({"type": "delete", "id": 1}));
    assert_eq!(b.hear("deleted").await["message"]["text"], "");
    b.say(json!({"type": "read", "id": 99}));
    assert_eq!(a.hear("read").await["id"], 2);
    // Who may only read says nothing, by any door.
    let watcher = Participant::new("wat", "Wat");
    let mut w = Socket::open(&rooms, &watcher, "/socket").await;
    for wrong in [
        json!({"type": "send", "text": "x"}),
        json!({"type": "edit", "id": 2, "text": "x"}),
        json!({"type": "delete", "id": 2}),
    ] {
        w.say(wrong);
        assert_eq!(w.hear("error").await["detail"], "you may only read here");
    }
    assert_eq!(ask(&rooms, &watcher, "POST", "/messages", json!({"text": "x"})).await.0, 403);
    assert_eq!(ask(&rooms, &ada(), "POST", "/messages", json!({"text": "x".repeat(5000)})).await.0, 400);
    assert_eq!(ask(&rooms, &ada(), "POST", "/messages", json!(["x"])).await.0, 400);
    // Pages, both ways.
    for number in 3..=12 {
        assert_eq!(ask(&rooms, &bob(), "POST", "/messages", json!({"text": number.to_string()})).await.0, 201);
    }
    let ids = async |query: &str| {
        let (_, page) = ask(&rooms, &ada(), "GET", &format!("/history?{query}"), Json::Null).await;
        page["messages"].as_array().unwrap().iter().map(|it| it["id"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(ids("limit=3").await, [10, 11, 12]);
    assert_eq!(ids("before=10&limit=3").await, [7, 8, 9]);
    assert_eq!(ids("after=10").await, [11, 12]);
    // Too much at once.
    let mut statuses = Vec::new();
    for _ in 0..20 {
        statuses.push(ask(&rooms, &bob(), "POST", "/messages", json!({"text": "again"})).await.0);
    }
    assert!(statuses.contains(&429), "{statuses:?}");
}

#[tokio::test]
async fn a_call_passes_signals_on_and_notices_who_is_gone() {
    let [silent, away, look] = [400, 300, 100].map(TimeDelta::milliseconds);
    let options =
        CallOptions::default().with_limit(2).with_patience(silent, away, look).with_stun(["stun:s".to_owned()]);
    let rooms = MemoryHost::<CallRoom>::new("Call", move || options.clone()).unwrap();
    let mut a = Socket::open(&rooms, &ada(), "/socket").await;
    let welcome = a.hear("welcome").await;
    let a_id = welcome["id"].as_str().unwrap().to_owned();
    assert_eq!(welcome["ice_servers"], json!([{"urls": ["stun:s"]}]));
    let mut b = Socket::open(&rooms, &bob(), "/socket").await;
    let welcome = b.hear("welcome").await;
    let b_id = welcome["id"].as_str().unwrap().to_owned();
    let resume = welcome["resume"].as_str().unwrap().to_owned();
    assert_eq!(welcome["participants"].as_array().unwrap().len(), 2);
    assert_eq!(a.hear("joined").await["participant"]["name"], "Bob");
    assert_eq!(ask(&rooms, &Participant::new("cy", "Cy"), "GET", "/socket", Json::Null).await.0, 409);
    a.say(json!({"type": "signal", "to": b_id, "data": {"sdp": "offer"}}));
    let signal = b.hear("signal").await;
    assert_eq!((&signal["from"], &signal["data"]), (&json!(a_id), &json!({"sdp": "offer"})));
    a.say(json!({"type": "signal", "to": "nobody", "data": 1}));
    a.hear("error").await;
    a.say(json!({"type": "signal", "to": b_id, "data": "x".repeat(70_000)}));
    a.hear("error").await;

    // The connection breaks; what comes meanwhile waits; only who it was comes back as who it was.
    let keep_alive = |socket: &Socket| socket.say(json!({"type": "ping"}));
    drop(b);
    assert_eq!(a.hear("away").await["id"], json!(b_id));
    a.say(json!({"type": "signal", "to": b_id, "data": {"candidate": 1}}));
    assert_eq!(
        ask(&rooms, &Participant::new("eve", "Eve"), "GET", &format!("/socket?resume={resume}"), Json::Null).await.0,
        409
    );
    let mut b = Socket::open(&rooms, &bob(), &format!("/socket?resume={resume}")).await;
    let welcome = b.hear("welcome").await;
    assert_eq!((&welcome["id"], &welcome["resumed"]), (&json!(b_id), &json!(true)));
    assert_eq!(b.hear("signal").await["data"], json!({"candidate": 1}));
    assert_eq!(a.hear("back").await["id"], json!(b_id));
    // A token is good once; a newer connection takes the older one's place.
    let again = welcome["resume"].as_str().unwrap();
    assert_eq!(ask(&rooms, &bob(), "GET", &format!("/socket?resume={resume}"), Json::Null).await.0, 409);
    let mut newer = Socket::open(&rooms, &bob(), &format!("/socket?resume={again}")).await;
    newer.hear("welcome").await;
    assert_eq!(b.closed().await, 4001);

    // Who is silent is away, and then has left; who says something stays.
    let gone = async {
        loop {
            keep_alive(&a);
            tokio::time::sleep(Duration::from_millis(50)).await;
            let (_, roster) = ask(&rooms, &ada(), "GET", "/roster", Json::Null).await;
            if roster["participants"].as_array().unwrap().len() == 1 {
                return roster;
            }
        }
    };
    let roster = tokio::time::timeout(Duration::from_secs(10), gone).await.expect("who is silent leaves");
    assert_eq!(roster["participants"][0]["user"], "ada");
    assert_eq!(newer.closed().await, 4000);
    assert_eq!(a.hear("left").await["id"], json!(b_id));
    a.say(json!({"type": "leave"}));
    assert_eq!(a.closed().await, 1000);
    let (_, roster) = ask(&rooms, &ada(), "GET", "/roster", Json::Null).await;
    assert_eq!(roster["participants"], json!([]));
}

#[tokio::test]
async fn a_call_is_no_place_for_ghosts_and_has_one_user_four_times_at_most() {
    let folder = tempfile::tempdir().unwrap();
    let open = || {
        let [silent, away, look] = [10_000, 200, 100].map(TimeDelta::milliseconds);
        let options = CallOptions::default().with_patience(silent, away, look);
        LocalHost::<CallRoom>::open(folder.path(), "Call", &HostOptions::default(), move || options.clone()).unwrap()
    };
    let rooms = open();
    assert_eq!(ask(&rooms, &Participant::new("wat", "Wat"), "GET", "/socket", Json::Null).await.0, 403);
    let mut places = Vec::new();
    for _ in 0..4 {
        let mut place = Socket::open(&rooms, &ada(), "/socket").await;
        place.hear("welcome").await;
        places.push(place);
    }
    assert_eq!(ask(&rooms, &ada(), "GET", "/socket", Json::Null).await.0, 409);
    // Nobody says that they have gone; the room finds out.
    drop(rooms);
    let rooms = open();
    let gone = async {
        while ask(&rooms, &bob(), "GET", "/roster", Json::Null).await.1["participants"] != json!([]) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("nobody is there any more");
    drop(places);
}

#[tokio::test]
async fn a_socket_is_good_for_as_long_as_its_participant_is() {
    let soon = || chrono::Utc::now() + TimeDelta::seconds(3);
    let rooms = MemoryHost::<ChatRoom>::new("Chat", ChatOptions::default).unwrap();
    let mut a = Socket::open(&rooms, &ada().with_valid_until(soon()), "/socket").await;
    let mut b = Socket::open(&rooms, &bob().with_valid_until(soon()), "/socket").await;
    a.say(json!({"type": "send", "text": "still good"}));
    assert_eq!(b.hear("message").await["message"]["text"], "still good");
    tokio::time::sleep(Duration::from_millis(3100)).await;
    // Neither what they say is taken, nor are they told what others say.
    a.say(json!({"type": "send", "text": "too late"}));
    assert_eq!(a.closed().await, 4003);
    assert_eq!(ask(&rooms, &ada(), "POST", "/messages", json!({"text": "not for Bob"})).await.0, 201);
    assert_eq!(b.closed().await, 4003);
    let (_, history) = ask(&rooms, &ada(), "GET", "/history", Json::Null).await;
    assert_eq!(history["messages"].as_array().unwrap().len(), 2);

    let [silent, away, look] = [10_000, 10_000, 100].map(TimeDelta::milliseconds);
    let options = CallOptions::default().with_patience(silent, away, look);
    let rooms = MemoryHost::<CallRoom>::new("Call", move || options.clone()).unwrap();
    let mut a = Socket::open(&rooms, &ada().with_valid_until(soon()), "/socket").await;
    let welcome = a.hear("welcome").await;
    assert_eq!(a.closed().await, 4003);
    let mut a = Socket::open(&rooms, &ada(), &format!("/socket?resume={}", welcome["resume"].as_str().unwrap())).await;
    assert_eq!(a.hear("welcome").await["id"], welcome["id"]);
}

/// One tool, which counts and tells who has called.
#[derive(Debug)]
pub(super) struct Counter;

#[async_trait]
impl McpService for Counter {
    fn about(&self) -> InitializeResult {
        InitializeResult::new(ServerCapabilities::default()).with_server_info(Implementation::new("counter", "1"))
    }

    async fn tools(&self, _: &Participant) -> Result<Vec<Tool>, ErrorData> {
        Ok(vec![Tool::new("count", "Counts", serde_json::Map::new())])
    }

    async fn call(&self, call: McpCall) -> Result<CallToolResponse, ErrorData> {
        call.reporter.progress(1.0, Some(2.0), None);
        if call.arguments.contains_key("slow") {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        if call.arguments.contains_key("endless") {
            std::future::pending::<()>().await;
        }
        if call.arguments.contains_key("huge") {
            return Ok(CallToolResult::success(vec![ContentBlock::text("x".repeat(4_300_000))]).into());
        }
        Ok(CallToolResult::success(vec![ContentBlock::text(format!("called by {}", call.caller.user))]).into())
    }
}

pub(super) const BOTH: (&str, &str) = ("accept", "application/json, text/event-stream");

pub(super) fn call(id: i64, arguments: Json) -> Json {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call",
        "params": {"name": "count", "arguments": arguments, "_meta": {"progressToken": "p"}}})
}

#[tokio::test]
async fn mcp_sessions_survive_restarts_and_streams_are_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let open = || {
        let env = || McpOptions::new(Arc::new(Counter));
        LocalHost::<McpSession>::open(folder.path(), "Mcp", &HostOptions::default(), env).unwrap()
    };
    let host = open();
    let initialize = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-06-18",
        "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}});
    let answer = send(&host, Some(&ada()), "POST", "/", &[BOTH], initialize).await;
    let session = answer.headers()["mcp-session-id"].to_str().unwrap().to_owned();
    let answer: Json = answer.into_body().json().await.unwrap();
    assert_eq!(answer["result"]["protocolVersion"], "2025-06-18");
    drop(host);

    let host = open();
    let with = [BOTH, ("mcp-session-id", session.as_str()), ("mcp-protocol-version", "2025-06-18")];
    let answer = send(&host, Some(&ada()), "POST", "/", &with, call(2, json!({}))).await;
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let events = answer.into_body().text().await.unwrap();
    assert!(events.contains("notifications/progress") && events.contains("called by ada"), "{events}");
    // The connection breaks after the first event; the rest is there for who comes back.
    let answer = send(&host, Some(&ada()), "POST", "/", &with, call(3, json!({"slow": true}))).await;
    let mut body = answer.into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    let id =
        std::str::from_utf8(&first).unwrap().lines().find_map(|line| line.strip_prefix("id: ")).unwrap().to_owned();
    drop(body);
    let headers = [("accept", "text/event-stream"), with[1], ("last-event-id", id.as_str())];
    let rest = send(&host, Some(&ada()), "GET", "/", &headers, Json::Null).await.into_body().text();
    let rest = tokio::time::timeout(Duration::from_secs(5), rest).await.expect("it ends with the call").unwrap();
    assert!(rest.contains("called by ada") && !rest.contains("notifications/progress"), "{rest}");
    // Sessions are ended, and then are not there; nobody has another's.
    let other = [BOTH, ("mcp-session-id", "00000000000000000000000000000000")];
    assert_eq!(send(&host, Some(&ada()), "POST", "/", &other, call(4, json!({}))).await.status(), 404);
    assert_eq!(send(&host, Some(&ada()), "DELETE", "/", &with[1..2], Json::Null).await.status(), 204);
    assert_eq!(send(&host, Some(&ada()), "POST", "/", &with, call(5, json!({}))).await.status(), 404);
}

/// A call whose first event has come, and the id of that event.
async fn begun(host: &LocalHost<McpSession>, with: &[(&str, &str)], call: Json) -> (Body, String) {
    let mut body = send(host, Some(&ada()), "POST", "/", with, call).await.into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    let id = std::str::from_utf8(&first).unwrap().lines().find_map(|line| line.strip_prefix("id: ")).unwrap();
    (body, id.to_owned())
}

async fn rest_of(body: Body) -> String {
    let rest = tokio::time::timeout(Duration::from_secs(5), body.text()).await;
    rest.expect("the stream ends").unwrap()
}

#[tokio::test]
async fn mcp_streams_end_with_their_calls_however_those_end() {
    let folder = tempfile::tempdir().unwrap();
    let open = || {
        let env = || McpOptions::new(Arc::new(Counter));
        LocalHost::<McpSession>::open(folder.path(), "Mcp", &HostOptions::default(), env).unwrap()
    };
    let host = open();
    let initialize = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25",
        "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}});
    let initialized = async |host: &LocalHost<McpSession>| {
        let answer = send(host, Some(&ada()), "POST", "/", &[BOTH], initialize.clone()).await;
        answer.headers()["mcp-session-id"].to_str().unwrap().to_owned()
    };
    let session = initialized(&host).await;
    let with = [BOTH, ("mcp-session-id", session.as_str()), ("mcp-protocol-version", "2025-11-25")];
    let come_back = async |host: &LocalHost<McpSession>, id: &str| {
        let headers = [("accept", "text/event-stream"), with[1], ("last-event-id", id)];
        rest_of(send(host, Some(&ada()), "GET", "/", &headers, Json::Null).await.into_body()).await
    };
    // By the client: the stream ends without an answer, and so does a later one.
    let (body, id) = begun(&host, &with, call(2, json!({"endless": 1}))).await;
    let again: Json =
        send(&host, Some(&ada()), "POST", "/", &with, call(2, json!({}))).await.into_body().json().await.unwrap();
    assert_eq!(again["error"]["message"], "a call with this id is in flight");
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 2}});
    assert_eq!(send(&host, Some(&ada()), "POST", "/", &with, cancel).await.status(), 202);
    assert!(!rest_of(body).await.contains("called by"));
    assert!(!come_back(&host, &id).await.contains("error"));
    // An answer that is too large to be kept comes; who comes back for it learns why there is none.
    let (body, id) = begun(&host, &with, call(3, json!({"huge": 1}))).await;
    assert!(rest_of(body).await.len() > 4_000_000);
    assert!(come_back(&host, &id).await.contains("too large to be kept"));
    // However much other sessions have to tell, one's own events are there still.
    let other = initialized(&host).await;
    let others = [BOTH, ("mcp-session-id", other.as_str()), ("mcp-protocol-version", "2025-11-25")];
    let (body, id) = begun(&host, &with, call(4, json!({"slow": 1}))).await;
    for number in 0..400 {
        rest_of(send(&host, Some(&ada()), "POST", "/", &others, call(number, json!({}))).await.into_body()).await;
    }
    drop(body);
    assert!(come_back(&host, &id).await.contains("called by ada"));
    // A thousand events later, of the same session, only the newest are.
    for number in 1000..1400 {
        rest_of(send(&host, Some(&ada()), "POST", "/", &with, call(number, json!({}))).await.into_body()).await;
    }
    assert!(!come_back(&host, &id).await.contains("called by ada"));
    let (body, id) = begun(&host, &with, call(1400, json!({}))).await;
    drop(body);
    assert!(come_back(&host, &id).await.contains("called by ada"));
    // By the end of its session.
    let (body, _) = begun(&host, &others, call(5, json!({"endless": 1}))).await;
    assert_eq!(send(&host, Some(&ada()), "DELETE", "/", &others[1..2], Json::Null).await.status(), 204);
    assert!(!rest_of(body).await.contains("called by"));
    // By a restart: nobody knows what the call has done, and whoever comes back is told.
    let (body, id) = begun(&host, &with, call(6, json!({"endless": 1}))).await;
    drop(body);
    drop(host);
    let host = open();
    let rest = come_back(&host, &id).await;
    assert!(rest.contains(r#""id":6"#) && rest.contains("interrupted by a restart"), "{rest}");
    assert!(come_back(&host, &id).await.contains("interrupted by a restart"));
    // By newer sessions, for which there would be no room.
    let (body, _) = begun(&host, &with, call(7, json!({"endless": 1}))).await;
    for _ in 0..100 {
        initialized(&host).await;
    }
    assert!(!rest_of(body).await.contains("called by"));
    // An id that nobody needs to be so long.
    let mut long = call(8, json!({}));
    long["id"] = "x".repeat(1025).into();
    assert_eq!(send(&host, Some(&ada()), "POST", "/", &with, long).await.status(), 400);
}

/// Browsers that are there or not, as the test likes.
#[derive(Debug, Default)]
pub(super) struct Engine(Mutex<(u32, HashSet<String>)>);

#[async_trait]
impl BrowserEngine for Engine {
    async fn open(&self, _: &str, _: TimeDelta) -> Result<String, BrowserError> {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let mut engine = self.0.lock().unwrap();
        if engine.1.len() >= 2 {
            return Err(BrowserError::new(BrowserErrorKind::Full, "two are enough"));
        }
        engine.0 += 1;
        let id = format!("browser-{}", engine.0);
        engine.1.insert(id.clone());
        Ok(id)
    }

    async fn render(&self, session: &str, job: &RenderJob) -> Result<Rendered, BrowserError> {
        if !self.0.lock().unwrap().1.contains(session) {
            return Err(BrowserError::new(BrowserErrorKind::Gone, "it is gone"));
        }
        let bytes = Bytes::from(format!("{session} {:?} {:?}", job.format, job.url));
        Ok(Rendered::new("image/png", bytes))
    }

    async fn close(&self, session: &str) -> Result<(), BrowserError> {
        self.0.lock().unwrap().1.remove(session);
        Ok(())
    }
}

#[tokio::test]
async fn a_browser_is_kept_alive_opened_again_and_closed_when_idle() {
    let engine = Arc::new(Engine::default());
    let own = engine.clone();
    let host = MemoryHost::<BrowserSession>::new("Browser", move || BrowserOptions::new(Some(own.clone()))).unwrap();
    let watcher = Participant::new("wat", "Wat");
    assert_eq!(ask(&host, &watcher, "POST", "/screenshot", json!({"url": "https://example.com/"})).await.0, 403);
    assert_eq!(ask(&host, &ada(), "GET", "/session", Json::Null).await, (200, json!({"open": false})));
    for wrong in [
        json!({}),
        json!({"url": "a", "html": "b"}),
        json!({"url": "a", "width": 1}),
        json!({"url": "a", "colour": 1}),
        json!([]),
    ] {
        assert_eq!(ask(&host, &ada(), "POST", "/pdf", wrong).await.0, 400);
    }
    assert_eq!(ask(&host, &ada(), "POST", "/open", json!({"keep_alive_ms": 1})).await.0, 400);
    let picture = send(&host, Some(&ada()), "POST", "/screenshot", &[], json!({"url": "https://example.com/"})).await;
    assert_eq!(picture.headers()["content-type"], "image/png");
    assert_eq!(picture.into_body().text().await.unwrap(), r#"browser-1 Screenshot Some("https://example.com/")"#);
    // It is lost: the next request has a new one.
    engine.0.lock().unwrap().1.clear();
    let picture = send(&host, Some(&ada()), "POST", "/pdf", &[], json!({"html": "<p>"})).await;
    assert_eq!(picture.into_body().text().await.unwrap(), "browser-2 Pdf None");
    let (_, opened) = ask(&host, &ada(), "POST", "/open", json!({"keep_alive_ms": 1000})).await;
    assert_eq!(
        (&opened["open"], &opened["keep_alive_ms"], &opened["renders"]),
        (&json!(true), &json!(1000), &json!(1))
    );
    // Idle for so long, it is closed by the alarm.
    let closed = async {
        while !engine.0.lock().unwrap().1.is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), closed).await.expect("an idle browser is closed");
    // As many as there may be.
    engine.0.lock().unwrap().1.extend(["x".to_owned(), "y".to_owned()]);
    assert_eq!(ask(&host, &ada(), "POST", "/open", json!({})).await.0, 429);
    engine.0.lock().unwrap().1.clear();
    assert_eq!(ask(&host, &ada(), "POST", "/open", json!({})).await.0, 201);
    assert_eq!(ask(&host, &ada(), "DELETE", "/session", Json::Null).await.0, 204);
    assert_eq!(ask(&host, &ada(), "GET", "/session", Json::Null).await.1["open"], false);
    assert!(engine.0.lock().unwrap().1.is_empty());
    // Two who come at once have one browser, and leave none behind.
    let ada = ada();
    let job = json!({"html": "<p>"});
    let (one, other) =
        tokio::join!(ask(&host, &ada, "POST", "/pdf", job.clone()), ask(&host, &ada, "POST", "/pdf", job));
    assert_eq!((one.0, other.0, engine.0.lock().unwrap().1.len()), (200, 200, 1));
    assert_eq!(ask(&host, &ada, "GET", "/session", Json::Null).await.1["renders"], 2);
    // Nor is one of the two refused because the other has taken the last browser.
    assert_eq!(ask(&host, &ada, "DELETE", "/session", Json::Null).await.0, 204);
    engine.0.lock().unwrap().1 = HashSet::from(["x".to_owned()]);
    let (one, other) =
        tokio::join!(ask(&host, &ada, "POST", "/open", json!({})), ask(&host, &ada, "POST", "/open", json!({})));
    assert_eq!((one.0, other.0), (201, 201));
    let without = MemoryHost::<BrowserSession>::new("Browser", || BrowserOptions::new(None)).unwrap();
    assert_eq!(ask(&without, &ada, "GET", "/", Json::Null).await.0, 501);
}
