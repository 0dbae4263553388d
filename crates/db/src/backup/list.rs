//! The states that a backup has, by the names of its objects alone.

use serde::Serialize;

use super::names::Listing;
use super::target::BackupTarget;
use crate::{HistoryPoint, Result};

/// States of a backup without a gap between them: each commit from the first to the last can be restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BackupStretch {
    /// The oldest state.
    pub from: HistoryPoint,
    /// The newest state.
    pub to: HistoryPoint,
    /// Number of objects that have the states, from 1.
    pub objects: u64,
}

/// Lists the states that a backup has, the newest last; empty where there is no backup. A database that was restored and backed up again
/// has a stretch for each of its histories.
///
/// It reads the names of objects and not the objects: [`verify`](super::verify) finds damage.
///
/// # Errors
/// Those of the target.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
///
/// use isobar_db::backup::{Backup, FolderTarget, stretches};
/// use isobar_db::{HistoryOptions, QueryableExt, SqliteDatabase, SqliteOptions};
///
/// # let folder = tempfile::tempdir()?;
/// # let folder = folder.path();
/// let options = SqliteOptions::default().with_history(HistoryOptions::default());
/// let db = SqliteDatabase::open_with(folder.join("app.sqlite"), options).await?;
/// db.run_script("CREATE TABLE t (a); INSERT INTO t VALUES (1);").await?;
///
/// let target = Arc::new(FolderTarget::new(folder.join("backup")));
/// assert!(stretches(&*target).await?.is_empty());
/// let report = Backup::new(db, target.clone()).run().await?;
/// let [stretch] = &stretches(&*target).await?[..] else { panic!("one history without a gap") };
/// assert_eq!(stretch.to.bookmark, report.bookmark);
/// # Ok(()) }
/// ```
pub async fn stretches(target: &dyn BackupTarget) -> Result<Vec<BackupStretch>> {
    let listings = Listing::all(&target.list("").await?);
    let mut stretches = Vec::new();
    for listing in &listings {
        for (span, files) in listing.spans() {
            stretches.push(BackupStretch {
                from: span.from.report(listing.history),
                to: span.to.report(listing.history),
                objects: files.iter().map(|file| file.names.len() as u64).sum(),
            });
        }
    }
    Ok(stretches)
}
