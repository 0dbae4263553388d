//! A point in an object's history.

use std::fmt;

/// A state of an object's storage, as [`SessionContext::current_bookmark`](crate::SessionContext::current_bookmark) and its neighbours
/// name it. It is text, to be stored and handed on; bookmarks of one object compare as text, and the greater one is later.
///
/// ```
/// use isobar_sessions::Bookmark;
///
/// let earlier = Bookmark::new("6927c1f0-00000000-0000001c-0193f2a1b2c3d4e5f60718293a4b5c6d");
/// let later = Bookmark::new("6927c1f0-00000000-0000001d-0193f2a1b2c3d4e5f60718293a4b5c6d");
/// assert!(later > earlier);
/// assert_eq!(Bookmark::new(earlier.as_str()), earlier);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bookmark(String);

impl Bookmark {
    /// Takes a bookmark from its text. Whether it means a state of an object shows when it is used.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Bookmark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
