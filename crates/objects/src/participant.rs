//! Participants of a session, as the application names them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};

use crate::reply::refusal;
use isobar_sessions::{Body, Request, Response};

/// Time for which a socket goes by the rights that it was opened with.
pub(crate) const VALID: TimeDelta = TimeDelta::minutes(15);
/// Code of a socket that is closed because its participant has to be judged again.
#[cfg(any(feature = "call", feature = "chat"))]
pub(crate) const ASK_AGAIN: u16 = 4003;
#[cfg(any(feature = "call", feature = "chat"))]
pub(crate) const ASK_AGAIN_WHY: &str = "your access has changed: connect again";
const HEADER: HeaderName = HeaderName::from_static("isobar-participant");
const REVOKED: HeaderName = HeaderName::from_static("isobar-revoked");

/// The sender of a request to a session object, and the sender's rights in that object, as the application has decided them.
///
/// A participant has no role and no tenant. An application that has them, such as one with the `Principal` of `isobar-api`, looks
/// the rights up in its own database, for each request, and passes on the result: an object asks nothing else.
///
/// ```
/// use http::Request;
/// use isobar_objects::Participant;
/// use isobar_sessions::Body;
///
/// // The application has authenticated the user, and looked up the user's rights.
/// let ada = Participant::new("user-1", "Ada").with_writes(true);
/// let mut request = Request::get("/history").body(Body::empty())?;
/// ada.insert(request.headers_mut());
///
/// // The object reads them.
/// assert_eq!(Participant::of(&request).expect("the request has a participant"), ada);
/// # Ok::<_, http::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Participant {
    /// Id of the user; not empty. Sockets, limits and revocations go by it.
    pub user: String,
    /// Name of the user, to show to others.
    pub name: String,
    /// Whether the user may write, and not only watch. Default: `false`.
    pub writes: bool,
    /// Whether the user may change and delete what others have written. Default: `false`.
    pub moderates: bool,
    /// End of validity: from then on a socket is closed with the code 4003 before anything more is received or sent on it, and its
    /// client asks the application again. Default: 15 minutes from now.
    #[serde(default)]
    pub valid_until: DateTime<Utc>,
    /// Time at which the application looked the rights up: rights of before a [`revocation`](Self::revocation) are refused after
    /// it. Default: now.
    #[serde(default)]
    pub judged_at: DateTime<Utc>,
    /// Data of the application's own. Default: null.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub claims: serde_json::Value,
}

impl Participant {
    /// Creates a participant who may watch, for 15 minutes on a socket.
    ///
    /// ```
    /// use isobar_objects::Participant;
    /// let guest = Participant::new("guest-17", "A guest");
    /// assert!(!guest.writes && !guest.moderates);
    /// ```
    pub fn new(user: impl Into<String>, name: impl Into<String>) -> Self {
        let user = user.into();
        let name = name.into();
        let claims = serde_json::Value::Null;
        let judged_at = Utc::now();
        Self { user, name, writes: false, moderates: false, valid_until: judged_at + VALID, judged_at, claims }
    }

    /// Sets the time of the judgement: before the application looked up the user's rights.
    ///
    /// Take it before the look: a revocation that falls between the look and the request then covers the participant.
    ///
    /// ```
    /// use chrono::Utc;
    /// use isobar_objects::Participant;
    /// let judged_at = Utc::now();
    /// // ... look the rights up in the database ...
    /// let ada = Participant::new("user-1", "Ada").with_judged_at(judged_at).with_writes(true);
    /// assert_eq!(ada.judged_at, judged_at);
    /// ```
    #[must_use]
    pub fn with_judged_at(mut self, judged_at: DateTime<Utc>) -> Self {
        self.judged_at = judged_at;
        self
    }

    /// Returns a request that ends at once what a user has open in an object: sockets are closed with 4003, streams and calls of
    /// MCP end. Send it when the user's rights have shrunk, once that is durable; a client that still has rights comes back.
    /// The object remembers it for 15 minutes, across its sleep. Answered by `{"closed": 2}`.
    ///
    /// ```
    /// # #[cfg(feature = "chat")]
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use isobar_objects::Participant;
    /// use isobar_objects::chat::{ChatOptions, ChatRoom};
    /// use isobar_sessions::memory::MemoryHost;
    /// use isobar_sessions::{Body, SessionNamespace};
    ///
    /// let rooms = MemoryHost::<ChatRoom>::new("Chat", ChatOptions::default)?;
    /// let lobby = rooms.id_from_name("lobby");
    /// // The rights of before; then they are taken away.
    /// let ada = Participant::new("user-1", "Ada").with_writes(true);
    /// rooms.fetch(&lobby, Participant::revocation("user-1")).await?;
    ///
    /// let mut request = http::Request::post("/messages").body(Body::from(r#"{"text": "hello"}"#))?;
    /// ada.insert(request.headers_mut());
    /// assert_eq!(rooms.fetch(&lobby, request).await?.status(), 403);
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "chat"))]
    /// # fn main() {}
    /// ```
    #[must_use]
    pub fn revocation(user: &str) -> Request {
        let mut request = Request::new(Body::empty());
        *request.method_mut() = http::Method::POST;
        let value = HeaderValue::from_str(&URL_SAFE_NO_PAD.encode(user)).expect("base64url makes a header");
        request.headers_mut().insert(REVOKED, value);
        request
    }

    /// Returns the user of a [`revocation`](Self::revocation).
    #[cfg(any(feature = "call", feature = "chat", feature = "mcp"))]
    pub(crate) fn revoked_by(request: &Request) -> Option<String> {
        let user = URL_SAFE_NO_PAD.decode(request.headers().get(REVOKED)?.as_bytes()).ok()?;
        String::from_utf8(user).ok()
    }

    /// Sets the end of validity.
    ///
    /// Set it to the end of the application's own session, where that is sooner: a socket does not outlive it.
    #[must_use]
    pub fn with_valid_until(mut self, valid_until: DateTime<Utc>) -> Self {
        self.valid_until = valid_until;
        self
    }

    /// Sets whether the user may write.
    #[must_use]
    pub fn with_writes(mut self, writes: bool) -> Self {
        self.writes = writes;
        self
    }

    /// Sets whether the user may change and delete what others have written.
    #[must_use]
    pub fn with_moderates(mut self, moderates: bool) -> Self {
        self.moderates = moderates;
        self
    }

    /// Sets data of the application's own.
    ///
    /// The objects of this crate pass them on, and decide nothing by them: an `McpService` (feature `mcp`) finds the
    /// application's own data of the caller here.
    ///
    /// ```
    /// use isobar_objects::Participant;
    /// let ada = Participant::new("user-1", "Ada").with_claims(serde_json::json!({"tenant": "acme"}));
    /// assert_eq!(ada.claims["tenant"], "acme");
    /// ```
    #[must_use]
    pub fn with_claims(mut self, claims: serde_json::Value) -> Self {
        self.claims = claims;
        self
    }

    /// Puts the participant into the headers of a request for a session object, in place of a participant that is there. Headers
    /// by which a client's request would pass for one of the application's own are removed.
    ///
    /// Inserting is idempotent; the last participant counts. The header is base64url of JSON, so names may have any character.
    pub fn insert(&self, headers: &mut HeaderMap) {
        headers.remove(REVOKED);
        #[cfg(any(feature = "call", feature = "chat"))]
        headers.remove(crate::occupancy::ASKED);
        let json = serde_json::to_vec(self).expect("texts and booleans are JSON");
        let value = HeaderValue::from_str(&URL_SAFE_NO_PAD.encode(json)).expect("base64url makes a header");
        headers.insert(HEADER, value);
    }

    /// Returns the participant that [`insert`](Self::insert) has put into a request.
    ///
    /// It is neither signed nor checked: the header is trusted, as it can only have come from the application.
    ///
    /// ```
    /// use isobar_objects::Participant;
    /// use isobar_sessions::{Body, Request};
    /// let refused = Participant::of(&Request::new(Body::empty())).expect_err("nobody is named");
    /// assert_eq!(refused.status(), 401);
    /// ```
    ///
    /// # Errors
    /// The response, a 401, if the request has none.
    pub fn of(request: &Request) -> Result<Self, Box<Response>> {
        let value = request.headers().get(HEADER).map(HeaderValue::as_bytes).unwrap_or_default();
        let json = URL_SAFE_NO_PAD.decode(value).ok();
        let participant = json.and_then(|json| serde_json::from_slice(&json).ok());
        participant
            .ok_or_else(|| Box::new(refusal(StatusCode::UNAUTHORIZED, "the request has no participant: sign in")))
    }
}
