//! `isobar sessions export` and `import`.
//!
//! An export is read object by object while a server may go on, and written to a file that appears when
//! it is whole (see `output`); into standard output it goes as it comes. An import writes in batches:
//! each object is put in place whole, and durable, before the next batch begins.
//!
//! The archive is of a class: ids are made from the class's name, so that objects of one mean nothing
//! in another, and the import refuses them. To rename a class, the application migrates its objects.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read};
use std::path::PathBuf;

use clap::Args;
use indicatif::{HumanBytes, HumanCount, ProgressBar};
use isobar_sessions::local::{CatalogWriter, ExportReport, ImportReport, OnExisting};
use serde_json::json;

use super::{Class, named, no_object};
use crate::output::whole;
use crate::place::Place;
use crate::{Outcome, say};

#[derive(Debug, Args)]
#[command(
    after_help = "The file is a tar archive with the SQLite database of each object as it is, its name and its checksum; tar and \
sqlite3 read it, too. A server may go on meanwhile: each object is of one moment, not all of the same. Objects that are damaged are \
named and left out, and the exit status is 1.

Examples:
  isobar sessions export Room --output rooms.tar
  isobar sessions export Room lobby --output lobby.tar
  isobar sessions export Room --output - | zstd > rooms.tar.zst"
)]
pub(crate) struct Export {
    #[command(flatten)]
    class: Class,
    /// The names or ids of the objects; by default all of the class
    objects: Vec<String>,
    /// The file to write, or - for standard output
    ///
    /// It has the objects' data, uncompressed, and is readable by you alone.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Print the number of objects and bytes as JSON; not with --output -
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "The server must be stopped. Each object is put in place whole and checked, with its name and alarm; an alarm whose time is \
over runs when the server starts. An object that is there already ends the import with an error, unless --replace or --skip-existing is \
given; those before it are in place.

Examples:
  isobar sessions import Room rooms.tar
  isobar sessions import Room rooms.tar --skip-existing
  zstd -dc rooms.tar.zst | isobar sessions import Room -"
)]
pub(crate) struct Import {
    #[command(flatten)]
    class: Class,
    /// The exported file, or - for standard input
    file: PathBuf,
    /// Put exported objects in the place of those that are there
    #[arg(long, conflicts_with = "skip_existing")]
    replace: bool,
    /// Leave objects as they are that are there
    #[arg(long)]
    skip_existing: bool,
    /// Print the number of objects and bytes as JSON
    #[arg(long)]
    json: bool,
}

impl Export {
    /// Exports objects, and names those that are damaged.
    ///
    /// # Errors
    /// An object that is not there, before anything is written; a file that cannot be written, and then
    /// there is none; damaged objects, after the export of the others has succeeded.
    pub(super) fn run(self, place: &Place) -> Outcome {
        let is_piped = self.output.as_os_str() == "-";
        if self.json && is_piped {
            return Err("--json is not for --output -, which prints the export itself".into());
        }
        let catalog = self.class.look(place)?;
        let mut ids = Vec::new();
        for object in &self.objects {
            let id = catalog.id(object);
            if catalog.entry(&id)?.is_none() {
                return Err(no_object(&self.class, object, &id).into());
            }
            ids.push(id);
        }
        let ids = if self.objects.is_empty() { None } else { Some(ids.as_slice()) };
        let bar = ProgressBar::new_spinner();
        let progress = |report: &ExportReport| tick(&bar, report.objects, report.bytes);
        let report = if is_piped {
            catalog.export(ids, BufWriter::new(std::io::stdout().lock()), progress)?
        } else {
            whole(&self.output, |output| catalog.export(ids, output, progress).map_err(|error| error.to_string()))?
        };
        bar.finish_and_clear();
        for (id, why) in &report.damaged {
            eprintln!("damaged: {}: {why}", named(id));
        }
        let damaged: Vec<_> = report.damaged.iter().map(|(id, _)| id.to_string()).collect();
        if self.json {
            let printed = json!({"objects": report.objects, "bytes": report.bytes, "damaged": damaged});
            say!("{}", serde_json::to_string_pretty(&printed)?);
        } else if !is_piped {
            let ExportReport { objects, bytes, .. } = report;
            say!("exported to {}: {} objects, {}", self.output.display(), HumanCount(objects), HumanBytes(bytes));
        }
        if damaged.is_empty() {
            return Ok(());
        }
        Err(format!("{} objects are damaged and not in the export; see above", damaged.len()).into())
    }
}

impl Import {
    /// Imports objects, into a folder that is created where there is none.
    ///
    /// # Errors
    /// A server has the class; the file is not an archive of it, or not whole; an object exists and no
    /// option says what to do. Objects before it are in place, and the import can be run again with
    /// `--skip-existing`.
    pub(super) fn run(self, place: &Place) -> Outcome {
        let shown = self.file.display().to_string();
        let input: Box<dyn Read> = if self.file.as_os_str() == "-" {
            Box::new(std::io::stdin().lock())
        } else {
            Box::new(File::open(&self.file).map_err(|error| format!("cannot read {shown}: {error}"))?)
        };
        let existing = match (self.replace, self.skip_existing) {
            (true, _) => OnExisting::Replace,
            (_, true) => OnExisting::Skip,
            _ => OnExisting::Refuse,
        };
        let (class, folder) = place.session_class(&self.class.class)?;
        place.make_root(place.config()?.as_ref())?;
        let writer = CatalogWriter::create(folder, &class)?;
        let bar = ProgressBar::new_spinner();
        let progress = |report: &ImportReport| tick(&bar, report.objects, report.bytes);
        let report = writer.import(BufReader::with_capacity(1 << 18, input), existing, progress);
        bar.finish_and_clear();
        let ImportReport { objects, bytes, skipped, missing, .. } =
            report.map_err(|error| format!("{shown}: {error}"))?;
        if self.json {
            let printed = json!({"objects": objects, "bytes": bytes, "skipped": skipped, "missing": missing});
            say!("{}", serde_json::to_string_pretty(&printed)?);
        } else {
            let skipped =
                if skipped > 0 { format!("; {skipped} were there and left as they are") } else { String::new() };
            say!("imported into {class}: {} objects, {}{skipped}", HumanCount(objects), HumanBytes(bytes));
        }
        if !missing.is_empty() {
            eprintln!(
                "warning: {} objects were damaged when the export was made, and are not in it: {}",
                missing.len(),
                missing.join(", ")
            );
        }
        Ok(())
    }
}

/// Draws the counts so far.
fn tick(bar: &ProgressBar, objects: u64, bytes: u64) {
    bar.set_message(format!("{} objects, {}", HumanCount(objects), HumanBytes(bytes)));
    bar.tick();
}
