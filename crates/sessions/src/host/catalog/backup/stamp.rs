//! Marks by which an object's files are known to be unchanged since they were copied.

use std::fs::Metadata;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use isobar_base::fs::SqliteFile;

/// Age of the last change from which on another change has another time, on file systems that count in hundredths of a second.
const SETTLED: Duration = Duration::from_millis(100);

/// Sizes, times and inodes of a database and its write-ahead log: the commits of a running host are in the log. `None` where there is
/// no database, or it was changed so lately that another change might have the same time.
pub(super) fn stamp(path: &Path) -> io::Result<Option<String>> {
    let Some(database) = metadata(path)? else { return Ok(None) };
    let log = metadata(&SqliteFile::Wal.beside(path))?;
    let mut stamp = String::new();
    for meta in [Some(database), log].into_iter().flatten() {
        if !is_settled(&meta)? {
            return Ok(None);
        }
        stamp += &mark(&meta)?;
    }
    Ok(Some(stamp))
}

fn metadata(path: &Path) -> io::Result<Option<Metadata>> {
    match std::fs::metadata(path) {
        Ok(meta) => Ok(Some(meta)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A time of the future, which a later change may not have, is not settled.
fn is_settled(meta: &Metadata) -> io::Result<bool> {
    let modified = meta.modified()?;
    Ok(SystemTime::now().duration_since(modified).is_ok_and(|age| age >= SETTLED))
}

#[cfg(unix)]
fn mark(meta: &Metadata) -> io::Result<String> {
    use std::os::unix::fs::MetadataExt;
    let modified = format!("{}.{}", meta.mtime(), meta.mtime_nsec());
    let changed = format!("{}.{}", meta.ctime(), meta.ctime_nsec());
    Ok(format!("{}-{modified}-{changed}-{};", meta.len(), meta.ino()))
}

#[cfg(not(unix))]
fn mark(meta: &Metadata) -> io::Result<String> {
    let modified = meta.modified()?.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Ok(format!("{}-{};", meta.len(), modified.as_nanos()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamp_changes_with_the_file_and_its_log_and_is_missing_while_they_are_fresh() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let log = SqliteFile::Wal.beside(&path);
        assert_eq!(stamp(&path).unwrap(), None);
        std::fs::write(&path, "a database").unwrap();
        assert_eq!(stamp(&path).unwrap(), None, "it is fresh");
        let settled = || {
            std::thread::sleep(SETTLED + Duration::from_millis(20));
            stamp(&path).unwrap().unwrap()
        };
        let first = settled();
        assert_eq!(settled(), first);
        std::fs::write(&log, "a log").unwrap();
        assert_eq!(stamp(&path).unwrap(), None, "its log is fresh");
        let second = settled();
        std::fs::write(&log, "b log").unwrap(); // of the same length
        let third = settled();
        std::fs::write(&path, "b database").unwrap();
        let fourth = settled();
        let all = std::collections::BTreeSet::from([first, second, third, fourth]);
        assert_eq!(all.len(), 4, "{all:?}");
    }
}
