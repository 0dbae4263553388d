//! Rows that statements read and write, as D1 counts them.

/// Whether rows are counted: feature `row-counts` has built the SQLite of the program, on a target that is neither wasm32 nor Windows.
///
/// ```
/// let connection = rusqlite::Connection::open_in_memory()?;
/// connection.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (1), (2)")?;
/// let (statement, _) = isobar_sqlite::prepare(&connection, "SELECT a FROM t").map_err(|failure| failure.message)?;
/// let mut statement = statement.ok_or("a statement")?;
/// while statement.step().map_err(|failure| failure.message)? {}
/// let counts = statement.take_row_counts();
/// assert_eq!(counts.map(|counts| (counts.read, counts.written)), isobar_sqlite::COUNTS_ROWS.then_some((2, 0)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub const COUNTS_ROWS: bool = cfg!(isobar_counts_rows);

/// Rows of a statement's runs, from [`Prepared::take_row_counts`](crate::Prepared::take_row_counts).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowCounts {
    /// Rows to which a cursor has moved: of tables, indexes, virtual tables, lists and sorters.
    pub read: u64,
    /// Rows written, replaced and deleted, and entries written to indexes.
    pub written: u64,
}
