//! The tables, and how a file becomes ours.

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::{Result, corrupt};

/// "isob": marks the file as ours, so that a foreign database is refused rather than changed.
const APPLICATION_ID: i64 = 0x6973_6f62;
const VERSION: i64 = 2;

/// Small bodies have a table of their own, appended to, so that neither a listing nor another key's write meets them.
const SCHEMA: &str = "
    CREATE TABLE objects (
        key BLOB PRIMARY KEY, version TEXT NOT NULL, size INTEGER NOT NULL, etag TEXT NOT NULL, uploaded INTEGER NOT NULL,
        -- NULL: none, md5 alone, Standard
        http TEXT, custom TEXT, checksums TEXT, class TEXT,
        -- NULL: the body is in segments
        inline INTEGER
    ) WITHOUT ROWID;
    CREATE TABLE inline (id INTEGER PRIMARY KEY, body BLOB NOT NULL);
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

/// Makes a new file ours, brings an older one up to date, and refuses what is somebody else's or from the future.
pub(super) fn prepare(connection: &mut Connection) -> Result<()> {
    // One look under the write lock: another process may be creating it just now.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    match found(&transaction)? {
        (0, 0, 0) => {
            transaction.execute_batch(SCHEMA)?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
        }
        (APPLICATION_ID, VERSION, _) => {}
        (APPLICATION_ID, 1, _) => {
            transaction.execute_batch(FROM_1)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
        }
        (APPLICATION_ID, version, _) => {
            let what = format!("was written by a newer isobar (version {version}, this one knows {VERSION})");
            return Err(corrupt(&what).into());
        }
        _ => return Err(corrupt("is a database of another program; choose another folder").into()),
    }
    Ok(transaction.commit()?)
}

/// Whose it is, its version, and whether anything is in it.
fn found(transaction: &Transaction<'_>) -> Result<(i64, i64, i64)> {
    let sql = "SELECT (SELECT * FROM pragma_application_id), (SELECT * FROM pragma_user_version), count(*) FROM sqlite_schema";
    Ok(transaction.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?)
}
