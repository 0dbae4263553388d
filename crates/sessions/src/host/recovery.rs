//! Recovery: turns that a crash has left in the journal are put back into the objects' files before any of them is opened.
//!
//! It runs before the index is opened and before any thread starts, so no object is seen without its last turns. It may be broken
//! off anywhere and run again: the journal is removed only when all that it has is back in the objects' files, and synced. An
//! object whose file cannot be written is withheld: it is refused until a later start has put its turns back, and all others are
//! served.

use std::collections::BTreeMap;
use std::path::Path;

use isobar_sqlite::journal::{Disk, RecoveryError};

use super::{disk, log};
use crate::{Error, ErrorKind, Result};

/// Puts the journal back. Returns the objects whose files could not be written, and why: they are not to be opened.
///
/// # Errors
/// [`ErrorKind::Damaged`] for a journal in which acknowledged turns are missing,
/// [`ErrorKind::Storage`] for one that cannot be read or removed.
pub(super) fn recover(root: &Path, disk: &dyn Disk) -> Result<BTreeMap<[u8; 32], String>> {
    let folder = root.join(log::FOLDER);
    let recovered = isobar_sqlite::journal::recover(&folder, &root.join(disk::OBJECTS), disk).map_err(|error| {
        let (kind, advice) = match error {
            RecoveryError::Damaged { .. } => {
                (ErrorKind::Damaged, "; to give up what it may have of the last turns, move that folder away")
            }
            _ => (ErrorKind::Storage, ""),
        };
        Error::new(kind, format!("session objects: {error}{advice}")).with_source(error)
    })?;
    #[cfg(feature = "tracing")]
    if recovered.databases > 0 {
        tracing::warn!(root = %root.display(), objects = recovered.databases, frames = recovered.frames, "the host had not ended in order: the last turns are put back from its journal");
    }
    let withheld = recovered.withheld.into_iter().filter_map(|(name, error)| {
        let message = format!(
            "the last turns of the session object's file {} are in the journal {} and cannot be put back: {error}; \
             they are kept there, and the next start tries again",
            root.join(disk::OBJECTS).join(&name).display(),
            folder.display()
        );
        Some((disk::object_of(&name)?, message))
    });
    Ok(withheld.collect())
}
