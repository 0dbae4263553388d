//! The native transport: reqwest with rustls.
//!
//! A request has no time limit as a whole, as a large object may take hours; each of its phases has one for the time without progress:
//!
//! | phase | begins | ends | limit |
//! |---|---|---|---|
//! | connect | the request is handed over | TCP and TLS are there | `connect` |
//! | send | the connection takes the first chunk | it has taken the last | `send` between two chunks of 64 KiB |
//! | answer | the body was taken | the head of the response arrives | `answer` |
//! | receive | the head has arrived | the body is read to its end | `receive` between two chunks |
//!
//! reqwest has no hook for the second and third phase. So a long request body is wrapped in [`Sending`], which notes when the connection polls
//! for a chunk, and [`Progress::stalls`] runs beside the request and ends it. A body of up to 64 KiB goes as bytes, in one piece, so that
//! reqwest can repeat it on another connection; its send and answer phases are one. A body that is not polled at all may be waiting for its
//! connection, so that before its first chunk the limits of `connect` and `send` count together.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use isobar_base::sync::IgnorePoison;
use tokio::time::{Instant, timeout};

use super::transport::{BodyError, Chunks};
use super::{Body, Transport, TransportError, TransportErrorKind};

/// Size in bytes of the chunks in which a longer body is sent, by which progress is measured.
const CHUNK: usize = 64 * 1024;

/// Timeouts of the phases of a request.
///
/// ```
/// use std::time::Duration;
///
/// use isobar_cloudflare::client::{HttpTransport, Timeouts};
///
/// let transport = HttpTransport::with_timeouts(Timeouts::default().with_connect(Duration::from_secs(2)))?;
/// # drop(transport);
/// # Ok::<(), isobar_cloudflare::client::TransportError>(())
/// ```
///
/// There is no limit for a whole request, as a large object may take hours: each phase fails where nothing moves for its time, with
/// [`TransportErrorKind::Timeout`]. A waiting [`Client`](super::Client), for a permit or before a retry, is outside of all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeouts {
    /// Time to connect, including TLS. Default: 10 s.
    pub connect: Duration,
    /// Time without progress while the request's body is sent. Default: 60 s.
    pub send: Duration,
    /// Time from the end of the request to the head of the response. The connection buffers a body of up to 64 KiB at once.
    /// Default: 60 s.
    pub answer: Duration,
    /// Time without data while the response's body is received. Default: 60 s.
    pub receive: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let minute = Duration::from_secs(60);
        Self { connect: Duration::from_secs(10), send: minute, answer: minute, receive: minute }
    }
}

impl Timeouts {
    /// Sets the time to connect.
    #[must_use]
    pub fn with_connect(mut self, connect: Duration) -> Self {
        self.connect = connect;
        self
    }

    /// Sets the time without progress while the request's body is sent.
    #[must_use]
    pub fn with_send(mut self, send: Duration) -> Self {
        self.send = send;
        self
    }

    /// Sets the time from the end of the request to the head of the response.
    #[must_use]
    pub fn with_answer(mut self, answer: Duration) -> Self {
        self.answer = answer;
        self
    }

    /// Sets the time without data while the response's body is received.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use isobar_cloudflare::client::Timeouts;
    ///
    /// let patient = Timeouts::default().with_answer(Duration::from_secs(300)).with_receive(Duration::from_secs(300));
    /// assert_eq!((patient.connect, patient.receive), (Duration::from_secs(10), Duration::from_secs(300)));
    /// ```
    #[must_use]
    pub fn with_receive(mut self, receive: Duration) -> Self {
        self.receive = receive;
        self
    }
}

/// HTTP/1.1 and HTTP/2 over TCP and TLS, with a pool of connections. Redirects are returned and not followed, as signed requests
/// must not follow them. Cheap to clone.
///
/// Connections are shared by clones. A server is verified by the system's certificates; `http:` URLs are taken too, for servers on this
/// machine. The user agent is `isobar/` and the version.
///
/// ```no_run
/// use http::Request;
/// use isobar_cloudflare::client::{Body, HttpTransport, Transport};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let transport = HttpTransport::new()?;
/// let response = transport.send(Request::get("https://example.com/").body(Body::empty())?).await?;
/// println!("{}", response.status());
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct HttpTransport {
    client: reqwest::Client,
    timeouts: Timeouts,
}

impl HttpTransport {
    /// Creates a pool with the default [`Timeouts`].
    ///
    /// # Errors
    /// Fails where the system's certificates cannot be loaded.
    pub fn new() -> Result<Self, TransportError> {
        Self::with_timeouts(Timeouts::default())
    }

    /// Creates a pool with these timeouts.
    ///
    /// Installs rustls' provider `ring` for the process where none is installed yet.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_timeouts(timeouts: Timeouts) -> Result<Self, TransportError> {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // Another thread may have installed the same provider already.
            rustls::crypto::ring::default_provider().install_default().ok();
        }
        let client = reqwest::Client::builder()
            .connect_timeout(timeouts.connect)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("isobar/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| failure(error, "the HTTP client cannot be created"))?;
        Ok(Self { client, timeouts })
    }
}

#[async_trait]
impl Transport for HttpTransport {
    async fn send(&self, request: Request<Body>) -> Result<Response<Body>, TransportError> {
        let what = format!("{} {}{}", request.method(), host(&request), request.uri().path());
        let (parts, body) = request.into_parts();
        let is_short = body.length() == Some(0) || body.as_bytes().is_some_and(|bytes| bytes.len() <= CHUNK);
        let progress = Progress::new(is_short);
        let body = match body.as_bytes() {
            // As bytes, reqwest can send it again after a server has refused it unread.
            Some(bytes) if is_short => reqwest::Body::from(bytes.clone()),
            _ => reqwest::Body::wrap(Sending::new(body, Arc::clone(&progress))),
        };
        let request =
            reqwest::Request::try_from(Request::from_parts(parts, body)).map_err(|error| failure(error, &what))?;
        let answer = tokio::select! {
            answer = self.client.execute(request) => answer.map_err(|error| failure(error, &what))?,
            stalled = progress.stalls(&self.timeouts) => return Err(late(&what, stalled)),
        };
        Ok(self.answer(answer, what))
    }
}

impl HttpTransport {
    fn answer(&self, answer: reqwest::Response, what: String) -> Response<Body> {
        let answer: Response<reqwest::Body> = answer.into();
        let (parts, body) = answer.into_parts();
        let length = parts.headers.get(http::header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()).and_then(|length| length.parse().ok());
        let receive = self.timeouts.receive;
        let chunks = Box::pin(http_body_util::BodyDataStream::new(body));
        let chunks = futures_util::stream::unfold((chunks, what), move |(mut chunks, what)| async move {
            let chunk = match timeout(receive, chunks.next()).await {
                Ok(None) => return None,
                Ok(Some(Ok(chunk))) => Ok(chunk),
                Ok(Some(Err(error))) => Err(BodyError::from(failure(error, &what))),
                Err(_) => Err(BodyError::from(late(&what, ("no data was received", receive)))),
            };
            Some((chunk, (chunks, what)))
        });
        Response::from_parts(parts, Body::from_stream(length, chunks))
    }
}

/// A request body that records when the connection takes a chunk, and when it has taken all.
///
/// The length is announced where it is known, so that the request has a `Content-Length`; `remaining` counts it down, as a reader that
/// knows the length does not poll for the end.
struct Sending {
    /// reqwest requires `Sync` bodies; this mutex has one owner and is never contended.
    chunks: Mutex<Chunks>,
    remaining: Option<u64>,
    progress: Arc<Progress>,
}

impl Sending {
    fn new(body: Body, progress: Arc<Progress>) -> Self {
        let remaining = body.length();
        let chunks: Chunks = match body.as_bytes() {
            Some(bytes) => {
                let mut rest = bytes.clone();
                let chunk = move || (!rest.is_empty()).then(|| Ok(rest.split_to(rest.len().min(CHUNK))));
                Box::pin(futures_util::stream::iter(std::iter::from_fn(chunk)))
            }
            None => Box::pin(body.into_stream()),
        };
        Self { chunks: Mutex::new(chunks), remaining, progress }
    }
}

impl http_body::Body for Sending {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let chunks = self.chunks.get_mut().ignore_poison();
        let chunk = ready!(chunks.as_mut().poll_next(cx));
        self.progress.note();
        if let (Some(Ok(chunk)), Some(remaining)) = (&chunk, &mut self.remaining) {
            *remaining = remaining.saturating_sub(chunk.len() as u64);
        }
        // A reader that knows the length does not poll for the end.
        if !matches!(chunk, Some(Ok(_))) || self.remaining == Some(0) {
            self.progress.end();
        }
        Poll::Ready(chunk.map(|chunk| chunk.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.remaining == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.remaining.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// Progress of a request's body: the time of the last chunk, and whether it was the last.
///
/// Written by the connection's task and read by [`stalls`](Self::stalls), without a lock. Times are milliseconds since `start`; the first
/// chunk's is at least 1, as 0 says that there was none.
#[derive(Debug)]
struct Progress {
    start: Instant,
    /// Time of the last chunk; 0 before the first.
    millis: AtomicU64,
    has_ended: AtomicBool,
    is_short: bool,
}

impl Progress {
    fn new(is_short: bool) -> Arc<Self> {
        let start = Instant::now();
        let millis = AtomicU64::new(0);
        Arc::new(Self { start, millis, has_ended: AtomicBool::new(is_short), is_short })
    }

    fn note(&self) {
        self.millis.store(self.start.elapsed().as_millis().max(1) as u64, Ordering::Relaxed);
    }

    fn end(&self) {
        self.has_ended.store(true, Ordering::Release);
    }

    /// Completes when the current phase has timed out, with a description and the timeout. Polled beside the request, which wins where both
    /// are ready. It sleeps until the current phase could time out at the earliest, or a phase that begins meanwhile.
    async fn stalls(&self, timeouts: &Timeouts) -> (&'static str, Duration) {
        let Timeouts { connect, send, answer, receive: _ } = *timeouts;
        loop {
            let has_ended = self.has_ended.load(Ordering::Acquire);
            let last = self.millis.load(Ordering::Relaxed);
            // Before its first poll a body may be waiting for its connection.
            let (what, patience) = match (has_ended, last) {
                (true, _) if self.is_short => (UNANSWERED, connect.saturating_add(answer)),
                (true, _) => (UNANSWERED, answer),
                (false, 0) => (UNTAKEN, connect.saturating_add(send)),
                (false, _) => (UNTAKEN, send),
            };
            let waited = self.start.elapsed().saturating_sub(Duration::from_millis(last));
            if waited >= patience {
                return (what, patience);
            }
            // Another phase with a shorter timeout may begin meanwhile.
            let least = send.min(answer).max(Duration::from_millis(1));
            tokio::time::sleep((patience - waited).min(least)).await;
        }
    }
}

const UNTAKEN: &str = "no data was sent";
const UNANSWERED: &str = "there was no response";

fn host(request: &Request<Body>) -> &str {
    request.uri().host().unwrap_or_default()
}

/// Makes the error of a phase without progress. `what` is the method, host and path of the request: never its query, which may be signed.
fn late(what: &str, (happened, patience): (&str, Duration)) -> TransportError {
    TransportError::new(TransportErrorKind::Timeout, format!("{what}: {happened} for {} s", patience.as_secs_f32()))
}

/// Converts an error of reqwest. The order of the tests matters: a connection that times out while it is made is a
/// [`TransportErrorKind::Connect`], of which nothing was sent, and not a timeout.
fn failure(error: reqwest::Error, what: &str) -> TransportError {
    let kind = if error.is_builder() {
        TransportErrorKind::Request
    } else if error.is_connect() {
        TransportErrorKind::Connect
    } else if error.is_timeout() {
        TransportErrorKind::Timeout
    } else if error.is_body() {
        TransportErrorKind::Body
    } else {
        TransportErrorKind::Broken
    };
    // reqwest shows the URL, which may have a signature; the innermost cause describes the failure.
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    TransportError::new(kind, format!("{what}: {cause}")).with_source(error)
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n";

    const fn of(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Different timeouts, so that an error identifies its phase.
    fn timeouts() -> Timeouts {
        Timeouts::default().with_connect(of(50)).with_send(of(200)).with_answer(of(300)).with_receive(of(400))
    }

    fn streamed(length: usize) -> Body {
        let chunks = (0..length / 1024).map(|_| Ok(Bytes::from(vec![1; 1024])));
        Body::from_stream(Some(length as u64), futures_util::stream::iter(chunks))
    }

    /// Sends a body to a server that handles its one connection by a function; returns the response's body or the error.
    async fn sent<F>(
        timeouts: Timeouts,
        body: impl Into<Body>,
        server: impl FnOnce(TcpStream) -> F,
    ) -> Result<Vec<u8>, String>
    where
        F: Future<Output = ()>,
    {
        let transport = HttpTransport::with_timeouts(timeouts).expect("the transport is created");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let url = format!("http://{}/", listener.local_addr().expect("the listener has an address"));
        let body = body.into();
        let request = Request::put(url).header("content-length", body.length().unwrap_or(0));
        let request = request.body(body).expect("the request is valid");
        let ask = async {
            let answer = transport.send(request).await.map_err(|error| {
                assert_eq!(error.kind(), TransportErrorKind::Timeout);
                error.to_string()
            })?;
            let chunks: Vec<Bytes> =
                answer.into_body().into_stream().try_collect().await.map_err(|error| error.to_string())?;
            Ok(chunks.concat())
        };
        let serve = async {
            let (stream, _) = listener.accept().await.expect("the client connects");
            server(stream).await;
            std::future::pending::<()>().await;
        };
        tokio::select! { answer = ask => answer, () = serve => unreachable!("it never ends") }
    }

    /// Reads a request with a body of this length, with pauses.
    async fn take(stream: &mut TcpStream, mut missing: usize, pause: Duration) {
        let mut buffer = vec![0; 256 * 1024];
        let count = stream.read(&mut buffer).await.expect("the client sends a head");
        let head = buffer.windows(4).position(|end| end == b"\r\n\r\n").expect("the head has an end") + 4;
        missing -= count - head;
        while missing > 0 {
            tokio::time::sleep(pause).await;
            missing -= stream.read(&mut buffer).await.expect("the client sends more");
        }
    }

    #[tokio::test]
    async fn server_that_reads_nothing_times_out() {
        for body in [Bytes::from(vec![1; 64 << 20]).into(), streamed(64 << 20)] {
            let keep = std::sync::Mutex::new(None);
            let refused = sent(timeouts(), body, async |stream| {
                *keep.lock().expect("the lock is not poisoned") = Some(stream);
            });
            let refused = refused.await.expect_err("it takes nothing");
            assert!(refused.ends_with("no data was sent for 0.2 s"), "{refused}");
        }
    }

    #[tokio::test]
    async fn slow_server_that_makes_progress_does_not_time_out() {
        for body in [Bytes::from(vec![1; 16 << 20]).into(), streamed(16 << 20)] {
            // Reading the sockets' buffers at the end takes time, too.
            let answer = sent(timeouts().with_answer(Duration::MAX), body, async |mut stream| {
                take(&mut stream, 16 << 20, of(10)).await;
                stream.write_all(HEAD).await.expect("the client reads");
                stream.write_all(b"0123456789").await.expect("the client reads");
                std::future::pending::<()>().await;
            });
            let from = Instant::now();
            assert_eq!(answer.await.expect("there is a response"), b"0123456789");
            assert!(from.elapsed() > of(400), "it was not slow: {:?}", from.elapsed());
        }
    }

    #[tokio::test]
    async fn missing_response_times_out() {
        // A short body may have waited for its connection.
        let bodies = [
            (Bytes::from_static(b"some").into(), 4, "0.35"),
            (Body::empty(), 0, "0.35"),
            (streamed(0), 0, "0.35"),
            (streamed(4096), 4096, "0.3"),
        ];
        for (body, length, patience) in bodies {
            let refused = sent(timeouts(), body, async |mut stream| {
                take(&mut stream, length, Duration::ZERO).await;
                std::future::pending::<()>().await;
            });
            let refused = refused.await.expect_err("no answer");
            assert!(refused.ends_with(&format!("there was no response for {patience} s")), "{refused}");
        }
    }

    #[tokio::test]
    async fn incomplete_response_times_out() {
        let broken = sent(timeouts(), Bytes::from_static(b"some"), async |mut stream| {
            take(&mut stream, 4, Duration::ZERO).await;
            stream.write_all(HEAD).await.expect("the client reads");
            stream.write_all(b"01234").await.expect("the client reads");
            std::future::pending::<()>().await;
        });
        let broken = broken.await.expect_err("half an answer");
        assert!(broken.ends_with("no data was received for 0.4 s"), "{broken}");
    }
}
