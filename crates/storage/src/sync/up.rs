//! A folder of files into a bucket.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use futures_util::{StreamExt, TryStreamExt, stream};

use super::{ApplyOptions, Filter, is_ignored};
use crate::checksum::Digests;
use crate::local::blobs::file_body;
use crate::local::blocking;
use crate::{
    Checksum, ChecksumAlgorithm, Error, ErrorKind, HttpMetadata, Key, ListOptions, MultipartOptions, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutOptions, Result, content_type, limits,
};

/// What is to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// Files that are new or have changed.
    pub uploads: Vec<Upload>,
    /// Objects under the prefix without a file. [`apply`] deletes them only if it is told to.
    pub extra: Vec<Key>,
    /// Files whose object is the same.
    pub unchanged: usize,
    /// Files that are left out: `.git`, `.DS_Store`, `Thumbs.db`, and what the filter does not take.
    pub ignored: usize,
}

impl Plan {
    /// Bytes to upload.
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
    /// Its size in bytes.
    pub size: u64,
    /// Its content type, by its name.
    pub content_type: String,
}

/// Compares a folder with what is under a prefix; reads both, changes neither. What `filter` does not take is neither
/// uploaded nor extra; it is asked by the key without the prefix.
///
/// # Errors
/// When the folder cannot be read, a name in it is no UTF-8 or makes too long a key, or the store fails.
pub async fn plan(folder: impl AsRef<Path>, store: &dyn ObjectStore, prefix: &str, filter: Filter<'_>) -> Result<Plan> {
    let (root, key_prefix) = (folder.as_ref().to_owned(), prefix.to_owned());
    let (files, ignored) = blocking(move || walk(&root, &key_prefix)).await.map_err(|error| error.during("sync"))?;
    let takes = |key: &Key| key.as_str().strip_prefix(prefix).is_some_and(filter);
    let found = files.len();
    let files: Vec<_> = files.into_iter().filter(|file| takes(&file.key)).collect();
    let listing = store.list_all(ListOptions::default().with_prefix(prefix).with_metadata());
    let mut objects: BTreeMap<Key, ObjectMeta> = listing.map_ok(|meta| (meta.key.clone(), meta)).try_collect().await?;
    objects.retain(|key, _| takes(key));
    let mut plan = Plan { ignored: ignored + found - files.len(), ..Plan::default() };
    let compared: Vec<_> = files.into_iter().map(|file| (objects.remove(&file.key), file)).collect();
    let mut compared = stream::iter(compared.into_iter().map(async |(object, file)| {
        let same = match object {
            Some(object) => is_same(&object, &file).await?,
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
    plan.extra = objects.into_keys().collect();
    Ok(plan)
}

/// Does what the plan says; `done` hears of each upload when it is stored. Deletes only after every upload.
///
/// # Errors
/// The first failure, with the file's name; what was uploaded until then stays, and a new plan goes on from there.
pub async fn apply(
    plan: &Plan,
    store: &dyn ObjectStore,
    options: &ApplyOptions,
    mut done: impl FnMut(&Upload),
) -> Result<()> {
    let mut uploads = stream::iter(plan.uploads.iter().map(async |upload| {
        put(store, upload).await?;
        Ok::<_, Error>(upload)
    }))
    .buffer_unordered(options.concurrency.max(1));
    while let Some(upload) = uploads.try_next().await? {
        done(upload);
    }
    if options.delete { store.delete_all(&plan.extra).await } else { Ok(()) }
}

async fn put(store: &dyn ObjectStore, upload: &Upload) -> Result<()> {
    let named =
        |error: Error| Error::new(error.kind(), format!("{}: {error}", upload.path.display())).with_source(error);
    // Its md5 goes with it, so that a file that changes while it is read is not stored as something that never was.
    let (checksum, path) = (md5_of(upload.path.clone()).await.map_err(named)?, upload.path.clone());
    let body = blocking(move || file_body(&path)).await.map_err(named)?;
    if body.length() > limits::SINGLE_PUT_BYTES {
        let options = MultipartOptions::default().with_http(HttpMetadata::with_content_type(&upload.content_type));
        return store.upload(&upload.key, body, options).await.map(drop).map_err(named);
    }
    let options = PutOptions::default().with_content_type(&upload.content_type).with_checksum(checksum);
    store.put(&upload.key, body, options).await.map(drop).map_err(named)
}

async fn is_same(object: &ObjectMeta, file: &Upload) -> Result<bool> {
    let has_type = object.http.content_type.as_deref() == Some(&file.content_type);
    Ok(has_type && object.size == file.size && has_bytes(object, &file.path).await?)
}

/// Whether a file of an object's size has its bytes. Of an object out of parts nobody knows the md5: it counts as another.
pub(super) async fn has_bytes(object: &ObjectMeta, file: &Path) -> Result<bool> {
    let md5 = object.checksum(ChecksumAlgorithm::Md5).map_or(&object.etag, |md5| &md5.hex);
    Ok(md5_of(file.to_owned()).await?.hex == *md5)
}

async fn md5_of(path: PathBuf) -> Result<Checksum> {
    blocking(move || md5_of_file(&path)).await
}

/// The md5 of a file, read in pieces.
pub(crate) fn md5_of_file(path: &Path) -> Result<Checksum> {
    let failed = |error| Error::io(format_args!("cannot read {}", path.display()), error);
    let (mut file, mut buffer) = (File::open(path).map_err(failed)?, vec![0; 128 * 1024]);
    let mut digests = Digests::new(None);
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => return Ok(digests.finish()?.swap_remove(0)),
            read => digests.update(&buffer[..read]),
        }
    }
}

/// Every file below the folder, by key; and how many are never uploaded.
fn walk(root: &Path, prefix: &str) -> Result<(Vec<Upload>, usize)> {
    let (mut files, mut ignored, mut folders) = (Vec::new(), 0, vec![(root.to_owned(), prefix.to_owned())]);
    while let Some((folder, prefix)) = folders.pop() {
        let failed = |error| Error::io(format_args!("cannot read {}", folder.display()), error);
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(|| {
                Error::new(ErrorKind::InvalidKey, format!("the name of {} is no UTF-8", path.display()))
            })?;
            if is_ignored(name) {
                ignored += 1;
                continue;
            }
            // Follows links to files; a link to a folder may lead round in a circle.
            let meta = fs::metadata(&path).map_err(failed)?;
            let key = format!("{prefix}{name}");
            if meta.is_dir() {
                if path.is_symlink() {
                    let message = format!("{} is a link to a folder; put a folder in its place", path.display());
                    return Err(Error::new(ErrorKind::InvalidArgument, message));
                }
                folders.push((path, key + "/"));
            } else {
                let content_type = content_type::from_key(&key).unwrap_or_else(|| content_type::DEFAULT.to_owned());
                files.push(Upload { key: Key::new(&key)?, path, size: meta.len(), content_type });
            }
        }
    }
    files.sort_by(|a, b| a.key.cmp(&b.key));
    Ok((files, ignored))
}
