//! Files and folders of a host: only their owner may read them, and what is created is durable.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Creates a folder and what is missing above it, each durable in the one above; only the owner may enter them.
pub(super) fn create_folder(folder: &Path) -> io::Result<()> {
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
    File::open(parent)?.sync_all()
}

/// Opens a file to write, creating it if need be; only the owner may read it.
pub(super) fn create_file(path: &Path, truncate: bool) -> io::Result<File> {
    let mut options = File::options();
    options.create(true).truncate(truncate).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    tighten(path);
    Ok(file)
}

/// Writes a file that appears under its name whole and durable, or not at all.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    let draft = beside(path, ".new");
    let written = || {
        let mut file = create_file(&draft, true)?;
        file.write_all(bytes)?;
        Ok(file)
    };
    let remove = |error| {
        drop(std::fs::remove_file(&draft)); // a leftover is overwritten by the next try
        error
    };
    let file: File = written().map_err(WriteError::Write).map_err(remove)?;
    file.sync_all().map_err(WriteError::Sync).map_err(remove)?;
    std::fs::rename(&draft, path).map_err(WriteError::Write).map_err(remove)?;
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).map_err(WriteError::Write)?.sync_all().map_err(WriteError::Sync)
}

/// Why a file was not written.
#[derive(Debug)]
pub(super) enum WriteError {
    /// It could not be written or renamed.
    Write(io::Error),
    /// It could not be made durable: see [`Health::poison`](super::health::Health::poison).
    Sync(io::Error),
}

/// Path of an object's file in the folder of objects.
pub(super) fn object_file(objects: &Path, id: &[u8; 32]) -> PathBuf {
    let hex = hex::encode(id);
    objects.join(&hex[..2]).join(hex + ".db")
}

/// The path with this after its name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Takes from a file or folder what others than its owner may do with it. A file system that cannot is left as it is.
#[cfg(unix)]
pub(super) fn tighten(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let Ok(meta) = std::fs::symlink_metadata(path) else { return };
    let mode = meta.permissions().mode();
    if mode & 0o077 != 0 && !meta.is_symlink() {
        let changed = std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode & 0o700));
        if let Err(_error) = changed {
            #[cfg(feature = "tracing")]
            tracing::warn!(path = %path.display(), error = %_error, "others may read this file: its mode cannot be changed");
        }
    }
}

#[cfg(not(unix))]
pub(super) fn tighten(_: &Path) {}

/// Tightens a database and what SQLite keeps beside it.
pub(super) fn tighten_database(path: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        tighten(&beside(path, suffix));
    }
}

/// Tightens a host's folder, and, where others could enter it until now, all that is in it.
pub(super) fn tighten_host(root: &Path) {
    if is_tight(root) {
        return;
    }
    let entries = |folder: &Path| {
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect::<Vec<_>>()
    };
    for path in entries(root).into_iter().chain(entries(&root.join("objects"))) {
        tighten(&path);
        if path.is_dir() && !path.is_symlink() {
            entries(&path).iter().for_each(|path| tighten(path));
        }
    }
    // Last: should this be broken off, the next start does it again.
    tighten(root);
}

#[cfg(unix)]
fn is_tight(root: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(root).is_ok_and(|meta| meta.permissions().mode() & 0o077 == 0)
}

#[cfg(not(unix))]
fn is_tight(_: &Path) -> bool {
    true
}

/// Whether a log lies beside a file: SQLite would take it for that of another file in the same place.
pub(super) fn has_log(path: &Path) -> bool {
    std::fs::metadata(beside(path, "-wal")).is_ok_and(|log| log.len() > 0)
}

/// Free and total bytes of the file system, for this process; `None` where the system does not say.
#[cfg(unix)]
pub(super) fn space(path: &Path) -> Option<(u64, u64)> {
    let stat = rustix::fs::statvfs(path).ok()?;
    Some((stat.f_bavail.saturating_mul(stat.f_frsize), stat.f_blocks.saturating_mul(stat.f_frsize)))
}

#[cfg(not(unix))]
pub(super) fn space(_: &Path) -> Option<(u64, u64)> {
    None
}
