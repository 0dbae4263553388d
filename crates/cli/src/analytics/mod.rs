//! The command `isobar analytics`.
//!
//! A dataset is a folder with a log, which servers append to, and with Parquet segments, which
//! compaction makes of the log. Every command works while a server writes to the dataset; only `erase`
//! wants it stopped, and says so. Files are never changed in place: a command that is broken off leaves
//! the dataset as it was before the last step that it had finished.
//!
//! | command | reads | writes |
//! |---|---|---|
//! | `query`, `tables` | log and segments | nothing |
//! | `tail` | log and segments, again and again | nothing |
//! | `archive` | segments | segments in a folder or bucket; removes their files |
//! | `compact` | the log | segments; removes the part of the log that is in them |
//! | `retention` | the ages and sizes of segments | removes the oldest |
//! | `erase` | all of it | segments without the index; a compacted log |
//! | `export` | log and segments | one file, which must not exist |
//! | `import` | one file | a segment of its points |
//!
//! On Cloudflare, Analytics Engine compacts and expires by itself, after three months; erasing,
//! exporting and importing have no counterpart there, and neither has wrangler a command for datasets.
//! `query --remote` uses Cloudflare's SQL API.

mod archive;
mod chart;
mod maintain;
mod query;
mod tail;
mod transfer;

use std::error::Error;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use isobar_analytics::Damage;
use isobar_analytics::local::{LocalOptions, LocalSink};
use serde::Serialize;

use crate::place::Place;
use crate::{Outcome, say};

/// Queries and maintenance of datasets.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  isobar analytics query 'SELECT blob1, count() FROM visits GROUP BY blob1'
  isobar analytics tail EVENTS
  isobar analytics compact EVENTS
  isobar analytics archive EVENTS --older-than 30d --to r2://old/events --remote
  isobar analytics retention EVENTS --max-age 30d --max-bytes 1GiB
  isobar analytics erase EVENTS tenant-17 --yes
  isobar analytics export EVENTS --format parquet --from 2026-11-01T00:00:00Z --output november.parquet
  isobar analytics import EVENTS november.parquet")]
pub(crate) enum Analytics {
    /// Run a query in Analytics Engine's SQL
    Query(query::Run),
    /// List the datasets, and how much of each is in the log, in Parquet segments and in an archive
    Tables {
        #[command(flatten)]
        at: query::Where,
    },
    /// Compact the log of a dataset into sorted, compressed Parquet segments
    ///
    /// A server may write to the dataset and read it at the same time. The segment that it is writing is skipped.
    Compact(maintain::Compact),
    /// Move old Parquet segments to a folder or a bucket, from which they are still queried
    Archive(archive::Archive),
    /// Remove the oldest points of a dataset, by age or by total size
    Retention(maintain::Retention),
    /// Erase all points that have a given index, from the log and from the Parquet segments
    ///
    /// Fails, and erases nothing, while a server has a log segment of the dataset open: stop the server before.
    Erase(maintain::Erase),
    /// Export points to a Parquet, CSV or Arrow file
    Export(transfer::Export),
    /// Import the points of an exported Parquet file; they keep their timestamps
    Import(transfer::Import),
    /// Print new points as JSON lines once they are durable; stop with Ctrl-C
    Tail(tail::Tail),
}

impl Analytics {
    /// Runs the command.
    pub(crate) async fn run(self, place: &Place) -> Outcome {
        match self {
            Self::Query(run) => run.run(place).await,
            Self::Tables { at } => query::tables(at, place).await,
            Self::Compact(command) => command.run(place).await,
            Self::Archive(command) => command.run(place).await,
            Self::Retention(command) => command.run(place).await,
            Self::Erase(command) => command.run(place).await,
            Self::Export(command) => command.run(place).await,
            Self::Import(command) => command.run(place).await,
            Self::Tail(command) => command.run(place).await,
        }
    }
}

/// The dataset of a command.
#[derive(Debug, Args)]
pub(crate) struct Dataset {
    /// Name or binding of the dataset
    ///
    /// A binding is one of analytics_engine_datasets in the configuration.
    dataset: String,
}

impl Dataset {
    /// Opens the dataset, which must exist, with the archive that it has.
    ///
    /// # Errors
    /// That there is no such dataset, with the names of those there are; those of opening it.
    async fn open(&self, place: &Place) -> Result<LocalSink, Box<dyn Error>> {
        self.open_with(place, without_retention()).await
    }

    /// Opens the dataset to import into it: one of the configuration is created where it does not exist.
    ///
    /// # Errors
    /// As [`open`](Self::open), for a dataset that is not in the configuration.
    async fn make(&self, place: &Place) -> Result<LocalSink, Box<dyn Error>> {
        let config = place.config()?;
        let mut datasets = config.iter().flat_map(|config| &config.analytics_engine_datasets);
        if datasets.any(|dataset| dataset.binding == self.dataset || dataset.local_name() == self.dataset) {
            place.make_root(config.as_ref())?;
            return Ok(LocalSink::open_with(place.dataset_folder(&self.dataset)?, without_retention())?);
        }
        self.open(place).await
    }

    /// As [`open`](Self::open), with options: `retention` alone sets limits. An archive that cannot be opened is a warning, as not every
    /// command needs it.
    async fn open_with(&self, place: &Place, options: LocalOptions) -> Result<LocalSink, Box<dyn Error>> {
        let options = match crate::archive::of_dataset(&place.dataset_folder(&self.dataset)?, place).await {
            Ok(Some(archive)) => options.with_archive(archive),
            Ok(None) => options,
            Err(error) => {
                eprintln!("warning: the archive of the dataset {} cannot be opened: {error}", self.dataset);
                options
            }
        };
        self.open_as(place, options)
    }

    /// Opens the dataset, which must exist, with these options.
    fn open_as(&self, place: &Place, options: LocalOptions) -> Result<LocalSink, Box<dyn Error>> {
        Ok(LocalSink::open_with(self.existing(place)?, options)?)
    }

    /// Returns the folder of the dataset.
    ///
    /// # Errors
    /// That there is no such dataset, with the names of those there are.
    fn existing(&self, place: &Place) -> Result<PathBuf, Box<dyn Error>> {
        let folder = place.dataset_folder(&self.dataset)?;
        if !folder.is_dir() {
            let known = place.datasets()?;
            let known = if known.is_empty() { "there are none yet".to_owned() } else { known.join(", ") };
            let message =
                format!("dataset {} not found in {}; existing datasets: {known}", self.dataset, folder.display());
            return Err(message.into());
        }
        Ok(folder)
    }
}

/// Options with which nothing expires, however long a command runs: the server's options decide what is kept.
fn without_retention() -> LocalOptions {
    LocalOptions::default().with_retain_for(None).with_retain_bytes(None)
}

/// Prints a report as JSON, over several lines.
fn print_json(report: &impl Serialize) -> Outcome {
    say!("{}", serde_json::to_string_pretty(report)?);
    Ok(())
}

/// Warns of damage that was met.
///
/// Damage does not end a command: the rest of a dataset is worth having. The warning goes to standard
/// error, so that it is seen beside a result that is piped.
fn warn_of(damage: &Damage) {
    if !damage.is_none() {
        let files: Vec<_> = damage.files.iter().map(String::as_str).collect();
        let Damage { stretches, bytes, .. } = damage;
        let sections = counted(*stretches, "damaged section");
        eprintln!("warning: skipped {sections} ({}) in {}", counted(*bytes, "byte"), files.join(", "));
    }
}

/// Returns a number of things, as in "1 point" and "2 points".
fn counted(number: u64, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_that_runs_for_long_removes_nothing() {
        let options = without_retention();
        assert_eq!((options.retain_for, options.retain_bytes), (None, None));
    }

    #[test]
    fn numbers_have_the_right_plural() {
        let shown = [0, 1, 2].map(|number| counted(number, "point"));
        assert_eq!(shown, ["0 points", "1 point", "2 points"]);
    }
}
