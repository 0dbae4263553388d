//! Recovery: frames that a crash has left in the logs are put back into the write-ahead logs.
//!
//! Reading comes first, all of it, and nothing is changed until every log has been understood. Then each database's
//! frames are written to their places in its write-ahead log, as they were, and synced; the logs are removed last,
//! the older before the newer. So a crash during recovery leaves logs that say the same, and running it again does
//! the same.
//!
//! A batch that is not whole is the end of its log: it was being written when the power went, and nothing that it
//! has was acknowledged. A whole one behind it shows that this is not so, and the log is damaged.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use isobar_base::fs::SqliteFile;

use super::delta;
use super::disk::{Disk, DiskFile};
use super::format::{Batch, FRAME_HEADER, Found, LoggedFrame, Record, SECTOR, frame_offset};

/// Outcome of [`recover`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovered {
    /// Databases that the logs name: they had commits since their logs were last emptied.
    pub databases: usize,
    /// Frames that were put back.
    pub frames: u64,
    /// Databases whose write-ahead logs could not be written, by name, and why. Their frames are kept in a log of their own, and the
    /// next recovery tries again. Until then they must not be opened.
    pub withheld: Vec<(String, String)>,
}

/// A failure of [`recover`]; the logs are as they were.
#[derive(Debug)]
#[non_exhaustive]
pub enum RecoveryError {
    /// A log cannot be read, kept or removed.
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A log is damaged, and what was acknowledged is missing. Whoever gives that up moves the journal's folder away.
    Damaged {
        /// The log.
        path: PathBuf,
        /// How that shows.
        why: String,
    },
}

impl fmt::Display for RecoveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => write!(f, "the journal {} cannot be recovered: {source}", path.display()),
            Self::Damaged { path, why } => write!(f, "the journal {} is damaged: {why}", path.display()),
        }
    }
}

impl std::error::Error for RecoveryError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Damaged { .. } => None,
        }
    }
}

/// Puts what the logs in `folder` have back into the write-ahead logs of the databases, whose names are paths below `databases`,
/// makes that durable, and removes the logs. To be run before any of the databases is opened, and while no journal is open in the
/// folder. Run
/// again after a crash of its own, it does the same.
///
/// ```
/// use isobar_sqlite::journal::{Recovered, SystemDisk, recover};
///
/// # let root = tempfile::tempdir()?;
/// # let root = root.path();
/// // After an orderly end, and the first time, there is nothing to do.
/// assert_eq!(recover(&root.join("journal"), root, &SystemDisk)?, Recovered::default());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`RecoveryError`]: no database may be opened. A database that alone cannot be written is [withheld](Recovered::withheld).
pub fn recover(folder: &Path, databases: &Path, disk: &dyn Disk) -> Result<Recovered, RecoveryError> {
    let failed = |path: &Path, source| RecoveryError::Io { path: path.to_owned(), source };
    let paths = match logs(folder) {
        Ok(paths) if !paths.is_empty() => paths,
        Ok(_) => return Ok(Recovered::default()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Recovered::default()),
        Err(error) => return Err(failed(folder, error)),
    };
    let mut bytes = Vec::new();
    for path in paths {
        let read = read(disk, &path).map_err(|error| failed(&path, error))?;
        bytes.push((path, read));
    }
    let mut chains = bytes.iter().map(|(path, bytes)| Chain::find(path, bytes)).collect::<Result<Vec<_>, _>>()?;
    // The older first, in what is put back and in what is removed: an older one alone would undo what a newer one has said.
    chains.sort_by_key(|chain| (chain.run, chain.first));
    for pair in chains.windows(2) {
        if pair[0].run == pair[1].run && pair[0].run.is_some() && pair[0].end != pair[1].first {
            let why = format!("batches {} to {} are missing", pair[0].end, pair[1].first);
            return Err(RecoveryError::Damaged { path: pair[1].path.to_owned(), why });
        }
    }
    let mut names = BTreeMap::<&str, Vec<Item<'_>>>::new();
    for chain in &chains {
        chain.read(&mut names)?;
    }
    let mut recovered = Recovered { databases: names.len(), ..Recovered::default() };
    for (name, items) in &names {
        match put_back(name, items, databases, disk) {
            Ok(frames) => recovered.frames += frames,
            Err(error) => {
                keep(name, items, folder, disk).map_err(|error| failed(folder, error))?;
                recovered.withheld.push(((*name).to_owned(), error.to_string()));
            }
        }
    }
    for chain in &chains {
        disk.remove(chain.path).and_then(|()| disk.sync_folder(folder)).map_err(|error| failed(chain.path, error))?;
    }
    drop(std::fs::remove_dir(folder)); // logs that are kept may be in it
    Ok(recovered)
}

/// The logs in the journal's folder.
fn logs(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn read(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open(path)?;
    let length = usize::try_from(file.length()?).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    file.read_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// The batches of a log that count.
struct Chain<'l> {
    path: &'l Path,
    /// The journal's run; `None` if there is no batch.
    run: Option<u64>,
    /// Number of the first batch, and of the one that would follow the last.
    first: u64,
    end: u64,
    batches: Vec<&'l [u8]>,
}

/// A record of one database.
#[derive(Clone, Copy)]
enum Item<'l> {
    Header(&'l [u8]),
    Frame(LoggedFrame<'l>),
}

impl<'l> Chain<'l> {
    /// Follows the batches from the beginning. The first that is not whole ends them: it was not synced, so nothing follows it. If
    /// something does, the log is damaged.
    fn find(path: &'l Path, log: &'l [u8]) -> Result<Self, RecoveryError> {
        let mut chain = Self { path, run: None, first: 0, end: 0, batches: Vec::new() };
        let mut offset = 0;
        while let Some(batch) = Found::at(log, offset) {
            match chain.run {
                None => {
                    chain.run = Some(batch.run);
                    chain.first = batch.number;
                }
                Some(run) if run == batch.run && batch.number == chain.end => {}
                Some(_) => break, // of an earlier use of the log
            }
            chain.end = batch.number + 1;
            chain.batches.push(batch.records);
            offset += batch.size();
        }
        let later = (offset..log.len()).step_by(SECTOR).filter_map(|offset| Found::at(log, offset));
        match later.into_iter().find(|batch| Some(batch.run) == chain.run && batch.number >= chain.end) {
            None => Ok(chain),
            Some(batch) => {
                let why = format!("batch {} is not whole, and batch {} is there", chain.end, batch.number);
                Err(RecoveryError::Damaged { path: path.to_owned(), why })
            }
        }
    }

    /// Adds what the batches say to what is known of each database.
    fn read(&self, names: &mut BTreeMap<&'l str, Vec<Item<'l>>>) -> Result<(), RecoveryError> {
        let wrong = || RecoveryError::Damaged {
            path: self.path.to_owned(),
            why: "a batch that is whole has a record that makes no sense".to_owned(),
        };
        let mut handles = BTreeMap::new();
        for mut records in self.batches.iter().copied() {
            while !records.is_empty() {
                let (handle, item) = match Record::take(&mut records).ok_or_else(wrong)? {
                    Record::Name { handle, name } => {
                        handles.insert(handle, name);
                        names.entry(name).or_default();
                        continue;
                    }
                    Record::Header { handle, header } => (handle, Item::Header(header)),
                    Record::Frame { handle, frame } => (handle, Item::Frame(frame)),
                };
                let items = handles.get(&handle).and_then(|name| names.get_mut(name)).ok_or_else(wrong)?;
                if matches!(item, Item::Header(_)) {
                    items.clear(); // all of the write-ahead log before is in the database
                }
                items.push(item);
            }
        }
        Ok(())
    }
}

/// Writes a database's frames into its write-ahead log, durably. Returns their number.
fn put_back(name: &str, items: &[Item<'_>], databases: &Path, disk: &dyn Disk) -> io::Result<u64> {
    if items.is_empty() {
        return Ok(0);
    }
    let path = wal_path(name, databases)?;
    let (file, is_new) = match disk.open(&path) {
        Ok(file) => (file, false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => (disk.create(&path)?, true),
        Err(error) => return Err(error),
    };
    let mut frames = 0;
    for item in items {
        match item {
            Item::Header(header) => file.write_at(header, 0)?,
            Item::Frame(frame) => {
                put_frame(&file, frame)?;
                frames += 1;
            }
        }
    }
    file.sync()?;
    if is_new {
        disk.sync_folder(isobar_base::fs::parent(&path))?;
    }
    Ok(frames)
}

fn put_frame(file: &Arc<dyn DiskFile>, frame: &LoggedFrame<'_>) -> io::Result<()> {
    let mut bytes = vec![0; FRAME_HEADER + frame.page_size];
    let (header, page) = bytes.split_at_mut(FRAME_HEADER);
    header.copy_from_slice(frame.header);
    if frame.base > 0 {
        file.read_at(page, frame_offset(frame.base, frame.page_size) + FRAME_HEADER as u64)?;
    }
    delta::apply(page, &mut { frame.delta })
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a difference is larger than its page"))?;
    file.write_at(&bytes, frame_offset(frame.number, frame.page_size))
}

/// The path of a database's write-ahead log. A name that leads out of the folder is refused.
fn wal_path(name: &str, databases: &Path) -> io::Result<PathBuf> {
    let relative = Path::new(name);
    if name.is_empty() || relative.components().any(|part| !matches!(part, Component::Normal(_))) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} is not the name of a database")));
    }
    Ok(SqliteFile::Wal.beside(&databases.join(relative)))
}

/// Writes what the logs say of one database into a log of its own.
fn keep(name: &str, items: &[Item<'_>], folder: &Path, disk: &dyn Disk) -> io::Result<()> {
    let mut batch = Batch::default();
    batch.name(0, name);
    for item in items {
        match item {
            Item::Header(header) => batch.header(0, header),
            Item::Frame(frame) => batch.logged_frame(0, frame),
        }
    }
    let id: [u8; 8] = isobar_base::random::bytes().map_err(io::Error::other)?;
    let run = u64::from_le_bytes(id);
    let file = disk.create(&folder.join(format!("kept-{run:016x}.log")))?;
    file.write_at(batch.seal(run, 1), 0)?;
    file.sync()?;
    disk.sync_folder(folder)
}
