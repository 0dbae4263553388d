//! The crate that composes isobar's abstractions into a serving stack, natively and - from the same application - inside
//! Workers. It is thin: what is logic lives below it.
//!
//! - [`Platform`] hands out bindings by the names of wrangler.toml: buckets, databases, session namespaces, datasets,
//!   vars and secrets. Applications know no backend.
//! - [`App`] assembles `/api/*`, the static site as fallback, health and readiness, request ids, tracing, one analytics
//!   event per request, and problem+json errors into an `axum::Router`.
//! - [`forward_session`] sends a request to a session object, WebSocket upgrades included.
//! - `workers` (feature `workers`) has Cloudflare's bindings behind the names, the `fetch` event's entry, and the macro that
//!   exports a session object as a Durable Object class.
//! - `native` (feature `native`) serves an application by [`isobar_server`](https://docs.rs/isobar-server).
//!
//! ```
//! use isobar_http_serve::{App, Platform};
//! use isobar_storage::memory::MemoryStore;
//! let platform = Platform::builder().with_bucket("STORAGE", MemoryStore::new()).build();
//! assert!(platform.bucket("STORAGE").is_ok());
//! let error = platform.bucket("ASSETS").unwrap_err();
//! assert_eq!(error.to_string(), "there is no bucket \"ASSETS\" among the bindings; buckets: STORAGE");
//! let router: axum::Router = App::new().into_router();
//! # drop(router);
//! ```
//!
//! # The way of a request
//!
//! Natively: `isobar-server` accepts, limits and parses; what the site has in memory is answered at
//! once; all else goes through the router of [`App`], whose outermost layer observes it. Inside
//! Workers: the data centre's cache is looked into, then the same router runs on the bindings of `env`.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod app;
mod assets;
mod client;
mod content;
mod dataset_queries;
#[cfg(feature = "mcp")]
mod mcp;
#[cfg(any(
    feature = "workers",
    all(any(feature = "native", feature = "memory"), not(feature = "query"), not(target_arch = "wasm32"))
))]
mod not_configured;
mod observe;
mod platform;
mod readiness;
mod response;
mod secret;
mod security;
mod session;
mod signed;
#[cfg(all(feature = "native", not(target_arch = "wasm32")))]
mod state;
#[cfg(all(any(feature = "native", feature = "memory"), not(target_arch = "wasm32")))]
mod wrangler;

#[cfg(all(feature = "native", not(target_arch = "wasm32")))]
pub mod native;
#[cfg(feature = "workers")]
pub mod workers;

pub use app::App;
pub use assets::{AssetsError, site_options, worker_first};
pub use client::http_client;
pub use content::SiteContent;
pub use dataset_queries::DatasetQueries;
pub use isobar_api::Problem;
pub use isobar_sessions::scheduler::{ScheduledTask, Scheduler, schedule};
pub use isobar_sessions::triggers::ScheduledEvent;
#[cfg(feature = "mcp")]
pub use mcp::ApiTools;
#[cfg(all(feature = "native", not(target_arch = "wasm32")))]
pub use native::AppService;
#[cfg(feature = "metrics")]
pub use observe::Metrics;
pub use observe::{Analytics, ProductEvent, REQUEST_ID, RequestEvent, Stats, stats};
#[cfg(feature = "otel")]
pub use observe::{Telemetry, TelemetryError};
pub use platform::{BindingError, Platform, PlatformBuilder};
pub use readiness::ReadyCheck;
pub use secret::Secret;
pub use security::SecurityHeaders;
pub use session::forward_session;
pub use signed::signed_objects;
#[cfg(all(feature = "native", not(target_arch = "wasm32")))]
pub use state::{make_root, walk_options};
#[cfg(all(any(feature = "native", feature = "memory"), not(target_arch = "wasm32")))]
pub use wrangler::{PlatformError, WranglerPlatform};

/// The quick start of the README, compiled and run as a doctest.
#[cfg(all(doctest, feature = "native"))]
#[doc = include_str!("../README.md")]
struct Readme;
