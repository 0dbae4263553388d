//! The upgrade of an index of an earlier version.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Row, Transaction, TransactionBehavior, params};

use super::{busy_handler, history, recover};
use crate::local::index::schema::{APPLICATION_ID, PACKS, VERSION, found};
use crate::local::index::{Content, Result, TxError, check, corrupt, packs, rows, sqlite, unusable};
use crate::local::packs::{Appender, NewFrame, Note, Packs, head_of};
use crate::{Error, ErrorKind, Key, ObjectMeta};

/// A file that is there is opened, and none is made.
const EXISTING: OpenFlags = OpenFlags::SQLITE_OPEN_READ_WRITE.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);
/// Longest wait for a store that is being closed.
const CLOSING: Duration = Duration::from_secs(1);

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
fn in_use(path: &Path) -> Error {
    let what = format!(
        "{} is of an earlier version, and another process has it open, perhaps an earlier isobar: stop it, and open the store again",
        path.display()
    );
    Error::new(ErrorKind::Unavailable, what)
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
        let found = rows::find_with_content(transaction, &key).map_err(Error::from);
        let Ok(Some((object, Content::Blobs(segments, _)))) = found else { continue };
        let pack = frame.note(&Note::Named { object, segments })?;
        rows::name(transaction, &key, pack)?;
    }
    history::append(transaction, appender, frame)?;
    Ok(Some(last))
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
    history::append(transaction, appender, frame)?;
    Ok(last)
}
