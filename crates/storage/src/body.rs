//! Bodies: bytes of a known length, whole or streamed.

use std::error::Error as StdError;
use std::fmt;
use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::{Error, ErrorKind, Result};

pub(crate) type Chunks = Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>;

/// The bytes of an object, of a known length, in one piece or as a stream.
///
/// R2 wants to know the length before it takes a body, so there is no body without one.
pub struct Body {
    length: u64,
    source: Source,
}

enum Source {
    Whole(Bytes),
    Chunks(Chunks),
    #[cfg(all(feature = "local", not(target_arch = "wasm32")))]
    Opened(Box<dyn Opened>),
}

/// A body that is quicker to have as a whole than chunk by chunk: files.
#[cfg(all(feature = "local", not(target_arch = "wasm32")))]
pub(crate) trait Opened: Send {
    /// All of it, in memory.
    fn into_bytes(self: Box<Self>) -> futures_util::future::BoxFuture<'static, Result<Bytes>>;
    /// Chunk by chunk.
    fn into_chunks(self: Box<Self>) -> Chunks;
}

impl Body {
    /// An empty body.
    #[must_use]
    pub fn empty() -> Self {
        Bytes::new().into()
    }

    /// A body of exactly `length` bytes out of a stream. A stream that yields more or less fails the operation that
    /// reads it; nothing is stored then.
    pub fn from_stream<S>(length: u64, chunks: S) -> Self
    where
        S: Stream<Item = Result<Bytes>> + Send + 'static,
    {
        Self { length, source: Source::Chunks(Box::pin(exactly(length, Box::pin(chunks)))) }
    }

    /// As [`from_stream`](Self::from_stream), out of any stream of bytes with any error: axum's and reqwest's bodies as they are.
    /// An error that is not of this crate becomes one of [`ErrorKind::Body`], with it as the source.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::{Body, Key, ObjectStoreExt, memory::MemoryStore};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let uploaded = futures_util::stream::iter([Ok::<_, std::io::Error>("hello, ".into()), Ok("world".into())]);
    /// let meta = MemoryStore::new().write(&Key::new("hello.txt")?, Body::wrap_stream(12, uploaded)).await?;
    /// assert_eq!(meta.size, 12);
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    pub fn wrap_stream<S, E>(length: u64, chunks: S) -> Self
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: Into<Box<dyn StdError + Send + Sync>> + 'static,
    {
        Self::from_stream(length, chunks.map_err(Error::of_body))
    }

    /// A body of exactly `length` bytes, opened already.
    #[cfg(all(feature = "local", not(target_arch = "wasm32")))]
    pub(crate) fn from_opened(length: u64, opened: impl Opened + 'static) -> Self {
        Self { length, source: Source::Opened(Box::new(opened)) }
    }

    /// The body's length in bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The body's bytes, where it is in memory already.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&Bytes> {
        match &self.source {
            Source::Whole(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Reads the whole body into memory: for bodies whose [length](Self::length) the caller has looked at.
    ///
    /// # Errors
    /// The error of the source; [`ErrorKind::Body`] if it is not of the announced length.
    pub async fn bytes(self) -> Result<Bytes> {
        match self.source {
            Source::Whole(bytes) => Ok(bytes),
            #[cfg(all(feature = "local", not(target_arch = "wasm32")))]
            Source::Opened(opened) => opened.into_bytes().await,
            Source::Chunks(mut chunks) => {
                let Some(first) = chunks.try_next().await? else { return Ok(Bytes::new()) };
                let Some(second) = chunks.try_next().await? else { return Ok(first) };
                let mut all = BytesMut::from(&first[..]);
                all.extend_from_slice(&second);
                while let Some(chunk) = chunks.try_next().await? {
                    all.extend_from_slice(&chunk);
                }
                Ok(all.freeze())
            }
        }
    }

    /// Returns the body as a stream of chunks.
    ///
    /// # Errors
    /// In place of a chunk, and as the last item: the error of the body's source, or [`ErrorKind::Body`] where the body is not as long
    /// as was announced.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes>> + Send + Unpin + 'static {
        match self.source {
            Source::Whole(bytes) => Box::pin(stream::iter((!bytes.is_empty()).then_some(Ok(bytes)))) as Chunks,
            #[cfg(all(feature = "local", not(target_arch = "wasm32")))]
            Source::Opened(opened) => opened.into_chunks(),
            Source::Chunks(chunks) => chunks,
        }
    }
}

/// Fails where the stream is not of the announced length: at the first byte too many, or at the early end.
fn exactly(length: u64, chunks: Chunks) -> impl Stream<Item = Result<Bytes>> + Send {
    let wrong = move |got: String| Error::new(ErrorKind::Body, format!("the body has {got} bytes, {length} announced"));
    stream::try_unfold((chunks, 0u64), move |(mut chunks, seen)| async move {
        match chunks.next().await {
            Some(Ok(chunk)) if seen + chunk.len() as u64 > length => Err(wrong("more".to_owned())),
            Some(Ok(chunk)) => {
                let seen = seen + chunk.len() as u64;
                Ok(Some((chunk, (chunks, seen))))
            }
            Some(Err(error)) => Err(error),
            None if seen < length => Err(wrong(seen.to_string())),
            None => Ok(None),
        }
    })
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({} bytes)", self.length)
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self { length: bytes.len() as u64, source: Source::Whole(bytes) }
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
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

impl From<&'static [u8]> for Body {
    fn from(bytes: &'static [u8]) -> Self {
        Bytes::from_static(bytes).into()
    }
}
