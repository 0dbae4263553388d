//! The stack around an application's routes.
//!
//! From the outside in: the request's id; the observer, which so sees what the layers below it refuse, too; `nosniff`; the
//! refusal of writes from other sites; panics as 500; the limit of bodies; with `run_worker_first` the site, for the paths that
//! are its own; then `/healthz`, `/readyz` and the routes, and the site for what no route has.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderValue, StatusCode, header};
use isobar_analytics::EventSink;
use isobar_api::Problem;
use isobar_sessions::triggers::{ScheduledEvent, ScheduledHandler, boxed};
use isobar_site::{CacheOptions, FromSite, Site, WorkerFirst};
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::request_id::{PropagateRequestIdLayer, SetRequestIdLayer};

#[cfg(all(feature = "native", not(target_arch = "wasm32")))]
use crate::native::{AppService, SiteInMemory};
use crate::observe::{EventRate, Observer, REQUEST_ID, RandomId, observe};
use crate::platform::Platform;
use crate::readiness::{HEALTHZ, READYZ, Readiness, ReadyCheck, is_health};
use crate::response::unsniffed;

const API: &str = "/api";

/// Assembles an application: its API under `/api`, its site as the fallback, and what every service needs around them.
///
/// - `/healthz` answers 200 while the process runs, `/readyz` when every [ready check](Self::ready_when) passes.
/// - An unknown path under `/api` is a problem+json 404, never the site.
/// - Answers that do not come from the site have `X-Content-Type-Options: nosniff`.
/// - Every answer carries `x-request-id`: the client's, or a new one.
/// - A panic is a 500. What extractors and session objects read of a body is [limited](Self::body_limit).
/// - A browser's writing request (POST, ...) from another site is a 403, by `Sec-Fetch-Site`.
///
/// ```
/// use std::sync::Arc;
///
/// use axum::Router;
/// use axum::routing::get;
/// use isobar_http_serve::App;
/// use isobar_site::{Site, SiteOptions};
/// use isobar_storage::memory::MemoryStore;
///
/// let site = Site::new(Arc::new(MemoryStore::new()), SiteOptions::default().with_prefix("static/"));
/// let app = App::new()
///     .api(Router::new().route("/hello", get(async || "hello\n"))) // under /api/hello
///     .site(site)
///     .body_limit(64 * 1024)
///     .ready_when("licence", Arc::new(|| Box::pin(async { Ok(()) })));
/// let router: Router = app.into_router();
/// # drop(router);
/// ```
#[derive(Default)]
pub struct App {
    api: Router,
    nested: Vec<(String, Router)>,
    site: Option<Site>,
    worker_first: Option<WorkerFirst>,
    observer: Observer,
    pub(crate) cache: Option<CacheOptions>,
    checks: Vec<(String, ReadyCheck)>,
    body_limit: Option<usize>,
    pub(crate) hsts: Option<HeaderValue>,
    documentation: Option<String>,
    pub(crate) scheduled: Option<ScheduledHandler>,
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("App");
        debug
            .field("site", &self.site)
            .field("observer", &self.observer)
            .field("is_scheduled", &self.scheduled.is_some());
        debug.finish_non_exhaustive()
    }
}

impl App {
    /// Creates an application without routes: it answers `/healthz` and `/readyz`, and 404 else.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds routes under `/api`, by their paths from there: `/images`.
    #[must_use]
    pub fn api(mut self, routes: Router) -> Self {
        self.api = self.api.merge(routes);
        self
    }

    /// Adds routes below another path, as [`signed_objects`](crate::signed_objects): `/r2/assets`.
    #[must_use]
    pub fn nest(mut self, path: impl Into<String>, routes: Router) -> Self {
        self.nested.push((path.into(), routes));
        self
    }

    /// Sets the site, which answers the paths that no route has. Default: none, and such a path is a problem+json 404.
    #[must_use]
    pub fn site(mut self, site: Site) -> Self {
        self.site = Some(site);
        self
    }

    /// Sets which requests are for the routes before the site is looked at, as `run_worker_first` of wrangler's `assets`. Default:
    /// all, and the site answers what no route does. `/healthz` and `/readyz` are never the site's.
    ///
    /// ```
    /// use isobar_http_serve::App;
    /// use isobar_site::WorkerFirst;
    ///
    /// // Files first: a route answers only where the site has none.
    /// let app = App::new().worker_first(WorkerFirst::never());
    /// # drop(app);
    /// ```
    #[must_use]
    pub fn worker_first(mut self, worker_first: WorkerFirst) -> Self {
        self.worker_first = Some(worker_first);
        self
    }

    /// Sets the dataset that each request's event ([`RequestEvent`](crate::RequestEvent)) is written to. Writing never blocks a
    /// request and never fails one: a full buffer drops the event, and counts it. Default: none.
    #[must_use]
    pub fn observe(mut self, dataset: Arc<dyn EventSink>) -> Self {
        self.observer.dataset = Some(dataset);
        self
    }

    /// Samples one request in N by chance; its event has the number of requests that it stands for
    /// ([`RequestEvent::weight`](crate::RequestEvent::weight)). Answers of 500 and above are always written. Default: 1.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use http::HeaderName;
    /// use isobar_analytics::EventSink;
    /// use isobar_http_serve::App;
    ///
    /// /// Every tenth request, with the country that Cloudflare's proxy reports.
    /// fn observed(app: App, dataset: Arc<dyn EventSink>) -> App {
    ///     app.observe(dataset).sample_rate(10).country_header(HeaderName::from_static("cf-ipcountry"))
    /// }
    /// # let _ = observed;
    /// ```
    #[must_use]
    pub fn sample_rate(mut self, one_in: u32) -> Self {
        self.observer.one_in = one_in;
        self
    }

    /// Sets the header that has the client's country by ISO 3166-1 for the events, as the proxy in front of the server sets
    /// it: `cf-ipcountry`. A client without a proxy can send any value, so natively no header is believed unless it is named
    /// here; inside Workers the runtime knows the country. Default: none.
    #[must_use]
    pub fn country_header(mut self, header: http::HeaderName) -> Self {
        self.observer.country = Some(header);
        self
    }

    /// Sets the events a second that are written in full; of more, one in 16 is written, of more than 16 times as many one in 256, and
    /// so on, each with the weight of those it stands for. So clients that send many requests do not fill the disk.
    /// Default: 200; 0 for no limit.
    #[must_use]
    pub fn event_rate(mut self, per_second: u32) -> Self {
        self.observer.rate = Arc::new(EventRate::new(per_second));
        self
    }

    /// Has browsers come by `https` only, for this long (`Strict-Transport-Security`, RFC 6797): in answers to requests
    /// that came by TLS, to the server itself or to a trusted proxy that says so. Not by default: a host that has said so
    /// cannot go back to plain HTTP until the time is over. In whole seconds.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let app = isobar_http_serve::App::new().hsts(Duration::from_secs(365 * 24 * 3600));
    /// # drop(app);
    /// ```
    #[must_use]
    pub fn hsts(mut self, max_age: Duration) -> Self {
        self.hsts = HeaderValue::from_str(&format!("max-age={}", max_age.as_secs())).ok();
        self
    }

    /// Sets the handler of cron triggers, `triggers.crons` of the configuration: it is called at each of their times, with the expression
    /// and the time. Natively [`WranglerPlatform::triggers`](crate::WranglerPlatform::triggers) fires them; inside Workers
    /// `workers::scheduled` hands the runtime's `scheduled` events on. A failure is logged, and not retried. Default: none.
    ///
    /// ```
    /// use isobar_http_serve::{App, Platform};
    ///
    /// fn app(platform: &Platform) -> App {
    ///     let platform = platform.clone();
    ///     App::new().scheduled(move |event| {
    ///         let platform = platform.clone();
    ///         async move {
    ///             let bucket = platform.bucket("STORAGE").map_err(|error| error.to_string())?;
    ///             println!("{} at {}: sweep {bucket:?}", event.cron, event.scheduled_time);
    ///             Ok::<(), String>(())
    ///         }
    ///     })
    /// }
    /// # drop(app(&Platform::default()));
    /// ```
    #[must_use]
    pub fn scheduled<E: fmt::Display, F>(
        mut self,
        handler: impl Fn(ScheduledEvent) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        self.scheduled = Some(boxed(handler));
        self
    }

    /// Sets the path under which the API is documented, which the 404 of an unknown path under `/api` names. Default: none.
    #[must_use]
    pub fn documentation(mut self, path: impl Into<String>) -> Self {
        self.documentation = Some(path.into());
        self
    }

    /// Counts requests and connections in these [`Metrics`](crate::Metrics). Default: none.
    #[cfg(feature = "metrics")]
    #[must_use]
    pub fn metrics(mut self, metrics: crate::observe::Metrics) -> Self {
        self.observer.metrics = Some(metrics);
        self
    }

    /// Adds a check of something without which the application is not ready: `/readyz` names it in its 503. It runs at most once
    /// a second, however many ask, and natively has 2 s.
    #[must_use]
    pub fn ready_when(mut self, what: &'static str, check: ReadyCheck) -> Self {
        self.checks.push((what.to_owned(), check));
        self
    }

    /// Adds a check of each bucket, database, session namespace and dataset of a platform: `/readyz` asks each whether it can write,
    /// and names those that cannot.
    ///
    /// ```
    /// use isobar_http_serve::{App, Platform};
    /// use isobar_storage::memory::MemoryStore;
    ///
    /// let platform = Platform::builder().with_bucket("STORAGE", MemoryStore::new()).build();
    /// let app = App::new().ready_with(&platform);
    /// # drop(app);
    /// ```
    #[must_use]
    pub fn ready_with(mut self, platform: &Platform) -> Self {
        self.checks.extend(platform.ready_checks());
        self
    }

    /// Sets the largest body that an extractor takes, and that is passed to a session object, in bytes; 413 above it. Default:
    /// axum's 2 MiB.
    #[must_use]
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.body_limit = Some(bytes);
        self
    }

    /// Keeps the site's answers: natively in memory, inside Workers in the data centre's cache, where they are good for the
    /// options' `fresh_for` in whole seconds, because changes of the bucket are not seen there. Answers whose `Cache-Control` is public
    /// are kept there in any case, for as long as it allows. Default: none are kept.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use isobar_http_serve::App;
    /// use isobar_site::CacheOptions;
    ///
    /// let options = CacheOptions::default().with_max_bytes(64 << 20).with_fresh_for(Duration::from_secs(5));
    /// let app = App::new().cache(options);
    /// # drop(app);
    /// ```
    #[must_use]
    pub fn cache(mut self, options: CacheOptions) -> Self {
        self.cache = Some(options);
        self
    }

    /// Returns all of it as the native [`Server`](crate::native::Server) takes it: what the site has in memory is answered before
    /// the routes.
    #[cfg(all(feature = "native", not(target_arch = "wasm32")))]
    pub fn into_service(mut self) -> AppService {
        self.fill_cache();
        let mut routes: Vec<String> = self.nested.iter().map(|(path, _)| path.clone()).collect();
        routes.push(API.to_owned());
        let site = self.site.clone().map(|site| SiteInMemory { site, worker_first: self.worker_first.clone(), routes });
        #[cfg(feature = "metrics")]
        if let Some(metrics) = &self.observer.metrics {
            metrics.watch(self.site.clone(), self.observer.dataset.clone());
        }
        let observer = Arc::new(self.observer.clone());
        let hsts = self.hsts.clone();
        let body_limit = self.body_limit;
        let mut service = AppService::new(self.into_router(), site, observer);
        service.hsts = hsts;
        service.body_limit = body_limit.unwrap_or(service.body_limit);
        service
    }

    /// Gives the site its cache, if one is configured.
    #[cfg(all(feature = "native", not(target_arch = "wasm32")))]
    fn fill_cache(&mut self) {
        if let Some(options) = self.cache.take() {
            self.site = self.site.take().map(|site| site.with_cache(options));
        }
    }

    /// Returns the router of all of it, for a server of one's own or a test. Answers in memory are found by the site then, not by a
    /// server's fast path.
    #[cfg_attr(not(all(feature = "native", not(target_arch = "wasm32"))), allow(unused_mut))]
    pub fn into_router(mut self) -> Router {
        #[cfg(all(feature = "native", not(target_arch = "wasm32")))]
        self.fill_cache();
        let Self {
            api,
            nested,
            site,
            worker_first,
            observer,
            cache: _,
            checks,
            body_limit,
            hsts: _,
            documentation,
            ..
        } = self;
        let unknown = match documentation {
            Some(path) => format!("there is no such API; {path} lists those there are"),
            None => "there is no such API".to_owned(),
        };
        let unknown = async move || Problem::not_found(unknown).into_response();
        let readiness = Arc::new(Readiness::new(checks));
        // The fallback stands on the nested router, so that nothing under /api reaches the site.
        let api =
            api.fallback(unknown).method_not_allowed_fallback(async || Problem::new(StatusCode::METHOD_NOT_ALLOWED));
        let mut router = Router::new()
            .nest(API, api)
            .route(HEALTHZ, get(async || ([(header::CACHE_CONTROL, "no-store")], "ok\n")))
            .route(READYZ, get(async move || readiness.answer().await));
        for (path, routes) in nested {
            router = router.nest(&path, routes.fallback(async || Problem::not_found("not found")));
        }
        router = match &site {
            Some(site) => router.fallback_service(site.clone()),
            None => router.fallback(async || Problem::not_found("not found")),
        };
        if let (Some(site), Some(worker_first)) = (site, worker_first) {
            router = router.layer(axum::middleware::from_fn_with_state(Arc::new((site, worker_first)), site_first));
        }
        if let Some(bytes) = body_limit {
            router = router.layer(DefaultBodyLimit::max(bytes));
        }
        router.layer(
            ServiceBuilder::new()
                .layer(SetRequestIdLayer::new(REQUEST_ID, RandomId))
                .layer(PropagateRequestIdLayer::new(REQUEST_ID))
                .layer(axum::middleware::from_fn_with_state(Arc::new(observer), observe))
                .layer(axum::middleware::map_response(no_sniffing))
                .layer(axum::middleware::from_fn(refuse_cross_site))
                .layer(CatchPanicLayer::custom(panicked)),
        )
    }
}

/// A page of another site must not make a visitor's browser write here (RFC 9110 9.2.1 names the safe methods).
async fn refuse_cross_site(request: axum::extract::Request, next: axum::middleware::Next) -> Response {
    let cross = request.headers().get("sec-fetch-site").is_some_and(|site| site == "cross-site");
    if cross && !request.method().is_safe() {
        let detail = "this request comes from another site";
        return Problem::new(StatusCode::FORBIDDEN).with_detail(detail).into_response();
    }
    next.run(request).await
}

/// Adds `nosniff` to the responses of routes; those of the site follow its own rules.
async fn no_sniffing(response: Response) -> Response {
    if response.extensions().get::<FromSite>().is_some() { response } else { unsniffed(response) }
}

/// Lets the site answer its requests.
async fn site_first(
    State(both): State<Arc<(Site, WorkerFirst)>>,
    request: axum::extract::Request,
    next: axum::middleware::Next,
) -> Response {
    let (site, worker_first) = &*both;
    if is_health(request.uri().path()) {
        return next.run(request).await;
    }
    // Only the head is looked at, and may be held on to.
    let (parts, body) = request.into_parts();
    let head = http::Request::from_parts(parts, ());
    // The site itself answers a store's failure.
    let should_serve = site.should_serve(&head, worker_first).await.unwrap_or(true);
    if should_serve {
        return site.respond(&head).await.map(axum::body::Body::new);
    }
    next.run(head.map(|()| body)).await
}

fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    tracing::error!(panic = text, "a handler panicked");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR).with_detail("the handler failed").into_response()
}
