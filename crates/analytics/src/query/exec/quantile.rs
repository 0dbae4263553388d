//! Values with weights, of which quantiles are taken.
//!
//! A look-up for each row in a map of many values waits for memory at each of them. So values are collected, and sorted whenever twice as many have
//! come as there are distinct ones: each value is sorted once, and each distinct one visited a constant number of times on the average.

use super::budget::Share;
use super::groups::float_bits;
use crate::Result;
use crate::query::Type;
use crate::query::vector::Scalar;

/// Most values that are collected before they are sorted, where few are distinct: each of many groups has as many.
const RECENT: usize = 256;
/// The bit of the sign.
const SIGN: u64 = 1 << 63;

/// A value by its order ([`float_key`], [`int_key`]), and its weight.
type Weighted = (u64, u64);

/// The weights of the values of a group.
#[derive(Debug, Clone, Default)]
pub(super) struct Weights {
    /// Distinct values, ascending.
    sorted: Vec<Weighted>,
    /// Values of weight 1 that came behind them: mostly these.
    ones: Vec<u64>,
    /// Values of other weights that came behind them.
    others: Vec<Weighted>,
}

impl Weights {
    /// Adds the weight of a value. Weights wrap around, as ClickHouse's do.
    pub(super) fn add(&mut self, key: u64, weight: u64, share: &mut Share<'_>) -> Result<()> {
        let most = RECENT.max(2 * self.sorted.len());
        if weight == 1 {
            if !has_room(&mut self.ones, most, share)? {
                self.compact(share)?;
            }
            self.ones.push(key);
        } else {
            if !has_room(&mut self.others, most, share)? {
                self.compact(share)?;
            }
            self.others.push((key, weight));
        }
        Ok(())
    }

    /// Adds the weights of other values.
    pub(super) fn merge(&mut self, other: Self, share: &mut Share<'_>) -> Result<()> {
        let Self { sorted, ones, others } = other;
        let ones = ones.into_iter().map(|key| (key, 1));
        sorted.into_iter().chain(others).chain(ones).try_for_each(|(key, weight)| self.add(key, weight, share))
    }

    /// Moves the values that came behind the sorted ones to them.
    fn compact(&mut self, share: &mut Share<'_>) -> Result<()> {
        let Self { sorted, ones, others } = self;
        ones.sort_unstable();
        let runs = || ones.chunk_by(|a, b| a == b).map(|run| (run[0], run.len() as u64));
        absorb(sorted, runs, share)?;
        ones.clear();
        others.sort_unstable_by_key(|(key, _)| *key);
        let sum = |run: &[Weighted]| run.iter().fold(0_u64, |sum, (_, weight)| sum.wrapping_add(*weight));
        let runs = || others.chunk_by(|(a, _), (b, _)| a == b).map(|run| (run[0].0, sum(run)));
        absorb(sorted, runs, share)?;
        others.clear();
        Ok(())
    }

    /// Returns the value at a level of the sum of all weights: the least for which the weights up to it come to `ceil(total * level)`. Of no
    /// values NaN, or the type's default.
    pub(super) fn quantile(mut self, level: f64, ty: &Type, share: &mut Share<'_>) -> Result<Scalar> {
        self.compact(share)?;
        let total = self.sorted.iter().fold(0_u64, |sum, (_, weight)| sum.wrapping_add(*weight));
        let threshold = (total as f64 * level).ceil();
        let mut sum = 0_u64;
        let reaches = |(_, weight): &&Weighted| {
            sum = sum.wrapping_add(*weight);
            sum as f64 >= threshold
        };
        let found = match self.sorted.iter().find(reaches).or(self.sorted.last()) {
            Some((key, _)) => value(*key, ty),
            None if *ty == Type::Float64 => Scalar::Float(f64::NAN),
            None => Scalar::default_of(ty),
        };
        let values = self.sorted.capacity() + self.others.capacity();
        give_back(values * size_of::<Weighted>() + self.ones.capacity() * size_of::<u64>(), share);
        Ok(found)
    }
}

/// Whether there is room for another value, which is made up to this number.
fn has_room<T>(values: &mut Vec<T>, most: usize, share: &mut Share<'_>) -> Result<bool> {
    if values.len() < values.capacity() {
        return Ok(true);
    }
    if values.len() >= most {
        return Ok(false);
    }
    let more = values.len().max(4).min(most - values.len());
    share.grow(more * size_of::<T>())?;
    values.reserve_exact(more);
    Ok(true)
}

/// Adds the weights of ascending values to those of others. Where all of them are known, none is moved.
fn absorb<I: Iterator<Item = Weighted>>(
    sorted: &mut Vec<Weighted>,
    runs: impl Fn() -> I,
    share: &mut Share<'_>,
) -> Result<()> {
    let mut at = 0;
    let mut unknown = 0;
    for (key, weight) in runs() {
        while at < sorted.len() && sorted[at].0 < key {
            at += 1;
        }
        match sorted.get_mut(at) {
            Some((known, sum)) if *known == key => *sum = sum.wrapping_add(weight),
            _ => unknown += 1,
        }
    }
    if unknown == 0 {
        return Ok(());
    }
    share.grow((sorted.len() + unknown) * size_of::<Weighted>())?;
    let before = std::mem::replace(sorted, Vec::with_capacity(sorted.len() + unknown));
    let mut at = 0;
    for (key, weight) in runs() {
        while at < before.len() && before[at].0 < key {
            sorted.push(before[at]);
            at += 1;
        }
        if before.get(at).is_none_or(|(known, _)| *known != key) {
            sorted.push((key, weight));
        }
    }
    sorted.extend_from_slice(&before[at..]);
    give_back(before.capacity() * size_of::<Weighted>(), share);
    Ok(())
}

/// Gives back the memory of values that are dropped.
fn give_back(bytes: usize, share: &mut Share<'_>) {
    share.shrink_to(share.bytes().saturating_sub(bytes));
}

/// A number that is ordered as the float is.
pub(super) fn float_key(value: f64) -> u64 {
    let bits = float_bits(value);
    if bits & SIGN == 0 { bits | SIGN } else { !bits }
}

/// A number that is ordered as the integer or time of this type is.
pub(super) fn int_key(value: i64, ty: &Type) -> u64 {
    if ty.is_u64() { value as u64 } else { value as u64 ^ SIGN }
}

fn value(key: u64, ty: &Type) -> Scalar {
    match ty {
        Type::Float64 => Scalar::Float(f64::from_bits(if key & SIGN == 0 { !key } else { key ^ SIGN })),
        ty if ty.is_u64() => Scalar::Int(key as i64),
        _ => Scalar::Int((key ^ SIGN) as i64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::exec::Budget;

    #[test]
    fn keys_are_ordered_as_the_values_are() {
        let floats = [f64::NEG_INFINITY, -1.5, -1e-300, -0.0, 0.0, 1e-300, 1.5, f64::INFINITY];
        for pair in floats.windows(2) {
            assert!(float_key(pair[0]) < float_key(pair[1]), "{pair:?}");
        }
        floats.iter().for_each(|float| assert_eq!(value(float_key(*float), &Type::Float64), Scalar::Float(*float)));
        assert!(int_key(-1, &Type::Int64) < int_key(1, &Type::Int64));
        assert!(int_key(-1, &Type::UInt64) > int_key(1, &Type::UInt64), "the greatest of unsigned ones");
        for ty in [Type::Int64, Type::UInt64] {
            assert_eq!(value(int_key(-7, &ty), &ty), Scalar::Int(-7));
        }
    }

    #[test]
    fn few_distinct_values_of_many_take_little_memory() {
        let budget = Budget::new(10 << 20, None, Default::default());
        let mut share = budget.share();
        let mut weights = Weights::default();
        (0..100_000_u64).for_each(|at| weights.add(at % 10, at % 3, &mut share).unwrap());
        assert!(share.bytes() <= 10 * 96 + 6 * 1024, "{} bytes", share.bytes());
    }

    #[test]
    fn quantiles_of_many_parts_are_those_of_all_values() {
        let budget = Budget::new(10 << 20, None, Default::default());
        let mut share = budget.share();
        let mut all: Vec<(f64, u64)> = (0..50_000_u64).map(|at| ((at * 7919 % 9001) as f64, at % 4)).collect();
        let mut weights = Weights::default();
        for part in all.chunks(20_000) {
            let mut more = Weights::default();
            part.iter().for_each(|(value, weight)| more.add(float_key(*value), *weight, &mut share).unwrap());
            weights.merge(more, &mut share).unwrap();
        }
        assert!(
            weights.sorted.len() <= 9001 && weights.ones.capacity().max(weights.others.capacity()) <= 2 * 9001,
            "distinct values alone are kept"
        );
        all.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let total: u64 = all.iter().map(|(_, weight)| weight).sum();
        for level in [0.0, 0.25, 0.5, 0.95, 1.0] {
            let mut sum = 0_u64;
            let expected = all.iter().find(|(_, weight)| {
                sum += weight;
                sum as f64 >= (total as f64 * level).ceil()
            });
            let mut copy = Weights::default();
            let mut share = budget.share();
            copy.merge(weights.clone(), &mut share).unwrap();
            let found = copy.quantile(level, &Type::Float64, &mut share).unwrap();
            assert_eq!(found, Scalar::Float(expected.unwrap().0), "{level}");
            assert_eq!(share.bytes(), 0, "all of it is given back");
        }
    }
}
