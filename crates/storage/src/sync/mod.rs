//! A folder of files and a bucket, either way, or two buckets: only what differs is transferred, several at once.
//!
//! | from | to | plan | apply |
//! |---|---|---|---|
//! | folder | bucket | [`plan`] | [`apply`] |
//! | bucket | folder | [`plan_down`] | [`apply_down`] |
//! | bucket | bucket, or another prefix | [`plan_across`] | [`apply_across`] |
//!
//! A plan compares, and changes nothing; between it and its application a program can show it, ask, or stop. A file is unchanged
//! when the object has its size, its md5 and, on the way up, its content type. The md5 of an object that was uploaded in parts is
//! unknown: it counts as different. Nothing is deleted unless [`ApplyOptions::delete`] says so, and then after all transfers, so
//! that a run that breaks off has lost nothing. What has broken off is continued by a new plan, in which what is done already is
//! unchanged.
//!
//! State and secrets take part in neither direction: see [`walk`](crate::walk).

mod across;
mod down;
mod up;

use std::path::{Component, Path};

use crate::files::{blocking, file_range};
use crate::walk::{Reason, open_regular, plain, state_of_name};
use crate::{Body, ByteRange, Error, ErrorKind, Key, Result};

pub use across::{AcrossPlan, Transfer, apply_across, plan_across};
pub use down::{DownPlan, Download, apply_down, plan_down, plan_down_with};
pub(crate) use up::md5_of_file;
pub use up::{Plan, Upload, apply, plan, plan_with};

/// Which names take part: by their path below the folder, or their key without the prefix. A folder that cannot be walked, as it
/// is a link that leads out or cannot be read, is asked for with a slash at its end: does anything below it take part?
pub type Filter<'f> = &'f (dyn Fn(&str) -> bool + Sync);

/// Takes every name: the filter where none is wanted.
///
/// ```
/// assert!(isobar_storage::sync::everything("any/name"));
/// ```
#[must_use]
pub fn everything(_: &str) -> bool {
    true
}

/// Whether a path is never synced, by one of its names: state, secrets, what belongs to the machine
/// ([`state_of_name`]).
///
/// ```
/// use isobar_storage::sync::is_ignored;
///
/// assert!(is_ignored("site/.git/config") && is_ignored(".env"));
/// assert!(!is_ignored("site/.well-known/security.txt"));
/// ```
#[must_use]
pub fn is_ignored(path: &str) -> bool {
    reason_of(path).is_some()
}

fn reason_of(path: &str) -> Option<Reason> {
    path.split('/').find_map(state_of_name)
}

/// Whether a name with slashes is a path below a folder: one plain name after the other. On some systems a backslash or a colon
/// leads elsewhere, too.
pub(crate) fn is_path_below(name: &str) -> bool {
    name.split('/').all(|part| {
        let mut components = Path::new(part).components();
        let is_plain = matches!(components.next(), Some(Component::Normal(name)) if name == part);
        is_plain && components.next().is_none() && !part.contains('\0')
    })
}

/// Bytes of a file's name that file systems take; the length of a name in UTF-16 units on Windows.
const NAME_BYTES: usize = 255;

/// Refuses a name that would lead somewhere else, or nowhere, or that this system cannot hold.
fn check_name(key: &Key, name: &str) -> Result<()> {
    if !is_path_below(name) {
        let message = format!("{key} makes no file below the folder; leave it out by a filter");
        return Err(Error::new(ErrorKind::InvalidKey, message).during("sync"));
    }
    match name.split('/').find_map(|part| unheld(part, cfg!(windows)).map(|why| (part, why))) {
        None => Ok(()),
        Some((part, why)) => {
            let message = format!("{key} makes no file here: {part} {why}; leave it out by a filter");
            Err(Error::new(ErrorKind::InvalidKey, message).during("sync"))
        }
    }
}

/// Why a system's files cannot have a name.
fn unheld(part: &str, is_windows: bool) -> Option<&'static str> {
    let length = if is_windows { part.encode_utf16().count() } else { part.len() };
    if length > NAME_BYTES {
        return Some("is longer than the 255 bytes that a file's name may have");
    }
    if !is_windows {
        return None;
    }
    let stem = part.split('.').next().unwrap_or(part).trim_end().to_ascii_uppercase();
    let is_numbered =
        |device: &str| stem.strip_prefix(device).is_some_and(|rest| matches!(rest.as_bytes(), [b'1'..=b'9']));
    match () {
        () if part.ends_with(['.', ' ']) => Some("ends in a dot or a space, which Windows drops"),
        () if part.contains(|char: char| char < ' ' || "<>:\"|?*\\".contains(char)) => {
            Some("has a character that Windows does not take")
        }
        () if ["CON", "PRN", "AUX", "NUL"].contains(&&*stem) || is_numbered("COM") || is_numbered("LPT") => {
            Some("is the name of a device on Windows")
        }
        () => None,
    }
}

/// A file as a body for [`ObjectStore::put`](crate::ObjectStore::put), read in chunks.
///
/// # Errors
/// When it cannot be opened, or is not a regular file; a FIFO is not waited for.
///
/// ```
/// use isobar_storage::memory::MemoryStore;
/// use isobar_storage::sync::open_file;
/// use isobar_storage::{Key, ObjectStoreExt};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// std::fs::write(folder.path().join("film.mp4"), "frames")?;
/// let body = open_file(folder.path().join("film.mp4")).await?;
/// assert_eq!(MemoryStore::new().write(&Key::new("film.mp4")?, body).await?.size, 6);
/// # Ok(())
/// # }
/// ```
pub async fn open_file(path: impl AsRef<Path>) -> Result<Body> {
    let path = path.as_ref().to_owned();
    let opened = blocking(move || {
        let failed = |error| plain(format_args!("cannot read {}", path.display()), error);
        let file = open_regular(&path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        Ok(file_range(file, ByteRange { offset: 0, length }))
    });
    opened.await
}

/// Options of [`apply`], [`apply_down`] and [`apply_across`].
///
/// ```
/// use isobar_storage::memory::MemoryStore;
/// use isobar_storage::sync::{ApplyOptions, apply, everything, plan};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// std::fs::write(folder.path().join("a.txt"), "1")?;
/// let bucket = MemoryStore::new();
/// let changes = plan(folder.path(), &bucket, "backup/", &everything).await?;
/// apply(&changes, &bucket, &ApplyOptions::default().with_concurrency(4), |_| {}).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ApplyOptions {
    /// Transfers in flight. Default: 16.
    pub concurrency: usize,
    /// Whether what is only at the target is deleted, after all transfers. Default: false.
    pub delete: bool,
}

impl Default for ApplyOptions {
    fn default() -> Self {
        Self { concurrency: 16, delete: false }
    }
}

impl ApplyOptions {
    /// Transfers in flight; 0 is as 1. Each has a chunk of its body in memory, or a part of 8 MiB or more of a body over 5 GiB.
    ///
    /// ```
    /// use isobar_storage::sync::ApplyOptions;
    ///
    /// assert_eq!(ApplyOptions::default().with_concurrency(4).concurrency, 4);
    /// ```
    #[must_use]
    pub fn with_concurrency(mut self, concurrency: usize) -> Self {
        self.concurrency = concurrency;
        self
    }

    /// Delete what is only at the target, after all transfers.
    ///
    /// ```
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::sync::{ApplyOptions, apply, everything, plan};
    /// use isobar_storage::{Key, ObjectStore, ObjectStoreExt};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// let bucket = MemoryStore::new();
    /// bucket.write(&Key::new("site/old.html")?, "").await?;
    /// let changes = plan(folder.path(), &bucket, "site/", &everything).await?;
    /// assert_eq!(changes.extra[0].as_str(), "site/old.html"); // to be shown before it is done
    /// apply(&changes, &bucket, &ApplyOptions::default().with_delete(true), |_| {}).await?;
    /// assert!(bucket.head(&Key::new("site/old.html")?).await?.is_none());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_delete(mut self, delete: bool) -> Self {
        self.delete = delete;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_a_system_cannot_hold_are_refused() {
        for name in ["CON", "nul.txt", "com1", "Lpt9.log", "a.", "a ", "a:b", "what?", "a\\b", "tab\there"] {
            assert!(unheld(name, true).is_some() && unheld(name, false).is_none(), "{name}");
        }
        for name in ["console", "com", "com10", "a.b", ".well-known", "ü"] {
            assert_eq!(unheld(name, true), None, "{name}");
        }
        assert!(unheld(&"n".repeat(256), false).is_some() && unheld(&"n".repeat(255), false).is_none());
    }
}
