//! Where a backup is kept.
//!
//! `isobar_db::backup` has a trait of the same name and operations. They are two because their results are: an implementation states
//! the kinds of its crate's errors, and by them a run is tried again or not. One trait for both would be generic over the error, as
//! would each `dyn BackupTarget`, or have an error of its own that both crates translate. The files themselves are shared:
//! [`NamedFiles`].

use std::fmt::Debug;
use std::io;
use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;
use isobar_base::fs::NamedFiles;
use tokio::sync::oneshot;

use crate::host::disk::failed;
use crate::host::spawn;
use crate::{Error, ErrorKind, Result};

/// A storage for backups: names with bytes. Names have letters, digits, `-`, `_`, `.` and `/`. A backup calls `put`, `get` and `delete` for up
/// to 8 names at a time, each of them different.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use isobar_sessions::backup::{BackupTarget, FolderTarget};
///
/// # let folder = tempfile::tempdir()?;
/// let target = FolderTarget::new(folder.path().join("backup"));
/// target.put("Room/runs/1/manifest.json", "bytes".into()).await?;
/// assert_eq!(target.list("Room/").await?, ["Room/runs/1/manifest.json"]);
/// assert_eq!(target.get("Room/runs/1/manifest.json").await?.as_deref(), Some(&b"bytes"[..]));
/// target.delete("Room/runs/1/manifest.json").await?;
/// assert_eq!(target.get("Room/runs/1/manifest.json").await?, None);
/// # Ok(()) }
/// ```
#[async_trait]
pub trait BackupTarget: Debug + Send + Sync {
    /// Stores up to some megabytes under a name, in place of what is there: whole or not at all, and durably when it is answered.
    ///
    /// # Errors
    /// The storage's.
    async fn put(&self, name: &str, bytes: Bytes) -> Result<()>;

    /// Returns what is stored under a name; `None` where nothing is.
    ///
    /// # Errors
    /// The storage's.
    async fn get(&self, name: &str) -> Result<Option<Bytes>>;

    /// Lists the names that begin with a prefix, in any order.
    ///
    /// # Errors
    /// The storage's.
    async fn list(&self, prefix: &str) -> Result<Vec<String>>;

    /// Removes a name; that there is none is not an error.
    ///
    /// # Errors
    /// The storage's.
    async fn delete(&self, name: &str) -> Result<()>;
}

/// A folder, of another disk for instance. Its files are their owner's alone.
#[derive(Debug, Clone)]
pub struct FolderTarget {
    path: PathBuf,
}

impl FolderTarget {
    /// A backup in this folder, which is created when it is needed.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Runs `work` on the folder's files, on a thread. An error names the file.
    async fn files<T: Send + 'static>(
        &self,
        what: &'static str,
        name: &str,
        work: impl FnOnce(&NamedFiles) -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let files = NamedFiles::new(&self.path);
        let path = self.path.join(name);
        let (done, result) = oneshot::channel();
        // The caller may have gone meanwhile, and the result with it.
        let run = move || drop(done.send(work(&files).map_err(|error| failed(&path, what, &error))));
        spawn("isobar-backup-file".to_owned(), run)?;
        result.await.unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, "a thread of the backup has ended")))
    }
}

#[async_trait]
impl BackupTarget for FolderTarget {
    async fn put(&self, name: &str, bytes: Bytes) -> Result<()> {
        let stored = name.to_owned();
        self.files("written", name, move |files| files.put(&stored, &bytes)).await
    }

    async fn get(&self, name: &str) -> Result<Option<Bytes>> {
        let stored = name.to_owned();
        self.files("read", name, move |files| Ok(files.get(&stored)?.map(Bytes::from))).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>> {
        let prefix = prefix.to_owned();
        self.files("listed", "", move |files| files.list(&prefix)).await
    }

    async fn delete(&self, name: &str) -> Result<()> {
        let stored = name.to_owned();
        self.files("removed", name, move |files| files.remove(&stored)).await
    }
}
