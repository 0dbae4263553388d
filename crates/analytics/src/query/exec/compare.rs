//! Comparison of values. Numbers compare by value whatever their types; NaN compares as in IEEE 754.
//!
//! Three ways, by the types: as floats where both sides are floats exactly (integers of at most 32 bits are); as 64-bit or 128-bit integers
//! where both are integers; and an integer of 64 bits with a float by [`mixed`], as neither type has all values of the other. Two orders for
//! two uses: `natural` has NaN as the greatest, for states; `order` has it last in both directions, for `ORDER BY`.

use std::cmp::Ordering;

use crate::query::Type;
use crate::query::plan::Comparison;
use crate::query::vector::{Scalar, Vector};

impl Comparison {
    fn holds(self, ordering: Option<Ordering>) -> bool {
        match self {
            Self::Equal => ordering == Some(Ordering::Equal),
            Self::NotEqual => ordering != Some(Ordering::Equal),
            Self::Less => ordering == Some(Ordering::Less),
            Self::LessOrEqual => ordering.is_some_and(Ordering::is_le),
            Self::Greater => ordering == Some(Ordering::Greater),
            Self::GreaterOrEqual => ordering.is_some_and(Ordering::is_ge),
        }
    }
}

/// Compares an integer with a float exactly.
fn mixed(int: i128, float: f64) -> Option<Ordering> {
    if float.is_nan() {
        return None;
    }
    // Every integer of 64 bits is within these bounds, and floats within them have an exact whole part.
    if float >= 1e20 {
        return Some(Ordering::Less);
    }
    if float <= -1e20 {
        return Some(Ordering::Greater);
    }
    let whole = float.trunc();
    let fraction = || 0.0.partial_cmp(&(float - whole)).unwrap_or(Ordering::Equal);
    Some(int.cmp(&(whole as i128)).then_with(fraction))
}

/// Compares two vectors row by row; 1 where it holds.
pub(super) fn compare(comparison: Comparison, sides: [&Vector; 2], types: [&Type; 2], len: usize) -> Vector {
    let [left, right] = sides;
    let [left_type, right_type] = types;
    let rows = |ordering: &dyn Fn(usize) -> Option<Ordering>| {
        Vector::from_ints((0..len).map(|row| comparison.holds(ordering(row)).into()).collect())
    };
    if *left_type == Type::String {
        let left = left.texts();
        let right = right.texts();
        return match comparison {
            Comparison::Equal => {
                Vector::from_ints((0..len).map(|row| (left.get(row) == right.get(row)).into()).collect())
            }
            _ => rows(&|row| Some(left.get(row).cmp(right.get(row)))),
        };
    }
    let is_exact = |ty: &Type| *ty == Type::Float64 || ty.integer().is_none_or(|(bits, _)| bits <= 32);
    let is_float = |ty: &Type| *ty == Type::Float64;
    if (is_float(left_type) || is_float(right_type)) && is_exact(left_type) && is_exact(right_type) {
        let left = left.numbers(left_type);
        let right = right.numbers(right_type);
        return rows(&|row| left.get(row).partial_cmp(&right.get(row)));
    }
    match (is_float(left_type), is_float(right_type)) {
        (false, true) => {
            let left = left.ints();
            let right = right.numbers(right_type);
            rows(&|row| mixed(left_type.widen(left.get(row)), right.get(row)))
        }
        (true, false) => {
            let left = left.numbers(left_type);
            let right = right.ints();
            rows(&|row| mixed(right_type.widen(right.get(row)), left.get(row)).map(Ordering::reverse))
        }
        _ if left_type.is_u64() || right_type.is_u64() => {
            let left = left.ints();
            let right = right.ints();
            rows(&|row| Some(left_type.widen(left.get(row)).cmp(&right_type.widen(right.get(row)))))
        }
        _ => {
            let left = left.ints();
            let right = right.ints();
            rows(&|row| Some(left.get(row).cmp(&right.get(row))))
        }
    }
}

/// The order of `ORDER BY` of two values of a type. NaN comes last, whichever the direction.
pub(super) fn order(a: &Scalar, b: &Scalar, ty: &Type, is_descending: bool) -> Ordering {
    let ordering = match (a, b) {
        (Scalar::Float(a), Scalar::Float(b)) => match (a.is_nan(), b.is_nan()) {
            (true, true) => return Ordering::Equal,
            (true, false) => return Ordering::Greater,
            (false, true) => return Ordering::Less,
            _ => a.partial_cmp(b).unwrap_or(Ordering::Equal),
        },
        _ => natural(a, b, ty),
    };
    if is_descending { ordering.reverse() } else { ordering }
}

/// The order of two values of a type; NaN is greater than any other.
pub(super) fn natural(a: &Scalar, b: &Scalar, ty: &Type) -> Ordering {
    match (a, b) {
        (Scalar::Int(a), Scalar::Int(b)) if ty.is_u64() => (*a as u64).cmp(&(*b as u64)),
        (Scalar::Int(a), Scalar::Int(b)) => a.cmp(b),
        (Scalar::Float(a), Scalar::Float(b)) => a.partial_cmp(b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan())),
        (Scalar::Text(a), Scalar::Text(b)) => a.cmp(b),
        (Scalar::List(a), Scalar::List(b)) => {
            let item = if let Type::Array(item) = ty { item } else { ty };
            let pairs = a.iter().zip(b).map(|(a, b)| natural(a, b, item));
            pairs.fold(Ordering::Equal, Ordering::then).then(a.len().cmp(&b.len()))
        }
        _ => Ordering::Equal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_and_floats_compare_exactly() {
        assert_eq!(mixed(9_007_199_254_740_993, 9_007_199_254_740_992.0), Some(Ordering::Greater));
        assert_eq!(mixed(i128::from(u64::MAX), 18_446_744_073_709_551_616.0), Some(Ordering::Less));
        assert_eq!(mixed(1, 1.5), Some(Ordering::Less));
        assert_eq!(mixed(-1, -1.5), Some(Ordering::Greater));
        assert_eq!(mixed(0, f64::NAN), None);
    }
}
