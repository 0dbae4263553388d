//! The explorer on databases, buckets and datasets in memory.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod access;
mod backups;
mod data;
#[allow(dead_code, reason = "the tests of the REST door use all of it")]
#[path = "../rest/door.rs"]
mod door;
mod links;
mod page;
mod sessions;
mod setting;
