//! Where a database stands against its files: checksums, a baseline, drift.

use serde::Serialize;

use super::{Migration, Migrator, checksum, sort};
use crate::{Error, ErrorKind, Queryable, Result, Statement};

/// State of a migration.
///
/// | state | recorded | file | checksum |
/// |---|---|---|---|
/// | `Applied` | yes | there | the file's |
/// | `AppliedUnchecked` | yes | there | not known |
/// | `Changed` | yes | there | another one |
/// | `FileMissing` | yes | none | |
/// | `Pending` | no | behind all applied ones | |
/// | `OutOfOrder` | no | before an applied one | |
///
/// `Changed`, `FileMissing` and `OutOfOrder` call for a look; [`apply`](Migrator::apply) refuses the first alone,
/// and only with [checksums](Migrator::with_checksums).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum State {
    /// It is applied, and its file is the one that was applied.
    Applied,
    /// It is applied, and no checksum is known: by wrangler, or without checksums.
    AppliedUnchecked,
    /// It is applied, and its file has been changed since.
    Changed,
    /// It is applied, and has no file.
    FileMissing,
    /// It is not applied.
    Pending,
    /// It is not applied, though one that follows it in the order of the files is.
    OutOfOrder,
}

/// A migration and its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// The file's name.
    pub name: String,
    /// Its state.
    pub state: State,
    /// When it was applied, as SQLite's CURRENT_TIMESTAMP writes it; `None` for a pending one.
    pub applied_at: Option<String>,
}

impl Migrator {
    /// Returns the state of every migration that is applied or has a file: applied ones in the order in which they were applied, then
    /// the pending ones. Creates nothing.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
    /// use isobar_db::SqliteDatabase;
    /// use isobar_db::migrations::{Migration, Migrator, State};
    ///
    /// let db = SqliteDatabase::memory().await?;
    /// let files = ["1_a", "2_b", "3_c"].map(|name| Migration::new(format!("{name}.sql"), format!("CREATE TABLE t{name} (x)")));
    /// let migrator = Migrator::default().with_checksums();
    /// migrator.apply(&db, &[files[0].clone(), files[2].clone()]).await?;
    /// let states: Vec<_> = migrator.status(&db, &files).await?.into_iter().map(|one| (one.name, one.state)).collect();
    /// assert_eq!(states[1], ("3_c.sql".to_owned(), State::Applied));
    /// assert_eq!(states[2], ("2_b.sql".to_owned(), State::OutOfOrder));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`applied`](Self::applied).
    pub async fn status(&self, database: &(impl Queryable + ?Sized), migrations: &[Migration]) -> Result<Vec<Status>> {
        let applied = self.applied(database).await?;
        let sums = self.records.checksums(database).await?;
        let mut files = migrations.to_vec();
        sort(&mut files);
        let is_applied = |name: &str| applied.iter().any(|applied| applied.name == name);
        let last = files.iter().rposition(|file| is_applied(&file.name));
        let state = |name: &str| match (files.iter().find(|file| file.name == name), sums.get(name)) {
            (None, _) => State::FileMissing,
            (Some(_), None) => State::AppliedUnchecked,
            (Some(file), Some(sum)) if checksum(&file.sql) == *sum => State::Applied,
            (Some(_), Some(_)) => State::Changed,
        };
        let mut all: Vec<Status> = applied
            .iter()
            .map(|one| Status {
                name: one.name.clone(),
                state: state(&one.name),
                applied_at: Some(one.applied_at.clone()),
            })
            .collect();
        for (index, file) in files.iter().enumerate().filter(|(_, file)| !is_applied(&file.name)) {
            let state = if last.is_some_and(|last| index < last) { State::OutOfOrder } else { State::Pending };
            all.push(Status { name: file.name.clone(), state, applied_at: None });
        }
        Ok(all)
    }

    /// Records pending migrations as applied without running them, up to this one, or all: for a database whose tables exist already.
    /// Applied ones whose checksum is not known, or is another one than their file's, get that of the file. Returns the names of the
    /// migrations that were recorded, in one transaction.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
    /// use isobar_db::migrations::{Migration, Migrator};
    /// use isobar_db::{QueryableExt, SqliteDatabase};
    ///
    /// let db = SqliteDatabase::memory().await?;
    /// db.run_script("CREATE TABLE users (id)").await?; // by hand, long ago
    /// let users = Migration::new("0001_users.sql", "CREATE TABLE users (id)");
    /// let posts = Migration::new("0002_posts.sql", "CREATE TABLE posts (id)");
    /// let files = [users, posts];
    /// let migrator = Migrator::default();
    /// assert_eq!(migrator.baseline(&db, &files, Some("0001_users.sql")).await?, ["0001_users.sql"]);
    /// assert_eq!(migrator.apply(&db, &files).await?, ["0002_posts.sql"]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Migration`] where `up_to` is none of the files; as [`Queryable::batch`].
    pub async fn baseline(
        &self,
        database: &(impl Queryable + ?Sized),
        migrations: &[Migration],
        up_to: Option<&str>,
    ) -> Result<Vec<String>> {
        let mut files = migrations.to_vec();
        sort(&mut files);
        if let Some(name) = up_to {
            let Some(last) = files.iter().position(|file| file.name == name) else {
                return Err(Error::new(ErrorKind::Migration, format!("there is no migration {name}")));
            };
            files.truncate(last + 1);
        }
        let applied = self.applied(database).await?;
        let mut batch: Vec<_> = self.records.create().into_iter().map(Statement::new).collect();
        let mut recorded = Vec::new();
        for file in files {
            if !applied.iter().any(|applied| applied.name == file.name) {
                batch.push(self.records.insert_name(&file.name));
                recorded.push(file.name.clone());
            }
            if self.records.has_checksums {
                batch.push(self.records.insert_checksum(&file));
            }
        }
        database.batch(batch).await?;
        Ok(recorded)
    }

    /// Fails where a file is not what was applied under its name.
    pub(super) async fn check_unchanged(
        &self,
        database: &(impl Queryable + ?Sized),
        migrations: &[Migration],
    ) -> Result<()> {
        let sums = self.records.checksums(database).await?;
        let is_changed = |file: &&Migration| sums.get(&file.name).is_some_and(|sum| *sum != checksum(&file.sql));
        let changed: Vec<_> = migrations.iter().filter(is_changed).map(|file| file.name.as_str()).collect();
        if changed.is_empty() {
            return Ok(());
        }
        let message = format!(
            "{} changed after being applied: put the change into a migration of its own, or record the file as it is by a baseline",
            changed.join(", ")
        );
        Err(Error::new(ErrorKind::Migration, message))
    }
}
