//! `isobar analytics compact`, `retention` and `erase`.

use std::time::Duration;

use clap::Args;
use isobar_analytics::local::{CompactionOptions, LocalOptions};

use super::{Dataset, print_json, warn_of};
use crate::confirm::{Unattended, confirm};
use crate::place::Place;
use crate::{Outcome, say};

#[derive(Debug, Args)]
pub(crate) struct Compact {
    #[command(flatten)]
    dataset: Dataset,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Compact {
    pub(super) async fn run(self, place: &Place) -> Outcome {
        let report = self.dataset.open(place)?.compact(CompactionOptions::default()).await?;
        if self.json {
            return print_json(&report);
        }
        warn_of(&report.damage);
        say!(
            "{} points: {} log segments of {} bytes became {} Parquet segments of {} bytes",
            report.points,
            report.log_segments,
            report.log_bytes,
            report.columnar_segments,
            report.columnar_bytes
        );
        if report.open_segments > 0 {
            say!("{} log segments are being written to and were left alone", report.open_segments);
        }
        Ok(())
    }
}

#[derive(Debug, Args)]
pub(crate) struct Retention {
    #[command(flatten)]
    dataset: Dataset,
    /// Remove segments whose newest point is older than this: 90d, 12h
    #[arg(long, value_name = "AGE", value_parser = age, required_unless_present = "max_bytes")]
    max_age: Option<Duration>,
    /// Remove the oldest segments until the dataset, with one more log segment of 64 MiB, takes at most this: 1GiB, 500MB
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    max_bytes: Option<u64>,
}

impl Retention {
    pub(super) async fn run(self, place: &Place) -> Outcome {
        let options = LocalOptions::default().with_retain_for(self.max_age).with_retain_bytes(self.max_bytes);
        let removed = self.dataset.open_with(place, options)?.apply_retention().await?;
        say!("{removed} bytes removed");
        Ok(())
    }
}

#[derive(Debug, Args)]
pub(crate) struct Erase {
    #[command(flatten)]
    dataset: Dataset,
    /// The value of index1 whose points are erased
    index: String,
    /// Do not ask for confirmation; needed without a terminal
    #[arg(long, short)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Erase {
    pub(super) async fn run(self, place: &Place) -> Outcome {
        let sink = self.dataset.open(place)?;
        let question = format!("erase all points of {} with index {:?} for good", self.dataset.dataset, self.index);
        confirm(self.yes, &question, Unattended::Refuse)?;
        let report = sink.erase(self.index.clone()).await?;
        if self.json {
            print_json(&report)?;
        } else {
            say!("{} points erased, {} Parquet segments rewritten", report.points, report.rewritten_segments);
        }
        if !report.quarantined.is_empty() {
            let files = report.quarantined.join(", ");
            return Err(
                format!("damaged segments in the folder quarantine may still have points with it: {files}").into()
            );
        }
        Ok(())
    }
}

/// Reads an age: a number with s, m, h or d.
fn age(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not an age: use a number with s, m, h or d, as in 90d");
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 60 * 60,
        Some('d') => 24 * 60 * 60,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    number.checked_mul(unit).map(Duration::from_secs).ok_or_else(wrong)
}

/// Reads a size: bytes, or a number with kB, MB, GB, KiB, MiB or GiB.
fn bytes(text: &str) -> Result<u64, String> {
    let wrong =
        || format!("{text:?} is not a size: use bytes, or a number with kB, MB, GB, KiB, MiB or GiB, as in 1GiB");
    let units =
        [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("kB", 1_000), ("MB", 1_000_000), ("GB", 1_000_000_000)];
    let unit = units.into_iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)));
    let (number, factor): (_, u64) = unit.unwrap_or((text, 1));
    let number: u64 = number.trim().parse().map_err(|_| wrong())?;
    number.checked_mul(factor).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_sizes_have_units() {
        assert_eq!((age("90d"), age("5s")), (Ok(Duration::from_secs(90 * 86_400)), Ok(Duration::from_secs(5))));
        assert_eq!((bytes("12"), bytes("1GiB"), bytes("3 MB")), (Ok(12), Ok(1 << 30), Ok(3_000_000)));
        for text in ["", "d", "9", "-1d", "9é", "99999999999999999999d"] {
            assert!(age(text).is_err(), "{text}");
        }
        for text in ["", "GiB", "1.5GiB", "1TB", "99999999999GiB"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }
}
