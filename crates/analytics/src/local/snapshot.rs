//! Consistent reads of both tiers.
//!
//! A compaction moves events from one tier to the other while others read. A snapshot opens every file that it will read, between two
//! looks at the manifest; where it has changed in between, the snapshot is taken again. Files that are open stay readable when they are
//! removed.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

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
    pub(super) file: Arc<File>,
}

impl Snapshot {
    /// Opens the segments that may have selected events, each log segment up to its durable end.
    ///
    /// The proof: with the same generation before and after, every log segment was opened while it was not covered, or was left out because it
    /// was; so each event is in exactly one of the opened files, whatever was removed in between.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] where the manifest is damaged; I/O errors.
    pub(super) fn take(folder: &Path, end: &DurableEnd, options: &ScanOptions) -> Result<Self> {
        for _ in 0..TRIES {
            let manifest = Manifest::read(folder)?;
            let snapshot = Self::of(&manifest, folder, end, options)?;
            // A log segment that has gone without a new manifest has expired.
            if Manifest::read(folder)?.generation == manifest.generation {
                return Ok(snapshot);
            }
        }
        let message = format!("{}: the segments change faster than they can be opened", folder.display());
        Err(Error::new(ErrorKind::Unavailable, message))
    }

    fn of(manifest: &Manifest, folder: &Path, end: &DurableEnd, options: &ScanOptions) -> Result<Self> {
        let mut snapshot = Self::default();
        for listed in segment::to_read(folder, end, options)? {
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
            let path = folder.join(entry.name());
            match File::open(&path) {
                Ok(file) => snapshot.columnar.push(ColumnarSegment { entry: entry.clone(), file: Arc::new(file) }),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    snapshot.damage.merge(damage(entry.name(), 1, entry.bytes));
                }
                Err(error) => return Err(Error::io(&path, error)),
            }
        }
        for Quarantined { name, bytes, stretches, from, until, reason: _ } in &manifest.quarantined {
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
