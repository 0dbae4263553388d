//! A connection, from its PROXY header to the end of its last request.
//!
//! In this order: the PROXY header, where the listener has them; the limit of its address; the TLS handshake, or the fast path; hyper.
//! Each step has a time limit of its own, and what the connection holds goes with it from step to step (`ConnectionGuard`).

use std::io;
use std::net::{IpAddr, SocketAddr};
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
        let announced = tokio::select! {
            biased;
            announced = announced(&mut stream) => announced,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let client = match announced {
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
    let begun = tokio::select! {
        biased;
        begun = stream.begin() => begun,
        _ = stop.wait_for(|stop| *stop) => return,
    };
    match begun {
        Ok(true) => {}
        Ok(false) => return tracing::debug!("a connection sent nothing"),
        Err(error) => return tracing::debug!(%error, "a connection sent nothing"),
    }
    if *stop.borrow() {
        log(last(stream, peer, &shared).await);
        return drop(watcher);
    }
    log(watcher.watch(connection(stream, peer, &shared).into_owned()).await);
}

/// Reads the PROXY header of a connection, and returns the client's address if it has one.
async fn announced(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<IpAddr>> {
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the PROXY header took too long");
    let client = tokio::time::timeout(HANDSHAKE, proxy_protocol::read(stream)).await.map_err(late)??;
    Ok(client.map(|client| client.ip()))
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
            let client = match announced(&mut stream).await {
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
        if *stop.borrow() {
            // A connection that is shut down before it begins would drop the bytes that were handed over.
            log(last(stream, peer, &shared).await);
            return drop(watcher);
        }
        log(watcher.watch(connection(stream, peer, &shared).into_owned()).await);
    }

    #[cfg(feature = "tls")]
    async fn secured(self, stream: TcpStream, peer: Peer) {
        let Self { shared, guard, watcher, mut stop } = self;
        let Some(tls) = &shared.tls else { return };
        let patience = shared.patience();
        let handshake = tls.acceptor().accept(Stream::new(stream, patience, guard));
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

/// Answers one request more, and ends.
async fn last<A: Application, S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
    peer: Peer,
    shared: &Arc<Shared<A>>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let requests = Requests::new(Arc::clone(shared), peer);
    let mut http = shared.http.clone();
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
