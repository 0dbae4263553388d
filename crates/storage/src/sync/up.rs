//! A folder of files into a bucket.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use futures_util::{StreamExt, TryStreamExt, stream};

use super::{ApplyOptions, Filter};
use crate::checksum::Digests;
use crate::files::{blocking, file_range};
use crate::walk::{LeftOut, Root, Walk, WalkOptions, plain};
use crate::{
    Body, ByteRange, Checksum, ChecksumAlgorithm, Error, HttpMetadata, Key, ListOptions, MultipartOptions, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutOptions, Result, content_type, limits,
};

/// The changes that make a bucket like a folder.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Plan {
    /// Files that are new or have changed.
    pub uploads: Vec<Upload>,
    /// Objects under the prefix without a file. [`apply`] deletes them only with [`ApplyOptions::delete`].
    pub extra: Vec<Key>,
    /// Number of files whose object is the same.
    pub unchanged: usize,
    /// Number of files that are left out: what the [walk](crate::walk) leaves out, and what the filter does not take.
    pub ignored: usize,
    /// Entries that the walk leaves out, by name.
    pub left_out: Vec<LeftOut>,
    root: Option<Root>,
}

impl Plan {
    /// Bytes to upload, by the sizes at the time of the walk.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.uploads.iter().map(|upload| upload.size).sum()
    }
}

/// A file to upload.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Upload {
    /// Where it goes.
    pub key: Key,
    /// Where it is.
    pub path: PathBuf,
    /// Its path below the folder, with slashes.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its content type, by its name.
    pub content_type: String,
}

/// Compares a folder with what is under a prefix; reads both, changes neither. What `filter` does not take is neither
/// uploaded nor extra; it is asked by the key without the prefix.
///
/// # Errors
/// When the folder cannot be read, something in it is [refused](crate::walk), a name makes too long a key, or the store fails.
///
/// ```
/// use isobar_storage::memory::MemoryStore;
/// use isobar_storage::sync::plan;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// std::fs::write(folder.path().join("app.js"), "go()")?;
/// std::fs::write(folder.path().join("app.js.map"), "{}")?;
/// let without_maps = |name: &str| !name.ends_with(".map");
/// let changes = plan(folder.path(), &MemoryStore::new(), "site/", &without_maps).await?;
/// assert_eq!((changes.uploads[0].key.as_str(), changes.bytes(), changes.ignored), ("site/app.js", 4, 1));
/// # Ok(())
/// # }
/// ```
pub async fn plan(folder: impl AsRef<Path>, store: &dyn ObjectStore, prefix: &str, filter: Filter<'_>) -> Result<Plan> {
    plan_with(folder, store, prefix, filter, &WalkOptions::default()).await
}

/// As [`plan`], with a policy for the walk.
///
/// # Errors
/// As [`plan`].
///
/// ```
/// use isobar_storage::memory::MemoryStore;
/// use isobar_storage::sync::{everything, plan_with};
/// use isobar_storage::walk::WalkOptions;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// std::fs::create_dir(folder.path().join("data"))?;
/// std::fs::write(folder.path().join("data/site.sqlite"), "")?;
/// // The program's own database is below the folder that it publishes.
/// let options = WalkOptions::default().with_state([folder.path().join("data")]);
/// let changes = plan_with(folder.path(), &MemoryStore::new(), "", &everything, &options).await?;
/// assert!(changes.uploads.is_empty() && changes.left_out[0].name == "data");
/// # Ok(())
/// # }
/// ```
pub async fn plan_with(
    folder: impl AsRef<Path>,
    store: &dyn ObjectStore,
    prefix: &str,
    filter: Filter<'_>,
    options: &WalkOptions,
) -> Result<Plan> {
    let shown = folder.as_ref().to_owned();
    let options = options.clone();
    let walked = blocking(move || {
        let root = Root::open(&shown, &options)?;
        root.walk().map(|walk| (root, walk))
    });
    let (root, mut walk) = walked.await?;
    walk.refuse(&filter)?;
    let Walk { files, folders, left_out, .. } = walk;
    let found = files.len();
    let mut taken = Vec::new();
    for (name, file) in files.into_iter().filter(|(name, _)| filter(name)) {
        let key = Key::new(format!("{prefix}{name}"))?;
        let content_type = content_type::from_key(key.as_str()).unwrap_or_else(|| content_type::DEFAULT.to_owned());
        taken.push(Upload { key, path: folder.as_ref().join(&name), name, size: file.size, content_type });
    }
    let listing = store.list_all(ListOptions::default().with_prefix(prefix).with_metadata());
    let mut objects: BTreeMap<Key, ObjectMeta> = listing.map_ok(|meta| (meta.key.clone(), meta)).try_collect().await?;
    let below = |key: &Key| key.as_str().strip_prefix(prefix).map(str::to_owned);
    objects.retain(|key, _| below(key).is_some_and(|name| filter(&name)));
    let ignored = left_out.len() + found - taken.len();
    let mut plan = Plan { ignored, left_out, root: Some(root.clone()), ..Plan::default() };
    let compared: Vec<_> = taken.into_iter().map(|file| (objects.remove(&file.key), file)).collect();
    let mut compared = stream::iter(compared.into_iter().map(async |(object, file)| {
        let same = match object {
            Some(object) => is_same(&object, &root, &file).await?,
            None => false,
        };
        Ok::<_, Error>((file, same))
    }))
    .buffered(4);
    while let Some((file, same)) = compared.try_next().await? {
        if same {
            plan.unchanged += 1;
        } else {
            plan.uploads.push(file);
        }
    }
    // An object that stands for a folder is not extra while the folder is there.
    let is_folder = |key: &Key| {
        let name = below(key).unwrap_or_default();
        name.strip_suffix('/').is_some_and(|folder| folders.contains(folder)) || name.is_empty()
    };
    plan.extra = objects.into_keys().filter(|key| !is_folder(key)).collect();
    Ok(plan)
}

/// Does what the plan says; `done` hears of each upload when it is stored. Deletes only after every upload.
///
/// # Errors
/// The first failure, with the file's name; what was uploaded until then stays, and a new plan goes on from there.
///
/// ```
/// use isobar_storage::memory::MemoryStore;
/// use isobar_storage::sync::{ApplyOptions, apply, everything, plan};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// std::fs::write(folder.path().join("index.html"), "<h1>Hi</h1>")?;
/// let bucket = MemoryStore::new();
/// let changes = plan(folder.path(), &bucket, "", &everything).await?;
/// let mut stored = Vec::new();
/// apply(&changes, &bucket, &ApplyOptions::default(), |file| stored.push(file.name.clone())).await?;
/// assert_eq!(stored, ["index.html"]);
/// // Once more: nothing is left to do.
/// assert_eq!(plan(folder.path(), &bucket, "", &everything).await?.unchanged, 1);
/// # Ok(())
/// # }
/// ```
pub async fn apply(
    plan: &Plan,
    store: &dyn ObjectStore,
    options: &ApplyOptions,
    mut done: impl FnMut(&Upload),
) -> Result<()> {
    // A plan without a root has no uploads.
    let root = plan.root.as_ref();
    let mut uploads = stream::iter(plan.uploads.iter().filter_map(|upload| root.map(|root| (root, upload))).map(
        async |(root, upload)| {
            put(store, root, upload).await?;
            Ok::<_, Error>(upload)
        },
    ))
    .buffer_unordered(options.concurrency.max(1));
    while let Some(upload) = uploads.try_next().await? {
        done(upload);
    }
    if options.delete { store.delete_all(&plan.extra).await } else { Ok(()) }
}

async fn put(store: &dyn ObjectStore, root: &Root, upload: &Upload) -> Result<()> {
    let named =
        |error: Error| Error::new(error.kind(), format!("{}: {error}", upload.path.display())).with_source(error);
    // Its md5 goes with it, so that a file that changes while it is read is not stored as something that never was.
    let checksum = md5_below(root, &upload.name).await?;
    let root = root.clone();
    let name = upload.name.clone();
    let body = blocking(move || body_below(&root, &name)).await?;
    if body.length() > limits::SINGLE_PUT_BYTES {
        let options = MultipartOptions::default().with_http(HttpMetadata::with_content_type(&upload.content_type));
        return store.upload(&upload.key, body, options).await.map(drop).map_err(named);
    }
    let options = PutOptions::default().with_content_type(&upload.content_type).with_checksum(checksum);
    store.put(&upload.key, body, options).await.map(drop).map_err(named)
}

fn body_below(root: &Root, name: &str) -> Result<Body> {
    let failed = |error| plain(format_args!("cannot read {}", root.path().join(name).display()), error);
    let file = root.open_file(name)?;
    let length = file.metadata().map_err(failed)?.len();
    Ok(file_range(file, ByteRange { offset: 0, length }))
}

async fn is_same(object: &ObjectMeta, root: &Root, file: &Upload) -> Result<bool> {
    let has_type = object.http.content_type.as_deref() == Some(&file.content_type);
    Ok(has_type && object.size == file.size && has_bytes(object, root, &file.name).await?)
}

/// Whether a file of an object's size has its bytes. The md5 of an object out of parts is unknown: it counts as different.
pub(super) async fn has_bytes(object: &ObjectMeta, root: &Root, name: &str) -> Result<bool> {
    let md5 = object.checksum(ChecksumAlgorithm::Md5).map_or(&object.etag, |md5| &md5.hex);
    Ok(md5_below(root, name).await?.hex == *md5)
}

async fn md5_below(root: &Root, name: &str) -> Result<Checksum> {
    let root = root.clone();
    let name = name.to_owned();
    blocking(move || md5_of_file(&root, &name)).await
}

/// The md5 of a file, read in pieces.
pub(crate) fn md5_of_file(root: &Root, name: &str) -> Result<Checksum> {
    let failed = |error| plain(format_args!("cannot read {}", root.path().join(name).display()), error);
    let mut file = root.open_file(name)?;
    let mut buffer = vec![0; 128 * 1024];
    let mut digests = Digests::new(None);
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => return Ok(digests.finish()?.swap_remove(0)),
            read => digests.update(&buffer[..read]),
        }
    }
}
