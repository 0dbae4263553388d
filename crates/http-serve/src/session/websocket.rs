//! Upgrades to a WebSocket.
//!
//! Shared by both ways of a socket, natively and inside Workers. The handshake itself (RFC 6455, 4.2)
//! is the server's or the runtime's.

use isobar_api::Problem;

/// Whether a request asks for a WebSocket, by its `Upgrade` header alone.
pub(super) fn asks_for_websocket(headers: &http::HeaderMap) -> bool {
    headers.get(http::header::UPGRADE).is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// The answer to a plain request for what is a WebSocket: 426 (RFC 9110, 15.5.22).
pub(super) fn upgrade_required() -> Problem {
    let detail = "this is a WebSocket: send Connection: Upgrade and Upgrade: websocket";
    Problem::new(http::StatusCode::UPGRADE_REQUIRED).with_detail(detail)
}
