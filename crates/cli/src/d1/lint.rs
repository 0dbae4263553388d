//! The command `isobar d1 lint`.
//!
//! It opens no database: the schema is the one that the migrations give, which run in memory.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use isobar_db::lint::{Finding, Level, Linter, Target};
use isobar_db::{Dialect, migrations};
use serde::Serialize;

use crate::place::Place;
use crate::{Outcome, say};

#[derive(Debug, Args)]
#[command(
    after_help = "A line is FILE:LINE:COLUMN: error or warning: construct: reason. An error fails there; a warning runs, with another \
result or with a side effect. The exit code is 1 where there is an error. For d1 each statement runs on an empty database in memory under \
D1's rules; for postgres the words are looked at. Statements that only rows could make fail are not found.

Examples:
  isobar d1 lint DB
  isobar d1 lint DB --for postgres --json
  isobar d1 lint DB --file seed.sql --command 'SELECT json_set(a, x, 1) FROM users' --for postgres"
)]
pub(crate) struct Lint {
    /// The database's name or binding
    database: String,
    /// A file with SQL in place of the migrations, and behind them; can be repeated
    #[arg(long)]
    file: Vec<PathBuf>,
    /// SQL in place of the migrations, and behind them
    #[arg(long)]
    command: Option<String>,
    /// The database that the SQL is to run on
    #[arg(long = "for", value_enum, default_value_t = For::D1)]
    target: For,
    /// Print JSON
    ///
    /// An array of objects: file, line, column, level, construct, message; [] where nothing was found.
    #[arg(long)]
    json: bool,
}

/// The database that the SQL is to run on.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum For {
    /// Cloudflare D1 and SQLite under its rules
    D1,
    /// PostgreSQL 15, by isobar's backend
    Postgres,
}

impl For {
    fn dialect(self) -> Dialect {
        match self {
            Self::D1 => Dialect::Sqlite,
            Self::Postgres => Dialect::Postgres,
        }
    }
}

impl From<For> for Target {
    fn from(target: For) -> Self {
        match target {
            For::D1 => Self::D1,
            For::Postgres => Self::Postgres,
        }
    }
}

/// A finding and its file.
#[derive(Serialize)]
struct Found {
    file: String,
    #[serde(flatten)]
    finding: Finding,
}

impl Lint {
    /// Looks at the migrations, or at the given SQL behind them.
    ///
    /// # Errors
    /// A name that is not configured, a file that cannot be read, and the number of errors where there are any.
    pub(super) async fn run(self, place: &Place) -> Outcome {
        let (_, known, config) = place.known_database(&self.database)?;
        let (folder, pattern) = super::migrations::location(&known, &config)?;
        let mut given = Vec::new();
        for file in &self.file {
            let shown = file.display().to_string();
            let sql = std::fs::read_to_string(file).map_err(|error| format!("cannot read {shown}: {error}"))?;
            given.push((shown, sql));
        }
        given.extend(self.command.map(|sql| ("--command".to_owned(), sql)));
        // Without a folder there is only what is given.
        let files = match given.is_empty() || folder.exists() {
            true => migrations::from_pattern_for(&folder, &pattern, self.target.dialect())?,
            false => Vec::new(),
        };
        let linter = Linter::new(self.target.into()).await?;
        let mut all = Vec::new();
        for file in files {
            let found = linter.check(&file.sql).await?;
            // Behind given SQL the migrations are there for their schema.
            if given.is_empty() {
                let name = folder.join(&file.name).display().to_string();
                all.extend(found.into_iter().map(|finding| Found { file: name.clone(), finding }));
            }
        }
        for (name, sql) in given {
            let found = linter.check(&sql).await?;
            all.extend(found.into_iter().map(|finding| Found { file: name.clone(), finding }));
        }
        report(&all, self.json)
    }
}

/// Prints the findings.
fn report(found: &[Found], json: bool) -> Outcome {
    if json {
        say!("{}", serde_json::to_string_pretty(found)?);
    } else {
        for Found { file, finding } in found {
            say!("{file}:{}", crate::table::one_line(&finding.to_string()));
        }
    }
    match found.iter().filter(|one| one.finding.level == Level::Error).count() {
        0 if found.is_empty() && !json => say!("nothing found"),
        0 => {}
        1 => return Err("1 error".into()),
        errors => return Err(format!("{errors} errors").into()),
    }
    Ok(())
}
