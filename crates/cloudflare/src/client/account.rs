//! A Cloudflare account over the REST API: URLs, the token, the envelope of responses.
//!
//! A response is `{ "success", "errors": [{ "code", "message" }], "messages", "result" }` (Cloudflare's documentation, "API", "Make API
//! calls"); an endpoint of SQL answers text instead. Both kinds of refusal become one [`RestError`](super::RestError): with an envelope,
//! its messages with their codes; without, the first 500 characters of the text with code 0. The token is in no message and in no `Debug`.

use std::error::Error as StdError;
use std::fmt::{self, Debug};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Body, Client, HttpTransport, Idempotency, TransportError};

/// Base URL of the REST API.
const BASE_URL: &str = "https://api.cloudflare.com/client/v4";
/// Size limit of a response in bytes. Responses are JSON in memory; R2's objects do not use this client.
const ANSWER_BYTES: usize = 256 * 1024 * 1024;

/// A Cloudflare account: its id and an API token. Cheap to clone.
///
/// ```no_run
/// use http::Method;
/// use isobar_cloudflare::client::{Account, Client, HttpTransport, Idempotency, Retry};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::new(HttpTransport::new()?).with_retry(Retry::default().with_attempts(3));
/// let account = Account::from_env()?.with_client(client);
/// let buckets: serde_json::Value = account.call(Idempotency::Idempotent, Method::GET, "r2/buckets", None).await?;
/// println!("{buckets}");
/// # Ok(()) }
/// ```
///
/// A call needs a token with the permission of its product ("Account / D1 / Edit", say); a token without it is
/// [`RestErrorKind::PermissionDenied`]. Responses are read into memory, up to 256 MiB.
#[derive(Clone)]
pub struct Account {
    client: Client,
    base_url: String,
    id: String,
    token: String,
}

impl Account {
    /// Creates an account from its id and an API token, over [`HttpTransport`].
    ///
    /// Nothing is sent: an id or a token that Cloudflare does not know shows with the first call.
    ///
    /// ```
    /// use isobar_cloudflare::client::{Account, RestErrorKind};
    ///
    /// let account = Account::new("0123456789abcdef0123456789abcdef", "token")?;
    /// assert_eq!(account.id(), "0123456789abcdef0123456789abcdef");
    /// assert!(!format!("{account:?}").contains("token"), "it is not shown");
    /// assert_eq!(Account::new("a/b", "token").unwrap_err().kind(), RestErrorKind::Request);
    /// # Ok::<(), isobar_cloudflare::client::RestError>(())
    /// ```
    ///
    /// # Errors
    /// [`RestErrorKind::Request`] where the transport cannot be created, or the token is empty or not a valid header value.
    pub fn new(id: impl Into<String>, token: impl Into<String>) -> Result<Self, RestError> {
        let transport = HttpTransport::new().map_err(RestError::transport)?;
        let id = id.into();
        let token = token.into();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(RestError::new(RestErrorKind::Request, "the API token is empty or not a valid header value"));
        }
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_') {
            return Err(RestError::new(RestErrorKind::Request, format!("invalid account id {id:?}")));
        }
        Ok(Self { client: Client::new(transport), base_url: BASE_URL.to_owned(), id, token })
    }

    /// Creates an account from wrangler's environment variables: `CLOUDFLARE_ACCOUNT_ID`, `CLOUDFLARE_API_TOKEN`, and optionally
    /// `CLOUDFLARE_API_BASE_URL`.
    ///
    /// # Errors
    /// [`RestErrorKind::Request`] naming the variable that is missing.
    pub fn from_env() -> Result<Self, RestError> {
        let variable = |name: &str| {
            let missing = || RestError::new(RestErrorKind::Request, format!("the variable {name} is not set"));
            std::env::var(name).ok().filter(|value| !value.is_empty()).ok_or_else(missing)
        };
        let account = Self::new(variable("CLOUDFLARE_ACCOUNT_ID")?, variable("CLOUDFLARE_API_TOKEN")?)?;
        Ok(match std::env::var("CLOUDFLARE_API_BASE_URL") {
            Ok(base_url) if !base_url.is_empty() => account.with_base_url(base_url),
            _ => account,
        })
    }

    /// Sets the base URL of the API, up to and including its version.
    ///
    /// Default: `https://api.cloudflare.com/client/v4`. For proxies and tests; a `/` at its end is cut off.
    ///
    /// ```
    /// use isobar_cloudflare::client::Account;
    ///
    /// // The `/` at the end makes no difference.
    /// let account = Account::new("1234", "token")?.with_base_url("http://127.0.0.1:8787/client/v4/");
    /// assert!(format!("{account:?}").contains("\"http://127.0.0.1:8787/client/v4\""));
    /// # Ok::<(), isobar_cloudflare::client::RestError>(())
    /// ```
    #[must_use]
    pub fn with_base_url(mut self, base_url: impl Into<String>) -> Self {
        self.base_url = base_url.into().trim_end_matches('/').to_owned();
        self
    }

    /// Sets the client: its transport and retry policy.
    ///
    /// Default: [`HttpTransport`] with [`Timeouts::default`](super::Timeouts), 5 attempts, 64 requests in flight.
    #[must_use]
    pub fn with_client(mut self, client: Client) -> Self {
        self.client = client;
        self
    }

    /// Returns the account's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Calls the API at a path below the account and returns the `result` of the envelope.
    ///
    /// A call is tried again as the [client](Self::with_client) does for this [`Idempotency`]. A `/` at the beginning of the path is left out; names within it
    /// must be encoded for a URL already. A `null` as the result deserializes into `()` or an `Option`.
    ///
    /// ```
    /// use http::{Method, Request, Response};
    /// use isobar_cloudflare::client::{Account, Body, Client, Idempotency, Transport, TransportError};
    ///
    /// /// Answers as the API does where there are no buckets.
    /// #[derive(Debug)]
    /// struct Fake;
    ///
    /// #[async_trait::async_trait]
    /// impl Transport for Fake {
    ///     async fn send(&self, request: Request<Body>) -> Result<Response<Body>, TransportError> {
    ///         assert_eq!(request.uri().path(), "/client/v4/accounts/1234/r2/buckets");
    ///         Ok(Response::new(r#"{"success": true, "errors": [], "result": {"buckets": []}}"#.to_owned().into()))
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let account = Account::new("1234", "token")?.with_client(Client::new(Fake));
    /// let result: serde_json::Value = account.call(Idempotency::Idempotent, Method::GET, "r2/buckets", None).await?;
    /// assert_eq!(result["buckets"], serde_json::json!([]));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// A [`RestError`] whose [kind](RestError::kind) says whether the request was invalid, refused, unanswered or the response not
    /// as expected.
    pub async fn call<T: DeserializeOwned>(
        &self,
        idempotency: Idempotency,
        method: Method,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> Result<T, RestError> {
        let body = body.map(|body| ("application/json", Bytes::from(body.to_string())));
        let (status, answer) = self.ask(idempotency, method, path, body).await?;
        open(status, &answer)
    }

    /// Calls the API at a path below the account with a text and returns the response body as it is.
    ///
    /// The request is a POST of `text/plain`, and the response is not an envelope: for the SQL API of Analytics Engine
    /// (`analytics_engine/sql`), which answers in the format that the query asks for.
    ///
    /// ```
    /// use http::{Request, Response};
    /// use isobar_cloudflare::client::{Account, Body, Client, Idempotency, RestErrorKind, Transport, TransportError};
    ///
    /// /// Refuses a query as Analytics Engine does: with text.
    /// #[derive(Debug)]
    /// struct Refusing;
    ///
    /// #[async_trait::async_trait]
    /// impl Transport for Refusing {
    ///     async fn send(&self, _: Request<Body>) -> Result<Response<Body>, TransportError> {
    ///         let body = "unable to find type of column: nope".to_owned().into();
    ///         Ok(Response::builder().status(422).body(body).expect("the head is valid"))
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let account = Account::new("1234", "token")?.with_client(Client::new(Refusing));
    /// let asked = account.call_text(Idempotency::Idempotent, "analytics_engine/sql", "SELECT nope FROM web").await;
    /// let error = asked.unwrap_err();
    /// assert_eq!(error.kind(), RestErrorKind::Refused);
    /// assert_eq!(error.messages()[0].message, "unable to find type of column: nope");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn call_text(&self, idempotency: Idempotency, path: &str, text: &str) -> Result<Bytes, RestError> {
        let body = Some(("text/plain; charset=utf-8", Bytes::copy_from_slice(text.as_bytes())));
        let (status, answer) = self.ask(idempotency, Method::POST, path, body).await?;
        if status.is_success() { Ok(answer) } else { Err(refusal(status, &answer)) }
    }

    async fn ask(
        &self,
        idempotency: Idempotency,
        method: Method,
        path: &str,
        body: Option<(&str, Bytes)>,
    ) -> Result<(StatusCode, Bytes), RestError> {
        let url = format!("{}/accounts/{}/{}", self.base_url, self.id, path.trim_start_matches('/'));
        let request = || {
            let mut request = Request::builder().method(method.clone()).uri(&url);
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", self.token));
            if let Some((content_type, _)) = &body {
                request = request.header(header::CONTENT_TYPE, *content_type);
            }
            let body = body.as_ref().map_or_else(Body::empty, |(_, bytes)| bytes.clone().into());
            request.body(body).ok()
        };
        if request().is_none() {
            return Err(RestError::new(RestErrorKind::Request, format!("invalid URL {url:?}")));
        }
        let answer = self.client.send(idempotency, request).await.map_err(RestError::transport)?;
        let status = answer.status();
        let bytes = answer.into_body().bytes(ANSWER_BYTES).await;
        let bytes = bytes.map_err(|error| RestError::new(RestErrorKind::Unavailable, error.to_string()))?;
        Ok((status, bytes))
    }
}

impl Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client: _, base_url, id, token: _ } = self;
        f.debug_struct("Account").field("base_url", base_url).field("id", id).finish_non_exhaustive()
    }
}

/// The envelope of the API's responses.
#[derive(Deserialize)]
struct Envelope {
    success: bool,
    #[serde(default)]
    errors: Vec<ApiMessage>,
    #[serde(default)]
    result: serde_json::Value,
}

/// An error message of the API.
///
/// Codes are each product's own; 0 where a refusal had none.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct ApiMessage {
    /// Cloudflare's error code.
    #[serde(default)]
    pub code: i64,
    /// Text of the message.
    #[serde(default)]
    pub message: String,
}

/// Opens the envelope of a response. A response that is not one is a refusal where its status says so (a proxy's HTML page, for example),
/// and else [`RestErrorKind::Decode`].
fn open<T: DeserializeOwned>(status: StatusCode, answer: &[u8]) -> Result<T, RestError> {
    let envelope: Envelope = match serde_json::from_slice(answer) {
        Ok(envelope) => envelope,
        Err(_) if !status.is_success() => return Err(refusal(status, answer)),
        Err(error) => {
            return Err(RestError::new(RestErrorKind::Decode, format!("the response is not an envelope: {error}")));
        }
    };
    if !envelope.success || !status.is_success() {
        return Err(RestError::answered(status, envelope.errors));
    }
    serde_json::from_value(envelope.result)
        .map_err(|error| RestError::new(RestErrorKind::Decode, format!("unexpected result in the response: {error}")))
}

/// Reads the response to a refused request: an envelope, or plain text, of which the first 500 characters become the message. An empty
/// one leaves the status alone.
fn refusal(status: StatusCode, answer: &[u8]) -> RestError {
    let errors = match serde_json::from_slice::<Envelope>(answer) {
        Ok(envelope) => envelope.errors,
        Err(_) => {
            let text: String = String::from_utf8_lossy(answer).trim().chars().take(500).collect();
            if text.is_empty() { Vec::new() } else { vec![ApiMessage { code: 0, message: text }] }
        }
    };
    RestError::answered(status, errors)
}

/// The kind of a [`RestError`].
///
/// The status decides it, whatever the envelope says:
///
/// | status | kind |
/// |---|---|
/// | 401, 403 | [`PermissionDenied`](Self::PermissionDenied) |
/// | 404 | [`NotFound`](Self::NotFound) |
/// | 408, 429, 500 and above; no response | [`Unavailable`](Self::Unavailable) |
/// | any other that is not 2xx, and `"success": false` in a 2xx | [`Refused`](Self::Refused) |
/// | 2xx without an envelope, or with another result than the caller's type | [`Decode`](Self::Decode) |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RestErrorKind {
    /// The token is invalid or lacks the permission (401, 403).
    PermissionDenied,
    /// Not found (404).
    NotFound,
    /// Cloudflare refused the request; see [`RestError::messages`].
    Refused,
    /// Too many requests, a failed server, no connection: a retry may succeed.
    Unavailable,
    /// The response does not have the expected form.
    Decode,
    /// The request is invalid and was not sent.
    Request,
}

/// An error of the REST API.
///
/// It displays as `Cloudflare answered STATUS: MESSAGE (CODE); ...`, or as the message alone where there was no response.
///
/// ```
/// use http::{Method, Request, Response};
/// use isobar_cloudflare::client::{Account, Body, Client, Idempotency, RestErrorKind, Retry, Transport, TransportError};
///
/// /// Has had too many requests.
/// #[derive(Debug)]
/// struct Busy;
///
/// #[async_trait::async_trait]
/// impl Transport for Busy {
///     async fn send(&self, _: Request<Body>) -> Result<Response<Body>, TransportError> {
///         let text = r#"{"success": false, "errors": [{"code": 971, "message": "slow down"}], "result": null}"#;
///         Ok(Response::builder().status(429).body(text.to_owned().into()).expect("the head is valid"))
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let account = Account::new("1234", "token")?.with_client(Client::new(Busy).with_retry(Retry::never()));
/// let asked = account.call::<serde_json::Value>(Idempotency::Idempotent, Method::GET, "d1/database", None).await;
/// let error = asked.unwrap_err();
/// assert_eq!((error.kind(), error.is_retryable()), (RestErrorKind::Unavailable, true));
/// assert_eq!((error.status().map(|status| status.as_u16()), error.messages()[0].code), (Some(429), 971));
/// assert_eq!(error.to_string(), "Cloudflare answered 429 Too Many Requests: slow down (971)");
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct RestError {
    kind: RestErrorKind,
    status: Option<StatusCode>,
    messages: Vec<ApiMessage>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl RestError {
    fn new(kind: RestErrorKind, message: impl Into<String>) -> Self {
        Self { kind, status: None, messages: vec![ApiMessage { code: 0, message: message.into() }], source: None }
    }

    fn transport(error: TransportError) -> Self {
        Self { source: None, ..Self::new(RestErrorKind::Unavailable, error.to_string()) }.caused_by(error)
    }

    fn caused_by(mut self, error: TransportError) -> Self {
        self.source = Some(error.into());
        self
    }

    fn answered(status: StatusCode, messages: Vec<ApiMessage>) -> Self {
        let kind = match status.as_u16() {
            401 | 403 => RestErrorKind::PermissionDenied,
            404 => RestErrorKind::NotFound,
            408 | 429 | 500.. => RestErrorKind::Unavailable,
            _ => RestErrorKind::Refused,
        };
        Self { kind, status: Some(status), messages, source: None }
    }

    /// Returns the kind.
    #[must_use]
    pub fn kind(&self) -> RestErrorKind {
        self.kind
    }

    /// Returns the HTTP status, if there was a response.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        self.status
    }

    /// Returns Cloudflare's messages with their codes.
    #[must_use]
    pub fn messages(&self) -> &[ApiMessage] {
        &self.messages
    }

    /// Whether a retry may succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.kind == RestErrorKind::Unavailable
    }
}

impl fmt::Display for RestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(status) = self.status {
            write!(f, "Cloudflare answered {status}")?;
            if self.messages.is_empty() {
                return Ok(());
            }
            f.write_str(": ")?;
        }
        for (number, ApiMessage { code, message }) in self.messages.iter().enumerate() {
            let separator = if number > 0 { "; " } else { "" };
            write!(f, "{separator}{message}")?;
            if *code != 0 {
                write!(f, " ({code})")?;
            }
        }
        Ok(())
    }
}

impl StdError for RestError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envelopes_are_opened() {
        let good: Vec<u8> = open(StatusCode::OK, br#"{"success":true,"errors":[],"messages":[],"result":[1,2]}"#)
            .expect("the arguments are valid");
        assert_eq!(good, [1, 2]);
        let refused =
            br#"{"success":false,"errors":[{"code":7500,"message":"no such table: x: SQLITE_ERROR"}],"result":null}"#;
        let error = open::<u8>(StatusCode::BAD_REQUEST, refused).expect_err("refused");
        assert_eq!((error.kind(), error.messages()[0].code), (RestErrorKind::Refused, 7500));
        assert_eq!(error.to_string(), "Cloudflare answered 400 Bad Request: no such table: x: SQLITE_ERROR (7500)");
        let kind = |status: u16, body: &[u8]| {
            open::<u8>(StatusCode::from_u16(status).expect("the status is valid"), body).map_err(|error| error.kind())
        };
        assert_eq!(kind(403, b"<html>no"), Err(RestErrorKind::PermissionDenied));
        assert_eq!(kind(429, b""), Err(RestErrorKind::Unavailable));
        assert_eq!(kind(200, b"<html>"), Err(RestErrorKind::Decode));
        assert_eq!(kind(200, br#"{"success":true,"result":"text"}"#), Err(RestErrorKind::Decode));
        assert_eq!(kind(200, br#"{"success":false}"#), Err(RestErrorKind::Refused));
    }

    #[test]
    fn the_token_is_never_shown() {
        let account = Account::new("id", "secret-token").expect("the arguments are valid");
        assert!(!format!("{account:?}").contains("secret"));
        assert!(Account::new("id", "with space").is_err());
        assert!(Account::new("../other", "t").is_err());
    }
}
