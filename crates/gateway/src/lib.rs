//! Doors for clients that others wrote. A door translates a protocol into isobar's traits; it knows no backend, and works over each.
//!
//! | module | what it has |
//! |---|---|
//! | [`keys`] | access keys and their scopes |
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod keys;

/// The quick start of the README, compiled as a doctest.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
