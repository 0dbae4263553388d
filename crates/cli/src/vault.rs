//! The command `isobar vault`.
//!
//! Values are sealed by data keys, which are in the database, wrapped by the key-encryption keys of a
//! keyring, which is not: a copy of the database without the keyring opens nothing. `isobar_db::vault`
//! has the cryptography; the commands here are for operators.
//!
//! # Rotating
//!
//! 1. `isobar vault keygen NAME` prints a line; put it before the others of the keyring, of which the
//!    first wraps new keys.
//! 2. `isobar vault rotate DB` makes a data key, wraps all of them under the first line, and seals
//!    every value anew.
//! 3. When it has succeeded, the old lines can go from the keyring.
//!
//! A server may go on meanwhile, with a keyring that has both lines: it opens values under any data
//! key, and seals under the newest. Broken off, the database has values under two keys, all of which
//! open; `--resume` goes on without a third key. Data keys are removed only when no value needs them.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use isobar_db::vault::{Column, Keyring, Status, Vault as Sealer};

use crate::place::Place;
use crate::{Outcome, say, table};

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  isobar vault keygen 2026-11 > keyring && chmod 600 keyring
  isobar vault rotate DB --keyring ./keyring
  isobar vault rebind DB --from tokens.secret --to oauth_tokens.secret --keyring ./keyring
  ISOBAR_KEYRING=\"$(cat keyring)\" isobar vault status DB")]
pub(crate) enum Vault {
    /// Print a new key-encryption key, as a line for the keyring
    Keygen {
        /// Name of the key, of letters, digits and . - _ alone
        ///
        /// It is stored beside what the key wraps, so that a date or a number tells keys apart later.
        name: String,
    },
    /// Create a new data key, rewrap all keys under the keyring's first line, and reseal every value
    ///
    /// If it is interrupted, continue with --resume.
    Rotate(Rotate),
    /// Reseal a column's values for its new name, after the column or its table was renamed
    Rebind(Rebind),
    /// Show the keys, the number of values under the active one, and mismatched declarations; check the keyring
    Status(Opened),
}

#[derive(Debug, Args)]
pub(crate) struct Rebind {
    #[command(flatten)]
    opened: Opened,
    /// The old name, as in vault_columns
    ///
    /// Table and column are a part of what a value is sealed for, so that a value cannot be moved to
    /// another column unnoticed.
    #[arg(long, value_name = "TABLE.COLUMN", value_parser = cell)]
    from: (String, String),
    /// The current name
    #[arg(long, value_name = "TABLE.COLUMN", value_parser = cell)]
    to: (String, String),
}

/// Reads `TABLE.COLUMN`. A table's name may have dots, a column's may not: the last dot divides.
fn cell(text: &str) -> Result<(String, String), String> {
    let parts = text.rsplit_once('.').filter(|(table, column)| !table.is_empty() && !column.is_empty());
    parts
        .map(|(table, column)| (table.to_owned(), column.to_owned()))
        .ok_or_else(|| format!("{text:?} is not TABLE.COLUMN"))
}

#[derive(Debug, Args)]
pub(crate) struct Rotate {
    #[command(flatten)]
    opened: Opened,
    /// Continue under the active data key, without creating a new one
    #[arg(long)]
    resume: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Opened {
    /// The database's name or binding
    database: String,
    /// File of the keyring; by default the environment variable ISOBAR_KEYRING
    ///
    /// The file must not be readable by others (chmod 600). It has a line for each key, as `isobar
    /// vault keygen` prints it; the first one wraps new keys.
    #[arg(long, value_name = "FILE")]
    keyring: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Vault {
    pub(crate) async fn run(self, place: &Place) -> Outcome {
        match self {
            Self::Keygen { name } => {
                let line = Keyring::generate(&name)?;
                say!("{}", line.expose_text().unwrap_or_default());
                Ok(())
            }
            Self::Rotate(rotate) => rotate.run(place).await,
            Self::Rebind(rebind) => rebind.run(place).await,
            Self::Status(opened) => {
                let status = opened.vault(place).await?.status().await?;
                if opened.json {
                    say!("{}", serde_json::to_string_pretty(&status)?);
                    return Ok(());
                }
                show(&status)
            }
        }
    }
}

impl Opened {
    /// Opens the vault. Values are sealed for the database's name, as by the platform.
    ///
    /// The database must exist: a vault in a new one has nothing to show, and a mistyped name would
    /// make one.
    ///
    /// # Errors
    /// A keyring that is missing, readable by others, or malformed; a database that is not there.
    async fn vault(&self, place: &Place) -> Result<Sealer, Box<dyn std::error::Error>> {
        let keyring = match &self.keyring {
            Some(path) => Keyring::from_file(path)?,
            None => Keyring::from_env("ISOBAR_KEYRING")
                .map_err(|error| format!("{}; set it or name a file with --keyring", error.message()))?,
        };
        let (database, known) = place.existing_database(&self.database).await?;
        Ok(Sealer::new(Arc::new(database), known.local_name(), keyring))
    }
}

impl Rebind {
    async fn run(self, place: &Place) -> Outcome {
        let vault = self.opened.vault(place).await?;
        let name = |(table, column): &'_ (String, String)| format!("{table}.{column}");
        let [from, to] = [&self.from, &self.to].map(|(table, column)| (table.as_str(), column.as_str()));
        let rebound = vault.rebind(from, to).await?;
        if self.opened.json {
            let summary = serde_json::json!({
                "sealed": rebound.sealed, "present": rebound.present, "failed": rebound.failed,
            });
            say!("{}", serde_json::to_string_pretty(&summary)?);
        } else {
            say!("{}: {} values resealed, {} already sealed", name(&self.to), rebound.sealed, rebound.present);
        }
        failed(&rebound.failed)
    }
}

impl Rotate {
    async fn run(self, place: &Place) -> Outcome {
        let vault = self.opened.vault(place).await?;
        if !self.resume {
            vault.rotate().await?;
        }
        let rewrapped = vault.rewrap().await?;
        let before = vault.status().await?;
        let bar = ProgressBar::new(before.columns.iter().map(|column| column.outdated).sum());
        let style = "{bar:30} {pos}/{len} {msg} {per_sec} {eta}";
        bar.set_style(ProgressStyle::with_template(style)?);
        let sweep = vault
            .sweep(|progress| {
                bar.set_message(format!("{}.{}", progress.column.table, progress.column.column));
                bar.set_position(progress.sealed);
            })
            .await?;
        bar.finish_and_clear();
        let active = before.active_key;
        if self.opened.json {
            let summary = serde_json::json!({
                "active_key": active, "rewrapped_keys": rewrapped, "sealed": sweep.sealed,
                "removed_keys": sweep.removed_keys, "failed": sweep.failed,
            });
            say!("{}", serde_json::to_string_pretty(&summary)?);
        } else {
            say!(
                "data key {active} is active: {} values resealed, {rewrapped} keys rewrapped, {} keys removed",
                sweep.sealed,
                sweep.removed_keys
            );
        }
        warn(&[], &sweep.undeclared);
        failed(&sweep.failed)
    }
}

/// Fails with the names of values that cannot be opened, if there are any.
///
/// Twenty are shown: with the wrong keyring all of them fail.
fn failed(values: &[String]) -> Outcome {
    if values.is_empty() {
        return Ok(());
    }
    let shown = values.iter().take(20).map(|one| format!("\n  {one}")).collect::<String>();
    Err(format!("{} values cannot be opened and were left unchanged:{shown}", values.len()).into())
}

/// Prints warnings about declarations that do not match the database.
fn warn(missing: &[Column], undeclared: &[Column]) {
    for Column { table, column, .. } in missing {
        eprintln!(
            "warning: vault_columns declares {table}.{column}, which does not exist: if it was renamed, run isobar vault rebind; if it \
             was dropped, delete the row"
        );
    }
    for Column { table, column, .. } in undeclared {
        eprintln!(
            "warning: {table}.{column} has sealed values, but vault_columns does not declare it: rotation skips it, and keeps the \
             keys that it needs"
        );
    }
}

/// Prints the keys and the columns, after warnings.
fn show(status: &Status) -> Outcome {
    warn(&status.missing, &status.undeclared);
    let keys: Vec<_> = status
        .keys
        .iter()
        .map(|(id, wrapped_by)| {
            let active = if *id == status.active_key { "yes" } else { "" };
            vec![id.to_string(), wrapped_by.clone(), active.to_owned()]
        })
        .collect();
    table::print(&["DATA KEY", "WRAPPED BY", "ACTIVE"].map(String::from), &keys)?;
    say!("");
    let columns: Vec<_> = status
        .columns
        .iter()
        .map(|one| {
            vec![one.column.table.clone(), one.column.column.clone(), one.current.to_string(), one.outdated.to_string()]
        })
        .collect();
    table::print(&["TABLE", "COLUMN", "CURRENT", "OUTDATED"].map(String::from), &columns)
}
