//! The application behind a server: what answers its requests, and what of it the fast path may send.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body::Body;
use tokio::net::TcpStream;

use crate::body::{BodyAccount, BodyError, RequestBody};

/// The header of a request's id, which a refusal takes over from what it stands for.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Default of [`Application::body_limit`], in bytes: the limit of axum's extractors.
const BODY_LIMIT: usize = 2 * 1024 * 1024;

/// An application that a [`Server`](crate::Server) serves.
///
/// [`respond`](Self::respond) is all that one needs; the other methods have defaults. An application with answers in memory gives
/// them by [`respond_at_once`](Self::respond_at_once) and [`prepared`](Self::prepared), on the thread of the connection: they must
/// not block, and a panic in them ends the connection.
///
/// ```
/// use bytes::Bytes;
/// use http::{Request, Response};
/// use http_body_util::Full;
/// use isobar_server::{Application, NotPrepared, RequestBody, RequestInfo};
///
/// /// Answers with the address of its client.
/// struct Echo;
///
/// impl Application for Echo {
///     type Body = Full<Bytes>;
///     type Prepared = NotPrepared;
///     type Connection = ();
///
///     async fn respond(&self, _: Request<RequestBody>, info: RequestInfo) -> Response<Full<Bytes>> {
///         Response::new(Bytes::from(format!("{:?}\n", info.address)).into())
///     }
///
///     fn connected(&self) {}
/// }
/// # let _ = Echo;
/// ```
pub trait Application: Send + Sync + 'static {
    /// The body of responses.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + From<Bytes> + Send + 'static;
    /// A response that the fast path sends; [`NotPrepared`] where there are none.
    type Prepared: Prepared;
    /// A value that lives as long as a connection, which a WebSocket that came of it is part of: a gauge, say. `()` for none.
    type Connection: Send + Unpin + 'static;

    /// Responds to a request. Runs on the runtime that [serves](crate::Server::serve), and is dropped when the client has gone, wherever it
    /// waits then: work that has to be finished belongs into a task of its own. A panic in it answers 500 to its client alone.
    fn respond(
        &self,
        request: Request<RequestBody>,
        info: RequestInfo,
    ) -> impl Future<Output = Response<Self::Body>> + Send;

    /// Begins a connection; what it returns is dropped at the connection's end.
    fn connected(&self) -> Self::Connection;

    /// Returns the response to a request that the server refuses, or gives up. `id` is the `x-request-id` of the request, or of
    /// the response that this one replaces. Default: the reason as plain text.
    ///
    /// An application whose errors are JSON:
    ///
    /// ```
    /// # use bytes::Bytes;
    /// # use http::{HeaderValue, Request, Response};
    /// # use http_body_util::Full;
    /// # use isobar_server::{Application, NotPrepared, RequestBody, RequestInfo};
    /// use isobar_server::Refusal;
    ///
    /// # struct Api;
    /// impl Application for Api {
    /// #     type Body = Full<Bytes>;
    /// #     type Prepared = NotPrepared;
    /// #     type Connection = ();
    /// #     async fn respond(&self, _: Request<RequestBody>, _: RequestInfo) -> Response<Full<Bytes>> {
    /// #         Response::new(Bytes::new().into())
    /// #     }
    /// #     fn connected(&self) {}
    ///     // ...
    ///     fn refuse(&self, refusal: &Refusal, _: Option<HeaderValue>) -> Response<Full<Bytes>> {
    ///         let body = format!("{{\"error\":\"{refusal}\"}}");
    ///         let response = Response::builder().status(refusal.status()).header("content-type", "application/json");
    ///         response.body(Bytes::from(body).into()).expect("the head is valid")
    ///     }
    /// }
    ///
    /// let response = Api.refuse(&Refusal::InvalidHost("there is no Host header"), None);
    /// assert_eq!(response.status(), 400);
    /// assert_eq!(response.headers()["content-type"], "application/json");
    /// ```
    fn refuse(&self, refusal: &Refusal, id: Option<HeaderValue>) -> Response<Self::Body> {
        let mut response = Response::new(Bytes::from(format!("{refusal}\n")).into());
        *response.status_mut() = refusal.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.extend(refusal.retry_after().map(|seconds| (header::RETRY_AFTER, seconds)));
        headers.extend(id.map(|id| (REQUEST_ID, id)));
        response
    }

    /// Returns the response where it is in memory, for connections that the fast path has left: HTTP/2, TLS, and those that have
    /// sent something else before. Called before [`respond`](Self::respond), on the thread of the connection; it spares the way to the
    /// application's runtime and back. Default: none.
    fn respond_at_once<B>(&self, request: &Request<B>) -> Option<Response<Self::Body>> {
        let _ = request;
        None
    }

    /// Returns the response where it is in memory and ready to be written, for the fast path: to a GET or HEAD by HTTP/1.1
    /// without a body. Headers that change nothing about such a response (`User-Agent`, `Accept`, `Cookie` and others) may be
    /// missing from `request`, and so may `Host` unless [`varies_by_host`](Self::varies_by_host). Default: none.
    fn prepared(&self, request: &Request<()>) -> Option<Self::Prepared> {
        let _ = request;
        None
    }

    /// Whether [`prepared`](Self::prepared) looks at the host of a request. Default: no.
    fn varies_by_host(&self) -> bool {
        false
    }

    /// A header that [trusted proxies](crate::TrustedProxies) set, beside those about the client's address. Where any proxy is
    /// trusted it is removed from all other requests. Default: none.
    fn proxy_header(&self) -> Option<&HeaderName> {
        None
    }

    /// The value of `Strict-Transport-Security` (RFC 6797) in responses to clients that came by `https`. Default: none.
    fn hsts(&self) -> Option<&HeaderValue> {
        None
    }

    /// The most that is charged for one body as it is read, in bytes: what the application itself reads into memory at most.
    /// Default: 2 MiB.
    fn body_limit(&self) -> usize {
        BODY_LIMIT
    }
}

/// A request's circumstances, beside its head and its body.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RequestInfo {
    /// The client's address: that of the connection, or the one that a trusted proxy reports. `None` by a socket in the file
    /// system without a proxy that reports one.
    pub address: Option<IpAddr>,
    /// Whether the client came by `https`, to the server itself or to a trusted proxy.
    pub is_https: bool,
    /// The account of the request's body; `None` where there is no body.
    pub body: Option<BodyAccount>,
}

impl RequestInfo {
    pub(crate) fn new(address: Option<IpAddr>, is_https: bool, body: Option<BodyAccount>) -> Self {
        Self { address, is_https, body }
    }
}

/// Why the server answers a request itself. Shows as a sentence for the client.
///
/// ```
/// use isobar_server::Refusal;
///
/// let refusal = Refusal::InvalidHost("there is no Host header");
/// assert_eq!((refusal.status().as_u16(), refusal.to_string()), (400, "there is no Host header".to_owned()));
/// assert_eq!(refusal.retry_after(), None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// There is not one valid host (RFC 9112 3.2): 400, with the reason.
    InvalidHost(&'static str),
    /// The response did not begin within [`request_timeout`](crate::ServerOptions::request_timeout): 503.
    TimedOut(Duration),
    /// The body was given up: 408 where it came too slowly, 503 where there is no memory for it.
    Body(BodyError),
}

impl Refusal {
    /// The status of the response.
    ///
    /// | refusal | status |
    /// |---|---|
    /// | [`InvalidHost`](Self::InvalidHost) | 400 |
    /// | [`TimedOut`](Self::TimedOut) | 503 |
    /// | [`Body`](Self::Body)([`Slow`](BodyError::Slow)) | 408 |
    /// | [`Body`](Self::Body)([`OverBudget`](BodyError::OverBudget)), [`Body`](Self::Body)([`OverShare`](BodyError::OverShare)) | 503 |
    ///
    /// ```
    /// use isobar_server::{BodyError, Refusal};
    ///
    /// assert_eq!(Refusal::Body(BodyError::Slow).status(), 408);
    /// assert_eq!(Refusal::Body(BodyError::OverShare).status(), 503);
    /// ```
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::InvalidHost(_) => StatusCode::BAD_REQUEST,
            Self::TimedOut(_) | Self::Body(BodyError::OverBudget | BodyError::OverShare) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Body(BodyError::Slow) => StatusCode::REQUEST_TIMEOUT,
        }
    }

    /// `Retry-After`, in seconds: 1, with each 503.
    ///
    /// ```
    /// use isobar_server::{BodyError, Refusal};
    ///
    /// assert_eq!(Refusal::Body(BodyError::OverBudget).retry_after().expect("a 503 has it"), "1");
    /// ```
    #[must_use]
    pub fn retry_after(&self) -> Option<HeaderValue> {
        (self.status() == StatusCode::SERVICE_UNAVAILABLE).then(|| HeaderValue::from_static("1"))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidHost(reason) => f.write_str(reason),
            Self::TimedOut(limit) => write!(f, "there was no answer within {} s", limit.as_secs_f32()),
            Self::Body(BodyError::Slow) => f.write_str("the body came too slowly; send it again"),
            Self::Body(BodyError::OverBudget) => f.write_str("too many bodies are being received at once; try again"),
            Self::Body(BodyError::OverShare) => {
                f.write_str("too many bodies are being received from your address at once; try again")
            }
        }
    }
}

/// A response in memory that the fast path sends without hyper. The server adds `Date`, and `Connection` and
/// `Strict-Transport-Security` where they are due.
///
/// ```
/// use std::time::Instant;
///
/// use isobar_server::{Prepared, PreparedBody};
///
/// /// A page of a program, which is there from the beginning.
/// struct Page(Instant);
///
/// #[derive(Clone, Default)]
/// struct Text(&'static [u8]);
///
/// impl PreparedBody for Text {
///     fn len(&self) -> usize {
///         self.0.len()
///     }
///
///     fn advance(&mut self, count: usize) {
///         self.0 = &self.0[count..];
///     }
///
///     fn bytes(&self) -> Option<&[u8]> {
///         Some(self.0)
///     }
/// }
///
/// impl Prepared for Page {
///     type Body = Text;
///
///     fn write_head(&self, output: &mut Vec<u8>) {
///         output.extend_from_slice(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n");
///     }
///
///     fn write_body(&self, output: &mut Vec<u8>) -> Option<Text> {
///         output.extend_from_slice(b"hello\n"); // small: one write sends it with its head
///         None
///     }
///
///     fn ready_at(&self) -> Instant {
///         self.0
///     }
/// }
///
/// let mut output = Vec::new();
/// let page = Page(Instant::now());
/// page.write_head(&mut output);
/// output.extend_from_slice(b"\r\n");
/// assert!(page.write_body(&mut output).is_none());
/// assert!(output.ends_with(b"\r\n\r\nhello\n"));
/// ```
pub trait Prepared {
    /// A body that is sent without being copied.
    type Body: PreparedBody;

    /// Appends the status line and the headers, each line with its CRLF, but not the empty line after them. Nothing in it may be
    /// `Date` or `Connection`, nor `Strict-Transport-Security` where [`Application::hsts`] returns a value.
    fn write_head(&self, output: &mut Vec<u8>);

    /// Appends the body where it is small enough that copying it costs less than another system call, about 8 KiB; returns it
    /// where it is larger. Does neither where the response has no body.
    fn write_body(&self, output: &mut Vec<u8>) -> Option<Self::Body>;

    /// When the response was ready; a client's time to send its next request begins there.
    fn ready_at(&self) -> Instant;
}

/// A body of a [`Prepared`] response, as far as it is not sent yet. Cloning it must be cheap. Default: an empty one.
///
/// ```
/// use bytes::{Buf, Bytes};
/// use isobar_server::PreparedBody;
///
/// /// A body in the memory of the process, which responses share.
/// #[derive(Clone, Default)]
/// struct SharedBytes(Bytes);
///
/// impl PreparedBody for SharedBytes {
///     fn len(&self) -> usize {
///         self.0.len()
///     }
///
///     fn advance(&mut self, count: usize) {
///         self.0.advance(count);
///     }
///
///     fn bytes(&self) -> Option<&[u8]> {
///         Some(&self.0)
///     }
/// }
///
/// let mut body = SharedBytes(Bytes::from_static(b"content"));
/// body.advance(3);
/// assert_eq!((body.len(), body.bytes()), (4, Some(&b"tent"[..])));
/// ```
pub trait PreparedBody: Clone + Default + Send + Unpin + 'static {
    /// Bytes that are left.
    fn len(&self) -> usize;

    /// Whether nothing is left.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removes the first `count` bytes, of at least as many.
    fn advance(&mut self, count: usize);

    /// The bytes, where they are in the memory of the process. `None` for a body that [`send`](Self::send) sends.
    fn bytes(&self) -> Option<&[u8]>;

    /// Sends `head` and this body to a socket that does not block, as much as it takes, by a system call of one's own: `sendfile`,
    /// say. Returns the number of bytes sent, those of `head` first. Called only where [`bytes`](Self::bytes) returns `None`.
    ///
    /// # Errors
    /// Those of the system call; `WouldBlock` where the socket takes nothing now. Default: `Unsupported`.
    fn send(&self, socket: Socket<'_>, head: &[u8]) -> io::Result<usize> {
        let _ = (socket, head);
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// The socket of a connection, for a system call; it does not block.
#[derive(Debug, Clone, Copy)]
pub struct Socket<'a> {
    stream: &'a TcpStream,
}

impl<'a> Socket<'a> {
    pub(crate) fn new(stream: &'a TcpStream) -> Self {
        Self { stream }
    }
}

#[cfg(unix)]
impl std::os::fd::AsFd for Socket<'_> {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(windows)]
impl std::os::windows::io::AsSocket for Socket<'_> {
    fn as_socket(&self) -> std::os::windows::io::BorrowedSocket<'_> {
        self.stream.as_socket()
    }
}

/// The [`Prepared`] of an application that has no such responses; there is no value of it.
#[derive(Debug, Clone, Copy)]
pub enum NotPrepared {}

impl Prepared for NotPrepared {
    type Body = NoBody;

    fn write_head(&self, _: &mut Vec<u8>) {
        match *self {}
    }

    fn write_body(&self, _: &mut Vec<u8>) -> Option<NoBody> {
        match *self {}
    }

    fn ready_at(&self) -> Instant {
        match *self {}
    }
}

/// An empty [`PreparedBody`].
#[derive(Debug, Clone, Copy, Default)]
pub struct NoBody;

impl PreparedBody for NoBody {
    fn len(&self) -> usize {
        0
    }

    fn advance(&mut self, _: usize) {}

    fn bytes(&self) -> Option<&[u8]> {
        Some(&[])
    }
}
