//! Any service of tower's as an application.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::future::poll_fn;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::application::{Application, NotPrepared, RequestInfo};
use crate::body::RequestBody;

/// A service of tower's, as an [`Application`] without a fast path: a router of axum's, say. Requests have their
/// [`RequestInfo`] among their extensions.
///
/// ```
/// use axum::routing::get;
/// use axum::{Extension, Router};
/// use isobar_server::{FromTower, RequestInfo};
///
/// async fn address(Extension(info): Extension<RequestInfo>) -> String {
///     format!("{:?}\n", info.address)
/// }
///
/// let router: Router = Router::new().route("/", get(address));
/// let application = FromTower::new(router);
/// # drop(application);
/// ```
#[derive(Clone)]
pub struct FromTower<S>(S);

impl<S> FromTower<S> {
    /// An application that calls a clone of this service for each request, when it is ready. Cloning has to be cheap: a router of axum's is.
    pub fn new(service: S) -> Self {
        Self(service)
    }
}

impl<S> fmt::Debug for FromTower<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromTower").finish_non_exhaustive()
    }
}

impl<S, B> Application for FromTower<S>
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send,
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + From<Bytes> + Send + 'static,
{
    type Body = B;
    type Prepared = NotPrepared;
    type Connection = ();

    async fn respond(&self, mut request: Request<RequestBody>, info: RequestInfo) -> Response<B> {
        let mut service = self.0.clone();
        request.extensions_mut().insert(info);
        let Ok(()) = poll_fn(|cx| service.poll_ready(cx)).await;
        let Ok(response) = service.call(request).await;
        response
    }

    fn connected(&self) {}
}
