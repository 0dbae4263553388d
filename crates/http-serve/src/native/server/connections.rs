//! The threads that read and write connections.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use isobar_api::auth::ClientAddress;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tower::ServiceExt;

use super::ServerOptions;
use super::lane::{self, Ended};
use super::stream::{Patience, Stream};
use super::tls::Tls;
use crate::observe::{REQUEST_ID, request_id};
use crate::service::{AppBody, AppService};
use crate::{Problem, service};

/// As much as a connection holds ready in the kernel before it is sent, in bytes: enough for its network to be busy, and little
/// enough to stay in the processor's cache, where there are many.
#[cfg(target_os = "linux")]
const UNSENT: u32 = 256 * 1024;
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a thread stays for the sockets that have outlived their connections: until whoever has them closes them.
const LINGER: Duration = Duration::from_secs(10);

/// What the threads share.
pub(super) struct Shared {
    pub(super) service: AppService,
    pub(super) options: ServerOptions,
    pub(super) http: auto::Builder<TokioExecutor>,
    pub(super) tls: Option<Tls>,
    /// Where the routes run: on the runtime that serves, beside what the application has started there.
    pub(super) routes: Handle,
    pub(super) connections: Arc<Semaphore>,
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

/// Accepts connections until told to stop, then lets them finish; `done` is dropped when they have, or may not any longer.
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
        let mut stopping = stop.clone();
        loop {
            tokio::select! {
                accepted = accept(&listener, &shared, &graceful, &alive, &stop) => match accepted {
                    Ok(()) => {}
                    // The client has gone already: the next one is none the worse for it.
                    Err(error) if is_its_own(&error) => tracing::debug!(%error, "a connection broke off"),
                    Err(error) => {
                        // No file left, say: others end, and then there is one.
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                },
                _ = stopping.wait_for(|stop| *stop) => break,
            }
        }
        drop((listener, alive));
        if tokio::time::timeout(shared.options.drain, graceful.shutdown()).await.is_err() {
            tracing::warn!("requests were still under way after {:?}", shared.options.drain);
            return Ok(()); // with this runtime they end
        }
        // What the application holds must not live by this thread: its sockets are told when it ends.
        drop((shared, done));
        // A WebSocket is somebody else's now, and its bytes still come and go by this thread.
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

async fn accept(
    listener: &Listener,
    shared: &Arc<Shared>,
    graceful: &GracefulShutdown,
    alive: &mpsc::Sender<()>,
    stop: &watch::Receiver<bool>,
) -> io::Result<()> {
    let patience = Patience { opening: shared.options.header_timeout, writing: shared.options.write_timeout };
    match listener {
        Listener::Tcp(listener) => {
            let (mut stream, address) = listener.accept().await?;
            stream.set_nodelay(true)?;
            #[cfg(target_os = "linux")]
            socket2::SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT)?;
            let held = held(shared, alive).await?;
            match &shared.tls {
                None => {
                    let (shared, watcher, stop) = (Arc::clone(shared), graceful.watcher(), stop.clone());
                    tokio::spawn(async move {
                        let rest = match lane::run(&mut stream, &shared, &stop).await {
                            Ok(Ended::Handed(rest)) => rest,
                            Ok(Ended::Closed) => return,
                            Err(error) => return tracing::debug!(%error, "a connection broke off"),
                        };
                        let stream = Stream::new(stream, patience, held).after(rest);
                        if *stop.borrow() {
                            // Told to end before it has begun it would drop what was handed over.
                            log(last(stream, address, &shared).await);
                            return drop(watcher);
                        }
                        log(watcher.watch(connection(stream, Some(address), &shared).into_owned()).await);
                    });
                }
                Some(tls) => {
                    let stream = Stream::new(stream, patience, held);
                    let (handshake, shared) = (tls.acceptor().accept(stream), Arc::clone(shared));
                    let (watcher, mut stop) = (graceful.watcher(), stop.clone());
                    tokio::spawn(async move {
                        let shaken = tokio::select! {
                            shaken = tokio::time::timeout(HANDSHAKE, handshake) => shaken,
                            _ = stop.wait_for(|stop| *stop) => return,
                        };
                        match shaken {
                            Ok(Ok(stream)) => {
                                // Who has shaken hands may fall silent, too.
                                let stream = Stream::new(stream, patience, ());
                                log(watcher.watch(connection(stream, Some(address), &shared).into_owned()).await);
                            }
                            Ok(Err(error)) => tracing::debug!(%error, "no TLS"),
                            Err(_) => tracing::debug!("a TLS handshake took too long"),
                        }
                    });
                }
            }
        }
        #[cfg(unix)]
        Listener::Unix(listener) => {
            let (stream, _) = listener.accept().await?;
            serve(Stream::new(stream, patience, held(shared, alive).await?), None, shared, graceful);
        }
    }
    Ok(())
}

/// What a connection holds as long as it lives, a WebSocket that came of it included: its place among those that may be, which
/// it waits for, and the thread. The place is asked for by who has a connection: a thread that has none must not take one.
async fn held(shared: &Arc<Shared>, alive: &mpsc::Sender<()>) -> io::Result<Held> {
    let closed = |_| io::Error::other("no connections are taken any more");
    let place = Arc::clone(&shared.connections).acquire_owned().await.map_err(closed)?;
    Ok(Held {
        _thread: alive.clone(),
        _place: place,
        #[cfg(feature = "metrics")]
        _counted: shared.service.observer.metrics.as_ref().map(crate::Metrics::connection),
    })
}

/// See [`held`].
struct Held {
    _thread: mpsc::Sender<()>,
    _place: tokio::sync::OwnedSemaphorePermit,
    #[cfg(feature = "metrics")]
    _counted: Option<crate::metrics::Connection>,
}

fn serve(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    address: Option<SocketAddr>,
    shared: &Arc<Shared>,
    graceful: &GracefulShutdown,
) {
    let served = graceful.watch(connection(stream, address, shared).into_owned());
    tokio::spawn(async move { log(served.await) });
}

/// Answers one request more, and ends.
async fn last<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
    address: SocketAddr,
    shared: &Arc<Shared>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let requests = Requests { shared: Arc::clone(shared), address: Some(address) };
    let mut http = shared.http.clone();
    http.http1().keep_alive(false);
    http.serve_connection_with_upgrades(TokioIo::new(stream), requests).await
}

fn connection<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
    address: Option<SocketAddr>,
    shared: &Arc<Shared>,
) -> auto::UpgradeableConnection<'_, TokioIo<S>, Requests, TokioExecutor> {
    let requests = Requests { shared: Arc::clone(shared), address };
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
    address: Option<SocketAddr>,
}

impl hyper::service::Service<Request<Incoming>> for Requests {
    type Response = Response<AppBody>;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, request: Request<Incoming>) -> Answer {
        // What is at hand is answered here, the rest where the routes live.
        if let Some(answer) = self.shared.service.ready(&request) {
            return Answer::Ready(Some(answer));
        }
        let mut request = request.map(axum::body::Body::new);
        // What a proxy says of the client is not believed.
        if let Some(address) = self.address {
            request.extensions_mut().insert(ClientAddress(address.ip()));
        }
        let (router, patience) = (self.shared.service.router.clone(), self.shared.options.request_timeout);
        let id = request.headers().get(REQUEST_ID).cloned();
        Answer::Routed(Routed(self.shared.routes.spawn(async move {
            let Ok(answer) = match patience {
                None => router.oneshot(request).await,
                Some(patience) => match tokio::time::timeout(patience, router.oneshot(request)).await {
                    Ok(answered) => answered,
                    Err(_) => Ok(late(patience, id)),
                },
            };
            answer
        })))
    }
}

fn late(patience: Duration, id: Option<HeaderValue>) -> axum::response::Response {
    let id = id.or_else(|| HeaderValue::from_str(&request_id()?).ok());
    tracing::warn!(?id, ?patience, "a route took too long");
    let detail = format!("there was no answer within {} s", patience.as_secs_f32());
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE).with_detail(detail);
    let mut answer = axum::response::IntoResponse::into_response(problem);
    id.into_iter().for_each(|id| drop(answer.headers_mut().insert(REQUEST_ID, id)));
    answer
}

/// An answer, at hand or to come.
enum Answer {
    Ready(Option<Response<AppBody>>),
    Routed(Routed),
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
        Poll::Ready(Ok(match self.get_mut() {
            Self::Ready(answer) => answer.take().unwrap_or_else(service::nothing),
            Self::Routed(routed) => match ready!(Pin::new(&mut routed.0).poll(cx)) {
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
        }))
    }
}
