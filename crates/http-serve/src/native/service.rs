//! An application as the native server takes it: its routes, and the answers of its site that are in memory.
//!
//! # Three ways to an answer
//!
//! | | for | skips |
//! |---|---|---|
//! | `prepared` | GET and HEAD by plain HTTP/1.1: what the site has in memory, as bytes for the socket | hyper, the router, its layers |
//! | `respond_at_once` | HTTP/2, TLS, and connections that have sent something else before | the router, its layers |
//! | `respond` | all else | nothing |
//!
//! The first two must not differ from the third by anything that a client or an operator can see. So
//! each adds the request's id, counts the request and logs it, and neither is taken for a path that a
//! route may have, or for the health checks: `site_before_routes` decides.
//!
//! A panic in the site's fast path leads to the third way, whose layer for panics answers it.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::Router;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body::{Frame, SizeHint};
use isobar_api::auth::ClientAddress;
use isobar_api::{BodyBudget, BodyMemory, Problem};
use isobar_server::{Application, BodyAccount, Prepared, PreparedBody, Refusal, RequestBody, RequestInfo, Socket};
use isobar_site::{CacheState, KeptBody, PreparedResponse, Site, SiteBody, WorkerFirst};
use tower::ServiceExt;

use crate::observe::{Observer, REQUEST_ID, cache_part, random_request_id, request_id};
use crate::readiness::is_health;
use crate::response::unsniffed;

/// An application for a [`Server`](crate::native::Server): a router, or an [`App`](crate::App).
///
/// A plain router has neither fast path nor observation.
///
/// ```
/// use axum::Router;
/// use axum::routing::get;
/// use isobar_http_serve::{App, AppService};
///
/// let of_app: AppService = App::new().into_service();
/// let of_router: AppService = Router::new().route("/metrics", get(async || "up 1\n")).into();
/// # drop((of_app, of_router));
/// ```
pub struct AppService {
    router: Router,
    site: Option<SiteInMemory>,
    observer: Arc<Observer>,
    /// `Strict-Transport-Security` for what is answered by `https`.
    pub(crate) hsts: Option<HeaderValue>,
    /// The largest body that an extractor takes, in bytes.
    pub(crate) body_limit: usize,
}

/// Default limit of axum's extractors, in bytes.
pub(crate) const BODY_LIMIT: usize = 2 * 1024 * 1024;

/// The site, for the answers that it gives without the routes.
pub(crate) struct SiteInMemory {
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
    /// Returns the service of an application; `hsts` and the limit of bodies are set afterwards.
    pub(crate) fn new(router: Router, site: Option<SiteInMemory>, observer: Arc<Observer>) -> Self {
        Self { router, site, observer, hsts: None, body_limit: BODY_LIMIT }
    }

    /// The site, where no route comes before it.
    fn site_before_routes(&self, path: &str) -> Option<&SiteInMemory> {
        let site = self.site.as_ref()?;
        let begins =
            |route: &String| path.strip_prefix(&**route).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let is_route = is_health(path) || (site.worker_first.is_none() && site.routes.iter().any(begins));
        (!is_route).then_some(site)
    }

    /// Logs and counts an answer out of memory, as the observing layer does for the others. Returns
    /// when that was done.
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
        let method = request.method();
        let path = request.uri().path();
        let milliseconds = (end - start).as_secs_f64() * 1000.0;
        tracing::info!(?id, %method, path, status = status.as_u16(), milliseconds, route = "site", "answered");
        #[cfg(feature = "otel")]
        crate::observe::answered(&crate::observe::request_span(request.headers(), method, path, "site"), status);
        self.observer.note_site(method, request.headers(), status, milliseconds, bytes, cache);
        end
    }
}

impl Application for AppService {
    type Body = AppBody;
    type Prepared = PreparedAnswer;
    #[cfg(not(feature = "metrics"))]
    type Connection = ();
    #[cfg(feature = "metrics")]
    type Connection = Option<crate::observe::OpenConnection>;

    async fn respond(&self, mut request: Request<RequestBody>, info: RequestInfo) -> Response<AppBody> {
        if let Some(address) = info.address {
            request.extensions_mut().insert(ClientAddress(address));
        }
        if let Some(account) = info.body {
            request.extensions_mut().insert(BodyMemory::new(Arc::new(Budget(account))));
        }
        let Ok(response) = self.router.clone().oneshot(request.map(axum::body::Body::new)).await;
        response.map(AppBody::Routes)
    }

    fn connected(&self) -> Self::Connection {
        #[cfg(feature = "metrics")]
        return self.observer.metrics.as_ref().map(crate::observe::Metrics::connection);
    }

    /// It is for requests that never reach the router: too many connections, a head that is too long, a
    /// route that took too long. They have the form of the API's problems, as the client may be a
    /// program.
    fn refuse(&self, refusal: &Refusal, id: Option<HeaderValue>) -> Response<AppBody> {
        let mut response = unsniffed(problem(refusal));
        let id = match refusal {
            Refusal::TimedOut(limit) => {
                let id = id.or_else(|| HeaderValue::from_str(&request_id()?).ok());
                tracing::warn!(?id, ?limit, "a route took too long");
                id
            }
            _ => id,
        };
        id.into_iter().for_each(|id| drop(response.headers_mut().insert(REQUEST_ID, id)));
        response.map(AppBody::Routes)
    }

    /// The answer, where the site has it in memory and no route comes before it. All that the routes' layers do to an answer is
    /// done to it, too.
    fn respond_at_once<B>(&self, request: &Request<B>) -> Option<Response<AppBody>> {
        let SiteInMemory { site, worker_first, .. } = self.site_before_routes(request.uri().path())?;
        let start = Instant::now();
        // A panic must not take the connection with it: the routes have the request then, and an answer for panics.
        let answer = catch_unwind(AssertUnwindSafe(|| site.ready_answer(request, worker_first.as_ref())));
        let mut answer = answer.unwrap_or_default()?;
        let id = Id::of(request.headers());
        if let Some(id) = id.as_ref().and_then(|id| HeaderValue::from_bytes(id.as_bytes()).ok()) {
            answer.headers_mut().entry(REQUEST_ID).or_insert(id);
        }
        let status = answer.status();
        let bytes = http_body::Body::size_hint(answer.body()).exact().unwrap_or_default();
        self.answered(
            request,
            id.as_ref(),
            start,
            status,
            bytes,
            cache_part(status, answer.extensions().get().copied()),
        );
        Some(answer.map(AppBody::Site))
    }

    /// The same as HTTP/1.1 writes it.
    fn prepared(&self, request: &Request<()>) -> Option<PreparedAnswer> {
        let SiteInMemory { site, worker_first, .. } = self.site_before_routes(request.uri().path())?;
        let start = Instant::now();
        let answer = catch_unwind(AssertUnwindSafe(|| site.ready(request, worker_first.as_ref(), start)));
        // The server writes this header where it is set, and must not write a second one.
        let is_doubled =
            |answer: &PreparedResponse| self.hsts.is_some() && answer.has(&header::STRICT_TRANSPORT_SECURITY);
        let answer = answer.unwrap_or_default().filter(|answer| !answer.has(&REQUEST_ID) && !is_doubled(answer))?;
        let id = Id::of(request.headers());
        let status = answer.status();
        let cache = cache_part(status, Some(CacheState::Hit));
        let ready_at = self.answered(request, id.as_ref(), start, status, answer.length(), cache);
        Some(PreparedAnswer { answer, id, ready_at })
    }

    fn varies_by_host(&self) -> bool {
        self.site.as_ref().is_some_and(|memory| memory.site.varies_by_host())
    }

    fn proxy_header(&self) -> Option<&HeaderName> {
        self.observer.country.as_ref()
    }

    fn hsts(&self) -> Option<&HeaderValue> {
        self.hsts.as_ref()
    }

    fn body_limit(&self) -> usize {
        self.body_limit
    }
}

/// A refusal as the API answers it.
///
/// A refusal that passes has `Retry-After`.
fn problem(refusal: &Refusal) -> Problem {
    let problem = Problem::new(refusal.status()).with_detail(refusal.to_string());
    match refusal.retry_after() {
        Some(seconds) => problem.with_retry_after(seconds),
        None => problem,
    }
}

/// The memory for a request's body, as the API's handlers ask for it.
#[derive(Debug)]
struct Budget(BodyAccount);

impl BodyBudget for Budget {
    fn hold(&self, bytes: usize) -> Result<(), Problem> {
        self.0.hold(bytes).map_err(|reason| problem(&Refusal::Body(reason)))
    }
}

/// An answer of the site's that is in memory, and the id of its request.
#[derive(Debug)]
pub struct PreparedAnswer {
    answer: PreparedResponse,
    id: Option<Id>,
    ready_at: Instant,
}

impl Prepared for PreparedAnswer {
    type Body = SharedBody;

    fn write_head(&self, output: &mut Vec<u8>) {
        output.extend_from_slice(self.answer.head());
        if let Some(id) = &self.id {
            output.extend_from_slice(b"x-request-id: ");
            output.extend_from_slice(id.as_bytes());
            output.extend_from_slice(b"\r\n");
        }
    }

    fn write_body(&self, output: &mut Vec<u8>) -> Option<SharedBody> {
        match self.answer.body()? {
            KeptBody::Bytes(body) if body.len() <= KeptBody::COPIED_BYTES => {
                output.extend_from_slice(body);
                None
            }
            body => Some(SharedBody(body.clone())),
        }
    }

    fn ready_at(&self) -> Instant {
        self.ready_at
    }
}

/// A body of the site's that is sent from where it is kept.
#[derive(Debug, Clone, Default)]
pub struct SharedBody(KeptBody);

impl PreparedBody for SharedBody {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn advance(&mut self, count: usize) {
        self.0.advance(count);
    }

    fn bytes(&self) -> Option<&[u8]> {
        match &self.0 {
            KeptBody::Bytes(bytes) => Some(bytes),
            KeptBody::Region(_) => None,
        }
    }

    /// Has the kernel send a region out of its own memory.
    fn send(&self, socket: Socket<'_>, head: &[u8]) -> io::Result<usize> {
        match &self.0 {
            KeptBody::Region(region) => region.send(socket, head),
            KeptBody::Bytes(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

/// A request's id: the client's own, or one that was drawn for it.
enum Id {
    Theirs(HeaderValue),
    Ours([u8; 32]),
}

impl Id {
    /// `None` where the system has no randomness.
    fn of(headers: &HeaderMap) -> Option<Self> {
        match headers.get(REQUEST_ID) {
            Some(id) => Some(Self::Theirs(id.clone())),
            None => random_request_id().map(Self::Ours),
        }
    }

    fn as_bytes(&self) -> &[u8] {
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
///
/// An enum rather than a boxed body: the site's bodies are sent without another allocation.
#[derive(Debug)]
pub enum AppBody {
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

impl From<Bytes> for AppBody {
    fn from(bytes: Bytes) -> Self {
        Self::Routes(bytes.into())
    }
}

impl fmt::Debug for AppService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppService")
            .field("site", &self.site.as_ref().map(|memory| &memory.site))
            .finish_non_exhaustive()
    }
}
