//! Where a backup is kept.
//!
//! Four operations, which any object storage has: R2 and S3 by a few lines of the platform, a folder here. Nothing
//! is renamed or appended to, and a listing need not be sorted. What is put must be seen by a listing afterwards,
//! as R2 and S3 promise.
//!
//! `isobar_sessions::backup` has a trait of the same name for errors of its own; its module says why there are two.

use std::fmt::Debug;
use std::io;
use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;
use isobar_base::fs::NamedFiles;

use crate::sqlite::{blocking, of_file};
use crate::{Error, ErrorKind, Result};

/// A storage for backups: names with bytes. Names have letters, digits, `-`, `_`, `.` and one `/`.
///
/// ```
/// # #[cfg(feature = "local")]
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use isobar_db::backup::{BackupTarget, FolderTarget};
///
/// # let folder = tempfile::tempdir()?;
/// let target = FolderTarget::new(folder.path().join("backup"));
/// target.put("a/1.log", "bytes".into()).await?;
/// assert_eq!(target.list("a/").await?, ["a/1.log"]);
/// assert_eq!(target.get("a/1.log").await?.as_deref(), Some(&b"bytes"[..]));
/// target.delete("a/1.log").await?;
/// assert_eq!(target.get("a/1.log").await?, None);
/// # Ok(()) }
/// # #[cfg(not(feature = "local"))] fn main() {}
/// ```
#[async_trait]
pub trait BackupTarget: Debug + Send + Sync {
    /// Stores some megabytes under a name: whole or not at all, and durably when it is answered.
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

    /// Removes a name; that there is none is no error.
    ///
    /// # Errors
    /// The storage's.
    async fn delete(&self, name: &str) -> Result<()>;
}

/// A folder, of another disk for instance. Its files are their owner's alone.
///
/// Files are written under a name with a point in front, synced and renamed, so that a crash leaves no half object.
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
        blocking(move || work(&files).map_err(|error| of_file(what, &path, error))).await
    }

    /// Refuses a name that a backup does not have.
    fn check(&self, name: &str) -> Result<()> {
        let checked = NamedFiles::new(&self.path).path(name);
        checked.map(drop).map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))
    }
}

#[async_trait]
impl BackupTarget for FolderTarget {
    async fn put(&self, name: &str, bytes: Bytes) -> Result<()> {
        self.check(name)?;
        let stored = name.to_owned();
        self.files("write", name, move |files| files.put(&stored, &bytes)).await
    }

    async fn get(&self, name: &str) -> Result<Option<Bytes>> {
        self.check(name)?;
        let stored = name.to_owned();
        self.files("read", name, move |files| Ok(files.get(&stored)?.map(Bytes::from))).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>> {
        let prefix = prefix.to_owned();
        self.files("list", "", move |files| files.list(&prefix)).await
    }

    async fn delete(&self, name: &str) -> Result<()> {
        self.check(name)?;
        let stored = name.to_owned();
        self.files("remove", name, move |files| files.remove(&stored)).await
    }
}
