//! The lowest floor of isobar: small parts that several of its crates need and that none of them owns.
//!
//! | module | gives |
//! |---|---|
//! | [`backoff`] | waits that double up to a cap, with jitter |
//! | [`error`] | what the errors of the abstractions have in common |
//! | [`operations!`] | the enum of a trait's operations, for errors, observation and mocks |
//! | [`fs`] (feature `fs`, native) | folders that survive a power loss, files that only their owner can read, free space |
//! | [`io`] | the class of an I/O error: refused, full, temporary |
//! | [`random`] | bytes, ids and fractions from the system's randomness |
//! | [`sync`] | locks that outlive a panic |
//!
//! Nothing here knows an abstraction, a runtime or HTTP. Without features the crate compiles for wasm32.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod backoff;
pub mod error;
#[cfg(all(feature = "fs", not(target_arch = "wasm32")))]
pub mod fs;
pub mod io;
mod operation;
pub mod random;
pub mod sync;

/// The quick start of the README, compiled and run as a doctest.
#[cfg(all(doctest, feature = "fs", not(target_arch = "wasm32")))]
#[doc = include_str!("../README.md")]
struct Readme;
