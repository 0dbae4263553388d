//! The log segments of a folder: their names, and which of them are complete.
//!
//! A segment is complete when no process has its lock. Where the file system has no locks (some network file systems, Windows for this
//! purpose), it counts as complete when it has not changed for two days, twice the longest life of a segment. Times of segments are those of
//! their files' last change, [`SLACK`] added, as a point's time is taken before it is written.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::files;
use crate::{Error, Result};

/// Age after which a new segment is begun, so that retention by age has something to remove.
pub(super) const SEGMENT_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// A log segment in the folder, as it was when it was listed.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) number: u64,
    pub(super) bytes: u64,
    pub(super) modified: Option<SystemTime>,
    /// Whether all of these bytes are durable, so that none of them is still being written.
    pub(super) is_durable: bool,
}

/// Time that may lie between an event's own time and that of the file to which it was appended, in milliseconds: events wait for others,
/// and their threads for each other.
pub(super) const SLACK: i64 = 60 * 1000;

impl Segment {
    /// Returns a time, in milliseconds, after which the segment has no event: those were written before its last change. `None` where
    /// the file system does not say when that was.
    pub(super) fn newest(&self) -> Option<i64> {
        Some(milliseconds(self.modified?).saturating_add(SLACK))
    }

    /// Opens the segment; `None` where it has gone.
    pub(super) fn open(self) -> Result<Option<LogSegment>> {
        match File::open(&self.path) {
            Ok(file) => Ok(Some(self.with_file(file))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io(&self.path, error)),
        }
    }

    fn with_file(self, file: File) -> LogSegment {
        let newest = self.newest().unwrap_or(i64::MAX);
        LogSegment { path: self.path, file: Arc::new(file), bytes: self.bytes, newest, is_durable: self.is_durable }
    }
}

/// A log segment to read, open, up to this length.
#[derive(Debug, Clone)]
pub(super) struct LogSegment {
    pub(super) path: PathBuf,
    pub(super) file: Arc<File>,
    pub(super) bytes: u64,
    /// Time, in milliseconds, after which it has no event.
    pub(super) newest: i64,
    is_durable: bool,
}

impl LogSegment {
    /// Whether its last bytes may be a part of what another process is just writing.
    pub(super) fn may_end_early(&self) -> bool {
        if self.is_durable {
            return false;
        }
        #[cfg(unix)]
        match self.file.try_lock_shared() {
            Ok(()) => drop(self.file.unlock()),
            Err(fs::TryLockError::WouldBlock) => return true,
            Err(fs::TryLockError::Error(_)) => {}
        }
        self.file.metadata().is_ok_and(|meta| meta.len() != self.bytes)
    }
}

/// A log segment that no process writes to, as it is under its lock, which is held as long as this is.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) segment: Segment,
    #[cfg_attr(not(feature = "query"), allow(dead_code, reason = "it has the lock"))]
    file: File,
}

impl Sealed {
    /// Locks a segment; `None` where a process may write to it, and where it cannot be opened or has gone.
    pub(super) fn lock(listed: &Segment) -> Option<Self> {
        let file = File::open(&listed.path).ok()?;
        #[cfg(unix)]
        let is_locked = match file.try_lock() {
            Ok(()) => true,
            Err(fs::TryLockError::WouldBlock) => return None,
            Err(fs::TryLockError::Error(_)) => false,
        };
        #[cfg(not(unix))]
        let is_locked = false;
        // Since it was listed its writer may have added to it and gone, or may have removed it and begun another one of its name.
        let meta = file.metadata().ok().filter(|_| files::is_at(&listed.path, &file))?;
        let segment = Segment { bytes: meta.len(), modified: meta.modified().ok(), is_durable: true, ..listed.clone() };
        // Without locks: one that is written to is not older than a day, unless nothing has come for as long.
        let age = segment.modified.and_then(|modified| SystemTime::now().duration_since(modified).ok());
        let is_sealed = is_locked || age.is_some_and(|age| age > 2 * SEGMENT_FOR);
        is_sealed.then_some(Self { segment, file })
    }

    /// Returns the segment, to be read while the lock is held.
    #[cfg(feature = "query")]
    pub(super) fn log_segment(&self) -> Result<LogSegment> {
        let file = self.file.try_clone().map_err(|error| Error::io(&self.segment.path, error))?;
        Ok(self.segment.clone().with_file(file))
    }
}

/// Returns a time in milliseconds since 1970.
pub(super) fn milliseconds(at: SystemTime) -> i64 {
    let whole = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    match at.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => whole(since),
        Err(before) => -whole(before.duration()),
    }
}

/// Lists the segments, oldest first, by their numbers. Other files are passed over.
pub(super) fn list(folder: &Path) -> Result<Vec<Segment>> {
    let failed = |error| Error::io(folder, error);
    let mut segments = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        let Some(number) = number(&path) else { continue };
        // A segment may expire during the listing.
        if let Ok(meta) = entry.metadata() {
            let modified = meta.modified().ok();
            segments.push(Segment { path, number, bytes: meta.len(), modified, is_durable: false });
        }
    }
    segments.sort_by_key(|segment| segment.number);
    Ok(segments)
}

/// Returns the file name of the log segment with this number.
pub(super) fn name(number: u64) -> String {
    format!("{number:012}.seg")
}

/// Returns the number of the log segment in this file.
pub(super) fn number(path: &Path) -> Option<u64> {
    let file = path.file_name()?.to_str()?;
    file.strip_suffix(".seg")?.parse().ok().filter(|number| name(*number) == file)
}

#[cfg(all(test, unix))]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn segment_has_the_length_that_it_has_under_its_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name(1));
        let mut writer = File::create(&path).unwrap();
        writer.lock().unwrap();
        writer.write_all(b"some").unwrap();
        let listed = &list(folder.path()).unwrap()[0];
        assert!(Sealed::lock(listed).is_none(), "it is written to");
        writer.write_all(b" and more").unwrap();
        drop(writer);
        assert_eq!((listed.bytes, Sealed::lock(listed).unwrap().segment.bytes), (4, 13));
    }

    #[test]
    fn segment_that_was_replaced_after_it_was_opened_is_not_locked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name(1));
        let old = File::create(&path).unwrap();
        assert!(files::is_at(&path, &old));
        fs::remove_file(&path).unwrap();
        assert!(!files::is_at(&path, &old));
        let _other = File::create(&path).unwrap();
        assert!(!files::is_at(&path, &old));
    }

    #[test]
    fn only_the_names_of_segments_are_numbers() {
        let number = |file: &str| number(Path::new(file));
        assert_eq!((number("000000000012.seg"), number("1000000000000.seg")), (Some(12), Some(1_000_000_000_000)));
        for file in ["12.seg", "+00000000012.seg", "visits.seg", "000000000012.parquet"] {
            assert_eq!(number(file), None, "{file}");
        }
    }
}
