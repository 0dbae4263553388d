//! The complete runs of a backup, by their manifests.

use super::format::Names;
use super::lists;
use super::remote::{Remote, with_target};
use super::{BackupRun, BackupTarget};
use crate::{ErrorKind, Result};

/// Lists the complete runs, the newest first, and `limit` at most; empty where there is no backup.
///
/// It reads a manifest for each run and no object: [`verify`](super::verify) finds damage.
///
/// # Errors
/// [`ErrorKind::InvalidId`] where a run is of another class; those of the target. A damaged manifest is in the entry of its run.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use isobar_sessions::backup::{FolderTarget, runs};
///
/// # let folder = tempfile::tempdir()?;
/// let empty = FolderTarget::new(folder.path().join("backup"));
/// assert!(runs(&empty, "Room", 10).await?.is_empty());
/// # Ok(()) }
/// ```
pub async fn runs(target: &dyn BackupTarget, namespace: &str, limit: usize) -> Result<Vec<BackupRun>> {
    let namespace = namespace.to_owned();
    with_target(target, move |remote| look(remote, &namespace, limit)).await
}

fn look(remote: &Remote, class: &str, limit: usize) -> Result<Vec<BackupRun>> {
    let names = Names::new(class);
    let complete = lists::runs(remote, &names)?.into_iter().rev().filter(|run| run.is_complete);
    complete.filter_map(|run| describe(remote, &names, run.name, class).transpose()).take(limit).collect()
}

/// `None` for a run that another process has removed since it was listed.
fn describe(remote: &Remote, names: &Names, name: String, class: &str) -> Result<Option<BackupRun>> {
    let mut run = BackupRun { name, ended: None, objects: 0, bytes: 0, unread: 0, problem: None };
    match lists::find_manifest(remote, names, &run.name, class) {
        Ok(None) => return Ok(None),
        Ok(Some(manifest)) => {
            run.ended = Some(manifest.ended);
            run.objects = manifest.objects;
            run.bytes = manifest.bytes;
            run.unread = manifest.unread;
        }
        Err(error) if error.kind() == ErrorKind::Decode => run.problem = Some(error.to_string()),
        Err(error) => return Err(error),
    }
    Ok(Some(run))
}
