//! Targets of backups: a folder, or a prefix in a bucket.
//!
//! `d1 backup` and `sessions backup` write into either, by a trait of the crate that makes the backup;
//! neither crate knows a bucket, and this is where they meet one. The explorer of `serve` has several
//! targets below one [`Base`].

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use isobar_storage::{ErrorKind, Key, ListOptions, ObjectStore, ObjectStoreExt, Result};

use crate::place::{Access, Place};
use crate::remote::Where;

/// Beginning of a target that is a bucket.
pub(crate) const BUCKET: &str = "r2://";

/// The trait of a crate for the targets of its backups.
pub(crate) trait OpenTarget {
    /// A folder, which is created when it is needed.
    fn folder(folder: PathBuf) -> Arc<Self>;

    /// A prefix in a bucket.
    fn bucket(bucket: BucketTarget) -> Arc<Self>;
}

/// A prefix in a bucket.
#[derive(Debug)]
pub(crate) struct BucketTarget {
    store: Arc<dyn ObjectStore>,
    /// Empty, or with a slash at its end.
    prefix: String,
}

/// Opens a target: `r2://BUCKET/PREFIX`, or the path of a folder.
///
/// # Errors
/// An empty text, such as an unset variable of a script; `--remote` with a folder; those of opening the bucket.
pub(crate) async fn open<T: OpenTarget + ?Sized>(
    target: &str,
    place: &Place,
    reach: &Where,
    access: Access,
) -> std::result::Result<Arc<T>, Box<dyn Error>> {
    Ok(Base::open(target, place, reach, access).await?.target(""))
}

/// A folder or a prefix in a bucket, with targets below it.
#[derive(Debug)]
pub(crate) enum Base {
    Folder(PathBuf),
    Bucket {
        store: Arc<dyn ObjectStore>,
        /// Empty, or with a slash at its end.
        prefix: String,
    },
}

impl Base {
    /// Opens a base, which is named as a target is.
    ///
    /// # Errors
    /// Those of [`open`].
    pub(crate) async fn open(
        target: &str,
        place: &Place,
        reach: &Where,
        access: Access,
    ) -> std::result::Result<Self, Box<dyn Error>> {
        let Some(bucket) = target.strip_prefix(BUCKET) else {
            if reach.is_remote() {
                return Err(format!("--remote needs a bucket: {BUCKET}BUCKET/PREFIX").into());
            }
            if target.is_empty() {
                return Err(format!("the target is empty: name a folder, or {BUCKET}BUCKET/PREFIX").into());
            }
            return Ok(Self::Folder(PathBuf::from(target)));
        };
        let (bucket, prefix) = bucket.split_once('/').unwrap_or((bucket, ""));
        let prefix = prefix.trim_end_matches('/');
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Ok(Self::Bucket { store: place.store(bucket, reach, access).await?, prefix })
    }

    /// Returns the target of this name below the base, the base itself for an empty name.
    pub(crate) fn target<T: OpenTarget + ?Sized>(&self, name: &str) -> Arc<T> {
        match self {
            Self::Folder(folder) if name.is_empty() => T::folder(folder.clone()),
            Self::Folder(folder) => T::folder(folder.join(name)),
            Self::Bucket { store, prefix } => {
                let below = if name.is_empty() { String::new() } else { format!("{name}/") };
                T::bucket(BucketTarget { store: Arc::clone(store), prefix: format!("{prefix}{below}") })
            }
        }
    }
}

impl BucketTarget {
    fn key(&self, name: &str) -> Result<Key> {
        Key::new(format!("{}{name}", self.prefix))
    }

    /// Writes bytes under a name.
    async fn write(&self, name: &str, bytes: Bytes) -> Result<()> {
        self.store.write(&self.key(name)?, bytes).await.map(drop)
    }

    /// Reads the bytes of a name; `None` where there are none.
    async fn read(&self, name: &str) -> Result<Option<Bytes>> {
        Ok(self.store.read(&self.key(name)?).await?.map(|(_, bytes)| bytes))
    }

    /// Lists the names that begin with a prefix.
    async fn names(&self, prefix: &str) -> Result<Vec<String>> {
        let mut names = Vec::new();
        let mut options = ListOptions::default().with_prefix(format!("{}{prefix}", self.prefix));
        loop {
            let page = self.store.list(options.clone()).await?;
            let keys = page.objects.iter().filter_map(|object| object.key.as_str().strip_prefix(&self.prefix));
            names.extend(keys.map(str::to_owned));
            match page.cursor {
                Some(cursor) => options = options.with_cursor(cursor),
                None => return Ok(names),
            }
        }
    }

    /// Removes a name, if it is there.
    async fn remove(&self, name: &str) -> Result<()> {
        self.store.delete(&[self.key(name)?]).await
    }
}

/// Implements a crate's trait for [`BucketTarget`]. The kinds are the crate's for a store that forbids an
/// operation, and for any other failure but a full store; by them `--every` decides whether to try again.
macro_rules! targets_of {
    ($of:ident, $forbidden:ident, $other:ident) => {
        const _: () = {
            fn failed(error: isobar_storage::Error) -> $of::Error {
                let kind = match error.kind() {
                    ErrorKind::StorageFull => $of::ErrorKind::StorageFull,
                    ErrorKind::PermissionDenied => $of::ErrorKind::$forbidden,
                    _ => $of::ErrorKind::$other,
                };
                $of::Error::new(kind, error.to_string()).with_source(error)
            }

            #[async_trait]
            impl $of::backup::BackupTarget for BucketTarget {
                async fn put(&self, name: &str, bytes: Bytes) -> $of::Result<()> {
                    self.write(name, bytes).await.map_err(failed)
                }

                async fn get(&self, name: &str) -> $of::Result<Option<Bytes>> {
                    self.read(name).await.map_err(failed)
                }

                async fn list(&self, prefix: &str) -> $of::Result<Vec<String>> {
                    self.names(prefix).await.map_err(failed)
                }

                async fn delete(&self, name: &str) -> $of::Result<()> {
                    self.remove(name).await.map_err(failed)
                }
            }

            impl OpenTarget for dyn $of::backup::BackupTarget {
                fn folder(folder: PathBuf) -> Arc<Self> {
                    Arc::new($of::backup::FolderTarget::new(folder))
                }

                fn bucket(bucket: BucketTarget) -> Arc<Self> {
                    Arc::new(bucket)
                }
            }
        };
    };
}

targets_of!(isobar_db, PermissionDenied, Unavailable);
targets_of!(isobar_sessions, NotAuthorized, Storage);
