//! Requests to session objects, WebSocket upgrades included.

use axum::RequestExt;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use isobar_sessions::{ErrorKind, ObjectId, SessionNamespace};

use crate::Problem;

/// Sends a request to a session object under `path` (`/socket?name=Ada`, say) and brings its answer back. A WebSocket that
/// the object accepts is connected with the client's.
///
/// # Errors
/// What the object fails with, as a [`Problem`]; 400 when `path` is none; 426 when the object accepts a WebSocket but the
/// request is no upgrade; 403 when a browser sends it from another site, since it would carry the user's cookies.
pub async fn forward_session(
    sessions: &dyn SessionNamespace,
    id: &ObjectId,
    path: &str,
    request: Request,
) -> Result<Response, Problem> {
    if !is_same_origin(request.headers()) {
        return Err(Problem::new(http::StatusCode::FORBIDDEN).with_detail("this request comes from another site"));
    }
    // The application's body limit holds for what the object reads, too.
    let (mut parts, body) = request.with_limited_body().into_parts();
    let is_upgrade = asks_for_websocket(&parts.headers);
    let upgrade = upgrade(&mut parts).await;
    parts.uri = path.parse().map_err(|error| Problem::bad_request(format!("{path}: {error}")))?;
    parts.extensions.clear(); // the server's own, which mean nothing to the object
    let request = http::Request::from_parts(parts, isobar_sessions::Body::wrap(body));
    match sessions.fetch(id, request).await {
        Ok(answer) => connect(upgrade, answer),
        // The runtime of Workers itself refuses to hand a WebSocket to who has not asked for one.
        Err(error) if error.kind() == ErrorKind::Socket && !is_upgrade => Err(upgrade_required()),
        Err(error) => Err(error.into()),
    }
}

/// Whether a browser's request comes from a page of this host; what is no browser sends no `Origin`.
fn is_same_origin(headers: &http::HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    let Some(origin) = headers.get(http::header::ORIGIN) else { return true };
    let host = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    host.is_some() && host == text(http::header::HOST)
}

#[cfg(all(feature = "native", not(target_arch = "wasm32")))]
mod bridge {
    use std::time::Duration;

    use axum::extract::FromRequestParts;
    use axum::extract::ws::{CloseFrame as WsClose, Message as WsMessage, WebSocket, WebSocketUpgrade};
    use futures_util::{SinkExt, StreamExt};
    use isobar_sessions::{ClientSocket, CloseFrame, Message, take_websocket};

    use super::{Body, Problem, Response};

    /// How long a client may take to read a message, or to answer a goodbye.
    const PATIENCE: Duration = Duration::from_secs(30);

    pub(super) async fn upgrade(parts: &mut http::request::Parts) -> Option<WebSocketUpgrade> {
        WebSocketUpgrade::from_request_parts(parts, &()).await.ok()
    }

    pub(super) fn connect(
        upgrade: Option<WebSocketUpgrade>,
        mut answer: isobar_sessions::Response,
    ) -> Result<Response, Problem> {
        let Some(client) = take_websocket(&mut answer) else { return Ok(answer.map(Body::new)) };
        let upgrade = upgrade.ok_or_else(super::upgrade_required)?;
        let upgrade = upgrade.max_message_size(client.message_bytes()).max_frame_size(client.message_bytes());
        let mut response = upgrade.on_upgrade(|socket| run(socket, client));
        // What the object says goes with it: the sub-protocol it has chosen, a cookie.
        for (name, value) in answer.headers() {
            response.headers_mut().append(name.clone(), value.clone());
        }
        Ok(response)
    }

    /// Carries messages both ways until one side ends.
    async fn run(socket: WebSocket, mut client: ClientSocket) {
        let (mut to_network, mut from_network) = socket.split();
        let (mut closing, goodbye) = (false, tokio::time::sleep(PATIENCE));
        tokio::pin!(goodbye);
        loop {
            tokio::select! {
                () = &mut goodbye, if closing => return, // the client does not answer the goodbye
                incoming = from_network.next() => match incoming {
                    Some(Ok(WsMessage::Text(text))) => {
                        if client.send(text.as_str()).is_err() {
                            return; // the object is gone, or hopelessly behind
                        }
                    }
                    Some(Ok(WsMessage::Binary(bytes))) => {
                        if client.send(bytes).is_err() {
                            return;
                        }
                    }
                    // The protocol's own pings are answered by the library.
                    Some(Ok(WsMessage::Ping(_) | WsMessage::Pong(_))) => {}
                    Some(Ok(WsMessage::Close(close))) => {
                        let close = close.map_or_else(
                            || CloseFrame::new(1005, ""),
                            |close| CloseFrame::new(close.code, close.reason.as_str()),
                        );
                        drop(client.close(close));
                        // The library has queued its answer to the goodbye: let it out.
                        drop(tokio::time::timeout(PATIENCE, to_network.flush()).await);
                        return;
                    }
                    Some(Err(_)) | None => return, // dropping the client's end tells the object
                },
                outgoing = client.receive(), if !closing => {
                    let frame = match outgoing {
                        Some(Ok(Message::Text(text))) => WsMessage::Text(text.into()),
                        Some(Ok(Message::Binary(bytes))) => WsMessage::Binary(bytes),
                        Some(Err(close)) => {
                            closing = true;
                            goodbye.as_mut().reset(tokio::time::Instant::now() + PATIENCE);
                            WsMessage::Close(Some(WsClose { code: close.code, reason: close.reason.into() }))
                        }
                        None => {
                            // The object was reset: 1006 cannot be sent, so break off as workerd does.
                            return;
                        }
                    };
                    // A client that reads nothing for so long is gone.
                    if !matches!(tokio::time::timeout(PATIENCE, to_network.send(frame)).await, Ok(Ok(()))) {
                        return;
                    }
                }
            }
        }
    }
}

#[cfg(all(feature = "native", not(target_arch = "wasm32")))]
use bridge::{connect, upgrade};

/// Without the native server the socket stays in the answer, for the server that sends it.
#[cfg(not(all(feature = "native", not(target_arch = "wasm32"))))]
async fn upgrade(parts: &mut http::request::Parts) -> bool {
    asks_for_websocket(&parts.headers)
}

#[cfg(not(all(feature = "native", not(target_arch = "wasm32"))))]
fn connect(is_upgrade: bool, answer: isobar_sessions::Response) -> Result<Response, Problem> {
    if answer.status() == http::StatusCode::SWITCHING_PROTOCOLS && !is_upgrade {
        return Err(upgrade_required());
    }
    Ok(answer.map(Body::new))
}

fn asks_for_websocket(headers: &http::HeaderMap) -> bool {
    headers.get(http::header::UPGRADE).is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

fn upgrade_required() -> Problem {
    let detail = "this is a WebSocket: send Connection: Upgrade and Upgrade: websocket";
    Problem::new(http::StatusCode::UPGRADE_REQUIRED).with_detail(detail)
}
