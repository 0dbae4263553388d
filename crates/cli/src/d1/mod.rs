//! The command `isobar d1`.

mod backup;
mod dump;
mod info;
mod migrations;
pub(crate) mod time_travel;

use std::error::Error;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use indicatif::ProgressBar;
use isobar_cloudflare::client::Account;
use isobar_cloudflare::wrangler::{Config, D1Database};
use isobar_db::cloudflare::D1RestDatabase;
use isobar_db::{Database, Meta, QueryResult, QueryableExt, Row, SqliteDatabase, Value, sql, transfer};
use serde::Serialize;

use self::migrations::Migrations;
use crate::place::{Place, no_database, open_database};
use crate::{Outcome, say, table};

#[derive(Debug, Subcommand)]
pub(crate) enum D1 {
    /// Create, list, try, apply and undo migrations, compatible with wrangler
    #[command(subcommand)]
    Migrations(Migrations),
    /// Run SQL
    Execute(Execute),
    /// List the databases of the configuration and of this machine
    List(info::List),
    /// Show a database's size, tables and rows
    Info(info::Info),
    /// Write a database as SQL, without loss
    Export(dump::Export),
    /// Make a database out of a file of SQL
    Import(dump::Import),
    /// Copy rows into a database with another schema, as a map describes
    Copy(Copy),
    /// Back up a database into a folder or a bucket, while it is used
    Backup(backup::Save),
    /// Make a database out of a backup, at a bookmark or a time
    Restore(backup::Load),
    /// Check a backup
    Verify(backup::Verify),
    /// Show a database's history, and go back in it
    #[command(subcommand)]
    TimeTravel(time_travel::Travel),
}

/// The copy of a database to use: the local one, or Cloudflare's.
#[derive(Debug, Args)]
pub(crate) struct Where {
    /// Use the database on this machine (default)
    #[arg(long, conflicts_with = "remote")]
    local: bool,
    /// Use the database on Cloudflare; needs CLOUDFLARE_ACCOUNT_ID and CLOUDFLARE_API_TOKEN
    #[arg(long)]
    remote: bool,
}

/// A database that a command has opened.
struct Opened {
    /// `None` for a local database that does not exist yet.
    database: Option<Arc<dyn Database>>,
    file: PathBuf,
    known: D1Database,
    config: Config,
}

impl Where {
    /// Opens the database of this name. Does not create a local one.
    async fn look(&self, place: &Place, name: &str) -> Result<Opened, Box<dyn Error>> {
        let (file, known, config) = place.known_database(name)?;
        let database: Option<Arc<dyn Database>> = if self.remote {
            let id = known.database_id.as_deref().ok_or_else(|| {
                format!(
                    "the database {} has no database_id in the configuration, which --remote needs",
                    known.local_name()
                )
            })?;
            Some(Arc::new(D1RestDatabase::new(Account::from_env()?, id)?))
        } else if file.exists() {
            Some(Arc::new(open_database(&file).await?))
        } else {
            None
        };
        Ok(Opened { database, file, known, config })
    }
}

impl Opened {
    /// Returns the database; an error for a local one that does not exist yet.
    fn existing(&self) -> Result<&Arc<dyn Database>, Box<dyn Error>> {
        self.database.as_ref().ok_or_else(|| no_database(&self.known, &self.file).into())
    }

    /// Returns the database, creating a local one if necessary.
    async fn made(&self) -> Result<Arc<dyn Database>, Box<dyn Error>> {
        match &self.database {
            Some(database) => Ok(Arc::clone(database)),
            None => Ok(Arc::new(open_database(&self.file).await?)),
        }
    }

    /// Returns the database for reading, or an empty one in memory if it does not exist.
    async fn looked_at(&self) -> Result<Arc<dyn Database>, Box<dyn Error>> {
        match &self.database {
            Some(database) => Ok(Arc::clone(database)),
            None => Ok(Arc::new(SqliteDatabase::memory().await?)),
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  isobar d1 execute DB --command 'SELECT * FROM users LIMIT 5'
  isobar d1 execute inneranimalmedia-business --file ./seed.sql --json
  sqlite3 old.db .dump | isobar d1 execute DB --file -")]
pub(crate) struct Execute {
    /// The database's name or binding
    database: String,
    /// The SQL to run
    #[arg(long, required_unless_present = "file", conflicts_with = "file")]
    command: Option<String>,
    /// A file with SQL, or - for standard input; runs in one transaction
    #[arg(long)]
    file: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Ignored, for compatibility with wrangler: this command never asks
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    at: Where,
}

#[derive(Debug, Args)]
#[command(
    after_help = "The map is a TOML file with the tables in their order, and the source of each column. Ids are derived from the \
old keys, so that an interrupted copy can be run again: rows that already exist are left as they are.

  [[table]]
  from = \"users\"
  to = \"users\"
  key = \"id\"                                               # of the old table; default: id
  [table.columns]
  id = { id = true }                                       # the new id
  name = \"full_name\"                                       # an old column as it is
  email = { column = \"mail\", as = \"lower\" }                # or text, slug, integer, boolean
  created_at = { column = \"created\", as = \"unix-seconds\" } # or unix-milliseconds, sqlite-time
  tenant_id = { column = \"tenant\", reference = \"tenants\" } # the new id of an old row
  role = { column = \"is_admin\", choices = { 1 = \"admin\", 0 = \"member\" }, default = \"member\" }
  revision = { value = 1 }

Examples:
  isobar d1 copy MEAUXOS_DB DB --map map.toml --dry-run
  isobar d1 copy MEAUXOS_DB DB --map map.toml --json > report.json"
)]
pub(crate) struct Copy {
    /// The database to copy from: its name or binding
    from: String,
    /// The database to copy into: its name or binding
    to: String,
    /// The map of tables and columns, a TOML file
    #[arg(long, value_name = "FILE")]
    map: PathBuf,
    /// Write nothing; print what would be copied, and what would be skipped and why
    #[arg(long)]
    dry_run: bool,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

impl D1 {
    pub(crate) async fn run(self, place: &Place) -> Outcome {
        match self {
            Self::Migrations(migrations) => migrations.run(place).await,
            Self::List(list) => list.run(place),
            Self::Info(info) => info.run(place).await,
            Self::Export(export) => export.run(place).await,
            Self::Import(import) => import.run(place).await,
            Self::Execute(execute) => execute.run(place).await,
            Self::Copy(copy) => copy.run(place).await,
            Self::TimeTravel(travel) => travel.run(place).await,
            Self::Backup(backup) => backup.run(place).await,
            Self::Restore(restore) => restore.run(place).await,
            Self::Verify(verify) => verify.run(place).await,
        }
    }
}

/// The result of a statement as D1 returns it, with the columns in order.
#[derive(Serialize)]
struct Printed<'a> {
    results: &'a [Row],
    success: bool,
    meta: &'a Meta,
}

impl<'a> Printed<'a> {
    fn of(result: &'a QueryResult) -> Self {
        Self { results: &result.rows, success: true, meta: &result.meta }
    }
}

impl Execute {
    async fn run(self, place: &Place) -> Outcome {
        let opened = self.at.look(place, &self.database).await?;
        let script = self.script()?;
        // A read does not create the database.
        let reads = sql::split(&script).all(sql::is_read);
        let database = if reads { opened.looked_at().await? } else { opened.made().await? };
        let results = database.run_script(&script).await.map_err(|error| match &self.file {
            Some(file) => error.in_file(&file.display().to_string()).to_string(),
            None => error.message().to_owned(),
        })?;
        if self.json {
            let printed: Vec<_> = results.iter().map(Printed::of).collect();
            say!("{}", serde_json::to_string_pretty(&printed)?);
            return Ok(());
        }
        results.iter().try_for_each(show)
    }

    fn script(&self) -> Result<String, String> {
        match (&self.command, &self.file) {
            (Some(command), _) => Ok(command.clone()),
            (None, Some(file)) if file.as_os_str() == "-" => {
                let mut script = String::new();
                let read = std::io::stdin().read_to_string(&mut script);
                read.map_err(|error| format!("cannot read SQL from the standard input: {error}"))?;
                Ok(script)
            }
            (None, Some(file)) => {
                std::fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))
            }
            (None, None) => unreachable!("clap requires one of them"),
        }
    }
}

impl Copy {
    async fn run(self, place: &Place) -> Outcome {
        let shown = self.map.display();
        let text = std::fs::read_to_string(&self.map).map_err(|error| format!("cannot read {shown}: {error}"))?;
        let map: transfer::Map = toml::from_str(&text).map_err(|error| format!("{shown}: {error}"))?;
        let (from, old) = place.existing_database(&self.from).await?;
        let (_, new, _) = place.known_database(&self.to)?;
        if old.local_name() == new.local_name() {
            return Err("cannot copy a database into itself".into());
        }
        let (to, ..) = place.database(&self.to).await?;
        let bar = ProgressBar::new_spinner();
        let progress = |table: &transfer::TableReport| {
            let transfer::TableReport { from, to, copied, present, skipped, .. } = table;
            let skipped = skipped.len();
            bar.set_message(format!("{from} to {to}: {copied} copied, {present} already present, {skipped} skipped"));
            bar.tick();
        };
        let report = transfer::transfer(&from, old.local_name(), &to, &map, self.dry_run, progress).await?;
        bar.finish_and_clear();
        if self.json {
            say!("{}", serde_json::to_string_pretty(&report)?);
            return Ok(());
        }
        let row = |one: &transfer::TableReport| {
            let counts = [one.copied, one.present, one.skipped.len() as u64].map(|count| count.to_string());
            [one.from.clone(), one.to.clone()].into_iter().chain(counts).collect::<Vec<_>>()
        };
        let copied = if self.dry_run { "WOULD COPY" } else { "COPIED" };
        let headings = ["FROM", "TO", copied, "PRESENT", "SKIPPED"].map(String::from);
        table::print(&headings, &report.tables.iter().map(row).collect::<Vec<_>>())?;
        for table in &report.tables {
            for skipped in &table.skipped {
                say!("{} {}: {}", table.from, skipped.key, skipped.reason);
            }
        }
        Ok(())
    }
}

fn show(result: &QueryResult) -> Outcome {
    if result.columns.is_empty() {
        say!("{} rows changed", result.meta.changes);
        return Ok(());
    }
    let cell = |value: &Value| match value {
        Value::Null => "NULL".to_owned(),
        Value::Integer(integer) => integer.to_string(),
        Value::Real(real) => real.to_string(),
        Value::Text(text) => text.clone(),
        Value::Blob(bytes) => format!("x'{}'", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
    };
    let rows: Vec<Vec<String>> = result.rows.iter().map(|row| row.values().iter().map(cell).collect()).collect();
    table::print(&result.columns, &rows)?;
    say!("({} rows)", rows.len());
    Ok(())
}
