//! A look through a backup.

use std::fs::File;
use std::path::Path;

use super::fetch::{Fetch, ObjectFile};
use super::format::{Entry, Names};
use super::lists::Entries;
use super::remote::{Remote, with_target};
use super::restore::{choose, id_of};
use super::{BackupTarget, VerifyReport};
use crate::host::catalog::reader::Reader;
use crate::host::catalog::snapshot::Snapshot;
use crate::host::disk::failed;
use crate::{Error, ErrorKind, IdScheme, Result};

/// Reads all of a run, the newest complete one unless another is named: each list and block is compared with its checksum, and each object's
/// database is put together in a temporary file, which SQLite checks.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`] where the backup has no complete run, or not this one, [`ErrorKind::Decode`] where the run's manifest is
/// damaged, [`ErrorKind::Storage`] and [`ErrorKind::StorageFull`] for the temporary file; those of the target. Other damage is in the report.
pub async fn verify(target: &dyn BackupTarget, namespace: &str, run: Option<&str>) -> Result<VerifyReport> {
    let namespace = namespace.to_owned();
    let run = run.map(str::to_owned);
    with_target(target, move |remote| look(remote, &namespace, run.as_deref())).await
}

fn look(remote: &Remote, class: &str, run: Option<&str>) -> Result<VerifyReport> {
    let names = Names::new(class);
    let (run, manifest, runs) = choose(remote, &names, class, run)?;
    let mut report = VerifyReport {
        run: run.clone(),
        ended: manifest.ended,
        objects: 0,
        bytes: 0,
        unread: Vec::new(),
        problems: Vec::new(),
        runs,
    };
    let scheme = IdScheme::new(class);
    let folder = tempfile::tempdir().map_err(|error| failed(&std::env::temp_dir(), "written", &error))?;
    let mut fetch = Fetch::new(remote, names.clone(), Entries::of(&names, &run, &manifest), |_: &Entry| true);
    loop {
        let entry = match fetch.next_object() {
            Ok(Some(entry)) => entry,
            Ok(None) => break,
            Err(error) if error.kind() == ErrorKind::Decode => {
                report.problems.push(error.to_string());
                return Ok(report); // no object behind it can be read
            }
            Err(error) => return Err(error),
        };
        report.unread.extend(entry.unread.clone().map(|why| (entry.id.clone(), why)));
        if entry.blocks.is_empty() {
            continue;
        }
        report.objects += 1;
        report.bytes += entry.bytes;
        let mut file = ObjectFile::new(&mut fetch, &entry);
        let problem = match check(&entry, &scheme, &mut file, &folder.path().join("object.db")) {
            Err(error) if error.kind() == ErrorKind::Decode => Some(error),
            checked => {
                checked?;
                None
            }
        };
        let problem = problem.or(file.skip()?);
        report.problems.extend(problem.map(|error| format!("the object {}: {error}", entry.id)));
    }
    if (report.objects, report.bytes) != (manifest.objects, manifest.bytes) {
        report.problems.push(format!(
            "the run has {} objects of {} bytes, and its manifest says {} of {}",
            report.objects, report.bytes, manifest.objects, manifest.bytes
        ));
    }
    Ok(report)
}

/// Checks one object.
fn check<F: FnMut(&Entry) -> bool>(
    entry: &Entry,
    scheme: &IdScheme,
    file: &mut ObjectFile<'_, '_, F>,
    path: &Path,
) -> Result<()> {
    let wrong = |why: String| Error::new(ErrorKind::Decode, why);
    let unwritten = |error: std::io::Error| failed(path, "written", &error);
    let id = id_of(entry)?;
    scheme.parse(&entry.id).map_err(|error| wrong(error.to_string()))?;
    if entry.name.as_deref().is_some_and(|name| *scheme.from_name(name).as_bytes() != id) {
        return Err(wrong(format!("it does not have the id of its name {:?}", entry.name)));
    }
    let mut copy = File::create(path).map_err(unwritten)?;
    let copied = std::io::copy(file, &mut copy);
    if let Some(error) = file.failure() {
        return Err(error);
    }
    let bytes = copied.map_err(unwritten)?;
    if bytes != entry.bytes {
        return Err(wrong(format!("it has {bytes} bytes, and its list says {}", entry.bytes)));
    }
    let snapshot = Snapshot::take(path, false)?.ok_or_else(|| wrong("it is empty".to_owned()))?;
    let problem = Reader::open(snapshot, path).and_then(|reader| reader.problem());
    match problem {
        Ok(None) => Ok(()),
        Ok(Some(problem)) => Err(wrong(problem)),
        Err(error) if error.kind() == ErrorKind::Damaged => Err(wrong(error.to_string())),
        Err(error) => Err(error),
    }
}
