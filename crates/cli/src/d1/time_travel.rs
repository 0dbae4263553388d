//! The commands `isobar d1 time-travel`.
//!
//! Grammar, times and JSON are wrangler's, with D1's bookmarks for `--remote`. A local database keeps a
//! history only after `enable`: it costs the disk a copy of each commit's pages, which a database for
//! development does not need.
//!
//! The history is kept by whichever isobar process commits, in a folder beside the database. A program
//! that writes by another SQLite goes past it; `info` shows such a gap, and the states on both sides of
//! it can be restored.
//!
//! Restoring is a commit like any other, and the state before it stays in the history: it is undone by
//! restoring the previous bookmark, which is printed. Broken off, it has happened or it has not.
//!
//! | | wrangler | here |
//! |---|---|---|
//! | asks before it restores | with a terminal; without one it restores | with a terminal; without one `--yes` is needed |
//! | `--json` | restores without a question | likewise |
//! | how far back | 30 days, 7 on the free plan | `--days` and `--size` of `enable`; with `--remote` as D1 |

use std::error::Error;
use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::{ArgGroup, Args, Subcommand};
use indicatif::HumanBytes;
use isobar_db::{Bookmark, Database, ErrorKind, History, HistoryOptions, SqliteDatabase, SqliteOptions, TimeTravel};
use serde_json::json;

use super::Where;
use crate::confirm::{Unattended, confirm};
use crate::place::Place;
use crate::times::{DAY, shown, timestamp};
use crate::{Outcome, say};

#[derive(Debug, Subcommand)]
pub(crate) enum Travel {
    /// Show the bookmark of now or of a time, and how far the history goes back
    Info(Info),
    /// Restore a database to a bookmark or a time, in place
    Restore(Restore),
    /// Begin to keep the history of a database on this machine
    Enable(Enable),
    /// Delete the history of a database on this machine, and keep none
    Disable(Disable),
}

#[derive(Debug, Args)]
#[command(
    after_help = "A time is RFC 3339 (2026-07-13T08:46:42Z) or seconds since 1970, and means the last commit that was not later.

Examples:
  isobar d1 time-travel info DB
  isobar d1 time-travel info DB --timestamp 2026-07-13T08:46:42Z --json"
)]
pub(crate) struct Info {
    /// The database's name or binding
    database: String,
    /// Show the bookmark of this time
    #[arg(long, value_name = "TIME", value_parser = timestamp)]
    timestamp: Option<DateTime<Utc>>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: Where,
}

#[derive(Debug, Args)]
#[command(
    after_help = "All data become what they were. A server that has the database open goes on with them. The restoring is part of the \
history itself: the bookmark that is printed at the end undoes it.

Examples:
  isobar d1 time-travel restore DB --timestamp 2026-07-13T08:46:42Z
  isobar d1 time-travel restore DB --bookmark 0006626a-00000002-00000000-01a2274e70083d86a6f3f6860a321a7c --yes"
)]
#[command(group(ArgGroup::new("state").required(true).args(["bookmark", "timestamp"])))]
pub(crate) struct Restore {
    /// The database's name or binding
    database: String,
    /// The bookmark to restore
    ///
    /// `isobar d1 time-travel info` prints them. A bookmark belongs to one database.
    #[arg(long)]
    bookmark: Option<String>,
    /// The time to restore: RFC 3339, or seconds since 1970
    #[arg(long, value_name = "TIME", value_parser = timestamp)]
    timestamp: Option<DateTime<Utc>>,
    /// Print JSON; does not ask for confirmation, as in wrangler
    #[arg(long)]
    json: bool,
    /// Do not ask for confirmation; needed without a terminal
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    at: Where,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Every commit is kept from then on, by every isobar process that opens the database, in a folder beside it.

Example:
  isobar d1 time-travel enable DB --days 7 --size 256"
)]
pub(crate) struct Enable {
    /// The database's name or binding
    database: String,
    /// Days for which states are kept
    ///
    /// 1 to 3650. Run the command again to change it.
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3650))]
    days: u64,
    /// Size limit of the history in MiB; the newest snapshot is kept in any case
    ///
    /// The oldest states go first. A busy database may therefore go back fewer days than --days.
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..=1 << 40))]
    size: u64,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  isobar d1 time-travel disable DB --yes")]
pub(crate) struct Disable {
    /// The database's name or binding
    database: String,
    /// Do not ask for confirmation; needed without a terminal
    #[arg(long, short)]
    yes: bool,
}

impl Travel {
    pub(super) async fn run(self, place: &Place) -> Outcome {
        match self {
            Self::Info(info) => info.run(place).await,
            Self::Restore(restore) => restore.run(place).await,
            Self::Enable(enable) => enable.run(place).await,
            Self::Disable(disable) => disable.run(place),
        }
    }
}

/// The history of a database that has one.
///
/// # Errors
/// It keeps none; the message says how one begins.
fn history_of<'d>(database: &'d dyn Database, name: &str) -> Result<&'d dyn TimeTravel, Box<dyn Error>> {
    let none =
        || format!("the database {name} keeps no history: `isobar d1 time-travel enable {name}` begins one").into();
    database.time_travel().ok_or_else(none)
}

impl Info {
    async fn run(self, place: &Place) -> Outcome {
        let opened = self.at.look(place, &self.database).await?;
        let travel = history_of(&**opened.existing()?, opened.known.local_name())?;
        let bookmark = travel.bookmark(self.timestamp).await?;
        let history = match travel.history().await {
            Err(error) if error.kind() == ErrorKind::Unsupported => None,
            history => Some(history?),
        };
        if self.json {
            let mut shown = json!({"bookmark": bookmark.as_str()});
            if let Some(history) = &history {
                shown["history"] = serde_json::to_value(history)?;
            }
            say!("{}", serde_json::to_string_pretty(&shown)?);
            return Ok(());
        }
        match self.timestamp {
            Some(time) => say!("the bookmark of {} is {bookmark}", shown(time)),
            None => say!("the current bookmark is {bookmark}"),
        }
        say!("to restore it: isobar d1 time-travel restore {} --bookmark {bookmark}", self.database);
        history.as_ref().map_or(Ok(()), show)
    }
}

/// Prints the extent of a history.
fn show(history: &History) -> Outcome {
    if let (Some(oldest), Some(newest)) = (&history.oldest, &history.newest) {
        let size = HumanBytes(history.bytes);
        say!("history from {} to {}: {size}, {} snapshots", shown(oldest.time), shown(newest.time), history.snapshots);
    }
    for gap in &history.gaps {
        say!(
            "gap: nothing is known between {} ({}) and {} ({})",
            shown(gap.after.time),
            gap.after.bookmark,
            shown(gap.before.time),
            gap.before.bookmark
        );
    }
    if let Some(failure) = &history.failure {
        say!("commits are not kept at the moment: {failure}");
    }
    Ok(())
}

impl Restore {
    async fn run(self, place: &Place) -> Outcome {
        let opened = self.at.look(place, &self.database).await?;
        let name = opened.known.local_name();
        let travel = history_of(&**opened.existing()?, name)?;
        let bookmark = match &self.bookmark {
            Some(bookmark) => Bookmark::new(bookmark.as_str()),
            None => travel.bookmark(self.timestamp).await?,
        };
        let question = format!("Replace all data of {name} with those of the bookmark {bookmark}");
        confirm(self.yes || self.json, &question, Unattended::Refuse)?;
        let restored = travel.restore(&bookmark).await?;
        if self.json {
            let shown = json!({
                "bookmark": restored.bookmark.as_str(),
                "previous_bookmark": restored.previous_bookmark.as_str(),
                "message": format!("the database {name} was restored to the bookmark {bookmark}"),
            });
            say!("{}", serde_json::to_string_pretty(&shown)?);
            return Ok(());
        }
        say!(
            "the database {name} was restored to the bookmark {bookmark}; the current bookmark is {}",
            restored.bookmark
        );
        say!("to undo it: isobar d1 time-travel restore {} --bookmark {}", self.database, restored.previous_bookmark);
        Ok(())
    }
}

impl Enable {
    async fn run(self, place: &Place) -> Outcome {
        let (file, known, config) = place.known_database(&self.database)?;
        place.make_root(Some(&config))?;
        let bounds = HistoryOptions::default()
            .with_max_age(Duration::from_secs(self.days * DAY))
            .with_max_bytes(self.size << 20);
        let options = SqliteOptions::default().with_time_limit(Duration::MAX).with_history(bounds);
        let database = SqliteDatabase::open_with(&file, options).await?;
        let history = history_of(&database, known.local_name())?.history().await?;
        if let Some(failure) = history.failure {
            return Err(format!("the history of {} cannot be kept: {failure}", known.local_name()).into());
        }
        say!(
            "the history of {} is kept for {} days, in up to {} MiB: {}",
            known.local_name(),
            self.days,
            self.size,
            SqliteDatabase::history_folder(&file).display()
        );
        Ok(())
    }
}

impl Disable {
    fn run(self, place: &Place) -> Outcome {
        let (file, known, _) = place.known_database(&self.database)?;
        let name = known.local_name();
        if !SqliteDatabase::history_folder(&file).exists() {
            return Err(format!("the database {name} keeps no history").into());
        }
        confirm(self.yes, &format!("Delete the history of {name}"), Unattended::Refuse)?;
        SqliteDatabase::delete_history(&file)?;
        say!("the history of {name} is deleted, and no other is kept");
        Ok(())
    }
}
