//! The service.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

#[cfg(feature = "cache")]
use http::StatusCode;
use http::{HeaderMap, Method, Request, Response};
use isobar_storage::{Error, Key, ObjectStore};

#[cfg(feature = "cache")]
use crate::NotFoundHandling;
use crate::deploy::Follower;
use crate::path::normalized;
use crate::rules::Turn;
use crate::{SiteBody, SiteOptions, WorkerFirst, respond};

/// A static site: keys under a prefix of a store, served by the rules of HTTP. Cheap to clone.
#[derive(Clone)]
pub struct Site {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) options: Arc<SiteOptions>,
    /// What of the deploys is served, where the options want deploys served.
    pub(crate) deploys: Option<Arc<Follower>>,
    #[cfg(feature = "cache")]
    pub(crate) cache: Option<Arc<crate::cache::SiteCache>>,
}

impl Site {
    /// The site under the options' prefix of this store.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, options: SiteOptions) -> Self {
        Self {
            store,
            deploys: options.deploys.then(Arc::default),
            options: Arc::new(options),
            #[cfg(feature = "cache")]
            cache: None,
        }
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

impl Site {
    /// Whether the site is the one to answer, beside an application that answers what the site has not: by
    /// `run_worker_first`, else where it has a file or a redirect. What [`NotFoundHandling`](crate::NotFoundHandling) has for
    /// missing files counts where there are rules in `run_worker_first`, and where a browser goes to a page
    /// (`Sec-Fetch-Mode: navigate`).
    ///
    /// # Errors
    /// What the store answers.
    pub async fn is_asked<B>(&self, request: &Request<B>, worker_first: &WorkerFirst) -> Result<bool, Error> {
        let (uri, headers) = (request.uri(), request.headers());
        match worker_first.turn(&normalized(uri.path())) {
            Turn::Worker => Ok(false),
            Turn::Site => Ok(true),
            Turn::Either { not_found } => {
                let navigates = headers.get("sec-fetch-mode").is_some_and(|mode| mode == "navigate");
                respond::has_answer(self, uri, headers, not_found || navigates).await
            }
        }
    }

    /// Keeps answers in memory: see [`CacheOptions`](crate::CacheOptions). Clones of the site share them.
    #[cfg(feature = "cache")]
    #[must_use]
    pub fn with_cache(mut self, options: crate::CacheOptions) -> Self {
        self.cache = Some(Arc::new(crate::cache::SiteCache::new(options)));
        self
    }

    /// The answer, if it is kept in memory and known to be good: it does not wait for anything. Otherwise
    /// [`respond`](Self::respond) has it. With `worker_first` only where [`is_asked`](Self::is_asked) is sure to say so.
    #[cfg(feature = "cache")]
    #[must_use]
    pub fn ready_answer<B>(
        &self,
        request: &Request<B>,
        worker_first: Option<&WorkerFirst>,
    ) -> Option<Response<SiteBody>> {
        let (method, uri, headers) = (request.method(), request.uri(), request.headers());
        let turn = self.sure_turn(uri, worker_first)?;
        let answer = crate::cache::answer(self, method, uri, headers)?;
        (turn == Turn::Site || !is_missing(answer.status())).then_some(answer)
    }

    /// The same as HTTP/1.1 writes it, for a server that writes it by itself: `None` for what is not kept as it is sent - a
    /// part, a refusal - and has to be asked for otherwise. `now` is for who has looked at the clock already.
    #[cfg(feature = "cache")]
    #[must_use]
    pub fn ready<B>(
        &self,
        request: &Request<B>,
        worker_first: Option<&WorkerFirst>,
        now: std::time::Instant,
    ) -> Option<crate::Ready> {
        let (method, uri, headers) = (request.method(), request.uri(), request.headers());
        let turn = self.sure_turn(uri, worker_first)?;
        let ready = crate::cache::ready_head(self, method, uri, headers, now)?;
        (turn == Turn::Site || !is_missing(ready.status())).then_some(ready)
    }

    /// Whether what is answered may be another thing for another host, by rules of `_headers`.
    #[cfg(feature = "cache")]
    #[must_use]
    pub fn goes_by_host(&self) -> bool {
        match self.deploys.as_ref().and_then(|deploys| deploys.last()) {
            Some(deploy) => deploy.headers().has_hosts(),
            None => self.options.headers.has_hosts(),
        }
    }

    /// Whose turn it is; `None` where it is not the site's, or nobody can say without asking the store.
    #[cfg(feature = "cache")]
    fn sure_turn(&self, uri: &http::Uri, worker_first: Option<&WorkerFirst>) -> Option<Turn> {
        let turn = worker_first.map_or(Turn::Site, |worker_first| worker_first.turn(&normalized(uri.path())));
        // A page for everything is not told from a file's here.
        let is_for_all = self.options.not_found_handling == NotFoundHandling::SinglePageApplication;
        let is_unsure = turn != Turn::Site && is_for_all;
        (turn != Turn::Worker && !is_unsure).then_some(turn)
    }

    /// How many answers are kept in memory, and what they take in bytes; `None` where none are.
    #[cfg(feature = "cache")]
    #[must_use]
    pub fn kept(&self) -> Option<(usize, u64)> {
        self.cache.as_ref().map(|cache| cache.kept())
    }

    /// Forgets answers, and asks the store again for every other before it is given. For a store without a generation; one
    /// that has one is asked by itself.
    #[cfg(feature = "cache")]
    pub fn purge(&self, what: Purge<'_>) {
        if let Some(deploys) = &self.deploys {
            deploys.forget();
        }
        if let Some(cache) = &self.cache {
            cache.purge(what);
        }
    }
}

#[cfg(feature = "cache")]
fn is_missing(status: StatusCode) -> bool {
    matches!(status, StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST)
}

/// What [`Site::purge`] forgets.
#[cfg(feature = "cache")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Purge<'p> {
    /// The answers of this path.
    Path(&'p str),
    /// The answers of paths that begin so: `/docs/`, or all with `/`.
    Prefix(&'p str),
    /// What was deployed: what is deployed now is served from here on. What is the same in it is not read again.
    Deploy,
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
