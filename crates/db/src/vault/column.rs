//! The declared columns of sealed values.

pub(super) const COLUMNS: &str =
    "SELECT table_name, column_name, key_column FROM vault_columns ORDER BY table_name, column_name";

/// A column of sealed values, as a row of `vault_columns` declares it.
///
/// Tables whose primary key has several columns cannot hold sealed values: a cell names one.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[non_exhaustive]
pub struct Column {
    /// The table.
    #[serde(rename = "table_name")]
    pub table: String,
    /// The column.
    #[serde(rename = "column_name")]
    pub column: String,
    /// The table's primary key, of one column.
    pub key_column: String,
}

impl Column {
    /// Returns whether the two name one column of one table.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.table.eq_ignore_ascii_case(&other.table) && self.column.eq_ignore_ascii_case(&other.column)
    }
}
