//! Export of a database's file as SQL, and import of such SQL into a new file: streaming, in bounded memory, and lossless.
//!
//! The SQL is SQLite's own, so that the `sqlite3` shell restores it, too. 64-bit integers, blobs, texts with NUL, infinities, rowids,
//! generated columns, tables `WITHOUT ROWID` and `STRICT`, full-text and R-tree tables, views, triggers and the counters of
//! `AUTOINCREMENT` come back as they were. Statistics of `ANALYZE` are not exported. The import takes the exports of wrangler and of
//! `sqlite3 FILE .dump` as well.
//!
//! The functions block: in asynchronous code they belong on a thread for blocking work.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use isobar_db::dump::{ExportOptions, export, import};
//! use isobar_db::{QueryableExt, SqliteDatabase};
//!
//! # let folder = tempfile::tempdir()?;
//! let file = folder.path().join("app.sqlite");
//! let db = SqliteDatabase::open(&file).await?;
//! db.run_script("CREATE TABLE t (a); INSERT INTO t VALUES (9223372036854775807), (x'00ff'), ('it''s');").await?;
//!
//! let mut sql = Vec::new();
//! let report = export(&file, &mut sql, &ExportOptions::default(), &mut |_| ())?;
//! assert_eq!((report.tables, report.rows), (1, 3));
//!
//! let copy = folder.path().join("copy.sqlite");
//! import(&copy, &mut sql.as_slice(), &mut |_| ())?;
//! let restored = SqliteDatabase::open(&copy).await?;
//! assert_eq!(restored.prepare("SELECT max(a) FROM t WHERE typeof(a) = 'integer'").one::<i64>().await?, i64::MAX);
//! # Ok(()) }
//! ```

mod export;
mod import;
mod literal;

use serde::Serialize;

pub use self::export::export;
pub use self::import::import;
use crate::{Error, ErrorKind};

/// Options of an export.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExportOptions {
    /// Tables to export, with their indexes and triggers. Default: none named, which is all, and the views.
    pub tables: Vec<String>,
    /// Rows to export. Default: all of them.
    pub content: Content,
}

/// Parts of a database that an export has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Content {
    /// Schema and rows.
    #[default]
    All,
    /// The schema alone.
    Schema,
    /// The rows alone.
    Rows,
}

impl ExportOptions {
    /// Sets [`tables`](Self::tables).
    #[must_use]
    pub fn with_tables(mut self, tables: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.tables = tables.into_iter().map(Into::into).collect();
        self
    }

    /// Sets [`content`](Self::content).
    #[must_use]
    pub fn with_content(mut self, content: Content) -> Self {
        self.content = content;
        self
    }
}

/// Progress and result of an export or an import.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// Tables so far.
    pub tables: u64,
    /// Rows so far.
    pub rows: u64,
    /// Bytes of SQL so far.
    pub bytes: u64,
}

/// The error of SQLite, in this crate's kinds.
fn failed(error: &rusqlite::Error) -> Error {
    use rusqlite::ErrorCode as Code;
    let code = match error {
        rusqlite::Error::SqliteFailure(error, _) | rusqlite::Error::SqlInputError { error, .. } => Some(error.code),
        _ => None,
    };
    let kind = match code {
        Some(Code::DatabaseCorrupt | Code::NotADatabase) => ErrorKind::Corrupt,
        Some(Code::DiskFull) => ErrorKind::StorageFull,
        Some(Code::DatabaseBusy | Code::DatabaseLocked | Code::SystemIoFailure) => ErrorKind::Unavailable,
        Some(Code::PermissionDenied | Code::CannotOpen | Code::ReadOnly) => ErrorKind::PermissionDenied,
        Some(Code::TooBig) => ErrorKind::TooBig,
        Some(Code::AuthorizationForStatementDenied) => ErrorKind::NotAuthorized,
        Some(Code::ConstraintViolation) => ErrorKind::Constraint(crate::Constraint::Other),
        Some(Code::Unknown) | None => ErrorKind::Sql,
        Some(_) => ErrorKind::Internal,
    };
    let message = match error {
        rusqlite::Error::SqliteFailure(_, Some(message)) => message.clone(),
        rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
        other => other.to_string(),
    };
    Error::new(kind, message)
}

/// The error of reading or writing.
fn io_failed(what: &str, error: std::io::Error) -> Error {
    let kind = match isobar_base::io::Class::of(&error) {
        isobar_base::io::Class::Full => ErrorKind::StorageFull,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("{what}: {error}")).with_source(error)
}
