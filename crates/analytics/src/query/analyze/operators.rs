//! The types of operators.
//!
//! By ClickHouse's rules, of which `query::reference` has the table: the result's type follows from the operands' types alone. A constant text
//! takes the type of the other side of a comparison here, so that a text which is not a time is an error of the query and not of a row.

use std::sync::Arc;

use super::calls::call;
use crate::Result;
use crate::query::plan::{Comparison, Expr, ExprKind, Function};
use crate::query::position::{Position, error_at};
use crate::query::vector::Scalar;
use crate::query::{Type, time};

/// An operator of numbers, times and intervals.
pub(super) fn arithmetic(function: Function, left: Expr, right: Expr) -> Result<Expr> {
    let position = left.position;
    let is_sum = matches!(function, Function::Plus | Function::Minus);
    if is_sum && (left.ty.is_time() || right.ty.is_time()) {
        return of_times(function, left, right);
    }
    let Some(ty) = number_type(&function, &left.ty, &right.ty) else {
        let message = format!("{} does not take {} and {}", sign(&function), left.ty, right.ty);
        return Err(error_at(position, message));
    };
    call(function, vec![left, right], ty, position)
}

fn sign(function: &Function) -> &'static str {
    match function {
        Function::Plus => "+",
        Function::Minus => "-",
        Function::Multiply => "*",
        Function::Divide => "/",
        Function::Modulo => "%",
        _ => "intDiv",
    }
}

/// The type of the result; `None` where the operands are not numbers.
fn number_type(function: &Function, left: &Type, right: &Type) -> Option<Type> {
    if !left.is_number() || !right.is_number() {
        return None;
    }
    let sides = left.integer().zip(right.integer());
    Some(match (function, sides) {
        (Function::Divide, _) => Type::Float64,
        (Function::IntDiv, _) => {
            let (bits, left_signed) = left.integer().unwrap_or((64, true));
            let (_, right_signed) = right.integer().unwrap_or((64, true));
            Type::of_bits(bits, left_signed || right_signed)
        }
        (_, None) => Type::Float64,
        (Function::Modulo, Some(((_, is_signed), (bits, _)))) => {
            Type::of_bits(if is_signed { bits * 2 } else { bits }, is_signed)
        }
        (_, Some(((left, left_signed), (right, right_signed)))) => {
            let is_signed = left_signed || right_signed || *function == Function::Minus;
            Type::of_bits(left.max(right) * 2, is_signed)
        }
    })
}

/// A sum or difference with a date or a time.
///
/// | operands | result |
/// |---|---|
/// | two times of one kind, `-` | `Int32` |
/// | a time and a number | the time's type |
/// | a number and a time, `+` | the time's type |
/// | a time and an interval; an interval and a time, `+` | the time's, or `DateTime` of a `Date` and a unit of less than a day |
fn of_times(function: Function, left: Expr, right: Expr) -> Result<Expr> {
    let position = left.position;
    let is_minus = function == Function::Minus;
    let refused = || {
        let message = format!("{} does not take {} and {}", sign(&function), left.ty, right.ty);
        Err(error_at(position, message))
    };
    let unit = match (&left.ty, &right.ty) {
        (Type::DateTime(_), Type::DateTime(_)) | (Type::Date, Type::Date) if is_minus => {
            return call(function, vec![left, right], Type::Int32, position);
        }
        (time, number) if time.is_time() && number.is_number() => {
            let ty = time.clone();
            return call(function, vec![left, right], ty, position);
        }
        (number, time) if number.is_number() && time.is_time() && !is_minus => {
            let ty = time.clone();
            return call(function, vec![right, left], ty, position);
        }
        (time, Type::Interval(unit)) if time.is_time() => *unit,
        (Type::Interval(unit), time) if time.is_time() && !is_minus => *unit,
        _ => return refused(),
    };
    let [time, interval] = if left.ty.is_time() { [left, right] } else { [right, left] };
    let interval = if is_minus { negate(interval, position)? } else { interval };
    use crate::query::Unit;
    let ty = match (&time.ty, unit) {
        (Type::Date, Unit::Second | Unit::Minute | Unit::Hour) => Type::DateTime(None),
        (ty, _) => ty.clone(),
    };
    call(Function::AddInterval(unit), vec![time, interval], ty, position)
}

/// The negative of a number or an interval.
pub(super) fn negate(value: Expr, position: Position) -> Result<Expr> {
    let ty = match (&value.ty, value.ty.integer()) {
        (_, Some((bits, false))) => Type::of_bits(bits * 2, true),
        (ty, Some(_)) => ty.clone(),
        (ty @ (Type::Float64 | Type::Interval(_)), _) => ty.clone(),
        (ty, _) => return Err(error_at(position, format!("- does not take a {ty}"))),
    };
    call(Function::Negate, vec![value], ty, position)
}

/// `AND`, `OR` and `NOT`: of numbers, which are true where they are not 0.
pub(super) fn logical(function: Function, sides: Vec<Expr>, position: Position) -> Result<Expr> {
    if let Some(side) = sides.iter().find(|side| !side.ty.is_number()) {
        let message = format!("AND, OR and NOT take numbers and comparisons; this is a {}", side.ty);
        return Err(error_at(side.position, message));
    }
    let is_bool = sides.iter().any(|side| side.ty == Type::Bool);
    call(function, sides, if is_bool { Type::Bool } else { Type::UInt8 }, position)
}

/// A comparison. A constant text is read as the other side's type.
pub(super) fn compare(comparison: Comparison, left: Expr, right: Expr) -> Result<Expr> {
    let position = left.position;
    let [left, right] = comparable(left, right)?;
    call(Function::Compare(comparison), vec![left, right], Type::UInt8, position)
}

fn comparable(left: Expr, right: Expr) -> Result<[Expr; 2]> {
    let is_text = |expr: &Expr| expr.ty == Type::String;
    match (is_text(&left), is_text(&right)) {
        (true, true) => return Ok([left, right]),
        (true, false) => {
            let left = read_as(left, &right.ty)?;
            return Ok([left, right]);
        }
        (false, true) => {
            let right = read_as(right, &left.ty)?;
            return Ok([left, right]);
        }
        (false, false) => {}
    }
    match (&left.ty, &right.ty) {
        (Type::Date, Type::DateTime(_)) => Ok([to_date_time(left, &right.ty.clone())?, right]),
        (Type::DateTime(_), Type::Date) => {
            let ty = left.ty.clone();
            Ok([left, to_date_time(right, &ty)?])
        }
        (Type::Date, Type::Date) | (Type::DateTime(_), Type::DateTime(_)) => Ok([left, right]),
        (Type::DateTime(_), number) | (number, Type::DateTime(_)) if number.is_number() => Ok([left, right]),
        (a, b) if a.is_number() && b.is_number() => Ok([left, right]),
        (Type::Interval(a), Type::Interval(b)) if a == b => Ok([left, right]),
        (a, b) => Err(error_at(left.position, format!("a {a} cannot be compared with a {b}"))),
    }
}

/// A date as the time at which it begins.
pub(super) fn to_date_time(date: Expr, ty: &Type) -> Result<Expr> {
    let position = date.position;
    call(Function::ToDateTime(ty.zone()), vec![date], ty.clone(), position)
}

/// A constant text as a value of another type.
fn read_as(text: Expr, ty: &Type) -> Result<Expr> {
    let Some(Scalar::Text(bytes)) = text.constant() else {
        let message = format!("a String cannot be compared with a {ty}; only a text in quotes can");
        return Err(error_at(text.position, message));
    };
    match read(bytes, ty) {
        Some(scalar) => Ok(Expr { kind: ExprKind::Const(scalar), ty: ty.clone(), position: text.position }),
        None => {
            let message = format!("'{}' is not a {ty}", String::from_utf8_lossy(bytes));
            Err(error_at(text.position, message))
        }
    }
}

/// Reads a text as a value of a type.
fn read(text: &[u8], ty: &Type) -> Option<Scalar> {
    let string = std::str::from_utf8(text).ok();
    Some(match ty {
        Type::String => Scalar::Text(text.to_vec().into()),
        Type::Float64 => Scalar::Float(string?.parse().ok()?),
        Type::Date => Scalar::Int(time::days(time::parse_date(text)?)),
        Type::DateTime(_) => Scalar::Int(time::parse(text, ty.zone())?),
        Type::Bool => Scalar::Int(match string? {
            "true" | "1" => 1,
            "false" | "0" => 0,
            _ => return None,
        }),
        Type::UInt64 => Scalar::Int(string?.parse::<u64>().ok()? as i64),
        integer if integer.is_integer() => {
            let value: i64 = string?.parse().ok()?;
            (integer.wrap(value) == value).then_some(Scalar::Int(value))?
        }
        _ => return None,
    })
}

/// `IN` a list of constants, each of which is taken as a value of the left type; one that is none is never equal.
pub(super) fn contained(left: Expr, list: Vec<Expr>, is_negated: bool) -> Result<Expr> {
    let position = left.position;
    if matches!(left.ty, Type::Array(_) | Type::Interval(_)) {
        return Err(error_at(position, format!("IN does not take a {}", left.ty)));
    }
    let mut set = Vec::new();
    for item in list {
        let Some(scalar) = item.constant() else {
            return Err(error_at(item.position, "the list of IN takes constants; use = and OR for columns"));
        };
        set.extend(converted(scalar, &item, &left.ty)?);
    }
    call(Function::In { set: Arc::new(set), is_negated }, vec![left], Type::UInt8, position)
}

/// A constant of the list of `IN` as a value of a type; `None` where the type does not have it.
fn converted(scalar: &Scalar, item: &Expr, ty: &Type) -> Result<Option<Scalar>> {
    if let (Scalar::Text(_), false) = (scalar, *ty == Type::String) {
        return Ok(read_as(item.clone(), ty)?.constant().cloned());
    }
    let refused = || Err(error_at(item.position, format!("a {} is never in a list with a {ty}", item.ty)));
    Ok(match (scalar, ty) {
        (Scalar::Text(_), _) => Some(scalar.clone()),
        (Scalar::List(_), _) => return refused(),
        (_, Type::String) => {
            let mut text = Vec::new();
            crate::query::format::plain(scalar, &item.ty, &mut text);
            Some(Scalar::Text(text.into()))
        }
        (_, Type::Date) if item.ty != Type::Date => return refused(),
        (Scalar::Int(days), Type::DateTime(_)) if item.ty == Type::Date => {
            Some(Scalar::Int(time::midnight(*days, ty.zone())))
        }
        (_, Type::Float64) => scalar.number(&item.ty).map(Scalar::Float),
        (Scalar::Float(value), _) => {
            let whole = value.fract() == 0.0 && (-9.2e18..9.2e18).contains(value);
            whole.then_some(*value as i64).filter(|value| fits(*value, &Type::Int64, ty)).map(Scalar::Int)
        }
        (Scalar::Int(value), _) => fits(*value, &item.ty, ty).then_some(Scalar::Int(*value)),
    })
}

/// Whether a type has the value of another integer type.
fn fits(value: i64, from: &Type, to: &Type) -> bool {
    match (from.is_u64() && value < 0, to.is_u64()) {
        (true, is_u64) => is_u64,
        (false, true) => value >= 0,
        (false, false) => to.wrap(value) == value,
    }
}
