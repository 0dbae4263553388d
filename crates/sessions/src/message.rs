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
    /// Returns the payload: the text in UTF-8, or the bytes.
    ///
    /// ```
    /// use isobar_sessions::Message;
    /// assert_eq!(Message::from("é").as_bytes().len(), 2);
    /// ```
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

/// End of a WebSocket: the close frame, or what stands for one where a connection broke. Source of the codes: RFC 6455 7.4.
///
/// ```
/// use isobar_sessions::CloseFrame;
///
/// assert!(CloseFrame::new(4000, "the game is over").check().is_ok()); // 4000 to 4999 are the application's
/// assert!(CloseFrame::new(1005, "").check().is_err()); // only ever received: the peer gave no code
/// let broken = CloseFrame::broken();
/// assert_eq!((broken.code, broken.was_clean), (1006, false));
/// ```
///
/// | code | meaning | may be sent |
/// |---|---|---|
/// | 1000, 1001 | done; going away | yes |
/// | 1002, 1003, 1007 to 1011 | errors of protocol, type, text, policy, size, extension, server | yes |
/// | 1005, 1006 | no code came; the connection broke | no: they are only reported |
/// | 1012 to 1014 | restart, try again later, bad gateway | yes |
/// | 1015 | TLS failed | no |
/// | 3000 to 3999, 4000 to 4999 | registered; the application's | yes |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseFrame {
    /// Status code, as of RFC 6455: 1005 when the peer gave none, 1006 when the connection broke.
    pub code: u16,
    /// Reason, at most 123 bytes of UTF-8; may be empty.
    pub reason: String,
    /// Whether the peer has sent a close frame; `false` for a connection that broke.
    pub was_clean: bool,
}

impl CloseFrame {
    /// Creates a close frame with a code and a reason.
    pub fn new(code: u16, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into(), was_clean: true }
    }

    /// Returns the end of a connection that broke: code 1006.
    #[must_use]
    pub fn broken() -> Self {
        let reason = "WebSocket disconnected without sending Close frame.".to_owned();
        Self { code: 1006, reason, was_clean: false }
    }

    /// Checks that the frame may be sent, as a browser's `WebSocket.close` does.
    ///
    /// ```
    /// use isobar_sessions::CloseFrame;
    /// assert!(CloseFrame::new(1000, "x".repeat(123)).check().is_ok());
    /// assert!(CloseFrame::new(1000, "x".repeat(124)).check().is_err());
    /// ```
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
