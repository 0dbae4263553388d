//! Doors for clients that others wrote. A door translates a protocol into isobar's traits; it knows no backend, and works over each.
//!
//! | module | what it has |
//! |---|---|
//! | [`keys`] | access keys and their scopes; with feature `keys` a store of keys and bearer tokens, and the audit of refused requests |
//! | `catalog` | the buckets, databases and namespaces that doors serve, by name (features `s3`, `rest`) |
//! | `lifecycle` | the sweep that carries out the lifecycle rules of buckets (features `s3`, `rest`) |
//! | `s3` | S3, over buckets (feature `s3`) |
//! | `rest` | Cloudflare's REST API v4 (feature `rest`) |
//! | `explorer` | a page for people, over the routes of `rest` and some of its own (feature `explorer`) |
//!
//! # The way of a request
//!
//! 1. The server that runs a door puts a [`ClientInfo`] among the request's extensions: doors know no
//!    sockets and no proxies.
//! 2. The door finds the key that the request names, in a `keys::KeyStore` or another store of
//!    keys, and checks signature or token. An address with too many failures is refused before.
//! 3. The key's scope decides which resources there are for it. A handler gets a store or a database
//!    only by a function that has asked the scope.
//! 4. A catalog opens the resource, and the operation is one of its trait.
//! 5. Errors are translated into the protocol's. A client learns its own mistakes in full, and of the
//!    server's only that there is one: paths and causes go to the log.
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(any(feature = "s3", feature = "rest"))]
pub mod catalog;
mod client;
#[cfg(feature = "explorer")]
pub mod explorer;
pub mod keys;
#[cfg(any(feature = "s3", feature = "rest"))]
pub mod lifecycle;
#[cfg(feature = "rest")]
pub mod rest;
#[cfg(feature = "s3")]
pub mod s3;

pub use client::ClientInfo;

/// The quick start of the README, compiled as a doctest.
#[cfg(all(doctest, feature = "s3", feature = "rest"))]
#[doc = include_str!("../README.md")]
struct Readme;
