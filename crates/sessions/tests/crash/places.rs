//! Places in which a process is killed: by itself, right after an operation on the disk.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use isobar_sessions::Result;
use isobar_sessions::backup::{BackupTarget, FolderTarget};
use rustix::process::{Signal, getpid, kill_process};

use crate::record::{self, Op};
use crate::vfs;

/// A place in the work of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// Any moment after the first answer.
    Any,
    /// Any moment before the first answer, most of them while the folders are opened.
    Opening,
    /// A page is copied from a write-ahead log into an object's file.
    Checkpoint,
    /// A log of the journal begins, or is emptied.
    LogSwitch,
    /// The write-ahead log of an object begins.
    WalStart,
    /// The host's index is written.
    Index,
    /// A running backup puts something.
    Backup,
}

impl Place {
    pub(crate) const ALL: [Self; 7] =
        [Self::Any, Self::Opening, Self::Checkpoint, Self::LogSwitch, Self::WalStart, Self::Index, Self::Backup];

    /// Whether the process ends itself there.
    pub(crate) fn is_chosen(self) -> bool {
        !matches!(self, Self::Any | Self::Opening)
    }

    /// Whether the operation is in this place.
    fn is_at(self, op: &Op) -> bool {
        let Op::Write { path, offset, .. } = op else { return false };
        let is_index = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("index.db"));
        let is_of = |extension: &str| path.extension().is_some_and(|it| it == extension);
        match self {
            Self::Any | Self::Opening | Self::Backup => false,
            Self::Checkpoint => !is_index && is_of("db"),
            Self::LogSwitch => is_of("log") && *offset == 0,
            Self::WalStart => !is_index && is_of("db-wal") && *offset == 0,
            Self::Index => is_index,
        }
    }

    /// Ends this process with the operation of this number in the place, below this folder.
    pub(crate) fn watch(self, folder: &Path, mut number: usize) {
        vfs::install();
        record::watch(folder, move |op| {
            if self.is_at(op) {
                if number == 0 {
                    die();
                }
                number -= 1;
            }
        });
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|place| place.to_string() == text);
        found.ok_or_else(|| format!("no place {text}"))
    }
}

/// A folder for backups that ends the process before some put.
#[derive(Debug)]
pub(crate) struct Deadly {
    folder: FolderTarget,
    puts: AtomicUsize,
}

impl Deadly {
    /// A folder that takes this number of puts.
    pub(crate) fn new(folder: &Path, puts: usize) -> Arc<Self> {
        Arc::new(Self { folder: FolderTarget::new(folder), puts: AtomicUsize::new(puts) })
    }
}

#[async_trait]
impl BackupTarget for Deadly {
    async fn put(&self, name: &str, bytes: Bytes) -> Result<()> {
        if self.puts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_err() {
            die();
        }
        self.folder.put(name, bytes).await
    }

    async fn get(&self, name: &str) -> Result<Option<Bytes>> {
        self.folder.get(name).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>> {
        self.folder.list(prefix).await
    }

    async fn delete(&self, name: &str) -> Result<()> {
        self.folder.delete(name).await
    }
}

/// Ends the process as `kill -9` does.
fn die() -> ! {
    kill_process(getpid(), Signal::KILL).unwrap();
    loop {
        std::thread::park();
    }
}
