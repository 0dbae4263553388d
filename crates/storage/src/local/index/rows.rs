//! Rows of the objects, and where their bytes are.
//!
//! Every change of an object goes through [`replace`] or [`remove`], and both begin with `release_content`: the bytes of the object that was
//! there are given up exactly once, in the transaction that takes it away. That keeps three counts right: the live weight of the packs, the
//! queue of replaced blobs, and the rows of `segments`. A crash leaves them right, as all are of one transaction; after damage
//! of the index `fsck` counts anew.

use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Result, corrupt, json, packs, size};
use crate::local::blobs::BlobPart;
use crate::local::packs::PackLocation;
use crate::{Checksum, ChecksumAlgorithm, Error, Key, ObjectMeta};

macro_rules! columns {
    () => {
        "key, version, size, etag, uploaded, http, custom, checksums, class"
    };
}

/// The columns of [`object`], in its order.
pub(in crate::local) const COLUMNS: &str = columns!();
/// The same without what a listing need not tell, which then need not be read.
pub(in crate::local) const COLUMNS_BARE: &str = "key, version, size, etag, uploaded, NULL, NULL, checksums, class";

/// Where an object's bytes are.
#[derive(Debug, Clone)]
pub(in crate::local) enum Content {
    Packed(PackLocation),
    /// The blobs, and the pack that has the frame which names them; there is none where the row is older than such frames.
    Blobs(Vec<BlobPart>, Option<u64>),
}

/// Finds an object by its key: one look-up in the table, which is ordered by it (`WITHOUT ROWID`).
pub(in crate::local) fn find(connection: &Connection, key: &Key) -> Result<Option<ObjectMeta>> {
    let mut statement = connection.prepare_cached(concat!("SELECT ", columns!(), " FROM objects WHERE key = ?"))?;
    Ok(statement.query_row([key.as_str().as_bytes()], object).optional()?.transpose()?)
}

/// Whether there is an object of this key.
pub(in crate::local) fn exists(connection: &Connection, key: &Key) -> Result<bool> {
    let mut statement = connection.prepare_cached("SELECT EXISTS (SELECT 1 FROM objects WHERE key = ?)")?;
    Ok(statement.query_row([key.as_str().as_bytes()], |row| row.get(0))?)
}

/// Whether there is an object of this key whose record is in a pack before this one.
pub(in crate::local) fn is_recorded_before(connection: &Connection, key: &Key, pack: u64) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM objects WHERE key = ? AND coalesce(pack, named) < ?)";
    let values = params![key.as_str().as_bytes(), pack as i64];
    Ok(connection.prepare_cached(sql)?.query_row(values, |row| row.get(0))?)
}

/// An object and where its content is, both of the same write: the row's statement is not reset before the segments are read, and
/// what SQLite reads meanwhile is one snapshot. That needs no `BEGIN`, which would be compiled anew for each read.
pub(in crate::local) fn find_with_content(connection: &Connection, key: &Key) -> Result<Option<(ObjectMeta, Content)>> {
    let sql = concat!("SELECT ", columns!(), ", pack, position, crc, named FROM objects WHERE key = ?");
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([key.as_str().as_bytes()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let meta = object(row)??;
    let content = match place(row, [9, 10, 2, 11])? {
        Some(place) => Content::Packed(place),
        None => Content::Blobs(segments(connection, &meta.version)?, number(row, 12)?),
    };
    Ok(Some((meta, content)))
}

/// Where the small body of a row lies, of which these columns are pack, position, size and CRC; `None` of a large one.
fn place(row: &Row<'_>, [pack, position, bytes, crc]: [usize; 4]) -> rusqlite::Result<Option<PackLocation>> {
    if row.get_ref(pack)? == rusqlite::types::ValueRef::Null {
        return Ok(None);
    }
    let crc = row.get(crc)?;
    Ok(Some(PackLocation { pack: size(row, pack)?, position: size(row, position)?, size: size(row, bytes)?, crc }))
}

/// A number that may be missing.
fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<u64>> {
    if row.get_ref(column)? == rusqlite::types::ValueRef::Null { Ok(None) } else { size(row, column).map(Some) }
}

/// Where some small bodies lie, with their CRCs.
pub(in crate::local) fn some_places(connection: &Connection, pack: u64) -> Result<Vec<PackLocation>> {
    let sql = "SELECT pack, position, size, crc FROM objects WHERE pack = ? AND crc IS NOT NULL LIMIT 64";
    let mut places = connection.prepare_cached(sql)?;
    let places = places.query_map([pack as i64], |row| place(row, [0, 1, 2, 3]))?;
    Ok(places.filter_map(Result::transpose).collect::<Result<_, _>>()?)
}

/// Returns the blobs of an object's body in order, by its version: a copy has a version of its own, and rows of its own for the same blobs.
pub(in crate::local) fn segments(connection: &Connection, version: &str) -> Result<Vec<BlobPart>> {
    let mut segments = connection.prepare_cached("SELECT blob, size FROM segments WHERE version = ? ORDER BY seq")?;
    let segments = segments.query_map([version], |row| Ok(BlobPart { blob: row.get(0)?, size: size(row, 1)? }))?;
    Ok(segments.collect::<Result<_, _>>()?)
}

/// Stores an object in place of the one of its key, whose content is given up now.
pub(in crate::local) fn replace(
    transaction: &Transaction<'_>,
    meta: &ObjectMeta,
    content: &Content,
    now: DateTime<Utc>,
) -> Result<()> {
    release_content(transaction, &meta.key, now)?;
    let (place, named) = match content {
        Content::Packed(place) => (Some(*place), None),
        Content::Blobs(segments, named) => {
            let mut insert = transaction.prepare_cached("INSERT INTO segments VALUES (?, ?, ?, ?)")?;
            for (seq, segment) in segments.iter().enumerate() {
                insert.execute(params![meta.version, seq as i64, segment.blob, segment.size as i64])?;
            }
            (None, *named)
        }
    };
    let ObjectMeta { key, version, size, etag, uploaded, http, custom, checksums, storage_class } = meta;
    let sql = "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    transaction.prepare_cached(sql)?.execute(params![
        key.as_str().as_bytes(),
        version,
        *size as i64,
        etag,
        uploaded.timestamp_millis(),
        text_unless(http, |http| *http == crate::HttpMetadata::default())?,
        text_unless(custom, |custom| custom.is_empty())?,
        text_unless(checksums, |checksums| is_md5_alone(checksums, etag))?,
        text_unless(storage_class, |class| *class == crate::StorageClass::default())?,
        place.map(|place| place.pack as i64),
        place.map(|place| place.position as i64),
        place.and_then(|place| place.crc),
        named.map(|pack| pack as i64),
    ])?;
    Ok(())
}

/// The body of an object lies elsewhere now.
pub(in crate::local) fn relocate(transaction: &Transaction<'_>, key: &Key, to: PackLocation) -> Result<()> {
    let values = params![key.as_str().as_bytes(), to.pack as i64, to.position as i64, to.crc];
    let sql = "UPDATE objects SET pack = ?2, position = ?3, crc = ?4 WHERE key = ?1";
    transaction.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

/// The blobs of a large object are named by a frame of this pack now.
pub(in crate::local) fn name(transaction: &Transaction<'_>, key: &Key, pack: u64) -> Result<()> {
    let values = params![key.as_str().as_bytes(), pack as i64];
    transaction.prepare_cached("UPDATE objects SET named = ?2 WHERE key = ?1")?.execute(values)?;
    Ok(())
}

/// Removes an object, as a frame says or is about to say; whether it was there.
pub(in crate::local) fn remove(transaction: &Transaction<'_>, key: &Key, now: DateTime<Utc>) -> Result<bool> {
    release_content(transaction, key, now)?;
    let removed =
        transaction.prepare_cached("DELETE FROM objects WHERE key = ?")?.execute([key.as_str().as_bytes()])?;
    Ok(removed > 0)
}

/// Gives up the content of an object that is replaced or deleted.
fn release_content(transaction: &Transaction<'_>, key: &Key, now: DateTime<Utc>) -> Result<()> {
    let mut old =
        transaction.prepare_cached("SELECT version, pack, position, size, crc, named FROM objects WHERE key = ?")?;
    let row = |row: &Row<'_>| Ok((row.get(0)?, place(row, [1, 2, 3, 4])?, number(row, 5)?));
    let old: Option<(String, Option<PackLocation>, Option<u64>)> =
        old.query_row([key.as_str().as_bytes()], row).optional()?;
    match old {
        None => {}
        Some((_, Some(place), _)) => packs::release(transaction, place)?,
        Some((version, None, named)) => {
            if let Some(pack) = named {
                packs::release_name(transaction, pack)?;
            }
            let queue = "INSERT OR REPLACE INTO garbage SELECT blob, ?2 FROM segments WHERE version = ?1";
            transaction.prepare_cached(queue)?.execute(params![version, now.timestamp_millis()])?;
            transaction.prepare_cached("DELETE FROM segments WHERE version = ?")?.execute([version])?;
        }
    }
    Ok(())
}

/// Reads a row of [`COLUMNS`]: the outer error is SQLite's, the inner one ours.
pub(in crate::local) fn object(row: &Row<'_>) -> rusqlite::Result<crate::Result<ObjectMeta>> {
    let (version, size, etag, uploaded): (String, _, String, i64) =
        (row.get(1)?, size(row, 2)?, row.get(3)?, row.get(4)?);
    let key = row.get_ref(0)?.as_blob()?;
    let text = |column| Ok::<_, rusqlite::Error>(row.get_ref(column)?.as_str_or_null()?);
    let http = text(5)?;
    let custom = text(6)?;
    let checksums = text(7)?;
    let class = text(8)?;
    let decode = || {
        // Zeros in a page leave a row that can be read: one of no bytes, whose CRC is 0 as well.
        if [&version, &etag].iter().any(|text| text.is_empty() || text.as_bytes().contains(&0)) {
            return Err(corrupt("a row is damaged: its version or etag has zeros"));
        }
        let key = std::str::from_utf8(key).map_err(|error| corrupt(&format!("a key is no UTF-8: {error}")))?;
        let uploaded = DateTime::from_timestamp_millis(uploaded).ok_or_else(|| corrupt("a time is out of range"))?;
        let mut meta = ObjectMeta::new(Key::new(key)?, version, size, etag, uploaded);
        meta.http = parsed_or_default(http)?;
        meta.custom = parsed_or_default(custom)?;
        meta.storage_class = parsed_or_default(class)?;
        meta.checksums = match checksums {
            Some(text) => serde_json::from_str(text).map_err(json)?,
            None => vec![Checksum { algorithm: ChecksumAlgorithm::Md5, hex: meta.etag.clone() }],
        };
        Ok(meta)
    };
    Ok(decode())
}

/// Whether the checksums are those of a whole put, which are not written: its etag is its md5. A put with a checksum of its own has two and
/// is written out; an object out of parts has none, and is written as an empty list.
fn is_md5_alone(checksums: &[Checksum], etag: &str) -> bool {
    matches!(checksums, [Checksum { algorithm: ChecksumAlgorithm::Md5, hex }] if hex == etag)
}

fn text_unless<T: Serialize + ?Sized>(value: &T, is_default: impl FnOnce(&T) -> bool) -> Result<Option<String>> {
    if is_default(value) { Ok(None) } else { Ok(Some(serde_json::to_string(value).map_err(json)?)) }
}

fn parsed_or_default<T: DeserializeOwned + Default>(text: Option<&str>) -> Result<T, Error> {
    text.map_or_else(|| Ok(T::default()), |text| serde_json::from_str(text).map_err(json))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::local::index::schema;

    /// Puts the object "k" in the version of this number, with a blob of the same name.
    fn put(connection: &mut Connection, number: u64) {
        let transaction = connection.transaction().unwrap();
        let now = DateTime::<Utc>::UNIX_EPOCH;
        let meta = ObjectMeta::new(Key::new("k").unwrap(), number.to_string(), 7, "etag".to_owned(), now);
        let blobs = vec![BlobPart { blob: number.to_string(), size: 7 }];
        replace(&transaction, &meta, &Content::Blobs(blobs, None), now).unwrap();
        transaction.commit().unwrap();
    }

    #[test]
    fn row_and_blobs_are_of_one_write_while_another_connection_writes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index.db");
        let mut writer = Connection::open(&path).unwrap();
        writer.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF").unwrap();
        schema::prepare(&mut writer, || Ok(())).unwrap();
        put(&mut writer, 0);
        let mut reader = Connection::open(&path).unwrap();
        let key = Key::new("k").unwrap();
        assert!(find_with_content(&reader, &key).unwrap().is_some());

        // The object is replaced after each step of the reader's statements.
        let newest = Arc::new(AtomicU64::new(0));
        let written = Arc::clone(&newest);
        let mut number = 0;
        let write = move || {
            number += 1;
            put(&mut writer, number);
            written.store(number, Ordering::Relaxed);
            false
        };
        reader.progress_handler(1, Some(write)).unwrap();
        let (meta, content) = find_with_content(&reader, &key).unwrap().unwrap();
        let Content::Blobs(blobs, _) = content else { panic!("the object has blobs") };
        assert_eq!(blobs, [BlobPart { blob: meta.version.clone(), size: 7 }]);
        assert!(newest.load(Ordering::Relaxed) > meta.version.parse::<u64>().unwrap(), "nothing was written meanwhile");
    }
}
