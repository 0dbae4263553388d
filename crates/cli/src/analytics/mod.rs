//! The command `isobar analytics`.

mod chart;
mod maintain;
mod query;
mod tail;
mod transfer;

use std::error::Error;

use clap::{Args, Subcommand};
use isobar_analytics::Damage;
use isobar_analytics::local::{LocalOptions, LocalSink};
use serde::Serialize;

use crate::place::Place;
use crate::{Outcome, say};

/// Commands on datasets of this machine.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  isobar analytics query 'SELECT blob1, count() FROM visits GROUP BY blob1'
  isobar analytics tail EVENTS
  isobar analytics compact EVENTS
  isobar analytics retention EVENTS --max-age 30d --max-bytes 1GiB
  isobar analytics erase EVENTS tenant-17 --yes
  isobar analytics export EVENTS --format parquet --from 2026-11-01T00:00:00Z --output november.parquet
  isobar analytics import EVENTS november.parquet")]
pub(crate) enum Analytics {
    /// Run a query in Analytics Engine's SQL
    Query(query::Run),
    /// List the datasets
    Tables {
        #[command(flatten)]
        at: query::Where,
    },
    /// Move points from the log into Parquet segments, sorted and compressed
    ///
    /// A server may go on writing and reading meanwhile; the segment that it writes to is left alone.
    Compact(maintain::Compact),
    /// Remove the oldest points, by age and by size
    Retention(maintain::Retention),
    /// Erase all points with an index value, from the log and the Parquet segments
    Erase(maintain::Erase),
    /// Write points to a Parquet, CSV or Arrow file
    Export(transfer::Export),
    /// Take in the points of an exported Parquet file, with their times
    Import(transfer::Import),
    /// Print new points as JSON lines as they become durable, until Ctrl-C
    Tail(tail::Tail),
}

impl Analytics {
    pub(crate) async fn run(self, place: &Place) -> Outcome {
        match self {
            Self::Query(run) => run.run(place).await,
            Self::Tables { at } => query::tables(at, place).await,
            Self::Compact(command) => command.run(place).await,
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
    /// The dataset's name or binding
    dataset: String,
}

impl Dataset {
    /// Opens the dataset, which must exist.
    fn open(&self, place: &Place) -> Result<LocalSink, Box<dyn Error>> {
        self.open_with(place, LocalOptions::default())
    }

    fn open_with(&self, place: &Place, options: LocalOptions) -> Result<LocalSink, Box<dyn Error>> {
        let folder = place.dataset_folder(&self.dataset)?;
        if !folder.is_dir() {
            let known = place.datasets()?;
            let known = if known.is_empty() { String::new() } else { format!("; there are: {}", known.join(", ")) };
            let message =
                format!("there is no dataset {} here{known}; it would be in {}", self.dataset, folder.display());
            return Err(message.into());
        }
        Ok(LocalSink::open_with(folder, options)?)
    }
}

/// Prints a report as JSON.
fn print_json(report: &impl Serialize) -> Outcome {
    say!("{}", serde_json::to_string_pretty(report)?);
    Ok(())
}

/// Warns of damage that was met.
fn warn_of(damage: &Damage) {
    if !damage.is_none() {
        let files: Vec<_> = damage.files.iter().map(String::as_str).collect();
        let Damage { stretches, bytes, .. } = damage;
        eprintln!("warning: {stretches} damaged stretches ({bytes} bytes) were skipped, in {}", files.join(", "));
    }
}
