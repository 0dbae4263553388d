//! Migrations, compatible with wrangler's: the same table, names and order, so that either tool goes on where the other
//! stopped.

use std::cmp::Ordering;

#[cfg(not(target_arch = "wasm32"))]
use crate::{Error, ErrorKind};
use crate::{Queryable, QueryableExt, Result, Statement, sql};

/// wrangler's default table.
pub const TABLE: &str = "d1_migrations";

/// A migration: a file's name, with its `.sql`, and its SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// The file's name.
    pub name: String,
    /// The file's SQL.
    pub sql: String,
}

impl Migration {
    /// A migration from its name and SQL.
    pub fn new(name: impl Into<String>, sql: impl Into<String>) -> Self {
        Self { name: name.into(), sql: sql.into() }
    }
}

/// A migration that has been applied.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub struct Applied {
    /// Its number in the table.
    pub id: i64,
    /// The file's name.
    pub name: String,
    /// When, as SQLite's CURRENT_TIMESTAMP writes it.
    pub applied_at: String,
}

/// The `.sql` files of a folder, in order.
///
/// # Errors
/// [`ErrorKind::Migration`] when the folder or a file cannot be read.
#[cfg(not(target_arch = "wasm32"))]
pub fn from_folder(folder: impl AsRef<std::path::Path>) -> Result<Vec<Migration>> {
    let folder = folder.as_ref();
    let failed = |path: &std::path::Path, error: std::io::Error| {
        Error::new(ErrorKind::Migration, format!("cannot read {}: {error}", path.display())).with_source(error)
    };
    let mut migrations = Vec::new();
    for file in std::fs::read_dir(folder).map_err(|error| failed(folder, error))? {
        let path = file.map_err(|error| failed(folder, error))?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name.ends_with(".sql") && path.is_file() {
            let sql = std::fs::read_to_string(&path).map_err(|error| failed(&path, error))?;
            migrations.push(Migration { name, sql });
        }
    }
    sort(&mut migrations);
    Ok(migrations)
}

/// wrangler's order: by leading number, then by name; what has no number comes last.
pub fn sort(migrations: &mut [Migration]) {
    let number = |name: &str| {
        let digits = name.bytes().take_while(u8::is_ascii_digit).count();
        name[..digits].parse::<u64>().ok()
    };
    migrations.sort_by(|a, b| match (number(&a.name), number(&b.name)) {
        (Some(a_number), Some(b_number)) => a_number.cmp(&b_number).then_with(|| a.name.cmp(&b.name)),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.name.cmp(&b.name),
    });
}

/// What has been applied, oldest first. Creates the table where it is missing.
///
/// # Errors
/// As [`Queryable::query`].
pub async fn applied(database: &(impl Queryable + ?Sized)) -> Result<Vec<Applied>> {
    let create = format!(
        "CREATE TABLE IF NOT EXISTS \"{TABLE}\"(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, \
         applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL)"
    );
    database.prepare(create).run().await?;
    database.prepare(format!("SELECT id, name, applied_at FROM \"{TABLE}\" ORDER BY id")).all().await
}

/// Those of `migrations` that have not been applied, in order.
///
/// # Errors
/// As [`applied`].
pub async fn pending(database: &(impl Queryable + ?Sized), migrations: &[Migration]) -> Result<Vec<Migration>> {
    let applied = applied(database).await?;
    let mut pending: Vec<_> = migrations
        .iter()
        .filter(|migration| !applied.iter().any(|applied| applied.name == migration.name))
        .cloned()
        .collect();
    sort(&mut pending);
    Ok(pending)
}

/// Applies what is pending, each file and its record in one transaction, and stops at the first failure; earlier files
/// stay. The names of what was applied.
///
/// # Errors
/// The failing file's, with its name and what SQLite says.
pub async fn apply(database: &(impl Queryable + ?Sized), migrations: &[Migration]) -> Result<Vec<String>> {
    let mut done = Vec::new();
    for Migration { name, sql } in pending(database, migrations).await? {
        let mut statements: Vec<_> = sql::split(&sql).map(|one| Statement::new(one.to_owned())).collect();
        statements.push(Statement::new(format!("INSERT INTO \"{TABLE}\" (name) VALUES (?)")).bind(name.as_str()));
        database.batch(statements).await.map_err(|error| error.in_migration(&name))?;
        done.push(name);
    }
    Ok(done)
}
