//! Unlinking blobs that were replaced.
//!
//! A blob that is replaced is queued in the table `garbage` by the transaction that replaces it, and is unlinked ten minutes
//! later: a reader that has read the row just before still finds it. A copy names the same blobs, so those that anything still
//! names are taken out of the queue. That nothing names a blob is made durable (the log is synced) before it is unlinked:
//! otherwise a power failure could bring back a row whose blob is gone. What is unlinked after one commit is bounded, so that a
//! deletion of many objects delays nobody.

use std::time::Instant;

use chrono::{DateTime, Duration, Utc};
use rusqlite::{Connection, TransactionBehavior};

use crate::local::commit::Wal;
use crate::local::index::{Result, check};

/// A replaced blob is unlinked after this: far longer than the moment between reading a row and opening its blobs.
const GARBAGE_AGE: Duration = Duration::minutes(10);
/// Time for which the outcome of a check of the index counts: a check reads two of its tables whole.
const CHECK_COUNTS_FOR: std::time::Duration = std::time::Duration::from_secs(60);
/// Blobs that are unlinked after one commit at most: as many as the commit may have replaced, so that they do not pile up.
const BLOBS: i64 = 256;

/// The last check of the tables that name blobs: when, and whether they were sound.
#[derive(Debug, Default)]
pub(in crate::local) struct LastCheck(Option<(Instant, bool)>);

impl LastCheck {
    /// Returns the outcome of the last check while it counts.
    fn outcome(&self) -> Option<bool> {
        self.0.filter(|(at, _)| at.elapsed() < CHECK_COUNTS_FOR).map(|(_, is_sound)| is_sound)
    }

    /// Whether the tables are sound, now or a short time ago.
    fn is_sound(&mut self, connection: &Connection) -> Result<bool> {
        if let Some(is_sound) = self.outcome() {
            return Ok(is_sound);
        }
        // A check that fails counts as one that finds damage.
        self.0 = Some((Instant::now(), false));
        if let Some(_damage) = check::damage_of_names(connection)? {
            #[cfg(feature = "tracing")]
            tracing::warn!(damage = _damage, "the index's tables of blobs are damaged: no replaced blob is removed");
            return Ok(false);
        }
        self.0 = Some((Instant::now(), true));
        Ok(true)
    }
}

/// Unlinks, by `remove`, a few blobs that nothing has named for long enough. What is unlinked and not forgotten because of a
/// crash is unlinked again. That nothing names them is made durable before. Nothing is unlinked while the tables that name blobs are
/// damaged: what they do not find may be named all the same.
pub(in crate::local) fn collect(
    connection: &mut Connection,
    wal: &mut Wal,
    last_check: &mut LastCheck,
    now: DateTime<Utc>,
    remove: impl Fn(&str) -> crate::Result<()>,
) -> crate::Result<()> {
    let old = (now - GARBAGE_AGE).timestamp_millis();
    let mut run = || -> Result<()> {
        if last_check.outcome() == Some(false) {
            return Ok(());
        }
        let sql = "SELECT EXISTS (SELECT 1 FROM garbage WHERE since < ?)";
        if !connection.prepare_cached(sql)?.query_row([old], |row| row.get::<_, bool>(0))? {
            return Ok(());
        }
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // A copy still has them; they are queued again with their last name.
        let named = "DELETE FROM garbage WHERE since < ?1 AND (EXISTS (SELECT 1 FROM segments WHERE segments.blob = garbage.blob)
                     OR EXISTS (SELECT 1 FROM parts WHERE parts.blob = garbage.blob))";
        transaction.prepare_cached(named)?.execute([old])?;
        let sql = "SELECT blob FROM garbage WHERE since < ? LIMIT ?";
        let blobs: Vec<String> =
            transaction.prepare_cached(sql)?.query_map([old, BLOBS], |row| row.get(0))?.collect::<Result<_, _>>()?;
        if !blobs.is_empty() {
            if !last_check.is_sound(&transaction)? {
                return Ok(()); // rolled back
            }
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
