//! Targets of backups: a folder, or a prefix in a bucket.
//!
//! `d1 backup` and `sessions backup` write into either, by a trait of the crate that makes the backup;
//! neither crate knows a bucket, and this is where they meet one.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use isobar_storage::{Key, ListOptions, ObjectStore, ObjectStoreExt, Result};

use crate::place::{Access, Place};
use crate::remote::Where;

/// Beginning of a target that is a bucket.
const BUCKET: &str = "r2://";

/// The place of a backup.
#[derive(Debug)]
pub(crate) enum Target {
    /// A folder, which is created when it is needed.
    Folder(PathBuf),
    /// A prefix in a bucket.
    Bucket(BucketTarget),
}

/// A prefix in a bucket. The crates' traits for targets are implemented for it where their commands are.
#[derive(Debug)]
pub(crate) struct BucketTarget {
    store: Arc<dyn ObjectStore>,
    /// Empty, or with a slash at its end.
    prefix: String,
}

impl Target {
    /// Opens a target: `r2://BUCKET/PREFIX`, or the path of a folder.
    ///
    /// # Errors
    /// An empty text, such as an unset variable of a script; `--remote` with a folder; those of opening the bucket.
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
        Ok(Self::Bucket(BucketTarget { store: place.store(bucket, reach, access).await?, prefix }))
    }
}

impl BucketTarget {
    fn key(&self, name: &str) -> Result<Key> {
        Key::new(format!("{}{name}", self.prefix))
    }

    /// Writes bytes under a name.
    pub(crate) async fn write(&self, name: &str, bytes: Bytes) -> Result<()> {
        self.store.write(&self.key(name)?, bytes).await.map(drop)
    }

    /// Reads the bytes of a name; `None` where there are none.
    pub(crate) async fn read(&self, name: &str) -> Result<Option<Bytes>> {
        Ok(self.store.read(&self.key(name)?).await?.map(|(_, bytes)| bytes))
    }

    /// Lists the names that begin with a prefix.
    pub(crate) async fn names(&self, prefix: &str) -> Result<Vec<String>> {
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
    pub(crate) async fn remove(&self, name: &str) -> Result<()> {
        self.store.delete(&[self.key(name)?]).await
    }
}
