//! Export of a database's file as SQL, and import of such SQL into a new file: streaming, in bounded memory, and lossless.
//!
//! The SQL is SQLite's own, so that the `sqlite3` shell restores it, too. 64-bit integers, blobs, texts with NUL, infinities, rowids,
//! generated columns, tables `WITHOUT ROWID` and `STRICT`, full-text and R-tree tables, views, triggers and the counters of
//! `AUTOINCREMENT` come back as they were. Statistics of `ANALYZE` are not exported. The import takes the exports of wrangler and of
//! `sqlite3 FILE .dump` as well.
//!
//! The functions block: in asynchronous code they belong on a thread for blocking work. [`Database::export`](crate::Database::export) is
//! the same export of a database that is open.
//!
//! ```
//! # #[cfg(feature = "local")]
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
//! # #[cfg(not(feature = "local"))] fn main() {}
//! ```

#[cfg(all(any(feature = "memory", feature = "local"), not(target_arch = "wasm32")))]
mod export;
#[cfg(all(feature = "local", not(target_arch = "wasm32")))]
mod import;
#[cfg(all(any(feature = "memory", feature = "local"), not(target_arch = "wasm32")))]
mod literal;

#[cfg(all(feature = "local", not(target_arch = "wasm32")))]
pub use self::export::export;
#[cfg(all(any(feature = "memory", feature = "local"), not(target_arch = "wasm32")))]
pub(crate) use self::export::export_from;
#[cfg(all(feature = "local", not(target_arch = "wasm32")))]
pub use self::import::import;
pub use crate::options::{Content, ExportOptions};
pub use crate::result::Report;
#[cfg(all(any(feature = "memory", feature = "local"), not(target_arch = "wasm32")))]
use crate::{Error, ErrorKind};

/// The error of SQLite, in this crate's kinds.
#[cfg(all(any(feature = "memory", feature = "local"), not(target_arch = "wasm32")))]
fn failed(error: &rusqlite::Error) -> Error {
    let (code, message) = match error {
        rusqlite::Error::SqliteFailure(error, Some(message)) => (error.extended_code, message.clone()),
        rusqlite::Error::SqliteFailure(code, None) => (code.extended_code, error.to_string()),
        rusqlite::Error::SqlInputError { error, msg, .. } => (error.extended_code, msg.clone()),
        other => return Error::new(ErrorKind::Sql, other.to_string()),
    };
    Error::new(crate::codes::kind(code, &message, 0), message)
}

/// The error of reading or writing.
///
/// A full disk is a kind of its own; everything else may pass, and is `Unavailable`.
#[cfg(all(any(feature = "memory", feature = "local"), not(target_arch = "wasm32")))]
fn io_failed(what: &str, error: std::io::Error) -> Error {
    let kind = match isobar_base::io::Class::of(&error) {
        isobar_base::io::Class::Full => ErrorKind::StorageFull,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("{what}: {error}")).with_source(error)
}
