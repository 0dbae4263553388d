//! Removing the oldest events of both tiers, by age and by size.
//!
//! | | by age | by size |
//! |---|---|---|
//! | columnar segments | their newest event is too old | first, from the oldest on |
//! | log segments | their last change is too old | then, from the oldest on |
//! | quarantined files | what they may have is too old, or older than all that stays | with the segments |
//! | segments in an archive | their newest event is too old | never, as they take no disk |
//!
//! Columnar segments are the older tier, and go first. The size that must fit is that of both tiers and of one more log segment, which is about
//! to be begun. Failures remove less, never more: what cannot be locked, read or written stays until the next call. Objects of an archive become
//! garbage in the manifest, and are removed by whoever has the archive: the writer's thread waits for no network.

use std::path::Path;
use std::time::SystemTime;

use super::log::{self, Sealed, Segment};
use super::manifest::{Entry, Manifest, ManifestLock};
use super::{LocalOptions, manifest};

/// Removes the oldest segments: those that are too old, if the time is given, and as many as it takes for a new log segment to fit into
/// the size limit of the dataset. Log segments that a process still writes to stay, and so do columnar segments while they are being
/// compacted. Returns the number of bytes removed.
pub(super) fn prune(folder: &Path, options: &LocalOptions, current: Option<&Path>, now: Option<SystemTime>) -> u64 {
    let Ok(mut log) = log::list(folder) else { return 0 };
    // Without a manifest that can be read, nothing says what a log segment's events are.
    let Ok(manifest) = Manifest::read(folder) else { return 0 };
    log.retain(|segment| current != Some(&segment.path) && !manifest.covered.contains(&segment.number));
    let log_bytes: u64 = log.iter().map(|segment| segment.bytes).sum();
    let mut left = log_bytes.saturating_add(manifest.bytes_on_disk()).saturating_add(options.segment_bytes);
    let is_too_much = |left: u64| options.retain_bytes.is_some_and(|most| left > most);
    let is_older =
        |age: Option<std::time::Duration>| age.zip(options.retain_for).is_some_and(|(age, longest)| age > longest);
    // What is newest at this time, in milliseconds, is too old.
    let is_old = |until: i64| {
        let at = SystemTime::UNIX_EPOCH.checked_add(std::time::Duration::from_millis(until.max(0) as u64));
        is_older(now.zip(at).and_then(|(now, at)| now.duration_since(at).ok()))
    };
    let mut removed = 0;
    let mut entries = Vec::new();
    for entry in &manifest.segments {
        let on_disk = entry.bytes_on_disk();
        if is_old(entry.until) || (on_disk > 0 && is_too_much(left)) {
            left = left.saturating_sub(on_disk);
            entries.push(entry.number);
        }
    }
    if !entries.is_empty() || manifest.quarantined.iter().any(|segment| is_old(segment.until)) {
        removed += remove_columnar(folder, &entries, is_old);
    }
    for segment in log {
        let age = now.and_then(|now| now.duration_since(segment.modified?).ok());
        if !is_older(age) && !is_too_much(left) {
            continue; // a segment written while the clock was ahead must not keep those after it
        }
        if let Some(bytes) = remove_log(&segment) {
            left = left.saturating_sub(segment.bytes);
            removed += bytes;
        }
    }
    removed
}

/// Removes a log segment, unless a process writes to it. Returns its size in bytes. Needs no manifest: a log segment that has gone is one that
/// has expired.
fn remove_log(segment: &Segment) -> Option<u64> {
    // Held until it is removed: no process begins to write to it meanwhile.
    let sealed = Sealed::lock(segment)?;
    if let Err(_error) = std::fs::remove_file(&segment.path) {
        #[cfg(feature = "tracing")]
        tracing::warn!(segment = %segment.path.display(), error = %_error, "a segment cannot be removed");
        return None;
    }
    #[cfg(feature = "tracing")]
    tracing::info!(segment = %segment.path.display(), "events have expired");
    Some(sealed.segment.bytes)
}

/// Takes these columnar segments out of the manifest, and removes their files; with them the damaged segments that are older than all
/// that stays, or too old. Returns the size of the columnar ones in bytes; 0 where the manifest is being changed by another, so that the
/// next call removes them.
fn remove_columnar(folder: &Path, numbers: &[u64], is_old: impl Fn(i64) -> bool) -> u64 {
    let Ok(Some(lock)) = ManifestLock::try_take(folder) else { return 0 };
    let Ok(mut manifest) = Manifest::read(folder) else { return 0 };
    // One that was moved to the archive since the numbers were chosen takes no disk.
    let is_gone = |entry: &Entry| numbers.contains(&entry.number) && (entry.object.is_none() || is_old(entry.until));
    let (gone, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut manifest.segments).into_iter().partition(is_gone);
    manifest.segments = kept;
    let oldest = manifest.segments.iter().map(|entry| entry.from).min().unwrap_or(i64::MAX);
    let last_gone = gone.iter().map(|entry| entry.until).max().unwrap_or(i64::MIN).min(oldest);
    let (expired, damaged): (Vec<_>, Vec<_>) = std::mem::take(&mut manifest.quarantined)
        .into_iter()
        .partition(|segment| segment.until <= last_gone || is_old(segment.until));
    manifest.quarantined = damaged;
    let objects = gone.iter().map(|entry| &entry.object).chain(expired.iter().map(|segment| &segment.object));
    manifest.garbage.extend(objects.flatten().cloned());
    if let Err(_error) = lock.commit(manifest) {
        #[cfg(feature = "tracing")]
        tracing::warn!(folder = %folder.display(), error = %_error, "the manifest cannot be written; no events are removed");
        return 0;
    }
    for entry in gone.iter().filter(|entry| entry.object.is_none()) {
        // What stays is in no manifest, and the next compaction removes it.
        drop(std::fs::remove_file(folder.join(entry.name())));
    }
    for segment in expired.into_iter().filter(|segment| segment.object.is_none()) {
        drop(std::fs::remove_file(folder.join(manifest::QUARANTINE).join(segment.name)));
    }
    #[cfg(feature = "tracing")]
    tracing::info!(folder = %folder.display(), segments = gone.len(), "events have expired");
    gone.iter().map(|entry| entry.bytes).sum()
}

#[cfg(all(test, feature = "query"))]
mod tests {
    use super::*;

    #[test]
    fn segment_archived_meanwhile_is_removed_by_its_age_alone() {
        let folder = tempfile::tempdir().unwrap();
        let entry = |number: u64, object: Option<&str>| Entry {
            number,
            rows: 1,
            bytes: 10,
            from: 5,
            until: 5,
            sums: String::new(),
            indexes: None,
            object: object.map(str::to_owned),
        };
        let segments = vec![entry(1, Some("1.parquet")), entry(2, None)];
        let manifest = Manifest { archive: Some("old".to_owned()), segments, ..Manifest::default() };
        ManifestLock::try_take(folder.path()).unwrap().unwrap().commit(manifest).unwrap();
        let left = || {
            let manifest = Manifest::read(folder.path()).unwrap();
            (manifest.segments.iter().map(|entry| entry.number).collect::<Vec<_>>(), manifest.garbage.len())
        };
        assert_eq!(remove_columnar(folder.path(), &[1, 2], |_| false), 10);
        assert_eq!(left(), (vec![1], 0));
        assert_eq!(remove_columnar(folder.path(), &[1], |until| until == 5), 10);
        assert_eq!(left(), (vec![], 1));
    }
}
