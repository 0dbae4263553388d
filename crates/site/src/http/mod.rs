//! The parts of HTTP that a site needs, as functions without I/O.
//!
//! | module | rules | RFC |
//! |---|---|---|
//! | [`precondition`] | `If-Match`, `If-None-Match`, `If-Modified-Since`, `If-Unmodified-Since`, `If-Range` | 9110, 13 |
//! | [`range`] | `Range`, one or several | 9110, 14 |
//! | [`encoding`] | `Accept-Encoding` and variants | 9110, 12.5.3 |
//! | [`digest`] | `Want-Repr-Digest`, `Want-Content-Digest` | 9530 |
//!
//! Each takes headers and metadata and returns a decision; the store and the cache act on the same decisions, so that a
//! response from memory cannot differ from one of the store.

pub(crate) mod digest;
pub(crate) mod encoding;
pub(crate) mod precondition;
pub(crate) mod range;
