//! Cloudflare from outside: HTTP that is repeated where that is safe ([`Client`]), and accounts by the REST API
//! ([`Account`]).
//!
//! What sends the requests is a [`Transport`]: [`HttpTransport`] natively, or one of your own. When to repeat and how long to
//! wait is pure ([`Retry`]); time and chance come in through [`Timing`].

mod account;
mod http_transport;
mod request;
mod retry;
mod transport;

pub use account::{Account, ApiMessage, RestError, RestErrorKind};
pub use http_transport::{HttpTransport, Timeouts};
pub use request::{Client, Effect};
pub use retry::{Retry, SystemTiming, Timing, retry_after};
pub use transport::{Body, BodyError, Transport, TransportError, TransportErrorKind};
