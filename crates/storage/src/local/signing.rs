//! The secret of a bucket's signed URLs.
//!
//! A file beside the index and not a row in it: a rebuild makes the index again out of packs, which do not have it, and URLs that are out
//! would be void. It is written beside its place and linked there, so that of two processes that make one at once the first counts, and both
//! return it. Its bytes are synced; its name is
//! not: a secret that is lost with the power has signed URLs of the moments before alone.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use super::disk::{make_private, private};
use crate::{Error, ErrorKind, Result};

/// Reads the secret, or makes one.
pub(super) fn secret(path: &Path) -> Result<Vec<u8>> {
    make_private(path);
    match fs::read_to_string(path) {
        Ok(text) => decoded(path, &text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(path),
        Err(error) => Err(Error::io(format_args!("cannot read {}", path.display()), error)),
    }
}

fn decoded(path: &Path, text: &str) -> Result<Vec<u8>> {
    let secret = hex::decode(text.trim()).ok().filter(|secret| secret.len() == 32);
    let what = || Error::new(ErrorKind::Corrupt, format!("{} holds no 32 bytes in hexadecimal", path.display()));
    secret.ok_or_else(what)
}

/// Writes it beside its place first: a concurrent reader finds a whole one, or none.
fn make(path: &Path) -> Result<Vec<u8>> {
    let failed = |error| Error::io(format_args!("cannot write {}", path.display()), error);
    let secret: [u8; 32] = isobar_base::random::bytes()?;
    let part = path.with_extension(hex::encode(&secret[..4]));
    let mut file = private().create_new(true).open(&part).map_err(failed)?;
    file.write_all(hex::encode(secret).as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    // The first one counts, whichever process makes it.
    let placed = fs::hard_link(&part, path);
    fs::remove_file(&part).map_err(failed)?;
    match placed {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed(error)),
        _ => decoded(path, &fs::read_to_string(path).map_err(failed)?),
    }
}
