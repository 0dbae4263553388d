//! R2 itself: by its binding inside Workers.

#[cfg(feature = "cloudflare-binding")]
mod binding;

#[cfg(feature = "cloudflare-binding")]
pub use binding::R2Bucket;
