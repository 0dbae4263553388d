//! What the index knows of the packs: where the log ends, and how much of each pack is still somebody's.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::Result;
use super::rows::size;
use crate::local::packs::{HEAD_WEIGHT, Place, Tail};

/// Where the last frame ends.
pub(in crate::local) fn tail(connection: &Connection) -> Result<Tail> {
    let sql = "SELECT id, bytes, last FROM packs ORDER BY id DESC LIMIT 1";
    let row = |row: &Row<'_>| {
        let last: i64 = row.get(2)?;
        Ok(Tail { pack: size(row, 0)?, position: size(row, 1)?, last: last.cast_unsigned() })
    };
    Ok(connection.prepare_cached(sql)?.query_row([], row)?) // there is always a newest one
}

/// A frame begins there: its pack has a row from then on.
pub(in crate::local) fn begin(transaction: &Transaction<'_>, tail: Tail) -> Result<()> {
    if tail.position == 0 {
        let sql = "INSERT OR IGNORE INTO packs VALUES (?, 0, ?, 0, 0, 0)";
        transaction.prepare_cached(sql)?.execute(params![tail.pack as i64, tail.last.cast_signed()])?;
    }
    Ok(())
}

/// A frame was written, with objects of this weight.
pub(in crate::local) fn advance(transaction: &Transaction<'_>, next: Tail, weight: u64) -> Result<()> {
    let sql = "UPDATE packs SET bytes = ?2, last = ?3, weight = weight + ?4, live = live + ?4 WHERE id = ?1";
    let values = params![next.pack as i64, next.position as i64, next.last.cast_signed(), weight as i64];
    transaction.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

/// A body is nobody's any more.
pub(super) fn release(transaction: &Transaction<'_>, place: Place) -> Result<()> {
    let sql = "UPDATE packs SET live = live - ?2 WHERE id = ?1";
    transaction.prepare_cached(sql)?.execute(params![place.pack as i64, place.weight() as i64])?;
    Ok(())
}

/// The frame that names the blobs of an object is nobody's any more.
pub(super) fn release_name(transaction: &Transaction<'_>, pack: u64) -> Result<()> {
    let sql = "UPDATE packs SET live = live - ?2 WHERE id = ?1";
    transaction.prepare_cached(sql)?.execute(params![pack as i64, HEAD_WEIGHT as i64])?;
    Ok(())
}

/// Forgets the packs in which nothing is anybody's; which those were. The newest stays: the log goes on in it.
pub(super) fn forget_dead(transaction: &Transaction<'_>) -> Result<Vec<u64>> {
    let sql =
        "DELETE FROM packs WHERE live * 2 < weight AND live = 0 AND id < (SELECT max(id) FROM packs) RETURNING id";
    let mut dead = transaction.prepare_cached(sql)?;
    let dead = dead.query_map([], |row| size(row, 0))?;
    Ok(dead.collect::<Result<_, _>>()?)
}

/// A pack that is more than half garbage, and up to where what is somebody's in it was put again.
#[derive(Debug, Clone, Copy)]
pub(super) struct CompactionCandidate {
    pub(super) pack: u64,
    pub(super) moved: u64,
    pub(super) bytes: u64,
}

/// The oldest of them.
pub(super) fn compaction_candidate(connection: &Connection) -> Result<Option<CompactionCandidate>> {
    let sql = "SELECT id, moved, bytes FROM packs
               WHERE live * 2 < weight AND moved < bytes AND id < (SELECT max(id) FROM packs) ORDER BY id LIMIT 1";
    let row =
        |row: &Row<'_>| Ok(CompactionCandidate { pack: size(row, 0)?, moved: size(row, 1)?, bytes: size(row, 2)? });
    Ok(connection.prepare_cached(sql)?.query_row([], row).optional()?)
}

/// What is somebody's in a pack was put again up to here.
pub(super) fn moved_up_to(transaction: &Transaction<'_>, pack: u64, to: u64) -> Result<()> {
    let sql = "UPDATE packs SET moved = ? WHERE id = ?";
    transaction.prepare_cached(sql)?.execute([to as i64, pack as i64])?;
    Ok(())
}

/// The packs that the index has.
pub(super) fn known(connection: &Connection) -> Result<BTreeSet<u64>> {
    let mut known = connection.prepare_cached("SELECT id FROM packs")?;
    Ok(known.query_map([], |row| size(row, 0))?.collect::<Result<_, _>>()?)
}

/// The packs whose count of what is somebody's is wrong.
pub(super) fn miscounted(connection: &Connection) -> Result<Vec<u64>> {
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

/// Counts anew what is somebody's in a pack, and has it moved from the beginning if it is worth that.
pub(super) fn recount(transaction: &Transaction<'_>, pack: u64) -> Result<()> {
    let sql =
        "UPDATE packs SET moved = 0, live = coalesce((SELECT sum(size + ?1) FROM objects WHERE pack = packs.id), 0)
               + ?1 * (SELECT count(*) FROM objects WHERE pack IS NULL AND named = packs.id) WHERE id = ?2";
    transaction.prepare_cached(sql)?.execute([HEAD_WEIGHT as i64, pack as i64])?;
    Ok(())
}
