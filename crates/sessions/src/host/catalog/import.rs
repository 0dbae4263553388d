//! Objects out of an [archive](super::archive).

use std::io::{self, Read};

use serde::de::DeserializeOwned;
use tar::{Archive, Entry};

use super::archive::{END, End, FORMAT, HEAD, Head, Label, VERSION};
use super::place::{Draft, Placing};
use super::{CatalogWriter, ImportReport, OnExisting};
use crate::host::disk;
use crate::{Error, ErrorKind, Result};

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
        let placing = Placing::new(self, existing, "export");
        let mut import = Import { writer: self, placing, report: ImportReport::default(), draft: None };
        let read = import.read(input, &mut progress);
        let placed = import.placing.place();
        import.count();
        read.and(placed)?;
        progress(&import.report);
        Ok(import.report)
    }
}

/// An import in flight.
struct Import<'w> {
    writer: &'w CatalogWriter,
    placing: Placing<'w>,
    report: ImportReport,
    /// The object whose label has not come yet.
    draft: Option<Draft>,
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
                (_, Some(id), None) => self.draft = Some(self.placing.receive(id, &mut entry)?),
                (_, None, Some(draft)) => {
                    let label = json(&mut entry, &name)?;
                    self.accept(draft, label)?;
                    progress(&self.report);
                }
                _ => return Err(wrong(&format!("the entry {name} is not expected there"))),
            }
        }
        let end = end.ok_or_else(|| wrong("it breaks off: its last entry is missing"))?;
        let count = self.placing.accepted() + self.report.skipped;
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

    /// Compares a file with its label, and puts it in place with the others of its batch.
    fn accept(&mut self, draft: Draft, label: Label) -> Result<()> {
        let shown = draft.id();
        if label.id != shown {
            return Err(wrong(&format!("the object {shown} is followed by the label of {}", label.id)));
        }
        if draft.is_skipped() {
            self.report.skipped += 1;
            return Ok(());
        }
        if label.bytes != draft.bytes || label.sha256 != draft.sha256 {
            return Err(wrong(&format!("the object {shown} does not have its checksum")));
        }
        let accepted = self.placing.accept(draft, label.name);
        self.count();
        accepted
    }

    fn count(&mut self) {
        self.report.objects = self.placing.objects;
        self.report.bytes = self.placing.bytes;
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
