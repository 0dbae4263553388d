//! A new index out of the packs: what is asked of SQLite for it.

use std::collections::HashSet;
use std::path::Path;

use chrono::{DateTime, Utc};
use rusqlite::{Connection, OpenFlags, Row, Transaction, TransactionBehavior};

use super::recover;
use crate::local::blobs::BlobPart;
use crate::local::index::{Result, TxError, packs, rows, schema, size, sqlite};
use crate::local::packs::{LogPosition, Record};
use crate::{Error, ErrorKind, Key};

/// The first version of the index whose store keeps every deletion that a pack needs.
pub(in crate::local) const KEEPS_DELETIONS: i64 = 5;

/// An index that is being made, within one transaction.
pub(in crate::local) struct NewIndex<'t>(Transaction<'t>);

/// Makes an index at this path, where there is none, by `work`; durable when it returns.
pub(in crate::local) fn make<T>(path: &Path, work: impl FnOnce(&NewIndex<'_>) -> crate::Result<T>) -> crate::Result<T> {
    let named = |error| sqlite(error).with_path(path);
    let mut connection = Connection::open(path).map_err(named)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(named)?;
    let done = {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(named)?;
        schema::create(&transaction)?;
        // The packs that there are take the place of the first one of a new store.
        transaction.execute_batch("DELETE FROM packs").map_err(named)?;
        let new = NewIndex(transaction);
        let done = work(&new)?;
        new.0.commit().map_err(named)?;
        done
    };
    connection.close().map_err(|(_, error)| named(error))?;
    Ok(done)
}

/// Whether another connection has an index open. Its log is written back into it on the way, where it is sound.
pub(in crate::local) fn is_in_use(path: &Path) -> bool {
    let look = || -> rusqlite::Result<()> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(std::time::Duration::from_secs(1))?;
        // Only a connection that is alone may leave the log.
        connection.pragma_update(None, "journal_mode", "DELETE")
    };
    look().is_err_and(|error| sqlite(error).kind() == ErrorKind::Unavailable)
}

/// Returns the version of an index, if it can be read.
pub(in crate::local) fn version(path: &Path) -> Option<i64> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).ok()?;
    connection.query_row("PRAGMA user_version", [], |row| row.get(0)).ok()
}

/// Whether an index, which nobody has open, has a row of an object.
pub(in crate::local) fn has_objects(path: &Path) -> crate::Result<bool> {
    let named = |error| sqlite(error).with_path(path);
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(named)?;
    connection.query_row("SELECT EXISTS (SELECT 1 FROM objects)", [], |row| row.get(0)).map_err(named)
}

impl NewIndex<'_> {
    /// A pack that is there, whose first frame follows the one with this id.
    pub(in crate::local) fn begin(&self, pack: u64, last: u64) -> crate::Result<()> {
        Ok(packs::begin(&self.0, LogPosition { pack, position: 0, last })?)
    }

    /// Frames of a pack end here, with records of this weight since the last time.
    pub(in crate::local) fn advance(&self, next: LogPosition, weight: u64) -> crate::Result<()> {
        Ok(packs::advance(&self.0, next, weight)?)
    }

    /// Does what a record of a frame in this pack says; its weight.
    pub(in crate::local) fn apply(&self, pack: u64, record: Record, now: DateTime<Utc>) -> crate::Result<u64> {
        // What it is about to release has to have been counted.
        Ok(recover::apply_record(&self.0, pack, record, now)?)
    }

    /// The large objects, with their blobs.
    pub(in crate::local) fn large(&self) -> crate::Result<Vec<(Key, Vec<BlobPart>)>> {
        let run = || -> Result<Vec<(Key, Vec<BlobPart>)>> {
            let mut statement = self.0.prepare("SELECT key, version FROM objects WHERE pack IS NULL ORDER BY key")?;
            let mut found = statement.query([])?;
            let mut large = Vec::new();
            while let Some(row) = found.next()? {
                let key = Key::new(String::from_utf8_lossy(row.get_ref(0)?.as_blob()?))?;
                large.push((key, rows::segments(&self.0, &row.get::<_, String>(1)?)?));
            }
            Ok(large)
        };
        Ok(run()?)
    }

    /// Takes an object out whose blobs are all gone.
    pub(in crate::local) fn forget(&self, key: &Key, now: DateTime<Utc>) -> crate::Result<()> {
        rows::remove(&self.0, key, now)?;
        Ok(())
    }

    /// The objects that records of this pack are the last of.
    pub(in crate::local) fn keys_of(&self, pack: u64) -> crate::Result<Vec<String>> {
        let run = || -> Result<Vec<String>> {
            let sql = "SELECT key FROM objects WHERE coalesce(pack, named) = ? ORDER BY key";
            let mut statement = self.0.prepare_cached(sql)?;
            let key = |row: &Row<'_>| Ok(String::from_utf8_lossy(row.get_ref(0)?.as_blob()?).into_owned());
            Ok(statement.query_map([pack as i64], key)?.collect::<rusqlite::Result<_>>()?)
        };
        Ok(run()?)
    }

    /// How many objects there are, and their bytes.
    pub(in crate::local) fn count(&self) -> crate::Result<(u64, u64)> {
        let sql = "SELECT count(*), coalesce(sum(size), 0) FROM objects";
        let counted = self.0.query_row(sql, [], |row| Ok((size(row, 0)?, size(row, 1)?)));
        Ok(counted.map_err(TxError::from)?)
    }

    /// The blobs that objects name, or have given up.
    pub(in crate::local) fn known_blobs(&self) -> crate::Result<HashSet<String>> {
        let run = || -> Result<HashSet<String>> {
            let mut statement = self.0.prepare("SELECT blob FROM segments UNION SELECT blob FROM garbage")?;
            Ok(statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?)
        };
        Ok(run()?)
    }
}

/// Returns the error for a folder that has packs or blobs, and no index.
pub(in crate::local) fn refuse(root: &Path) -> Error {
    let what = format!(
        "{0} has packs or blobs and no index.db, and is not opened as an empty store: bring index.db back from a copy of the same \
         moment, or make it again out of the packs (isobar r2 fsck BUCKET --rebuild)",
        root.display()
    );
    Error::new(ErrorKind::Corrupt, what)
}
