//! A connection's bytes, and how long its client may leave them unread.
//!
//! It times a client at the two places at which HTTP's own timeouts do not: before it is plain what it speaks, and while it takes
//! nothing of what is written. Progress of a single byte begins the time of writing again: a slow client is served, one that
//! stands still is not.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// How long a client may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Until it is plain which protocol it speaks; from there on the protocol has its own.
    pub(crate) opening: Duration,
    /// Until it takes something of what is written.
    pub(crate) writing: Duration,
}

/// Size of the buffer for a connection's first bytes: most requests fit into it.
#[cfg(any(unix, feature = "tls"))]
const FIRST: usize = 1024;
/// The first bytes of HTTP/2 (RFC 9113 3.4); no request of another protocol that begins like them is shorter.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection that gives up a client which says nothing, or takes nothing any more. As long as it lives, so does `_held`.
pub(crate) struct Stream<S, A> {
    inner: S,
    patience: Patience,
    /// Runs until it is plain what the client speaks; and the bytes that have come so far.
    opening: Option<(Pin<Box<Sleep>>, usize)>,
    /// Runs while the client takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Bytes that were read from it before.
    before: Bytes,
    _held: A,
}

impl<S, A> Stream<S, A> {
    pub(crate) fn new(inner: S, patience: Patience, held: A) -> Self {
        let opening = Some((Box::pin(tokio::time::sleep(patience.opening)), 0));
        Self { inner, patience, opening, stalled: None, before: Bytes::new(), _held: held }
    }

    /// With these bytes before those that come.
    pub(crate) fn after(mut self, before: Vec<u8>) -> Self {
        self.before = before.into();
        self
    }

    /// Whether the bytes that were read before are those of HTTP/2, or their beginning: its method `PRI` is reserved.
    pub(crate) fn is_http2(&self) -> bool {
        let length = self.before.len().min(PREFACE.len());
        length >= b"PRI ".len() && self.before[..length] == PREFACE[..length]
    }

    /// Passes on the result of a read at the beginning; a timeout error where the client has sent nothing for too long.
    fn opened(&mut self, cx: &mut Context<'_>, read: Poll<io::Result<()>>, bytes: &[u8]) -> Poll<io::Result<()>> {
        if read.is_pending() {
            return self.poll_opening(cx);
        }
        let Some((_, count)) = &mut self.opening else { return read };
        let may_be_preface = *count > 0 || bytes.first() == Some(&b'P');
        *count += bytes.len();
        if !may_be_preface || *count >= PREFACE.len() {
            self.opening = None;
        }
        read
    }

    /// Waits for the time in which it must be plain what the client speaks; a timeout error when it is over.
    fn poll_opening(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some((patience, _)) = &mut self.opening else { return Poll::Pending };
        patience.as_mut().poll(cx).map(|()| Err(io::Error::new(io::ErrorKind::TimedOut, "the client says nothing")))
    }

    /// Passes on the result of a write; a timeout error where the client has read nothing for too long.
    fn watched<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let patience = self.patience.writing;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + patience)));
        match stalled.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing"))),
            Poll::Pending => Poll::Pending,
        }
    }
}

#[cfg(any(unix, feature = "tls"))]
impl<S: AsyncRead + Unpin, A> Stream<S, A> {
    /// Waits for the first bytes, which are read again afterwards; returns `false` where the client has closed without any.
    pub(crate) async fn begin(&mut self) -> io::Result<bool> {
        let mut bytes = [0; FIRST];
        let mut buffer = ReadBuf::new(&mut bytes);
        std::future::poll_fn(|cx| {
            let read = Pin::new(&mut self.inner).poll_read(cx, &mut buffer);
            // What these bytes are of is judged when they are read again.
            if read.is_pending() { self.poll_opening(cx) } else { read }
        })
        .await?;
        self.before = Bytes::copy_from_slice(buffer.filled());
        Ok(!self.before.is_empty())
    }
}

impl<S: AsyncRead + Unpin, A: Unpin> AsyncRead for Stream<S, A> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = if self.before.is_empty() {
            Pin::new(&mut self.inner).poll_read(cx, buf)
        } else {
            let length = self.before.len().min(buf.remaining());
            buf.put_slice(&self.before.split_to(length));
            Poll::Ready(Ok(()))
        };
        self.opened(cx, read, &buf.filled()[before..])
    }
}

impl<S: AsyncWrite + Unpin, A: Unpin> AsyncWrite for Stream<S, A> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.watched(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.watched(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        self.watched(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.watched(cx, shut)
    }
}
