//! Bodies of responses, and of what s3s reads and writes.
//!
//! s3s has types of its own for bodies, in both directions; they do not leave this module and `upload`.
//! The length of an object's body is known and is sent, so that a client sees a body that broke off.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use http_body::{Frame, SizeHint};
use isobar_storage::Body;
use s3s::StdError;
use s3s::dto::StreamingBlob;
use s3s::stream::{ByteStream, RemainingLength};
use sync_wrapper::SyncStream;

/// Longest body that is read whole before the response begins, in bytes: that takes less than a stream does.
const SMALL: u64 = 64 << 10;

/// Body of a response of [`S3Door`](super::S3Door).
#[derive(Debug, Default)]
pub struct S3Body(s3s::Body);

impl S3Body {
    /// Wraps a body of s3s's.
    pub(super) fn new(body: s3s::Body) -> Self {
        Self(body)
    }
}

impl From<Bytes> for S3Body {
    fn from(bytes: Bytes) -> Self {
        Self(bytes.into())
    }
}

impl http_body::Body for S3Body {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.0).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        http_body::Body::size_hint(&self.0)
    }
}

/// An object's bytes as s3s takes them.
struct ObjectBytes<S> {
    chunks: SyncStream<S>,
    left: u64,
}

impl<S> Stream for ObjectBytes<S>
where
    S: Stream<Item = isobar_storage::Result<Bytes>> + Unpin,
{
    type Item = Result<Bytes, StdError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = Pin::new(&mut self.chunks).poll_next(cx);
        if let Poll::Ready(Some(Ok(chunk))) = &polled {
            self.left = self.left.saturating_sub(chunk.len() as u64);
        }
        polled.map(|next| next.map(|chunk| chunk.map_err(StdError::from)))
    }
}

impl<S> ByteStream for ObjectBytes<S>
where
    S: Stream<Item = isobar_storage::Result<Bytes>> + Unpin,
{
    fn remaining_length(&self) -> RemainingLength {
        usize::try_from(self.left).map_or_else(|_| RemainingLength::unknown(), RemainingLength::new_exact)
    }
}

/// Returns an object's body for a response.
///
/// # Errors
/// Those of the store, where a small body is read.
pub(super) async fn to_blob(body: Body) -> isobar_storage::Result<StreamingBlob> {
    if body.length() <= SMALL {
        return Ok(StreamingBlob::from(s3s::Body::from(body.bytes().await?)));
    }
    let left = body.length();
    Ok(StreamingBlob::new(ObjectBytes { chunks: SyncStream::new(body.into_stream()), left }))
}
