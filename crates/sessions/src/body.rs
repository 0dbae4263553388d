//! Bodies of requests and responses.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Frame;
use http_body_util::BodyExt;

use crate::{Error, ErrorKind, Result};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Body of a request or a response: bytes at hand, or a stream of them.
///
/// ```
/// use isobar_sessions::Body;
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let numbers: Vec<u32> = Body::from("[1, 2, 3]").json().await?;
/// assert_eq!(numbers, [1, 2, 3]);
/// # Ok::<_, isobar_sessions::Error>(()) }).unwrap();
/// ```
pub struct Body(Inner);

enum Inner {
    Bytes(Option<Bytes>),
    Stream(Pin<Box<dyn http_body::Body<Data = Bytes, Error = BoxError> + Send>>),
}

impl Body {
    /// Creates an empty body.
    #[must_use]
    pub fn empty() -> Self {
        Self(Inner::Bytes(None))
    }

    /// Wraps any other body, without reading it.
    ///
    /// ```
    /// use isobar_sessions::Body;
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let stream = http_body_util::Full::new(bytes::Bytes::from("hello"));
    /// assert_eq!(Body::wrap(stream).text().await?, "hello");
    /// # Ok::<_, isobar_sessions::Error>(()) }).unwrap();
    /// ```
    pub fn wrap<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self(Inner::Stream(Box::pin(body.map_err(Into::into))))
    }

    /// Reads the whole body into memory. There is no limit: its sender's is the host's or the server's.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] when the sender's stream fails.
    pub async fn bytes(self) -> Result<Bytes> {
        match self.0 {
            Inner::Bytes(bytes) => Ok(bytes.unwrap_or_default()),
            Inner::Stream(stream) => {
                let collected = stream.collect().await;
                let failed = |error: BoxError| Error::new(ErrorKind::Internal, format!("the body broke off: {error}"));
                collected.map(http_body_util::Collected::to_bytes).map_err(failed)
            }
        }
    }

    /// Reads the whole body as text.
    ///
    /// ```
    /// use isobar_sessions::{Body, ErrorKind};
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let error = Body::from(vec![0xff_u8]).text().await.unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Decode);
    /// # });
    /// ```
    ///
    /// # Errors
    /// As [`bytes`](Self::bytes); [`ErrorKind::Decode`] when it is not UTF-8.
    pub async fn text(self) -> Result<String> {
        let bytes = self.bytes().await?;
        String::from_utf8(bytes.into())
            .map_err(|error| Error::new(ErrorKind::Decode, "the body is not UTF-8").with_source(error))
    }

    /// Reads the whole body and parses it as JSON.
    ///
    /// # Errors
    /// As [`bytes`](Self::bytes); [`ErrorKind::Decode`] when it is not JSON, or not a `T`.
    pub async fn json<T: serde::de::DeserializeOwned>(self) -> Result<T> {
        Ok(serde_json::from_slice(&self.bytes().await?)?)
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            Inner::Bytes(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Inner::Stream(stream) => stream.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Bytes(bytes) => bytes.is_none(),
            Inner::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match &self.0 {
            Inner::Bytes(bytes) => {
                http_body::SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Inner::Stream(stream) => stream.size_hint(),
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Inner::Bytes(bytes) => write!(f, "Body({} bytes)", bytes.as_ref().map_or(0, Bytes::len)),
            Inner::Stream(_) => f.write_str("Body(stream)"),
        }
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self(Inner::Bytes((!bytes.is_empty()).then_some(bytes)))
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}
