//! The native transport: reqwest with rustls.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use http::{Request, Response};
use tokio::time::{Instant, timeout};

use super::transport::BodyError;
use super::{Body, Transport, TransportError, TransportErrorKind};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long nothing may move, in either direction.
const IDLE: Duration = Duration::from_secs(60);

/// HTTP/1.1 and HTTP/2 over TCP and TLS, with a pool of connections. Redirects are answers: what is signed must not follow
/// them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct HttpTransport {
    client: reqwest::Client,
    idle: Duration,
}

impl HttpTransport {
    /// A pool of its own.
    ///
    /// # Errors
    /// Where the system's certificates cannot be used.
    pub fn new() -> Result<Self, TransportError> {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // Another thread may have been quicker; then its provider is as good.
            rustls::crypto::ring::default_provider().install_default().ok();
        }
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("isobar/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| failure(error, "the HTTP client does not start"))?;
        Ok(Self { client, idle: IDLE })
    }

    /// How long nothing may move: no byte of the request taken, none of the answer come. 60 seconds by default.
    #[must_use]
    pub fn with_idle_timeout(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self
    }
}

#[async_trait]
impl Transport for HttpTransport {
    async fn send(&self, request: Request<Body>) -> Result<Response<Body>, TransportError> {
        let what = format!("{} {}{}", request.method(), host(&request), request.uri().path());
        let progress = Progress::new();
        let (parts, body) = request.into_parts();
        let body = match body.as_bytes() {
            Some(bytes) => reqwest::Body::from(bytes.clone()),
            None => {
                let noting = Arc::clone(&progress);
                reqwest::Body::wrap_stream(body.into_stream().inspect(move |_| noting.note()))
            }
        };
        let request =
            reqwest::Request::try_from(Request::from_parts(parts, body)).map_err(|error| failure(error, &what))?;
        let answer = tokio::select! {
            answer = self.client.execute(request) => answer.map_err(|error| failure(error, &what))?,
            () = progress.stalls(self.idle) => return Err(stalled(&what, self.idle)),
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
        let (idle, chunks) = (self.idle, Box::pin(http_body_util::BodyDataStream::new(body)));
        let chunks = futures_util::stream::unfold((chunks, what), move |(mut chunks, what)| async move {
            let chunk = match timeout(idle, chunks.next()).await {
                Ok(None) => return None,
                Ok(Some(Ok(chunk))) => Ok(chunk),
                Ok(Some(Err(error))) => Err(BodyError::from(failure(error, &what))),
                Err(_) => Err(BodyError::from(stalled(&what, idle))),
            };
            Some((chunk, (chunks, what)))
        });
        Response::from_parts(parts, Body::from_stream(length, chunks))
    }
}

/// When something last moved.
#[derive(Debug)]
struct Progress {
    start: Instant,
    millis: AtomicU64,
}

impl Progress {
    fn new() -> Arc<Self> {
        Arc::new(Self { start: Instant::now(), millis: AtomicU64::new(0) })
    }

    fn note(&self) {
        self.millis.store(self.start.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// Done when nothing has moved for so long.
    async fn stalls(&self, idle: Duration) {
        loop {
            let last = Duration::from_millis(self.millis.load(Ordering::Relaxed));
            let deadline = self.start + last + idle;
            if Instant::now() >= deadline {
                return;
            }
            tokio::time::sleep_until(deadline).await;
        }
    }
}

fn host(request: &Request<Body>) -> &str {
    request.uri().host().unwrap_or_default()
}

fn stalled(what: &str, idle: Duration) -> TransportError {
    TransportError::new(TransportErrorKind::Timeout, format!("{what}: nothing moved for {} s", idle.as_secs_f32()))
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
