//! What is observed of every request: an id, a line of trace, an analytics event, numbers for Prometheus.

use std::cell::RefCell;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use isobar_analytics::EventSink;
use isobar_site::CacheState;
use tower_http::request_id::{MakeRequestId, RequestId};
use tracing::Instrument;

use crate::event::{Country, Noted};
use crate::meter::{Meter, Metered};

/// The header that carries a request's id, in and out.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The route of what the site answers.
const SITE: &str = "site";

/// What an application wants to know of its requests.
#[derive(Clone, Default)]
pub(crate) struct Observer {
    pub(crate) dataset: Option<Arc<dyn EventSink>>,
    /// Of how many requests one is written; each where it is 0 or 1.
    pub(crate) one_in: u32,
    /// The header that has the client's country.
    pub(crate) country: Option<HeaderName>,
    #[cfg(feature = "metrics")]
    pub(crate) metrics: Option<crate::Metrics>,
}

impl Observer {
    /// Notes a request where it is to be noted.
    pub(crate) fn note(&self, noted: &Noted) {
        #[cfg(feature = "metrics")]
        if let Some(metrics) = &self.metrics {
            metrics.note(noted);
        }
        let Some(dataset) = &self.dataset else { return };
        // What went wrong is written each time: there is little of it, and all of it counts.
        if self.one_in <= 1 || noted.status.is_server_error() {
            dataset.write(noted.to_point(1.0));
        } else if is_drawn(self.one_in) {
            dataset.write(noted.to_point(f64::from(self.one_in)));
        }
    }

    /// Notes what the site has answered out of memory.
    #[cfg(all(feature = "native", not(target_arch = "wasm32")))]
    pub(crate) fn note_site(
        &self,
        method: &Method,
        headers: &HeaderMap,
        status: StatusCode,
        milliseconds: f64,
        bytes: u64,
        cache: &'static str,
    ) {
        if !self.is_wanted() {
            return;
        }
        self.note(&Noted {
            route: Bytes::from_static(SITE.as_bytes()),
            method: method.clone(),
            status,
            milliseconds,
            bytes: bytes as f64,
            cache,
            database_milliseconds: 0.0,
            country: self.country(headers),
        });
    }

    fn is_wanted(&self) -> bool {
        #[cfg(feature = "metrics")]
        if self.metrics.is_some() {
            return true;
        }
        self.dataset.is_some()
    }

    fn country(&self, headers: &HeaderMap) -> Option<Country> {
        Country::read(headers.get(self.country.as_ref()?)?.as_bytes())
    }
}

/// What a cache had to do with an answer of this status: the client's own, or else the site's.
pub(crate) fn cache(status: StatusCode, state: Option<CacheState>) -> &'static str {
    match status {
        StatusCode::NOT_MODIFIED => CacheState::Revalidated.name(),
        _ => state.map_or("none", CacheState::name),
    }
}

/// Whether it is this one of so many, by chance; each, where the system has no randomness.
fn is_drawn(one_in: u32) -> bool {
    random().is_none_or(|random| u32::from_ne_bytes(random).is_multiple_of(one_in))
}

/// Makes a request's id where the client sent none.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RandomId;

impl MakeRequestId for RandomId {
    fn make_request_id<B>(&mut self, _: &http::Request<B>) -> Option<RequestId> {
        HeaderValue::from_str(&request_id()?).ok().map(RequestId::new)
    }
}

/// A new request's id; `None` where the system has no randomness.
pub(crate) fn request_id() -> Option<String> {
    drawn_id().map(|id| String::from_utf8_lossy(&id).into_owned())
}

/// The same without an allocation: hexadecimal digits.
pub(crate) fn drawn_id() -> Option<[u8; 32]> {
    let mut id = [0; 32];
    hex::encode_to_slice(random::<16>()?, &mut id).ok()?;
    Some(id)
}

/// Random bytes; `None` where the system has none. Enough for 64 ids are asked of it at once.
fn random<const LENGTH: usize>() -> Option<[u8; LENGTH]> {
    const DRAWN: usize = 1024;
    thread_local! {
        static DRAW: RefCell<([u8; DRAWN], usize)> = const { RefCell::new(([0; DRAWN], DRAWN)) };
    }
    DRAW.with_borrow_mut(|(drawn, used)| {
        if *used + LENGTH > DRAWN {
            getrandom::fill(drawn).ok()?;
            *used = 0;
        }
        *used += LENGTH;
        drawn[*used - LENGTH..*used].try_into().ok()
    })
}

/// Traces the request and notes it.
pub(crate) async fn observe(State(observer): State<Arc<Observer>>, request: Request, next: Next) -> Response {
    let id = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
    let (method, path) = (request.method().clone(), request.uri().path());
    let span = tracing::info_span!("request", %id, %method, path);
    let matched = request.extensions().get::<MatchedPath>();
    let route = matched.map_or_else(|| SITE.to_owned(), |path| path.as_str().to_owned());
    #[cfg(feature = "otel")]
    let trace = crate::telemetry::request(request.headers(), &method, path, &route);
    #[cfg(not(feature = "otel"))]
    let trace = tracing::Span::none();
    // In Workers the runtime knows it; what a client says in the header does not come through.
    let country = request.extensions().get::<Country>().copied().or_else(|| observer.country(request.headers()));
    let mut pending = Pending {
        observer,
        // Not Instant: that has no clock inside Workers.
        start: Utc::now(),
        meter: Arc::new(Meter::default()),
        noted: Some((route, method, country)),
    };
    let meter = Arc::clone(&pending.meter);
    let response = Metered::new(next.run(request), meter).instrument(span.clone()).instrument(trace.clone()).await;
    let bytes = axum::body::HttpBody::size_hint(response.body()).exact().unwrap_or_default() as f64;
    #[cfg(feature = "otel")]
    crate::telemetry::answered(&trace, response.status());
    let (status, state) = (response.status(), response.extensions().get().copied());
    span.in_scope(|| pending.end(status, bytes, cache(status, state)));
    response
}

/// A request under way. One that is given up is noted, too.
struct Pending {
    observer: Arc<Observer>,
    start: DateTime<Utc>,
    meter: Arc<Meter>,
    /// Route, method and country; until it is noted.
    noted: Option<(String, Method, Option<Country>)>,
}

impl Pending {
    fn end(&mut self, status: StatusCode, bytes: f64, cache: &'static str) {
        let Some((route, method, country)) = self.noted.take() else { return };
        let milliseconds = (Utc::now() - self.start).num_microseconds().unwrap_or_default() as f64 / 1000.0;
        tracing::info!(status = status.as_u16(), milliseconds, route, "answered");
        if !self.observer.is_wanted() {
            return;
        }
        let (route, database_milliseconds) = (Bytes::from(route), self.meter.database_milliseconds());
        self.observer.note(&Noted {
            route,
            method,
            status,
            milliseconds,
            bytes,
            cache,
            database_milliseconds,
            country,
        });
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        // Nobody waits for it any more: the number that nginx has for it.
        if let Ok(status) = StatusCode::from_u16(499) {
            self.end(status, 0.0, "none");
        }
    }
}

impl std::fmt::Debug for Observer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Observer").field("dataset", &self.dataset).field("one_in", &self.one_in).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_so_many_is_drawn() {
        let drawn = (0..100_000).filter(|_| is_drawn(10)).count();
        assert!((9_000..11_000).contains(&drawn), "{drawn}");
        assert!((0..100).all(|_| is_drawn(1)));
    }
}
