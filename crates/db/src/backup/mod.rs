//! Backup of a local database with a history: continuous, while it is used, into any storage, and the way back on another machine.
//!
//! A backup has the history's snapshots and commits, as objects of some megabytes that are put once and never changed; an object is
//! whole or missing. Each prefix of the puts of a backup that was broken off is a consistent database, and the next
//! [`Backup::run`] goes on where it ended. States that the history has forgotten go from the backup, too.
//!
//! ```
//! # #[cfg(feature = "local")]
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//!
//! use isobar_db::backup::{Backup, FolderTarget, RestoreOptions, restore, verify};
//! use isobar_db::{HistoryOptions, QueryableExt, SqliteDatabase, SqliteOptions};
//!
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path();
//! let options = SqliteOptions::default().with_history(HistoryOptions::default());
//! let db = SqliteDatabase::open_with(folder.join("app.sqlite"), options).await?;
//! db.run_script("CREATE TABLE t (a); INSERT INTO t VALUES ('kept');").await?;
//!
//! let target = Arc::new(FolderTarget::new(folder.join("backup")));
//! let backup = Backup::new(db, target.clone());
//! backup.run().await?; // again and again: each run puts what is new
//!
//! assert!(verify(&*target).await?.problems.is_empty());
//! let file = folder.join("elsewhere.sqlite");
//! restore(&*target, &file, &RestoreOptions::default()).await?;
//! let restored = SqliteDatabase::open(&file).await?;
//! assert_eq!(restored.prepare("SELECT a FROM t").one::<String>().await?, "kept");
//! # Ok(()) }
//! # #[cfg(not(feature = "local"))] fn main() {}
//! ```
//!
//! | | |
//! |---|---|
//! | lost at worst, when the machine is lost | the commits since the last [`Backup::run`] |
//! | size of an object | some 4 MiB; a part of a large commit some 8 MiB |
//! | changes of an object | none: one is put once, and deleted when its states are forgotten |
//! | a run that breaks off | leaves a consistent backup of an older state |
//! | several histories in one target | the newest one is restored, or that of the bookmark |

mod list;
mod names;
mod restore;
mod run;
mod target;

pub use self::list::{BackupStretch, stretches};
pub use self::restore::{RestoreOptions, Verified, restore, verify};
pub use self::run::{Backup, BackupReport};
pub use self::target::{BackupTarget, FolderTarget};
