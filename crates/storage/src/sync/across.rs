//! A bucket into another bucket, or under another prefix.

use std::collections::BTreeMap;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::{ApplyOptions, Filter};
use crate::{
    ChecksumAlgorithm, Error, ErrorKind, GetOptions, Key, ListOptions, MultipartOptions, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutOptions, Result, limits,
};

/// Operations to be done to the other bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AcrossPlan {
    /// Objects that the other bucket does not have, or has differently.
    pub transfers: Vec<Transfer>,
    /// Objects that only the other bucket has. [`apply_across`] deletes them only with [`ApplyOptions::delete`].
    pub extra: Vec<Key>,
    /// Number of objects that both have.
    pub unchanged: usize,
    /// Number of objects that the filter does not take.
    pub ignored: usize,
}

impl AcrossPlan {
    /// Bytes to transfer.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.transfers.iter().map(|transfer| transfer.size).sum()
    }
}

/// An object to transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transfer {
    /// Where it is.
    pub from: Key,
    /// Where it goes.
    pub to: Key,
    /// Its size in bytes.
    pub size: u64,
}

/// Compares what is under a prefix of one bucket with what is under a prefix of another; reads both, changes neither. Objects are
/// the same when size, md5 and HTTP metadata are; the md5 of one out of parts is unknown, so its etag decides.
///
/// ```
/// use isobar_storage::memory::MemoryStore;
/// use isobar_storage::sync::{ApplyOptions, apply_across, everything, plan_across};
/// use isobar_storage::{Key, ObjectStoreExt};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let local = MemoryStore::new();
/// let r2 = MemoryStore::new();
/// local.write(&Key::new("images/1.png")?, "pixels").await?;
/// let changes = plan_across(&local, "images/", &r2, "backup/", &everything).await?;
/// apply_across(&changes, &local, &r2, &ApplyOptions::default(), |_| {}).await?;
/// assert!(r2.read(&Key::new("backup/1.png")?).await?.is_some());
/// assert_eq!(plan_across(&local, "images/", &r2, "backup/", &everything).await?.unchanged, 1);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// The stores' errors; [`ErrorKind::InvalidKey`] where a key is too long under the other prefix.
pub async fn plan_across(
    source: &dyn ObjectStore,
    source_prefix: &str,
    target: &dyn ObjectStore,
    target_prefix: &str,
    filter: Filter<'_>,
) -> Result<AcrossPlan> {
    let listed = async |store: &dyn ObjectStore, prefix: &str| {
        let listing = store.list_all(ListOptions::default().with_prefix(prefix).with_metadata());
        let all: Vec<ObjectMeta> = listing.try_collect().await?;
        let name = |meta: &ObjectMeta| meta.key.as_str().strip_prefix(prefix).unwrap_or_default().to_owned();
        Ok::<BTreeMap<String, ObjectMeta>, Error>(all.into_iter().map(|meta| (name(&meta), meta)).collect())
    };
    let wanted = listed(source, source_prefix).await?;
    let mut there = listed(target, target_prefix).await?;
    there.retain(|name, _| filter(name));
    let mut plan = AcrossPlan::default();
    for (name, meta) in wanted {
        if !filter(&name) {
            plan.ignored += 1;
        } else if there.remove(&name).is_some_and(|other| is_same(&meta, &other)) {
            plan.unchanged += 1;
        } else {
            let to = Key::new(format!("{target_prefix}{name}"))?;
            plan.transfers.push(Transfer { from: meta.key, to, size: meta.size });
        }
    }
    plan.extra = there.into_values().map(|meta| meta.key).collect();
    Ok(plan)
}

fn is_same(one: &ObjectMeta, other: &ObjectMeta) -> bool {
    let digest = |meta: &ObjectMeta| {
        meta.checksum(ChecksumAlgorithm::Md5).map_or_else(|| meta.etag.clone(), |md5| md5.hex.clone())
    };
    one.size == other.size && one.http == other.http && digest(one) == digest(other)
}

/// Does what the plan says; `done` hears of each transfer when it is stored. Deletes only after every transfer.
///
/// # Errors
/// The first failure, with the object's key; what was transferred until then stays, and a new plan goes on from there.
///
/// ```
/// use isobar_storage::memory::MemoryStore;
/// use isobar_storage::sync::{ApplyOptions, apply_across, everything, plan_across};
/// use isobar_storage::{Key, ObjectStore, ObjectStoreExt, PutOptions};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let from = MemoryStore::new();
/// let to = MemoryStore::new();
/// from.write_with(&Key::new("a.txt")?, "1", PutOptions::default().with_custom("author", "Ada")).await?.stored();
/// let changes = plan_across(&from, "", &to, "", &everything).await?;
/// apply_across(&changes, &from, &to, &ApplyOptions::default(), |_| {}).await?;
/// assert_eq!(to.head(&Key::new("a.txt")?).await?.expect("it was transferred").custom["author"], "Ada");
/// # Ok(())
/// # }
/// ```
pub async fn apply_across(
    plan: &AcrossPlan,
    source: &dyn ObjectStore,
    target: &dyn ObjectStore,
    options: &ApplyOptions,
    mut done: impl FnMut(&Transfer),
) -> Result<()> {
    let mut transfers = stream::iter(plan.transfers.iter().map(async |transfer| {
        let named = |error: Error| Error::new(error.kind(), format!("{}: {error}", transfer.from)).with_source(error);
        carry(transfer, source, target).await.map_err(named)?;
        Ok::<_, Error>(transfer)
    }))
    .buffer_unordered(options.concurrency.max(1));
    while let Some(transfer) = transfers.try_next().await? {
        done(transfer);
    }
    if options.delete { target.delete_all(&plan.extra).await } else { Ok(()) }
}

/// One object with all its metadata.
async fn carry(transfer: &Transfer, source: &dyn ObjectStore, target: &dyn ObjectStore) -> Result<()> {
    let found = source.get(&transfer.from, GetOptions::default()).await?.into_object();
    let gone = || Error::new(ErrorKind::Unavailable, "the object has gone since it was listed; plan again");
    let (meta, body) = found.ok_or_else(gone)?;
    if body.length() > limits::SINGLE_PUT_BYTES {
        let mut options = MultipartOptions::default().with_http(meta.http).with_storage_class(meta.storage_class);
        options.custom = meta.custom;
        return target.upload(&transfer.to, body, options).await.map(drop);
    }
    let mut options = PutOptions::default().with_http(meta.http).with_storage_class(meta.storage_class);
    options.custom = meta.custom;
    target.put(&transfer.to, body, options).await.map(drop)
}
