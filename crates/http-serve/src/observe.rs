//! What is observed of every request: an id, a line of trace, an analytics event.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderName, HeaderValue};
use isobar_analytics::{DataPoint, Event, EventSink};
use tower_http::request_id::{MakeRequestId, RequestId};
use tracing::Instrument;

use crate::meter::{Meter, Metered};

/// The header that carries a request's id, in and out.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The event of a request, and its columns: `index1` the route; `blob1` `request`, `blob2` the route, `blob3` the method,
/// `blob4` the status, `blob5` the cache's part; `double1` the duration in milliseconds, `double2` the bytes answered where
/// known, `double3` the milliseconds that databases took. Nothing personal: no address, no path with values in it, no query.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct RequestEvent {
    /// The route's pattern: `/api/images/{id}`; `site` for static files.
    pub route: String,
    /// GET, POST, ...
    pub method: String,
    /// 200, 404, ...
    pub status: u16,
    /// How long the answer took, in milliseconds.
    pub milliseconds: f64,
    /// Bytes answered, where known beforehand.
    pub bytes: f64,
    /// `revalidated` where the client's copy was good still; natively, where answers are kept in memory,
    /// [what the cache had to do with it](isobar_site::CacheState); else `none`: what a data centre's cache answers does not
    /// come here.
    pub cache: String,
    /// How long the request waited for databases, in milliseconds.
    pub database_milliseconds: f64,
}

const KIND: &str = "request";

/// What a cache had to do with an answer.
fn cache<B>(answer: &http::Response<B>) -> &'static str {
    if answer.status() == http::StatusCode::NOT_MODIFIED {
        return "revalidated";
    }
    #[cfg(all(feature = "native", not(target_arch = "wasm32")))]
    if let Some(state) = crate::service::cache_state(answer) {
        return state.name();
    }
    "none"
}

impl RequestEvent {
    /// Of an answer that the site had at hand.
    #[cfg(all(feature = "native", not(target_arch = "wasm32")))]
    pub(crate) fn of_site<B>(answer: &http::Response<B>, method: &http::Method, milliseconds: f64, bytes: f64) -> Self {
        Self {
            route: "site".to_owned(),
            method: method.to_string(),
            status: answer.status().as_u16(),
            milliseconds,
            bytes,
            cache: cache(answer).to_owned(),
            database_milliseconds: 0.0,
        }
    }

    pub(crate) fn to_point(&self) -> DataPoint {
        let Self { route, method, status, milliseconds, bytes, cache, database_milliseconds } = self;
        // An index has 96 bytes at most; a longer route is cut at a character.
        let cut = route.char_indices().map(|(at, char)| at + char.len_utf8()).take_while(|end| *end <= 96).last();
        DataPoint::new()
            .with_index(route[..cut.unwrap_or(0)].to_owned())
            .with_blob(KIND)
            .with_blob(route.clone())
            .with_blob(method.clone())
            .with_blob(status.to_string())
            .with_blob(cache.clone())
            .with_double(*milliseconds)
            .with_double(*bytes)
            .with_double(*database_milliseconds)
    }

    /// Reads the event back; `None` where it is another kind of event.
    #[must_use]
    pub fn from_event(event: &Event) -> Option<Self> {
        let text = |number| String::from_utf8(event.blob(number).to_vec()).ok();
        if event.blob(1) != KIND.as_bytes() {
            return None;
        }
        let (route, method, status, cache) = (text(2)?, text(3)?, text(4)?.parse().ok()?, text(5)?);
        let [milliseconds, bytes, database_milliseconds] = [1, 2, 3].map(|number| event.double(number));
        Some(Self { route, method, status, milliseconds, bytes, cache, database_milliseconds })
    }
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
    /// As much as is asked of the system at once: ids for 64 requests.
    const DRAWN: usize = 1024;
    thread_local! {
        static DRAW: std::cell::RefCell<([u8; DRAWN], usize)> = const { std::cell::RefCell::new(([0; DRAWN], DRAWN)) };
    }
    DRAW.with_borrow_mut(|(drawn, used)| {
        if *used == DRAWN {
            getrandom::fill(drawn).ok()?;
            *used = 0;
        }
        *used += 16;
        Some(hex::encode(&drawn[*used - 16..*used]))
    })
}

/// Traces the request and writes its event.
pub(crate) async fn observe(
    State(dataset): State<Option<Arc<dyn EventSink>>>,
    request: Request,
    next: Next,
) -> Response {
    let method = request.method().clone();
    let route =
        request.extensions().get::<MatchedPath>().map_or_else(|| "site".to_owned(), |path| path.as_str().to_owned());
    let id = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
    let span = tracing::info_span!("request", %id, %method, path = request.uri().path());
    // Not Instant: that has no clock inside Workers.
    let start = chrono::Utc::now();
    let meter = Arc::new(Meter::default());
    let response = Metered::new(next.run(request), Arc::clone(&meter)).instrument(span.clone()).await;
    let elapsed = chrono::Utc::now() - start;

    let milliseconds = elapsed.num_microseconds().unwrap_or_default() as f64 / 1000.0;
    let status = response.status().as_u16();
    span.in_scope(|| tracing::info!(status, milliseconds, route, "answered"));
    if let Some(dataset) = dataset {
        let bytes = axum::body::HttpBody::size_hint(response.body()).exact().unwrap_or_default() as f64;
        let cache = cache(&response).to_owned();
        let (method, database_milliseconds) = (method.to_string(), meter.database_milliseconds());
        let event = RequestEvent { route, method, status, milliseconds, bytes, cache, database_milliseconds };
        dataset.write(event.to_point());
    }
    response
}
