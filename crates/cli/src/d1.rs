//! `isobar d1`.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use isobar_db::{QueryResult, QueryableExt, Value, migrations};
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

impl D1 {
    pub(crate) async fn run(self, place: &Place) -> Outcome {
        match self {
            Self::Migrations(Migrations::List { database }) => list(place, &database).await,
            Self::Migrations(Migrations::Apply { database, yes }) => apply(place, &database, yes).await,
            Self::Execute(execute) => execute.run(place).await,
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
