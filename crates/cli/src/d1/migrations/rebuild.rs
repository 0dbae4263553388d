//! The command `isobar d1 migrations rebuild`.

use std::error::Error;
use std::path::PathBuf;

use clap::{ArgGroup, Args};
use isobar_db::migrations::{self, RebuildOptions};

use super::super::Where;
use super::{next_file, write_new};
use crate::place::Place;
use crate::{Outcome, say};

#[derive(Debug, Args)]
#[command(
    after_help = "The definition is a CREATE TABLE of the table under its own name. Columns have the values of the old columns of the same \
names. Indexes and triggers stay as they are, and so do the rows of tables that refer to the table, which DROP TABLE would delete by \
ON DELETE CASCADE. The file refuses to run where the schema has changed since it was written.

Examples:
  isobar d1 migrations rebuild DB --file users.sql
  isobar d1 migrations rebuild DB --sql 'CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL)' --set \"name=coalesce(name, '')\"
  isobar d1 migrations rebuild DB --file users.sql --drop shoe_size --remote"
)]
#[command(group(ArgGroup::new("definition").required(true).args(["sql", "file"])))]
pub(crate) struct Rebuild {
    /// The database's name or binding
    database: String,
    /// The new definition
    #[arg(long)]
    sql: Option<String>,
    /// A file with the new definition
    #[arg(long)]
    file: Option<PathBuf>,
    /// Fill a column by an expression over the old columns; can be repeated
    ///
    /// By the name of an old column it is renamed.
    #[arg(long, value_name = "COLUMN=EXPRESSION", value_parser = assignment)]
    set: Vec<(String, String)>,
    /// Give up the values of an old column; can be repeated
    #[arg(long, value_name = "COLUMN")]
    drop: Vec<String>,
    #[command(flatten)]
    at: Where,
}

fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((column, expression)) if !column.trim().is_empty() && !expression.trim().is_empty() => {
            Ok((column.trim().to_owned(), expression.trim().to_owned()))
        }
        _ => Err("use COLUMN=EXPRESSION".to_owned()),
    }
}

impl Rebuild {
    /// Reads the schema, tries the rebuild on a copy of it in memory, and writes the file. The database is not changed.
    ///
    /// # Errors
    /// A database that does not exist; those of `isobar_db::migrations::rebuild`; a file that cannot be written.
    pub(super) async fn run(self, place: &Place) -> Outcome {
        let opened = self.at.look(place, &self.database).await?;
        let definition = self.definition()?;
        let with_source =
            |options: RebuildOptions, (column, source): (String, String)| options.with_source(column, source);
        let options = self.set.into_iter().fold(RebuildOptions::default(), with_source);
        let options = self.drop.into_iter().fold(options, RebuildOptions::with_dropped);
        let rebuild = migrations::rebuild(&**opened.existing()?, &definition, &options).await?;
        let (folder, stem) = next_file(opened.location()?, &format!("rebuild {}", rebuild.table))?;
        write_new(&folder.join(format!("{stem}.sql")), &rebuild.sql())?;
        if !rebuild.put_aside.is_empty() {
            say!("rows that are put aside and inserted again, too: {}", rebuild.put_aside.join(", "));
        }
        Ok(())
    }

    fn definition(&self) -> Result<String, Box<dyn Error>> {
        match (&self.sql, &self.file) {
            (Some(sql), _) => Ok(sql.clone()),
            (None, Some(file)) => {
                std::fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()).into())
            }
            (None, None) => unreachable!("clap requires one of them"),
        }
    }
}
