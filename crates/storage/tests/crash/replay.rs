//! States of the disk after a power failure.
//!
//! The model is that of a journalling file system which promises no more than POSIX does. Names in a folder become durable in
//! their order, at the latest when the folder is synced. What is written to a file becomes durable in any order, sector by
//! sector, at the latest when the file is synced. A file whose name is durable may still be empty.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::Random;
use crate::record::Op;

/// The smallest piece that a disk writes as one.
const SECTOR: usize = 512;

/// The part of unsynced writes that is on the disk after all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Everything: the process was killed, or the disk was quick.
    Nothing,
    /// Nothing.
    Everything,
    /// Some of it, by chance.
    Random(u64),
}

/// The disk, followed from operation to operation.
#[derive(Debug, Clone, Default)]
pub(crate) struct Replay {
    folders: BTreeSet<PathBuf>,
    files: Vec<File>,
    /// Names that are durable, and which file each is of.
    names: BTreeMap<PathBuf, usize>,
    /// Changes of names that are not, in order.
    pending: Vec<Change>,
}

#[derive(Debug, Clone, Default)]
struct File {
    durable: Vec<u8>,
    pending: Vec<Edit>,
}

#[derive(Debug, Clone)]
enum Edit {
    Write { offset: usize, data: Vec<u8> },
    Truncate(usize),
}

#[derive(Debug, Clone)]
enum Change {
    Put(PathBuf, usize),
    Remove(PathBuf),
}

impl Change {
    fn path(&self) -> &Path {
        match self {
            Self::Put(path, _) | Self::Remove(path) => path,
        }
    }
}

impl Replay {
    pub(crate) fn apply(&mut self, op: &Op) {
        match op {
            Op::Step(_) => {}
            Op::CreateFolder(path) => drop(self.folders.insert(path.clone())),
            Op::Create(path) => {
                self.files.push(File::default());
                self.pending.push(Change::Put(path.clone(), self.files.len() - 1));
            }
            Op::Write { path, offset, data } => {
                let offset = usize::try_from(*offset).unwrap();
                self.file(path).pending.push(Edit::Write { offset, data: data.clone() });
            }
            Op::Truncate { path, length } => {
                let length = usize::try_from(*length).unwrap();
                self.file(path).pending.push(Edit::Truncate(length));
            }
            Op::Sync(path) => {
                let file = self.file(path);
                let edits = std::mem::take(&mut file.pending);
                edits.into_iter().for_each(|edit| edit.apply(&mut file.durable));
            }
            Op::Remove(path) => self.pending.push(Change::Remove(path.clone())),
            Op::Link(from, to) => {
                let file = self.named(from);
                self.pending.push(Change::Put(to.clone(), file));
            }
            Op::SyncFolder(folder) => {
                let (synced, pending) =
                    std::mem::take(&mut self.pending).into_iter().partition(|it| it.path().parent() == Some(folder));
                self.pending = pending;
                let synced: Vec<Change> = synced;
                synced.iter().for_each(|change| change_names(&mut self.names, change));
            }
        }
    }

    /// Writes into a folder without files what is left when the power goes now; the files.
    pub(crate) fn write(&self, root: &Path, loss: Loss) -> Vec<PathBuf> {
        let mut random = Random(match loss {
            Loss::Random(seed) => seed,
            _ => 0,
        });
        if !self.folders.iter().next_back().is_some_and(|folder| root.join(folder).is_dir()) {
            self.folders.iter().for_each(|folder| fs::create_dir_all(root.join(folder)).unwrap());
        }
        let mut written = Vec::new();
        for (path, file) in self.names_after(loss, &mut random) {
            let path = root.join(path);
            let File { durable, pending } = &self.files[file];
            let mut bytes = durable.clone();
            for edit in pending {
                match loss {
                    Loss::Nothing => edit.clone().apply(&mut bytes),
                    Loss::Everything => {}
                    Loss::Random(_) => edit.apply_in_part(&mut bytes, &mut random),
                }
            }
            fs::write(&path, bytes).unwrap();
            written.push(path);
        }
        written
    }

    /// The names there are then: of each folder's changes the first few.
    fn names_after(&self, loss: Loss, random: &mut Random) -> BTreeMap<PathBuf, usize> {
        let mut names = self.names.clone();
        let mut stopped = BTreeSet::new();
        for change in &self.pending {
            let folder = change.path().parent().unwrap().to_owned();
            let is_done = match loss {
                Loss::Nothing => true,
                Loss::Everything => false,
                Loss::Random(_) => !stopped.contains(&folder) && random.below(3) > 0,
            };
            if is_done {
                change_names(&mut names, change);
            } else {
                stopped.insert(folder);
            }
        }
        names
    }

    fn file(&mut self, path: &Path) -> &mut File {
        let file = self.named(path);
        &mut self.files[file]
    }

    /// The file of this name, as running programs see it.
    fn named(&self, path: &Path) -> usize {
        let pending = self.pending.iter().rev().find_map(|change| match change {
            Change::Put(put, file) if put == path => Some(*file),
            _ => None,
        });
        let known = pending.or_else(|| self.names.get(path).copied());
        known.unwrap_or_else(|| panic!("{} was never created", path.display()))
    }
}

fn change_names(names: &mut BTreeMap<PathBuf, usize>, change: &Change) {
    match change {
        Change::Put(path, file) => drop(names.insert(path.clone(), *file)),
        Change::Remove(path) => drop(names.remove(path)),
    }
}

impl Edit {
    fn apply(self, bytes: &mut Vec<u8>) {
        match self {
            Self::Truncate(length) => bytes.resize(length, 0),
            Self::Write { offset, data } => write_at(bytes, offset, &data),
        }
    }

    /// Whole, not at all, or some of its sectors.
    fn apply_in_part(&self, bytes: &mut Vec<u8>, random: &mut Random) {
        let chance = random.below(4);
        match self {
            _ if chance == 0 => {}
            Self::Write { offset, data } if chance == 1 => {
                for (number, sector) in data.chunks(SECTOR).enumerate() {
                    if random.below(2) == 0 {
                        write_at(bytes, offset + number * SECTOR, sector);
                    }
                }
            }
            whole => whole.clone().apply(bytes),
        }
    }
}

fn write_at(bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
    if bytes.len() < offset + data.len() {
        bytes.resize(offset + data.len(), 0);
    }
    bytes[offset..offset + data.len()].copy_from_slice(data);
}
