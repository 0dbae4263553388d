//! The native transport: reqwest with rustls.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, timeout};

use super::transport::BodyError;
use super::{Body, Transport, TransportError, TransportErrorKind};

/// A body at hand is given to the connection in pieces of this length, in bytes: by them it is seen that it moves.
const PIECE: usize = 64 * 1024;

/// How long each phase of a request may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeouts {
    /// Until there is a connection, TLS included. 10 s.
    pub connect: Duration,
    /// While the request's body is sent: how long none of it may be taken. 60 s.
    pub send: Duration,
    /// From then on until the head of the answer is there; where there is no body, from the connection on at the latest. 60 s.
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
        let progress = Progress::new(body.length() == Some(0));
        let body = match body.as_bytes() {
            Some(bytes) => reqwest::Body::wrap(Pieces { rest: bytes.clone(), progress: Arc::clone(&progress) }),
            None => {
                let (noting, ending) = (Arc::clone(&progress), Arc::clone(&progress));
                let end = futures_util::stream::poll_fn(move |_| {
                    ending.end();
                    Poll::Ready(None)
                });
                reqwest::Body::wrap_stream(body.into_stream().inspect(move |_| noting.note()).chain(end))
            }
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

/// A body at hand that tells when some of it is taken.
struct Pieces {
    rest: Bytes,
    progress: Arc<Progress>,
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.progress.note();
        let length = self.rest.len().min(PIECE);
        let piece = self.rest.split_to(length);
        if self.rest.is_empty() {
            self.progress.end();
        }
        Poll::Ready((!piece.is_empty()).then(|| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

/// When something of a request was last taken, and whether that was all.
#[derive(Debug)]
struct Progress {
    start: Instant,
    millis: AtomicU64,
    has_ended: AtomicBool,
    is_empty: bool,
}

impl Progress {
    fn new(is_empty: bool) -> Arc<Self> {
        let (start, millis) = (Instant::now(), AtomicU64::new(0));
        Arc::new(Self { start, millis, has_ended: AtomicBool::new(is_empty), is_empty })
    }

    fn note(&self) {
        self.millis.store(self.start.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    fn end(&self) {
        self.note();
        self.has_ended.store(true, Ordering::Release);
    }

    /// Done when the phase that it is in has taken too long: what did not happen, and for how long.
    async fn stalls(&self, timeouts: &Timeouts) -> (&'static str, Duration) {
        loop {
            // What is not looked at yet may still wait for its connection.
            let (what, patience) = match self.has_ended.load(Ordering::Acquire) {
                true if self.is_empty => ("it was not answered", timeouts.connect + timeouts.answer),
                true => ("it was not answered", timeouts.answer),
                false => ("nothing more of it was taken", timeouts.send.max(timeouts.connect)),
            };
            let deadline = self.start + Duration::from_millis(self.millis.load(Ordering::Relaxed)) + patience;
            let now = Instant::now();
            if now >= deadline {
                return (what, patience);
            }
            // A phase may begin meanwhile that has less patience.
            tokio::time::sleep_until(deadline.min(now + timeouts.answer.max(Duration::from_millis(1)))).await;
        }
    }
}

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

    /// Sends a body to a server that does this with its one connection; the answer's body, or what went wrong.
    async fn sent<F>(body: impl Into<Body>, server: impl FnOnce(TcpStream) -> F) -> Result<Vec<u8>, String>
    where
        F: Future<Output = ()>,
    {
        let short = Duration::from_millis(200);
        let timeouts = Timeouts::default().with_connect(short).with_send(short).with_answer(short).with_receive(short);
        let transport = HttpTransport::with_timeouts(timeouts).expect("it starts");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        let request = Request::put(url).body(body.into()).expect("a request");
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
        let keep = std::sync::Mutex::new(None);
        let refused = sent(Bytes::from(vec![1; 64 << 20]), async |stream| {
            *keep.lock().expect("no panic") = Some(stream);
        });
        let refused = refused.await.expect_err("it takes nothing");
        assert!(refused.ends_with("nothing more of it was taken for 0.2 s"), "{refused}");
    }

    #[tokio::test]
    async fn a_slow_server_that_takes_something_is_not() {
        let answer = sent(Bytes::from(vec![1; 16 << 20]), async |mut stream| {
            take(&mut stream, 16 << 20, Duration::from_millis(10)).await;
            stream.write_all(HEAD).await.expect("it is there");
            stream.write_all(b"0123456789").await.expect("it is there");
            std::future::pending::<()>().await;
        });
        let from = Instant::now();
        assert_eq!(answer.await.expect("an answer"), b"0123456789");
        assert!(from.elapsed() > Duration::from_millis(400), "it was not slow: {:?}", from.elapsed());
    }

    #[tokio::test]
    async fn who_does_not_answer_is_given_up_and_so_is_who_ends_half_way() {
        for body in [&b"some"[..], b""] {
            let refused = sent(Bytes::from_static(body), async |mut stream| {
                take(&mut stream, body.len(), Duration::ZERO).await;
                std::future::pending::<()>().await;
            });
            let refused = refused.await.expect_err("no answer");
            assert!(refused.contains("it was not answered for"), "{refused}");
        }
        let broken = sent(Bytes::from_static(b"some"), async |mut stream| {
            take(&mut stream, 4, Duration::ZERO).await;
            stream.write_all(HEAD).await.expect("it is there");
            stream.write_all(b"01234").await.expect("it is there");
            std::future::pending::<()>().await;
        });
        let broken = broken.await.expect_err("half an answer");
        assert!(broken.ends_with("nothing more of the answer has come for 0.2 s"), "{broken}");
    }
}
