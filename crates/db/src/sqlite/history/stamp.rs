//! The identity of a file and the time of its last change: as long as both stay, nobody has written to it.
//!
//! Length, time of the last change of the content, inode and, on Unix, the time of the last change of the inode,
//! which no program can set back. A copy of the file, put back in its place, is another inode: its history begins
//! another stretch.

use std::fs::Metadata;
use std::io;
use std::path::Path;
use std::time::UNIX_EPOCH;

/// Bytes of a stamp.
const BYTES: usize = 40;

/// A file as it was at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp([u8; BYTES]);

impl Stamp {
    /// Asks the system, and does not open the file: closing a descriptor of a database drops SQLite's locks on it.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let metadata = std::fs::metadata(path)?;
        let modified = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        let [inode, changed, nanoseconds] = identity(&metadata);
        let mut stamp = [0; BYTES];
        let numbers = [metadata.len(), modified.as_nanos() as u64, inode, changed, nanoseconds];
        for (bytes, number) in stamp.chunks_exact_mut(8).zip(numbers) {
            bytes.copy_from_slice(&number.to_le_bytes());
        }
        Ok(Self(stamp))
    }

    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The inode, and when it was last changed: nobody can set that time.
#[cfg(unix)]
fn identity(metadata: &Metadata) -> [u64; 3] {
    use std::os::unix::fs::MetadataExt;
    [metadata.ino(), metadata.ctime().cast_unsigned(), metadata.ctime_nsec().cast_unsigned()]
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> [u64; 3] {
    [0; 3]
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::thread::sleep;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_write_or_another_file_of_the_name_changes_the_stamp() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "one").unwrap();
        let first = Stamp::of(&path).unwrap();
        assert_eq!(Stamp::parse(first.as_bytes()), Some(first));
        std::fs::read(&path).unwrap();
        assert_eq!(Stamp::of(&path).unwrap(), first);
        sleep(Duration::from_millis(20));
        std::fs::write(&path, "two").unwrap();
        assert_ne!(Stamp::of(&path).unwrap(), first);
        assert!(Stamp::of(&folder.path().join("b")).is_err());
        assert_eq!(Stamp::parse(b"short"), None);
    }
}
