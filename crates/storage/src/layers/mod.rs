//! Layers: small stores over another store, which forward everything and change one thing.
//!
//! | layer | what it changes |
//! |---|---|
//! | [`Prefixed`] | keys: everything is below a prefix, and nothing else can be reached |
//! | [`NfcKeys`] | keys: they are in Unicode's NFC, as R2 itself stores them |
//! | [`ReadOnly`] | writes: they are refused |
//! | [`Retried`] | failures for the moment: what can be repeated without harm is |
//! | [`Limited`] | how much at once, and how large |
//! | [`Observed`] | nothing: it reports the time and the outcome of each operation |
//! | [`Cached`] | reads: small objects are in memory, and asked for once however many want them |
//!
//! They stack: `Cached::new(Prefixed::new(store, "static/")?, CacheOptions::default())`.
//!
//! The outermost layer sees a call first, so the order decides. Usual, from the outside in: [`Observed`] (counts what callers see),
//! [`Cached`] (what it has costs none of the others anything), [`Retried`] (each attempt below is one of its own), [`Limited`] (an
//! attempt that waits between two holds no permit), [`Prefixed`] or [`NfcKeys`] beside the store.
//!
//! ```
//! use std::sync::Arc;
//!
//! use isobar_storage::layers::{CacheOptions, Cached, LimitOptions, Limited, Retried, RetryOptions};
//! use isobar_storage::memory::MemoryStore;
//! use isobar_storage::{Key, ObjectStore, ObjectStoreExt};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> isobar_storage::Result<()> {
//!
//! let limited = Limited::new(MemoryStore::new(), LimitOptions::default().with_concurrency(16));
//! let retried =
//!     Retried::new(limited, RetryOptions::default(), Arc::new(|time| Box::pin(tokio::time::sleep(time))));
//! let store: Arc<dyn ObjectStore> = Arc::new(Cached::new(retried, CacheOptions::default()));
//! store.write(&Key::new("a")?, "1").await?;
//! # Ok(())
//! # }
//! ```
//!
//! A layer of one's own implements [`ObjectStore`](crate::ObjectStore) for `Mine<S>` and forwards every method, those with a default
//! included: `#[deny(clippy::missing_trait_methods)]` on the `impl` finds one that was forgotten.

mod cached;
mod limited;
mod nfc_keys;
mod observed;
mod prefixed;
mod read_only;
mod retried;

pub use cached::{CacheOptions, Cached};
pub use limited::{LimitOptions, Limited};
pub use nfc_keys::NfcKeys;
pub use observed::{Counters, Observation, Observed, Observer, OperationStats};
pub use prefixed::Prefixed;
pub use read_only::ReadOnly;
pub use retried::{Retried, RetryOptions, Sleep};
