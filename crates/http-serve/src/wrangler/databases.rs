//! The databases of the configuration: a SQLite file each, or a schema each on a Postgres server.

use std::path::Path;

#[cfg(feature = "postgres")]
use isobar_cloudflare::wrangler::D1Database;
use isobar_db::slow_queries::{SlowQueries, SlowQueryOptions};
use isobar_db::{SqliteDatabase, SqliteOptions};

use super::{PlatformError, WranglerPlatform, file_name};
use crate::platform::PlatformBuilder;

impl WranglerPlatform {
    /// Keeps the history of every local database, for time travel and backup; what it costs stands at
    /// [`HistoryOptions`](isobar_db::HistoryOptions). Default: `None`, and a database that keeps one already goes on.
    #[must_use]
    pub fn history(mut self, options: Option<isobar_db::HistoryOptions>) -> Self {
        self.history = options;
        self
    }

    /// Reports slow statements of the local databases, which are named by their bindings. Default: `None`, no reports.
    #[must_use]
    pub fn slow_queries(mut self, options: Option<SlowQueryOptions>) -> Self {
        self.slow_queries = options;
        self
    }

    /// Opens the databases on a Postgres server in place of files, at a URL as `PostgresDatabase::connect` takes it: each in a schema of its
    /// own, named as the database is, which is created if necessary. Files alone have [`history`](Self::history) and
    /// [`slow_queries`](Self::slow_queries): with either of them set, opening fails. Default: `None`.
    #[cfg(feature = "postgres")]
    #[must_use]
    pub fn postgres(mut self, url: Option<String>) -> Self {
        self.postgres = url;
        self
    }

    /// Opens the databases of the configuration.
    pub(super) async fn local_databases(
        &self,
        mut builder: PlatformBuilder,
        root: &Path,
    ) -> Result<PlatformBuilder, PlatformError> {
        for database in &self.config.d1_databases {
            let failed = |error| PlatformError::Database(database.binding.clone(), error);
            #[cfg(feature = "postgres")]
            if let Some(url) = &self.postgres {
                self.check_options_of_files().map_err(failed)?;
                let opened = open_schema(url, database).await.map_err(failed)?;
                builder = builder.with_database(&database.binding, opened);
                continue;
            }
            let file = root.join("d1").join(format!("{}.sqlite", file_name(&database.binding, database.local_name())?));
            let options = self.history.into_iter().fold(SqliteOptions::default(), SqliteOptions::with_history);
            let opened = SqliteDatabase::open_with(file, options).await.map_err(failed)?;
            builder = match self.slow_queries.clone().map(|options| options.with_name(&*database.binding)) {
                Some(options) => builder.with_database(&database.binding, SlowQueries::new(opened, options)),
                None => builder.with_database(&database.binding, opened),
            };
        }
        Ok(builder)
    }

    /// Refuses options that would be without effect on a server.
    #[cfg(feature = "postgres")]
    fn check_options_of_files(&self) -> isobar_db::Result<()> {
        let option = if self.history.is_some() {
            "history"
        } else if self.slow_queries.is_some() {
            "slow_queries"
        } else {
            return Ok(());
        };
        let message = format!("the option {option} is for databases in files, and this one is on a Postgres server");
        Err(isobar_db::Error::new(isobar_db::ErrorKind::Unsupported, message))
    }
}

#[cfg(feature = "postgres")]
async fn open_schema(url: &str, database: &D1Database) -> isobar_db::Result<isobar_db::PostgresDatabase> {
    let options = isobar_db::PostgresOptions::default().with_schema(database.local_name());
    isobar_db::PostgresDatabase::connect_with(url, options).await
}
