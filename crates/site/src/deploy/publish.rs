//! Creating a deploy.
//!
//! 1. Every file is read and hashed; what no object has already is uploaded, under a name that is its hash, and the store verifies
//!    the sha256. Files of two deploys that are the same are one object.
//! 2. The manifest, a list of paths with their objects and the texts of the rules, is written under a name that is its own hash.
//! 3. The pointer is swapped on the condition that nobody else has swapped it meanwhile. This is the moment of the deploy; before it
//!    nothing is served of it, and a deploy that breaks off leaves objects that the next one uses or a pruning removes.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use chrono::{SubsecRound, Utc};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use isobar_storage::{
    Body, Checksum, ChecksumAlgorithm, Conditions, Error, ErrorKind, GetOptions, HttpMetadata, Key, ListOptions,
    MultipartOptions, ObjectMeta, ObjectStore, ObjectStoreExt, PutOptions, content_type, limits,
};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::manifest::{Manifest, ManifestFile};
use super::pointer::{Entry, Pointer};
use super::{Deploy, Deploys, MAX_FILES, invalid};
use crate::options::IMMUTABLE;
use crate::reserved::is_reserved;
use crate::rules;

/// A filter of paths below the site.
type Filter<'d> = &'d (dyn Fn(&str) -> bool + Sync);

/// Options of a deploy.
///
/// ```
/// use isobar_site::{DeployOptions, DeployProgress};
///
/// let is_page = |path: &str| !path.ends_with(".map");
/// let progress = |progress: DeployProgress<'_>| println!("{progress:?}");
/// let options = DeployOptions::default()
///     .with_take(&is_page)
///     .with_retain(1)
///     .with_message(Some("release 7"))
///     .with_progress(&progress);
/// assert_eq!((options.retain, options.concurrency), (1, 16));
/// ```
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct DeployOptions<'d> {
    /// Chooses the files to deploy by their path below the site. `_headers` and `_redirects` are asked for, too. Default: all.
    pub take: Filter<'d>,
    /// Files that never change under their name, in addition to those that the site recognizes
    /// ([`Fingerprints`](crate::Fingerprints)): they are cached for a year. Default: none.
    pub immutable: Filter<'d>,
    /// Number of earlier deploys whose files that never change under their name stay reachable, for pages that are still open.
    /// Default: 3.
    pub retain: usize,
    /// Number of files read or uploaded concurrently; 0 counts as 1. Each has a chunk or a part in memory. Default: 16.
    pub concurrency: usize,
    /// Message of the deploy. Default: none.
    pub message: Option<&'d str>,
    /// Called with the progress of the deploy, in no order among concurrent files. Default: does nothing.
    pub progress: &'d (dyn Fn(DeployProgress<'_>) + Sync),
}

impl Default for DeployOptions<'_> {
    fn default() -> Self {
        Self { take: &|_| true, immutable: &|_| false, retain: 3, concurrency: 16, message: None, progress: &|_| {} }
    }
}

impl<'d> DeployOptions<'d> {
    /// Sets the files to deploy.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use isobar_site::{DeployOptions, Deploys};
    /// use isobar_storage::{Key, ObjectStoreExt, memory::MemoryStore};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MemoryStore::new();
    /// store.write(&Key::new("app.js")?, "1").await?;
    /// store.write(&Key::new("app.js.map")?, "{}").await?;
    /// let deploys = Deploys::new(Arc::new(MemoryStore::new()), "site");
    /// let no_maps = |path: &str| !path.ends_with(".map");
    /// let deployed = deploys.deploy(&store, &DeployOptions::default().with_take(&no_maps)).await?;
    /// assert_eq!(deployed.deploy.files, 1);
    /// # Ok::<_, Box<dyn std::error::Error>>(()) }).unwrap().unwrap();
    /// ```
    #[must_use]
    pub fn with_take(mut self, take: Filter<'d>) -> Self {
        self.take = take;
        self
    }

    /// Sets the files that never change under their name.
    ///
    /// ```
    /// use isobar_site::DeployOptions;
    ///
    /// let is_versioned = |path: &str| path.starts_with("v2/");
    /// let options = DeployOptions::default().with_immutable(&is_versioned);
    /// assert!((options.immutable)("v2/logo.svg"));
    /// ```
    #[must_use]
    pub fn with_immutable(mut self, immutable: Filter<'d>) -> Self {
        self.immutable = immutable;
        self
    }

    /// Sets the number of earlier deploys whose files that never change under their name stay reachable.
    ///
    /// A page that was loaded before a deploy asks for its scripts and styles by their old names: with 0 it gets 404 for them.
    #[must_use]
    pub fn with_retain(mut self, retain: usize) -> Self {
        self.retain = retain;
        self
    }

    /// Sets the number of files read or uploaded concurrently.
    ///
    /// More is quicker for a store that is far away, and takes more memory: up to a part of 5 MiB and more for each large
    /// file.
    #[must_use]
    pub fn with_concurrency(mut self, concurrency: usize) -> Self {
        self.concurrency = concurrency;
        self
    }

    /// Sets the message of the deploy.
    #[must_use]
    pub fn with_message(mut self, message: Option<&'d str>) -> Self {
        self.message = message;
        self
    }

    /// Sets a function that is called with the progress of the deploy.
    #[must_use]
    pub fn with_progress(mut self, progress: &'d (dyn Fn(DeployProgress<'_>) + Sync)) -> Self {
        self.progress = progress;
        self
    }
}

impl std::fmt::Debug for DeployOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { take: _, immutable: _, retain, concurrency, message, progress: _ } = self;
        f.debug_struct("DeployOptions")
            .field("retain", retain)
            .field("concurrency", concurrency)
            .field("message", message)
            .finish_non_exhaustive()
    }
}

/// Progress of a deploy: first [`Read`](Self::Read) for each file, then [`Planned`](Self::Planned), then
/// [`Uploaded`](Self::Uploaded) for each object. If a pruning interferes, the last two come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeployProgress<'d> {
    /// A file was read.
    Read {
        /// Path of the file below the site.
        name: &'d str,
        /// Size of the file in bytes.
        bytes: u64,
    },
    /// All files were read, and these are to be uploaded.
    Planned {
        /// Number of objects to upload.
        objects: usize,
        /// Size of the objects in bytes.
        bytes: u64,
    },
    /// A file was uploaded.
    Uploaded {
        /// Path of the file below the site.
        name: &'d str,
        /// Size of the file in bytes.
        bytes: u64,
    },
}

/// Result of a deploy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Deployed {
    /// The deploy that is now served.
    pub deploy: Deploy,
    /// Nothing has changed: the same deploy was served before.
    pub is_unchanged: bool,
    /// Number of uploaded objects, of which several files may share one; the others were in the store already. If nothing has changed: the number of lost objects that
    /// were uploaded again.
    pub uploaded: usize,
    /// Size of the uploaded objects in bytes.
    pub uploaded_bytes: u64,
}

/// The objects that a deploy has uploaded.
#[derive(Debug, Clone, Copy, Default)]
struct Uploads {
    objects: usize,
    bytes: u64,
}

impl Uploads {
    /// Returns the result of a deploy that is served now.
    fn deployed(self, entry: &Entry, is_unchanged: bool) -> Deployed {
        let deploy = entry.shown(true);
        Deployed { deploy, is_unchanged, uploaded: self.objects, uploaded_bytes: self.bytes }
    }
}

impl Deploys {
    /// Deploys the objects of another store, for example a [`Directory`](isobar_storage::directory::Directory). Reads each file,
    /// uploads those that no earlier deploy has, and then switches to all of them at once. `_headers` and `_redirects` become its
    /// rules. A deploy that fails leaves the site as it was, and the next one continues it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] where there is no file to deploy; [`ErrorKind::TooLarge`] for more than [`MAX_FILES`] files
    /// or rules of more than 8 MiB; a checksum error or [`ErrorKind::Body`] for a file that changes while it is read;
    /// [`ErrorKind::Unavailable`] while deploys are [pruned](Self::prune); and the errors of both stores, of any kind.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use isobar_site::{DeployOptions, Deploys};
    /// use isobar_storage::{Key, ObjectStoreExt, memory::MemoryStore};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let deploys = Deploys::new(Arc::new(MemoryStore::new()), "site");
    /// let files = MemoryStore::new();
    /// files.write(&Key::new("index.html")?, "<script src=app-3f9a1c2b.js></script>").await?;
    /// files.write(&Key::new("app-3f9a1c2b.js")?, "start()").await?;
    ///
    /// let deployed = deploys.deploy(&files, &DeployOptions::default()).await?;
    /// assert_eq!((deployed.deploy.files, deployed.uploaded), (2, 2));
    /// // The same files again are the same deploy.
    /// let again = deploys.deploy(&files, &DeployOptions::default()).await?;
    /// assert!(again.is_unchanged && again.uploaded == 0);
    /// assert_eq!(again.deploy.id, deployed.deploy.id);
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap();
    /// ```
    pub async fn deploy(&self, source: &dyn ObjectStore, options: &DeployOptions<'_>) -> Result<Deployed, Error> {
        // Check before reading all files, so that a retry is cheap.
        if let Some((pointer, _)) = self.pointer().await? {
            pointer.refuse_while_pruned()?;
        }
        let (mut manifest, keys) = self.read_source(source, options).await?;
        let pointer = self.pointer().await?;
        if let Some((pointer, _)) = &pointer {
            let current = pointer.current()?;
            // A damaged manifest has no dates to keep; this deploy replaces it.
            let before = match self.manifest(current).await {
                Err(error) if error.kind() == ErrorKind::Corrupt => None,
                read => Some(read?),
            };
            before.iter().for_each(|before| keep_times(&mut manifest, before));
            if before.is_some_and(|before| manifest.is_same_site(&before)) && pointer.retain == options.retain {
                pointer.refuse_while_pruned()?;
                // Objects of it may have been lost.
                let uploads = self.upload_missing(source, &manifest, &keys, options).await?;
                return Ok(uploads.deployed(current, true));
            }
        }
        self.publish(source, &manifest, &keys, options, pointer).await
    }

    /// Uploads a manifest with its files, and swaps the pointer.
    async fn publish(
        &self,
        source: &dyn ObjectStore,
        manifest: &Manifest,
        keys: &BTreeMap<String, Key>,
        options: &DeployOptions<'_>,
        mut pointer: Option<(Pointer, String)>,
    ) -> Result<Deployed, Error> {
        let (bytes, sha256) =
            manifest.write().map_err(|error| invalid(format!("the manifest cannot be written: {error}")))?;
        let id = format!("{}-{}", manifest.created.format("%Y%m%dT%H%M%S"), &sha256[..8]);
        let entry = Entry {
            id,
            sha256,
            created: manifest.created,
            files: manifest.files.len(),
            bytes: manifest.bytes(),
            message: options.message.map(str::to_owned),
        };
        let mut uploads = Uploads::default();
        loop {
            if let Some((pointer, _)) = &pointer {
                pointer.refuse_while_pruned()?;
            }
            let more = self.upload_missing(source, manifest, keys, options).await?;
            uploads.objects += more.objects;
            uploads.bytes += more.bytes;
            let manifest_options =
                PutOptions::default().with_content_type("application/json").with_conditions(Conditions::create_only());
            // The key has the hash of the manifest, so an existing object is the same.
            drop(self.store.put(&self.manifest_key(&entry.id)?, bytes.clone().into(), manifest_options).await?);
            let prunings = pointer.as_ref().map(|(pointer, _)| pointer.prunings);
            while pointer.as_ref().map(|(pointer, _)| pointer.prunings) == prunings {
                let (next, etag) = match &pointer {
                    Some((pointer, etag)) => {
                        pointer.refuse_while_pruned()?;
                        (succeeded(pointer, &entry, options.retain), Some(etag.as_str()))
                    }
                    None => (Pointer::first(entry.clone(), options.retain), None),
                };
                if self.swap(&next, etag).await? {
                    return Ok(uploads.deployed(&entry, false));
                }
                // Another deploy came first; add this one to it.
                pointer = self.pointer().await?;
            }
            // Objects that existed may have been pruned.
        }
    }

    /// Reads the source: its manifest, and the key of each file.
    async fn read_source(
        &self,
        source: &dyn ObjectStore,
        options: &DeployOptions<'_>,
    ) -> Result<(Manifest, BTreeMap<String, Key>), Error> {
        let listing = source.list_all(ListOptions::default().with_metadata());
        let is_rules = |name: &str| [rules::HEADERS, rules::REDIRECTS].contains(&name);
        let takes = |meta: &ObjectMeta| {
            let name = meta.key.as_str();
            (is_rules(name) || !is_reserved(name)) && (options.take)(name)
        };
        let metas: Vec<ObjectMeta> =
            listing.try_filter(|meta| std::future::ready(takes(meta))).take(MAX_FILES + 3).try_collect().await?;
        let mut manifest = Manifest::new(Utc::now().trunc_subsecs(3));
        let (rule_files, metas): (Vec<_>, Vec<_>) = metas.into_iter().partition(|meta| is_rules(meta.key.as_str()));
        if metas.is_empty() {
            return Err(invalid("there are no files to deploy"));
        }
        if metas.len() > MAX_FILES {
            return Err(Error::new(ErrorKind::TooLarge, format!("a deploy has at most {MAX_FILES} files")));
        }
        for ObjectMeta { key, .. } in rule_files {
            let of_headers = key.as_str() == rules::HEADERS;
            let text = if of_headers { &mut manifest.headers } else { &mut manifest.redirects };
            *text = rules::read(source, &key).await?;
        }
        let created = manifest.created;
        let files: Vec<BoxFuture<'_, Result<_, Error>>> = metas
            .into_iter()
            .map(|meta| {
                let http = described(&meta, options);
                let read = async move {
                    let (sha256, size) = hash(source, &meta.key).await?;
                    Ok((meta.key, ManifestFile { sha256, size, modified: created, http }))
                };
                read.boxed()
            })
            .collect();
        let mut files = stream::iter(files).buffer_unordered(options.concurrency.max(1));
        let mut keys = BTreeMap::new();
        while let Some((key, file)) = files.try_next().await? {
            let name = key.as_str().trim_start_matches('/').to_owned();
            Key::new(format!("{}{name}", self.prefix))?;
            (options.progress)(DeployProgress::Read { name: &name, bytes: file.size });
            keys.insert(name.clone(), key);
            manifest.files.insert(name, file);
        }
        Ok((manifest, keys))
    }

    /// Uploads missing objects, each content once.
    async fn upload_missing(
        &self,
        source: &dyn ObjectStore,
        manifest: &Manifest,
        keys: &BTreeMap<String, Key>,
        options: &DeployOptions<'_>,
    ) -> Result<Uploads, Error> {
        let mut there: HashSet<String> = self.stored().await?;
        let missing: Vec<(&String, &ManifestFile)> =
            manifest.files.iter().filter(|(_, file)| there.insert(file.sha256.clone())).collect();
        let objects = missing.len();
        let bytes = missing.iter().map(|(_, file)| file.size).sum();
        (options.progress)(DeployProgress::Planned { objects, bytes });
        let uploads: Vec<BoxFuture<'_, Result<_, Error>>> = missing
            .into_iter()
            .map(|(name, file)| {
                let upload = self.upload(source, &keys[name], file);
                async move { upload.await.map(|()| (name, file.size)) }.boxed()
            })
            .collect();
        let mut uploads = stream::iter(uploads).buffer_unordered(options.concurrency.max(1));
        while let Some((name, bytes)) = uploads.try_next().await? {
            (options.progress)(DeployProgress::Uploaded { name, bytes });
        }
        Ok(Uploads { objects, bytes })
    }

    /// Uploads one file, with its hash for the store to check.
    ///
    /// # Errors
    /// [`ErrorKind::Body`] where the file has changed since it was hashed; the errors of both stores, with the file's name.
    async fn upload(&self, source: &dyn ObjectStore, from: &Key, file: &ManifestFile) -> Result<(), Error> {
        let named = |error: Error| Error::new(error.kind(), format!("{from}: {error}")).with_source(error);
        let changed = || Error::new(ErrorKind::Body, "the file changed while it was being deployed");
        let got = source.get(from, GetOptions::default()).await.map_err(named)?;
        let (_, body) = got.into_object().ok_or_else(changed).map_err(named)?;
        if body.length() != file.size {
            return Err(named(changed()));
        }
        let key = self.object_key(&file.sha256)?;
        if file.size > limits::SINGLE_PUT_BYTES {
            return self.upload_parts(&key, body, file).await.map_err(named);
        }
        let checksum = Checksum::from_hex(ChecksumAlgorithm::Sha256, &file.sha256)?;
        let options = PutOptions::default().with_checksum(checksum).with_content_type(content_type::DEFAULT);
        self.store.put(&key, body, options).await.map(drop).map_err(named)
    }

    /// Uploads in parts. No store checks the sha256 of parts, so it is computed on the way, and a mismatch fails the last part.
    async fn upload_parts(&self, key: &Key, body: Body, file: &ManifestFile) -> Result<(), Error> {
        let http = HttpMetadata::with_content_type(content_type::DEFAULT);
        let checked = Body::from_stream(file.size, checked(body.into_stream(), file));
        self.store.upload(key, checked, MultipartOptions::default().with_http(http)).await.map(drop)
    }
}

/// Passes a body through; fails in place of the last bytes if the hash does not match.
fn checked(
    chunks: impl futures_util::Stream<Item = Result<Bytes, Error>> + Send + Unpin + 'static,
    file: &ManifestFile,
) -> impl futures_util::Stream<Item = Result<Bytes, Error>> + Send + 'static {
    let sha256 = file.sha256.clone();
    let size = file.size;
    stream::try_unfold((chunks, Sha256::new(), 0), move |(mut chunks, mut hash, mut read)| {
        let sha256 = sha256.clone();
        async move {
            let Some(chunk) = chunks.try_next().await? else { return Ok(None) };
            hash.update(&chunk);
            read += chunk.len() as u64;
            if read >= size && hex::encode(hash.clone().finalize()) != sha256 {
                return Err(Error::new(ErrorKind::Body, "the file changed while it was being deployed"));
            }
            Ok(Some((chunk, (chunks, hash, read))))
        }
    })
}

/// Returns the pointer after a further deploy.
fn succeeded(pointer: &Pointer, entry: &Entry, retain: usize) -> Pointer {
    let mut next = pointer.clone();
    next.current.clone_from(&entry.id);
    next.retain = retain;
    next.pruning_until = None;
    next.deploys.retain(|deploy| deploy.id != entry.id);
    next.deploys.insert(0, entry.clone());
    next
}

/// Keeps the modification times of files that have not changed.
fn keep_times(manifest: &mut Manifest, before: &Manifest) {
    for (name, file) in &mut manifest.files {
        if let Some(old) = before.files.get(name).filter(|old| old.sha256 == file.sha256) {
            file.modified = old.modified;
        }
    }
}

/// Returns the HTTP metadata of a file.
fn described(meta: &ObjectMeta, options: &DeployOptions<'_>) -> HttpMetadata {
    let name = meta.key.as_str();
    let mut http = meta.http.clone();
    if http.content_type.is_none() {
        http.content_type = content_type::from_key(name);
    }
    if http.cache_control.is_none() && (options.immutable)(name) {
        http.cache_control = Some(IMMUTABLE.to_owned());
    }
    http
}

/// Computes the sha256 and the length in bytes of an object, reading it in chunks.
async fn hash(source: &dyn ObjectStore, key: &Key) -> Result<(String, u64), Error> {
    let named = |error: Error| Error::new(error.kind(), format!("{key}: {error}")).with_source(error);
    let got = source.get(key, GetOptions::default()).await.map_err(named)?;
    let gone = || Error::new(ErrorKind::Body, format!("{key} was deleted while it was being read"));
    let (_, body) = got.into_object().ok_or_else(gone)?;
    let mut sha256 = Sha256::new();
    let mut size = 0;
    let mut chunks = body.into_stream();
    while let Some(chunk) = chunks.try_next().await.map_err(named)? {
        sha256.update(&chunk);
        size += chunk.len() as u64;
    }
    Ok((hex::encode(sha256.finalize()), size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_file_fails_before_its_last_bytes() {
        let file = |body: &str| ManifestFile {
            sha256: hex::encode(Sha256::digest(body)),
            size: body.len() as u64,
            modified: Utc::now(),
            http: HttpMetadata::default(),
        };
        let read = |file: &ManifestFile| {
            let chunks = stream::iter(["some ", "bytes"].map(|chunk| Ok(Bytes::from_static(chunk.as_bytes()))));
            let read = checked(chunks, file).try_collect::<Vec<_>>();
            read.now_or_never().expect("a body in memory is always ready")
        };
        assert_eq!(read(&file("some bytes")).expect("the bytes are the same").concat(), b"some bytes");
        assert_eq!(read(&file("same bytes")).expect_err("the bytes differ").kind(), ErrorKind::Body);
    }
}
