//! What sends a request: the trait, bodies, and errors.

use std::error::Error as StdError;
use std::fmt::{self, Debug};
use std::pin::Pin;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use http::{Request, Response};

/// The error of a body's source, whatever it is.
pub type BodyError = Box<dyn StdError + Send + Sync>;

pub(super) type Chunks = Pin<Box<dyn Stream<Item = Result<Bytes, BodyError>> + Send>>;

/// Sends HTTP requests: one connection pool, say. Both bodies stream.
#[async_trait]
pub trait Transport: Debug + Send + Sync {
    /// Sends a request; done when the head of the answer is there.
    ///
    /// # Errors
    /// When there is no answer. A status of any kind is one.
    async fn send(&self, request: Request<Body>) -> Result<Response<Body>, TransportError>;
}

/// The body of a request or an answer: bytes, or a stream of them.
pub struct Body {
    length: Option<u64>,
    source: Source,
}

enum Source {
    Whole(Bytes),
    Chunks(Chunks),
}

impl Body {
    /// No bytes.
    #[must_use]
    pub fn empty() -> Self {
        Bytes::new().into()
    }

    /// A stream, of a known length where there is one.
    pub fn from_stream<S>(length: Option<u64>, chunks: S) -> Self
    where
        S: Stream<Item = Result<Bytes, BodyError>> + Send + 'static,
    {
        Self { length, source: Source::Chunks(Box::pin(chunks)) }
    }

    /// Its length in bytes, where that is known.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// The bytes, where they are in memory already.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&Bytes> {
        match &self.source {
            Source::Whole(bytes) => Some(bytes),
            Source::Chunks(_) => None,
        }
    }

    /// The whole body, where it has no more than `limit` bytes.
    ///
    /// # Errors
    /// What its source fails with; a body over the limit.
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

    /// The body as a stream of chunks.
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

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TransportErrorKind {
    /// No connection: nothing has been sent.
    Connect,
    /// Nothing moved for too long.
    Timeout,
    /// The connection broke off, or what came was no HTTP.
    Broken,
    /// The body of the request failed.
    Body,
    /// The request itself cannot be sent: its URL, say.
    Request,
}

/// No answer, and why. It never shows the URL's query, where signatures are.
#[derive(Debug)]
pub struct TransportError {
    kind: TransportErrorKind,
    message: String,
    source: Option<BodyError>,
}

impl TransportError {
    /// An error of this kind.
    pub fn new(kind: TransportErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// Attaches the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BodyError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> TransportErrorKind {
        self.kind
    }

    /// The cause, where there is one.
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
