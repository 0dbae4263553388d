//! Ids of requests.
//!
//! A client's own id is taken as it is, of any form: it is for finding a request in both logs, and
//! nothing relies on its being unique. An own one is 128 random bits. Randomness is fetched from the
//! system for 64 ids at once, by each thread: a system call for each request would be among the most
//! expensive parts of the fast path.

use std::cell::RefCell;

use http::{HeaderName, HeaderValue};
use tower_http::request_id::{MakeRequestId, RequestId};

/// The header that carries a request's id, in and out: `x-request-id`. The client's own id is kept; without one it is 32
/// hexadecimal digits.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use axum::body::Body;
/// use isobar_http_serve::{App, REQUEST_ID};
/// use tower::ServiceExt;
///
/// let router = App::new().into_router();
/// let request = http::Request::get("/healthz").header(REQUEST_ID, "of-the-proxy").body(Body::empty()).unwrap();
/// let answer = router.clone().oneshot(request).await.unwrap();
/// assert_eq!(answer.headers()[REQUEST_ID], "of-the-proxy");
/// let answer = router.oneshot(http::Request::get("/healthz").body(Body::empty()).unwrap()).await.unwrap();
/// assert_eq!(answer.headers()[REQUEST_ID].len(), 32);
/// # });
/// ```
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

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
    random_request_id().map(|id| String::from_utf8_lossy(&id).into_owned())
}

/// The same without an allocation: hexadecimal digits.
pub(crate) fn random_request_id() -> Option<[u8; 32]> {
    let mut id = [0; 32];
    hex::encode_to_slice(random::<16>()?, &mut id).ok()?;
    Some(id)
}

/// Random bytes; `None` where the system has none. Enough for 64 ids are asked of it at once.
pub(super) fn random<const LENGTH: usize>() -> Option<[u8; LENGTH]> {
    const POOL: usize = 1024;
    thread_local! {
        static RANDOM: RefCell<([u8; POOL], usize)> = const { RefCell::new(([0; POOL], POOL)) };
    }
    RANDOM.with_borrow_mut(|(pool, used)| {
        if *used + LENGTH > POOL {
            isobar_base::random::fill(pool).ok()?;
            *used = 0;
        }
        *used += LENGTH;
        pool[*used - LENGTH..*used].try_into().ok()
    })
}
