//! A socket of an object as the host keeps it, its events, and what leaves by it.
//!
//! A socket outlives the instance: it stands in the object's state with its tags and its attachment, in memory alone. With the
//! host's process it ends, as a connection does.

use bytes::Bytes;
use chrono::{DateTime, Utc};

use crate::{CloseFrame, Message, ServerSender, WebSocket};

/// An event of a socket, for the object.
pub(super) enum SocketEvent {
    Message(WebSocket, Message),
    Closed(WebSocket, CloseFrame),
}

impl SocketEvent {
    /// Returns the bytes of the message.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Message(_, message) => message.as_bytes().len(),
            Self::Closed(..) => 0,
        }
    }
}

/// A message or close that leaves when the turn has committed.
pub(super) enum Outgoing {
    Message(Message),
    Close(CloseFrame),
}

/// An accepted socket.
pub(super) struct Socket {
    pub(super) sender: ServerSender,
    pub(super) tags: Vec<String>,
    pub(super) attachment: Option<Bytes>,
    pub(super) auto_responded: Option<DateTime<Utc>>,
    /// Whether the object has closed it.
    pub(super) closed: bool,
    /// Whether its client has closed it, or has gone.
    pub(super) ended: bool,
}
