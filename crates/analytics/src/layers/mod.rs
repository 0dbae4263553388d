//! Layers: small sinks over other sinks, which forward everything and change one thing.
//!
//! | layer | changes |
//! |---|---|
//! | [`FanOut`] | the number of sinks: each point goes to all of them |
//! | [`Scrubbed`] | points: IP addresses are truncated, values hashed by a salt of the day ([`DailyHash`]), queries of URLs removed |
//!
//! They stack, as each of them is an [`EventSink`](crate::EventSink).

mod daily_hash;
mod fan_out;
#[cfg(not(target_arch = "wasm32"))]
mod salt_file;
mod scrubbed;

pub use daily_hash::{DailyHash, DailyHashOptions};
pub use fan_out::FanOut;
pub use scrubbed::Scrubbed;
