//! The copy of a site's folder that `isobar serve` serves, kept up to date with the folder.
//!
//! A site is served from a bucket, since the cache, the ranges and the ETags are built on what a bucket
//! guarantees: an object is whole, has a version, and does not change while it is read. A folder
//! guarantees none of this. So the folder is copied into a bucket of its own below the root, and a scan
//! carries changes over.
//!
//! # Scans instead of events
//!
//! The folder is walked every [`INTERVAL`], and files whose size or time has changed are compared with
//! the copy by their content. Notifications of the system would be quicker for large folders, but they
//! lose events when their queue overflows, do not cross network file systems and some containers, and
//! say nothing about files that changed before they were registered; a scan would be needed beside
//! them. The interval grows with the duration of a scan. A file that is changed within the resolution
//! of its time, to the same size, is missed.
//!
//! # Order at the start
//!
//! 1. Walk the folder: changes from here on are seen by the first scan.
//! 2. Take a place below the root, under a lock that the process holds until it ends.
//! 3. Compare and copy. A copy that an earlier server has left makes this quick: only what differs is
//!    copied.
//! 4. Delete what is in the copy and not, or no longer, taken: a file that `.assetsignore` has come to
//!    name must not be served.
//!
//! # After a crash
//!
//! The lock is the kernel's and ends with the process. The copy stays, is a bucket like any other, and
//! is compared at the next start. Nothing is lost if it is deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::error::Error;
use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use isobar_site::{ReloadedRules, RuleWarning, Site};
use isobar_storage::local::LocalStore;
use isobar_storage::sync::{ApplyOptions, apply, plan_with};
use isobar_storage::walk::{WalkOptions, WalkedFile, walk};
use isobar_storage::{Key, ListOptions, ObjectStore, ObjectStoreExt};

use crate::ignored::Ignored;
use crate::sync::{Summary, tell_left_out};
use crate::{Outcome, say};

/// Most concurrent servers of one project.
///
/// Each has a copy of its own; one that has ended leaves its copy to the next. More of them are an
/// error rather than a search without end.
const COPIES: usize = 64;

/// Interval between scans of the folder; longer where a scan takes long, so that scans take at most a tenth of the time.
const INTERVAL: Duration = Duration::from_millis(300);

/// The files that have rules.
const RULES: [&str; 2] = ["_headers", "_redirects"];

/// Consecutive failures before one is reported: a file that is being written may vanish or change during a scan.
///
/// At the shortest interval that is about a second. A failure that lasts is reported once, until a scan
/// succeeds.
const PATIENCE: u32 = 3;

/// A folder and its copy in a bucket that only this process uses.
///
/// Dropping it gives the lock back, and with it the place: the next server of the project may write
/// into the store. `isobar serve` therefore keeps it until the last request has ended.
pub(crate) struct Copied {
    folder: PathBuf,
    options: WalkOptions,
    store: LocalStore,
    files: BTreeMap<String, WalkedFile>,
    /// Locked while the copy is in use.
    _lock: File,
}

impl Copied {
    /// Creates a copy of a folder under the root.
    ///
    /// Prints a summary of what was copied, the files that were left out and why, and a warning for a
    /// folder without any.
    ///
    /// # Errors
    /// The folder cannot be walked, or has a link that leads out of it; [`COPIES`] servers use the
    /// root; the store cannot be opened or written.
    pub(crate) async fn make(root: &Path, folder: PathBuf, options: WalkOptions) -> Result<Self, Box<dyn Error>> {
        // Before the walk, so that the first scan sees changes during it.
        let files = walk(&folder, &options).await?.files;
        let (place, lock) = own_place(root)?;
        let store = LocalStore::open(place).await?;
        let copied = Self { folder, options, store, files, _lock: lock };
        let summary = copied.copy().await?;
        say!("site: {summary}");
        if copied.files.is_empty() {
            eprintln!("warning: {} has no files, so every page is not found", copied.folder.display());
        }
        Ok(copied)
    }

    /// Returns the store to serve from. It shares the copy, and is good as long as `self` lives.
    pub(crate) fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::new(self.store.clone())
    }

    /// Copies changed files, and deletes those that are no longer in the folder or are ignored.
    ///
    /// Reads every file's time and size, and the whole listing of the store: it is for the start and
    /// for changes of `.assetsignore`, not for each scan.
    async fn copy(&self) -> Result<Summary, Box<dyn Error>> {
        let ignored = Ignored::of(&self.folder)?;
        ignored.warn();
        let take = |name: &str| ignored.take(name);
        let (plan, summary) = crate::sync::run(&self.folder, &self.store, &take, &self.options).await?;
        tell_left_out(&plan.left_out);
        // Files that are ignored only now may have been served until now.
        let stored: Vec<Key> =
            self.store.list_all(ListOptions::default()).map_ok(|meta| meta.key).try_collect().await?;
        let gone: Vec<Key> = stored.into_iter().filter(|key| !ignored.take(key.as_str())).collect();
        self.store.delete_all(&gone).await?;
        Ok(summary)
    }

    /// Scans the folder repeatedly, copies changes, and has the site read changed rules again.
    ///
    /// Runs until it is dropped. A failed scan changes nothing in `self`, so that the next one tries
    /// all of it again. Between the copy of a file of rules and the reading of it there may be
    /// requests, which still get the earlier rules.
    pub(crate) async fn follow(mut self, site: Site) -> Infallible {
        let mut failures = 0;
        let mut wait = INTERVAL;
        loop {
            tokio::time::sleep(wait).await;
            let began = Instant::now();
            let looked = self.look(&site).await;
            wait = INTERVAL.max(began.elapsed() * 10);
            match looked {
                Ok(()) => failures = 0,
                Err(error) => {
                    failures += 1;
                    if failures == PATIENCE {
                        report(&format!("warning: cannot update the site from its folder: {error}"));
                    }
                }
            }
        }
    }

    /// One scan. Files are remembered as seen only after all of them were copied and the rules read:
    /// whatever fails is met again.
    ///
    /// Of rules with an invalid line the earlier ones stay in force, and only that is reported; a store
    /// that cannot be read fails the scan.
    async fn look(&mut self, site: &Site) -> Outcome {
        let files = walk(&self.folder, &self.options).await?.files;
        let changed = changed(&self.files, &files);
        if changed.is_empty() {
            return Ok(());
        }
        if changed.contains(".assetsignore") {
            self.copy().await?;
        } else {
            let ignored = Ignored::of(&self.folder)?;
            let take = |name: &str| changed.contains(name) && ignored.take(name);
            let plan = plan_with(&self.folder, &self.store, "", &take, &self.options).await?;
            apply(&plan, &self.store, &ApplyOptions::default().with_delete(true), |_| {}).await?;
        }
        if RULES.iter().any(|name| changed.contains(*name)) {
            match site.reload_rules().await {
                Ok(reloaded) => report_rules(&reloaded, &changed),
                Err(error) if error.is_retryable() => return Err(error.into()),
                Err(error) => report(&format!("warning: the earlier rules stay in force: {error}")),
            }
        }
        self.files = files;
        Ok(())
    }
}

/// Says which of the changed files of rules are in force, and which lines keep one from being so.
fn report_rules(reloaded: &ReloadedRules, changed: &BTreeSet<String>) {
    for (name, invalid) in RULES.into_iter().zip([&reloaded.headers, &reloaded.redirects]) {
        let lines = invalid.iter().map(|warning: &RuleWarning| format!("warning: {name}, {warning}"));
        lines.for_each(|line| report(&line));
        if !invalid.is_empty() {
            report(&format!("warning: the earlier rules of {name} stay in force until it is valid"));
        } else if changed.contains(name) {
            report(&format!("note: {name} has changed; its rules are in force"));
        }
    }
}

/// Returns the names of new, deleted and changed files.
fn changed(before: &BTreeMap<String, WalkedFile>, now: &BTreeMap<String, WalkedFile>) -> BTreeSet<String> {
    let other = now.iter().filter(|(name, file)| before.get(*name) != Some(file));
    let gone = before.keys().filter(|name| !now.contains_key(*name));
    other.map(|(name, _)| name).chain(gone).cloned().collect()
}

/// Finds a folder for the copy that no other server uses: `assets`, or else `assets-2` and so on.
///
/// The lock is a file beside the folder and not in it: the bucket's own files are not to be mixed with
/// it, and a folder can be replaced while the lock is held.
///
/// # Errors
/// A lock file that cannot be created, and [`COPIES`] places in use.
fn own_place(root: &Path) -> Result<(PathBuf, File), Box<dyn Error>> {
    for number in 1..=COPIES {
        let name = if number == 1 { "assets".to_owned() } else { format!("assets-{number}") };
        let folder = root.join(&name);
        let lock = root.join(format!("{name}.lock"));
        if is_others(&folder) {
            continue;
        }
        let failed = |error: std::io::Error| format!("cannot lock {}: {error}", lock.display());
        let file = File::options().create(true).truncate(false).write(true).open(&lock).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => return Ok((folder, file)),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(failed(error).into()),
        }
    }
    Err(format!("{COPIES} servers already use {}", root.display()).into())
}

/// Whether a folder is not a copy but the user's own, which is possible where the root is the project's folder.
fn is_others(folder: &Path) -> bool {
    let is_copy = ["index.db", "packs", "blobs"].iter().any(|name| folder.join(name).exists());
    !is_copy && fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
}

/// Writes a message to standard error, ignoring whether it is still open.
fn report(text: &str) {
    drop(writeln!(std::io::stderr(), "{text}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_server_has_its_own_copy_and_foreign_files_are_kept() {
        let root = tempfile::tempdir().expect("the folder is created");
        let place = || own_place(root.path()).expect("there is a free place");
        let (first, lock) = place();
        assert_eq!((first, place().0), (root.path().join("assets"), root.path().join("assets-2")));
        drop(lock);
        assert_eq!(place().0, root.path().join("assets"));
        fs::create_dir(root.path().join("assets")).expect("the folder is created");
        fs::write(root.path().join("assets/mine.css"), "").expect("the file is written");
        assert_eq!(place().0, root.path().join("assets-2"));
    }
}
