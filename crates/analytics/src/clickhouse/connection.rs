//! The server: its URL, its credentials, and requests to it.
//!
//! Credentials are headers (`X-ClickHouse-User`, `X-ClickHouse-Key`), so that they stand in no URL, and no error has them: a password that the
//! server repeats in a message is taken out.

use std::fmt::{self, Debug};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;
use http::{HeaderMap, HeaderValue, Request, Uri};
use isobar_cloudflare::client::{Body, Client, HttpTransport, Idempotency, Retry, Timeouts};

use crate::{Error, ErrorKind, Result};

/// Size limit of an answer in bytes.
const MAX_ANSWER: usize = 32 << 20;
/// Most characters of a message of the server that an error has.
const MAX_MESSAGE: usize = 1000;
/// Longest time for which the server may work on a request before it answers.
const ANSWER: Duration = Duration::from_secs(120);

/// A ClickHouse server, over HTTP or HTTPS. Cheap to clone.
///
/// ```
/// use isobar_analytics::clickhouse::ClickHouse;
///
/// let server = ClickHouse::new("https://clickhouse.example.com:8443")?.with_credentials("writer", "secret")?.with_database("events");
/// assert!(!format!("{server:?}").contains("secret"));
/// # Ok::<(), isobar_analytics::Error>(())
/// ```
///
/// Nothing is sent before the first insert or query, and the database must exist.
#[derive(Clone)]
pub struct ClickHouse {
    /// Without a `/` at its end.
    url: String,
    database: String,
    credentials: Option<Credentials>,
    client: Client,
}

#[derive(Clone)]
struct Credentials {
    user: HeaderValue,
    password: HeaderValue,
}

impl Debug for ClickHouse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClickHouse").field("url", &self.url).field("database", &self.database).finish_non_exhaustive()
    }
}

impl ClickHouse {
    /// Creates a connection to the server at this URL, of ClickHouse's HTTP interface (port 8123 or 8443 by default), with the database
    /// `default` and no credentials.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for a URL that is not `http:` or `https:`, or has a user, a password or a query;
    /// [`ErrorKind::Internal`] where the system's certificates cannot be loaded.
    pub fn new(url: &str) -> Result<Self> {
        let url = base(url)?;
        let transport = HttpTransport::with_timeouts(Timeouts::default().with_answer(ANSWER))
            .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()).with_source(error).during("open"))?;
        let client = Client::new(transport).with_retry(Retry::default().with_attempts(8));
        Ok(Self { url, database: "default".to_owned(), credentials: None, client })
    }

    /// Sets the user and the password.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where one of them has a control character, which no header can have.
    pub fn with_credentials(mut self, user: &str, password: &str) -> Result<Self> {
        let header = |text: &str, name: &str| {
            let mut value = HeaderValue::from_bytes(text.as_bytes()).map_err(|_| {
                Error::new(ErrorKind::Unsupported, format!("the {name} has a control character")).during("open")
            })?;
            value.set_sensitive(true);
            Ok::<_, Error>(value)
        };
        self.credentials = Some(Credentials { user: header(user, "user")?, password: header(password, "password")? });
        Ok(self)
    }

    /// Sets the database, which must exist. Default: `default`.
    #[must_use]
    pub fn with_database(mut self, database: impl Into<String>) -> Self {
        self.database = database.into();
        self
    }

    /// Sets the HTTP client, with its transport, timeouts, retries and clock.
    ///
    /// Default: 8 attempts, between which it waits 12.7 s at most in all, and an answer within 120 s. More attempts keep a batch longer while
    /// the server is away, and its buffer fills meanwhile.
    #[must_use]
    pub fn with_client(mut self, client: Client) -> Self {
        self.client = client;
        self
    }

    /// Sends a request with these parameters in its URL, and returns the head and the body of an answer without an exception.
    pub(super) async fn send(
        &self,
        idempotency: Idempotency,
        parameters: &[(&str, &str)],
        body: Bytes,
    ) -> Result<(HeaderMap, Bytes), Failure> {
        let url = self.url(parameters);
        let request = || {
            let mut request = Request::post(&url);
            if let Some(Credentials { user, password }) = &self.credentials {
                request = request.header("x-clickhouse-user", user).header("x-clickhouse-key", password);
            }
            request.body(Body::from(body.clone())).ok()
        };
        let answer = self.client.send(idempotency, request).await;
        let (head, body) = answer.map_err(|error| Failure::NoAnswer(error.to_string()))?.into_parts();
        let body = read(body).await?;
        // An exception after the head of an answer was sent comes with the status 200.
        let code = head.headers.get("x-clickhouse-exception-code");
        let code = code.map(|code| code.to_str().ok().and_then(|code| code.parse().ok()).unwrap_or_default());
        if head.status.is_success() && code.is_none() {
            return Ok((head.headers, body));
        }
        Err(Failure::Refused { status: head.status.as_u16(), code, message: self.message(&body) })
    }

    fn url(&self, parameters: &[(&str, &str)]) -> String {
        let mut url = format!("{}/?database={}", self.url, encoded(&self.database));
        for (name, value) in parameters {
            url.push('&');
            url.push_str(name);
            url.push('=');
            url.push_str(&encoded(value));
        }
        url
    }

    /// The message of an answer, without the password.
    fn message(&self, body: &[u8]) -> String {
        let text = String::from_utf8_lossy(body);
        let mut text = text.trim().to_owned();
        let password =
            self.credentials.as_ref().map(|credentials| String::from_utf8_lossy(credentials.password.as_bytes()));
        if let Some(password) = password.filter(|password| !password.is_empty()) {
            text = text.replace(&*password, "***");
        }
        text.chars().take(MAX_MESSAGE).collect()
    }
}

/// Checks a URL. Errors do not repeat it, as it may have a password.
fn base(url: &str) -> Result<String> {
    let invalid =
        |what: &str| Error::new(ErrorKind::Unsupported, format!("invalid URL of ClickHouse: {what}")).during("open");
    let uri: Uri = url.parse().map_err(|_| invalid("it cannot be read"))?;
    let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"));
    let scheme = scheme.ok_or_else(|| invalid("use http:// or https://"))?;
    let authority = uri.authority().ok_or_else(|| invalid("it has no host"))?.as_str();
    if authority.contains('@') {
        return Err(invalid("give user and password as credentials"));
    }
    if uri.query().is_some() {
        return Err(invalid("it has a query; give the database by its name"));
    }
    Ok(format!("{scheme}://{authority}{}", uri.path().trim_end_matches('/')))
}

async fn read(body: Body) -> Result<Bytes, Failure> {
    let mut chunks = body.into_stream();
    let mut all = BytesMut::new();
    while let Some(chunk) = chunks.try_next().await.map_err(|error| Failure::NoAnswer(error.to_string()))? {
        if all.len() + chunk.len() > MAX_ANSWER {
            return Err(Failure::TooLarge);
        }
        all.extend_from_slice(&chunk);
    }
    Ok(all.freeze())
}

/// A value as it stands in a URL's query.
fn encoded(value: &str) -> String {
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// The failure of a request, after all its attempts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// There was no answer.
    NoAnswer(String),
    /// The answer has more bytes than are read.
    TooLarge,
    /// The server has not done what it was asked for. The code is that of ClickHouse's exception.
    Refused { status: u16, code: Option<i64>, message: String },
}

/// The code of the exception `UNKNOWN_TABLE`.
const UNKNOWN_TABLE: i64 = 60;

impl Failure {
    /// Whether the table does not exist.
    pub(super) fn is_unknown_table(&self) -> bool {
        matches!(self, Self::Refused { code: Some(UNKNOWN_TABLE), .. })
    }

    /// The kind of the failure: `None` where what was sent is refused as it is, and another attempt would not mend that.
    ///
    /// ClickHouse answers many exceptions by 500, so that its code goes before the status. Source: `ErrorCodes.cpp` and
    /// `exceptionCodeToHTTPStatus.cpp` of ClickHouse.
    pub(super) fn kind(&self) -> Option<ErrorKind> {
        let (status, code) = match self {
            Self::NoAnswer(_) => return Some(ErrorKind::Unavailable),
            Self::TooLarge => return Some(ErrorKind::MemoryLimit),
            Self::Refused { status, code, .. } => (status, code),
        };
        match (*code, *status) {
            // Unknown user, wrong password, required password, access denied, authentication failed.
            (Some(192..=194 | 497 | 516), _) | (_, 401 | 403) => Some(ErrorKind::PermissionDenied),
            (Some(241), _) => Some(ErrorKind::MemoryLimit),
            // Timeout exceeded, too slow.
            (Some(159 | 160), _) => Some(ErrorKind::TimedOut),
            // The query was cancelled.
            (Some(394), _) => Some(ErrorKind::Cancelled),
            // Disk full.
            (Some(243), _) => Some(ErrorKind::StorageFull),
            // Too many queries, no connection, timeouts and errors of the network, no keeper, a read-only table, too many parts,
            // too few replicas, an insert whose outcome is unknown.
            (Some(198 | 202 | 203 | 209 | 210 | 225 | 242 | 252 | 279 | 285 | 319 | 999), _) => {
                Some(ErrorKind::Unavailable)
            }
            (Some(_), _) => None,
            (None, 408 | 429 | 500..) => Some(ErrorKind::Unavailable),
            (None, _) => None,
        }
    }

    /// The error, of a kind where what was sent is refused as it is.
    pub(super) fn into_error(self, refused: ErrorKind) -> Error {
        let kind = self.kind().unwrap_or(refused);
        match self {
            Self::NoAnswer(message) => Error::new(kind, message),
            Self::TooLarge => Error::new(
                kind,
                format!("the answer has more than {MAX_ANSWER} bytes; select fewer rows, or set a LIMIT"),
            ),
            Self::Refused { status, code, message } => {
                Error::new(kind, format!("ClickHouse has answered {status}: {message}")).with_code(code)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_with_credentials_is_refused_and_not_repeated() {
        for url in ["http://user:secret@host:8123", "http://host/?password=secret", "ftp://secret", "secret", "http://"]
        {
            let error = ClickHouse::new(url).expect_err("the URL is invalid");
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{url}");
            assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
        }
    }

    #[test]
    fn parameters_are_encoded() {
        let server = ClickHouse::new("http://host:8123/a/").expect("the URL is valid").with_database("é b");
        assert_eq!(server.url(&[("query", "a'b&c")]), "http://host:8123/a/?database=%C3%A9%20b&query=a%27b%26c");
    }

    #[test]
    fn credentials_are_neither_shown_nor_in_messages() {
        let server = ClickHouse::new("http://host").and_then(|server| server.with_credentials("writer", "secret"));
        let server = server.expect("the credentials are valid");
        assert!(!format!("{server:?}").contains("secret") && !format!("{server:?}").contains("writer"));
        assert_eq!(server.message(b" Code: 516. wrong password 'secret'\n"), "Code: 516. wrong password '***'");
        assert!(server.with_credentials("a\n", "b").is_err());
    }

    #[test]
    fn exception_goes_before_the_status() {
        let kind = |status, code| Failure::Refused { status, code, message: String::new() }.kind();
        assert_eq!(kind(500, Some(153)), None, "a division by zero");
        assert_eq!(kind(500, Some(252)), Some(ErrorKind::Unavailable), "too many parts");
        assert_eq!(kind(500, Some(516)), Some(ErrorKind::PermissionDenied));
        assert_eq!((kind(500, None), kind(400, None)), (Some(ErrorKind::Unavailable), None));
        assert_eq!(kind(200, Some(241)), Some(ErrorKind::MemoryLimit));
        assert_eq!(Failure::NoAnswer(String::new()).kind(), Some(ErrorKind::Unavailable));
    }
}
