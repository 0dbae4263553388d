//! Unlinking blobs that were replaced.

use chrono::{DateTime, Duration, Utc};
use rusqlite::{Connection, TransactionBehavior};

use crate::local::commit::Wal;
use crate::local::index::Result;

/// A replaced blob is unlinked after this: far longer than the moment between reading a row and opening its blobs.
const GARBAGE_AGE: Duration = Duration::minutes(10);

/// Unlinks, by `remove`, a few blobs that nothing has named for long enough. What is unlinked and not forgotten because of a
/// crash is unlinked again. That nothing names them is made durable before.
pub(in crate::local) fn collect(
    connection: &mut Connection,
    wal: &mut Wal,
    now: DateTime<Utc>,
    remove: impl Fn(&str) -> crate::Result<()>,
) -> crate::Result<()> {
    let old = (now - GARBAGE_AGE).timestamp_millis();
    let mut run = || -> Result<()> {
        let sql = "SELECT EXISTS (SELECT 1 FROM garbage WHERE since < ?)";
        if !connection.prepare_cached(sql)?.query_row([old], |row| row.get::<_, bool>(0))? {
            return Ok(());
        }
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // A copy still has them; they are queued again with their last name.
        let named = "DELETE FROM garbage WHERE since < ?1 AND (EXISTS (SELECT 1 FROM segments WHERE segments.blob = garbage.blob)
                     OR EXISTS (SELECT 1 FROM parts WHERE parts.blob = garbage.blob))";
        transaction.prepare_cached(named)?.execute([old])?;
        let sql = "SELECT blob FROM garbage WHERE since < ? LIMIT 16";
        let blobs: Vec<String> =
            transaction.prepare_cached(sql)?.query_map([old], |row| row.get(0))?.collect::<Result<_, _>>()?;
        if !blobs.is_empty() {
            wal.sync()?;
        }
        for blob in &blobs {
            remove(blob)?;
            transaction.prepare_cached("DELETE FROM garbage WHERE blob = ?")?.execute([blob])?;
        }
        Ok(transaction.commit()?)
    };
    Ok(run()?)
}
