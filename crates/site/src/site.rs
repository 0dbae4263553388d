//! The service.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderMap, Method, Request, Response};
use isobar_storage::{Key, ObjectStore};

use crate::{SiteBody, SiteOptions, respond};

/// A static site: keys under a prefix of a store, served by the rules of HTTP. Cheap to clone.
#[derive(Clone)]
pub struct Site {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) options: Arc<SiteOptions>,
}

impl Site {
    /// The site under the options' prefix of this store.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, options: SiteOptions) -> Self {
        Self { store, options: Arc::new(options) }
    }

    /// Answers a request; of it only method, path and headers count. Never fails: what the store suffers is a 500 or 503
    /// without its details.
    pub async fn respond<B>(&self, request: &Request<B>) -> Response<SiteBody> {
        respond::respond(self, request.method(), request.uri(), request.headers()).await
    }

    /// Answers for this object and no other, whatever its key is: by its conditions, its ranges and its headers, and by none of
    /// the rules that find a page for a path. `None` where there is no such object.
    pub async fn respond_with(&self, key: &Key, method: &Method, headers: &HeaderMap) -> Option<Response<SiteBody>> {
        respond::respond_with(self, key, method, headers).await
    }
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Site({:?} of {:?})", self.options.prefix, self.store)
    }
}

impl<B: Send + 'static> tower_service::Service<Request<B>> for Site {
    type Response = Response<SiteBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (site, (parts, _)) = (self.clone(), request.into_parts());
        Box::pin(async move { Ok(respond::respond(&site, &parts.method, &parts.uri, &parts.headers).await) })
    }
}
