//! Trying migrations: they run in a transaction that is rolled back.

use serde::Serialize;

use super::{Migration, Migrator};
use crate::{Error, ErrorKind, Queryable, QueryableExt, Result, sql};

/// Text of the error that rolls a dry run back.
const ROLL_BACK: &str = "isobar_dry_run";

/// A pending migration that a dry run has tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Planned {
    /// The file's name.
    pub name: String,
    /// Number of its statements.
    pub statements: usize,
}

impl Migrator {
    /// Runs all pending migrations in one transaction that is rolled back, on the database itself with its rows. Returns them in
    /// their order.
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
    async fn roll_back(&self, database: &(impl Queryable + ?Sized), files: &[Migration]) -> Result<()> {
        let mut script = format!("{};\n", self.records.create().join("; "));
        let mut start = 0;
        for file in files {
            start = script.matches('\n').count();
            let sql = sql::without_transaction(&file.sql).map_err(|error| error.in_file(&file.name))?;
            script.push_str(&format!("{} {sql}\n;\n", self.records.insert(file)));
        }
        script.push_str(&format!("SELECT json_extract('{{}}', '{ROLL_BACK}');"));
        let name = files.last().map(|file| file.name.as_str()).unwrap_or_default();
        match database.run_script(&script).await {
            Err(error) if error.message().contains(ROLL_BACK) => Ok(()),
            Err(error) => Err(error.without_lines(start).in_file(name)),
            Ok(_) => {
                Err(Error::new(ErrorKind::Internal, "the dry run of the migrations was not rolled back").in_file(name))
            }
        }
    }
}
