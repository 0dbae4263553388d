//! Messages and close frames of WebSockets.

use bytes::Bytes;

use crate::{Error, ErrorKind, Result, limits};

/// A WebSocket message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "RFC 6455's names")]
pub enum Message {
    Text(String),
    Binary(Bytes),
}

impl Message {
    /// The bytes of either kind.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<Bytes> for Message {
    fn from(bytes: Bytes) -> Self {
        Self::Binary(bytes)
    }
}

/// How a WebSocket ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseFrame {
    /// The code: 1005 when the peer gave none, 1006 when the connection broke.
    pub code: u16,
    /// The reason, at most 123 bytes.
    pub reason: String,
    /// Whether the peer has sent a close frame.
    pub was_clean: bool,
}

impl CloseFrame {
    /// A goodbye with a code and a reason.
    pub fn new(code: u16, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into(), was_clean: true }
    }

    /// The end of a connection that broke.
    #[must_use]
    pub fn broken() -> Self {
        let reason = "WebSocket disconnected without sending Close frame.".to_owned();
        Self { code: 1006, reason, was_clean: false }
    }

    /// Refuses what a WebSocket's `close` refuses.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a code that only the protocol may use, and for a reason over 123 bytes.
    pub fn check(&self) -> Result<()> {
        if !matches!(self.code, 1000..=1003 | 1007..=1014 | 1016..=4999) {
            let message = format!("Invalid WebSocket close code: {}.", self.code);
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        if self.reason.len() > limits::CLOSE_REASON_BYTES {
            let message = "WebSocket close reason must not be longer than 123 bytes when UTF-8 encoded.";
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        Ok(())
    }
}
