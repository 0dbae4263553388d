//! What isobar's conformance kits and mocks share.
//!
//! A *kit* is a list of [`Case`]s over some subject (a store, a database, a namespace, a sink) that every backend must pass;
//! [`run`] turns it into a [`Report`]. A *mock* wraps a backend and asks its [`Script`] before every operation: the script
//! records the call and may fail it, delay it, or hold it until the test lets go.
//!
//! This crate knows none of the abstractions: it stands below all of them, and on nothing but Workers' timers where there
//! are no others.
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
