//! The objects of a folder in the order of their ids: by the host's index, or by their files where that is missing or damaged.

use std::collections::BTreeSet;
use std::path::Path;

use chrono::{DateTime, Utc};
use isobar_base::fs::SqliteFile;
use rusqlite::{Connection, params};

use super::reader::open_unchanged;
use super::snapshot::Snapshot;
use super::{Catalog, CatalogEntry, CatalogListOptions, CatalogPage, Guard, time};
use crate::host::fault::Fault;
use crate::host::{disk, index, rebuild};
use crate::{ErrorKind, ObjectId, Result};

/// An object as the index has it, or its file.
pub(super) struct Row {
    pub(super) id: [u8; 32],
    name: Option<String>,
    /// When it is woken, in Unix milliseconds.
    pub(super) alarm: Option<i64>,
    /// Whether it has a file, or had one.
    is_stored: bool,
}

/// The host's index, as it was at one moment.
pub(super) struct Index {
    connection: Connection,
    snapshot: Snapshot,
}

impl Index {
    /// `None` where there is none that has all objects.
    fn open(catalog: &Catalog, guard: &Guard) -> Result<Option<Self>> {
        let path = catalog.root.join(disk::INDEX);
        let snapshot = match Snapshot::take(&path, guard.is_live) {
            Ok(Some(snapshot)) => snapshot,
            Ok(None) => return Ok(None),
            Err(error) if error.kind() == ErrorKind::Damaged => return Ok(None),
            Err(error) => return Err(error),
        };
        let opened = open_unchanged(snapshot.file()).and_then(|connection| {
            let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
            Ok((connection, version))
        });
        let failed = |error| index::failure(&error, Some(&catalog.root));
        match whole(opened).map_err(failed)? {
            Some((connection, rebuild::WHOLE)) => Ok(Some(Self { connection, snapshot })),
            _ => Ok(None),
        }
    }

    /// The objects after one; `None` when the index is damaged.
    fn page(&self, after: Option<&[u8; 32]>, limit: usize) -> rusqlite::Result<Option<Vec<Row>>> {
        let after = after.map_or(&[][..], |id| id.as_slice());
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.rows("id > ?1 ORDER BY id LIMIT ?2", params![after, limit])
    }

    /// The objects to be woken after a time and an id, the first one first, until a time; `None` when the index is damaged.
    pub(super) fn due(&self, after: (i64, &[u8]), until: i64, limit: usize) -> rusqlite::Result<Option<Vec<Row>>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let condition = "alarm IS NOT NULL AND (alarm, id) > (?1, ?2) AND alarm <= ?3 ORDER BY alarm, id LIMIT ?4";
        self.rows(condition, params![after.0, after.1, until, limit])
    }

    /// The object of this id, if there is one; `None` when the index is damaged.
    fn find(&self, id: &[u8; 32]) -> rusqlite::Result<Option<Vec<Row>>> {
        self.rows("id = ?1", params![id.as_slice()])
    }

    fn rows(&self, condition: &str, values: impl rusqlite::Params) -> rusqlite::Result<Option<Vec<Row>>> {
        let sql = format!("SELECT id, name, alarm, stored IS 1 FROM objects WHERE {condition}");
        let read = || -> rusqlite::Result<Vec<Row>> {
            let mut statement = self.connection.prepare_cached(&sql)?;
            let rows = statement.query_map(values, |row| {
                Ok(Row { id: row.get(0)?, name: row.get(1)?, alarm: row.get(2)?, is_stored: row.get(3)? })
            })?;
            rows.collect()
        };
        whole(read())
    }
}

/// `None` for what a damaged index has answered.
fn whole<T>(result: rusqlite::Result<T>) -> rusqlite::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if Fault::of(&error) == Some(Fault::Damaged) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Asks the index; `None` where there is none that is whole. A copy is kept for the pages that follow: the host may be gone then.
pub(super) fn ask<T>(
    catalog: &Catalog,
    guard: &Guard,
    work: impl FnOnce(&Index) -> rusqlite::Result<Option<T>>,
) -> Result<Option<T>> {
    let mut kept = catalog.index.borrow_mut();
    let failed = |error| index::failure(&error, Some(&catalog.root));
    if let Some(index) = &*kept {
        return work(index).map_err(failed);
    }
    let Some(index) = Index::open(catalog, guard)? else { return Ok(None) };
    let result = work(&index).map_err(failed);
    if index.snapshot.is_copy() {
        *kept = Some(index);
    }
    result
}

/// See [`Catalog::list`].
pub(super) fn page(catalog: &Catalog, options: &CatalogListOptions) -> Result<CatalogPage> {
    let limit = options.limit.max(1);
    if options.after.is_none() {
        drop(catalog.index.take()); // of an earlier list
    }
    let mut after = options.after.as_ref().map(|id| *id.as_bytes());
    let mut page = CatalogPage::default();
    loop {
        let guard = catalog.guard()?;
        // One more says whether something follows the page.
        let wanted = (limit - page.objects.len()).saturating_add(1);
        let rows = match ask(catalog, &guard, |index| index.page(after.as_ref(), wanted))? {
            Some(rows) => rows,
            None => rows_of_files(catalog, &guard, after.as_ref(), wanted)?,
        };
        let is_last = rows.len() < wanted;
        for row in rows {
            after = Some(row.id);
            let Some(entry) = entry(catalog, row, options.check, &guard)? else { continue };
            if page.objects.len() == limit {
                page.cursor = page.objects.last().map(|last| ObjectId::from_parts(*last.id.as_bytes(), None));
                return Ok(page);
            }
            page.objects.push(entry);
        }
        if is_last {
            return Ok(page);
        }
    }
}

/// The entry of one object; `None` where there is none.
pub(super) fn entry_of(catalog: &Catalog, id: &ObjectId, guard: &Guard) -> Result<Option<CatalogEntry>> {
    let known = ask(catalog, guard, |index| index.find(id.as_bytes()))?;
    let row = match known.and_then(|rows| rows.into_iter().next()) {
        Some(row) => row,
        None if catalog.file(id).exists() => row_of_file(catalog, id.as_bytes(), guard)?,
        None => return Ok(None),
    };
    let row = Row { name: row.name.or_else(|| id.name().map(str::to_owned)), ..row };
    entry(catalog, row, false, guard)
}

/// Looks at an object's file; `None` where it has stored nothing.
pub(super) fn entry(catalog: &Catalog, row: Row, check: bool, guard: &Guard) -> Result<Option<CatalogEntry>> {
    let id = ObjectId::from_parts(row.id, row.name);
    let path = catalog.file(&id);
    let shown = path.display();
    let (bytes, changed) = match measure(&path) {
        Ok(measured) => measured,
        // It hides no other object.
        Err(error) => {
            let damage = Some(format!("the session object's file {shown} cannot be read: {error}"));
            let alarm = row.alarm.map(time);
            return Ok(Some(CatalogEntry { id, bytes: 0, alarm, changed: None, damage }));
        }
    };
    let damage = if let Some(why) = catalog.withheld(&row.id) {
        Some(why)
    } else if file_length(&path) > 0 {
        let checked = if check { catalog.sound_reader(&id, guard).map(drop) } else { Ok(()) };
        match checked {
            Ok(()) => None,
            Err(error) if error.kind() == ErrorKind::Damaged => Some(error.to_string()),
            Err(error) => return Err(error),
        }
    } else if row.is_stored && !is_deleted_since(catalog, &row.id, guard)? {
        Some(format!("the session object's file {shown} is missing or empty, though the object has stored something"))
    } else if disk::has_log(&path) {
        let log = SqliteFile::Wal.beside(&path);
        Some(format!("the session object's log {} is there without its file", log.display()))
    } else {
        return Ok(None);
    };
    Ok(Some(CatalogEntry { id, bytes, alarm: row.alarm.map(time), changed, damage }))
}

/// Whether an object without a file was deleted after the copy of the index was made that is kept for a list: a newer copy takes its place.
fn is_deleted_since(catalog: &Catalog, id: &[u8; 32], guard: &Guard) -> Result<bool> {
    if catalog.index.take().is_none() {
        return Ok(false); // the index was read in its place
    }
    let rows = ask(catalog, guard, |index| index.find(id))?;
    Ok(rows.is_some_and(|rows| rows.iter().all(|row| !row.is_stored)))
}

fn file_length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |meta| meta.len())
}

/// Bytes of a file and its log, and when they were last written.
fn measure(path: &Path) -> std::io::Result<(u64, Option<DateTime<Utc>>)> {
    let mut bytes = 0;
    let mut changed = None;
    for file in [path.to_owned(), SqliteFile::Wal.beside(path)] {
        match std::fs::metadata(file) {
            Ok(meta) => {
                bytes += meta.len();
                changed = changed.max(Some(DateTime::<Utc>::from(meta.modified()?)));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok((bytes, changed))
}

/// The objects after one, by their files.
pub(super) fn rows_of_files(
    catalog: &Catalog,
    guard: &Guard,
    after: Option<&[u8; 32]>,
    limit: usize,
) -> Result<Vec<Row>> {
    let failed = |error: std::io::Error| catalog.failed(&error);
    let objects = catalog.root.join(disk::OBJECTS);
    let after_shard = after.map(|id| hex::encode([id[0]]));
    let mut shards = BTreeSet::new();
    for name in names(&objects).map_err(failed)? {
        if name.len() == 2 && after_shard.as_ref().is_none_or(|after| name >= *after) {
            shards.insert(name);
        }
    }
    let mut rows = Vec::new();
    for shard in shards {
        let ids = names(&objects.join(&shard)).map_err(failed)?;
        let ids: BTreeSet<_> = ids.iter().filter_map(|name| disk::object_of(name)).collect();
        for id in ids.into_iter().filter(|id| after.is_none_or(|after| id > after)) {
            rows.push(row_of_file(catalog, &id, guard)?);
            if rows.len() == limit {
                return Ok(rows);
            }
        }
    }
    Ok(rows)
}

/// The names in a folder; none where there is no such folder.
fn names(folder: &Path) -> std::io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

/// An object by its file. What a damaged one does not tell is left out.
fn row_of_file(catalog: &Catalog, id: &[u8; 32], guard: &Guard) -> Result<Row> {
    let object = ObjectId::from_parts(*id, None);
    let mut row = Row { id: *id, name: None, alarm: None, is_stored: false };
    match catalog.reader(&object, guard) {
        Ok(Some(reader)) => {
            row.name = reader.name().unwrap_or_default();
            row.alarm = reader.alarm().unwrap_or_default().map(|alarm| alarm.due);
        }
        Ok(None) => {}
        Err(error) if error.kind() == ErrorKind::Damaged => row.is_stored = true,
        Err(error) => return Err(error),
    }
    Ok(row)
}
