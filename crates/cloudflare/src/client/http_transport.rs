//! The native transport: reqwest with rustls.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, timeout};

use super::transport::{BodyError, Chunks};
use super::{Body, Transport, TransportError, TransportErrorKind};

/// A longer body is given to the connection in chunks of this length, in bytes: by them it is seen that it moves.
const CHUNK: usize = 64 * 1024;

/// How long each phase of a request may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeouts {
    /// Until there is a connection, TLS included. 10 s.
    pub connect: Duration,
    /// While the request's body is sent: how long the connection may take none of it. 60 s.
    pub send: Duration,
    /// From when the connection has taken the last of it until the head of the answer is there; what is short, up to 64 KiB, is
    /// taken at once. 60 s.
    pub answer: Duration,
    /// While the answer's body comes: how long nothing of it may. 60 s.
    pub receive: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let minute = Duration::from_secs(60);
        Self { connect: Duration::from_secs(10), send: minute, answer: minute, receive: minute }
    }
}

impl Timeouts {
    /// Until there is a connection.
    #[must_use]
    pub fn with_connect(mut self, connect: Duration) -> Self {
        self.connect = connect;
        self
    }

    /// How long none of the request's body may be taken.
    #[must_use]
    pub fn with_send(mut self, send: Duration) -> Self {
        self.send = send;
        self
    }

    /// From the request's end to the head of the answer.
    #[must_use]
    pub fn with_answer(mut self, answer: Duration) -> Self {
        self.answer = answer;
        self
    }

    /// How long nothing of the answer's body may come.
    #[must_use]
    pub fn with_receive(mut self, receive: Duration) -> Self {
        self.receive = receive;
        self
    }
}

/// HTTP/1.1 and HTTP/2 over TCP and TLS, with a pool of connections. Redirects are answers: what is signed must not follow
/// them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct HttpTransport {
    client: reqwest::Client,
    timeouts: Timeouts,
}

impl HttpTransport {
    /// A pool of its own, with the default [`Timeouts`].
    ///
    /// # Errors
    /// Where the system's certificates cannot be used.
    pub fn new() -> Result<Self, TransportError> {
        Self::with_timeouts(Timeouts::default())
    }

    /// A pool of its own, whose requests may take so long.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_timeouts(timeouts: Timeouts) -> Result<Self, TransportError> {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // Another thread may have been quicker; then its provider is as good.
            rustls::crypto::ring::default_provider().install_default().ok();
        }
        let client = reqwest::Client::builder()
            .connect_timeout(timeouts.connect)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("isobar/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| failure(error, "the HTTP client does not start"))?;
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
            // As it is reqwest can send it again where a server has refused it unread.
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
        let (receive, chunks) = (self.timeouts.receive, Box::pin(http_body_util::BodyDataStream::new(body)));
        let chunks = futures_util::stream::unfold((chunks, what), move |(mut chunks, what)| async move {
            let chunk = match timeout(receive, chunks.next()).await {
                Ok(None) => return None,
                Ok(Some(Ok(chunk))) => Ok(chunk),
                Ok(Some(Err(error))) => Err(BodyError::from(failure(error, &what))),
                Err(_) => Err(BodyError::from(late(&what, ("nothing more of the answer has come", receive)))),
            };
            Some((chunk, (chunks, what)))
        });
        Response::from_parts(parts, Body::from_stream(length, chunks))
    }
}

/// A body on its way, which tells when some of it is taken, and when all is.
struct Sending {
    /// reqwest wants bodies that threads may share; this one has one owner, who never waits for it.
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
        let chunks = self.chunks.get_mut().unwrap_or_else(PoisonError::into_inner);
        let chunk = ready!(chunks.as_mut().poll_next(cx));
        self.progress.note();
        if let (Some(Ok(chunk)), Some(remaining)) = (&chunk, &mut self.remaining) {
            *remaining = remaining.saturating_sub(chunk.len() as u64);
        }
        // Who knows the length does not ask whether there is more.
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

/// When something of a request was last taken, and whether that was all.
#[derive(Debug)]
struct Progress {
    start: Instant,
    /// Of the last chunk; none was taken where it is 0.
    millis: AtomicU64,
    has_ended: AtomicBool,
    is_short: bool,
}

impl Progress {
    fn new(is_short: bool) -> Arc<Self> {
        let (start, millis) = (Instant::now(), AtomicU64::new(0));
        Arc::new(Self { start, millis, has_ended: AtomicBool::new(is_short), is_short })
    }

    fn note(&self) {
        self.millis.store(self.start.elapsed().as_millis().max(1) as u64, Ordering::Relaxed);
    }

    fn end(&self) {
        self.has_ended.store(true, Ordering::Release);
    }

    /// Done when the phase that it is in has taken too long: what did not happen, and for how long.
    async fn stalls(&self, timeouts: &Timeouts) -> (&'static str, Duration) {
        let Timeouts { connect, send, answer, receive: _ } = *timeouts;
        loop {
            let has_ended = self.has_ended.load(Ordering::Acquire);
            let last = self.millis.load(Ordering::Relaxed);
            // What is not looked at yet may still wait for its connection.
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
            // Another phase may begin meanwhile, and have less patience.
            let least = send.min(answer).max(Duration::from_millis(1));
            tokio::time::sleep((patience - waited).min(least)).await;
        }
    }
}

const UNTAKEN: &str = "nothing more of it was taken";
const UNANSWERED: &str = "it was not answered";

fn host(request: &Request<Body>) -> &str {
    request.uri().host().unwrap_or_default()
}

fn late(what: &str, (happened, patience): (&str, Duration)) -> TransportError {
    TransportError::new(TransportErrorKind::Timeout, format!("{what}: {happened} for {} s", patience.as_secs_f32()))
}

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
    // reqwest shows the URL, and with it a signature; the cause at the bottom says what happened.
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

    /// Each phase by its own patience, so that an error tells which it was.
    fn timeouts() -> Timeouts {
        Timeouts::default().with_connect(of(50)).with_send(of(200)).with_answer(of(300)).with_receive(of(400))
    }

    fn streamed(length: usize) -> Body {
        let chunks = (0..length / 1024).map(|_| Ok(Bytes::from(vec![1; 1024])));
        Body::from_stream(Some(length as u64), futures_util::stream::iter(chunks))
    }

    /// Sends a body to a server that does this with its one connection; the answer's body, or what went wrong.
    async fn sent<F>(
        timeouts: Timeouts,
        body: impl Into<Body>,
        server: impl FnOnce(TcpStream) -> F,
    ) -> Result<Vec<u8>, String>
    where
        F: Future<Output = ()>,
    {
        let transport = HttpTransport::with_timeouts(timeouts).expect("it starts");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        let body = body.into();
        let request = Request::put(url).header("content-length", body.length().unwrap_or(0));
        let request = request.body(body).expect("a request");
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
            let (stream, _) = listener.accept().await.expect("a connection");
            server(stream).await;
            std::future::pending::<()>().await;
        };
        tokio::select! { answer = ask => answer, () = serve => unreachable!("it never ends") }
    }

    /// Takes a request of so many bytes of body, some at a time.
    async fn take(stream: &mut TcpStream, mut missing: usize, pause: Duration) {
        let mut buffer = vec![0; 256 * 1024];
        let count = stream.read(&mut buffer).await.expect("a head");
        let head = buffer.windows(4).position(|end| end == b"\r\n\r\n").expect("its end") + 4;
        missing -= count - head;
        while missing > 0 {
            tokio::time::sleep(pause).await;
            missing -= stream.read(&mut buffer).await.expect("more of it");
        }
    }

    #[tokio::test]
    async fn a_server_that_takes_nothing_is_given_up() {
        for body in [Bytes::from(vec![1; 64 << 20]).into(), streamed(64 << 20)] {
            let keep = std::sync::Mutex::new(None);
            let refused = sent(timeouts(), body, async |stream| {
                *keep.lock().expect("no panic") = Some(stream);
            });
            let refused = refused.await.expect_err("it takes nothing");
            assert!(refused.ends_with("nothing more of it was taken for 0.2 s"), "{refused}");
        }
    }

    #[tokio::test]
    async fn a_slow_server_that_takes_something_is_not() {
        for body in [Bytes::from(vec![1; 16 << 20]).into(), streamed(16 << 20)] {
            // What lies in the sockets at the end takes its time, too.
            let answer = sent(timeouts().with_answer(Duration::MAX), body, async |mut stream| {
                take(&mut stream, 16 << 20, of(10)).await;
                stream.write_all(HEAD).await.expect("it is there");
                stream.write_all(b"0123456789").await.expect("it is there");
                std::future::pending::<()>().await;
            });
            let from = Instant::now();
            assert_eq!(answer.await.expect("an answer"), b"0123456789");
            assert!(from.elapsed() > of(400), "it was not slow: {:?}", from.elapsed());
        }
    }

    #[tokio::test]
    async fn who_does_not_answer_is_given_up() {
        // A short one may have waited for its connection.
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
            assert!(refused.ends_with(&format!("it was not answered for {patience} s")), "{refused}");
        }
    }

    #[tokio::test]
    async fn who_ends_half_way_is_given_up() {
        let broken = sent(timeouts(), Bytes::from_static(b"some"), async |mut stream| {
            take(&mut stream, 4, Duration::ZERO).await;
            stream.write_all(HEAD).await.expect("it is there");
            stream.write_all(b"01234").await.expect("it is there");
            std::future::pending::<()>().await;
        });
        let broken = broken.await.expect_err("half an answer");
        assert!(broken.ends_with("nothing more of the answer has come for 0.4 s"), "{broken}");
    }
}
