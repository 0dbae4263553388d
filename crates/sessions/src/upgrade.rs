//! The client's end of a WebSocket, in the response to its upgrade.

use crate::{ClientSocket, Response, websocket};

/// Takes the client's end of a WebSocket out of the response to an upgrade. Returns `None` where the response has none, or where it
/// was taken before.
///
/// ```
/// use isobar_sessions::{Message, socket_pair, take_websocket, websocket_response};
///
/// let (client, _server) = socket_pair();
/// let mut response = websocket_response(client);
/// assert_eq!(response.status(), 101);
/// let socket = take_websocket(&mut response).expect("the response has a WebSocket");
/// socket.send(Message::from("hello"))?;
/// assert!(take_websocket(&mut response).is_none());
/// # Ok::<_, isobar_sessions::Error>(())
/// ```
pub fn take_websocket(response: &mut Response) -> Option<ClientSocket> {
    #[cfg(feature = "cloudflare-binding")]
    if let Some(client) = crate::cloudflare::bridge(response) {
        return Some(client);
    }
    websocket::take_client(response)
}
