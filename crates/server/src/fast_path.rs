//! The fast path of a connection: a response that the application has in memory is written as it is, without anything between
//! the request's bytes and its own.
//!
//! It takes plain requests of HTTP/1.1 for which there is a [`Prepared`] response. At the first one that is anything else - for a
//! route, with a body, in another protocol, or no request at all - the connection goes to hyper with every byte that was not
//! answered, and stays there. So hyper alone judges all that is not plain; nothing here could be read in two ways.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice, Write};
use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use http::{HeaderName, HeaderValue, Method, Request, Uri, header};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep};

use crate::application::{Application, Prepared, PreparedBody, Socket};
use crate::shared::Shared;
use crate::{host, proxy};

/// As much as is read at once, in bytes; a longer head is hyper's.
const READ: usize = 16 * 1024;
/// A head with more lines is hyper's.
const LINES: usize = 64;
/// As much as is written at once for requests that came together, in bytes.
const GATHERED: usize = 64 * 1024;

/// Headers that change nothing about what is answered here; they are many, and long.
const IRRELEVANT: [&[u8]; 8] = [
    b"user-agent",
    b"accept",
    b"accept-language",
    b"referer",
    b"cookie",
    b"sec-ch-ua",
    b"sec-ch-ua-platform",
    b"upgrade-insecure-requests",
];

thread_local! {
    /// It is never held across a wait, so one is enough for all connections of a thread; idle ones need none.
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch { input: vec![0; READ].into(), output: Vec::new() });
    /// The `Date` line, and until when it is right.
    static DATE: RefCell<(Option<Instant>, [u8; 37])> = const { RefCell::new((None, [0; 37])) };
}

struct Scratch {
    input: Box<[u8]>,
    output: Vec<u8>,
}

/// How the fast path of a connection ends.
pub(crate) enum Ended {
    /// With the connection.
    Closed,
    /// With bytes that hyper must answer.
    Handed(Vec<u8>),
}

/// The body of an application's prepared responses.
type BodyOf<A> = <<A as Application>::Prepared as Prepared>::Body;

/// A connection on the fast path.
struct FastPath<'c, A: Application> {
    stream: &'c mut TcpStream,
    shared: Arc<Shared<A>>,
    /// Becomes true when no further requests are taken.
    stop: watch::Receiver<bool>,
    /// Received bytes of one or several requests that are not answered yet.
    partial: Vec<u8>,
    /// The next step once all answers are written.
    then: Then,
    /// Bytes to be written before anything else is read.
    pending: Pending<BodyOf<A>>,
    /// Goes off when the client has let it wait for too long; what it waits for, and since when.
    timer: Pin<Box<Sleep>>,
    waits: Option<(Waits, Instant)>,
    /// When something was last answered, or the connection began.
    answered_at: Instant,
    /// Whether a trusted proxy is at the other end.
    is_proxied: bool,
}

/// The rest of the answers: bytes, and a body behind them.
#[derive(Default)]
struct Pending<B> {
    bytes: Vec<u8>,
    written: usize,
    body: B,
    /// The client has taken something since that was last asked.
    has_moved: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Waits {
    Request,
    Write,
}

/// The next step, once all answers are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    /// Wait for the rest of it.
    Read,
    /// Answer it.
    Answer,
    /// Leave it to others.
    Hand,
    /// Nothing: it is over.
    Close,
}

/// The judgement of the next bytes.
enum Next {
    /// They were answered.
    Answered { length: usize },
    /// They are the beginning of a request.
    Incomplete,
    /// They are not for the fast path.
    NotOurs,
}

/// Answers what is in memory, until something comes that is not.
///
/// Each step is a poll of its own, as the scratch of the thread is borrowed for one: another connection has it during a wait.
pub(crate) async fn run<A: Application>(
    stream: &mut TcpStream,
    shared: &Arc<Shared<A>>,
    stop: &watch::Receiver<bool>,
    is_proxied: bool,
) -> io::Result<Ended> {
    let mut waiting = stop.clone();
    let mut stopped = pin!(async move { drop(waiting.wait_for(|stop| *stop).await) });
    let mut path = FastPath {
        stream,
        stop: stop.clone(),
        partial: Vec::new(),
        then: Then::Read,
        pending: Pending::default(),
        timer: Box::pin(tokio::time::sleep(shared.options.header_timeout)),
        waits: None,
        answered_at: Instant::now(),
        is_proxied,
        shared: Arc::clone(shared),
    };
    loop {
        if !path.pending.is_empty() {
            poll_fn(|cx| SCRATCH.with_borrow_mut(|scratch| path.poll_write(cx, scratch))).await?;
        }
        match std::mem::replace(&mut path.then, Then::Read) {
            Then::Read => {
                let step = |cx: &mut Context<'_>| {
                    SCRATCH.with_borrow_mut(|scratch| path.poll_read(cx, stopped.as_mut(), scratch))
                };
                if poll_fn(step).await?.is_break() {
                    return Ok(Ended::Closed);
                }
            }
            Then::Answer => SCRATCH.with_borrow_mut(|scratch| path.take(&[], &mut scratch.output)),
            Then::Hand => return Ok(Ended::Handed(path.partial)),
            Then::Close => return Ok(Ended::Closed),
        }
    }
}

impl<A: Application> FastPath<'_, A> {
    /// Writes what is pending.
    fn poll_write(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<io::Result<()>> {
        let written = self.pending.poll_write(self.stream, cx, &mut scratch.output);
        if written.is_pending() && std::mem::take(&mut self.pending.has_moved) {
            // Who takes something, however slowly, is waited for.
            self.waits = None;
            self.answered_at = Instant::now();
        }
        self.waited(cx, Waits::Write, written)
    }

    /// Reads, and answers what has come; breaks at the end of the connection, and when no further requests are taken.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        stopped: Pin<&mut impl Future<Output = ()>>,
        scratch: &mut Scratch,
    ) -> Poll<io::Result<ControlFlow<()>>> {
        let mut buffer = ReadBuf::new(&mut scratch.input);
        let read = Pin::new(&mut *self.stream).poll_read(cx, &mut buffer);
        // An incomplete request was not taken.
        if read.is_pending() && stopped.poll(cx).is_ready() {
            return Poll::Ready(Ok(ControlFlow::Break(())));
        }
        ready!(self.waited(cx, Waits::Request, read))?;
        if buffer.filled().is_empty() {
            return Poll::Ready(Ok(ControlFlow::Break(())));
        }
        self.take(buffer.filled(), &mut scratch.output);
        Poll::Ready(Ok(ControlFlow::Continue(())))
    }

    /// Answers what has come, as far as it is for the fast path.
    fn take(&mut self, came: &[u8], output: &mut Vec<u8>) {
        let joined;
        let mut rest = came;
        if !self.partial.is_empty() {
            self.partial.extend_from_slice(came);
            joined = std::mem::take(&mut self.partial);
            rest = &joined;
        }
        output.clear();
        while !rest.is_empty() {
            // A body that is not copied ends what is written at once, and so does enough of anything.
            if !self.pending.body.is_empty() || output.len() > GATHERED {
                self.then = Then::Answer;
                break;
            }
            match self.answer(rest, output) {
                Next::Answered { length } => {
                    rest = &rest[length..];
                    self.waits = None;
                    if self.then == Then::Close {
                        break;
                    }
                }
                Next::Incomplete if rest.len() < self.longest() => break,
                Next::Incomplete | Next::NotOurs => {
                    self.then = Then::Hand;
                    break;
                }
            }
        }
        self.partial = rest.to_vec();
        self.pending.put(output);
    }

    /// Answers the request at the beginning of these bytes, if it is one for the fast path.
    fn answer(&mut self, bytes: &[u8], output: &mut Vec<u8>) -> Next {
        let mut lines = [const { MaybeUninit::uninit() }; LINES];
        let mut parsed = httparse::Request::new(&mut []);
        let length = match parsed.parse_with_uninit_headers(bytes, &mut lines) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Next::Incomplete,
            Err(_) => return Next::NotOurs,
        };
        if length > self.longest() {
            return Next::NotOurs;
        }
        let application = &self.shared.application;
        let by_host = application.varies_by_host();
        let Some(mut request) = plain(&parsed, by_host) else { return Next::NotOurs };
        if !self.knows_client(&mut request, by_host) {
            return Next::NotOurs;
        }
        let Some(prepared) = application.prepared(&request) else { return Next::NotOurs };
        self.answered_at = prepared.ready_at().into();
        prepared.write_head(output);
        if self.is_proxied
            && let Some(hsts) = application.hsts()
            && proxy::says_https(request.headers())
        {
            output.extend_from_slice(b"strict-transport-security: ");
            output.extend_from_slice(hsts.as_bytes());
            output.extend_from_slice(b"\r\n");
        }
        if self.stop.has_changed().unwrap_or(true) {
            output.extend_from_slice(b"connection: close\r\n");
            self.then = Then::Close;
        }
        write_date(output, self.answered_at);
        output.extend_from_slice(b"\r\n");
        if let Some(body) = prepared.write_body(output) {
            self.pending.body = body;
        }
        Next::Answered { length }
    }

    /// Whether a proxy's headers about the client are plain enough for the fast path. Those of other senders are removed.
    fn knows_client(&self, request: &mut Request<()>, by_host: bool) -> bool {
        if self.is_proxied {
            return !proxy::is_elaborate(request.headers(), by_host);
        }
        if !self.shared.options.trusted_proxies.is_empty()
            && let Some(name) = self.shared.application.proxy_header()
        {
            request.headers_mut().remove(name);
        }
        true
    }

    /// The longest head that is for the fast path, in bytes.
    fn longest(&self) -> usize {
        READ.min(self.shared.options.header_bytes)
    }

    /// Passes on the result of an operation that waits for the client; a timeout error where it has waited for too long.
    fn waited(&mut self, cx: &mut Context<'_>, what: Waits, polled: Poll<io::Result<()>>) -> Poll<io::Result<()>> {
        if polled.is_ready() {
            // A request that comes in drops is waited for as one: from the last answer on.
            if what == Waits::Write || self.partial.is_empty() {
                self.waits = None;
            }
            return polled;
        }
        let since = match self.waits {
            Some((waits, since)) if waits == what => since,
            // Not by the clock: this is asked after every answer.
            _ => self.answered_at,
        };
        self.waits = Some((what, since));
        let (patience, complaint) = match what {
            Waits::Request => (self.shared.options.header_timeout, "the client says nothing"),
            Waits::Write => (self.shared.options.write_timeout, "the client takes nothing"),
        };
        // The timer is set anew only when it goes off, or would go off too late: most waits are over long before.
        let until = since + patience;
        if self.timer.deadline() > until {
            self.timer.as_mut().reset(until);
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            if until <= Instant::now() {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, complaint)));
            }
            self.timer.as_mut().reset(until);
        }
        Poll::Pending
    }
}

/// A request that has nothing to it but what it asks for; its head as the application takes it.
///
/// | part | plain |
/// |---|---|
/// | method | `GET`, `HEAD` |
/// | version | HTTP/1.1 |
/// | target | begins with `/` |
/// | `Host` | one, and valid |
/// | `Connection` | none, or `keep-alive` |
/// | `Content-Length`, `Transfer-Encoding`, `Upgrade`, `Expect`, `TE` | none |
///
/// Everything else is hyper's to judge, invalid requests too: what is refused here without need costs a little time, and what is taken
/// wrongly would be read in two ways.
fn plain(parsed: &httparse::Request<'_, '_>, varies_by_host: bool) -> Option<Request<()>> {
    let method = match parsed.method? {
        "GET" => Method::GET,
        "HEAD" => Method::HEAD,
        _ => return None,
    };
    let path = parsed.path?;
    if parsed.version != Some(1) || !path.starts_with('/') {
        return None;
    }
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = Uri::try_from(path).ok()?;
    let headers = request.headers_mut();
    let mut has_host = false;
    for line in &*parsed.headers {
        let name = line.name.as_bytes();
        if IRRELEVANT.iter().any(|irrelevant| irrelevant.eq_ignore_ascii_case(name)) {
            continue;
        }
        let name = HeaderName::from_bytes(name).ok()?;
        match name {
            // A body, another protocol, an end, or an answer before the answer.
            header::CONTENT_LENGTH | header::TRANSFER_ENCODING | header::UPGRADE | header::EXPECT | header::TE => {
                return None;
            }
            header::CONNECTION if !line.value.eq_ignore_ascii_case(b"keep-alive") => return None,
            header::CONNECTION => continue,
            // Exactly one (RFC 9112 3.2).
            header::HOST if has_host || !host::is_valid(line.value) => return None,
            header::HOST => {
                has_host = true;
                if !varies_by_host {
                    continue;
                }
            }
            _ => {}
        }
        headers.append(name, HeaderValue::from_bytes(line.value).ok()?);
    }
    has_host.then_some(request)
}

/// Writes the `Date` line: made once a second.
fn write_date(output: &mut Vec<u8>, now: Instant) {
    DATE.with_borrow_mut(|(until, line)| {
        if until.is_none_or(|until| until <= now) {
            let time = SystemTime::now();
            let into_second = time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.subsec_nanos());
            // As long as every date of this form.
            let mut rest = &mut line[..];
            drop(write!(rest, "date: {}\r\n", httpdate::HttpDate::from(time)));
            *until = Some(now + Duration::from_nanos(1_000_000_000 - u64::from(into_second)));
        }
        output.extend_from_slice(line);
    });
}

impl<B: PreparedBody> Pending<B> {
    fn is_empty(&self) -> bool {
        self.written == self.bytes.len() && self.body.is_empty()
    }

    /// Takes what is to be written, if there is anything. Nothing is left of before.
    fn put(&mut self, output: &mut Vec<u8>) {
        self.written = 0;
        if !output.is_empty() {
            std::mem::swap(&mut self.bytes, output);
        }
    }

    /// Writes all of it; the memory goes back to where it came from, for an idle connection keeps none.
    fn poll_write(
        &mut self,
        stream: &mut TcpStream,
        cx: &mut Context<'_>,
        output: &mut Vec<u8>,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let bytes = &self.bytes[self.written..];
            let mut stream = Pin::new(&mut *stream);
            let count = ready!(match self.body.bytes() {
                None => poll_send(&stream, cx, &self.body, bytes),
                Some([]) => stream.as_mut().poll_write(cx, bytes),
                Some(body) if bytes.is_empty() => stream.as_mut().poll_write(cx, body),
                Some(body) => stream.as_mut().poll_write_vectored(cx, &[IoSlice::new(bytes), IoSlice::new(body)]),
            })?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.has_moved = true;
            let of_bytes = count.min(bytes.len());
            self.written += of_bytes;
            self.body.advance(count - of_bytes);
        }
        if self.bytes.capacity() <= 2 * GATHERED {
            std::mem::swap(&mut self.bytes, output);
        }
        *self = Self::default();
        Poll::Ready(Ok(()))
    }
}

/// Sends a body by a system call of its own, after the bytes that stand before it.
fn poll_send(
    stream: &TcpStream,
    cx: &mut Context<'_>,
    body: &impl PreparedBody,
    before: &[u8],
) -> Poll<io::Result<usize>> {
    loop {
        ready!(stream.poll_write_ready(cx))?;
        match stream.try_io(Interest::WRITABLE, || body.send(Socket::new(stream), before)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            sent => return Poll::Ready(sent),
        }
    }
}
