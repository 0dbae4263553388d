//! Bodies of responses.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_core::Stream;
use http_body::{Frame, SizeHint};
use isobar_storage::{Body, Error};

#[cfg(feature = "cache")]
use crate::arena::{CHUNK, KeptBody, Region};

/// The body of a response: empty, in memory, or a stream from the store. Its length is always known ([`size_hint`] is exact).
///
/// An error while it is read is the store's; the response has begun by then, so a server closes the connection.
///
/// ```
/// use http_body_util::BodyExt;
/// use isobar_site::SiteBody;
/// # futures_util::FutureExt::now_or_never(async {
/// let body = SiteBody::from("text".to_owned());
/// assert_eq!(body.collect().await?.to_bytes(), "text");
/// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap();
/// ```
///
/// [`size_hint`]: http_body::Body::size_hint
#[derive(Default)]
pub struct SiteBody(Inner);

/// The state of a body: it becomes `Empty` when its last bytes are taken.
#[derive(Default)]
enum Inner {
    #[default]
    Empty,
    Bytes(Bytes),
    #[cfg(feature = "cache")]
    Region(Region),
    Stream {
        chunks: Pin<Box<dyn Stream<Item = Result<Bytes, Error>> + Send>>,
        remaining: u64,
    },
}

impl SiteBody {
    /// Returns a body that streams exactly `length` bytes.
    pub(crate) fn stream(length: u64, chunks: impl Stream<Item = Result<Bytes, Error>> + Send + 'static) -> Self {
        Self(Inner::Stream { chunks: Box::pin(chunks), remaining: length })
    }

    /// Returns the chunks of the body as a stream, for a part of a larger body.
    pub(crate) fn into_chunks(mut self) -> impl Stream<Item = Result<Bytes, Error>> + Send {
        futures_util::stream::poll_fn(move |cx| {
            let frame = ready!(http_body::Body::poll_frame(Pin::new(&mut self), cx));
            Poll::Ready(frame.map(|frame| frame.map(|frame| frame.into_data().unwrap_or_default())))
        })
    }
}

#[cfg(feature = "cache")]
impl SiteBody {
    /// Reads the whole body, from the store if necessary.
    ///
    /// # Errors
    /// The store's error; [`Unavailable`](isobar_storage::ErrorKind::Unavailable) where the stream ends early or late.
    pub(crate) async fn read(self) -> Result<Bytes, Error> {
        let (mut chunks, length) = match self.0 {
            Inner::Empty => return Ok(Bytes::new()),
            Inner::Bytes(bytes) => return Ok(bytes),
            Inner::Region(region) => return KeptBody::Region(region).read(),
            Inner::Stream { chunks, remaining } => (chunks, remaining),
        };
        let mut bytes = bytes::BytesMut::with_capacity(usize::try_from(length).unwrap_or(0));
        while let Some(chunk) = futures_util::TryStreamExt::try_next(&mut chunks).await? {
            bytes.extend_from_slice(&chunk);
        }
        if bytes.len() as u64 != length {
            let message = format!("the body has {} bytes, not {length}", bytes.len());
            return Err(Error::new(isobar_storage::ErrorKind::Unavailable, message));
        }
        Ok(bytes.freeze())
    }
}

impl From<Body> for SiteBody {
    fn from(body: Body) -> Self {
        match body.as_bytes() {
            Some(bytes) => bytes.clone().into(),
            None => Self::stream(body.length(), body.into_stream()),
        }
    }
}

#[cfg(feature = "cache")]
impl From<KeptBody> for SiteBody {
    fn from(body: KeptBody) -> Self {
        match body {
            KeptBody::Bytes(bytes) => bytes.into(),
            KeptBody::Region(region) if region.is_empty() => Self::default(),
            KeptBody::Region(region) => Self(Inner::Region(region)),
        }
    }
}

impl From<Bytes> for SiteBody {
    fn from(bytes: Bytes) -> Self {
        Self(if bytes.is_empty() { Inner::Empty } else { Inner::Bytes(bytes) })
    }
}

impl From<String> for SiteBody {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl http_body::Body for SiteBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let chunk = match &mut self.0 {
            Inner::Empty => None,
            Inner::Bytes(bytes) => {
                let bytes = std::mem::take(bytes);
                self.0 = Inner::Empty;
                Some(Ok(bytes))
            }
            #[cfg(feature = "cache")]
            Inner::Region(region) => {
                let chunk = region.take(CHUNK);
                if region.is_empty() || chunk.is_err() {
                    self.0 = Inner::Empty;
                }
                Some(chunk)
            }
            Inner::Stream { chunks, remaining } => {
                let chunk = ready!(chunks.as_mut().poll_next(cx));
                if let Some(Ok(bytes)) = &chunk {
                    *remaining = remaining.saturating_sub(bytes.len() as u64);
                }
                chunk
            }
        };
        Poll::Ready(chunk.map(|chunk| chunk.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, Inner::Empty)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match &self.0 {
            Inner::Empty => 0,
            Inner::Bytes(bytes) => bytes.len() as u64,
            #[cfg(feature = "cache")]
            Inner::Region(region) => region.len() as u64,
            Inner::Stream { remaining, .. } => *remaining,
        })
    }
}

impl fmt::Debug for SiteBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SiteBody({:?} bytes)", http_body::Body::size_hint(self).exact())
    }
}
