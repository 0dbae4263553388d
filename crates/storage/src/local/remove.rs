//! Removing a store with its folder.

use std::fs;
use std::io;
use std::path::Path;

use isobar_base::fs::{parent, sync_dir};

use super::engine::new_index;
use super::lock::StoreLock;
use super::{LocalStore, QUARANTINE};
use crate::files::blocking;
use crate::{Error, ErrorKind, ListOptions, ObjectStore, Result, rules};

/// Beginning of the name that a folder has from the moment at which its store is gone.
const REMOVED: &str = ".removed-";

/// Outcome of [`LocalStore::remove`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Removal {
    /// The store is gone for good.
    Removed,
    /// It has objects, and is as it was.
    HasObjects,
    /// Its folder `lost` has remains of damaged objects, and it is as it was.
    HasRemains,
}

impl LocalStore {
    /// Removes an empty store with its folder, for good; uploads that were not completed go with it.
    ///
    /// The folder gets a name with which no store begins, `.removed-...` beside it, and when that is durable it is emptied. What a crash
    /// leaves of it is removed by the next removal in the same folder.
    ///
    /// ```
    /// use isobar_storage::local::{LocalStore, Removal};
    /// use isobar_storage::{Key, ObjectStore, ObjectStoreExt};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// let bucket = folder.path().join("bucket");
    /// let store = LocalStore::open(&bucket).await?;
    /// let key = Key::new("notes.md")?;
    /// store.write(&key, "# Notes").await?;
    /// drop(store);
    /// assert_eq!(LocalStore::remove(&bucket).await?, Removal::HasObjects);
    ///
    /// LocalStore::open(&bucket).await?.delete(&[key]).await?;
    /// assert_eq!(LocalStore::remove(&bucket).await?, Removal::Removed);
    /// assert!(!bucket.exists());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] where there is no such folder; [`ErrorKind::Unavailable`] where the store is open, here or in
    /// another process; those of [`open`](Self::open), and of the file system.
    pub async fn remove(root: impl AsRef<Path>) -> Result<Removal> {
        let root = root.as_ref().to_owned();
        if !root.is_dir() {
            let message = format!("there is no store in {}", root.display());
            return Err(Error::new(ErrorKind::InvalidArgument, message).during("remove"));
        }
        // Opened first: after a power failure objects may be in packs alone.
        let store = Self::open(&root).await?;
        let has_objects = !store.list(ListOptions::default().with_limit(1)).await?.objects.is_empty();
        drop(store);
        if has_objects {
            return Ok(Removal::HasObjects);
        }
        blocking(move || remove(&root)).await.map_err(|error| error.during("remove"))
    }
}

fn remove(root: &Path) -> Result<Removal> {
    let lock = StoreLock::exclusive(root)?;
    let index = root.join("index.db");
    if new_index::is_in_use(&index) {
        // A program that takes no lock, as isobar before index version 5, may have it open.
        let message = format!("{} is open elsewhere: stop the processes that use the store first", index.display());
        return Err(Error::new(ErrorKind::Unavailable, message));
    }
    // Another process may have had it open until now.
    if new_index::has_objects(&index)? {
        return Ok(Removal::HasObjects);
    }
    if root.join(QUARANTINE).exists() {
        return Ok(Removal::HasRemains);
    }
    let folder = parent(root);
    let removed = folder.join(format!("{REMOVED}{}", rules::random_id()?));
    let failed = |error| Error::io(format_args!("cannot remove {}", root.display()), error);
    fs::rename(root, &removed).map_err(failed)?;
    sync_dir(folder).map_err(failed)?;
    drop(lock);
    // The store is gone. What cannot be emptied now takes room alone.
    if let Err(_error) = empty(folder) {
        #[cfg(feature = "tracing")]
        tracing::warn!(error = %_error, folder = %folder.display(), "the files of a removed store are still there");
    }
    Ok(Removal::Removed)
}

/// Removes the files of removed stores, those that a crash has left too.
fn empty(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(REMOVED)) {
            match fs::remove_dir_all(entry.path()) {
                // Another process may be at it, too.
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}
