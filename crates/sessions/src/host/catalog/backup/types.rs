//! Options and reports of backups.

use chrono::{DateTime, Utc};

use crate::ObjectId;
use crate::host::catalog::OnExisting;

/// Options of a [`Backup`](super::Backup).
///
/// ```
/// use isobar_sessions::backup::BackupOptions;
///
/// let options = BackupOptions::default().with_keep(30);
/// assert!(options.keep == 30 && !options.full);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BackupOptions {
    /// Number of complete runs that are kept, at least 1; objects can be restored as each of them has them. Default: 7.
    pub keep: usize,
    /// Whether every object is read and put, also one that has not changed since the run before: where the target has lost something.
    /// Default: `false`.
    pub full: bool,
}

impl Default for BackupOptions {
    fn default() -> Self {
        Self { keep: 7, full: false }
    }
}

impl BackupOptions {
    /// Sets the number of complete runs that are kept.
    #[must_use]
    pub fn with_keep(mut self, keep: usize) -> Self {
        self.keep = keep;
        self
    }

    /// Reads and puts every object.
    #[must_use]
    pub fn with_full(mut self) -> Self {
        self.full = true;
        self
    }
}

/// Outcome of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupReport {
    /// The newest complete run: this one, or the one before where nothing has changed since.
    pub run: String,
    /// Number of objects that it has.
    pub objects: u64,
    /// Number of objects whose files were read, as they were changed or are new.
    pub read: u64,
    /// Number of blocks that were put.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Objects that could not be read, and why: of each the run has what the one before had, if that had it.
    pub unread: Vec<(ObjectId, String)>,
    /// Number of earlier runs that were removed.
    pub removed: u64,
    /// Reason for which earlier runs could not be removed; `None` where nothing is wrong.
    pub problem: Option<String>,
}

/// A complete run of a backup, as its manifest describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupRun {
    /// Its name, by which [`RestoreOptions::run`] and [`verify`](super::verify) choose it.
    pub name: String,
    /// Time at which it ended; `None` where its manifest is damaged.
    pub ended: Option<DateTime<Utc>>,
    /// Number of objects that it has; 0 where its manifest is damaged.
    pub objects: u64,
    /// Bytes of their databases; 0 where its manifest is damaged.
    pub bytes: u64,
    /// Number of objects that it could not read: of each it has what an earlier one has read, or nothing. Default: 0.
    pub unread: u64,
    /// Damage of its manifest; `None` where nothing is known to be wrong.
    pub problem: Option<String>,
}

/// Options of [`restore`](super::restore).
///
/// ```
/// use isobar_sessions::backup::RestoreOptions;
/// use isobar_sessions::local::OnExisting;
///
/// // Put one object in the place of the one that is there.
/// let options = RestoreOptions::default().with_objects(["lobby"]).with_existing(OnExisting::Replace);
/// assert_eq!(options.run, None);
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RestoreOptions {
    /// Names or ids of the objects to restore. Default: `None`, all.
    pub objects: Option<Vec<String>>,
    /// Rule for an object that is there already. Default: nothing is restored, where one is.
    pub existing: OnExisting,
    /// The run to restore from. Default: `None`, the newest complete one.
    pub run: Option<String>,
}

impl RestoreOptions {
    /// Restores only the objects of these names or ids.
    #[must_use]
    pub fn with_objects<T: Into<String>>(mut self, objects: impl IntoIterator<Item = T>) -> Self {
        self.objects = Some(objects.into_iter().map(Into::into).collect());
        self
    }

    /// Sets the rule for an object that is there already.
    #[must_use]
    pub fn with_existing(mut self, existing: OnExisting) -> Self {
        self.existing = existing;
        self
    }

    /// Restores from this run.
    #[must_use]
    pub fn with_run(mut self, run: impl Into<String>) -> Self {
        self.run = Some(run.into());
        self
    }
}

/// Outcome of a restore.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RestoreReport {
    /// The run that was restored from.
    pub run: String,
    /// Number of objects that were put in place, durably.
    pub objects: u64,
    /// Bytes of their files.
    pub bytes: u64,
    /// Number of objects that were there already, and were left as they are.
    pub skipped: u64,
    /// Ids of objects that no run could read: the backup has nothing of them.
    pub missing: Vec<String>,
}

/// Outcome of a look through a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// The run that was looked through.
    pub run: String,
    /// Time at which it ended.
    pub ended: DateTime<Utc>,
    /// Number of objects that it has.
    pub objects: u64,
    /// Bytes of their files, which were read.
    pub bytes: u64,
    /// Ids of objects that the run could not read, and why. Of each it has what an earlier one has read, or nothing.
    pub unread: Vec<(String, String)>,
    /// Damage of the backup: what is missing, or is not what was put. Empty for a good one.
    pub problems: Vec<String>,
    /// Names of all complete runs, the oldest first.
    pub runs: Vec<String>,
}
