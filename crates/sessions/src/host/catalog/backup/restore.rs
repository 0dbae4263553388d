//! Objects out of a backup.

use std::collections::BTreeSet;
use std::path::Path;

use super::fetch::{Fetch, ObjectFile};
use super::format::{Entry, Manifest, Names};
use super::lists::{self, Entries};
use super::remote::{Remote, with_target};
use super::{BackupTarget, RestoreOptions, RestoreReport};
use crate::host::catalog::place::{Placing, is_occupied};
use crate::host::catalog::{CatalogWriter, OnExisting};
use crate::host::disk;
use crate::{Error, ErrorKind, IdScheme, Result};

/// Puts objects of a backup into the folder of a host, each whole and durable, with all that its database has: rows, keys, timers, and its
/// alarm, which runs when the host starts if its time is over. The folder is created if there is none; no host may run in it.
///
/// Where an object is there already nothing is restored, unless the options say what becomes of it. Memory is bounded: some blocks of 4 MiB.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`] where the backup has no complete run, not the one that is asked for, or not an object, and where an object
/// is there already; [`ErrorKind::Decode`] for a backup that is damaged, [`ErrorKind::InvalidId`] for one of another class,
/// [`ErrorKind::Storage`] and [`ErrorKind::StorageFull`] when the folder cannot be written, or another process hosts it; those of the target.
/// Objects that came before the error are in place.
pub async fn restore(
    target: &dyn BackupTarget,
    root: impl AsRef<Path>,
    namespace: &str,
    options: &RestoreOptions,
) -> Result<RestoreReport> {
    let root = root.as_ref().to_owned();
    let namespace = namespace.to_owned();
    let options = options.clone();
    with_target(target, move |remote| Restore::begin(remote, &namespace, &options)?.run(&root, &namespace)).await
}

/// A complete run, and the objects of it that are wanted.
struct Restore<'a> {
    remote: &'a Remote,
    names: Names,
    run: String,
    manifest: Manifest,
    /// Ids of the objects; `None` for all.
    wanted: Option<BTreeSet<String>>,
    options: &'a RestoreOptions,
}

/// Chooses a complete run, and reads its manifest. Returns the names of all complete ones, too.
pub(super) fn choose(
    remote: &Remote,
    names: &Names,
    class: &str,
    run: Option<&str>,
) -> Result<(String, Manifest, Vec<String>)> {
    let runs = lists::runs(remote, names)?.into_iter().filter(|run| run.is_complete);
    let mut runs: Vec<_> = runs.map(|run| run.name).collect();
    let wrong = |message: String| Error::new(ErrorKind::InvalidArgument, message);
    let chosen = match run {
        Some(run) if runs.iter().any(|known| known == run) => run.to_owned(),
        Some(run) => {
            let known = runs.split_off(runs.len().saturating_sub(10)).join(", ");
            return Err(wrong(format!("the backup of {class} has no complete run {run:?}; the newest are: {known}")));
        }
        None => runs.last().cloned().ok_or_else(|| wrong(format!("there is no complete backup of {class} there")))?,
    };
    let manifest = lists::manifest(remote, names, &chosen, class)?;
    Ok((chosen, manifest, runs))
}

impl<'a> Restore<'a> {
    fn begin(remote: &'a Remote, class: &str, options: &'a RestoreOptions) -> Result<Self> {
        let names = Names::new(class);
        let (run, manifest, _) = choose(remote, &names, class, options.run.as_deref())?;
        let scheme = IdScheme::new(class);
        let id = |text: &String| scheme.parse(text).unwrap_or_else(|_| scheme.from_name(text)).to_string();
        let wanted = options.objects.as_ref().map(|objects| objects.iter().map(id).collect());
        Ok(Self { remote, names, run, manifest, wanted, options })
    }

    fn is_wanted(&self, entry: &Entry) -> bool {
        self.wanted.as_ref().is_none_or(|wanted| wanted.contains(&entry.id))
    }

    fn entries(&self) -> Entries {
        Entries::of(&self.names, &self.run, &self.manifest)
    }

    /// Looks for the objects, and for those that are in the way, before anything is written.
    fn check(&self, root: &Path) -> Result<()> {
        let wrong = |message: String| Err(Error::new(ErrorKind::InvalidArgument, message));
        let mut missing = self.wanted.clone().unwrap_or_default();
        let mut entries = self.entries();
        while let Some(entry) = entries.next(self.remote)? {
            if !self.is_wanted(&entry) {
                continue;
            }
            missing.remove(&entry.id);
            if entry.blocks.is_empty() && self.wanted.is_some() {
                let why = entry.unread.unwrap_or_default();
                return wrong(format!(
                    "the backup has nothing of the object {}: no run could read it: {why}",
                    entry.id
                ));
            }
            if self.options.existing == OnExisting::Refuse && exists(root, &entry) {
                let name = entry.name.map(|name| format!(" ({name:?})")).unwrap_or_default();
                return wrong(format!("the object {}{name} is there already; nothing was restored", entry.id));
            }
        }
        match missing.first() {
            Some(id) => wrong(format!("the run {} of the backup has no object {id}", self.run)),
            None => Ok(()),
        }
    }

    fn run(&self, root: &Path, class: &str) -> Result<RestoreReport> {
        self.check(root)?;
        let writer = CatalogWriter::create(root, class)?;
        let mut placing = Placing::new(&writer, self.options.existing, "backup");
        let mut report = RestoreReport { run: self.run.clone(), ..RestoreReport::default() };
        let restored = self.place(root, &mut placing, &mut report);
        let placed = placing.place(); // those that came before an error, too
        restored.and(placed)?;
        report.objects = placing.objects;
        report.bytes = placing.bytes;
        Ok(report)
    }

    fn place(&self, root: &Path, placing: &mut Placing<'_>, report: &mut RestoreReport) -> Result<()> {
        let is_restored = |entry: &Entry| {
            if !self.is_wanted(entry) {
                return false;
            }
            if entry.blocks.is_empty() {
                report.missing.push(entry.id.clone());
                return false;
            }
            let is_skipped = self.options.existing == OnExisting::Skip && exists(root, entry);
            report.skipped += u64::from(is_skipped);
            !is_skipped
        };
        let mut fetch = Fetch::new(self.remote, self.names.clone(), self.entries(), is_restored);
        while let Some(entry) = fetch.next_object()? {
            let id = id_of(&entry)?;
            let mut file = ObjectFile::new(&mut fetch, &entry);
            let received = placing.receive(id, &mut file);
            if let Some(error) = file.failure() {
                return Err(error);
            }
            let draft = received?;
            if draft.bytes != entry.bytes {
                return Err(placing.wrong(&format!("the object {} does not have its size", entry.id)));
            }
            placing.accept(draft, entry.name)?;
        }
        Ok(())
    }
}

/// The bytes of an object's id.
pub(super) fn id_of(entry: &Entry) -> Result<[u8; 32]> {
    let bytes = hex::decode(&entry.id).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| Error::new(ErrorKind::Decode, format!("invalid id in the backup: {:?}", entry.id)))
}

/// Whether an object is in the folder of a host. One with an invalid id is not.
fn exists(root: &Path, entry: &Entry) -> bool {
    id_of(entry).is_ok_and(|id| is_occupied(&disk::object_file(&root.join(disk::OBJECTS), &id)))
}
