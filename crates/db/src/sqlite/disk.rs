//! The file system a database is on: the room that is kept free, and the modes of its files.

use std::fmt;
#[cfg(feature = "local")]
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

#[cfg(feature = "local")]
use isobar_base::fs::SqliteFile;
use isobar_base::fs::{self, Space};
use isobar_base::sync::IgnorePoison;

use crate::{Error, ErrorKind, Result};

/// Suffix of the folder with a database's history.
#[cfg(feature = "local")]
pub(super) const HISTORY: &str = "-history";
/// Time for which the room that the file system has reported is believed.
pub(super) const FRESH_FOR: Duration = Duration::from_millis(500);
/// The reserve is at most this part of a file system: a twentieth.
const LARGEST_PART: u64 = 20;

/// Asks the file system of a folder for its room; `None` where it does not report any.
type AskRoom = dyn Fn(&Path) -> Option<Space> + Send + Sync;

/// The free room beside a database, asked for twice a second at most.
///
/// A positive answer is believed for half a second, a negative one is not kept: a write that is refused asks again.
/// Many small writes in half a second could go below the reserve; it is meant for that.
pub(super) struct Disk {
    folder: PathBuf,
    reserve: u64,
    room: Box<AskRoom>,
    seen: Mutex<Option<(Instant, Space)>>,
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").field("folder", &self.folder).field("reserve", &self.reserve).finish_non_exhaustive()
    }
}

impl Disk {
    pub(super) fn new(
        file: &Path,
        reserve: u64,
        room: impl Fn(&Path) -> Option<Space> + Send + Sync + 'static,
    ) -> Self {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Self { folder: folder.to_owned(), reserve, room: Box::new(room), seen: Mutex::new(None) }
    }

    /// Refuses where less than the reserve is free. A file system that does not report its room is taken to have some.
    pub(super) fn check(&self) -> Result<()> {
        if self.reserve == 0 {
            return Ok(());
        }
        let mut seen = self.seen.lock().ignore_poison();
        let fresh = seen.filter(|(when, _)| when.elapsed() < FRESH_FOR);
        let Some((when, room)) = fresh.or_else(|| (self.room)(&self.folder).map(|room| (Instant::now(), room))) else {
            return Ok(());
        };
        let reserve = self.reserve.min(room.total / LARGEST_PART);
        if room.free >= reserve {
            *seen = Some((when, room));
            return Ok(());
        }
        *seen = None; // the next write looks again: there may be room by then
        let free = room.free;
        let message = format!(
            "the disk of {} has {free} bytes free, and {reserve} are kept in reserve: nothing is written until there is room",
            self.folder.display()
        );
        Err(Error::new(ErrorKind::StorageFull, message))
    }
}

/// Free and total bytes of the file system that a folder is on.
pub(super) fn room(folder: &Path) -> Option<Space> {
    fs::space(folder).ok().flatten()
}

/// Refuses a name at which there is no database, but what another one has left beside it: SQLite would delete that, and with it what
/// was committed and is in no file yet.
///
/// # Errors
/// [`ErrorKind::Corrupt`], with the file that is left.
#[cfg(feature = "local")]
pub(super) fn check_left(file: &Path) -> Result<()> {
    let bytes = |path: &Path| std::fs::metadata(path).ok().map(|file| file.len());
    let left = |kind: SqliteFile| Some(kind.beside(file)).filter(|path| bytes(path).is_some_and(|bytes| bytes > 0));
    // Looked at before the database: another process that makes one makes it before its log.
    let log = left(SqliteFile::Wal);
    let journal = left(SqliteFile::Journal);
    let left = match bytes(file) {
        None => log.or(journal),
        Some(0) => log, // a journal is what a database leaves whose making has broken off
        Some(_) => None,
    };
    let Some(left) = left else { return Ok(()) };
    let message = format!(
        "{} is there without its database, and an empty database would take its place: put the database's file back beside it, \
         from a backup for instance; to begin an empty database, move it away",
        left.display()
    );
    Err(Error::new(ErrorKind::Corrupt, message).in_file(&file.display().to_string()))
}

/// Makes a database's files their owner's alone: the file is created with mode 0600 where it is missing, and it, the log and
/// the log's index are tightened where they are there. SQLite gives new logs the file's mode.
///
/// A new folder has mode 0700. An existing one is tightened where it holds nothing but databases and is not meant for several
/// users (sticky, set-group-id, or writable for others): `/tmp` may be empty, too.
#[cfg(feature = "local")]
pub(super) fn make_private(file: &Path) -> io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder {
        fs::create_dir(folder)?;
    }
    create_file(file)?;
    #[cfg(unix)]
    {
        tighten(file)?;
        SqliteFile::all_beside(file).iter().try_for_each(|path| tighten(path))?;
        if let Some(folder) = folder.filter(|folder| !is_shared(folder) && holds_databases_alone(folder)) {
            tighten(folder)?;
        }
    }
    Ok(())
}

#[cfg(feature = "local")]
fn create_file(file: &Path) -> io::Result<()> {
    match fs::private_file().write(true).create_new(true).open(file) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Removes others' permissions. A missing file, or another user's, stays as it is.
#[cfg(all(feature = "local", unix))]
fn tighten(path: &Path) -> io::Result<()> {
    match fs::restrict(path) {
        // Another user's was shared on purpose.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => Ok(()),
        done => done,
    }
}

/// Returns whether a folder is meant for several users.
#[cfg(all(feature = "local", unix))]
fn is_shared(folder: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(folder).is_ok_and(|metadata| metadata.permissions().mode() & 0o7022 != 0)
}

#[cfg(all(feature = "local", unix))]
fn holds_databases_alone(folder: &Path) -> bool {
    let is_database = |entry: io::Result<std::fs::DirEntry>| {
        let name = entry.map(|entry| entry.file_name()).unwrap_or_default();
        let name = name.to_string_lossy();
        let name = SqliteFile::database_of(&name).or_else(|| name.strip_suffix(HISTORY)).unwrap_or(&name);
        [".sqlite", ".sqlite3", ".db"].iter().any(|extension| name.ends_with(extension))
    };
    std::fs::read_dir(folder).is_ok_and(|mut entries| entries.all(is_database))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// A disk of 1,000 bytes, its free bytes, and how often it was asked for them.
    fn disk(reserve: u64) -> (Disk, Arc<AtomicU64>, Arc<AtomicU64>) {
        let free = Arc::new(AtomicU64::new(0));
        let asked = Arc::new(AtomicU64::new(0));
        let reported = Arc::clone(&free);
        let counted = Arc::clone(&asked);
        let room = move |_: &Path| {
            counted.fetch_add(1, Ordering::SeqCst);
            Some(Space { free: reported.load(Ordering::SeqCst), total: 1000 })
        };
        (Disk::new(Path::new("folder/db.sqlite"), reserve, room), free, asked)
    }

    #[test]
    fn the_reserve_is_kept_to_the_byte_and_is_a_twentieth_at_most() {
        for (reserve, least) in [(10, 10), (50, 50), (51, 50), (u64::MAX, 50)] {
            let (disk, free, _) = disk(reserve);
            free.store(least - 1, Ordering::SeqCst);
            let refused = disk.check().map_err(|error| error.kind());
            assert_eq!(refused, Err(ErrorKind::StorageFull), "{reserve}");
            free.store(least, Ordering::SeqCst);
            assert!(disk.check().is_ok(), "{reserve}");
        }
    }

    #[test]
    fn enough_room_is_cached_and_too_little_is_not() {
        let (disk, free, asked) = disk(10);
        assert!(disk.check().is_err() && disk.check().is_err());
        assert_eq!(asked.load(Ordering::SeqCst), 2);
        free.store(10, Ordering::SeqCst);
        assert!(disk.check().is_ok());
        free.store(0, Ordering::SeqCst);
        std::thread::sleep(FRESH_FOR + Duration::from_millis(50));
        assert!(disk.check().is_err(), "an old answer counts no more");
    }

    #[test]
    fn without_a_reserve_the_disk_is_not_asked() {
        let (disk, _, asked) = disk(0);
        assert!(disk.check().is_ok());
        assert_eq!(asked.load(Ordering::SeqCst), 0);
    }
}
