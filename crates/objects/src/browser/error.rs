//! Errors of engines.

/// Kind of a [`BrowserError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BrowserErrorKind {
    /// The limit of sessions is reached.
    Full,
    /// The session has ended.
    Gone,
    /// No browser starts, or it does not answer.
    Unavailable,
    /// The page cannot be loaded: unknown host, timeout.
    Page,
    /// The page is on this machine or in a private network.
    Forbidden,
}

/// An error of an engine.
#[derive(Debug, Clone)]
pub struct BrowserError {
    kind: BrowserErrorKind,
    message: String,
}

impl BrowserError {
    /// Creates an error.
    pub fn new(kind: BrowserErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// Returns the kind.
    #[must_use]
    pub fn kind(&self) -> BrowserErrorKind {
        self.kind
    }
}

impl std::fmt::Display for BrowserError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for BrowserError {}
