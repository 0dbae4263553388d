//! The native HTTP server: a listener and a thread for each processor, HTTP/1.1 and HTTP/2 by hyper, limits for everything that a
//! client may take, and a fast path for responses in memory. It knows neither API nor site: it serves an [`Application`].
//!
//! Connections are read and written on the server's threads. There a response that the application has in memory is sent at once;
//! for everything else the application runs on the runtime that serves, beside what it has started there.
//!
//! | module of the docs | what it has |
//! |---|---|
//! | [`Server`], [`ServerOptions`], [`ServerError`] | binding, serving, draining; every limit with its default |
//! | [`Application`], [`RequestInfo`], [`RequestBody`], [`Refusal`] | the application, what the server passes to it with a request, and what the server refuses itself |
//! | [`Prepared`], [`PreparedBody`], [`NotPrepared`] | responses of the fast path |
//! | [`FromTower`] | a service of tower's as an application (feature `tower`) |
//! | [`TrustedProxies`] | whose `Forwarded`, `X-Forwarded-*` and `CF-Connecting-IP` are believed |
//! | [`TlsOptions`] | a certificate from files, read again when they change (feature `tls`) |
//! | [`DescriptorLimit`] | the limit of open files, and how it is divided |
//!
//! # The fast path
//!
//! A connection over TCP without TLS begins there. A plain GET or HEAD by HTTP/1.1 is parsed once, and where the application has a
//! [`Prepared`] response, head and body are written without another copy. The first request that is anything else takes the
//! connection to hyper, with every byte that was not answered, and there it stays.
//!
//! # Limits
//!
//! Each is an option of [`ServerOptions`]. A request that breaks one gets the response that [`Application::refuse`] makes of the
//! [`Refusal`], where it can still be answered:
//!
//! | limit | option | default | beyond it |
//! |---|---|---|---|
//! | connections | [`connections`](ServerOptions::connections) | 25,000, and what the open files allow | 503; closed over TLS |
//! | connections of an address | [`connections_per_address`](ServerOptions::connections_per_address) | a half of all | 503; closed over TLS |
//! | bytes of a head | [`header_bytes`](ServerOptions::header_bytes) | 64 KiB | 431 |
//! | time for a head, and idle | [`header_timeout`](ServerOptions::header_timeout) | 60 s | closed |
//! | pause in a body | [`body_timeout`](ServerOptions::body_timeout) | 30 s | 408 |
//! | bytes a second of a body | [`body_rate`](ServerOptions::body_rate) | 500 | 408 |
//! | memory of all bodies | [`body_memory`](ServerOptions::body_memory) | 256 MiB | 503 |
//! | memory of an address' bodies | [`body_memory_per_address`](ServerOptions::body_memory_per_address) | a quarter of that | 503 |
//! | time until a response begins | [`request_timeout`](ServerOptions::request_timeout) | none | 503 |
//! | time that a client reads nothing | [`write_timeout`](ServerOptions::write_timeout) | 60 s | closed |
#![cfg_attr(docsrs, feature(doc_cfg))]

mod accept;
mod application;
mod body;
mod connection;
mod descriptors;
mod error;
mod fast_path;
mod host;
mod listen;
mod options;
mod places;
mod proxy;
mod proxy_protocol;
mod refuse;
mod requests;
mod server;
mod shared;
mod signal;
mod stream;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "tower")]
mod tower;

pub use application::{Application, NoBody, NotPrepared, Prepared, PreparedBody, Refusal, RequestInfo, Socket};
pub use body::{BodyAccount, BodyError, RequestBody};
pub use descriptors::DescriptorLimit;
pub use error::ServerError;
pub use options::ServerOptions;
#[cfg(feature = "tls")]
pub use options::TlsOptions;
pub use proxy::{RangeError, TrustedProxies};
pub use server::Server;
pub use signal::shutdown_signal;
#[cfg(feature = "tower")]
pub use tower::FromTower;

/// The quick start of the README, compiled as a doctest.
#[cfg(all(doctest, feature = "tower", feature = "tls"))]
#[doc = include_str!("../README.md")]
struct Readme;
