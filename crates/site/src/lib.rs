//! Static sites served from an object store, by the rules of HTTP.
//!
//! [`Site`] is a tower service over `http` types: GET and HEAD, strong ETags, conditional requests, single and multiple
//! ranges, precompressed variants (`style.css.br` beside `style.css`), a cache policy, and paths that cannot leave the site.
//! Paths map to files, missing files are handled, and `_headers` and `_redirects` apply as in Workers Static Assets. The store
//! is used through its trait alone.
//!
//! | to | use |
//! |---|---|
//! | serve files under a prefix | [`Site::new`] with [`SiteOptions`] |
//! | keep responses in memory (feature `cache`) | `Site::with_cache` with [`CacheOptions`] |
//! | set headers and redirects | [`SiteOptions::with_rules_of`], or [`HeaderRules`] and [`Redirects`] by hand |
//! | stand beside an application | [`Site::should_serve`] with [`WorkerFirst`] |
//! | publish a whole site at once, and take it back | [`Deploys`] |
//! | serve one object of a bucket | [`Site::respond_with`] |
//!
//! A request takes one way: its path is resolved to a file (`_redirects`, [`HtmlHandling`], a listing, [`NotFoundHandling`]), the
//! best variant of the file is selected, the preconditions and the range are applied, and the body is read from the store on the
//! condition that the file is still the one that was judged. With a cache the result is kept, and good until the store changes.
//!
//! Nothing here fails a request: an error of the store is a response of 503 or 500 without details, and an event where the feature
//! `tracing` is on.
//!
//! ```
//! use std::sync::Arc;
//! use isobar_site::{Site, SiteOptions};
//! use isobar_storage::{Key, ObjectStoreExt, memory::MemoryStore};
//! # futures_util::FutureExt::now_or_never(async {
//! let store = MemoryStore::new();
//! store.write(&Key::new("static/index.html")?, "<h1>hello</h1>").await?;
//! let site = Site::new(Arc::new(store), SiteOptions::default().with_prefix("static/"));
//! let response = site.respond(&http::Request::get("/").body(()).unwrap()).await;
//! assert_eq!(response.status(), 200);
//! # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap();
//! ```
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "cache")]
mod arena;
mod body;
#[cfg(feature = "cache")]
mod cache;
mod cache_options;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod deploy;
mod fingerprint;
mod handling;
mod http;
mod options;
mod path;
mod representation;
mod request;
mod reserved;
mod resolve;
mod respond;
mod response;
mod rules;
mod serve;
mod site;
mod snapshot;
mod source;
mod timing;

#[cfg(feature = "cache")]
pub use arena::{KeptBody, Region};
pub use body::SiteBody;
#[cfg(feature = "cache")]
pub use cache::{PreparedResponse, Purge};
#[cfg(feature = "cache")]
pub use cache_options::CacheStats;
pub use cache_options::{CacheOptions, CacheState};
pub use deploy::{Deploy, DeployOptions, DeployProgress, Deployed, Deploys, Pruned};
pub use fingerprint::{Fingerprints, GlobError};
pub use handling::{HtmlHandling, NotFoundHandling};
pub use options::{CachePolicy, SiteOptions};
pub use path::{PathProblem, SitePath};
pub use response::FromSite;
pub use rules::{HeaderRules, Redirects, ReloadedRules, RoutingError, RuleWarning, WorkerFirst};
pub use site::Site;

/// The quick start of the README, compiled and run as a doctest.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
