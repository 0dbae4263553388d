//! The stack around an application's routes.
//!
//! From the outside in: the request's id; the observer, which so sees what the layers below it refuse, too; `nosniff`; the
//! refusal of writes from other sites; panics as 500; the limit of bodies; with `run_worker_first` the site, for the paths that
//! are its own; then `/healthz`, `/readyz` and the routes, and the site for what no route has.
//!
//! The order is not free. The id comes first, as everything after it logs it. The observer is outside
//! of the refusals and of the layer for panics, so that events count them. `nosniff` is inside of the
//! observer and outside of what may answer. The limit of bodies is a layer of axum's, which extractors
//! read; a body that streams into a store has the store's limit.
//!
//! An `App` is made once natively and for each request inside Workers: building one opens nothing and
//! starts nothing.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::response::IntoResponse;
use axum::routing::get;
use http::{HeaderValue, StatusCode, header};
use isobar_analytics::EventSink;
use isobar_api::Problem;
use isobar_sessions::triggers::{ScheduledEvent, ScheduledHandler, boxed};
use isobar_site::{CacheOptions, Site, WorkerFirst};
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::request_id::{PropagateRequestIdLayer, SetRequestIdLayer};

#[cfg(all(feature = "native", not(target_arch = "wasm32")))]
use crate::native::{AppService, SiteInMemory};
use crate::observe::{EventRate, Observer, REQUEST_ID, RandomId, observe};
use crate::platform::Platform;
use crate::readiness::{HEALTHZ, READYZ, Readiness, ReadyCheck};

mod layers;

use layers::{no_sniffing, panicked, refuse_cross_site, site_first};

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
///
/// | request | answered by |
/// |---|---|
/// | `/healthz`, `/readyz` | the checks, whatever the site has under these names |
/// | `/api/...`, with a route | the route; 405 for another method |
/// | `/api/...`, without one | a problem+json 404 |
/// | below a path of [`nest`](Self::nest) | its routes; a problem+json 404 for others |
/// | all else | the site; without one a problem+json 404 |
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
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use axum::body::Body;
    /// use http::Request;
    /// use isobar_http_serve::App;
    /// use tower::ServiceExt;
    ///
    /// let router = App::new().into_router();
    /// let request = |path: &str| Request::get(path).body(Body::empty()).unwrap();
    /// let alive = router.clone().oneshot(request("/healthz")).await.unwrap();
    /// assert_eq!(alive.status(), 200);
    /// assert!(alive.headers().contains_key("x-request-id"));
    /// assert_eq!(router.oneshot(request("/")).await.unwrap().status(), 404);
    /// # });
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds routes under `/api`, by their paths from there: `/images`.
    ///
    /// Called again, it adds more; a path that two of them have panics here, as axum's `Router::merge`
    /// does.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use axum::Router;
    /// use axum::body::Body;
    /// use axum::routing::get;
    /// use http::Request;
    /// use isobar_http_serve::App;
    /// use tower::ServiceExt;
    ///
    /// let router = App::new().api(Router::new().route("/hello", get(async || "hello\n"))).into_router();
    /// let get = |path: &str| Request::get(path).body(Body::empty()).unwrap();
    /// assert_eq!(router.clone().oneshot(get("/api/hello")).await.unwrap().status(), 200);
    /// assert_eq!(router.clone().oneshot(get("/hello")).await.unwrap().status(), 404);
    /// // A page of another site cannot make a visitor's browser write.
    /// let post = Request::post("/api/hello").header("sec-fetch-site", "cross-site").body(Body::empty()).unwrap();
    /// assert_eq!(router.oneshot(post).await.unwrap().status(), 403);
    /// # });
    /// ```
    #[must_use]
    pub fn api(mut self, routes: Router) -> Self {
        self.api = self.api.merge(routes);
        self
    }

    /// Adds routes below another path, as [`signed_objects`](crate::signed_objects): `/r2/assets`.
    ///
    /// Natively the site's answers in memory do not come before such routes, so that a file of the same
    /// path never hides one.
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
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use std::sync::Arc;
    ///
    /// use axum::body::Body;
    /// use isobar_analytics::memory::MemorySink;
    /// use isobar_http_serve::{App, RequestEvent};
    /// use tower::ServiceExt;
    ///
    /// let dataset = MemorySink::new();
    /// let router = App::new().observe(Arc::new(dataset.clone())).into_router();
    /// router.oneshot(http::Request::get("/healthz").body(Body::empty()).unwrap()).await.unwrap();
    /// let event = RequestEvent::from_event(&dataset.points()[0]).expect("it is a request's");
    /// assert_eq!((event.route.as_str(), event.status, event.weight), ("/healthz", 200, 1.0));
    /// # }); }
    /// ```
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
    ///
    /// | events of a second, at 200 | of these is written | weight |
    /// |---|---|---|
    /// | the first 200 | each | 1 |
    /// | up to 3,200 | one in 16 | 16 |
    /// | up to 51,200 | one in 256 | 256 |
    /// | more | one in 4,096 | 4,096 |
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
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use axum::body::{Body, to_bytes};
    /// use isobar_http_serve::App;
    /// use tower::ServiceExt;
    ///
    /// let router = App::new().documentation("/api/openapi.json").into_router();
    /// let answer = router.oneshot(http::Request::get("/api/nothing").body(Body::empty()).unwrap()).await.unwrap();
    /// let problem = to_bytes(answer.into_body(), 1024).await.unwrap();
    /// assert!(String::from_utf8_lossy(&problem).contains("/api/openapi.json lists those there are"));
    /// # });
    /// ```
    #[must_use]
    pub fn documentation(mut self, path: impl Into<String>) -> Self {
        self.documentation = Some(path.into());
        self
    }

    /// Counts requests and connections in these [`Metrics`](crate::Metrics). Default: none.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use axum::body::Body;
    /// use isobar_http_serve::{App, Metrics};
    /// use tower::ServiceExt;
    ///
    /// let metrics = Metrics::new();
    /// let router = App::new().metrics(metrics.clone()).into_router();
    /// router.oneshot(http::Request::get("/healthz").body(Body::empty()).unwrap()).await.unwrap();
    /// let counted = r#"http_requests_total{route="/healthz",method="GET",status="200",cache="none"} 1"#;
    /// assert!(metrics.text().contains(counted));
    /// # });
    /// ```
    #[cfg(feature = "metrics")]
    #[must_use]
    pub fn metrics(mut self, metrics: crate::observe::Metrics) -> Self {
        self.observer.metrics = Some(metrics);
        self
    }

    /// Adds a check of something without which the application is not ready: `/readyz` names it in its 503. It runs at most once
    /// a second, however many ask, and natively has 2 s.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use std::sync::Arc;
    ///
    /// use axum::body::{Body, to_bytes};
    /// use isobar_http_serve::{App, ReadyCheck};
    /// use tower::ServiceExt;
    ///
    /// let check: ReadyCheck = Arc::new(|| Box::pin(async { Err("no route to 10.0.0.7".to_owned()) }));
    /// let router = App::new().ready_when("mail server", check).into_router();
    /// let answer = router.oneshot(http::Request::get("/readyz").body(Body::empty()).unwrap()).await.unwrap();
    /// assert_eq!(answer.status(), 503);
    /// let body = to_bytes(answer.into_body(), 1024).await.unwrap();
    /// let body = String::from_utf8_lossy(&body);
    /// // The reason is for the log.
    /// assert!(body.contains("not ready: mail server") && !body.contains("10.0.0.7"));
    /// # });
    /// ```
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
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use axum::Router;
    /// use axum::body::Body;
    /// use axum::routing::post;
    /// use isobar_http_serve::App;
    /// use tower::ServiceExt;
    ///
    /// let echo = Router::new().route("/echo", post(|body: String| async move { body }));
    /// let router = App::new().api(echo).body_limit(4).into_router();
    /// let request = http::Request::post("/api/echo").body(Body::from("12345")).unwrap();
    /// assert_eq!(router.oneshot(request).await.unwrap().status(), 413);
    /// # });
    /// ```
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
    ///
    /// [`cache`](Self::cache) and [`hsts`](Self::hsts) take effect here. An answer out of memory skips
    /// the router with its layers, and has all that they would have added: the id, the event, the line
    /// of the log, the metrics.
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

    /// Gives the site its cache, if one is configured. Called by both ways out of an `App`; the second
    /// one finds the options taken.
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
