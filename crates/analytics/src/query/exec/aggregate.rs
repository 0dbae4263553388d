//! States of aggregate functions, one for each group.
//!
//! A call has one state for each group, in a vector by the number of the group. States that grow with the data (quantiles,
//! `topK`, `DISTINCT`) count their memory, which is what bounds a query. The values are those of ClickHouse over all rows.

use std::cmp::Ordering;

use hashbrown::{HashMap, HashSet};

use super::compare::natural;
use super::groups::{encode, float_bits};
use crate::query::Type;
use crate::query::plan::{AggregateCall, AggregateFunction};
use crate::query::vector::{Builder, Scalar, Vector};

/// The states of one call.
#[derive(Debug)]
pub(super) struct States {
    call: AggregateCall,
    state: State,
    /// The arguments that each group has seen, where the call is `DISTINCT`.
    seen: HashSet<Box<[u8]>>,
    bytes: usize,
}

/// Weights by the encoded value, with the order of its appearance and the value.
type Counted = HashMap<Box<[u8]>, (u64, usize, Scalar)>;

#[derive(Debug)]
enum State {
    Count(Vec<i64>),
    SumInts(Vec<i64>),
    SumFloats(Vec<f64>),
    AvgInts(Vec<(i64, u64)>),
    AvgFloats(Vec<(f64, u64)>),
    /// The value, and that by which it is chosen, where it is another.
    Chosen(Vec<Option<(Scalar, Option<Scalar>)>>),
    /// Weights by the bits of the value.
    Quantile(Vec<HashMap<i64, u64>>),
    Top(Vec<Counted>),
}

impl States {
    pub(super) fn new(call: &AggregateCall) -> Self {
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
        Self { call: call.clone(), state, seen: HashSet::new(), bytes: 0 }
    }

    /// Memory in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Makes room for this many groups.
    pub(super) fn resize(&mut self, groups: usize) {
        match &mut self.state {
            State::Count(states) | State::SumInts(states) => states.resize(groups, 0),
            State::SumFloats(states) => states.resize(groups, 0.0),
            State::AvgInts(states) => states.resize(groups, (0, 0)),
            State::AvgFloats(states) => states.resize(groups, (0.0, 0)),
            State::Chosen(states) => states.resize(groups, None),
            State::Quantile(states) => states.resize_with(groups, HashMap::new),
            State::Top(states) => states.resize_with(groups, HashMap::new),
        }
        self.bytes = self.bytes.max(groups * 48);
    }

    /// Adds rows, of which these are the groups. The arguments and the condition are evaluated.
    pub(super) fn update(&mut self, groups: &[u32], arguments: &[Vector], condition: Option<&Vector>) {
        let truths = condition.map(|condition| condition.truths(groups.len()));
        let mut rows: Box<dyn Iterator<Item = usize>> = Box::new(0..groups.len());
        if let Some(truths) = &truths {
            rows = Box::new(rows.filter(|row| truths[*row]));
        }
        if self.call.is_distinct {
            let rows: Vec<usize> = rows.filter(|row| self.is_new(groups[*row], arguments, *row)).collect();
            self.add(groups, arguments, rows.into_iter());
        } else if truths.is_none() {
            self.add(groups, arguments, 0..groups.len());
        } else {
            self.add(groups, arguments, rows);
        }
    }

    fn is_new(&mut self, group: u32, arguments: &[Vector], row: usize) -> bool {
        let mut key = group.to_le_bytes().to_vec();
        encode(arguments, row, &mut key);
        let size = key.len() + 32;
        let is_new = self.seen.insert(key.into());
        self.bytes += if is_new { size } else { 0 };
        is_new
    }

    fn add(&mut self, groups: &[u32], arguments: &[Vector], rows: impl Iterator<Item = usize>) {
        let group = |row: usize| groups[row] as usize;
        let ty = self.call.arguments.first().map_or(&Type::UInt8, |argument| &argument.ty);
        match &mut self.state {
            State::Count(states) => rows.for_each(|row| states[group(row)] += 1),
            State::SumInts(states) => {
                let values = arguments[0].ints();
                rows.for_each(|row| states[group(row)] = states[group(row)].wrapping_add(values.get(row)));
            }
            State::SumFloats(states) => {
                let values = arguments[0].numbers(ty);
                rows.for_each(|row| states[group(row)] += values.get(row));
            }
            State::AvgInts(states) => {
                let values = arguments[0].ints();
                rows.for_each(|row| {
                    let (sum, count) = &mut states[group(row)];
                    *sum = sum.wrapping_add(values.get(row));
                    *count += 1;
                });
            }
            State::AvgFloats(states) => {
                let values = arguments[0].numbers(ty);
                rows.for_each(|row| {
                    let (sum, count) = &mut states[group(row)];
                    *sum += values.get(row);
                    *count += 1;
                });
            }
            State::Chosen(_) => self.choose(groups, arguments, rows),
            State::Quantile(_) => self.weigh(groups, arguments, rows),
            State::Top(_) => self.count_top(groups, arguments, rows),
        }
    }

    fn choose(&mut self, groups: &[u32], arguments: &[Vector], rows: impl Iterator<Item = usize>) {
        use AggregateFunction as F;
        let State::Chosen(states) = &mut self.state else { return };
        let by = arguments.last().expect("each of these functions has an argument");
        let by_type = &self.call.arguments.last().expect("each of these functions has an argument").ty;
        let wanted = match self.call.function {
            F::Min | F::ArgMin => Some(Ordering::Less),
            F::Max | F::ArgMax => Some(Ordering::Greater),
            _ => None,
        };
        for row in rows {
            let state = &mut states[groups[row] as usize];
            let is_better = match (&state, wanted) {
                (None, _) => true,
                (Some(_), None) => self.call.function == F::Last,
                (Some((value, key)), Some(wanted)) => {
                    let best = key.as_ref().unwrap_or(value);
                    is_better(by, row, best, by_type, wanted)
                }
            };
            if is_better {
                let key = (arguments.len() > 1).then(|| by.scalar(row));
                let value = arguments[0].scalar(row);
                self.bytes += if state.is_none() { value.bytes() } else { 0 };
                *state = Some((value, key));
            }
        }
    }

    fn weigh(&mut self, groups: &[u32], arguments: &[Vector], rows: impl Iterator<Item = usize>) {
        let State::Quantile(states) = &mut self.state else { return };
        let weights = arguments[1].ints();
        for row in rows {
            let bits = match arguments[0].scalar(row) {
                Scalar::Float(value) if value.is_nan() => continue,
                Scalar::Float(value) => float_bits(value) as i64,
                Scalar::Int(value) => value,
                _ => unreachable!("the analysis has checked the types"),
            };
            let values = &mut states[groups[row] as usize];
            let before = values.len();
            let weight = values.entry(bits).or_insert(0);
            *weight = weight.wrapping_add(weights.get(row) as u64);
            self.bytes += (values.len() - before) * 32;
        }
    }

    fn count_top(&mut self, groups: &[u32], arguments: &[Vector], rows: impl Iterator<Item = usize>) {
        let State::Top(states) = &mut self.state else { return };
        let weights = arguments.get(1).map(Vector::ints);
        let mut key = Vec::new();
        for row in rows {
            key.clear();
            encode(&arguments[..1], row, &mut key);
            let weight = weights.map_or(1, |weights| weights.get(row) as u64);
            let values = &mut states[groups[row] as usize];
            if let Some((sum, ..)) = values.get_mut(key.as_slice()) {
                *sum = sum.wrapping_add(weight);
                continue;
            }
            let value = arguments[0].scalar(row);
            self.bytes += key.len() + value.bytes() + 64;
            values.insert(key.as_slice().into(), (weight, values.len(), value));
        }
    }

    /// Returns the results, by group.
    pub(super) fn finish(self) -> Vector {
        let ty = self.call.ty;
        let argument = self.call.arguments.first().map_or(Type::UInt8, |argument| argument.ty.clone());
        let mut results = Builder::new(&ty);
        match self.state {
            State::Count(states) | State::SumInts(states) => return Vector::from_ints(states),
            State::SumFloats(states) => return Vector::from_floats(states),
            State::AvgFloats(states) => {
                return Vector::from_floats(states.into_iter().map(|(sum, count)| sum / count as f64).collect());
            }
            State::AvgInts(states) if ty == Type::Float64 => {
                let is_signed = argument.integer().is_some_and(|(_, is_signed)| is_signed);
                let sum = |sum: i64| if is_signed { sum as f64 } else { sum as u64 as f64 };
                let avg = states.into_iter().map(|(value, count)| sum(value) / count as f64);
                return Vector::from_floats(avg.collect());
            }
            State::AvgInts(states) => {
                let avg = states.into_iter().map(|(sum, count)| {
                    // Of no rows it is NaN, which becomes 0.
                    ty.wrap((sum as f64 / count as f64).round_ties_even() as i64)
                });
                return Vector::from_ints(avg.collect());
            }
            State::Chosen(states) => {
                let value =
                    |state: Option<(Scalar, _)>| state.map_or_else(|| Scalar::default_of(&ty), |(value, _)| value);
                states.into_iter().for_each(|state| results.push(value(state)));
            }
            State::Quantile(states) => {
                let AggregateFunction::QuantileExactWeighted(level) = self.call.function else {
                    unreachable!("the state is that of the function")
                };
                states.into_iter().for_each(|state| results.push(quantile(state, level, &argument)));
            }
            State::Top(states) => {
                let AggregateFunction::TopK(most, _) = self.call.function else {
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
        results.finish()
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
        (Vector::Ints(values), Scalar::Int(best)) if !ty.is_u64() => values.value(row).cmp(best) == wanted,
        (Vector::Const(Scalar::Float(_)), _) => false,
        _ => natural(&by.scalar(row), best, ty) == wanted,
    }
}

/// The value at a level of the sum of all weights.
fn quantile(weights: HashMap<i64, u64>, level: f64, ty: &Type) -> Scalar {
    let is_float = *ty == Type::Float64;
    let value = |bits: i64| if is_float { Scalar::Float(f64::from_bits(bits as u64)) } else { Scalar::Int(bits) };
    let total = weights.values().fold(0_u64, |sum, weight| sum.wrapping_add(*weight));
    let mut values: Vec<(Scalar, u64)> = weights.into_iter().map(|(bits, weight)| (value(bits), weight)).collect();
    values.sort_by(|(a, _), (b, _)| natural(a, b, ty));
    let threshold = (total as f64 * level).ceil();
    let mut sum = 0_u64;
    for (value, weight) in &values {
        sum = sum.wrapping_add(*weight);
        if sum as f64 >= threshold {
            return value.clone();
        }
    }
    match values.pop() {
        Some((last, _)) => last,
        None if is_float => Scalar::Float(f64::NAN),
        None => Scalar::default_of(ty),
    }
}
