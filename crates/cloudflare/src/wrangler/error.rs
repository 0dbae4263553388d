//! Errors in a configuration.

use std::fmt;
use std::path::{Path, PathBuf};

/// An error in a configuration, shown as `file:line: message`.
///
/// The source is the I/O error of a file that cannot be read, and else there is none.
///
/// ```
/// use isobar_cloudflare::wrangler::{Config, Format};
///
/// let error = Config::parse("name = \"a\"\nmain = [", Format::Toml, None).unwrap_err();
/// assert_eq!(error.line(), Some(2));
/// assert!(error.to_string().starts_with("wrangler configuration:2: "));
/// ```
#[derive(Debug)]
pub struct Error {
    path: Option<PathBuf>,
    line: Option<usize>,
    message: String,
    source: Option<std::io::Error>,
}

impl Error {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { path: None, line: None, message: message.into(), source: None }
    }

    pub(super) fn at(mut self, line: Option<usize>) -> Self {
        self.line = self.line.or(line);
        self
    }

    pub(super) fn of(mut self, path: &Path) -> Self {
        self.path = Some(path.to_owned());
        self
    }

    pub(super) fn io(path: &Path, error: std::io::Error) -> Self {
        Self {
            path: Some(path.to_owned()),
            line: None,
            message: format!("cannot be read: {error}"),
            source: Some(error),
        }
    }

    /// Returns the line of the file, from 1, if the error concerns one.
    ///
    /// `None` for an error of the file as a whole, and where a key is missing that has no line.
    #[must_use]
    pub fn line(&self) -> Option<usize> {
        self.line
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => write!(f, "{}", path.display())?,
            None => f.write_str("wrangler configuration")?,
        }
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}
