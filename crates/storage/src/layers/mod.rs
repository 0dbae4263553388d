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
