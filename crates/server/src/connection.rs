//! The threads that read and write connections.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use hyper::body::{Body, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use isobar_api::BodyMemory;
use isobar_api::auth::ClientAddress;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tower::ServiceExt;

use super::body::{Account, Budget, PacedBody};
use super::lane::{self, Ended};
use super::places::{Place, Places};
use super::proxy::Peer;
use super::stream::{Patience, Stream};
use super::tls::Tls;
use super::{ServerOptions, host, proxy_protocol};
use crate::app::unsniffed;
use crate::observe::{REQUEST_ID, request_id};
use crate::service::{AppBody, AppService};
use crate::{Problem, service};

/// As much as a connection holds ready in the kernel before it is sent, in bytes: enough for its network to be busy, and little
/// enough to stay in the processor's cache, where there are many.
#[cfg(target_os = "linux")]
const UNSENT: u32 = 256 * 1024;
/// How long a TLS handshake may take, and a header of the PROXY protocol.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Time that a thread stays for WebSockets that have outlived its listener, until they are closed.
const LINGER: Duration = Duration::from_secs(10);

/// The answer to a connection beyond the limit.
const NO_PLACE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\n\
    content-type: text/plain; charset=utf-8\r\ncontent-length: 43\r\n\r\nthere are too many connections; try again.\n";
/// How long a connection without a place is read, so that its client sees the answer before the end.
const REFUSAL: Duration = Duration::from_secs(1);
/// How many of those a thread has at once; more are closed without an answer.
const REFUSALS: usize = 16;
/// How long a thread waits after the system had no file left for a connection; others end meanwhile.
const BREATH: Duration = Duration::from_millis(50);

/// State shared by the threads.
pub(super) struct Shared {
    pub(super) service: AppService,
    pub(super) options: ServerOptions,
    pub(super) http: auto::Builder<TokioExecutor>,
    pub(super) tls: Option<Tls>,
    /// Where the routes run: on the runtime that serves, beside what the application has started there.
    pub(super) routes: Handle,
    pub(super) places: Arc<Places>,
    pub(super) budget: Arc<Budget>,
}

/// One listener.
pub(super) enum Listener {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(tokio::net::UnixListener),
}

/// A listener that no runtime has yet.
pub(super) enum Unstarted {
    Tcp(std::net::TcpListener),
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixListener),
}

/// Accepts connections until `stop`, then lets them finish; `done` is dropped when they have, or when their time is over.
pub(super) fn run(
    listener: Unstarted,
    shared: Arc<Shared>,
    stop: watch::Receiver<bool>,
    done: mpsc::Sender<()>,
) -> io::Result<()> {
    // Before it waits it lets others on its processor run: what they send meanwhile is answered without a wait in between.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().on_thread_park(std::thread::yield_now).build()?;
    runtime.block_on(async {
        let listener = match listener {
            Unstarted::Tcp(listener) => Listener::Tcp(TcpListener::from_std(listener)?),
            #[cfg(unix)]
            Unstarted::Unix(listener) => Listener::Unix(tokio::net::UnixListener::from_std(listener)?),
        };
        let (graceful, (alive, mut gone)) = (GracefulShutdown::new(), mpsc::channel::<()>(1));
        let (mut stopping, mut complained_at) = (stop.clone(), None::<Instant>);
        let accepting = Accepting { shared: &shared, graceful: &graceful, alive: &alive, stop: &stop };
        loop {
            tokio::select! {
                accepted = accepting.accept(&listener) => match accepted {
                    Ok(()) => {}
                    // The client has gone already: the next one is none the worse for it.
                    Err(error) if is_its_own(&error) => tracing::debug!(%error, "a connection broke off"),
                    Err(error) => {
                        // No file left, say: others end, and then there is one.
                        if complained_at.is_none_or(|at| at.elapsed() > Duration::from_secs(5)) {
                            complained_at = Some(Instant::now());
                            tracing::warn!(%error, "connections cannot be accepted");
                        }
                        tokio::time::sleep(BREATH).await;
                    }
                },
                _ = stopping.wait_for(|stop| *stop) => break,
            }
        }
        drop((listener, alive));
        if tokio::time::timeout(shared.options.drain, graceful.shutdown()).await.is_err() {
            tracing::warn!("requests were still in flight after {:?}", shared.options.drain);
            return Ok(()); // with this runtime they end
        }
        // This thread must not keep the application alive: its sockets close when it ends.
        drop((shared, done));
        // A WebSocket belongs to its session now, and its bytes still come and go by this thread.
        drop(tokio::time::timeout(LINGER, gone.recv()).await);
        Ok(())
    })
}

/// How HTTP is spoken.
pub(super) fn http(options: &ServerOptions) -> auto::Builder<TokioExecutor> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(options.header_timeout)
        .max_buf_size(options.header_bytes);
    http.http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(options.header_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(256)
        .keep_alive_interval(options.header_timeout)
        .adaptive_window(true);
    http
}

/// Whether an error is of one connection, and not of accepting.
fn is_its_own(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, InvalidInput};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | InvalidInput)
}

/// State needed to accept connections.
struct Accepting<'a> {
    shared: &'a Arc<Shared>,
    graceful: &'a GracefulShutdown,
    alive: &'a mpsc::Sender<()>,
    stop: &'a watch::Receiver<bool>,
}

impl Accepting<'_> {
    async fn accept(&self, listener: &Listener) -> io::Result<()> {
        let shared = self.shared;
        match listener {
            Listener::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Taken before anything else: a connection without one keeps no descriptor.
                let Some(place) = shared.places.take() else {
                    refuse(stream, shared);
                    return Ok(());
                };
                stream.set_nodelay(true)?;
                #[cfg(target_os = "linux")]
                socket2::SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT)?;
                let connection = TcpConnection {
                    held: held(shared, self.alive, place),
                    shared: Arc::clone(shared),
                    watcher: self.graceful.watcher(),
                    stop: self.stop.clone(),
                };
                tokio::spawn(connection.run(stream, peer));
            }
            #[cfg(unix)]
            Listener::Unix(listener) => {
                let (mut stream, _) = listener.accept().await?;
                let Some(place) = shared.places.take() else {
                    drop(tokio::io::AsyncWriteExt::write(&mut stream, NO_PLACE).await);
                    return Ok(());
                };
                let held = held(shared, self.alive, place);
                tokio::spawn(unix(stream, held, Arc::clone(shared), self.graceful.watcher(), self.stop.clone()));
            }
        }
        Ok(())
    }
}

impl Shared {
    fn patience(&self) -> Patience {
        Patience { opening: self.options.header_timeout, writing: self.options.write_timeout }
    }
}

/// Serves a connection by a socket in the file system.
#[cfg(unix)]
async fn unix(
    mut stream: tokio::net::UnixStream,
    mut held: Held,
    shared: Arc<Shared>,
    watcher: hyper_util::server::graceful::Watcher,
    mut stop: watch::Receiver<bool>,
) {
    use tokio::io::AsyncWriteExt;
    let mut peer = Peer { address: None, is_tls: false, is_trusted: shared.options.trusted_proxies.trusts(None) };
    if shared.options.proxy_protocol {
        let announced = tokio::select! {
            announced = announced(&mut stream) => announced,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let client = match announced {
            Ok(client) => client,
            Err(error) => return tracing::debug!(%error, "no PROXY header"),
        };
        peer = shared.announced_peer(client, None);
        if client.is_some_and(|client| !held.count(client)) {
            return drop(stream.write(NO_PLACE).await);
        }
    }
    let stream = Stream::new(stream, shared.patience(), held);
    log(watcher.watch(connection(stream, peer, &shared).into_owned()).await);
}

/// Reads the PROXY header of a connection, and returns the client's address if it has one.
async fn announced(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<IpAddr>> {
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the PROXY header took too long");
    let client = tokio::time::timeout(HANDSHAKE, proxy_protocol::read(stream)).await.map_err(late)??;
    Ok(client.map(|client| client.ip()))
}

impl Shared {
    /// Returns the peer of a connection with a PROXY header. Without an address in it the client is not known: headers of its requests
    /// are not believed, even if the proxy is trusted, and its address is the connection's own.
    fn announced_peer(&self, client: Option<IpAddr>, own: Option<IpAddr>) -> Peer {
        let is_trusted = client.is_some() && self.options.trusted_proxies.trusts(client);
        Peer { address: client.or(own), is_tls: self.tls.is_some(), is_trusted }
    }
}

/// A connection by TCP.
struct TcpConnection {
    shared: Arc<Shared>,
    held: Held,
    watcher: hyper_util::server::graceful::Watcher,
    stop: watch::Receiver<bool>,
}

impl TcpConnection {
    async fn run(mut self, mut stream: TcpStream, peer: SocketAddr) {
        let options = &self.shared.options;
        let address = peer.ip().to_canonical();
        let is_trusted = options.trusted_proxies.contains(address);
        // Through a trusted proxy come the connections of many.
        let mut counted = Some(address).filter(|_| !is_trusted);
        let mut peer = Peer { address: Some(address), is_tls: self.shared.tls.is_some(), is_trusted };
        if options.proxy_protocol {
            if !is_trusted && !options.trusted_proxies.is_empty() {
                return tracing::debug!(%address, "a connection from outside of the trusted proxies was closed");
            }
            let client = match announced(&mut stream).await {
                Ok(client) => client,
                Err(error) => return tracing::debug!(%address, %error, "no PROXY header"),
            };
            peer = self.shared.announced_peer(client, Some(address));
            counted = client.or(counted);
        }
        if counted.is_some_and(|address| !self.held.count(address)) {
            return refuse(stream, &self.shared);
        }
        if self.shared.tls.is_some() { self.secured(stream, peer).await } else { self.plain(stream, peer).await }
    }

    async fn plain(self, mut stream: TcpStream, peer: Peer) {
        let Self { shared, held, watcher, stop } = self;
        let rest = match lane::run(&mut stream, &shared, &stop, peer.is_trusted).await {
            Ok(Ended::Handed(rest)) => rest,
            Ok(Ended::Closed) => return,
            Err(error) => return tracing::debug!(%error, "a connection broke off"),
        };
        let stream = Stream::new(stream, shared.patience(), held).after(rest);
        if *stop.borrow() {
            // A connection that is shut down before it begins would drop the bytes that were handed over.
            log(last(stream, peer, &shared).await);
            return drop(watcher);
        }
        log(watcher.watch(connection(stream, peer, &shared).into_owned()).await);
    }

    async fn secured(self, stream: TcpStream, peer: Peer) {
        let Self { shared, held, watcher, mut stop } = self;
        let Some(tls) = &shared.tls else { return };
        let patience = shared.patience();
        let handshake = tls.acceptor().accept(Stream::new(stream, patience, held));
        let shaken = tokio::select! {
            shaken = tokio::time::timeout(HANDSHAKE, handshake) => shaken,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        match shaken {
            Ok(Ok(stream)) => {
                // A client may fall silent after the handshake, too.
                let stream = Stream::new(stream, patience, ());
                log(watcher.watch(connection(stream, peer, &shared).into_owned()).await);
            }
            Ok(Err(error)) => tracing::debug!(%error, "no TLS"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        }
    }
}

/// Ends a connection beyond the limit: with an answer, where it speaks HTTP without TLS.
fn refuse(stream: TcpStream, shared: &Shared) {
    thread_local! {
        static REFUSED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
    }
    tracing::debug!("a connection beyond the limit was refused");
    if shared.tls.is_some() || REFUSED.get() >= REFUSALS || stream.try_write(NO_PLACE).is_err() {
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

/// Returns the resources that a connection, or a WebSocket that came of it, holds while it lives: its place in the limit, and
/// the thread.
fn held(shared: &Arc<Shared>, alive: &mpsc::Sender<()>, place: Place) -> Held {
    #[cfg(not(feature = "metrics"))]
    let _ = shared; // what counts connections is there
    Held {
        _thread: alive.clone(),
        place: Some(place),
        #[cfg(feature = "metrics")]
        _counted: shared.service.observer.metrics.as_ref().map(crate::Metrics::connection),
    }
}

/// See [`held`].
struct Held {
    _thread: mpsc::Sender<()>,
    place: Option<Place>,
    #[cfg(feature = "metrics")]
    _counted: Option<crate::metrics::Connection>,
}

impl Held {
    /// Whether the connection's address may have one more.
    fn count(&mut self, address: IpAddr) -> bool {
        self.place = self.place.take().and_then(|place| place.of(address));
        self.place.is_some()
    }
}

/// Answers one request more, and ends.
async fn last<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
    peer: Peer,
    shared: &Arc<Shared>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let requests = Requests { shared: Arc::clone(shared), peer };
    let mut http = shared.http.clone();
    http.http1().keep_alive(false);
    http.serve_connection_with_upgrades(TokioIo::new(stream), requests).await
}

fn connection<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
    peer: Peer,
    shared: &Arc<Shared>,
) -> auto::UpgradeableConnection<'_, TokioIo<S>, Requests, TokioExecutor> {
    let requests = Requests { shared: Arc::clone(shared), peer };
    shared.http.serve_connection_with_upgrades(TokioIo::new(stream), requests)
}

/// Most that goes wrong with a connection is that the client has gone.
fn log(served: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = served {
        tracing::debug!(%error, "a connection broke off");
    }
}

/// Answers the requests of a connection.
struct Requests {
    shared: Arc<Shared>,
    peer: Peer,
}

impl hyper::service::Service<Request<Incoming>> for Requests {
    type Response = Response<AppBody>;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, mut request: Request<Incoming>) -> Answer {
        let (shared, peer) = (&self.shared, self.peer);
        if let Err(detail) = host::check(&mut request) {
            return Answer::ready(refused(detail), None);
        }
        let proxies = &shared.options.trusted_proxies;
        let client = proxies.client(peer, request.headers_mut());
        if let Some(country) = shared.service.observer.country.as_ref().filter(|_| !proxies.is_empty())
            && !peer.is_trusted
        {
            request.headers_mut().remove(country);
        }
        let hsts = shared.service.hsts.as_ref().filter(|_| client.is_https).cloned();
        // What is at hand is answered here, the rest where the routes live.
        if let Some(answer) = shared.service.ready(&request) {
            return Answer::ready(answer, hsts);
        }
        if let Some(address) = client.address {
            request.extensions_mut().insert(ClientAddress(address));
        }
        // Through a trusted proxy that names no client come the bodies of many.
        let counted = client.address.filter(|address| !proxies.contains(*address));
        let account = (!request.body().is_end_stream()).then(|| Account::new(&shared.budget, counted));
        if let Some(account) = &account {
            request.extensions_mut().insert(BodyMemory::new(account.clone()));
        }
        let request = request.map(|body| match &account {
            Some(account) => axum::body::Body::new(PacedBody::new(body, Arc::clone(account), &shared.options)),
            None => axum::body::Body::new(body),
        });
        let (router, patience) = (shared.service.router.clone(), shared.options.request_timeout);
        let id = request.headers().get(REQUEST_ID).cloned();
        let routed = Routed(shared.routes.spawn(async move {
            let Ok(answer) = match patience {
                None => router.oneshot(request).await,
                Some(patience) => match tokio::time::timeout(patience, router.oneshot(request)).await {
                    Ok(answered) => answered,
                    Err(_) => Ok(late(patience, id)),
                },
            };
            match account.and_then(|account| account.answer(answer.status())) {
                Some(mut given_up) => {
                    let id = answer.headers().get(REQUEST_ID).cloned();
                    id.into_iter().for_each(|id| drop(given_up.headers_mut().insert(REQUEST_ID, id)));
                    given_up
                }
                None => answer,
            }
        }));
        Answer { kind: AnswerKind::Routed(routed), hsts }
    }
}

/// The answer to a request without a valid host. Bytes behind it are not read: they may belong to another request.
fn refused(detail: &str) -> Response<AppBody> {
    let mut answer = unsniffed(Problem::bad_request(detail));
    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    answer.map(AppBody::Routes)
}

fn late(patience: Duration, id: Option<HeaderValue>) -> axum::response::Response {
    let id = id.or_else(|| HeaderValue::from_str(&request_id()?).ok());
    tracing::warn!(?id, ?patience, "a route took too long");
    let detail = format!("there was no answer within {} s", patience.as_secs_f32());
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE).with_detail(detail);
    let mut answer = unsniffed(problem);
    id.into_iter().for_each(|id| drop(answer.headers_mut().insert(REQUEST_ID, id)));
    answer
}

/// An answer, and what it is given because of its connection.
struct Answer {
    kind: AnswerKind,
    /// `Strict-Transport-Security`, where the client came by `https`.
    hsts: Option<HeaderValue>,
}

/// An answer, at hand or to come.
enum AnswerKind {
    Ready(Option<Response<AppBody>>),
    Routed(Routed),
}

impl Answer {
    fn ready(answer: Response<AppBody>, hsts: Option<HeaderValue>) -> Self {
        Self { kind: AnswerKind::Ready(Some(answer)), hsts }
    }
}

/// A request with the routes; given up with the connection that waits for it.
struct Routed(JoinHandle<axum::response::Response>);

impl Drop for Routed {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Future for Answer {
    type Output = Result<Response<AppBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { kind, hsts } = self.get_mut();
        let mut answer = match kind {
            AnswerKind::Ready(answer) => answer.take().unwrap_or_else(service::nothing),
            AnswerKind::Routed(routed) => match ready!(Pin::new(&mut routed.0).poll(cx)) {
                Ok(mut answer) => {
                    // The router says 0 of a body that a 304 does not have (RFC 9110 8.6: the length would be the 200's).
                    if answer.status() == StatusCode::NOT_MODIFIED {
                        answer.headers_mut().remove(header::CONTENT_LENGTH);
                    }
                    answer.map(AppBody::Routes)
                }
                // Panics are caught within; so the runtime of the routes is going down.
                Err(_) => service::nothing(),
            },
        };
        if let Some(hsts) = hsts.take() {
            secure(answer.headers_mut(), hsts);
        }
        Poll::Ready(Ok(answer))
    }
}

/// Tells browsers to come by `https` only (RFC 6797); what the application says itself stands.
fn secure(headers: &mut HeaderMap, hsts: HeaderValue) {
    headers.entry(header::STRICT_TRANSPORT_SECURITY).or_insert(hsts);
}
