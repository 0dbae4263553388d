//! A folder of files and a bucket: only what differs, several at once, either way.
//!
//! [`plan`] compares, [`apply`] does; between them a caller can show, ask or stop. [`plan_down`] and [`apply_down`] are the same
//! from the bucket into the folder. A file is unchanged when the object has its size, its md5 and, on the way up, its content
//! type. What breaks off is gone on with by a new plan: what is done already is unchanged then.

mod down;
mod up;

use std::path::{Component, Path};

use crate::local::blobs::file_body;
use crate::local::blocking;
use crate::{Body, Result};

pub use down::{DownPlan, Download, apply_down, plan_down};
pub(crate) use up::md5_of_file;
pub use up::{Plan, Upload, apply, plan};

/// Which names take part: by their path below the folder, or their key without the prefix.
pub type Filter<'f> = &'f (dyn Fn(&str) -> bool + Sync);

/// Takes every name.
#[must_use]
pub fn everything(_: &str) -> bool {
    true
}

/// Names that are never uploaded: they are the machine's, not the site's.
const IGNORED: [&str; 3] = [".git", ".DS_Store", "Thumbs.db"];

/// Whether a path is the machine's, not the site's, or below what is: `.git`, `.DS_Store`, `Thumbs.db`.
#[must_use]
pub fn is_ignored(path: &str) -> bool {
    path.split('/').any(|part| IGNORED.contains(&part))
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

/// A file as a body for [`ObjectStore::put`](crate::ObjectStore::put), read in chunks.
///
/// # Errors
/// When it cannot be opened.
pub async fn open_file(path: impl AsRef<Path>) -> Result<Body> {
    let path = path.as_ref().to_owned();
    blocking(move || file_body(&path)).await.map_err(|error| error.during("sync"))
}

/// How [`apply`] and [`apply_down`] work.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ApplyOptions {
    /// Transfers at once.
    pub concurrency: usize,
    /// Delete what is only at the target.
    pub delete: bool,
}

impl Default for ApplyOptions {
    fn default() -> Self {
        Self { concurrency: 16, delete: false }
    }
}

impl ApplyOptions {
    /// Transfers at once.
    #[must_use]
    pub fn with_concurrency(mut self, concurrency: usize) -> Self {
        self.concurrency = concurrency;
        self
    }

    /// Delete what is only at the target.
    #[must_use]
    pub fn with_delete(mut self, delete: bool) -> Self {
        self.delete = delete;
        self
    }
}
