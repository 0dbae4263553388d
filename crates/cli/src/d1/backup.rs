//! The commands `isobar d1 backup`, `restore` and `verify`.
//!
//! A backup is of a database with a history: its snapshots and commits become objects of a target, a
//! folder or a prefix of a bucket. Each run puts what is new. Objects are never changed, and each
//! prefix of the puts is a consistent backup, so that a run can be broken off anywhere, also by a power
//! failure, and the next goes on. `isobar_db::backup` has the format.
//!
//! `--every` makes a process of it, for a service manager to run beside the server. A failure that may
//! pass, such as a network that is down, is a warning there, and the next run tries again; any other
//! ends the command with 1. The interval begins when a run has ended.
//!
//! One process at a time backs up into a target: nothing keeps a second one out, and it could remove
//! what the first still counts on.
//!
//! wrangler has no counterpart: D1's Time Travel is its backup, and ends with the account.

use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::Args;
use indicatif::HumanBytes;
use isobar_db::backup::{Backup, BackupTarget, RestoreOptions, restore, verify};
use isobar_db::{Bookmark, ErrorKind};
use serde_json::json;

use crate::place::{Access, Place};
use crate::remote::Where;
use crate::target::open;
use crate::times::{shown, timestamp};
use crate::{Outcome, say};

#[derive(Debug, Args)]
#[command(
    after_help = "TARGET is a folder, or r2://BUCKET/PREFIX; with --remote it is a bucket of the account, or of any S3 server. The database \
has to keep its history (isobar d1 time-travel enable); a server may have it open. Each run puts what is new; one that is broken \
off has put a consistent backup, and the next goes on. States that the history has forgotten go from the backup, too.

Examples:
  isobar d1 backup DB /mnt/backup/business
  isobar d1 backup DB r2://backups/business --remote --every 60"
)]
pub(crate) struct Save {
    /// The database's name or binding
    database: String,
    /// A folder, or r2://BUCKET/PREFIX
    ///
    /// BUCKET is a name or binding. A folder should be on another disk than the database.
    target: String,
    /// Back up again after this number of seconds, until Ctrl-C
    ///
    /// A machine that is lost takes at most the commits since the last run with it.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    every: Option<u64>,
    /// Print JSON, one line for each run
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Where,
}

#[derive(Debug, Args)]
#[command(
    after_help = "The database appears whole, or not at all; one that exists is not replaced. It keeps no history until that is enabled.

Examples:
  isobar d1 restore DB /mnt/backup/business
  isobar --root ./restored d1 restore DB r2://backups/business --remote --timestamp 2026-07-13T08:46:42Z"
)]
pub(crate) struct Load {
    /// The database's name or binding
    database: String,
    /// A folder, or r2://BUCKET/PREFIX
    target: String,
    /// Restore the state of this bookmark
    ///
    /// Each run of `backup` prints one. Default: the newest state.
    #[arg(long, conflicts_with = "timestamp")]
    bookmark: Option<String>,
    /// Restore the state at this time: RFC 3339, or seconds since 1970
    #[arg(long, value_name = "TIME", value_parser = timestamp)]
    timestamp: Option<DateTime<Utc>>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Where,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Reads all of the backup, and restores its newest state into a temporary file, which SQLite checks.

Example:
  isobar d1 verify /mnt/backup/business"
)]
pub(crate) struct Verify {
    /// A folder, or r2://BUCKET/PREFIX
    target: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Where,
}

/// The message for an error of a restore or a check, with the target where the backup there is at fault.
fn of_target(target: &str, error: &isobar_db::Error) -> String {
    match error.kind() {
        ErrorKind::History => format!("{target}: {error}"),
        _ => error.to_string(),
    }
}

impl Save {
    pub(super) async fn run(self, place: &Place) -> Outcome {
        let (database, known) = place.existing_database(&self.database).await?;
        let target = open::<dyn BackupTarget>(&self.target, place, &self.reach, Access::Write).await?;
        let backup = Backup::new(database, target);
        let name = known.local_name();
        loop {
            let report = match backup.run().await {
                Err(error) if error.kind() == ErrorKind::Unsupported => {
                    let message = "keeps no history, which a backup is made of";
                    return Err(format!("the database {name} {message}: isobar d1 time-travel enable {name}").into());
                }
                // The next run goes on.
                Err(error) if self.every.is_some() && error.is_retryable() => {
                    eprintln!("warning: {error}");
                    None
                }
                report => Some(report?),
            };
            match report {
                Some(report) if self.json => say!("{}", serde_json::to_string(&report)?),
                Some(report) if report.objects > 0 || self.every.is_none() => say!(
                    "{name} is backed up to the bookmark {}: {} objects and {} new, {} removed",
                    report.bookmark,
                    report.objects,
                    HumanBytes(report.bytes),
                    report.removed
                ),
                _ => {}
            }
            let Some(seconds) = self.every else { return Ok(()) };
            tokio::time::sleep(Duration::from_secs(seconds)).await;
        }
    }
}

impl Load {
    pub(super) async fn run(self, place: &Place) -> Outcome {
        let (file, known, config) = place.known_database(&self.database)?;
        if file.exists() {
            let message = "a backup is restored into a new file; use another --root, or move the database away";
            return Err(format!("the database {} exists ({}): {message}", known.local_name(), file.display()).into());
        }
        let target = open::<dyn BackupTarget>(&self.target, place, &self.reach, Access::Existing).await?;
        place.make_root(Some(&config))?;
        let mut options = RestoreOptions::default();
        options.bookmark = self.bookmark.map(Bookmark::new);
        options.time = self.timestamp;
        let point = restore(&*target, &file, &options).await.map_err(|error| of_target(&self.target, &error))?;
        let time = shown(point.time);
        if self.json {
            let restored = json!({"bookmark": point.bookmark.as_str(), "time": time, "file": file});
            say!("{}", serde_json::to_string_pretty(&restored)?);
            return Ok(());
        }
        say!("{} is restored to the bookmark {} ({time}): {}", known.local_name(), point.bookmark, file.display());
        Ok(())
    }
}

impl Verify {
    pub(super) async fn run(self, place: &Place) -> Outcome {
        let target = open::<dyn BackupTarget>(&self.target, place, &self.reach, Access::Existing).await?;
        let verified = verify(&*target).await.map_err(|error| of_target(&self.target, &error))?;
        if self.json {
            say!("{}", serde_json::to_string_pretty(&verified)?);
        } else {
            say!("{} objects, {} were read", verified.objects, HumanBytes(verified.bytes));
            if let Some(newest) = &verified.newest {
                say!("the newest state is good: bookmark {} ({})", newest.bookmark, shown(newest.time));
            }
        }
        match verified.problems.len() {
            0 => Ok(()),
            problems => Err(format!("{problems} problems:\n{}", verified.problems.join("\n")).into()),
        }
    }
}
