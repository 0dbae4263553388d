//! The S3 door as a client sees it, over stores in memory and in a folder.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod backends;
mod bad_input;
#[path = "../cases/mod.rs"]
mod cases;
mod client;
mod cors;
mod fuzz;
#[cfg(feature = "keys")]
mod keys;
mod lifecycle;
mod listing;
mod object_store;
mod objects;
mod r2_features;
mod r2_table;
mod rules;
mod scopes;
mod uploads;
#[cfg(feature = "keys")]
mod watch;
