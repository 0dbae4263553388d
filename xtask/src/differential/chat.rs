//! Two users in a chat room and in a call, over WebSockets.

use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket};

pub(super) type Talk = Result<Vec<String>, Box<dyn std::error::Error>>;

/// Returns all events that two members of a room received, without times.
pub(super) fn talk(address: &str, cookie: &str) -> Talk {
    let mut told = Vec::new();
    let mut ada = join(address, cookie, "chat/lobby")?;
    hear(&mut ada, 2, &mut told)?; // the history, and who is there
    let mut bob = join(address, cookie, "chat/lobby")?;
    hear(&mut bob, 2, &mut told)?;
    hear(&mut ada, 1, &mut told)?;
    for said in [
        json!({"type": "send", "text": "hello é 🦀", "nonce": "one"}),
        json!({"type": "edit", "id": 1, "text": "hello"}),
        json!({"type": "read", "id": 7}),
        json!({"type": "delete", "id": 1}),
    ] {
        ada.send(Message::text(said.to_string()))?;
        hear(&mut ada, 1, &mut told)?;
        hear(&mut bob, 1, &mut told)?;
    }
    ada.send(Message::text(r#"{"type": "typing"}"#))?;
    hear(&mut bob, 1, &mut told)?;
    for wrong in [
        "no JSON",
        r#"{"type": "send", "text": ""}"#,
        r#"{"type": "send"}"#,
        r#"{"type": "edit", "id": 9, "text": "x"}"#,
    ] {
        ada.send(Message::text(wrong))?;
        hear(&mut ada, 1, &mut told)?;
    }
    ada.send(Message::text(r#"{"type":"ping"}"#))?; // answered without waking the room
    told.push(format!("{:?}", ada.read()?));
    bob.close(None)?;
    told.push(format!("{:?}", bob.read().map(|_| "the goodbye is answered")));
    hear(&mut ada, 1, &mut told)?;
    ada.send(Message::binary(vec![0, 255]))?;
    hear(&mut ada, 1, &mut told)?;
    Ok(told)
}

/// Returns all events that two participants of a call received: the roster, signals in both directions, a reconnection.
pub(super) fn call(address: &str, cookie: &str) -> Talk {
    let mut told = Vec::new();
    let mut ada = join(address, cookie, "call/standup")?;
    let (first, _) = welcome(&mut ada, &mut told)?;
    let mut bob = join(address, cookie, "call/standup")?;
    let (second, resume) = welcome(&mut bob, &mut told)?;
    hear(&mut ada, 1, &mut told)?; // who has joined
    let signal =
        |to: &str, data: &str| Message::text(json!({"type": "signal", "to": to, "data": {"sdp": data}}).to_string());
    ada.send(signal(&second, "offer"))?;
    hear(&mut bob, 1, &mut told)?;
    bob.send(signal(&first, "answer"))?;
    hear(&mut ada, 1, &mut told)?;
    ada.send(signal("nobody", "offer"))?;
    hear(&mut ada, 1, &mut told)?;
    bob.send(Message::text(r#"{"type": "state", "audio": true, "video": false}"#))?;
    hear(&mut ada, 1, &mut told)?;
    drop(bob); // the connection breaks
    hear(&mut ada, 1, &mut told)?;
    ada.send(signal(&second, "candidate"))?; // waits for the return
    std::thread::sleep(Duration::from_millis(100));
    let mut bob = join(address, cookie, &format!("call/standup/socket?resume={resume}"))?;
    let (again, _) = welcome(&mut bob, &mut told)?;
    told.push(format!("the same participant: {}", again == second));
    hear(&mut bob, 1, &mut told)?;
    hear(&mut ada, 1, &mut told)?;
    bob.send(Message::text(r#"{"type": "leave"}"#))?;
    hear(&mut ada, 1, &mut told)?;
    Ok(told.iter().map(|line| line.replace(&first, "<first>").replace(&second, "<second>")).collect())
}

/// Reads the first event of a new participant: its id and its token for reconnecting.
fn welcome(
    socket: &mut WebSocket<TcpStream>,
    told: &mut Vec<String>,
) -> Result<(String, String), Box<dyn std::error::Error>> {
    let mut event: Value = serde_json::from_str(socket.read()?.to_text()?)?;
    let text = |event: &Value, name: &str| event[name].as_str().unwrap_or_default().to_owned();
    let known = (text(&event, "id"), text(&event, "resume"));
    event["resume"] = "<token>".into();
    normalise(&mut event);
    told.push(event.to_string());
    Ok(known)
}

fn join(address: &str, cookie: &str, room: &str) -> Result<WebSocket<TcpStream>, Box<dyn std::error::Error>> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let socket = if room.contains("/socket") { "" } else { "/socket" };
    let url = format!("ws://{address}/api/sessions/{room}{socket}");
    let mut request = url.into_client_request()?;
    request.headers_mut().insert("cookie", cookie.parse()?);
    request.headers_mut().insert("origin", format!("http://{address}").parse()?);
    let (socket, answer) = tungstenite::client(request, stream).map_err(|error| error.to_string())?;
    assert_eq!(answer.status(), 101);
    Ok(socket)
}

fn hear(
    socket: &mut WebSocket<TcpStream>,
    messages: usize,
    told: &mut Vec<String>,
) -> Result<(), Box<dyn std::error::Error>> {
    for _ in 0..messages {
        let message = socket.read()?;
        let mut event: Value = serde_json::from_str(message.to_text()?)?;
        normalise(&mut event);
        told.push(event.to_string());
    }
    Ok(())
}

/// Replaces times and ids, which differ between servers.
fn normalise(value: &mut Value) {
    match value {
        Value::Array(list) => list.iter_mut().for_each(normalise),
        Value::Object(object) => {
            for (name, value) in object {
                let is_own =
                    ["at", "edited_at", "deleted_at", "joined_at", "user", "author_id"].contains(&name.as_str());
                if is_own && value.is_string() {
                    *value = format!("<{name}>").into();
                }
                normalise(value);
            }
        }
        _ => {}
    }
}
