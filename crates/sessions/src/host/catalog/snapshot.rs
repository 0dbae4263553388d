//! A database's file of one moment, to read from: the file itself while no host runs and its write-ahead log is empty, else a copy.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use isobar_base::fs::SqliteFile;
use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;

use crate::host::disk;
use crate::host::fault::failure;
use crate::{Error, ErrorKind, Result};

/// Age of a file's last change from which on another change shows in its time, on file systems that count in hundredths of a second.
const SETTLED: Duration = Duration::from_millis(100);
/// Copies that are tried while the file changes, and the pause between them.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(20);

/// A file that nobody changes while it is read.
#[derive(Debug)]
pub(super) struct Snapshot {
    file: PathBuf,
    /// The folder of a copy, removed with it.
    folder: Option<TempDir>,
}

/// Properties that change when a database's file does, or its write-ahead log begins anew. Frames that are added to the log change
/// none of them.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    length: u64,
    modified: SystemTime,
    inode: u64,
    log: Option<Vec<u8>>,
}

impl Snapshot {
    /// Takes the database at this path, with what is in its write-ahead log; `None` where there is no file, or an empty one.
    /// `is_live` says whether a host may change it meanwhile: no lock is taken, as the host's own would fail by it.
    ///
    /// # Errors
    /// [`ErrorKind::Overloaded`] when the file changes all the time, [`ErrorKind::Damaged`] and [`ErrorKind::Storage`].
    pub(super) fn take(path: &Path, is_live: bool) -> Result<Option<Self>> {
        let failed = |error: io::Error| {
            let message = format!("{} cannot be read: {error}", path.display());
            Error::new(ErrorKind::Storage, message).with_source(error)
        };
        if Stamp::of(path).map_err(failed)?.is_none() {
            return Ok(None);
        }
        if !is_live && !disk::has_log(path) {
            return Ok(Some(Self { file: path.to_owned(), folder: None }));
        }
        let folder = tempfile::tempdir().map_err(failed)?;
        let file = folder.path().join("copy.db");
        for _ in 0..TRIES {
            let Some(before) = Stamp::of(path).map_err(failed)? else { return Ok(None) };
            let is_copied = copy(path, &file).map_err(failed)?;
            // The file changes by checkpoints alone: while it has not, and the log goes on, both copies are of one moment. Half a
            // commit at the log's end is one that SQLite leaves out.
            if is_copied && before.is_settled() && Stamp::of(path).map_err(failed)?.as_ref() == Some(&before) {
                fold(&file).map_err(|error| damaged(path, &error))?;
                return Ok(Some(Self { file, folder: Some(folder) }));
            }
            std::thread::sleep(PAUSE);
        }
        let message = format!("{} is written to all the time: try again, or stop its host", path.display());
        Err(Error::new(ErrorKind::Overloaded, message))
    }

    /// The file to read: a database without a write-ahead log.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// Whether it is a copy, and stays as it is whatever happens to the folder.
    pub(super) fn is_copy(&self) -> bool {
        self.folder.is_some()
    }
}

impl Stamp {
    /// `None` where there is no file, or an empty one.
    fn of(path: &Path) -> io::Result<Option<Self>> {
        let meta = match std::fs::metadata(path) {
            Ok(meta) if meta.len() > 0 => meta,
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let log = match File::open(SqliteFile::Wal.beside(path)) {
            Ok(file) => {
                let mut header = Vec::new();
                file.take(32).read_to_end(&mut header)?;
                Some(header).filter(|header| !header.is_empty())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(Some(Self { length: meta.len(), modified: meta.modified()?, inode: inode(&meta), log }))
    }

    /// Whether a change from now on has another time. A file of the future is settled, too: its next change is of now.
    fn is_settled(&self) -> bool {
        self.modified.elapsed().is_ok_and(|age| age >= SETTLED) || self.modified > SystemTime::now()
    }
}

#[cfg(unix)]
fn inode(meta: &std::fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(meta)
}

#[cfg(not(unix))]
fn inode(_: &std::fs::Metadata) -> u64 {
    0
}

/// Copies a database and its log. Returns `false` where the database is gone.
fn copy(path: &Path, to: &Path) -> io::Result<bool> {
    let log = SqliteFile::Wal.beside(to);
    let copied = |from: &Path, to: &Path| match std::fs::copy(from, to) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    };
    if !copied(path, to)? {
        return Ok(false);
    }
    if !copied(&SqliteFile::Wal.beside(path), &log)? && disk::has_log(to) {
        std::fs::remove_file(&log)?; // of an earlier try
    }
    Ok(true)
}

/// Copies a database's write-ahead log into it; closing it removes the log.
pub(super) fn fold(path: &Path) -> rusqlite::Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    connection.close().map_err(|(_, error)| error)
}

/// A failure of a file, by its name.
pub(super) fn damaged(path: &Path, error: &rusqlite::Error) -> Error {
    let failure = failure(error);
    let kind = match failure.kind() {
        kind @ (ErrorKind::Damaged | ErrorKind::Storage | ErrorKind::StorageFull) => kind,
        _ => ErrorKind::Damaged,
    };
    Error::new(kind, format!("the file {} cannot be read: {failure}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(snapshot: &Snapshot) -> i64 {
        let connection = Connection::open(snapshot.file()).unwrap();
        connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn a_file_that_a_host_has_open_is_copied_with_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let connection = Connection::open(&path).unwrap();
        let sql = "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0;
                   CREATE TABLE t (a); INSERT INTO t VALUES (1), (2)";
        connection.execute_batch(sql).unwrap();
        let snapshot = Snapshot::take(&path, true).unwrap().unwrap();
        assert!(snapshot.is_copy());
        connection.execute_batch("INSERT INTO t VALUES (3)").unwrap();
        assert_eq!(count(&snapshot), 2);
        drop(connection);
        assert_eq!(count(&Snapshot::take(&path, true).unwrap().unwrap()), 3);
        let in_place = Snapshot::take(&path, false).unwrap().unwrap();
        assert_eq!(in_place.file(), path);
        assert!(Snapshot::take(&folder.path().join("none.db"), true).unwrap().is_none());
    }

    #[test]
    fn copies_under_writes_and_checkpoints_are_of_one_moment() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let mut connection = Connection::open(&path).unwrap();
        let sql = "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0;
                   CREATE TABLE t (a INTEGER PRIMARY KEY, b BLOB); CREATE TABLE last (a)";
        connection.execute_batch(sql).unwrap();
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 1_i64.. {
                    let transaction = connection.transaction().unwrap();
                    transaction.execute("INSERT INTO t VALUES (?, randomblob(3000))", [number]).unwrap();
                    transaction.execute("DELETE FROM last", []).unwrap();
                    transaction.execute("INSERT INTO last VALUES (?)", [number]).unwrap();
                    transaction.commit().unwrap();
                    if number % 50 == 0 {
                        connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).unwrap();
                        std::thread::sleep(Duration::from_millis(150));
                    }
                    if stop.load(std::sync::atomic::Ordering::Relaxed) {
                        break;
                    }
                }
            });
            std::thread::sleep(Duration::from_millis(200));
            for _ in 0..5 {
                let snapshot = Snapshot::take(&path, true).unwrap().unwrap();
                let copy = Connection::open(snapshot.file()).unwrap();
                let check: String = copy.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
                assert_eq!(check, "ok");
                let sql = "SELECT count(*), max(t.a), (SELECT a FROM last) FROM t";
                let counts: [i64; 3] =
                    copy.query_row(sql, [], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?])).unwrap();
                assert!(counts[0] > 0 && counts[0] == counts[1] && counts[1] == counts[2], "{counts:?}");
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }
}
