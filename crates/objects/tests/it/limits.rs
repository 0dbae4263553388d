//! The limits of the objects, what looking leaves behind, and access that ends.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use http_body_util::BodyExt;
use isobar_objects::browser::{BrowserOptions, BrowserSession};
use isobar_objects::call::{CallOptions, CallRoom};
use isobar_objects::chat::{ChatOptions, ChatRoom};
use isobar_objects::directory::{self, Directory, DirectoryOptions, Room};
use isobar_objects::mcp::{McpLimits, McpOptions, McpSession};
use isobar_objects::{Participant, Rate};
use isobar_sessions::local::{HostOptions, LocalHost};
use isobar_sessions::memory::MemoryHost;
use isobar_sessions::{Body, SessionNamespace, SessionNamespaceExt, SessionObject};
use serde_json::{Value as Json, json};

use super::mcp::{BOTH, Counter, call};
use super::objects::{Engine, Socket, ada, ask, bob, send};

fn chat(options: ChatOptions) -> MemoryHost<ChatRoom> {
    MemoryHost::<ChatRoom>::new("Chat", move || options.clone()).unwrap()
}

/// Counts the events of a type that come within a time.
async fn count(socket: &mut Socket, kind: &str, within: Duration) -> usize {
    let end = tokio::time::Instant::now() + within;
    let mut count = 0;
    while let Ok(Some(Ok(message))) = tokio::time::timeout_at(end, socket.0.receive()).await {
        let event: Json = serde_json::from_slice(message.as_bytes()).unwrap();
        count += usize::from(event["type"] == kind);
    }
    count
}

/// Asks for what may be looked at, and for nothing else, as who may write and as who may not.
async fn look_at<O: SessionObject>(env: impl Fn() -> O::Env + Send + Sync + 'static, looks: &[(&str, &str, u16)]) {
    let folder = tempfile::tempdir().unwrap();
    let host = LocalHost::<O>::open(folder.path(), "Looked", &HostOptions::default(), env).unwrap();
    for who in [ada(), Participant::new("wat", "Wat")] {
        for (method, path, status) in looks {
            let answer = send(&host, Some(&who), method, path, &[BOTH], Json::Null).await;
            assert!([*status, 403].contains(&answer.status().as_u16()), "{method} {path}: {}", answer.status());
        }
    }
    assert!(host.list().await.unwrap().is_empty(), "an object that was only looked at is listed");
    drop(host);
    let files = walk(&folder.path().join("objects"));
    assert!(files.is_empty(), "an object that was only looked at has files: {files:?}");
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[tokio::test]
async fn looking_at_an_object_leaves_nothing_behind() {
    look_at::<ChatRoom>(
        ChatOptions::default,
        &[
            ("GET", "/history", 200),
            ("GET", "/history?after=1", 200),
            ("GET", "/members", 200),
            ("GET", "/x", 404),
            ("GET", "/socket", 101),
        ],
    )
    .await;
    look_at::<CallRoom>(CallOptions::default, &[("GET", "/roster", 200), ("GET", "/ice", 200), ("GET", "/x", 404)])
        .await;
    look_at::<McpSession>(
        || McpOptions::new(Arc::new(Counter)),
        &[("GET", "/", 405), ("DELETE", "/", 400), ("PUT", "/", 405), ("GET", "/x", 404)],
    )
    .await;
    let engine = Arc::new(Engine::default());
    let env = move || BrowserOptions::new(Some(engine.clone()));
    look_at::<BrowserSession>(env, &[("GET", "/session", 200), ("DELETE", "/session", 204)]).await;
    look_at::<Directory>(DirectoryOptions::default, &[("GET", "/", 405)]).await;
}

#[tokio::test]
async fn a_room_of_a_viewer_alone_keeps_nothing_whatever_the_viewer_sends() {
    let folder = tempfile::tempdir().unwrap();
    let host =
        LocalHost::<ChatRoom>::open(folder.path(), "Chat", &HostOptions::default(), ChatOptions::default).unwrap();
    let viewer = Participant::new("wat", "Wat");
    let mut socket = Socket::open(&host, &viewer, "/socket").await;
    assert_eq!(socket.hear("history").await["messages"], json!([]));
    for command in ["read", "edit", "delete", "send", "typing"] {
        socket.say(json!({"type": command, "id": 1, "text": "x"}));
    }
    assert_eq!(count(&mut socket, "error", Duration::from_millis(300)).await, 4);
    assert_eq!(ask(&host, &viewer, "POST", "/messages", json!({"text": "x"})).await.0, 403);
    assert!(host.list().await.unwrap().is_empty());
    // Who may write makes it.
    assert_eq!(ask(&host, &ada(), "POST", "/messages", json!({"text": "x"})).await.0, 201);
    assert_eq!(socket.hear("message").await["message"]["id"], 1);
    assert_eq!(host.list().await.unwrap().len(), 1);
}

#[tokio::test]
async fn typing_is_sent_once_per_interval() {
    let rooms = chat(ChatOptions::default().with_typing(TimeDelta::seconds(60)));
    let mut b = Socket::open(&rooms, &bob(), "/socket").await;
    let a = Socket::open(&rooms, &ada(), "/socket").await;
    for _ in 0..50 {
        a.say(json!({"type": "typing"}));
    }
    assert_eq!(count(&mut b, "typing", Duration::from_millis(500)).await, 1);
}

#[tokio::test]
async fn commands_over_their_rate_are_refused_and_a_flood_is_closed() {
    let never = Rate::new(5, 0.01);
    let rooms = chat(ChatOptions::default().with_rates(Rate::new(40, 0.01), never));
    let mut a = Socket::open(&rooms, &ada(), "/socket").await;
    let mut b = Socket::open(&rooms, &bob(), "/socket").await;
    a.say(json!({"type": "send", "text": "one"}));
    b.hear("message").await;
    for number in 0..20 {
        a.say(json!({"type": "edit", "id": 1, "text": format!("edited {number}")}));
    }
    let refused = a.hear("error").await;
    assert_eq!(refused["status"], 429);
    assert!(refused["retry_after_ms"].as_i64().unwrap() > 0, "{refused}");
    // All sockets of a user count as one client, and each user for oneself.
    let second = Socket::open(&rooms, &ada(), "/socket").await;
    second.say(json!({"type": "edit", "id": 1, "text": "by another window"}));
    b.say(json!({"type": "send", "text": "two"}));
    assert_eq!(a.hear("message").await["message"]["text"], "two");
    assert_eq!(count(&mut b, "edited", Duration::from_millis(300)).await, 5);
    // The sender of a flood is told once, and then cut off; the others stay.
    for _ in 0..300 {
        a.say(json!({"type": "typing"}));
    }
    assert_eq!(a.closed().await, 1008);
    assert_eq!(ask(&rooms, &bob(), "POST", "/messages", json!({"text": "still here"})).await.0, 201);
    assert_eq!(b.hear("message").await["message"]["text"], "still here");
}

#[tokio::test]
async fn a_read_mark_that_does_not_move_is_not_sent() {
    let rooms = chat(ChatOptions::default());
    let a = Socket::open(&rooms, &ada(), "/socket").await;
    let mut b = Socket::open(&rooms, &bob(), "/socket").await;
    a.say(json!({"type": "send", "text": "one"}));
    for _ in 0..20 {
        a.say(json!({"type": "read", "id": 1}));
    }
    assert_eq!(count(&mut b, "read", Duration::from_millis(400)).await, 1);
}

#[tokio::test]
async fn a_message_over_its_class_closes_its_socket_with_1009() {
    let rooms = chat(ChatOptions::default());
    let mut a = Socket::open(&rooms, &ada(), "/socket").await;
    let longest = "\u{1}".repeat(4096);
    a.say(json!({"type": "send", "text": longest}));
    assert_eq!(a.hear("message").await["message"]["text"], json!(longest));
    // The HTTP server refuses it by its head already; so does the socket's own end, and, behind both, the room.
    let sent = a.0.send("x".repeat(40_000).as_str());
    assert!(sent.is_err() || a.closed().await == 1009);
    let calls = MemoryHost::<CallRoom>::new("Call", CallOptions::default).unwrap();
    let mut a = Socket::open(&calls, &ada(), "/socket").await;
    a.hear("welcome").await;
    let sent = a.0.send("x".repeat(200_000).as_str());
    assert!(sent.is_err() || a.closed().await == 1009);
}

#[tokio::test]
async fn sockets_of_a_user_and_of_a_room_are_bounded() {
    let rooms = chat(ChatOptions::default().with_sockets(5, 3));
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(Socket::open(&rooms, &ada(), "/socket").await);
    }
    let answer = send(&rooms, Some(&ada()), "GET", "/socket", &[], Json::Null).await;
    assert_eq!(answer.status(), 429);
    assert!(answer.headers().contains_key("retry-after"));
    open.push(Socket::open(&rooms, &bob(), "/socket").await);
    open.push(Socket::open(&rooms, &bob(), "/socket").await);
    assert_eq!(ask(&rooms, &Participant::new("cy", "Cy"), "GET", "/socket", Json::Null).await.0, 429);
    // A place that is free again is one.
    open.clear();
    let free = async {
        while ask(&rooms, &ada(), "GET", "/members", Json::Null).await.1["count"] != 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), free).await.expect("the sockets are gone");
    Socket::open(&rooms, &ada(), "/socket").await;
}

#[tokio::test]
async fn presence_is_coalesced_when_many_join() {
    let rooms = chat(ChatOptions::default());
    let mut first = Socket::open(&rooms, &ada(), "/socket").await;
    let mut others = Vec::new();
    for number in 0..150 {
        others.push(Socket::open(&rooms, &Participant::new(format!("user {number}"), "Other"), "/socket").await);
    }
    let mut told = 0;
    let last = loop {
        let presence = first.hear("presence").await;
        told += 1;
        if presence["count"] == 151 {
            break presence;
        }
    };
    assert!(told < 40, "presence was told {told} times");
    assert_eq!(last["members"].as_array().unwrap().len(), 100);
    // The last of those that wait is not lost.
    drop(others);
    while first.hear("presence").await["count"] != 1 {}
}

#[tokio::test]
async fn a_history_keeps_its_newest_messages() {
    let rooms = chat(ChatOptions::default().with_history(10, None));
    for number in 0..18 {
        assert_eq!(ask(&rooms, &ada(), "POST", "/messages", json!({"text": number.to_string()})).await.0, 201);
    }
    let (_, page) = ask(&rooms, &ada(), "GET", "/history?limit=200", Json::Null).await;
    let ids: Vec<_> = page["messages"].as_array().unwrap().iter().map(|it| it["id"].as_i64().unwrap()).collect();
    assert_eq!(ids, (9..=18).collect::<Vec<_>>());
    let rooms = chat(ChatOptions::default().with_history(10, Some(TimeDelta::milliseconds(300))));
    assert_eq!(ask(&rooms, &ada(), "POST", "/messages", json!({"text": "old"})).await.0, 201);
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(ask(&rooms, &ada(), "GET", "/history", Json::Null).await.1["messages"], json!([]));
    assert_eq!(ask(&rooms, &ada(), "POST", "/messages", json!({"text": "new"})).await.0, 201);
    let (_, page) = ask(&rooms, &ada(), "GET", "/history", Json::Null).await;
    assert_eq!(page["messages"].as_array().unwrap().len(), 1);
    // A room is deleted by who moderates it, and begins anew.
    assert_eq!(ask(&rooms, &ada(), "DELETE", "/history", Json::Null).await.0, 403);
    assert_eq!(ask(&rooms, &ada().with_moderates(true), "DELETE", "/history", Json::Null).await.0, 200);
    assert_eq!(ask(&rooms, &ada(), "GET", "/history", Json::Null).await.1["messages"], json!([]));
    assert_eq!(ask(&rooms, &ada(), "POST", "/messages", json!({"text": "again"})).await.0, 201);
}

pub(super) async fn revoke(host: &dyn SessionNamespace, user: &str) -> Json {
    let answer = host.fetch(&host.id("one"), Participant::revocation(user)).await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.into_body().json().await.unwrap()
}

#[tokio::test]
async fn a_revocation_closes_the_sockets_of_its_user_at_once() {
    let rooms = chat(ChatOptions::default());
    let judged_before = ada();
    let mut a = Socket::open(&rooms, &ada(), "/socket").await;
    let mut b = Socket::open(&rooms, &bob(), "/socket").await;
    a.hear("history").await;
    assert_eq!(revoke(&rooms, "ada").await, json!({"closed": 1}));
    assert_eq!(a.closed().await, 4003);
    // What is under way since before is not believed; who is judged anew comes in.
    assert_eq!(ask(&rooms, &judged_before, "GET", "/socket", Json::Null).await.0, 403);
    tokio::time::sleep(Duration::from_millis(5)).await;
    Socket::open(&rooms, &ada(), "/socket").await.hear("history").await;
    b.say(json!({"type": "send", "text": "b stays"}));
    assert_eq!(b.hear("message").await["message"]["text"], "b stays");
    // A client does not revoke anybody: what it sends under that name is taken out.
    let mut request = Participant::revocation("bob");
    ada().insert(request.headers_mut());
    assert_eq!(rooms.fetch(&rooms.id("one"), request).await.unwrap().status(), 404);

    let calls = MemoryHost::<CallRoom>::new("Call", CallOptions::default).unwrap();
    assert_eq!(revoke(&calls, "ada").await, json!({"closed": 0}));
    tokio::time::sleep(Duration::from_millis(5)).await;
    let mut a = Socket::open(&calls, &ada(), "/socket").await;
    let mut b = Socket::open(&calls, &bob(), "/socket").await;
    let welcome = a.hear("welcome").await;
    assert_eq!(revoke(&calls, "ada").await, json!({"closed": 1}));
    assert_eq!(a.closed().await, 4003);
    assert_eq!(b.hear("away").await["id"], welcome["id"]);
    assert_eq!(ask(&calls, &judged_before, "GET", "/socket", Json::Null).await.0, 403);
}

pub(super) fn initialize_message() -> Json {
    json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25",
        "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}})
}

pub(super) async fn initialized(host: &dyn SessionNamespace) -> String {
    let answer = send(host, Some(&ada()), "POST", "/", &[BOTH], initialize_message()).await;
    answer.headers()["mcp-session-id"].to_str().unwrap().to_owned()
}

pub(super) async fn rest_of(body: Body) -> String {
    tokio::time::timeout(Duration::from_secs(5), body.text()).await.expect("the stream ends").unwrap()
}

#[tokio::test]
async fn a_revocation_ends_streams_and_calls_of_mcp() {
    let host = MemoryHost::<McpSession>::new("Mcp", || McpOptions::new(Arc::new(Counter))).unwrap();
    let session = initialized(&host).await;
    let with = [BOTH, ("mcp-session-id", session.as_str()), ("mcp-protocol-version", "2025-11-25")];
    let stream = send(&host, Some(&ada()), "GET", "/", &with, Json::Null).await;
    assert_eq!(stream.status(), 200);
    let mut call_of_session =
        send(&host, Some(&ada()), "POST", "/", &with, call(2, json!({"endless": 1}))).await.into_body();
    call_of_session.frame().await.unwrap().unwrap();
    let stateless = json!({"jsonrpc": "2.0", "id": 3, "method": "subscriptions/listen", "params": {"notifications": {},
        "_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"}}}});
    let headers = [BOTH, ("mcp-protocol-version", "2026-07-28"), ("mcp-method", "subscriptions/listen")];
    let mut listening = send(&host, Some(&ada()), "POST", "/", &headers, stateless).await;
    assert_eq!(listening.status(), 200);
    listening.body_mut().frame().await.unwrap().unwrap();
    let closed = revoke(&host, "ada").await["closed"].as_i64().unwrap();
    assert!(closed >= 3, "{closed} were closed");
    assert!(!rest_of(call_of_session).await.contains("called by"));
    rest_of(stream.into_body()).await;
    rest_of(listening.into_body()).await;
    // The session is still there for who may come back.
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert!(
        rest_of(send(&host, Some(&ada()), "POST", "/", &with, call(4, json!({}))).await.into_body())
            .await
            .contains("called by ada")
    );
}

#[tokio::test]
async fn subscriptions_and_calls_of_mcp_are_bounded() {
    let limits = McpLimits::default().with_sessions(100, 3).with_in_flight(32, 2);
    let host =
        MemoryHost::<McpSession>::new("Mcp", move || McpOptions::new(Arc::new(Counter)).with_limits(limits)).unwrap();
    let session = initialized(&host).await;
    let with = [BOTH, ("mcp-session-id", session.as_str()), ("mcp-protocol-version", "2025-11-25")];
    let subscribe = async |method: &str, uri: &str| {
        let message = json!({"jsonrpc": "2.0", "id": 9, "method": method, "params": {"uri": uri}});
        let answer = send(&host, Some(&ada()), "POST", "/", &with, message).await;
        (answer.status().as_u16(), answer.into_body().json::<Json>().await.unwrap())
    };
    for uri in ["isobar://a", "isobar://b", "isobar://c", "isobar://c"] {
        assert_eq!(subscribe("resources/subscribe", uri).await.0, 200, "{uri}");
    }
    assert_eq!(subscribe("resources/subscribe", "isobar://d").await.0, 429);
    assert_eq!(subscribe("resources/unsubscribe", "isobar://a").await.0, 200);
    assert_eq!(subscribe("resources/subscribe", "isobar://d").await.0, 200);
    // Another session of the same user has no more of its own.
    let other = initialized(&host).await;
    let others = [BOTH, ("mcp-session-id", other.as_str()), ("mcp-protocol-version", "2025-11-25")];
    let one_more = json!({"jsonrpc": "2.0", "id": 9, "method": "resources/subscribe", "params": {"uri": "isobar://e"}});
    assert_eq!(send(&host, Some(&ada()), "POST", "/", &others, one_more).await.status(), 429);
    let (_, long) = subscribe("resources/subscribe", &"x".repeat(3000)).await;
    assert!(long["error"]["message"].as_str().unwrap().contains("2048"), "{long}");
    let mut endless = Vec::new();
    for id in 10..12 {
        let mut body = send(&host, Some(&ada()), "POST", "/", &with, call(id, json!({"endless": 1}))).await.into_body();
        body.frame().await.unwrap().unwrap();
        endless.push(body);
    }
    let refused = send(&host, Some(&ada()), "POST", "/", &with, call(12, json!({}))).await;
    assert_eq!(refused.status(), 429);
    assert!(refused.headers().contains_key("retry-after"));
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 10}});
    assert_eq!(send(&host, Some(&ada()), "POST", "/", &with, cancel).await.status(), 202);
    rest_of(endless.remove(0)).await;
    assert_eq!(send(&host, Some(&ada()), "POST", "/", &with, call(13, json!({}))).await.status(), 200);
}

#[tokio::test]
async fn a_directory_counts_rooms_and_knows_who_is_where() {
    let options = DirectoryOptions::default().with_rooms(2, 2);
    let host = MemoryHost::<Directory>::new("Directory", move || options.clone()).unwrap();
    let id = host.id("tenant");
    let viewer = Participant::new("wat", "Wat");
    let enter = async |who: &Participant, object: &str, keeps, stays| {
        let room = Room::new(object, keeps, stays);
        directory::enter(&host, &id, who, &room).await.unwrap().map_or(200, |refused| refused.status().as_u16())
    };
    assert_eq!(enter(&ada(), "chat/a", true, true).await, 200);
    assert_eq!(enter(&ada(), "call/b", false, true).await, 200);
    assert_eq!(enter(&ada(), "chat/c", true, false).await, 507);
    assert_eq!(enter(&bob(), "chat/a", true, false).await, 200);
    // Who only looks makes no room, and is in as many at a time as anybody.
    assert_eq!(enter(&viewer, "chat/d", true, true).await, 200);
    assert_eq!(enter(&viewer, "chat/e", true, true).await, 200);
    assert_eq!(enter(&viewer, "chat/f", true, true).await, 429);
    assert_eq!(enter(&viewer, "chat/e", true, true).await, 200);
    directory::forget(&host, &id, "chat/a").await.unwrap();
    assert_eq!(enter(&bob(), "chat/c", true, false).await, 200);
    // One who is revoked is nowhere any more, and comes in when judged anew.
    let judged_before = ada();
    tokio::time::sleep(Duration::from_millis(5)).await;
    let answer = host.fetch(&id, Participant::revocation("ada")).await.unwrap();
    assert_eq!(answer.into_body().json::<Json>().await.unwrap(), json!(["call/b", "chat/a"]));
    assert_eq!(enter(&judged_before, "chat/c", true, true).await, 403);
    assert_eq!(
        directory::revoke(&host, &id, "ada").await.unwrap(),
        2,
        "what is delivered again reaches every room again"
    );
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(enter(&ada(), "chat/c", true, true).await, 200);
}
