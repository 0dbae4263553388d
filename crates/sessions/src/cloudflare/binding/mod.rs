//! Durable Objects by their binding: the caller's side, and the object's.
//!
//! The runtime throws exceptions with a text and a few marks; kinds are told by the marks first (`overloaded`, `retryable`,
//! `durableObjectReset`), then by the one that a handler's error of ours has, and by the texts that workerd has for SQL, ids and sockets
//! else. An exception without any of these is the object's own error. The native hosts use the same texts, so an error has one kind wherever its object runs;
//! `conformance` holds it.

mod namespace;
mod object;
mod sockets;
mod state;

use isobar_cloudflare::binding::JsError;

pub use namespace::DurableObjectNamespace;
pub use object::DurableObject;
pub(crate) use sockets::bridge;
pub use sockets::{connect_socket, socket_of};

use crate::call::{kind_name, kind_of};
use crate::{Error, ErrorKind};

/// The exception that an error of an object becomes; its kind goes with it to the caller.
fn thrown(error: &Error) -> JsError {
    JsError::new(error.to_string()).with_mark(kind_name(error.kind()))
}

/// Converts an exception of the runtime, by its marks and message.
fn failure(error: JsError) -> Error {
    let text = error.message.as_str();
    let kind = if error.overloaded {
        ErrorKind::Overloaded
    } else if error.reset || error.retryable || text.starts_with("Durable Object was reset") {
        ErrorKind::Reset
    } else if let Some(kind) = &error.mark {
        kind_of(kind)
    } else if ["not authorized", "SQLITE_AUTH", "To execute a transaction"].iter().any(|part| text.contains(part)) {
        ErrorKind::NotAuthorized
    } else if text.contains("SQLITE_CONSTRAINT") {
        ErrorKind::Constraint
    } else if text.contains(": SQLITE_")
        || ["SQL query", "SQL code", "SQL statements"].iter().any(|part| text.contains(part))
    {
        ErrorKind::Sql
    } else if text.contains("Durable Object ID") {
        ErrorKind::InvalidId
    } else if text.contains("WebSocket send() after close()") || text.contains("Worker tried to return a WebSocket") {
        ErrorKind::Socket
    } else if text.starts_with("internal error") {
        ErrorKind::Internal
    } else if matches!(error.name.as_str(), "TypeError" | "RangeError") {
        ErrorKind::InvalidArgument
    } else {
        ErrorKind::Application
    };
    Error::new(kind, text).with_source(error.clone())
}
