//! The native entry: the server for an [`App`](crate::App), and the log.
//!
//! `Server` and `AppService` are thin: accepting, TLS, limits, HTTP and the fast path are
//! `isobar-server`'s, which knows neither an API nor a site. What connects both is the implementation
//! of its trait `Application` in `service`.

mod client;
#[cfg(feature = "gateway")]
mod door;
mod server;
mod service;
#[cfg(feature = "gateway")]
mod sessions;

pub use client::Client;
pub use isobar_analytics::local::LocalOptions as EventOptions;
pub use isobar_server::{
    DescriptorLimit, RangeError, ServerError, ServerOptions, TlsOptions, TrustedProxies, shutdown_signal,
};
pub use server::Server;
pub use service::AppService;
pub(crate) use service::SiteInMemory;
#[cfg(feature = "gateway")]
pub use sessions::LocalSessionCatalog;

pub use crate::observe::init_log;
