//! SQLite as Cloudflare runs it in D1 and in SQLite-backed Durable Objects.
//!
//! [`script`] and [`limits`] are plain text and numbers, for every target. Feature `native` adds SQLite itself: limits,
//! authorizer, and prepared statements that end where SQLite ends them.
//!
//! ```
//! let statements: Vec<_> = isobar_sqlite::script::split("SELECT 1; SELECT ';'").collect();
//! assert_eq!(statements, ["SELECT 1", "SELECT ';'"]);
//! ```

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod script;

#[cfg(all(feature = "native", not(target_arch = "wasm32")))]
mod cache;
#[cfg(all(feature = "native", not(target_arch = "wasm32")))]
mod codes;
#[cfg(all(feature = "native", not(target_arch = "wasm32")))]
mod functions;
#[cfg(all(feature = "native", not(target_arch = "wasm32")))]
pub mod journal;
#[cfg(all(feature = "native", not(target_arch = "wasm32")))]
mod limited;
#[cfg(all(feature = "native", not(target_arch = "wasm32")))]
mod math;
#[cfg(all(feature = "native", not(target_arch = "wasm32")))]
mod pragmas;
#[cfg(all(feature = "native", not(target_arch = "wasm32")))]
mod prepared;
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
    codes::code_name,
    functions::{allows_function, knows_function, unknown_function},
    limited::prepare_next,
    math::add_math_functions,
    pragmas::{LASTING, lasting_setting, reads_data_version, runs_optimize, sets_something},
    prepared::{Failure, Prepared, Text, breaks_foreign_keys, drop_modules, prepare, set_last_insert_rowid, text},
    rules::{DURABLE, Product, is_allowed, set_limits},
    wal::WalPages,
    wal_file::{FRAME_HEADER, WAL_HEADER, WalChain, WalFrame, WalHeader, frame_offset},
};

/// Limits that D1 and Durable Objects share. Source: Cloudflare's documentation, "Limits", and workerd's `sqlite.c++`.
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
