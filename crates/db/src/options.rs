//! Dialects, capabilities, consistency.

use std::fmt;

/// The SQL a database speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dialect {
    /// SQLite's, as D1 has it.
    Sqlite,
}

/// What a backend can do beyond D1's binding.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// [`Meta::rows_read`](crate::Meta::rows_read) and `rows_written` are counted.
    pub row_counts: bool,
    /// Integers are exact beyond 2^53.
    pub exact_integers: bool,
}

impl Capabilities {
    /// Whether the capability of this name is there: `row_counts`, `exact_integers`.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        match name {
            "row_counts" => self.row_counts,
            "exact_integers" => self.exact_integers,
            _ => false,
        }
    }
}

/// What a session may see at first: D1's `withSession`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Consistency {
    /// Any replica will do: `first-unconstrained`.
    #[default]
    FirstUnconstrained,
    /// The first query goes to the primary: `first-primary`.
    FirstPrimary,
    /// At least what this bookmark has seen.
    Bookmark(Bookmark),
}

/// A point in a database's history. Bookmarks compare as text, and the greater is the later.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bookmark(String);

impl Bookmark {
    /// A bookmark kept as text; D1 takes any.
    pub fn new(bookmark: impl Into<String>) -> Self {
        Self(bookmark.into())
    }

    /// The bookmark as text.
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
