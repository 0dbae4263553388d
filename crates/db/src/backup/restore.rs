//! A database's file out of a backup, and the check of a backup.
//!
//! The file is made under the name `NAME.restoring`, checked by SQLite's `integrity_check`, and renamed when it is
//! whole, so that a failure leaves nothing under the name.

use std::io;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use isobar_base::fs::{SqliteFile, beside, create_dir, parent, private_file, sync_dir};
use rusqlite::{Connection, OpenFlags};
use serde::Serialize;

use super::names::{Listing, Name, Stored};
use super::target::BackupTarget;
use crate::sqlite::{HistoryId, Image, Kind, Limit, Point, Span, blocking, last_commit, of_bookmark, of_file};
use crate::{Bookmark, Error, ErrorKind, HistoryPoint, Result};

/// The state to restore. Default: the newest one.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
///
/// use isobar_db::backup::{Backup, FolderTarget, RestoreOptions, restore};
/// use isobar_db::{Database, HistoryOptions, QueryableExt, SqliteDatabase, SqliteOptions};
///
/// # let folder = tempfile::tempdir()?;
/// # let folder = folder.path();
/// let options = SqliteOptions::default().with_history(HistoryOptions::default());
/// let db = SqliteDatabase::open_with(folder.join("app.sqlite"), options).await?;
/// db.run_script("CREATE TABLE t (a); INSERT INTO t VALUES (1);").await?;
/// let before = db.time_travel().expect("it keeps a history").bookmark(None).await?;
/// db.prepare("DELETE FROM t").run().await?;
///
/// let target = Arc::new(FolderTarget::new(folder.join("backup")));
/// Backup::new(db, target.clone()).run().await?;
/// let file = folder.join("before.sqlite");
/// restore(&*target, &file, &RestoreOptions::default().with_bookmark(before)).await?;
/// let restored = SqliteDatabase::open(&file).await?;
/// assert_eq!(restored.prepare("SELECT count(*) FROM t").one::<i64>().await?, 1);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RestoreOptions {
    /// The state of this bookmark.
    pub bookmark: Option<Bookmark>,
    /// The state at this time, if no bookmark is given.
    pub time: Option<DateTime<Utc>>,
}

impl RestoreOptions {
    /// Sets [`bookmark`](Self::bookmark).
    #[must_use]
    pub fn with_bookmark(mut self, bookmark: Bookmark) -> Self {
        self.bookmark = Some(bookmark);
        self
    }

    /// Sets [`time`](Self::time).
    #[must_use]
    pub fn with_time(mut self, time: DateTime<Utc>) -> Self {
        self.time = Some(time);
        self
    }
}

/// Result of a check.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Verified {
    /// Objects that were read.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The newest state, which was restored for the check.
    pub newest: Option<HistoryPoint>,
    /// Stretches without a gap in between.
    pub stretches: usize,
    /// Objects that are damaged or missing. Empty for a good backup.
    pub problems: Vec<String>,
}

/// Writes a database's file out of a backup: whole and durable under its name, or not at all. It has no history of its own yet. Returns
/// the state.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use isobar_db::ErrorKind;
/// use isobar_db::backup::{FolderTarget, RestoreOptions, restore};
///
/// # let folder = tempfile::tempdir()?;
/// # let folder = folder.path();
/// let empty = FolderTarget::new(folder.join("backup"));
/// let file = folder.join("app.sqlite");
/// let error = restore(&empty, &file, &RestoreOptions::default()).await.unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::History);
///
/// std::fs::write(&file, "")?; // never over what is there
/// let error = restore(&empty, &file, &RestoreOptions::default()).await.unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::PermissionDenied);
/// # Ok(()) }
/// ```
///
/// # Errors
/// [`ErrorKind::PermissionDenied`] where the file, or a log of it, exists; [`ErrorKind::History`] where the backup does not reach the
/// state; [`ErrorKind::Corrupt`] where an object is damaged or missing; those of the target.
pub async fn restore(target: &dyn BackupTarget, file: &Path, options: &RestoreOptions) -> Result<HistoryPoint> {
    check_free(file)?;
    let listing = choose(Listing::all(&target.list("").await?), options)?;
    let (span, files) = stretch(&listing, options)?;
    let unfinished = Unfinished::create(file)?;
    let limit = limit(&listing, options)?;
    let point = build(target, listing.history, limit, &span, &files, &unfinished.0).await?;
    let file = file.to_owned();
    blocking(move || {
        check(&unfinished.0)?;
        unfinished.finish(&file)
    })
    .await?;
    Ok(point.report(listing.history))
}

/// Reads all of a backup, and restores its newest state into a temporary file, which is checked.
///
/// It reads every object, needs room for the database in the system's temporary folder, and takes about as long as
/// restoring.
///
/// # Errors
/// [`ErrorKind::History`] where there is no backup; those of the target. What is wrong with the backup is in the result.
pub async fn verify(target: &dyn BackupTarget) -> Result<Verified> {
    let options = RestoreOptions::default();
    let listing = choose(Listing::all(&target.list("").await?), &options)?;
    let spans = listing.spans();
    let mut verified = Verified { stretches: spans.len(), ..Verified::default() };
    let place = Temporary::create()?;
    for (span, files) in &spans {
        match build_all(target, listing.history, span, files, &place.0, &mut verified).await {
            Ok(()) => verified.newest = Some(span.to.report(listing.history)),
            Err(error) if error.kind() == ErrorKind::Corrupt => verified.problems.push(error.to_string()),
            Err(error) => return Err(error),
        }
    }
    Ok(verified)
}

/// The history that is restored: the bookmark's, or the newest one.
fn choose(mut listings: Vec<Listing>, options: &RestoreOptions) -> Result<Listing> {
    let none = || Error::new(ErrorKind::History, "there is no backup, or its first snapshot is not whole");
    listings.retain(|listing| !listing.spans().is_empty());
    match &options.bookmark {
        None => listings.pop().ok_or_else(none),
        Some(bookmark) => {
            let is_of = |listing: &Listing| of_bookmark(bookmark, listing.history).is_ok();
            let newest = listings.last().map(|listing| listing.history).ok_or_else(none)?;
            match listings.into_iter().find(is_of) {
                Some(listing) => Ok(listing),
                None => Err(of_bookmark(bookmark, newest).err().unwrap_or_else(none)),
            }
        }
    }
}

fn limit(listing: &Listing, options: &RestoreOptions) -> Result<Limit> {
    Ok(match (&options.bookmark, options.time) {
        (Some(bookmark), _) => Limit::At(of_bookmark(bookmark, listing.history)?),
        (None, Some(time)) => Limit::Time(time.timestamp_micros()),
        (None, None) => Limit::Newest,
    })
}

/// The stretch that has the state.
fn stretch(listing: &Listing, options: &RestoreOptions) -> Result<(Span, Vec<Stored>)> {
    let all = listing.spans();
    let spans: Vec<Span> = all.iter().map(|(span, _)| span.clone()).collect();
    let chosen = limit(listing, options)?.choose(&spans, listing.history)?.clone();
    let found = all.into_iter().find(|(span, _)| *span == chosen);
    found.ok_or_else(|| Error::new(ErrorKind::Internal, "a stretch of the backup is gone"))
}

async fn object(target: &dyn BackupTarget, history: HistoryId, name: Name) -> Result<(PathBuf, bytes::Bytes)> {
    let name = name.text(history);
    let found = target.get(&name).await?;
    let found = found.ok_or_else(|| Error::new(ErrorKind::Corrupt, format!("{name} is missing in the backup")))?;
    Ok((name.into(), found))
}

/// Adds an object to an image.
async fn add(mut image: Image, (name, bytes): (PathBuf, bytes::Bytes)) -> Result<Image> {
    blocking(move || {
        image.add(&name, &mut &bytes[..])?;
        Ok(image)
    })
    .await
}

/// Makes the image of the last commit that is admitted.
async fn build(
    target: &dyn BackupTarget,
    history: HistoryId,
    limit: Limit,
    span: &Span,
    files: &[Stored],
    path: &Path,
) -> Result<Point> {
    let mut point = span.from;
    let mut base = 0;
    let mut after = None;
    for (number, file) in files.iter().enumerate() {
        if !limit.admits(file.content.end) {
            after = files[number..].iter().find(|file| matches!(file.names[..], [Name::Log { ends: true, .. }]));
            break;
        }
        match file.content.kind {
            Kind::Base => base = number,
            Kind::Log if matches!(file.names[..], [Name::Log { ends: true, .. }]) => point = file.content.end,
            Kind::Log => {}
        }
    }
    if let Some(file) = after {
        // Some of its commits may be admitted, too.
        let (name, bytes) = object(target, history, file.names[0]).await?;
        point = blocking(move || last_commit(&name, &mut &bytes[..], point, |point| limit.admits(point))).await?;
    }
    let mut image = Image::new(path, point.position)?;
    for (number, file) in files.iter().enumerate().skip(base) {
        let is_needed = number == base || file.content.kind == Kind::Log;
        if !is_needed || file.content.start.position > point.position {
            continue;
        }
        for name in &file.names {
            image = add(image, object(target, history, *name).await?).await?;
        }
    }
    blocking(move || image.finish()).await?;
    Ok(point)
}

/// Makes the image of the newest state out of all of a stretch, and checks it.
async fn build_all(
    target: &dyn BackupTarget,
    history: HistoryId,
    span: &Span,
    files: &[Stored],
    path: &Path,
    verified: &mut Verified,
) -> Result<()> {
    let mut image = Image::new(path, span.to.position)?;
    for file in files {
        for name in &file.names {
            let object = object(target, history, *name).await?;
            verified.objects += 1;
            verified.bytes += object.1.len() as u64;
            image = add(image, object).await?;
        }
    }
    let path = path.to_owned();
    blocking(move || {
        image.finish()?;
        check(&path)
    })
    .await
}

/// Has SQLite check a file.
fn check(path: &Path) -> Result<()> {
    let check = || -> rusqlite::Result<String> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        isobar_sqlite::add_math_functions(&connection)?;
        connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
    };
    let problem = match check() {
        Ok(answer) if answer == "ok" => return Ok(()),
        Ok(problem) => problem,
        Err(error) => error.to_string(),
    };
    Err(Error::new(ErrorKind::Corrupt, format!("the restored database is damaged: {problem}")))
}

/// Refuses a name at which a file is, or a log that the new file would be damaged by.
fn check_free(file: &Path) -> Result<()> {
    let mut paths = [file.to_owned()].into_iter().chain(SqliteFile::all_beside(file));
    let Some(path) = paths.find(|path| path.symlink_metadata().is_ok()) else { return Ok(()) };
    let message = format!("{} exists: a backup is restored into a new file", path.display());
    Err(Error::new(ErrorKind::PermissionDenied, message))
}

/// A file that gets the database's name when it is finished, and is removed otherwise.
struct Unfinished(PathBuf);

impl Unfinished {
    fn create(file: &Path) -> Result<Self> {
        let path = beside(file, ".restoring");
        let create = || -> io::Result<()> {
            create_dir(parent(file))?;
            private_file().write(true).create(true).truncate(true).open(&path).map(drop)
        };
        create().map_err(|error| of_file("create", &path, error))?;
        Ok(Self(path))
    }

    fn finish(self, file: &Path) -> Result<()> {
        check_free(file)?; // the restoring may have taken long
        let finished = std::fs::rename(&self.0, file).and_then(|()| sync_dir(parent(file)));
        finished.map_err(|error| of_file("finish", file, error))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // It has the database's name by then, or is of no use.
        drop(std::fs::remove_file(&self.0));
    }
}

/// A file of the system's temporary folder, which is removed.
struct Temporary(PathBuf);

impl Temporary {
    fn create() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("isobar-verify-{}", isobar_base::random::hex_id()?));
        let created = private_file().write(true).create_new(true).open(&path);
        created.map_err(|error| of_file("create", &path, error))?;
        Ok(Self(path))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}
