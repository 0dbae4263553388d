//! The choice of what is read of columnar segments.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::layout::StoredColumn;

/// The rows and columns that are wanted. The bounds are hints: other rows may come, too.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selection {
    /// The columns of the batches, without repetition, in this order.
    pub(crate) columns: Vec<StoredColumn>,
    /// Those of the columns that are wanted only to be compared with the bounds: not in batches of which all rows are within them.
    pub(crate) bound_columns: Vec<StoredColumn>,
    /// Only rows at or after this time, in milliseconds.
    pub(crate) from: Option<i64>,
    /// Only rows before this time, in milliseconds.
    pub(crate) until: Option<i64>,
    /// Only rows with one of these indexes.
    pub(crate) indexes: Option<BTreeSet<Bytes>>,
    pub(crate) texts: TextForm,
}

impl Selection {
    /// Selects all rows, with all columns as they are in the file.
    pub(crate) fn everything() -> Self {
        Self { columns: StoredColumn::all().collect(), texts: TextForm::Stored, ..Self::default() }
    }
}

/// The form in which texts are delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum TextForm {
    /// Binary.
    #[default]
    Binary,
    /// Text or binary, as in the file.
    Stored,
    /// Binary; as a dictionary and keys where the file has them so.
    Dictionary,
}
