//! The REST door on databases and buckets in memory, and on databases of a Postgres server.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[cfg(feature = "analytics")]
mod analytics;
mod backends;
mod bad_input;
#[path = "../cases/mod.rs"]
mod cases;
mod databases;
mod door;
mod keys;
mod objects;
mod postgres;
mod random;
mod refusals;
mod rules;
mod transfer;
