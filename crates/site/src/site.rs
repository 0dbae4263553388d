//! The site as a tower service.

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
use crate::rules::{LiveRules, Precedence, ReloadedRules};
use crate::{SiteBody, SiteOptions, WorkerFirst, respond};

/// A static site: keys under a prefix of a store, served by the rules of HTTP. Cheap to clone.
#[derive(Clone)]
pub struct Site {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) options: Arc<SiteOptions>,
    /// Follows the current deploy; `None` where the options do not enable deploys.
    pub(crate) deploys: Option<Arc<Follower>>,
    /// The rules where nothing is deployed: at first those of the options.
    pub(crate) rules: Arc<LiveRules>,
    #[cfg(feature = "cache")]
    pub(crate) cache: Option<Arc<crate::cache::SiteCache>>,
}

impl Site {
    /// Creates a site from the objects under the options' prefix of this store.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, options: SiteOptions) -> Self {
        Self {
            store,
            deploys: options.deploys.then(Arc::default),
            rules: Arc::new(LiveRules::new(options.headers.clone(), options.redirects.clone())),
            options: Arc::new(options),
            #[cfg(feature = "cache")]
            cache: None,
        }
    }

    /// Answers a request by its method, URI and headers; the body is ignored. Never fails: an error of the store is answered
    /// with 503 where it is retryable, else with 500, without its details.
    pub async fn respond<B>(&self, request: &Request<B>) -> Response<SiteBody> {
        respond::respond(self, request.method(), request.uri(), request.headers()).await
    }

    /// Answers with the object at this key, by the conditions and ranges of the headers. The rules that map paths to files do not
    /// apply. `None` where there is no such object.
    pub async fn respond_with(&self, key: &Key, method: &Method, headers: &HeaderMap) -> Option<Response<SiteBody>> {
        respond::respond_with(self, key, method, headers).await
    }
}

impl Site {
    /// Whether the site should answer a request, beside an application that answers the others: by `run_worker_first`, else
    /// where it has a file or a redirect. [`NotFoundHandling`](crate::NotFoundHandling) counts where `run_worker_first` has
    /// rules, and where a browser navigates (`Sec-Fetch-Mode: navigate`).
    ///
    /// # Errors
    /// The store's error, of any kind, if a file or the current deploy cannot be looked up.
    pub async fn should_serve<B>(&self, request: &Request<B>, worker_first: &WorkerFirst) -> Result<bool, Error> {
        let uri = request.uri();
        let headers = request.headers();
        match worker_first.precedence(&normalized(uri.path())) {
            Precedence::Worker => Ok(false),
            Precedence::Site => Ok(true),
            Precedence::Either { not_found } => {
                let navigates = headers.get("sec-fetch-mode").is_some_and(|mode| mode == "navigate");
                respond::has_answer(self, uri, headers, not_found || navigates).await
            }
        }
    }

    /// Reads `_headers` and `_redirects` under the options' prefix again, for this site and its clones: for a site whose files are
    /// edited while it is served. Where a file has invalid lines that it did not have before, its earlier rules stay in force.
    /// Answers in memory that were made by other rules are not given any more. A current deploy has rules of its own, which are
    /// those of its files.
    ///
    /// # Errors
    /// The store's error; [`ErrorKind::TooLarge`](isobar_storage::ErrorKind::TooLarge) for a file of more than 8 MiB. The earlier
    /// rules stay in force.
    pub async fn reload_rules(&self) -> Result<ReloadedRules, Error> {
        self.rules.reload(&*self.store, &self.options).await
    }

    /// Caches answers in memory: see [`CacheOptions`](crate::CacheOptions). Clones of the site share the cache.
    #[cfg(feature = "cache")]
    #[must_use]
    pub fn with_cache(mut self, options: crate::CacheOptions) -> Self {
        self.cache = Some(Arc::new(crate::cache::SiteCache::new(options)));
        self
    }

    /// Returns the answer if it is cached and fresh, without waiting. `None` otherwise: call [`respond`](Self::respond). With
    /// `worker_first` also `None` where [`should_serve`](Self::should_serve) cannot be answered from the cache.
    #[cfg(feature = "cache")]
    #[must_use]
    pub fn ready_answer<B>(
        &self,
        request: &Request<B>,
        worker_first: Option<&WorkerFirst>,
    ) -> Option<Response<SiteBody>> {
        let method = request.method();
        let uri = request.uri();
        let headers = request.headers();
        let precedence = self.known_precedence(uri, worker_first)?;
        let answer = crate::cache::answer(self, method, uri, headers)?;
        (precedence == Precedence::Site || !is_missing(answer.status())).then_some(answer)
    }

    /// Returns [`ready_answer`](Self::ready_answer) as HTTP/1.1 bytes, for a server that writes them itself. Also `None` for
    /// answers that are not cached as bytes: parts, and failed preconditions. `now` is the current time.
    #[cfg(feature = "cache")]
    #[must_use]
    pub fn ready<B>(
        &self,
        request: &Request<B>,
        worker_first: Option<&WorkerFirst>,
        now: std::time::Instant,
    ) -> Option<crate::PreparedResponse> {
        let method = request.method();
        let uri = request.uri();
        let headers = request.headers();
        let precedence = self.known_precedence(uri, worker_first)?;
        let ready = crate::cache::ready_head(self, method, uri, headers, now)?;
        (precedence == Precedence::Site || !is_missing(ready.status())).then_some(ready)
    }

    /// Whether answers depend on the host of the request, by the `_headers` rules.
    #[cfg(feature = "cache")]
    #[must_use]
    pub fn varies_by_host(&self) -> bool {
        match self.deploys.as_ref().and_then(|deploys| deploys.last()) {
            Some(deploy) => deploy.headers().has_hosts(),
            None => self.rules.has_hosts(),
        }
    }

    /// Returns the precedence; `None` where the application comes first, or where only the store can decide.
    #[cfg(feature = "cache")]
    fn known_precedence(&self, uri: &http::Uri, worker_first: Option<&WorkerFirst>) -> Option<Precedence> {
        let precedence =
            worker_first.map_or(Precedence::Site, |worker_first| worker_first.precedence(&normalized(uri.path())));
        // The cache does not distinguish the index of a single-page application from a file.
        let is_for_all = self.options.not_found_handling == NotFoundHandling::SinglePageApplication;
        let is_unsure = precedence != Precedence::Site && is_for_all;
        (precedence != Precedence::Worker && !is_unsure).then_some(precedence)
    }

    /// Returns the number and size of the cached answers; `None` without a cache.
    #[cfg(feature = "cache")]
    #[must_use]
    pub fn cache_stats(&self) -> Option<crate::CacheStats> {
        self.cache.as_ref().map(|cache| cache.stats())
    }

    /// Removes answers from the cache, and revalidates all others before they are served. Only needed for a store without a
    /// generation.
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

/// The answers that [`Site::purge`] removes.
#[cfg(feature = "cache")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Purge<'p> {
    /// The answers of this path.
    Path(&'p str),
    /// The answers of paths with this prefix: `/docs/`, or `/` for all.
    Prefix(&'p str),
    /// None, but looks up the current deploy again. Files that are the same in it are not read again.
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
        let site = self.clone();
        let (parts, _) = request.into_parts();
        Box::pin(async move { Ok(respond::respond(&site, &parts.method, &parts.uri, &parts.headers).await) })
    }
}
