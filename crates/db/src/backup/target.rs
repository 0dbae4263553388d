//! Where a backup is kept.
//!
//! Four operations, which any object storage has: R2 and S3 by a few lines of the platform, a folder here. Nothing
//! is renamed or appended to, and a listing need not be sorted. What is put must be seen by a listing afterwards,
//! as R2 and S3 promise.

use std::fmt::Debug;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use isobar_base::fs::{create_dir, parent, private_file, sync_dir};

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

    fn file(&self, name: &str) -> Result<PathBuf> {
        let is_plain = |part: &str| {
            let fine = |char: char| char.is_ascii_alphanumeric() || "-_.".contains(char);
            !part.is_empty() && !part.starts_with('.') && part.chars().all(fine)
        };
        if !name.split('/').all(is_plain) {
            return Err(Error::new(ErrorKind::Internal, format!("invalid name in a backup: {name:?}")));
        }
        Ok(self.path.join(name))
    }
}

#[async_trait]
impl BackupTarget for FolderTarget {
    async fn put(&self, name: &str, bytes: Bytes) -> Result<()> {
        let path = self.file(name)?;
        blocking(move || {
            let put = || -> io::Result<()> {
                create_dir(parent(&path))?;
                // A name with a point in front is not listed.
                let file_name = path.file_name().unwrap_or_default().to_string_lossy();
                let part = path.with_file_name(format!(".{file_name}"));
                let mut file = private_file().write(true).create(true).truncate(true).open(&part)?;
                file.write_all(&bytes)?;
                file.sync_all()?;
                std::fs::rename(&part, &path)?;
                sync_dir(parent(&path))
            };
            put().map_err(|error| of_file("write", &path, error))
        })
        .await
    }

    async fn get(&self, name: &str) -> Result<Option<Bytes>> {
        let path = self.file(name)?;
        blocking(move || match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(of_file("read", &path, error)),
        })
        .await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>> {
        let root = self.path.clone();
        let prefix = prefix.to_owned();
        blocking(move || {
            let mut names = Vec::new();
            list_folder(&root, "", &mut names).map_err(|error| of_file("list", &root, error))?;
            names.retain(|name| name.starts_with(&prefix));
            Ok(names)
        })
        .await
    }

    async fn delete(&self, name: &str) -> Result<()> {
        let path = self.file(name)?;
        blocking(move || match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(of_file("remove", &path, error)),
            _ => Ok(()),
        })
        .await
    }
}

/// Lists the files of a folder, and of those in it.
fn list_folder(folder: &Path, before: &str, names: &mut Vec<String>) -> io::Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        if entry.file_type()?.is_dir() {
            list_folder(&entry.path(), &format!("{before}{name}/"), names)?;
        } else {
            names.push(format!("{before}{name}"));
        }
    }
    Ok(())
}
