//! The transport of requests: the trait, bodies, and errors.
//!
//! The seam at which tests, proxies and other HTTP stacks come in. Everything above it (retries, signatures, the REST API's envelope, S3's
//! XML) sees requests and responses of the crate `http` alone, and a [`Body`](super::Body) that is either in memory, so that it can be sent
//! again, or a stream, which is sent once.

use std::error::Error as StdError;
use std::fmt::{self, Debug};
use std::pin::Pin;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use http::{Request, Response};

/// The error of a body's source, of any type.
pub type BodyError = Box<dyn StdError + Send + Sync>;

pub(super) type Chunks = Pin<Box<dyn Stream<Item = Result<Bytes, BodyError>> + Send>>;

/// Sends HTTP requests, for example through a connection pool. Both bodies are streamed.
///
/// ```
/// use async_trait::async_trait;
/// use http::{Request, Response};
/// use isobar_cloudflare::client::{Body, Client, Idempotency, Transport, TransportError};
///
/// /// Answers each request with its own path.
/// #[derive(Debug)]
/// struct Echo;
///
/// #[async_trait]
/// impl Transport for Echo {
///     async fn send(&self, request: Request<Body>) -> Result<Response<Body>, TransportError> {
///         Ok(Response::new(request.uri().path().to_owned().into()))
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let client = Client::new(Echo);
/// let request = || Request::get("https://example.com/a").body(Body::empty()).ok();
/// let response = client.send(Idempotency::Idempotent, request).await?;
/// assert_eq!(response.into_body().bytes(1024).await?, "/a");
/// # Ok(()) }
/// ```
///
/// An implementation does not retry, follows no redirect (a signature is for one URL), and keeps a body that is a stream a stream, with
/// backpressure in both directions. Dropping the future of [`send`](Self::send), or the body of a response, ends the request.
#[async_trait]
pub trait Transport: Debug + Send + Sync {
    /// Sends a request. Completes when the head of the response arrives.
    ///
    /// The kind of the error says whether the server can have seen the request: with [`TransportErrorKind::Connect`] it has not, and the
    /// request is sent again whatever it does. An implementation must not say so of a request of which a byte was sent.
    ///
    /// # Errors
    /// Fails where there is no response. A response of any status is not an error.
    async fn send(&self, request: Request<Body>) -> Result<Response<Body>, TransportError>;
}

/// The body of a request or a response: bytes, or a stream of them.
///
/// ```
/// use bytes::Bytes;
/// use futures_util::stream;
/// use isobar_cloudflare::client::Body;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let text: Body = "abc".to_owned().into();
/// assert_eq!((text.length(), text.as_bytes().map(|bytes| bytes.len())), (Some(3), Some(3)));
///
/// let chunks = stream::iter([Ok(Bytes::from("ab")), Ok(Bytes::from("c"))]);
/// let streamed = Body::from_stream(None, chunks);
/// assert!(streamed.length().is_none() && streamed.as_bytes().is_none());
/// assert_eq!(streamed.bytes(1024).await?, "abc");
///
/// let error = text.bytes(2).await.unwrap_err();
/// assert_eq!(error.to_string(), "the body has more than 2 bytes");
/// # Ok(()) }
/// ```
pub struct Body {
    length: Option<u64>,
    source: Source,
}

enum Source {
    Whole(Bytes),
    Chunks(Chunks),
}

impl Body {
    /// Creates an empty body.
    #[must_use]
    pub fn empty() -> Self {
        Bytes::new().into()
    }

    /// Creates a body from a stream, with its length in bytes if that is known.
    ///
    /// The length is sent as `Content-Length` and must be the stream's; without it the body is chunked, which R2's S3 API does not take for
    /// a `PUT`. A stream is sent once: a request with it is not repeated.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use futures_util::{TryStreamExt, stream};
    /// use isobar_cloudflare::client::Body;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// let body = Body::from_stream(Some(4), stream::iter(["ab", "cd"].map(|chunk| Ok(Bytes::from(chunk)))));
    /// assert_eq!(body.length(), Some(4));
    /// let chunks: Vec<Bytes> = body.into_stream().try_collect().await?;
    /// assert_eq!(chunks, ["ab", "cd"]);
    /// # Ok(()) }
    /// ```
    pub fn from_stream<S>(length: Option<u64>, chunks: S) -> Self
    where
        S: Stream<Item = Result<Bytes, BodyError>> + Send + 'static,
    {
        Self { length, source: Source::Chunks(Box::pin(chunks)) }
    }

    /// Returns its length in bytes, if known.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// Returns the bytes, if they are in memory.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&Bytes> {
        match &self.source {
            Source::Whole(bytes) => Some(bytes),
            Source::Chunks(_) => None,
        }
    }

    /// Reads the whole body, of at most `limit` bytes.
    ///
    /// Memory stays below the limit plus a chunk. The limit is for the bytes that arrive: `length` is a claim of the sender.
    ///
    /// ```
    /// use isobar_cloudflare::client::Body;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let body: Body = "0123456789".to_owned().into();
    /// assert_eq!(body.bytes(9).await.unwrap_err().to_string(), "the body has more than 9 bytes");
    /// # }
    /// ```
    ///
    /// # Errors
    /// The source's error, or an error for a body over the limit.
    pub async fn bytes(self, limit: usize) -> Result<Bytes, BodyError> {
        let mut all = BytesMut::new();
        let mut chunks = self.into_stream();
        while let Some(chunk) = chunks.try_next().await? {
            if all.len() + chunk.len() > limit {
                return Err(format!("the body has more than {limit} bytes").into());
            }
            all.extend_from_slice(&chunk);
        }
        Ok(all.freeze())
    }

    /// Returns the body as a stream of chunks, without empty ones where the body is in memory.
    ///
    /// Dropping the stream before its end ends the response; over HTTP/1.1 its connection is closed and not used again.
    ///
    /// # Errors
    /// The stream ends with the source's error, if that fails.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, BodyError>> + Send + Unpin + 'static {
        match self.source {
            Source::Whole(bytes) => stream::iter((!bytes.is_empty()).then_some(Ok(bytes))).boxed(),
            Source::Chunks(chunks) => chunks,
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self { length: Some(bytes.len() as u64), source: Source::Whole(bytes) }
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.length {
            Some(length) => write!(f, "Body({length} bytes)"),
            None => write!(f, "Body(of unknown length)"),
        }
    }
}

/// The kind of a [`TransportError`].
///
/// [`Client`](super::Client) retries by it: see [`Idempotency`](super::Idempotency).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TransportErrorKind {
    /// The connection failed; nothing was sent.
    Connect,
    /// No progress within a timeout.
    Timeout,
    /// The connection was closed early, or the response was not valid HTTP.
    Broken,
    /// The source of the request's body failed.
    Body,
    /// The request is invalid, for example its URL.
    Request,
}

/// The error of a request without a response. It never shows the URL's query, which may have a signature.
///
/// ```
/// use std::error::Error;
///
/// use isobar_cloudflare::client::{TransportError, TransportErrorKind};
///
/// let closed = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
/// let error = TransportError::new(TransportErrorKind::Broken, "the connection was closed").with_source(closed);
/// assert_eq!((error.kind(), error.to_string().as_str()), (TransportErrorKind::Broken, "the connection was closed"));
/// assert!(error.source().is_some());
/// ```
#[derive(Debug)]
pub struct TransportError {
    kind: TransportErrorKind,
    message: String,
    source: Option<BodyError>,
}

impl TransportError {
    /// Creates an error of this kind.
    pub fn new(kind: TransportErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// Attaches the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BodyError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Returns the kind.
    #[must_use]
    pub fn kind(&self) -> TransportErrorKind {
        self.kind
    }

    /// Returns the cause, if there is one.
    ///
    /// Backends distinguish by it a failure of their caller's body ([`TransportErrorKind::Body`]) from one of the network:
    ///
    /// ```
    /// use isobar_cloudflare::client::{TransportError, TransportErrorKind};
    ///
    /// let source = std::io::Error::other("the file has changed");
    /// let error = TransportError::new(TransportErrorKind::Body, "the body cannot be read").with_source(source);
    /// assert!(error.into_source().is_some_and(|source| source.is::<std::io::Error>()));
    /// ```
    #[must_use]
    pub fn into_source(self) -> Option<BodyError> {
        self.source
    }
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for TransportError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
