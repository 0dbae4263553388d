//! A connection, from its PROXY header to the end of its last request.
//!
//! In this order: the PROXY header, where the listener has them; the limit of its address; the TLS handshake, or the fast path; hyper.
//! Each step has a time limit of its own, and what the connection holds goes with it from step to step (`ConnectionGuard`).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::Watcher;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

use crate::application::Application;
use crate::fast_path::{self, Ended};
use crate::places::Place;
use crate::proxy::Peer;
use crate::proxy_protocol;
#[cfg(unix)]
use crate::refuse::TOO_MANY;
use crate::refuse::refuse;
use crate::requests::Requests;
use crate::shared::Shared;
use crate::stream::Stream;

/// How long a TLS handshake may take, and a header of the PROXY protocol.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Time that a connection over TLS has from the shutdown on for its handshake and its first request.
#[cfg(feature = "tls")]
const LAST_WORD: Duration = Duration::from_secs(1);

/// The resources that a connection, or a WebSocket that came of it, holds while it lives: its thread, its place in the limit, and
/// the application's own.
pub(crate) struct ConnectionGuard<C> {
    _thread: mpsc::Sender<()>,
    place: Option<Place>,
    _application: C,
}

impl<C> ConnectionGuard<C> {
    pub(crate) fn new(thread: mpsc::Sender<()>, place: Place, application: C) -> Self {
        Self { _thread: thread, place: Some(place), _application: application }
    }

    /// Counts the connection for its client's address; returns whether that may have one more.
    fn count(&mut self, address: IpAddr) -> bool {
        self.place = self.place.take().and_then(|place| place.of(address));
        self.place.is_some()
    }
}

/// Serves a connection by a socket in the file system.
#[cfg(unix)]
pub(crate) async fn unix<A: Application>(
    mut stream: tokio::net::UnixStream,
    mut guard: ConnectionGuard<A::Connection>,
    shared: Arc<Shared<A>>,
    watcher: Watcher,
    mut stop: watch::Receiver<bool>,
) {
    use tokio::io::AsyncWriteExt;
    let mut peer = Peer { address: None, is_tls: false, is_trusted: shared.options.trusted_proxies.trusts(None) };
    if shared.options.proxy_protocol {
        let client = match announced(&mut stream, &mut stop).await {
            Ok(client) => client,
            Err(error) => return tracing::debug!(%error, "no PROXY header"),
        };
        peer = shared.announced_peer(client, None);
        if client.is_some_and(|client| !guard.count(client)) {
            return drop(stream.write(TOO_MANY).await);
        }
    }
    // A connection that is shut down before it begins would drop the request that has come: it is read first. That the socket is
    // readable says nothing: the runtime takes an accepted one for readable until it has been read.
    let mut stream = Stream::new(stream, shared.patience(), guard);
    if has_begun(&mut stream, stopped(&mut stop)).await {
        serve(stream, peer, &shared, watcher, &stop).await;
    }
}

/// Waits until the server is to stop.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}

/// Reads the PROXY header of a connection, and returns the client's address if it has one.
async fn announced(
    stream: &mut (impl AsyncRead + Unpin),
    stop: &mut watch::Receiver<bool>,
) -> io::Result<Option<IpAddr>> {
    let header = tokio::select! {
        biased;
        header = tokio::time::timeout(HANDSHAKE, proxy_protocol::read(stream)) => header,
        () = stopped(stop) => return Err(io::Error::new(io::ErrorKind::Interrupted, "the server was stopped")),
    };
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the PROXY header took too long");
    Ok(header.map_err(late)??.map(|client| client.ip()))
}

/// Waits for the first bytes of a connection until `ending` is done; returns whether they have come.
#[cfg(any(unix, feature = "tls"))]
async fn has_begun<S: AsyncRead + Unpin, H>(stream: &mut Stream<S, H>, ending: impl Future<Output = ()>) -> bool {
    let begun = tokio::select! {
        biased;
        begun = stream.begin() => begun,
        () = ending => return false,
    };
    match begun {
        Ok(true) => return true,
        Ok(false) => tracing::debug!("a connection sent nothing"),
        Err(error) => tracing::debug!(%error, "a connection sent nothing"),
    }
    false
}

/// A connection by TCP.
pub(crate) struct TcpConnection<A: Application> {
    pub(crate) shared: Arc<Shared<A>>,
    pub(crate) guard: ConnectionGuard<A::Connection>,
    pub(crate) watcher: Watcher,
    pub(crate) stop: watch::Receiver<bool>,
}

impl<A: Application> TcpConnection<A> {
    pub(crate) async fn run(mut self, mut stream: TcpStream, peer: SocketAddr) {
        let options = &self.shared.options;
        let address = peer.ip().to_canonical();
        let is_trusted = options.trusted_proxies.contains(address);
        // Through a trusted proxy come the connections of many.
        let mut counted = Some(address).filter(|_| !is_trusted);
        let mut peer = Peer { address: Some(address), is_tls: self.shared.is_tls(), is_trusted };
        if options.proxy_protocol {
            if !is_trusted && !options.trusted_proxies.is_empty() {
                return tracing::debug!(%address, "a connection from outside of the trusted proxies was closed");
            }
            let client = match announced(&mut stream, &mut self.stop).await {
                Ok(client) => client,
                Err(error) => return tracing::debug!(%address, %error, "no PROXY header"),
            };
            peer = self.shared.announced_peer(client, Some(address));
            counted = client.or(counted);
        }
        if counted.is_some_and(|address| !self.guard.count(address)) {
            return refuse(stream, self.shared.is_tls());
        }
        #[cfg(feature = "tls")]
        if self.shared.is_tls() {
            return self.secured(stream, peer).await;
        }
        self.plain(stream, peer).await;
    }

    async fn plain(self, mut stream: TcpStream, peer: Peer) {
        let Self { shared, guard, watcher, stop } = self;
        let rest = match fast_path::run(&mut stream, &shared, &stop, peer.is_trusted).await {
            Ok(Ended::Handed(rest)) => rest,
            Ok(Ended::Closed) => return,
            Err(error) => return tracing::debug!(%error, "a connection broke off"),
        };
        let stream = Stream::new(stream, shared.patience(), guard).after(rest);
        serve(stream, peer, &shared, watcher, &stop).await;
    }

    #[cfg(feature = "tls")]
    async fn secured(self, stream: TcpStream, peer: Peer) {
        use tokio::io::AsyncWriteExt;
        let Self { shared, guard, watcher, stop } = self;
        let Some(tls) = &shared.tls else { return };
        let patience = shared.patience();
        let mut stopping = stop.clone();
        let mut ending = pin!(async move {
            stopped(&mut stopping).await;
            tokio::time::sleep(LAST_WORD).await;
        });
        let handshake = tls.acceptor().accept(Stream::new(stream, patience, guard));
        let shaken = tokio::select! {
            shaken = tokio::time::timeout(HANDSHAKE, handshake) => shaken,
            () = &mut ending => return,
        };
        match shaken {
            Ok(Ok(stream)) => {
                // A client may fall silent after the handshake, too.
                let mut stream = Stream::new(stream, patience, ());
                if has_begun(&mut stream, &mut ending).await {
                    return serve(stream, peer, &shared, watcher, &stop).await;
                }
                // Ends the connection by `close_notify`: the client knows that it was not cut off.
                drop(stream.shutdown().await);
            }
            Ok(Err(error)) => tracing::debug!(%error, "no TLS"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        }
    }
}

/// Serves HTTP on a connection whose first bytes have come.
async fn serve<A: Application, S: AsyncRead + AsyncWrite + Send + Unpin + 'static, H: Send + Unpin + 'static>(
    stream: Stream<S, H>,
    peer: Peer,
    shared: &Arc<Shared<A>>,
    watcher: Watcher,
    stop: &watch::Receiver<bool>,
) {
    if *stop.borrow() {
        // A connection that is shut down before it begins would drop the bytes that have come.
        log(last(stream, peer, shared).await);
        return drop(watcher);
    }
    log(watcher.watch(connection(stream, peer, shared).into_owned()).await);
}

/// Answers one request of HTTP/1, or the requests of HTTP/2 that come before the client has learnt of the end, and ends.
async fn last<A: Application, S: AsyncRead + AsyncWrite + Send + Unpin + 'static, H: Send + Unpin + 'static>(
    stream: Stream<S, H>,
    peer: Peer,
    shared: &Arc<Shared<A>>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let requests = Requests::new(Arc::clone(shared), peer);
    let mut http = shared.http.clone();
    if stream.is_http2() {
        let http = http.http2_only();
        let mut connection = pin!(http.serve_connection(TokioIo::new(stream), requests));
        // GOAWAY follows the server's first settings.
        connection.as_mut().graceful_shutdown();
        return connection.await;
    }
    http.http1().keep_alive(false);
    http.serve_connection_with_upgrades(TokioIo::new(stream), requests).await
}

fn connection<A: Application, S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
    peer: Peer,
    shared: &Arc<Shared<A>>,
) -> auto::UpgradeableConnection<'_, TokioIo<S>, Requests<A>, TokioExecutor> {
    let requests = Requests::new(Arc::clone(shared), peer);
    shared.http.serve_connection_with_upgrades(TokioIo::new(stream), requests)
}

/// Most that goes wrong with a connection is that the client has gone.
fn log(served: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = served {
        tracing::debug!(%error, "a connection broke off");
    }
}
