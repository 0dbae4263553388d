//! An application as the native server takes it: its routes, and what of its site is at hand.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::Router;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::{Frame, SizeHint};
use isobar_site::{CacheState, PreparedResponse, Site, SiteBody, WorkerFirst};

use crate::app::is_health;
use crate::observe::{Observer, REQUEST_ID, cache, drawn_id};

/// An application for a [`Server`](crate::native::Server): a router, or an [`App`](crate::App).
pub struct AppService {
    pub(crate) router: Router,
    site: Option<SiteLane>,
    pub(crate) observer: Arc<Observer>,
    /// `Strict-Transport-Security` for what is answered by `https`.
    pub(crate) hsts: Option<HeaderValue>,
    /// The largest body that an extractor takes, in bytes.
    pub(crate) body_limit: usize,
}

/// Default limit of axum's extractors, in bytes.
pub(crate) const BODY_LIMIT: usize = 2 * 1024 * 1024;

/// The site, for what it can answer without the routes.
pub(crate) struct SiteLane {
    pub(crate) site: Site,
    pub(crate) worker_first: Option<WorkerFirst>,
    /// Prefixes of the routes' paths; a path ends there, or goes on with a slash.
    pub(crate) routes: Vec<String>,
}

impl From<Router> for AppService {
    fn from(router: Router) -> Self {
        Self { router, site: None, observer: Arc::default(), hsts: None, body_limit: BODY_LIMIT }
    }
}

impl AppService {
    pub(crate) fn new(router: Router, site: Option<SiteLane>, observer: Arc<Observer>) -> Self {
        Self { router, site, observer, hsts: None, body_limit: BODY_LIMIT }
    }

    /// The answer, where the site has it in memory and no route comes before it. All that the routes' layers do to an answer is
    /// done to it, too.
    pub(crate) fn ready<B>(&self, request: &Request<B>) -> Option<Response<AppBody>> {
        let SiteLane { site, worker_first, .. } = self.lane(request.uri().path())?;
        let start = Instant::now();
        // A panic must not take the connection with it: the routes have the request then, and an answer for panics.
        let answer = catch_unwind(AssertUnwindSafe(|| site.ready_answer(request, worker_first.as_ref())));
        let mut answer = answer.unwrap_or_default()?;
        let id = Id::of(request.headers());
        if let Some(id) = id.as_ref().and_then(|id| HeaderValue::from_bytes(id.as_bytes()).ok()) {
            answer.headers_mut().entry(REQUEST_ID).or_insert(id);
        }
        let (status, bytes) = (answer.status(), http_body::Body::size_hint(answer.body()).exact().unwrap_or_default());
        self.answered(request, id.as_ref(), start, status, bytes, cache(status, answer.extensions().get().copied()));
        Some(answer.map(AppBody::Site))
    }

    /// The same as HTTP/1.1 writes it, less its id; and when it was ready.
    pub(crate) fn ready_head<B>(&self, request: &Request<B>) -> Option<(PreparedResponse, Option<Id>, Instant)> {
        let SiteLane { site, worker_first, .. } = self.lane(request.uri().path())?;
        let start = Instant::now();
        let ready = catch_unwind(AssertUnwindSafe(|| site.ready(request, worker_first.as_ref(), start)));
        let ready = ready.unwrap_or_default().filter(|ready| !ready.has(&REQUEST_ID))?;
        let (id, status) = (Id::of(request.headers()), ready.status());
        let cache = cache(status, Some(CacheState::Hit));
        let end = self.answered(request, id.as_ref(), start, status, ready.length(), cache);
        Some((ready, id, end))
    }

    /// Whether the site answers one host otherwise than another.
    pub(crate) fn varies_by_host(&self) -> bool {
        self.site.as_ref().is_some_and(|lane| lane.site.varies_by_host())
    }

    /// The site, where no route comes before it.
    fn lane(&self, path: &str) -> Option<&SiteLane> {
        let lane = self.site.as_ref()?;
        let begins =
            |route: &String| path.strip_prefix(&**route).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let is_route = is_health(path) || (lane.worker_first.is_none() && lane.routes.iter().any(begins));
        (!is_route).then_some(lane)
    }

    fn answered<B>(
        &self,
        request: &Request<B>,
        id: Option<&Id>,
        start: Instant,
        status: StatusCode,
        bytes: u64,
        cache: &'static str,
    ) -> Instant {
        let end = Instant::now();
        let (method, path) = (request.method(), request.uri().path());
        let milliseconds = (end - start).as_secs_f64() * 1000.0;
        tracing::info!(?id, %method, path, status = status.as_u16(), milliseconds, route = "site", "answered");
        #[cfg(feature = "otel")]
        crate::telemetry::answered(&crate::telemetry::request(request.headers(), method, path, "site"), status);
        self.observer.note_site(method, request.headers(), status, milliseconds, bytes, cache);
        end
    }
}

/// A request's id: the client's own, or one that was drawn for it.
pub(crate) enum Id {
    Theirs(HeaderValue),
    Ours([u8; 32]),
}

impl Id {
    /// `None` where the system has no randomness.
    fn of(headers: &HeaderMap) -> Option<Self> {
        match headers.get(REQUEST_ID) {
            Some(id) => Some(Self::Theirs(id.clone())),
            None => drawn_id().map(Self::Ours),
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Theirs(id) => id.as_bytes(),
            Self::Ours(id) => id,
        }
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.as_bytes()))
    }
}

/// A body of the site's or of a route's.
pub(crate) enum AppBody {
    Site(SiteBody),
    Routes(axum::body::Body),
}

impl http_body::Body for AppBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Self::Site(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Self::Routes(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Site(body) => body.is_end_stream(),
            Self::Routes(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Site(body) => body.size_hint(),
            Self::Routes(body) => body.size_hint(),
        }
    }
}

/// The answer where the runtime of the routes is gone.
pub(crate) fn nothing() -> Response<AppBody> {
    let mut answer = Response::new(AppBody::Site(SiteBody::default()));
    *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    answer
}

impl fmt::Debug for AppService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppService").field("site", &self.site.as_ref().map(|lane| &lane.site)).finish_non_exhaustive()
    }
}
