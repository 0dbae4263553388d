//! `WITH FILL`, an extension by ClickHouse's rules: bounds and step of a sort key, and the columns that it fills.

use sqlparser::ast;

use super::position;
use super::scope::Scope;
use crate::Result;
use crate::query::plan::{Expr, Fill, FillPart, FillStep, GapFill, Output, SortKey};
use crate::query::position::error_at;
use crate::query::vector::Scalar;
use crate::query::{Type, Unit};

/// Reads the clause of a sort key.
pub(super) fn fill(scope: &mut Scope<'_>, clause: &ast::WithFill, key: &Expr, is_descending: bool) -> Result<Fill> {
    let ty = &key.ty;
    if !ty.is_time() && (!ty.is_integer() || *ty == Type::Bool) {
        let message = format!("WITH FILL takes a Date, a DateTime or a whole number; this is a {ty}");
        return Err(error_at(key.position, message));
    }
    if key.constant().is_some() {
        return Err(error_at(key.position, "WITH FILL takes a column; this is a constant"));
    }
    let from = clause.from.as_ref().map(|from| bound(scope, from, "FROM", ty)).transpose()?;
    let to = clause.to.as_ref().map(|to| bound(scope, to, "TO", ty)).transpose()?;
    let step = match &clause.step {
        Some(expr) => step(scope, expr, ty, is_descending)?,
        None => FillStep::Number(if is_descending { -1 } else { 1 }),
    };
    let is_reversed = |first: i128, end: i128| if is_descending { first < end } else { end < first };
    if let (Some(first), Some(end)) = (from, to)
        && is_reversed(first, end)
        && let Some(to) = &clause.to
    {
        let direction = if is_descending { "descends" } else { "ascends" };
        return Err(error_at(position(to), format!("TO of WITH FILL is before FROM, as the order {direction}")));
    }
    Ok(Fill { from, to, step })
}

/// A bound: a constant of the column's type, or a whole number as it is stored (seconds or days since 1970).
fn bound(scope: &mut Scope<'_>, expr: &ast::Expr, clause: &str, ty: &Type) -> Result<i128> {
    let at = position(expr);
    let value = scope.without_aggregates("WITH FILL", expr)?;
    let is_of_type = match (&value.ty, ty) {
        (Type::DateTime(_), Type::DateTime(_)) | (Type::Date, Type::Date) => true,
        (value, _) => value.is_integer(),
    };
    let Some(Scalar::Int(number)) = value.constant().filter(|_| is_of_type) else {
        let what = if value.constant().is_some() { value.ty.to_string() } else { "no constant".to_owned() };
        return Err(error_at(at, format!("{clause} of WITH FILL takes a constant for {ty}; this is {what}")));
    };
    let number = value.ty.widen(*number);
    let is_in_range = match ty.integer() {
        Some((64, false)) => u64::try_from(number).is_ok(),
        _ => i64::try_from(number).is_ok_and(|number| ty.wrap(number) == number),
    };
    if is_in_range {
        return Ok(number);
    }
    Err(error_at(at, format!("{clause} of WITH FILL is {number}, which {ty} does not have")))
}

fn step(scope: &mut Scope<'_>, expr: &ast::Expr, ty: &Type, is_descending: bool) -> Result<FillStep> {
    let at = position(expr);
    let value = scope.without_aggregates("WITH FILL", expr)?;
    let Some(Scalar::Int(number)) = value.constant() else {
        return Err(error_at(at, "STEP of WITH FILL takes a whole number or an interval"));
    };
    let step = match &value.ty {
        Type::Interval(_) if !ty.is_time() => {
            return Err(error_at(
                at,
                format!("an interval as STEP of WITH FILL is for a Date or DateTime, not for {ty}"),
            ));
        }
        Type::Interval(Unit::Second | Unit::Minute | Unit::Hour) if *ty == Type::Date => {
            return Err(error_at(at, "STEP of WITH FILL is of days, months or years for a Date"));
        }
        Type::Interval(unit) => FillStep::Interval(*number, *unit),
        number_type if number_type.is_integer() => FillStep::Number(number_type.widen(*number)),
        other => {
            return Err(error_at(
                at,
                format!("STEP of WITH FILL takes a whole number or an interval; this is a {other}"),
            ));
        }
    };
    let size = match step {
        FillStep::Number(number) => number,
        FillStep::Interval(count, _) => count.into(),
    };
    if size == 0 || (size < 0) != is_descending {
        let sign = if is_descending { "negative, as the order descends" } else { "positive, as the order ascends" };
        return Err(error_at(at, format!("STEP of WITH FILL has to be {sign}")));
    }
    Ok(step)
}

/// The gaps that the sort keys fill, if one of them does: which columns of the answer have the values.
pub(super) fn gap_fill(order_by: &[SortKey], output: &[Output]) -> Result<Option<GapFill>> {
    let mut filled = order_by.iter().enumerate().filter_map(|(at, key)| Some((at, key, key.fill.as_ref()?)));
    let Some((at, key, fill)) = filled.next() else { return Ok(None) };
    if let Some((_, other, _)) = filled.next() {
        return Err(error_at(other.expr.position, "WITH FILL is for one column of ORDER BY"));
    }
    let column_of = |needed: &SortKey| {
        output.iter().position(|output| output.expr == needed.expr).ok_or_else(|| {
            let message = "WITH FILL needs this expression in the list of SELECT, as those before it in ORDER BY";
            error_at(needed.expr.position, message)
        })
    };
    let groups = &order_by[..at];
    for group in groups {
        column_of(group)?;
    }
    let column = column_of(key)?;
    let part = |output: &Output| {
        if output.expr == key.expr {
            FillPart::Value
        } else if groups.iter().any(|group| group.expr == output.expr) {
            FillPart::Group
        } else {
            FillPart::Default
        }
    };
    let parts = output.iter().map(part).collect();
    Ok(Some(GapFill { fill: fill.clone(), is_descending: key.is_descending, column, parts }))
}
