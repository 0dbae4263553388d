//! The index made anew from the objects' files: when it is missing or damaged, nothing is lost with it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, params};

use super::alarms::{index_failure, open_index as open, wakeups};
use super::disk;
use super::fault::Fault;
use super::health::Health;
use super::storage::Storage;
use crate::{Error, ErrorKind, Result};

/// Opens the index in this folder. A damaged one is put aside as it is, under a new name.
pub(super) fn open_index(root: &Path, health: &Arc<Health>) -> Result<Connection> {
    let path = root.join("index.db");
    let is_new = std::fs::metadata(&path).map_or(true, |meta| meta.len() == 0);
    let create = || {
        disk::create_file(&path, false).map_err(|error| {
            let message = format!("the index of session objects ({}) cannot be created: {error}", path.display());
            Error::new(ErrorKind::Storage, message).with_source(error)
        })
    };
    drop(create()?);
    disk::tighten_database(&path);
    let opened = open(Some(&path)).and_then(|index| wakeups(&index).map(|_| index));
    let index = match opened {
        Ok(index) if !is_new => return Ok(index),
        Ok(index) => index,
        Err(error) if Fault::of(&error) == Some(Fault::Damaged) => {
            put_aside(&path)?;
            drop(create()?);
            open(Some(&path)).map_err(|error| index_failure(&error, Some(root)))?
        }
        Err(error) => return Err(index_failure(&error, Some(root))),
    };
    let objects = files(&root.join("objects"));
    if !objects.is_empty() {
        #[cfg(feature = "tracing")]
        tracing::warn!(root = %root.display(), objects = objects.len(), "the index of session objects is made anew from their files");
        fill(&index, &objects, health).map_err(|error| index_failure(&error, Some(root)))?;
    }
    Ok(index)
}

/// Renames a damaged index and what belongs to it.
fn put_aside(path: &Path) -> Result<()> {
    let aside = (1..).map(|number| disk::beside(path, &format!(".damaged-{number}"))).find(|path| !path.exists());
    let aside = aside.unwrap_or_else(|| disk::beside(path, ".damaged"));
    #[cfg(feature = "tracing")]
    tracing::error!(index = %path.display(), aside = %aside.display(), "the index of session objects is damaged and put aside");
    for suffix in ["", "-wal", "-shm"] {
        match std::fs::rename(disk::beside(path, suffix), disk::beside(&aside, suffix)) {
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

/// The objects that have files.
fn files(objects: &Path) -> Vec<([u8; 32], PathBuf)> {
    let entries = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let object = |path: PathBuf| {
        let name = path.file_name()?.to_str()?.strip_suffix(".db")?.to_owned();
        let id = hex::decode(name).ok()?.try_into().ok()?;
        Some((id, path))
    };
    entries(objects).flat_map(|shard| entries(&shard).collect::<Vec<_>>()).filter_map(object).collect()
}

fn fill(index: &Connection, objects: &[([u8; 32], PathBuf)], health: &Arc<Health>) -> rusqlite::Result<()> {
    let transaction = index.unchecked_transaction()?;
    for (id, path) in objects {
        let read = Storage::open(path, health, || Ok(false)).and_then(|object| {
            Ok((object.is_file(), object.object_name()?, object.alarm()?)) // an empty file has stored nothing
        });
        let (is_file, name, alarm) = read.unwrap_or_else(|error| {
            health.mark_damaged(id, &error.to_string());
            (true, None, None)
        });
        if is_file {
            let sql = "INSERT OR REPLACE INTO objects (id, name, alarm, made, stored) VALUES (?, ?, ?, ?, 1)";
            let made = alarm.and_then(|row| row.made);
            transaction.execute(sql, params![id, name, alarm.map(|row| row.due), made])?;
        }
    }
    transaction.commit()
}
