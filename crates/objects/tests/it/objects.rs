//! Chats, calls and browsers, as their clients see them.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::TimeDelta;
use isobar_objects::Participant;
use isobar_objects::browser::{
    BrowserEngine, BrowserError, BrowserErrorKind, BrowserOptions, BrowserSession, RenderJob, Rendered,
};
use isobar_objects::call::{CallOptions, CallRoom};
use isobar_objects::chat::{ChatOptions, ChatRoom};
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
async fn a_chat_orders_messages_and_stores_a_nonce_once() {
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
async fn a_call_passes_signals_on_and_marks_silent_participants_away() {
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

    // A participant that is silent is away, and then has left; one that sends something stays.
    let roster = roster_of_one(&rooms, &a).await;
    assert_eq!(roster["participants"][0]["user"], "ada");
    assert_eq!(newer.closed().await, 4000);
    assert_eq!(a.hear("left").await["id"], json!(b_id));
    a.say(json!({"type": "leave"}));
    assert_eq!(a.closed().await, 1000);
    let (_, roster) = ask(&rooms, &ada(), "GET", "/roster", Json::Null).await;
    assert_eq!(roster["participants"], json!([]));
}

/// Keeps a participant in a call until it is the only one, and returns the roster.
async fn roster_of_one(rooms: &dyn SessionNamespace, socket: &Socket) -> Json {
    let alone = async {
        loop {
            socket.say(json!({"type": "ping"}));
            tokio::time::sleep(Duration::from_millis(50)).await;
            let (_, roster) = ask(rooms, &ada(), "GET", "/roster", Json::Null).await;
            if roster["participants"].as_array().unwrap().len() == 1 {
                return roster;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), alone).await.expect("a silent participant leaves")
}

#[tokio::test]
async fn a_call_forgets_lost_participants_and_has_four_places_of_a_user() {
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
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("the call becomes empty");
    drop(places);
}

#[tokio::test]
async fn a_socket_closes_when_its_participants_validity_ends() {
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
