//! The scalar functions: names, arguments, types.
//!
//! A name leads to a [`Function`], a check of the number and the types of its arguments, and the type of its result; constants are then computed
//! by [`calls::call`]. A function is found by kind, in this order: those with rules of their own, of numbers, of texts, of times. A new one
//! is a variant of [`Function`], an arm here, one in `exec::eval`, its name in [`NAMES`], and a row in `query::reference`; the recorded answers
//! of ClickHouse (`tests/it/query/queries.sql`) have a line for it.

use super::calls::{self, Call};
use super::operators::{arithmetic, logical};
use super::times;
use crate::Result;
use crate::query::Type;
use crate::query::plan::{Bit, Expr, Function};
use crate::query::position::{Position, error_at};

/// The names of all functions, for the error of an unknown one.
const NAMES: &str = "bin, bitAnd, bitCount, bitHammingDistance, bitNot, bitOr, bitRotateLeft, bitRotateRight, bitShiftLeft, \
    bitShiftRight, bitTest, bitXor, ceil, empty, endsWith, extract, floor, format, formatDateTime, hex, if, intDiv, length, ln, log, \
    lower, lowerUTF8, now, position, pow, round, startsWith, substring, toDateTime, today, toDayOfMonth, toDayOfWeek, toHour, \
    toLower, toMinute, toMonth, toSecond, toStartOfDay, toStartOfFifteenMinutes, toStartOfFiveMinutes, toStartOfHour, \
    toStartOfInterval, toStartOfMinute, toStartOfMonth, toStartOfTenMinutes, toStartOfWeek, toStartOfYear, toUInt32, toUInt8, \
    toUnixTimestamp, toUpper, toYear, toYYYYMM, upper, upperUTF8, and the aggregates argMax, argMin, avg, avgIf, count, countIf, \
    first_value, last_value, max, min, quantileExactWeighted, quantileWeighted, sum, sumIf, topK, topKWeighted";

fn is_text(ty: &Type) -> bool {
    *ty == Type::String
}

/// A scalar function by its name, in which case does not matter.
pub(super) fn scalar(name: &str, arguments: Vec<Expr>, position: Position, now: i64) -> Result<Expr> {
    let call = Call { name: name.to_owned(), arguments, position };
    let lower = name.to_ascii_lowercase();
    match lower.as_str() {
        "if" => choice(call),
        "touint8" => to_uint(call, Type::UInt8),
        "touint32" => to_uint(call, Type::UInt32),
        "format" => {
            call.count(2..=usize::MAX)?;
            call.check(0, "a text", is_text)?;
            call.check_constant(0)?;
            call.make(Function::Format, Type::String)
        }
        "bin" | "hex" => {
            call.count(1..=1)?;
            call.check(0, "a number, a time or a text", |ty| ty.is_number() || ty.is_time() || is_text(ty))?;
            call.make(if lower == "bin" { Function::Bin } else { Function::Hex }, Type::String)
        }
        _ => {
            if let Some(found) = numbers(&lower, &call) {
                return found;
            }
            if let Some((function, texts, numbers, ty)) = texts(&lower) {
                call.count(texts + numbers.start()..=texts + numbers.end())?;
                (0..texts).try_for_each(|number| call.check(number, "a text", is_text))?;
                (texts..texts + numbers.end())
                    .try_for_each(|number| call.check(number, "a whole number", Type::is_integer))?;
                return call.make(function, ty);
            }
            let known = format!("unknown function {name}; there are {NAMES}");
            times::scalar(call, now)?.ok_or_else(|| error_at(position, known))
        }
    }
}

/// Functions of texts, and of whole numbers after them: how many of each.
fn texts(name: &str) -> Option<(Function, usize, std::ops::RangeInclusive<usize>, Type)> {
    let (function, count, ty) = match name {
        "length" => (Function::Length, 1, Type::UInt64),
        "empty" => (Function::Empty, 1, Type::UInt8),
        "lower" => (Function::Lower, 1, Type::String),
        "upper" => (Function::Upper, 1, Type::String),
        "lowerutf8" | "tolower" => (Function::LowerUtf8, 1, Type::String),
        "upperutf8" | "toupper" => (Function::UpperUtf8, 1, Type::String),
        "startswith" => (Function::StartsWith, 2, Type::UInt8),
        "endswith" => (Function::EndsWith, 2, Type::UInt8),
        "position" => (Function::Position, 2, Type::UInt64),
        "substring" => return Some((Function::Substring, 1, 1..=2, Type::String)),
        _ => return None,
    };
    Some((function, count, 0..=0, ty))
}

/// Functions of numbers.
fn numbers(name: &str, call: &Call) -> Option<Result<Expr>> {
    let number = |call: &Call, number| call.check(number, "a number", Type::is_number);
    let make = |function: Function, ty: Type| calls::call(function, call.arguments.clone(), ty, call.position);
    let checked =
        |count: usize| call.count(count..=count).and_then(|()| (0..count).try_for_each(|at| number(call, at)));
    Some(match name {
        "intdiv" => checked(2).and_then(|()| {
            let [left, right] = pair(call);
            arithmetic(Function::IntDiv, left, right)
        }),
        "not" => checked(1).and_then(|()| logical(Function::Not, call.arguments.clone(), call.position)),
        "log" | "ln" => checked(1).and_then(|()| make(Function::Log, Type::Float64)),
        "pow" => checked(2).and_then(|()| make(Function::Pow, Type::Float64)),
        "round" | "floor" | "ceil" => rounded(name, call, make),
        "bitnot" => {
            let integer = call.count(1..=1).and_then(|()| call.check(0, "a whole number", Type::is_integer));
            integer.and_then(|()| {
                let (bits, is_signed) = call.arguments[0].ty.integer().unwrap_or((64, false));
                make(Function::BitNot, Type::of_bits(bits, is_signed))
            })
        }
        "bitcount" => checked(1).and_then(|()| make(Function::BitCount, Type::UInt8)),
        _ => bits(name, call, make)?,
    })
}

fn pair(call: &Call) -> [Expr; 2] {
    [call.arguments[0].clone(), call.arguments[1].clone()]
}

fn rounded(name: &str, call: &Call, make: impl Fn(Function, Type) -> Result<Expr>) -> Result<Expr> {
    call.count(1..=2)?;
    call.check(0, "a number", Type::is_number)?;
    call.check(1, "a whole number", Type::is_integer)?;
    call.check_constant(1)?;
    let function = match name {
        "round" => Function::Round,
        "floor" => Function::Floor,
        _ => Function::Ceil,
    };
    make(function, call.arguments[0].ty.clone())
}

/// Functions of the bits of two numbers. Floats are taken where Analytics Engine's documentation does so, as their whole part.
fn bits(name: &str, call: &Call, make: impl Fn(Function, Type) -> Result<Expr>) -> Option<Result<Expr>> {
    let bit = match name {
        "bitand" => Bit::And,
        "bitor" => Bit::Or,
        "bitxor" => Bit::Xor,
        "bithammingdistance" => Bit::HammingDistance,
        "bitrotateleft" => Bit::RotateLeft,
        "bitrotateright" => Bit::RotateRight,
        "bitshiftleft" => Bit::ShiftLeft,
        "bitshiftright" => Bit::ShiftRight,
        "bittest" => Bit::Test,
        _ => return None,
    };
    let takes_floats = matches!(bit, Bit::HammingDistance | Bit::Test);
    let checked =
        || {
            call.count(2..=2)?;
            let is_fine = |ty: &Type| if takes_floats { ty.is_number() } else { ty.is_integer() };
            call.check(0, "a whole number; use toUInt32", is_fine)?;
            call.check(1, "a whole number", |ty| {
                if bit == Bit::HammingDistance { ty.is_number() } else { ty.is_integer() }
            })?;
            let [left, right] = [0, 1].map(|number: usize| call.arguments[number].ty.integer().unwrap_or((64, true)));
            let ty = if takes_floats { Type::UInt8 } else { Type::of_bits(left.0.max(right.0), left.1 || right.1) };
            make(Function::Bit(bit), ty)
        };
    Some(checked())
}

fn to_uint(call: Call, ty: Type) -> Result<Expr> {
    call.count(1..=1)?;
    call.check(0, "a number, a time or a text", |ty| ty.is_number() || ty.is_time() || is_text(ty))?;
    call.make(Function::ToUInt, ty)
}

fn choice(call: Call) -> Result<Expr> {
    call.count(3..=3)?;
    call.check(0, "a condition (a comparison, or a number of 8 bits)", |ty| matches!(ty, Type::UInt8 | Type::Bool))?;
    let [_, yes, no] = &call.arguments[..] else { unreachable!("there are three arguments") };
    let Some(ty) = common(&yes.ty, &no.ty) else {
        let message = format!("the two values of if have no common type: {} and {}", yes.ty, no.ty);
        let hint = if yes.ty.is_number() && no.ty.is_number() { "; multiply the whole number by 1.0" } else { "" };
        return Err(error_at(yes.position, format!("{message}{hint}")));
    };
    call.make(Function::If, ty)
}

/// The type that has all values of two types; `None` where there is none.
///
/// Not of an integer of 64 bits and a float, nor of `UInt64` and a signed integer: no type has all values of both.
fn common(a: &Type, b: &Type) -> Option<Type> {
    if a == b {
        return Some(a.clone());
    }
    match (a, b) {
        // As in ClickHouse, to which both are one type: that of the first.
        (Type::Bool, Type::UInt8) | (Type::UInt8, Type::Bool) => Some(a.clone()),
        (Type::Date, time @ Type::DateTime(_)) | (time @ Type::DateTime(_), Type::Date) => Some(time.clone()),
        (time @ Type::DateTime(_), Type::DateTime(_)) => Some(time.clone()),
        (Type::Float64, number) | (number, Type::Float64) => {
            number.integer().filter(|(bits, _)| *bits <= 32).map(|_| Type::Float64)
        }
        _ => {
            let (a, a_signed) = a.integer()?;
            let (b, b_signed) = b.integer()?;
            if a_signed == b_signed {
                return Some(Type::of_bits(a.max(b), a_signed));
            }
            let unsigned = if a_signed { b } else { a };
            let bits = a.max(b).max(unsigned * 2);
            (bits <= 64).then(|| Type::of_bits(bits, true))
        }
    }
}
