//! The command `isobar r2 fsck`.
//!
//! Without options it only reads, and says what is wrong; a nightly run with `--quick` costs the
//! reading of the index and of the lengths. The exit code is 1 while there is a problem, so that a
//! timer's mail or a monitor notices.
//!
//! `--repair` makes the index tell the truth again, which means that damaged objects are gone from it;
//! their remains are kept in `lost`. Before it, consider a backup of the folder, and whether a replica
//! has the object. `--rebuild` is for an index that cannot be read at all.
//!
//! There is no counterpart in wrangler: R2 is checked by Cloudflare, and miniflare's storage is not
//! checked.

use clap::Args;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use isobar_storage::local::{Finding, FsckOptions, LocalOptions, LocalStore, Problem, Rebuild};

use crate::place::Place;
use crate::{Outcome, say};

#[derive(Debug, Args)]
#[command(
    after_help = "Reads every body, compares it with its checksum, and looks for leftovers of crashes. It may run while a server uses the
bucket. With --repair, objects with a damaged or missing body are removed from the index, their remains are moved to the
bucket's folder `lost`, and leftovers are deleted. The exit status is 1 while there are problems.

With --rebuild, the index is rebuilt from packs and blobs, and the old one is kept under another name. Use it if the bucket is refused
because its index is missing, damaged or out of date. No other process may use the bucket. Nothing is deleted; objects that could not
be recovered, or are uncertain, are printed. Uncompleted uploads are lost, and a deleted object may reappear if the record of its
deletion was removed with its pack.

Examples:
  isobar r2 fsck STORAGE
  isobar r2 fsck STORAGE --repair
  isobar r2 fsck STORAGE --rebuild
  isobar r2 fsck STORAGE --quick --json"
)]
pub(crate) struct Fsck {
    /// BUCKET
    bucket: String,
    /// Repair problems that can be repaired
    #[arg(long)]
    repair: bool,
    /// Rebuild the index from packs and blobs
    #[arg(long, conflicts_with_all = ["repair", "quick", "exclusive"])]
    rebuild: bool,
    /// Compare only lengths, without reading large bodies
    #[arg(long)]
    quick: bool,
    /// No other process uses the bucket: treat all unfinished uploads as leftovers, also recent ones
    #[arg(long)]
    exclusive: bool,
    /// Print JSON
    ///
    /// It has all findings, each with its kind, and whether it was repaired.
    #[arg(long)]
    json: bool,
}

impl Fsck {
    /// Checks the bucket, and prints each problem and a line of totals.
    ///
    /// # Errors
    /// Problems that are left, with the option that concerns them; those of opening the bucket. An
    /// index that is damaged is reported as such, since no repair by it would be safe.
    pub(crate) async fn run(self, place: &Place) -> Outcome {
        if self.rebuild {
            return self.rebuild(place).await;
        }
        let store = place.existing_bucket(&self.bucket).await?;
        let options =
            FsckOptions::default().with_bodies(!self.quick).with_repair(self.repair).with_exclusive(self.exclusive);
        let style = ProgressStyle::with_template("{spinner} {pos} objects  {msg}");
        let bar = ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        let report = store.fsck(options, |meta| {
            bar.set_message(meta.key.to_string());
            bar.inc(1);
        });
        let report = report.await;
        bar.finish_and_clear();
        let report = report?;
        if self.json {
            say!("{}", serde_json::to_string_pretty(&report)?);
        } else {
            for Finding { problem, repaired, .. } in &report.findings {
                let what = repaired.as_deref().map(|what| format!(" - {what}")).unwrap_or_default();
                say!("{problem}{what}");
            }
            for path in &report.foreign {
                say!("{} is not a file of the bucket; it is left alone", path.display());
            }
            say!(
                "{} objects, {}, {} uploads in flight: {}",
                report.objects,
                HumanBytes(report.bytes),
                report.uploads,
                if report.findings.is_empty() { "no problems" } else { "see above" }
            );
        }
        if report.is_clean() {
            return Ok(());
        }
        // Nothing is repaired by an index that is damaged.
        let is_index = report.findings.iter().any(|finding| matches!(finding.problem, Problem::Index { .. }));
        let hint = if is_index {
            "the index is damaged: rebuild it with --rebuild"
        } else if self.repair {
            "the remaining ones cannot be repaired"
        } else {
            "repair them with --repair"
        };
        let count = report.findings.iter().filter(|finding| finding.repaired.is_none()).count();
        Err(format!("{count} problems in {}; {hint}", self.bucket).into())
    }

    /// Rebuilds the index from packs and blobs, and prints what came of it.
    ///
    /// # Errors
    /// The bucket is not there, or in use; something could not be recovered, after all else was.
    async fn rebuild(self, place: &Place) -> Outcome {
        if !place.is_here(&self.bucket)? {
            return Err(place.no_bucket(&self.bucket)?.into());
        }
        let folder = place.bucket_folder(&self.bucket)?;
        let report = LocalStore::rebuild(&folder, LocalOptions::default()).await?;
        if self.json {
            say!("{}", serde_json::to_string_pretty(&report)?);
        } else {
            print(&report)?;
        }
        match report.has_loss() {
            true => Err(format!("{} could not be recovered completely", self.bucket).into()),
            false => Ok(()),
        }
    }
}

/// Prints the report of a rebuilding.
fn print(report: &Rebuild) -> Outcome {
    for Finding { problem, repaired, .. } in &report.findings {
        let what = repaired.as_deref().map(|what| format!(" - {what}")).unwrap_or_default();
        say!("{problem}{what}");
    }
    for path in &report.foreign {
        say!("{} is not a file of the bucket; it is left alone", path.display());
    }
    for path in &report.set_aside {
        say!("the old index is {}", path.display());
    }
    let objects = report.objects;
    let packs = report.packs;
    let bytes = HumanBytes(report.bytes);
    say!("{objects} objects, {bytes}, from {packs} packs");
    Ok(())
}
