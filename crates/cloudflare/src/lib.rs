//! The common base of isobar's Cloudflare backends: the wrangler configuration ([`wrangler`]), and SQL's numbers in JSON and
//! JavaScript ([`sql`]). The feature `binding` adds JavaScript objects and streams for bindings, the feature `client` Cloudflare
//! from outside: accounts, the REST API, and requests with retries.
//!
//! ```
//! use isobar_cloudflare::wrangler::{Config, Format};
//! let config = Config::parse("name = \"site\"\n[[r2_buckets]]\nbinding = \"STORAGE\"\nbucket_name = \"assets\"\n", Format::Toml, None)?;
//! assert_eq!(config.r2_buckets[0].binding, "STORAGE");
//! # Ok::<_, isobar_cloudflare::wrangler::Error>(())
//! ```
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "binding")]
pub mod binding;
#[cfg(all(feature = "client", not(target_arch = "wasm32")))]
pub mod client;
pub mod sql;
pub mod wrangler;

/// The quick start of the README, compiled and run as a doctest.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
