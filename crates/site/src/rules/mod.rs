//! The rules that a site has besides its files, as Workers Static Assets has them: `_headers`, `_redirects`, and which paths
//! are the application's.

mod headers;
mod pattern;
mod redirects;
mod routing;

use std::fmt;

pub use headers::HeaderRules;
pub(crate) use redirects::Redirection;
pub use redirects::Redirects;
pub(crate) use routing::Turn;
pub use routing::{RoutingError, WorkerFirst};

/// The longest line of a file of rules, in characters; a longer one is left out.
const LINE_CHARACTERS: usize = 2000;

/// A line of `_headers` or `_redirects` that counts for nothing, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RuleWarning {
    /// The line's number, from 1.
    pub line: usize,
    /// The line.
    pub text: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl RuleWarning {
    fn new(line: usize, text: &str, message: impl Into<String>) -> Self {
        Self { line, text: text.to_owned(), message: message.into() }
    }
}

impl fmt::Display for RuleWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, text, message } = self;
        // A line may be thousands of characters long.
        let shown: String = text.chars().take(80).collect();
        write!(f, "line {line}: {message} ({shown})")
    }
}

/// The lines that say anything, with their numbers; those that are too long become warnings.
fn lines<'t>(text: &'t str, warnings: &mut Vec<RuleWarning>) -> Vec<(usize, &'t str)> {
    let mut lines = Vec::new();
    for (number, line) in text.lines().enumerate().map(|(index, line)| (index + 1, line.trim())) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        // In UTF-16 units, as JavaScript counts.
        if line.encode_utf16().count() > LINE_CHARACTERS {
            warnings.push(RuleWarning::new(number, line, format!("longer than {LINE_CHARACTERS} characters")));
            continue;
        }
        lines.push((number, line));
    }
    lines
}
