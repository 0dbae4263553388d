//! Garbage in the packs: what is left of a pack that is more than half garbage is put once more, and the pack removed.

use super::packs::{self, CompactionCandidate};
use super::{Result, rows};
use crate::local::commit::Batch;
use crate::local::packs::{Frame, Packs, Record};
use crate::{ErrorKind, ObjectMeta};

/// Bytes of a pack that a transaction looks through at the least.
const AT_LEAST: usize = 64 * 1024;

/// Takes a few objects along in the frame of a transaction that has one, in proportion to what it puts itself: so that packs
/// become empty as quickly as garbage is made, and nobody waits for long. The packs that are empty are forgotten, and removed when
/// that is durable.
pub(super) fn compact(batch: &mut Batch<'_>, coming: usize) -> Result<()> {
    let put = batch.frame_bytes() + coming;
    if let Some(candidate) = packs::compaction_candidate(batch)?.filter(|_| put > 0) {
        let budget = 4 * put + AT_LEAST;
        match scan(batch.packs(), candidate, budget) {
            Ok(Scanned { frames, to }) => {
                for (frame, record) in
                    frames.iter().flat_map(|(frame, records)| records.iter().map(move |it| (frame, it)))
                {
                    relocate(batch, candidate.pack, frame, record)?;
                }
                packs::moved_up_to(batch, candidate.pack, to)?;
            }
            // Another time.
            Err(_error) => {
                #[cfg(feature = "tracing")]
                tracing::warn!(error = %_error, pack = candidate.pack, "a pack cannot be scanned through");
            }
        }
    }
    for pack in packs::forget_dead(batch)? {
        batch.remove_pack(pack);
    }
    Ok(())
}

/// A part of a pack.
struct Scanned {
    frames: Vec<(Frame, Vec<Record>)>,
    to: u64,
}

/// Reads frames of a pack, up to so many bytes of them. Behind a damaged one nothing is found any more: the pack stays with what
/// it has, for fsck to tell which objects have suffered.
fn scan(packs: &Packs, candidate: CompactionCandidate, budget: usize) -> crate::Result<Scanned> {
    let mut scanned = Scanned { frames: Vec::new(), to: candidate.moved };
    while scanned.to < candidate.bytes && scanned.to - candidate.moved < budget as u64 {
        let frame = packs.frame(candidate.pack, scanned.to)?;
        // One that has no records is damaged like one that is none.
        let Some((frame, records)) = frame.and_then(|frame| frame.records().ok().map(|records| (frame, records)))
        else {
            scanned.to = candidate.bytes;
            break;
        };
        scanned.to = frame.next().position;
        scanned.frames.push((frame, records));
    }
    Ok(scanned)
}

/// Puts once more what a record says as it is, if it is still so by this record. What was deleted is not said again: a rebuild
/// reports what an older pack may still have of it.
fn relocate(batch: &mut Batch<'_>, pack: u64, frame: &Frame, record: &Record) -> Result<()> {
    let (meta, found) = match record {
        Record::Deleted(_) => return Ok(()),
        Record::Packed(meta, _) | Record::Named(meta, _) => (meta, current(batch, meta)?),
    };
    match (record, found) {
        (Record::Packed(_, from), Some((now, rows::Content::Packed(place)))) if place.is_at(*from) => {
            let to = batch.log(&now, frame.body(*from).unwrap_or_default())?;
            rows::relocate(batch, &meta.key, to)?;
            packs::release(batch, *from)
        }
        (Record::Named(..), Some((now, rows::Content::Segments(segments, Some(named)))))
            if named == pack && now.version == meta.version =>
        {
            let to = batch.name(&now, &segments)?;
            rows::name(batch, &meta.key, to)?;
            packs::release_name(batch, pack)
        }
        _ => Ok(()),
    }
}

/// The object that has this one's key now; a row that cannot be read keeps its pack.
fn current(batch: &Batch<'_>, meta: &ObjectMeta) -> Result<Option<(ObjectMeta, rows::Content)>> {
    match rows::find_with_content(batch, &meta.key).map_err(crate::Error::from) {
        Err(error) if error.kind() == ErrorKind::Corrupt => Ok(None),
        found => Ok(found?),
    }
}
