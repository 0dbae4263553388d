//! The operations of a script on its disk, in order.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use isobar_sqlite::journal::{Disk, DiskFile, SystemDisk};

/// An operation on the disk, or an acknowledgement.
#[derive(Debug, Clone)]
#[allow(dead_code, reason = "the model knows links, too")]
pub(crate) enum Op {
    Create(PathBuf),
    CreateFolder(PathBuf),
    Write {
        path: PathBuf,
        offset: u64,
        data: Vec<u8>,
    },
    Truncate {
        path: PathBuf,
        length: u64,
    },
    Sync(PathBuf),
    Remove(PathBuf),
    Link(PathBuf, PathBuf),
    SyncFolder(PathBuf),
    /// All up to this number is acknowledged.
    Step(usize),
}

/// Sees each operation when it is done.
type Watch = Box<dyn FnMut(&Op) + Send>;

struct Recording {
    root: PathBuf,
    ops: Vec<Op>,
    /// Takes the operations in place of `ops`.
    watch: Option<Watch>,
}

/// One at a time: SQLite's VFS is the process's.
static RECORDING: Mutex<Option<Recording>> = Mutex::new(None);

/// A temporary folder in memory where there is one: the tests sync a lot.
pub(crate) fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

pub(crate) fn start(root: &Path) {
    *RECORDING.lock().unwrap() = Some(Recording { root: root.to_owned(), ops: Vec::new(), watch: None });
}

/// Shows each operation below this folder in place of recording it.
#[allow(dead_code, reason = "the tests of isobar-sessions end a process at chosen operations")]
pub(crate) fn watch(root: &Path, watch: impl FnMut(&Op) + Send + 'static) {
    *RECORDING.lock().unwrap() =
        Some(Recording { root: root.to_owned(), ops: Vec::new(), watch: Some(Box::new(watch)) });
}

pub(crate) fn stop() -> Vec<Op> {
    RECORDING.lock().unwrap().take().unwrap().ops
}

/// Records an operation on this path, if it is below the folder that is recorded; paths are relative to it then.
pub(crate) fn record(path: &Path, op: impl FnOnce(PathBuf) -> Op) {
    drop(record_all(path, |path, ops| {
        let op = op(path);
        let folder = match &op {
            // SQLite syncs the folder with the first sync of a write-ahead log that it has created.
            Op::Sync(path) if path.extension().is_some_and(|extension| extension == "db-wal") => path.parent(),
            _ => None,
        };
        let folder = folder.map(|folder| Op::SyncFolder(folder.to_owned()));
        ops.push(op);
        ops.extend(folder);
        Ok(())
    }));
}

/// As [`record`], for work that nothing else may come in between.
fn record_all(path: &Path, work: impl FnOnce(PathBuf, &mut Vec<Op>) -> io::Result<()>) -> io::Result<()> {
    let mut recording = RECORDING.lock().unwrap();
    let mut ignored = Vec::new();
    match recording.as_mut().map(|recording| (path.strip_prefix(&recording.root).map(Path::to_owned), recording)) {
        Some((Ok(path), recording)) => {
            let result = work(path, &mut recording.ops);
            if let Some(watch) = &mut recording.watch {
                recording.ops.drain(..).for_each(|op| watch(&op));
            }
            result
        }
        _ => work(path.to_owned(), &mut ignored),
    }
}

/// Records that all up to this number is acknowledged.
pub(crate) fn step(number: usize) {
    if let Some(recording) = &mut *RECORDING.lock().unwrap() {
        recording.ops.push(Op::Step(number));
    }
}

/// The system's disk, recorded. One that lies says that a log is synced, and has not done it.
#[derive(Debug, Default)]
pub(crate) struct RecordedDisk {
    pub(crate) lies: bool,
}

#[derive(Debug)]
struct RecordedFile {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    lies: bool,
}

impl RecordedDisk {
    fn file(&self, path: &Path, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        let lies = self.lies && path.extension().is_some_and(|extension| extension == "log");
        Arc::new(RecordedFile { file, path: path.to_owned(), lies })
    }
}

impl Disk for RecordedDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = SystemDisk.create(path)?;
        record(path, Op::Create);
        Ok(self.file(path, file))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(path, SystemDisk.open(path)?))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        SystemDisk.remove(path)?;
        record(path, Op::Remove);
        Ok(())
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        SystemDisk.sync_folder(path)?;
        record(path, Op::SyncFolder);
        Ok(())
    }
}

impl DiskFile for RecordedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        record_all(&self.path, |path, ops| {
            self.file.write_at(bytes, offset)?;
            ops.push(Op::Write { path, offset, data: bytes.to_vec() });
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        // At once, so that it is not taken for the sync of what another thread writes meanwhile.
        record_all(&self.path, |path, ops| {
            self.file.sync()?;
            if !self.lies {
                ops.push(Op::Sync(path));
            }
            Ok(())
        })
    }

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }
}
