//! Removing runs that are too old or were broken off, and blocks that no run names.

use super::BackupReport;
use super::digests::Digests;
use super::format::{Names, Run};
use super::lists::{self, Entries};
use super::remote::Remote;
use crate::{ErrorKind, Result};

/// Removes all but the newest complete runs. Where one of those cannot be read, nothing is removed, and the report says so.
///
/// The manifests go first, and the lists last: should this be broken off, what remains is found as a run without a manifest.
pub(super) fn prune(
    remote: &mut Remote,
    names: &Names,
    class: &str,
    runs: &[Run],
    keep: usize,
    report: &mut BackupReport,
) -> Result<()> {
    let complete = runs.iter().rev().filter(|run| run.is_complete);
    let kept: Vec<&Run> = complete.take(keep.max(1)).collect();
    let removed: Vec<&Run> = runs.iter().filter(|run| !kept.contains(run)).collect();
    if removed.is_empty() {
        return Ok(());
    }
    let named = Digests::new()?;
    for run in kept {
        if let Err(error) = read(remote, names, class, run, |digest| named.insert(digest)) {
            if error.kind() != ErrorKind::Decode {
                return Err(error);
            }
            report.problem = Some(format!("earlier runs are kept, as the run {} cannot be read: {error}", run.name));
            return Ok(());
        }
    }
    let is_known = removed.iter().all(|run| run.is_complete);
    let unnamed = Digests::new()?;
    let mut is_whole = is_known;
    for run in removed.iter().filter(|_| is_known) {
        match read(remote, names, class, run, |digest| unnamed.insert(digest)) {
            Err(error) if error.kind() == ErrorKind::Decode => is_whole = false,
            result => result?,
        }
    }
    for run in &removed {
        remote.delete(names.manifest(&run.name))?;
    }
    remote.settle()?;
    if is_whole {
        unnamed.each(|digest| if named.contains(digest)? { Ok(()) } else { remote.delete(names.block(digest)) })?;
    } else {
        sweep(remote, names, &named)?;
    }
    remote.settle()?;
    for run in &removed {
        for number in 0..run.lists {
            remote.delete(names.list(&run.name, number))?;
        }
        report.removed += 1;
    }
    remote.settle()
}

/// Removes all blocks that are not named, by a list of those that are stored, of a part at a time.
fn sweep(remote: &mut Remote, names: &Names, named: &Digests) -> Result<()> {
    for begin in 0..=u8::MAX {
        let prefix = names.blocks(&format!("{begin:02x}"));
        for name in remote.list(prefix.clone())? {
            let digest = name.strip_prefix(&prefix).unwrap_or_default();
            if !named.contains(digest)? {
                remote.delete(name)?;
            }
        }
    }
    Ok(())
}

/// Shows the digests that a complete run names.
fn read(
    remote: &Remote,
    names: &Names,
    class: &str,
    run: &Run,
    mut look: impl FnMut(&str) -> Result<()>,
) -> Result<()> {
    let manifest = lists::manifest(remote, names, &run.name, class)?;
    let mut entries = Entries::of(names, &run.name, &manifest);
    while let Some(entry) = entries.next(remote)? {
        entry.blocks.iter().try_for_each(|digest| look(digest))?;
    }
    Ok(())
}
