//! Ready-made session objects: chat rooms, call rooms, MCP servers, browsers. Each is behind a feature of its name.
//!
//! Each is an ordinary [`SessionObject`](isobar_sessions::SessionObject), and its options are its environment: a host of
//! `isobar-sessions` runs it, natively or as a Durable Object. An application exports it as a class of its own, or hands the events
//! of one class on to several. The objects speak HTTP and WebSockets; the documentation of each module lists its routes.
//!
//! The sender of a request is a [`Participant`], which the application puts into the request's headers after it has authenticated
//! the client, and after it has removed headers of that name which the client has sent ([`Participant::insert`] does both). An
//! object believes it: never forward a client's request without it.
//!
//! | module | object | feature |
//! |---|---|---|
//! | `browser` | `BrowserSession`: a browser that is kept alive while it is used | `browser`, natively `chromium` |
//! | `call` | `CallRoom`: participants of a video call and their signals | `call` |
//! | `chat` | `ChatRoom`: a durable history, presence, typing, edits, read marks | `chat` |
//! | `directory` | `Directory`: the rooms of a tenant, for quotas and revocations | `call` or `chat` |
//! | `mcp` | `McpSession`: an MCP server over Streamable HTTP | `mcp` |
//!
//! # Rules that all of them keep
//!
//! - Nothing is stored for a look: an object has tables from its first write on, so that probing names makes no files.
//! - Answers are JSON with `Cache-Control: no-store`, refusals problem+json (RFC 9457): 401 without a participant, 403 without
//!   the right, 404 for a route that does not exist, 429 with `Retry-After` at a limit of rates.
//! - A socket is bound to the rights with which it was opened, until they end; a revocation ends it at once.
//! - Limits are options, and count for a user as well as for the object: one user does not use up what others need.
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "browser")]
pub mod browser;
#[cfg(feature = "call")]
pub mod call;
#[cfg(feature = "chat")]
pub mod chat;
#[cfg(any(feature = "call", feature = "chat"))]
pub mod directory;
#[cfg(feature = "mcp")]
pub mod mcp;

#[cfg(any(feature = "call", feature = "chat"))]
mod occupancy;
mod participant;
#[cfg(any(feature = "call", feature = "chat"))]
mod rate;
#[cfg(any(feature = "browser", feature = "chat", feature = "mcp"))]
mod refusal;
mod reply;
#[cfg(any(feature = "call", feature = "chat", feature = "mcp"))]
mod revocations;
#[cfg(any(feature = "browser", feature = "call", feature = "chat", feature = "mcp"))]
mod tables;
#[cfg(any(feature = "browser", feature = "chat", feature = "mcp"))]
mod time;

pub use participant::Participant;
#[cfg(any(feature = "call", feature = "chat"))]
pub use rate::Rate;

/// The quick start of the README, compiled and run as a doctest.
#[cfg(all(doctest, feature = "chat"))]
#[doc = include_str!("../README.md")]
struct Readme;
