//! The layer that observes every request: a line of the log, an event, metrics, a span.
//!
//! A request is noted once, when its answer begins, or when its future is dropped before: [`Pending`]
//! notes it in `drop`, with status 499, so that a client that goes away and a handler that is given up
//! are seen, too. The body's own duration is not in it.
//!
//! | told | of |
//! |---|---|
//! | the log | each request |
//! | metrics | each request |
//! | a span | each request that the tracer samples |
//! | the dataset | a sample: by [`App::sample_rate`](crate::App::sample_rate), then by the rate of the second |
//!
//! Answers of 500 and above are exempt from the first sampling, not from the second: a server that
//! fails 10,000 times a second must not fill its disk with that.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::{HeaderMap, HeaderName, Method, StatusCode};
use isobar_analytics::EventSink;
use isobar_site::CacheState;
use tracing::Instrument;

use super::events::{Country, Noted};
use super::meter::{Meter, Metered};
#[cfg(feature = "metrics")]
use super::metrics::Metrics;
use super::request_id::{REQUEST_ID, random};
#[cfg(feature = "otel")]
use super::traces;

/// The route of what the site answers.
const SITE: &str = "site";

/// An application's settings for the observation of its requests.
#[derive(Clone, Default)]
pub(crate) struct Observer {
    pub(crate) dataset: Option<Arc<dyn EventSink>>,
    /// Of how many requests one is written; each where it is 0 or 1.
    pub(crate) one_in: u32,
    /// How many events a second are written.
    pub(crate) rate: Arc<EventRate>,
    /// The header that has the client's country.
    pub(crate) country: Option<HeaderName>,
    #[cfg(feature = "metrics")]
    pub(crate) metrics: Option<Metrics>,
}

impl Observer {
    /// Notes a request: counts it, and writes its event where it is sampled.
    pub(crate) fn note(&self, noted: &Noted) {
        #[cfg(feature = "metrics")]
        if let Some(metrics) = &self.metrics {
            metrics.note(noted);
        }
        let Some(dataset) = &self.dataset else { return };
        // What went wrong is written each time that the rate allows: there is little of it, and all of it counts.
        let one_in = if noted.status.is_server_error() { 1 } else { self.one_in.max(1) };
        if !is_sampled(one_in) {
            return;
        }
        let of_rate = self.rate.one_in(Utc::now().timestamp());
        if is_sampled(of_rate) {
            dataset.write(noted.to_point(f64::from(one_in) * f64::from(of_rate)));
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

    /// Whether anything but the log wants to know of requests.
    fn is_wanted(&self) -> bool {
        #[cfg(feature = "metrics")]
        if self.metrics.is_some() {
            return true;
        }
        self.dataset.is_some()
    }

    /// The client's country by the configured header.
    fn country(&self, headers: &HeaderMap) -> Option<Country> {
        Country::read(headers.get(self.country.as_ref()?)?.as_bytes())
    }
}

/// Returns the cache's part in an answer of this status: the client's own cache, or else the site's.
pub(crate) fn cache_part(status: StatusCode, state: Option<CacheState>) -> &'static str {
    match status {
        StatusCode::NOT_MODIFIED => CacheState::Revalidated.name(),
        _ => state.map_or("none", CacheState::name),
    }
}

/// Samples one in N by chance; all, where the system has no randomness.
///
/// Errors on the side of writing: without randomness there would be no event at all.
fn is_sampled(one_in: u32) -> bool {
    one_in <= 1 || random().is_none_or(|random| u32::from_ne_bytes(random).is_multiple_of(one_in))
}

/// Bounds the events of a second: the more there are, the fewer of them are written.
///
/// One atomic, changed without a lock: under contention a second may begin twice, and some of its
/// events count as the first. The weights make sums right on average, whatever the share.
#[derive(Debug)]
pub(crate) struct EventRate {
    /// Events of a second that are all written; 0 for no limit.
    full: u32,
    /// The second, and how many events it has had: 32 bits each.
    state: AtomicU64,
}

impl Default for EventRate {
    fn default() -> Self {
        Self::new(200)
    }
}

impl EventRate {
    /// Returns a bound of this many events a second; 0 for none.
    pub(crate) fn new(full: u32) -> Self {
        Self { full, state: AtomicU64::new(0) }
    }

    /// Of how many events like this one, in this second, one is to be written: 1, 16, 256 or 4096.
    fn one_in(&self, second: i64) -> u32 {
        if self.full == 0 {
            return 1;
        }
        // Its low bits differ from one second to the next.
        let second = u64::from(second as u32) << 32;
        let state = self.state.load(Ordering::Relaxed);
        let count = if state >> 32 << 32 == second {
            self.state.fetch_add(1, Ordering::Relaxed) as u32
        } else {
            // Where several begin the second at once, some of them are not counted.
            self.state.store(second | 1, Ordering::Relaxed);
            0
        };
        match count / self.full {
            0 => 1,
            1..16 => 16,
            16..256 => 256,
            _ => 4096,
        }
    }
}

/// Traces the request and notes it.
pub(crate) async fn observe(State(observer): State<Arc<Observer>>, request: Request, next: Next) -> Response {
    let id = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
    let method = request.method().clone();
    let path = request.uri().path();
    let span = tracing::info_span!("request", %id, %method, path);
    let matched = request.extensions().get::<MatchedPath>();
    let route = matched.map_or_else(|| SITE.to_owned(), |path| path.as_str().to_owned());
    #[cfg(feature = "otel")]
    let trace = traces::request_span(request.headers(), &method, path, &route);
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
    traces::answered(&trace, response.status());
    let status = response.status();
    let state = response.extensions().get().copied();
    span.in_scope(|| pending.end(status, bytes, cache_part(status, state)));
    response
}

/// A request in flight. One that is given up is recorded, too.
struct Pending {
    observer: Arc<Observer>,
    start: DateTime<Utc>,
    meter: Arc<Meter>,
    /// Route, method and country; until it is noted.
    noted: Option<(String, Method, Option<Country>)>,
}

impl Pending {
    /// Notes the end, once: a second call, that of `drop`, does nothing.
    fn end(&mut self, status: StatusCode, bytes: f64, cache: &'static str) {
        let Some((route, method, country)) = self.noted.take() else { return };
        let milliseconds = (Utc::now() - self.start).num_microseconds().unwrap_or_default() as f64 / 1000.0;
        tracing::info!(status = status.as_u16(), milliseconds, route, "answered");
        if !self.observer.is_wanted() {
            return;
        }
        self.observer.note(&Noted {
            route: Bytes::from(route),
            method,
            status,
            milliseconds,
            bytes,
            cache,
            database_milliseconds: self.meter.database_milliseconds(),
            country,
        });
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        // The client has gone: the status that nginx records for it.
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
    fn one_in_n_is_sampled() {
        let sampled = (0..100_000).filter(|_| is_sampled(10)).count();
        assert!((9_000..11_000).contains(&sampled), "{sampled}");
        assert!((0..100).all(|_| is_sampled(1)));
    }

    #[test]
    fn a_second_of_many_events_writes_few_of_them_with_their_weight() {
        let rate = EventRate::new(100);
        let mut written = 0;
        let mut weight = 0;
        for second in 0..40 {
            for _ in 0..50_000 {
                let one_in = rate.one_in(second);
                if is_sampled(one_in) {
                    written += 1;
                    weight += one_in;
                }
            }
        }
        assert!((40 * 100..40 * 600).contains(&written), "{written}");
        assert!((1_700_000..2_300_000).contains(&weight), "{weight}");
        assert!((0..100).all(|_| rate.one_in(40) == 1), "the next second begins anew");
        assert!((0..10_000).all(|_| EventRate::new(0).one_in(7) == 1));
    }
}
