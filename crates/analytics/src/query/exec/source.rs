//! The rows that a `SELECT` reads.
//!
//! The bounds of a filter on `timestamp` and `index1` go to the source with the request, as a hint by which it may leave out
//! segments and pages. They need not be exact: the filter itself is applied to every row that comes, but for the conditions that the bounds
//! say exactly, where the source knows that all rows are within them. Only conditions that hold for every row, those joined by `AND` at the
//! top, can be hints.

use std::sync::atomic::{AtomicBool, Ordering};

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, TimestampSecondType, UInt32Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::DataType;
use bytes::Bytes;

use super::budget::{Budget, HeldRows};
use super::eval::filtered;
use super::{PART_ROWS, Run, Selected};
use crate::query::plan::{Comparison, Expr, ExprKind, Function, Select, Source};
use crate::query::thread::{caught, no_thread, panicked, thread};
use crate::query::vector::{Keyed, Rows, Scalar, Vector};
use crate::query::{Column, QueryStats, RecordBatches, ScanRequest, Scanned, Type};
use crate::{Error, ErrorKind, Result};

impl Run<'_> {
    /// Hands over the rows of the source that the filter keeps in batches, until no more are needed.
    pub(super) fn scan(&mut self, select: &Select, each: &mut dyn FnMut(&Rows) -> Result<bool>) -> Result<()> {
        self.budget.check()?;
        let filter = select.filter.as_ref();
        match &select.source {
            Source::One => {
                let HeldRows { rows, share: _share } =
                    filtered(filter, &Rows { columns: Vec::new(), len: 1 }, self.budget)?;
                each(&rows)?;
            }
            Source::Subquery(below) => {
                let Selected { vectors, rows, share: _share, .. } = self.select(below)?;
                for part in (Rows { columns: vectors, len: rows }).parts(PART_ROWS) {
                    self.budget.check()?;
                    if !each(&filtered(filter, &part, self.budget)?.rows)? {
                        break;
                    }
                }
            }
            Source::Dataset { name, columns } => {
                let scan = DatasetScan::new(select, name, columns);
                let batches = self.source.scan(&scan.request).map_err(|error| error.during("query"))?;
                self.stats.merge(scan.read(batches, self.budget, each)?);
            }
        }
        Ok(())
    }

    /// Begins a scan of a dataset in at most this many parts.
    pub(super) fn scan_parts(&self, scan: &DatasetScan<'_>, most: usize) -> Result<Vec<RecordBatches>> {
        self.budget.check()?;
        self.source.scan_parts(&scan.request, most).map_err(|error| error.during("query"))
    }

    /// Hands over the rows of each part that the filter keeps to a state, on a thread of its own.
    ///
    /// Returns the states in the order of the parts.
    ///
    /// # Errors
    /// The first part's that has failed; the others end at their next batch. A panic is [`ErrorKind::Internal`].
    pub(super) fn read_parts<T: Send>(
        &mut self,
        scan: &DatasetScan<'_>,
        parts: Vec<RecordBatches>,
        new: impl Fn() -> Result<T> + Sync,
        add: impl Fn(&mut T, &Rows) -> Result<()> + Sync,
    ) -> Result<Vec<T>> {
        let budget = self.budget;
        let has_failed = AtomicBool::new(false);
        let read = |batches: RecordBatches| {
            let run = || -> Result<(T, QueryStats)> {
                let mut state = new()?;
                let stats = scan.read(batches, budget, &mut |rows| {
                    add(&mut state, rows)?;
                    Ok(!has_failed.load(Ordering::Relaxed))
                })?;
                Ok((state, stats))
            };
            caught(run).inspect_err(|_: &Error| has_failed.store(true, Ordering::Relaxed))
        };
        let read = &read;
        let mut parts = parts.into_iter();
        let first = parts.next();
        let read = std::thread::scope(|scope| {
            let mut others = Vec::new();
            for part in parts {
                let other = thread().spawn_scoped(scope, move || read(part));
                others.push(other.map_err(|error| {
                    has_failed.store(true, Ordering::Relaxed);
                    no_thread(&error)
                })?);
            }
            let mut results: Vec<_> = first.map(read).into_iter().collect();
            let joined = others.into_iter().map(|other| other.join().unwrap_or_else(|_| Err(panicked())));
            results.extend(joined);
            results.into_iter().collect::<Result<Vec<_>>>()
        })?;
        let state = |(state, stats)| {
            self.stats.merge(stats);
            state
        };
        Ok(read.into_iter().map(state).collect())
    }
}

/// A scan of a dataset, with the filter that is applied to its rows.
pub(super) struct DatasetScan<'s> {
    request: ScanRequest,
    columns: &'s [Column],
    filter: Option<&'s Expr>,
    /// The part of the filter that the request's bounds do not say.
    rest: Option<Expr>,
}

impl<'s> DatasetScan<'s> {
    pub(super) fn new(select: &'s Select, name: &str, columns: &'s [Column]) -> Self {
        let (request, rest) = request(select, name, columns);
        Self { request, columns, filter: select.filter.as_ref(), rest }
    }

    /// Hands over the rows of batches that the filter keeps, until no more are needed.
    fn read(
        &self,
        batches: RecordBatches,
        budget: &Budget,
        each: &mut dyn FnMut(&Rows) -> Result<bool>,
    ) -> Result<QueryStats> {
        let mut stats = QueryStats::default();
        for scanned in batches {
            budget.check()?;
            let scanned = scanned.map_err(|error| error.during("query"))?;
            let rows = self.rows(&scanned)?;
            let Scanned { damage, segments_read, segments_pruned, is_within_bounds, .. } = scanned;
            stats.merge(QueryStats { rows_read: rows.len as u64, segments_read, segments_pruned, damage });
            let filter = if is_within_bounds { self.rest.as_ref() } else { self.filter };
            if rows.len > 0 && !each(&filtered(filter, &rows, budget)?.rows)? {
                break;
            }
        }
        Ok(stats)
    }

    /// The vectors of a batch. In place of a column that the batch does not have, since all rows are within the bounds, is one
    /// that nothing reads. It has the column's kind, as a sorter puts it together with those of batches that have the column.
    ///
    /// The arrays are taken over without a copy, but for times and integers that become 64 bits. A source that delivers other types, or nulls, is
    /// at fault, and the query says so.
    fn rows(&self, scanned: &Scanned) -> Result<Rows> {
        let batch = &scanned.batch;
        let mut arrays = batch.columns().iter();
        let missing: &[Column] = if scanned.is_within_bounds { &self.request.bound_columns } else { &[] };
        let vectors = self.columns.iter().map(|column| {
            if missing.contains(column) {
                return Ok(unread(*column));
            }
            arrays.next().and_then(|array| vector(array, *column)).ok_or_else(|| self.unexpected(batch))
        });
        let columns = vectors.collect::<Result<Vec<_>>>()?;
        if arrays.next().is_some() {
            return Err(self.unexpected(batch));
        }
        Ok(Rows { columns, len: batch.num_rows() })
    }

    fn unexpected(&self, batch: &RecordBatch) -> Error {
        let expected = crate::query::schema(self.columns.iter().copied());
        let message = format!("the source has delivered {:?} in place of {expected:?}", batch.schema());
        Error::new(ErrorKind::Internal, message).during("query")
    }
}

/// The vector of a column that nothing reads.
fn unread(column: Column) -> Vector {
    Vector::Const(match column {
        Column::Dataset | Column::Index | Column::Blob(_) => Scalar::Text(Bytes::new()),
        Column::Timestamp | Column::SampleInterval => Scalar::Int(0),
        Column::Double(_) => Scalar::Float(0.0),
    })
}

/// The vector of a column's array; `None` where it is not of the column's type, or has nulls.
fn vector(array: &ArrayRef, column: Column) -> Option<Vector> {
    if array.null_count() > 0 {
        return None;
    }
    Some(match column {
        Column::Dataset | Column::Index | Column::Blob(_) => match array.data_type() {
            DataType::Dictionary(..) => {
                let dictionary = array.as_dictionary_opt::<UInt32Type>()?;
                let texts = dictionary.values().as_binary_opt::<i32>().filter(|texts| texts.null_count() == 0)?;
                Vector::Keyed(Keyed { keys: dictionary.keys().clone(), dictionary: texts.clone() })
            }
            _ => Vector::Texts(array.as_binary_opt::<i32>()?.clone()),
        },
        Column::Timestamp => {
            let seconds = array.as_primitive_opt::<TimestampSecondType>()?.values();
            // ClickHouse's times begin with 1970 and have 32 bits.
            Vector::from_ints(seconds.iter().map(|at| (*at).clamp(0, u32::MAX.into())).collect())
        }
        Column::SampleInterval => {
            let values = array.as_primitive_opt::<UInt32Type>()?.values();
            Vector::from_ints(values.iter().map(|value| i64::from(*value)).collect())
        }
        Column::Double(_) => Vector::Floats(array.as_primitive_opt::<Float64Type>()?.clone()),
    })
}

/// The request of a `SELECT` from a dataset.
pub(in crate::query) fn scan_request(select: &Select) -> Option<ScanRequest> {
    match &select.source {
        Source::Dataset { name, columns } => Some(request(select, name, columns).0),
        _ => None,
    }
}

/// The request with what the filter says of times and indexes, and the rest of the filter.
fn request(select: &Select, name: &str, columns: &[Column]) -> (ScanRequest, Option<Expr>) {
    let mut request = ScanRequest::new(name, columns.iter().copied());
    request.allows_dictionaries = true;
    let rest = select.filter.as_ref().and_then(|filter| narrow(&mut request, columns, filter));
    let mut is_used = vec![false; columns.len()];
    rest.iter().chain(select.of_rows()).for_each(|expr| expr.mark_columns(&mut is_used));
    let unused = columns.iter().zip(is_used).filter(|(_, is_used)| !is_used);
    request.bound_columns = unused.map(|(column, _)| *column).collect();
    (request, rest)
}

/// Narrows the request by a condition that holds for every row, and returns what the request's bounds do not say of it.
///
/// | condition | narrows | rest |
/// |---|---|---|
/// | `a AND b` | by both | the rests of both |
/// | `timestamp >= t`, `>`, `<`, `<=`, `=`, also with the sides exchanged | `from`, `until` | none |
/// | `index1 = 'a'`, `index1 IN ('a', 'b')` | `indexes`, to those that all conditions have | none |
/// | anything else: `OR`, `NOT`, functions of the columns | nothing | the condition |
fn narrow(request: &mut ScanRequest, columns: &[Column], condition: &Expr) -> Option<Expr> {
    let rest = || Some(condition.clone());
    let ExprKind::Call(function, arguments) = &condition.kind else { return rest() };
    let column = |expr: &Expr| match &expr.kind {
        ExprKind::Column(number) => columns.get(*number).copied(),
        _ => None,
    };
    let is_exact = match function {
        Function::And => {
            let rests: Vec<Expr> = arguments.iter().filter_map(|argument| narrow(request, columns, argument)).collect();
            if rests.is_empty() {
                return None;
            }
            let kind = ExprKind::Call(Function::And, rests);
            return Some(Expr { kind, ty: condition.ty.clone(), position: condition.position });
        }
        Function::In { set, is_negated: false } if column(&arguments[0]) == Some(Column::Index) => {
            keep_indexes(request, set.iter().filter_map(text).collect());
            true
        }
        Function::Compare(comparison) => {
            let [left, right] = &arguments[..] else { return rest() };
            if let (Some(column), Some(constant)) = (column(left), right.constant()) {
                bound(request, column, *comparison, constant, &right.ty)
            } else if let (Some(constant), Some(column)) = (left.constant(), column(right)) {
                bound(request, column, reversed(*comparison), constant, &left.ty)
            } else {
                false
            }
        }
        _ => false,
    };
    if is_exact { None } else { rest() }
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

/// Narrows the request by a comparison, and returns whether its bounds say exactly this.
///
/// Bounds are in whole seconds, `from` included and `until` not: `timestamp > t` is `from t + 1`.
fn bound(request: &mut ScanRequest, column: Column, comparison: Comparison, constant: &Scalar, ty: &Type) -> bool {
    match (column, constant) {
        (Column::Index, Scalar::Text(text)) if comparison == Comparison::Equal => {
            keep_indexes(request, [text.clone()].into());
            true
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
            let seconds = 1..=i64::from(u32::MAX);
            let is_exact = [from, until].into_iter().flatten().all(|at| seconds.contains(&at));
            let from = from.filter(|from| *from > 0);
            let until = until.filter(|until| *until <= u32::MAX.into());
            request.from = request.from.max(from);
            request.until = [request.until, until].into_iter().flatten().min();
            is_exact && comparison != C::NotEqual
        }
        _ => false,
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
