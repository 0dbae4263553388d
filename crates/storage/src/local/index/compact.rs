//! Garbage in the packs: what is left of a pack that is more than half garbage is put once more, and the pack removed.

use super::packs::{self, Thin};
use super::{Result, rows};
use crate::local::packs::{Frame, Packs, Place};
use crate::local::writer::Batch;
use crate::{ErrorKind, ObjectMeta};

/// Bytes of a pack that a transaction looks through at the least.
const AT_LEAST: usize = 64 * 1024;

/// Takes a few objects along in the frame of a transaction that has one, in proportion to what it puts itself: so that packs
/// become empty as quickly as garbage is made, and nobody waits for long. The packs that are empty are forgotten, and removed when
/// that is durable.
pub(super) fn compact(batch: &mut Batch<'_>, coming: usize) -> Result<()> {
    let put = batch.frame_bytes() + coming;
    if let Some(thin) = packs::thin(batch)?.filter(|_| put > 0) {
        let budget = 4 * put + AT_LEAST;
        match look_through(batch.packs(), thin, budget) {
            Ok(Looked { objects, to }) => {
                objects.into_iter().try_for_each(|(meta, place, body)| put_again(batch, meta, place, &body))?;
                packs::moved_up_to(batch, thin.pack, to)?;
            }
            // Another time.
            Err(_error) => {
                #[cfg(feature = "tracing")]
                tracing::warn!(error = %_error, pack = thin.pack, "a pack cannot be looked through");
            }
        }
    }
    for pack in packs::forget_dead(batch)? {
        batch.remove_pack(pack);
    }
    Ok(())
}

/// A part of a pack.
struct Looked {
    objects: Vec<(ObjectMeta, Place, Vec<u8>)>,
    to: u64,
}

/// Reads frames of a pack, up to so many bytes of them. Behind a damaged one nothing is found any more: the pack stays with what
/// it has, for fsck to tell which objects have suffered.
fn look_through(packs: &Packs, thin: Thin, budget: usize) -> crate::Result<Looked> {
    let mut looked = Looked { objects: Vec::new(), to: thin.moved };
    while looked.to < thin.bytes && looked.to - thin.moved < budget as u64 {
        let frame = packs.frame(thin.pack, looked.to)?;
        // One that has no objects is damaged like one that is none.
        let Some((to, objects)) = frame.and_then(|frame| Some((frame.next().position, objects(&frame).ok()?))) else {
            looked.to = thin.bytes;
            break;
        };
        looked.to = to;
        looked.objects.extend(objects);
    }
    Ok(looked)
}

fn objects(frame: &Frame) -> crate::Result<Vec<(ObjectMeta, Place, Vec<u8>)>> {
    let objects = frame.objects()?.into_iter();
    Ok(objects.map(|(meta, place)| (meta, place, frame.body(place).unwrap_or_default().to_vec())).collect())
}

/// Puts an object once more as it is, if this is where it lies.
fn put_again(batch: &mut Batch<'_>, meta: ObjectMeta, from: Place, body: &[u8]) -> Result<()> {
    let found = match rows::find_with_content(batch, &meta.key).map_err(crate::Error::from) {
        // A row that cannot be read keeps its pack.
        Err(error) if error.kind() == ErrorKind::Corrupt => return Ok(()),
        found => found?,
    };
    let Some((now, rows::Content::Packed(place))) = found else { return Ok(()) };
    if place != from {
        return Ok(());
    }
    let to = batch.log(&now, body)?;
    rows::relocate(batch, &meta.key, to)?;
    packs::release(batch, from)
}
