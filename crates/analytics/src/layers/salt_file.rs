//! The file of a day's salt: a line that names the format, the day, and the salt in hexadecimal digits.

use std::fs;
use std::io::{ErrorKind as IoErrorKind, Write};
use std::path::Path;

use chrono::NaiveDate;
use isobar_base::fs::{beside, create_dir, parent, private_file};

use crate::{Error, ErrorKind, Result};

const FIRST_LINE: &str = "isobar-analytics salt 1";

type Salt = [u8; 32];

/// Returns the salt that the file has of this day; else writes the new one, and nothing has the old one any more.
pub(super) fn load_or_create(file: &Path, day: NaiveDate, new: Salt) -> Result<Salt> {
    let kept = load(file)?;
    if let Some((_, salt)) = kept.filter(|(of, _)| *of == day) {
        check_mode(file)?;
        return Ok(salt);
    }
    let Err(error) = replace(file, day, &new) else { return Ok(new) };
    if kept.is_some() {
        // Its day is over, also where no other salt can take its place.
        drop(fs::remove_file(file));
    }
    Err(error)
}

/// Returns the salt of the file with its day; `None` where there is no file or an empty one, as after a power loss.
fn load(file: &Path) -> Result<Option<(NaiveDate, Salt)>> {
    if fs::symlink_metadata(file).is_ok_and(|metadata| metadata.is_symlink()) {
        // A rename replaces the link, and its target would have the salt of a day that is over.
        let message = format!("{} is a symbolic link: choose the path to which it leads", file.display());
        return Err(Error::new(ErrorKind::Corrupt, message));
    }
    let text = match fs::read(file) {
        Ok(text) => text,
        Err(error) if error.kind() == IoErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(file, error)),
    };
    if text.is_empty() {
        return Ok(None);
    }
    let Some(loaded) = std::str::from_utf8(&text).ok().and_then(parse) else {
        let message = format!("{} is not a file of a salt: remove it, or choose another path", file.display());
        return Err(Error::new(ErrorKind::Corrupt, message));
    };
    Ok(Some(loaded))
}

fn parse(text: &str) -> Option<(NaiveDate, Salt)> {
    let mut lines = text.lines();
    if lines.next() != Some(FIRST_LINE) {
        return None;
    }
    let day = lines.next()?.parse().ok()?;
    let mut salt = Salt::default();
    hex::decode_to_slice(lines.next()?, &mut salt).ok()?;
    Some((day, salt))
}

/// Fails where others than the owner may read the file.
#[cfg(unix)]
fn check_mode(file: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(file).map_err(|error| Error::io(file, error))?.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let message = format!("{} may be read by others (mode {mode:o}), and has the salt: remove it", file.display());
    Err(Error::new(ErrorKind::PermissionDenied, message))
}

#[cfg(not(unix))]
fn check_mode(_: &Path) -> Result<()> {
    Ok(())
}

/// Replaces the file by a rename, so that there is always one of them, and each of them is whole.
fn replace(file: &Path, day: NaiveDate, salt: &Salt) -> Result<()> {
    create_dir(parent(file)).map_err(|error| Error::io(file, error))?;
    let next = beside(file, ".new");
    let written = write_new(&next, format!("{FIRST_LINE}\n{day}\n{}\n", hex::encode(salt)).as_bytes());
    written.and_then(|()| fs::rename(&next, file)).map_err(|error| {
        // The salt goes on in memory alone, and nothing would remove it here when its day is over.
        drop(fs::remove_file(&next));
        Error::io(file, error)
    })
}

/// Writes a file that was not there before, so that it has the mode of its creation. One that a killed process has left is removed.
fn write_new(file: &Path, text: &[u8]) -> std::io::Result<()> {
    if let Err(error) = fs::remove_file(file)
        && error.kind() != IoErrorKind::NotFound
    {
        return Err(error);
    }
    private_file().write(true).create_new(true).open(file)?.write_all(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn salt_that_cannot_be_kept_is_left_in_no_file() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("salt");
        fs::create_dir(&file).unwrap(); // no file can be renamed to it
        assert!(replace(&file, NaiveDate::MIN, &[7; 32]).is_err());
        assert!(!home.path().join("salt.new").exists());
    }
}
