//! Entries that take no part in a walk, and the reasons.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::{Error, ErrorKind};

/// Names that an error lists before it counts the rest.
const LISTED: usize = 10;

/// A file or folder that a walk leaves out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct LeftOut {
    /// Its path below the folder, with slashes.
    pub name: String,
    /// Why.
    pub reason: Reason,
}

impl LeftOut {
    pub(crate) fn new(name: impl Into<String>, reason: Reason) -> Self {
        Self { name: name.into(), reason }
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.reason)
    }
}

/// Why something is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Reason {
    /// Buckets, databases, sessions: what isobar keeps.
    State,
    /// State that wrangler keeps.
    WranglerState,
    /// Keys, passwords, variables of the environment.
    Secret,
    /// Files of the operating system or tools: `.git`, `.DS_Store`, `Thumbs.db`.
    System,
    /// A FIFO, a socket or a device.
    Special(&'static str),
    /// A link back to a folder above it.
    Loop,
    /// A link that leads out of the folder.
    LeadsOut,
    /// The caller's filter does not take it.
    Filtered,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::State => "state of isobar",
            Self::WranglerState => "state of wrangler",
            Self::Secret => "a secret",
            Self::System => "a file of the system",
            Self::Special(kind) => kind,
            Self::Loop => "a link back to a folder above it",
            Self::LeadsOut => "a link that leads out of the folder",
            Self::Filtered => "left out by a filter",
        })
    }
}

/// A file or folder that cannot take part, and must not be missed in silence.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Refused {
    /// Its path below the folder, with slashes; U+FFFD stands for what is not UTF-8.
    pub name: String,
    /// Whether it is a folder, or a link to one.
    pub is_folder: bool,
    /// Why.
    pub reason: RefusalReason,
}

/// Why something is refused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum RefusalReason {
    /// A link that leads out of the folder, and where to.
    LeadsOut(PathBuf),
    /// A link to something that does not exist, and to what.
    Dangling(PathBuf),
    /// A name that is not UTF-8.
    NotUtf8,
    /// A path longer than a key may be: 1024 bytes.
    TooLong,
    /// The operating system's reason.
    Unreadable(String),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, reason, .. } = self;
        match reason {
            RefusalReason::LeadsOut(target) => write!(f, "{name} is a link out of the folder, to {}", target.display()),
            RefusalReason::Dangling(target) => {
                write!(f, "{name} is a link to {}, which does not exist", target.display())
            }
            RefusalReason::NotUtf8 => write!(f, "the name of {name} is not UTF-8"),
            RefusalReason::TooLong => {
                let bytes = name.len();
                let start: String = name.chars().take(40).collect();
                write!(f, "the path {start}... has {bytes} bytes; a key has at most 1024")
            }
            RefusalReason::Unreadable(cause) => write!(f, "{name} cannot be read: {cause}"),
        }
    }
}

/// The error for what is refused.
pub(super) fn refusal(refused: &[Refused]) -> Error {
    let mut lines: Vec<String> = refused.iter().take(LISTED).map(ToString::to_string).collect();
    if refused.len() > LISTED {
        lines.push(format!("and {} more", refused.len() - LISTED));
    }
    let has_links = refused.iter().any(|refused| matches!(refused.reason, RefusalReason::LeadsOut(_)));
    let hint = if has_links { "follow the links with --follow-links, or exclude them" } else { "mend or exclude them" };
    Error::new(ErrorKind::InvalidArgument, format!("{}; {hint}", lines.join("; ")))
}

/// The error for a place that a link has led out of the folder.
pub(super) fn leads_out(wanted: &Path, real: &Path) -> Error {
    let message = format!(
        "{} is a link out of the folder, to {}; put a folder in its place, or follow it with --follow-links",
        wanted.display(),
        real.display()
    );
    Error::new(ErrorKind::InvalidArgument, message)
}
