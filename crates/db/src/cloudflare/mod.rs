//! D1 itself: by its binding inside Workers, over the REST API natively.

mod answer;
#[cfg(feature = "cloudflare-binding")]
mod binding;
#[cfg(all(feature = "cloudflare-http", not(target_arch = "wasm32")))]
mod rest;
#[cfg(all(feature = "cloudflare-http", not(target_arch = "wasm32")))]
mod time_travel;

#[cfg(feature = "cloudflare-binding")]
pub use binding::D1Database;
#[cfg(all(feature = "cloudflare-http", not(target_arch = "wasm32")))]
pub use rest::D1RestDatabase;
