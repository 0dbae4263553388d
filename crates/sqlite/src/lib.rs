//! SQLite as Cloudflare runs it in D1 and in SQLite-backed Durable Objects.
//!
//! [`script`] and [`limits`] are plain text and numbers, for every target. Feature `native` adds SQLite itself: limits,
//! authorizer, and prepared statements that end where SQLite ends them.
//!
//! ```
//! let statements: Vec<_> = isobar_sqlite::script::split("SELECT 1; SELECT ';'").collect();
//! assert_eq!(statements, ["SELECT 1", "SELECT ';'"]);
//! ```
//!
//! | module, function | answers |
//! |---|---|
//! | [`script`] | where statements end, which parameters they have, whether they read: by the words, without SQLite |
//! | [`limits`] | how long, how many |
//! | `set_limits`, `is_allowed`, `drop_modules` | a connection with workerd's rules |
//! | `prepare`, `prepare_next`, `StatementCache` | statements by SQLite's own parser, kept prepared |
//! | `Prepared::take_row_counts`, with feature `row-counts` | rows read and written, as D1 counts them |
//! | `cache_bytes`, `definition_bytes` | the memory of a connection |
//! | `WalPages`, `WalChain` | write-ahead logs: their length, their frames |
//! | `journal` | one log and one sync for the commits of many databases |
//! | `history` | every state of a database, out of the differences between its commits |
//! | `copy_pages`, `image_of`, `open_image` | whole databases: copied in one transaction, as the bytes of a file and opened from them |
//!
//! A guess by words serves where a wrong one costs time alone. Each rule that must hold is enforced by SQLite
//! itself.

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod script;

#[cfg(all(feature = "native", not(target_arch = "wasm32")))]
mod cache;
#[cfg(all(feature = "native", not(target_arch = "wasm32")))]
mod changes;
#[cfg(all(feature = "native", not(target_arch = "wasm32")))]
mod codes;
#[cfg(all(feature = "native", not(target_arch = "wasm32")))]
mod functions;
#[cfg(all(feature = "native", not(target_arch = "wasm32")))]
pub mod history;
#[cfg(all(feature = "native", not(target_arch = "wasm32")))]
pub mod journal;
#[cfg(all(feature = "native", not(target_arch = "wasm32")))]
mod limited;
#[cfg(all(feature = "native", not(target_arch = "wasm32")))]
mod math;
#[cfg(all(feature = "native", not(target_arch = "wasm32")))]
mod memory;
#[cfg(all(feature = "native", not(target_arch = "wasm32")))]
mod pages;
#[cfg(all(feature = "native", not(target_arch = "wasm32")))]
mod pragmas;
#[cfg(all(feature = "native", not(target_arch = "wasm32")))]
mod prepared;
#[cfg(all(feature = "native", not(target_arch = "wasm32")))]
mod row_counts;
#[cfg(all(feature = "native", not(target_arch = "wasm32")))]
mod rules;
#[cfg(all(test, feature = "native", not(target_arch = "wasm32")))]
mod scripts;
#[cfg(all(feature = "native", not(target_arch = "wasm32")))]
mod wal;
#[cfg(all(feature = "native", not(target_arch = "wasm32")))]
mod wal_file;

#[cfg(all(feature = "native", not(target_arch = "wasm32")))]
pub use self::{
    cache::StatementCache,
    changes::KeptChanges,
    codes::code_name,
    functions::{allows_function, knows_function, unknown_function},
    history::HistoryId,
    limited::prepare_next,
    math::add_math_functions,
    memory::{cache_bytes, definition_bytes, image_of},
    pages::{copy_pages, open_image},
    pragmas::{LASTING, lasting_setting, reads_data_version, runs_optimize, sets_something},
    prepared::{Failure, Prepared, Text, breaks_foreign_keys, drop_modules, prepare, set_last_insert_rowid, text},
    row_counts::{COUNTS_ROWS, RowCounts},
    rules::{DURABLE, Product, is_allowed, set_limits},
    wal::WalPages,
    wal_file::{FRAME_HEADER, WAL_HEADER, WalChain, WalFrame, WalHeader, frame_offset},
};

/// Limits that D1 and Durable Objects share. Source: Cloudflare's documentation, "Limits", and workerd's `sqlite.c++`.
///
/// SQLite enforces them once `set_limits` has been called; the numbers are here for code that keeps within them.
///
/// ```
/// use isobar_sqlite::limits::{PARAMETERS, SQL_BYTES};
///
/// let rows_of_three = PARAMETERS / 3;
/// let insert = format!("INSERT INTO t VALUES {}", vec!["(?, ?, ?)"; rows_of_three].join(", "));
/// assert_eq!(rows_of_three, 33);
/// assert!(insert.len() <= SQL_BYTES);
/// ```
pub mod limits {
    /// Parameters in a statement.
    pub const PARAMETERS: usize = 100;
    /// Bytes in a statement.
    pub const SQL_BYTES: usize = 100_000;
    /// Columns in a table or a result.
    pub const COLUMNS: usize = 100;
    /// Bytes in the pattern of LIKE and GLOB.
    pub const PATTERN_BYTES: usize = 50;
}

/// The README's code compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
