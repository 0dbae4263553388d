//! The layers, by the conformance kit and by what each of them changes.

mod daily_hash;
mod fan_out;
mod scrubbed;
