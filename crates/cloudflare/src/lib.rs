//! What isobar's Cloudflare side shares. The wrangler configuration ([`wrangler`]), numbers as SQL sends them through JSON
//! and JavaScript ([`sql`]); with feature `binding` JavaScript as the bindings see it, and with feature `client` Cloudflare
//! from outside: accounts, REST, requests that are repeated where that is safe.
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
