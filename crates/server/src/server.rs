//! The native server: a thread for each processor with a listener of its own, HTTP/1.1 and HTTP/2, TLS.
//!
//! Connections are read and written on those threads. What a [`Site`](isobar_site::Site) has in memory is answered there at
//! once; everything else runs on the runtime that serves, beside what the application has started there.

mod body;
mod connections;
mod descriptors;
mod host;
mod lane;
mod listen;
mod options;
mod places;
mod proxy;
mod proxy_protocol;
mod stream;
mod tls;

use std::future::Future;
use std::net::SocketAddr;
#[cfg(unix)]
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use self::body::Budget;
use self::connections::Shared;
use self::listen::Listeners;
use self::places::Places;
use self::tls::Tls;
use crate::service::AppService;

pub use descriptors::DescriptorLimit;
pub use options::{ServerOptions, TlsOptions};
pub use proxy::{RangeError, TrustedProxies};

/// Why a server cannot serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The address is taken.
    #[error("{0} is in use by another program; stop it, or choose another port")]
    InUse(SocketAddr),
    /// The address cannot be listened on for another reason.
    #[error("cannot listen on {0}: {1}")]
    Bind(SocketAddr, #[source] std::io::Error),
    /// The socket cannot be made.
    #[cfg(unix)]
    #[error("cannot listen on {path}: {error}", path = .0.display(), error = .1)]
    BindUnix(PathBuf, #[source] std::io::Error),
    /// The certificate or its key cannot be used.
    #[error("the certificate cannot be used: {0}")]
    Tls(String),
    /// Serving broke off.
    #[error("the server broke off: {0}")]
    Serve(#[source] std::io::Error),
}

/// A bound listener: connections wait in it until [`serve`](Self::serve).
#[derive(Debug)]
pub struct Server {
    listeners: Listeners,
    address: Option<SocketAddr>,
    options: ServerOptions,
    tls: Option<Tls>,
}

impl Server {
    /// Listens on this address; port 0 takes a free one.
    ///
    /// # Errors
    /// [`ServerError::InUse`], [`ServerError::Bind`].
    pub async fn bind(address: SocketAddr) -> Result<Self, ServerError> {
        Self::bind_with(address, ServerOptions::default()).await
    }

    /// As [`bind`](Self::bind), with options.
    ///
    /// # Errors
    /// As [`bind`](Self::bind), and [`ServerError::Tls`].
    pub async fn bind_with(address: SocketAddr, options: ServerOptions) -> Result<Self, ServerError> {
        let tls = options.tls.clone().map(Tls::new).transpose()?;
        let (listeners, address) = Listeners::tcp(address, options.threads)?;
        Ok(Self { listeners, address: Some(address), options, tls })
    }

    /// Listens on a socket in the file system, which is removed at the end; one that a dead server has left is replaced. It has
    /// no TLS.
    ///
    /// # Errors
    /// [`ServerError::BindUnix`].
    #[cfg(unix)]
    pub async fn bind_unix(path: impl AsRef<Path>, options: ServerOptions) -> Result<Self, ServerError> {
        Ok(Self { listeners: Listeners::unix(path.as_ref())?, address: None, options, tls: None })
    }

    /// Sets the time that requests in flight may take after the shutdown. Default: 30 s.
    #[must_use]
    pub fn drain(mut self, drain: Duration) -> Self {
        self.options.drain = drain;
        self
    }

    /// The address it listens on; `None` for a socket in the file system.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Where clients find it: `http://127.0.0.1:8787`, `https://...`, or `unix:` and the socket's path.
    #[must_use]
    pub fn url(&self) -> String {
        #[cfg(unix)]
        if let Some(path) = self.listeners.path() {
            return format!("unix:{}", path.display());
        }
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        self.address.map_or_else(String::new, |address| format!("{scheme}://{address}"))
    }

    /// Serves a router, or an [`App`](crate::App) as a [service](crate::App::into_service), until `shutdown` is done; then takes
    /// no more connections and lets requests in flight finish.
    ///
    /// # Errors
    /// [`ServerError::Serve`].
    pub async fn serve(
        self,
        app: impl Into<AppService>,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), ServerError> {
        let Self { listeners, address: _, options, tls } = self;
        let (service, limit) = (app.into(), DescriptorLimit::raise());
        let connections = options.connections.min(limit.connections());
        if connections < options.connections {
            let DescriptorLimit { files } = limit;
            if options.connections == ServerOptions::default().connections {
                tracing::info!(files, connections, "the limit of open files decides how many connections there may be");
            } else {
                tracing::warn!(
                    files,
                    connections,
                    "the limit of open files allows fewer connections; raise it (ulimit -n)"
                );
            }
        }
        let per_address = options.connections_per_address.unwrap_or((connections / 2).max(64));
        let shared = Arc::new(Shared {
            budget: Arc::new(Budget::new(options.body_memory, options.body_share(), service.body_limit)),
            service,
            http: connections::http(&options),
            tls,
            routes: tokio::runtime::Handle::current(),
            places: Arc::new(Places::new(connections, per_address)),
            options,
        });
        let ((stop, stopped), (done, mut all_done)) = (watch::channel(false), mpsc::channel(1));
        let (failed, mut failures) = mpsc::channel(1);
        let (listeners, _file) = listeners.unstarted();
        for (number, listener) in listeners.into_iter().enumerate() {
            let (shared, stopped) = (Arc::clone(&shared), stopped.clone());
            let (done, failed) = (done.clone(), failed.clone());
            let thread = std::thread::Builder::new().name(format!("isobar-serve-{number}"));
            let thread = thread.spawn(move || {
                if let Err(error) = connections::run(listener, shared, stopped, done) {
                    drop(failed.try_send(error)); // the first one is enough
                }
            });
            thread.map_err(ServerError::Serve)?;
        }
        drop((done, failed));
        tokio::select! {
            () = shutdown => tracing::info!("draining"),
            Some(error) = failures.recv() => return Err(ServerError::Serve(error)),
        }
        stop.send_replace(true);
        // Nothing is ever sent: it ends when every thread has dropped its sender.
        drop(shared);
        all_done.recv().await;
        Ok(())
    }
}

/// Completes when the process receives SIGINT or, on Unix, SIGTERM.
pub async fn shutdown_signal() {
    let interrupt = async {
        if let Err(error) = tokio::signal::ctrl_c().await {
            tracing::error!(%error, "cannot wait for SIGINT");
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(error) => {
                tracing::error!(%error, "cannot wait for SIGTERM");
                std::future::pending::<()>().await;
            }
        }
    };
    #[cfg(not(unix))]
    let terminate = std::future::pending::<()>();
    tokio::select! {
        () = interrupt => {}
        () = terminate => {}
    }
}
