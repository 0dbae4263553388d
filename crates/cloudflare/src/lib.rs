//! What isobar's Cloudflare side shares. The wrangler configuration ([`wrangler`]), and with
//! feature `binding` JavaScript as the bindings see it.
//!
//! ```
//! use isobar_cloudflare::wrangler::{Config, Format};
//! let config = Config::parse("name = \"site\"\n[[r2_buckets]]\nbinding = \"STORAGE\"\nbucket_name = \"assets\"\n", Format::Toml, None)?;
//! assert_eq!(config.r2_buckets[0].binding, "STORAGE");
//! # Ok::<_, isobar_cloudflare::wrangler::Error>(())
//! ```

#[cfg(feature = "binding")]
pub mod binding;
pub mod wrangler;
