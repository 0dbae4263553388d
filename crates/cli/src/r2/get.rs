//! The command `isobar r2 object get`.
//!
//! The body streams: memory does not depend on its size. Into a file it goes beside its place first,
//! and the file is replaced when all of it is there and durable; wrangler writes into the file itself,
//! and leaves a part of the object after a failure.
//!
//! Without `--file` the file has the last part of the key as its name, in the current folder. wrangler
//! takes the whole key as a path, and creates its folders: a key from somebody else could then lead to
//! any place that the user may write to.

use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Args;
use futures_util::{Stream, TryStreamExt};
use isobar_storage::GetOptions;

use super::{object, shown_type};
use crate::place::{Access, Place};
use crate::remote::Where;
use crate::{Outcome, say};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  isobar r2 object get assets/static/settings.html --file ./settings.html
  isobar r2 object get assets/data.json --pipe | jq .")]
pub(crate) struct Get {
    /// BUCKET/KEY
    object: String,
    /// The file, or - for standard output; by default named after the last part of the key
    ///
    /// Its folder is created where it is missing. A link is followed, and a FIFO or a device is written
    /// to.
    #[arg(long, short, conflicts_with = "pipe")]
    file: Option<PathBuf>,
    /// Write to standard output
    ///
    /// A terminal gets only objects of a content type text/...: others could send it control sequences.
    #[arg(long, short)]
    pipe: bool,
    #[command(flatten)]
    reach: Where,
}

impl Get {
    /// Fetches an object.
    ///
    /// # Errors
    /// It is not there; the key ends with a slash and no file is named; the terminal is no place for
    /// it; the file cannot be written, or the body not read to its end and its checksum: then a file
    /// that was there is as it was.
    pub(crate) async fn run(self, place: &Place) -> Outcome {
        let (store, key) = object(place, &self.object, &self.reach, Access::Look).await?;
        let missing = || format!("there is no object {}", self.object);
        let (meta, body) = store.get(&key, GetOptions::default()).await?.into_object().ok_or_else(missing)?;
        let chunks = body.into_stream();
        let is_piped = self.pipe || self.file.as_deref() == Some(Path::new("-"));
        if is_piped {
            if io::stdout().is_terminal() && !shown_type(&meta).starts_with("text/") {
                return Err(
                    format!("{} is {}: pipe it somewhere, or use --file", self.object, shown_type(&meta)).into()
                );
            }
            return write_all(chunks, &mut io::stdout().lock()).await;
        }
        let name = key.as_str().rsplit('/').next().unwrap_or_default();
        let path = match self.file {
            Some(file) => file,
            None if matches!(name, "" | "." | "..") => {
                return Err(format!("{key} does not end with a file name: name a file with --file").into());
            }
            None => PathBuf::from(name),
        };
        let failed = |error: io::Error| format!("cannot write {}: {error}", path.display());
        // A link is kept and its target replaced; a FIFO or a device is written to.
        let real = fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
        if fs::metadata(&real).is_ok_and(|meta| !meta.is_file() && !meta.is_dir()) {
            write_all(chunks, &mut File::options().write(true).open(&real).map_err(failed)?).await?;
        } else {
            // Write to a temporary file first, so that an existing file stays intact on a failure.
            let folder = real.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            fs::create_dir_all(folder).map_err(failed)?;
            let mut file = tempfile::Builder::new().permissions(new_file_mode()).tempfile_in(folder).map_err(failed)?;
            write_all(chunks, &mut file).await?;
            file.as_file().sync_all().map_err(failed)?;
            file.persist(&real).map_err(|error| failed(error.error))?;
        }
        say!("got {} ({}) into {}", self.object, indicatif::HumanBytes(meta.size), path.display());
        Ok(())
    }
}

/// Writes each chunk as it comes, and flushes.
async fn write_all(
    mut chunks: impl Stream<Item = isobar_storage::Result<Bytes>> + Unpin,
    output: &mut impl Write,
) -> Outcome {
    while let Some(chunk) = chunks.try_next().await? {
        output.write_all(&chunk)?;
    }
    Ok(output.flush()?)
}

/// Returns the usual mode of a new file, by the umask; temporary files would be private.
fn new_file_mode() -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o666)
}
