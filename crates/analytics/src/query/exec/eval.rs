//! Evaluation of expressions, a vector at a time.
//!
//! An expression over a batch becomes a vector: its arguments first, then the function over all rows at once. A constant stays one value,
//! and a function of constants is applied to one row. `AND`, `OR` and `if` choose the rows for which an argument is evaluated, where it may
//! fail: a condition that keeps a division from 0 must do so.
//!
//! Memory is taken before a function is applied, by a bound of what its result may have ([`most_bytes`]), and corrected to what it has.

use chrono::{NaiveDateTime, NaiveTime};
use chrono_tz::Tz;

use super::arithmetic::{self, Pair};
use super::budget::{Budget, Held, HeldRows, Share};
use super::failure::Failure;
use super::{compare, text};
use crate::Result;
use crate::query::plan::{Expr, ExprKind, Function, StartOf};
use crate::query::vector::{Builder, Rows, Scalar, Vector, selected};
use crate::query::{Type, Unit, time};

/// Evaluates an expression for some rows.
///
/// # Errors
/// The reason for which the expression has no value, with its place; [`ErrorKind::MemoryLimit`](crate::ErrorKind::MemoryLimit).
pub(super) fn eval<'m>(expr: &Expr, rows: &Rows, budget: &'m Budget) -> Result<Held<'m>> {
    let mut share = budget.share();
    let (function, arguments) = match &expr.kind {
        ExprKind::Const(scalar) => return Ok(Held { vector: Vector::Const(scalar.clone()), share }),
        ExprKind::Column(number) => return Ok(Held { vector: rows.columns[*number].clone(), share }),
        ExprKind::Call(function, arguments) => (function, arguments),
        ExprKind::Aggregate(_) => unreachable!("a complete plan has none"),
    };
    match function {
        Function::And | Function::Or => return logical(function, arguments, rows, budget),
        Function::If => return choose(arguments, &expr.ty, rows, budget),
        _ => {}
    }
    let (vectors, _arguments_share) = evaluated(arguments, rows, budget)?;
    budget.check()?;
    let types: Vec<&Type> = arguments.iter().map(|argument| &argument.ty).collect();
    let is_constant = vectors.iter().all(|vector| matches!(vector, Vector::Const(_)));
    let len = if is_constant { 1 } else { rows.len };
    share.grow(most_bytes(function, &vectors, &types, len))?;
    let vector = apply(function, &vectors, &types, &expr.ty, len, &|| budget.check());
    let vector = vector.map_err(|failure| failure.at(expr.position))?;
    share.shrink_to(vector.bytes(len));
    let vector = if is_constant { Vector::Const(vector.scalar(0)) } else { vector };
    Ok(Held { vector, share })
}

/// Evaluates several expressions.
pub(super) fn evaluated<'m, 'e>(
    exprs: impl IntoIterator<Item = &'e Expr>,
    rows: &Rows,
    budget: &'m Budget,
) -> Result<(Vec<Vector>, Share<'m>)> {
    let mut vectors = Vec::new();
    let mut all = budget.share();
    for expr in exprs {
        let Held { vector, share } = eval(expr, rows, budget)?;
        all.add(share);
        vectors.push(vector);
    }
    Ok((vectors, all))
}

/// The rows for which a condition is true.
pub(super) fn filtered<'m>(condition: Option<&Expr>, rows: &Rows, budget: &'m Budget) -> Result<HeldRows<'m>> {
    let mut share = budget.share();
    let Some(condition) = condition else { return Ok(HeldRows { rows: rows.clone(), share }) };
    let truths = eval(condition, rows, budget)?.vector.truths(rows.len);
    if truths.iter().all(|is_true| *is_true) {
        return Ok(HeldRows { rows: rows.clone(), share });
    }
    share.grow(rows.bytes())?;
    let rows = rows.take(&selected(&truths));
    share.shrink_to(rows.bytes());
    Ok(HeldRows { rows, share })
}

/// The rows of these numbers, for an expression: without the columns that it does not have.
fn rows_for<'m>(expr: &Expr, rows: &Rows, numbers: &[u32], budget: &'m Budget) -> Result<HeldRows<'m>> {
    let mut is_used = vec![false; rows.columns.len()];
    expr.mark_columns(&mut is_used);
    let mut share = budget.share();
    let mut columns = Vec::with_capacity(is_used.len());
    for (column, is_used) in rows.columns.iter().zip(is_used) {
        if is_used {
            share.grow(column.bytes(rows.len))?;
        }
        columns.push(if is_used { column.take(numbers) } else { Vector::Const(Scalar::Int(0)) });
    }
    Ok(HeldRows { rows: Rows { columns, len: numbers.len() }, share })
}

/// `AND` and `OR`. What may fail is evaluated only for rows that need it.
fn logical<'m>(function: &Function, arguments: &[Expr], rows: &Rows, budget: &'m Budget) -> Result<Held<'m>> {
    let mut share = budget.share();
    share.grow(rows.len.saturating_mul(8))?;
    let is_and = *function == Function::And;
    let mut truths = vec![is_and; rows.len];
    for argument in arguments {
        if !argument.may_fail() {
            let more = eval(argument, rows, budget)?.vector.truths(rows.len);
            truths
                .iter_mut()
                .zip(more)
                .for_each(|(truth, more)| *truth = if is_and { *truth & more } else { *truth | more });
            continue;
        }
        let open: Vec<u32> = (0..rows.len as u32).filter(|row| truths[*row as usize] == is_and).collect();
        let held = rows_for(argument, rows, &open, budget)?;
        let more = eval(argument, &held.rows, budget)?.vector.truths(open.len());
        open.iter().zip(more).for_each(|(row, more)| truths[*row as usize] = more);
    }
    let vector = Vector::from_ints(truths.into_iter().map(i64::from).collect());
    Ok(Held { vector, share })
}

/// `if`. Each side is evaluated only for its rows.
fn choose<'m>(arguments: &[Expr], ty: &Type, rows: &Rows, budget: &'m Budget) -> Result<Held<'m>> {
    let [condition, yes, no] = arguments else { unreachable!("the analysis has checked the arguments") };
    let condition = eval(condition, rows, budget)?;
    if let Vector::Const(condition) = &condition.vector {
        let is_true = *condition != Scalar::Int(0);
        let side = if is_true { yes } else { no };
        let Held { vector, share } = eval(side, rows, budget)?;
        return Ok(Held { vector: cast(vector, &side.ty, ty, rows.len), share });
    }
    let truths = condition.vector.truths(rows.len);
    drop(condition);
    let not: Vec<bool> = truths.iter().map(|truth| !truth).collect();
    let mut share = budget.share();
    let mut side = |expr: &Expr, truths: &[bool]| {
        let held = rows_for(expr, rows, &selected(truths), budget)?;
        let Held { vector, share: of_side } = eval(expr, &held.rows, budget)?;
        let vector = cast(vector, &expr.ty, ty, held.rows.len);
        // Once more for the result, in which each row has its own text.
        share.grow(vector.bytes(held.rows.len))?;
        Ok::<_, crate::Error>((vector, of_side))
    };
    let (yes, _yes_share) = side(yes, &truths)?;
    let (no, _no_share) = side(no, &not)?;
    let mut builder = Builder::new(ty);
    let mut next = [0, 0];
    for truth in truths {
        let at = &mut next[usize::from(truth)];
        builder.push_row(if truth { &yes } else { &no }, *at);
        *at += 1;
    }
    Ok(Held { vector: builder.finish(), share })
}

/// Changes the representation for another type that has all values of this one.
fn cast(vector: Vector, from: &Type, to: &Type, len: usize) -> Vector {
    match (from, to) {
        (Type::Float64, _) => vector,
        (_, Type::Float64) => {
            let values = vector.numbers(from);
            Vector::from_floats((0..len).map(|row| values.get(row)).collect())
        }
        (Type::Date, Type::DateTime(_)) => {
            let days = vector.ints();
            Vector::from_ints((0..len).map(|row| time::midnight(days.get(row), to.zone())).collect())
        }
        _ => vector,
    }
}

/// A bound of the memory in bytes that the result of a function takes, for this many rows.
pub(in crate::query) fn most_bytes(function: &Function, arguments: &[Vector], types: &[&Type], len: usize) -> usize {
    use Function as F;
    let first = || arguments[0].bytes(len);
    let texts = match function {
        F::Lower | F::Upper | F::Substring => first(),
        // No letter has more than three times as many bytes in the other case.
        F::LowerUtf8 | F::UpperUtf8 => first().saturating_mul(3),
        F::Hex => first().saturating_mul(2),
        F::Bin => first().saturating_mul(8),
        // No part of a time has more than ten characters, and each is written by two.
        F::FormatDateTime(_) => arguments[1].bytes(len).saturating_mul(5),
        F::Format => text::formatted_bytes(arguments, types, len),
        _ => 0,
    };
    texts.saturating_add(len.saturating_mul(8))
}

/// A bound of the number of steps that a function takes for one row, where it is more than the size of its arguments.
pub(in crate::query) fn most_steps(function: &Function, arguments: &[Vector]) -> usize {
    match function {
        Function::Like { .. } => arguments[0].bytes(1).saturating_mul(arguments[1].bytes(1)),
        _ => 0,
    }
}

/// Applies a function to its arguments, for this many rows. One that takes long asks now and then whether it may go on.
///
/// # Errors
/// The reason for which it has no value.
pub(in crate::query) fn apply(
    function: &Function,
    arguments: &[Vector],
    types: &[&Type],
    ty: &Type,
    len: usize,
    check: &dyn Fn() -> Result<()>,
) -> Result<Vector, Failure> {
    match function {
        Function::Like { is_negated, ignores_case } => {
            let mut steps = text::Steps::new(check);
            text::like(&arguments[0], &arguments[1], *is_negated, *ignores_case, len, &mut steps)
        }
        _ => Ok(applied(function, arguments, types, ty, len)?),
    }
}

/// Applies a function whose time is in proportion to the size of its arguments and its result.
fn applied(
    function: &Function,
    arguments: &[Vector],
    types: &[&Type],
    ty: &Type,
    len: usize,
) -> Result<Vector, String> {
    use Function as F;
    let pair = || Pair { left: &arguments[0], right: &arguments[1], left_type: types[0], right_type: types[1] };
    match function {
        F::Plus | F::Minus | F::Multiply | F::Divide | F::Modulo | F::IntDiv | F::Pow => {
            arithmetic::binary(function, &pair(), ty, len)
        }
        F::Negate => Ok(arithmetic::negate(&arguments[0], types[0], ty, len)),
        F::Bit(bit) => arithmetic::bits(*bit, &pair(), ty, len),
        F::BitNot => Ok(ints(&arguments[0], len, |value| ty.wrap(!value))),
        F::BitCount => Ok(arithmetic::count_bits(&arguments[0], types[0], len)),
        F::Round | F::Floor | F::Ceil => {
            let places = arguments.get(1).map_or(0, |places| places.ints().get(0));
            Ok(arithmetic::round(function, &arguments[0], types[0], places, len))
        }
        F::Log => {
            let values = arguments[0].numbers(types[0]);
            // Every NaN has the bits of one, which `hex` shows.
            let log = |value: f64| if value < 0.0 { f64::NAN } else { value.ln() };
            Ok(Vector::from_floats((0..len).map(|row| log(values.get(row))).collect()))
        }
        F::Compare(comparison) => {
            Ok(compare::compare(*comparison, [&arguments[0], &arguments[1]], [types[0], types[1]], len))
        }
        F::Not => Ok(Vector::from_ints(arguments[0].truths(len).into_iter().map(|truth| (!truth).into()).collect())),
        F::In { set, is_negated } => Ok(contains(&arguments[0], set, *is_negated, len)),
        F::ToUInt => to_uint(&arguments[0], types[0], ty, len),
        F::AddInterval(_)
        | F::ToDateTime(_)
        | F::Part(..)
        | F::StartOf(..)
        | F::ToUnixTimestamp
        | F::FormatDateTime(_) => times(function, arguments, types, ty, len),
        F::And | F::Or | F::If | F::Like { .. } => unreachable!("evaluated above"),
        _ => texts(function, arguments, types, len),
    }
}

fn ints(vector: &Vector, len: usize, function: impl Fn(i64) -> i64) -> Vector {
    let values = vector.ints();
    Vector::from_ints((0..len).map(|row| function(values.get(row))).collect())
}

/// `IN` a set of constants of the type, which is sorted as [`compare::natural`] sorts, by bits for floats.
fn contains(vector: &Vector, set: &[Scalar], is_negated: bool, len: usize) -> Vector {
    use std::collections::HashSet;
    let found = |is_in: bool| i64::from(is_in != is_negated);
    let values = match vector {
        Vector::Texts(_) | Vector::Keyed(_) | Vector::Const(Scalar::Text(_)) => {
            let set: HashSet<&[u8]> = set
                .iter()
                .filter_map(|item| if let Scalar::Text(text) = item { Some(text.as_ref()) } else { None })
                .collect();
            let texts = vector.texts();
            (0..len).map(|row| found(set.contains(texts.get(row)))).collect()
        }
        _ => {
            let bits = |scalar: &Scalar| match scalar {
                Scalar::Float(value) => value.to_bits(),
                Scalar::Int(value) => *value as u64,
                _ => 0,
            };
            let set: HashSet<u64> = set.iter().map(bits).collect();
            (0..len).map(|row| found(set.contains(&bits(&vector.scalar(row))))).collect()
        }
    };
    Vector::from_ints(values)
}

/// `toUInt8` and `toUInt32`: numbers wrap around, texts are read.
fn to_uint(vector: &Vector, from: &Type, ty: &Type, len: usize) -> Result<Vector, String> {
    let values: Result<Vec<i64>, String> = match from {
        Type::Float64 => {
            let values = vector.numbers(from);
            let value = |row| match values.get(row) {
                value if !value.is_finite() => Err(format!("inf and nan are no {ty}")),
                value if value.abs() >= 9.3e18 => Ok(0),
                value => Ok(ty.wrap(value as i64)),
            };
            (0..len).map(value).collect()
        }
        Type::String => {
            let texts = vector.texts();
            (0..len).map(|row| read_uint(texts.get(row), ty)).collect()
        }
        _ => return Ok(ints(vector, len, |value| ty.wrap(value))),
    };
    values.map(Vector::from_ints)
}

/// Reads digits, with or without a `+`. More digits than the type holds wrap around, as in ClickHouse.
fn read_uint(text: &[u8], ty: &Type) -> Result<i64, String> {
    let digits = text.strip_prefix(b"+").unwrap_or(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(format!(
            "the text '{}' is not a whole number without a sign: it is no {ty}",
            String::from_utf8_lossy(text)
        ));
    }
    let wrapped =
        digits.iter().fold(0_i64, |value, digit| value.wrapping_mul(10).wrapping_add(i64::from(digit - b'0')));
    Ok(ty.wrap(wrapped))
}

/// Functions of times.
fn times(function: &Function, arguments: &[Vector], types: &[&Type], ty: &Type, len: usize) -> Result<Vector, String> {
    let first = &arguments[0];
    let from = types[0];
    let at = |value: i64, zone: Tz| -> NaiveDateTime {
        if *from == Type::Date { time::date(value).and_time(NaiveTime::MIN) } else { time::local(value, zone) }
    };
    match function {
        Function::AddInterval(unit) => {
            let counts = arguments[1].ints();
            let values = first.ints();
            Ok(Vector::from_ints(
                (0..len).map(|row| ty.wrap(add(values.get(row), counts.get(row), *unit, from))).collect(),
            ))
        }
        Function::ToDateTime(zone) => to_date_time(first, from, *zone, len),
        Function::ToUnixTimestamp if *from == Type::String => to_date_time(first, from, Tz::UTC, len),
        Function::ToUnixTimestamp if *from == Type::Date => {
            Ok(ints(first, len, |days| ty.wrap(time::midnight(days, Tz::UTC))))
        }
        Function::ToUnixTimestamp => Ok(first.clone()),
        Function::Part(part, zone) => Ok(ints(first, len, |value| time::part(*part, at(value, *zone)))),
        Function::StartOf(interval, zone) => Ok(ints(first, len, |value| {
            let start = match from {
                Type::Date => {
                    let day = time::start_of_date(*interval, time::date(value));
                    if *ty == Type::Date { day } else { time::midnight(day, *zone) }
                }
                _ => time::start_of(*interval, value, *zone),
            };
            ty.wrap(start.max(0))
        })),
        Function::FormatDateTime(zone) => {
            let format = String::from_utf8_lossy(arguments[1].texts().get(0)).into_owned();
            let values = first.ints();
            let formatted = |row| {
                let value = values.get(row);
                let local = at(value, *zone);
                let ahead = if *from == Type::Date { 0 } else { local.and_utc().timestamp() - value };
                time::format(local, ahead, &format)
            };
            Ok(Vector::from_texts((0..len).map(formatted).collect::<Result<Vec<_>, _>>()?))
        }
        _ => unreachable!("the function is one of times"),
    }
}

/// Adds an interval to a date or a time.
///
/// A date and a unit of less than a day become a time of UTC.
pub(super) fn add(value: i64, count: i64, unit: Unit, from: &Type) -> i64 {
    match (from, unit) {
        (Type::Date, Unit::Day | Unit::Month | Unit::Year) => time::days(time::shift(time::date(value), count, unit)),
        (Type::Date, _) => time::add(time::midnight(value, Tz::UTC), count, unit, Tz::UTC),
        _ => time::add(value, count, unit, from.zone()),
    }
}

/// Numbers and dates are cut to the range of the type; a text that is not a time is an error.
fn to_date_time(vector: &Vector, from: &Type, zone: Tz, len: usize) -> Result<Vector, String> {
    let cut = |value: i64| value.clamp(0, u32::MAX.into());
    match from {
        Type::String => {
            let texts = vector.texts();
            let value = |row| {
                let text = texts.get(row);
                time::parse(text, zone).ok_or_else(|| {
                    let text = String::from_utf8_lossy(text);
                    format!(
                        "'{text}' is not a time: write 'YYYY-MM-DD hh:mm:ss', with the time zone as another argument"
                    )
                })
            };
            Ok(Vector::from_ints((0..len).map(value).collect::<Result<_, String>>()?))
        }
        Type::Float64 => {
            let values = vector.numbers(from);
            Ok(Vector::from_ints((0..len).map(|row| cut(values.get(row) as i64)).collect()))
        }
        Type::Date => Ok(ints(vector, len, |days| cut(time::midnight(days, zone)))),
        Type::UInt64 => Ok(ints(vector, len, |value| (value as u64).min(u32::MAX.into()) as i64)),
        _ => Ok(ints(vector, len, cut)),
    }
}

/// Functions of texts.
fn texts(function: &Function, arguments: &[Vector], types: &[&Type], len: usize) -> Result<Vector, String> {
    use Function as F;
    let first = &arguments[0];
    let number = |function: &dyn Fn(&[u8]) -> i64| {
        let texts = first.texts();
        Vector::from_ints((0..len).map(|row| function(texts.get(row))).collect())
    };
    let with_second = |function: &dyn Fn(&[u8], &[u8]) -> i64| {
        let texts = first.texts();
        let second = arguments[1].texts();
        Vector::from_ints((0..len).map(|row| function(texts.get(row), second.get(row))).collect())
    };
    let changed = |function: &dyn Fn(&[u8]) -> Vec<u8>| {
        let texts = first.texts();
        Vector::from_texts((0..len).map(|row| function(texts.get(row))))
    };
    Ok(match function {
        F::Length => number(&text::length),
        F::Empty => number(&|text| text.is_empty().into()),
        F::Lower => changed(&|text| text.to_ascii_lowercase()),
        F::Upper => changed(&|text| text.to_ascii_uppercase()),
        F::LowerUtf8 => changed(&|text| text::change(text, str::to_lowercase)),
        F::UpperUtf8 => changed(&|text| text::change(text, str::to_uppercase)),
        F::StartsWith => with_second(&|text, start| text.starts_with(start).into()),
        F::EndsWith => with_second(&|text, end| text.ends_with(end).into()),
        F::Position => with_second(&text::position),
        F::Substring => {
            let texts = first.texts();
            let offsets = arguments[1].ints();
            let lengths = arguments.get(2).map(Vector::ints);
            Vector::from_texts(
                (0..len).map(|row| {
                    text::substring(texts.get(row), offsets.get(row), lengths.map(|lengths| lengths.get(row)))
                }),
            )
        }
        F::Format => return text::format(arguments, types, len),
        F::Bin | F::Hex => {
            let is_binary = *function == F::Bin;
            Vector::from_texts((0..len).map(|row| text::digits(&first.scalar(row), types[0], is_binary)))
        }
        _ => unreachable!("the function is one of texts"),
    })
}

/// Whether a start is one of dates, so that its type is `Date`.
pub(in crate::query) fn is_date_start(interval: StartOf) -> bool {
    matches!(interval, StartOf::Week | StartOf::Units(_, Unit::Month | Unit::Year))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ErrorKind;
    use crate::query::position::Position;

    #[test]
    fn function_is_not_applied_when_the_time_is_over() {
        let expr = |kind, ty| Expr { kind, ty, position: Position::default() };
        let text = expr(ExprKind::Column(0), Type::String);
        let length = expr(ExprKind::Call(Function::Length, vec![text]), Type::UInt64);
        let rows = Rows { columns: vec![Vector::from_texts(["a", "bc"])], len: 2 };
        let lengths = eval(&length, &rows, &Budget::new(1000, None, Default::default())).unwrap().vector;
        assert_eq!(lengths.scalar(1), Scalar::Int(2));
        let over = Budget::new(1000, Some(Duration::ZERO), Default::default());
        assert_eq!(eval(&length, &rows, &over).unwrap_err().kind(), ErrorKind::TimedOut);
    }
}
