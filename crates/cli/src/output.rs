//! Files that a command writes.

use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Writes a file that appears under its name when it is whole and durable.
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
