//! The commands `isobar sessions time-travel`.
//!
//! Times and JSON are those of `isobar d1 time-travel`. A class keeps histories only after `enable`: they cost the disk
//! the differences between the states of each object. On Cloudflare an object restores itself, by
//! `onNextSessionRestoreBookmark`; here the server must be stopped for the command, and an object of a running server does
//! likewise, by `SessionContext::restore_on_next_start`.

use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::{ArgGroup, Args, Subcommand};
use indicatif::HumanBytes;
use isobar_sessions::Bookmark;
use isobar_sessions::local::{Catalog, CatalogWriter, HistoryOptions, HistoryPoint, RestorePoint};
use serde_json::json;

use super::{Class, classes, no_object};
use crate::confirm::{Unattended, confirm};
use crate::place::Place;
use crate::times::{DAY, shown as time, timestamp};
use crate::{Outcome, say};

#[derive(Debug, Subcommand)]
pub(crate) enum Travel {
    /// Show the bookmark of now or of a time, and how far an object's history goes back
    Info(Info),
    /// Restore an object to a bookmark or a time, in place
    Restore(Restore),
    /// Begin to keep the histories of all objects of a class
    Enable(Enable),
    /// Delete the histories of all objects of a class, and keep none
    Disable(Disable),
}

#[derive(Debug, Args)]
#[command(
    after_help = "A time is RFC 3339 (2026-07-13T08:46:42Z) or seconds since 1970, and means the last turn that was not later. What a running \
server has written since the newest state follows within a minute, or when the object falls asleep.

Examples:
  isobar sessions time-travel info Room lobby
  isobar sessions time-travel info Room lobby --timestamp 2026-07-13T08:46:42Z --json"
)]
pub(crate) struct Info {
    #[command(flatten)]
    class: Class,
    /// The object's name, or its id
    object: String,
    /// Show the bookmark of this time
    #[arg(long, value_name = "TIME", value_parser = timestamp)]
    timestamp: Option<DateTime<Utc>>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Tables, keys and alarm become what they were, those of a deleteAll too. The server must be stopped; an object of a server that \
runs restores itself by SessionContext::restore_on_next_start. The restoring is part of the history itself: the bookmark that is printed at \
the end undoes it.

Examples:
  isobar sessions time-travel restore Room lobby --timestamp 2026-07-13T08:46:42Z
  isobar sessions time-travel restore Room lobby --bookmark 6927c1f0-00000000-0000001c-0193f2a1b2c3d4e5f60718293a4b5c6d --yes"
)]
#[command(group(ArgGroup::new("state").required(true).args(["bookmark", "timestamp"])))]
pub(crate) struct Restore {
    #[command(flatten)]
    class: Class,
    /// The object's name, or its id
    object: String,
    /// The bookmark to restore
    ///
    /// `isobar sessions time-travel info` prints them. A bookmark belongs to one object.
    #[arg(long)]
    bookmark: Option<String>,
    /// The time to restore: RFC 3339, or seconds since 1970
    #[arg(long, value_name = "TIME", value_parser = timestamp)]
    timestamp: Option<DateTime<Utc>>,
    /// Print JSON; does not ask for confirmation, as for D1
    #[arg(long)]
    json: bool,
    /// Do not ask for confirmation; needed without a terminal
    #[arg(long, short)]
    yes: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "The server must be stopped. Every turn of every object of the class is kept from then on, in the folder `history` beside the \
objects.

Example:
  isobar sessions time-travel enable Room --days 7 --size 16"
)]
pub(crate) struct Enable {
    #[command(flatten)]
    class: Class,
    /// Days for which states are kept
    ///
    /// 1 to 3650. Run the command again to change it.
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3650))]
    days: u64,
    /// Size limit of the history of each object in MiB
    ///
    /// The oldest states go first. A busy object may therefore go back fewer days than --days.
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=1 << 40))]
    size: u64,
}

#[derive(Debug, Args)]
#[command(after_help = "The server must be stopped.

Example:
  isobar sessions time-travel disable Room --yes")]
pub(crate) struct Disable {
    #[command(flatten)]
    class: Class,
    /// Do not ask for confirmation; needed without a terminal
    #[arg(long, short)]
    yes: bool,
}

impl Travel {
    pub(super) fn run(self, place: &Place) -> Outcome {
        match self {
            Self::Info(info) => info.run(place),
            Self::Restore(restore) => restore.run(place),
            Self::Enable(enable) => enable.run(place),
            Self::Disable(disable) => disable.run(place),
        }
    }
}

/// Refuses a class whose histories are not kept.
fn require_history(catalog: &Catalog, class: &Class) -> Outcome {
    if catalog.keeps_history()? {
        return Ok(());
    }
    let class = &class.class;
    Err(format!(
        "no history of the objects of {class} is kept: `isobar sessions time-travel enable {class}` begins one"
    )
    .into())
}

impl Info {
    fn run(self, place: &Place) -> Outcome {
        let catalog = self.class.look(place)?;
        require_history(&catalog, &self.class)?;
        let id = catalog.id(&self.object);
        if catalog.entry(&id)?.is_none() {
            return Err(no_object(&self.class, &self.object, &id).into());
        }
        let Some(history) = catalog.history(&id)? else {
            return Err(format!("the object {:?} has not changed since its history is kept", self.object).into());
        };
        let bookmark = match self.timestamp {
            Some(at) => catalog.bookmark_for_time(&id, at)?.unwrap_or_else(|| history.newest.bookmark.clone()),
            None => history.newest.bookmark.clone(),
        };
        let is_live = catalog.is_live()?;
        if self.json {
            let shown = |point: &HistoryPoint| json!({"bookmark": point.bookmark.as_str(), "time": time(point.time)});
            let restore = history.restore.as_ref().map(shown);
            let printed = json!({
                "bookmark": bookmark.as_str(),
                "history": {
                    "oldest": shown(&history.oldest), "newest": shown(&history.newest), "bytes": history.bytes,
                    "restore": restore,
                },
                "served": is_live,
            });
            say!("{}", serde_json::to_string_pretty(&printed)?);
            return Ok(());
        }
        match self.timestamp {
            Some(at) => say!("the bookmark of {} is {bookmark}", time(at)),
            None => say!("the newest bookmark is {bookmark}"),
        }
        let class = &self.class.class;
        say!("to restore it: isobar sessions time-travel restore {class} {:?} --bookmark {bookmark}", self.object);
        let size = HumanBytes(history.bytes);
        say!("history from {} to {}: {size}", time(history.oldest.time), time(history.newest.time));
        if let Some(restore) = history.restore {
            say!("with its next start the object is restored to {} ({})", time(restore.time), restore.bookmark);
        }
        if is_live {
            say!("a server has the object: what it has written since follows within a minute");
        }
        Ok(())
    }
}

impl Restore {
    fn run(self, place: &Place) -> Outcome {
        let writer = self.take(place)?;
        require_history(writer.catalog(), &self.class)?;
        let id = writer.catalog().id(&self.object);
        let missing = || no_object(&self.class, &self.object, &id);
        if writer.catalog().entry(&id)?.is_none() {
            return Err(missing().into());
        }
        let name = &self.object;
        let (to, shown) = match (&self.bookmark, self.timestamp) {
            (Some(bookmark), _) => {
                (RestorePoint::Bookmark(Bookmark::new(bookmark)), format!("the bookmark {bookmark}"))
            }
            (None, at) => {
                let at = at.unwrap_or_else(Utc::now);
                (RestorePoint::Time(at), time(at))
            }
        };
        let question = format!("Replace all that {name:?} has stored with its state of {shown}");
        confirm(self.yes || self.json, &question, Unattended::Refuse)?;
        let restored = writer.restore(&id, &to)?.ok_or_else(missing)?;
        if self.json {
            let printed = json!({
                "bookmark": restored.bookmark.as_str(),
                "previous_bookmark": restored.previous_bookmark.as_str(),
                "message": format!("the object {name} was restored to {shown}"),
            });
            say!("{}", serde_json::to_string_pretty(&printed)?);
            return Ok(());
        }
        say!("the object {name:?} was restored to {shown}; the current bookmark is {}", restored.bookmark);
        let class = &self.class.class;
        let previous = restored.previous_bookmark;
        say!("to undo it: isobar sessions time-travel restore {class} {name:?} --bookmark {previous}");
        Ok(())
    }

    /// Takes the objects, and says how else it goes where a server has them.
    fn take(&self, place: &Place) -> Result<CatalogWriter, Box<dyn std::error::Error>> {
        let is_live = self.class.look(place)?.is_live()?;
        self.class.take(place).map_err(|error| match is_live {
            true => format!("{error}, or let the object call SessionContext::restore_on_next_start and abort").into(),
            false => error,
        })
    }
}

impl Enable {
    fn run(self, place: &Place) -> Outcome {
        classes(Some(&self.class.class), place)?; // one that is neither here nor configured is misspelt
        let (class, folder) = place.session_class(&self.class.class)?;
        place.make_root(place.config()?.as_ref())?;
        let mut writer = CatalogWriter::create(folder, &class)?;
        let age = Duration::from_secs(self.days * DAY);
        let bytes = self.size.saturating_mul(1 << 20);
        writer.keep_history(HistoryOptions::default().with_max_age(age).with_max_bytes(bytes))?;
        say!(
            "the histories of the objects of {class} are kept for {} days, in up to {} MiB each",
            self.days,
            self.size
        );
        Ok(())
    }
}

impl Disable {
    fn run(self, place: &Place) -> Outcome {
        let mut writer = self.class.take(place)?;
        require_history(writer.catalog(), &self.class)?;
        let class = &self.class.class;
        confirm(self.yes, &format!("Delete the histories of all objects of {class}"), Unattended::Refuse)?;
        writer.delete_history()?;
        say!("the histories of the objects of {class} are deleted, and no others are kept");
        Ok(())
    }
}
