//! The rules of a site as in Workers Static Assets: `_headers`, `_redirects` and `run_worker_first`.

mod headers;
mod live;
mod pattern;
mod redirects;
mod routing;

use std::fmt;

use isobar_storage::{Error, ErrorKind, GetOptions, Key, ObjectStore};

pub use headers::HeaderRules;
pub use live::ReloadedRules;
pub(crate) use live::{LiveRules, SiteRules};
pub(crate) use redirects::Redirection;
pub use redirects::Redirects;
pub(crate) use routing::Precedence;
pub use routing::{RoutingError, WorkerFirst};

/// Names of the files of rules, below the site.
pub(crate) const HEADERS: &str = "_headers";
pub(crate) const REDIRECTS: &str = "_redirects";

/// Size limit of a file of rules, in bytes: 8 MiB. The largest `_redirects` within the other limits, 2,100 lines of 2,000
/// characters, is smaller, comments aside.
const BYTES: u64 = 8 * 1024 * 1024;

/// Reads a file of rules, if it exists. Bytes that are not UTF-8 become U+FFFD, as in wrangler; the rules then have a
/// [warning](RuleWarning) that names the line.
///
/// # Errors
/// [`ErrorKind::TooLarge`] for more than 8 MiB; the store's error.
pub(crate) async fn read(store: &dyn ObjectStore, key: &Key) -> Result<Option<String>, Error> {
    let Some((meta, body)) = store.get(key, GetOptions::default()).await?.into_object() else { return Ok(None) };
    if meta.size > BYTES {
        return Err(Error::new(ErrorKind::TooLarge, format!("{key} has more than {BYTES} bytes")));
    }
    Ok(Some(String::from_utf8_lossy(&body.bytes().await?).into_owned()))
}

/// Length limit of a line of a file of rules, in characters; longer lines are ignored.
const LINE_CHARACTERS: usize = 2000;

/// A warning about a line of `_headers` or `_redirects` that is ignored, in part or whole, or is probably a mistake. Shown as
/// `line 3: invalid header name (c d: 3)`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RuleWarning {
    /// Number of the line in its file, counted from 1.
    pub line: usize,
    /// Text of the line, without the spaces around it. Limit: that of the file.
    pub text: String,
    /// Description of the problem and of its correction.
    pub message: String,
    /// Whether the rule is valid, and a later one takes its place.
    is_shadowed: bool,
}

impl RuleWarning {
    /// Creates a warning about a line that is ignored.
    fn new(line: usize, text: &str, message: impl Into<String>) -> Self {
        Self { line, text: text.to_owned(), message: message.into(), is_shadowed: false }
    }

    /// The warning about a rule whose place the rule of another line, for the same path, takes.
    fn shadowed(line: usize, path: &str, by: usize) -> Self {
        let message = format!("ignored: the rule at line {by} is for the same path");
        Self { is_shadowed: true, ..Self::new(line, path, message) }
    }
}

impl fmt::Display for RuleWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, text, message, .. } = self;
        // A line may be thousands of characters long.
        let shown: String = text.chars().take(80).collect();
        write!(f, "line {line}: {message} ({shown})")
    }
}

/// Returns the lines that are neither empty nor comments, with their numbers. Lines that are too long, and the first that is not
/// UTF-8, become warnings.
fn lines<'t>(text: &'t str, warnings: &mut Vec<RuleWarning>) -> Vec<(usize, &'t str)> {
    let mut lines = Vec::new();
    let mut is_utf8 = true;
    for (number, line) in text.split('\n').enumerate().map(|(index, line)| (index + 1, line.trim_matches(is_space))) {
        if is_utf8 && line.contains(char::REPLACEMENT_CHARACTER) {
            is_utf8 = false;
            let message = "the file is not UTF-8 from this line on: such bytes are read as U+FFFD; save it as UTF-8";
            warnings.push(RuleWarning::new(number, line, message));
        }
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

/// Whether a character is white space for JavaScript's `trim` and `\s`, with which wrangler parses these files: a byte-order
/// mark is, U+0085 is not.
fn is_space(char: char) -> bool {
    char == '\u{feff}' || (char.is_whitespace() && char != '\u{85}')
}
