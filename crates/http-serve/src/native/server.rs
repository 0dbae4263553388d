//! The server, for what this crate serves.

use std::future::Future;
use std::net::SocketAddr;
#[cfg(unix)]
use std::path::Path;
use std::time::Duration;

use isobar_server::{ServerError, ServerOptions};

use super::service::AppService;

/// A bound listener for an application: connections wait in it until [`serve`](Self::serve). It is
/// [`isobar_server::Server`], for an [`AppService`].
///
/// ```no_run
/// # async fn example(app: isobar_http_serve::App) -> Result<(), Box<dyn std::error::Error>> {
/// use isobar_http_serve::native::{Server, ServerOptions, shutdown_signal};
///
/// let options = ServerOptions::default().with_trusted_proxies("10.0.0.0/8".parse()?);
/// let server = Server::bind_with("127.0.0.1:8787".parse()?, options).await?;
/// println!("serving on {}", server.url());
/// server.serve(app.into_service(), shutdown_signal()).await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Server(pub(super) isobar_server::Server);

impl Server {
    /// Listens on this address; port 0 takes a free one. Connections are accepted by the kernel from
    /// now on, and wait.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use isobar_http_serve::native::{Server, ServerError};
    ///
    /// let server = Server::bind("127.0.0.1:0".parse()?).await?;
    /// let address = server.address().expect("it is no Unix socket");
    /// assert_eq!(server.url(), format!("http://{address}"));
    /// assert!(matches!(Server::bind(address).await, Err(ServerError::InUse(_))));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ServerError::InUse`], [`ServerError::Bind`].
    pub async fn bind(address: SocketAddr) -> Result<Self, ServerError> {
        isobar_server::Server::bind(address).await.map(Self)
    }

    /// As [`bind`](Self::bind), with options.
    ///
    /// # Errors
    /// As [`bind`](Self::bind), and [`ServerError::Tls`].
    pub async fn bind_with(address: SocketAddr, options: ServerOptions) -> Result<Self, ServerError> {
        isobar_server::Server::bind_with(address, options).await.map(Self)
    }

    /// Listens on a socket in the file system, which is removed at the end; one that a dead server has left is replaced. It has
    /// no TLS.
    ///
    /// # Errors
    /// [`ServerError::BindUnix`].
    #[cfg(unix)]
    pub async fn bind_unix(path: impl AsRef<Path>, options: ServerOptions) -> Result<Self, ServerError> {
        isobar_server::Server::bind_unix(path, options).await.map(Self)
    }

    /// Sets the time that requests in flight may take after the shutdown. Default: 30 s.
    #[must_use]
    pub fn drain(self, drain: Duration) -> Self {
        Self(self.0.drain(drain))
    }

    /// Returns the address it listens on; `None` for a socket in the file system.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.0.address()
    }

    /// Returns the address for clients: `http://127.0.0.1:8787`, `https://...`, or `unix:` and the
    /// socket's path.
    #[must_use]
    pub fn url(&self) -> String {
        self.0.url()
    }

    /// Serves a router, or an [`App`](crate::App) as a [service](crate::App::into_service), until `shutdown` is done; then takes
    /// no more connections and lets requests in flight finish.
    ///
    /// Routes run on the runtime that this is called on. Requests in flight have the time of
    /// [`drain`](Self::drain); those that take longer are broken off.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use isobar_http_serve::App;
    /// use isobar_http_serve::native::Server;
    ///
    /// let server = Server::bind("127.0.0.1:0".parse()?).await?;
    /// let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    /// let serving = tokio::spawn(server.serve(App::new().into_service(), async { drop(stopped.await) }));
    /// drop(stop); // in a program: `shutdown_signal()`
    /// serving.await??;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ServerError::Serve`].
    pub async fn serve(
        self,
        app: impl Into<AppService>,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), ServerError> {
        self.0.serve(app.into(), shutdown).await
    }
}
