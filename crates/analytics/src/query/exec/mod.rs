//! The local executor: runs a plan over a source, batch by batch.
//!
//! A plan is run from its source up: [`source`] hands over batches of the columns that are named, the filter keeps rows of them,
//! and then either the output is computed batch by batch, or [`groups`] and [`aggregate`] take the rows in and give one row for
//! each group at the end. `ORDER BY` with a `LIMIT` keeps no more rows than that needs ([`sort`]), and a limit without an order
//! ends the reading early.
//!
//! Expressions are evaluated a column at a time ([`eval`]), and constants once. Between batches the run looks at its deadline,
//! its cancellation and its memory, so that it ends at most one batch late.

mod aggregate;
mod arithmetic;
mod compare;
mod eval;
mod groups;
mod sort;
mod source;
mod text;

pub(super) use eval::{apply, is_date_start};
pub(super) use source::scan_request;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use self::aggregate::States;
use self::eval::eval;
use self::groups::Groups;
use self::sort::Sorter;
use super::plan::{Aggregate, Expr, Select};
use super::vector::{Builder, Rows, Vector, selected};
use super::{QueryStats, ScanSource};
use crate::{Error, ErrorKind, Result};

/// Bounds of a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds<'b> {
    pub(super) memory_bytes: usize,
    pub(super) time_limit: Option<Duration>,
    pub(super) deadline: Option<Instant>,
    pub(super) is_cancelled: &'b AtomicBool,
}

/// A run of a query.
pub(super) struct Run<'r> {
    pub(super) source: &'r dyn ScanSource,
    pub(super) bounds: Bounds<'r>,
    pub(super) stats: QueryStats,
}

/// The rows of a `SELECT`.
pub(super) struct Selected {
    pub(super) vectors: Vec<Vector>,
    pub(super) rows: usize,
    /// A lower bound of the number of rows without the limit.
    pub(super) rows_before_limit: u64,
}

impl Run<'_> {
    /// Fails where the query is cancelled or its time is over.
    pub(super) fn check(&self) -> Result<()> {
        if self.bounds.is_cancelled.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Cancelled, "the query was cancelled").during("query"));
        }
        if self.bounds.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            let limit = self.bounds.time_limit.unwrap_or_default();
            let message =
                format!("the query has taken longer than {limit:?}; select fewer rows, by timestamp or index1");
            return Err(Error::new(ErrorKind::TimedOut, message).during("query"));
        }
        Ok(())
    }

    /// Fails where more memory is used than allowed.
    pub(super) fn check_memory(&self, bytes: usize) -> Result<()> {
        let limit = self.bounds.memory_bytes;
        if bytes <= limit {
            return Ok(());
        }
        let message =
            format!("the query needs more than {limit} bytes of memory; group by fewer values, or set a LIMIT");
        Err(Error::new(ErrorKind::MemoryLimit, message).during("query"))
    }

    /// Runs a `SELECT` to its end.
    pub(super) fn select(&mut self, select: &Select) -> Result<Selected> {
        if select.limit == Some(0) {
            return Finish::new(select).end(self);
        }
        let filter = select.filter.as_ref();
        match &select.aggregate {
            None => {
                let mut finish = Finish::new(select);
                self.scan(select, &mut |run, rows| {
                    let rows = filtered(filter, rows)?;
                    finish.add(run, &rows)
                })?;
                finish.end(self)
            }
            Some(aggregate) => {
                let rows = self.aggregate(select, aggregate)?;
                let mut finish = Finish::new(select);
                let rows = filtered(select.having.as_ref(), rows)?;
                finish.add(self, &rows)?;
                finish.end(self)
            }
        }
    }

    fn aggregate(&mut self, select: &Select, aggregate: &Aggregate) -> Result<Rows> {
        let mut groups = Groups::new(&aggregate.keys);
        let mut states: Vec<States> = aggregate.calls.iter().map(States::new).collect();
        if aggregate.keys.is_empty() {
            groups.add_whole();
            states.iter_mut().for_each(|states| states.resize(1));
        }
        let filter = select.filter.as_ref();
        let mut add = |run: &mut Self, rows: &Rows| {
            let keys = evaluated(&aggregate.keys, rows)?;
            let numbers = if keys.is_empty() { vec![0; rows.len] } else { groups.assign(&keys, rows.len) };
            for (call, states) in aggregate.calls.iter().zip(&mut states) {
                let arguments = evaluated(&call.arguments, rows)?;
                let condition = call.condition.as_ref().map(|condition| eval(condition, rows)).transpose()?;
                states.resize(groups.len());
                states.update(&numbers, &arguments, condition.as_ref());
            }
            run.check_memory(groups.bytes() + states.iter().map(States::bytes).sum::<usize>())?;
            Ok(true)
        };
        if select.order_input.is_empty() {
            self.scan(select, &mut |run, rows| add(run, &filtered(filter, rows)?))?;
        } else {
            let mut sorter = Sorter::all(&select.order_input);
            self.scan(select, &mut |run, rows| {
                let rows = filtered(filter, rows)?;
                sorter.add(&rows, rows.columns.clone(), run)?;
                Ok(true)
            })?;
            let rows = sorter.finish();
            add(self, &rows)?;
        }
        let len = groups.len();
        let mut columns = groups.finish();
        columns.extend(states.into_iter().map(States::finish));
        Ok(Rows { columns, len })
    }
}

fn evaluated(exprs: &[Expr], rows: &Rows) -> Result<Vec<Vector>> {
    exprs.iter().map(|expr| eval(expr, rows)).collect()
}

/// The rows for which a condition is true.
fn filtered(condition: Option<&Expr>, rows: Rows) -> Result<Rows> {
    let Some(condition) = condition else { return Ok(rows) };
    let truths = eval(condition, &rows)?.truths(rows.len);
    if truths.iter().all(|is_true| *is_true) {
        return Ok(rows);
    }
    Ok(rows.take(&selected(&truths)))
}

/// The end of a `SELECT`: output, order, limit.
struct Finish<'s> {
    select: &'s Select,
    outputs: Vec<Builder>,
    rows: u64,
    bytes: usize,
    sorter: Option<Sorter<'s>>,
    /// Number of rows that are still to be skipped.
    skip: u64,
    /// Number of rows of the output.
    kept: usize,
}

impl<'s> Finish<'s> {
    fn new(select: &'s Select) -> Self {
        let outputs = select.output.iter().map(|output| Builder::new(&output.expr.ty)).collect();
        let most = select.limit.map(|limit| limit.saturating_add(select.offset));
        let sorter = (!select.order_by.is_empty()).then(|| Sorter::new(&select.order_by, most));
        Self { select, outputs, rows: 0, bytes: 0, sorter, skip: select.offset, kept: 0 }
    }

    /// Adds rows, and returns whether more are needed.
    fn add(&mut self, run: &Run<'_>, rows: &Rows) -> Result<bool> {
        self.rows += rows.len as u64;
        if let Some(sorter) = &mut self.sorter {
            let exprs = self.select.output.iter().map(|output| eval(&output.expr, rows));
            sorter.add(rows, exprs.collect::<Result<_>>()?, run)?;
            return Ok(true);
        }
        let skip = self.skip.min(rows.len as u64);
        self.skip -= skip;
        let room = self.select.limit.map_or(u64::MAX, |limit| limit - self.kept as u64);
        let take = (rows.len as u64 - skip).min(room);
        if take > 0 {
            let numbers: Vec<u32> = (skip as u32..(skip + take) as u32).collect();
            let rows = if numbers.len() == rows.len { rows } else { &rows.take(&numbers) };
            for (output, builder) in self.select.output.iter().zip(&mut self.outputs) {
                let vector = eval(&output.expr, rows)?;
                self.bytes += vector.bytes();
                builder.extend(&vector, rows.len);
            }
            self.kept += rows.len;
            run.check_memory(self.bytes)?;
        }
        Ok(self.select.limit.is_none_or(|limit| (self.kept as u64) < limit))
    }

    fn end(self, run: &Run<'_>) -> Result<Selected> {
        run.check()?;
        let Some(sorter) = self.sorter else {
            let vectors = self.outputs.into_iter().map(Builder::finish).collect();
            return Ok(Selected { vectors, rows: self.kept, rows_before_limit: self.rows });
        };
        let sorted = sorter.finish();
        let from = self.select.offset.min(sorted.len as u64) as u32;
        let until = self.select.limit.map_or(sorted.len as u64, |limit| limit.saturating_add(from.into()));
        let numbers: Vec<u32> = (from..until.min(sorted.len as u64) as u32).collect();
        let Rows { columns, len } = sorted.take(&numbers);
        let vectors = columns.into_iter().zip(&self.select.output).map(|(column, output)| {
            let mut builder = Builder::new(&output.expr.ty);
            builder.extend(&column, len);
            builder.finish()
        });
        Ok(Selected { vectors: vectors.collect(), rows: len, rows_before_limit: self.rows })
    }
}
