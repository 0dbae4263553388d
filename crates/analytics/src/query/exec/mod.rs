//! The local executor: runs a plan over a source, batch by batch.
//!
//! A plan is run from its source up: [`source`] hands over batches of the columns that are named, the filter keeps rows of them,
//! and then either the output is computed batch by batch, or [`groups`] and [`aggregate`] take the rows in and give one row for
//! each group at the end. A large dataset is read and grouped in parts on several threads, whose groups are merged ([`partial`]).
//! `ORDER BY` with a `LIMIT` keeps no more rows than that needs ([`sort`]), and a limit without an order ends the reading early.
//!
//! Expressions are evaluated a column at a time ([`eval`]), and constants once. Between batches the run looks at its deadline,
//! its cancellation and its memory, so that it ends at most one batch late.

mod aggregate;
mod arithmetic;
mod budget;
mod compare;
mod eval;
mod failure;
mod fill;
mod groups;
mod partial;
mod quantile;
mod sort;
mod source;
mod text;

pub(super) use budget::{Budget, Share};
pub(super) use eval::{apply, is_date_start, most_bytes, most_steps};
pub(super) use source::scan_request;

use self::budget::HeldRows;
use self::eval::{eval, evaluated, filtered};
use self::partial::Partial;
use self::sort::Sorter;
use self::source::DatasetScan;
use super::plan::{Aggregate, Select, Source};
use super::vector::{Builder, Rows, Vector};
use super::{QueryStats, RecordBatches, ScanSource};
use crate::{ErrorKind, Result};

/// Most rows that are evaluated at once.
const PART_ROWS: usize = 8 * 1024;
/// Most threads that read a dataset at once for one query: each has a batch of rows, and groups of its own.
const MAX_THREADS: usize = 8;

/// A run of a query.
pub(super) struct Run<'r> {
    pub(super) source: &'r dyn ScanSource,
    pub(super) budget: &'r Budget,
    pub(super) stats: QueryStats,
}

/// The rows of a `SELECT`.
pub(super) struct Selected<'r> {
    pub(super) vectors: Vec<Vector>,
    pub(super) rows: usize,
    /// A lower bound of the number of rows without the limit.
    pub(super) rows_before_limit: u64,
    /// The memory of the vectors.
    pub(super) share: Share<'r>,
}

impl<'r> Run<'r> {
    /// Runs a `SELECT` to its end.
    pub(super) fn select(&mut self, select: &Select) -> Result<Selected<'r>> {
        let budget = self.budget;
        let mut finish = Finish::new(select, budget);
        if select.limit == Some(0) {
            return finish.end();
        }
        match &select.aggregate {
            None => {
                self.scan(select, &mut |rows| finish.add(rows))?;
            }
            Some(aggregate) => {
                let groups = self.aggregate(select, aggregate)?;
                for part in groups.rows.parts(PART_ROWS) {
                    budget.check()?;
                    finish.add(&filtered(select.having.as_ref(), &part, budget)?.rows)?;
                }
            }
        }
        budget.check()?;
        finish.end()
    }

    /// Groups the rows, and returns one row for each group: keys, then results.
    fn aggregate(&mut self, select: &Select, aggregate: &Aggregate) -> Result<HeldRows<'r>> {
        if let Source::Dataset { name, columns } = &select.source
            && select.order_input.is_empty()
            && Partial::can_merge(aggregate)
        {
            let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
            let scan = DatasetScan::new(select, name, columns);
            let parts = self.scan_parts(&scan, threads)?;
            let is_split = parts.len() > 1;
            let before = self.stats.clone();
            match self.grouped(aggregate, &scan, parts) {
                // Groups that several parts have take the memory of each: one part may do with less.
                Err(error) if error.kind() == ErrorKind::MemoryLimit && is_split => self.stats = before,
                grouped => return grouped,
            }
            let whole = self.scan_parts(&scan, 1)?;
            return self.grouped(aggregate, &scan, whole);
        }
        let budget = self.budget;
        let mut groups = Partial::new(aggregate, budget)?;
        if select.order_input.is_empty() {
            self.scan(select, &mut |rows| groups.add(rows).map(|()| true))?;
        } else {
            let mut sorter = Sorter::new(&select.order_input, None, budget.share());
            self.scan(select, &mut |rows| sorter.add(rows, rows.columns.clone(), budget).map(|()| true))?;
            if let Some(sorted) = sorter.finish(0, None)? {
                for part in sorted.rows.parts(PART_ROWS) {
                    budget.check()?;
                    groups.add(&part)?;
                }
            }
        }
        groups.finish()
    }

    /// Groups the rows of a dataset's parts, each on a thread.
    fn grouped(
        &mut self,
        aggregate: &Aggregate,
        scan: &DatasetScan<'_>,
        parts: Vec<RecordBatches>,
    ) -> Result<HeldRows<'r>> {
        let budget = self.budget;
        let partials = self.read_parts(scan, parts, || Partial::new(aggregate, budget), |part, rows| part.add(rows))?;
        let mut partials = partials.into_iter();
        let mut groups = partials.next().map_or_else(|| Partial::new(aggregate, budget), Ok)?;
        for partial in partials {
            groups.merge(partial)?;
        }
        groups.finish()
    }
}

/// The end of a `SELECT`: output, order, limit.
///
/// Three ways: without an order, rows go straight into the outputs, and the reading ends with the limit; with an order they go into a sorter,
/// which has all of them at the end, or as many as the limit needs; constants of the output are kept as one value.
struct Finish<'s, 'm> {
    select: &'s Select,
    budget: &'m Budget,
    outputs: Vec<Builder>,
    rows: u64,
    share: Share<'m>,
    sorter: Option<Sorter<'s, 'm>>,
    /// Number of rows that are still to be skipped.
    skip: u64,
    /// Number of rows of the output.
    kept: usize,
}

impl<'s, 'm> Finish<'s, 'm> {
    fn new(select: &'s Select, budget: &'m Budget) -> Self {
        let outputs = select.output.iter().map(|output| Builder::new(&output.expr.ty)).collect();
        let most = select.limit.map(|limit| limit.saturating_add(select.offset));
        let sorter = (!select.order_by.is_empty()).then(|| Sorter::new(&select.order_by, most, budget.share()));
        Self { select, budget, outputs, rows: 0, share: budget.share(), sorter, skip: select.offset, kept: 0 }
    }

    /// Adds rows, and returns whether more are needed.
    fn add(&mut self, rows: &Rows) -> Result<bool> {
        self.rows += rows.len as u64;
        if let Some(sorter) = &mut self.sorter {
            let outputs = self.select.output.iter().map(|output| &output.expr);
            let (columns, _share) = evaluated(outputs, rows, self.budget)?;
            sorter.add(rows, columns, self.budget)?;
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
                if output.expr.constant().is_some() {
                    continue; // it stays one
                }
                let held = eval(&output.expr, rows, self.budget)?;
                self.share.grow(held.vector.bytes(rows.len))?;
                builder.extend(&held.vector, rows.len);
            }
            self.kept += rows.len;
        }
        Ok(self.select.limit.is_none_or(|limit| (self.kept as u64) < limit))
    }

    fn end(self) -> Result<Selected<'m>> {
        let Self { select, budget, outputs, rows, mut share, sorter, kept, .. } = self;
        if let Some(gap_fill) = &select.gap_fill {
            let sorted = sorter.map(|sorter| sorter.finish(0, None)).transpose()?.flatten();
            let filled = fill::fill(select, gap_fill, sorted.as_ref().map(|held| &held.rows), budget)?;
            let HeldRows { rows: Rows { columns, len }, share } = filled;
            return Ok(Selected { vectors: columns, rows: len, rows_before_limit: rows, share });
        }
        let built = |builders: Vec<Builder>| -> Vec<Vector> {
            let outputs = select.output.iter().zip(builders);
            let vector = |(output, builder): (&super::plan::Output, Builder)| match output.expr.constant() {
                Some(scalar) => Vector::Const(scalar.clone()),
                None => builder.finish(),
            };
            outputs.map(vector).collect()
        };
        let sorted = match sorter {
            Some(sorter) => sorter.finish(select.offset, select.limit)?,
            None => return Ok(Selected { vectors: built(outputs), rows: kept, rows_before_limit: rows, share }),
        };
        match sorted {
            Some(HeldRows { rows: Rows { columns, len }, share: of_sorted }) => {
                share.add(of_sorted);
                Ok(Selected { vectors: columns, rows: len, rows_before_limit: rows, share })
            }
            None => Ok(Selected { vectors: built(outputs), rows: 0, rows_before_limit: rows, share }),
        }
    }
}
