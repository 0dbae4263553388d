//! `isobar analytics archive`.
//!
//! Moves old Parquet segments of a dataset into a folder or a bucket. A server does so by itself with `--events-archive`. Each segment is read
//! back and compared before it leaves the disk; broken off, the command can be run again.

use std::time::Duration;

use clap::Args;
use isobar_analytics::local::StoredSegments;

use super::{Dataset, counted, print_json, warn_of, without_retention};
use crate::duration::duration;
use crate::place::Place;
use crate::{Outcome, archive, say};

#[derive(Debug, Args)]
#[command(
    after_help = "TARGET is a folder, or r2://BUCKET/PREFIX; with --remote it is a bucket of the account, or of any S3 server. The segments are in \
TARGET/DATASET. The dataset keeps the place: every other command reads the segments from there, and so does a server, once it has been \
started again or was started with --events-archive. They stay in the dataset: `retention` and `erase` remove them there, too. Segments \
that are in the log yet are not moved: `compact` makes Parquet segments of it.

Examples:
  isobar analytics archive EVENTS --older-than 30d --to /mnt/large/events
  isobar analytics archive EVENTS --older-than 30d --to r2://old/events --remote
  isobar analytics archive EVENTS --older-than 7d"
)]
pub(crate) struct Archive {
    #[command(flatten)]
    dataset: Dataset,
    /// Move the segments whose newest point is older than this, for example 30d or 12h
    #[arg(long, value_name = "AGE", value_parser = older_than)]
    older_than: Duration,
    /// A folder, or r2://BUCKET/PREFIX; by default the archive that the dataset has
    ///
    /// BUCKET is a name or binding. While the dataset has segments in an archive it can have no other one.
    #[arg(long, value_name = "TARGET")]
    to: Option<String>,
    /// The bucket is one of the account (R2_ACCESS_KEY_ID, R2_SECRET_ACCESS_KEY, CLOUDFLARE_ACCOUNT_ID in the environment), or of any S3
    /// server (S3_ENDPOINT)
    #[arg(long, requires = "to")]
    remote: bool,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

impl Archive {
    pub(super) async fn run(self, place: &Place) -> Outcome {
        // Before a bucket is made for it.
        let folder = self.dataset.existing(place)?;
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let store = match &self.to {
            Some(target) => archive::open(target, self.remote, &name, place).await?,
            None => {
                // One that cannot be read may have an archive.
                StoredSegments::of(&folder)?;
                let known = archive::of_dataset(&folder, place).await?;
                known.ok_or_else(|| format!("the dataset {name} has no archive yet: name one with --to"))?
            }
        };
        let location = store.location();
        let sink = self.dataset.open_as(place, without_retention().with_archive(store))?;
        let report = sink.archive(self.older_than).await?;
        if self.json {
            return print_json(&report);
        }
        warn_of(&report.damage);
        let moved = counted(report.segments, "Parquet segment");
        let points = counted(report.points, "point");
        say!("moved {moved} ({points}, {}) to {location}", counted(report.bytes, "byte"));
        Ok(())
    }
}

/// Reads an age: a number followed by s, m, h or d. 0 is that of every segment.
///
/// # Errors
/// Another form, and ages beyond 2^64 milliseconds.
fn older_than(text: &str) -> Result<Duration, String> {
    let wrong = || format!("invalid age {text:?}: use a number followed by s, m, h or d, for example 30d");
    duration(text, &["s", "m", "h", "d"]).ok_or_else(wrong)
}
