//! The threads that accept connections; each has a listener and a runtime of its own.
//!
//! A thread ends in three steps: it closes its listener, it lets requests in flight finish for as long as `drain` allows, and it stays a
//! little for WebSockets that came by it, whose bytes it still reads and writes.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use crate::application::Application;
#[cfg(unix)]
use crate::connection::unix;
use crate::connection::{ConnectionGuard, TcpConnection};
use crate::listen::BoundListener;
use crate::options::ServerOptions;
use crate::places::Place;
#[cfg(unix)]
use crate::refuse::TOO_MANY;
use crate::refuse::refuse;
use crate::shared::Shared;

/// As much as a connection holds ready in the kernel before it is sent, in bytes: enough for its network to be busy, and little
/// enough to stay in the processor's cache, where there are many.
#[cfg(target_os = "linux")]
const UNSENT: u32 = 256 * 1024;
/// Time that a thread stays for WebSockets that have outlived its listener, until they are closed.
const LINGER: Duration = Duration::from_secs(10);
/// Time in which a thread accepts the connections that wait when it is to stop.
const LAST_CALL: Duration = Duration::from_millis(20);
/// Pause after the system had no file left for a connection; others end meanwhile.
const PAUSE: Duration = Duration::from_millis(50);

/// One listener.
enum Listener {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(tokio::net::UnixListener),
}

/// Accepts connections until `stop`, then lets them finish; `done` is dropped when they have, or when their time is over.
pub(crate) fn run<A: Application>(
    listener: BoundListener,
    shared: Arc<Shared<A>>,
    stop: watch::Receiver<bool>,
    done: mpsc::Sender<()>,
) -> io::Result<()> {
    // Before it waits it lets others on its processor run: what they send meanwhile is answered without a wait in between.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().on_thread_park(std::thread::yield_now).build()?;
    runtime.block_on(async {
        let listener = match listener {
            BoundListener::Tcp(listener) => Listener::Tcp(TcpListener::from_std(listener)?),
            #[cfg(unix)]
            BoundListener::Unix(listener) => Listener::Unix(tokio::net::UnixListener::from_std(listener)?),
        };
        let graceful = GracefulShutdown::new();
        let (alive, mut gone) = mpsc::channel::<()>(1);
        let mut stopping = stop.clone();
        let mut warned_at = None::<Instant>;
        let accepting = Accepting { shared: &shared, graceful: &graceful, alive: &alive, stop: &stop };
        loop {
            tokio::select! {
                accepted = accepting.accept(&listener) => match accepted {
                    Ok(()) => {}
                    // This client has gone; the next one is unaffected.
                    Err(error) if is_its_own(&error) => tracing::debug!(%error, "a connection broke off"),
                    Err(error) => {
                        // No file left, say: others end, and then there is one.
                        if warned_at.is_none_or(|at| at.elapsed() > Duration::from_secs(5)) {
                            warned_at = Some(Instant::now());
                            tracing::warn!(%error, "connections cannot be accepted");
                        }
                        tokio::time::sleep(PAUSE).await;
                    }
                },
                _ = stopping.wait_for(|stop| *stop) => break,
            }
        }
        // Connections that the system has taken by now: a request that came with one is answered.
        let rest = async {
            loop {
                let accepted = accepting.accept(&listener).await;
                if accepted.is_err_and(|error| !is_its_own(&error)) {
                    break;
                }
            }
        };
        drop(tokio::time::timeout(LAST_CALL, rest).await);
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

/// The settings of HTTP/1.1 and HTTP/2.
pub(crate) fn http(options: &ServerOptions) -> auto::Builder<TokioExecutor> {
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
struct Accepting<'a, A> {
    shared: &'a Arc<Shared<A>>,
    graceful: &'a GracefulShutdown,
    alive: &'a mpsc::Sender<()>,
    stop: &'a watch::Receiver<bool>,
}

impl<A: Application> Accepting<'_, A> {
    async fn accept(&self, listener: &Listener) -> io::Result<()> {
        let shared = self.shared;
        match listener {
            Listener::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Taken before anything else: a connection without one keeps no descriptor.
                let Some(place) = shared.places.take() else {
                    refuse(stream, shared.is_tls());
                    return Ok(());
                };
                stream.set_nodelay(true)?;
                #[cfg(target_os = "linux")]
                socket2::SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT)?;
                let connection = TcpConnection {
                    guard: self.guard(place),
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
                    drop(tokio::io::AsyncWriteExt::write(&mut stream, TOO_MANY).await);
                    return Ok(());
                };
                let guard = self.guard(place);
                tokio::spawn(unix(stream, guard, Arc::clone(shared), self.graceful.watcher(), self.stop.clone()));
            }
        }
        Ok(())
    }

    fn guard(&self, place: Place) -> ConnectionGuard<A::Connection> {
        ConnectionGuard::new(self.alive.clone(), place, self.shared.application.connected())
    }
}
