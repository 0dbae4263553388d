//! Consistent reads of both tiers.
//!
//! A compaction moves events from one tier to the other while others read. A snapshot opens every file that it will read, between two
//! looks at the manifest; where it has changed in between, the snapshot is taken again. Files that are open stay readable when they are
//! removed. Objects of an archive do not: a reader that finds one gone looks at the manifest again, and fails where that names it no more.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[cfg(feature = "query")]
use super::archive::ArchiveStore;
use super::log::LogSegment;
use super::manifest::{Entry, Manifest, Quarantined};
use super::segment::{self, DurableEnd};
use crate::{Damage, Error, ErrorKind, Result, ScanOptions};

/// How often a snapshot is tried. Compactions take seconds, so the second try is good.
const TRIES: usize = 100;

/// The files of a dataset at one moment, open.
///
/// Cloning shares the open files. Holding one keeps the disk space of files that were removed meanwhile: a reader that stops reading keeps
/// them until it is dropped.
#[derive(Debug, Clone, Default)]
pub(super) struct Snapshot {
    /// The log segments whose events are in no columnar segment, oldest first.
    pub(super) log: Vec<LogSegment>,
    /// The columnar segments, oldest first.
    pub(super) columnar: Vec<ColumnarSegment>,
    /// Number of columnar segments that have no selected events.
    #[cfg(feature = "query")]
    pub(super) pruned: u64,
    /// Damage that is known already: quarantined and missing segments.
    pub(super) damage: Damage,
}

/// An open columnar segment.
#[derive(Debug, Clone)]
pub(super) struct ColumnarSegment {
    #[cfg_attr(not(feature = "query"), allow(dead_code, reason = "without the feature it is an error to find one"))]
    pub(super) entry: Entry,
    #[cfg_attr(not(feature = "query"), allow(dead_code, reason = "without the feature it is an error to find one"))]
    pub(super) file: SegmentFile,
}

/// The bytes of a columnar segment.
#[derive(Debug, Clone)]
pub(super) enum SegmentFile {
    /// An open file of the folder.
    Local(#[cfg_attr(not(feature = "query"), allow(dead_code, reason = "as that of its segment"))] Arc<File>),
    /// An object of the archive.
    #[cfg(feature = "query")]
    Archived(Archived),
}

/// An object of a dataset's archive.
#[cfg(feature = "query")]
#[derive(Debug, Clone)]
pub(super) struct Archived {
    /// The dataset's folder.
    pub(super) folder: PathBuf,
    pub(super) store: Arc<dyn ArchiveStore>,
    /// Name of the object.
    pub(super) name: String,
}

/// The places in which a dataset's events are.
#[derive(Debug, Clone)]
pub(super) struct Dataset {
    pub(super) folder: PathBuf,
    /// The segment that this process writes to, and its end.
    pub(super) end: Arc<DurableEnd>,
    /// The archive, if the dataset was opened with one.
    #[cfg(feature = "query")]
    pub(super) archive: Option<Arc<dyn ArchiveStore>>,
}

impl Dataset {
    /// Returns the dataset of a folder, which this process does not write to yet, without an archive.
    pub(super) fn of(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            end: Arc::default(),
            #[cfg(feature = "query")]
            archive: None,
        }
    }

    /// Opens the bytes of a columnar segment; `None` where its file is missing.
    ///
    /// # Errors
    /// As [`archive_of`]; I/O errors.
    pub(super) fn open(&self, manifest: &Manifest, entry: &Entry) -> Result<Option<SegmentFile>> {
        if let Some(object) = &entry.object {
            return self.archived(manifest, object).map(Some);
        }
        let path = self.folder.join(entry.name());
        match File::open(&path) {
            Ok(file) => Ok(Some(SegmentFile::Local(Arc::new(file)))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io(&path, error)),
        }
    }

    #[cfg(feature = "query")]
    fn archived(&self, manifest: &Manifest, object: &str) -> Result<SegmentFile> {
        let store = archive_of(manifest, self.archive.as_ref())?;
        let archived = Archived { folder: self.folder.clone(), store: Arc::clone(store), name: object.to_owned() };
        Ok(SegmentFile::Archived(archived))
    }

    #[cfg(not(feature = "query"))]
    fn archived(&self, manifest: &Manifest, _object: &str) -> Result<SegmentFile> {
        Err(without_archive(manifest))
    }
}

#[cfg(feature = "query")]
impl Archived {
    /// Whether the dataset still has the object: not where it has expired, or was written again, since the snapshot was taken.
    pub(super) fn is_current(&self) -> Result<bool> {
        let manifest = Manifest::read(&self.folder)?;
        Ok(manifest.segments.iter().any(|entry| entry.object.as_deref() == Some(&self.name)))
    }
}

/// Returns the archive with a manifest's objects: this one, if it is.
///
/// # Errors
/// [`ErrorKind::Unsupported`] where there is none, or another one.
#[cfg(feature = "query")]
pub(super) fn archive_of<'a>(
    manifest: &Manifest,
    store: Option<&'a Arc<dyn ArchiveStore>>,
) -> Result<&'a Arc<dyn ArchiveStore>> {
    let store = store.ok_or_else(|| without_archive(manifest))?;
    let location = store.location();
    match &manifest.archive {
        Some(archive) if *archive != location && manifest.uses_archive() => {
            let message = format!(
                "the dataset has segments in the archive {archive}, and was opened with {location}; open it with the former"
            );
            Err(Error::new(ErrorKind::Unsupported, message))
        }
        _ => Ok(store),
    }
}

fn without_archive(manifest: &Manifest) -> Error {
    let archive = manifest.archive.as_deref().unwrap_or("of an unknown place");
    let message = format!("the dataset has segments in the archive {archive}; open it with that");
    Error::new(ErrorKind::Unsupported, message)
}

impl Snapshot {
    /// Opens the segments that may have selected events, each log segment up to its durable end.
    ///
    /// The proof: with the same generation before and after, every log segment was opened while it was not covered, or was left out because it
    /// was; so each event is in exactly one of the opened files, whatever was removed in between.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] where the manifest is damaged; [`ErrorKind::Unsupported`] where a segment is in an archive with which the dataset
    /// was not opened; I/O errors.
    pub(super) fn take(dataset: &Dataset, options: &ScanOptions) -> Result<Self> {
        let folder = &dataset.folder;
        for _ in 0..TRIES {
            let manifest = Manifest::read(folder)?;
            let snapshot = Self::of(&manifest, dataset, options)?;
            // A log segment that has gone without a new manifest has expired.
            if Manifest::read(folder)?.generation == manifest.generation {
                return Ok(snapshot);
            }
        }
        let message = format!("{}: the segments change faster than they can be opened", folder.display());
        Err(Error::new(ErrorKind::Unavailable, message))
    }

    fn of(manifest: &Manifest, dataset: &Dataset, options: &ScanOptions) -> Result<Self> {
        let mut snapshot = Self::default();
        for listed in segment::to_read(&dataset.folder, &dataset.end, options)? {
            if manifest.covered.contains(&listed.number) {
                continue;
            }
            if let Some(segment) = listed.open()? {
                snapshot.log.push(segment);
            }
        }
        for entry in &manifest.segments {
            if !overlaps(entry.from, entry.until, options) {
                #[cfg(feature = "query")]
                {
                    snapshot.pruned += 1;
                }
                continue;
            }
            match dataset.open(manifest, entry)? {
                Some(file) => snapshot.columnar.push(ColumnarSegment { entry: entry.clone(), file }),
                None => snapshot.damage.merge(damage(entry.name(), 1, entry.bytes)),
            }
        }
        for Quarantined { name, bytes, stretches, from, until, .. } in &manifest.quarantined {
            if overlaps(*from, *until, options) {
                snapshot.damage.merge(damage(name.clone(), *stretches, *bytes));
            }
        }
        Ok(snapshot)
    }
}

/// Returns the damage of one segment.
pub(super) fn damage(name: String, stretches: u64, bytes: u64) -> Damage {
    Damage { stretches, bytes, files: [name].into() }
}

/// Whether some time from the first to the last of these, in milliseconds, is selected.
pub(super) fn overlaps(from: i64, until: i64, options: &ScanOptions) -> bool {
    options.from.is_none_or(|wanted| wanted.timestamp_millis() <= until)
        && options.until.is_none_or(|wanted| from < wanted.timestamp_millis())
}
