//! The statements on the index. Each runs on a connection or in a transaction that its caller has begun: nothing here opens, commits or
//! waits.

pub(super) mod check;
mod error;
pub(super) mod packs;
pub(super) mod rows;
pub(super) mod schema;
pub(super) mod uploads;

use rusqlite::Row;

pub(super) use self::error::{Result, TxError, corrupt, json, sqlite, unusable};
pub(super) use self::rows::{Content, replace};

/// Returns a number of bytes, or of a pack.
pub(super) fn size(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let size: i64 = row.get(column)?;
    u64::try_from(size).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, size))
}
