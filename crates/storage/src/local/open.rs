//! Opening a store.
//!
//! In this order, each step safe to be done again after a crash within it:
//!
//! 1. folders, made durable in the ones above them; the modes of an older store's are narrowed;
//! 2. the store's lock, shared; exclusively for a moment where the index is of an earlier version and is upgraded;
//! 3. the index: refused where it is another program's, a newer version's, or missing beside packs or blobs;
//! 4. frames that the index does not have are replayed (`recover`), and synced;
//! 5. the commit thread starts.
//!
//! Nothing is repaired beyond that. An index of up to 16 MiB is looked over for damage; other damage is found when it is read, or by `fsck`.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::blobs::Blobs;
use super::commit::After;
use super::engine::{self, Index, new_index, upgrade};
use super::lock::StoreLock;
use super::packs::Packs;
use super::room::Room;
use super::{LocalOptions, Shared, disk};
use crate::{Clock, Error, ErrorKind, Result};

/// Time to wait for another process's upgrade or rebuild of the index.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(30);
const SLEEP: Duration = Duration::from_millis(5);

/// Opens the store in this folder, creating it if need be.
pub(super) fn open(root: PathBuf, options: LocalOptions) -> Result<Shared> {
    let LocalOptions { clock, disk, verify_on_read, signer, pack_bytes, reserve_bytes } = options;
    [root.clone(), root.join("blobs"), root.join("packs")].iter().for_each(|folder| disk::make_private(folder));
    let room = Room::new(Arc::clone(&disk), root.clone(), reserve_bytes);
    let blobs = Blobs::open(&root.join("blobs"), Arc::clone(&disk))?;
    let packs = Packs::new(&root.join("packs"), Arc::clone(&disk), pack_bytes);
    blobs.create_folder(&root.join("packs"))?;
    let lock = upgrade_and_lock(&root, &packs)?;
    let collector = collector(blobs.clone(), Arc::clone(&clock));
    // Even if another process has just made it: files in a folder are durable only with the folder's own name.
    blobs.sync_folder(&root)?;
    let refuse = || if has_files(&root)? { Err(new_index::refuse(&root)) } else { Ok(()) };
    let index = Index::open(&root.join("index.db"), disk, packs.clone(), refuse, collector)?;
    blobs.sync_folder(&root)?;
    let in_flight = Mutex::default();
    Ok(Shared { root, index, packs, blobs, clock, verify_on_read, signer, room, in_flight, _lock: lock })
}

/// Locks a store that is about to be opened, and first upgrades an index of an earlier version. The index is looked at under a lock
/// alone, as a rebuild or an upgrade may be at it.
fn upgrade_and_lock(root: &Path, packs: &Packs) -> Result<StoreLock> {
    let path = root.join("index.db");
    let since = Instant::now();
    // Another process may be upgrading it: it is looked at again.
    let is_temporary = |error: &Error| error.kind() == ErrorKind::Unavailable && since.elapsed() < UPGRADE_TIMEOUT;
    loop {
        let lock = match StoreLock::shared(root) {
            Err(error) if is_temporary(&error) => {
                std::thread::sleep(SLEEP);
                continue;
            }
            locked => locked?,
        };
        if !upgrade::is_older(&path)? {
            return Ok(lock);
        }
        drop(lock);
        match StoreLock::for_upgrade(root) {
            Err(error) if is_temporary(&error) => std::thread::sleep(SLEEP),
            locked => {
                let _alone = locked?;
                upgrade::upgrade(&path, packs.clone())?;
            }
        }
    }
}

/// Whether there are packs or blobs in a store's folder.
pub(super) fn has_files(root: &Path) -> Result<bool> {
    let is_any = |path: PathBuf, is_ours: &dyn Fn(&str) -> bool| match std::fs::read_dir(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io(format_args!("cannot list {}", path.display()), error)),
        Ok(files) => Ok(files.flatten().any(|file| file.file_name().to_str().is_some_and(is_ours))),
    };
    if is_any(root.join("packs"), &|name| name.ends_with(".pack"))? {
        return Ok(true);
    }
    for byte in 0..=255u8 {
        if is_any(root.join("blobs").join(format!("{byte:02x}")), &|name| name.len() == 32)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Unlinks blobs that were replaced long enough ago that no reader can be about to open them. A failure is logged, and the unlinking
/// tried again with the next write; the commit stands.
///
/// It runs on the commit thread between two transactions; writes of other processes are kept out by a transaction of its own.
fn collector(blobs: Blobs, clock: Clock) -> After {
    let mut last_check = engine::LastCheck::default();
    Box::new(move |connection, wal| {
        if let Err(_error) = engine::collect(connection, wal, &mut last_check, clock(), |blob| blobs.remove(blob)) {
            #[cfg(feature = "tracing")]
            tracing::warn!(error = %_error, "replaced blobs could not be removed");
        }
    })
}
