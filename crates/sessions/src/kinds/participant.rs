//! Who takes part, as the application says.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};

use super::reply::refusal;
use crate::{Body, Request, Response};

/// How long a socket goes by what was said when it was opened.
pub(super) const VALID: TimeDelta = TimeDelta::minutes(15);
const HEADER: HeaderName = HeaderName::from_static("isobar-participant");
const REVOKED: HeaderName = HeaderName::from_static("isobar-revoked");

/// Who sends a request to a session object: an application's word, which the object believes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Participant {
    /// The user's id.
    pub user: String,
    /// The user's name, to show.
    pub name: String,
    /// Whether the user may say and do something, and not only watch.
    pub writes: bool,
    /// Whether the user may change what others have said and done.
    pub moderates: bool,
    /// Until when this is good: a socket is closed with the code 4003 before anything more is said or told on it, and its
    /// client asks the application anew.
    #[serde(default)]
    pub valid_until: DateTime<Utc>,
    /// When the application judged this: what was judged before a [`revocation`](Self::revocation) is not believed after it.
    #[serde(default)]
    pub judged_at: DateTime<Utc>,
    /// What else the application wants to find again, as it likes.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub claims: serde_json::Value,
}

impl Participant {
    /// Somebody who may watch, for 15 minutes on a socket.
    pub fn new(user: impl Into<String>, name: impl Into<String>) -> Self {
        let (user, name, claims) = (user.into(), name.into(), serde_json::Value::Null);
        let judged_at = Utc::now();
        Self { user, name, writes: false, moderates: false, valid_until: judged_at + VALID, judged_at, claims }
    }

    /// When this was judged: before the application looked up what the user may do.
    #[must_use]
    pub fn with_judged_at(mut self, judged_at: DateTime<Utc>) -> Self {
        self.judged_at = judged_at;
        self
    }

    /// A request that ends what a user has open in an object, at once: sockets are closed with 4003, streams and calls of MCP
    /// end. For whoever takes rights away, once that is durable; who still has some comes back. Answered by
    /// `{"closed": 2}`.
    #[must_use]
    pub fn revocation(user: &str) -> Request {
        let mut request = Request::new(Body::empty());
        *request.method_mut() = http::Method::POST;
        let value = HeaderValue::from_str(&URL_SAFE_NO_PAD.encode(user)).expect("base64url makes a header");
        request.headers_mut().insert(REVOKED, value);
        request
    }

    /// The user of a [`revocation`](Self::revocation).
    #[cfg(any(feature = "call", feature = "chat", feature = "mcp"))]
    pub(super) fn revoked_by(request: &Request) -> Option<String> {
        let user = URL_SAFE_NO_PAD.decode(request.headers().get(REVOKED)?.as_bytes()).ok()?;
        String::from_utf8(user).ok()
    }

    /// Until when this is good.
    #[must_use]
    pub fn with_valid_until(mut self, valid_until: DateTime<Utc>) -> Self {
        self.valid_until = valid_until;
        self
    }

    /// Whether they may say and do something.
    #[must_use]
    pub fn with_writes(mut self, writes: bool) -> Self {
        self.writes = writes;
        self
    }

    /// Whether they may change what others have said and done.
    #[must_use]
    pub fn with_moderates(mut self, moderates: bool) -> Self {
        self.moderates = moderates;
        self
    }

    /// What else the application wants to find again.
    #[must_use]
    pub fn with_claims(mut self, claims: serde_json::Value) -> Self {
        self.claims = claims;
        self
    }

    /// Puts the participant into the headers of a request for a session object, in place of what is there under that name. A
    /// client's request revokes nothing: what says so is taken out.
    pub fn insert(&self, headers: &mut HeaderMap) {
        headers.remove(REVOKED);
        let json = serde_json::to_vec(self).expect("texts and booleans are JSON");
        let value = HeaderValue::from_str(&URL_SAFE_NO_PAD.encode(json)).expect("base64url makes a header");
        headers.insert(HEADER, value);
    }

    /// Who sends the request.
    ///
    /// # Errors
    /// 401, as the answer, where nobody has said.
    pub fn of(request: &Request) -> Result<Self, Box<Response>> {
        let value = request.headers().get(HEADER).map(HeaderValue::as_bytes).unwrap_or_default();
        let json = URL_SAFE_NO_PAD.decode(value).ok();
        let participant = json.and_then(|json| serde_json::from_slice(&json).ok());
        participant.ok_or_else(|| Box::new(refusal(StatusCode::UNAUTHORIZED, "the session is not told who you are")))
    }
}

/// Users revoked lately, as an instance remembers: a request that was judged before and comes after is not believed.
#[cfg(any(feature = "call", feature = "chat", feature = "mcp"))]
#[derive(Debug, Default)]
pub(super) struct Revocations(std::collections::HashMap<String, DateTime<Utc>>);

#[cfg(any(feature = "call", feature = "chat", feature = "mcp"))]
impl Revocations {
    pub(super) fn add(&mut self, user: &str) {
        let now = Utc::now();
        // A request is under way for minutes at most.
        self.0.retain(|_, at| *at + VALID > now);
        self.0.insert(user.to_owned(), now);
    }

    pub(super) fn covers(&mut self, who: &Participant) -> bool {
        let Some(at) = self.0.get_mut(&who.user) else { return false };
        let now = Utc::now();
        if *at > now + AHEAD {
            *at = now - AHEAD; // it came while the clock was ahead: what is judged now is believed again
        }
        who.judged_at <= *at
    }
}

/// How far a revocation may lie ahead: more is a clock that was set back.
#[cfg(any(feature = "call", feature = "chat", feature = "mcp"))]
const AHEAD: TimeDelta = TimeDelta::seconds(10);

#[cfg(all(test, any(feature = "call", feature = "chat", feature = "mcp")))]
mod tests {
    use super::*;

    #[test]
    fn a_revocation_while_the_clock_was_ahead_locks_nobody_out_for_long() {
        let mut revocations = Revocations::default();
        revocations.0.insert("ada".to_owned(), Utc::now() + TimeDelta::days(365));
        let judged = |at| Participant::new("ada", "Ada").with_judged_at(at);
        assert!(revocations.covers(&judged(Utc::now() - TimeDelta::minutes(1))), "judged before it was seen");
        assert!(!revocations.covers(&judged(Utc::now())));
    }
}
