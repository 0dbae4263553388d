//! The common base of isobar's conformance kits and mocks.
//!
//! A *kit* is a list of [`Case`]s over some subject (a store, a database, a namespace, a sink) that every backend must pass;
//! [`run`] runs it and returns a [`Report`]. A *mock* wraps a backend and calls its [`Script`] before every operation: the script
//! records the call and may fail it, delay it, or hold it until the test releases it.
//!
//! This crate depends on none of the abstractions, and on wasm32 only on Workers' timers.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod case;
mod script;
mod time;

pub use case::{Case, Failure, Outcome, Report, run};
pub use script::{Call, Release, Script};
pub use time::sleep;

/// The quick start of the README, compiled and run as a doctest.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
