//! The import.
//!
//! The script is read in chunks that end where a statement does, at least 64 KiB each, so memory is bounded by the
//! longest statement. It fills a file `NAME.importing` without a journal and without syncs, which is quick and
//! leaves rubbish after a crash; the file is checked, synced and renamed at the end, which is what makes the import
//! all or nothing.

use std::fs;
use std::io::{self, BufRead};
use std::path::{Path, PathBuf};

use isobar_base::fs::{SqliteFile, beside, create_dir, parent, private_file, sync_dir};
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::{Connection, OpenFlags};

use super::{Report, failed, io_failed};
use crate::{Error, ErrorKind, Result, sql};

/// Bytes of a script that are run at once, at least: a statement that is longer is held whole.
const CHUNK: usize = 64 << 10;

/// Runs a script of SQL into a new database, which appears under its name when all of it is there, is consistent, and is durable; until
/// then, and if anything fails, there is none. The script may be this crate's export, wrangler's, or that of `sqlite3 FILE .dump`; its
/// statements are not limited to D1's 100,000 bytes. Foreign keys may refer to rows that come later.
///
/// ```
/// use isobar_db::dump::import;
/// use isobar_db::{Constraint, ErrorKind};
///
/// # let folder = tempfile::tempdir()?;
/// let file = folder.path().join("new.sqlite");
/// let script = "CREATE TABLE p (id INTEGER PRIMARY KEY);\nCREATE TABLE c (p REFERENCES p (id));\nINSERT INTO c VALUES (7);";
/// let error = import(&file, &mut script.as_bytes(), &mut |_| ()).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Constraint(Constraint::ForeignKey));
/// assert!(!file.exists(), "all of it or nothing");
///
/// let script = format!("{script}\nINSERT INTO p VALUES (7);");
/// let report = import(&file, &mut script.as_bytes(), &mut |_| ())?;
/// assert_eq!((report.tables, report.rows), (2, 2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`ErrorKind::PermissionDenied`] where the file exists, or a log or journal that SQLite has left beside its name, or it cannot be
/// created; [`ErrorKind::Unavailable`] while another import into it runs; those of a statement, with its line;
/// [`ErrorKind::Constraint`] for foreign keys that do not hold at the end, with their tables and rows; [`ErrorKind::Corrupt`] for a dump
/// that ends with `ROLLBACK`, as sqlite3 writes it for a damaged database.
pub fn import(file: &Path, script: &mut dyn BufRead, progress: &mut dyn FnMut(&Report)) -> Result<Report> {
    check_free(file)?;
    create_dir(parent(file)).map_err(|error| io_failed("cannot create the database's folder", error))?;
    let unfinished = Unfinished::create(file)?;
    let mut import = Import { connection: connect(&unfinished.path)?, report: Report::default(), line: 1 };
    import.run(script, progress)?;
    let Import { connection, report, .. } = import;
    connection.close().map_err(|(_, error)| failed(&error))?;
    // A new connection sees tables that were made by writing to the schema, as sqlite3 dumps virtual ones.
    check(&unfinished.path)?;
    unfinished.finish(file)?;
    Ok(report)
}

/// Refuses a name at which something is that the new database would take the place of, or be damaged by.
fn check_free(file: &Path) -> Result<()> {
    let is_there = |path: &Path| path.symlink_metadata().is_ok();
    if is_there(file) {
        let message = format!("{} exists: an import makes a new database", file.display());
        return Err(Error::new(ErrorKind::PermissionDenied, message));
    }
    let Some(left) = SqliteFile::all_beside(file).into_iter().find(|path| is_there(path)) else { return Ok(()) };
    let message = format!(
        "{} is there without its database, and SQLite would write what is in it into the new one: put its database back \
         beside it, or move it away, and import again",
        left.display()
    );
    Err(Error::new(ErrorKind::PermissionDenied, message))
}

/// The file that an import fills. It gets the database's name when it is finished, and is removed otherwise.
///
/// Three states: claimed (the file is there, locked), finished (renamed), dropped unfinished (removed). A crash
/// leaves the first, which the next import into the same name takes over, since the lock went with its process.
struct Unfinished {
    path: PathBuf,
    /// The file, locked, so that no other import fills it, too.
    claim: Option<fs::File>,
    is_finished: bool,
}

impl Unfinished {
    fn create(file: &Path) -> Result<Self> {
        let path = beside(file, ".importing");
        let claimed = claim(&path);
        let claimed = claimed.map_err(|error| io_failed(&format!("cannot create {}", path.display()), error))?;
        let Some(claim) = claimed else {
            let message = format!("another import into {} is running", file.display());
            return Err(Error::new(ErrorKind::Unavailable, message));
        };
        Ok(Self { path, claim: Some(claim), is_finished: false })
    }

    fn finish(mut self, file: &Path) -> Result<()> {
        check_free(file)?; // the import may have taken hours
        let failed = |error| io_failed(&format!("cannot finish {}", file.display()), error);
        if let Some(claim) = self.claim.take() {
            claim.sync_all().map_err(failed)?;
            // Closed before it is a database that others open: closing a file gives up the locks that SQLite has on it in this process.
            drop(claim);
        }
        fs::rename(&self.path, file).map_err(failed)?;
        self.is_finished = true;
        sync_dir(parent(file)).map_err(failed)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.is_finished {
            drop(fs::remove_file(&self.path)); // a leftover is removed by the next import
        }
    }
}

/// Creates the file for this import alone, in place of one that a crash has left. `None` while another import has it.
#[cfg(unix)]
fn claim(path: &Path) -> io::Result<Option<fs::File>> {
    use std::os::unix::fs::MetadataExt;
    loop {
        let created = private_file().read(true).write(true).create_new(true).open(path);
        let is_new = created.is_ok();
        let file = match created {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match fs::File::open(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                opened => opened?,
            },
            created => created?,
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Ok(None),
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
        // Another import may have removed it meanwhile, or given it the database's name.
        let locked = file.metadata()?;
        let is_named = fs::metadata(path).is_ok_and(|named| (named.dev(), named.ino()) == (locked.dev(), locked.ino()));
        match (is_named, is_new) {
            (true, true) => return Ok(Some(file)),
            (true, false) => fs::remove_file(path)?,
            (false, _) => {}
        }
    }
}

/// Takes the file for this import alone: here it cannot be removed while another has it open.
#[cfg(not(unix))]
fn claim(path: &Path) -> io::Result<Option<fs::File>> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Ok(None),
        _ => private_file().write(true).create_new(true).open(path).map(Some),
    }
}

fn connect(path: &Path) -> Result<Connection> {
    let open = || -> rusqlite::Result<Connection> {
        let mut connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        isobar_sqlite::add_math_functions(&connection)?;
        // Whole or not at all is the rename's part.
        connection
            .execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA foreign_keys = OFF; BEGIN")?;
        connection.authorizer(Some(|context: AuthContext<'_>| match context.action {
            // Another file.
            AuthAction::Attach { .. } | AuthAction::Detach { .. } => Authorization::Deny,
            _ => Authorization::Allow,
        }))?;
        Ok(connection)
    };
    open().map_err(|error| failed(&error))
}

struct Import {
    connection: Connection,
    report: Report,
    /// The line at which what comes next begins.
    line: usize,
}

impl Import {
    fn run(&mut self, script: &mut dyn BufRead, progress: &mut dyn FnMut(&Report)) -> Result<()> {
        let mut chunk = Vec::new();
        // Looked at again when it has doubled, so that the time grows with the script alone.
        let mut enough = CHUNK;
        loop {
            let before = chunk.len();
            let read =
                script.read_until(b'\n', &mut chunk).map_err(|error| io_failed("cannot read the script", error))?;
            let is_end = read == 0;
            let may_end = chunk.len() >= enough && chunk[before..].trim_ascii_end().ends_with(b";");
            if !is_end && !may_end {
                continue;
            }
            let text = std::str::from_utf8(&chunk)
                .map_err(|_| Error::new(ErrorKind::Sql, format!("line {}: the script is not UTF-8", self.line)))?;
            if !is_end && !sql::is_complete(text) {
                enough = chunk.len() * 2;
                continue;
            }
            self.statements(text)?;
            self.report.bytes += chunk.len() as u64;
            self.line += chunk.iter().filter(|byte| **byte == b'\n').count();
            progress(&self.report);
            if is_end {
                break;
            }
            chunk.clear();
            enough = CHUNK;
        }
        self.finish()
    }

    fn statements(&mut self, text: &str) -> Result<()> {
        for statement in sql::split(text) {
            let line = || {
                let offset = statement.as_ptr() as usize - text.as_ptr() as usize;
                self.line + sql::line(text, offset) - 1
            };
            match sql::keyword(statement).as_str() {
                "BEGIN" | "COMMIT" | "END" => continue, // all of it is one transaction
                "ROLLBACK" => {
                    let message =
                        format!("line {}: the dump ends with ROLLBACK: it is one of a damaged database", line());
                    return Err(Error::new(ErrorKind::Corrupt, message));
                }
                "CREATE" => self.report.tables += u64::from(is_table(statement)),
                _ => {}
            }
            let before = self.connection.total_changes();
            let ran = self.connection.execute_batch(statement);
            ran.map_err(|error| {
                let error = failed(&error);
                let shown: String = statement.chars().take(120).collect();
                Error::new(error.kind(), format!("line {}: {}\n  in: {shown}", line(), error.message()))
            })?;
            if sql::keyword(statement) == "INSERT" {
                self.report.rows += self.connection.total_changes() - before;
            }
        }
        Ok(())
    }

    /// Commits, if all foreign keys hold.
    fn finish(&self) -> Result<()> {
        let violations = || {
            let mut statement = self.connection.prepare("PRAGMA foreign_key_check")?;
            let rows = statement.query_map([], |row| {
                let rowid = row.get::<_, Option<i64>>(1)?.map(|rowid| format!(" (rowid {rowid})")).unwrap_or_default();
                Ok(format!("{}{rowid} to {}", row.get::<_, String>(0)?, row.get::<_, String>(2)?))
            })?;
            rows.take(10).collect::<rusqlite::Result<Vec<String>>>()
        };
        let violations = violations().map_err(|error| failed(&error))?;
        if !violations.is_empty() {
            let message = format!("FOREIGN KEY constraint failed: {}", violations.join(", "));
            return Err(Error::new(ErrorKind::Constraint(crate::Constraint::ForeignKey), message));
        }
        self.connection.execute_batch("COMMIT").map_err(|error| failed(&error))
    }
}

fn is_table(statement: &str) -> bool {
    let mut words = sql::words(statement).skip(1);
    let word = words.next().filter(|word| !word.eq_ignore_ascii_case("VIRTUAL")).or_else(|| words.next());
    word.is_some_and(|word| word.eq_ignore_ascii_case("TABLE"))
}

fn check(path: &Path) -> Result<()> {
    let check = || -> rusqlite::Result<String> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        isobar_sqlite::add_math_functions(&connection)?;
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
    };
    match check().map_err(|error| failed(&error))?.as_str() {
        "ok" => Ok(()),
        problem => Err(Error::new(ErrorKind::Corrupt, format!("the imported database is damaged: {problem}"))),
    }
}
