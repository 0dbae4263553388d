//! A folder of files that are written whole, by names with slashes.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{create_dir, is_plain_name, parent, private_file, sync_dir};

/// Files of a folder by names: letters, digits, `-`, `_` and `.`, in parts that `/` separates and no `.` begins. A file is there whole and
/// durable, or not at all, and only its owner may read it.
///
/// ```
/// use isobar_base::fs::NamedFiles;
///
/// # let home = tempfile::tempdir()?;
/// let files = NamedFiles::new(home.path().join("backup")); // created when it is needed
/// files.put("app/1.log", b"bytes")?;
/// assert_eq!(files.list("app/")?, ["app/1.log"]);
/// assert_eq!(files.get("app/1.log")?.as_deref(), Some(&b"bytes"[..]));
/// files.remove("app/1.log")?;
/// assert_eq!(files.get("app/1.log")?, None);
/// assert!(files.put("../elsewhere", b"").is_err());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct NamedFiles {
    folder: PathBuf,
}

impl NamedFiles {
    /// The files of this folder, which need not exist yet.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Returns the path of the file of this name.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for a name with other letters, or with an empty part.
    pub fn path(&self, name: &str) -> io::Result<PathBuf> {
        if name.split('/').all(is_plain_name) {
            return Ok(self.folder.join(name));
        }
        Err(io::Error::new(io::ErrorKind::InvalidInput, format!("invalid name of a file: {name:?}")))
    }

    /// Writes a file in place of another one of its name. Writes of one name wait for each other, those of other processes, too; on a
    /// file system without locks they may not overlap.
    ///
    /// # Errors
    /// As [`path`](Self::path), and the system's; the earlier file is there still.
    pub fn put(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(name)?;
        create_dir(parent(&path))?;
        // A name with a point in front is not listed.
        let file_name = path.file_name().unwrap_or_default().to_string_lossy();
        let part = path.with_file_name(format!(".{file_name}"));
        let file = open_part(&part)?;
        let written = write_whole(&file, bytes).and_then(|()| std::fs::rename(&part, &path));
        // A part of a file would take up what is left of a full disk. It is removed under the lock, so that it is not another writer's.
        written.inspect_err(|_| drop(std::fs::remove_file(&part)))?;
        drop(file);
        sync_dir(parent(&path))
    }

    /// Reads a file; `None` where there is none of this name.
    ///
    /// # Errors
    /// As [`path`](Self::path), and the system's.
    pub fn get(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match std::fs::read(self.path(name)?) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Lists the names that begin with a prefix, in any order.
    ///
    /// # Errors
    /// The system's.
    pub fn list(&self, prefix: &str) -> io::Result<Vec<String>> {
        let folder = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
        let mut names = Vec::new();
        if folder.is_empty() {
            list_folder(&self.folder, "", &mut names)?;
        } else if let Ok(path) = self.path(folder) {
            list_folder(&path, &format!("{folder}/"), &mut names)?;
        }
        names.retain(|name| name.starts_with(prefix));
        Ok(names)
    }

    /// Removes a file, if there is one of this name. The removal is not synced: after a power loss the file may be there again.
    ///
    /// # Errors
    /// As [`path`](Self::path), and the system's.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        match std::fs::remove_file(self.path(name)?) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Opens the file that is renamed once it is written, empty and locked. One that a killed process has left behind is used again.
fn open_part(part: &Path) -> io::Result<File> {
    loop {
        let file = private_file().write(true).create(true).truncate(false).open(part)?;
        match file.lock() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // The file system has no locks.
            Err(_) => {}
            // The writer before has renamed or removed it: under its own name it is whole, and stays so.
            Ok(()) if !has_name(&file, part)? => continue,
            Ok(()) => {}
        }
        file.set_len(0)?;
        return Ok(file);
    }
}

/// Whether an open file has this name still.
fn has_name(file: &File, path: &Path) -> io::Result<bool> {
    let named = match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        named => named?,
    };
    let own = file.metadata()?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        Ok((named.dev(), named.ino()) == (own.dev(), own.ino()))
    }
    // Where files have no numbers, the time of their creation tells them apart.
    #[cfg(not(unix))]
    {
        Ok(named.created()? == own.created()?)
    }
}

fn write_whole(mut file: &File, bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes)?;
    file.sync_all()
}

/// Lists the files of a folder, and of those in it.
fn list_folder(folder: &Path, before: &str, names: &mut Vec<String>) -> io::Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        let kind = match entry.file_type() {
            // Removed since the folder was read, on a file system that has the kind in the file alone.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            kind => kind?,
        };
        if kind.is_dir() {
            list_folder(&entry.path(), &format!("{before}{name}/"), names)?;
        } else {
            names.push(format!("{before}{name}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_outside_the_folder_are_refused() {
        let home = tempfile::tempdir().unwrap();
        let files = NamedFiles::new(home.path().join("files"));
        for name in
            ["", "/", "/etc/passwd", "../up", "a/../b", "a//b", "a/", ".hidden", "a/.hidden", "a b", "a\\b", "ä"]
        {
            assert_eq!(files.put(name, b"").unwrap_err().kind(), io::ErrorKind::InvalidInput, "{name}");
            assert!(files.get(name).is_err() && files.remove(name).is_err(), "{name}");
        }
        assert!(!home.path().join("files").exists());
    }

    #[test]
    fn a_put_that_fails_leaves_nothing_behind() {
        let home = tempfile::tempdir().unwrap();
        let files = NamedFiles::new(home.path());
        files.put("a/b", b"there").unwrap();
        assert!(files.put("a", b"bytes").is_err(), "it is a folder");
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 1);
        assert_eq!(files.get("a/b").unwrap().as_deref(), Some(&b"there"[..]));
    }

    /// Each writer has a handle of its own, as another process has, and locks are those of handles.
    #[test]
    fn writes_of_one_name_wait_for_each_other() {
        let home = tempfile::tempdir().unwrap();
        let contents = ["a", "b", "c"].map(|letter| letter.repeat(200_000));
        std::thread::scope(|scope| {
            for content in &contents {
                let files = NamedFiles::new(home.path());
                scope.spawn(move || (0..20).for_each(|_| files.put("rules", content.as_bytes()).unwrap()));
            }
            let files = NamedFiles::new(home.path());
            for _ in 0..200 {
                let read = files.get("rules").unwrap();
                assert!(
                    read.is_none_or(|read| contents.iter().any(|content| content.as_bytes() == read)),
                    "a torn file"
                );
            }
        });
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 1, "no part is left");
    }

    #[test]
    fn part_of_a_writer_that_was_ended_is_used_again() {
        let home = tempfile::tempdir().unwrap();
        let files = NamedFiles::new(home.path());
        std::fs::write(home.path().join(".rules"), "broken off, and longer").unwrap();
        files.put("rules", b"whole").unwrap();
        assert_eq!(files.get("rules").unwrap().as_deref(), Some(&b"whole"[..]));
        assert!(!home.path().join(".rules").exists());
    }

    #[test]
    fn files_are_listed_by_prefix_and_replaced_whole() {
        let home = tempfile::tempdir().unwrap();
        let files = NamedFiles::new(home.path());
        assert_eq!(files.list("").unwrap(), Vec::<String>::new());
        for name in ["a/b/1", "a/b/2", "a/c", "ab"] {
            files.put(name, name.as_bytes()).unwrap();
        }
        std::fs::write(home.path().join("a/b/.3"), "broken off").unwrap();
        let listed = |prefix: &str| {
            let mut names = files.list(prefix).unwrap();
            names.sort_unstable();
            names
        };
        assert_eq!(listed(""), ["a/b/1", "a/b/2", "a/c", "ab"]);
        assert_eq!(listed("a"), ["a/b/1", "a/b/2", "a/c", "ab"]);
        assert_eq!(listed("a/b/"), ["a/b/1", "a/b/2"]);
        assert_eq!(listed("a/b/2"), ["a/b/2"]);
        assert_eq!(listed("none/"), Vec::<String>::new());
        assert_eq!(listed("../"), Vec::<String>::new());
        files.put("ab", b"another").unwrap();
        assert_eq!(files.get("ab").unwrap().as_deref(), Some(&b"another"[..]));
        files.remove("ab").unwrap();
        files.remove("ab").unwrap();
    }
}
