//! The tables, and how a file becomes ours.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Row, Transaction, TransactionBehavior, params};

use super::{Result, TxError, busy_handler, check, corrupt, history, packs, recover, rows, sqlite, unusable};
use crate::local::packs::{Appender, NewFrame, Note, Packs, head_of};
use crate::{ErrorKind, Key, ObjectMeta};

/// A file that is there is opened, and none is made.
const EXISTING: OpenFlags = OpenFlags::SQLITE_OPEN_READ_WRITE.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);
/// Longest wait for a store that is being closed.
const CLOSING: Duration = Duration::from_secs(1);

/// "isob": marks the file as ours, so that a foreign database is refused rather than changed.
const APPLICATION_ID: i64 = 0x6973_6f62;
/// 5: the tables of 4; the packs say of every object that an older pack has whether it was deleted.
const VERSION: i64 = 5;

const SCHEMA: &str = "
    CREATE TABLE objects (
        key BLOB PRIMARY KEY, version TEXT NOT NULL, size INTEGER NOT NULL, etag TEXT NOT NULL, uploaded INTEGER NOT NULL,
        -- NULL: none, md5 alone, Standard
        http TEXT, custom TEXT, checksums TEXT, class TEXT,
        -- where the body lies; NULL: in segments
        pack INTEGER, position INTEGER,
        -- the CRC-32 of the body in the pack; NULL: of a row of version 3
        crc INTEGER,
        -- the pack with the frame that names the segments; NULL: the body lies in a pack
        named INTEGER
    ) WITHOUT ROWID;
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

/// The packs: where the last frame of each ends, and its id; the weight of all records in it, and of those that are live; up to
/// where its records were written again: all of them where that is `bytes`, and one more if what is behind damage was not.
const PACKS: &str = "
    CREATE TABLE packs (
        id INTEGER PRIMARY KEY, bytes INTEGER NOT NULL, last INTEGER NOT NULL, weight INTEGER NOT NULL, live INTEGER NOT NULL,
        moved INTEGER NOT NULL
    );
    CREATE INDEX packs_thin ON packs (id) WHERE live * 2 < weight;
    -- What the first frame follows is another in every store.
    INSERT INTO packs VALUES (1, 0, random(), 0, 0, 0);
";

/// From version 1: small bodies by the object's version, and every field written out.
const FROM_1: &str = r#"
    ALTER TABLE objects RENAME TO old_objects;
    ALTER TABLE inline RENAME TO old_inline;
    CREATE TABLE objects (
        key BLOB PRIMARY KEY, version TEXT NOT NULL, size INTEGER NOT NULL, etag TEXT NOT NULL, uploaded INTEGER NOT NULL,
        http TEXT, custom TEXT, checksums TEXT, class TEXT, inline INTEGER
    ) WITHOUT ROWID;
    CREATE TABLE inline (id INTEGER PRIMARY KEY, body BLOB NOT NULL);
    INSERT INTO inline SELECT rowid, body FROM old_inline;
    INSERT INTO objects SELECT key, version, size, etag, uploaded, nullif(http, '{}'), nullif(custom, '{}'),
        nullif(checksums, '[{"algorithm":"md5","hex":"' || etag || '"}]'), nullif(class, '"Standard"'),
        (SELECT rowid FROM old_inline WHERE old_inline.version = old_objects.version) FROM old_objects;
    DROP TABLE old_objects;
    DROP TABLE old_inline;
"#;

/// From version 2: small bodies in packs, no longer in a table.
const FROM_2: &str = "
    ALTER TABLE objects ADD COLUMN pack INTEGER;
    ALTER TABLE objects ADD COLUMN position INTEGER;
";
const FROM_2_MOVED: &str = "
    ALTER TABLE objects DROP COLUMN inline;
    DROP TABLE inline;
";

/// From version 3: bodies have a CRC, and frames name the blobs of large objects.
const FROM_3: &str = "
    ALTER TABLE objects ADD COLUMN crc INTEGER;
    ALTER TABLE objects ADD COLUMN named INTEGER;
";
/// Objects of a frame when bodies are moved into packs, or blobs are named.
const MOVED_AT_ONCE: i64 = 256;

/// Makes the tables in a new file, and refuses another program's, one of another version, and a new one beside packs or blobs that
/// are there already.
pub(super) fn prepare(connection: &mut Connection, refuse_files: impl FnOnce() -> crate::Result<()>) -> Result<()> {
    // One look under the write lock: another process may be creating it just now.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    match found(&transaction)? {
        (0, 0, 0) => {
            refuse_files()?;
            create(&transaction)?;
        }
        (APPLICATION_ID, VERSION, _) => return Ok(()),
        (APPLICATION_ID, 1..VERSION, _) => {
            let what = "the store's index was of an earlier version a moment ago: open the store again";
            return Err(crate::Error::new(ErrorKind::Unavailable, what).into());
        }
        (APPLICATION_ID, version, _) => {
            let what = format!("was written by a newer isobar (version {version}, this one knows {VERSION})");
            return Err(corrupt(&what).into());
        }
        _ => return Err(corrupt("is a database of another program; choose another folder").into()),
    }
    Ok(transaction.commit()?)
}

/// Whether the index in this file is of an earlier version; false of a file that is not there or cannot be read.
///
/// # Errors
/// [`ErrorKind::Unavailable`] while another process upgrades it.
pub(in crate::local) fn is_older(path: &Path) -> crate::Result<bool> {
    let look = || -> rusqlite::Result<bool> {
        let mut connection = Connection::open_with_flags(path, EXISTING)?;
        busy_handler::set(&mut connection)?;
        let application: i64 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
        let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        Ok(application == APPLICATION_ID && (1..VERSION).contains(&version))
    };
    match look() {
        Err(error) if busy_handler::is_busy(&error) => Err(sqlite(error).with_path(path)),
        outcome => Ok(path.exists() && outcome.unwrap_or_default()),
    }
}

/// Upgrades an index of an earlier version, while no other connection has it open: an earlier isobar, which takes no lock of the
/// store's, would go on writing as its own version does.
///
/// # Errors
/// [`ErrorKind::Unavailable`] where another process has it open; [`ErrorKind::Corrupt`] where it is damaged. Nothing was written
/// then.
pub(in crate::local) fn upgrade(path: &Path, packs: Packs) -> crate::Result<()> {
    let named = |error| unusable(TxError::Sqlite(error), path);
    let mut connection = Connection::open_with_flags(path, EXISTING).map_err(named)?;
    connection.busy_timeout(CLOSING).map_err(named)?;
    // Before the first look: the log is then read under the lock of the whole file, which every connection shares otherwise.
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE").map_err(named)?;
    let begun = connection.transaction_with_behavior(TransactionBehavior::Exclusive);
    let transaction = begun.map_err(|error| if busy_handler::is_busy(&error) { in_use(path) } else { named(error) })?;
    let mut appender = Appender::new(packs);
    let run = || -> Result<()> {
        // Another process may have come first.
        if let (APPLICATION_ID, version @ 1..VERSION, _) = found(&transaction)? {
            bring_up_to_date(&transaction, &mut appender, version)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
        }
        Ok(transaction.commit()?)
    };
    run().map_err(|error| unusable(error, path))?;
    connection.close().map_err(|(_, error)| named(error))
}

/// The refusal of an upgrade beside another process.
fn in_use(path: &Path) -> crate::Error {
    let what = format!(
        "{} is of an earlier version, and another process has it open, perhaps an earlier isobar: stop it, and open the store again",
        path.display()
    );
    crate::Error::new(ErrorKind::Unavailable, what)
}

/// Makes the tables anew, as they are in a store that was never written.
pub(super) fn create(transaction: &Transaction<'_>) -> Result<()> {
    transaction.execute_batch(SCHEMA)?;
    transaction.execute_batch(PACKS)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    Ok(transaction.pragma_update(None, "user_version", VERSION)?)
}

/// Upgrades an index of an earlier version.
///
/// # Errors
/// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) if it is damaged; nothing was written then.
fn bring_up_to_date(transaction: &Transaction<'_>, appender: &mut Appender, version: i64) -> Result<()> {
    if let Some(damage) = check::damage_of(transaction) {
        let what =
            format!("is damaged and cannot be upgraded ({damage}); make it again: isobar r2 fsck BUCKET --rebuild");
        return Err(corrupt(&what).into());
    }
    if version == 1 {
        transaction.execute_batch(FROM_1)?;
    }
    if version <= 2 {
        transaction.execute_batch(FROM_2)?;
        transaction.execute_batch(PACKS)?;
    }
    if version <= 3 {
        transaction.execute_batch(FROM_3)?;
    }
    if version <= 2 {
        let mut after = Vec::new();
        while let Some(last) = move_some(transaction, appender, &after)? {
            after = last;
        }
        transaction.execute_batch(FROM_2_MOVED)?;
    } else {
        // What the packs have and the index not yet comes before what is written next.
        recover::replay(transaction, appender)?;
    }
    let mut after = Vec::new();
    while let Some(last) = name_some(transaction, appender, &after)? {
        after = last;
    }
    // Earlier versions than 3 had no packs.
    if version >= 3 { history::complete(transaction, appender) } else { Ok(()) }
}

/// Has a frame name the blobs of some large objects behind this key, durably; the last of them, if there were any.
fn name_some(transaction: &Transaction<'_>, appender: &mut Appender, after: &[u8]) -> Result<Option<Vec<u8>>> {
    let sql = "SELECT key FROM objects WHERE key > ? AND pack IS NULL AND named IS NULL ORDER BY key LIMIT ?";
    let keys: Vec<Vec<u8>> = transaction
        .prepare_cached(sql)?
        .query_map(params![after, MOVED_AT_ONCE], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let Some(last) = keys.last().cloned() else { return Ok(None) };
    let tail = appender.packs().place_of(packs::tail(transaction)?)?;
    packs::begin(transaction, tail)?;
    let mut frame = NewFrame::begin(tail)?.of_upgrade();
    for key in keys {
        // A row that cannot be read stays as it is: fsck reports it.
        let Some(key) = String::from_utf8(key).ok().and_then(|key| Key::new(key).ok()) else { continue };
        let found = rows::find_with_content(transaction, &key).map_err(crate::Error::from);
        let Ok(Some((object, rows::Content::Segments(segments, _)))) = found else { continue };
        let pack = frame.note(&Note::Named { object, segments })?;
        rows::name(transaction, &key, pack)?;
    }
    append(transaction, appender, frame)?;
    Ok(Some(last))
}

/// Writes a frame durably.
pub(super) fn append(transaction: &Transaction<'_>, appender: &mut Appender, mut frame: NewFrame) -> Result<()> {
    let (tail, bytes) = frame.sealed();
    appender.write(tail, bytes)?;
    appender.sync(tail)?;
    packs::advance(transaction, frame.next(), frame.weight())
}

/// Moves the bodies of some keys behind this one out of their table into a pack, durably; the last of them, if there were any.
fn move_some(transaction: &Transaction<'_>, appender: &mut Appender, after: &[u8]) -> Result<Option<Vec<u8>>> {
    let sql = format!(
        "SELECT {}, (SELECT body FROM inline WHERE id = objects.inline) FROM objects
         WHERE key > ? AND inline IS NOT NULL ORDER BY key LIMIT ?",
        rows::COLUMNS
    );
    let row = |row: &Row<'_>| Ok((rows::object(row)?, row.get::<_, Option<Vec<u8>>>(9)?));
    let found: Vec<(crate::Result<ObjectMeta>, Option<Vec<u8>>)> =
        transaction.prepare_cached(&sql)?.query_map(params![after, MOVED_AT_ONCE], row)?.collect::<Result<_, _>>()?;
    let mut last = None;
    let tail = appender.packs().place_of(packs::tail(transaction)?)?;
    packs::begin(transaction, tail)?;
    let mut frame = NewFrame::begin(tail)?;
    for (meta, body) in found {
        let meta = meta?;
        let key = meta.key.as_str().as_bytes();
        // One without its whole body has none in a pack, either: fsck reports it.
        let body = body.filter(|body| body.len() as u64 == meta.size);
        let place = body.map(|body| frame.push(&head_of(&meta)?, &body, crc32fast::hash(&body))).transpose()?;
        let (pack, position) = place.map_or((0, 0), |place| (place.pack as i64, place.position as i64));
        let sql = "UPDATE objects SET inline = NULL, pack = ?, position = ?, crc = ? WHERE key = ?";
        let crc = place.and_then(|place| place.crc);
        transaction.prepare_cached(sql)?.execute(params![pack, position, crc, key])?;
        last = Some(key.to_vec());
    }
    if last.is_none() {
        return Ok(None);
    }
    append(transaction, appender, frame)?;
    Ok(last)
}

/// Returns the file's application id, its version, and the number of its tables and indexes.
fn found(transaction: &Transaction<'_>) -> Result<(i64, i64, i64)> {
    let sql = "SELECT (SELECT * FROM pragma_application_id), (SELECT * FROM pragma_user_version), count(*) FROM sqlite_schema";
    Ok(transaction.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?)
}
