//! Objects out of an [archive](super::archive).

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use tar::{Archive, Entry};

use super::archive::{END, End, FORMAT, HEAD, Hashed, Head, Label, VERSION};
use super::reader::Reader;
use super::snapshot::{Snapshot, damaged};
use super::writer::{Indexed, end_log, failed, is_there, sync};
use super::{CatalogWriter, ImportReport, OnExisting};
use crate::host::disk;
use crate::{Error, ErrorKind, Result};

/// Objects that are put in place together.
const BATCH: usize = 256;
/// Longest entry of JSON, in bytes: the last one has the ids of all damaged objects.
const MAX_JSON: u64 = 64 << 20;

impl CatalogWriter {
    /// Puts the objects of an [export](super::Catalog::export) in place, each whole and durable, with its name and its alarm; an alarm
    /// whose time is over runs when the host starts. An archive of another class is refused, as its ids mean nothing here.
    /// `progress` is called after each object.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] for what is not such an archive, is not whole or has a wrong checksum, [`ErrorKind::InvalidId`] for
    /// objects of another class, [`ErrorKind::InvalidArgument`] for an object that is there already ([`OnExisting::Refuse`]), and
    /// [`ErrorKind::Storage`] and [`ErrorKind::StorageFull`] when it cannot be written. Objects that came before the error are in place.
    pub fn import(
        &self,
        input: impl Read,
        existing: OnExisting,
        mut progress: impl FnMut(&ImportReport),
    ) -> Result<ImportReport> {
        let mut import =
            Import { writer: self, existing, report: ImportReport::default(), draft: None, ready: Vec::new() };
        let read = import.read(input, &mut progress);
        let placed = import.place();
        read.and(placed)?;
        progress(&import.report);
        Ok(import.report)
    }
}

/// An import in flight.
struct Import<'w> {
    writer: &'w CatalogWriter,
    existing: OnExisting,
    report: ImportReport,
    /// The object whose label has not come yet.
    draft: Option<Draft>,
    ready: Vec<Draft>,
}

/// An object's file under another name, removed unless it is put in place.
struct Draft {
    object: Indexed,
    /// `None` for an object that is there already and stays.
    file: Option<PathBuf>,
    path: PathBuf,
    bytes: u64,
    sha256: String,
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            drop(std::fs::remove_file(file)); // a leftover is overwritten by the next import
        }
    }
}

impl Import<'_> {
    fn read(&mut self, input: impl Read, progress: &mut impl FnMut(&ImportReport)) -> Result<()> {
        let mut archive = Archive::new(input);
        let mut entries = archive.entries().map_err(|error| broken(&error))?;
        let first = entries.next().transpose().map_err(|_| foreign())?;
        self.check_head(first.ok_or_else(foreign)?)?;
        let mut end: Option<End> = None;
        for entry in entries {
            let mut entry = entry.map_err(|error| broken(&error))?;
            let name = entry.path().map_err(|error| broken(&error))?.to_string_lossy().into_owned();
            if end.is_some() {
                return Err(wrong(&format!("{name} follows its last entry")));
            }
            match (name.as_str(), disk::object_of(&name), self.draft.take()) {
                (END, _, None) => end = Some(json(&mut entry, &name)?),
                (_, Some(id), None) => self.draft = Some(self.receive(id, &mut entry)?),
                (_, None, Some(draft)) => {
                    let label = json(&mut entry, &name)?;
                    self.accept(draft, label)?;
                    progress(&self.report);
                }
                _ => return Err(wrong(&format!("the entry {name} is not expected there"))),
            }
        }
        let end = end.ok_or_else(|| wrong("it breaks off: its last entry is missing"))?;
        let count = self.report.objects + self.report.skipped + self.ready.len() as u64;
        if end.objects != count {
            return Err(wrong(&format!("it has {count} objects, and its last entry says {}", end.objects)));
        }
        self.report.missing = end.damaged;
        Ok(())
    }

    fn check_head(&self, mut entry: Entry<'_, impl Read>) -> Result<()> {
        if entry.path().map_err(|_| foreign())?.to_str() != Some(HEAD) {
            return Err(foreign());
        }
        let head: Head = json(&mut entry, HEAD)?;
        if head.format != FORMAT {
            return Err(foreign());
        }
        if head.version != VERSION {
            return Err(wrong(&format!("it is of version {}, and this program reads version {VERSION}", head.version)));
        }
        let class = &self.writer.catalog.namespace;
        if head.class != *class {
            let message = format!("the export has objects of the class {}, not {class}", head.class);
            return Err(Error::new(ErrorKind::InvalidId, message));
        }
        Ok(())
    }

    /// Writes an object's file under another name, durably.
    fn receive(&self, id: [u8; 32], entry: &mut impl Read) -> Result<Draft> {
        let shown = hex::encode(id);
        let catalog = &self.writer.catalog;
        let id = catalog.scheme.parse(&shown).map_err(|_| {
            let message = format!("the export's object {shown} has no id of the class {}", catalog.namespace);
            Error::new(ErrorKind::InvalidId, message)
        })?;
        if self.ready.iter().any(|draft| draft.object.id == *id.as_bytes()) {
            return Err(wrong(&format!("it has the object {shown} twice")));
        }
        self.writer.health.check_withheld(id.as_bytes())?;
        let path = catalog.file(&id);
        let object = Indexed { id: *id.as_bytes(), name: None, alarm: None, made: None };
        let mut draft = Draft { object, file: None, path, bytes: 0, sha256: String::new() };
        if is_there(&draft.path) || disk::has_log(&draft.path) {
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
        let mut input = Hashed::new(entry);
        copy(&mut input, &mut output).map_err(|error| match error {
            CopyError::Read(error) => broken(&error),
            CopyError::Write(error) => unwritten(error),
        })?;
        output.sync_all().map_err(unwritten)?;
        let (bytes, sha256) = input.finish();
        draft.bytes = bytes;
        draft.sha256 = sha256;
        Ok(draft)
    }

    /// Compares a file with its label, and puts it in place with the others of its batch.
    fn accept(&mut self, mut draft: Draft, label: Label) -> Result<()> {
        let shown = hex::encode(draft.object.id);
        if label.id != shown {
            return Err(wrong(&format!("the object {shown} is followed by the label of {}", label.id)));
        }
        let Some(file) = &draft.file else {
            self.report.skipped += 1;
            return Ok(());
        };
        if label.bytes != draft.bytes || label.sha256 != draft.sha256 {
            return Err(wrong(&format!("the object {shown} does not have its checksum")));
        }
        let named = label.name.as_deref().map(|name| self.writer.catalog.scheme.from_name(name));
        if named.is_some_and(|id| *id.as_bytes() != draft.object.id) {
            return Err(wrong(&format!("the object {shown} does not have the id of its name {:?}", label.name)));
        }
        let snapshot = Snapshot::take(file, false)?.ok_or_else(|| wrong(&format!("the object {shown} is empty")))?;
        let reader = Reader::open(snapshot, file)?;
        if let Some(problem) = reader.problem()? {
            return Err(wrong(&format!("the object {shown} is damaged: {problem}")));
        }
        let alarm = reader.alarm().map_err(|error| damaged(file, &error))?;
        draft.object.name = label.name;
        draft.object.alarm = alarm.map(|row| row.due);
        draft.object.made = alarm.and_then(|row| row.made);
        self.ready.push(draft);
        if self.ready.len() >= BATCH { self.place() } else { Ok(()) }
    }

    /// Puts the files of a batch in place. Should this be broken off, each object is the old one or the new one, and woken in time.
    fn place(&mut self) -> Result<()> {
        let mut ready = std::mem::take(&mut self.ready);
        if ready.is_empty() {
            return Ok(());
        }
        let objects: Vec<_> = ready.iter().map(|draft| draft.object.clone()).collect();
        self.writer.announce(&objects)?;
        let mut folders = BTreeSet::new();
        for draft in &mut ready {
            let Some(file) = &draft.file else { continue };
            let unplaced = |error: io::Error| failed(&draft.path, "written", &error);
            end_log(&draft.path).map_err(unplaced)?;
            std::fs::rename(file, &draft.path).map_err(unplaced)?;
            folders.insert(isobar_base::fs::parent(&draft.path).to_owned());
            draft.file = None;
        }
        sync(&folders)?;
        self.writer.conclude(&objects)?;
        self.report.objects += ready.len() as u64;
        self.report.bytes += ready.iter().map(|draft| draft.bytes).sum::<u64>();
        Ok(())
    }
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

fn json<T: DeserializeOwned>(entry: &mut impl Read, name: &str) -> Result<T> {
    let mut bytes = Vec::new();
    entry.take(MAX_JSON).read_to_end(&mut bytes).map_err(|error| broken(&error))?;
    serde_json::from_slice(&bytes).map_err(|error| wrong(&format!("its entry {name} is invalid: {error}")))
}

fn foreign() -> Error {
    Error::new(ErrorKind::Decode, "this is not an export of session objects")
}

fn broken(error: &io::Error) -> Error {
    wrong(&format!("it cannot be read: {error}"))
}

fn wrong(what: &str) -> Error {
    Error::new(ErrorKind::Decode, format!("the export is damaged: {what}"))
}
