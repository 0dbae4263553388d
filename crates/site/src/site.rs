//! The site as a tower service.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

#[cfg(feature = "cache")]
use http::StatusCode;
use http::{HeaderMap, Method, Request, Response, Uri};
use isobar_storage::{Error, Key, ObjectStore};

use crate::body::SiteBody;
#[cfg(feature = "cache")]
use crate::cache::{PreparedResponse, Purge, SiteCache};
#[cfg(feature = "cache")]
use crate::cache_options::{CacheOptions, CacheStats};
#[cfg(feature = "cache")]
use crate::handling::NotFoundHandling;
use crate::options::SiteOptions;
#[cfg(feature = "cache")]
use crate::path::normalized;
use crate::request::{RequestHead, RequestTarget};
use crate::resolve::has_match;
use crate::respond;
#[cfg(feature = "cache")]
use crate::response::finished;
use crate::rules::{Precedence, ReloadedRules, WorkerFirst};
use crate::snapshot::Snapshot;
use crate::source::Source;

/// A static site: keys under a prefix of a store, served by the rules of HTTP. Cheap to clone.
///
/// ```
/// use std::sync::Arc;
/// use isobar_site::{Site, SiteOptions};
/// use isobar_storage::{Key, ObjectStoreExt, memory::MemoryStore};
/// # futures_util::FutureExt::now_or_never(async {
/// let store = MemoryStore::new();
/// store.write(&Key::new("site/docs/index.html")?, "<h1>Docs</h1>").await?;
/// let site = Site::new(Arc::new(store), SiteOptions::default().with_prefix("site"));
///
/// let page = site.respond(&http::Request::get("/docs/").body(())?).await;
/// assert_eq!(page.status(), 200);
/// assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
/// let redirect = site.respond(&http::Request::get("/docs").body(())?).await;
/// assert_eq!(redirect.headers()["location"], "/docs/");
/// # Ok::<_, Box<dyn std::error::Error>>(()) }).unwrap().unwrap();
/// ```
#[derive(Clone)]
pub struct Site {
    source: Arc<Source>,
    #[cfg(feature = "cache")]
    cache: Option<Arc<SiteCache>>,
}

impl Site {
    /// Creates a site from the objects under the options' prefix of this store. Reads nothing yet.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, options: SiteOptions) -> Self {
        Self {
            source: Arc::new(Source::new(store, options)),
            #[cfg(feature = "cache")]
            cache: None,
        }
    }

    /// Answers a request by its method, URI and headers; the body is ignored. Never fails: an error of the store is answered
    /// with 503 where it is retryable, else with 500, without its details.
    pub async fn respond<B>(&self, request: &Request<B>) -> Response<SiteBody> {
        self.answer(RequestHead::of(request)).await
    }

    /// Answers with the object at this key, by the conditions and ranges of the headers: for objects that an application names itself,
    /// such as downloads behind a permission or a signed URL. Neither the rules that map paths to files nor `_headers` apply, and the
    /// prefix is not added. An error of the store is answered as by [`respond`](Self::respond). `None` where there is no such object.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use http::{HeaderMap, Method};
    /// use isobar_site::{CachePolicy, Site, SiteOptions};
    /// use isobar_storage::{Key, ObjectStoreExt, memory::MemoryStore};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MemoryStore::new();
    /// let key = Key::new("reports/2026.pdf")?;
    /// store.write(&key, "%PDF-").await?;
    /// let site = Site::new(Arc::new(store), SiteOptions::default().with_cache(CachePolicy::always("private")));
    ///
    /// let headers = HeaderMap::from_iter([(http::header::RANGE, "bytes=1-3".parse()?)]);
    /// let part = site.respond_with(&key, &Method::GET, &headers).await.ok_or("the object exists")?;
    /// assert_eq!(part.status(), 206);
    /// assert_eq!(part.headers()["content-range"], "bytes 1-3/5");
    /// # Ok::<_, Box<dyn std::error::Error>>(()) }).unwrap().unwrap();
    /// ```
    pub async fn respond_with(&self, key: &Key, method: &Method, headers: &HeaderMap) -> Option<Response<SiteBody>> {
        // The path is not asked: the key is.
        let uri = Uri::default();
        respond::respond_with(&self.source, RequestHead { method, uri: &uri, headers }, key).await
    }

    /// Answers a request from the cache, else from the store.
    async fn answer(&self, head: RequestHead<'_>) -> Response<SiteBody> {
        #[cfg(feature = "cache")]
        if let Some(cache) = &self.cache
            && let Some(cached) = cache.respond(&self.source, head).await
        {
            let response = cached
                .unwrap_or_else(|error| respond::store_error_response(&self.source, &RequestTarget::of(head), &error));
            return finished(response, head.method);
        }
        respond::respond(&self.source, head).await
    }
}

impl Site {
    /// Whether the site should answer a request, beside an application that answers the others: by `run_worker_first`, else
    /// where it has a file or a redirect. [`NotFoundHandling`](crate::NotFoundHandling) counts where `run_worker_first` has
    /// rules, and where a browser navigates (`Sec-Fetch-Mode: navigate`).
    ///
    /// # Errors
    /// The store's error, of any kind, if a file or the current deploy cannot be looked up.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use isobar_site::{Site, SiteOptions, WorkerFirst};
    /// use isobar_storage::{Key, ObjectStoreExt, memory::MemoryStore};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MemoryStore::new();
    /// store.write(&Key::new("about.html")?, "about").await?;
    /// let site = Site::new(Arc::new(store), SiteOptions::default());
    ///
    /// let page = http::Request::get("/about").body(())?;
    /// assert!(site.should_serve(&page, &WorkerFirst::never()).await?);
    /// let route = http::Request::get("/api/rows").body(())?;
    /// assert!(!site.should_serve(&route, &WorkerFirst::never()).await?);
    /// # Ok::<_, Box<dyn std::error::Error>>(()) }).unwrap().unwrap();
    /// ```
    pub async fn should_serve<B>(&self, request: &Request<B>, worker_first: &WorkerFirst) -> Result<bool, Error> {
        let head = RequestHead::of(request);
        let target = RequestTarget::of(head);
        match worker_first.precedence(&target.path) {
            Precedence::Worker => Ok(false),
            Precedence::Site => Ok(true),
            Precedence::Either { not_found } => {
                let navigates = head.headers.get("sec-fetch-mode").is_some_and(|mode| mode == "navigate");
                let snapshot = Snapshot::current(&self.source).await?;
                has_match(&snapshot, head, &target, not_found || navigates).await
            }
        }
    }

    /// Reads `_headers` and `_redirects` under the options' prefix again, for this site and its clones: for a site whose files are
    /// edited while it is served. Where a file has invalid lines that it did not have before, its earlier rules stay in force.
    /// Cached responses that were made by other rules are not served any more. A current deploy has rules of its own, which are
    /// those of its files.
    ///
    /// # Errors
    /// The store's error; [`ErrorKind::TooLarge`](isobar_storage::ErrorKind::TooLarge) for a file of more than 8 MiB. The earlier
    /// rules stay in force.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use isobar_site::{Site, SiteOptions};
    /// use isobar_storage::{Key, ObjectStoreExt, memory::MemoryStore};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MemoryStore::new();
    /// let site = Site::new(Arc::new(store.clone()), SiteOptions::default());
    ///
    /// store.write(&Key::new("_redirects")?, "/old /new\n").await?;
    /// let reloaded = site.reload_rules().await?;
    /// assert!(reloaded.headers.is_empty() && reloaded.redirects.is_empty());
    /// let moved = site.respond(&http::Request::get("/old").body(())?).await;
    /// assert_eq!(moved.headers()["location"], "/new");
    ///
    /// store.write(&Key::new("_redirects")?, "/old /new 404\n").await?;
    /// assert_eq!(site.reload_rules().await?.redirects[0].line, 1);
    /// # Ok::<_, Box<dyn std::error::Error>>(()) }).unwrap().unwrap();
    /// ```
    pub async fn reload_rules(&self) -> Result<ReloadedRules, Error> {
        let Source { store, options, rules, .. } = &*self.source;
        rules.reload(&**store, &options.prefix, options.html_handling).await
    }

    /// Caches responses in memory: see [`CacheOptions`]. Clones of the site made from here on share the cache.
    ///
    /// For processes that live on; inside Workers the runtime's cache takes this place.
    #[cfg(feature = "cache")]
    #[must_use]
    pub fn with_cache(mut self, options: CacheOptions) -> Self {
        self.cache = Some(Arc::new(SiteCache::new(options)));
        self
    }

    /// Returns the response if it is cached and fresh, without waiting. `None` otherwise: call [`respond`](Self::respond). With
    /// `worker_first` also `None` where [`should_serve`](Self::should_serve) cannot be answered from the cache.
    #[cfg(feature = "cache")]
    #[must_use]
    pub fn ready_answer<B>(
        &self,
        request: &Request<B>,
        worker_first: Option<&WorkerFirst>,
    ) -> Option<Response<SiteBody>> {
        let head = RequestHead::of(request);
        let precedence = self.known_precedence(head, worker_first)?;
        let response = self.cache.as_ref()?.ready_response(&self.source, head)?;
        (precedence == Precedence::Site || !is_missing(response.status())).then_some(response)
    }

    /// Returns [`ready_answer`](Self::ready_answer) as HTTP/1.1 bytes, for a server that writes them itself. Also `None` for
    /// responses that are not cached as bytes: parts, failed preconditions, and those with a digest or `Server-Timing`. `now` is the
    /// current time, which a server has read already.
    #[cfg(feature = "cache")]
    #[must_use]
    pub fn ready<B>(
        &self,
        request: &Request<B>,
        worker_first: Option<&WorkerFirst>,
        now: std::time::Instant,
    ) -> Option<PreparedResponse> {
        let head = RequestHead::of(request);
        let precedence = self.known_precedence(head, worker_first)?;
        let prepared = self.cache.as_ref()?.prepared(&self.source, head, now)?;
        (precedence == Precedence::Site || !is_missing(prepared.status())).then_some(prepared)
    }

    /// Whether responses depend on the host of the request, by the `_headers` rules: a server must then not take one host's response
    /// for another's.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use isobar_site::{HeaderRules, Site, SiteOptions};
    /// use isobar_storage::memory::MemoryStore;
    ///
    /// let rules = HeaderRules::parse("https://preview.example.com/*\n  X-Robots-Tag: noindex\n");
    /// let options = SiteOptions::default().with_headers(rules);
    /// assert!(Site::new(Arc::new(MemoryStore::new()), options).varies_by_host());
    /// ```
    #[cfg(feature = "cache")]
    #[must_use]
    pub fn varies_by_host(&self) -> bool {
        self.source.varies_by_host()
    }

    /// Returns the precedence; `None` where the application comes first, or where only the store can decide.
    #[cfg(feature = "cache")]
    fn known_precedence(&self, head: RequestHead<'_>, worker_first: Option<&WorkerFirst>) -> Option<Precedence> {
        let precedence = match worker_first {
            Some(worker_first) => worker_first.precedence(&normalized(head.uri.path())),
            None => Precedence::Site,
        };
        // The cache does not distinguish the index of a single-page application from a file.
        let is_for_all = self.source.options.not_found_handling == NotFoundHandling::SinglePageApplication;
        let is_unsure = precedence != Precedence::Site && is_for_all;
        (precedence != Precedence::Worker && !is_unsure).then_some(precedence)
    }

    /// Returns the number and size of the cached responses; `None` without a cache.
    #[cfg(feature = "cache")]
    #[must_use]
    pub fn cache_stats(&self) -> Option<CacheStats> {
        self.cache.as_ref().map(|cache| cache.stats())
    }

    /// Removes responses from the cache, and revalidates all others before they are served. Only needed for a store without a
    /// generation, and there only for changes that must be visible before [`fresh_for`](CacheOptions::fresh_for) is over.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use isobar_site::{CacheOptions, Purge, Site, SiteOptions};
    /// use isobar_storage::{Key, ObjectStoreExt, memory::MemoryStore};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MemoryStore::new();
    /// store.write(&Key::new("a.txt")?, "text").await?;
    /// let site = Site::new(Arc::new(store), SiteOptions::default()).with_cache(CacheOptions::default());
    /// site.respond(&http::Request::get("/a.txt").body(())?).await;
    /// assert_eq!(site.cache_stats().map(|stats| stats.entries), Some(1));
    /// site.purge(Purge::Prefix("/"));
    /// assert_eq!(site.cache_stats().map(|stats| stats.entries), Some(0));
    /// # Ok::<_, Box<dyn std::error::Error>>(()) }).unwrap().unwrap();
    /// ```
    #[cfg(feature = "cache")]
    pub fn purge(&self, what: Purge<'_>) {
        if let Some(deploys) = &self.source.deploys {
            deploys.forget();
        }
        if let Some(cache) = &self.cache {
            cache.purge(what);
        }
    }
}

/// Whether a cached response means that the site has nothing for the path, so that an application beside it may answer.
#[cfg(feature = "cache")]
fn is_missing(status: StatusCode) -> bool {
    matches!(status, StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST)
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Site({:?} of {:?})", self.source.options.prefix, self.source.store)
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
        Box::pin(async move {
            let head = RequestHead { method: &parts.method, uri: &parts.uri, headers: &parts.headers };
            Ok(site.answer(head).await)
        })
    }
}
