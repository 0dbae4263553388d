//! Deleting what no deploy needs any more.

use std::collections::HashSet;

use chrono::{TimeDelta, Utc};
use futures_util::TryStreamExt;
use isobar_storage::{Error, ErrorKind, Key, ListOptions, ObjectStoreExt, limits};
use serde::Serialize;

use super::pointer::Pointer;
use super::{Deploys, invalid};

/// How long others wait for one who prunes, and does not end.
const PATIENCE: TimeDelta = TimeDelta::minutes(10);

/// What a pruning came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Pruned {
    /// The ids of the deploys that are gone.
    pub deploys: Vec<String>,
    /// Objects that were deleted: files and manifests.
    pub objects: usize,
    /// Their size in bytes.
    pub bytes: u64,
}

impl Deploys {
    /// Forgets all but the newest deploys and the one that is served, and deletes what none of them has: files of forgotten
    /// deploys, and what deploys have left that never came to their end. Meanwhile nobody can deploy; where this breaks off,
    /// not for ten minutes. The clocks of those who deploy and prune may differ by some minutes, not by ten.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for 0 deploys, [`ErrorKind::Unavailable`] while somebody else prunes or where it takes too
    /// long - the next one goes on -, and what the store answers.
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

    /// Forgets deploys, and keeps others from deploying.
    async fn begin(&self, keep: usize) -> Result<Option<(Pointer, Vec<String>)>, Error> {
        loop {
            let Some((mut pointer, etag)) = self.pointer().await? else { return Ok(None) };
            pointer.refuse_while_pruned()?;
            let (mut kept, mut forgotten) = (Vec::new(), Vec::new());
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

    /// Deletes what no deploy of the pointer has.
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
            // A minute before others go on: a deletion that takes that long would be theirs to suffer.
            if pointer.pruning_until.is_none_or(|until| until - TimeDelta::minutes(1) < Utc::now()) {
                return Err(Error::new(ErrorKind::Unavailable, "pruning takes too long; prune again to go on"));
            }
            // Somebody whose clock is ahead may have gone on already.
            if self.pointer().await?.is_none_or(|(now, _)| now.pruning_until != pointer.pruning_until) {
                return Err(Error::new(
                    ErrorKind::Unavailable,
                    "somebody has deployed meanwhile; prune again to go on",
                ));
            }
            self.store.delete(keys).await?;
        }
        Ok((keys.len(), sizes.iter().sum()))
    }

    /// Lets others deploy again.
    async fn end(&self, begun: &Pointer) -> Result<(), Error> {
        loop {
            let Some((mut pointer, etag)) = self.pointer().await? else { return Ok(()) };
            if pointer.prunings != begun.prunings || pointer.pruning_until != begun.pruning_until {
                return Ok(()); // It took so long that others went on.
            }
            pointer.pruning_until = None;
            if self.swap(&pointer, Some(&etag)).await? {
                return Ok(());
            }
        }
    }
}
