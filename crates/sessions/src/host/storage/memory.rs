//! Size of an object's database, and the memory of its connection.

use std::cell::Cell;

use super::{Place, Storage};
use crate::Result;

/// Bytes of a connection that SQLite counts nowhere: its lookaside memory (48 KiB), the index of its write-ahead log (32 KiB), its
/// functions and handles.
const CONNECTION: usize = 96 * 1024;
/// Measurements after which schema and statements are looked at anew: that takes as long as looking at each of them.
const RARELY: u32 = 64;

/// Memory of schema and statements, as it was when they were last looked at.
#[derive(Debug, Default)]
pub(super) struct Measured {
    definitions: Cell<usize>,
    measurements: Cell<u32>,
}

impl Storage {
    /// Returns the size of the database in bytes.
    pub(in crate::host) fn size(&self) -> Result<u64> {
        let sql = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";
        let size: i64 = self.trusted(|connection| connection.query_row(sql, [], |row| row.get(0)))?;
        Ok(size.unsigned_abs())
    }

    /// Bytes of memory that closing the database would free: none of a host in memory, as it is kept there.
    pub(in crate::host) fn memory_bytes(&self) -> usize {
        if matches!(self.place, Place::Memory) {
            return 0;
        }
        let Measured { definitions, measurements } = &self.measured;
        if measurements.replace(measurements.get().wrapping_add(1)).is_multiple_of(RARELY) {
            definitions.set(isobar_sqlite::definition_bytes(&self.connection));
        }
        CONNECTION + isobar_sqlite::cache_bytes(&self.connection) + definitions.get()
    }
}
