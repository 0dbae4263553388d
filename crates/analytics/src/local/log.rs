//! The log segments of a folder: their names, and which of them are complete.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::{Error, Result};

/// Age after which a new segment is begun, so that retention by age has something to remove.
pub(super) const SEGMENT_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// A log segment in the folder, up to this length.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) number: u64,
    pub(super) bytes: u64,
    pub(super) modified: Option<SystemTime>,
}

impl Segment {
    /// Opens the segment; `None` where it has gone.
    pub(super) fn open(self) -> Result<Option<LogSegment>> {
        match File::open(&self.path) {
            Ok(file) => Ok(Some(LogSegment { path: self.path, file: Arc::new(file), bytes: self.bytes })),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io(&self.path, error)),
        }
    }
}

/// A log segment to read, open, up to this length.
#[derive(Debug, Clone)]
pub(super) struct LogSegment {
    pub(super) path: PathBuf,
    pub(super) file: Arc<File>,
    pub(super) bytes: u64,
}

/// The file of a segment that no process writes to, locked; `None` where one may, or where it cannot be opened.
pub(super) fn sealed(segment: &Segment) -> Option<File> {
    let file = File::open(&segment.path).ok()?;
    #[cfg(unix)]
    match file.try_lock() {
        Ok(()) => return Some(file),
        Err(fs::TryLockError::WouldBlock) => return None,
        Err(fs::TryLockError::Error(_)) => {}
    }
    // Without locks: one that is written to is not older than a day, unless nothing has come for as long.
    let age = segment.modified.and_then(|modified| SystemTime::now().duration_since(modified).ok());
    age.is_some_and(|age| age > 2 * SEGMENT_FOR).then_some(file)
}

/// Lists the segments, oldest first.
pub(super) fn list(folder: &Path) -> Result<Vec<Segment>> {
    let failed = |error| Error::io(folder, error);
    let mut segments = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        let Some(number) = number(&path) else { continue };
        // A segment may expire during the listing.
        if let Ok(meta) = entry.metadata() {
            segments.push(Segment { path, number, bytes: meta.len(), modified: meta.modified().ok() });
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
    path.file_name()?.to_str()?.strip_suffix(".seg")?.parse().ok()
}
