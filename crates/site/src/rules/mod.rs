//! The rules that a site has besides its files, as Workers Static Assets has them: `_headers`, `_redirects`, and which paths
//! are the application's.

mod headers;
mod pattern;
mod redirects;
mod routing;

use std::fmt;

use isobar_storage::{Error, ErrorKind, GetOptions, Key, ObjectStore};

pub use headers::HeaderRules;
pub(crate) use redirects::Redirection;
pub use redirects::Redirects;
pub(crate) use routing::Turn;
pub use routing::{RoutingError, WorkerFirst};

/// The files that have the rules, below the site.
pub(crate) const HEADERS: &str = "_headers";
pub(crate) const REDIRECTS: &str = "_redirects";

/// The most that a file of rules may have, in bytes: 2,100 lines of 2,000 characters have more, but nobody writes those.
const BYTES: u64 = 1024 * 1024;

/// The text of a file of rules, where there is one.
pub(crate) async fn read(store: &dyn ObjectStore, key: &Key) -> Result<Option<String>, Error> {
    let Some((meta, body)) = store.get(key, GetOptions::default()).await?.into_object() else { return Ok(None) };
    if meta.size > BYTES {
        return Err(Error::new(ErrorKind::TooLarge, format!("{key} has more than {BYTES} bytes")));
    }
    let text = String::from_utf8(body.bytes().await?.to_vec());
    text.map(Some).map_err(|error| Error::new(ErrorKind::Corrupt, format!("{key} is no UTF-8: {error}")))
}

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
