//! Rows in order, of which no more are kept than needed.

use std::cmp::Ordering;

use super::Run;
use super::compare::order;
use super::eval::eval;
use crate::Result;
use crate::query::plan::SortKey;
use crate::query::vector::{Rows, Scalar, Vector};

/// Rows that are kept at least before the ones behind the limit are let go.
const SLACK: usize = 8192;

/// Collects rows and sorts them; rows that are equal stay in the order in which they came.
pub(super) struct Sorter<'s> {
    keys: &'s [SortKey],
    most: Option<usize>,
    batches: Vec<Rows>,
    /// The values of the keys, and where the row is.
    rows: Vec<(Vec<Scalar>, u32, u32)>,
    bytes: usize,
}

impl<'s> Sorter<'s> {
    /// Keeps this many of the first rows; all, where it is `None`.
    pub(super) fn new(keys: &'s [SortKey], most: Option<u64>) -> Self {
        let most = most.and_then(|most| usize::try_from(most).ok());
        Self { keys, most, batches: Vec::new(), rows: Vec::new(), bytes: 0 }
    }

    /// Keeps all rows.
    pub(super) fn all(keys: &'s [SortKey]) -> Self {
        Self::new(keys, None)
    }

    /// Adds the columns to keep of some rows, over which the keys are evaluated.
    pub(super) fn add(&mut self, rows: &Rows, columns: Vec<Vector>, run: &Run<'_>) -> Result<()> {
        let keys: Vec<Vector> = self.keys.iter().map(|key| eval(&key.expr, rows)).collect::<Result<_>>()?;
        let batch = self.batches.len() as u32;
        for row in 0..rows.len {
            let values: Vec<Scalar> = keys.iter().map(|key| key.scalar(row)).collect();
            self.bytes += values.iter().map(Scalar::bytes).sum::<usize>() + 32;
            self.rows.push((values, batch, row as u32));
        }
        self.bytes += columns.iter().map(Vector::bytes).sum::<usize>();
        self.batches.push(Rows { columns, len: rows.len });
        if let Some(most) = self.most
            && self.rows.len() > most.saturating_mul(2).saturating_add(SLACK)
        {
            self.shrink();
        }
        run.check_memory(self.bytes)
    }

    fn sort(&mut self) {
        let keys = self.keys;
        self.rows.sort_by(|(a, ..), (b, ..)| {
            let pairs = keys.iter().zip(a.iter().zip(b));
            pairs.fold(Ordering::Equal, |found, (key, (a, b))| {
                found.then_with(|| order(a, b, &key.expr.ty, key.is_descending))
            })
        });
        if let Some(most) = self.most {
            self.rows.truncate(most);
        }
    }

    /// Lets go of the rows behind the limit.
    fn shrink(&mut self) {
        self.sort();
        let rows = self.gather();
        let sizes = self.rows.iter().map(|(values, ..)| values.iter().map(Scalar::bytes).sum::<usize>() + 32);
        self.bytes = sizes.sum::<usize>() + rows.columns.iter().map(Vector::bytes).sum::<usize>();
        for (number, (_, batch, row)) in self.rows.iter_mut().enumerate() {
            *batch = 0;
            *row = number as u32;
        }
        self.batches = vec![rows];
    }

    /// The kept rows as one batch.
    fn gather(&self) -> Rows {
        let Some(first) = self.batches.first() else { return Rows { columns: Vec::new(), len: 0 } };
        let columns = (0..first.columns.len()).map(|column| {
            let values = self
                .rows
                .iter()
                .map(|(_, batch, row)| self.batches[*batch as usize].columns[column].scalar(*row as usize));
            collect(values, &first.columns[column])
        });
        Rows { columns: columns.collect(), len: self.rows.len() }
    }

    /// Returns the rows in order.
    pub(super) fn finish(mut self) -> Rows {
        self.sort();
        self.gather()
    }
}

/// A vector of the same kind as another.
fn collect(values: impl Iterator<Item = Scalar>, like: &Vector) -> Vector {
    use crate::query::Type;
    use crate::query::vector::Builder;
    let ty = match like {
        Vector::Floats(_) | Vector::Const(Scalar::Float(_)) => Type::Float64,
        Vector::Texts(_) | Vector::Const(Scalar::Text(_)) => Type::String,
        Vector::Lists(_) | Vector::Const(Scalar::List(_)) => Type::Array(Box::new(Type::String)),
        Vector::Ints(_) | Vector::Const(Scalar::Int(_)) => Type::Int64,
    };
    let mut builder = Builder::new(&ty);
    values.for_each(|value| builder.push(value));
    builder.finish()
}
