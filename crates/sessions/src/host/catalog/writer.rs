//! Changes to objects while no host runs.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::Utc;
use isobar_base::fs::SqliteFile;
use rusqlite::{Connection, Transaction, params};

use super::Catalog;
use super::snapshot::fold;
use crate::host::disk::{self, failed};
use crate::host::health::Health;
use crate::host::history::{self, Histories};
use crate::host::options::Clock;
use crate::host::storage::Storage;
use crate::host::{index, lock, rebuild};
use crate::{Cursor, ObjectId, Parameters, Result};

/// A [`Catalog`] that may change objects, by SQL, import and deletion. While it lives no host can start in its folder, and where one
/// runs, none can be opened. What it has answered is durable.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use isobar_sessions::local::{Catalog, CatalogWriter, OnExisting};
///
/// # let folder = tempfile::tempdir()?;
/// # let from = folder.path().join("from");
/// # let to = folder.path().join("to");
/// # drop(CatalogWriter::create(&from, "Room")?);
/// // All objects of one folder, into another one.
/// let mut export = Vec::new();
/// Catalog::open(&from, "Room")?.export(None, &mut export, |_| {})?;
/// let writer = CatalogWriter::create(&to, "Room")?;
/// let report = writer.import(export.as_slice(), OnExisting::Refuse, |_| {})?;
/// assert_eq!(report.objects, 0);
/// # Ok(())
/// # }
/// ```
pub struct CatalogWriter {
    /// Closed before the lock, which is the catalog's, is given back.
    index: Connection,
    pub(super) health: Arc<Health>,
    /// Histories of the objects, where they are kept.
    pub(super) histories: Option<Arc<Histories>>,
    pub(super) catalog: Catalog,
}

impl fmt::Debug for CatalogWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CatalogWriter({:?})", self.catalog)
    }
}

impl CatalogWriter {
    /// Takes the folder of a host of this namespace. A host that has not ended in order is put right first: its journal is put back,
    /// and an index that is missing or damaged is made anew.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`](crate::ErrorKind::Storage) when there is no such folder, it cannot be used, or another process hosts it.
    pub fn open(root: impl AsRef<Path>, namespace: &str) -> Result<Self> {
        let root = root.as_ref();
        drop(Catalog::new(root, namespace, None)?); // before anything is created
        Self::create(root, namespace)
    }

    /// As [`open`](Self::open), and creates the folder if there is none.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`](crate::ErrorKind::Storage) when the folder cannot be created or used, or another process hosts it.
    pub fn create(root: impl AsRef<Path>, namespace: &str) -> Result<Self> {
        let root = root.as_ref();
        let held = lock(root)?;
        let catalog = Catalog::new(root, namespace, Some(held))?;
        catalog.recover()?;
        let health = Health::new(Some(root.to_owned()), None).with_withheld(catalog.withheld.borrow().clone());
        let health = Arc::new(health);
        let (index, _) = rebuild::open_index(root, &health, Utc::now().timestamp_millis())?;
        let histories = Histories::find(root, Clock::default())?;
        Ok(Self { index, health, histories, catalog })
    }

    /// Returns the look into the folder, which sees what was changed.
    #[must_use]
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Runs SQL on an object's database as the object would, in one transaction, and returns the rows of the last statement;
    /// `None` where there is no such object. After an error nothing is changed.
    ///
    /// # Errors
    /// As [`Sql::exec`](crate::Sql::exec); [`ErrorKind::Damaged`](crate::ErrorKind::Damaged), [`ErrorKind::Storage`](crate::ErrorKind::Storage) and
    /// [`ErrorKind::StorageFull`](crate::ErrorKind::StorageFull) when the
    /// object's file fails.
    pub fn execute(&self, id: &ObjectId, sql: &str, parameters: impl Parameters) -> Result<Option<Cursor>> {
        self.health.check_withheld(id.as_bytes())?;
        let path = self.catalog.file(id);
        if !is_there(&path) {
            return Ok(None);
        }
        let storage = Storage::open(&path, &self.health, None, self.histories.as_ref(), || Ok(true))?;
        let done = storage.exec(sql, &parameters.into_values()).and_then(|cursor| {
            storage.commit()?;
            Ok(cursor)
        });
        if done.is_err() {
            storage.roll_back();
        }
        done.map(Some)
    }

    /// Deletes objects with all that they have stored, their alarms too. Returns the number of those that were there.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`](crate::ErrorKind::Storage) when a file cannot be removed, or the index not be written; what was deleted before that stays so.
    /// [`ErrorKind::Damaged`](crate::ErrorKind::Damaged) for an object whose last turns are in the journal still, before anything is deleted.
    pub fn delete(&self, ids: &[ObjectId]) -> Result<u64> {
        for id in ids {
            self.health.check_withheld(id.as_bytes())?;
        }
        // From here on a missing file is not damage.
        self.change(|index| {
            let mut statement = index.prepare_cached("UPDATE objects SET stored = NULL WHERE id = ?")?;
            ids.iter().try_for_each(|id| statement.execute([id.as_bytes()]).map(drop))
        })?;
        let mut there = BTreeSet::new();
        let mut folders = BTreeSet::new();
        for id in ids {
            let path = self.catalog.file(id);
            self.forget(&path)?; // before its log, which it may not have taken, is copied into the file
            let is_removed = remove(&path).map_err(|error| failed(&path, "removed", &error))?;
            if is_removed {
                there.insert(*id.as_bytes());
                folders.insert(isobar_base::fs::parent(&path).to_owned());
            }
        }
        sync(&folders)?;
        self.change(|index| {
            let mut statement = index.prepare_cached("DELETE FROM objects WHERE id = ?")?;
            for id in ids {
                if statement.execute([id.as_bytes()])? > 0 {
                    there.insert(*id.as_bytes());
                }
            }
            Ok(())
        })?;
        Ok(there.len() as u64)
    }

    /// Deletes the history of the object with this file, durably: what follows there is another object.
    pub(super) fn forget(&self, path: &Path) -> Result<()> {
        let Some(history) = self.histories.as_ref().and_then(|histories| histories.file(path)) else { return Ok(()) };
        history::delete_one(&history).map_err(|error| failed(&history, "deleted", &error))
    }

    /// Changes the index, durably.
    pub(super) fn change(&self, work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<()>) -> Result<()> {
        let changed = self.index.unchecked_transaction().and_then(|transaction| {
            work(&transaction)?;
            transaction.commit()?;
            // So that the catalog reads it where it is.
            self.index.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        });
        changed.map_err(|error| index::failure(&error, Some(&self.catalog.root)))
    }

    /// Says when objects that are about to have these files are woken: never later than their files do.
    pub(super) fn announce(&self, objects: &[Indexed]) -> Result<()> {
        let sql = "INSERT INTO objects (id, name, alarm, made) VALUES (?1, ?2, ?3, ?4)
                   ON CONFLICT (id) DO UPDATE SET name = coalesce(?2, name), alarm = coalesce(min(alarm, ?3), alarm, ?3), made = ?4";
        self.each(sql, objects)
    }

    /// Says that the objects have these files.
    pub(super) fn conclude(&self, objects: &[Indexed]) -> Result<()> {
        let sql = "UPDATE objects SET name = coalesce(?2, name), alarm = ?3, made = ?4, stored = 1 WHERE id = ?1";
        self.each(sql, objects)
    }

    fn each(&self, sql: &str, objects: &[Indexed]) -> Result<()> {
        self.change(|index| {
            let mut statement = index.prepare_cached(sql)?;
            for object in objects {
                statement.execute(params![object.id, object.name, object.alarm, object.made])?;
            }
            Ok(())
        })
    }
}

/// An object as the index is to have it.
#[derive(Debug, Clone)]
pub(super) struct Indexed {
    pub(super) id: [u8; 32],
    pub(super) name: Option<String>,
    /// When it is woken, and when that was set, in Unix milliseconds.
    pub(super) alarm: Option<i64>,
    pub(super) made: Option<i64>,
}

/// Whether an object has a file with something in it.
pub(super) fn is_there(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.len() > 0)
}

/// Copies what is in the write-ahead log of a file that is about to be replaced or removed into it, so that no log is left. That of
/// a damaged file, or of none, is removed.
pub(super) fn end_log(path: &Path) -> io::Result<()> {
    if disk::has_log(path) && fold(path).is_err() {
        std::fs::remove_file(SqliteFile::Wal.beside(path))?;
        isobar_base::fs::sync_dir(isobar_base::fs::parent(path))?;
    }
    Ok(())
}

/// Makes the names in folders durable.
pub(super) fn sync(folders: &BTreeSet<PathBuf>) -> Result<()> {
    folders
        .iter()
        .try_for_each(|folder| isobar_base::fs::sync_dir(folder).map_err(|error| failed(folder, "synced", &error)))
}

/// Removes a database and what SQLite keeps beside it. Returns whether there was one.
fn remove(path: &Path) -> io::Result<bool> {
    if disk::has_log(path) {
        drop(fold(path)); // a log without its file would be taken for damage, should this be broken off
    }
    let mut is_removed = false;
    for file in [path.to_owned()].into_iter().chain(SqliteFile::all_beside(path)) {
        match std::fs::remove_file(file) {
            Ok(()) => is_removed = true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(is_removed)
}
