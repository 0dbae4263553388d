//! What a site serves of its deploys.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::lock::Mutex;
use isobar_storage::{
    Checksum, ChecksumAlgorithm, Conditions, Error, ErrorKind, Etags, GetOptions, GetResult, Key, ObjectMeta,
    ObjectStore,
};

use super::manifest::{Manifest, ManifestFile};
use super::pointer::{Entry, Pointer};
use super::{Deploys, corrupt, object_key};
use crate::caching::{FRESH, STALE_IF_ERROR};
use crate::rules::{HeaderRules, Redirects};
use crate::{Fingerprints, HtmlHandling, SiteOptions};

/// Manifests that are remembered by all sites of the process, and how many files they have together: in a Worker a site lives as
/// long as a request, and 128 MiB are all there is.
const REMEMBERED: usize = 16;
const REMEMBERED_FILES: usize = 50_000;

/// A file of a site, wherever its bytes are.
#[derive(Debug, Clone)]
pub(crate) struct File {
    /// What it is called.
    pub(crate) key: Key,
    pub(crate) meta: ObjectMeta,
    /// The object that has its bytes, and never others; without one it is the key's.
    pub(crate) object: Option<Key>,
}

/// A deploy as it is served.
pub(crate) struct ServedDeploy {
    prefix: String,
    fingerprints: Fingerprints,
    loaded: Arc<Loaded>,
    /// Those whose hashed files are served, too; read when one is asked for.
    retained: Vec<Entry>,
    older: Mutex<Option<Vec<Arc<Loaded>>>>,
}

/// A manifest and what its rules say.
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
    /// Held by the one who looks; when that last failed, and how.
    looking: Mutex<Option<(DateTime<Utc>, ErrorKind)>>,
    /// Counts what was forgotten: what was looked up before is not known after.
    forgotten: AtomicU64,
}

#[derive(Clone)]
struct Known {
    deploy: Option<Arc<ServedDeploy>>,
    /// Of the pointer.
    etag: Option<String>,
    /// Of the store, before the pointer was read.
    generation: Option<u64>,
    at: DateTime<Utc>,
}

impl Follower {
    /// The deploy that was served last; `None` where nothing was deployed, or nobody has looked yet.
    pub(crate) fn last(&self) -> Option<Arc<ServedDeploy>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).as_ref()?.deploy.clone()
    }

    /// Looks at the pointer when it is next asked for, however short ago that was done.
    #[cfg(feature = "cache")]
    pub(crate) fn forget(&self) {
        self.forgotten.fetch_add(1, Ordering::AcqRel);
        if let Some(known) = &mut *self.known.write().unwrap_or_else(PoisonError::into_inner) {
            (known.at, known.generation) = (DateTime::UNIX_EPOCH, None);
        }
    }

    /// The deploy that is to be served.
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
        // Somebody may have looked while this one waited.
        if let Some(known) = self.good(&**store) {
            return Ok(known.deploy);
        }
        let before = self.known.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((at, kind)) = *failed_at
            && at > begun
        {
            return old(before, begun, Error::new(kind, "the store has failed while this was waiting"));
        }
        let (generation, at, forgotten) = (store.generation(), Utc::now(), self.forgotten.load(Ordering::Acquire));
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
            (known.at, known.generation) = (DateTime::UNIX_EPOCH, None);
        }
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(known);
        Ok(deploy)
    }

    fn good(&self, store: &dyn ObjectStore) -> Option<Known> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let is_good = |known: &&Known| match store.generation() {
            Some(generation) => known.generation == Some(generation),
            None => known.age(Utc::now()).is_some_and(|age| age < FRESH),
        };
        known.as_ref().filter(is_good).cloned()
    }
}

/// What was served last, where the store fails and that is not too long ago: its files may be there still.
fn old(known: Option<Known>, now: DateTime<Utc>, error: Error) -> Result<Option<Arc<ServedDeploy>>, Error> {
    let is_short_ago = |known: &Known| known.deploy.is_some() && known.age(now).is_some_and(|age| age < STALE_IF_ERROR);
    match known.filter(|known| error.is_retryable() && is_short_ago(known)) {
        Some(known) => {
            #[cfg(feature = "tracing")]
            tracing::warn!(%error, "the pointer to what is deployed cannot be read; what it pointed to is served");
            Ok(known.deploy)
        }
        None => Err(error),
    }
}

impl Known {
    /// How long ago that was; `None` where the clock has been set back since.
    fn age(&self, now: DateTime<Utc>) -> Option<Duration> {
        (now - self.at).to_std().ok()
    }

    fn nothing() -> Self {
        Self { deploy: None, etag: None, generation: None, at: DateTime::UNIX_EPOCH }
    }
}

/// Where the pointer leads, and its etag; `None` where it is the one that is known.
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
    let (prefix, fingerprints) = (options.prefix.clone(), options.fingerprints.clone());
    let deploy = ServedDeploy { prefix, fingerprints, loaded, retained, older: Mutex::new(None) };
    Ok(Some((Some(Arc::new(deploy)), Some(meta.etag))))
}

/// A manifest with its rules, read or remembered: by its hash it is the same in every store.
async fn load(deploys: &Deploys, entry: &Entry, html: HtmlHandling) -> Result<Arc<Loaded>, Error> {
    if let Some(loaded) = remembered(&mut loaded_manifests(), &entry.sha256, html) {
        return Ok(loaded);
    }
    let manifest = deploys.manifest(entry).await?;
    let headers = manifest.headers.as_deref().map(HeaderRules::parse).unwrap_or_default();
    let redirects = manifest.redirects.as_deref().map(|text| Redirects::parse(text, html)).unwrap_or_default();
    let loaded = Arc::new(Loaded { sha256: entry.sha256.clone(), html, manifest, headers, redirects });
    let mut all = loaded_manifests();
    // Somebody may have loaded it meanwhile.
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

fn loaded_manifests() -> MutexGuard<'static, Vec<Arc<Loaded>>> {
    static LOADED: StdMutex<Vec<Arc<Loaded>>> = StdMutex::new(Vec::new());
    LOADED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One that is there; the one that was asked for last is the last to go.
fn remembered(all: &mut Vec<Arc<Loaded>>, sha256: &str, html: HtmlHandling) -> Option<Arc<Loaded>> {
    let at = all.iter().position(|loaded| loaded.sha256 == sha256 && loaded.html == html)?;
    let loaded = all.remove(at);
    all.push(Arc::clone(&loaded));
    Some(loaded)
}

impl ServedDeploy {
    /// Whether both serve the same files by the same rules; which older ones are reachable besides may differ.
    #[cfg(feature = "cache")]
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        self.loaded.sha256 == other.loaded.sha256
    }

    pub(crate) fn headers(&self) -> &HeaderRules {
        &self.loaded.headers
    }

    pub(crate) fn redirects(&self) -> &Redirects {
        &self.loaded.redirects
    }

    /// The file of a path below the site; one that never changes under its name may be an earlier deploy's.
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
                    // What is served does not hang on what was: it was pruned meanwhile, say.
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

    /// What stands beside a file of this deploy under this name; of an earlier one's file nothing does.
    pub(crate) fn beside(&self, file: &File, name: &str) -> Result<Option<File>, Error> {
        let own = file.key.as_str().strip_prefix(&*self.prefix).and_then(|name| self.loaded.manifest.files.get(name));
        let is_own = own.is_some_and(|own| own.sha256 == file.meta.version);
        let variant = self.loaded.manifest.files.get(name).filter(|_| is_own);
        variant.map(|variant| self.found(name, variant)).transpose()
    }

    /// The files below a folder, by their path below the site.
    pub(crate) fn below<'r>(&'r self, folder: &'r str) -> impl Iterator<Item = (&'r str, &'r ManifestFile)> {
        let files = self.loaded.manifest.files.range(folder.to_owned()..);
        files.map(|(name, file)| (name.as_str(), file)).take_while(move |(name, _)| name.starts_with(folder))
    }

    fn found(&self, name: &str, file: &ManifestFile) -> Result<File, Error> {
        let ManifestFile { sha256, size, modified, http } = file;
        let key = Key::new(format!("{}{name}", self.prefix))?;
        // Half of the hash is enough to tell two files from each other.
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
