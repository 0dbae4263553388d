//! The statements on the index. Each runs on a connection or in a transaction that its caller has begun: nothing here opens, commits or
//! waits.
//!
//! | table | row | removed |
//! |---|---|---|
//! | `objects` | an object: metadata, and the place of its body in a pack, or the pack that names its blobs | with the object |
//! | `segments` | a blob of an object's body, in order, by the object's version | with the object |
//! | `uploads`, `parts` | a multipart upload, its parts' blobs; a closed upload differs from an unknown one | 14 days after its begin |
//! | `garbage` | a replaced blob and the time since when | when it is unlinked |
//! | `packs` | where each pack ends, how much of it is live, how far it is compacted | with the pack |
//!
//! Columns that have their usual value are NULL (no metadata, md5 alone, standard class), so that a row is short. Keys are BLOBs,
//! as listings are in the order of bytes.

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
