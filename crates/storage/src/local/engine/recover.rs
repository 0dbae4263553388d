//! Replaying frames that the index has lost in a power failure.
//!
//! The index is committed with `synchronous = NORMAL`, so after a power failure it may be as it was some time ago; the packs are
//! synced before every commit and are not behind. So the frames that follow the index's last one are applied again, in order. A
//! frame that was written and never committed (its process was killed between the two) is applied as well: its callers got no
//! answer, and either outcome is right.
//!
//! Index and packs must be of one store and one moment. They are refused where the log's end, as the index has it, is in no pack,
//! or where frames lie behind it that do not follow: a copy of `index.db` from a backup beside newer packs would otherwise have
//! them written over.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::local::QUARANTINE;
use crate::local::index::{Content, Result, packs, replace, rows};
use crate::local::packs::{Appender, Frame, LogPosition, PackLocation, Packs, Record};
use crate::{Error, ErrorKind};

/// Does again what the frames behind the last one that the index remembers say.
///
/// That they are there says that a transaction had decided so, and that nothing was committed since then that the index could have
/// kept; perhaps it was not committed itself, and then its callers got no answer.
///
/// # Errors
/// [`ErrorKind::Corrupt`] where index and packs do not belong together.
pub(super) fn recover(connection: &mut Connection, appender: &mut Appender) -> Result<()> {
    // Under the lock, so that no frame is found that another process is about to commit.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if replay(&transaction, appender)? { Ok(transaction.commit()?) } else { Ok(()) }
}

/// The same within a transaction; whether anything was done.
pub(super) fn replay(transaction: &Transaction<'_>, appender: &mut Appender) -> Result<bool> {
    let known = packs::tail(transaction)?;
    // Of each pack, from where on.
    let mut found = BTreeMap::new();
    loop {
        let Some((tail, frame)) = appender.packs().follower(packs::tail(transaction)?)? else { break };
        packs::begin(transaction, tail)?;
        let weight = apply(transaction, &frame, Utc::now())?;
        packs::advance(transaction, frame.next(), weight)?;
        appender.write(tail, &frame.bytes())?;
        found.entry(tail.pack).or_insert(tail);
    }
    belong_together(transaction, appender.packs(), known)?;
    let is_any = keep_unreachable(transaction, appender.packs())? || !found.is_empty();
    // A process that was killed may have written them, and not come to sync them; or a sync has failed, and what can be read is
    // nowhere but in memory, and held for written: so they are written anew.
    for from in found.into_values() {
        appender.sync(from)?;
    }
    Ok(is_any)
}

/// Goes on in the next pack where whole frames lie behind the end of the log, with damage before them: they are not written over, and
/// the pack is kept in `lost`. Returns whether it was so.
fn keep_unreachable(transaction: &Transaction<'_>, packs: &Packs) -> Result<bool> {
    let tail = packs::tail(transaction)?;
    if !packs.has_frames_behind(tail)? {
        return Ok(false);
    }
    // The log went on there before: it would be written over.
    if packs.frame(tail.pack + 1, 0)?.is_some() {
        return Err(apart().into());
    }
    #[cfg(feature = "tracing")]
    tracing::warn!(pack = tail.pack, position = tail.position, "a frame is damaged: those behind it are kept in lost");
    packs.keep_damaged(tail.pack, QUARANTINE)?;
    packs::begin(transaction, tail.next_pack())?;
    Ok(true)
}

/// Does what a frame says; the weight of what it has.
pub(super) fn apply(transaction: &Transaction<'_>, frame: &Frame, now: DateTime<Utc>) -> Result<u64> {
    let mut weight = 0;
    for record in frame.records()? {
        weight += apply_record(transaction, frame.pack(), record, now)?;
    }
    Ok(weight)
}

/// Does what a record of a frame in this pack says; its weight.
pub(super) fn apply_record(
    transaction: &Transaction<'_>,
    pack: u64,
    record: Record,
    now: DateTime<Utc>,
) -> Result<u64> {
    let weight = record.weight();
    match record {
        Record::Packed(meta, place) => replace(transaction, &meta, &Content::Packed(place), now)?,
        Record::Named(meta, segments) => replace(transaction, &meta, &Content::Blobs(segments, Some(pack)), now)?,
        Record::Deleted { key, before } => {
            let is_meant = before.map_or(Ok(true), |before| rows::is_recorded_before(transaction, &key, before))?;
            if is_meant {
                rows::remove(transaction, &key, now)?;
            }
        }
    }
    Ok(weight)
}

/// Refuses an index and packs of which one is another store's, or from another time: what would be written next would be written
/// over frames that the index does not know. Packs that are damaged are no reason: what they have lost is answered by errors.
///
/// `known` is where the log ended for the index, before the frames that followed.
fn belong_together(transaction: &Transaction<'_>, packs: &Packs, known: LogPosition) -> Result<()> {
    let tail = packs::tail(transaction)?;
    let is_ours = match packs.ends_at(known)? {
        Some(is_end) => is_end,
        None => has_any_of(packs, &rows::some_places(transaction, known.pack)?)?,
    };
    let behind = packs.list()?.0.into_keys().filter(|pack| *pack > tail.pack);
    let mut strangers: Vec<Frame> = Vec::new();
    for (pack, position) in std::iter::once((tail.pack, tail.position)).chain(behind.map(|pack| (pack, 0))) {
        strangers.extend(packs.frame(pack, position)?);
    }
    // A transaction that was never committed may have left a frame, behind one that was then followed by another.
    if !strangers.is_empty() {
        let ids = packs.ids(tail.pack)?;
        strangers.retain(|frame| frame.pack() != tail.pack + 1 || !ids.contains(&frame.previous()));
    }
    if is_ours && strangers.is_empty() {
        return Ok(());
    }
    Err(apart().into())
}

/// The refusal of an index and packs that do not belong together.
fn apart() -> Error {
    let what = "index.db and packs do not belong together: one of them is another store's, or from another time. Bring back the \
                copies of one moment, or make the index again out of the packs (isobar r2 fsck BUCKET --rebuild)";
    Error::new(ErrorKind::Corrupt, what)
}

/// Whether any of these bodies is what was stored. Bodies that are not there, or nothing but zeros, say nothing: a pack may be damaged.
fn has_any_of(packs: &Packs, places: &[PackLocation]) -> Result<bool> {
    let mut is_any_other = false;
    for place in places {
        match packs.read(*place) {
            Ok(Some(body)) if place.crc == Some(crc32fast::hash(&body)) => return Ok(true),
            Ok(Some(body)) => is_any_other |= body.iter().any(|byte| *byte != 0),
            Ok(None) => {}
            Err(error) if error.kind() == ErrorKind::Corrupt => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(!is_any_other)
}
