//! The commands `isobar d1 export` and `isobar d1 import`.
//!
//! Both work on files of SQLite, in a thread of their own, without a server: an export is a read
//! transaction, which sees one moment while writers go on; an import builds a database beside its name
//! and moves it there.
//!
//! wrangler's export is for what D1 can take back: it refuses virtual tables, and its numbers go
//! through JavaScript. This one is without loss: 64-bit integers, texts with a zero byte, blobs, FTS5
//! tables, triggers and the order of rows. It has no `--remote`: a file that wrangler's `d1 export
//! --remote` has written can be imported here.

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::PathBuf;

use clap::Args;
use indicatif::{HumanBytes, HumanCount, ProgressBar};
use isobar_db::dump::{self, Content, ExportOptions, Report};

use crate::output::whole;
use crate::place::{Place, no_database};
use crate::{Outcome, say};

#[derive(Debug, Args)]
#[command(
    after_help = "The export is of one moment, while others may go on writing. Any sqlite3 shell restores it, too: sqlite3 new.db < app.sql

Examples:
  isobar d1 export DB --output app.sql
  isobar d1 export DB --output - --table users --no-schema | gzip > users.sql.gz"
)]
pub(crate) struct Export {
    /// The database's name or binding
    database: String,
    /// The file to write, or - for standard output
    ///
    /// It appears under its name when it is whole. A file of that name is replaced.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Export this table alone; can be given several times
    ///
    /// Its indexes and triggers are in the export, too. Tables that its foreign keys refer to are not.
    #[arg(long, value_name = "TABLE")]
    table: Vec<String>,
    /// Leave the schema out
    #[arg(long, conflicts_with = "no_data")]
    no_schema: bool,
    /// Leave the rows out
    #[arg(long)]
    no_data: bool,
    /// Print the number of tables, rows and bytes as JSON; not with --output -
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "The database appears when all of the file is in it and its foreign keys hold; until then there is none. Into a \
database that exists, `isobar d1 execute DB --file FILE` runs SQL. The file may be an export of isobar or wrangler, or sqlite3's .dump.

Examples:
  isobar d1 import DB app.sql
  gunzip -c app.sql.gz | isobar d1 import DB - --json"
)]
pub(crate) struct Import {
    /// The database's name or binding
    database: String,
    /// The file of SQL, or - for standard input
    ///
    /// It is read as it comes, so that its size is bounded by the disk alone.
    file: PathBuf,
    /// Print the number of tables, rows and bytes as JSON
    #[arg(long)]
    json: bool,
}

impl Export {
    pub(super) async fn run(self, place: &Place) -> Outcome {
        let is_piped = self.output.as_os_str() == "-";
        if self.json && is_piped {
            return Err("--json is not for --output -, which prints the export itself".into());
        }
        let (file, known, _) = place.known_database(&self.database)?;
        if !file.exists() {
            return Err(no_database(&known, &file).into());
        }
        let content = match (self.no_schema, self.no_data) {
            (true, _) => Content::Rows,
            (_, true) => Content::Schema,
            _ => Content::All,
        };
        let options = ExportOptions::default().with_tables(self.table).with_content(content);
        let bar = ProgressBar::new_spinner();
        let progress = bar.clone();
        let output = self.output.clone();
        let done = tokio::task::spawn_blocking(move || {
            let mut progress = |report: &Report| show(&progress, report);
            if is_piped {
                let mut output = BufWriter::new(std::io::stdout().lock());
                return dump::export(&file, &mut output, &options, &mut progress).map_err(|error| error.to_string());
            }
            whole(&output, |output| {
                dump::export(&file, output, &options, &mut progress).map_err(|error| error.to_string())
            })
        });
        let report = done.await??;
        bar.finish_and_clear();
        if is_piped {
            return Ok(());
        }
        summary(&report, self.json, &format!("exported to {}", self.output.display()))
    }
}

impl Import {
    pub(super) async fn run(self, place: &Place) -> Outcome {
        let (file, known, config) = place.known_database(&self.database)?;
        let shown = self.file.display().to_string();
        if file.exists() {
            let message = format!(
                "the database {} exists ({}): move it away, or run the file in it by isobar d1 execute {} --file {shown}",
                known.local_name(),
                file.display(),
                self.database
            );
            return Err(message.into());
        }
        let input: Box<dyn std::io::Read + Send> = if self.file.as_os_str() == "-" {
            Box::new(std::io::stdin())
        } else {
            Box::new(File::open(&self.file).map_err(|error| format!("cannot read {shown}: {error}"))?)
        };
        place.make_root(Some(&config))?;
        let bar = ProgressBar::new_spinner();
        let progress = bar.clone();
        let done = tokio::task::spawn_blocking(move || {
            let mut progress = |report: &Report| show(&progress, report);
            dump::import(&file, &mut BufReader::with_capacity(1 << 16, input), &mut progress)
        });
        let report = done.await?.map_err(|error| format!("{shown}: {}", error.message()))?;
        bar.finish_and_clear();
        summary(&report, self.json, &format!("imported into {}", known.local_name()))
    }
}

/// Draws the counts so far. Called for each batch of rows.
fn show(bar: &ProgressBar, report: &Report) {
    bar.set_message(format!(
        "{} tables, {} rows, {}",
        report.tables,
        HumanCount(report.rows),
        HumanBytes(report.bytes)
    ));
    bar.tick();
}

/// Prints the counts at the end.
fn summary(report: &Report, json: bool, done: &str) -> Outcome {
    if json {
        say!("{}", serde_json::to_string_pretty(report)?);
    } else {
        let Report { tables, rows, bytes, .. } = report;
        say!("{done}: {tables} tables, {} rows, {}", HumanCount(*rows), HumanBytes(*bytes));
    }
    Ok(())
}
