//! The folder of a history: its files by name, its lock, the bounds that were last given.
//!
//! ```text
//! FILE-history/lock                      its lock is held by the process that keeps the history
//! FILE-history/bounds.json               the options of the last time
//! FILE-history/GENERATION-FRAME.base     a snapshot of the state at that position
//! FILE-history/GENERATION-FRAME.log      the commits behind that position
//! FILE-history/*.tmp                     on their way; removed when the history is opened
//! FILE-history/*.damaged                 what could not be read, for a person to look at
//! ```
//! Positions are eight hexadecimal digits each, so the order of names is that of states.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use isobar_base::fs::{beside, create_dir, parent, private_file, sync_dir};
use isobar_sqlite::journal::{Disk, SystemDisk};
use serde::{Deserialize, Serialize};

use super::fault;
use super::format::Kind;
use super::position::Position;
use crate::sqlite::disk::HISTORY;
use crate::{Error, ErrorKind, HistoryOptions, Result};

const LOCK: &str = "lock";
const BOUNDS: &str = "bounds.json";
/// Databases that are on their way into a base or back: what a crash has left of them is removed.
const TEMPORARY: &str = ".tmp";

/// The folder of a history.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    path: PathBuf,
    pub(super) disk: Arc<dyn Disk>,
}

/// A file of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    // First, as files are sorted by it, and bases before logs.
    pub(super) start: Position,
    pub(super) kind: Kind,
    pub(super) path: PathBuf,
}

/// The bounds as they are kept.
#[derive(Debug, Serialize, Deserialize)]
struct Bounds {
    max_age_seconds: u64,
    /// Beyond the seconds.
    #[serde(default)]
    max_age_nanoseconds: u32,
    max_bytes: u64,
}

/// Returns the path of the folder of a database's history: beside the file itself, where links lead to it.
pub(in crate::sqlite) fn folder_of(database: &Path) -> PathBuf {
    beside(&real_path(database), HISTORY)
}

/// The path that SQLite uses: that of the file itself, where links lead to it.
pub(super) fn real_path(database: &Path) -> PathBuf {
    std::fs::canonicalize(database).unwrap_or_else(|_| database.to_owned())
}

/// Deletes the history of a database, while no process keeps it.
pub(in crate::sqlite) fn delete(database: &Path) -> Result<()> {
    let folder = Folder::of(database, Arc::new(SystemDisk));
    if !folder.exists() {
        return Ok(());
    }
    let Some(_lock) = folder.lock()? else {
        let message = format!("{}: the history is kept by a process that has the database open", folder.path.display());
        return Err(Error::new(ErrorKind::Unavailable, message));
    };
    let deleted = std::fs::remove_dir_all(&folder.path).and_then(|()| sync_dir(parent(&folder.path)));
    deleted.map_err(|error| fault::of_file("delete", &folder.path, error))
}

impl Folder {
    /// The folder of a database's history.
    pub(super) fn of(database: &Path, disk: Arc<dyn Disk>) -> Self {
        Self { path: folder_of(database), disk }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns whether the database has a history.
    pub(super) fn exists(&self) -> bool {
        self.path.is_dir()
    }

    pub(super) fn create(&self) -> Result<()> {
        create_dir(&self.path).map_err(|error| fault::of_file("create", &self.path, error))
    }

    /// Takes the lock of the process that keeps the history; `None` where another one has it. It ends with the file.
    pub(super) fn lock(&self) -> Result<Option<File>> {
        let path = self.path.join(LOCK);
        let failed = |error| fault::of_file("lock", &path, error);
        let file = private_file().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// Returns the path of a file by its start.
    pub(super) fn file(&self, kind: Kind, start: Position) -> PathBuf {
        let extension = if kind == Kind::Base { "base" } else { "log" };
        self.path.join(format!("{start}.{extension}"))
    }

    /// Returns a path for a database on its way, which nothing else has.
    pub(super) fn temporary(&self) -> Result<PathBuf> {
        Ok(self.path.join(format!("{}{TEMPORARY}", isobar_base::random::hex_id()?)))
    }

    /// Lists the files, in the order of their starts.
    pub(super) fn entries(&self) -> Result<Vec<Entry>> {
        let list = || -> io::Result<Vec<Entry>> {
            let mut entries = Vec::new();
            for entry in std::fs::read_dir(&self.path)? {
                let path = entry?.path();
                entries.extend(read_name(path));
            }
            Ok(entries)
        };
        let mut entries = list().map_err(|error| fault::of_file("list", &self.path, error))?;
        entries.sort_by_key(|entry| (entry.start, entry.kind));
        Ok(entries)
    }

    /// Removes what a crash has left. Only for the process with the lock.
    pub(super) fn remove_leftovers(&self) -> Result<()> {
        let remove = || -> io::Result<()> {
            for entry in std::fs::read_dir(&self.path)? {
                let path = entry?.path();
                if path.file_name().is_some_and(|name| name.to_string_lossy().contains(TEMPORARY)) {
                    std::fs::remove_file(path)?;
                }
            }
            Ok(())
        };
        remove().map_err(|error| fault::of_file("tidy up", &self.path, error))
    }

    /// Returns the bounds that apply: those that are given, which are kept, or those of the last time.
    pub(super) fn bounds(&self, given: Option<HistoryOptions>) -> Result<HistoryOptions> {
        let path = self.path.join(BOUNDS);
        let kept = match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice::<Bounds>(&text).ok(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(fault::of_file("read", &path, error)),
        };
        let kept = kept.map(|kept| {
            let beyond = Duration::from_nanos(kept.max_age_nanoseconds.into());
            HistoryOptions::default()
                .with_max_age(Duration::from_secs(kept.max_age_seconds).saturating_add(beyond))
                .with_max_bytes(kept.max_bytes)
        });
        let options = given.or(kept).unwrap_or_default();
        if kept != Some(options) {
            let bounds = Bounds {
                max_age_seconds: options.max_age.as_secs(),
                max_age_nanoseconds: options.max_age.subsec_nanos(),
                max_bytes: options.max_bytes,
            };
            let text = serde_json::to_vec(&bounds).map_err(|error| fault::of_file("write", &path, error.into()))?;
            let temporary = self.temporary()?;
            let write = || -> io::Result<()> {
                // All of it or nothing: without bounds those of the default would apply, and states would go by them.
                let mut file = private_file().write(true).create_new(true).open(&temporary)?;
                io::Write::write_all(&mut file, &text)?;
                file.sync_all()?;
                std::fs::rename(&temporary, &path)?;
                sync_dir(&self.path)
            };
            write().map_err(|error| fault::of_file("write", &path, error))?;
        }
        Ok(options)
    }
}

fn read_name(path: PathBuf) -> Option<Entry> {
    let kind = match path.extension()?.to_str()? {
        "base" => Kind::Base,
        "log" => Kind::Log,
        _ => return None,
    };
    let start = Position::parse(path.file_stem()?.to_str()?)?;
    Some(Entry { start, kind, path })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn files_are_listed_by_their_starts_and_bases_first() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::of(&place.path().join("a.db"), Arc::new(SystemDisk));
        assert!(!folder.exists());
        folder.create().unwrap();
        for (generation, frame, kind) in [(2, 1, Kind::Log), (1, 300, Kind::Log), (2, 1, Kind::Base), (1, 4, Kind::Log)]
        {
            std::fs::write(folder.file(kind, Position::new(generation, frame)), "").unwrap();
        }
        for other in ["lock", "x.log", "00000001-00000001.txt", "0-0.log"] {
            std::fs::write(folder.path().join(other), "").unwrap();
        }
        let temporary = folder.temporary().unwrap();
        std::fs::write(&temporary, "").unwrap();
        // SQLite's own, beside it.
        std::fs::write(isobar_base::fs::SqliteFile::Journal.beside(&temporary), "").unwrap();
        let listed = folder.entries().unwrap().into_iter().map(|entry| (entry.start, entry.kind)).collect::<Vec<_>>();
        let expected = [(1, 4, Kind::Log), (1, 300, Kind::Log), (2, 1, Kind::Base), (2, 1, Kind::Log)];
        assert_eq!(listed, expected.map(|(generation, frame, kind)| (Position::new(generation, frame), kind)));
        folder.remove_leftovers().unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 8);
    }

    #[test]
    fn one_process_has_the_lock() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::of(&place.path().join("a.db"), Arc::new(SystemDisk));
        folder.create().unwrap();
        let lock = folder.lock().unwrap();
        assert!(lock.is_some() && folder.lock().unwrap().is_none());
        drop(lock);
        // A process that another test starts has a copy of it, until it runs its program.
        let is_free = (0..1000).any(|_| {
            std::thread::sleep(Duration::from_millis(5));
            folder.lock().unwrap().is_some()
        });
        assert!(is_free);
    }

    #[test]
    fn bounds_are_kept_for_the_next_time() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::of(&place.path().join("a.db"), Arc::new(SystemDisk));
        folder.create().unwrap();
        assert_eq!(folder.bounds(None).unwrap(), HistoryOptions::default());
        let given = HistoryOptions::default().with_max_bytes(5).with_max_age(Duration::from_millis(60_800));
        assert_eq!(folder.bounds(Some(given)).unwrap(), given);
        assert_eq!(folder.bounds(None).unwrap(), given);
        std::fs::write(folder.path().join(BOUNDS), "{").unwrap();
        assert_eq!(folder.bounds(None).unwrap(), HistoryOptions::default());
    }
}
