//! The pointer: the list of deploys and the current one.

use chrono::{DateTime, Utc};
use isobar_storage::{Conditions, Error, ErrorKind, Key, ObjectStoreExt, PutOptions, PutResult};
use serde::{Deserialize, Serialize};

use super::{Deploy, Deploys, corrupt, invalid, read_version};

/// The version that is written, and the newest that can be read.
const VERSION: u32 = 1;

/// The content of `current.json`, the only object of a site's deploys that is overwritten. Every change goes through
/// [`Deploys::swap`], which fails where another process has changed it since it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pointer {
    version: u32,
    /// Id of the current deploy, which is one of `deploys`.
    pub(crate) current: String,
    /// All deploys, the newest first.
    pub(crate) deploys: Vec<Entry>,
    /// Number of deploys besides the current one whose hashed files are served.
    pub(crate) retain: usize,
    /// Number of prunings: objects known to be stored before one may have been deleted.
    #[serde(default)]
    pub(crate) prunings: u64,
    /// Set during a pruning: the time until which deploys are blocked at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pruning_until: Option<DateTime<Utc>>,
}

/// A deploy and the hash of its manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) id: String,
    /// The hash of the manifest, in hexadecimal.
    pub(crate) sha256: String,
    pub(crate) created: DateTime<Utc>,
    pub(crate) files: usize,
    pub(crate) bytes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<String>,
}

impl Entry {
    /// Returns the deploy as it is shown to the caller.
    pub(crate) fn shown(&self, is_current: bool) -> Deploy {
        let Self { id, sha256: _, created, files, bytes, message } = self.clone();
        Deploy { id, created, files, bytes, message, is_current }
    }
}

impl Pointer {
    /// Creates the pointer of the first deploy.
    pub(crate) fn first(entry: Entry, retain: usize) -> Self {
        let current = entry.id.clone();
        Self { version: VERSION, current, deploys: vec![entry], retain, prunings: 0, pruning_until: None }
    }

    /// Returns all deploys as they are shown to the caller, the newest first.
    pub(crate) fn shown(&self) -> Vec<Deploy> {
        self.deploys.iter().map(|entry| entry.shown(entry.id == self.current)).collect()
    }

    /// Returns the current deploy.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] where it is not in the list.
    pub(crate) fn current(&self) -> Result<&Entry, Error> {
        let current = self.deploys.iter().find(|entry| entry.id == self.current);
        current.ok_or_else(|| corrupt(format!("the pointer refers to deploy {}, which it does not list", self.current)))
    }

    /// Returns the deploys besides the current one whose hashed files are served.
    pub(crate) fn retained(&self) -> impl Iterator<Item = &Entry> {
        self.deploys.iter().filter(|entry| entry.id != self.current).take(self.retain)
    }

    /// Returns the deploy before the current one, by the time of their creation.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] where the current one is the oldest.
    pub(crate) fn before_current(&self) -> Result<&Entry, Error> {
        let at = self.deploys.iter().position(|entry| entry.id == self.current);
        let before = at.and_then(|at| self.deploys.get(at + 1));
        before.ok_or_else(|| invalid(format!("there is no deploy before {}", self.current)))
    }

    /// Returns the deploy with this id, or the only one whose id begins with it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] where there is none, or where several begin with it.
    pub(crate) fn named(&self, id: &str) -> Result<&Entry, Error> {
        if let Some(entry) = self.deploys.iter().find(|entry| entry.id == id) {
            return Ok(entry);
        }
        let mut found = self.deploys.iter().filter(|entry| !id.is_empty() && entry.id.starts_with(id));
        match (found.next(), found.next()) {
            (Some(entry), None) => Ok(entry),
            (Some(_), Some(_)) => Err(invalid(format!("{id:?} is ambiguous: several deploys begin with it"))),
            _ => Err(invalid(format!("there is no deploy {id:?}"))),
        }
    }

    /// Fails during a pruning, which may be deleting objects that a new deploy needs.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`], with the time until which it lasts at most.
    pub(crate) fn refuse_while_pruned(&self) -> Result<(), Error> {
        match self.pruning_until {
            Some(until) if until > Utc::now() => {
                let message = format!("deploys are being pruned, until {until} at the latest; try again");
                Err(Error::new(ErrorKind::Unavailable, message))
            }
            _ => Ok(()),
        }
    }

    /// Parses a stored pointer.
    ///
    /// # Errors
    /// A description of the damage, or of the newer version that wrote it.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, String> {
        read_version("pointer", bytes, VERSION)
    }
}

impl Deploys {
    /// Reads the pointer and its ETag; `None` before the first deploy.
    pub(super) async fn pointer(&self) -> Result<Option<(Pointer, String)>, Error> {
        let key = self.pointer_key()?;
        let Some((meta, bytes)) = self.store.read(&key).await? else { return Ok(None) };
        let pointer = Pointer::read(&bytes).map_err(|problem| corrupt(format!("{key}: {problem}")))?;
        Ok(Some((pointer, meta.etag)))
    }

    /// Replaces the pointer with this ETag, or creates it. Returns whether the pointer was unchanged until then: otherwise nothing
    /// was written, and the caller reads it again.
    pub(super) async fn swap(&self, pointer: &Pointer, etag: Option<&str>) -> Result<bool, Error> {
        let conditions = match etag {
            Some(etag) => Conditions::if_etag(etag)?,
            None => Conditions::create_only(),
        };
        let bytes = serde_json::to_vec(pointer).map_err(|error| invalid(format!("the pointer: {error}")))?;
        let options = PutOptions::default().with_content_type("application/json").with_conditions(conditions);
        let put = self.store.put(&self.pointer_key()?, bytes.into(), options).await?;
        Ok(matches!(put, PutResult::Stored(_)))
    }

    /// Returns the key of the pointer.
    pub(super) fn pointer_key(&self) -> Result<Key, Error> {
        Key::new(self.key_of("current.json"))
    }
}
