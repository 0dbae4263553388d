//! Tests of the built binary on a fresh folder: it is driven over HTTP, killed and restarted.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod accounts;
mod crash;
mod deploying;
mod harness;
mod http;
mod keyring;
mod sessions;
mod tables;
