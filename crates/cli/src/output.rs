//! Files that a command writes.
//!
//! An export that was broken off, or that met a full disk, must not be taken for a whole one: a script
//! looks for the file, not for the exit code of the command that wrote it.

use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Writes a file that appears under its name when it is whole and durable.
///
/// The file is written beside its place under a random name, synced, and renamed; then its folder is
/// synced. A file that was there stays as it is until the rename, and after a failure. A process that
/// is killed leaves the file of the random name, which nothing reads. It is readable by its owner
/// alone, as temporary files are: exports have the data of databases.
///
/// # Errors
/// The error of `write`, as it is; those of the file system with the path.
pub(crate) fn whole<T>(path: &Path, write: impl FnOnce(&mut dyn Write) -> Result<T, String>) -> Result<T, String> {
    let failed = |error: io::Error| format!("cannot write {}: {error}", path.display());
    let folder = isobar_base::fs::parent(path);
    let file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    let mut output = BufWriter::with_capacity(1 << 18, file);
    let report = write(&mut output)?;
    let file = output.into_inner().map_err(|error| failed(error.into_error()))?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    isobar_base::fs::sync_dir(folder).map_err(failed)?;
    Ok(report)
}
