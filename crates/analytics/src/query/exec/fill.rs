//! Rows that are put in where a sorted column has gaps, by ClickHouse's rules.
//!
//! The next value to put in is at first that of `FROM`, or else the first row's, and goes on by the step: up to the value of each row in
//! turn, which it leaves out where it is the same, and after the last one up to `TO`. Rows beyond the bounds and between two steps stay.
//! Rows with other values of the sort keys before the filled one are another group, which is filled from its own beginning.

use super::budget::{Budget, HeldRows, Share};
use super::compare::order;
use super::eval::add;
use crate::Result;
use crate::query::plan::{FillPart, FillStep, GapFill, Output, Select};
use crate::query::vector::{Builder, Rows, Scalar};
use crate::query::{Type, Unit, time};

/// Number of rows after which the time of the query is looked at.
const CHECKED_ROWS: u64 = 8192;

/// Fills the gaps of rows in their order, and takes the part of all of them that the offset and the limit leave.
pub(super) fn fill<'m>(
    select: &Select,
    gap_fill: &GapFill,
    rows: Option<&Rows>,
    budget: &'m Budget,
) -> Result<HeldRows<'m>> {
    let mut filler = Filler::new(select, gap_fill, budget);
    let mut last = None;
    for (rows, row) in rows.into_iter().flat_map(|rows| (0..rows.len).map(move |row| (rows, row))) {
        let value = filler.ty.widen(rows.columns[gap_fill.column].ints().get(row));
        if row == 0 || filler.begins_group(rows, row) {
            if last.is_some() {
                filler.put_until(None, last)?;
            }
            filler.next = gap_fill.fill.from.or(Some(value));
        }
        last = Some((rows, row));
        filler.put_until(Some(value), last)?;
        if filler.room == 0 {
            break;
        }
        if filler.next == Some(value) {
            filler.step();
        }
        let outside: usize = rows.columns.iter().map(|column| column.outside(row)).sum();
        filler.put(outside, |number, builder| builder.push_row(&rows.columns[number], row))?;
    }
    filler.put_until(None, last)?;
    let Filler { builders, share, len, .. } = filler;
    Ok(HeldRows { rows: Rows { columns: builders.into_iter().map(Builder::finish).collect(), len }, share })
}

struct Filler<'s, 'm> {
    gap_fill: &'s GapFill,
    output: &'s [Output],
    /// The type of the values that are filled.
    ty: &'s Type,
    builders: Vec<Builder>,
    /// Memory in bytes of a row besides its texts.
    width: usize,
    budget: &'m Budget,
    share: Share<'m>,
    /// Number of rows that are still to be skipped.
    skip: u64,
    /// Number of rows that may still be added.
    room: u64,
    /// Number of rows so far, skipped ones among them.
    count: u64,
    len: usize,
    /// The next value to put in.
    next: Option<i128>,
}

impl<'s, 'm> Filler<'s, 'm> {
    fn new(select: &'s Select, gap_fill: &'s GapFill, budget: &'m Budget) -> Self {
        let output = &select.output[..];
        let types = output.iter().map(|output| &output.expr.ty);
        let width = |ty: &Type| if matches!(ty, Type::Array(_)) { size_of::<Vec<Scalar>>() } else { size_of::<i64>() };
        Self {
            gap_fill,
            output,
            ty: &output[gap_fill.column].expr.ty,
            builders: types.clone().map(Builder::new).collect(),
            width: types.map(width).sum(),
            budget,
            share: budget.share(),
            skip: select.offset,
            room: select.limit.unwrap_or(u64::MAX),
            count: 0,
            len: 0,
            next: gap_fill.fill.from,
        }
    }

    /// Whether a row has other values of the sort keys before the filled one than the row before: by the order of the rows, in which 0 and
    /// -0 are equal, as all NaN are, so that a series is never divided.
    fn begins_group(&self, rows: &Rows, row: usize) -> bool {
        let mut columns = self.gap_fill.parts.iter().zip(self.output).zip(&rows.columns);
        columns.any(|((part, output), column)| {
            *part == FillPart::Group
                && order(&column.scalar(row), &column.scalar(row - 1), &output.expr.ty, false).is_ne()
        })
    }

    /// Puts in rows up to a value, or without one up to `TO`; in the group of this row.
    fn put_until(&mut self, end: Option<i128>, group: Option<(&Rows, usize)>) -> Result<()> {
        let end = match (end, self.gap_fill.fill.to) {
            (Some(end), Some(to)) if self.is_before(to, end) => to,
            (Some(end), _) | (None, Some(end)) => end,
            (None, None) => return Ok(()),
        };
        let gap_fill = self.gap_fill;
        let parts = &gap_fill.parts;
        let output = self.output;
        let texts: usize = group.map_or(0, |(rows, row)| {
            let columns = parts.iter().zip(&rows.columns).filter(|(part, _)| **part == FillPart::Group);
            columns.map(|(_, column)| column.outside(row)).sum()
        });
        while self.room > 0
            && let Some(value) = self.next.filter(|value| self.is_before(*value, end))
        {
            self.put(texts, |number, builder| match (parts[number], group) {
                (FillPart::Value, _) => builder.push(Scalar::Int(value as i64)),
                (FillPart::Group, Some((rows, row))) => builder.push_row(&rows.columns[number], row),
                _ => builder.push(Scalar::default_of(&output[number].expr.ty)),
            })?;
            self.step();
        }
        Ok(())
    }

    /// Adds a row, whose values a function gives to the columns, unless it is one to skip.
    fn put(&mut self, outside: usize, mut push: impl FnMut(usize, &mut Builder)) -> Result<()> {
        self.count += 1;
        if self.count.is_multiple_of(CHECKED_ROWS) {
            self.budget.check()?;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return Ok(());
        }
        self.share.grow(self.width + outside)?;
        self.builders.iter_mut().enumerate().for_each(|(number, builder)| push(number, builder));
        self.room -= 1;
        self.len += 1;
        Ok(())
    }

    fn step(&mut self) {
        let next = self.next.and_then(|value| {
            let next = match self.gap_fill.fill.step {
                FillStep::Number(number) => value.checked_add(number)?,
                FillStep::Interval(count, unit) => after(value as i64, count, unit, self.ty).into(),
            };
            // At the end of the calendar an interval leads nowhere.
            self.is_before(value, next).then_some(next)
        });
        self.next = next;
    }

    fn is_before(&self, value: i128, other: i128) -> bool {
        if self.gap_fill.is_descending { other < value } else { value < other }
    }
}

/// The value that follows by an interval. From the beginning of a day, days, months and years lead to the beginning of a day, also where the
/// clocks skip midnight: those are the buckets of `toStartOfInterval`.
fn after(value: i64, count: i64, unit: Unit, ty: &Type) -> i64 {
    let is_of_days = matches!(ty, Type::DateTime(_)) && matches!(unit, Unit::Day | Unit::Month | Unit::Year);
    if is_of_days {
        let zone = ty.zone();
        let date = time::local(value, zone).date();
        if time::midnight(time::days(date), zone) == value {
            return time::midnight(time::days(time::shift(date, count, unit)), zone);
        }
    }
    add(value, count, unit, ty)
}
