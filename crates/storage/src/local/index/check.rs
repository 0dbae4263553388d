//! Queries and repairs of `fsck`.

use std::collections::HashSet;
use std::path::Path;

use chrono::{DateTime, Utc};
use rusqlite::{Connection, params};

use super::{Index, Result, packs, rows};
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
pub(super) fn damage(connection: &Connection, path: &Path) -> Option<String> {
    if std::fs::metadata(path).is_ok_and(|file| file.len() > LOOKED_OVER) {
        return None;
    }
    damage_of(connection)
}

/// Returns the damage of an index of any size. It reads the whole file: some 3 s for 1 GiB.
pub(super) fn damage_of(connection: &Connection) -> Option<String> {
    outcome_of(connection, "PRAGMA quick_check(1)")
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

impl Index {
    /// Returns SQLite's own findings; none when the file is sound.
    pub(in crate::local) fn integrity(&self) -> crate::Result<Vec<String>> {
        self.read(|connection| {
            let mut statement = connection.prepare("PRAGMA integrity_check")?;
            let lines = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
            Ok(lines.into_iter().filter(|line| line != "ok").collect())
        })
    }

    /// The keys behind this one, a page of them; a row that cannot be read is an error in its place.
    pub(in crate::local) fn keys_after(&self, after: Option<&[u8]>) -> crate::Result<Vec<Vec<u8>>> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT key FROM objects WHERE key > ? ORDER BY key LIMIT ?")?;
            let keys = statement.query_map(params![after.unwrap_or_default(), PAGE as i64], |row| row.get(0))?;
            Ok(keys.collect::<Result<_, _>>()?)
        })
    }

    /// The blobs that objects, parts and garbage name.
    pub(in crate::local) fn named_blobs(&self) -> crate::Result<HashSet<String>> {
        self.read(|connection| {
            let sql = "SELECT blob FROM segments UNION SELECT blob FROM parts UNION SELECT blob FROM garbage";
            let mut statement = connection.prepare(sql)?;
            let blobs = statement.query_map([], |row| row.get(0))?;
            Ok(blobs.collect::<Result<_, _>>()?)
        })
    }

    pub(in crate::local) fn open_uploads(&self) -> crate::Result<Vec<OpenUpload>> {
        self.read(|connection| {
            let mut statement =
                connection.prepare("SELECT id, key, created FROM uploads WHERE open = 1 ORDER BY created")?;
            let mut rows = statement.query([])?;
            let mut uploads = Vec::new();
            while let Some(row) = rows.next()? {
                let key = String::from_utf8_lossy(row.get_ref(1)?.as_blob()?).into_owned();
                let created = DateTime::from_timestamp_millis(row.get(2)?).unwrap_or_default();
                uploads.push(OpenUpload { id: UploadId::new(row.get::<_, String>(0)?), key: Key::new(key)?, created });
            }
            Ok(uploads)
        })
    }

    /// Returns the packs, and where the last frame of each ends.
    pub(in crate::local) fn pack_ends(&self) -> crate::Result<Sizes> {
        self.read(packs::ends)
    }

    /// Returns the packs whose count of live bytes is wrong.
    pub(in crate::local) fn miscounted(&self) -> crate::Result<Vec<u64>> {
        self.read(packs::miscounted)
    }

    /// Counts the live bytes of a pack anew.
    pub(in crate::local) async fn recount(&self, pack: u64) -> crate::Result<()> {
        self.writer.write(move |transaction| packs::recount(transaction, pack)).await
    }

    /// Returns those of these packs that the index has forgotten.
    pub(in crate::local) fn unknown_packs(&self, packs: Sizes) -> crate::Result<Sizes> {
        self.read(move |connection| unknown(connection, packs))
    }

    /// Removes the packs that the index has forgotten, and returns them.
    pub(in crate::local) async fn remove_unknown_packs(
        &self,
        list: impl Fn() -> crate::Result<Sizes> + Send + 'static,
    ) -> crate::Result<Vec<u64>> {
        self.writer
            .write(move |batch| {
                let unknown: Vec<u64> = unknown(batch, list()?)?.into_keys().collect();
                unknown.iter().for_each(|pack| batch.remove_pack(*pack));
                Ok(unknown)
            })
            .await
    }

    /// Returns the number of segments and parts that belong to nothing.
    pub(in crate::local) fn unowned(&self) -> crate::Result<u64> {
        self.read(unowned)
    }

    /// Removes the segments and parts that belong to nothing.
    pub(in crate::local) async fn remove_unowned(&self) -> crate::Result<()> {
        self.writer
            .write(|transaction| {
                transaction.execute_batch(
                    "DELETE FROM segments WHERE version NOT IN (SELECT version FROM objects WHERE pack IS NULL);
                     DELETE FROM parts WHERE upload NOT IN (SELECT id FROM uploads WHERE open = 1);",
                )?;
                Ok(())
            })
            .await
    }

    /// Removes an object if it is still of this version; whether it was.
    pub(in crate::local) async fn give_up(&self, key: Key, version: String, now: DateTime<Utc>) -> crate::Result<bool> {
        self.writer
            .write(move |batch| match rows::find(batch, &key)? {
                Some(meta) if meta.version == version => super::remove(batch, &key, now),
                _ => Ok(false),
            })
            .await
    }

    /// Unlinks, by `unlink`, those of these blobs that nothing names, and returns them. It holds the lock of writers: none is named
    /// in between.
    pub(in crate::local) async fn unlink_unnamed(
        &self,
        blobs: Vec<String>,
        unlink: impl Fn(&str) -> crate::Result<()> + Send + 'static,
    ) -> crate::Result<Vec<String>> {
        self.writer
            .write(move |transaction| {
                let mut unlinked = Vec::new();
                for blob in &blobs {
                    if !super::is_named(transaction, blob)? {
                        unlink(blob)?;
                        unlinked.push(blob.clone());
                    }
                }
                Ok(unlinked)
            })
            .await
    }
}

/// Returns those of these packs that the index has forgotten; none while its table of packs is damaged: one whose row is hidden by
/// damage is not forgotten.
pub(super) fn unknown(connection: &Connection, mut packs: Sizes) -> Result<Sizes> {
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

fn unowned(connection: &Connection) -> Result<u64> {
    let sql =
        "SELECT (SELECT count(*) FROM segments WHERE version NOT IN (SELECT version FROM objects WHERE pack IS NULL))
                    + (SELECT count(*) FROM parts WHERE upload NOT IN (SELECT id FROM uploads WHERE open = 1))";
    let count: i64 = connection.query_row(sql, [], |row| row.get(0))?;
    u64::try_from(count).map_err(|_| Error::new(ErrorKind::Internal, "a count below zero").into())
}
