//! Doors for clients that others wrote. A door translates a protocol into isobar's traits; it knows no backend, and works over each.
//!
//! | module | what it has |
//! |---|---|
//! | [`keys`] | access keys and their scopes |
//! | `catalog` | the buckets that doors serve, by name |
//! | `s3` | S3, over buckets (feature `s3`) |
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "s3")]
pub mod catalog;
pub mod keys;
#[cfg(feature = "s3")]
pub mod s3;

/// The quick start of the README, compiled as a doctest.
#[cfg(all(doctest, feature = "s3"))]
#[doc = include_str!("../README.md")]
struct Readme;
