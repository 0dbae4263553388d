//! `isobar d1`.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use indicatif::ProgressBar;
use isobar_db::{QueryResult, QueryableExt, Value, copy, migrations};
use serde_json::json;

use crate::place::Place;
use crate::{Outcome, say, table};

#[derive(Debug, Subcommand)]
pub(crate) enum D1 {
    /// Migrations: the same files, table and order as wrangler's
    #[command(subcommand)]
    Migrations(Migrations),
    /// Run SQL
    Execute(Execute),
    /// Copy rows into a database of another shape, as a map says
    Copy(Copy),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Migrations {
    /// List what has not been applied
    List {
        /// The database's name or binding
        database: String,
    },
    /// Apply what has not been applied
    Apply {
        /// The database's name or binding
        database: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  isobar d1 execute DB --command 'SELECT * FROM users LIMIT 5'
  isobar d1 execute inneranimalmedia-business --file ./seed.sql --json")]
pub(crate) struct Execute {
    /// The database's name or binding
    database: String,
    /// The SQL
    #[arg(long, required_unless_present = "file", conflicts_with = "file")]
    command: Option<String>,
    /// A file of SQL; all of it in one transaction
    #[arg(long)]
    file: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "The map, in TOML: tables in their order, each column's source. Ids are made of the old keys, so that a
copy may be broken off and begun again at any time: rows that are there already stay as they are.

  [[table]]
  from = \"users\"
  to = \"users\"
  key = \"id\"                                                # of the old table; this when not given
  [table.columns]
  id = { id = true }                                        # the new id
  name = \"full_name\"                                      # an old column as it is
  email = { column = \"mail\", as = \"lower\" }             # or text, slug, integer, boolean, unix-seconds,
  created_at = { column = \"created\", as = \"unix-seconds\" } # unix-milliseconds, sqlite-time
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
    /// What becomes of which column
    #[arg(long, value_name = "FILE")]
    map: PathBuf,
    /// Write nothing; say what would be copied, and what would be skipped and why
    #[arg(long)]
    dry_run: bool,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

impl D1 {
    pub(crate) async fn run(self, place: &Place) -> Outcome {
        match self {
            Self::Migrations(Migrations::List { database }) => list(place, &database).await,
            Self::Migrations(Migrations::Apply { database, yes }) => apply(place, &database, yes).await,
            Self::Execute(execute) => execute.run(place).await,
            Self::Copy(copy) => copy.run(place).await,
        }
    }
}

async fn list(place: &Place, name: &str) -> Outcome {
    let (database, known, config) = place.database(name).await?;
    let folder = config.resolve(known.migrations_dir.as_deref().unwrap_or("migrations"));
    let pending = migrations::pending(&database, &migrations::from_folder(&folder)?).await?;
    if pending.is_empty() {
        say!("{}: every migration of {} has been applied", known.local_name(), folder.display());
        return Ok(());
    }
    table::print(&["TO BE APPLIED".to_owned()], &pending.into_iter().map(|one| vec![one.name]).collect::<Vec<_>>())
}

async fn apply(place: &Place, name: &str, yes: bool) -> Outcome {
    let (database, known, config) = place.database(name).await?;
    let folder = config.resolve(known.migrations_dir.as_deref().unwrap_or("migrations"));
    let files = migrations::from_folder(&folder)?;
    let pending = migrations::pending(&database, &files).await?;
    if pending.is_empty() {
        say!("{}: nothing to apply", known.local_name());
        return Ok(());
    }
    if !yes && std::io::stdin().is_terminal() {
        for one in &pending {
            say!("  {}", one.name);
        }
        print!("apply {} to {}? [y/N] ", pending.len(), known.local_name());
        std::io::stdout().flush()?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        if !answer.trim().eq_ignore_ascii_case("y") {
            return Err("nothing was applied".into());
        }
    }
    let done = migrations::apply(&database, &files).await?;
    table::print(&["APPLIED".to_owned()], &done.into_iter().map(|name| vec![name]).collect::<Vec<_>>())
}

impl Execute {
    async fn run(self, place: &Place) -> Outcome {
        let (database, ..) = place.database(&self.database).await?;
        let sql = match (&self.command, &self.file) {
            (Some(command), _) => command.clone(),
            (None, Some(file)) => {
                std::fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?
            }
            (None, None) => unreachable!("clap requires one of them"),
        };
        let results = database.run_script(&sql).await?;
        if self.json {
            let results: Vec<_> = results
                .iter()
                .map(|result| json!({"success": true, "meta": result.meta, "results": result.rows.iter().map(|row| row.to_json()).collect::<Vec<_>>()}))
                .collect();
            say!("{}", serde_json::to_string_pretty(&results)?);
            return Ok(());
        }
        results.iter().try_for_each(show)
    }
}

impl Copy {
    async fn run(self, place: &Place) -> Outcome {
        let shown = self.map.display();
        let text = std::fs::read_to_string(&self.map).map_err(|error| format!("cannot read {shown}: {error}"))?;
        let map: copy::Map = toml::from_str(&text).map_err(|error| format!("{shown}: {error}"))?;
        let (from, old, _) = place.database(&self.from).await?;
        let (to, new, _) = place.database(&self.to).await?;
        if old.local_name() == new.local_name() {
            return Err("a database is not copied into itself".into());
        }
        let bar = ProgressBar::new_spinner();
        let progress = |table: &copy::TableReport| {
            let copy::TableReport { from, to, copied, present, skipped, .. } = table;
            let skipped = skipped.len();
            bar.set_message(format!("{from} to {to}: {copied} copied, {present} there already, {skipped} skipped"));
            bar.tick();
        };
        let report = copy::copy(&from, old.local_name(), &to, &map, self.dry_run, progress).await?;
        bar.finish_and_clear();
        if self.json {
            say!("{}", serde_json::to_string_pretty(&report)?);
            return Ok(());
        }
        let row = |one: &copy::TableReport| {
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
