//! States of aggregate functions, one for each group.
//!
//! A call has one state for each group, in a vector by the number of the group. States that grow with the data (quantiles,
//! `topK`, `DISTINCT`) count their memory, which is what bounds a query. The values are those of ClickHouse over all rows.

use std::cmp::Ordering;

use hashbrown::{HashMap, HashSet};

use super::budget::{Held, Share};
use super::compare::natural;
use super::groups::{ENTRY, GroupNumbers, encode};
use super::quantile::{Weights, float_key, int_key};
use crate::Result;
use crate::query::Type;
use crate::query::plan::{AggregateCall, AggregateFunction};
use crate::query::vector::{Builder, Numbers, Scalar, Vector};

/// The states of one call, by the number of the group.
///
/// | function | state of a group | memory |
/// |---|---|---|
/// | `count` | a count | 8 bytes |
/// | `sum` | an integer that wraps around, or a float | 8 bytes |
/// | `avg` | sum and count | 16 bytes |
/// | `min`, `max`, `first_value`, `last_value` | the value | its own |
/// | `argMin`, `argMax` | the value, and that by which it was chosen | both |
/// | quantiles | sorted values with their weights, and those that came last | at most 96 bytes a distinct value, and 6 KiB |
/// | `topK` | weight, order and value by its encoding | twice its encoding and 128 bytes a distinct value |
/// | with `DISTINCT` | besides, the encodings of the group's values | each, and 64 bytes |
#[derive(Debug)]
pub(super) struct States<'m> {
    call: AggregateCall,
    state: State,
    /// The arguments that each group has seen, where the call is `DISTINCT`.
    seen: HashSet<Box<[u8]>>,
    share: Share<'m>,
}

/// Weights by the encoded value, with the order of its appearance and the value.
type Counted = HashMap<Box<[u8]>, (u64, usize, Scalar)>;

/// The value so far, and that by which it is chosen, where it is another.
type Chosen = Option<(Scalar, Option<Scalar>)>;

#[derive(Debug)]
enum State {
    Count(Vec<i64>),
    SumInts(Vec<i64>),
    SumFloats(Vec<f64>),
    AvgInts(Vec<(i64, u64)>),
    AvgFloats(Vec<(f64, u64)>),
    /// The value, and that by which it is chosen, where it is another.
    Chosen(Vec<Chosen>),
    Quantile(Vec<Weights>),
    Top(Vec<Counted>),
}

impl State {
    /// Number of groups, and the size in bytes of what one has at once.
    fn size(&self) -> (usize, usize) {
        fn of<T>(states: &[T]) -> (usize, usize) {
            (states.len(), size_of::<T>())
        }
        match self {
            Self::Count(states) | Self::SumInts(states) => of(states),
            Self::SumFloats(states) => of(states),
            Self::AvgInts(states) => of(states),
            Self::AvgFloats(states) => of(states),
            Self::Chosen(states) => of(states),
            Self::Quantile(states) => of(states),
            Self::Top(states) => of(states),
        }
    }
}

impl<'m> States<'m> {
    pub(super) fn new(call: &AggregateCall, share: Share<'m>) -> Self {
        use AggregateFunction as F;
        let is_float = call.arguments.first().is_some_and(|argument| argument.ty == Type::Float64);
        let state = match call.function {
            F::Count => State::Count(Vec::new()),
            F::Sum if is_float => State::SumFloats(Vec::new()),
            F::Sum => State::SumInts(Vec::new()),
            F::Avg if is_float => State::AvgFloats(Vec::new()),
            F::Avg => State::AvgInts(Vec::new()),
            F::QuantileExactWeighted(_) => State::Quantile(Vec::new()),
            F::TopK(..) => State::Top(Vec::new()),
            F::Min | F::Max | F::ArgMin | F::ArgMax | F::First | F::Last => State::Chosen(Vec::new()),
        };
        Self { call: call.clone(), state, seen: HashSet::new(), share }
    }

    /// Makes room for this many groups.
    pub(super) fn resize(&mut self, groups: usize) -> Result<()> {
        let (before, width) = self.state.size();
        self.share.grow(groups.saturating_sub(before) * width)?;
        match &mut self.state {
            State::Count(states) | State::SumInts(states) => states.resize(groups, 0),
            State::SumFloats(states) => states.resize(groups, 0.0),
            State::AvgInts(states) => states.resize(groups, (0, 0)),
            State::AvgFloats(states) => states.resize(groups, (0.0, 0)),
            State::Chosen(states) => states.resize(groups, None),
            State::Quantile(states) => states.resize_with(groups, Weights::default),
            State::Top(states) => states.resize_with(groups, HashMap::new),
        }
        Ok(())
    }

    /// Adds this many rows, of which these are the groups. The arguments and the condition are evaluated.
    pub(super) fn update(
        &mut self,
        groups: GroupNumbers<'_>,
        len: usize,
        arguments: &[Vector],
        condition: Option<&Vector>,
    ) -> Result<()> {
        let truths = condition.map(|condition| condition.truths(len));
        let is_wanted = |row: &usize| truths.as_ref().is_none_or(|truths| truths[*row]);
        if self.call.is_distinct {
            let mut rows = Vec::new();
            for row in (0..len).filter(is_wanted) {
                if self.is_new(groups.get(row) as u32, arguments, row)? {
                    rows.push(row);
                }
            }
            self.add(groups, arguments, rows.into_iter())
        } else if truths.is_none() {
            self.add(groups, arguments, 0..len)
        } else {
            self.add(groups, arguments, (0..len).filter(is_wanted))
        }
    }

    fn is_new(&mut self, group: u32, arguments: &[Vector], row: usize) -> Result<bool> {
        let mut key = group.to_le_bytes().to_vec();
        encode(arguments, row, &mut key);
        if self.seen.contains(key.as_slice()) {
            return Ok(false);
        }
        self.share.grow(key.len() + ENTRY)?;
        self.seen.insert(key.into());
        Ok(true)
    }

    fn add(&mut self, groups: GroupNumbers<'_>, arguments: &[Vector], rows: impl Iterator<Item = usize>) -> Result<()> {
        let ty = self.call.arguments.first().map_or(&Type::UInt8, |argument| &argument.ty);
        match &mut self.state {
            State::Count(states) => fold(states, groups, rows, |count, _| count + 1),
            State::SumInts(states) => {
                let values = arguments[0].ints();
                fold(states, groups, rows, |sum, row| sum.wrapping_add(values.get(row)));
            }
            State::SumFloats(states) => match arguments[0].numbers(ty) {
                Numbers::Floats(values) => fold(states, groups, rows, |sum, row| sum + values[row]),
                values => fold(states, groups, rows, |sum, row| sum + values.get(row)),
            },
            State::AvgInts(states) => {
                let values = arguments[0].ints();
                fold(states, groups, rows, |(sum, count), row| (sum.wrapping_add(values.get(row)), count + 1));
            }
            State::AvgFloats(states) => {
                let values = arguments[0].numbers(ty);
                fold(states, groups, rows, |(sum, count), row| (sum + values.get(row), count + 1));
            }
            State::Chosen(_) => return self.choose(groups, arguments, rows),
            State::Quantile(_) => return self.weigh(groups, arguments, rows),
            State::Top(_) => return self.count_top(groups, arguments, rows),
        }
        Ok(())
    }

    /// The functions that keep one value: the least, the greatest, the first, the last, by the last argument. Of rows that are equal the first
    /// stays, but for `last_value`.
    fn choose(
        &mut self,
        groups: GroupNumbers<'_>,
        arguments: &[Vector],
        rows: impl Iterator<Item = usize>,
    ) -> Result<()> {
        let State::Chosen(states) = &mut self.state else { return Ok(()) };
        let by = arguments.last().expect("each of these functions has an argument");
        let by_type = &self.call.arguments.last().expect("each of these functions has an argument").ty;
        let wanted = wanted(self.call.function);
        for row in rows {
            let state = &mut states[groups.get(row)];
            let is_better = match (&state, wanted) {
                (None, _) => true,
                (Some(_), None) => self.call.function == AggregateFunction::Last,
                (Some((value, key)), Some(wanted)) => {
                    let best = key.as_ref().unwrap_or(value);
                    is_better(by, row, best, by_type, wanted)
                }
            };
            if is_better {
                let before = state.as_ref().map_or(0, |(value, key)| outside(value, key.as_ref()));
                let key = (arguments.len() > 1).then(|| by.scalar(row));
                let value = arguments[0].scalar(row);
                self.share.grow(outside(&value, key.as_ref()))?;
                self.share.shrink_to(self.share.bytes() - before);
                *state = Some((value, key));
            }
        }
        Ok(())
    }

    /// The states of a quantile. NaN has no order, and is left out.
    fn weigh(
        &mut self,
        groups: GroupNumbers<'_>,
        arguments: &[Vector],
        rows: impl Iterator<Item = usize>,
    ) -> Result<()> {
        let State::Quantile(states) = &mut self.state else { return Ok(()) };
        let weights = arguments[1].ints();
        let share = &mut self.share;
        match &arguments[0] {
            Vector::Floats(values) => {
                let values = values.values();
                for row in rows.filter(|row| !values[*row].is_nan()) {
                    states[groups.get(row)].add(float_key(values[row]), weights.get(row) as u64, share)?;
                }
            }
            values => {
                let ty = &self.call.arguments[0].ty;
                for row in rows {
                    let key = match values.scalar(row) {
                        Scalar::Float(value) if value.is_nan() => continue,
                        Scalar::Float(value) => float_key(value),
                        Scalar::Int(value) => int_key(value, ty),
                        _ => unreachable!("the analysis has checked the types"),
                    };
                    states[groups.get(row)].add(key, weights.get(row) as u64, share)?;
                }
            }
        }
        Ok(())
    }

    /// The states of `topK`: all values with their weights, and the order in which they came, by which ties are decided.
    fn count_top(
        &mut self,
        groups: GroupNumbers<'_>,
        arguments: &[Vector],
        rows: impl Iterator<Item = usize>,
    ) -> Result<()> {
        let State::Top(states) = &mut self.state else { return Ok(()) };
        let weights = arguments.get(1).map(Vector::ints);
        let mut key = Vec::new();
        for row in rows {
            key.clear();
            encode(&arguments[..1], row, &mut key);
            let weight = weights.map_or(1, |weights| weights.get(row) as u64);
            let values = &mut states[groups.get(row)];
            if let Some((sum, ..)) = values.get_mut(key.as_slice()) {
                *sum = sum.wrapping_add(weight);
                continue;
            }
            self.share.grow(2 * key.len() + 2 * ENTRY)?;
            let value = arguments[0].scalar(row);
            values.insert(key.as_slice().into(), (weight, values.len(), value));
        }
        Ok(())
    }

    /// Whether states of several parts of the rows can be merged: not where a value must be counted once in all of them.
    pub(super) fn can_merge(call: &AggregateCall) -> bool {
        !call.is_distinct
    }

    /// Takes over the states of another part of the rows, which are behind these. Its groups have these numbers here, and the room is made.
    pub(super) fn merge(&mut self, other: Self, numbers: &[u32]) -> Result<()> {
        let Self { state: other, share: _other_share, .. } = other;
        let groups = GroupNumbers::Each(numbers);
        let rows = 0..numbers.len();
        match (&mut self.state, other) {
            (State::Count(states), State::Count(more)) => fold(states, groups, rows, |count, at| count + more[at]),
            (State::SumInts(states), State::SumInts(more)) => {
                fold(states, groups, rows, |sum, at| sum.wrapping_add(more[at]));
            }
            (State::SumFloats(states), State::SumFloats(more)) => {
                fold(states, groups, rows, |sum, at| sum + more[at]);
            }
            (State::AvgInts(states), State::AvgInts(more)) => {
                fold(states, groups, rows, |(sum, count), at| (sum.wrapping_add(more[at].0), count + more[at].1));
            }
            (State::AvgFloats(states), State::AvgFloats(more)) => {
                fold(states, groups, rows, |(sum, count), at| (sum + more[at].0, count + more[at].1));
            }
            (State::Chosen(_), State::Chosen(more)) => return self.merge_chosen(more, numbers),
            (State::Quantile(states), State::Quantile(more)) => {
                for (more, number) in more.into_iter().zip(numbers) {
                    self.share.check()?;
                    states[*number as usize].merge(more, &mut self.share)?;
                }
            }
            (State::Top(states), State::Top(more)) => {
                for (more, number) in more.into_iter().zip(numbers) {
                    self.share.check()?;
                    merge_top(&mut states[*number as usize], more, &mut self.share)?;
                }
            }
            _ => unreachable!("both states are of one call"),
        }
        Ok(())
    }

    fn merge_chosen(&mut self, more: Vec<Chosen>, numbers: &[u32]) -> Result<()> {
        let State::Chosen(states) = &mut self.state else { return Ok(()) };
        let by_type = &self.call.arguments.last().expect("each of these functions has an argument").ty;
        let wanted = wanted(self.call.function);
        for (more, number) in more.into_iter().zip(numbers) {
            let Some((value, key)) = more else { continue };
            let state = &mut states[*number as usize];
            let is_better = match (&state, wanted) {
                (None, _) => true,
                (Some(_), None) => self.call.function == AggregateFunction::Last,
                (Some((best, best_key)), Some(wanted)) => {
                    let best = best_key.as_ref().unwrap_or(best);
                    is_better_scalar(key.as_ref().unwrap_or(&value), best, by_type, wanted)
                }
            };
            if is_better {
                self.share.grow(outside(&value, key.as_ref()))?;
                *state = Some((value, key));
            }
        }
        Ok(())
    }

    /// Returns the results, by group.
    pub(super) fn finish(self) -> Result<Held<'m>> {
        let Self { call, state, seen, mut share } = self;
        drop(seen);
        let (groups, _) = state.size();
        // Once more: the results are made out of what the states have.
        share.grow(share.bytes())?;
        let vector = results(&call, state, &mut share)?;
        share.shrink_to(vector.bytes(groups));
        Ok(Held { vector, share })
    }
}

/// The results of states, by group.
fn results(call: &AggregateCall, state: State, share: &mut Share<'_>) -> Result<Vector> {
    let ty = &call.ty;
    let argument = call.arguments.first().map_or(Type::UInt8, |argument| argument.ty.clone());
    let mut results = Builder::new(ty);
    match state {
        State::Count(states) | State::SumInts(states) => return Ok(Vector::from_ints(states)),
        State::SumFloats(states) => return Ok(Vector::from_floats(states)),
        State::AvgFloats(states) => {
            return Ok(Vector::from_floats(states.into_iter().map(|(sum, count)| sum / count as f64).collect()));
        }
        State::AvgInts(states) if *ty == Type::Float64 => {
            let is_signed = argument.integer().is_some_and(|(_, is_signed)| is_signed);
            let sum = |sum: i64| if is_signed { sum as f64 } else { sum as u64 as f64 };
            let avg = states.into_iter().map(|(value, count)| sum(value) / count as f64);
            return Ok(Vector::from_floats(avg.collect()));
        }
        State::AvgInts(states) => {
            let avg = states.into_iter().map(|(sum, count)| {
                // Of no rows it is NaN, which becomes 0.
                ty.wrap((sum as f64 / count as f64).round_ties_even() as i64)
            });
            return Ok(Vector::from_ints(avg.collect()));
        }
        State::Chosen(states) => {
            let value = |state: Option<(Scalar, _)>| state.map_or_else(|| Scalar::default_of(ty), |(value, _)| value);
            states.into_iter().for_each(|state| results.push(value(state)));
        }
        State::Quantile(states) => {
            let AggregateFunction::QuantileExactWeighted(level) = call.function else {
                unreachable!("the state is that of the function")
            };
            for state in states {
                results.push(state.quantile(level, &argument, share)?);
            }
        }
        State::Top(states) => {
            let AggregateFunction::TopK(most, _) = call.function else {
                unreachable!("the state is that of the function")
            };
            for state in states {
                let mut values: Vec<_> = state.into_values().collect();
                values.sort_by_key(|(weight, order, _)| (std::cmp::Reverse(*weight), *order));
                values.truncate(most);
                results.push(Scalar::List(values.into_iter().map(|(.., value)| value).collect()));
            }
        }
    }
    Ok(results.finish())
}

/// Adds each row to the state of its group; to one state without a look at memory, where there is one group.
fn fold<T: Copy>(
    states: &mut [T],
    groups: GroupNumbers<'_>,
    rows: impl Iterator<Item = usize>,
    add: impl Fn(T, usize) -> T,
) {
    match groups {
        GroupNumbers::Whole => states[0] = rows.fold(states[0], add),
        GroupNumbers::Each(numbers) => rows.for_each(|row| {
            let state = &mut states[numbers[row] as usize];
            *state = add(*state, row);
        }),
    }
}

/// Adds the values of another part of the rows, in the order in which they came there.
fn merge_top(values: &mut Counted, more: Counted, share: &mut Share<'_>) -> Result<()> {
    let mut more: Vec<_> = more.into_iter().collect();
    more.sort_unstable_by_key(|(_, (_, order, _))| *order);
    for (key, (weight, _, value)) in more {
        if let Some((sum, ..)) = values.get_mut(&key) {
            *sum = sum.wrapping_add(weight);
            continue;
        }
        share.grow(2 * key.len() + 2 * ENTRY)?;
        let order = values.len();
        values.insert(key, (weight, order, value));
    }
    Ok(())
}

/// Memory in bytes of a chosen value and its key, besides that of the state.
fn outside(value: &Scalar, key: Option<&Scalar>) -> usize {
    value.outside() + key.map_or(0, Scalar::outside)
}

/// How a value compares with the best so far where it is better; `None` for those that are chosen by their order.
fn wanted(function: AggregateFunction) -> Option<Ordering> {
    use AggregateFunction as F;
    match function {
        F::Min | F::ArgMin => Some(Ordering::Less),
        F::Max | F::ArgMax => Some(Ordering::Greater),
        _ => None,
    }
}

/// Whether a row's value is to be taken in place of the best so far. NaN is never better, and anything is better than NaN.
fn is_better(by: &Vector, row: usize, best: &Scalar, ty: &Type, wanted: Ordering) -> bool {
    match (by, best) {
        (Vector::Floats(values), Scalar::Float(best)) => {
            let value = values.value(row);
            (best.is_nan() && !value.is_nan()) || value.partial_cmp(best) == Some(wanted)
        }
        (Vector::Texts(values), Scalar::Text(best)) => values.value(row).cmp(best.as_ref()) == wanted,
        (Vector::Keyed(values), Scalar::Text(best)) => values.value(row).cmp(best.as_ref()) == wanted,
        (Vector::Ints(values), Scalar::Int(best)) if !ty.is_u64() => values.value(row).cmp(best) == wanted,
        (Vector::Const(Scalar::Float(_)), _) => false,
        _ => natural(&by.scalar(row), best, ty) == wanted,
    }
}

/// As [`is_better`], of the best value of another part of the rows.
fn is_better_scalar(value: &Scalar, best: &Scalar, ty: &Type, wanted: Ordering) -> bool {
    match (value, best) {
        (Scalar::Float(value), Scalar::Float(best)) => {
            (best.is_nan() && !value.is_nan()) || value.partial_cmp(best) == Some(wanted)
        }
        _ => natural(value, best, ty) == wanted,
    }
}
