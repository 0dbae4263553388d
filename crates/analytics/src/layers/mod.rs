//! Layers: small sinks over other sinks, which forward everything and change one thing.
//!
//! | layer | changes |
//! |---|---|
//! | [`FanOut`] | the number of sinks: each point goes to all of them |
//!
//! They stack, as each of them is an [`EventSink`](crate::EventSink).

mod fan_out;

pub use fan_out::FanOut;
