//! Migrations that are written for another dialect, too.
//!
//! A migration that cannot be said in the SQL that both databases understand, such as a trigger, has a second file:
//! `0007_usage.postgres.sql` beside `0007_usage.sql`, or in the folder `postgres` within that of the migrations, where wrangler does not
//! look. It is recorded under the name of the first, so that the order is one, and it may stand alone.

#[cfg(all(feature = "local", not(target_arch = "wasm32")))]
use std::path::Path;

use super::Migration;
use crate::Dialect;
#[cfg(all(feature = "local", not(target_arch = "wasm32")))]
use crate::{Error, ErrorKind, Result};

/// End of the name of a file for Postgres.
const POSTGRES: &str = ".postgres.sql";

/// Comment behind which the backend takes SQL as it is.
const AS_IT_IS: &str = "/* isobar:postgres */";

/// The name of the migration that a file for Postgres is; `None` for other files.
pub(super) fn base(name: &str) -> Option<String> {
    name.strip_suffix(POSTGRES).map(|stem| format!("{stem}.sql"))
}

/// The migrations for a dialect, out of the files of all.
pub(super) fn choose(files: Vec<Migration>, dialect: Dialect) -> Vec<Migration> {
    let (written, mut chosen): (Vec<_>, Vec<_>) = files.into_iter().partition(|file| base(&file.name).is_some());
    if dialect != Dialect::Postgres {
        return chosen;
    }
    for Migration { name, sql } in written {
        let Some(name) = base(&name) else { continue };
        // On the first line, so that lines of errors are the file's.
        let sql = format!("{AS_IT_IS} {sql}");
        match chosen.iter_mut().find(|file| file.name == name) {
            Some(file) => file.sql = sql,
            None => chosen.push(Migration { name, sql }),
        }
    }
    chosen
}

/// The files for Postgres in the folder within that of the migrations.
#[cfg(all(feature = "local", not(target_arch = "wasm32")))]
pub(super) fn within(folder: &Path) -> Result<Vec<Migration>> {
    let failed = |path: &Path, error: std::io::Error| {
        Error::new(ErrorKind::Migration, format!("cannot read {}: {error}", path.display())).with_source(error)
    };
    let folder = folder.join("postgres");
    let entries = match std::fs::read_dir(&folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| failed(&folder, error))?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| failed(&folder, error))?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if !name.starts_with('.') && base(&name).is_some() {
            let sql = std::fs::read_to_string(&path).map_err(|error| failed(&path, error))?;
            files.push(Migration { name, sql });
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_for_postgres_takes_the_place_of_its_migration() {
        let files = [("1_a.sql", "A"), ("1_a.postgres.sql", "P"), ("2_b.sql", "B"), ("3_c.postgres.sql", "C")];
        let chosen = |dialect| {
            let files = files.iter().map(|(name, sql)| Migration::new(*name, *sql)).collect();
            let chosen = choose(files, dialect).into_iter().map(|file| format!("{} {}", file.name, file.sql));
            chosen.collect::<Vec<_>>()
        };
        assert_eq!(chosen(Dialect::Sqlite), ["1_a.sql A", "2_b.sql B"]);
        let marked = |name: &str, sql: &str| format!("{name} {AS_IT_IS} {sql}");
        assert_eq!(chosen(Dialect::Postgres), [marked("1_a.sql", "P"), "2_b.sql B".to_owned(), marked("3_c.sql", "C")]);
    }
}
