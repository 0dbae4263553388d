//! The upgrade of packs that versions 3 and 4 have written: deletions that no frame has, and CRCs that rows do not have.
//!
//! Version 3 deleted in the index alone, and version 4 dropped deletions with the packs that they were in. A rebuild would bring
//! such objects back as long as an older pack has them. So every key that a frame names and the index does not have is written
//! down as deleted, once.

use std::collections::BTreeSet;

use rusqlite::{Transaction, params};

use super::{Result, packs, rows, schema};
use crate::Key;
use crate::local::packs::{Appender, NewFrame, Note, Place, Record};

/// Deletions of one frame.
const AT_ONCE: usize = 4096;

/// Reads every pack once, gives rows without a CRC the one of their body, and has frames say which keys were deleted.
pub(super) fn complete(transaction: &Transaction<'_>, appender: &mut Appender) -> Result<()> {
    let packs = appender.packs().clone();
    let mut deleted = BTreeSet::new();
    // What the frames of this very upgrade say is known already.
    for (pack, size) in packs.list()?.0 {
        packs.visit(pack, size, &mut |frame, is_whole| -> Result<()> {
            for record in frame.readable() {
                match record {
                    Record::Packed(meta, place) => {
                        if !note_crc(transaction, &meta.key, place, is_whole)? {
                            deleted.insert(meta.key);
                        }
                    }
                    Record::Named(meta, _) => {
                        if !rows::exists(transaction, &meta.key)? {
                            deleted.insert(meta.key);
                        }
                    }
                    Record::Deleted(_) => {}
                }
            }
            if deleted.len() >= AT_ONCE {
                note_deletions(transaction, appender, std::mem::take(&mut deleted))?;
            }
            Ok(())
        })?;
    }
    // Even where there are none: the frame says that there are no others.
    note_deletions(transaction, appender, deleted)
}

/// Whether there is an object of this key; if it lies in this place of a frame that is sound, its row gets the CRC of its body.
fn note_crc(transaction: &Transaction<'_>, key: &Key, place: Place, is_sound: bool) -> Result<bool> {
    if is_sound {
        let sql = "UPDATE objects SET crc = ? WHERE key = ? AND crc IS NULL AND pack = ? AND position = ? AND size = ?";
        let Place { pack, position, size, crc } = place;
        let values = params![crc, key.as_str().as_bytes(), pack as i64, position as i64, size as i64];
        if transaction.prepare_cached(sql)?.execute(values)? > 0 {
            return Ok(true);
        }
    }
    rows::exists(transaction, key)
}

fn note_deletions(transaction: &Transaction<'_>, appender: &mut Appender, keys: BTreeSet<Key>) -> Result<()> {
    let tail = appender.packs().place_of(packs::tail(transaction)?)?;
    packs::begin(transaction, tail)?;
    let mut frame = NewFrame::begin(tail)?;
    for key in keys {
        frame.note(&Note::Deleted { key })?;
    }
    schema::append(transaction, appender, frame)
}
