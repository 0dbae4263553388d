//! Two people in a chat room, by WebSocket.

use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

type Talk = Result<Vec<String>, Box<dyn std::error::Error>>;

/// Everything that two members of a room were told, times left out.
pub(super) fn talk(address: &str) -> Talk {
    let mut told = Vec::new();
    let mut ada = join(address, "Ada")?;
    hear(&mut ada, 2, &mut told)?; // the history, and who is there
    let mut bob = join(address, "Bob")?;
    hear(&mut bob, 2, &mut told)?;
    hear(&mut ada, 1, &mut told)?;
    ada.send(Message::text(json!({"text": "hello é 🦀"}).to_string()))?;
    hear(&mut ada, 1, &mut told)?;
    hear(&mut bob, 1, &mut told)?;
    for wrong in ["no JSON", r#"{"text": ""}"#, r#"{"text": 5}"#] {
        ada.send(Message::text(wrong))?;
        hear(&mut ada, 1, &mut told)?;
    }
    ada.send(Message::text("ping"))?; // answered without waking the room
    told.push(format!("{:?}", ada.read()?));
    bob.close(None)?;
    told.push(format!("{:?}", bob.read().map(|_| "the goodbye is answered")));
    hear(&mut ada, 1, &mut told)?;
    ada.send(Message::binary(vec![0, 255]))?;
    hear(&mut ada, 1, &mut told)?;
    Ok(told)
}

fn join(address: &str, name: &str) -> Result<WebSocket<TcpStream>, Box<dyn std::error::Error>> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let url = format!("ws://{address}/api/sessions/chat/lobby/socket?name={name}");
    let (socket, answer) = tungstenite::client(url, stream).map_err(|error| error.to_string())?;
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
        if let Some(message) = event.get_mut("message") {
            message["at"] = "<time>".into();
        }
        for message in event.get_mut("messages").and_then(Value::as_array_mut).into_iter().flatten() {
            message["at"] = "<time>".into();
        }
        told.push(event.to_string());
    }
    Ok(())
}
