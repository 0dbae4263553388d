//! The operations of one store on its disk, in order.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use isobar_storage::local::{Disk, DiskFile, SystemDisk};

/// An operation on the disk, or an acknowledgement.
#[derive(Debug, Clone)]
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
    /// A step of the script begins; when it is over, the next begins.
    Step(usize),
}

#[derive(Debug)]
struct Recording {
    root: PathBuf,
    ops: Vec<Op>,
}

/// One at a time: SQLite's VFS is the process's.
static RECORDING: Mutex<Option<Recording>> = Mutex::new(None);

pub(crate) fn start(root: &Path) {
    *RECORDING.lock().unwrap() = Some(Recording { root: root.to_owned(), ops: Vec::new() });
}

pub(crate) fn stop() -> Vec<Op> {
    RECORDING.lock().unwrap().take().unwrap().ops
}

/// Records an operation on this path, if it is below the folder that is recorded; paths are relative to it then.
pub(crate) fn record(path: &Path, op: impl FnOnce(PathBuf) -> Op) {
    if let Some(recording) = &mut *RECORDING.lock().unwrap()
        && let Ok(path) = path.strip_prefix(&recording.root)
    {
        recording.ops.push(op(path.to_owned()));
    }
}

/// A path below the folder that is recorded, seen from there.
fn relative(path: &Path) -> Option<PathBuf> {
    let recording = RECORDING.lock().unwrap();
    path.strip_prefix(&recording.as_ref()?.root).ok().map(Path::to_owned)
}

pub(crate) fn step(number: usize) {
    if let Some(recording) = &mut *RECORDING.lock().unwrap() {
        recording.ops.push(Op::Step(number));
    }
}

/// The system's disk, recorded.
#[derive(Debug)]
pub(crate) struct RecordedDisk;

impl Disk for RecordedDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = File::create_new(path)?;
        record(path, Op::Create);
        Ok(Box::new(RecordedFile { file, path: path.to_owned(), offset: 0 }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = File::options().write(true).open(path)?;
        Ok(Box::new(RecordedFile { file, path: path.to_owned(), offset: 0 }))
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        SystemDisk.create_folder(path)?;
        record(path, Op::CreateFolder);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        SystemDisk.remove(path)?;
        record(path, Op::Remove);
        Ok(())
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        SystemDisk.link(from, to)?;
        if let Some(from) = relative(from) {
            record(to, |to| Op::Link(from, to));
        }
        Ok(())
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        SystemDisk.sync_folder(path)?;
        record(path, Op::SyncFolder);
        Ok(())
    }
}

struct RecordedFile {
    file: File,
    path: PathBuf,
    offset: u64,
}

impl Write for RecordedFile {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.file.write(buffer)?;
        let offset = self.offset;
        let data = buffer[..written].to_vec();
        record(&self.path, |path| Op::Write { path, offset, data });
        self.offset += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for RecordedFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.offset = self.file.seek(to)?;
        Ok(self.offset)
    }
}

impl DiskFile for RecordedFile {
    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        record(&self.path, Op::Sync);
        Ok(())
    }
}
