//! Objects into an [archive](super::archive).

use std::fs::File;
use std::io::{self, Write};

use chrono::Utc;
use serde::Serialize;
use tar::{Builder, Header};

use super::archive::{END, End, FORMAT, HEAD, Hashed, Head, Label, VERSION};
use super::{Catalog, CatalogEntry, CatalogListOptions, ExportReport, Guard, listing};
use crate::{Error, ErrorKind, ObjectId, Result};

impl Catalog {
    /// Writes objects, or all, to an archive that [`CatalogWriter::import`](super::CatalogWriter::import) takes: a tar file with the
    /// SQLite database of each, whole and as it is, and its checksum. Nothing is lost by it: ids, names, rows, keys and alarms are
    /// all in it. Each object is of one moment; while a host runs, not all of them are of the same.
    ///
    /// Each file is checked before it is written. One that is damaged is left out, and in the report. `progress` is called after each
    /// object.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for an object that is not there, [`ErrorKind::Storage`] and [`ErrorKind::StorageFull`] when the
    /// folder cannot be read or the archive not be written, [`ErrorKind::Overloaded`] when a host writes to an object all the time.
    pub fn export(
        &self,
        objects: Option<&[ObjectId]>,
        output: impl Write,
        mut progress: impl FnMut(&ExportReport),
    ) -> Result<ExportReport> {
        let mut archive = Builder::new(output);
        let head =
            Head { format: FORMAT.to_owned(), version: VERSION, class: self.namespace.clone(), exported: Utc::now() };
        put(&mut archive, HEAD, &head)?;
        let mut report = ExportReport::default();
        match objects {
            Some(ids) => {
                for id in ids {
                    let guard = self.guard()?;
                    let entry = listing::entry_of(self, id, &guard)?.ok_or_else(|| no_object(id, &self.namespace))?;
                    self.append(&mut archive, entry, &guard, &mut report)?;
                    progress(&report);
                }
            }
            None => {
                let mut options = CatalogListOptions::default();
                loop {
                    let page = self.list(&options)?;
                    for entry in page.objects {
                        let guard = self.guard()?;
                        self.append(&mut archive, entry, &guard, &mut report)?;
                        progress(&report);
                    }
                    if page.cursor.is_none() {
                        break;
                    }
                    options = options.with_after(page.cursor);
                }
            }
        }
        let damaged = report.damaged.iter().map(|(id, _)| id.to_string()).collect();
        put(&mut archive, END, &End { objects: report.objects, damaged })?;
        archive.into_inner().and_then(|mut output| output.flush()).map_err(|error| unwritten(&error))?;
        Ok(report)
    }

    /// Appends an object, if it is there still.
    fn append<W: Write>(
        &self,
        archive: &mut Builder<W>,
        entry: CatalogEntry,
        guard: &Guard,
        report: &mut ExportReport,
    ) -> Result<()> {
        let id = entry.id;
        let reader = match (self.sound_reader(&id, guard), entry.damage) {
            (Ok(Some(reader)), _) => reader,
            (Ok(None), None) => return Ok(()), // deleted meanwhile
            (Ok(None), Some(why)) => {
                report.damaged.push((id, why));
                return Ok(());
            }
            (Err(error), _) if error.kind() == ErrorKind::Damaged => {
                report.damaged.push((id, error.to_string()));
                return Ok(());
            }
            (Err(error), _) => return Err(error),
        };
        let name = id.name().map(str::to_owned).or_else(|| reader.name().ok().flatten());
        let path = reader.file();
        let unread = |error: io::Error| {
            let message = format!("the session object's file {} cannot be read: {error}", self.file(&id).display());
            Error::new(ErrorKind::Storage, message)
        };
        let file = File::open(path).map_err(unread)?;
        let length = file.metadata().map_err(unread)?.len();
        let mut hashed = Hashed::new(file);
        append(archive, &format!("{id}.db"), length, &mut hashed)?;
        let (bytes, sha256) = hashed.finish();
        if bytes != length {
            return Err(unread(io::ErrorKind::UnexpectedEof.into()));
        }
        let label = Label { id: id.to_string(), name, bytes, sha256 };
        put(archive, &format!("{id}.json"), &label)?;
        report.objects += 1;
        report.bytes += bytes;
        Ok(())
    }
}

fn no_object(id: &ObjectId, namespace: &str) -> Error {
    let name = id.name().map(|name| format!(" ({name:?})")).unwrap_or_default();
    Error::new(ErrorKind::InvalidArgument, format!("there is no object {id}{name} of {namespace}"))
}

fn put<W: Write>(archive: &mut Builder<W>, name: &str, value: &impl Serialize) -> Result<()> {
    let json = serde_json::to_vec(value)?;
    append(archive, name, json.len() as u64, json.as_slice())
}

fn append<W: Write>(archive: &mut Builder<W>, name: &str, bytes: u64, from: impl io::Read) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_size(bytes);
    header.set_mode(0o600);
    header.set_mtime(Utc::now().timestamp().unsigned_abs());
    archive.append_data(&mut header, name, from).map_err(|error| unwritten(&error))
}

fn unwritten(error: &io::Error) -> Error {
    let kind = match isobar_base::io::Class::of(error) {
        isobar_base::io::Class::Full => ErrorKind::StorageFull,
        _ => ErrorKind::Storage,
    };
    Error::new(kind, format!("the export cannot be written: {error}"))
}
