//! The ready-made objects on native hosts.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod awake;
mod browsers;
mod limits;
mod mcp;
mod objects;
