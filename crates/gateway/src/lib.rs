//! Doors for clients that others wrote. A door translates a protocol into isobar's traits; it knows no backend, and works over each.
//!
//! | module | what it has |
//! |---|---|
//! | [`keys`] | access keys and their scopes; with feature `keys` a store of keys and bearer tokens, and the audit of refused requests |
//! | `catalog` | the buckets, databases and namespaces that doors serve, by name (features `s3`, `rest`) |
//! | `s3` | S3, over buckets (feature `s3`) |
//! | `rest` | Cloudflare's REST API v4 (feature `rest`) |
//! | `explorer` | a page for people, over the routes of `rest` and some of its own (feature `explorer`) |
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(any(feature = "s3", feature = "rest"))]
pub mod catalog;
mod client;
#[cfg(feature = "explorer")]
pub mod explorer;
pub mod keys;
#[cfg(feature = "rest")]
pub mod rest;
#[cfg(feature = "s3")]
pub mod s3;

pub use client::ClientInfo;

/// The quick start of the README, compiled as a doctest.
#[cfg(all(doctest, feature = "s3", feature = "rest"))]
#[doc = include_str!("../README.md")]
struct Readme;
