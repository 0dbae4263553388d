//! Rows of the packs: where the log ends, and how much of each pack is live.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::{Result, size};
use crate::local::packs::{HEAD_WEIGHT, LogPosition, PackLocation, Sizes};

/// Returns where the last frame ends.
pub(in crate::local) fn tail(connection: &Connection) -> Result<LogPosition> {
    let sql = "SELECT id, bytes, last FROM packs ORDER BY id DESC LIMIT 1";
    let row = |row: &Row<'_>| {
        let last: i64 = row.get(2)?;
        Ok(LogPosition { pack: size(row, 0)?, position: size(row, 1)?, last: last.cast_unsigned() })
    };
    Ok(connection.prepare_cached(sql)?.query_row([], row)?) // there is always a newest one
}

/// Begins a frame there: its pack has a row from then on.
pub(in crate::local) fn begin(transaction: &Transaction<'_>, tail: LogPosition) -> Result<()> {
    if tail.position == 0 {
        let sql = "INSERT OR IGNORE INTO packs VALUES (?, 0, ?, 0, 0, 0)";
        transaction.prepare_cached(sql)?.execute(params![tail.pack as i64, tail.last.cast_signed()])?;
    }
    Ok(())
}

/// Records a frame that was written, with records of this weight.
pub(in crate::local) fn advance(transaction: &Transaction<'_>, next: LogPosition, weight: u64) -> Result<()> {
    let sql = "UPDATE packs SET bytes = ?2, last = ?3, weight = weight + ?4, live = live + ?4 WHERE id = ?1";
    let values = params![next.pack as i64, next.position as i64, next.last.cast_signed(), weight as i64];
    transaction.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

/// Releases a body that no object has any more.
pub(in crate::local) fn release(transaction: &Transaction<'_>, place: PackLocation) -> Result<()> {
    let sql = "UPDATE packs SET live = live - ?2 WHERE id = ?1";
    transaction.prepare_cached(sql)?.execute(params![place.pack as i64, place.weight() as i64])?;
    Ok(())
}

/// Releases the record that named the blobs of an object.
pub(in crate::local) fn release_name(transaction: &Transaction<'_>, pack: u64) -> Result<()> {
    let sql = "UPDATE packs SET live = live - ?2 WHERE id = ?1";
    transaction.prepare_cached(sql)?.execute(params![pack as i64, HEAD_WEIGHT as i64])?;
    Ok(())
}

/// Whether a pack before this one has a record that is not in force any more: of an object that was replaced or deleted since. If
/// the deletion of such an object were dropped, a rebuild would bring the object back.
pub(in crate::local) fn has_stale_before(connection: &Connection, pack: u64) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM packs WHERE id < ? AND live < weight)";
    Ok(connection.prepare_cached(sql)?.query_row([pack as i64], |row| row.get(0))?)
}

/// Forgets the packs of which no object needs anything, and returns them, the oldest first. A pack is kept until its deletions are
/// written down elsewhere, or no older pack has what they delete. The newest stays: the log goes on in it.
pub(in crate::local) fn forget_dead(transaction: &Transaction<'_>) -> Result<Vec<u64>> {
    let sql = "SELECT id, moved = bytes FROM packs
               WHERE live * 2 < weight AND live = 0 AND id < (SELECT max(id) FROM packs) ORDER BY id";
    let mut candidates = transaction.prepare_cached(sql)?;
    let candidates: Vec<(u64, bool)> =
        candidates.query_map([], |row| Ok((size(row, 0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
    let mut dead = Vec::new();
    for (pack, is_moved) in candidates {
        if is_moved || !has_stale_before(transaction, pack)? {
            transaction.prepare_cached("DELETE FROM packs WHERE id = ?")?.execute([pack as i64])?;
            dead.push(pack);
        }
    }
    Ok(dead)
}

/// Forgets the packs that have nothing but deletions, or nothing, and returns them: those that have no stale record before them.
/// Where packs of little else take more room than an eighth of the objects in the packs that keep them, the oldest of the latter is made a
/// candidate for compaction. It looks at the rows of all packs: for once in a while.
pub(in crate::local) fn forget_deletions(transaction: &Transaction<'_>) -> Result<Vec<u64>> {
    let sql = "DELETE FROM packs WHERE weight = 0 AND id < (SELECT max(id) FROM packs)
               AND NOT EXISTS (SELECT 1 FROM packs AS older WHERE older.id < packs.id AND older.live < older.weight) RETURNING id";
    let mut forgotten = transaction.prepare_cached(sql)?;
    let mut forgotten: Vec<u64> = forgotten.query_map([], |row| size(row, 0))?.collect::<rusqlite::Result<_>>()?;
    forgotten.sort_unstable();
    let sql = "WITH deletions AS (
                   SELECT max(id) AS newest, sum(bytes) AS bytes FROM packs
                   WHERE weight * 8 < bytes AND id < (SELECT max(id) FROM packs)),
               stale AS (
                   SELECT id, live, weight, moved, packs.bytes FROM packs, deletions WHERE live < weight AND id < newest)
               UPDATE packs SET weight = 2 * live + 1
               WHERE id = (SELECT id FROM stale WHERE live * 2 >= weight AND moved < bytes ORDER BY id LIMIT 1)
               AND (SELECT bytes * 8 FROM deletions) >= (SELECT sum(live) FROM stale)";
    transaction.prepare_cached(sql)?.execute([])?;
    Ok(forgotten)
}

/// A pack that is more than half garbage, and up to where its live records were relocated.
#[derive(Debug, Clone, Copy)]
pub(in crate::local) struct CompactionCandidate {
    pub(in crate::local) pack: u64,
    pub(in crate::local) moved: u64,
    pub(in crate::local) bytes: u64,
}

/// Returns the oldest of them.
pub(in crate::local) fn compaction_candidate(connection: &Connection) -> Result<Option<CompactionCandidate>> {
    let sql = "SELECT id, moved, bytes FROM packs
               WHERE live * 2 < weight AND moved < bytes AND id < (SELECT max(id) FROM packs) ORDER BY id LIMIT 1";
    let row =
        |row: &Row<'_>| Ok(CompactionCandidate { pack: size(row, 0)?, moved: size(row, 1)?, bytes: size(row, 2)? });
    Ok(connection.prepare_cached(sql)?.query_row([], row).optional()?)
}

/// Records up to where the live records of a pack were relocated.
pub(in crate::local) fn moved_up_to(transaction: &Transaction<'_>, pack: u64, to: u64) -> Result<()> {
    let sql = "UPDATE packs SET moved = ? WHERE id = ?";
    transaction.prepare_cached(sql)?.execute([to as i64, pack as i64])?;
    Ok(())
}

/// Returns the packs that the index has.
pub(in crate::local) fn known(connection: &Connection) -> Result<BTreeSet<u64>> {
    let mut known = connection.prepare_cached("SELECT id FROM packs")?;
    Ok(known.query_map([], |row| size(row, 0))?.collect::<Result<_, _>>()?)
}

/// Returns the packs, and where the last frame of each ends.
pub(in crate::local) fn ends(connection: &Connection) -> Result<Sizes> {
    let mut ends = connection.prepare("SELECT id, bytes FROM packs")?;
    Ok(ends.query_map([], |row| Ok((size(row, 0)?, size(row, 1)?)))?.collect::<Result<_, _>>()?)
}

/// Returns the packs whose count of live bytes is wrong.
pub(in crate::local) fn miscounted(connection: &Connection) -> Result<Vec<u64>> {
    // One look at all the objects, not one for each pack.
    let sql = "WITH counted AS (
                   SELECT coalesce(pack, named) AS pack, sum(CASE WHEN pack IS NULL THEN 0 ELSE size END + ?1) AS live
                   FROM objects WHERE coalesce(pack, named) IS NOT NULL GROUP BY 1)
               SELECT id FROM packs LEFT JOIN counted ON counted.pack = packs.id
               WHERE packs.live <> coalesce(counted.live, 0) ORDER BY id";
    let mut miscounted = connection.prepare(sql)?;
    let miscounted = miscounted.query_map([HEAD_WEIGHT as i64], |row| size(row, 0))?;
    Ok(miscounted.collect::<Result<_, _>>()?)
}

/// Counts the live bytes of a pack anew; its compaction begins from the start.
pub(in crate::local) fn recount(transaction: &Transaction<'_>, pack: u64) -> Result<()> {
    let sql =
        "UPDATE packs SET moved = 0, live = coalesce((SELECT sum(size + ?1) FROM objects WHERE pack = packs.id), 0)
               + ?1 * (SELECT count(*) FROM objects WHERE pack IS NULL AND named = packs.id) WHERE id = ?2";
    transaction.prepare_cached(sql)?.execute([HEAD_WEIGHT as i64, pack as i64])?;
    Ok(())
}
