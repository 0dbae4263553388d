//! Tests that acknowledged writes survive SIGKILL.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::harness::{Platform, png};

#[tokio::test(flavor = "multi_thread")]
async fn the_platform_keeps_what_it_acknowledged_through_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("state");
    let mut platform = Platform::owned(&root);
    let picture = png(300_000);

    let (status, ticket) = platform.post("/api/support_tickets", &json!({"subject": "Help"}));
    assert_eq!((status, ticket["status"].as_str()), (201, Some("open")));
    let (status, _, image) = platform.ask("POST", "/api/images?name=cat.png", "", &picture);
    assert_eq!(status, 201);
    let image: Value = serde_json::from_slice(&image).unwrap();
    let content = format!("/api/images/{}/content", image["id"].as_str().unwrap());
    let mut ada = platform.chat().await;
    let mut bob = platform.chat().await;
    ada.say("hello").await;
    assert_eq!(bob.next("message").await["message"]["author"], "ada");
    ada.say("still there?").await;
    assert_eq!(bob.next("message").await["message"]["text"], "still there?");

    platform.kill();
    let platform = Platform::again(&root, &platform);
    assert_eq!(platform.setup, None, "there is an owner");
    assert_eq!(platform.json("/api/support_tickets?q=help")["items"][0], ticket);
    assert_eq!(platform.json("/api/images")["items"][0], image);
    let (status, head, body) = platform.get(&content);
    assert_eq!(
        (status, body == picture, head.to_ascii_lowercase().contains("content-type: image/png")),
        (200, true, true),
        "{head}"
    );
    let history = platform.chat().await.next("history").await;
    let texts: Vec<_> =
        history["messages"].as_array().unwrap().iter().map(|message| message["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["hello", "still there?"]);
    assert_eq!(platform.json("/api/sessions/chat/lobby/history?before=2")["messages"][0]["text"], "hello");
}

#[test]
fn acknowledged_uploads_survive_a_kill_at_any_moment() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    let mut session = None;
    for round in 0..4u64 {
        let mut platform = match &session {
            None => Platform::owned(folder.path()),
            Some(_) => Platform::start(folder.path()),
        };
        platform.cookie = session.or_else(|| platform.cookie.take());
        session = platform.cookie.clone();
        let address = platform.address.clone();
        let session = platform.session();
        let uploads = std::thread::spawn(move || {
            let mut done = Vec::new();
            for number in 0..1000 {
                let body = png(10 + 700 * number);
                let head = format!(
                    "POST /api/images?name=r{round}n{number}.png HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{session}Content-Length: {}\r\n\r\n",
                    body.len()
                );
                let mut answer = String::new();
                let asked = TcpStream::connect(&address).and_then(|mut stream| {
                    stream.write_all(head.as_bytes())?;
                    stream.write_all(&body)?;
                    stream.read_to_string(&mut answer)
                });
                if asked.is_err() || !answer.starts_with("HTTP/1.1 201") || !answer.ends_with('}') {
                    break;
                }
                let image: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
                done.push((image["id"].as_str().unwrap().to_owned(), body.len()));
            }
            done
        });
        std::thread::sleep(std::time::Duration::from_millis(150 + 130 * round));
        platform.kill();
        acknowledged.extend(uploads.join().unwrap());
    }
    assert!(acknowledged.len() > 20, "{} uploads were acknowledged", acknowledged.len());
    let mut platform = Platform::start(folder.path());
    platform.cookie = session;
    for (id, size) in acknowledged {
        let (status, _, body) = platform.get(&format!("/api/images/{id}/content"));
        assert_eq!((status, body.len()), (200, size), "{id}");
    }
}
