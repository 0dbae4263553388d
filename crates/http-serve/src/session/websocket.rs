//! Upgrades to a WebSocket.

use isobar_api::Problem;

pub(super) fn asks_for_websocket(headers: &http::HeaderMap) -> bool {
    headers.get(http::header::UPGRADE).is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

pub(super) fn upgrade_required() -> Problem {
    let detail = "this is a WebSocket: send Connection: Upgrade and Upgrade: websocket";
    Problem::new(http::StatusCode::UPGRADE_REQUIRED).with_detail(detail)
}
