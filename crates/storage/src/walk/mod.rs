//! Walking a folder: one mechanism and one policy for everything that reads or writes whole folders.
//!
//! - State is never part of a folder: state folders of isobar and wrangler (`.isobar`, `.wrangler`), keys and secrets (`keyring`,
//!   `.dev.vars*`, `.env*`), and files of the machine (`.git`, `.DS_Store`, `Thumbs.db`).
//! - A folder under another name is isobar's state if it is configured as such ([`WalkOptions::state`]), if it has the mark that
//!   every command leaves in the state folder it opens ([`MARKER`]), or if it has what only isobar makes: a bucket (`packs` with
//!   numbered packs, or beside `blobs` with its 256 folders) or a namespace of sessions (`host.lock` beside `index.db` or `objects`),
//!   itself or in its folders `r2` and `sessions`. Files that may as well be a user's are no sign of state: a repository with
//!   `d1/site.sqlite` or `index.db` is published whole. Databases alone, in a folder without a mark, are published, too.
//! - Symbolic links to files and folders that stay inside the root are followed. A link that leads out is refused by name unless
//!   [`WalkOptions::follow_links`] is set. A link back to a folder above itself is left out.
//! - FIFOs, sockets and devices are left out.
//! - Names that no key can hold, dangling links and folders that cannot be read are refused by name.
//!
//! Entries left out are in [`Walk::left_out`], refused ones in [`Walk::refused`]: a caller reports the former and fails on the
//! latter ([`Walk::refuse`]), unless its filter does not take it.

#[cfg(unix)]
mod beneath;
#[cfg(not(unix))]
#[path = "beneath_std.rs"]
mod beneath;
mod report;
mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::files::blocking;
use crate::{Error, ErrorKind, Result, limits};

pub(crate) use beneath::{NewFile, open_regular};
pub use report::{LeftOut, Reason, RefusalReason, Refused};
pub(crate) use state::States;
pub use state::{MARKER, create_state_folder, state_of_name};

/// Entries that a walk may reach through links before it gives up: links to folders can multiply them without end.
const MAX_LINKED: usize = 1_000_000;

/// Policy of a walk.
///
/// ```
/// use isobar_storage::walk::{WalkOptions, walk};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// std::fs::write(folder.path().join("index.html"), "")?;
/// std::fs::write(folder.path().join(".dev.vars"), "TOKEN=secret")?;
/// let walked = walk(folder.path(), &WalkOptions::default().with_follow_links(true)).await?;
/// assert_eq!(walked.files.into_keys().collect::<Vec<_>>(), ["index.html"]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct WalkOptions {
    /// Whether links that lead out of the folder are followed as those that stay inside. Default: false.
    pub follow_links: bool,
    /// Files and folders that hold state, besides what is recognised by name and by content. They need not exist. Default: none.
    pub state: Vec<PathBuf>,
}

impl WalkOptions {
    /// Whether links that lead out of the folder are followed. State is left out wherever a link leads.
    ///
    /// ```
    /// use isobar_storage::walk::WalkOptions;
    ///
    /// assert!(WalkOptions::default().with_follow_links(true).follow_links);
    /// ```
    #[must_use]
    pub fn with_follow_links(mut self, follow_links: bool) -> Self {
        self.follow_links = follow_links;
        self
    }

    /// Files and folders that hold state, in place of those that were given before.
    ///
    /// ```
    /// use isobar_storage::walk::{Reason, WalkOptions, walk};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// std::fs::create_dir(folder.path().join("uploads"))?;
    /// std::fs::write(folder.path().join("index.html"), "")?;
    /// let options = WalkOptions::default().with_state([folder.path().join("uploads")]);
    /// let walked = walk(folder.path(), &options).await?;
    /// assert_eq!((walked.files.len(), walked.left_out[0].reason), (1, Reason::State));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_state(mut self, state: impl IntoIterator<Item = PathBuf>) -> Self {
        self.state = state.into_iter().collect();
        self
    }
}

/// A folder's files, and what of it takes no part.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Walk {
    /// The files by their path below the folder, with slashes.
    pub files: BTreeMap<String, WalkedFile>,
    /// The folders by their path below the folder, with slashes.
    pub folders: BTreeSet<String>,
    /// Entries that are left out, by name.
    pub left_out: Vec<LeftOut>,
    /// Entries that cannot take part, by name.
    pub refused: Vec<Refused>,
}

/// A file of a [`Walk`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WalkedFile {
    /// Size in bytes.
    pub size: u64,
    /// Time of the last modification.
    pub modified: SystemTime,
    /// Whether the path to it leads through a link to a folder.
    pub is_linked: bool,
}

impl Walk {
    /// Fails if something is refused that `take` takes; the rest of it counts as left out. A folder that cannot be walked is
    /// asked for with a slash at its end.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] with the names.
    ///
    /// ```
    /// use isobar_storage::walk::{WalkOptions, walk};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # #[cfg(unix)] {
    /// std::os::unix::fs::symlink("/no/such/file", folder.path().join("dangling"))?;
    /// let mut walked = walk(folder.path(), &WalkOptions::default()).await?;
    /// assert!(walked.clone().refuse(&|_| true).is_err());
    /// walked.refuse(&|name| name != "dangling")?; // a caller who does not want it
    /// assert_eq!(walked.left_out[0].name, "dangling");
    /// # }
    /// # Ok(())
    /// # }
    /// ```
    pub fn refuse(&mut self, take: &dyn Fn(&str) -> bool) -> Result<()> {
        let (taken, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.refused).into_iter().partition(|refused| {
            if refused.is_folder { take(&format!("{}/", refused.name)) } else { take(&refused.name) }
        });
        self.left_out.extend(rest.into_iter().map(|refused| LeftOut { name: refused.name, reason: Reason::Filtered }));
        self.left_out.sort();
        if taken.is_empty() { Ok(()) } else { Err(report::refusal(&taken)) }
    }
}

/// Walks a folder.
///
/// # Errors
/// When the folder cannot be read; [`ErrorKind::InvalidArgument`] when it is inside a state folder, or when its links reach more
/// than a million entries.
///
/// ```
/// use isobar_storage::walk::{WalkOptions, walk};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// std::fs::create_dir(folder.path().join("css"))?;
/// std::fs::write(folder.path().join("css/main.css"), "a {}")?;
/// let walked = walk(folder.path(), &WalkOptions::default()).await?;
/// assert_eq!((walked.files["css/main.css"].size, walked.folders.contains("css")), (4, true));
/// # Ok(())
/// # }
/// ```
pub async fn walk(root: impl AsRef<Path>, options: &WalkOptions) -> Result<Walk> {
    let root = root.as_ref().to_owned();
    let options = options.clone();
    blocking(move || Root::open(&root, &options)?.walk()).await
}

/// A folder that is walked, and whose files are opened without leaving it.
#[derive(Debug, Clone)]
pub(crate) struct Root {
    /// Without links.
    path: Arc<Path>,
    states: Arc<States>,
    follow_links: bool,
}

impl Root {
    pub(crate) fn open(root: &Path, options: &WalkOptions) -> Result<Self> {
        let failed = |error| plain(format_args!("cannot open {}", root.display()), error);
        let path: Arc<Path> = fs::canonicalize(root).map_err(failed)?.into();
        fs::read_dir(&path).map_err(failed)?;
        let states = States::new(&options.state);
        states.check_root(root, &path)?;
        Ok(Self { path, states: Arc::new(states), follow_links: options.follow_links })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn walk(&self) -> Result<Walk> {
        Walker { root: self, found: Walk::default(), linked: 0, folders: Vec::new() }.walk()
    }

    /// The file of a name below the root, if there is one and it takes part: where it is without links.
    pub(crate) fn find(&self, name: &str) -> io::Result<Option<(PathBuf, Metadata)>> {
        let real = match fs::canonicalize(self.path.join(name)) {
            Err(error) if is_absent(&error) => return Ok(None),
            real => real?,
        };
        let leads_out = !real.starts_with(&self.path) && !self.follow_links;
        if leads_out || self.states.above(&real, &self.path).is_some() {
            return Ok(None);
        }
        let meta = fs::metadata(&real)?;
        Ok(meta.is_file().then_some((real, meta)))
    }

    /// Opens a file by its name below the root, wherever its links lead by now: never outside, never into state, and only if it
    /// is a regular file.
    pub(crate) fn open_file(&self, name: &str) -> Result<File> {
        let shown = self.path.join(name);
        let failed = |error| plain(format_args!("cannot read {}", shown.display()), error);
        let (real, _) = self.find(name).map_err(failed)?.ok_or_else(|| {
            let message = format!("cannot read {}: it is not a file of this folder any more", shown.display());
            Error::new(ErrorKind::InvalidArgument, message)
        })?;
        let file = match real.strip_prefix(&self.path) {
            Ok(below) => beneath::open_file(&self.path, below),
            Err(_) => beneath::open_regular(&real),
        };
        file.map_err(failed)
    }

    /// Makes a file beside the place of a name below the root, and the folders above it.
    pub(crate) fn create_file(&self, name: &str) -> Result<NewFile> {
        let (folder, _) = name.rsplit_once('/').unwrap_or(("", name));
        let base = name.rsplit('/').next().unwrap_or(name);
        let (root, below) = self.place(folder)?;
        beneath::create(&root, &below, base)
            .map_err(|error| plain(format_args!("cannot create {}", self.path.join(name).display()), error))
    }

    /// Makes a folder below the root, and those above it.
    pub(crate) fn create_folder(&self, name: &str) -> Result<()> {
        let (root, below) = self.place(name)?;
        beneath::create_folder(&root, &below)
            .map_err(|error| plain(format_args!("cannot create {}", self.path.join(name).display()), error))
    }

    /// Removes a file, or the link that stands in its place.
    pub(crate) fn remove_file(&self, name: &str) -> Result<()> {
        let (folder, base) = name.rsplit_once('/').unwrap_or(("", name));
        match beneath::remove(&self.path, Path::new(folder), base) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(plain(format_args!("cannot remove {}", self.path.join(name).display()), error))
            }
            _ => Ok(()),
        }
    }

    /// Where a folder below the root really is, as far as it exists: a folder without links, and the path below it.
    fn place(&self, folder: &str) -> Result<(PathBuf, PathBuf)> {
        let wanted = self.path.join(folder);
        let failed = |error| plain(format_args!("cannot create {}", wanted.display()), error);
        let real = real_path(&wanted).map_err(failed)?;
        if let Some(reason) = self.states.above(&real, &self.path) {
            let message = format!("{} is {reason}; nothing is written there", wanted.display());
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        match real.strip_prefix(&self.path) {
            Ok(below) => Ok((self.path.to_path_buf(), below.to_owned())),
            Err(_) if self.follow_links => Ok((PathBuf::from("/"), real.strip_prefix("/").unwrap_or(&real).to_owned())),
            Err(_) => Err(report::leads_out(&wanted, &real)),
        }
    }
}

/// Follows links as far as the path exists; what does not is appended as it is.
pub(crate) fn real_path(path: &Path) -> io::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    let mut missing = PathBuf::new();
    for existing in path.ancestors() {
        match fs::canonicalize(existing) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !existing.is_symlink() => {
                let name = existing.file_name().unwrap_or_default();
                missing = if missing.as_os_str().is_empty() { name.into() } else { Path::new(name).join(&missing) };
            }
            Ok(real) if missing.as_os_str().is_empty() => return Ok(real),
            Ok(real) => return Ok(real.join(missing)),
            Err(error) => return Err(error),
        }
    }
    Ok(path)
}

/// A folder that is still to be read, and those above it, as they are without links.
struct Folder {
    real: PathBuf,
    prefix: String,
    is_linked: bool,
    above: Option<Arc<Chain>>,
}

struct Chain {
    real: PathBuf,
    above: Option<Arc<Chain>>,
}

struct Walker<'r> {
    root: &'r Root,
    found: Walk,
    linked: usize,
    folders: Vec<Folder>,
}

impl Walker<'_> {
    fn walk(mut self) -> Result<Walk> {
        let real = self.root.path.to_path_buf();
        self.folders.push(Folder { real, prefix: String::new(), is_linked: false, above: None });
        while let Some(folder) = self.folders.pop() {
            let failed = |error| plain(format_args!("cannot read {}", folder.real.display()), error);
            let entries = match fs::read_dir(&folder.real) {
                Err(error) if !folder.prefix.is_empty() => {
                    let name = folder.prefix.trim_end_matches('/').to_owned();
                    self.refuse(name, true, RefusalReason::Unreadable(cause(&error)));
                    continue;
                }
                entries => entries.map_err(failed)?,
            };
            let chain = Arc::new(Chain { real: folder.real.clone(), above: folder.above.clone() });
            for entry in entries {
                self.entry(&folder, &chain, &entry.map_err(failed)?)?;
            }
        }
        self.found.left_out.sort();
        self.found.refused.sort();
        Ok(self.found)
    }

    fn entry(&mut self, folder: &Folder, chain: &Arc<Chain>, entry: &fs::DirEntry) -> Result<()> {
        let file_name = entry.file_name();
        let name = format!("{}{}", folder.prefix, file_name.to_string_lossy());
        let states = &self.root.states;
        // The entry itself first: a link with the name of state does not belong to the folder.
        let Ok(meta) = entry.metadata() else {
            return Ok(()); // It is gone again.
        };
        if let Some(reason) = states.of_entry(&entry.path(), &meta) {
            self.found.left_out.push(LeftOut { name, reason });
            return Ok(());
        }
        if file_name.to_str().is_none() {
            self.refuse(name, meta.is_dir(), RefusalReason::NotUtf8);
            return Ok(());
        }
        if name.len() > limits::KEY_BYTES {
            self.refuse(name, meta.is_dir(), RefusalReason::TooLong);
            return Ok(());
        }
        let (real, meta, is_link) = if meta.is_symlink() {
            match self.follow(&entry.path()) {
                Ok((real, meta)) => (real, meta, true),
                Err(Unfollowed::LeftOut(reason)) => {
                    self.found.left_out.push(LeftOut { name, reason });
                    return Ok(());
                }
                Err(Unfollowed::Refused(is_folder, reason)) => {
                    self.refuse(name, is_folder, reason);
                    return Ok(());
                }
            }
        } else {
            (entry.path(), meta, false)
        };
        if folder.is_linked || is_link {
            self.count_linked()?;
        }
        if meta.is_dir() {
            if is_above(chain, &real) {
                self.found.left_out.push(LeftOut { name, reason: Reason::Loop });
                return Ok(());
            }
            self.found.folders.insert(name.clone());
            let above = Some(Arc::clone(chain));
            let is_linked = folder.is_linked || is_link;
            self.folders.push(Folder { real, prefix: name + "/", is_linked, above });
        } else if meta.is_file() {
            let modified = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            let file = WalkedFile { size: meta.len(), modified, is_linked: folder.is_linked };
            self.found.files.insert(name, file);
        } else {
            self.found.left_out.push(LeftOut { name, reason: Reason::Special(kind_of(&meta)) });
        }
        Ok(())
    }

    /// Counts an entry that was reached through a link.
    fn count_linked(&mut self) -> Result<()> {
        self.linked += 1;
        if self.linked <= MAX_LINKED {
            return Ok(());
        }
        let message = format!("the links below {} reach more than {MAX_LINKED} entries", self.root.path.display());
        Err(Error::new(ErrorKind::InvalidArgument, message))
    }

    fn follow(&self, link: &Path) -> Result<(PathBuf, Metadata), Unfollowed> {
        let target = || fs::read_link(link).unwrap_or_default();
        let refused = |reason| Unfollowed::Refused(false, reason);
        let real = match fs::canonicalize(link) {
            Err(error) if is_absent(&error) => return Err(refused(RefusalReason::Dangling(target()))),
            Err(error) => return Err(refused(RefusalReason::Unreadable(cause(&error)))),
            Ok(real) => real,
        };
        if let Some(reason) = self.root.states.above(&real, &self.root.path) {
            return Err(Unfollowed::LeftOut(reason));
        }
        let meta = fs::metadata(&real).map_err(|error| refused(RefusalReason::Unreadable(cause(&error))))?;
        if !real.starts_with(&self.root.path) && !self.root.follow_links {
            return Err(Unfollowed::Refused(meta.is_dir(), RefusalReason::LeadsOut(real)));
        }
        Ok((real, meta))
    }

    fn refuse(&mut self, name: String, is_folder: bool, reason: RefusalReason) {
        self.found.refused.push(Refused { name, is_folder, reason });
    }
}

enum Unfollowed {
    LeftOut(Reason),
    Refused(bool, RefusalReason),
}

fn is_above(chain: &Arc<Chain>, real: &Path) -> bool {
    let mut at = Some(chain);
    while let Some(folder) = at {
        if folder.real == real {
            return true;
        }
        at = folder.above.as_ref();
    }
    false
}

#[cfg(unix)]
fn kind_of(meta: &Metadata) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    let kind = meta.file_type();
    match () {
        () if kind.is_fifo() => "a FIFO",
        () if kind.is_socket() => "a socket",
        () => "a device",
    }
}

#[cfg(not(unix))]
fn kind_of(_: &Metadata) -> &'static str {
    "not a regular file"
}

/// Whether a file of this name cannot be there.
fn is_absent(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidFilename, InvalidInput, NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory | InvalidFilename | InvalidInput)
}

/// An I/O error in words, without the system's number.
fn cause(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or folder".to_owned(),
        _ => text.to_owned(),
    }
}

/// An error of the user's own file system: what was done to which path, and why it failed; no code of R2's.
pub(crate) fn plain(what: impl std::fmt::Display, error: io::Error) -> Error {
    let text = format!("{what}: {}", cause(&error));
    Error::io("", error).with_message(text).without_code()
}
