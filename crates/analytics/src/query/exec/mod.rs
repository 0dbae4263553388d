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
mod budget;
mod compare;
mod eval;
mod failure;
mod fill;
mod groups;
mod sort;
mod source;
mod text;

pub(super) use budget::{Budget, Share};
pub(super) use eval::{apply, is_date_start, most_bytes, most_steps};
pub(super) use source::scan_request;

use self::aggregate::States;
use self::budget::{Held, HeldRows};
use self::eval::{eval, evaluated, filtered};
use self::groups::Groups;
use self::sort::Sorter;
use super::plan::{Aggregate, Select};
use super::vector::{Builder, Rows, Vector};
use super::{QueryStats, ScanSource};
use crate::Result;

/// Most rows that are evaluated at once.
const PART_ROWS: usize = 8 * 1024;

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
                let filter = select.filter.as_ref();
                self.scan(select, &mut |_, rows| finish.add(&filtered(filter, &rows, budget)?.rows))?;
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

    /// Groups the rows, and returns one row for each group: keys, then results. Each batch is evaluated once for the keys and once for each call;
    /// the numbers of the rows' groups tie them together. A query without keys has group 0 from the beginning, also without rows.
    fn aggregate(&mut self, select: &Select, aggregate: &Aggregate) -> Result<HeldRows<'r>> {
        let budget = self.budget;
        let mut groups = Groups::new(&aggregate.keys, budget.share());
        let mut states: Vec<States<'r>> =
            aggregate.calls.iter().map(|call| States::new(call, budget.share())).collect();
        if aggregate.keys.is_empty() {
            groups.add_whole();
            states.iter_mut().try_for_each(|states| states.resize(1))?;
        }
        let mut add = |rows: &Rows| -> Result<()> {
            let (keys, _share) = evaluated(&aggregate.keys, rows, budget)?;
            let numbers = if keys.is_empty() { vec![0; rows.len] } else { groups.assign(&keys, rows.len)? };
            for (call, states) in aggregate.calls.iter().zip(&mut states) {
                let (arguments, _share) = evaluated(&call.arguments, rows, budget)?;
                let condition = call.condition.as_ref().map(|condition| eval(condition, rows, budget)).transpose()?;
                states.resize(groups.len())?;
                states.update(&numbers, &arguments, condition.as_ref().map(|condition| &condition.vector))?;
            }
            Ok(())
        };
        let filter = select.filter.as_ref();
        if select.order_input.is_empty() {
            self.scan(select, &mut |_, rows| add(&filtered(filter, &rows, budget)?.rows).map(|()| true))?;
        } else {
            let mut sorter = Sorter::new(&select.order_input, None, budget.share());
            self.scan(select, &mut |_, rows| {
                let HeldRows { rows, share: _share } = filtered(filter, &rows, budget)?;
                sorter.add(&rows, rows.columns.clone(), budget).map(|()| true)
            })?;
            if let Some(sorted) = sorter.finish(0, None)? {
                for part in sorted.rows.parts(PART_ROWS) {
                    budget.check()?;
                    add(&part)?;
                }
            }
        }
        let len = groups.len();
        let (mut columns, mut share) = groups.finish();
        for states in states {
            let Held { vector, share: of_states } = states.finish()?;
            columns.push(vector);
            share.add(of_states);
        }
        Ok(HeldRows { rows: Rows { columns, len }, share })
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
