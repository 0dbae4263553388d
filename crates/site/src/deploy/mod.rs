//! Deploys: a whole site put in place at once, and taken back at once.
//!
//! Under the site's prefix, in a folder that is never served (`.deploy/`), there are
//!
//! - `objects/<sha256>`: the files, each once, called by what is in it;
//! - `manifests/<id>.json`: what a deploy consists of - every file with its object, its type and when it last changed - and the
//!   texts of its `_headers` and `_redirects`. It never changes;
//! - `current.json`: the pointer: which deploys there are, and which of them is served. The one object that is ever written
//!   again, and only by compare-and-swap, so that of two deploys at once both are whole and the later one is served.
//!
//! A [`Site`](crate::Site) whose [options say so](crate::SiteOptions::with_deploys) reads the pointer and serves what it points
//! to: no request ever sees half a deploy. Nothing here knows which store it is.

mod manifest;
mod pointer;
mod prune;
mod publish;
mod served;

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;
use isobar_storage::{Error, ErrorKind, Key, ListOptions, ObjectStore, ObjectStoreExt};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use prune::Pruned;
pub use publish::{DeployOptions, DeployProgress, Deployed};

use manifest::Manifest;
use pointer::Entry;
pub(crate) use served::{File, Follower, ServedDeploy};

/// The folder under the site's prefix that has its deploys.
pub const FOLDER: &str = ".deploy/";

/// The most files of a deploy: as many as Workers Static Assets takes.
pub const MAX_FILES: usize = 100_000;

/// The deploys of one site: those under a prefix of a store.
///
/// Works with any store that keeps [conditions](isobar_storage::Conditions) on `put`: the local one, R2 by its binding, R2 and
/// others over S3.
#[derive(Clone)]
pub struct Deploys {
    store: Arc<dyn ObjectStore>,
    prefix: String,
}

/// A deploy that can be served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Deploy {
    /// What it goes by: when it was made, and the beginning of its manifest's sha256.
    pub id: String,
    /// When it was made.
    pub created: DateTime<Utc>,
    /// Its files.
    pub files: usize,
    /// Their size in bytes.
    pub bytes: u64,
    /// What its maker said of it.
    pub message: Option<String>,
    /// It is the one that is served.
    pub is_current: bool,
}

impl Deploys {
    /// The deploys under the prefix of this store; a missing `/` at the end of the prefix is added.
    pub fn new(store: Arc<dyn ObjectStore>, prefix: impl Into<String>) -> Self {
        let mut prefix = prefix.into();
        if !prefix.is_empty() && !prefix.ends_with('/') {
            prefix.push('/');
        }
        Self { store, prefix }
    }

    /// All deploys, the newest first.
    ///
    /// # Errors
    /// What the store answers; [`ErrorKind::Corrupt`] where the pointer cannot be read, or is of a newer version.
    pub async fn list(&self) -> Result<Vec<Deploy>, Error> {
        Ok(self.pointer().await?.map(|(pointer, _)| pointer.shown()).unwrap_or_default())
    }

    /// Serves another deploy: the one of this id or of an unambiguous beginning of it; without an id, the one before the one
    /// that is served. Looks first whether all of it is there.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] where there is no such deploy, or where another one has come to be served meanwhile, [`ErrorKind::Corrupt`] where something of it is missing,
    /// [`ErrorKind::Unavailable`] while deploys are [pruned](Self::prune), and what the store answers.
    pub async fn rollback(&self, to: Option<&str>) -> Result<Deploy, Error> {
        let mut replaced = None;
        loop {
            let (mut pointer, etag) = self.pointer().await?.ok_or_else(|| invalid("nothing has been deployed here"))?;
            pointer.refuse_while_pruned()?;
            // What is meant is what was there when it was asked for: not what somebody has just put in its place.
            if replaced.get_or_insert_with(|| pointer.current.clone()) != &pointer.current {
                let message =
                    format!("deploy {} has come to be served meanwhile; look again, and say which", pointer.current);
                return Err(invalid(message));
            }
            let entry = match to {
                Some(id) => pointer.named(id)?,
                None => pointer.before_current()?,
            };
            let entry = entry.clone();
            let manifest = self.manifest(&entry).await?;
            let stored = self.stored().await?;
            if let Some((name, _)) = manifest.files.iter().find(|(_, file)| !stored.contains(&file.sha256)) {
                return Err(corrupt(format!("{name} of deploy {} is missing in the store", entry.id)));
            }
            pointer.current.clone_from(&entry.id);
            if self.swap(&pointer, Some(&etag)).await? {
                return Ok(entry.shown(true));
            }
        }
    }

    /// A deploy's manifest, whole or not at all.
    async fn manifest(&self, entry: &Entry) -> Result<Manifest, Error> {
        let key = self.manifest_key(&entry.id)?;
        let Some((_, bytes)) = self.store.read(&key).await? else {
            return Err(corrupt(format!("the manifest of deploy {} is missing ({key})", entry.id)));
        };
        Manifest::read(&bytes, &entry.sha256).map_err(|problem| corrupt(format!("{key}: {problem}")))
    }

    /// The content hashes of the objects that are there.
    async fn stored(&self) -> Result<std::collections::HashSet<String>, Error> {
        let folder = self.key_of("objects/");
        let listing = self.store.list_all(ListOptions::default().with_prefix(&folder));
        listing.map_ok(|meta| meta.key.as_str()[folder.len()..].to_owned()).try_collect().await
    }

    fn object_key(&self, sha256: &str) -> Result<Key, Error> {
        object_key(&self.prefix, sha256)
    }

    fn manifest_key(&self, id: &str) -> Result<Key, Error> {
        Key::new(self.key_of(&format!("manifests/{id}.json")))
    }

    fn key_of(&self, name: &str) -> String {
        format!("{}{FOLDER}{name}", self.prefix)
    }
}

/// Where what has this hash is kept.
fn object_key(prefix: &str, sha256: &str) -> Result<Key, Error> {
    Key::new(format!("{prefix}{FOLDER}objects/{sha256}"))
}

/// What is stored as JSON with its version: read where this isobar knows it.
fn read_version<T: DeserializeOwned>(what: &str, bytes: &[u8], newest: u32) -> Result<T, String> {
    #[derive(Deserialize)]
    struct Head {
        version: u32,
    }
    let none = |error| format!("it is no {what}: {error}");
    let head: Head = serde_json::from_slice(bytes).map_err(none)?;
    if head.version > newest {
        return Err(format!("it is of version {}, which a newer isobar has written", head.version));
    }
    serde_json::from_slice(bytes).map_err(none)
}

fn corrupt(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Corrupt, message)
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidArgument, message)
}

impl fmt::Debug for Deploys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Deploys({:?} of {:?})", self.prefix, self.store)
    }
}
