//! Objects that fall asleep: what idle streams keep awake, and revocations that hold across the sleep.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use isobar_objects::Participant;
use isobar_objects::call::{CallOptions, CallRoom};
use isobar_objects::chat::{ChatOptions, ChatRoom};
use isobar_objects::directory::{self, Directory, DirectoryOptions, Room};
use isobar_objects::mcp::{McpOptions, McpSession};
use isobar_sessions::local::{HostOptions, LocalHost};
use isobar_sessions::memory::MemoryHost;
use isobar_sessions::{
    Body, CloseFrame, Message, Request, Response, Result, SessionContext, SessionNamespace, SessionNamespaceExt,
    SessionObject, WebSocket,
};
use serde_json::{Value as Json, json};

use super::limits::{initialize_message, initialized, rest_of, revoke};
use super::mcp::{BOTH, Counter, call};
use super::objects::{Socket, ada, ask, send};

async fn send_to(host: &dyn SessionNamespace, name: &str, headers: &[(&str, &str)], body: Json) -> Response {
    let method = if body.is_null() { "GET" } else { "POST" };
    let mut request = http::Request::builder().method(method).uri("/");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
    let mut request = request.body(body).unwrap();
    ada().insert(request.headers_mut());
    host.fetch(&host.id_from_name(name), request).await.unwrap()
}

#[tokio::test]
async fn idle_streams_make_room_for_other_objects() {
    let folder = tempfile::tempdir().unwrap();
    let options = HostOptions::default().with_threads(1).with_open_objects(2).with_wait(Duration::from_millis(300));
    let host =
        LocalHost::<McpSession>::open(folder.path(), "Mcp", &options, || McpOptions::new(Arc::new(Counter))).unwrap();
    let mut streams = Vec::new();
    for number in 0..6 {
        let name = format!("user {number}");
        let answer = send_to(&host, &name, &[BOTH], initialize_message()).await;
        let session = answer.headers()["mcp-session-id"].to_str().unwrap().to_owned();
        let with = [BOTH, ("mcp-session-id", session.as_str()), ("mcp-protocol-version", "2025-11-25")];
        let stream = send_to(&host, &name, &with, Json::Null).await;
        assert_eq!(stream.status(), 200);
        streams.push(stream.into_body());
    }
    let last = streams.pop().unwrap();
    for stream in streams.drain(..4) {
        rest_of(stream).await; // it has ended: its client comes back
    }
    assert!(tokio::time::timeout(Duration::from_millis(300), last.text()).await.is_err(), "the newest stream goes on");
}

#[tokio::test]
async fn an_idle_stream_outlives_the_time_after_which_objects_fall_asleep() {
    let options = HostOptions::default().with_threads(1).with_idle(Duration::from_millis(20));
    let env = || McpOptions::new(Arc::new(Counter));
    let host = MemoryHost::<McpSession>::with_options("Mcp", &options, env).unwrap();
    let session = initialized(&host).await;
    let with = [BOTH, ("mcp-session-id", session.as_str()), ("mcp-protocol-version", "2025-11-25")];
    let stream = send(&host, Some(&ada()), "GET", "/", &with, Json::Null).await.into_body();
    assert!(tokio::time::timeout(Duration::from_millis(500), stream.text()).await.is_err());
}

#[tokio::test]
async fn a_revocation_holds_after_the_objects_sleep() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chat");
    let open = || LocalHost::<ChatRoom>::open(&path, "Chat", &HostOptions::default(), ChatOptions::default).unwrap();
    let judged_before = ada();
    let rooms = open();
    revoke(&rooms, "ada").await;
    rooms.evict(&rooms.id("one")).await.unwrap();
    assert_eq!(ask(&rooms, &judged_before, "GET", "/history", Json::Null).await.0, 403);
    drop(rooms);
    let rooms = open();
    assert_eq!(ask(&rooms, &judged_before, "POST", "/messages", json!({"text": "x"})).await.0, 403);
    let moderator = Participant::new("mo", "Mo").with_writes(true).with_moderates(true);
    assert_eq!(ask(&rooms, &moderator, "DELETE", "/history", Json::Null).await.0, 200);
    rooms.evict(&rooms.id("one")).await.unwrap();
    assert_eq!(ask(&rooms, &judged_before, "GET", "/history", Json::Null).await.0, 403, "a deleted room remembers it");
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(ask(&rooms, &ada(), "GET", "/history", Json::Null).await.0, 200);

    let calls = MemoryHost::<CallRoom>::new("Call", CallOptions::default).unwrap();
    revoke(&calls, "ada").await;
    calls.evict(&calls.id("one")).await.unwrap();
    assert_eq!(ask(&calls, &judged_before, "GET", "/socket", Json::Null).await.0, 403);

    let mcp = MemoryHost::<McpSession>::new("Mcp", || McpOptions::new(Arc::new(Counter))).unwrap();
    let session = initialized(&mcp).await;
    let judged_before = ada();
    tokio::time::sleep(Duration::from_millis(5)).await;
    revoke(&mcp, "ada").await;
    mcp.evict(&mcp.id("one")).await.unwrap();
    let with = [BOTH, ("mcp-session-id", session.as_str()), ("mcp-protocol-version", "2025-11-25")];
    assert_eq!(send(&mcp, Some(&judged_before), "POST", "/", &with, call(2, json!({}))).await.status(), 403);

    let host = MemoryHost::<Directory>::new("Directory", DirectoryOptions::default).unwrap();
    let id = host.id("tenant");
    let room = Room::new("chat/a", true, true);
    host.fetch(&id, Participant::revocation("ada")).await.unwrap();
    host.evict(&id).await.unwrap();
    let refused = directory::enter(&host, &id, &judged_before, &room).await.unwrap().expect("it is refused");
    assert_eq!(refused.status(), 403);
}

/// A directory or a chat room, by the object's name, as an application has them in one class.
enum Either {
    Directory(Directory),
    Chat(ChatRoom),
}

impl SessionObject for Either {
    type Env = DirectoryOptions;

    async fn start(context: SessionContext, options: DirectoryOptions) -> Result<Self> {
        if context.id().name() == Some("directory") {
            return Ok(Self::Directory(Directory::start(context, options).await?));
        }
        Ok(Self::Chat(ChatRoom::start(context, ChatOptions::default()).await?))
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        match self {
            Self::Directory(directory) => directory.fetch(request).await,
            Self::Chat(room) => room.fetch(request).await,
        }
    }

    async fn message(&self, socket: &WebSocket, message: Message) -> Result<()> {
        match self {
            Self::Directory(_) => Ok(()),
            Self::Chat(room) => room.message(socket, message).await,
        }
    }

    async fn closed(&self, socket: &WebSocket, close: CloseFrame) -> Result<()> {
        match self {
            Self::Directory(_) => Ok(()),
            Self::Chat(room) => room.closed(socket, close).await,
        }
    }
}

async fn socket(host: &MemoryHost<Either>, name: &str) -> Socket {
    let mut request =
        http::Request::builder().uri("/socket").header("upgrade", "websocket").body(Body::empty()).unwrap();
    ada().insert(request.headers_mut());
    let mut answer = host.fetch(&host.id(name), request).await.unwrap();
    Socket(isobar_sessions::take_websocket(&mut answer).unwrap())
}

async fn enter(host: &MemoryHost<Either>, name: &str) -> Option<Response> {
    directory::enter(host, &host.id("directory"), &ada(), &Room::new(name, true, true)).await.unwrap()
}

fn either(options: DirectoryOptions) -> MemoryHost<Either> {
    MemoryHost::new("Either", move || options.clone()).unwrap()
}

#[tokio::test]
async fn a_room_in_which_nothing_was_written_does_not_count_once_it_is_left() {
    let grace = chrono::TimeDelta::milliseconds(1);
    let host = either(DirectoryOptions::default().with_rooms(2, 64).with_grace(grace));
    let pause = || tokio::time::sleep(Duration::from_millis(100));
    assert!(enter(&host, "kept").await.is_none());
    let mut kept = socket(&host, "kept").await;
    kept.say(json!({"type": "send", "text": "kept"}));
    kept.hear("message").await;
    drop(kept);
    for name in ["empty 1", "empty 2", "empty 3"] {
        assert!(enter(&host, name).await.is_none(), "{name}: the empty rooms before it are gone");
        drop(socket(&host, name).await);
        pause().await;
    }
    assert!(enter(&host, "open").await.is_none());
    let open = socket(&host, "open").await;
    pause().await;
    let refused = enter(&host, "one more").await.expect("a room with a message and one with a socket are two");
    assert_eq!(refused.status(), StatusCode::INSUFFICIENT_STORAGE);
    let detail = refused.into_body().text().await.unwrap();
    assert!(detail.contains("2 rooms") && detail.contains("the limit is 2"), "{detail}");
    drop(open);
}

#[tokio::test]
async fn a_user_who_leaves_rooms_may_enter_others_and_one_who_stays_gets_a_retry_time() {
    let host = either(DirectoryOptions::default().with_rooms(1000, 3).with_grace(chrono::TimeDelta::milliseconds(1)));
    for number in 0..10 {
        let name = format!("room {number}");
        assert!(enter(&host, &name).await.is_none(), "{name}");
        drop(socket(&host, &name).await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut open = Vec::new();
    for name in ["a", "b", "c"] {
        assert!(enter(&host, name).await.is_none(), "{name}");
        open.push(socket(&host, name).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let refused = enter(&host, "d").await.expect("three rooms are the limit");
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    let seconds: i64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((15 * 60 - 10..=16 * 60 + 1).contains(&seconds), "the first stay ends in {seconds} s");
    assert!(refused.into_body().text().await.unwrap().contains("the limit is 3"));
    assert!(enter(&host, "a").await.is_none(), "a room that the user is in is entered again");
}

#[tokio::test]
async fn a_room_whose_message_is_still_coming_counts() {
    let grace = chrono::TimeDelta::milliseconds(1);
    let host = either(DirectoryOptions::default().with_rooms(1, 64).with_grace(grace));
    let pause = || tokio::time::sleep(Duration::from_millis(100));
    assert!(enter(&host, "slow").await.is_none());
    let (sender, mut receiver) = tokio::sync::mpsc::channel::<bytes::Bytes>(1);
    let frames = futures_util::stream::poll_fn(move |cx| {
        receiver.poll_recv(cx).map(|bytes| bytes.map(|bytes| Ok::<_, std::io::Error>(http_body::Frame::data(bytes))))
    });
    let body = Body::wrap(http_body_util::StreamBody::new(frames));
    let mut request = http::Request::builder().method("POST").uri("/messages").body(body).unwrap();
    ada().insert(request.headers_mut());
    let posting = tokio::spawn({
        let id = host.id("slow");
        let host = host.clone();
        async move { host.fetch(&id, request).await.unwrap().status().as_u16() }
    });
    sender.send(bytes::Bytes::from_static(b"{\"text\": ")).await.unwrap();
    pause().await;
    assert!(enter(&host, "other").await.is_some(), "the room may be made at any moment");
    sender.send(bytes::Bytes::from_static(b"\"x\"}")).await.unwrap();
    drop(sender);
    assert_eq!(posting.await.unwrap(), 201);
    pause().await;
    assert!(enter(&host, "other").await.is_some(), "it is made");
}

#[tokio::test]
async fn a_room_that_kept_something_once_is_asked_again() {
    // Kept rooms are asked again after 60 times the grace.
    let grace = chrono::TimeDelta::milliseconds(2);
    let host = either(DirectoryOptions::default().with_rooms(1, 64).with_grace(grace));
    let pause = |millis| tokio::time::sleep(Duration::from_millis(millis));
    assert!(enter(&host, "kept").await.is_none());
    let mut kept = socket(&host, "kept").await;
    kept.say(json!({"type": "send", "text": "kept"}));
    kept.hear("message").await;
    drop(kept);
    pause(200).await;
    assert!(enter(&host, "other").await.is_some(), "it keeps a message");
    // It is emptied by another way than through the application's directory.
    let moderator = Participant::new("mo", "Mo").with_writes(true).with_moderates(true);
    let mut request = http::Request::builder().method("DELETE").uri("/history").body(Body::empty()).unwrap();
    moderator.insert(request.headers_mut());
    assert!(host.fetch(&host.id("kept"), request).await.unwrap().status().is_success());
    pause(300).await;
    assert!(enter(&host, "other").await.is_none(), "it keeps nothing any more");
}
