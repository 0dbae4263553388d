//! D1 itself: by its binding inside Workers.

mod answer;
#[cfg(feature = "cloudflare-binding")]
mod binding;

#[cfg(feature = "cloudflare-binding")]
pub use binding::D1Database;
