//! Cloudflare from outside: an HTTP client that retries where that is safe ([`Client`]), and accounts over the REST API
//! ([`Account`]).
//!
//! A [`Transport`] sends the requests: [`HttpTransport`] natively, or your own. The retry policy is pure ([`Retry`]); the clock and
//! randomness come from [`Timing`].

mod account;
mod http_transport;
mod request;
mod retry;
mod transport;

pub use account::{Account, ApiMessage, RestError, RestErrorKind};
pub use http_transport::{HttpTransport, Timeouts};
pub use request::{Client, Idempotency};
pub use retry::{Retry, SystemTiming, Timing, retry_after};
pub use transport::{Body, BodyError, Transport, TransportError, TransportErrorKind};
