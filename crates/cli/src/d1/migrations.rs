//! The command `isobar d1 migrations`.
//!
//! Names, order, table (`d1_migrations`) and the fields of the configuration (`migrations_dir`,
//! `migrations_table`, `migrations_pattern`) are wrangler's: either tool goes on where the other has
//! stopped. Checksums are in a table of their own beside it, so that wrangler does not notice them.
//!
//! # Applying
//!
//! The pending files are applied in their order, each with its record in one transaction. A file that
//! fails changes nothing and ends the command; those before it stay applied, and the next run begins
//! with the one that failed. Two processes at once apply each file once: who comes second finds the
//! record and goes on.
//!
//! | | wrangler | here |
//! |---|---|---|
//! | without a terminal | applies | applies |
//! | the question is declined | exit code 0 | exit code 1 |
//! | `--dry-run` | none | runs them in a transaction that is rolled back |
//! | a file that was changed after it was applied | unnoticed | `status` says so |
//! | undoing | none | `down`, by files of one's own |
//! | an existing database | its records by hand | `baseline` |
//! | a new file's name | `0001_the message as it is` with `_` for blanks | in lower case, letters and digits, `_` between the words |

mod rebuild;

use std::error::Error;
use std::fs::OpenOptions;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use isobar_db::migrations::{self, Migration, Migrator, State};

use super::{Opened, Where};
use crate::confirm::{Unattended, confirm};
use crate::place::Place;
use crate::{Outcome, say, table};

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  isobar d1 migrations create DB \"add users\" --down
  isobar d1 migrations apply DB --dry-run
  isobar d1 migrations status DB --drift
  isobar d1 migrations down DB --count 2
  isobar d1 migrations baseline DB --up-to 0007_existing.sql")]
pub(crate) enum Migrations {
    /// Create an empty migration with the next number
    Create(Create),
    /// List pending migrations
    List {
        /// The database's name or binding
        database: String,
        /// Print the names as JSON
        ///
        /// An array of texts, in the order in which they would be applied; [] where none is pending.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        at: Where,
    },
    /// Show each migration: applied, changed since, without a file, pending, out of order
    Status(Status),
    /// Apply pending migrations
    Apply(Apply),
    /// Undo the migrations that were applied last, by their .down.sql files
    Down(Down),
    /// Record migrations as applied without running them, and their files as they are
    Baseline(Baseline),
    /// Create a migration that gives a table another definition, and keeps all rows
    Rebuild(rebuild::Rebuild),
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  isobar d1 migrations create DB \"add users\" --down     # migrations/0003_add_users.sql, migrations/down/0003_add_users.down.sql")]
pub(crate) struct Create {
    /// The database's name or binding
    database: String,
    /// The description, from which the file's name is made
    message: String,
    /// Create the file that undoes it, too
    ///
    /// It goes into the folder `down` within that of the migrations, which wrangler does not look into.
    #[arg(long)]
    down: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  isobar d1 migrations status DB --drift --json")]
pub(crate) struct Status {
    /// The database's name or binding
    database: String,
    /// Compare the schema with the one that the applied files give
    ///
    /// They are run in an empty database in memory, and both schemas are compared. A difference is
    /// printed and is not an error; an applied migration without a file is one.
    #[arg(long)]
    drift: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: Where,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  isobar d1 migrations apply DB --dry-run && isobar d1 migrations apply DB --yes")]
pub(crate) struct Apply {
    /// The database's name or binding
    database: String,
    /// Run them in a transaction that is rolled back
    ///
    /// A file that would fail, fails. A local database that does not exist is not created.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask for confirmation; without a terminal it is not asked for either
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    at: Where,
}

#[derive(Debug, Args)]
#[command(
    after_help = "A migration NAME.sql is undone by NAME.down.sql, in the folder `down` within that of the migrations, or beside it \
(where wrangler would take it for a migration).

Example:
  isobar d1 migrations down DB --count 2 --yes"
)]
pub(crate) struct Down {
    /// The database's name or binding
    database: String,
    /// Number of migrations to undo
    ///
    /// The one that was applied last is undone first, each in a transaction with the removal of its
    /// record.
    #[arg(long, default_value_t = 1, value_name = "N")]
    count: usize,
    /// Do not ask for confirmation; needed without a terminal
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    at: Where,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  isobar d1 migrations baseline DB --up-to 0007_existing.sql")]
pub(crate) struct Baseline {
    /// The database's name or binding
    database: String,
    /// The last file to record; by default all
    ///
    /// Later files stay pending.
    #[arg(long, value_name = "NAME")]
    up_to: Option<String>,
    /// Do not ask for confirmation; needed without a terminal
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    at: Where,
}

impl Migrations {
    pub(super) async fn run(self, place: &Place) -> Outcome {
        match self {
            Self::Create(create) => create.run(place),
            Self::List { database, json, at } => list(&at.look(place, &database).await?, json).await,
            Self::Status(status) => status.run(place).await,
            Self::Apply(apply) => apply.run(place).await,
            Self::Down(down) => down.run(place).await,
            Self::Baseline(baseline) => baseline.run(place).await,
            Self::Rebuild(rebuild) => rebuild.run(place).await,
        }
    }
}

impl Opened {
    /// Returns the folder of the migrations and the pattern of their files within it.
    fn location(&self) -> Result<(PathBuf, String), Box<dyn Error>> {
        location(&self.known, &self.config)
    }

    /// Returns the folder of the migrations, the migrations, and their migrator.
    ///
    /// Prints a hint where the pattern matches nothing and that of Drizzle and others
    /// (`NAME/migration.sql`) would.
    ///
    /// # Errors
    /// A folder that cannot be read; a `migrations_pattern` outside `migrations_dir`.
    fn migrations(&self) -> Result<(PathBuf, Vec<Migration>, Migrator), Box<dyn Error>> {
        let (folder, pattern) = self.location()?;
        let files = migrations::from_pattern_for(&folder, &pattern, self.dialect())?;
        if files.is_empty() && migrations::from_pattern(&folder, "*/migration.sql").is_ok_and(|files| !files.is_empty())
        {
            eprintln!(
                "warning: no file in {} matches {pattern}, but some match */migration.sql: to use them, set migrations_pattern to \
                 MIGRATIONS_DIR/*/migration.sql",
                folder.display()
            );
        }
        let migrator = Migrator::default().with_checksums();
        Ok((
            folder,
            files,
            match &self.known.migrations_table {
                Some(table) => migrator.with_table(table),
                None => migrator,
            },
        ))
    }
}

pub(super) fn location(
    known: &isobar_cloudflare::wrangler::D1Database,
    config: &isobar_cloudflare::wrangler::Config,
) -> Result<(PathBuf, String), Box<dyn Error>> {
    let (folder, pattern) = migrations::location(known.migrations_dir.as_deref(), known.migrations_pattern.as_deref())?;
    Ok((config.resolve(&folder), pattern))
}

impl Create {
    fn run(self, place: &Place) -> Outcome {
        let (_, known, config) = place.known_database(&self.database)?;
        let (folder, stem) = next_file(location(&known, &config)?, &self.message)?;
        write_new(&folder.join(format!("{stem}.sql")), &format!("-- Migration: {}\n", self.message.trim()))?;
        if self.down {
            let text = format!("-- Undoes: {}\n", self.message.trim());
            write_new(&folder.join("down").join(format!("{stem}.down.sql")), &text)?;
        }
        Ok(())
    }
}

/// Returns the folder, and the name of its next file without `.sql`, made from a description.
///
/// # Errors
/// A pattern that would not match the file; a description without letters and digits; a folder that cannot be read.
fn next_file((folder, pattern): (PathBuf, String), description: &str) -> Result<(PathBuf, String), Box<dyn Error>> {
    if pattern != migrations::PATTERN {
        let message = format!("migrations_pattern is {pattern}: only files that match *.sql are created here");
        return Err(message.into());
    }
    let words = description.to_lowercase();
    let words: Vec<_> = words.split(|char: char| !char.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    if words.is_empty() {
        return Err(format!("invalid description {description:?}: use at least one letter or digit").into());
    }
    let stem = format!("{:04}_{}", next_number(&folder)?, words.join("_"));
    Ok((folder, stem))
}

/// Returns the number after the highest one of the folder's files.
///
/// Gaps are left as they are. Two branches that create a migration at once get the same number and
/// different names, which is fine: files are ordered by their names, and `status` shows one that came
/// too late as out of order.
fn next_number(folder: &Path) -> Result<u64, Box<dyn Error>> {
    if !folder.exists() {
        return Ok(1);
    }
    let files = migrations::from_pattern(folder, migrations::PATTERN)?;
    let number = |file: &Migration| file.name.split(|char: char| !char.is_ascii_digit()).next()?.parse::<u64>().ok();
    let highest = files.iter().filter_map(number).max().unwrap_or_default();
    highest.checked_add(1).ok_or_else(|| format!("the files in {} have no next number", folder.display()).into())
}

/// Creates a file that does not exist, and its folder.
///
/// # Errors
/// The file exists, or cannot be created.
fn write_new(path: &Path, text: &str) -> Outcome {
    let write = || {
        path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        OpenOptions::new().write(true).create_new(true).open(path)?.write_all(text.as_bytes())
    };
    write().map_err(|error| format!("cannot create {}: {error}", path.display()))?;
    say!("created {}", path.display());
    Ok(())
}

/// Prints the pending files. Reads only; wrangler creates its table first.
async fn list(opened: &Opened, json: bool) -> Outcome {
    let (folder, files, migrator) = opened.migrations()?;
    let pending = migrator.pending(&*opened.looked_at().await?, &files).await?;
    let names: Vec<_> = pending.into_iter().map(|one| one.name).collect();
    if json {
        say!("{}", serde_json::to_string_pretty(&names)?);
    } else if names.is_empty() {
        say!("{}: all migrations of {} are applied", opened.known.local_name(), folder.display());
    } else {
        table::print(&["TO BE APPLIED".to_owned()], &names.into_iter().map(|name| vec![name]).collect::<Vec<_>>())?;
    }
    Ok(())
}

impl Status {
    async fn run(self, place: &Place) -> Outcome {
        let opened = self.at.look(place, &self.database).await?;
        let (_, files, migrator) = opened.migrations()?;
        let database = opened.looked_at().await?;
        let all = migrator.status(&*database, &files).await?;
        let drift = if self.drift { Some(migrator.drift(&*database, &files).await?) } else { None };
        if self.json {
            say!("{}", serde_json::to_string_pretty(&serde_json::json!({ "migrations": all, "drift": drift }))?);
            return Ok(());
        }
        let state = |state| match state {
            State::Applied => "applied",
            State::AppliedUnchecked => "applied, no checksum",
            State::Changed => "changed after being applied",
            State::FileMissing => "applied, file missing",
            State::Pending => "pending",
            State::OutOfOrder => "pending, out of order",
            _ => "unknown",
        };
        let row = |one: &migrations::Status| {
            vec![one.name.clone(), state(one.state).to_owned(), one.applied_at.clone().unwrap_or_default()]
        };
        let headings = ["MIGRATION", "STATE", "APPLIED AT"].map(String::from);
        table::print(&headings, &all.iter().map(row).collect::<Vec<_>>())?;
        match drift.as_deref() {
            Some([]) => say!("\nthe schema is the one of the applied migrations"),
            Some(differences) => {
                say!("\nthe schema is not the one of the applied migrations:");
                for difference in differences {
                    say!("  {difference}");
                }
            }
            None => {}
        }
        Ok(())
    }
}

impl Apply {
    async fn run(self, place: &Place) -> Outcome {
        let opened = self.at.look(place, &self.database).await?;
        let (folder, files, migrator) = opened.migrations()?;
        let looked_at = opened.looked_at().await?;
        let pending = migrator.pending(&*looked_at, &files).await?;
        if pending.is_empty() {
            say!("{}: nothing to apply", opened.known.local_name());
            return Ok(());
        }
        let in_folder = |error: isobar_db::Error| format!("{}/{error}", folder.display());
        if self.dry_run {
            let planned = migrator.dry_run(&*looked_at, &files).await.map_err(in_folder)?;
            let row = |one: migrations::Planned| vec![one.name, one.statements.to_string()];
            let headings = ["WOULD BE APPLIED", "STATEMENTS"].map(String::from);
            return table::print(&headings, &planned.into_iter().map(row).collect::<Vec<_>>());
        }
        let names = pending.iter().map(|one| one.name.as_str());
        let question = format!("apply {} to {}", pending.len(), opened.known.local_name());
        ask(self.yes, names, &question, Unattended::Proceed)?;
        let done = migrator.apply(&*opened.made(place).await?, &files).await.map_err(in_folder)?;
        table::print(&["APPLIED".to_owned()], &done.into_iter().map(|name| vec![name]).collect::<Vec<_>>())
    }
}

impl Down {
    async fn run(self, place: &Place) -> Outcome {
        let opened = self.at.look(place, &self.database).await?;
        let (folder, _, migrator) = opened.migrations()?;
        let names = migrator.last_applied(&*opened.looked_at().await?, self.count).await?;
        let script = |name: &String| -> Result<Migration, Box<dyn Error>> {
            migrations::down_file_for(&folder, name, opened.dialect())?.ok_or_else(|| {
                let stem = name.strip_suffix(".sql").unwrap_or(name);
                let place = folder.join("down").join(format!("{stem}.down.sql"));
                format!("cannot undo {name}: there is no {}; no migration was undone", place.display()).into()
            })
        };
        let scripts = names.iter().map(script).collect::<Result<Vec<Migration>, Box<dyn Error>>>()?;
        let question = format!("undo {} of {}", names.len(), opened.known.local_name());
        ask(self.yes, names.iter().map(String::as_str), &question, Unattended::Refuse)?;
        let undone = migrator.undo(&*opened.made(place).await?, &scripts).await;
        let undone = undone.map_err(|error| format!("{}: undoing {error}", folder.display()))?;
        table::print(&["UNDONE".to_owned()], &undone.into_iter().map(|name| vec![name]).collect::<Vec<_>>())
    }
}

impl Baseline {
    async fn run(self, place: &Place) -> Outcome {
        let opened = self.at.look(place, &self.database).await?;
        let (_, files, migrator) = opened.migrations()?;
        let last = files.last().map(|one| one.name.as_str());
        let up_to = self.up_to.as_deref().or(last).unwrap_or_default();
        let question = format!("record all up to {up_to} as applied to {}", opened.known.local_name());
        confirm(self.yes, &question, Unattended::Refuse)?;
        let recorded = migrator.baseline(&*opened.made(place).await?, &files, self.up_to.as_deref()).await?;
        if recorded.is_empty() {
            say!("{}: all were recorded already; their checksums are those of the files", opened.known.local_name());
            return Ok(());
        }
        table::print(&["RECORDED".to_owned()], &recorded.into_iter().map(|name| vec![name]).collect::<Vec<_>>())
    }
}

/// Shows the names where it asks, and asks.
///
/// Without a terminal, or with `--yes`, the names appear once: in the list of what was applied.
fn ask<'n>(yes: bool, names: impl Iterator<Item = &'n str>, question: &str, unattended: Unattended) -> Outcome {
    if !yes && std::io::stdin().is_terminal() {
        for name in names {
            say!("  {name}");
        }
    }
    confirm(yes, question, unattended)
}
