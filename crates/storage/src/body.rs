//! Bodies: bytes of a known length, whole or streamed.
//!
//! A body has one of three sources: bytes in memory, a stream that is compared with its announced length as it passes, or a file of a
//! backend of this crate (`Opened`), which is read in one piece where the whole is wanted, and in chunks otherwise. Files are a source of
//! their own because a chunk costs a task on a blocking thread: a body of 1 MiB as a whole costs one, in chunks of 256 KiB at least four.
//!
//! The length is checked at one place, `exactly`: who reads a body can rely on getting as many bytes as it announces, or an error.

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
/// R2 wants to know the length before it takes a body, so there is no body without one. A stream of unknown length is for
/// [`ObjectStoreExt::write_stream`](crate::ObjectStoreExt::write_stream).
///
/// Bytes, vectors, texts and static slices become bodies by `into()`, without a copy:
///
/// ```
/// use isobar_storage::Body;
///
/// let body: Body = vec![0; 1024].into();
/// assert_eq!(body.length(), 1024);
/// assert_eq!(Body::from("text").as_bytes().map(|bytes| &bytes[..]), Some(&b"text"[..]));
/// ```
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
    /// An empty body. An object of no bytes is an object like any other.
    ///
    /// ```
    /// assert_eq!(isobar_storage::Body::empty().length(), 0);
    /// ```
    #[must_use]
    pub fn empty() -> Self {
        Bytes::new().into()
    }

    /// A body of exactly `length` bytes out of a stream. A stream that yields more or less fails the operation that
    /// reads it; nothing is stored then. It is read when the operation has room for the next chunk, so a slow disk slows the sender.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{Body, ErrorKind, Key, ObjectStoreExt};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let chunks = || futures_util::stream::iter([Ok("hello, ".into()), Ok("world".into())]);
    /// let store = MemoryStore::new();
    /// let meta = store.write(&Key::new("a")?, Body::from_stream(12, chunks())).await?;
    /// assert_eq!(meta.size, 12);
    /// let error = store.write(&Key::new("b")?, Body::from_stream(13, chunks())).await.unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Body);
    /// assert!(store.read(&Key::new("b")?).await?.is_none());
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
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

    /// The body's length in bytes, known before the first of them is read.
    ///
    /// ```
    /// assert_eq!(isobar_storage::Body::from("ü").length(), 2);
    /// ```
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The body's bytes, where it is in memory already. For what can be done to such a body alone: sending it twice, hashing it beforehand.
    ///
    /// ```
    /// use isobar_storage::Body;
    ///
    /// assert!(Body::from("in memory").as_bytes().is_some());
    /// let chunks = futures_util::stream::iter([Ok("streamed".into())]);
    /// assert!(Body::from_stream(8, chunks).as_bytes().is_none());
    /// ```
    #[must_use]
    pub fn as_bytes(&self) -> Option<&Bytes> {
        match &self.source {
            Source::Whole(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Reads the whole body into memory: for bodies whose [length](Self::length) the caller has looked at.
    ///
    /// A body in memory is handed over without a copy, and so is a stream of one chunk.
    ///
    /// # Errors
    /// The error of the source; [`ErrorKind::Body`] if it is not of the announced length.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{GetOptions, Key, ObjectStore, ObjectStoreExt};
    /// # futures_util::FutureExt::now_or_never(async {
    /// const LARGEST: u64 = 1 << 20;
    /// let store = MemoryStore::new();
    /// store.write(&Key::new("config.json")?, "{}").await?;
    /// let found = store.get(&Key::new("config.json")?, GetOptions::default()).await?;
    /// let (_, body) = found.into_object().expect("it was written");
    /// assert!(body.length() <= LARGEST, "refused before a byte of it is in memory");
    /// assert_eq!(body.bytes().await?, "{}");
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
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

    /// Returns the body as a stream of chunks, none of them empty where the source is memory or a file. A body in memory is one chunk; a file's
    /// chunks have at most 256 KiB.
    ///
    /// # Errors
    /// In place of a chunk, and as the last item: the error of the body's source, or [`ErrorKind::Body`] where the body is not as long
    /// as was announced.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use futures_util::TryStreamExt;
    /// use isobar_storage::Body;
    /// # futures_util::FutureExt::now_or_never(async {
    /// let mut chunks = Body::from("text").into_stream();
    /// assert_eq!(chunks.try_next().await?.as_deref(), Some(&b"text"[..]));
    /// assert_eq!(chunks.try_next().await?, None);
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
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
