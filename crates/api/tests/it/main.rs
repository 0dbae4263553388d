//! The API of a small platform, as its callers see it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod accounts;
mod lists;
mod media;
mod oauth;
mod openapi;
mod tenants;
mod world;
mod writes;
