//! The index made anew from the objects' files: when it is missing or damaged, nothing is lost with it.
//!
//! | found | done |
//! |---|---|
//! | a whole index | marks that a crash has taken are written again |
//! | none, or one of an older version, or one whose making broke off | every object's file is read, and entered in one transaction |
//! | a damaged one | it is renamed to `index.db.damaged-N` and stays for a look; then as without one |
//! | an object that is to be restored | it is entered with an alarm that is due now |
//! | an object's file that cannot be read | it is entered as damaged, with an alarm that is due now, in case it had one |
//!
//! Reading every file costs a start that is longer by milliseconds for each object, which happens once.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::DateTime;
use isobar_base::fs::{SqliteFile, beside};
use rusqlite::{Connection, params};

use super::disk;
use super::fault::Fault;
use super::health::Health;
use super::history::Histories;
use super::index::{failure, open, wakeups};
use super::options::Clock;
use super::storage::Storage;
use crate::{Error, ErrorKind, Result};

/// `user_version` of an index that has every object with a file. One of an older version has 0, and so has one whose making broke off.
pub(super) const WHOLE: i64 = 1;

/// Opens the index in this folder. A damaged one is put aside as it is, under a new name. An alarm of an object whose file cannot be
/// read is due `now`, in Unix milliseconds: it is looked for again then. Returns with it the objects that have a file and whose mark
/// could not be written.
pub(super) fn open_index(root: &Path, health: &Arc<Health>, now: i64) -> Result<(Connection, HashSet<[u8; 32]>)> {
    let path = root.join(disk::INDEX);
    let create = || {
        disk::create_file(&path, false).map_err(|error| {
            let message = format!("the index of session objects ({}) cannot be created: {error}", path.display());
            Error::new(ErrorKind::Storage, message).with_source(error)
        })
    };
    drop(create()?);
    disk::tighten_database(&path);
    let version = |index: &Connection| index.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0));
    let opened = open(Some(&path)).and_then(|index| {
        wakeups(&index)?;
        Ok((version(&index)?, index))
    });
    let opened = match opened {
        Ok((WHOLE, index)) => match mark_stored(&index, root, health) {
            Ok(unmarked) => return Ok((index, unmarked)),
            Err(error) => Err(error),
        },
        Ok((_, index)) => Ok(index),
        Err(error) => Err(error),
    };
    let index = match opened {
        Ok(index) => index,
        Err(error) if Fault::of(&error) == Some(Fault::Damaged) => {
            put_aside(&path)?;
            drop(create()?);
            open(Some(&path)).map_err(|error| failure(&error, Some(root)))?
        }
        Err(error) => return Err(failure(&error, Some(root))),
    };
    let folder = root.join(disk::OBJECTS);
    let clock = Clock::new(move || DateTime::from_timestamp_millis(now).unwrap_or_default());
    let histories = Histories::find(root, clock)?;
    let _objects =
        fill(&index, files(&folder), health, histories.as_ref(), now).map_err(|error| failure(&error, Some(root)))?;
    #[cfg(feature = "tracing")]
    if _objects > 0 {
        tracing::warn!(root = %root.display(), objects = _objects, "the index of session objects was completed from their files");
    }
    Ok((index, HashSet::new()))
}

/// Marks objects that have a file and no mark. The mark is written without a sync, as an object's creation has syncs enough, and
/// may be lost with the machine's power; the object's row and file are not.
///
/// Serving does not depend on a mark: if it cannot be written, on a full disk for example, its object is returned, the failure is
/// logged, and the next start tries again.
///
/// # Errors
/// Those of an index that cannot be read.
fn mark_stored(index: &Connection, root: &Path, health: &Health) -> rusqlite::Result<HashSet<[u8; 32]>> {
    let objects = root.join(disk::OBJECTS);
    let mut statement = index.prepare("SELECT id FROM objects WHERE stored IS NOT 1")?;
    let unmarked = statement.query_map([], |row| row.get::<_, [u8; 32]>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
    let has_file = |id: &[u8; 32]| std::fs::metadata(disk::object_file(&objects, id)).is_ok_and(|file| file.len() > 0);
    let stored: HashSet<_> = unmarked.into_iter().filter(has_file).collect();
    if stored.is_empty() {
        return Ok(stored);
    }
    let mark = || {
        let transaction = index.unchecked_transaction()?;
        for id in &stored {
            transaction.execute("UPDATE objects SET stored = 1 WHERE id = ?", params![id])?;
        }
        transaction.commit()
    };
    match mark() {
        Ok(()) => Ok(HashSet::new()),
        Err(error) if Fault::of(&error) == Some(Fault::Damaged) => Err(error),
        Err(error) => {
            let failed = failure(&error, Some(root));
            if Fault::of(&error) == Some(Fault::Sync) {
                health.poison(failed.to_string());
            }
            #[cfg(feature = "tracing")]
            tracing::warn!(error = %failed, objects = stored.len(), "session objects are not marked as stored; the next start tries again");
            Ok(stored)
        }
    }
}

/// Renames a damaged index and what belongs to it.
fn put_aside(path: &Path) -> Result<()> {
    let aside = (1..).map(|number| beside(path, &format!(".damaged-{number}"))).find(|path| !path.exists());
    let aside = aside.unwrap_or_else(|| beside(path, ".damaged"));
    #[cfg(feature = "tracing")]
    tracing::error!(index = %path.display(), aside = %aside.display(), "the index of session objects is damaged and put aside");
    let logs = SqliteFile::all_beside(path).into_iter().zip(SqliteFile::all_beside(&aside));
    for (from, to) in [(path.to_owned(), aside)].into_iter().chain(logs) {
        match std::fs::rename(from, to) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                let message =
                    format!("the damaged index of session objects {} cannot be put aside: {error}", path.display());
                return Err(Error::new(ErrorKind::Storage, message).with_source(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The objects that have files, as they are found: there may be millions.
fn files(objects: &Path) -> impl Iterator<Item = ([u8; 32], PathBuf)> {
    let entries = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let object = |path: PathBuf| Some((disk::object_of(path.file_name()?.to_str()?)?, path));
    entries(objects).flat_map(move |shard| entries(&shard)).filter_map(object)
}

/// Enters every object with a file, all or none, and returns their number. An alarm that the index has already stays where it is earlier.
fn fill(
    index: &Connection,
    objects: impl Iterator<Item = ([u8; 32], PathBuf)>,
    health: &Arc<Health>,
    histories: Option<&Arc<Histories>>,
    now: i64,
) -> rusqlite::Result<u64> {
    let transaction = index.unchecked_transaction()?;
    let mut entered = 0;
    for (id, path) in objects {
        let open = || Storage::open(&path, health, None, histories, || Ok(false));
        let read = health.check_withheld(&id).and_then(|()| open()).and_then(|object| {
            let alarm = object.alarm()?;
            let made = alarm.and_then(|row| row.made);
            let due = if object.is_restore_asked() { Some(now) } else { alarm.map(|row| row.due) };
            Ok((object.is_file(), object.object_name()?, due, made)) // an empty file has stored nothing
        });
        let (is_file, name, due, made) = read.unwrap_or_else(|error| {
            health.mark_damaged(&id, &error.to_string());
            (true, None, Some(now), Some(now))
        });
        if is_file {
            let sql = "INSERT INTO objects (id, name, alarm, made, stored) VALUES (?1, ?2, ?3, ?4, 1)
                       ON CONFLICT (id) DO UPDATE SET stored = 1, name = coalesce(name, ?2),
                           alarm = coalesce(min(alarm, ?3), alarm, ?3), made = coalesce(made, ?4)";
            transaction.execute(sql, params![id, name, due, made])?;
            entered += 1;
        }
    }
    transaction.pragma_update(None, "user_version", WHOLE)?;
    transaction.commit()?;
    Ok(entered)
}
