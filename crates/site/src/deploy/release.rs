//! What a site serves of its deploys.

use std::fmt;
use std::sync::{Arc, Mutex as StdMutex, PoisonError, RwLock};

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::lock::Mutex;
use isobar_storage::{
    Checksum, ChecksumAlgorithm, Conditions, Error, Etags, GetOptions, GetResult, Key, ObjectMeta, ObjectStore,
};

use super::manifest::{Manifest, ManifestFile};
use super::pointer::{Entry, Pointer};
use super::{Deploys, corrupt, object_key};
use crate::options::has_hash;
use crate::rules::{HeaderRules, Redirects};
use crate::{HtmlHandling, SiteOptions};

/// How long a store that cannot tell whether anything has changed is not asked where the pointer leads.
const FRESH: TimeDelta = TimeDelta::seconds(1);

/// Manifests that are remembered by all sites of the process: in a Worker, where a site lives as long as a request.
const REMEMBERED: usize = 16;

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
pub(crate) struct Release {
    prefix: String,
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

/// The release that a site serves, followed as the pointer moves.
#[derive(Default)]
pub(crate) struct Releases {
    known: RwLock<Option<Known>>,
    looking: Mutex<()>,
}

#[derive(Clone)]
struct Known {
    release: Option<Arc<Release>>,
    /// Of the pointer.
    etag: Option<String>,
    /// Of the store, before the pointer was read.
    generation: Option<u64>,
    at: DateTime<Utc>,
}

impl Releases {
    /// The release that was served last; `None` where nothing was deployed, or nobody has looked yet.
    pub(crate) fn last(&self) -> Option<Arc<Release>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).as_ref()?.release.clone()
    }

    /// Looks at the pointer when it is next asked for, however short ago that was done.
    #[cfg(feature = "cache")]
    pub(crate) fn forget(&self) {
        if let Some(known) = &mut *self.known.write().unwrap_or_else(PoisonError::into_inner) {
            (known.at, known.generation) = (DateTime::UNIX_EPOCH, None);
        }
    }

    /// The release that is to be served.
    pub(crate) async fn current(
        &self,
        store: &Arc<dyn ObjectStore>,
        options: &SiteOptions,
    ) -> Result<Option<Arc<Release>>, Error> {
        if let Some(known) = self.good(&**store) {
            return Ok(known.release);
        }
        let _looking = self.looking.lock().await;
        // Somebody may have looked while this one waited.
        if let Some(known) = self.good(&**store) {
            return Ok(known.release);
        }
        let before = self.known.read().unwrap_or_else(PoisonError::into_inner).clone();
        let (generation, at) = (store.generation(), Utc::now());
        let known = match read(store, options, before.as_ref()).await? {
            None => Known { generation, at, ..before.unwrap_or_else(Known::nothing) },
            Some((release, etag)) => Known { release, etag, generation, at },
        };
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(known.clone());
        Ok(known.release)
    }

    fn good(&self, store: &dyn ObjectStore) -> Option<Known> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let is_good = |known: &&Known| match store.generation() {
            Some(generation) => known.generation == Some(generation),
            None => (TimeDelta::zero()..FRESH).contains(&(Utc::now() - known.at)),
        };
        known.as_ref().filter(is_good).cloned()
    }
}

impl Known {
    fn nothing() -> Self {
        Self { release: None, etag: None, generation: None, at: DateTime::UNIX_EPOCH }
    }
}

/// Where the pointer leads, and its etag; `None` where it is the one that is known.
async fn read(
    store: &Arc<dyn ObjectStore>,
    options: &SiteOptions,
    known: Option<&Known>,
) -> Result<Option<(Option<Arc<Release>>, Option<String>)>, Error> {
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
    let release = Release { prefix: options.prefix.clone(), loaded, retained, older: Mutex::new(None) };
    Ok(Some((Some(Arc::new(release)), Some(meta.etag))))
}

/// A manifest with its rules, read or remembered: by its hash it is the same in every store.
async fn load(deploys: &Deploys, entry: &Entry, html: HtmlHandling) -> Result<Arc<Loaded>, Error> {
    static LOADED: StdMutex<Vec<Arc<Loaded>>> = StdMutex::new(Vec::new());
    let remembered = || {
        let loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.iter().find(|loaded| loaded.sha256 == entry.sha256 && loaded.html == html).cloned()
    };
    if let Some(loaded) = remembered() {
        return Ok(loaded);
    }
    let manifest = deploys.manifest(entry).await?;
    let headers = manifest.headers.as_deref().map(HeaderRules::parse).unwrap_or_default();
    let redirects = manifest.redirects.as_deref().map(|text| Redirects::parse(text, html)).unwrap_or_default();
    let loaded = Arc::new(Loaded { sha256: entry.sha256.clone(), html, manifest, headers, redirects });
    let mut all = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if all.len() == REMEMBERED {
        all.remove(0);
    }
    all.push(Arc::clone(&loaded));
    Ok(loaded)
}

impl Release {
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
                loaded.push(load(&deploys, entry, self.loaded.html).await?);
            }
            *older = Some(loaded);
        }
        let files = older.iter().flatten().filter_map(|loaded| loaded.manifest.files.get(name));
        let never_changes = |file: &&ManifestFile| {
            has_hash(name) || file.http.cache_control.as_ref().is_some_and(|control| control.contains("immutable"))
        };
        let found = files.into_iter().find(never_changes);
        found.map(|file| self.found(name, file)).transpose()
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

impl fmt::Debug for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Release({:?} of {} files)", self.prefix, self.loaded.manifest.files.len())
    }
}

impl fmt::Debug for Releases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Releases").finish_non_exhaustive()
    }
}
