//! Streams of bytes, both ways.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::stream::{LocalBoxStream, Stream, unfold};
use futures_util::{StreamExt, TryStreamExt};
use worker::js_sys::Uint8Array;
use worker::send::SendWrapper;
use worker::wasm_bindgen::{JsCast, JsValue};

use super::{JsError, Object, uint8_array};

/// The chunks of a `ReadableStream`; dropping it cancels the stream.
///
/// # Errors
/// When somebody else reads it already.
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
    /// Neither read to its end nor failed.
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
        Ok(Some(chunk.map_err(|_| JsError::new("the stream yields something that is no bytes"))?.to_vec().into()))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if self.open {
            // Whether it can still be cancelled is not our reader's concern.
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

/// A stream of known length on its way to JavaScript: R2 takes no other.
#[derive(Debug)]
pub struct FixedLength {
    writer: Object,
    readable: Object,
}

impl FixedLength {
    /// A stream of this many bytes.
    ///
    /// # Errors
    /// When the runtime has no `FixedLengthStream`.
    pub fn new(length: u64) -> Result<Self, JsError> {
        // Beyond 2^53 a number would be another one.
        let stream = Object::construct("FixedLengthStream", &[JsValue::bigint_from_str(&length.to_string())])?;
        Ok(Self {
            writer: stream.object("writable").call("getWriter", &[])?.into(),
            readable: stream.object("readable"),
        })
    }

    /// The end that JavaScript reads.
    #[must_use]
    pub fn readable(&self) -> JsValue {
        self.readable.value().clone()
    }

    /// Gives the rest up: the reader, if there still is one, is told why.
    pub async fn abort(&self, reason: &str) {
        // A stream that is closed already is whole.
        drop(self.writer.ask("abort", &[JsError::new(reason).into()]).await);
    }

    /// Writes the chunks, waiting for the reader; `Err` with the source's own error, which the reader is told about.
    ///
    /// # Errors
    /// The source's error. That the reader has gone away is no error here: it says why by itself.
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

/// A `ReadableStream` of these chunks, pulled as it is read.
pub fn readable<E: std::fmt::Display>(chunks: impl Stream<Item = Result<Bytes, E>> + 'static) -> JsValue {
    let chunks =
        chunks.map_ok(|chunk| uint8_array(&chunk)).map_err(|error| JsValue::from(JsError::new(error.to_string())));
    wasm_streams::ReadableStream::from_stream(chunks).into_raw().into()
}
