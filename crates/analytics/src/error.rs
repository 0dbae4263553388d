//! The crate's error. Only flushing and reading can fail; writing cannot.

use std::error::Error as StdError;
use std::fmt;

#[cfg(all(feature = "local", not(target_arch = "wasm32")))]
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
    /// The backend does not support the operation, for example reading.
    Unsupported,
    /// File permissions or credentials do not permit the operation.
    PermissionDenied,
    /// The disk is full.
    StorageFull,
    /// Stored data is damaged.
    Corrupt,
    /// The backend is temporarily unavailable.
    Unavailable,
    /// Any other error.
    Internal,
}

/// An error of a sink, shown as `<operation>: <message>`.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    operation: &'static str,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// Creates an error of this kind in this operation.
    pub fn new(kind: ErrorKind, operation: &'static str, message: impl Into<String>) -> Self {
        Self { kind, operation, message: message.into(), source: None }
    }

    /// Attaches the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Returns the kind.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Returns the message without the operation.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whether a retry may succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.kind == ErrorKind::Unavailable
    }

    /// Creates an error from an I/O error and its path.
    #[cfg(all(feature = "local", not(target_arch = "wasm32")))]
    pub(crate) fn io(operation: &'static str, path: &std::path::Path, error: std::io::Error) -> Self {
        let kind = match Class::of(&error) {
            Class::Denied => ErrorKind::PermissionDenied,
            Class::Full => ErrorKind::StorageFull,
            Class::Temporary => ErrorKind::Unavailable,
            Class::Other => ErrorKind::Internal,
        };
        Self::new(kind, operation, format!("{}: {error}", path.display())).with_source(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.operation, self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
