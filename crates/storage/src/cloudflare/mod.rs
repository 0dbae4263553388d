//! R2 itself: by its binding inside Workers, and over its S3 side natively.

#[cfg(feature = "cloudflare-binding")]
mod binding;
#[cfg(all(feature = "cloudflare-http", not(target_arch = "wasm32")))]
mod s3;

#[cfg(feature = "cloudflare-binding")]
pub use binding::R2Bucket;
#[cfg(all(feature = "cloudflare-http", not(target_arch = "wasm32")))]
pub use s3::{S3Bucket, S3Config};
