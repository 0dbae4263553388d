//! The index: every statement that touches SQLite.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use chrono::{DateTime, Duration, Utc};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};

use super::blobs::Segment;
use crate::rules::{self, StoredPart};
use crate::{
    Conditions, CopyOptions, Error, ErrorKind, Key, ListOptions, ListPage, MultipartOptions, ObjectMeta, Part,
    PartInfo, PutResult, StorageClass, UploadId, limits,
};

/// What can go wrong between a transaction's start and end: SQLite's errors become ours at its edge, so that
/// no type of rusqlite stands in the crate's public signatures.
#[derive(Debug)]
enum Fault {
    Ours(Error),
    Sqlite(rusqlite::Error),
}

type Result<T, E = Fault> = std::result::Result<T, E>;

/// "isob": marks the file as ours, so that a foreign database is refused rather than changed.
const APPLICATION_ID: i64 = 0x6973_6f62;
const SCHEMA_VERSION: i64 = 1;
/// How long a connection waits for another process's write.
const BUSY_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);
/// Reading connections that are kept.
const READERS: usize = 8;
/// A replaced blob is unlinked after this: far longer than the moment between reading a row and opening its blobs.
const GARBAGE_AGE: Duration = Duration::minutes(10);

const SCHEMA: &str = "
    CREATE TABLE objects (
        key BLOB PRIMARY KEY, version TEXT NOT NULL, size INTEGER NOT NULL, etag TEXT NOT NULL,
        uploaded INTEGER NOT NULL, http TEXT NOT NULL, custom TEXT NOT NULL, checksums TEXT NOT NULL,
        class TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE inline (version TEXT PRIMARY KEY, body BLOB NOT NULL);
    CREATE TABLE segments (
        version TEXT NOT NULL, seq INTEGER NOT NULL, blob TEXT NOT NULL, size INTEGER NOT NULL,
        PRIMARY KEY (version, seq)
    ) WITHOUT ROWID;
    CREATE INDEX segments_blob ON segments (blob);
    CREATE TABLE uploads (
        id TEXT PRIMARY KEY, key BLOB NOT NULL, created INTEGER NOT NULL, options TEXT NOT NULL, open INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE parts (
        upload TEXT NOT NULL, number INTEGER NOT NULL, etag TEXT NOT NULL, md5 TEXT NOT NULL, blob TEXT NOT NULL,
        size INTEGER NOT NULL, PRIMARY KEY (upload, number)
    ) WITHOUT ROWID;
    CREATE INDEX parts_blob ON parts (blob);
    CREATE TABLE garbage (blob TEXT PRIMARY KEY, since INTEGER NOT NULL) WITHOUT ROWID;
    CREATE INDEX garbage_since ON garbage (since);
";

const COLUMNS: &str = "key, version, size, etag, uploaded, http, custom, checksums, class";

/// Where an object's bytes are.
#[derive(Debug)]
pub(super) enum Content {
    Inline(Bytes),
    Segments(Vec<Segment>),
}

/// One connection that writes, and as many that read as there are readers at once.
#[derive(Debug)]
pub(super) struct Index {
    path: std::path::PathBuf,
    writer: Mutex<Connection>,
    readers: Mutex<Vec<Connection>>,
}

impl Index {
    pub(super) fn open(path: &Path) -> crate::Result<Self> {
        let named = |error| sqlite(error).with_path(path);
        let mut connection = Connection::open(path).map_err(named)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(named)?;
        // Looked at before anything is set: another program's file stays as it is.
        prepare(&mut connection).map_err(|fault| Error::from(fault).with_path(path))?;
        drop(connection);
        Ok(Self { path: path.to_owned(), writer: Mutex::new(connect(path)?), readers: Mutex::default() })
    }

    pub(super) fn head(&self, key: &Key) -> crate::Result<Option<ObjectMeta>> {
        self.read(|connection| find(connection, key))
    }

    pub(super) fn get(&self, key: &Key) -> crate::Result<Option<(ObjectMeta, Content)>> {
        self.read(|connection| {
            // One transaction, so that row and content are of the same write.
            let transaction = connection.unchecked_transaction()?;
            let Some(meta) = find(&transaction, key)? else { return Ok(None) };
            let content = content(&transaction, &meta.version)?;
            Ok(Some((meta, content)))
        })
    }

    /// Stores the row and its content if the conditions hold; whether they did.
    pub(super) fn put(
        &self,
        meta: &ObjectMeta,
        content: &Content,
        conditions: Option<&Conditions>,
    ) -> crate::Result<bool> {
        self.write(|transaction| {
            let old = find(transaction, &meta.key)?;
            if conditions.is_some_and(|conditions| !conditions.hold(old.as_ref())) {
                return Ok(false);
            }
            if let Some(old) = old {
                release_content(transaction, &old.version, meta.uploaded)?;
            }
            insert(transaction, meta, content)?;
            Ok(true)
        })
    }

    pub(super) fn delete(&self, keys: &[Key], now: DateTime<Utc>) -> crate::Result<()> {
        self.write(|transaction| {
            for key in keys {
                if let Some(old) = find(transaction, key)? {
                    release_content(transaction, &old.version, now)?;
                    transaction
                        .prepare_cached("DELETE FROM objects WHERE key = ?")?
                        .execute([key.as_str().as_bytes()])?;
                }
            }
            Ok(())
        })
    }

    pub(super) fn list(&self, options: &ListOptions) -> crate::Result<ListPage> {
        self.read(|connection| {
            let transaction = connection.unchecked_transaction()?;
            rules::list_page(options, |start, limit| {
                let operator = if start.inclusive { ">=" } else { ">" };
                let sql = format!("SELECT {COLUMNS} FROM objects WHERE key {operator} ? ORDER BY key LIMIT ?");
                let mut statement = transaction.prepare_cached(&sql)?;
                let rows = statement.query_map(params![start.bytes, limit as i64], object)?;
                rows.map(|row| Ok(row??)).collect()
            })
        })
    }

    pub(super) fn copy(
        &self,
        from: &Key,
        to: &Key,
        options: &CopyOptions,
        now: DateTime<Utc>,
    ) -> crate::Result<Option<PutResult>> {
        let CopyOptions { source_conditions, conditions } = options;
        self.write(|transaction| {
            let Some(mut meta) = find(transaction, from)? else { return Ok(None) };
            let old = find(transaction, to)?;
            if source_conditions.as_ref().is_some_and(|conditions| !conditions.hold(Some(&meta)))
                || conditions.as_ref().is_some_and(|conditions| !conditions.hold(old.as_ref()))
            {
                return Ok(Some(PutResult::ConditionFailed));
            }
            // Blobs are immutable, so the copy names the same ones.
            let content = content(transaction, &meta.version)?;
            (meta.key, meta.version, meta.uploaded) = (to.clone(), rules::random_id()?, now);
            if let Some(old) = old {
                release_content(transaction, &old.version, now)?;
            }
            insert(transaction, &meta, &content)?;
            Ok(Some(PutResult::Stored(meta)))
        })
    }

    pub(super) fn create_upload(
        &self,
        id: &UploadId,
        key: &Key,
        options: &MultipartOptions,
        now: DateTime<Utc>,
    ) -> crate::Result<()> {
        let options = serde_json::to_string(options).map_err(json)?;
        self.write(|transaction| {
            let values = params![id.as_str(), key.as_str().as_bytes(), now.timestamp_millis(), options];
            transaction.execute("INSERT INTO uploads VALUES (?, ?, ?, ?, 1)", values)?;
            Ok(())
        })
    }

    pub(super) fn check_upload(&self, key: &Key, upload: &UploadId, now: DateTime<Utc>) -> crate::Result<()> {
        self.read(|connection| open_upload(connection, key, upload, now).map(drop))
    }

    pub(super) fn put_part(
        &self,
        key: &Key,
        upload: &UploadId,
        now: DateTime<Utc>,
        part: &Part,
        md5: &str,
        segment: &Segment,
    ) -> crate::Result<()> {
        self.write(|transaction| {
            open_upload(transaction, key, upload, now)?;
            let old = "INSERT OR IGNORE INTO garbage SELECT blob, ?3 FROM parts WHERE upload = ?1 AND number = ?2";
            transaction.execute(old, params![upload.as_str(), part.part_number, now.timestamp_millis()])?;
            transaction.execute(
                "INSERT OR REPLACE INTO parts VALUES (?, ?, ?, ?, ?, ?)",
                params![upload.as_str(), part.part_number, part.etag, md5, segment.blob, segment.size as i64],
            )?;
            Ok(())
        })
    }

    pub(super) fn list_parts(&self, key: &Key, upload: &UploadId, now: DateTime<Utc>) -> crate::Result<Vec<PartInfo>> {
        self.read(|connection| {
            open_upload(connection, key, upload, now)?;
            let info = |number, (part, _): (StoredPart, Segment)| {
                PartInfo::new(Part { part_number: number, etag: part.etag }, part.size)
            };
            Ok(stored_parts(connection, upload)?.into_iter().map(|(number, part)| info(number, part)).collect())
        })
    }

    pub(super) fn complete_upload(
        &self,
        key: &Key,
        upload: &UploadId,
        given: &[Part],
        now: DateTime<Utc>,
    ) -> crate::Result<ObjectMeta> {
        self.write(|transaction| {
            let options = match open_upload(transaction, key, upload, now) {
                Err(_) if !is_known(transaction, key, upload)? => return Err(rules::unknown_upload().into()),
                opened => opened?,
            };
            let mut stored = stored_parts(transaction, upload)?;
            let parts = stored.iter().map(|(number, (part, _))| (*number, part.clone())).collect();
            let (numbers, etag) = rules::complete(given, &parts)?;
            let segments: Vec<_> =
                numbers.iter().filter_map(|number| stored.remove(number)).map(|(_, segment)| segment).collect();
            let size = segments.iter().map(|segment| segment.size).sum();
            let mut meta = ObjectMeta::new(key.clone(), rules::random_id()?, size, etag, now);
            let MultipartOptions { http, custom, storage_class } = options;
            (meta.http, meta.custom, meta.storage_class) = (http, custom, storage_class);
            if let Some(old) = find(transaction, key)? {
                release_content(transaction, &old.version, now)?;
            }
            insert(transaction, &meta, &Content::Segments(segments))?;
            close_upload(transaction, upload, now)?;
            Ok(meta)
        })
    }

    pub(super) fn abort_upload(&self, key: &Key, upload: &UploadId, now: DateTime<Utc>) -> crate::Result<()> {
        self.write(|transaction| {
            if !is_known(transaction, key, upload)? {
                return Err(rules::unknown_upload().into());
            }
            close_upload(transaction, upload, now)
        })
    }

    /// Closes uploads past their days and forgets those that have been closed for as long; how many were closed.
    pub(super) fn expire_uploads(&self, now: DateTime<Utc>) -> crate::Result<u64> {
        let oldest = now - Duration::days(limits::UPLOAD_DAYS);
        self.write(|transaction| {
            let mut statement = transaction.prepare("SELECT id FROM uploads WHERE open = 1 AND created <= ?")?;
            let expired: Vec<String> =
                statement.query_map([oldest.timestamp_millis()], |row| row.get(0))?.collect::<Result<_, _>>()?;
            for upload in &expired {
                close_upload(transaction, &UploadId::new(upload.as_str()), now)?;
            }
            let forgotten = (oldest - Duration::days(limits::UPLOAD_DAYS)).timestamp_millis();
            transaction.execute("DELETE FROM uploads WHERE open = 0 AND created <= ?", [forgotten])?;
            Ok(expired.len() as u64)
        })
    }

    /// Whether any row names the blob; those that are garbage are collected in their own time.
    pub(super) fn is_named(&self, blob: &str) -> crate::Result<bool> {
        self.read(|connection| {
            let sql =
                "SELECT EXISTS (SELECT 1 FROM segments WHERE blob = ?1) OR EXISTS (SELECT 1 FROM parts WHERE blob = ?1)
                       OR EXISTS (SELECT 1 FROM garbage WHERE blob = ?1)";
            Ok(connection.prepare_cached(sql)?.query_row([blob], |row| row.get(0))?)
        })
    }

    /// A few blobs that nothing names since long enough.
    pub(super) fn garbage(&self, now: DateTime<Utc>) -> crate::Result<Vec<String>> {
        self.read(|connection| {
            let sql = "SELECT blob FROM garbage WHERE since < ?1
                       AND NOT EXISTS (SELECT 1 FROM segments WHERE segments.blob = garbage.blob)
                       AND NOT EXISTS (SELECT 1 FROM parts WHERE parts.blob = garbage.blob) LIMIT 16";
            let mut statement = connection.prepare_cached(sql)?;
            let blobs = statement.query_map([(now - GARBAGE_AGE).timestamp_millis()], |row| row.get(0))?;
            Ok(blobs.collect::<Result<_, _>>()?)
        })
    }

    pub(super) fn forget_garbage(&self, blobs: &[String]) -> crate::Result<()> {
        self.write(|transaction| {
            for blob in blobs {
                transaction.prepare_cached("DELETE FROM garbage WHERE blob = ?")?.execute([blob])?;
            }
            Ok(())
        })
    }

    fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> crate::Result<T> {
        let idle = lock(&self.readers).pop();
        let connection = idle.map_or_else(|| connect(&self.path), Ok)?;
        let result = work(&connection);
        let mut readers = lock(&self.readers);
        if readers.len() < READERS {
            readers.push(connection);
        }
        drop(readers);
        Ok(result?)
    }

    /// Runs `work` in one durable transaction; nothing of it remains where it fails.
    fn write<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T>) -> crate::Result<T> {
        let mut connection = lock(&self.writer);
        let run = || -> Result<T> {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = work(&transaction)?;
            transaction.commit()?;
            Ok(value)
        };
        Ok(run()?)
    }
}

fn connect(path: &Path) -> crate::Result<Connection> {
    let open = || {
        let connection = Connection::open(path)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.set_prepared_statement_cache_capacity(64);
        connection.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF; PRAGMA cache_size = -8192;",
        )?;
        Ok::<_, rusqlite::Error>(connection)
    };
    open().map_err(|error| sqlite(error).with_path(path))
}

/// Makes a new file ours, and refuses what is somebody else's or from the future.
fn prepare(connection: &mut Connection) -> Result<()> {
    // One look under the write lock: another process may be creating it just now.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let sql = "SELECT (SELECT * FROM pragma_application_id), (SELECT * FROM pragma_user_version), count(*) FROM sqlite_schema";
    let found: (i64, i64, i64) = transaction.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    match found {
        (0, 0, 0) => {
            transaction.execute_batch(SCHEMA)?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        }
        (APPLICATION_ID, ..=SCHEMA_VERSION, _) => {}
        (APPLICATION_ID, version, _) => {
            let what = format!("was written by a newer isobar (version {version}, this one knows {SCHEMA_VERSION})");
            return Err(corrupt(&what).into());
        }
        _ => return Err(corrupt("is a database of another program; choose another folder").into()),
    }
    Ok(transaction.commit()?)
}

fn find(connection: &Connection, key: &Key) -> Result<Option<ObjectMeta>> {
    let mut statement = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM objects WHERE key = ?"))?;
    Ok(statement.query_row([key.as_str().as_bytes()], object).optional()?.transpose()?)
}

fn content(connection: &Connection, version: &str) -> Result<Content> {
    let mut inline = connection.prepare_cached("SELECT body FROM inline WHERE version = ?")?;
    if let Some(body) = inline.query_row([version], |row| row.get::<_, Vec<u8>>(0)).optional()? {
        return Ok(Content::Inline(body.into()));
    }
    let mut segments = connection.prepare_cached("SELECT blob, size FROM segments WHERE version = ? ORDER BY seq")?;
    let segments = segments.query_map([version], |row| Ok(Segment { blob: row.get(0)?, size: size(row, 1)? }))?;
    Ok(Content::Segments(segments.collect::<Result<_, _>>()?))
}

fn insert(transaction: &Transaction<'_>, meta: &ObjectMeta, content: &Content) -> Result<()> {
    let ObjectMeta { key, version, size, etag, uploaded, http, custom, checksums, storage_class } = meta;
    let sql = "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)";
    transaction.prepare_cached(sql)?.execute(params![
        key.as_str().as_bytes(),
        version,
        *size as i64,
        etag,
        uploaded.timestamp_millis(),
        serde_json::to_string(http).map_err(json)?,
        serde_json::to_string(custom).map_err(json)?,
        serde_json::to_string(checksums).map_err(json)?,
        serde_json::to_string(storage_class).map_err(json)?,
    ])?;
    match content {
        Content::Inline(body) => {
            transaction.prepare_cached("INSERT INTO inline VALUES (?, ?)")?.execute(params![version, &body[..]])?;
        }
        Content::Segments(segments) => {
            let mut insert = transaction.prepare_cached("INSERT INTO segments VALUES (?, ?, ?, ?)")?;
            for (seq, segment) in segments.iter().enumerate() {
                insert.execute(params![version, seq as i64, segment.blob, segment.size as i64])?;
            }
        }
    }
    Ok(())
}

/// Gives up the content of a version that is replaced or deleted.
fn release_content(transaction: &Transaction<'_>, version: &str, now: DateTime<Utc>) -> Result<()> {
    transaction.prepare_cached("DELETE FROM inline WHERE version = ?")?.execute([version])?;
    let queue = "INSERT OR REPLACE INTO garbage SELECT blob, ?2 FROM segments WHERE version = ?1";
    transaction.prepare_cached(queue)?.execute(params![version, now.timestamp_millis()])?;
    transaction.prepare_cached("DELETE FROM segments WHERE version = ?")?.execute([version])?;
    Ok(())
}

fn open_upload(connection: &Connection, key: &Key, upload: &UploadId, now: DateTime<Utc>) -> Result<MultipartOptions> {
    let oldest = (now - Duration::days(limits::UPLOAD_DAYS)).timestamp_millis();
    let sql = "SELECT options FROM uploads WHERE id = ? AND key = ? AND open = 1 AND created > ?";
    let values = params![upload.as_str(), key.as_str().as_bytes(), oldest];
    let options: Option<String> = connection.query_row(sql, values, |row| row.get(0)).optional()?;
    Ok(serde_json::from_str(&options.ok_or_else(rules::no_such_upload)?).map_err(json)?)
}

fn is_known(connection: &Connection, key: &Key, upload: &UploadId) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM uploads WHERE id = ? AND key = ?)";
    Ok(connection.query_row(sql, params![upload.as_str(), key.as_str().as_bytes()], |row| row.get(0))?)
}

fn stored_parts(connection: &Connection, upload: &UploadId) -> Result<BTreeMap<u16, (StoredPart, Segment)>> {
    let mut statement = connection
        .prepare_cached("SELECT number, etag, md5, blob, size FROM parts WHERE upload = ? ORDER BY number")?;
    let mut rows = statement.query([upload.as_str()])?;
    let mut parts = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let (md5, mut digest): (String, [u8; 16]) = (row.get(2)?, [0; 16]);
        hex::decode_to_slice(&md5, &mut digest).map_err(|error| corrupt(&format!("a part's md5: {error}")))?;
        let size = size(row, 4)?;
        let part = StoredPart { etag: row.get(1)?, md5: digest, size };
        parts.insert(row.get(0)?, (part, Segment { blob: row.get(3)?, size }));
    }
    Ok(parts)
}

/// Ends an upload; the blobs of its parts become garbage unless an object names them.
fn close_upload(transaction: &Transaction<'_>, upload: &UploadId, now: DateTime<Utc>) -> Result<()> {
    let values = params![upload.as_str(), now.timestamp_millis()];
    transaction.execute("INSERT OR IGNORE INTO garbage SELECT blob, ?2 FROM parts WHERE upload = ?1\n         AND NOT EXISTS (SELECT 1 FROM segments WHERE segments.blob = parts.blob)", values)?;
    transaction.execute("DELETE FROM parts WHERE upload = ?", [upload.as_str()])?;
    transaction.execute("UPDATE uploads SET open = 0 WHERE id = ?", [upload.as_str()])?;
    Ok(())
}

/// Reads a row of [`COLUMNS`]: the outer error is SQLite's, the inner one ours.
fn object(row: &Row<'_>) -> rusqlite::Result<crate::Result<ObjectMeta>> {
    let (key, uploaded): (Vec<u8>, i64) = (row.get(0)?, row.get(4)?);
    let texts: (String, String, String, String) = (row.get(5)?, row.get(6)?, row.get(7)?, row.get(8)?);
    let (version, size, etag) = (row.get(1)?, size(row, 2)?, row.get(3)?);
    let decode = || {
        let key = String::from_utf8(key).map_err(|error| corrupt(&format!("a key is no UTF-8: {error}")))?;
        let uploaded = DateTime::from_timestamp_millis(uploaded).ok_or_else(|| corrupt("a time is out of range"))?;
        let mut meta = ObjectMeta::new(Key::new(key)?, version, size, etag, uploaded);
        meta.http = serde_json::from_str(&texts.0).map_err(json)?;
        meta.custom = serde_json::from_str(&texts.1).map_err(json)?;
        meta.checksums = serde_json::from_str(&texts.2).map_err(json)?;
        meta.storage_class = serde_json::from_str::<StorageClass>(&texts.3).map_err(json)?;
        Ok(meta)
    };
    Ok(decode())
}

fn size(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let size: i64 = row.get(column)?;
    u64::try_from(size).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, size))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic inside a transaction rolls it back when the Transaction drops: the connection stays good.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn corrupt(what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("the store's index: {what}"))
}

fn json(error: serde_json::Error) -> Error {
    corrupt(&error.to_string()).with_source(error)
}

fn sqlite(error: rusqlite::Error) -> Error {
    use rusqlite::ErrorCode;
    let kind = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => ErrorKind::Unavailable,
        Some(ErrorCode::DiskFull) => ErrorKind::StorageFull,
        Some(ErrorCode::PermissionDenied | ErrorCode::ReadOnly | ErrorCode::CannotOpen) => ErrorKind::PermissionDenied,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => ErrorKind::Corrupt,
        _ => ErrorKind::Internal,
    };
    Error::new(kind, format!("the store's index: {error}")).with_source(error)
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Ours(error) => error,
            Fault::Sqlite(error) => sqlite(error),
        }
    }
}

impl Error {
    fn with_path(self, path: &Path) -> Self {
        let message = format!("{} ({})", self, path.display());
        Self::new(self.kind(), message).with_source(self)
    }
}
