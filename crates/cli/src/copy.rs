//! The copy of a site's folder that `isobar serve` serves, kept up to date with the folder.

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
const COPIES: usize = 64;

/// Interval between scans of the folder; longer where a scan takes long, so that scans take at most a tenth of the time.
const INTERVAL: Duration = Duration::from_millis(300);

/// The files that have rules.
const RULES: [&str; 2] = ["_headers", "_redirects"];

/// Consecutive failures before one is reported: a file that is being written may vanish or change during a scan.
const PATIENCE: u32 = 3;

/// A folder and its copy in a bucket that only this process uses.
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

    pub(crate) fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::new(self.store.clone())
    }

    /// Copies changed files, and deletes those that are no longer in the folder or are ignored.
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
