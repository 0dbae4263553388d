//! The commands `isobar d1 list` and `isobar d1 info`.
//!
//! `list` merges the configuration with the folder of databases, without opening one; a file that no
//! configuration names is listed, too, since `--root` may be shared. `info` opens one and counts its
//! rows: that reads every table once, which on the account is billed as rows read.

use std::collections::BTreeMap;

use clap::Args;
use indicatif::HumanBytes;
use isobar_base::fs::SqliteFile;
use isobar_db::migrations::Migrator;
use isobar_db::schema::{Schema, TableKind};
use isobar_db::{QueryableExt, sql};
use serde::Serialize;

use super::Where;
use crate::place::Place;
use crate::{Outcome, say, table};

#[derive(Debug, Args)]
#[command(after_help = "Example:
  isobar d1 list --json")]
pub(crate) struct List {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  isobar d1 info DB
  isobar d1 info DB --remote --json")]
pub(crate) struct Info {
    /// The database's name or binding
    database: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: Where,
}

/// A database of the configuration or of the state folder.
#[derive(Debug, Default, Serialize)]
struct Listed {
    name: String,
    binding: Option<String>,
    database_id: Option<String>,
    /// Bytes of the local file and its log; `None` where there is none.
    bytes: Option<u64>,
}

impl List {
    pub(super) fn run(self, place: &Place) -> Outcome {
        let config = place.config()?;
        let folder = place.root(config.as_ref()).join("d1");
        let mut databases = BTreeMap::<String, Listed>::new();
        for one in config.iter().flat_map(|config| &config.d1_databases) {
            let name = one.local_name().to_owned();
            let binding = Some(one.binding.clone());
            databases.insert(name.clone(), Listed { name, binding, database_id: one.database_id.clone(), bytes: None });
        }
        let entries = match std::fs::read_dir(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            entries => entries
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(|error| format!("cannot read {}: {error}", folder.display()))?,
        };
        for entry in entries {
            let file = entry.file_name().to_string_lossy().into_owned();
            let Some(name) = file.strip_suffix(".sqlite") else { continue };
            let listed = databases
                .entry(name.to_owned())
                .or_insert_with(|| Listed { name: name.to_owned(), ..Listed::default() });
            listed.bytes = Some(size(&entry.path())?);
        }
        let databases: Vec<Listed> = databases.into_values().collect();
        if self.json {
            say!("{}", serde_json::to_string_pretty(&databases)?);
            return Ok(());
        }
        if databases.is_empty() {
            say!("no databases: the configuration has no d1_databases, and {} has none", folder.display());
            return Ok(());
        }
        let row = |one: Listed| {
            let size = one.bytes.map_or_else(|| "not used yet".to_owned(), |bytes| HumanBytes(bytes).to_string());
            vec![one.name, one.binding.unwrap_or_default(), size, one.database_id.unwrap_or_default()]
        };
        let headings = ["NAME", "BINDING", "SIZE HERE", "DATABASE ID"].map(String::from);
        table::print(&headings, &databases.into_iter().map(row).collect::<Vec<_>>())
    }
}

/// Bytes of a database's file and its log.
///
/// The log counts, as commits may stand in it alone until the next checkpoint.
fn size(file: &std::path::Path) -> std::io::Result<u64> {
    let log = std::fs::metadata(SqliteFile::Wal.beside(file)).map_or(0, |log| log.len());
    Ok(std::fs::metadata(file)?.len() + log)
}

/// A database as `info` prints it as JSON.
#[derive(Debug, Serialize)]
struct Described {
    name: String,
    binding: String,
    database_id: Option<String>,
    /// The local file; `None` for the account's database.
    file: Option<String>,
    bytes: u64,
    tables: Vec<TableInfo>,
    views: usize,
    triggers: usize,
    migrations_applied: usize,
}

/// A table as `info` prints it. Shadow tables of virtual tables are left out: they are in their
/// owner's.
#[derive(Debug, Serialize)]
struct TableInfo {
    name: String,
    kind: TableKind,
    rows: i64,
    columns: usize,
    indexes: usize,
}

impl Info {
    pub(super) async fn run(self, place: &Place) -> Outcome {
        let opened = self.at.look(place, &self.database).await?;
        let database = opened.existing()?;
        let schema = Schema::read(&**database).await?;
        let migrator = match &opened.known.migrations_table {
            Some(table) => Migrator::default().with_table(table),
            None => Migrator::default(),
        };
        let migrations_applied = migrator.applied(&**database).await?.len();
        let mut tables = Vec::new();
        for one in schema.tables.iter().filter(|table| table.kind != TableKind::Shadow) {
            let rows =
                database.prepare(format!("SELECT count(*) FROM {}", sql::quoted(&one.name))).one::<i64>().await?;
            let columns = one.columns.len();
            tables.push(TableInfo {
                name: one.name.clone(),
                kind: one.kind,
                rows,
                columns,
                indexes: one.indexes.len(),
            });
        }
        let size_after = database.prepare("SELECT 1").run().await?.size_after;
        let is_local = !self.at.remote;
        let described = Described {
            name: opened.known.local_name().to_owned(),
            binding: opened.known.binding.clone(),
            database_id: opened.known.database_id.clone(),
            file: is_local.then(|| opened.file.display().to_string()),
            bytes: if is_local { size(&opened.file)? } else { size_after },
            tables,
            views: schema.views.len(),
            triggers: schema.triggers.len(),
            migrations_applied,
        };
        if self.json {
            say!("{}", serde_json::to_string_pretty(&described)?);
            return Ok(());
        }
        show(&described)
    }
}

fn show(one: &Described) -> Outcome {
    let place = one.file.as_deref().or(one.database_id.as_deref()).unwrap_or_default();
    say!("{} ({}): {}, {place}", one.name, one.binding, HumanBytes(one.bytes));
    let counts = [(one.views, "views"), (one.triggers, "triggers"), (one.migrations_applied, "applied migrations")];
    say!("{}\n", counts.map(|(count, what)| format!("{count} {what}")).join(", "));
    let row = |table: &TableInfo| {
        let counts = [table.rows.to_string(), table.columns.to_string(), table.indexes.to_string()];
        [table.name.clone()].into_iter().chain(counts).collect::<Vec<_>>()
    };
    let headings = ["TABLE", "ROWS", "COLUMNS", "INDEXES"].map(String::from);
    table::print(&headings, &one.tables.iter().map(row).collect::<Vec<_>>())
}
