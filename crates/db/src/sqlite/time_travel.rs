//! Time travel on a file.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::{Index, SqliteDatabase, history};
use crate::{Bookmark, History, Restored, Result, TimeTravel};

impl SqliteDatabase {
    /// Reads what the history has, of all that was answered before.
    pub(crate) async fn settled_index(&self) -> Result<Index> {
        self.engine.settled_index().await.map_err(|error| error.during("backup"))
    }

    /// Returns the folder of the history of the database in this file, whether it keeps one or not.
    ///
    /// ```
    /// use isobar_db::SqliteDatabase;
    ///
    /// let folder = SqliteDatabase::history_folder("no/such/app.sqlite");
    /// assert_eq!(folder, std::path::Path::new("no/such/app.sqlite-history"));
    /// ```
    #[must_use]
    pub fn history_folder(path: impl AsRef<Path>) -> PathBuf {
        history::folder_of(path.as_ref())
    }

    /// Deletes the history of the database in this file, if there is one; no other is kept until [one is asked
    /// for](crate::SqliteOptions::with_history).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use isobar_db::{Database, ErrorKind, HistoryOptions, SqliteDatabase, SqliteOptions};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// let path = folder.path().join("app.sqlite");
    /// let options = SqliteOptions::default().with_history(HistoryOptions::default());
    /// let db = SqliteDatabase::open_with(&path, options).await?;
    /// assert_eq!(SqliteDatabase::delete_history(&path).unwrap_err().kind(), ErrorKind::Unavailable);
    ///
    /// drop(db);
    /// SqliteDatabase::delete_history(&path)?;
    /// assert!(SqliteDatabase::open(&path).await?.time_travel().is_none());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) while a process has the database open and keeps the history;
    /// [`ErrorKind::PermissionDenied`](crate::ErrorKind::PermissionDenied).
    pub fn delete_history(path: impl AsRef<Path>) -> Result<()> {
        history::delete(path.as_ref()).map_err(|error| error.during("delete_history"))
    }
}

#[async_trait]
impl TimeTravel for SqliteDatabase {
    async fn bookmark(&self, at: Option<DateTime<Utc>>) -> Result<Bookmark> {
        let at = at.map(|at| at.timestamp_micros());
        self.engine.find(at).await.map_err(|error| error.during("bookmark"))
    }

    async fn history(&self) -> Result<History> {
        self.engine.history().await.map_err(|error| error.during("history"))
    }

    async fn restore(&self, to: &Bookmark) -> Result<Restored> {
        self.engine.restore(to).await.map_err(|error| error.during("restore"))
    }
}
