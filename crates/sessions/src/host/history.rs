//! Histories of a host's objects: whether they are kept, where, and within which bounds.
//!
//! ```text
//! history/settings.json   the bounds; histories are kept while it is there
//! history/ab/ab...db      an object's history, once the object has changed: see `isobar_sqlite::history`
//! ```
//!
//! Everything that opens an object's file keeps its history on, the tools for a folder too: a commit that is copied into the file and is not in
//! the history would make all older states wrong.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use isobar_base::fs::SqliteFile;
use isobar_sqlite::history::{HistoryBounds, HistoryError};
use isobar_sqlite::journal::{Disk, SystemDisk};
use serde::{Deserialize, Serialize};

use super::disk::{self, WriteError, failed};
use super::fault::Fault;
use super::options::{Clock, HistoryOptions, HostOptions};
use crate::{Error, ErrorKind, Result};

/// Name of the folder in that of the host.
pub(super) const FOLDER: &str = "history";
/// Name of the file with the bounds.
const SETTINGS: &str = "settings.json";

/// The histories of a host's objects.
#[derive(Debug)]
pub(super) struct Histories {
    /// The folder; `None` in memory.
    folder: Option<PathBuf>,
    options: HistoryOptions,
    clock: Clock,
    /// When they were opened, by the clock in milliseconds since 1970, and by the machine's monotonic clock.
    opened: i64,
    opened_at: Instant,
    /// Disk with the objects' write-ahead logs.
    pub(super) disk: Arc<dyn Disk>,
}

/// The bounds as they are stored.
#[derive(Debug, Serialize, Deserialize)]
struct Settings {
    max_age_ms: u64,
    max_bytes: u64,
}

impl Histories {
    /// Opens the histories of a host: those that its options ask for, else those that are kept in its folder already.
    ///
    /// # Errors
    /// As [`keep`](Self::keep) and [`find`](Self::find).
    pub(super) fn open(root: Option<&Path>, options: &HostOptions) -> Result<Option<Arc<Self>>> {
        let disk = Arc::clone(&options.journal_disk);
        let clock = options.clock.clone();
        match (root, options.history) {
            (None, None) => Ok(None),
            (None, Some(options)) => Ok(Some(Self::new(None, options, clock, disk))),
            (Some(root), asked) => {
                if let Some(asked) = asked {
                    keep(root, asked)?;
                }
                let kept = read(root)?;
                let folder = Some(root.join(FOLDER));
                Ok(kept.map(|options| Self::new(folder, options, clock, disk)))
            }
        }
    }

    /// Finds the histories that are kept in the folder of a host; `None` where there are none.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`] when their settings cannot be read, [`ErrorKind::Damaged`] when they make no sense.
    pub(super) fn find(root: &Path, clock: Clock) -> Result<Option<Arc<Self>>> {
        let folder = Some(root.join(FOLDER));
        Ok(read(root)?.map(|options| Self::new(folder, options, clock, Arc::new(SystemDisk))))
    }

    fn new(folder: Option<PathBuf>, options: HistoryOptions, clock: Clock, disk: Arc<dyn Disk>) -> Arc<Self> {
        let opened = clock.millis();
        Arc::new(Self { folder, options, clock, opened, opened_at: Instant::now(), disk })
    }

    /// The file with the history of an object's file; `None` in memory.
    pub(super) fn file(&self, object: &Path) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| folder.join(disk::object_name(object)))
    }

    /// Returns the bounds for a time that [`now`](Self::now) has given before. By as much as the clock was set ahead since the
    /// histories were opened, states may be older: else a clock that jumps once would have all of them forgotten.
    pub(super) fn bounds(&self) -> HistoryBounds {
        let passed = i64::try_from(self.opened_at.elapsed().as_millis()).unwrap_or(i64::MAX);
        let ahead = self.now().saturating_sub(self.opened.saturating_add(passed));
        let ahead = Duration::from_millis(u64::try_from(ahead).unwrap_or_default());
        HistoryBounds { max_age: self.options.max_age.saturating_add(ahead), max_bytes: self.options.max_bytes }
    }

    /// Returns the time, in milliseconds since 1970.
    pub(super) fn now(&self) -> i64 {
        self.clock.millis()
    }
}

/// Keeps histories in the folder of a host from now on, within these bounds.
///
/// # Errors
/// [`ErrorKind::Storage`] and [`ErrorKind::StorageFull`] when that cannot be written.
pub(super) fn keep(root: &Path, options: HistoryOptions) -> Result<()> {
    let folder = root.join(FOLDER);
    match read(root) {
        Ok(Some(kept)) if kept == options => return Ok(()),
        Ok(None) => match std::fs::remove_dir_all(&folder) {
            // Left by a deletion that broke off: objects may have changed since.
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed(&folder, "deleted", &error));
            }
            _ => {}
        },
        _ => {}
    }
    let settings = Settings {
        max_age_ms: u64::try_from(options.max_age.as_millis()).unwrap_or(u64::MAX),
        max_bytes: options.max_bytes,
    };
    let text = serde_json::to_vec(&settings)?;
    let path = folder.join(SETTINGS);
    isobar_base::fs::create_dir(&folder).map_err(|error| failed(&folder, "created", &error))?;
    disk::write_whole(&path, &text).map_err(|error| match error {
        WriteError::Write(error) | WriteError::Sync(error) => failed(&path, "written", &error),
    })
}

/// Deletes all histories in the folder of a host, and keeps none from now on. Returns whether there were some.
///
/// # Errors
/// [`ErrorKind::Storage`] when they cannot be deleted.
#[cfg(feature = "catalog")]
pub(super) fn delete(root: &Path) -> Result<bool> {
    let folder = root.join(FOLDER);
    let removed = |path: &Path, result: io::Result<()>| match result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed(path, "deleted", &error)),
    };
    // The settings first: histories of which some are missing are not kept on.
    let settings = folder.join(SETTINGS);
    let was_kept = removed(&settings, std::fs::remove_file(&settings))?;
    if was_kept {
        isobar_base::fs::sync_dir(&folder).map_err(|error| failed(&folder, "synced", &error))?;
    }
    let was_there = removed(&folder, std::fs::remove_dir_all(&folder))?;
    Ok(was_kept || was_there)
}

/// Deletes the history of one object, durably.
///
/// # Errors
/// The system's.
pub(super) fn delete_one(file: &Path) -> io::Result<()> {
    let mut is_removed = false;
    // The log after its database: a log alone is that of no other.
    for path in [file.to_owned()].into_iter().chain(SqliteFile::all_beside(file)) {
        match std::fs::remove_file(path) {
            Ok(()) => is_removed = true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    if is_removed { isobar_base::fs::sync_dir(isobar_base::fs::parent(file)) } else { Ok(()) }
}

/// The bounds of the histories that are kept in the folder of a host.
fn read(root: &Path) -> Result<Option<HistoryOptions>> {
    let path = root.join(FOLDER).join(SETTINGS);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(&path, "read", &error)),
    };
    let settings: Settings = serde_json::from_slice(&text).map_err(|error| {
        let message =
            format!("{} is damaged: {error}; `isobar sessions time-travel enable` writes it anew", path.display());
        Error::new(ErrorKind::Damaged, message).with_source(error)
    })?;
    let age = Duration::from_millis(settings.max_age_ms);
    Ok(Some(HistoryOptions::default().with_max_age(age).with_max_bytes(settings.max_bytes)))
}

/// The kind of the error that a failure of a history is.
pub(super) fn kind_of(error: &HistoryError) -> ErrorKind {
    match error {
        HistoryError::NoState(_) => ErrorKind::History,
        HistoryError::Damaged(_) => ErrorKind::Damaged,
        HistoryError::Sqlite(error) => Fault::of(error).map_or(ErrorKind::Internal, Fault::kind),
        HistoryError::Io(error) => match isobar_base::io::Class::of(error) {
            isobar_base::io::Class::Full => ErrorKind::StorageFull,
            _ => ErrorKind::Storage,
        },
        _ => ErrorKind::Internal,
    }
}
