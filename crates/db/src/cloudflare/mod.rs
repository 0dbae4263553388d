//! D1 itself: by its binding inside Workers, over the REST API natively.
//!
//! | | `D1Database` | `D1RestDatabase` |
//! |---|---|---|
//! | runs | inside Workers, and in workerd | natively |
//! | a statement costs | a call of the binding | an HTTPS request |
//! | a script ([`batch_script`](crate::Queryable::batch_script)) | cut here, one batch | cut here, one batch |
//! | sessions | D1's | see everything, by the primary |
//! | time travel | none | yes, without a report of the extent |
//! | export | none | none |
//! | repeated on failure | nothing | reads; a write where it certainly did not happen |
//!
//! Both share `answer`: D1's texts as kinds of errors, and the bounds that D1 does not have.

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
