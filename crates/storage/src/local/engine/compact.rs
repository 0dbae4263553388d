//! Compaction: objects of a pack that is more than half garbage are relocated to the end of the log, and the pack is removed.
//!
//! Deletions in it are relocated, too, as long as an older pack has a record of an object that was replaced or deleted: without
//! them a rebuild would bring the object back. A relocated deletion says which pack it is from, so that it undoes no put that came
//! after it, even where a damaged index does not find that object. Packs of deletions alone go when there is no such pack before
//! them.
//!
//! Forgotten packs are removed the oldest first, with those that this or another process could not remove before: a deletion is on
//! the disk for as long as what it deletes.

use crate::local::commit::Batch;
use crate::local::index::packs::{self, CompactionCandidate};
use crate::local::index::{Content, Result, check, rows};
use crate::local::packs::{Frame, Packs, Record};
use crate::{ErrorKind, ObjectMeta};

/// Bytes of a pack that a transaction scans at least.
const AT_LEAST: usize = 64 * 1024;

/// Relocates a few objects in the frame of a transaction that has one, in proportion to what the transaction itself puts, so that
/// packs become empty as quickly as garbage is made and no caller waits for long. Empty packs are forgotten, and removed when that
/// is durable.
pub(super) fn compact(batch: &mut Batch<'_>, coming: usize) -> Result<()> {
    let mut is_any_forgotten = !packs::forget_dead(batch)?.is_empty();
    let put = batch.frame_bytes() + coming;
    if put > 0 {
        if let Some(candidate) = packs::compaction_candidate(batch)?
            && move_some(batch, candidate, 4 * put + AT_LEAST)?
        {
            is_any_forgotten |= !packs::forget_dead(batch)?.is_empty();
        }
        let begins_pack = batch.packs().place_of(packs::tail(batch)?)?.position == 0;
        if is_any_forgotten || begins_pack {
            is_any_forgotten |= !packs::forget_deletions(batch)?.is_empty();
        }
    }
    if is_any_forgotten { remove_forgotten(batch) } else { Ok(()) }
}

/// Has every pack removed that the index has forgotten. Where the folder cannot be listed they are left to the next time.
fn remove_forgotten(batch: &mut Batch<'_>) -> Result<()> {
    match batch.packs().list() {
        Ok((packs, _)) => {
            check::unknown(batch, packs)?.into_keys().for_each(|pack| batch.remove_pack(pack));
        }
        Err(_error) => {
            #[cfg(feature = "tracing")]
            tracing::warn!(error = %_error, "forgotten packs are left to the next removal");
        }
    }
    Ok(())
}

/// Relocates what is in force in the next frames of a pack; returns whether the pack has no more.
fn move_some(batch: &mut Batch<'_>, candidate: CompactionCandidate, budget: usize) -> Result<bool> {
    match scan(batch.packs(), candidate, budget) {
        Ok(Scanned { frames, to }) => {
            let keeps_deletions = packs::has_stale_before(batch, candidate.pack)?;
            for (frame, records) in &frames {
                for record in records {
                    relocate(batch, candidate.pack, frame, record, keeps_deletions)?;
                }
            }
            packs::moved_up_to(batch, candidate.pack, to)?;
            Ok(to >= candidate.bytes)
        }
        // It is tried again with the next transaction.
        Err(_error) => {
            #[cfg(feature = "tracing")]
            tracing::warn!(error = %_error, pack = candidate.pack, "a pack cannot be compacted");
            Ok(false)
        }
    }
}

/// A part of a pack.
struct Scanned {
    frames: Vec<(Frame, Vec<Record>)>,
    to: u64,
}

/// Reads frames of a pack, up to this many bytes. Behind a damaged one no frame is found: the pack stays with the objects that it
/// has, and fsck reports which of them are damaged.
fn scan(packs: &Packs, candidate: CompactionCandidate, budget: usize) -> crate::Result<Scanned> {
    let mut scanned = Scanned { frames: Vec::new(), to: candidate.moved };
    while scanned.to < candidate.bytes && scanned.to - candidate.moved < budget as u64 {
        let frame = packs.frame(candidate.pack, scanned.to)?;
        // A frame whose records cannot be read is damaged, too.
        let Some((frame, records)) = frame.and_then(|frame| frame.records().ok().map(|records| (frame, records)))
        else {
            scanned.to = candidate.bytes + 1; // its deletions are not written elsewhere
            break;
        };
        scanned.to = frame.next().position;
        scanned.frames.push((frame, records));
    }
    Ok(scanned)
}

/// Writes a record once more if it is in force: an object that is stored by it, or a deletion that an older pack needs.
fn relocate(batch: &mut Batch<'_>, pack: u64, frame: &Frame, record: &Record, keeps_deletions: bool) -> Result<()> {
    let (meta, found) = match record {
        Record::Deleted { key, before } if keeps_deletions && !rows::exists(batch, key)? => {
            return batch.relocate_deletion(key, before.unwrap_or(pack));
        }
        Record::Deleted { .. } => return Ok(()),
        Record::Packed(meta, _) | Record::Named(meta, _) => (meta, current(batch, meta)?),
    };
    match (record, found) {
        (Record::Packed(_, from), Some((now, Content::Packed(place)))) if place.is_at(*from) => {
            let to = batch.log(&now, frame.body(*from).unwrap_or_default())?;
            rows::relocate(batch, &meta.key, to)?;
            packs::release(batch, *from)
        }
        (Record::Named(..), Some((now, Content::Blobs(segments, Some(named)))))
            if named == pack && now.version == meta.version =>
        {
            let to = batch.name(&now, &segments)?;
            rows::name(batch, &meta.key, to)?;
            packs::release_name(batch, pack)
        }
        _ => Ok(()),
    }
}

/// Returns the object that has this one's key now; a row that cannot be read keeps its pack.
fn current(batch: &Batch<'_>, meta: &ObjectMeta) -> Result<Option<(ObjectMeta, Content)>> {
    match rows::find_with_content(batch, &meta.key).map_err(crate::Error::from) {
        Err(error) if error.kind() == ErrorKind::Corrupt => Ok(None),
        found => Ok(found?),
    }
}
