//! Arithmetic, rounding and bits, with the widths and the overflow of ClickHouse's types.
//!
//! Integers are computed in 64 bits and cut to the width of the result's type by [`Type::wrap`], which comes to the same as computing in
//! that width, for sums, products and bits. Division needs the true values: it goes by 128 bits, so that unsigned and signed 64-bit operands
//! have one representation. What has no value (division by 0, a shift by a negative number) is an error of the query, in whose place
//! ClickHouse has an exception, too.

use crate::query::Type;
use crate::query::plan::{Bit, Function};
use crate::query::vector::Vector;

/// The operands of a function of two numbers.
pub(super) struct Pair<'a> {
    pub(super) left: &'a Vector,
    pub(super) right: &'a Vector,
    pub(super) left_type: &'a Type,
    pub(super) right_type: &'a Type,
}

impl Pair<'_> {
    fn floats(&self, len: usize, function: impl Fn(f64, f64) -> f64) -> Vector {
        let left = self.left.numbers(self.left_type);
        let right = self.right.numbers(self.right_type);
        Vector::from_floats((0..len).map(|row| function(left.get(row), right.get(row))).collect())
    }

    /// Integers by their bits; floats are cut toward zero.
    fn ints(&self, len: usize, function: impl Fn(i64, i64) -> i64) -> Vector {
        let left = whole(self.left, self.left_type);
        let right = whole(self.right, self.right_type);
        let left = left.as_ref().unwrap_or(self.left).ints();
        let right = right.as_ref().unwrap_or(self.right).ints();
        Vector::from_ints((0..len).map(|row| function(left.get(row), right.get(row))).collect())
    }

    fn try_ints(&self, len: usize, function: impl Fn(i128, i128) -> Result<i64, String>) -> Result<Vector, String> {
        let left = self.left.ints();
        let right = self.right.ints();
        let value = |row| function(self.left_type.widen(left.get(row)), self.right_type.widen(right.get(row)));
        Ok(Vector::from_ints((0..len).map(value).collect::<Result<_, _>>()?))
    }

    fn is_float(&self) -> bool {
        *self.left_type == Type::Float64 || *self.right_type == Type::Float64
    }
}

/// The whole part of floats; `None` for integers.
fn whole(vector: &Vector, ty: &Type) -> Option<Vector> {
    use crate::query::vector::Scalar;
    match vector {
        Vector::Const(Scalar::Float(value)) => Some(Vector::Const(Scalar::Int(*value as i64))),
        Vector::Floats(values) => Some(Vector::from_ints(values.values().iter().map(|value| *value as i64).collect())),
        _ => {
            debug_assert!(*ty != Type::Float64, "floats are constants or floats");
            None
        }
    }
}

const ZERO: &str = "division by zero; use / for a result of inf or nan, or if(x = 0, ...)";
const LEAST: &str = "division of the least signed number by -1";

/// Applies an operator of two numbers, or of a time and a number.
pub(super) fn binary(function: &Function, pair: &Pair<'_>, ty: &Type, len: usize) -> Result<Vector, String> {
    if *ty == Type::Float64 {
        return Ok(match function {
            Function::Plus => pair.floats(len, |a, b| a + b),
            Function::Minus => pair.floats(len, |a, b| a - b),
            Function::Multiply => pair.floats(len, |a, b| a * b),
            Function::Divide => pair.floats(len, |a, b| a / b),
            Function::Pow => pair.floats(len, f64::powf),
            // As ClickHouse has it: not the exact remainder, and never -0.
            _ => pair.floats(len, |a, b| a - (a / b).trunc() * b),
        });
    }
    match function {
        Function::Plus => Ok(pair.ints(len, |a, b| ty.wrap(a.wrapping_add(b)))),
        Function::Minus => Ok(pair.ints(len, |a, b| ty.wrap(a.wrapping_sub(b)))),
        Function::Multiply => Ok(pair.ints(len, |a, b| ty.wrap(a.wrapping_mul(b)))),
        Function::IntDiv if pair.is_float() => {
            let left = pair.left.numbers(pair.left_type);
            let right = pair.right.numbers(pair.right_type);
            let value = |row| match (left.get(row), right.get(row)) {
                (_, 0.0) => Err(ZERO.to_owned()),
                (a, b) if !(a / b).is_finite() => Err("intDiv of an infinite number or nan".to_owned()),
                (a, b) => Ok(ty.wrap((a / b) as i64)),
            };
            Ok(Vector::from_ints((0..len).map(value).collect::<Result<_, _>>()?))
        }
        _ => divide(function, pair, ty, len),
    }
}

/// The quotient or the remainder of integers.
///
/// An error where the divisor is 0, and for the least signed number by -1, whose quotient the type does not have; processors trap there, and
/// ClickHouse fails.
fn divide(function: &Function, pair: &Pair<'_>, ty: &Type, len: usize) -> Result<Vector, String> {
    let [left, right] = [pair.left_type, pair.right_type].map(|ty| ty.integer().unwrap_or((64, true)));
    // As in ClickHouse, the quotient of a signed and an unsigned number takes both as signed numbers of their own width.
    let is_mixed = *function == Function::IntDiv && left.1 != right.1;
    let signed = |value: i128, bits: u32| {
        if is_mixed { i128::from(Type::of_bits(bits, true).wrap(value as i64)) } else { value }
    };
    let least = (is_mixed || left.1).then_some(-1_i128 << (left.0 - 1));
    pair.try_ints(len, |a, b| {
        let a = signed(a, left.0);
        let b = signed(b, right.0);
        match function {
            _ if b == 0 => Err(ZERO.to_owned()),
            _ if b == -1 && Some(a) == least => Err(LEAST.to_owned()),
            Function::IntDiv => Ok(ty.wrap((a / b) as i64)),
            _ => Ok(ty.wrap((a % b) as i64)),
        }
    })
}

/// Changes the sign.
pub(super) fn negate(vector: &Vector, from: &Type, ty: &Type, len: usize) -> Vector {
    if *ty == Type::Float64 {
        let values = vector.numbers(from);
        return Vector::from_floats((0..len).map(|row| -values.get(row)).collect());
    }
    let values = vector.ints();
    Vector::from_ints((0..len).map(|row| ty.wrap(values.get(row).wrapping_neg())).collect())
}

/// Rounds to a number of decimal places, which is negative for tens.
///
/// Places of integers matter where they are negative; as many tens as the type has digits leave 0.
pub(super) fn round(function: &Function, vector: &Vector, ty: &Type, places: i64, len: usize) -> Vector {
    if *ty == Type::Float64 {
        let values = vector.numbers(ty);
        return Vector::from_floats((0..len).map(|row| round_float(function, values.get(row), places)).collect());
    }
    let values = vector.ints();
    if places >= 0 {
        return vector.clone();
    }
    let (bits, is_signed) = ty.integer().unwrap_or((64, true));
    let digits = match (bits, is_signed) {
        (8, _) => 2,
        (16, _) => 4,
        (32, _) => 9,
        (_, true) => 18,
        (_, false) => 19,
    };
    let scale = if places < -digits { None } else { 10_u64.checked_pow(places.unsigned_abs() as u32) };
    let rounded = |value: i64| scale.map_or(0, |scale| round_integer(function, value, ty, scale as i64));
    Vector::from_ints((0..len).map(|row| rounded(values.get(row))).collect())
}

/// Rounds as ClickHouse does in the type's own width, so that it wraps around.
fn round_integer(function: &Function, value: i64, ty: &Type, scale: i64) -> i64 {
    let cut = |value: i64| {
        let whole =
            if ty.is_u64() { (value as u64 / scale as u64 * scale as u64) as i64 } else { value / scale * scale };
        ty.wrap(whole)
    };
    let is_negative = !ty.is_u64() && value < 0;
    match function {
        Function::Floor if is_negative => cut(ty.wrap(value.wrapping_sub(scale - 1))),
        Function::Floor => cut(value),
        Function::Ceil if value > 0 || ty.is_u64() && value != 0 => cut(ty.wrap(value.wrapping_add(scale - 1))),
        Function::Ceil => cut(value),
        _ => {
            let size = if is_negative { ty.wrap(value.wrapping_neg()) } else { value };
            let sum = size.wrapping_add(scale / 2);
            let is_wide = ty.integer().is_some_and(|(bits, _)| bits >= 32);
            let rounded = cut(if is_wide { ty.wrap(sum) } else { sum });
            if is_negative { ty.wrap(rounded.wrapping_neg()) } else { rounded }
        }
    }
}

/// Scales, rounds and scales back, as ClickHouse does: the errors of the products are a part of the result. Where the scale, or the product,
/// is beyond the range of floats, the value stays, or is 0 for tens.
fn round_float(function: &Function, value: f64, places: i64) -> f64 {
    let whole = |value: f64| match function {
        Function::Floor => value.floor(),
        Function::Ceil => value.ceil(),
        _ => value.round_ties_even(),
    };
    let scale = 10_f64.powi(places.unsigned_abs().min(400) as i32);
    match places {
        0 => whole(value),
        1.. if !scale.is_finite() => value,
        1.. => {
            let rounded = whole(value * scale) / scale;
            if rounded.is_finite() { rounded } else { value }
        }
        _ if !scale.is_finite() => 0.0,
        _ => whole(value / scale) * scale,
    }
}

/// Applies a function of the bits of two integers.
///
/// `own` is the width of the left operand, by which shifts and tests go; `width` that of the result, by which rotations do.
pub(super) fn bits(function: Bit, pair: &Pair<'_>, ty: &Type, len: usize) -> Result<Vector, String> {
    let own = pair.left_type.integer().map_or(64, |(bits, _)| i64::from(bits));
    let (width, _) = ty.integer().unwrap_or((64, false));
    let mask = if width == 64 { u64::MAX } else { (1 << width) - 1 };
    let rotate = |value: i64, by: i64| {
        let value = value as u64 & mask;
        let by = by.rem_euclid(i64::from(width)) as u32;
        ty.wrap(if by == 0 { value } else { value << by | value >> (width - by) } as i64)
    };
    let shift = |value: i64, by: i64, is_left: bool| {
        if by < 0 && !pair.right_type.is_u64() {
            return Err("the number of bits to shift by must not be negative".to_owned());
        }
        let value = ty.wrap(value);
        Ok(match by as u64 {
            by if by >= own as u64 => 0,
            by if is_left => ty.wrap(value << by),
            by if ty.is_u64() => (value as u64 >> by) as i64,
            by => value >> by,
        })
    };
    let checked = |function: &dyn Fn(i64, i64) -> Result<i64, String>| {
        let left = whole(pair.left, pair.left_type);
        let left = left.as_ref().unwrap_or(pair.left).ints();
        let right = pair.right.ints();
        let values: Result<_, String> = (0..len).map(|row| function(left.get(row), right.get(row))).collect();
        values.map(Vector::from_ints)
    };
    match function {
        Bit::And => Ok(pair.ints(len, |a, b| ty.wrap(a & b))),
        Bit::Or => Ok(pair.ints(len, |a, b| ty.wrap(a | b))),
        Bit::Xor => Ok(pair.ints(len, |a, b| ty.wrap(a ^ b))),
        Bit::HammingDistance => Ok(pair.ints(len, |a, b| i64::from((a ^ b).count_ones()))),
        Bit::RotateLeft => Ok(pair.ints(len, rotate)),
        Bit::RotateRight => Ok(pair.ints(len, |value, by| rotate(value, by.wrapping_neg()))),
        Bit::ShiftLeft => checked(&|value, by| shift(value, by, true)),
        Bit::ShiftRight => checked(&|value, by| shift(value, by, false)),
        Bit::Test => checked(&|value, bit| {
            if (0..own).contains(&bit) {
                return Ok(value >> bit & 1);
            }
            Err(format!("bitTest takes a bit from 0 to {} of {}", own - 1, pair.left_type))
        }),
    }
}

/// The number of ones in each value's own width.
pub(super) fn count_bits(vector: &Vector, ty: &Type, len: usize) -> Vector {
    if *ty == Type::Float64 {
        let values = vector.numbers(ty);
        return Vector::from_ints((0..len).map(|row| values.get(row).to_bits().count_ones().into()).collect());
    }
    let (width, _) = ty.integer().unwrap_or((64, false));
    let mask = if width == 64 { u64::MAX } else { (1 << width) - 1 };
    let values = vector.ints();
    Vector::from_ints((0..len).map(|row| (values.get(row) as u64 & mask).count_ones().into()).collect())
}
