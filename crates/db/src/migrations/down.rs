//! Undoing migrations by files of their own.
//!
//! wrangler has no way back, so a file that undoes is ours alone: its name ends with `.down.sql`, which
//! [`from_folder`](super::from_folder) passes over. The removal of the record stands on the first line of the
//! file's script, in its transaction: a script that fails leaves its migration applied, and two processes that undo
//! at once cannot both succeed.

use super::{Migration, Migrator, records};
#[cfg(all(feature = "local", not(target_arch = "wasm32")))]
use crate::Dialect;
use crate::{Error, ErrorKind, Queryable, QueryableExt, Result};

/// The file that undoes a migration: of `0001_users.sql` it is `0001_users.down.sql`, beside it or in the folder `down` within the
/// folder of migrations. wrangler takes every `*.sql` beside the others for a migration: where it is used too, the folder `down` is
/// the place. Returns its SQL under the migration's name, or `None`.
///
/// ```
/// use isobar_db::migrations::down_file;
///
/// # let folder = tempfile::tempdir()?;
/// # let folder = folder.path();
/// std::fs::write(folder.join("0001_users.down.sql"), "DROP TABLE users;")?;
/// let down = down_file(folder, "0001_users.sql")?.expect("it was written");
/// assert_eq!((down.name.as_str(), down.sql.as_str()), ("0001_users.sql", "DROP TABLE users;"));
/// assert_eq!(down_file(folder, "0002_posts.sql")?, None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`ErrorKind::Migration`] when a file cannot be read.
#[cfg(all(feature = "local", not(target_arch = "wasm32")))]
pub fn down_file(folder: impl AsRef<std::path::Path>, name: &str) -> Result<Option<Migration>> {
    down_file_for(folder, name, Dialect::Sqlite)
}

/// The file that undoes a migration, as it is written for a dialect: see [`down_file`].
///
/// For Postgres, `NAME.postgres.down.sql` in the same places comes first, and is taken as it is.
///
/// # Errors
/// As [`down_file`].
#[cfg(all(feature = "local", not(target_arch = "wasm32")))]
pub fn down_file_for(folder: impl AsRef<std::path::Path>, name: &str, dialect: Dialect) -> Result<Option<Migration>> {
    let stem = name.strip_suffix(".sql").unwrap_or(name);
    let places = |end: &str| [format!("{stem}{end}"), format!("down/{stem}{end}")];
    let written = places(".postgres.down.sql").map(|file| (file, "/* isobar:postgres */ "));
    let common = places(".down.sql").map(|file| (file, ""));
    let written = written.into_iter().filter(|_| dialect == Dialect::Postgres);
    for (file, mark) in written.chain(common) {
        let path = folder.as_ref().join(file);
        match std::fs::read_to_string(&path) {
            Ok(sql) => return Ok(Some(Migration::new(name, format!("{mark}{sql}")))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                let message = format!("cannot read {}: {error}", path.display());
                return Err(Error::new(ErrorKind::Migration, message).with_source(error));
            }
        }
    }
    Ok(None)
}

impl Migrator {
    /// Returns the names of the migrations that were applied last, the last one first.
    ///
    /// The order is that in which they were applied, which is not that of the files where one was added behind.
    ///
    /// # Errors
    /// As [`applied`](Self::applied); [`ErrorKind::Migration`] where fewer are applied.
    pub async fn last_applied(&self, database: &(impl Queryable + ?Sized), count: usize) -> Result<Vec<String>> {
        let applied = self.applied(database).await?;
        if applied.len() < count {
            let message = format!("cannot undo {count} migrations: {} are applied", applied.len());
            return Err(Error::new(ErrorKind::Migration, message));
        }
        Ok(applied.into_iter().rev().take(count).map(|applied| applied.name).collect())
    }

    /// Undoes migrations, in the order of the list: each script and the removal of its record in one transaction. Stops at the first
    /// failure; those before it stay undone. Returns the names of the undone ones.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
    /// use isobar_db::SqliteDatabase;
    /// use isobar_db::migrations::{Migration, Migrator};
    ///
    /// let db = SqliteDatabase::memory().await?;
    /// let migrator = Migrator::default();
    /// migrator.apply(&db, &[Migration::new("0001_users.sql", "CREATE TABLE users (id)")]).await?;
    /// assert_eq!(migrator.last_applied(&db, 1).await?, ["0001_users.sql"]);
    /// migrator.undo(&db, &[Migration::new("0001_users.sql", "DROP TABLE users")]).await?;
    /// assert!(migrator.applied(&db).await?.is_empty());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Migration`] where one is not applied; the failing script's, as for [`apply`](Self::apply).
    pub async fn undo(&self, database: &(impl Queryable + ?Sized), scripts: &[Migration]) -> Result<Vec<String>> {
        let mut undone = Vec::new();
        for script in scripts {
            let applied = self.applied(database).await?;
            if !applied.iter().any(|applied| applied.name == script.name) {
                return Err(not_applied(&script.name));
            }
            // On the script's first line, so that the lines of errors are the file's. Another process may undo it at the same time.
            let remove = self.records.remove(database, &script.name).await?;
            match database.run_script(&format!("{remove} {}", script.sql)).await {
                Ok(_) => undone.push(script.name.clone()),
                Err(error) if records::is_not_applied(&error) => return Err(not_applied(&script.name)),
                Err(error) => return Err(error.in_file(&script.name)),
            }
        }
        Ok(undone)
    }
}

fn not_applied(name: &str) -> Error {
    Error::new(ErrorKind::Migration, format!("cannot undo {name}: it is not applied"))
}
