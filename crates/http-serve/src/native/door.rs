//! Doors of `isobar-gateway` on listeners of their own.
//!
//! A door knows nothing of this server: it finds the client of a request among the extensions, in a
//! type of its own, into which the server's is translated here.

use std::convert::Infallible;
use std::future::{Future, ready};

use axum::Router;
use axum::extract::Request;
use axum::middleware::map_request;
use isobar_gateway::ClientInfo;
use isobar_server::{FromTower, RequestInfo, ServerError};

use super::Server;

impl Server {
    /// Serves the router of a door until `shutdown` is done, as [`serve`](Self::serve) does, with the client of each request among its
    /// extensions. A door is not an [`App`](crate::App): it has neither a site nor health checks, and none of its paths is taken.
    ///
    /// ```no_run
    /// # async fn example(keys: isobar_gateway::keys::KeyStore) -> Result<(), Box<dyn std::error::Error>> {
    /// use isobar_gateway::rest::RestDoor;
    /// use isobar_http_serve::native::{Server, shutdown_signal};
    ///
    /// let server = Server::bind("127.0.0.1:8788".parse()?).await?;
    /// server.serve_door(RestDoor::new(keys).into_router(), shutdown_signal()).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ServerError::Serve`].
    pub async fn serve_door(
        self,
        door: Router,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), ServerError> {
        let door = door.layer(map_request(|request| ready(Ok::<_, Infallible>(with_client(request)))));
        self.0.serve(FromTower::new(door), shutdown).await
    }
}

/// Puts the client of a request where a door looks for it.
fn with_client(mut request: Request) -> Request {
    let client = request.extensions().get::<RequestInfo>().map(|info| ClientInfo::new(info.address, info.is_https));
    request.extensions_mut().insert(client.unwrap_or_default());
    request
}
