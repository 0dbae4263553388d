//! Ids of requests.

use std::cell::RefCell;

use http::{HeaderName, HeaderValue};
use tower_http::request_id::{MakeRequestId, RequestId};

/// The header that carries a request's id, in and out: `x-request-id`. The client's own id is kept; without one it is 32
/// hexadecimal digits.
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
