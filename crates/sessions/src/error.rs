//! The crate's error, with what Durable Objects say about theirs.
//!
//! | kinds | cause | retry |
//! |---|---|---|
//! | `InvalidId`, `InvalidArgument`, `Unsupported` | the caller | no |
//! | `Sql`, `Constraint`, `NotAuthorized`, `Decode`, `Application` | the object's code | no |
//! | `History` | the bookmark or the time: the object's history has no such state | no |
//! | `Reset` | the instance: a panic, an abort, a failed commit, a host that stops | yes, if the request may run twice |
//! | `Overloaded` | too many events | yes, with growing pauses |
//! | `Socket` | the connection | by a new connection |
//! | `Storage`, `StorageFull`, `Damaged` | the machine | after it is mended |
//! | `Internal` | anything else | no |
//!
//! The texts are those of workerd where it has one, so that code that looks at messages finds the same everywhere.

use std::error::Error as StdError;
use std::fmt;

use isobar_base::error::Parts;
use isobar_base::random::NoRandomness;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Kind of an [`Error`], for code that decides by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The id is malformed or of another namespace.
    InvalidId,
    /// The caller's arguments are against the rules: a tag too long, a limit of 0, a closing code.
    InvalidArgument,
    /// The SQL is wrong.
    Sql,
    /// A constraint does not hold.
    Constraint,
    /// The object may not do this: transactions in SQL, ATTACH, most PRAGMAs, `_cf_` names.
    NotAuthorized,
    /// A row or value is not what the caller takes it for.
    Decode,
    /// The object's own error, from its handler.
    Application,
    /// The object was reset: its instance is gone, a new one starts with the next event.
    Reset,
    /// Too many events wait for the object or its host, or too many objects are awake; retry later.
    Overloaded,
    /// The WebSocket is closed, or was never accepted.
    Socket,
    /// The host lacks the capability.
    Unsupported,
    /// The object's history has no such state: the bookmark is malformed, of another object or of none, or it is older than the history or
    /// in the future, as a time may be.
    History,
    /// The files cannot be opened or written, or another process has them.
    Storage,
    /// The disk is full, or has less left than the host's reserve: free some space and retry.
    StorageFull,
    /// The object's file is damaged or missing; the message names the file. Other objects are not affected.
    Damaged,
    /// Anything else.
    Internal,
}

/// An error of a session object or its host. It displays as its message alone, as Durable Objects' errors do: an object's own error
/// reaches its caller with the text that the object gave it.
///
/// ```
/// use isobar_sessions::{Error, ErrorKind};
///
/// // An object's own error: its caller receives kind and text.
/// let error = Error::application("the seat is taken");
/// assert_eq!((error.kind(), error.message()), (ErrorKind::Application, "the seat is taken"));
/// assert!(!error.is_retryable());
/// ```
#[derive(Debug, Clone)]
pub struct Error {
    parts: Parts<ErrorKind>,
}

impl Error {
    /// Creates an error of this kind; the host names the operation ([`during`](Self::during)).
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { parts: Parts::new(kind, message) }
    }

    /// Names the operation, an [`Operation`](crate::Operation) or one of the host's own, unless a deeper layer has already done so.
    ///
    /// ```
    /// use isobar_sessions::{Error, ErrorKind, Operation};
    /// let error = Error::new(ErrorKind::Overloaded, "too many events wait").during(Operation::Fetch);
    /// assert_eq!((error.operation(), error.during(Operation::List).operation()), ("fetch", "fetch")); // the first name stays
    /// ```
    #[must_use]
    pub fn during(mut self, operation: impl Into<&'static str>) -> Self {
        self.parts.name_operation(operation);
        self
    }

    /// Creates an object's own error. Its caller gets the text.
    pub fn application(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Application, message)
    }

    /// Attaches the cause.
    ///
    /// ```
    /// use std::error::Error as _;
    /// use isobar_sessions::{Error, ErrorKind};
    /// let cause = std::io::Error::other("no route");
    /// let error = Error::new(ErrorKind::Application, "the bank did not answer").with_source(cause);
    /// assert_eq!(error.source().map(|cause| cause.to_string()).as_deref(), Some("no route"));
    /// ```
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.parts.set_source(source);
        self
    }

    /// Returns the kind.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.parts.kind()
    }

    /// Returns the name of the operation that failed: that of an [`Operation`](crate::Operation), or one of the host's own. Empty
    /// inside an object, where none is named.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        self.parts.operation()
    }

    /// Returns the message. The text that Cloudflare has for an error is in it.
    #[must_use]
    pub fn message(&self) -> &str {
        self.parts.message()
    }

    /// Returns whether the same call may succeed later: the object was reset before it answered, or is overloaded. Cloudflare's
    /// `retryable`; what is overloaded should be retried with patience.
    ///
    /// After [`ErrorKind::Reset`] it is not known whether the object has run the request: it may have committed before its
    /// answer was lost.
    ///
    /// ```
    /// use isobar_sessions::{Error, ErrorKind};
    /// assert!(Error::new(ErrorKind::Reset, "the object was reset").is_retryable());
    /// assert!(!Error::application("the seat is taken").is_retryable());
    /// ```
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind(), ErrorKind::Reset | ErrorKind::Overloaded)
    }

    /// Returns whether too many events wait for the object: Cloudflare's `overloaded`.
    #[must_use]
    pub fn is_overloaded(&self) -> bool {
        self.kind() == ErrorKind::Overloaded
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.parts.source()
    }
}

impl From<NoRandomness> for Error {
    fn from(error: NoRandomness) -> Self {
        Self::new(ErrorKind::Internal, error.to_string()).with_source(error)
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::new(ErrorKind::Decode, error.to_string()).with_source(error)
    }
}
