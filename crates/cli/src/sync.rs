//! A folder into a bucket, with progress.

use std::fmt;
use std::path::Path;

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use isobar_storage::ObjectStore;
use isobar_storage::sync::{ApplyOptions, DownPlan, Plan, apply, apply_down, plan};

/// What a sync has done.
#[derive(Debug, Default, serde::Serialize)]
pub(crate) struct Summary {
    pub(crate) uploaded: usize,
    pub(crate) downloaded: usize,
    pub(crate) bytes: u64,
    pub(crate) unchanged: usize,
    pub(crate) deleted: usize,
    pub(crate) ignored: usize,
    pub(crate) dry_run: bool,
}

impl Summary {
    pub(crate) fn of(plan: &Plan, delete: bool, dry_run: bool) -> Self {
        Self {
            uploaded: plan.uploads.len(),
            downloaded: 0,
            bytes: plan.bytes(),
            unchanged: plan.unchanged,
            deleted: if delete { plan.extra.len() } else { 0 },
            ignored: plan.ignored,
            dry_run,
        }
    }

    pub(crate) fn of_down(plan: &DownPlan, delete: bool, dry_run: bool) -> Self {
        Self {
            uploaded: 0,
            downloaded: plan.downloads.len(),
            bytes: plan.bytes(),
            unchanged: plan.unchanged,
            deleted: if delete { plan.extra.len() } else { 0 },
            ignored: plan.ignored,
            dry_run,
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { uploaded, downloaded, bytes, unchanged, deleted, ignored, dry_run } = self;
        let would = if *dry_run { "would be " } else { "" };
        let (count, moved) = if *downloaded > 0 { (downloaded, "downloaded") } else { (uploaded, "uploaded") };
        let bytes = HumanBytes(*bytes);
        write!(f, "{count} {would}{moved} ({bytes}), {deleted} {would}deleted, {unchanged} unchanged")?;
        if *ignored > 0 { write!(f, ", {ignored} ignored") } else { Ok(()) }
    }
}

/// Plans and applies at once.
pub(crate) async fn run(
    folder: &Path,
    store: &dyn ObjectStore,
    prefix: &str,
    delete: bool,
    take: &(dyn Fn(&str) -> bool + Sync),
) -> isobar_storage::Result<Summary> {
    let plan = plan(folder, store, prefix, take).await?;
    apply_with_progress(&plan, store, &ApplyOptions::default().with_delete(delete)).await?;
    Ok(Summary::of(&plan, delete, false))
}

/// Applies a plan under a progress bar, which shows itself only on a terminal.
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

/// The same into a folder.
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

/// A bar of bytes with their rate and the time that is left; on a terminal alone.
pub(crate) fn progress(bytes: u64) -> ProgressBar {
    let template = "{bar:30} {bytes}/{total_bytes} {bytes_per_sec}, {eta} left  {msg}";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(bytes).with_style(style)
}
