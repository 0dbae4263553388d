//! The manifest of a dataset: its columnar segments, and the log segments that they replace.
//!
//! A log segment is in one of three states: it is not in the manifest, and its events are read from it; it is covered, and its events
//! are read from a columnar segment; or it is gone. The manifest is replaced as a whole, by a rename, and that is the moment at which a
//! compaction, an erasure or the removal of columnar segments takes effect. What is not in it (a file that a crash has left)
//! is not read, and the next change removes it. A dataset has a manifest before it has a columnar segment: where there are segments and
//! none of it, it was lost, and nothing is read or removed.
//!
//! On the disk it is two lines of JSON: a header with the version and the CRC32 of the second line, and the manifest. It is read for each
//! snapshot and each new segment, and written for each compaction; its size is some hundred bytes a segment, and eight more for each 128 KiB of
//! one. Segments that were moved to an archive say the names of their objects; such a manifest has version 2, so that earlier versions, which
//! would lose them, refuse it. A manifest that is damaged fails reading and changing with [`ErrorKind::Corrupt`] and advice; writing points goes on.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind as IoErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::files;
use crate::{Error, ErrorKind, Result};

/// Name of the manifest.
const NAME: &str = "manifest.jsonl";
/// Name of the file that is locked by the process that changes the manifest.
const LOCK: &str = "manifest.lock";
/// Folder of damaged segments.
pub(super) const QUARANTINE: &str = "quarantine";
/// Name of the file that says where the archive is, for people, and that there is one, should the manifest be lost.
const MARK: &str = "archived";
/// Version of the format.
const VERSION: u32 = 1;
/// Version of a manifest with an archive.
const ARCHIVE_VERSION: u32 = 2;
/// The remedy for a manifest that is lost or damaged.
const ADVICE: &str = "restore it from a backup; or move it and the .parquet files out of the folder, which keeps the points of the log, \
    and import each of these files (isobar analytics import)";

/// The manifest as it is in memory.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// Number that grows with each change.
    pub(super) generation: u64,
    /// Highest number that a covered log segment has had: the next one has a higher one.
    pub(super) through: u64,
    /// Numbers of the log segments whose events are in columnar segments; they are about to be removed.
    pub(super) covered: BTreeSet<u64>,
    /// The columnar segments, oldest first.
    pub(super) segments: Vec<Entry>,
    /// The damaged segments, which are not read.
    pub(super) quarantined: Vec<Quarantined>,
    /// The place of the archive, once the dataset has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) archive: Option<String>,
    /// Names of objects that may be in the archive and that no segment needs: uploads that were begun, segments that have expired or
    /// were rewritten. Whoever has the archive removes them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) garbage: BTreeSet<String>,
}

/// A columnar segment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Number, from which the file has its name.
    pub(super) number: u64,
    /// Number of events.
    pub(super) rows: u64,
    /// Size of the file in bytes.
    pub(super) bytes: u64,
    /// Time of the oldest event, in milliseconds since 1970.
    pub(super) from: i64,
    /// Time of the newest event, in milliseconds since 1970.
    pub(super) until: i64,
    /// The CRC32 of each [`BLOCK`] bytes of the file, eight hexadecimal digits each.
    pub(super) sums: String,
    /// Least and greatest index, in hexadecimal digits, which compare as the bytes do. Unknown of segments of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) indexes: Option<(String, String)>,
    /// Name of the object of the archive that has its bytes; without one, a file of the folder has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) object: Option<String>,
}

/// Size in bytes of what one of an [`Entry`]'s checksums covers.
#[cfg(feature = "query")]
pub(super) const BLOCK: usize = 128 * 1024;

/// A damaged segment, of either tier.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Quarantined {
    /// Name of its file.
    pub(super) name: String,
    /// Bytes that cannot be read.
    pub(super) bytes: u64,
    /// Number of damaged stretches.
    pub(super) stretches: u64,
    /// Time before which its damaged part has no event, in milliseconds since 1970.
    #[serde(default = "always")]
    pub(super) from: i64,
    /// Time after which its damaged part has no event, in milliseconds since 1970.
    pub(super) until: i64,
    /// Reason for which it is damaged.
    pub(super) reason: String,
    /// Name of its object, where it is in the archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) object: Option<String>,
}

/// The beginning of a damaged segment that was set aside when manifests did not say it.
fn always() -> i64 {
    i64::MIN
}

/// The first line of the file; the manifest is the second.
#[derive(Serialize, Deserialize)]
struct Header {
    version: u32,
    /// CRC32 of the second line.
    check: u32,
}

impl Entry {
    pub(super) fn name(&self) -> String {
        name(self.number)
    }

    /// Returns the size in bytes of what the disk has of it.
    pub(super) fn bytes_on_disk(&self) -> u64 {
        if self.object.is_some() { 0 } else { self.bytes }
    }
}

/// Returns the file name of the columnar segment with this number.
pub(super) fn name(number: u64) -> String {
    format!("{number:012}.parquet")
}

/// Returns the number of the columnar segment in this file.
pub(super) fn number(path: &Path) -> Option<u64> {
    let file = path.file_name()?.to_str()?;
    file.strip_suffix(".parquet")?.parse().ok().filter(|number| name(*number) == file)
}

/// Returns what this folder has of columnar segments, in words; no folder has none.
fn any_columnar(folder: &Path) -> Result<Option<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == IoErrorKind::NotFound => return Ok(None),
        entries => entries.map_err(|error| Error::io(folder, error))?,
    };
    for entry in entries {
        let path = entry.map_err(|error| Error::io(folder, error))?.path();
        if let Some(number) = number(&path) {
            return Ok(Some(format!("segments such as {}", name(number))));
        }
    }
    let mark = folder.join(MARK);
    match fs::read_to_string(&mark) {
        Ok(location) => Ok(Some(format!("segments in the archive {}", location.trim_end()))),
        Err(error) if error.kind() == IoErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(&mark, error)),
    }
}

impl Manifest {
    /// Reads the manifest of a dataset; an empty one where nothing was compacted yet.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] where it is lost, damaged or of a later version; I/O errors.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(NAME);
        let damaged =
            |problem: String| Error::new(ErrorKind::Corrupt, format!("{}: {problem}; {ADVICE}", path.display()));
        let text = || match fs::read(&path) {
            Ok(text) => Ok(Some(String::from_utf8_lossy(&text).into_owned())),
            Err(error) if error.kind() == IoErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io(&path, error)),
        };
        let text = match text()? {
            Some(text) => text,
            None => {
                let Some(segments) = any_columnar(folder)? else { return Ok(Self::default()) };
                // A compaction may have made the manifest, and then the segment, between the two looks.
                let lost = || damaged(format!("the manifest is missing, and there are {segments}"));
                text()?.ok_or_else(lost)?
            }
        };
        let (header, manifest) = text.split_once('\n').ok_or_else(|| damaged("the manifest is cut off".to_owned()))?;
        let header: Header =
            serde_json::from_str(header).map_err(|error| damaged(format!("the manifest is damaged: {error}")))?;
        if !(VERSION..=ARCHIVE_VERSION).contains(&header.version) {
            let message =
                format!("the manifest has version {}, and {ARCHIVE_VERSION} is the newest known", header.version);
            return Err(damaged(message));
        }
        let manifest = manifest.trim_end();
        if crc32fast::hash(manifest.as_bytes()) != header.check {
            return Err(damaged("the manifest does not match its checksum".to_owned()));
        }
        serde_json::from_str(manifest).map_err(|error| damaged(format!("the manifest is damaged: {error}")))
    }

    /// Returns a number that no covered log segment has exceeded. A damaged manifest, or a lost one, must not keep points from being
    /// written: without it, the files of columnar segments say so, whose numbers are higher than those of the log segments that they cover.
    pub(super) fn through(folder: &Path) -> Result<u64> {
        match Self::read(folder) {
            Ok(manifest) => Ok(manifest.through),
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                let entries = fs::read_dir(folder).map_err(|error| Error::io(folder, error))?;
                Ok(entries.flatten().filter_map(|entry| number(&entry.path())).max().unwrap_or(0))
            }
            Err(error) => Err(error),
        }
    }

    /// Whether there is something in the archive.
    #[cfg(feature = "query")]
    pub(super) fn uses_archive(&self) -> bool {
        let has_object = self.segments.iter().any(|entry| entry.object.is_some());
        has_object || !self.garbage.is_empty() || self.quarantined.iter().any(|segment| segment.object.is_some())
    }

    /// Returns the size of the columnar segments on the disk, in bytes.
    pub(super) fn bytes_on_disk(&self) -> u64 {
        self.segments.iter().map(Entry::bytes_on_disk).sum()
    }
}

/// The right to change the manifest of a dataset, which one process has at a time.
///
/// Advisory, by the operating system, so that it ends with the process that has it. Readers do not take it: a rename is atomic.
#[derive(Debug)]
pub(super) struct ManifestLock {
    folder: PathBuf,
    _file: File,
}

impl ManifestLock {
    /// Takes the lock; `None` where another thread or process has it.
    pub(super) fn try_take(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(LOCK);
        let file = isobar_base::fs::private_file().append(true).create(true).open(&path);
        let file = file.map_err(|error| Error::io(&path, error))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { folder: folder.to_owned(), _file: file })),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(Error::io(&path, error)),
        }
    }

    /// Waits for the lock.
    #[cfg(feature = "query")]
    pub(super) fn take(folder: &Path) -> Result<Self> {
        let path = folder.join(LOCK);
        let file = isobar_base::fs::private_file().append(true).create(true).open(&path);
        let file = file.map_err(|error| Error::io(&path, error))?;
        file.lock().map_err(|error| Error::io(&path, error))?;
        Ok(Self { folder: folder.to_owned(), _file: file })
    }

    /// Notes, durably, that the dataset has an archive at this place: before the manifest has it.
    #[cfg(feature = "query")]
    pub(super) fn mark_archive(&self, location: &str) -> Result<()> {
        let path = self.folder.join(MARK);
        let failed = |error| Error::io(&path, error);
        let file = isobar_base::fs::private_file().write(true).create(true).truncate(true).open(&path);
        let mut file = file.map_err(failed)?;
        file.write_all(format!("{location}\n").as_bytes()).and_then(|()| files::sync(&file, &path)).map_err(failed)?;
        files::sync_dir(&self.folder)
    }

    /// Replaces the manifest, durably. The files of its segments are durable already.
    ///
    /// The new file is synced, then renamed, then the folder is synced. An error before the rename changes nothing; one of the last sync leaves a
    /// manifest that counts, and may be the old one after a power loss: then the files of both are there still.
    pub(super) fn commit(&self, mut manifest: Manifest) -> Result<Manifest> {
        manifest.generation += 1;
        manifest.segments.sort_by_key(|entry| (entry.until, entry.number));
        let text = serde_json::to_string(&manifest).expect("a manifest has no keys but texts");
        let version = if manifest.archive.is_some() { ARCHIVE_VERSION } else { VERSION };
        let header = Header { version, check: crc32fast::hash(text.as_bytes()) };
        let header = serde_json::to_string(&header).expect("two numbers are JSON");
        let text = format!("{header}\n{text}\n");
        let new = self.folder.join(format!("{NAME}.tmp"));
        let path = self.folder.join(NAME);
        let failed = |error| Error::io(&path, error);
        let mut file =
            isobar_base::fs::private_file().write(true).create(true).truncate(true).open(&new).map_err(failed)?;
        let written = file.write_all(text.as_bytes()).and_then(|()| files::sync(&file, &new));
        if let Err(error) = written.and_then(|()| files::rename(&new, &path)) {
            drop(fs::remove_file(&new));
            return Err(failed(error));
        }
        files::sync_dir(&self.folder)?;
        Ok(manifest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifest_reads_back_and_damage_of_any_byte_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Manifest::read(folder.path()).unwrap(), Manifest::default());
        let lock = ManifestLock::try_take(folder.path()).unwrap().unwrap();
        assert!(ManifestLock::try_take(folder.path()).unwrap().is_none());
        let entry = Entry {
            number: 7,
            rows: 1,
            bytes: 2,
            from: -3,
            until: 4,
            sums: "00ff00ff".to_owned(),
            indexes: Some(("61".to_owned(), "7a".to_owned())),
            object: None,
        };
        let manifest = Manifest { through: 6, covered: [5, 6].into(), segments: vec![entry], ..Manifest::default() };
        let committed = lock.commit(manifest.clone()).unwrap();
        assert_eq!(committed, Manifest { generation: 1, ..manifest });
        assert_eq!(Manifest::read(folder.path()).unwrap(), committed);

        let path = folder.path().join(NAME);
        let text = fs::read(&path).unwrap();
        for at in 0..text.len() - 1 {
            let mut damaged = text.clone();
            damaged[at] ^= 4;
            fs::write(&path, &damaged).unwrap();
            let read = Manifest::read(folder.path());
            assert!(read.as_ref().is_err_and(|error| error.kind() == ErrorKind::Corrupt), "{at}: {read:?}");
        }
        fs::write(&path, &text[..10]).unwrap();
        let error = Manifest::read(folder.path()).unwrap_err();
        assert!(error.to_string().contains("manifest.jsonl: the manifest"), "{error}");
    }

    #[test]
    fn manifest_with_an_archive_has_a_version_of_its_own_and_is_missed_without_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let lock = ManifestLock::try_take(folder.path()).unwrap().unwrap();
        lock.commit(Manifest::default()).unwrap();
        let version = |text: &str| text.lines().next().unwrap().contains("\"version\":2");
        let path = folder.path().join(NAME);
        assert!(!version(&fs::read_to_string(&path).unwrap()), "earlier versions read it");
        fs::write(folder.path().join(MARK), "r2://old\n").unwrap();
        let archived = Manifest { archive: Some("r2://old".to_owned()), ..Manifest::default() };
        let archived = lock.commit(archived).unwrap();
        assert!(version(&fs::read_to_string(&path).unwrap()));
        assert_eq!(Manifest::read(folder.path()).unwrap(), archived);
        fs::remove_file(&path).unwrap();
        let error = Manifest::read(folder.path()).unwrap_err();
        assert!(error.message().contains("is missing, and there are segments in the archive r2://old;"), "{error}");
    }

    #[test]
    fn missing_manifest_is_an_empty_one_only_where_there_is_no_segment() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Manifest::read(&folder.path().join("none")).unwrap(), Manifest::default());
        // Not a segment: a file that a user has put there, and one that is not finished.
        fs::write(folder.path().join("visits.parquet"), "").unwrap();
        fs::write(folder.path().join(format!("{}.tmp", name(8))), "").unwrap();
        assert_eq!(Manifest::read(folder.path()).unwrap(), Manifest::default());
        fs::write(folder.path().join(name(9)), "").unwrap();
        let error = Manifest::read(folder.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.message().contains("is missing, and there are segments such as 000000000009.parquet"), "{error}");
        assert!(error.message().contains("restore it from a backup"), "{error}");
        assert_eq!(Manifest::through(folder.path()).unwrap(), 9);
    }

    #[test]
    fn damage_of_an_earlier_manifest_may_concern_every_time() {
        let text = r#"{"name":"000000000001.seg","bytes":1,"stretches":1,"until":5,"reason":"damaged events"}"#;
        let quarantined: Quarantined = serde_json::from_str(text).unwrap();
        assert_eq!((quarantined.from, quarantined.until), (i64::MIN, 5));
    }
}
