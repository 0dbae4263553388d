//! The command `isobar d1`.
//!
//! | module | commands |
//! |---|---|
//! | here | `execute`, `copy`, and what they share: [`Where`] and [`Opened`] |
//! | `migrations` | `migrations create`, `list`, `status`, `apply`, `down`, `baseline` |
//! | `dump` | `export`, `import` |
//! | `backup` | `backup`, `restore`, `verify` |
//! | `time_travel` | `time-travel info`, `restore`, `enable`, `disable` |
//! | `info` | `list`, `info` |
//!
//! A server may have the database open meanwhile: SQLite's locks order the writes of both, and a write
//! of either waits for the other's.
//!
//! # Whether a database is created
//!
//! A command that reads gets an empty database in memory in place of one that does not exist
//! ([`Opened::looked_at`]), so that `migrations list` works in a fresh checkout and leaves no file; one
//! that shows or restores wants an existing one; only a command that writes creates one, and only once
//! it is about to write.
//!
//! # wrangler
//!
//! Grammar and files are wrangler's: `d1_databases`, migrations and their table, `execute` with its
//! JSON. Differences:
//!
//! - The local database is `d1/NAME.sqlite` below the root, a file with a name; wrangler's lies in
//!   `.wrangler/state` under a hash.
//! - `execute` never asks, and prints JSON with `--json` alone; wrangler does so wherever standard
//!   output is not a terminal.
//! - A script runs in one transaction. wrangler sends the files of `--file --remote` through D1's
//!   import.
//! - Numbers of local databases are exact to 64 bits, in JSON too.

mod backup;
mod dump;
mod info;
mod lint;
mod migrations;
mod time_travel;

use std::error::Error;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand};
use indicatif::ProgressBar;
use isobar_cloudflare::client::Account;
use isobar_cloudflare::wrangler::{Config, D1Database};
use isobar_db::cloudflare::D1RestDatabase;
use isobar_db::{
    Database, Dialect, Meta, PostgresDatabase, PostgresOptions, QueryResult, QueryableExt, Row, SqliteDatabase, Value,
    sql, transfer,
};
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
    /// Find SQL that D1 refuses, or that would not run on Postgres
    Lint(lint::Lint),
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
    ///
    /// It exists so that scripts can say it, and for compatibility with wrangler.
    #[arg(long, conflicts_with = "remote")]
    local: bool,
    /// Use the database on Cloudflare; needs CLOUDFLARE_ACCOUNT_ID and CLOUDFLARE_API_TOKEN
    ///
    /// The token needs the permission D1 Edit, or D1 Read for commands that only read. The
    /// configuration has the database's id.
    #[arg(long)]
    remote: bool,
    /// Use a Postgres database at this URL, postgres://USER:PASSWORD@HOST/DATABASE
    ///
    /// A folder of a socket is written as ?host=/run/postgresql. SQL of SQLite is translated where it means the same; migrations
    /// with a file NAME.postgres.sql take that one. The configuration still says where the migrations are.
    #[arg(long, value_name = "URL", conflicts_with_all = ["local", "remote"])]
    database_url: Option<String>,
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
    ///
    /// # Errors
    /// A name that is not configured; with `--remote`, a database without an id in the configuration,
    /// or a missing account or token. The account's database is not asked yet.
    async fn look(&self, place: &Place, name: &str) -> Result<Opened, Box<dyn Error>> {
        let (file, known, config) = place.known_database(name)?;
        let database: Option<Arc<dyn Database>> = if let Some(url) = &self.database_url {
            let options = PostgresOptions::default().with_time_limit(Duration::MAX);
            Some(Arc::new(PostgresDatabase::connect_with(url, options).await?))
        } else if self.remote {
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
    /// Returns the dialect of the database, SQLite's for one that does not exist yet.
    fn dialect(&self) -> Dialect {
        self.database.as_ref().map_or(Dialect::Sqlite, |database| database.dialect())
    }

    /// Returns the database; an error for a local one that does not exist yet.
    fn existing(&self) -> Result<&Arc<dyn Database>, Box<dyn Error>> {
        self.database.as_ref().ok_or_else(|| no_database(&self.known, &self.file).into())
    }

    /// Returns the database, creating a local one, and the root that it lies in, if necessary.
    async fn made(&self, place: &Place) -> Result<Arc<dyn Database>, Box<dyn Error>> {
        if let Some(database) = &self.database {
            return Ok(Arc::clone(database));
        }
        place.make_root(Some(&self.config))?;
        Ok(Arc::new(open_database(&self.file).await?))
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
#[command(group(ArgGroup::new("sql").required(true).args(["command", "file"])))]
pub(crate) struct Execute {
    /// The database's name or binding
    database: String,
    /// The SQL to run
    ///
    /// Several statements are divided by semicolons and run in one transaction.
    #[arg(long)]
    command: Option<String>,
    /// A file with SQL, or - for standard input; runs in one transaction
    ///
    /// An error names its line, and nothing of the file has been done. For a dump of a whole database
    /// `isobar d1 import` is quicker and has no limits of D1.
    #[arg(long)]
    file: Option<PathBuf>,
    /// Print JSON
    ///
    /// An array with an object for each statement, as wrangler prints it: results, success, meta.
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
    ///
    /// Tables are copied in the order of the file: one that others refer to comes before them.
    #[arg(long, value_name = "FILE")]
    map: PathBuf,
    /// Write nothing; print what would be copied, and what would be skipped and why
    ///
    /// It reads all rows of the old database, and needs the new one with its tables.
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
            Self::Lint(lint) => lint.run(place).await,
            Self::Copy(copy) => copy.run(place).await,
            Self::TimeTravel(travel) => travel.run(place).await,
            Self::Backup(backup) => backup.run(place).await,
            Self::Restore(restore) => restore.run(place).await,
            Self::Verify(verify) => verify.run(place).await,
        }
    }
}

/// The result of a statement as D1 returns it, with the columns in order.
///
/// `success` is always true: a statement that fails is the command's error.
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
    /// Runs the script and prints its results, all of them after the transaction was committed.
    ///
    /// A script in which every statement reads is run on an empty database in memory where there is
    /// none, with a note. `SELECT` from a table then fails as it would in a new database, and no file is
    /// left.
    ///
    /// # Errors
    /// Those of the script, with the file's name and the line; nothing of it has been done.
    async fn run(self, place: &Place) -> Outcome {
        let opened = self.at.look(place, &self.database).await?;
        let script = self.script()?;
        // A read does not create the database.
        let reads = opened.database.is_none() && sql::split(&script).all(sql::is_read);
        if reads {
            eprintln!("note: {}: the SQL runs on an empty one", no_database(&opened.known, &opened.file));
        }
        let database = if reads { opened.looked_at().await? } else { opened.made(place).await? };
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

    /// Returns the SQL. Standard input is read to its end before anything runs.
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
    /// Copies rows, and prints a report.
    ///
    /// Both databases are local. Rows go page by page, in the order of the old keys, and a copy that is
    /// broken off can be run again: rows whose new ids exist count as present. Skipped rows are printed
    /// with their reason and are not an error.
    ///
    /// # Errors
    /// A map that cannot be read, or names a table or column that does not exist; a source that does
    /// not exist; a database into itself.
    async fn run(self, place: &Place) -> Outcome {
        let shown = self.map.display();
        let text = std::fs::read_to_string(&self.map).map_err(|error| format!("cannot read {shown}: {error}"))?;
        let map: transfer::Map = toml::from_str(&text).map_err(|error| format!("{shown}: {error}"))?;
        let (from, old) = place.existing_database(&self.from).await?;
        let (file, new, _) = place.known_database(&self.to)?;
        if old.local_name() == new.local_name() {
            return Err("cannot copy a database into itself".into());
        }
        // A dry run creates nothing.
        let to = match self.dry_run && !file.exists() {
            true => SqliteDatabase::memory().await?,
            false => place.database(&self.to).await?.0,
        };
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

/// Prints the rows of a statement as a table, or the number of those it changed.
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
