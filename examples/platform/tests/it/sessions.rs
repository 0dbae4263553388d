//! The platform's sessions over HTTP: access that ends.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use super::accounts::mailed;
use super::{Chat, JSON, Platform, cookie};

/// The code that a socket is closed with.
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
    // Ada's own stay, and Bob does not come back.
    platform.chat().await.next("history").await;
    platform.cookie = bob;
    assert_eq!(platform.get("/api/sessions/chat/lobby/history").0, 401);
}
