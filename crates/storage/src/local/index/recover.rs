//! What the index has lost when the power went, out of the packs.

use std::collections::BTreeMap;

use rusqlite::{Connection, TransactionBehavior};

use super::rows::{Content, replace};
use super::{Result, packs};
use crate::local::packs::Appender;

/// Does again what the frames behind the last one that the index remembers have put.
///
/// That they are there says that a transaction had decided so; perhaps it was not committed, and then nobody was answered.
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
            replace(&transaction, &meta, &Content::Packed(place))?;
            weight += place.weight();
        }
        packs::advance(&transaction, frame.next(), weight)?;
        found.entry(tail.pack).or_insert(tail);
    }
    if found.is_empty() {
        return Ok(());
    }
    // A process that was killed may have written them, and not come to sync them.
    for from in found.into_values() {
        appender.sync(from)?;
    }
    Ok(transaction.commit()?)
}
