//! Carries a client's WebSocket over the network to its session object and back.
//!
//! Reading never waits for writing: a client may send everything before it reads. Messages that wait for it are bounded in the
//! session host, which closes the socket of a client that does not read with 1013; messages that the object has not taken hold
//! back its TCP connection. Unfinished messages are bounded in bytes and time: see [`unfinished`](super::unfinished).
//!
//! # Ends
//!
//! | what ends it | the client sees | the object sees |
//! |---|---|---|
//! | the client closes | its close echoed | the close |
//! | the object closes | the object's close; what the client still sends is delivered for 30 s | the client's answer |
//! | the connection breaks, the client is silent and takes nothing for 30 s | nothing | 1006 |
//! | the object is reset | a broken connection | |
//! | the client breaks the protocol | 1002, 1007, 1009 | 1006 |
//! | a message is not finished in time | 1008 | 1006 |
//! | too many are unfinished in the process | 1013 | 1006 |
//!
//! The reading and the writing future run side by side in one task, so that neither needs a lock for
//! the socket. Dropping the sender is how the object learns of a broken connection; a close frame is
//! passed on before it.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use isobar_api::Problem;
use isobar_base::sync::IgnorePoison;
use isobar_sessions::{ClientReceiver, ClientSender, ClientSocket, CloseFrame, Message, take_websocket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame as WsClose, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WsError, Message as WsMessage};

use super::unfinished::{Counted, TooMuch, Unfinished};
use super::websocket::upgrade_required;

/// How long a client that takes nothing and sends nothing is waited for, and one that does not answer a goodbye.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long what a refused client still sends is read, so that it can read why it was refused.
const LINGER: Duration = Duration::from_secs(10);
/// How often an unfinished message is looked at, at least.
const TICK: Duration = Duration::from_secs(5);
const READ_BUFFER: usize = 16 * 1024;

type Network = WebSocketStream<Counted<TokioIo<Upgraded>>>;

/// A request's wish for a WebSocket.
pub(super) struct Upgrade {
    key: HeaderValue,
    upgraded: OnUpgrade,
}

/// Takes a request's wish for a WebSocket, as RFC 6455 (4.2.1) has it.
pub(super) fn upgrade(parts: &mut http::request::Parts) -> Option<Upgrade> {
    let headers = &parts.headers;
    let is_upgrade = parts.method == http::Method::GET
        && has_token(headers, header::CONNECTION, "upgrade")
        && has_token(headers, header::UPGRADE, "websocket")
        && headers.get(header::SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
    let key = headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| is_upgrade)?.clone();
    Some(Upgrade { key, upgraded: parts.extensions.remove()? })
}

/// Whether a list header has a token, in any case of its letters (RFC 9110, 5.6.1).
fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|one| one.trim().eq_ignore_ascii_case(token))
}

/// Answers with the object's answer; a WebSocket in it is connected with the client's.
///
/// The 101 is returned at once, and the messages are carried by a task of their own once the connection
/// was handed over.
///
/// # Errors
/// 426, where the object has accepted a WebSocket and the request is not an upgrade.
pub(super) fn connect(upgrade: Option<Upgrade>, mut answer: isobar_sessions::Response) -> Result<Response, Problem> {
    let Some(client) = take_websocket(&mut answer) else { return Ok(answer.map(Body::new)) };
    let Upgrade { key, upgraded } = upgrade.ok_or_else(upgrade_required)?;
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes())).expect("base64 makes a header");
    tokio::spawn(async move {
        match upgraded.await {
            Ok(upgraded) => run(TokioIo::new(upgraded), client).await,
            Err(error) => tracing::debug!(%error, "a connection was not upgraded to a WebSocket"),
        }
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    // What the object says goes with it: the sub-protocol it has chosen, a cookie.
    for (name, value) in answer.headers() {
        headers.append(name.clone(), value.clone());
    }
    Ok(response)
}

/// How reading ended.
enum ReadEnd {
    /// The client has said goodbye; the library has queued the answer.
    Closed,
    /// The connection broke, or the object is gone.
    Gone,
    /// The client is refused, with a goodbye that says why.
    Refused(u16, String),
}

/// How writing ended.
enum WriteEnd {
    /// The object's goodbye was sent.
    Closed,
    /// The connection broke, the client takes nothing, or the object was reset: 1006 cannot be sent, so break off as workerd
    /// does.
    Gone,
}

/// Carries messages both ways until one side ends.
async fn run(io: TokioIo<Upgraded>, client: ClientSocket) {
    let (sender, mut receiver) = client.split();
    let unfinished = Arc::new(Unfinished::default());
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .max_message_size(Some(sender.message_bytes()))
        .max_frame_size(Some(sender.message_bytes()));
    let io = Counted::new(io, Arc::clone(&unfinished));
    let network = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
    let (mut sink, mut stream) = network.split();
    let heard = Heard::default();
    let end = {
        let mut reading = pin!(read(&mut stream, &sender, &heard, &unfinished));
        let writing = pin!(write(&mut sink, &mut receiver, &heard));
        tokio::select! {
            end = &mut reading => end,
            end = writing => match end {
                // What the client still says reaches the object; its answer to the goodbye, too.
                WriteEnd::Closed => tokio::time::timeout(PATIENCE, reading).await.unwrap_or(ReadEnd::Gone),
                WriteEnd::Gone => ReadEnd::Gone,
            },
        }
    };
    // The object sees the end at once: dropping its sender is the end of a broken connection.
    drop((sender, receiver));
    match end {
        ReadEnd::Gone => {}
        ReadEnd::Closed => drop(tokio::time::timeout(PATIENCE, sink.flush()).await),
        ReadEnd::Refused(code, reason) => {
            let close = WsMessage::Close(Some(WsClose { code: code.into(), reason: reason.into() }));
            // One that has been sent a goodbye already gets no second one.
            let sent = tokio::time::timeout(LINGER, sink.send(close)).await;
            if let (Ok(Ok(())), Ok(network)) = (sent, sink.reunite(stream)) {
                linger(network.into_inner().into_inner()).await;
            }
        }
    }
}

/// Carries the client's messages to the object until one of both ends. A message is asked for only when
/// the object has room: that holds the client's connection back by TCP.
async fn read(
    stream: &mut SplitStream<Network>,
    sender: &ClientSender,
    heard: &Heard,
    unfinished: &Unfinished,
) -> ReadEnd {
    loop {
        let waiting_since = Instant::now();
        sender.ready().await;
        // The object's time is not the client's.
        unfinished.excuse(waiting_since.elapsed());
        let message = tokio::time::timeout(TICK, stream.next()).await;
        // After each frame, too: control frames keep nothing waiting.
        if unfinished.is_late(Instant::now()) {
            return ReadEnd::Refused(1008, "the message was not finished in time".into());
        }
        let Ok(message) = message else { continue };
        heard.now();
        let sent = match message {
            Some(Ok(WsMessage::Text(text))) => sender.send(text.as_str()),
            Some(Ok(WsMessage::Binary(bytes))) => sender.send(bytes),
            // The protocol's own pings are answered by the library.
            Some(Ok(WsMessage::Ping(_) | WsMessage::Pong(_))) => continue,
            Some(Ok(WsMessage::Close(close))) => {
                let close = close.map_or_else(
                    || CloseFrame::new(1005, ""),
                    |close| CloseFrame::new(close.code.into(), close.reason.as_str()),
                );
                drop(sender.close(close)); // an object that is gone needs no word
                return ReadEnd::Closed;
            }
            Some(Ok(WsMessage::Frame(_))) => continue, // the library yields none
            Some(Err(error)) => return refusal(&error),
            None => return ReadEnd::Gone,
        };
        if sent.is_err() {
            return ReadEnd::Gone;
        }
    }
}

/// Returns the close for a client that breaks the protocol, in workerd's words; workerd takes text that is not UTF-8, RFC 6455 (8.1)
/// does not.
fn refusal(error: &WsError) -> ReadEnd {
    let (code, reason) = match error {
        WsError::Capacity(CapacityError::MessageTooLong { size, max_size }) => {
            (1009, format!("Message is too large: {size} > {max_size}"))
        }
        WsError::Utf8(_) => (1007, "Received text that is not UTF-8".to_owned()),
        WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => return ReadEnd::Gone,
        WsError::Protocol(error) => {
            let reason = match error {
                ProtocolError::NonZeroReservedBits => "Received frame had RSV bits 2 or 3 set".to_owned(),
                ProtocolError::FragmentedControlFrame => "Received fragmented control frame".to_owned(),
                ProtocolError::UnexpectedContinueFrame => "Unexpected continuation frame".to_owned(),
                ProtocolError::ExpectedFragment(_) => "Missing continuation frame".to_owned(),
                ProtocolError::UnknownControlFrameType(code)
                | ProtocolError::UnknownDataFrameType(code)
                | ProtocolError::InvalidOpcode(code) => format!("Unknown opcode {code}"),
                other => other.to_string(),
            };
            (1002, reason)
        }
        WsError::Io(error) if error.get_ref().is_some_and(|inner| inner.is::<TooMuch>()) => {
            (1013, "too many messages are unfinished; try again later".to_owned())
        }
        _ => return ReadEnd::Gone,
    };
    let end = reason.floor_char_boundary(isobar_sessions::limits::CLOSE_REASON_BYTES);
    ReadEnd::Refused(code, reason[..end].to_owned())
}

/// Carries the object's messages to the client. A client that takes nothing for 30 s is given up,
/// unless it still sends.
async fn write(sink: &mut SplitSink<Network, WsMessage>, receiver: &mut ClientReceiver, heard: &Heard) -> WriteEnd {
    while let Some(frame) = receiver.receive().await {
        let is_goodbye = frame.is_err();
        let frame = match frame {
            Ok(Message::Text(text)) => WsMessage::Text(text.into()),
            Ok(Message::Binary(bytes)) => WsMessage::Binary(bytes),
            Err(close) => WsMessage::Close(Some(WsClose { code: close.code.into(), reason: close.reason.into() })),
        };
        let mut sending = pin!(sink.send(frame));
        loop {
            match tokio::time::timeout(PATIENCE, &mut sending).await {
                Ok(Ok(())) => break,
                Ok(Err(_)) => return WriteEnd::Gone,
                // One that still sends may read later, unless it was given up for what waits for it.
                Err(_) if heard.lately() && !receiver.is_ended() && !is_goodbye => {}
                Err(_) => return WriteEnd::Gone,
            }
        }
        if is_goodbye {
            return WriteEnd::Closed;
        }
    }
    WriteEnd::Gone
}

/// Ends the sending side and reads what still comes, for a while: a connection that is closed with unread bytes is reset, and
/// the client may not see the goodbye.
async fn linger(mut io: TokioIo<Upgraded>) {
    let rest = async {
        io.shutdown().await?;
        let mut buffer = vec![0; READ_BUFFER];
        while io.read(&mut buffer).await? > 0 {}
        io::Result::Ok(())
    };
    drop(tokio::time::timeout(LINGER, rest).await); // a client that is gone has no more to say
}

/// When the client was heard of.
struct Heard(std::sync::Mutex<Instant>);

impl Default for Heard {
    fn default() -> Self {
        Self(std::sync::Mutex::new(Instant::now()))
    }
}

impl Heard {
    /// The client was heard of now.
    fn now(&self) {
        *self.0.lock().ignore_poison() = Instant::now();
    }

    /// Whether the client was heard of within [`PATIENCE`].
    fn lately(&self) -> bool {
        self.0.lock().ignore_poison().elapsed() < PATIENCE
    }
}
