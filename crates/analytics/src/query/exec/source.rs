//! The rows that a `SELECT` reads.
//!
//! The bounds of a filter on `timestamp` and `index1` go to the source with the request, as a hint by which it may leave out
//! segments and pages. They need not be exact: the filter itself is applied to every row that comes. Only conditions that hold for
//! every row, those joined by `AND` at the top, can be hints.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, TimestampSecondType, UInt32Type};
use arrow_array::{Array, RecordBatch};
use bytes::Bytes;

use super::{PART_ROWS, Run, Selected};
use crate::query::plan::{Comparison, Expr, ExprKind, Function, Select, Source};
use crate::query::vector::{Rows, Scalar, Vector};
use crate::query::{Column, ScanRequest, Scanned, Type, schema};
use crate::{Error, ErrorKind, Result};

impl Run<'_> {
    /// Hands over the rows of the source in batches, until no more are needed.
    pub(super) fn scan(
        &mut self,
        select: &Select,
        each: &mut dyn FnMut(&mut Self, Rows) -> Result<bool>,
    ) -> Result<()> {
        self.budget.check()?;
        match &select.source {
            Source::One => drop(each(self, Rows { columns: Vec::new(), len: 1 })?),
            Source::Subquery(below) => {
                let Selected { vectors, rows, share: _share, .. } = self.select(below)?;
                for part in (Rows { columns: vectors, len: rows }).parts(PART_ROWS) {
                    self.budget.check()?;
                    if !each(self, part)? {
                        break;
                    }
                }
            }
            Source::Dataset { name, columns } => {
                let request = request(name, columns, select.filter.as_ref());
                for scanned in self.source.scan(&request).map_err(|error| error.during("query"))? {
                    self.budget.check()?;
                    let Scanned { batch, damage, segments_read, segments_pruned } =
                        scanned.map_err(|error| error.during("query"))?;
                    self.stats.damage.merge(damage);
                    self.stats.segments_read += segments_read;
                    self.stats.segments_pruned += segments_pruned;
                    self.stats.rows_read += batch.num_rows() as u64;
                    let rows = rows(&batch, columns)?;
                    if rows.len > 0 && !each(self, rows)? {
                        break;
                    }
                }
            }
        }
        Ok(())
    }
}

/// The request of a `SELECT` from a dataset.
pub(in crate::query) fn scan_request(select: &Select) -> Option<ScanRequest> {
    match &select.source {
        Source::Dataset { name, columns } => Some(request(name, columns, select.filter.as_ref())),
        _ => None,
    }
}

/// The request with what the filter says of times and indexes.
fn request(name: &str, columns: &[Column], filter: Option<&Expr>) -> ScanRequest {
    let mut request = ScanRequest::new(name, columns.iter().copied());
    if let Some(filter) = filter {
        narrow(&mut request, columns, filter);
    }
    request
}

/// Narrows the request by a condition that holds for every row.
///
/// | condition | narrows |
/// |---|---|
/// | `a AND b` | by both |
/// | `timestamp >= t`, `>`, `<`, `<=`, `=`, also with the sides exchanged | `from`, `until` |
/// | `index1 = 'a'`, `index1 IN ('a', 'b')` | `indexes`, to those that all conditions have |
/// | anything else: `OR`, `NOT`, functions of the columns | nothing |
fn narrow(request: &mut ScanRequest, columns: &[Column], condition: &Expr) {
    let ExprKind::Call(function, arguments) = &condition.kind else { return };
    let column = |expr: &Expr| match &expr.kind {
        ExprKind::Column(number) => columns.get(*number).copied(),
        _ => None,
    };
    match function {
        Function::And => arguments.iter().for_each(|argument| narrow(request, columns, argument)),
        Function::In { set, is_negated: false } if column(&arguments[0]) == Some(Column::Index) => {
            keep_indexes(request, set.iter().filter_map(text).collect());
        }
        Function::Compare(comparison) => {
            let [left, right] = &arguments[..] else { return };
            if let (Some(column), Some(constant)) = (column(left), right.constant()) {
                bound(request, column, *comparison, constant, &right.ty);
            } else if let (Some(constant), Some(column)) = (left.constant(), column(right)) {
                bound(request, column, reversed(*comparison), constant, &left.ty);
            }
        }
        _ => {}
    }
}

fn text(scalar: &Scalar) -> Option<Bytes> {
    if let Scalar::Text(text) = scalar { Some(text.clone()) } else { None }
}

fn keep_indexes(request: &mut ScanRequest, mut indexes: std::collections::BTreeSet<Bytes>) {
    if let Some(before) = &request.indexes {
        indexes.retain(|index| before.contains(index));
    }
    request.indexes = Some(indexes);
}

/// Bounds are in whole seconds, `from` included and `until` not: `timestamp > t` is `from t + 1`.
fn bound(request: &mut ScanRequest, column: Column, comparison: Comparison, constant: &Scalar, ty: &Type) {
    match (column, constant) {
        (Column::Index, Scalar::Text(text)) if comparison == Comparison::Equal => {
            keep_indexes(request, [text.clone()].into());
        }
        (Column::Timestamp, Scalar::Int(at)) if !ty.is_u64() => {
            use Comparison as C;
            let from = match comparison {
                C::Equal | C::GreaterOrEqual => Some(*at),
                C::Greater => Some(at.saturating_add(1)),
                _ => None,
            };
            let until = match comparison {
                C::Equal | C::LessOrEqual => Some(at.saturating_add(1)),
                C::Less => Some(*at),
                _ => None,
            };
            // A query sees what is before 1970 or behind 2106 as the first or the last second.
            let from = from.filter(|from| *from > 0);
            let until = until.filter(|until| *until <= u32::MAX.into());
            request.from = request.from.max(from);
            request.until = [request.until, until].into_iter().flatten().min();
        }
        _ => {}
    }
}

fn reversed(comparison: Comparison) -> Comparison {
    match comparison {
        Comparison::Less => Comparison::Greater,
        Comparison::LessOrEqual => Comparison::GreaterOrEqual,
        Comparison::Greater => Comparison::Less,
        Comparison::GreaterOrEqual => Comparison::LessOrEqual,
        same => same,
    }
}

/// The vectors of a batch.
///
/// The arrays are taken over without a copy, but for times and integers that become 64 bits. A source that delivers other types, or nulls, is
/// at fault, and the query says so.
fn rows(batch: &RecordBatch, columns: &[Column]) -> Result<Rows> {
    let expected = schema(columns.iter().copied());
    let is_expected = batch.num_columns() == columns.len()
        && batch
            .columns()
            .iter()
            .zip(expected.fields())
            .all(|(array, field)| array.data_type() == field.data_type() && array.null_count() == 0);
    if !is_expected {
        let message = format!("the source has delivered {:?} in place of {expected:?}", batch.schema());
        return Err(Error::new(ErrorKind::Internal, message).during("query"));
    }
    let vectors = batch.columns().iter().zip(columns).map(|(array, column)| match column {
        Column::Dataset | Column::Index | Column::Blob(_) => Vector::Texts(array.as_binary::<i32>().clone()),
        Column::Timestamp => {
            let seconds = array.as_primitive::<TimestampSecondType>().values();
            // ClickHouse's times begin with 1970 and have 32 bits.
            Vector::from_ints(seconds.iter().map(|at| (*at).clamp(0, u32::MAX.into())).collect())
        }
        Column::SampleInterval => Vector::from_ints(
            array.as_primitive::<UInt32Type>().values().iter().map(|value| i64::from(*value)).collect(),
        ),
        Column::Double(_) => Vector::Floats(array.as_primitive::<Float64Type>().clone()),
    });
    Ok(Rows { columns: vectors.collect(), len: batch.num_rows() })
}
