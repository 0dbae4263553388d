//! `isobar analytics export` and `import`.
//!
//! A Parquet export has every column and can be imported again, here or on another machine; CSV and
//! Arrow are for other programs. An import is not idempotent: a file that is imported twice has its
//! points in the dataset twice.

use std::fs::File;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::Args;
use isobar_analytics::ScanOptions;
use isobar_analytics::local::ExportFormat;

use super::{Dataset, counted, warn_of};
use crate::place::Place;
use crate::times::timestamp;
use crate::{Outcome, say};

#[derive(Debug, Args)]
pub(crate) struct Export {
    #[command(flatten)]
    dataset: Dataset,
    /// File format: parquet, csv or arrow
    #[arg(long)]
    format: ExportFormat,
    /// File to create; it must not exist
    ///
    /// It appears under its name when it is whole, and is durable when the command has ended.
    #[arg(long, short)]
    output: PathBuf,
    /// Export only points at or after this time, for example 2026-11-01T00:00:00Z
    ///
    /// Together with --until a month is exported without gap or overlap: --from 2026-11-01T00:00:00Z
    /// --until 2026-12-01T00:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = timestamp)]
    from: Option<DateTime<Utc>>,
    /// Export only points before this time
    #[arg(long, value_name = "TIME", value_parser = timestamp)]
    until: Option<DateTime<Utc>>,
}

impl Export {
    pub(super) async fn run(self, place: &Place) -> Outcome {
        if let (Some(from), Some(until)) = (self.from, self.until)
            && from >= until
        {
            return Err("--from is not before --until, so that no point would be exported".into());
        }
        let mut options = ScanOptions::default();
        options.from = self.from;
        options.until = self.until;
        let report = self.dataset.open(place).await?.export(options, self.format, &self.output).await?;
        warn_of(&report.damage);
        say!("exported {} to {}", counted(report.points, "point"), self.output.display());
        Ok(())
    }
}

#[derive(Debug, Args)]
#[command(
    after_help = "A dataset of the configuration is created where it does not exist yet. An import adds points: a file that is imported twice \
has its points in the dataset twice."
)]
pub(crate) struct Import {
    #[command(flatten)]
    dataset: Dataset,
    /// Parquet file that isobar analytics export has written
    ///
    /// All of its points appear at once, or none: a row beyond a limit refuses the whole file.
    file: PathBuf,
}

impl Import {
    pub(super) async fn run(self, place: &Place) -> Outcome {
        // Before the dataset is created.
        let file = File::open(&self.file);
        drop(file.map_err(|error| format!("cannot read {}: {error}", self.file.display()))?);
        let points = self.dataset.make(place).await?.import(&self.file).await?;
        say!("imported {}", counted(points, "point"));
        Ok(())
    }
}
