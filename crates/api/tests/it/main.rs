//! The API of a small platform, as its callers see it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod accounts;
mod authority;
mod lists;
mod media;
mod media_limits;
mod oauth;
mod openapi;
mod quotas;
mod recovery;
mod tenants;
mod town;
mod world;
mod writes;
