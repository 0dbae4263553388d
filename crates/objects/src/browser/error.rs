//! Errors of engines.

/// Kind of a [`BrowserError`].
///
/// | kind | [`BrowserSession`](super::BrowserSession) answers |
/// |---|---|
/// | `Full` | 429 |
/// | `Gone` | opens another browser once; 503 if that is gone, too |
/// | `Unavailable` | 503 |
/// | `Page` | 422 |
/// | `Forbidden` | 403 |
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
    ///
    /// The message is shown to the user: it names the page's address or the limit, and nothing of the machine.
    ///
    /// ```
    /// use isobar_objects::browser::{BrowserError, BrowserErrorKind};
    /// let error = BrowserError::new(BrowserErrorKind::Page, "https://example.com/: no answer within 30 s");
    /// assert_eq!(error.kind(), BrowserErrorKind::Page);
    /// ```
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
