//! Syncing with a progress bar.
//!
//! The comparing and the copying are `isobar_storage::sync`'s; here are the summary that is printed,
//! and the bars. A plan is made before anything is written, so that `--dry-run` prints exactly what
//! would be done, and the bar knows the number of bytes.
//!
//! Deletions come after every transfer, whichever way: a sync that is broken off has too much in its
//! target, never too little, and the next run finishes it.

use std::fmt;
use std::path::Path;

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use isobar_storage::ObjectStore;
use isobar_storage::sync::{AcrossPlan, ApplyOptions, DownPlan, Plan, apply, apply_across, apply_down, plan_with};
use isobar_storage::walk::{LeftOut, Reason, WalkOptions};

/// Most excluded names that are printed; the others are counted.
const SHOWN: usize = 10;

/// Result of a sync.
///
/// `--json` prints it with these names. Numbers are of files or objects unless they are bytes; of
/// `uploaded`, `downloaded` and `copied` one at most is not 0. In a dry run they are what would have
/// been done. `deleted` is 0 without `--delete`, however many files the source does not have.
#[derive(Debug, Default, serde::Serialize)]
pub(crate) struct Summary {
    pub(crate) uploaded: usize,
    pub(crate) downloaded: usize,
    pub(crate) copied: usize,
    pub(crate) bytes: u64,
    pub(crate) unchanged: usize,
    pub(crate) deleted: usize,
    pub(crate) ignored: usize,
    pub(crate) left_out: Vec<String>,
    pub(crate) dry_run: bool,
}

impl Summary {
    /// Summarises a sync from a folder into a bucket.
    pub(crate) fn of(plan: &Plan, delete: bool, dry_run: bool) -> Self {
        Self {
            uploaded: plan.uploads.len(),
            bytes: plan.bytes(),
            unchanged: plan.unchanged,
            deleted: if delete { plan.extra.len() } else { 0 },
            ignored: plan.ignored,
            left_out: named(&plan.left_out),
            dry_run,
            ..Self::default()
        }
    }

    /// Summarises a sync from a bucket into a folder.
    pub(crate) fn of_down(plan: &DownPlan, delete: bool, dry_run: bool) -> Self {
        Self {
            downloaded: plan.downloads.len(),
            bytes: plan.bytes(),
            unchanged: plan.unchanged,
            deleted: if delete { plan.extra.len() } else { 0 },
            ignored: plan.ignored,
            left_out: named(&plan.left_out),
            dry_run,
            ..Self::default()
        }
    }

    /// Summarises a sync between two buckets. Nothing is walked there, so that nothing is left out.
    pub(crate) fn of_across(plan: &AcrossPlan, delete: bool, dry_run: bool) -> Self {
        Self {
            copied: plan.transfers.len(),
            bytes: plan.bytes(),
            unchanged: plan.unchanged,
            deleted: if delete { plan.extra.len() } else { 0 },
            ignored: plan.ignored,
            dry_run,
            ..Self::default()
        }
    }
}

/// Names what was left out without the user's asking for it, with the reason: state, secrets, special
/// files. Files that a filter or `.assetsignore` excludes are not named: that was asked for.
fn named(left_out: &[LeftOut]) -> Vec<String> {
    left_out.iter().filter(|left_out| left_out.reason != Reason::Filtered).map(ToString::to_string).collect()
}

/// Prints to standard error which files a walk has left out, and why.
pub(crate) fn tell_left_out(left_out: &[LeftOut]) {
    let named = named(left_out);
    if named.is_empty() {
        return;
    }
    let more = if named.len() > SHOWN { format!(" and {} more", named.len() - SHOWN) } else { String::new() };
    eprintln!("left out: {}{more}", named[..named.len().min(SHOWN)].join(", "));
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { uploaded, downloaded, copied, bytes, unchanged, deleted, ignored, left_out: _, dry_run } = self;
        let would = if *dry_run { "would be " } else { "" };
        let (count, moved) = match (downloaded, copied) {
            (0, 0) => (uploaded, "uploaded"),
            (0, _) => (copied, "copied"),
            _ => (downloaded, "downloaded"),
        };
        let bytes = HumanBytes(*bytes);
        write!(f, "{count} {would}{moved} ({bytes}), {deleted} {would}deleted, {unchanged} unchanged")?;
        if *ignored > 0 { write!(f, ", {ignored} ignored") } else { Ok(()) }
    }
}

/// Plans and applies a sync.
///
/// For a copy that is to be like the folder: it deletes what the folder does not have.
///
/// # Errors
/// Those of planning, before anything is written; then the first transfer's, and what was transferred
/// until then stays.
pub(crate) async fn run(
    folder: &Path,
    store: &dyn ObjectStore,
    take: &(dyn Fn(&str) -> bool + Sync),
    options: &WalkOptions,
) -> isobar_storage::Result<(Plan, Summary)> {
    let plan = plan_with(folder, store, "", take, options).await?;
    apply_with_progress(&plan, store, &ApplyOptions::default().with_delete(true)).await?;
    let summary = Summary::of(&plan, true, false);
    Ok((plan, summary))
}

/// Applies a plan with a progress bar, which is shown only on a terminal.
pub(crate) async fn apply_with_progress(
    plan: &Plan,
    store: &dyn ObjectStore,
    options: &ApplyOptions,
) -> isobar_storage::Result<()> {
    let bar = progress(plan.bytes());
    let applied = apply(plan, store, options, |upload| {
        bar.set_message(upload.key.to_string());
        bar.inc(upload.size);
    })
    .await;
    bar.finish_and_clear();
    applied
}

/// Applies a plan into a folder, with a progress bar.
pub(crate) async fn apply_down_with_progress(
    plan: &DownPlan,
    store: &dyn ObjectStore,
    options: &ApplyOptions,
) -> isobar_storage::Result<()> {
    let bar = progress(plan.bytes());
    let applied = apply_down(plan, store, options, |download| {
        bar.set_message(download.key.to_string());
        bar.inc(download.size);
    })
    .await;
    bar.finish_and_clear();
    applied
}

/// Applies a plan from a bucket into another, with a progress bar.
pub(crate) async fn apply_across_with_progress(
    plan: &AcrossPlan,
    source: &dyn ObjectStore,
    target: &dyn ObjectStore,
    options: &ApplyOptions,
) -> isobar_storage::Result<()> {
    let bar = progress(plan.bytes());
    let applied = apply_across(plan, source, target, options, |transfer| {
        bar.set_message(transfer.to.to_string());
        bar.inc(transfer.size);
    })
    .await;
    bar.finish_and_clear();
    applied
}

/// Creates a progress bar with bytes, rate and remaining time, shown only on a terminal.
///
/// The total may be set later, where it is not known before files were read.
pub(crate) fn progress(bytes: u64) -> ProgressBar {
    let template = "{bar:30} {bytes}/{total_bytes} {bytes_per_sec}, {eta} left  {msg}";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(bytes).with_style(style)
}
