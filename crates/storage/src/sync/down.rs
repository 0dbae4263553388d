//! A bucket into a folder of files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use futures_util::{StreamExt, TryStreamExt, stream};

use super::up::has_bytes;
use super::{ApplyOptions, Filter, check_name, reason_of};
use crate::files::blocking;
use crate::walk::{LeftOut, Reason, RefusalReason, Root, States, Walk, WalkOptions, plain, real_path};
use crate::{Error, ErrorKind, GetOptions, Key, ListOptions, ObjectMeta, ObjectStore, ObjectStoreExt, Result};

/// The changes that make a folder like a bucket.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct DownPlan {
    /// Objects that have no file yet, or another one.
    pub downloads: Vec<Download>,
    /// Folders to be made for objects that stand for folders: empty ones, whose key ends in a slash.
    pub folders: Vec<PathBuf>,
    /// Files without an object. [`apply_down`] deletes them only with [`ApplyOptions::delete`].
    pub extra: Vec<PathBuf>,
    /// Number of objects whose file is the same.
    pub unchanged: usize,
    /// Number of objects and files that are left out: what the [walk](crate::walk) leaves out, and what the filter does not take.
    pub ignored: usize,
    /// Files and objects that are left out, by name; except those that the filter does not take.
    pub left_out: Vec<LeftOut>,
    folder: PathBuf,
    options: WalkOptions,
    names: BTreeMap<Key, (String, bool)>,
    extra_names: Vec<String>,
    folder_names: Vec<String>,
}

impl DownPlan {
    /// Bytes to download.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.downloads.iter().map(|download| download.size).sum()
    }

    /// Fails where deleting what has no object might concern state: the folder has a state folder of isobar's in it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`], with the state folder's name.
    ///
    /// ```
    /// use isobar_storage::ErrorKind;
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::sync::{everything, plan_down};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// std::fs::create_dir(folder.path().join(".isobar"))?;
    /// let changes = plan_down(&MemoryStore::new(), "", folder.path(), &everything).await?;
    /// assert_eq!(changes.check_delete().unwrap_err().kind(), ErrorKind::InvalidArgument);
    /// # Ok(())
    /// # }
    /// ```
    pub fn check_delete(&self) -> Result<()> {
        match self.left_out.iter().find(|left_out| left_out.reason == Reason::State) {
            None => Ok(()),
            Some(LeftOut { name, .. }) => {
                let state = self.folder.join(name);
                let folder = self.folder.display();
                let message = format!(
                    "nothing is deleted in {folder}, as it has state of isobar in it: {}; sync into a folder of its own, or do \
                     not delete",
                    state.display()
                );
                Err(Error::new(ErrorKind::InvalidArgument, message))
            }
        }
    }
}

/// An object to download.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Download {
    /// Where it is.
    pub key: Key,
    /// Where it goes.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size: u64,
}

/// Compares what is under a prefix with a folder; reads both, changes neither. The folder need not be there.
///
/// ```
/// use isobar_storage::memory::MemoryStore;
/// use isobar_storage::sync::{ApplyOptions, apply_down, everything, plan_down};
/// use isobar_storage::{Key, ObjectStoreExt};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// let bucket = MemoryStore::new();
/// bucket.write(&Key::new("site/css/main.css")?, "a {}").await?;
/// let changes = plan_down(&bucket, "site/", folder.path(), &everything).await?;
/// assert_eq!((changes.downloads.len(), changes.bytes()), (1, 4));
/// apply_down(&changes, &bucket, &ApplyOptions::default(), |file| println!("{}", file.path.display())).await?;
/// assert_eq!(std::fs::read_to_string(folder.path().join("css/main.css"))?, "a {}");
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`ErrorKind::InvalidKey`] where a key makes no path below the folder (empty parts, `.`, `..`), or needs a folder where another
/// key has a file: a file system cannot have both. [`ErrorKind::InvalidArgument`] where a link leads out of the folder and
/// objects are below it, or where the folder is inside a state folder. What the store and the folder fail with.
pub async fn plan_down(
    store: &dyn ObjectStore,
    prefix: &str,
    folder: impl AsRef<Path>,
    filter: Filter<'_>,
) -> Result<DownPlan> {
    plan_down_with(store, prefix, folder, filter, &WalkOptions::default()).await
}

/// As [`plan_down`], with a policy for the walk.
///
/// # Errors
/// As [`plan_down`].
pub async fn plan_down_with(
    store: &dyn ObjectStore,
    prefix: &str,
    folder: impl AsRef<Path>,
    filter: Filter<'_>,
    options: &WalkOptions,
) -> Result<DownPlan> {
    let folder = folder.as_ref().to_owned();
    let here = folder.clone();
    let policy = options.clone();
    let (root, mut walk) = blocking(move || walk_target(&here, &policy)).await?;
    let mut plan = DownPlan { folder: folder.clone(), options: options.clone(), ..DownPlan::default() };
    let objects: Vec<ObjectMeta> = store.list_all(ListOptions::default().with_prefix(prefix)).try_collect().await?;
    let mut wanted = BTreeMap::new();
    let mut markers = BTreeSet::new();
    for meta in objects {
        let name = meta.key.as_str().strip_prefix(prefix).unwrap_or_default().to_owned();
        if !filter(&name) {
            plan.ignored += 1;
        } else if let Some(reason) = reason_of(&name).or_else(|| is_below_state(&walk, &name)) {
            plan.left_out.push(LeftOut::new(name, reason));
        } else if meta.size == 0 && (name.is_empty() || name.ends_with('/')) {
            let name = name.strip_suffix('/').unwrap_or_default();
            if !name.is_empty() {
                check_name(&meta.key, name)?;
                markers.insert(name.to_owned());
            }
        } else {
            check_name(&meta.key, &name)?;
            wanted.insert(name, meta);
        }
    }
    markers.retain(|name| !wanted.contains_key(name));
    check_folders(&wanted)?;
    check_links(&folder, &walk, wanted.keys().chain(&markers))?;
    for name in markers.into_iter().filter(|name| !walk.folders.contains(name)) {
        plan.folders.push(folder.join(&name));
        plan.folder_names.push(name);
    }
    compare(&mut plan, root.as_ref(), &mut walk, wanted).await?;
    for (name, file) in std::mem::take(&mut walk.files) {
        // Behind a link to a folder is what another name has, too.
        if filter(&name) && !file.is_linked {
            plan.extra.push(folder.join(&name));
            plan.extra_names.push(name);
        } else {
            plan.ignored += 1;
        }
    }
    plan.left_out.extend(walk.left_out);
    let unread = |reason: &RefusalReason| matches!(reason, RefusalReason::LeadsOut(_));
    plan.left_out.extend(
        walk.refused
            .into_iter()
            .filter(|refused| unread(&refused.reason))
            .map(|refused| LeftOut::new(refused.name, Reason::LeadsOut)),
    );
    plan.ignored += plan.left_out.len();
    Ok(plan)
}

/// Finds out which of the wanted objects are there already.
async fn compare(
    plan: &mut DownPlan,
    root: Option<&Root>,
    walk: &mut Walk,
    wanted: BTreeMap<String, ObjectMeta>,
) -> Result<()> {
    let compared: Vec<_> = wanted.into_iter().map(|(name, meta)| (walk.files.remove(&name), name, meta)).collect();
    let mut compared = stream::iter(compared.into_iter().map(async |(file, name, meta)| {
        let is_new = file.is_none();
        let is_same = match (file, root) {
            (Some(file), Some(root)) if file.size == meta.size => has_bytes(&meta, root, &name).await?,
            _ => false,
        };
        Ok::<_, Error>((name, meta, is_new, is_same))
    }))
    .buffered(4);
    while let Some((name, meta, is_new, is_same)) = compared.try_next().await? {
        if is_same {
            plan.unchanged += 1;
            continue;
        }
        let path = plan.folder.join(&name);
        // A link in its place is replaced.
        let is_new = is_new && path.symlink_metadata().is_err();
        plan.names.insert(meta.key.clone(), (name, is_new));
        plan.downloads.push(Download { key: meta.key, path, size: meta.size });
    }
    Ok(())
}

/// Does what the plan says; `done` hears of each download when its file is whole. Each is written beside its place first: what
/// is there stays whole until the new one is. Deletes only after every download.
///
/// # Errors
/// The first failure, with the file's name; what was downloaded until then stays, and a new plan goes on from there.
/// [`DownPlan::check_delete`] where it is to delete.
///
/// ```
/// use isobar_storage::memory::MemoryStore;
/// use isobar_storage::sync::{ApplyOptions, apply_down, everything, plan_down};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// std::fs::write(folder.path().join("old.txt"), "")?;
/// let bucket = MemoryStore::new();
/// let changes = plan_down(&bucket, "", folder.path(), &everything).await?;
/// apply_down(&changes, &bucket, &ApplyOptions::default().with_delete(true), |_| {}).await?;
/// assert!(!folder.path().join("old.txt").exists());
/// # Ok(())
/// # }
/// ```
pub async fn apply_down(
    plan: &DownPlan,
    store: &dyn ObjectStore,
    options: &ApplyOptions,
    mut done: impl FnMut(&Download),
) -> Result<()> {
    if options.delete {
        plan.check_delete()?;
    }
    let folder = plan.folder.clone();
    let walk_options = plan.options.clone();
    let root = blocking(move || {
        fs::create_dir_all(&folder)
            .map_err(|error| plain(format_args!("cannot create the folder {}", folder.display()), error))?;
        Root::open(&folder, &walk_options)
    });
    let root = &root.await?;
    let here = root.clone();
    let folders = plan.folder_names.clone();
    blocking(move || folders.iter().try_for_each(|name| here.create_folder(name))).await?;
    let mut downloads = stream::iter(plan.downloads.iter().map(async |download| {
        let named =
            |error: Error| Error::new(error.kind(), format!("{}: {error}", download.path.display())).with_source(error);
        // Every download of a plan has its name.
        if let Some((name, is_new)) = plan.names.get(&download.key) {
            fetch(store, root, download, name, *is_new).await.map_err(named)?;
        }
        Ok::<_, Error>(download)
    }))
    .buffer_unordered(options.concurrency.max(1));
    while let Some(download) = downloads.try_next().await? {
        done(download);
    }
    if options.delete {
        let here = root.clone();
        let extra = plan.extra_names.clone();
        blocking(move || extra.iter().try_for_each(|name| here.remove_file(name))).await?;
    }
    Ok(())
}

async fn fetch(store: &dyn ObjectStore, root: &Root, download: &Download, name: &str, is_new: bool) -> Result<()> {
    let found = store.get(&download.key, GetOptions::default()).await?.into_object();
    let gone = || Error::new(ErrorKind::Unavailable, "the object has gone since it was listed; plan again");
    let (_, body) = found.ok_or_else(gone)?;
    let root = root.clone();
    let name = name.to_owned();
    let mut file = blocking(move || root.create_file(&name)).await?;
    let mut chunks = body.into_stream();
    while let Some(chunk) = chunks.try_next().await? {
        file = blocking(move || file.write(&chunk)).await?;
    }
    blocking(move || file.finish(is_new)).await
}

/// The files of a target, which need not be there.
fn walk_target(folder: &Path, options: &WalkOptions) -> Result<(Option<Root>, Walk)> {
    match fs::metadata(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let failed = |error| plain(format_args!("cannot open {}", folder.display()), error);
            States::new(&options.state).check_root(folder, &real_path(folder).map_err(failed)?)?;
            Ok((None, Walk::default()))
        }
        _ => {
            let root = Root::open(folder, options)?;
            let walk = root.walk()?;
            Ok((Some(root), walk))
        }
    }
}

/// Whether a name leads into what the walk has left out as state.
fn is_below_state(walk: &Walk, name: &str) -> Option<Reason> {
    let is_below =
        |folder: &str| name.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let is_state = |reason| matches!(reason, Reason::State | Reason::WranglerState | Reason::Secret | Reason::System);
    let mut state = walk.left_out.iter().filter(|left_out| is_state(left_out.reason));
    state.find(|left_out| is_below(&left_out.name)).map(|left_out| left_out.reason)
}

/// The folders that these names are in.
fn folders_of<'n>(names: impl IntoIterator<Item = &'n String>) -> BTreeSet<&'n str> {
    names.into_iter().flat_map(|name| name.match_indices('/').map(|(at, _)| &name[..at])).collect()
}

/// Refuses to write through a link that leads out of the folder, or nowhere.
fn check_links<'n>(folder: &Path, walk: &Walk, names: impl IntoIterator<Item = &'n String>) -> Result<()> {
    let folders = folders_of(names);
    let links: Vec<String> = walk
        .refused
        .iter()
        .filter(|refused| folders.contains(refused.name.as_str()))
        .map(|refused| match &refused.reason {
            RefusalReason::LeadsOut(target) | RefusalReason::Dangling(target) => {
                format!("{} is a link out of the folder, to {}", folder.join(&refused.name).display(), target.display())
            }
            _ => format!("{} cannot be read", folder.join(&refused.name).display()),
        })
        .collect();
    if links.is_empty() {
        return Ok(());
    }
    let message = format!("{}; put a folder in its place, or follow it with --follow-links", links.join("; "));
    Err(Error::new(ErrorKind::InvalidArgument, message))
}

/// Refuses keys of which one is a file where another needs a folder.
fn check_folders(wanted: &BTreeMap<String, ObjectMeta>) -> Result<()> {
    let folders = folders_of(wanted.keys());
    match wanted.keys().find(|name| folders.contains(name.as_str())) {
        None => Ok(()),
        Some(name) => {
            let message = format!("{name} is an object, and others are below {name}/: a folder cannot have both");
            Err(Error::new(ErrorKind::InvalidKey, message).during("sync"))
        }
    }
}
