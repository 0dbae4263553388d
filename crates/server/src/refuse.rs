//! Connections beyond the limit.
//!
//! A client over the limit gets a 503 with `Retry-After` rather than a reset, as far as that is cheap: one write that does not block, and a
//! second of reading, so that the system does not take the answer back because of unread bytes. It costs no place and no descriptor for
//! longer, and more than 16 at once on a thread are closed without.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;

/// The answer to a connection beyond the limit.
pub(crate) const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\n\
    content-type: text/plain; charset=utf-8\r\ncontent-length: 43\r\n\r\nthere are too many connections; try again.\n";
/// How long a refused connection is read, so that its client sees the answer before the end.
const REFUSAL: Duration = Duration::from_secs(1);
/// How many of those a thread has at once; more are closed without an answer.
const REFUSALS: usize = 16;

/// Ends a connection beyond the limit: with an answer, where it speaks HTTP without TLS.
pub(crate) fn refuse(stream: TcpStream, is_tls: bool) {
    thread_local! {
        static REFUSED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
    }
    tracing::debug!("a connection beyond the limit was refused");
    if is_tls || REFUSED.get() >= REFUSALS || stream.try_write(TOO_MANY).is_err() {
        return;
    }
    REFUSED.set(REFUSED.get() + 1);
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = stream;
        // What is not read when it is closed makes the system take the answer back.
        let ended = async {
            stream.shutdown().await?;
            while stream.read(&mut [0; 1024]).await? > 0 {}
            io::Result::Ok(())
        };
        drop(tokio::time::timeout(REFUSAL, ended).await);
        // The thread is the same: its runtime has no other.
        REFUSED.set(REFUSED.get() - 1);
    });
}
