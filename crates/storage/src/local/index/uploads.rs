//! Multipart uploads and their parts.
//!
//! | state | row in `uploads` | rows in `parts` |
//! |---|---|---|
//! | open | `open = 1` | the latest of each number |
//! | completed, aborted, expired | `open = 0`, until 14 days after its begin | none; their blobs are the object's, or garbage |
//! | unknown | none | none |
//!
//! That ended uploads keep a row is R2's doing: its codes differ (10024 of one that has ended, 10001 of one that never was). An upload counts
//! as expired by its time alone; the garbage collection only clears up after it. None of this is in frames: uploads are lost with the index,
//! and their blobs are kept by a rebuild.

use std::collections::BTreeMap;

use chrono::{DateTime, Duration, Utc};
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::{Result, corrupt, json, size};
use crate::local::blobs::BlobPart;
use crate::rules::{self, StoredPart};
use crate::{Key, ListUploadsOptions, MultipartOptions, ObjectMeta, Part, PartInfo, UploadId, UploadInfo, limits};

pub(in crate::local) fn create(
    transaction: &Transaction<'_>,
    id: &UploadId,
    key: &Key,
    options: &MultipartOptions,
    now: DateTime<Utc>,
) -> Result<()> {
    let options = serde_json::to_string(options).map_err(json)?;
    let values = params![id.as_str(), key.as_str().as_bytes(), now.timestamp_millis(), options];
    transaction.execute("INSERT INTO uploads VALUES (?, ?, ?, ?, 1)", values)?;
    Ok(())
}

/// Returns the options of an open upload.
pub(in crate::local) fn open(
    connection: &Connection,
    key: &Key,
    upload: &UploadId,
    now: DateTime<Utc>,
) -> Result<MultipartOptions> {
    let oldest = (now - Duration::days(limits::UPLOAD_DAYS)).timestamp_millis();
    let sql = "SELECT options FROM uploads WHERE id = ? AND key = ? AND open = 1 AND created > ?";
    let values = params![upload.as_str(), key.as_str().as_bytes(), oldest];
    let options: Option<String> = connection.query_row(sql, values, |row| row.get(0)).optional()?;
    Ok(serde_json::from_str(&options.ok_or_else(rules::no_such_upload)?).map_err(json)?)
}

/// Stores a part in place of the one with its number, whose blob becomes garbage. The upload is looked up once more: it may have ended while
/// the body was written.
pub(in crate::local) fn put_part(
    transaction: &Transaction<'_>,
    key: &Key,
    upload: &UploadId,
    now: DateTime<Utc>,
    part: &Part,
    md5: &str,
    segment: &BlobPart,
) -> Result<()> {
    open(transaction, key, upload, now)?;
    let old = "INSERT OR IGNORE INTO garbage SELECT blob, ?3 FROM parts WHERE upload = ?1 AND number = ?2";
    transaction.execute(old, params![upload.as_str(), part.part_number, now.timestamp_millis()])?;
    transaction.execute(
        "INSERT OR REPLACE INTO parts VALUES (?, ?, ?, ?, ?, ?)",
        params![upload.as_str(), part.part_number, part.etag, md5, segment.blob, segment.size as i64],
    )?;
    Ok(())
}

pub(in crate::local) fn list_parts(
    connection: &Connection,
    key: &Key,
    upload: &UploadId,
    now: DateTime<Utc>,
) -> Result<Vec<PartInfo>> {
    open(connection, key, upload, now)?;
    let info = |number, part: StoredPart| PartInfo::new(Part { part_number: number, etag: part.etag }, part.size);
    Ok(stored_parts(connection, upload)?.into_iter().map(|(number, (part, _))| info(number, part)).collect())
}

/// Returns the open uploads that the options ask for, in the order of their keys and ids.
pub(in crate::local) fn list(
    connection: &Connection,
    options: &ListUploadsOptions,
    limit: usize,
    now: DateTime<Utc>,
) -> Result<Vec<UploadInfo>> {
    let oldest = (now - Duration::days(limits::UPLOAD_DAYS)).timestamp_millis();
    let from = options.after.as_ref().map_or("", |(key, _)| key.as_str());
    let from = from.max(options.prefix.as_deref().unwrap_or_default());
    let sql =
        "SELECT id, key, created, options FROM uploads WHERE open = 1 AND created > ? AND key >= ? ORDER BY key, id";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![oldest, from.as_bytes()])?;
    let mut uploads = Vec::new();
    while let Some(row) = rows.next()?
        && uploads.len() < limit
    {
        let key: Vec<u8> = row.get(1)?;
        let key = String::from_utf8(key).map_err(|error| corrupt(&format!("an upload's key: {error}")))?;
        let key = Key::new(key)?;
        let id = UploadId::new(row.get::<_, String>(0)?);
        if options.covers(&key, &id) {
            let created = DateTime::from_timestamp_millis(row.get(2)?).unwrap_or_default();
            let stored: MultipartOptions = serde_json::from_str(&row.get::<_, String>(3)?).map_err(json)?;
            uploads.push(UploadInfo { storage_class: stored.storage_class, ..UploadInfo::new(key, id, created) });
        } else if options.prefix.as_ref().is_some_and(|prefix| !key.as_str().starts_with(&**prefix)) {
            break;
        }
    }
    Ok(uploads)
}

/// Returns the object that an upload makes of these parts, and the blobs of its body, in order.
pub(in crate::local) fn completed(
    connection: &Connection,
    key: &Key,
    upload: &UploadId,
    given: &[Part],
    now: DateTime<Utc>,
) -> Result<(ObjectMeta, Vec<BlobPart>)> {
    let options = match open(connection, key, upload, now) {
        Err(_) if !is_known(connection, key, upload)? => return Err(rules::unknown_upload().into()),
        opened => opened?,
    };
    let mut stored = stored_parts(connection, upload)?;
    let parts = stored.iter().map(|(number, (part, _))| (*number, part.clone())).collect();
    let (numbers, etag) = rules::complete_parts(given, &parts)?;
    let segments: Vec<BlobPart> =
        numbers.iter().filter_map(|number| stored.remove(number)).map(|(_, segment)| segment).collect();
    let size = segments.iter().map(|segment| segment.size).sum();
    let mut meta = ObjectMeta::new(key.clone(), rules::random_id()?, size, etag, now);
    let MultipartOptions { http, custom, storage_class } = options;
    meta.http = http;
    meta.custom = custom;
    meta.storage_class = storage_class;
    Ok((meta, segments))
}

/// Ends an upload, if there ever was one; again and again without another effect.
pub(in crate::local) fn abort(
    transaction: &Transaction<'_>,
    key: &Key,
    upload: &UploadId,
    now: DateTime<Utc>,
) -> Result<()> {
    if !is_known(transaction, key, upload)? {
        return Err(rules::unknown_upload().into());
    }
    close(transaction, upload, now)
}

/// Closes uploads past their days and forgets those that have been closed for as long; how many were closed.
pub(in crate::local) fn expire(transaction: &Transaction<'_>, now: DateTime<Utc>) -> Result<u64> {
    let oldest = now - Duration::days(limits::UPLOAD_DAYS);
    let mut statement = transaction.prepare("SELECT id FROM uploads WHERE open = 1 AND created <= ?")?;
    let expired: Vec<String> =
        statement.query_map([oldest.timestamp_millis()], |row| row.get(0))?.collect::<Result<_, _>>()?;
    for upload in &expired {
        close(transaction, &UploadId::new(upload.as_str()), now)?;
    }
    let forgotten = (oldest - Duration::days(limits::UPLOAD_DAYS)).timestamp_millis();
    transaction.execute("DELETE FROM uploads WHERE open = 0 AND created <= ?", [forgotten])?;
    Ok(expired.len() as u64)
}

/// Ends an upload; the blobs of its parts become garbage unless an object names them.
pub(in crate::local) fn close(transaction: &Transaction<'_>, upload: &UploadId, now: DateTime<Utc>) -> Result<()> {
    let sql = "INSERT OR IGNORE INTO garbage SELECT blob, ?2 FROM parts WHERE upload = ?1
               AND NOT EXISTS (SELECT 1 FROM segments WHERE segments.blob = parts.blob)";
    transaction.execute(sql, params![upload.as_str(), now.timestamp_millis()])?;
    transaction.execute("DELETE FROM parts WHERE upload = ?", [upload.as_str()])?;
    transaction.execute("UPDATE uploads SET open = 0 WHERE id = ?", [upload.as_str()])?;
    Ok(())
}

fn is_known(connection: &Connection, key: &Key, upload: &UploadId) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM uploads WHERE id = ? AND key = ?)";
    Ok(connection.query_row(sql, params![upload.as_str(), key.as_str().as_bytes()], |row| row.get(0))?)
}

fn stored_parts(connection: &Connection, upload: &UploadId) -> Result<BTreeMap<u16, (StoredPart, BlobPart)>> {
    let mut statement = connection
        .prepare_cached("SELECT number, etag, md5, blob, size FROM parts WHERE upload = ? ORDER BY number")?;
    let mut rows = statement.query([upload.as_str()])?;
    let mut parts = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let md5: String = row.get(2)?;
        let mut digest = [0; 16];
        hex::decode_to_slice(&md5, &mut digest).map_err(|error| corrupt(&format!("a part's md5: {error}")))?;
        let size = size(row, 4)?;
        let part = StoredPart { etag: row.get(1)?, md5: digest, size };
        parts.insert(row.get(0)?, (part, BlobPart { blob: row.get(3)?, size }));
    }
    Ok(parts)
}
