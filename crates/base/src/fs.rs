//! Files and folders that survive a power loss, and that nobody but their owner can read.

mod named;

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

pub use named::NamedFiles;

/// Creates a folder and the missing ones above it. Those that it creates are durable before this returns, and only their owner may
/// enter them (mode 0700). Existing folders, and an empty path, stay as they are.
///
/// ```
/// # let home = tempfile::tempdir()?;
/// let folder = home.path().join("state/buckets");
/// isobar_base::fs::create_dir(&folder)?;
/// isobar_base::fs::create_dir(&folder)?; // it is there already
/// assert!(folder.is_dir());
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// The system's, when a folder cannot be created or synced, or a file has its name. What has been created until then remains.
pub fn create_dir(path: &Path) -> io::Result<()> {
    let mut create = |folder: &Path| match private_dir().create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        created => created,
    };
    create_dir_with(path, &mut create, &mut sync_dir)
}

/// As [`create_dir`], by a function that creates one folder and one that syncs the names in a folder, for code that puts something
/// between itself and the file system. Another process may have created the folder meanwhile: `create` takes that for success.
///
/// # Errors
/// Those of the functions.
///
/// ```
/// use std::io;
/// use std::path::Path;
///
/// # let home = tempfile::tempdir()?;
/// // A test's: how often does it sync?
/// let mut syncs = 0;
/// let mut create = |path: &Path| std::fs::create_dir(path);
/// let mut sync = |_: &Path| {
///     syncs += 1;
///     Ok::<_, io::Error>(())
/// };
/// isobar_base::fs::create_dir_with(&home.path().join("a/b/c"), &mut create, &mut sync)?;
/// assert_eq!(syncs, 3);
/// # Ok::<(), io::Error>(())
/// ```
pub fn create_dir_with<E>(
    path: &Path,
    create: &mut impl FnMut(&Path) -> Result<(), E>,
    sync: &mut impl FnMut(&Path) -> Result<(), E>,
) -> Result<(), E> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    let above = parent(path);
    create_dir_with(above, create, sync)?;
    create(path)?;
    sync(above)
}

/// Makes the names in a folder durable: files and folders that were created in it, renamed or removed. An empty path is the current
/// folder.
///
/// # Errors
/// The system's. What was not synced may be gone after a power loss; another try proves nothing.
///
/// ```
/// # let home = tempfile::tempdir()?;
/// std::fs::write(home.path().join("new"), "content")?;
/// std::fs::File::open(home.path().join("new"))?.sync_all()?; // the content,
/// isobar_base::fs::sync_dir(home.path())?; // and the name
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn sync_dir(path: &Path) -> io::Result<()> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    File::open(path)?.sync_all()
}

/// Returns the folder that a path is in: `.` for a bare name, and the root for the root.
///
/// ```
/// use std::path::Path;
///
/// use isobar_base::fs::parent;
///
/// // `Path::parent` answers an empty path, which cannot be opened.
/// assert_eq!(parent(Path::new("site.sqlite")), Path::new("."));
/// ```
#[must_use]
pub fn parent(path: &Path) -> &Path {
    match path.parent() {
        None => path,
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
    }
}

/// Reports whether a text can be the name of a file or folder within another folder: ASCII letters, digits, `-`, `_` and `.`, at least
/// one, and no `.` in front. Such a text is a name on every file system, and not a longer path.
///
/// ```
/// use isobar_base::fs::is_plain_name;
///
/// assert!(is_plain_name("app-1.sqlite"));
/// assert!(["", "..", ".hidden", "a/b", "a\\b", "C:", "a b"].iter().all(|name| !is_plain_name(name)));
/// ```
#[must_use]
pub fn is_plain_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !name.is_empty() && !name.starts_with('.') && name.bytes().all(is_plain)
}

/// Options that create files which only their owner can read and write (mode 0600). What is opened for is still to be said:
/// `private_file().write(true).create_new(true)`.
///
/// ```
/// use std::io::Write;
///
/// # let home = tempfile::tempdir()?;
/// let path = home.path().join("secret");
/// isobar_base::fs::private_file().write(true).create_new(true).open(&path)?.write_all(b"key")?;
/// # #[cfg(unix)]
/// assert_eq!(std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path)?.permissions()) & 0o777, 0o600);
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use]
pub fn private_file() -> OpenOptions {
    #[cfg_attr(not(unix), allow(unused_mut, reason = "only Unix has modes"))]
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// A builder of folders that only their owner may enter (mode 0700).
#[must_use]
pub fn private_dir() -> DirBuilder {
    #[cfg_attr(not(unix), allow(unused_mut, reason = "only Unix has modes"))]
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
}

/// Takes from everyone but the owner what they may do with a file or folder; links are followed. Without effect where there are no
/// modes.
///
/// # Errors
/// The system's: the path does not exist, or belongs to another user.
///
/// ```
/// # let home = tempfile::tempdir()?;
/// let path = home.path().join("secret");
/// std::fs::write(&path, "key")?; // as everyone's files are
/// isobar_base::fs::restrict(&path)?;
/// # #[cfg(unix)]
/// assert_eq!(std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path)?.permissions()) & 0o077, 0);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn restrict(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(path)?.permissions().mode();
        if mode & 0o077 != 0 {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode & 0o7700))?;
        }
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

/// Returns the path with a suffix behind its name.
///
/// ```
/// use std::path::Path;
///
/// assert_eq!(isobar_base::fs::beside(Path::new("d1/app.sqlite"), ".new"), Path::new("d1/app.sqlite.new"));
/// ```
#[must_use]
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// A file that SQLite keeps beside a database, under the database's name with a suffix. Whatever has such a name belongs to SQLite: it
/// replays a log and a journal into the database that it finds beside them.
///
/// ```
/// use std::path::Path;
///
/// use isobar_base::fs::SqliteFile;
///
/// assert_eq!(SqliteFile::Wal.beside(Path::new("d1/app.sqlite")), Path::new("d1/app.sqlite-wal"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SqliteFile {
    /// The write-ahead log: committed pages that are not in the database yet.
    Wal,
    /// The index of the write-ahead log, in shared memory.
    Shm,
    /// The rollback journal, where there is no write-ahead log: pages as they were before a transaction.
    Journal,
}

impl SqliteFile {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Wal, Self::Shm, Self::Journal];

    /// Returns the suffix behind the database's name.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Wal => "-wal",
            Self::Shm => "-shm",
            Self::Journal => "-journal",
        }
    }

    /// Returns the path of this file beside a database.
    #[must_use]
    pub fn beside(self, database: &Path) -> PathBuf {
        beside(database, self.suffix())
    }

    /// Returns the paths of all of them beside a database.
    ///
    /// ```
    /// use std::path::Path;
    ///
    /// use isobar_base::fs::SqliteFile;
    ///
    /// // A database that is moved takes them along, its log first.
    /// let files = SqliteFile::all_beside(Path::new("app.sqlite"));
    /// assert_eq!(files, ["app.sqlite-wal", "app.sqlite-shm", "app.sqlite-journal"].map(Path::new));
    /// ```
    #[must_use]
    pub fn all_beside(database: &Path) -> [PathBuf; 3] {
        Self::ALL.map(|file| file.beside(database))
    }

    /// Returns the name of the database that a file of this name is beside; `None` where it is none of them.
    ///
    /// ```
    /// use isobar_base::fs::SqliteFile;
    ///
    /// assert_eq!(SqliteFile::database_of("app.sqlite-wal"), Some("app.sqlite"));
    /// assert_eq!(SqliteFile::database_of("app.sqlite"), None);
    /// ```
    #[must_use]
    pub fn database_of(name: &str) -> Option<&str> {
        Self::ALL.iter().find_map(|file| name.strip_suffix(file.suffix()))
    }
}

/// Room on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes that an unprivileged process may still write.
    pub free: u64,
    /// Bytes of the whole file system.
    pub total: u64,
}

/// Asks the file system of a path for its room. `None` where the system does not report any.
///
/// # Errors
/// The system's: the path does not exist, for example.
///
/// ```
/// use std::path::Path;
///
/// if let Some(space) = isobar_base::fs::space(Path::new("."))? {
///     assert!(space.free <= space.total);
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn space(path: &Path) -> io::Result<Option<Space>> {
    #[cfg(unix)]
    {
        let system = rustix::fs::statvfs(path)?;
        let bytes = |blocks: u64| blocks.saturating_mul(system.f_frsize);
        Ok(Some(Space { free: bytes(system.f_bavail), total: bytes(system.f_blocks) }))
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    fn mode(path: &Path) -> u32 {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn missing_folders_are_created_from_the_top_and_each_is_synced_above() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("a/b/c");
        let log = std::cell::RefCell::new(Vec::new());
        let shown = |path: &Path| path.strip_prefix(home.path()).unwrap().display().to_string();
        let mut create = |path: &Path| {
            log.borrow_mut().push(format!("create {}", shown(path)));
            std::fs::create_dir(path)
        };
        let mut sync = |path: &Path| {
            log.borrow_mut().push(format!("sync {}", shown(path)));
            Ok(())
        };
        create_dir_with(&folder, &mut create, &mut sync).unwrap();
        create_dir_with(&folder, &mut create, &mut sync).unwrap();
        assert_eq!(*log.borrow(), ["create a", "sync ", "create a/b", "sync a", "create a/b/c", "sync a/b"]);
    }

    #[test]
    fn a_folder_that_cannot_be_created_or_synced_ends_it() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("a/b");
        let refused = create_dir_with(&folder, &mut |_| Err("create"), &mut |_| Ok(()));
        assert_eq!(refused, Err("create"));
        let unsynced = create_dir_with(&folder, &mut |_| Ok(()), &mut |_| Err("sync"));
        assert_eq!(unsynced, Err("sync"));
        std::fs::write(home.path().join("file"), "").unwrap();
        assert!(create_dir(&home.path().join("file/below")).is_err());
        let taken = create_dir(&home.path().join("file")).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn a_folder_that_another_process_creates_first_is_taken() {
        for _ in 0..50 {
            let home = tempfile::tempdir().unwrap();
            let folder = home.path().join("a/b/c");
            std::thread::scope(|scope| {
                let created: Vec<_> = (0..4).map(|_| scope.spawn(|| create_dir(&folder))).collect();
                created.into_iter().for_each(|created| created.join().unwrap().unwrap());
            });
        }
    }

    #[test]
    #[cfg(unix)]
    fn what_is_created_is_its_owners_alone() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("a/b");
        create_dir(&folder).unwrap();
        assert_eq!((mode(&home.path().join("a")), mode(&folder)), (0o700, 0o700));
        private_file().write(true).create_new(true).open(folder.join("file")).unwrap();
        assert_eq!(mode(&folder.join("file")), 0o600);
    }

    #[test]
    #[cfg(unix)]
    fn restricting_takes_what_others_may_do_and_nothing_of_the_owners() {
        use std::os::unix::fs::PermissionsExt;
        let home = tempfile::tempdir().unwrap();
        for (before, after) in [(0o755, 0o700), (0o640, 0o600), (0o500, 0o500)] {
            std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(before)).unwrap();
            restrict(home.path()).unwrap();
            assert_eq!(mode(home.path()), after);
        }
        assert_eq!(restrict(&home.path().join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn the_parent_of_a_bare_name_is_the_current_folder() {
        let parents = ["a/b", "a", "/", "/a", ""].map(|path| parent(Path::new(path)));
        assert_eq!(parents, ["a", ".", "/", "/", ""].map(Path::new));
    }

    #[test]
    #[cfg(unix)]
    fn the_current_folder_has_room() {
        let space = space(Path::new(".")).unwrap().unwrap();
        assert!(space.free <= space.total && space.total > 0);
    }
}
