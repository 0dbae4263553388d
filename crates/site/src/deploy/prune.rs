//! Deleting objects that no deploy needs.

use std::collections::HashSet;

use chrono::{TimeDelta, Utc};
use futures_util::TryStreamExt;
use isobar_storage::{Error, ErrorKind, Key, ListOptions, ObjectStoreExt, limits};
use serde::Serialize;

use super::pointer::Pointer;
use super::{Deploys, invalid};

/// Time after which a pruning that does not end no longer blocks deploys.
const PATIENCE: TimeDelta = TimeDelta::minutes(10);

/// Result of a pruning, of [`Deploys::prune`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Pruned {
    /// Ids of the deleted deploys, the newest first.
    pub deploys: Vec<String>,
    /// Number of deleted objects: files and manifests.
    pub objects: usize,
    /// Size of the deleted objects in bytes.
    pub bytes: u64,
}

impl Deploys {
    /// Deletes all but the newest `keep` deploys and the current one, and the objects that none of them has: files of deleted
    /// deploys, and leftovers of failed deploys. Deploys are refused meanwhile; if this fails, for up to ten minutes. The clocks
    /// of the machines that deploy and prune may differ by some minutes, but not by ten.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if `keep` is 0; [`ErrorKind::Unavailable`] during another pruning or where it takes longer
    /// than ten minutes, in which case the next one continues; and the store's error, of any kind.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use isobar_site::{DeployOptions, Deploys};
    /// use isobar_storage::{Key, ObjectStoreExt, memory::MemoryStore};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let deploys = Deploys::new(Arc::new(MemoryStore::new()), "site");
    /// let files = MemoryStore::new();
    /// for body in ["one", "two", "three"] {
    ///     files.write(&Key::new("index.html")?, body).await?;
    ///     deploys.deploy(&files, &DeployOptions::default()).await?;
    /// }
    /// // Two deploys go, each with a manifest and a file that no other has.
    /// let pruned = deploys.prune(1).await?;
    /// assert_eq!((pruned.deploys.len(), pruned.objects), (2, 4));
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap();
    /// ```
    pub async fn prune(&self, keep: usize) -> Result<Pruned, Error> {
        if keep == 0 {
            return Err(invalid("at least one deploy must be kept"));
        }
        let Some((pointer, forgotten)) = self.begin(keep).await? else { return Ok(Pruned::default()) };
        let deleted = self.sweep(&pointer).await;
        self.end(&pointer).await?;
        let (objects, bytes) = deleted?;
        Ok(Pruned { deploys: forgotten, objects, bytes })
    }

    /// Removes deploys from the pointer and blocks new ones. Returns the pointer with the ids of the removed deploys; `None` where
    /// nothing was ever deployed.
    async fn begin(&self, keep: usize) -> Result<Option<(Pointer, Vec<String>)>, Error> {
        loop {
            let Some((mut pointer, etag)) = self.pointer().await? else { return Ok(None) };
            pointer.refuse_while_pruned()?;
            let mut kept = Vec::new();
            let mut forgotten = Vec::new();
            for (at, entry) in std::mem::take(&mut pointer.deploys).into_iter().enumerate() {
                if at < keep || entry.id == pointer.current { kept.push(entry) } else { forgotten.push(entry.id) }
            }
            pointer.deploys = kept;
            pointer.prunings += 1;
            pointer.pruning_until = Some(Utc::now() + PATIENCE);
            if self.swap(&pointer, Some(&etag)).await? {
                return Ok(Some((pointer, forgotten)));
            }
        }
    }

    /// Deletes objects that no deploy of the pointer has. Returns their number and their size in bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] where the time is up or another process has deployed meanwhile; a damaged manifest is
    /// [`ErrorKind::Corrupt`] and deletes nothing; the store's error.
    async fn sweep(&self, pointer: &Pointer) -> Result<(usize, u64), Error> {
        let mut needed: HashSet<Key> = HashSet::new();
        for entry in &pointer.deploys {
            needed.insert(self.manifest_key(&entry.id)?);
            for file in self.manifest(entry).await?.files.values() {
                needed.insert(self.object_key(&file.sha256)?);
            }
        }
        needed.insert(self.pointer_key()?);
        let listing = self.store.list_all(ListOptions::default().with_prefix(self.key_of("")));
        let listed = listing.map_ok(|meta| (meta.key, meta.size));
        let rest = listed.try_filter(|(key, _)| std::future::ready(!needed.contains(key)));
        let rest: Vec<(Key, u64)> = rest.try_collect().await?;
        let (keys, sizes): (Vec<Key>, Vec<u64>) = rest.into_iter().unzip();
        for keys in keys.chunks(limits::DELETE_KEYS) {
            // Stop a minute before deploys are accepted again, as a deletion still in flight could take an object of theirs.
            if pointer.pruning_until.is_none_or(|until| until - TimeDelta::minutes(1) < Utc::now()) {
                return Err(Error::new(ErrorKind::Unavailable, "pruning took too long; prune again to continue"));
            }
            // A machine whose clock is ahead may have deployed already.
            if self.pointer().await?.is_none_or(|(now, _)| now.pruning_until != pointer.pruning_until) {
                return Err(Error::new(
                    ErrorKind::Unavailable,
                    "another process has deployed meanwhile; prune again to continue",
                ));
            }
            self.store.delete(keys).await?;
        }
        Ok((keys.len(), sizes.iter().sum()))
    }

    /// Permits deploys again, unless this pruning took so long that they are already, or that another has begun.
    async fn end(&self, begun: &Pointer) -> Result<(), Error> {
        loop {
            let Some((mut pointer, etag)) = self.pointer().await? else { return Ok(()) };
            if pointer.prunings != begun.prunings || pointer.pruning_until != begun.pruning_until {
                return Ok(()); // It took so long that deploys are accepted again.
            }
            pointer.pruning_until = None;
            if self.swap(&pointer, Some(&etag)).await? {
                return Ok(());
            }
        }
    }
}
