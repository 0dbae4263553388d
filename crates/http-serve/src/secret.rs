//! Secrets that do not show.

use std::fmt;

/// A secret value. It shows in no log, error or debug output; [`expose`](Self::expose) returns it.
///
/// ```
/// use isobar_http_serve::Secret;
/// let token = Secret::new("s3cret");
/// assert_eq!(format!("{token:?}"), "Secret(..)");
/// assert_eq!(token.expose(), "s3cret");
/// ```
///
/// Comparing two takes as long as they agree; to compare with what a client has sent, use a comparison
/// in constant time.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// Returns the value, for what needs it: a header, a key. The name stands out in a review, where it
    /// is to be asked who gets it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}
