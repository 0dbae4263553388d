//! The crate's error. Only flushing and reading can fail; writing cannot.
//!
//! | kind | from | the same call again |
//! |---|---|---|
//! | `Closed` | sinks | never succeeds |
//! | `StorageFull`, `PermissionDenied`, `Corrupt` | local files; `PermissionDenied` also from Cloudflare | after someone has mended it |
//! | `Unavailable` | files, Cloudflare, threads that cannot be started | may succeed |
//! | `Query`, `Schema`, `Unsupported` | the caller's text, file or choice | never succeeds |
//! | `MemoryLimit`, `TimedOut` | a query beyond its `QueryOptions` | with a smaller query |
//! | `Cancelled` | a query whose future was dropped | if it is still wanted |
//! | `Internal` | a backend that answers what it should not | not known |

use std::error::Error as StdError;
use std::fmt;

use isobar_base::error::Parts;
#[cfg(all(any(feature = "layers", feature = "local"), not(target_arch = "wasm32")))]
use isobar_base::io::Class;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The kind of an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The sink has been closed.
    Closed,
    /// The query is invalid.
    Query,
    /// The names of a dataset's columns are invalid, or one has moved.
    Schema,
    /// The backend does not support the operation, for example reading.
    Unsupported,
    /// File permissions or credentials do not permit the operation.
    PermissionDenied,
    /// The disk is full.
    ///
    /// Or below the reserve of `local::LocalOptions::reserve_bytes`.
    StorageFull,
    /// Stored data is damaged.
    ///
    /// Of local segments that is skipped and counted ([`Damage`](crate::Damage)); this is for a manifest, without which no segment is known.
    Corrupt,
    /// The backend is temporarily unavailable.
    ///
    /// The same call may succeed later.
    Unavailable,
    /// A query would use more memory than allowed.
    ///
    /// See `query::QueryOptions::memory_bytes`.
    MemoryLimit,
    /// A query has taken longer than allowed.
    ///
    /// See `query::QueryOptions::time_limit`.
    TimedOut,
    /// A query was cancelled.
    Cancelled,
    /// Any other error.
    Internal,
}

/// An error of a sink. It displays as `<operation>: <message>`.
///
/// ```
/// use isobar_analytics::{Error, ErrorKind, Operation};
///
/// let error = Error::new(ErrorKind::Unavailable, "the disk is busy").during(Operation::Flush);
/// assert_eq!(error.to_string(), "flush: the disk is busy");
/// assert_eq!((error.operation(), error.message(), error.is_retryable()), ("flush", "the disk is busy", true));
/// ```
///
/// Cloning is cheap, also with a source. The message names the place where there is one: a file, or line and column of a query.
#[derive(Debug, Clone)]
pub struct Error {
    parts: Parts<ErrorKind>,
    code: Option<i64>,
}

impl Error {
    /// Creates an error of this kind; the backend names the operation ([`during`](Self::during)).
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { parts: Parts::new(kind, message), code: None }
    }

    /// Names the operation, an [`Operation`](crate::Operation) or one of the backend's own (`open`), unless a deeper layer has
    /// already done so.
    ///
    /// ```
    /// use isobar_analytics::{Error, ErrorKind, Operation};
    ///
    /// let error = Error::new(ErrorKind::StorageFull, "the disk is full").during(Operation::Flush);
    /// assert_eq!(error.during("request").operation(), "flush", "the deepest one stays");
    /// ```
    #[must_use]
    pub fn during(mut self, operation: impl Into<&'static str>) -> Self {
        self.parts.name_operation(operation);
        self
    }

    /// Attaches the cause.
    ///
    /// ```
    /// use std::error::Error as _;
    ///
    /// use isobar_analytics::{Error, ErrorKind};
    ///
    /// let io = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
    /// let error = Error::new(ErrorKind::PermissionDenied, "events/manifest.jsonl").with_source(io);
    /// assert!(error.source().is_some_and(|source| source.is::<std::io::Error>()));
    /// ```
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.parts.set_source(source);
        self
    }

    /// Adds the code with which Cloudflare's API, or ClickHouse, has answered.
    #[cfg(all(any(feature = "clickhouse", feature = "cloudflare-http"), not(target_arch = "wasm32")))]
    pub(crate) fn with_code(mut self, code: Option<i64>) -> Self {
        self.code = code;
        self
    }

    /// Returns the kind.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.parts.kind()
    }

    /// Returns the name of the operation that failed: that of an [`Operation`](crate::Operation), or one of the backend's own.
    /// Empty where none is named.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        self.parts.operation()
    }

    /// Returns the code of Cloudflare's API, or that of ClickHouse's exception, where they have answered with one; the message has it, too.
    #[must_use]
    pub fn code(&self) -> Option<i64> {
        self.code
    }

    /// Returns the message without the operation.
    #[must_use]
    pub fn message(&self) -> &str {
        self.parts.message()
    }

    /// Returns whether the same call may succeed later: for [`ErrorKind::Unavailable`].
    ///
    /// An error of points that are lost with it is never retryable, whatever has caused it: the same flush would not bring them back.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.kind() == ErrorKind::Unavailable
    }

    /// Creates an error from an I/O error and its path.
    #[cfg(all(any(feature = "layers", feature = "local"), not(target_arch = "wasm32")))]
    pub(crate) fn io(path: &std::path::Path, error: std::io::Error) -> Self {
        let kind = match Class::of(&error) {
            Class::Denied => ErrorKind::PermissionDenied,
            Class::Full => ErrorKind::StorageFull,
            Class::Temporary => ErrorKind::Unavailable,
            Class::Other => ErrorKind::Internal,
        };
        Self::new(kind, format!("{}: {error}", path.display())).with_source(error)
    }

    /// Returns the error of events that are lost with it: the same call would not write them.
    #[cfg(all(feature = "local", not(target_arch = "wasm32")))]
    pub(crate) fn not_retryable(self) -> Self {
        if !self.is_retryable() {
            return self;
        }
        let lost = Self::new(ErrorKind::Internal, self.message());
        lost.with_source(self)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.parts, f)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.parts.source()
    }
}

#[cfg(all(test, feature = "local", not(target_arch = "wasm32")))]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn an_error_of_lost_events_is_not_retryable() {
        for (kind, expected) in [
            (std::io::ErrorKind::Interrupted, ErrorKind::Internal),
            (std::io::ErrorKind::StorageFull, ErrorKind::StorageFull),
        ] {
            let error = Error::io(Path::new("a"), kind.into()).not_retryable();
            assert_eq!((error.kind(), error.is_retryable()), (expected, false));
            assert!(error.message().starts_with("a: "), "{error}");
        }
    }
}
