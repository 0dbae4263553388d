//! Durable Objects by their binding: the caller's side, and the object's.

mod namespace;
mod object;
mod sockets;
mod state;

use isobar_cloudflare::binding::JsError;

pub use namespace::DurableObjectNamespace;
pub use object::DurableObject;
pub(crate) use sockets::bridge;
pub use sockets::{connect_socket, socket_of};

use crate::{Error, ErrorKind};

/// Converts an exception of the runtime, by its marks and message.
fn failure(error: JsError) -> Error {
    let text = error.message.as_str();
    let kind = if error.overloaded {
        ErrorKind::Overloaded
    } else if error.reset || error.retryable {
        ErrorKind::Reset
    } else if text.starts_with("not authorized") || text.contains("To execute a transaction, please use") {
        ErrorKind::NotAuthorized
    } else if text.contains("SQLITE_CONSTRAINT") {
        ErrorKind::Constraint
    } else if text.contains(": SQLITE_") || text.contains("SQL query") || text.contains("SQL code") {
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
