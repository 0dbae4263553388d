//! The deploy that a site serves.
//!
//! A request sees one deploy from its beginning to its end: it holds the manifest that it began with, rules included. The pointer
//! is read again only when the store's generation has moved (else once a second), by one request for all. If the store fails
//! meanwhile, the known deploy is served for up to an hour: its manifest is in memory.
//!
//! Files that never change under their name stay reachable for the pages of earlier deploys that are still open in browsers:
//! where the current manifest has no such name, those of the last deploys are asked.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as StdMutex, MutexGuard, RwLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::lock::Mutex;
use isobar_base::sync::IgnorePoison;
use isobar_storage::{
    Checksum, ChecksumAlgorithm, Conditions, Error, ErrorKind, Etags, GetOptions, GetResult, Key, ObjectMeta,
    ObjectStore,
};

use super::manifest::{Manifest, ManifestFile};
use super::pointer::{Entry, Pointer};
use super::{Deploys, corrupt, object_key};
use crate::cache_options::{FRESH, STALE_IF_ERROR};
use crate::fingerprint::Fingerprints;
use crate::handling::HtmlHandling;
use crate::options::SiteOptions;
use crate::rules::{HeaderRules, Redirects};

/// Most manifests cached for all sites of the process, and most files in them together: in a Worker a site lives as long as a
/// request, and memory is limited to 128 MiB.
const REMEMBERED: usize = 16;
const REMEMBERED_FILES: usize = 50_000;

/// A file of a site, stored under its key or as an object of a deploy.
#[derive(Debug, Clone)]
pub(crate) struct File {
    /// Its key, also if the bytes are in an object of a deploy.
    pub(crate) key: Key,
    pub(crate) meta: ObjectMeta,
    /// The immutable object that has its bytes; `None` where they are at the key.
    pub(crate) object: Option<Key>,
}

/// A deploy with the earlier deploys whose files stay reachable.
pub(crate) struct ServedDeploy {
    prefix: String,
    fingerprints: Fingerprints,
    loaded: Arc<Loaded>,
    /// Earlier deploys whose hashed files are served; read when such a file is requested.
    retained: Vec<Entry>,
    older: Mutex<Option<Vec<Arc<Loaded>>>>,
}

/// A manifest with its parsed rules.
pub(crate) struct Loaded {
    sha256: String,
    html: HtmlHandling,
    manifest: Manifest,
    headers: HeaderRules,
    redirects: Redirects,
}

/// The deploy that a site serves, followed as the pointer moves.
#[derive(Default)]
pub(crate) struct Follower {
    known: RwLock<Option<Known>>,
    /// Held while the pointer is read (single flight); time and kind of the last failure.
    looking: Mutex<Option<(DateTime<Utc>, ErrorKind)>>,
    /// Number of calls of [`forget`](Self::forget): a result read across one is not kept.
    forgotten: AtomicU64,
}

/// The state of the pointer when it was last read.
#[derive(Clone)]
struct Known {
    deploy: Option<Arc<ServedDeploy>>,
    /// ETag of the pointer.
    etag: Option<String>,
    /// Generation of the store before the pointer was read.
    generation: Option<u64>,
    at: DateTime<Utc>,
}

impl Follower {
    /// Returns the last known deploy; `None` before the first deploy, or before the pointer was first read.
    pub(crate) fn last(&self) -> Option<Arc<ServedDeploy>> {
        self.known.read().ignore_poison().as_ref()?.deploy.clone()
    }

    /// Makes the next call of [`current`](Self::current) read the pointer.
    #[cfg(feature = "cache")]
    pub(crate) fn forget(&self) {
        self.forgotten.fetch_add(1, Ordering::AcqRel);
        if let Some(known) = &mut *self.known.write().ignore_poison() {
            known.forget();
        }
    }

    /// Returns the deploy to serve; `None` before the first deploy. Reads the pointer only where it may have changed: by the
    /// store's generation, else once a second. Concurrent requests share one read.
    ///
    /// # Errors
    /// The store's error. A retryable one only where no deploy is known that was read within the last hour.
    pub(crate) async fn current(
        &self,
        store: &Arc<dyn ObjectStore>,
        options: &SiteOptions,
    ) -> Result<Option<Arc<ServedDeploy>>, Error> {
        if let Some(known) = self.good(&**store) {
            return Ok(known.deploy);
        }
        let begun = Utc::now();
        let mut failed_at = self.looking.lock().await;
        // Another request may have read it in the meantime.
        if let Some(known) = self.good(&**store) {
            return Ok(known.deploy);
        }
        let before = self.known.read().ignore_poison().clone();
        if let Some((at, kind)) = *failed_at
            && at > begun
        {
            return old(before, begun, Error::new(kind, "the store failed while the request was waiting"));
        }
        let generation = store.generation();
        let at = Utc::now();
        let forgotten = self.forgotten.load(Ordering::Acquire);
        let mut known = match read(store, options, before.as_ref()).await {
            Ok(None) => Known { generation, at, ..before.unwrap_or_else(Known::nothing) },
            Ok(Some((deploy, etag))) => Known { deploy, etag, generation, at },
            Err(error) => {
                *failed_at = Some((Utc::now(), error.kind()));
                return old(before, at, error);
            }
        };
        let deploy = known.deploy.clone();
        if self.forgotten.load(Ordering::Acquire) != forgotten {
            known.forget();
        }
        *self.known.write().ignore_poison() = Some(known);
        Ok(deploy)
    }

    /// Returns the known state if the pointer cannot have changed since, or was read recently.
    fn good(&self, store: &dyn ObjectStore) -> Option<Known> {
        let known = self.known.read().ignore_poison();
        let is_good = |known: &&Known| match store.generation() {
            Some(generation) => known.generation == Some(generation),
            None => known.age(Utc::now()).is_some_and(|age| age < FRESH),
        };
        known.as_ref().filter(is_good).cloned()
    }
}

/// Returns the last known deploy while the store fails, if it is not too old: its files may still be readable.
fn old(known: Option<Known>, now: DateTime<Utc>, error: Error) -> Result<Option<Arc<ServedDeploy>>, Error> {
    let is_short_ago = |known: &Known| known.deploy.is_some() && known.age(now).is_some_and(|age| age < STALE_IF_ERROR);
    match known.filter(|known| error.is_retryable() && is_short_ago(known)) {
        Some(known) => {
            #[cfg(feature = "tracing")]
            tracing::warn!(%error, "the pointer to the current deploy cannot be read; serving the last known one");
            Ok(known.deploy)
        }
        None => Err(error),
    }
}

impl Known {
    /// Returns the time since the pointer was read; `None` if the clock was set back since.
    fn age(&self, now: DateTime<Utc>) -> Option<Duration> {
        (now - self.at).to_std().ok()
    }

    /// Marks it as too old, so that the pointer is read again.
    fn forget(&mut self) {
        self.at = DateTime::UNIX_EPOCH;
        self.generation = None;
    }

    /// Returns the state before the pointer was first read.
    fn nothing() -> Self {
        Self { deploy: None, etag: None, generation: None, at: DateTime::UNIX_EPOCH }
    }
}

/// Reads the pointer: the deploy and the pointer's ETag. `None` if it has not changed.
async fn read(
    store: &Arc<dyn ObjectStore>,
    options: &SiteOptions,
    known: Option<&Known>,
) -> Result<Option<(Option<Arc<ServedDeploy>>, Option<String>)>, Error> {
    let deploys = Deploys::new(Arc::clone(store), options.prefix.clone());
    let key = deploys.pointer_key()?;
    let mut get = GetOptions::default();
    if let Some(etag) = known.and_then(|known| known.etag.as_ref()) {
        get = get.with_conditions(Conditions::default().with_etag_does_not_match(Etags::one(etag.as_str())?));
    }
    let (meta, body) = match store.get(&key, get).await? {
        GetResult::Object { meta, body, .. } => (meta, body),
        GetResult::ConditionFailed(_) => return Ok(None),
        GetResult::Missing => return Ok(Some((None, None))),
    };
    let pointer = Pointer::read(&body.bytes().await?).map_err(|problem| corrupt(format!("{key}: {problem}")))?;
    let loaded = load(&deploys, pointer.current()?, options.html_handling).await?;
    let retained = pointer.retained().cloned().collect();
    let prefix = options.prefix.clone();
    let fingerprints = options.fingerprints.clone();
    let deploy = ServedDeploy { prefix, fingerprints, loaded, retained, older: Mutex::new(None) };
    Ok(Some((Some(Arc::new(deploy)), Some(meta.etag))))
}

/// Loads a manifest with its rules, from the cache or the store. The cache is by hash, so it serves all stores.
async fn load(deploys: &Deploys, entry: &Entry, html: HtmlHandling) -> Result<Arc<Loaded>, Error> {
    if let Some(loaded) = remembered(&mut loaded_manifests(), &entry.sha256, html) {
        return Ok(loaded);
    }
    let manifest = deploys.manifest(entry).await?;
    let headers = manifest.headers.as_deref().map(HeaderRules::parse).unwrap_or_default();
    let redirects = manifest.redirects.as_deref().map(|text| Redirects::parse(text, html)).unwrap_or_default();
    let loaded = Arc::new(Loaded { sha256: entry.sha256.clone(), html, manifest, headers, redirects });
    let mut all = loaded_manifests();
    // Another request may have loaded it in the meantime.
    if let Some(loaded) = remembered(&mut all, &entry.sha256, html) {
        return Ok(loaded);
    }
    all.push(Arc::clone(&loaded));
    let files = |all: &[Arc<Loaded>]| all.iter().map(|loaded| loaded.manifest.files.len()).sum::<usize>();
    while all.len() > REMEMBERED || (all.len() > 1 && files(&all) > REMEMBERED_FILES) {
        all.remove(0);
    }
    Ok(loaded)
}

/// Locks the manifests that are cached for all sites of the process, the most recently used last.
fn loaded_manifests() -> MutexGuard<'static, Vec<Arc<Loaded>>> {
    static LOADED: StdMutex<Vec<Arc<Loaded>>> = StdMutex::new(Vec::new());
    LOADED.lock().ignore_poison()
}

/// Returns a cached manifest and marks it as most recently used.
fn remembered(all: &mut Vec<Arc<Loaded>>, sha256: &str, html: HtmlHandling) -> Option<Arc<Loaded>> {
    let at = all.iter().position(|loaded| loaded.sha256 == sha256 && loaded.html == html)?;
    let loaded = all.remove(at);
    all.push(Arc::clone(&loaded));
    Some(loaded)
}

impl ServedDeploy {
    /// Whether both serve the same files by the same rules. The earlier deploys that stay reachable may differ.
    #[cfg(feature = "cache")]
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        self.loaded.sha256 == other.loaded.sha256
    }

    /// Returns the rules of the deploy's `_headers`.
    pub(crate) fn headers(&self) -> &HeaderRules {
        &self.loaded.headers
    }

    /// Returns the rules of the deploy's `_redirects`.
    pub(crate) fn redirects(&self) -> &Redirects {
        &self.loaded.redirects
    }

    /// Returns the file of a path below the site; one that never changes under its name may be an earlier deploy's.
    ///
    /// # Errors
    /// The store's error, if the manifest of an earlier deploy cannot be read now. A damaged one is skipped.
    pub(crate) async fn file(&self, store: &Arc<dyn ObjectStore>, name: &str) -> Result<Option<File>, Error> {
        if let Some(file) = self.loaded.manifest.files.get(name) {
            return self.found(name, file).map(Some);
        }
        // A page is never an earlier deploy's, and most of what is missing was never there.
        if self.retained.is_empty() || name.ends_with(".html") || !name.contains('.') {
            return Ok(None);
        }
        let mut older = self.older.lock().await;
        if older.is_none() {
            let deploys = Deploys::new(Arc::clone(store), self.prefix.clone());
            let mut loaded = Vec::with_capacity(self.retained.len());
            for entry in &self.retained {
                match load(&deploys, entry, self.loaded.html).await {
                    Ok(older) => loaded.push(older),
                    Err(error) if error.is_retryable() => return Err(error),
                    // The current deploy does not depend on earlier ones, which may have been pruned meanwhile.
                    Err(_error) => {
                        #[cfg(feature = "tracing")]
                        tracing::warn!(error = %_error, deploy = entry.id, "the files of an earlier deploy cannot be served");
                    }
                }
            }
            *older = Some(loaded);
        }
        let files = older.iter().flatten().filter_map(|loaded| loaded.manifest.files.get(name));
        let never_changes = |file: &&ManifestFile| {
            self.fingerprints.has(name)
                || file.http.cache_control.as_ref().is_some_and(|control| control.contains("immutable"))
        };
        let found = files.into_iter().find(never_changes);
        found.map(|file| self.found(name, file)).transpose()
    }

    /// Returns the file of this name in this deploy as a variant of `file`; `None` if `file` is of an earlier deploy.
    pub(crate) fn beside(&self, file: &File, name: &str) -> Result<Option<File>, Error> {
        let own = file.key.as_str().strip_prefix(&*self.prefix).and_then(|name| self.loaded.manifest.files.get(name));
        let is_own = own.is_some_and(|own| own.sha256 == file.meta.version);
        let variant = self.loaded.manifest.files.get(name).filter(|_| is_own);
        variant.map(|variant| self.found(name, variant)).transpose()
    }

    /// Returns the files below a folder, by their path below the site.
    pub(crate) fn below<'r>(&'r self, folder: &'r str) -> impl Iterator<Item = (&'r str, &'r ManifestFile)> {
        let files = self.loaded.manifest.files.range(folder.to_owned()..);
        files.map(|(name, file)| (name.as_str(), file)).take_while(move |(name, _)| name.starts_with(folder))
    }

    /// Describes a file of a manifest as the store would describe an object.
    fn found(&self, name: &str, file: &ManifestFile) -> Result<File, Error> {
        let ManifestFile { sha256, size, modified, http } = file;
        let key = Key::new(format!("{}{name}", self.prefix))?;
        // Half of the hash is enough to distinguish files.
        let etag = sha256.get(..32).unwrap_or(sha256).to_owned();
        let mut meta = ObjectMeta::new(key.clone(), sha256.clone(), *size, etag, *modified);
        meta.http = http.clone();
        meta.checksums = vec![Checksum::from_hex(ChecksumAlgorithm::Sha256, sha256)?];
        Ok(File { key, meta, object: Some(object_key(&self.prefix, sha256)?) })
    }
}

impl fmt::Debug for ServedDeploy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServedDeploy({:?} of {} files)", self.prefix, self.loaded.manifest.files.len())
    }
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").finish_non_exhaustive()
    }
}
