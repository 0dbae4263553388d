//! Streams of bytes in both directions.

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

struct SendStream(SendWrapper<LocalBoxStream<'static, Result<Bytes, JsError>>>);

impl Stream for SendStream {
    type Item = Result<Bytes, JsError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.0.poll_next_unpin(cx)
    }
}

/// A stream of known length for JavaScript, the only kind that R2 accepts.
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
pub fn readable<E: std::fmt::Display>(chunks: impl Stream<Item = Result<Bytes, E>> + 'static) -> JsValue {
    let chunks =
        chunks.map_ok(|chunk| uint8_array(&chunk)).map_err(|error| JsValue::from(JsError::new(error.to_string())));
    wasm_streams::ReadableStream::from_stream(chunks).into_raw().into()
}
