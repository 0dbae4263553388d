//! The commands `isobar sessions backup`, `restore` and `verify`.
//!
//! A backup is of the objects of a class. A run copies each of them at one moment of its own, beside a
//! server or without one, and puts the blocks that have changed since the run before; its manifest comes
//! last, so that a run that is broken off replaces nothing. `isobar_sessions::backup` has the format.
//!
//! An object that cannot be read stays in the backup as it was, and the command ends with 1 so that a
//! cron job notices; with `--every` it is a warning, as is a failure that may pass. One process at a
//! time backs up into a target.

use std::time::Duration;

use clap::Args;
use indicatif::{HumanBytes, HumanCount};
use isobar_sessions::ErrorKind;
use isobar_sessions::backup::{Backup, BackupOptions, BackupReport, BackupTarget, RestoreOptions, restore, verify};
use isobar_sessions::local::OnExisting;
use serde_json::json;

use super::{Class, named};
use crate::place::{Access, Place};
use crate::remote::Where;
use crate::target::open;
use crate::times::shown as time;
use crate::{Outcome, say};

#[derive(Debug, Args)]
#[command(
    after_help = "TARGET is a folder, or r2://BUCKET/PREFIX; with --remote it is a bucket of the account, or of any S3 server. A server may \
go on meanwhile: each object is of one moment, not all of the same. Each run puts what has changed since the one before, and one that is \
broken off replaces nothing. An object that cannot be read stays in the backup as it was; it is named, and the exit status is 1.

Examples:
  isobar sessions backup Room /mnt/backup/objects
  isobar sessions backup Room r2://backups/objects --remote --every 3600"
)]
pub(crate) struct Save {
    #[command(flatten)]
    class: Class,
    /// A folder, or r2://BUCKET/PREFIX
    target: String,
    /// Back up again after this number of seconds, until Ctrl-C
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    every: Option<u64>,
    /// Number of runs to keep: each can be restored from
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    keep: u32,
    /// Read and put every object, also those that have not changed: where the target has lost something
    #[arg(long)]
    full: bool,
    /// Print JSON, one line for each run
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Where,
}

#[derive(Debug, Args)]
#[command(
    after_help = "The server must be stopped. Each object is put in place whole and checked, with its name and alarm; an alarm whose time is \
over runs when the server starts. Where one of the objects is there already nothing is restored, unless --replace or --skip-existing is \
given.

Examples:
  isobar --root ./restored sessions restore Room /mnt/backup/objects
  isobar sessions restore Room r2://backups/objects lobby --remote --replace"
)]
pub(crate) struct Load {
    #[command(flatten)]
    class: Class,
    /// A folder, or r2://BUCKET/PREFIX
    target: String,
    /// The names or ids of the objects; by default all of the class
    objects: Vec<String>,
    /// Put objects of the backup in the place of those that are there
    #[arg(long, conflicts_with = "skip_existing")]
    replace: bool,
    /// Leave objects as they are that are there
    #[arg(long)]
    skip_existing: bool,
    /// Restore from this run, which `backup` and `verify` print; by default the newest
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Where,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Reads all of a run, compares every checksum, and has SQLite check each object in a temporary file. The exit status is 1 if \
something is missing or damaged, or if the run has objects that could not be read when it was made.

Example:
  isobar sessions verify Room /mnt/backup/objects"
)]
pub(crate) struct Verify {
    #[command(flatten)]
    class: Class,
    /// A folder, or r2://BUCKET/PREFIX
    target: String,
    /// Check this run; by default the newest
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Where,
}

impl Save {
    pub(super) async fn run(self, place: &Place) -> Outcome {
        let (class, folder) = self.class.folder(place)?;
        let target = open::<dyn BackupTarget>(&self.target, place, &self.reach, Access::Write).await?;
        let mut options = BackupOptions::default().with_keep(usize::try_from(self.keep)?);
        options.full = self.full;
        let backup = Backup::new(folder, &class, target).with_options(options);
        loop {
            let report = match backup.run().await {
                // The next run goes on.
                Err(error) if self.every.is_some() && may_pass(error.kind()) => {
                    eprintln!("warning: {error}");
                    None
                }
                report => Some(report?),
            };
            if let Some(report) = &report {
                self.print(&class, report)?;
            }
            let Some(seconds) = self.every else {
                let unread = report.map_or(0, |report| report.unread.len());
                return match unread {
                    0 => Ok(()),
                    _ => Err(format!("{unread} objects could not be read; see above").into()),
                };
            };
            tokio::time::sleep(Duration::from_secs(seconds)).await;
        }
    }

    fn print(&self, class: &str, report: &BackupReport) -> Outcome {
        let BackupReport { run, objects, read, blocks, bytes, removed, .. } = report;
        for (id, why) in &report.unread {
            eprintln!("unread: {class}/{}: {why}", named(id));
        }
        if let Some(problem) = &report.problem {
            eprintln!("warning: {problem}");
        }
        if self.json {
            let unread: Vec<_> =
                report.unread.iter().map(|(id, why)| json!({"id": id.to_string(), "why": why})).collect();
            let printed = json!({
                "run": run, "objects": objects, "read": read, "blocks": blocks, "bytes": bytes, "removed": removed,
                "unread": unread, "problem": report.problem,
            });
            say!("{printed}");
        } else if *read > 0 || self.every.is_none() {
            let objects = HumanCount(*objects);
            let bytes = HumanBytes(*bytes);
            say!(
                "{class} is backed up as {run}: {objects} objects, {read} read, {bytes} put; {removed} earlier runs removed"
            );
        }
        Ok(())
    }
}

/// Whether the next run may succeed where one has failed so.
fn may_pass(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Storage | ErrorKind::StorageFull | ErrorKind::Overloaded)
}

impl Load {
    pub(super) async fn run(self, place: &Place) -> Outcome {
        let (class, folder) = place.session_class(&self.class.class)?;
        let target = open::<dyn BackupTarget>(&self.target, place, &self.reach, Access::Existing).await?;
        place.make_root(place.config()?.as_ref())?;
        let mut options = RestoreOptions::default();
        options.objects = Some(self.objects).filter(|objects| !objects.is_empty());
        options.existing = match (self.replace, self.skip_existing) {
            (true, _) => OnExisting::Replace,
            (_, true) => OnExisting::Skip,
            _ => OnExisting::Refuse,
        };
        options.run = self.run;
        let report = restore(&*target, folder, &class, &options).await;
        let report = report.map_err(|error| format!("restoring from {}: {error}", self.target))?;
        if self.json {
            let printed = json!({
                "run": report.run, "objects": report.objects, "bytes": report.bytes, "skipped": report.skipped,
                "missing": report.missing,
            });
            say!("{}", serde_json::to_string_pretty(&printed)?);
        } else {
            let skipped = match report.skipped {
                0 => String::new(),
                skipped => format!("; {skipped} were there and left as they are"),
            };
            let objects = HumanCount(report.objects);
            say!("restored into {class} from {}: {objects} objects, {}{skipped}", report.run, HumanBytes(report.bytes));
        }
        if !report.missing.is_empty() {
            let count = report.missing.len();
            eprintln!(
                "warning: {count} objects could never be read, and are not in the backup: {}",
                report.missing.join(", ")
            );
        }
        Ok(())
    }
}

impl Verify {
    pub(super) async fn run(self, place: &Place) -> Outcome {
        let (class, _) = place.session_class(&self.class.class)?;
        let target = open::<dyn BackupTarget>(&self.target, place, &self.reach, Access::Existing).await?;
        let report = verify(&*target, &class, self.run.as_deref()).await;
        let report = report.map_err(|error| format!("{}: {error}", self.target))?;
        if self.json {
            let unread: Vec<_> = report.unread.iter().map(|(id, why)| json!({"id": id, "why": why})).collect();
            let printed = json!({
                "run": report.run, "ended": time(report.ended), "objects": report.objects, "bytes": report.bytes,
                "unread": unread, "problems": report.problems, "runs": report.runs,
            });
            say!("{}", serde_json::to_string_pretty(&printed)?);
        } else {
            let objects = HumanCount(report.objects);
            let ended = time(report.ended);
            say!(
                "{} of {ended}: {objects} objects, {} were read; runs: {}",
                report.run,
                HumanBytes(report.bytes),
                report.runs.join(", ")
            );
        }
        let unread =
            report.unread.iter().map(|(id, why)| format!("{id} could not be read when the run was made: {why}"));
        let problems: Vec<String> = report.problems.iter().cloned().chain(unread).collect();
        match problems.len() {
            0 => Ok(()),
            count => Err(format!("{count} problems:\n{}", problems.join("\n")).into()),
        }
    }
}
