//! Time travel: a database's history, by bookmarks that mean a point in it.
//!
//! D1 keeps 30 days of every database (Cloudflare's documentation, "Time Travel and backups"); here [`SqliteDatabase`](crate::SqliteDatabase)
//! does so for a file that asks for it. The trait has what both can answer. How the local one works stands in
//! `sqlite/history`.

use std::fmt::Debug;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Serialize, Serializer};

use crate::{Bookmark, Result};

/// The history of a database. Where a database keeps one, [`Database::time_travel`](crate::Database::time_travel) has it.
///
/// A bookmark means the state after one commit. Bookmarks compare as text; the greater one is later.
///
/// ```
/// # #[cfg(feature = "local")]
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use isobar_db::{Database, HistoryOptions, QueryableExt, SqliteDatabase, SqliteOptions};
///
/// # let folder = tempfile::tempdir()?;
/// let options = SqliteOptions::default().with_history(HistoryOptions::default());
/// let db = SqliteDatabase::open_with(folder.path().join("app.sqlite"), options).await?;
/// db.run_script("CREATE TABLE t (a); INSERT INTO t VALUES ('kept');").await?;
///
/// let history = db.time_travel().expect("it was switched on");
/// let before = history.bookmark(None).await?;
/// db.prepare("DELETE FROM t").run().await?;
/// let restored = history.restore(&before).await?;
/// assert_eq!(db.prepare("SELECT a FROM t").one::<String>().await?, "kept");
///
/// history.restore(&restored.previous_bookmark).await?; // undone
/// assert_eq!(db.prepare("SELECT count(*) FROM t").one::<i64>().await?, 0);
/// # Ok(()) }
/// # #[cfg(not(feature = "local"))] fn main() {}
/// ```
///
/// | | local | D1 over REST |
/// |---|---|---|
/// | reaches back | [`HistoryOptions`](crate::HistoryOptions): 30 days and 1 GiB by default | 30 days; 7 on the free plan |
/// | [`history`](Self::history) | reported | [`Unsupported`](crate::ErrorKind::Unsupported) |
/// | bookmark of a time | the last commit not later | D1's choice |
#[async_trait]
pub trait TimeTravel: Debug + Send + Sync {
    /// Returns the bookmark of the newest state, or of the state at a time: after the last commit that was not later.
    ///
    /// Times are compared with those at which commits were noted, in microseconds of the machine's clock; where the clock was set back, the last
    /// commit in the order of the history counts.
    ///
    /// # Errors
    /// [`ErrorKind::History`](crate::ErrorKind::History) for a time in the future, before the history's beginning, or in a gap.
    async fn bookmark(&self, at: Option<DateTime<Utc>>) -> Result<Bookmark>;

    /// Returns the extent of the history.
    ///
    /// # Errors
    /// Those of reading it; [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) where the backend does not report it.
    async fn history(&self) -> Result<History>;

    /// Makes the state of a bookmark the newest one: in one transaction, durable when answered. The restoring is part of the history, so
    /// it is undone by restoring [`Restored::previous_bookmark`].
    ///
    /// Readers see the old state or the new one, nothing in between. What was written after the bookmark is gone from the database and stays in
    /// the history until that forgets it. Sessions go on, and their bookmarks of before stay valid.
    ///
    /// # Errors
    /// [`ErrorKind::History`](crate::ErrorKind::History) for a bookmark of another database, or one that the history does not reach;
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) where the history is damaged; those of a write. The database is as it was then,
    /// unless the message says that it is restored: then the history could not be read or written afterwards.
    async fn restore(&self, to: &Bookmark) -> Result<Restored>;
}

/// Result of restoring.
///
/// Both stay valid for as long as the history reaches back to them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restored {
    /// The state after it.
    pub bookmark: Bookmark,
    /// The state before it.
    pub previous_bookmark: Bookmark,
}

impl Restored {
    /// A result as a backend builds it.
    #[must_use]
    pub fn new(bookmark: Bookmark, previous_bookmark: Bookmark) -> Self {
        Self { bookmark, previous_bookmark }
    }
}

/// Extent of a database's history.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use isobar_db::{Database, HistoryOptions, QueryableExt, SqliteDatabase, SqliteOptions};
///
/// # let folder = tempfile::tempdir()?;
/// let options = SqliteOptions::default().with_history(HistoryOptions::default());
/// let db = SqliteDatabase::open_with(folder.path().join("app.sqlite"), options).await?;
/// db.run_script("CREATE TABLE t (a)").await?;
///
/// let history = db.time_travel().expect("it keeps one").history().await?;
/// assert!(history.gaps.is_empty(), "every commit is there");
/// assert_eq!(history.failure, None, "worth an alarm where it is not");
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct History {
    /// The oldest state that can be restored.
    pub oldest: Option<HistoryPoint>,
    /// The newest one.
    pub newest: Option<HistoryPoint>,
    /// Stretches in between of which nothing is known: another program has written while no process kept the history, or keeping it has
    /// failed. The oldest first.
    pub gaps: Vec<HistoryGap>,
    /// Snapshots of the whole database.
    pub snapshots: usize,
    /// Bytes on the disk.
    pub bytes: u64,
    /// Reason for which commits are not kept at the moment, if they are not.
    pub failure: Option<String>,
}

/// A state in a history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HistoryPoint {
    /// Its bookmark.
    #[serde(serialize_with = "as_text")]
    pub bookmark: Bookmark,
    /// Time of the commit that made it; of a snapshot after a gap, the time at which it was taken.
    pub time: DateTime<Utc>,
}

/// A gap in a history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HistoryGap {
    /// The last state before it.
    pub after: HistoryPoint,
    /// The first state behind it.
    pub before: HistoryPoint,
}

impl HistoryPoint {
    /// A state as a backend reports it.
    #[must_use]
    pub fn new(bookmark: Bookmark, time: DateTime<Utc>) -> Self {
        Self { bookmark, time }
    }
}

impl HistoryGap {
    /// A gap as a backend reports it.
    #[must_use]
    pub fn new(after: HistoryPoint, before: HistoryPoint) -> Self {
        Self { after, before }
    }
}

fn as_text<S: Serializer>(bookmark: &Bookmark, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(bookmark.as_str())
}
