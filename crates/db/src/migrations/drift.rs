//! The schema that the applied files give, against the one that the database has.
//!
//! The expected schema is not computed but made: the applied files run on an empty database in memory, and both
//! schemas are read in the same way. So whatever SQLite does to a definition (renames within it, its quoting)
//! happens to both.

use super::{Migration, Migrator};
use crate::schema::{Difference, Schema};
use crate::{Error, ErrorKind, Queryable, Result, SqliteDatabase};

impl Migrator {
    /// Returns the differences of a database's schema from the one that its applied migrations give: what has been changed past them.
    /// They are applied to a database in memory, in the order in which they were applied.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
    /// use isobar_db::migrations::{Migration, Migrator};
    /// use isobar_db::{Database, SqliteDatabase};
    ///
    /// let db = SqliteDatabase::memory().await?;
    /// let files = [Migration::new("0001_users.sql", "CREATE TABLE users (id)")];
    /// let migrator = Migrator::default();
    /// migrator.apply(&db, &files).await?;
    /// db.exec("ALTER TABLE users ADD COLUMN hurried TEXT").await?;
    /// let drift = migrator.drift(&db, &files).await?;
    /// assert_eq!(drift[0].to_string(), "column users.hurried is not expected");
    /// # Ok(()) }
    /// ```
    ///
    /// Rows are not compared, nor are the tables of records themselves. A migration that fills a column from rows runs
    /// on empty tables here.
    ///
    /// # Errors
    /// [`ErrorKind::Migration`] where an applied migration has no file; the failing file's where one does not run on empty tables.
    pub async fn drift(
        &self,
        database: &(impl Queryable + ?Sized),
        migrations: &[Migration],
    ) -> Result<Vec<Difference>> {
        let expected = SqliteDatabase::memory().await?;
        for applied in self.applied(database).await? {
            let Some(file) = migrations.iter().find(|file| file.name == applied.name) else {
                let message =
                    format!("{} is applied, but has no file: the schema that it gives is not known", applied.name);
                return Err(Error::new(ErrorKind::Migration, message));
            };
            // One at a time, as the order is that of the database.
            self.apply(&expected, std::slice::from_ref(file)).await?;
        }
        let own = self.records.names();
        let without_own = |mut schema: Schema| {
            schema.tables.retain(|table| !own.iter().any(|own| own.eq_ignore_ascii_case(&table.name)));
            schema
        };
        let expected = without_own(Schema::read(&expected).await?);
        Ok(expected.differences(&without_own(Schema::read(database).await?)))
    }
}
