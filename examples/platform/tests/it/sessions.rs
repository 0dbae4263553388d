//! Tests of the platform's sessions over HTTP: reads create nothing, and revoked access ends.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::accounts::mailed;
use crate::harness::{Chat, JSON, Platform, cookie};

/// Lists the files of session objects.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect();
    found.retain(|path| path.extension().is_some_and(|extension| extension == "db") && !path.ends_with("index.db"));
    found
}

#[test]
fn reading_rooms_creates_no_object() {
    let folder = tempfile::tempdir().unwrap();
    let platform = Platform::owned(folder.path());
    let sessions = folder.path().join("sessions");
    let before = files(&sessions);
    for room in 0..20 {
        for path in ["history", "members", "nothing"] {
            platform.get(&format!("/api/sessions/chat/room-{room}/{path}"));
        }
        platform.get(&format!("/api/sessions/call/room-{room}/roster"));
        platform.get(&format!("/api/sessions/browser/mine-{room}/session"));
    }
    platform.get("/api/mcp");
    assert_eq!(files(&sessions), before);
    assert_eq!(platform.post("/api/sessions/chat/room-0/messages", &json!({"text": "hello"})).0, 201);
    assert!(files(&sessions).len() > before.len(), "a room that is written to has a file");
    assert_eq!(platform.ask("DELETE", "/api/sessions/chat/room-0/history", "", b"").0, 200);
    assert_eq!(platform.json("/api/sessions/chat/room-0/history")["messages"], json!([]));
}

/// Returns the code with which a socket is closed.
async fn closed(chat: &mut Chat) -> u16 {
    let wait = async {
        loop {
            match chat.0.next().await {
                Some(Ok(Message::Close(close))) => return close.map_or(1005, |close| close.code.into()),
                Some(Ok(_)) => {}
                other => panic!("instead of a goodbye: {other:?}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.expect("the socket is closed")
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_out_everywhere_closes_open_sockets_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let platform = Platform::owned(folder.path());
    let mut chat = platform.chat().await;
    chat.next("history").await;
    chat.say("hello").await;
    chat.next("message").await;
    let begun = Instant::now();
    assert_eq!(platform.post("/api/auth/logout-everywhere", &json!({})).0, 204);
    assert_eq!(closed(&mut chat).await, 4003);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(platform.get("/api/sessions/chat/lobby/history").0, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_from_the_team_closes_the_members_open_sockets_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut platform = Platform::owned(folder.path());
    let ada = platform.cookie.clone();
    let invitation = json!({"email": "bob@example.com", "role": "member"});
    assert_eq!(platform.post("/api/auth/invitations", &invitation).0, 201);
    let token = mailed(folder.path(), "bob@example.com", "join");
    platform.cookie = None;
    let join = json!({"token": token, "name": "Bob", "password": "another horse battery"}).to_string();
    let (status, head, body) = platform.ask("POST", "/api/auth/join", JSON, join.as_bytes());
    assert!((200..300).contains(&status), "{}", String::from_utf8_lossy(&body));
    let bob = Some(cookie(&head));
    platform.cookie.clone_from(&bob);
    let mut chat = platform.chat().await;
    chat.next("history").await;

    platform.cookie.clone_from(&ada);
    let memberships = platform.json("/api/memberships");
    let members = memberships["items"].as_array().unwrap();
    let member = members.iter().find(|member| member["role"] == "member").expect("Bob is in the team");
    let path = format!("/api/memberships/{}", member["id"].as_str().unwrap());
    let begun = Instant::now();
    let (status, _, body) = platform.ask("DELETE", &path, "If-Match: *\r\n", b"");
    assert_eq!(status, 204, "{}", String::from_utf8_lossy(&body));
    assert_eq!(closed(&mut chat).await, 4003);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    // Ada's connections stay, and Bob cannot reconnect.
    platform.chat().await.next("history").await;
    platform.cookie = bob;
    assert_eq!(platform.get("/api/sessions/chat/lobby/history").0, 401);
}
