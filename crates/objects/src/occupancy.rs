//! Occupancy of a room, as its tenant's directory asks for it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use serde::{Deserialize, Serialize};

use crate::reply::reply;
use isobar_sessions::{Body, Request, Response};

pub(crate) const ASKED: HeaderName = HeaderName::from_static("isobar-occupancy");

/// Occupancy of a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Occupancy {
    /// Whether the room keeps something when it is empty.
    pub(crate) is_kept: bool,
    /// Number of open sockets, and of requests whose body is still being received: they may write.
    pub(crate) sockets: usize,
    /// Whether the user that was asked for has one of them.
    pub(crate) is_present: bool,
}

impl Occupancy {
    /// Returns the request for a room's occupancy, and whether this user is in it.
    pub(crate) fn question(user: &str) -> Request {
        let mut request = Request::new(Body::empty());
        *request.method_mut() = Method::GET;
        let value = HeaderValue::from_str(&URL_SAFE_NO_PAD.encode(user)).expect("base64url makes a header");
        request.headers_mut().insert(ASKED, value);
        request
    }

    /// Returns the user of a [`question`](Self::question).
    pub(crate) fn asked_by(request: &Request) -> Option<String> {
        let user = URL_SAFE_NO_PAD.decode(request.headers().get(ASKED)?.as_bytes()).ok()?;
        String::from_utf8(user).ok()
    }

    /// Returns the response to a question.
    pub(crate) fn into_reply(self) -> Response {
        reply(StatusCode::OK, &self)
    }
}
