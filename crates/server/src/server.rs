//! The server: it binds, serves and drains.
//!
//! A server has three phases, and a type for two of them: bound ([`Server`], connections wait in the system's queue), serving (the future of
//! [`serve`](Server::serve)), and draining (the same future, after its `shutdown`). Binding is apart from serving so that a program can print
//! its address, drop privileges or fail before it says that it is ready.

use std::future::Future;
use std::net::SocketAddr;
#[cfg(unix)]
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::accept;
use crate::application::Application;
use crate::body::Budget;
use crate::descriptors::DescriptorLimit;
use crate::error::ServerError;
use crate::listen::Listeners;
use crate::options::ServerOptions;
use crate::places::Places;
use crate::shared::Shared;
#[cfg(feature = "tls")]
use crate::tls::Tls;

/// A bound listener: connections wait in it until [`serve`](Self::serve).
///
/// ```no_run
/// # #[cfg(feature = "tower")]
/// # async fn example(router: axum::Router) -> Result<(), Box<dyn std::error::Error>> {
/// use isobar_server::{FromTower, Server, ServerOptions, shutdown_signal};
///
/// let options = ServerOptions::default().with_connections(1_000).with_body_memory(64 << 20);
/// let server = Server::bind_with("0.0.0.0:8080".parse()?, options).await?;
/// println!("serving on {}", server.url());
/// server.serve(FromTower::new(router), shutdown_signal()).await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Server {
    listeners: Listeners,
    address: Option<SocketAddr>,
    options: ServerOptions,
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
}

impl Server {
    /// Listens on this address; port 0 takes a free one, which [`address`](Self::address) returns.
    ///
    /// ```
    /// use isobar_server::Server;
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let server = Server::bind(([127, 0, 0, 1], 0).into()).await?;
    /// assert_ne!(server.address().expect("it listens on TCP").port(), 0);
    /// # Ok::<_, isobar_server::ServerError>(()) }).unwrap();
    /// ```
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
    ///
    /// ```
    /// use isobar_server::{Server, ServerError, ServerOptions};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let options = || ServerOptions::default().with_threads(1);
    /// let server = Server::bind_with(([127, 0, 0, 1], 0).into(), options()).await?;
    /// let address = server.address().expect("it listens on TCP");
    /// assert!(matches!(Server::bind_with(address, options()).await, Err(ServerError::InUse(taken)) if taken == address));
    /// # Ok::<_, ServerError>(()) }).unwrap();
    /// ```
    pub async fn bind_with(address: SocketAddr, options: ServerOptions) -> Result<Self, ServerError> {
        #[cfg(feature = "tls")]
        let tls = options.tls.clone().map(Tls::new).transpose()?;
        let (listeners, address) = Listeners::tcp(address, options.threads)?;
        Ok(Self {
            listeners,
            address: Some(address),
            options,
            #[cfg(feature = "tls")]
            tls,
        })
    }

    /// Listens on a socket in the file system, which is removed at the end; one that a dead server has left is replaced. It has
    /// no TLS, and no fast path.
    ///
    /// ```
    /// use isobar_server::{Server, ServerOptions};
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let path = std::env::temp_dir().join(format!("isobar-server-{}.sock", std::process::id()));
    /// let server = Server::bind_unix(&path, ServerOptions::default()).await?;
    /// assert_eq!(server.url(), format!("unix:{}", path.display()));
    /// # drop(server);
    /// # Ok::<_, isobar_server::ServerError>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// [`ServerError::BindUnix`].
    #[cfg(unix)]
    pub async fn bind_unix(path: impl AsRef<Path>, options: ServerOptions) -> Result<Self, ServerError> {
        Ok(Self {
            listeners: Listeners::unix(path.as_ref())?,
            address: None,
            options,
            #[cfg(feature = "tls")]
            tls: None,
        })
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
        #[cfg(feature = "tls")]
        let is_tls = self.tls.is_some();
        #[cfg(not(feature = "tls"))]
        let is_tls = false;
        let scheme = if is_tls { "https" } else { "http" };
        self.address.map_or_else(String::new, |address| format!("{scheme}://{address}"))
    }

    /// Serves an application until `shutdown` is done; then takes no more connections and lets requests in flight finish, for as long
    /// as [`drain`](ServerOptions::drain) allows. Routes run on the runtime that this is called on.
    ///
    /// # Errors
    /// [`ServerError::Serve`] where a thread or its runtime cannot be started.
    ///
    /// ```
    /// # #[cfg(feature = "tower")] {
    /// use axum::{Router, routing::get};
    /// use isobar_server::{FromTower, Server, ServerOptions};
    /// use tokio::io::{AsyncReadExt, AsyncWriteExt};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let server = Server::bind_with(([127, 0, 0, 1], 0).into(), ServerOptions::default().with_threads(1)).await?;
    /// let mut client = tokio::net::TcpStream::connect(server.address().expect("it listens on TCP")).await?;
    /// let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    /// let router: Router = Router::new().route("/", get(|| async { "hello\n" }));
    /// let serving = tokio::spawn(server.serve(FromTower::new(router), async { drop(stopped.await) }));
    ///
    /// client.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
    /// let mut response = String::new();
    /// client.read_to_string(&mut response).await?;
    /// assert!(response.starts_with("HTTP/1.1 200 OK\r\n") && response.ends_with("\r\n\r\nhello\n"));
    ///
    /// drop(stop);
    /// serving.await??;
    /// # Ok::<_, Box<dyn std::error::Error>>(()) }).unwrap(); }
    /// ```
    pub async fn serve(
        self,
        application: impl Application,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), ServerError> {
        let Self { listeners, address: _, options, .. } = self;
        let connections = connections(&options);
        let per_address = options.connections_per_address.unwrap_or((connections / 2).max(64));
        let shared = Arc::new(Shared {
            budget: Arc::new(Budget::new(options.body_memory, options.body_share(), application.body_limit())),
            application,
            http: accept::http(&options),
            #[cfg(feature = "tls")]
            tls: self.tls,
            routes: tokio::runtime::Handle::current(),
            places: Arc::new(Places::new(connections, per_address)),
            options,
        });
        let (stop, stopped) = watch::channel(false);
        let (done, mut all_done) = mpsc::channel(1);
        let (failed, mut failures) = mpsc::channel(1);
        let (listeners, _file) = listeners.bound();
        for (number, listener) in listeners.into_iter().enumerate() {
            let shared = Arc::clone(&shared);
            let stopped = stopped.clone();
            let done = done.clone();
            let failed = failed.clone();
            let thread = std::thread::Builder::new().name(format!("isobar-serve-{number}"));
            let thread = thread.spawn(move || {
                if let Err(error) = accept::run(listener, shared, stopped, done) {
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

/// Raises the limit of open files, and returns how many connections there may be at once.
fn connections(options: &ServerOptions) -> usize {
    let limit = DescriptorLimit::raise();
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
    connections
}
