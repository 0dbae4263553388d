//! Atomic deploys of a whole site, and rollbacks.
//!
//! A folder under the site's prefix that is never served (`.deploy/`) has
//!
//! - `objects/<sha256>`: the files, each content once, named after its hash;
//! - `manifests/<id>.json`: the contents of a deploy, every file with its object, type and modification time, and the texts of
//!   its `_headers` and `_redirects`. It never changes;
//! - `current.json`: the pointer, with the list of deploys and the one that is served. It is the only object that is
//!   overwritten, and only by compare-and-swap, so that of two concurrent deploys both are complete and the later one is served.
//!
//! A [`Site`](crate::Site) [with deploys enabled](crate::SiteOptions::with_deploys) reads the pointer and serves that deploy: no
//! request sees a partial deploy. Works with any store.

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

pub use crate::reserved::FOLDER;
pub use prune::Pruned;
pub use publish::{DeployOptions, DeployProgress, Deployed};

use manifest::Manifest;
use pointer::Entry;
pub(crate) use served::{File, Follower, ServedDeploy};

/// Most files of a deploy, as in Workers Static Assets.
pub const MAX_FILES: usize = 100_000;

/// The deploys of one site, under a prefix of a store.
///
/// ```
/// use std::sync::Arc;
/// use isobar_site::{DeployOptions, Deploys, Site, SiteOptions};
/// use isobar_storage::{Key, ObjectStore, ObjectStoreExt, memory::MemoryStore};
/// # futures_util::FutureExt::now_or_never(async {
/// let bucket: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
/// let deploys = Deploys::new(Arc::clone(&bucket), "site");
/// let site = Site::new(bucket, SiteOptions::default().with_prefix("site").with_deploys(true));
///
/// // Any store is a source: a `Directory`, say.
/// let files = MemoryStore::new();
/// files.write(&Key::new("index.html")?, "one").await?;
/// let first = deploys.deploy(&files, &DeployOptions::default()).await?;
/// files.write(&Key::new("index.html")?, "two").await?;
/// let second = deploys.deploy(&files, &DeployOptions::default()).await?;
/// assert_eq!((first.uploaded, second.uploaded), (1, 1));
///
/// let back = deploys.rollback(None).await?;
/// assert_eq!(back.id, first.deploy.id);
/// let page = site.respond(&http::Request::get("/").body(())?).await;
/// assert_eq!(http_body::Body::size_hint(page.body()).exact(), Some(3));
/// assert_eq!(deploys.list().await?.len(), 2);
/// # Ok::<_, Box<dyn std::error::Error>>(()) }).unwrap().unwrap();
/// ```
///
/// Works with any store that supports [conditions](isobar_storage::Conditions) on `put`: the local one, R2 by its binding, R2 and
/// others over S3.
#[derive(Clone)]
pub struct Deploys {
    store: Arc<dyn ObjectStore>,
    prefix: String,
}

/// A deploy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Deploy {
    /// Its id: the time of its creation in UTC and the first eight digits of its manifest's sha256, `20261128T093000-1f2e3d4c`.
    pub id: String,
    /// Time of its creation, to the millisecond, by the clock of the machine that deployed.
    pub created: DateTime<Utc>,
    /// Number of files, without `_headers` and `_redirects`. Limit: [`MAX_FILES`].
    pub files: usize,
    /// Size of the files in bytes; files with the same content count each.
    pub bytes: u64,
    /// The [message](DeployOptions::message) given to the deploy, if any.
    pub message: Option<String>,
    /// Whether it is the deploy that is served.
    pub is_current: bool,
}

impl Deploys {
    /// Opens the deploys under a prefix of this store: the prefix of the site that serves them. A missing `/` at its end is added.
    /// Reads nothing.
    pub fn new(store: Arc<dyn ObjectStore>, prefix: impl Into<String>) -> Self {
        let mut prefix = prefix.into();
        if !prefix.is_empty() && !prefix.ends_with('/') {
            prefix.push('/');
        }
        Self { store, prefix }
    }

    /// Returns all deploys, the newest first.
    ///
    /// # Errors
    /// The store's error, of any kind; [`ErrorKind::Corrupt`] where the pointer is damaged or of a newer version.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use isobar_site::{DeployOptions, Deploys};
    /// use isobar_storage::{Key, ObjectStoreExt, memory::MemoryStore};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let deploys = Deploys::new(Arc::new(MemoryStore::new()), "site");
    /// let files = MemoryStore::new();
    /// assert!(deploys.list().await?.is_empty());
    ///
    /// files.write(&Key::new("index.html")?, "one").await?;
    /// deploys.deploy(&files, &DeployOptions::default().with_message(Some("the first"))).await?;
    /// let list = deploys.list().await?;
    /// assert_eq!((list[0].message.as_deref(), list[0].files, list[0].is_current), (Some("the first"), 1, true));
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap();
    /// ```
    pub async fn list(&self) -> Result<Vec<Deploy>, Error> {
        Ok(self.pointer().await?.map(|(pointer, _)| pointer.shown()).unwrap_or_default())
    }

    /// Serves another deploy: the one with this id or an unambiguous prefix of it; without an id, the one before the current
    /// deploy. First checks that the deploy is complete.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] where there is no such deploy, or where the current deploy has changed meanwhile;
    /// [`ErrorKind::Corrupt`] where a part of it is missing; [`ErrorKind::Unavailable`] while deploys are
    /// [pruned](Self::prune); and the store's error, of any kind.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use isobar_site::{DeployOptions, Deploys};
    /// use isobar_storage::{ErrorKind, Key, ObjectStoreExt, memory::MemoryStore};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let deploys = Deploys::new(Arc::new(MemoryStore::new()), "site");
    /// let files = MemoryStore::new();
    /// files.write(&Key::new("index.html")?, "one").await?;
    /// let one = deploys.deploy(&files, &DeployOptions::default()).await?.deploy;
    /// files.write(&Key::new("index.html")?, "two").await?;
    /// let two = deploys.deploy(&files, &DeployOptions::default()).await?.deploy;
    ///
    /// assert_eq!(deploys.rollback(None).await?.id, one.id);
    /// assert_eq!(deploys.rollback(Some(&two.id)).await?.id, two.id);
    /// let unknown = deploys.rollback(Some("x")).await;
    /// assert_eq!(unknown.map_err(|error| error.kind()), Err(ErrorKind::InvalidArgument));
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap();
    /// ```
    pub async fn rollback(&self, to: Option<&str>) -> Result<Deploy, Error> {
        let mut replaced = None;
        loop {
            let (mut pointer, etag) = self.pointer().await?.ok_or_else(|| invalid("nothing has been deployed here"))?;
            pointer.refuse_while_pruned()?;
            // The rollback refers to the deploy that was current when it was called, not to one made since.
            if replaced.get_or_insert_with(|| pointer.current.clone()) != &pointer.current {
                let message = format!(
                    "the current deploy has changed meanwhile to {}; list the deploys and name one",
                    pointer.current
                );
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
                return Err(corrupt(format!("{name} of deploy {} is missing from the store", entry.id)));
            }
            pointer.current.clone_from(&entry.id);
            if self.swap(&pointer, Some(&etag)).await? {
                return Ok(entry.shown(true));
            }
        }
    }

    /// Reads a deploy's manifest and checks its hash.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] where it is missing, damaged, or of a newer version; the store's error.
    async fn manifest(&self, entry: &Entry) -> Result<Manifest, Error> {
        let key = self.manifest_key(&entry.id)?;
        let Some((_, bytes)) = self.store.read(&key).await? else {
            return Err(corrupt(format!("the manifest of deploy {} is missing ({key})", entry.id)));
        };
        Manifest::read(&bytes, &entry.sha256).map_err(|problem| corrupt(format!("{key}: {problem}")))
    }

    /// Returns the content hashes of the stored objects.
    async fn stored(&self) -> Result<std::collections::HashSet<String>, Error> {
        let folder = self.key_of("objects/");
        let listing = self.store.list_all(ListOptions::default().with_prefix(&folder));
        listing.map_ok(|meta| meta.key.as_str()[folder.len()..].to_owned()).try_collect().await
    }

    /// Returns the key of the object with this hash.
    fn object_key(&self, sha256: &str) -> Result<Key, Error> {
        object_key(&self.prefix, sha256)
    }

    /// Returns the key of a deploy's manifest.
    fn manifest_key(&self, id: &str) -> Result<Key, Error> {
        Key::new(self.key_of(&format!("manifests/{id}.json")))
    }

    /// Returns the key of a name in the folder of the deploys.
    fn key_of(&self, name: &str) -> String {
        format!("{}{FOLDER}{name}", self.prefix)
    }
}

/// Returns the key of the object with this hash.
fn object_key(prefix: &str, sha256: &str) -> Result<Key, Error> {
    Key::new(format!("{prefix}{FOLDER}objects/{sha256}"))
}

/// Parses JSON with a version number; fails on a newer version.
fn read_version<T: DeserializeOwned>(what: &str, bytes: &[u8], newest: u32) -> Result<T, String> {
    /// The one member that every version has.
    #[derive(Deserialize)]
    struct Head {
        version: u32,
    }
    let none = |error| format!("it is no {what}: {error}");
    let head: Head = serde_json::from_slice(bytes).map_err(none)?;
    if head.version > newest {
        return Err(format!("version {} was written by a newer isobar", head.version));
    }
    serde_json::from_slice(bytes).map_err(none)
}

/// Returns an error about stored data that is damaged.
fn corrupt(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Corrupt, message)
}

/// Returns an error about an argument, or about a call that the state does not permit.
fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidArgument, message)
}

impl fmt::Debug for Deploys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Deploys({:?} of {:?})", self.prefix, self.store)
    }
}
