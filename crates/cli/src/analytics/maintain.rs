//! `isobar analytics compact`, `retention` and `erase`.
//!
//! A server does the first two by itself, in its background; the commands are for datasets that no
//! server has, and for doing it now. Each is durable step by step. Broken off, `compact` and
//! `retention` can be run again; so can `erase`, and must be, since points may be left until it has
//! said that it is done.

use std::time::Duration;

use clap::{ArgGroup, Args};
use isobar_analytics::local::{CompactionOptions, LocalOptions};

use super::{Dataset, counted, print_json, warn_of};
use crate::confirm::{Unattended, confirm};
use crate::duration::duration;
use crate::place::Place;
use crate::{Outcome, say};

#[derive(Debug, Args)]
pub(crate) struct Compact {
    #[command(flatten)]
    dataset: Dataset,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

impl Compact {
    pub(super) async fn run(self, place: &Place) -> Outcome {
        let report = self.dataset.open(place).await?.compact(CompactionOptions::default()).await?;
        if self.json {
            return print_json(&report);
        }
        warn_of(&report.damage);
        say!(
            "compacted {}: {} ({}) into {} ({})",
            counted(report.points, "point"),
            counted(report.log_segments, "log segment"),
            counted(report.log_bytes, "byte"),
            counted(report.columnar_segments, "Parquet segment"),
            counted(report.columnar_bytes, "byte")
        );
        if report.torn_bytes > 0 {
            say!("removed {} of writes that a crash has interrupted", counted(report.torn_bytes, "byte"));
        }
        if report.open_segments > 0 {
            say!("skipped {} that a server is writing", counted(report.open_segments, "log segment"));
        }
        Ok(())
    }
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("limits").required(true).multiple(true).args(["max_age", "max_bytes"])))]
pub(crate) struct Retention {
    #[command(flatten)]
    dataset: Dataset,
    /// Remove segments whose newest point is older than this, for example 90d or 12h
    ///
    /// Units are s, m, h and d. Points of the same segment go together, so that some that are older may
    /// stay.
    #[arg(long, value_name = "AGE", value_parser = age)]
    max_age: Option<Duration>,
    /// Remove the oldest segments until the dataset and its next log segment (64 MiB, or a quarter of this size if that is less) fit into
    /// this size, for example 1GiB or 500MB
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    max_bytes: Option<u64>,
}

impl Retention {
    pub(super) async fn run(self, place: &Place) -> Outcome {
        let options = LocalOptions::default().with_retain_for(self.max_age).with_retain_bytes(self.max_bytes);
        let removed = self.dataset.open_with(place, options).await?.apply_retention().await?;
        say!("removed {}", counted(removed, "byte"));
        Ok(())
    }
}

/// Points are erased from the dataset's files. Exports, copies and a file system's snapshots keep them.
#[derive(Debug, Args)]
pub(crate) struct Erase {
    #[command(flatten)]
    dataset: Dataset,
    /// Index (the value of index1) whose points are erased
    ///
    /// It is compared as a whole: tenant-1 does not erase tenant-17.
    index: String,
    /// Do not ask for confirmation; needed without a terminal
    #[arg(long, short)]
    yes: bool,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

impl Erase {
    pub(super) async fn run(self, place: &Place) -> Outcome {
        let sink = self.dataset.open(place).await?;
        let question = format!("permanently erase all points of {} with index {:?}", self.dataset.dataset, self.index);
        confirm(self.yes, &question, Unattended::Refuse)?;
        let report = sink.erase(self.index.clone()).await?;
        if self.json {
            print_json(&report)?;
        } else {
            let rewritten = counted(report.rewritten_segments, "Parquet segment");
            say!("erased {}; rewrote {rewritten}", counted(report.points, "point"));
        }
        if !report.quarantined.is_empty() {
            let files = report.quarantined.join(", ");
            let message = format!(
                "damaged segments may still contain points with this index; delete them from the folder quarantine, or from the archive: {files}"
            );
            return Err(message.into());
        }
        Ok(())
    }
}

/// Reads an age: a number followed by s, m, h or d.
///
/// # Errors
/// Another form, an age of 0, and ages beyond 2^64 milliseconds.
fn age(text: &str) -> Result<Duration, String> {
    let wrong = || format!("invalid age {text:?}: use a number followed by s, m, h or d, for example 90d");
    let age = duration(text, &["s", "m", "h", "d"]).ok_or_else(wrong)?;
    if age.is_zero() {
        return Err(format!("invalid age {text:?}: it would remove every point"));
    }
    Ok(age)
}

/// Reads a size: a number of bytes, or a number followed by kB, MB, GB, KiB, MiB or GiB.
///
/// Units are case-sensitive, and so are those of `dd` and `du`: kB is 1,000 bytes, KiB 1,024. Fractions
/// are not accepted.
///
/// # Errors
/// Another form, and sizes beyond 2^64 bytes.
fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || {
        format!(
            "invalid size {text:?}: use a number of bytes, or a number followed by kB, MB, GB, KiB, MiB or GiB, for example 1GiB"
        )
    };
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
        for text in ["", "d", "9", "0d", "-1d", "9é", "99999999999999999999d"] {
            assert!(age(text).is_err(), "{text}");
        }
        for text in ["", "GiB", "1.5GiB", "1TB", "99999999999GiB"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }
}
