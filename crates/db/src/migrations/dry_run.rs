//! Trying migrations: they run in a transaction that is rolled back.
//!
//! D1 has no transaction that could be left open and undone, so the dry run is a batch whose last statement fails
//! on purpose. All pending files run first as one; only where that fails do growing prefixes run, to find the first
//! file that fails.

use std::borrow::Cow;

use serde::Serialize;

use super::{Migration, Migrator};
use crate::{Error, ErrorKind, Queryable, Result, Statement, sql};

/// Text of the error that rolls a dry run back.
const ROLL_BACK: &str = "isobar_dry_run";

/// A pending migration that a dry run has tried.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
/// use isobar_db::SqliteDatabase;
/// use isobar_db::migrations::{self, Migration, Migrator};
///
/// let db = SqliteDatabase::memory().await?;
/// let users = Migration::new("0001_users.sql", "CREATE TABLE users (id)");
/// let posts = Migration::new("0002_posts.sql", "CREATE TABLE posts (id); CREATE INDEX by_id ON posts (id)");
/// let planned = Migrator::default().dry_run(&db, &[posts, users]).await?;
/// let shown: Vec<_> = planned.iter().map(|file| format!("{}: {}", file.name, file.statements)).collect();
/// assert_eq!(shown, ["0001_users.sql: 1", "0002_posts.sql: 2"]);
/// assert!(migrations::applied(&db).await?.is_empty(), "nothing has happened");
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Planned {
    /// The file's name.
    pub name: String,
    /// Number of its statements.
    pub statements: usize,
}

/// The last file of a dry run.
#[derive(Default)]
struct Last<'f> {
    name: &'f str,
    sql: Cow<'f, str>,
    /// Number of the statements before its own.
    first: usize,
}

impl Last<'_> {
    /// The error with the file's name, and the line where the backend reports the statement.
    fn placed(&self, error: Error) -> Error {
        let number = error.statement_index().and_then(|index| index.checked_sub(self.first));
        let statement = number.and_then(|number| sql::split(&self.sql).nth(number));
        let error = match statement {
            Some(statement) => error.in_script(&self.sql, statement.as_ptr().addr() - self.sql.as_ptr().addr()),
            None => error,
        };
        error.in_file(self.name)
    }
}

/// Returns whether the error is that of the statement with this number, which undoes the dry run.
fn is_undoing(error: &Error, number: usize) -> bool {
    error.message().contains(ROLL_BACK) && error.statement_index().is_none_or(|index| index == number)
}

impl Migrator {
    /// Runs all pending migrations in one transaction that is rolled back, on the database itself with its rows. Returns them in
    /// their order. Whatever the files hold, the database is then as it was; a PRAGMA in them that lasts as long as the connection,
    /// such as `recursive_triggers`, stays set for as long.
    ///
    /// It takes the write lock for as long as the files run, with the rows that are there: on a large database, and on
    /// D1, other writes wait.
    ///
    /// # Errors
    /// As [`apply`](Self::apply): those of the first file that would fail.
    pub async fn dry_run(
        &self,
        database: &(impl Queryable + ?Sized),
        migrations: &[Migration],
    ) -> Result<Vec<Planned>> {
        let pending = self.pending(database, migrations).await?;
        if pending.is_empty() {
            return Ok(Vec::new());
        }
        #[cfg(feature = "checksums")]
        if self.records.has_checksums {
            self.check_unchanged(database, migrations).await?;
        }
        if self.roll_back(database, &pending).await.is_err() {
            // The first that fails behind its predecessors.
            for end in 1..=pending.len() {
                self.roll_back(database, &pending[..end]).await?;
            }
        }
        let planned = |Migration { name, sql }: Migration| Planned { statements: sql::split(&sql).count(), name };
        Ok(pending.into_iter().map(planned).collect())
    }

    /// Runs the files and rolls them back. The error is that of the last one.
    ///
    /// Each statement is a text of its own, so that nothing that a file leaves open, a comment for instance, takes in the statement
    /// that undoes them all.
    async fn roll_back(&self, database: &(impl Queryable + ?Sized), files: &[Migration]) -> Result<()> {
        let own = |statement: &str| Statement::new(statement.to_owned());
        let mut batch: Vec<Statement> = self.records.create().into_iter().map(Statement::new).collect();
        let mut last = Last::default();
        for file in files {
            let sql = sql::without_transaction(&file.sql).map_err(|error| error.in_file(&file.name))?;
            batch.extend(sql::split(&self.records.insert(file)).map(own));
            last = Last { name: &file.name, first: batch.len(), sql };
            batch.extend(sql::split(&last.sql).map(own));
        }
        let undoing = batch.len();
        batch.push(Statement::new(format!("SELECT json_extract('{{}}', '{ROLL_BACK}')")));
        match database.batch(batch).await {
            Err(error) if is_undoing(&error, undoing) => Ok(()),
            Err(error) => Err(last.placed(error)),
            Ok(_) => {
                let message = "the dry run of the migrations was not rolled back";
                Err(Error::new(ErrorKind::Internal, message).in_file(last.name))
            }
        }
    }
}
