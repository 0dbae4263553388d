//! The file system a database is on: room that is kept free, and who may read its files.

#[cfg(feature = "local")]
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::{Error, ErrorKind, Result};

/// How long an answer of the file system is taken for true.
const FRESH_FOR: Duration = Duration::from_millis(500);
/// Of a small file system no more than this part is kept free.
const LARGEST_PART: u64 = 20;

/// The free room beside a database, asked twice a second at most.
#[derive(Debug)]
pub(super) struct Disk {
    folder: PathBuf,
    reserve: u64,
    seen: Mutex<Option<(Instant, u64, u64)>>,
}

impl Disk {
    pub(super) fn new(file: &Path, reserve: u64) -> Self {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Self { folder: folder.to_owned(), reserve, seen: Mutex::new(None) }
    }

    /// Refuses where less than the reserve is free. A file system that does not say is taken to have room.
    pub(super) fn check(&self) -> Result<()> {
        if self.reserve == 0 {
            return Ok(());
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = seen.filter(|(when, ..)| when.elapsed() < FRESH_FOR);
        let Some((_, free, total)) =
            fresh.or_else(|| room(&self.folder).map(|(free, total)| (Instant::now(), free, total)))
        else {
            return Ok(());
        };
        let reserve = self.reserve.min(total / LARGEST_PART);
        if free >= reserve {
            *seen = fresh.or(Some((Instant::now(), free, total)));
            return Ok(());
        }
        *seen = None; // whoever makes room is served at once
        let message = format!(
            "the disk of {} has {free} bytes free, and {reserve} are kept in reserve: nothing is written until there is room",
            self.folder.display()
        );
        Err(Error::new(ErrorKind::StorageFull, message))
    }
}

/// Free and total bytes of the file system that a folder is on.
#[cfg(unix)]
fn room(folder: &Path) -> Option<(u64, u64)> {
    let stat = rustix::fs::statvfs(folder).ok()?;
    Some((stat.f_bavail.saturating_mul(stat.f_frsize), stat.f_blocks.saturating_mul(stat.f_frsize)))
}

#[cfg(not(unix))]
fn room(_: &Path) -> Option<(u64, u64)> {
    None
}

/// Makes a database's files their owner's alone: the file is created with mode 0600 where it is missing, and it, the log and
/// the log's index are tightened where they are there. SQLite gives new logs the file's mode.
///
/// A folder that is made has mode 0700. One that is there is tightened where it holds nothing but databases, and nobody has made it
/// one that several write to (sticky, set-group-id, or writable for others): `/tmp` may be empty, too.
#[cfg(feature = "local")]
pub(super) fn make_private(file: &Path) -> io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder {
        create_folder(folder)?;
    }
    create_file(file)?;
    #[cfg(unix)]
    {
        for suffix in ["", "-wal", "-shm", "-journal"] {
            let mut name = file.as_os_str().to_owned();
            name.push(suffix);
            tighten(Path::new(&name), 0o600)?;
        }
        if let Some(folder) = folder.filter(|folder| !is_shared(folder) && holds_databases_alone(folder)) {
            tighten(folder, 0o700)?;
        }
    }
    Ok(())
}

#[cfg(feature = "local")]
fn create_file(file: &Path) -> io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(file) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Takes away what others may do. A file that is not there, or is another user's, stays as it is.
#[cfg(all(feature = "local", unix))]
fn tighten(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let metadata = match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        metadata => metadata?,
    };
    let old = metadata.permissions().mode() & 0o7777;
    if old & 0o077 == 0 {
        return Ok(());
    }
    match std::fs::set_permissions(path, std::fs::Permissions::from_mode(old & mode)) {
        // Its owner has shared it, and the owner's word counts.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        done => done,
    }
}

/// Whether a folder is meant for several users.
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
        let name = ["-wal", "-shm", "-journal"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(&name);
        [".sqlite", ".sqlite3", ".db"].iter().any(|extension| name.ends_with(extension))
    };
    std::fs::read_dir(folder).is_ok_and(|mut entries| entries.all(is_database))
}

/// Creates a folder and what is missing above it, each its owner's alone and durable in the one above.
#[cfg(feature = "local")]
fn create_folder(folder: &Path) -> io::Result<()> {
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create_folder(parent)?;
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    std::fs::File::open(parent)?.sync_all()
}
