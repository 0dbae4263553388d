//! Who takes part, as the application says.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};

use super::reply::refusal;
use crate::{Request, Response};

/// How long a socket goes by what was said when it was opened.
const VALID: TimeDelta = TimeDelta::minutes(15);
const HEADER: HeaderName = HeaderName::from_static("isobar-participant");

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
    /// What else the application wants to find again, as it likes.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub claims: serde_json::Value,
}

impl Participant {
    /// Somebody who may watch, for 15 minutes on a socket.
    pub fn new(user: impl Into<String>, name: impl Into<String>) -> Self {
        let (user, name, claims) = (user.into(), name.into(), serde_json::Value::Null);
        Self { user, name, writes: false, moderates: false, valid_until: Utc::now() + VALID, claims }
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

    /// Puts the participant into the headers of a request for a session object, in place of what is there under that name.
    pub fn insert(&self, headers: &mut HeaderMap) {
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
