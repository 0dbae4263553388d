//! A listener, and a router behind it until told to stop.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::serve::ListenerExt;
use isobar_api::auth::ClientAddress;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

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
    /// Serving broke off.
    #[error("the server broke off: {0}")]
    Serve(#[source] std::io::Error),
}

/// A bound listener: connections wait in it until [`serve`](Self::serve).
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    drain: Duration,
}

impl Server {
    /// Listens on this address; port 0 takes a free one.
    ///
    /// # Errors
    /// [`ServerError::InUse`], [`ServerError::Bind`].
    pub async fn bind(address: SocketAddr) -> Result<Self, ServerError> {
        let listener = TcpListener::bind(address).await.map_err(|error| match error.kind() {
            std::io::ErrorKind::AddrInUse => ServerError::InUse(address),
            _ => ServerError::Bind(address, error),
        })?;
        let address = listener.local_addr().map_err(|error| ServerError::Bind(address, error))?;
        Ok(Self { listener, address, drain: Duration::from_secs(30) })
    }

    /// How long requests under way may take after the end was called; 30 s when not given.
    #[must_use]
    pub fn drain(mut self, drain: Duration) -> Self {
        self.drain = drain;
        self
    }

    /// The address it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` is done; then takes no more connections and lets requests under way finish.
    ///
    /// # Errors
    /// [`ServerError::Serve`].
    pub async fn serve(
        self,
        app: Router,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), ServerError> {
        let (draining, drained) = oneshot::channel();
        let shutdown = async move {
            shutdown.await;
            tracing::info!("draining");
            draining.send(()).ok();
        };
        let listener = self.listener.tap_io(|stream| {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "TCP_NODELAY");
            }
        });
        let app = app.layer(axum::middleware::map_request(tell_address));
        let app = app.into_make_service_with_connect_info::<SocketAddr>();
        let serving = axum::serve(listener, app).with_graceful_shutdown(shutdown).into_future();
        let limit = async {
            if drained.await.is_err() {
                std::future::pending::<()>().await; // the server has ended by itself
            }
            tokio::time::sleep(self.drain).await;
        };
        tokio::select! {
            served = serving => served.map_err(ServerError::Serve),
            () = limit => {
                tracing::warn!("requests were still under way after {:?}", self.drain);
                Ok(())
            }
        }
    }
}

/// The address that the connection comes from. What a proxy says of the client is not believed.
async fn tell_address(mut request: Request) -> Request {
    if let Some(ConnectInfo(address)) = request.extensions().get::<ConnectInfo<SocketAddr>>() {
        let address = ClientAddress(address.ip());
        request.extensions_mut().insert(address);
    }
    request
}

/// Done when the process is asked to end: SIGINT, or SIGTERM where there is such a thing.
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
