//! Putting the objects that have changed.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use isobar_base::fs::SqliteFile;
use isobar_base::io::Class;

use super::format::{self, BLOCK, Entry, FORMAT, Manifest, Names, Run, VERSION, digest, push_line, seal};
use super::lists::{self, Earlier, Entries, Lists};
use super::prune::prune;
use super::remote::{Remote, with_target};
use super::stamp::stamp;
use super::{BackupOptions, BackupReport, BackupTarget};
use crate::host::catalog::reader::Reader;
use crate::host::catalog::{Catalog, CatalogEntry, CatalogListOptions, Guard};
use crate::host::disk::failed;
use crate::{Error, ErrorKind, Result};

/// Broken-off runs that are looked at for what they have put.
const BROKEN: usize = 4;

/// A backup of the objects in a host's folder into a target. One process at a time runs it, beside the host or while none runs.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
///
/// use isobar_sessions::backup::{Backup, FolderTarget};
///
/// # let folder = tempfile::tempdir()?;
/// # let folder = folder.path();
/// let target = Arc::new(FolderTarget::new(folder.join("backup")));
/// // A folder that is not there is an error, rather than a backup of nothing.
/// let missing = Backup::new(folder.join("sessions"), "Counter", target);
/// assert!(missing.run().await.is_err());
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Backup {
    root: PathBuf,
    namespace: String,
    target: Arc<dyn BackupTarget>,
    options: BackupOptions,
}

impl Backup {
    /// A backup of the objects of this namespace, which are in this folder, into this target.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>, namespace: &str, target: Arc<dyn BackupTarget>) -> Self {
        Self { root: root.into(), namespace: namespace.to_owned(), target, options: BackupOptions::default() }
    }

    /// Sets how many runs are kept, and whether all is read.
    #[must_use]
    pub fn with_options(mut self, options: BackupOptions) -> Self {
        self.options = options;
        self
    }

    /// Puts what has changed since the last run, and removes runs that are too old. Each object is copied at one moment, not all of them at
    /// the same; objects that were deleted are not in the run. Where nothing has changed no run is added.
    ///
    /// A run that fails or is dropped leaves the complete ones as they are, and the next run goes on with what it has put. An object
    /// that cannot be read (damaged, on a bad part of the disk, or written to all the time) stays as the run before has it, and is in the
    /// report.
    /// A run that another process has overtaken fails, and what it has listed is removed: the other one may have removed blocks of it.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`] when there is no such folder, it cannot be read, or another run into the target has ended meanwhile;
    /// [`ErrorKind::Storage`] or [`ErrorKind::StorageFull`] when the system's folder of temporary files cannot be written;
    /// [`ErrorKind::Overloaded`] when a host changes its index all the time; those of the target.
    pub async fn run(&self) -> Result<BackupReport> {
        let root = self.root.clone();
        let namespace = self.namespace.clone();
        let options = self.options.clone();
        let work = move |remote: &mut Remote| run(&Catalog::open(root, &namespace)?, remote, &options);
        with_target(&*self.target, work).await
    }
}

/// A run in flight.
struct Running<'a> {
    catalog: &'a Catalog,
    names: Names,
    /// Lists of earlier runs, the newest first.
    earlier: Vec<Earlier>,
    /// Names of the runs that were complete when this one began.
    complete: BTreeSet<String>,
    lists: Lists,
    is_full: bool,
    /// Bytes of the databases of all objects.
    total: u64,
    report: BackupReport,
}

fn run(catalog: &Catalog, remote: &mut Remote, options: &BackupOptions) -> Result<BackupReport> {
    let begun = Utc::now();
    let names = Names::new(&catalog.namespace);
    let mut runs = lists::runs(remote, &names)?;
    let complete = runs.iter().rposition(|run| run.is_complete);
    let broken = &runs[complete.map_or(0, |at| at + 1)..];
    let last = complete.map(|at| runs[at].name.clone());
    let manifest =
        last.as_deref().and_then(|run| readable(lists::manifest(remote, &names, run, &catalog.namespace)).transpose());
    let manifest = manifest.transpose()?;
    if let (Some(last), Some(manifest), true, false) = (&last, &manifest, broken.is_empty(), options.full)
        && is_unchanged(catalog, remote, Entries::of(&names, last, manifest))?
    {
        return Ok(BackupReport { run: last.clone(), objects: manifest.objects, ..BackupReport::default() });
    }
    let mut earlier: Vec<_> = broken.iter().rev().take(BROKEN).map(|run| Entries::of_broken(&names, run)).collect();
    earlier.extend(last.as_deref().zip(manifest.as_ref()).map(|(run, manifest)| Entries::of(&names, run, manifest)));
    let name = format::run_name(runs.last().map_or(1, |run| run.number() + 1), begun)?;
    let mut running = Running {
        catalog,
        lists: Lists::new(&names, &name),
        names,
        earlier: earlier.into_iter().map(Earlier::new).collect(),
        complete: runs.iter().filter(|run| run.is_complete).map(|run| run.name.clone()).collect(),
        is_full: options.full,
        total: 0,
        report: BackupReport { run: name.clone(), ..BackupReport::default() },
    };
    each_object(catalog, |entry| running.add(remote, entry).map(|()| true))?;
    running.end(remote, begun)?;
    let lists = running.lists.digests.len();
    runs.push(Run { name, lists, is_complete: true });
    prune(remote, &running.names, &catalog.namespace, &runs, options.keep, &mut running.report)?;
    Ok(running.report)
}

/// `None` for what is damaged.
fn readable<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::Decode => Ok(None),
        Err(error) => Err(error),
    }
}

/// Shows all objects in the order of their ids, until `look` returns `false`.
fn each_object(catalog: &Catalog, mut look: impl FnMut(CatalogEntry) -> Result<bool>) -> Result<()> {
    let mut options = CatalogListOptions::default();
    loop {
        let page = catalog.list(&options)?;
        for entry in page.objects {
            if !look(entry)? {
                return Ok(());
            }
        }
        if page.cursor.is_none() {
            return Ok(());
        }
        options = options.with_after(page.cursor);
    }
}

/// Whether all objects are those of a run, and unchanged.
fn is_unchanged(catalog: &Catalog, remote: &Remote, entries: Entries) -> Result<bool> {
    let mut earlier = Earlier::new(entries);
    let mut is_same = true;
    each_object(catalog, |entry| {
        let known = earlier.find(remote, &entry.id.to_string())?;
        let stamp = stamp_of(catalog, &entry);
        is_same = !earlier.is_other && known.is_some_and(|known| known.is_of(stamp.as_deref()));
        Ok(is_same)
    })?;
    Ok(is_same && !earlier.has_more(remote)? && !earlier.is_other)
}

/// The mark of an object's files; `None` where they are not to be trusted, or have none: then they are read, which says why not.
fn stamp_of(catalog: &Catalog, entry: &CatalogEntry) -> Option<String> {
    let trusted = entry.damage.is_none().then(|| catalog.file(&entry.id))?;
    stamp(&trusted).ok().flatten()
}

impl Running<'_> {
    /// Adds an object to the run, if it is there still.
    fn add(&mut self, remote: &mut Remote, entry: CatalogEntry) -> Result<()> {
        let id = entry.id.to_string();
        let mut known = None;
        for earlier in &mut self.earlier {
            let found = earlier.find(remote, &id)?;
            known = known.or(found);
        }
        // Before the copy: what changes afterwards has another mark.
        let stamp = stamp_of(self.catalog, &entry);
        let added = match known {
            Some(known) if !self.is_full && known.is_of(stamp.as_deref()) => known,
            known => {
                let guard = self.catalog.guard()?;
                match self.detached(&entry, guard) {
                    Ok(None) => return Ok(()), // deleted meanwhile
                    Ok(Some(file)) => self.copy(remote, &entry, file, stamp, known.as_ref())?,
                    Err(error) if self.is_of_object(&entry, &error) => {
                        let why = error.to_string();
                        let name = entry.id.name().map(str::to_owned);
                        self.report.unread.push((entry.id, why.clone()));
                        let nothing = Entry {
                            id,
                            name,
                            bytes: 0,
                            blocks: Vec::new(),
                            copied: Utc::now(),
                            stamp: None,
                            unread: None,
                        };
                        Entry { stamp: None, unread: Some(why), ..known.unwrap_or(nothing) }
                    }
                    Err(error) => return Err(error),
                }
            }
        };
        if !added.blocks.is_empty() {
            self.report.objects += 1;
            self.total += added.bytes;
        }
        self.lists.push(remote, &added)
    }

    /// Opens an object's file to be read without the guard; `None` where there is none.
    fn detached(&self, entry: &CatalogEntry, guard: Guard) -> Result<Option<Detached>> {
        let Some(reader) = self.open(entry, &guard)? else { return Ok(None) };
        let file = detach(&reader).map_err(|error| failed(reader.file(), "copied", &error))?;
        let name = entry.id.name().map(str::to_owned).or_else(|| reader.name().ok().flatten());
        let copy = Some(reader).filter(Reader::is_copy);
        drop(guard); // no host waits for the target
        Ok(Some(Detached { name, file, _copy: copy }))
    }

    /// Whether an error is that of one object's files, which ends no run, and not that of the folder of temporary files.
    fn is_of_object(&self, entry: &CatalogEntry, error: &Error) -> bool {
        match error.kind() {
            ErrorKind::Damaged | ErrorKind::Overloaded => true,
            ErrorKind::Storage => is_unreadable(&self.catalog.file(&entry.id)),
            _ => false,
        }
    }

    /// Opens an object's file, which SQLite finds nothing wrong with.
    fn open(&self, entry: &CatalogEntry, guard: &Guard) -> Result<Option<Reader>> {
        match (self.catalog.sound_reader(&entry.id, guard)?, &entry.damage) {
            (None, Some(why)) => Err(Error::new(ErrorKind::Damaged, why.as_str())),
            (reader, _) => Ok(reader),
        }
    }

    /// Puts the blocks of an object's file that the earlier one does not have.
    fn copy(
        &mut self,
        remote: &mut Remote,
        entry: &CatalogEntry,
        Detached { name, mut file, _copy }: Detached,
        stamp: Option<String>,
        known: Option<&Entry>,
    ) -> Result<Entry> {
        let copied = Utc::now();
        let known = known.filter(|_| !self.is_full).into_iter();
        let known: BTreeSet<&str> = known.flat_map(|known| known.blocks.iter().map(String::as_str)).collect();
        let unread = |error: io::Error| failed(&self.catalog.file(&entry.id), "read", &error);
        let mut blocks = Vec::new();
        let mut bytes = 0;
        loop {
            let mut block = Vec::new();
            file.by_ref().take(BLOCK as u64).read_to_end(&mut block).map_err(unread)?;
            if block.is_empty() {
                break;
            }
            bytes += block.len() as u64;
            let sha256 = digest(&block);
            if !known.contains(sha256.as_str()) {
                self.report.blocks += 1;
                self.report.bytes += block.len() as u64;
                self.lists.unlisted += block.len() as u64;
                remote.put(self.names.block(&sha256), Bytes::from(block))?;
            }
            blocks.push(sha256);
        }
        self.report.read += 1;
        Ok(Entry { id: entry.id.to_string(), name, bytes, blocks, copied, stamp, unread: None })
    }

    /// Puts the manifest, once everything else is durable.
    fn end(&mut self, remote: &mut Remote, begun: DateTime<Utc>) -> Result<()> {
        self.lists.put(remote)?;
        remote.settle()?;
        self.check_alone(remote)?;
        let manifest = Manifest {
            format: FORMAT.to_owned(),
            version: VERSION,
            class: self.catalog.namespace.clone(),
            begun,
            ended: Utc::now(),
            objects: self.report.objects,
            bytes: self.total,
            unread: self.report.unread.len() as u64,
            lists: self.lists.digests.clone(),
        };
        let mut line = Vec::new();
        push_line(&mut line, &manifest)?;
        remote.put(self.names.manifest(&self.report.run), seal(line)?)?;
        remote.settle()?;
        self.check_alone(remote) // two runs may have ended in the same moment
    }

    /// Fails where another run has ended since this one began: it may have removed blocks that this one names. What this one has listed
    /// is removed, so that no later run goes on with it; an empty list stays, by which the next run finds that there are blocks to remove.
    fn check_alone(&self, remote: &mut Remote) -> Result<()> {
        let runs = lists::runs(remote, &self.names)?;
        let is_other =
            |run: &&Run| run.is_complete && run.name != self.report.run && !self.complete.contains(&run.name);
        let Some(other) = runs.iter().find(is_other) else { return Ok(()) };
        remote.delete(self.names.manifest(&self.report.run))?;
        remote.settle()?;
        for number in 1..self.lists.digests.len() {
            remote.delete(self.names.list(&self.report.run, number))?;
        }
        if !self.lists.digests.is_empty() {
            remote.put(self.names.list(&self.report.run, 0), Bytes::new())?;
        }
        remote.settle()?;
        let message = format!(
            "another run, {}, has ended in the same target meanwhile: one process at a time may back up into it",
            other.name
        );
        Err(Error::new(ErrorKind::Storage, message))
    }
}

/// An object's file that is read without its guard.
struct Detached {
    /// The name that the object was made from, where that is known.
    name: Option<String>,
    file: Box<dyn Read>,
    /// The copy that is read, which ends with this.
    _copy: Option<Reader>,
}

/// Whether a database's file, or its write-ahead log, is there and cannot be read through.
fn is_unreadable(path: &Path) -> bool {
    let read = |path: &Path| match File::open(path) {
        Ok(mut file) => io::copy(&mut file, &mut io::sink()).map(drop),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    let result = read(path).and_then(|()| read(&SqliteFile::Wal.beside(path)));
    // One of the process, such as too many open files, is none of the file.
    result.is_err_and(|error| Class::of(&error) != Class::Temporary)
}

/// Returns an object's file to be read without its guard: one that is read in its place is copied, into memory up to the size of a block
/// and beyond that into the system's folder of temporary files.
fn detach(reader: &Reader) -> io::Result<Box<dyn Read>> {
    let mut file = File::open(reader.file())?;
    if reader.is_copy() {
        return Ok(Box::new(file));
    }
    let mut copy = tempfile::spooled_tempfile(BLOCK);
    io::copy(&mut file, &mut copy)?;
    copy.rewind()?;
    Ok(Box::new(copy))
}
