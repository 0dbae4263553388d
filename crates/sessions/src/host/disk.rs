//! Files and folders of a host: only their owner may read them, and what is created is durable.
//!
//! Everything below the host's folder is made with modes 0700 and 0600; a folder of an older version is tightened once, from
//! the inside to the outside, so that a start that breaks off does the rest again. A file that appears by [`write_whole`] is
//! written under another name, synced, renamed, and its folder synced: after a crash it is there whole, or not at all. Objects
//! are spread over 256 folders by the first byte of their ids.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use isobar_base::fs::{self, SqliteFile, beside};

use crate::{Error, ErrorKind};

/// Opens a file to write, creating it if need be; only the owner may read it.
pub(super) fn create_file(path: &Path, truncate: bool) -> io::Result<File> {
    let file = fs::private_file().create(true).truncate(truncate).write(true).open(path)?;
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
    let folder = File::open(fs::parent(path)).map_err(WriteError::Write)?;
    folder.sync_all().map_err(WriteError::Sync)
}

/// A failure of a file, by its name.
pub(in crate::host) fn failed(path: &Path, what: &str, error: &io::Error) -> Error {
    let kind = match isobar_base::io::Class::of(error) {
        isobar_base::io::Class::Full => ErrorKind::StorageFull,
        _ => ErrorKind::Storage,
    };
    Error::new(kind, format!("{} cannot be {what}: {error}", path.display()))
}

/// Why a file was not written.
#[derive(Debug)]
pub(super) enum WriteError {
    /// It could not be written or renamed.
    Write(io::Error),
    /// It could not be made durable: see [`Health::poison`](super::health::Health::poison).
    Sync(io::Error),
}

/// Name of the folder of objects in that of the host.
pub(super) const OBJECTS: &str = "objects";
/// Name of the index in the host's folder.
pub(super) const INDEX: &str = "index.db";

/// Path of an object's file in the folder of objects.
pub(super) fn object_file(objects: &Path, id: &[u8; 32]) -> PathBuf {
    let hex = hex::encode(id);
    objects.join(&hex[..2]).join(hex + ".db")
}

/// Name of an object's file below the folder of objects.
pub(super) fn object_name(file: &Path) -> String {
    let names = [file.parent().and_then(Path::file_name), file.file_name()];
    let names: Vec<_> = names.into_iter().flatten().map(|name| name.to_string_lossy()).collect();
    names.join("/")
}

/// The object whose file has this name.
pub(super) fn object_of(name: &str) -> Option<[u8; 32]> {
    let id = Path::new(name).file_name()?.to_str()?.strip_suffix(".db")?;
    hex::decode(id).ok()?.try_into().ok()
}

/// Takes from a file or folder what others than its owner may do with it. A file system that cannot is left as it is.
pub(super) fn tighten(path: &Path) {
    if path.is_symlink() || !path.exists() {
        return;
    }
    if let Err(_error) = fs::restrict(path) {
        #[cfg(feature = "tracing")]
        tracing::warn!(path = %path.display(), error = %_error, "others may read this file: its mode cannot be changed");
    }
}

/// Tightens a database and what SQLite keeps beside it.
pub(super) fn tighten_database(path: &Path) {
    tighten(path);
    SqliteFile::all_beside(path).iter().for_each(|path| tighten(path));
}

/// Tightens a host's folder, and, where others could enter it until now, all that is in it.
pub(super) fn tighten_host(root: &Path) {
    if is_tight(root) {
        return;
    }
    let entries = |folder: &Path| {
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect::<Vec<_>>()
    };
    for path in entries(root).into_iter().chain(entries(&root.join(OBJECTS))) {
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
    std::fs::metadata(SqliteFile::Wal.beside(path)).is_ok_and(|log| log.len() > 0)
}

/// Free and total bytes of the file system, for this process; `None` where the system does not say.
pub(super) fn space(path: &Path) -> Option<(u64, u64)> {
    fs::space(path).ok().flatten().map(|space| (space.free, space.total))
}
