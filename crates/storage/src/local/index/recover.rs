//! What the index has lost when the power went, out of the packs.

use std::collections::BTreeMap;

use chrono::Utc;
use rusqlite::{Connection, TransactionBehavior};

use super::rows::{Content, replace};
use super::{Result, packs};
use crate::local::packs::Appender;

/// Does again what the frames behind the last one that the index remembers have put.
///
/// That they are there says that a transaction had decided so, and that nothing was committed since then that the index could have
/// kept; perhaps it was not committed itself, and then nobody was told that it was.
pub(super) fn recover(connection: &mut Connection, appender: &mut Appender) -> Result<()> {
    // Under the lock, so that no frame is found that somebody is just about to commit.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Of each pack, from where on.
    let mut found = BTreeMap::new();
    loop {
        let Some((tail, frame)) = appender.packs().follower(packs::tail(&transaction)?)? else { break };
        packs::begin(&transaction, tail)?;
        let mut weight = 0;
        for (meta, place) in frame.objects()? {
            replace(&transaction, &meta, &Content::Packed(place), Utc::now())?;
            weight += place.weight();
        }
        packs::advance(&transaction, frame.next(), weight)?;
        appender.write(tail, &frame.bytes())?;
        found.entry(tail.pack).or_insert(tail);
    }
    if found.is_empty() {
        return Ok(());
    }
    // A process that was killed may have written them, and not come to sync them; or a sync has failed, and what can be read is
    // nowhere but in memory, and held for written: so they are written anew.
    for from in found.into_values() {
        appender.sync(from)?;
    }
    Ok(transaction.commit()?)
}
