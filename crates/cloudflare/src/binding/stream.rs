//! Streams of bytes in both directions.
//!
//! JavaScript's streams pull: a chunk is asked for when the one before was taken, so that memory is bounded by one chunk in each
//! direction. [`stream_of`](super::stream_of) makes a Rust stream of a JavaScript one, [`readable`](super::readable) the reverse, and
//! [`FixedLength`](super::FixedLength) a JavaScript stream with a length, which R2 demands of a body.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::stream::{LocalBoxStream, Stream, unfold};
use futures_util::{StreamExt, TryStreamExt};
use worker::js_sys::Uint8Array;
use worker::send::SendWrapper;
use worker::wasm_bindgen::{JsCast, JsValue};

use super::{JsError, Object, uint8_array};

/// Returns the chunks of a `ReadableStream`. Dropping the result cancels the stream.
///
/// A chunk that is not a `Uint8Array` is an error, and so is an exception of the stream; after either the stream is at its end.
///
/// ```no_run
/// use futures_util::TryStreamExt;
/// use isobar_cloudflare::binding::{JsError, Object, stream_of};
///
/// /// The size in bytes of the body of a response.
/// async fn size(response: &Object) -> Result<usize, JsError> {
///     let mut chunks = stream_of(&response.object("body"))?;
///     let mut bytes = 0;
///     while let Some(chunk) = chunks.try_next().await? {
///         bytes += chunk.len();
///     }
///     Ok(bytes)
/// }
/// ```
///
/// # Errors
/// Fails where the stream is already being read.
pub fn stream_of(
    readable: &Object,
) -> Result<impl Stream<Item = Result<Bytes, JsError>> + Send + Unpin + use<>, JsError> {
    let reader = Reader { reader: readable.call("getReader", &[])?.into(), open: true };
    let chunks = unfold(reader, |mut reader| async move {
        if !reader.open {
            return None;
        }
        Some((reader.next().await.transpose()?, reader))
    });
    Ok(SendStream(SendWrapper(chunks.boxed_local())))
}

/// The reader of a stream, which locks it. Dropped before the end, it cancels the stream, so that its source, a socket or an object of R2,
/// does not wait for the garbage collector.
struct Reader {
    reader: Object,
    /// Whether it is neither read to its end nor failed.
    open: bool,
}

impl Reader {
    async fn next(&mut self) -> Result<Option<Bytes>, JsError> {
        let step = self.reader.ask("read", &[]).await.map(Object::from);
        self.open = step.as_ref().is_ok_and(|step| step.get("done").is_falsy());
        let step = step?;
        if !self.open {
            return Ok(None);
        }
        let chunk = step.get("value").dyn_into::<Uint8Array>();
        Ok(Some(chunk.map_err(|_| JsError::new("the stream yields a value that is not bytes"))?.to_vec().into()))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if self.open {
            // The reader does not need to know whether the stream could still be cancelled.
            drop(self.reader.call("cancel", &[]));
        }
    }
}

/// A stream on JavaScript values, made `Send`: Workers have one thread.
struct SendStream(SendWrapper<LocalBoxStream<'static, Result<Bytes, JsError>>>);

impl Stream for SendStream {
    type Item = Result<Bytes, JsError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.0.poll_next_unpin(cx)
    }
}

/// A stream of known length for JavaScript, the only kind that R2 accepts.
///
/// The length is a promise: fewer bytes or more fail the stream at its reader, so that R2 stores nothing that is cut off. Writing and reading
/// go on together, as the stream buffers almost nothing:
///
/// ```no_run
/// use bytes::Bytes;
/// use futures_util::Stream;
/// use isobar_cloudflare::binding::wasm_bindgen::JsValue;
/// use isobar_cloudflare::binding::{FixedLength, JsError, Object};
///
/// /// Puts chunks of this length together into an object of R2.
/// async fn put<S>(bucket: &Object, key: &str, length: u64, chunks: S) -> Result<(), JsError>
/// where
///     S: Stream<Item = Result<Bytes, JsError>> + Unpin,
/// {
///     let stream = FixedLength::new(length)?;
///     let arguments = [JsValue::from(key), stream.readable()];
///     let put = bucket.ask("put", &arguments);
///     let (stored, filled) = futures_util::future::join(put, stream.fill(chunks)).await;
///     filled?;
///     stored.map(drop)
/// }
/// ```
#[derive(Debug)]
pub struct FixedLength {
    writer: Object,
    readable: Object,
}

impl FixedLength {
    /// Creates a stream of this many bytes.
    ///
    /// # Errors
    /// Fails where the runtime has no `FixedLengthStream`.
    pub fn new(length: u64) -> Result<Self, JsError> {
        // A number beyond 2^53 would be rounded.
        let stream = Object::construct("FixedLengthStream", &[JsValue::bigint_from_str(&length.to_string())])?;
        Ok(Self {
            writer: stream.object("writable").call("getWriter", &[])?.into(),
            readable: stream.object("readable"),
        })
    }

    /// Returns the end that JavaScript reads.
    ///
    /// The same end at each call; it can be read once.
    #[must_use]
    pub fn readable(&self) -> JsValue {
        self.readable.value().clone()
    }

    /// Aborts the stream. The reader, if there is one, gets the reason.
    pub async fn abort(&self, reason: &str) {
        // Aborting a closed stream fails; that stream is complete.
        drop(self.writer.ask("abort", &[JsError::new(reason).into()]).await);
    }

    /// Writes the chunks with backpressure. An error of the source is passed to the reader and returned.
    ///
    /// Dropping the future leaves the stream open, and its reader waiting: [`abort`](Self::abort) it then.
    ///
    /// # Errors
    /// The source's error. A reader that has gone away is not an error here, as it reports its own.
    pub async fn fill<E: std::fmt::Display>(
        &self,
        mut chunks: impl Stream<Item = Result<Bytes, E>> + Unpin,
    ) -> Result<(), E> {
        loop {
            match chunks.try_next().await {
                Ok(Some(chunk)) => {
                    if self.writer.ask("write", &[uint8_array(&chunk)]).await.is_err() {
                        return Ok(());
                    }
                }
                Ok(None) => {
                    drop(self.writer.ask("close", &[]).await);
                    return Ok(());
                }
                Err(error) => {
                    self.abort(&error.to_string()).await;
                    return Err(error);
                }
            }
        }
    }
}

/// Creates a `ReadableStream` of these chunks, which pulls them as it is read.
///
/// An error of the source becomes an `Error` with its message, with which the reader's promise is rejected. A reader that cancels drops the
/// source.
pub fn readable<E: std::fmt::Display>(chunks: impl Stream<Item = Result<Bytes, E>> + 'static) -> JsValue {
    let chunks =
        chunks.map_ok(|chunk| uint8_array(&chunk)).map_err(|error| JsValue::from(JsError::new(error.to_string())));
    wasm_streams::ReadableStream::from_stream(chunks).into_raw().into()
}
