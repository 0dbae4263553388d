//! The tables, and how a new file becomes ours.

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::{Result, corrupt};
use crate::ErrorKind;

/// "isob": marks the file as ours, so that a foreign database is refused rather than changed.
pub(in crate::local) const APPLICATION_ID: i64 = 0x6973_6f62;
/// 5: the tables of 4; the packs say of every object that an older pack has whether it was deleted.
///
/// | version | bodies up to 32 KiB | deletions |
/// |---|---|---|
/// | 1, 2 | in a table of the index | in the index |
/// | 3 | in packs, without a CRC | in the index |
/// | 4 | in packs, with a CRC; large objects named by frames | in frames, dropped with their packs |
/// | 5 | as 4 | in frames, kept as long as an older pack has the object |
///
/// An older one is upgraded when it is opened; a newer one is refused.
pub(in crate::local) const VERSION: i64 = 5;

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
pub(in crate::local) const PACKS: &str = "
    CREATE TABLE packs (
        id INTEGER PRIMARY KEY, bytes INTEGER NOT NULL, last INTEGER NOT NULL, weight INTEGER NOT NULL, live INTEGER NOT NULL,
        moved INTEGER NOT NULL
    );
    CREATE INDEX packs_thin ON packs (id) WHERE live * 2 < weight;
    -- What the first frame follows is another in every store.
    INSERT INTO packs VALUES (1, 0, random(), 0, 0, 0);
";

/// Makes the tables in a new file, and refuses another program's, one of another version, and a new one beside packs or blobs that
/// are there already.
pub(in crate::local) fn prepare(
    connection: &mut Connection,
    refuse_files: impl FnOnce() -> crate::Result<()>,
) -> Result<()> {
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

/// Makes the tables anew, as they are in a store that was never written.
pub(in crate::local) fn create(transaction: &Transaction<'_>) -> Result<()> {
    transaction.execute_batch(SCHEMA)?;
    transaction.execute_batch(PACKS)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    Ok(transaction.pragma_update(None, "user_version", VERSION)?)
}

/// Returns the file's application id, its version, and the number of its tables and indexes.
pub(in crate::local) fn found(transaction: &Transaction<'_>) -> Result<(i64, i64, i64)> {
    let sql = "SELECT (SELECT * FROM pragma_application_id), (SELECT * FROM pragma_user_version), count(*) FROM sqlite_schema";
    Ok(transaction.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?)
}
