//! Cloudflare from outside: an HTTP client that retries where that is safe ([`Client`]), and accounts over the REST API
//! ([`Account`]).
//!
//! A [`Transport`] sends the requests: [`HttpTransport`] natively, or your own. The retry policy is pure ([`Retry`]); the clock and
//! randomness come from [`Timing`].
//!
//! The layers, each of which knows only the one below: [`Account`] has URLs, the token and the envelope of the REST API; [`Client`] retries
//! and bounds the number of requests in flight; [`Transport`] sends one request. R2 over S3 uses the client without an account, as its
//! requests are signed and its errors are XML.
//!
//! Tests replace the lowest layer: a [`Transport`] that answers from memory, with a [`Timing`] that waits for nothing, runs all of the rest
//! as it is.

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
