//! A bucket into a folder of files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use futures_util::{StreamExt, TryStreamExt, stream};

use super::up::has_bytes;
use super::{ApplyOptions, Filter, is_ignored, is_path_below};
use crate::local::blocking;
use crate::{Error, ErrorKind, GetOptions, Key, ListOptions, ObjectMeta, ObjectStore, ObjectStoreExt, Result, rules};

/// What is to be done to a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DownPlan {
    /// Objects that have no file yet, or another one.
    pub downloads: Vec<Download>,
    /// Files without an object. [`apply_down`] deletes them only if it is told to.
    pub extra: Vec<PathBuf>,
    /// Objects whose file is the same.
    pub unchanged: usize,
    /// Objects and files that the filter does not take, and files that are never synced: `.git`, `.DS_Store`, `Thumbs.db`.
    pub ignored: usize,
}

impl DownPlan {
    /// Bytes to download.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.downloads.iter().map(|download| download.size).sum()
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
/// # Errors
/// [`ErrorKind::InvalidKey`] where a key makes no path below the folder (empty parts, `.`, `..`), or needs a folder where
/// another key has a file: a file system cannot have both. What the store and the folder fail with.
pub async fn plan_down(
    store: &dyn ObjectStore,
    prefix: &str,
    folder: impl AsRef<Path>,
    filter: Filter<'_>,
) -> Result<DownPlan> {
    let root = folder.as_ref().to_owned();
    let here = root.clone();
    let mut files = blocking(move || walk(&here)).await.map_err(|error| error.during("sync"))?;
    let mut plan = DownPlan::default();
    let objects: Vec<ObjectMeta> = store.list_all(ListOptions::default().with_prefix(prefix)).try_collect().await?;
    let mut wanted = BTreeMap::new();
    for meta in objects {
        let name = meta.key.as_str().strip_prefix(prefix).unwrap_or_default().to_owned();
        if filter(&name) && !is_ignored(&name) {
            check_name(&meta.key, &name)?;
            wanted.insert(name, meta);
        } else {
            plan.ignored += 1;
        }
    }
    check_folders(&wanted)?;
    let (names, here): (Vec<String>, _) = (wanted.keys().cloned().collect(), root.clone());
    blocking(move || check_links(&here, &names)).await.map_err(|error| error.during("sync"))?;
    let compared: Vec<_> = wanted.into_iter().map(|(name, meta)| (files.remove(&name), name, meta)).collect();
    let mut compared = stream::iter(compared.into_iter().map(async |(file, name, meta)| {
        let path = root.join(&name);
        let is_same = file.is_some_and(|size| size == meta.size) && has_bytes(&meta, &path).await?;
        Ok::<_, Error>((Download { key: meta.key, path, size: meta.size }, is_same))
    }))
    .buffered(4);
    while let Some((download, is_same)) = compared.try_next().await? {
        if is_same {
            plan.unchanged += 1;
        } else {
            plan.downloads.push(download);
        }
    }
    for name in files.into_keys() {
        if filter(&name) && !is_ignored(&name) {
            plan.extra.push(root.join(name));
        } else {
            plan.ignored += 1;
        }
    }
    Ok(plan)
}

/// Does what the plan says; `done` hears of each download when its file is whole. Each is written beside its place first: what
/// is there stays whole until the new one is. Deletes only after every download.
///
/// # Errors
/// The first failure, with the file's name; what was downloaded until then stays, and a new plan goes on from there.
pub async fn apply_down(
    plan: &DownPlan,
    store: &dyn ObjectStore,
    options: &ApplyOptions,
    mut done: impl FnMut(&Download),
) -> Result<()> {
    let mut downloads = stream::iter(plan.downloads.iter().map(async |download| {
        let named =
            |error: Error| Error::new(error.kind(), format!("{}: {error}", download.path.display())).with_source(error);
        fetch(store, download).await.map_err(named)?;
        Ok::<_, Error>(download)
    }))
    .buffer_unordered(options.concurrency.max(1));
    while let Some(download) = downloads.try_next().await? {
        done(download);
    }
    if options.delete {
        let extra = plan.extra.clone();
        blocking(move || extra.iter().try_for_each(|path| remove(path))).await?;
    }
    Ok(())
}

async fn fetch(store: &dyn ObjectStore, download: &Download) -> Result<()> {
    let found = store.get(&download.key, GetOptions::default()).await?.into_object();
    let gone = || Error::new(ErrorKind::Unavailable, "the object has gone since it was listed; plan again");
    let (_, body) = found.ok_or_else(gone)?;
    let path = download.path.clone();
    let mut file = blocking(move || Beside::create(path)).await?;
    let mut chunks = body.into_stream();
    while let Some(chunk) = chunks.try_next().await? {
        file = blocking(move || file.write(&chunk)).await?;
    }
    blocking(move || file.finish()).await
}

/// A file that is written beside its place; gone again unless it is finished.
struct Beside {
    path: PathBuf,
    part: PathBuf,
    file: File,
    is_whole: bool,
}

impl Beside {
    fn create(path: PathBuf) -> Result<Self> {
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)
            .map_err(|error| Error::io(format_args!("cannot create {}", folder.display()), error))?;
        let part = folder.join(format!(".{}.part", rules::random_id()?));
        let file = File::create_new(&part).map_err(|error| Error::io(part.display(), error))?;
        Ok(Self { path, part, file, is_whole: false })
    }

    fn write(mut self, chunk: &[u8]) -> Result<Self> {
        self.file.write_all(chunk).map_err(|error| Error::io(self.part.display(), error))?;
        Ok(self)
    }

    fn finish(mut self) -> Result<()> {
        self.file.sync_data().map_err(|error| Error::io(self.part.display(), error))?;
        fs::rename(&self.part, &self.path).map_err(|error| Error::io(self.path.display(), error))?;
        self.is_whole = true;
        Ok(())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if !self.is_whole {
            drop(fs::remove_file(&self.part));
        }
    }
}

/// Refuses a name that would lead somewhere else, or nowhere.
fn check_name(key: &Key, name: &str) -> Result<()> {
    if !is_path_below(name) {
        let message = format!("{key} makes no file below the folder; leave it out by a filter");
        return Err(Error::new(ErrorKind::InvalidKey, message).during("sync"));
    }
    Ok(())
}

/// The folders that these names are in.
fn folders_of<'n>(names: impl IntoIterator<Item = &'n String>) -> BTreeSet<&'n str> {
    names.into_iter().flat_map(|name| name.match_indices('/').map(|(at, _)| &name[..at])).collect()
}

/// Refuses to write through a link to a folder, which may lead anywhere.
fn check_links(root: &Path, names: &[String]) -> Result<()> {
    match folders_of(names).into_iter().map(|folder| root.join(folder)).find(|folder| folder.is_symlink()) {
        None => Ok(()),
        Some(link) => {
            let message = format!("{} is a link; put a folder in its place", link.display());
            Err(Error::new(ErrorKind::InvalidArgument, message))
        }
    }
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

/// The files below a folder with their sizes, by their path with slashes. Links are left alone.
fn walk(root: &Path) -> Result<BTreeMap<String, u64>> {
    let (mut files, mut folders) = (BTreeMap::new(), vec![(root.to_owned(), String::new())]);
    while let Some((folder, prefix)) = folders.pop() {
        let failed = |error| Error::io(format_args!("cannot read {}", folder.display()), error);
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && folder == root => return Ok(files),
            entries => entries.map_err(failed)?,
        };
        for entry in entries {
            let entry = entry.map_err(failed)?;
            // What no key can be is no file of ours.
            let Ok(name) = entry.file_name().into_string() else { continue };
            let meta = entry.metadata().map_err(failed)?;
            if meta.is_dir() {
                folders.push((entry.path(), format!("{prefix}{name}/")));
            } else if meta.is_file() {
                files.insert(format!("{prefix}{name}"), meta.len());
            }
        }
    }
    Ok(files)
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io(format_args!("cannot remove {}", path.display()), error))
        }
        _ => Ok(()),
    }
}
