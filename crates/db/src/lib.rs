//! Relational databases with the semantics of Cloudflare D1, wherever they run.
//!
//! [`Database`] is the dyn-safe trait, [`QueryableExt`] the fluent way to write statements. One backend serves both
//! `memory` and `local`: [`SqliteDatabase`], with D1's limits and its authorizer. [`mock::MockDatabase`]
//! (feature `mock`) records and scripts faults over any backend; `PostgresDatabase` (feature `postgres`) is the step up to a server;
//! `cloudflare::D1Database` (feature `cloudflare-binding`) is D1
//! inside Workers, `cloudflare::D1RestDatabase` (feature `cloudflare-http`) D1 from outside; `vault` (feature
//! `vault`) encrypts values; `transfer` (feature `transfer`) fills a database from one of another shape; [`migrations`](mod@migrations) keeps
//! wrangler's table and order, and [`migrations!`] embeds the files in the program. [`transaction`](mod@transaction) has optimistic
//! transactions for every backend, [`page`](mod@page) pages by keyset, [`schema`](mod@schema) the description of a database;
//! `lint` (feature `memory`) finds SQL that D1 or Postgres would refuse;
//! [`dump`](mod@dump) has the export of a database as SQL, and with the feature `local` the import of a file. A local database with
//! [`HistoryOptions`] keeps its history: [`TimeTravel`] goes back to any commit. `slow_queries` reports statements that take long, with
//! their plan.
//!
//! ```
//! use isobar_db::{Database, QueryableExt, SqliteDatabase};
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
//! let db = SqliteDatabase::memory().await?;
//! db.exec("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL)").await?;
//! db.prepare("INSERT INTO users (name) VALUES (?)").bind("Ada").run().await?;
//! let users: Vec<(i64, String)> = db.prepare("SELECT id, name FROM users").all().await?;
//! assert_eq!(users, [(1, "Ada".to_owned())]);
//! # Ok(()) }
//! ```
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(all(feature = "local", not(target_arch = "wasm32")))]
pub mod backup;
mod bulk;
#[cfg(all(any(feature = "memory", feature = "local"), not(target_arch = "wasm32")))]
mod codes;
mod database;
pub mod dump;
mod error;
mod ext;
#[cfg(all(feature = "memory", not(target_arch = "wasm32")))]
pub mod lint;
pub mod migrations;
mod operation;
mod options;
pub mod page;
mod result;
mod row;
pub mod schema;
#[cfg(not(target_arch = "wasm32"))]
pub mod slow_queries;
pub mod sql;
mod statement;
mod time_travel;
pub mod transaction;
#[cfg(feature = "transfer")]
pub mod transfer;
mod value;
#[cfg(feature = "vault")]
pub mod vault;
mod violation;

#[cfg(any(feature = "cloudflare-binding", all(feature = "cloudflare-http", not(target_arch = "wasm32"))))]
pub mod cloudflare;
#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "mock")]
pub mod mock;
#[cfg(all(feature = "postgres", not(target_arch = "wasm32")))]
mod postgres;
#[cfg(all(any(feature = "memory", feature = "local"), not(target_arch = "wasm32")))]
mod sqlite;

pub use bulk::BulkInsert;
#[cfg(not(target_arch = "wasm32"))]
pub use database::InteractiveTransaction;
pub use database::{Database, DatabaseSession, Queryable};
pub use error::{Constraint, Error, ErrorKind, Result};
pub use ext::{Prepared, QueryableExt};
pub use operation::Operation;
#[cfg(not(target_arch = "wasm32"))]
pub use options::InteractiveOptions;
pub use options::{Bookmark, Capabilities, Consistency, Dialect, HistoryOptions, ReplicaLag, SqliteOptions};
pub use result::{ExecResult, Imported, Meta, QueryResult};
pub use row::{FromRow, Row};
pub use statement::Statement;
pub use time_travel::{History, HistoryGap, HistoryPoint, Restored, TimeTravel};
pub use transaction::{Committed, Transaction, TransactionOptions};
pub use value::{D1Json, FromValue, Value};
pub use violation::Violation;

#[cfg(all(feature = "postgres", not(target_arch = "wasm32")))]
pub use postgres::{Isolation, PostgresDatabase, PostgresOptions};
#[cfg(all(any(feature = "memory", feature = "local"), not(target_arch = "wasm32")))]
pub use sqlite::SqliteDatabase;

#[doc(hidden)]
pub use isobar_db_macros::migration_files as __migration_files;

/// Limits of D1, which the local backend keeps. Source: D1's documentation, "Limits", and workerd's `sqlite.c++`.
///
/// | limit | value | beyond it |
/// |---|---|---|
/// | [`PARAMETERS`](crate::limits::PARAMETERS) of a statement | 100 | `too many SQL variables`, [`ErrorKind::Sql`] |
/// | [`SQL_BYTES`](crate::limits::SQL_BYTES) of a statement | 100,000 | `statement too long`, [`ErrorKind::TooBig`] |
/// | [`COLUMNS`](crate::limits::COLUMNS) of a table or a result | 100 | `too many columns`, [`ErrorKind::Sql`] |
/// | [`PATTERN_BYTES`](crate::limits::PATTERN_BYTES) of LIKE and GLOB | 50 | `LIKE or GLOB pattern too complex`, [`ErrorKind::Sql`] |
/// | [`VALUE_BYTES`](crate::limits::VALUE_BYTES) of a value or a row | 2,000,000 | [`ErrorKind::TooBig`] |
/// | terms of a compound SELECT | 5 | `too many terms in compound SELECT`, [`ErrorKind::Sql`] |
/// | depth of an expression | 100 | `Expression tree is too large`, [`ErrorKind::Sql`] |
///
/// [`BulkInsert`] keeps within them by itself; other lists of values are cut by their caller:
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
/// use isobar_db::{QueryableExt, SqliteDatabase, limits};
///
/// let db = SqliteDatabase::memory().await?;
/// db.run_script("CREATE TABLE t (id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1), (120), (999);").await?;
/// let ids: Vec<i64> = (0..250).collect();
/// let mut found = 0;
/// for part in ids.chunks(limits::PARAMETERS) {
///     let marks = vec!["?"; part.len()].join(", ");
///     let select = format!("SELECT count(*) FROM t WHERE id IN ({marks})");
///     found += db.prepare(select).bind_all(part.iter().copied()).one::<i64>().await?;
/// }
/// assert_eq!(found, 2);
/// # Ok(()) }
/// ```
pub mod limits {
    #[doc(inline)]
    pub use isobar_sqlite::limits::{COLUMNS, PARAMETERS, PATTERN_BYTES, SQL_BYTES};

    /// Bytes in a value or a row.
    pub const VALUE_BYTES: usize = 2_000_000;
}

/// The quick start of the README, compiled and run as a doctest.
#[cfg(all(doctest, feature = "memory"))]
#[doc = include_str!("../README.md")]
struct Readme;
