//! An application as the native server takes it: its routes, and what of its site is at hand.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::{Frame, SizeHint};
use isobar_site::{CacheState, Site, SiteBody, WorkerFirst};

use crate::app::is_health;
use crate::observe::{Observer, REQUEST_ID, request_id};

/// What a [`Server`](crate::native::Server) serves: a router, or an [`App`](crate::App).
pub struct AppService {
    pub(crate) router: Router,
    site: Option<SiteLane>,
    pub(crate) observer: Arc<Observer>,
}

/// The site, for what it can answer without the routes.
pub(crate) struct SiteLane {
    pub(crate) site: Site,
    pub(crate) worker_first: Option<WorkerFirst>,
    /// What the paths of routes begin with; each ends there, or goes on with a slash.
    pub(crate) routes: Vec<String>,
}

impl From<Router> for AppService {
    fn from(router: Router) -> Self {
        Self { router, site: None, observer: Arc::default() }
    }
}

impl AppService {
    pub(crate) fn new(router: Router, site: Option<SiteLane>, observer: Arc<Observer>) -> Self {
        Self { router, site, observer }
    }

    /// The answer, where the site has it in memory and no route comes before it. All that the routes' layers do to an answer is
    /// done to it, too.
    pub(crate) fn ready<B>(&self, request: &Request<B>) -> Option<Response<AppBody>> {
        let SiteLane { site, worker_first, routes } = self.site.as_ref()?;
        let path = request.uri().path();
        let begins =
            |route: &String| path.strip_prefix(&**route).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let is_route = is_health(path) || (worker_first.is_none() && routes.iter().any(begins));
        if is_route {
            return None;
        }
        let start = std::time::Instant::now();
        // A panic must not take the connection with it: the routes have the request then, and an answer for panics.
        let answer = catch_unwind(AssertUnwindSafe(|| site.ready_answer(request, worker_first.as_ref())));
        let mut answer = answer.unwrap_or_default()?;
        let id = request.headers().get(REQUEST_ID).cloned();
        let id = id.or_else(|| HeaderValue::from_str(&request_id()?).ok());
        if let Some(id) = id.clone() {
            answer.headers_mut().entry(REQUEST_ID).or_insert(id);
        }
        let (status, milliseconds) = (answer.status().as_u16(), start.elapsed().as_secs_f64() * 1000.0);
        let method = request.method();
        tracing::info!(?id, %method, path, status, milliseconds, route = "site", "answered");
        #[cfg(feature = "otel")]
        crate::telemetry::answered(
            &crate::telemetry::request(request.headers(), method, path, "site"),
            answer.status(),
        );
        self.observer.note_site(&answer, method, request.headers(), milliseconds);
        Some(answer.map(AppBody::Site))
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

/// The answer where there is nobody left to give one.
pub(crate) fn nothing() -> Response<AppBody> {
    let mut answer = Response::new(AppBody::Site(SiteBody::default()));
    *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    answer
}

/// What the cache had to do with an answer.
pub(crate) fn cache_state<B>(answer: &Response<B>) -> Option<CacheState> {
    answer.extensions().get().copied()
}

impl fmt::Debug for AppService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppService").field("site", &self.site.as_ref().map(|lane| &lane.site)).finish_non_exhaustive()
    }
}
