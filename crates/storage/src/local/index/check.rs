//! Statements of `fsck` and of the garbage collection.

use std::collections::HashSet;
use std::path::Path;

use chrono::{DateTime, Utc};
use rusqlite::{Connection, params};

use super::{Result, packs};
use crate::local::packs::Sizes;
use crate::{Error, ErrorKind, Key, UploadId};

/// An index of at most this many bytes is looked over when it is opened: it takes some 50 ms.
const LOOKED_OVER: u64 = 16 * 1024 * 1024;
/// Objects that are looked at in one transaction.
const PAGE: usize = 200;

/// An upload that is neither completed nor aborted.
#[derive(Debug)]
pub(in crate::local) struct OpenUpload {
    pub(in crate::local) id: UploadId,
    pub(in crate::local) key: Key,
    pub(in crate::local) created: DateTime<Utc>,
}

/// Returns the damage of an index that is about to be used; of a large one nothing is known. A page with zeros in it may be a page in
/// which nothing is found: an object that is not found in a damaged index may be there all the same.
pub(in crate::local) fn damage(connection: &Connection, path: &Path) -> Option<String> {
    if std::fs::metadata(path).is_ok_and(|file| file.len() > LOOKED_OVER) {
        return None;
    }
    damage_of(connection)
}

/// Returns the damage of an index of any size. It reads the whole file: some 3 s for 1 GiB.
pub(in crate::local) fn damage_of(connection: &Connection) -> Option<String> {
    outcome_of(connection, "PRAGMA quick_check(1)")
}

/// Returns the damage of the tables that name blobs, and of their indexes: a blob that they do not find may be named all the same.
///
/// # Errors
/// SQLite's, where they cannot be read.
pub(in crate::local) fn damage_of_names(connection: &Connection) -> Result<Option<String>> {
    for check in ["PRAGMA quick_check(segments)", "PRAGMA quick_check(parts)"] {
        let line: String = connection.query_row(check, [], |row| row.get(0))?;
        if line != "ok" {
            return Ok(Some(line));
        }
    }
    Ok(None)
}

/// Returns what a check of SQLite's finds first.
fn outcome_of(connection: &Connection, check: &str) -> Option<String> {
    match connection.query_row(check, [], |row| row.get::<_, String>(0)) {
        Ok(line) => (line != "ok").then_some(line),
        Err(error) => {
            Some(super::sqlite(error)).filter(|error| error.kind() == ErrorKind::Corrupt).map(|it| it.to_string())
        }
    }
}

/// Whether any row names the blob; those that are garbage are collected in their own time.
pub(in crate::local) fn is_named(connection: &Connection, blob: &str) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM segments WHERE blob = ?1) OR EXISTS (SELECT 1 FROM parts WHERE blob = ?1)
               OR EXISTS (SELECT 1 FROM garbage WHERE blob = ?1)";
    Ok(connection.prepare_cached(sql)?.query_row([blob], |row| row.get(0))?)
}

/// Returns SQLite's own findings; none when the file is sound.
pub(in crate::local) fn integrity(connection: &Connection) -> Result<Vec<String>> {
    let mut statement = connection.prepare("PRAGMA integrity_check")?;
    let lines = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    Ok(lines.into_iter().filter(|line| line != "ok").collect())
}

/// Returns a page of the keys behind this one.
pub(in crate::local) fn keys_after(connection: &Connection, after: &[u8]) -> Result<Vec<Vec<u8>>> {
    let mut statement = connection.prepare_cached("SELECT key FROM objects WHERE key > ? ORDER BY key LIMIT ?")?;
    let keys = statement.query_map(params![after, PAGE as i64], |row| row.get(0))?;
    Ok(keys.collect::<Result<_, _>>()?)
}

/// Returns the blobs that objects, parts and garbage name.
pub(in crate::local) fn named_blobs(connection: &Connection) -> Result<HashSet<String>> {
    let sql = "SELECT blob FROM segments UNION SELECT blob FROM parts UNION SELECT blob FROM garbage";
    let mut statement = connection.prepare(sql)?;
    let blobs = statement.query_map([], |row| row.get(0))?;
    Ok(blobs.collect::<Result<_, _>>()?)
}

/// Returns the uploads that are neither completed nor aborted, the oldest first.
pub(in crate::local) fn open_uploads(connection: &Connection) -> Result<Vec<OpenUpload>> {
    let mut statement = connection.prepare("SELECT id, key, created FROM uploads WHERE open = 1 ORDER BY created")?;
    let mut rows = statement.query([])?;
    let mut uploads = Vec::new();
    while let Some(row) = rows.next()? {
        let key = String::from_utf8_lossy(row.get_ref(1)?.as_blob()?).into_owned();
        let created = DateTime::from_timestamp_millis(row.get(2)?).unwrap_or_default();
        uploads.push(OpenUpload { id: UploadId::new(row.get::<_, String>(0)?), key: Key::new(key)?, created });
    }
    Ok(uploads)
}

/// Returns those of these packs that the index has forgotten; none while its table of packs is damaged: one whose row is hidden by
/// damage is not forgotten.
pub(in crate::local) fn unknown(connection: &Connection, mut packs: Sizes) -> Result<Sizes> {
    if let Some(_damage) = outcome_of(connection, "PRAGMA quick_check(packs)") {
        #[cfg(feature = "tracing")]
        tracing::warn!(damage = _damage, "the index's table of packs is damaged: no pack is removed");
        return Ok(Sizes::new());
    }
    let known = packs::known(connection)?;
    // One that comes after the newest may have been begun by a transaction that was not committed: it will be used.
    packs.retain(|pack, _| known.last().is_some_and(|newest| pack < newest) && !known.contains(pack));
    Ok(packs)
}

/// Returns the number of segments and parts that belong to nothing.
pub(in crate::local) fn unowned(connection: &Connection) -> Result<u64> {
    let sql =
        "SELECT (SELECT count(*) FROM segments WHERE version NOT IN (SELECT version FROM objects WHERE pack IS NULL))
                    + (SELECT count(*) FROM parts WHERE upload NOT IN (SELECT id FROM uploads WHERE open = 1))";
    let count: i64 = connection.query_row(sql, [], |row| row.get(0))?;
    u64::try_from(count).map_err(|_| Error::new(ErrorKind::Internal, "a count below zero").into())
}

/// Removes the segments and parts that belong to nothing.
pub(in crate::local) fn remove_unowned(connection: &Connection) -> Result<()> {
    connection.execute_batch(
        "DELETE FROM segments WHERE version NOT IN (SELECT version FROM objects WHERE pack IS NULL);
         DELETE FROM parts WHERE upload NOT IN (SELECT id FROM uploads WHERE open = 1);",
    )?;
    Ok(())
}
