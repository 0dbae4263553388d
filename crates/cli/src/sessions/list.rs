//! `isobar sessions list`.
//!
//! The list is streamed: a class may have millions of objects, and memory holds a page of [`PAGE`] of
//! them. Columns therefore have fixed widths, and JSON is written by hand around the objects' own. What
//! is damaged goes to standard error in the order of the list, after a flush of what came before it.
//!
//! A cursor is `CLASS/ID`, of the last object that was listed, or `CLASS/` for the beginning of a
//! class. It says nothing about objects that were created or deleted since: they are in the rest, or
//! not, by their ids.

use std::io::{BufWriter, Write};

use clap::Args;
use isobar_sessions::ObjectId;
use isobar_sessions::local::{Catalog, CatalogEntry, CatalogListOptions};

use super::{named, shown};
use crate::Outcome;
use crate::place::Place;
use crate::table::one_line;
use crate::times::shown as time;

/// Objects that are asked for at a time: what the list takes of memory.
const PAGE: usize = 1000;

#[derive(Debug, Args)]
#[command(
    after_help = "Objects come by class and id, and are printed as they are read. With --limit, what follows is listed by --cursor with \
the printed value. --check reads each file, and the exit status is 1 if one is damaged; without it only a missing or empty file is found.

Examples:
  isobar sessions list --class Room --limit 100
  isobar sessions list --check
  isobar sessions list --json | jq '.objects[] | select(.alarm != null)'"
)]
pub(crate) struct List {
    /// Only objects of this class, or of the namespace with this binding
    #[arg(long)]
    class: Option<String>,
    /// Most objects to list; by default all
    ///
    /// Where more may follow, a note has the cursor; in JSON it is "cursor", or null.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Begin after the objects of an earlier list: the cursor that it has printed
    #[arg(long, value_name = "CLASS/ID")]
    cursor: Option<String>,
    /// Read each file and check it
    ///
    /// It takes as long as reading all of them. A server may go on.
    #[arg(long)]
    check: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The lines of a list, in one form or the other.
struct Lines<W: Write> {
    output: W,
    is_json: bool,
    /// Width of the column of classes.
    width: usize,
    count: u64,
    damaged: u64,
}

impl List {
    pub(super) fn run(self, place: &Place) -> Outcome {
        let classes = super::classes(self.class.as_deref(), place)?;
        let (begin, mut after) = match &self.cursor {
            Some(cursor) => begin(cursor, place)?,
            None => (String::new(), None),
        };
        let width = classes.iter().map(String::len).max().unwrap_or_default().max("CLASS".len());
        let output = BufWriter::new(std::io::stdout().lock());
        let mut lines = Lines { output, is_json: self.json, width, count: 0, damaged: 0 };
        lines.begin()?;
        let mut cursor = None;
        for class in classes.iter().filter(|class| **class >= begin) {
            let (_, folder) = place.session_class(class)?;
            if !folder.is_dir() {
                continue; // configured, and not used yet
            }
            let catalog = Catalog::open(folder, class)?;
            let after = after.take().filter(|_| *class == begin);
            cursor = self.list(&catalog, class, after, &mut lines)?;
            if cursor.is_some() {
                break;
            }
        }
        lines.end(cursor.as_deref())?;
        if self.check && lines.count == 0 {
            eprintln!("note: there are no objects, so that none was checked");
        }
        if self.check && lines.damaged > 0 {
            return Err(format!("{} of {} objects are damaged; see above", lines.damaged, lines.count).into());
        }
        Ok(())
    }

    /// Lists the objects of a class. Returns the cursor of what follows, if the limit has come.
    fn list<W: Write>(
        &self,
        catalog: &Catalog,
        class: &str,
        after: Option<ObjectId>,
        lines: &mut Lines<W>,
    ) -> Result<Option<String>, Box<dyn std::error::Error>> {
        let mut options = CatalogListOptions::default().with_after(after);
        options.check = self.check;
        loop {
            let left = self.limit.map_or(u64::MAX, |limit| limit - lines.count);
            if left == 0 {
                // Whether anything of this class follows is not known: the next list says so.
                return Ok(Some(format!("{class}/")));
            }
            options.limit = usize::try_from(left).unwrap_or(PAGE).min(PAGE);
            let page = catalog.list(&options)?;
            for entry in &page.objects {
                lines.object(class, entry)?;
            }
            let Some(cursor) = page.cursor else { return Ok(None) };
            if self.limit == Some(lines.count) {
                return Ok(Some(format!("{class}/{cursor}")));
            }
            options = options.with_after(Some(cursor));
        }
    }
}

/// Reads a cursor: the class to begin with, and the object to begin after.
///
/// # Errors
/// Another form, and an id that is not one of the class.
fn begin(cursor: &str, place: &Place) -> Result<(String, Option<ObjectId>), Box<dyn std::error::Error>> {
    let wrong = || format!("{cursor:?} is not a cursor: use what an earlier list has printed");
    let (class, id) = cursor.split_once('/').ok_or_else(wrong)?;
    let (class, _) = place.session_class(class).map_err(|_| wrong())?;
    if id.is_empty() {
        return Ok((class, None));
    }
    let id = isobar_sessions::IdScheme::new(&class).parse(id).map_err(|_| wrong())?;
    Ok((class, Some(id)))
}

impl<W: Write> Lines<W> {
    /// Writes the headings, or the beginning of the JSON.
    fn begin(&mut self) -> std::io::Result<()> {
        if self.is_json {
            return self.output.write_all(b"{\"objects\":[");
        }
        let width = self.width;
        writeln!(
            self.output,
            "{:width$}  {:64}  {:>12}  {:24}  {:24}  NAME",
            "CLASS", "ID", "BYTES", "ALARM", "CHANGED"
        )
    }

    /// Writes an object, and its damage to standard error.
    fn object(&mut self, class: &str, entry: &CatalogEntry) -> std::io::Result<()> {
        self.count += 1;
        if self.is_json {
            let comma = if self.count > 1 { "," } else { "" };
            write!(self.output, "{comma}\n  {}", shown(class, entry))?;
        } else {
            let width = self.width;
            let [alarm, changed] = [entry.alarm, entry.changed].map(|at| at.map(time).unwrap_or_default());
            let name = entry.id.name().unwrap_or_default();
            let line = format!("{class:width$}  {}  {:>12}  {alarm:24}  {changed:24}  {name}", entry.id, entry.bytes);
            writeln!(self.output, "{}", one_line(&line).trim_end())?;
        }
        if let Some(why) = &entry.damage {
            self.damaged += 1;
            self.output.flush()?; // in the order of the list
            eprintln!("damaged: {class}/{}: {why}", named(&entry.id));
        }
        Ok(())
    }

    /// Writes the end of the JSON, or a note with the cursor.
    fn end(&mut self, cursor: Option<&str>) -> std::io::Result<()> {
        if self.is_json {
            let newline = if self.count > 0 { "\n" } else { "" };
            writeln!(self.output, "{newline}],\"cursor\":{}}}", serde_json::json!(cursor))?;
        }
        self.output.flush()?;
        if let (Some(cursor), false) = (cursor, self.is_json) {
            eprintln!("note: more may follow: --cursor {cursor}");
        }
        Ok(())
    }
}
