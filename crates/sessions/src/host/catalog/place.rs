//! Objects' files put in place, from an archive or a backup.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::archive::Hashed;
use super::reader::Reader;
use super::snapshot::{Snapshot, damaged};
use super::writer::{Indexed, end_log, is_there, sync};
use super::{CatalogWriter, OnExisting};
use crate::host::disk::{self, failed};
use crate::{Error, ErrorKind, Result};

/// Objects that are put in place together.
const BATCH: usize = 1024;
/// Threads that sync the files of a batch: a disk syncs many files at once in the time of a few.
const SYNCS: usize = 8;

/// Objects that are put in place, each whole, durable and woken in time.
pub(super) struct Placing<'w> {
    writer: &'w CatalogWriter,
    existing: OnExisting,
    /// The archive or the backup, in messages: "export".
    source: &'static str,
    ready: Vec<Draft>,
    /// Objects that are in place.
    pub(super) objects: u64,
    /// Bytes of their files.
    pub(super) bytes: u64,
}

/// An object's file under another name, removed unless it is put in place.
pub(super) struct Draft {
    object: Indexed,
    /// `None` for an object that is there already and stays.
    file: Option<PathBuf>,
    path: PathBuf,
    /// Size of the file in bytes.
    pub(super) bytes: u64,
    /// SHA-256 of the file in hexadecimal digits.
    pub(super) sha256: String,
}

impl Draft {
    /// The object's id in hexadecimal digits.
    pub(super) fn id(&self) -> String {
        hex::encode(self.object.id)
    }

    /// Whether the object is there already, and stays as it is.
    pub(super) fn is_skipped(&self) -> bool {
        self.file.is_none()
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            drop(std::fs::remove_file(file)); // a leftover is overwritten by the next import
        }
    }
}

impl<'w> Placing<'w> {
    pub(super) fn new(writer: &'w CatalogWriter, existing: OnExisting, source: &'static str) -> Self {
        Self { writer, existing, source, ready: Vec::new(), objects: 0, bytes: 0 }
    }

    /// Objects that were accepted, those that wait for their batch among them.
    pub(super) fn accepted(&self) -> u64 {
        self.objects + self.ready.len() as u64
    }

    /// An error of what the objects are from.
    pub(super) fn wrong(&self, what: &str) -> Error {
        Error::new(ErrorKind::Decode, format!("the {} is damaged: {what}", self.source))
    }

    /// Writes an object's file under another name. It is made durable with those of its batch.
    pub(super) fn receive(&self, id: [u8; 32], from: &mut impl Read) -> Result<Draft> {
        let shown = hex::encode(id);
        let catalog = &self.writer.catalog;
        let id = catalog.scheme.parse(&shown).map_err(|_| {
            let message = format!("the {}'s object {shown} has no id of the class {}", self.source, catalog.namespace);
            Error::new(ErrorKind::InvalidId, message)
        })?;
        if self.ready.iter().any(|draft| draft.object.id == *id.as_bytes()) {
            return Err(self.wrong(&format!("it has the object {shown} twice")));
        }
        self.writer.health.check_withheld(id.as_bytes())?;
        let path = catalog.file(&id);
        let object = Indexed { id: *id.as_bytes(), name: None, alarm: None, made: None };
        let mut draft = Draft { object, file: None, path, bytes: 0, sha256: String::new() };
        if is_occupied(&draft.path) {
            match self.existing {
                OnExisting::Refuse => {
                    let message = format!("the object {shown} is there already, and was left as it is");
                    return Err(Error::new(ErrorKind::InvalidArgument, message));
                }
                OnExisting::Skip => return Ok(draft),
                OnExisting::Replace => {}
            }
        }
        self.writer.health.check_write()?;
        let file = isobar_base::fs::beside(&draft.path, ".new");
        let unwritten = |error: io::Error| failed(&file, "written", &error);
        isobar_base::fs::create_dir(isobar_base::fs::parent(&draft.path)).map_err(unwritten)?;
        let mut output = disk::create_file(&file, true).map_err(unwritten)?;
        draft.file = Some(file.clone());
        let mut input = Hashed::new(from);
        copy(&mut input, &mut output).map_err(|error| match error {
            CopyError::Read(error) => self.wrong(&format!("it cannot be read: {error}")),
            CopyError::Write(error) => unwritten(error),
        })?;
        let (bytes, sha256) = input.finish();
        draft.bytes = bytes;
        draft.sha256 = sha256;
        Ok(draft)
    }

    /// Checks a file that was received, and puts it in place with the others of its batch.
    pub(super) fn accept(&mut self, mut draft: Draft, name: Option<String>) -> Result<()> {
        let shown = draft.id();
        let Some(file) = &draft.file else { return Ok(()) };
        let named = name.as_deref().map(|name| self.writer.catalog.scheme.from_name(name));
        if named.is_some_and(|id| *id.as_bytes() != draft.object.id) {
            return Err(self.wrong(&format!("the object {shown} does not have the id of its name {name:?}")));
        }
        let empty = || self.wrong(&format!("the object {shown} is empty"));
        let snapshot = Snapshot::take(file, false)?.ok_or_else(empty)?;
        let reader = Reader::open(snapshot, file)?;
        if let Some(problem) = reader.problem()? {
            return Err(self.wrong(&format!("the object {shown} is damaged: {problem}")));
        }
        let alarm = reader.alarm().map_err(|error| damaged(file, &error))?;
        draft.object.name = name;
        draft.object.alarm = alarm.map(|row| row.due);
        draft.object.made = alarm.and_then(|row| row.made);
        self.ready.push(draft);
        if self.ready.len() >= BATCH { self.place() } else { Ok(()) }
    }

    /// Puts the files of a batch in place, without the history of the objects that were there. Should this be broken off, each object is the old one or the new one, and woken in time.
    pub(super) fn place(&mut self) -> Result<()> {
        let mut ready = std::mem::take(&mut self.ready);
        if ready.is_empty() {
            return Ok(());
        }
        sync_files(&ready)?;
        let objects: Vec<_> = ready.iter().map(|draft| draft.object.clone()).collect();
        self.writer.announce(&objects)?;
        let mut folders = BTreeSet::new();
        for draft in &mut ready {
            let Some(file) = &draft.file else { continue };
            let unplaced = |error: io::Error| failed(&draft.path, "written", &error);
            self.writer.forget(&draft.path)?; // before its log, which it may not have taken, is copied into the file
            end_log(&draft.path).map_err(unplaced)?;
            std::fs::rename(file, &draft.path).map_err(unplaced)?;
            folders.insert(isobar_base::fs::parent(&draft.path).to_owned());
            draft.file = None;
        }
        sync(&folders)?;
        self.writer.conclude(&objects)?;
        self.objects += ready.len() as u64;
        self.bytes += ready.iter().map(|draft| draft.bytes).sum::<u64>();
        Ok(())
    }
}

/// Makes the files of a batch durable, some at once.
fn sync_files(ready: &[Draft]) -> Result<()> {
    let next = AtomicUsize::new(0);
    let sync = || -> Result<()> {
        while let Some(draft) = ready.get(next.fetch_add(1, Ordering::Relaxed)) {
            let Some(file) = &draft.file else { continue };
            let synced = File::options().write(true).open(file).and_then(|open| open.sync_all());
            synced.map_err(|error| failed(file, "written", &error))?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        // Without a thread the work is done here.
        let more = SYNCS.min(ready.len()).saturating_sub(1);
        let spawn = |_| std::thread::Builder::new().name("isobar-sync".to_owned()).spawn_scoped(scope, sync).ok();
        let threads: Vec<_> = (0..more).filter_map(spawn).collect();
        let panicked = |_| Err(Error::new(ErrorKind::Internal, "a thread that syncs files has panicked"));
        threads.into_iter().fold(sync(), |synced, thread| synced.and(thread.join().unwrap_or_else(panicked)))
    })
}

/// Whether an object, or the log of one, is at the path of an object's file.
pub(super) fn is_occupied(path: &Path) -> bool {
    is_there(path) || disk::has_log(path)
}

/// The side of a copy that has failed.
enum CopyError {
    Read(io::Error),
    Write(io::Error),
}

/// Copies all bytes, and says which side has failed.
fn copy(from: &mut impl Read, to: &mut impl io::Write) -> Result<(), CopyError> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => to.write_all(&buffer[..read]).map_err(CopyError::Write)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(CopyError::Read(error)),
        }
    }
}
