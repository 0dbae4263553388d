//! The upgrade of packs that versions 3 and 4 have written: deletions that no frame has, and CRCs that rows do not have.
//!
//! Version 3 deleted in the index alone, and version 4 dropped deletions with the packs that they were in. A rebuild would bring
//! such objects back as long as an older pack has them. So every key that a frame names and the index does not have is written
//! down as deleted, once.

use std::collections::BTreeSet;

use rusqlite::{Transaction, params};

use crate::Key;
use crate::local::index::{Result, packs, rows};
use crate::local::packs::{Appender, Frame, NewFrame, Note, PackLocation, Record};

/// Deletions of one frame.
const AT_ONCE: usize = 4096;

/// Reads every pack once, gives rows without a CRC the one of their body, and has frames say which keys were deleted.
/// The index must be sound: rows that cannot be found would be taken for deleted.
pub(super) fn complete(transaction: &Transaction<'_>, appender: &mut Appender) -> Result<()> {
    let packs = appender.packs().clone();
    let mut deleted = BTreeSet::new();
    // The frames of this very upgrade say nothing new.
    for (pack, size) in packs.list()?.0 {
        let mut outcome = Ok(());
        let read = packs.visit(pack, size, &mut |frame, is_whole| -> crate::Result<()> {
            if outcome.is_ok() {
                outcome = complete_frame(transaction, appender, &mut deleted, frame, is_whole);
            }
            Ok(())
        });
        outcome?;
        // A rebuild cannot bring back what cannot be read.
        if let Err(error) = read {
            #[cfg(feature = "tracing")]
            tracing::warn!(pack, %error, "a pack cannot be read");
            #[cfg(not(feature = "tracing"))]
            drop(error);
        }
    }
    // Even where there are none: the frame says that there are no others.
    note_deletions(transaction, appender, deleted, true)
}

fn complete_frame(
    transaction: &Transaction<'_>,
    appender: &mut Appender,
    deleted: &mut BTreeSet<Key>,
    frame: &Frame,
    is_whole: bool,
) -> Result<()> {
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
            Record::Deleted { .. } => {}
        }
    }
    if deleted.len() >= AT_ONCE {
        note_deletions(transaction, appender, std::mem::take(deleted), false)?;
    }
    Ok(())
}

/// Whether there is an object of this key; if it lies in this place of a frame that is sound, its row gets the CRC of its body.
fn note_crc(transaction: &Transaction<'_>, key: &Key, place: PackLocation, is_sound: bool) -> Result<bool> {
    if is_sound {
        let sql = "UPDATE objects SET crc = ? WHERE key = ? AND crc IS NULL AND pack = ? AND position = ? AND size = ?";
        let PackLocation { pack, position, size, crc } = place;
        let values = params![crc, key.as_str().as_bytes(), pack as i64, position as i64, size as i64];
        if transaction.prepare_cached(sql)?.execute(values)? > 0 {
            return Ok(true);
        }
    }
    rows::exists(transaction, key)
}

/// Writes a frame of deletions. The last one says that the packs have every deletion.
fn note_deletions(
    transaction: &Transaction<'_>,
    appender: &mut Appender,
    keys: BTreeSet<Key>,
    is_last: bool,
) -> Result<()> {
    let tail = appender.packs().place_of(packs::tail(transaction)?)?;
    packs::begin(transaction, tail)?;
    let frame = NewFrame::begin(tail)?;
    let mut frame = if is_last { frame } else { frame.of_upgrade() };
    for key in keys {
        frame.note(&Note::Deleted { key, before: None })?;
    }
    append(transaction, appender, frame)
}

/// Writes a frame durably.
pub(super) fn append(transaction: &Transaction<'_>, appender: &mut Appender, mut frame: NewFrame) -> Result<()> {
    let (tail, bytes) = frame.sealed();
    appender.write(tail, bytes)?;
    appender.sync(tail)?;
    packs::advance(transaction, frame.next(), frame.weight())
}
