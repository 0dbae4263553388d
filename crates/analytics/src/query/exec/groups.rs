//! Groups of rows by their keys.
//!
//! A row's keys become bytes that are equal exactly where the keys are, and a map from these to numbers says which group it is. Numbers are
//! given in the order of appearance, which is that of the result without an `ORDER BY`. A key of one text is its bytes; of several keys each
//! text has its length before it, so that `('a', 'bc')` and `('ab', 'c')` are two groups. Where the one key is a text of a dictionary, its group
//! is looked up once for each text of the dictionary.

use arrow_array::{Array, BinaryArray};
use hashbrown::HashMap;

use super::PART_ROWS;
use super::budget::Share;
use crate::Result;
use crate::query::plan::Expr;
use crate::query::vector::{Builder, Keyed, Rows, Scalar, Vector};

/// Memory in bytes of an entry of a map besides its key on the heap: its slot, which twice as many have, and what the allocator adds.
pub(super) const ENTRY: usize = 64;

/// The groups so far. Floats are keys by their bits: 0 and -0 are two groups, and all NaN are one.
#[derive(Debug)]
pub(super) struct Groups<'m> {
    numbers: HashMap<Box<[u8]>, u32>,
    keys: Vec<Builder>,
    share: Share<'m>,
    buffer: Vec<u8>,
    /// The dictionary of the last batch, and the groups of its texts.
    dictionary: Option<(BinaryArray, Vec<u32>)>,
}

/// In place of the group of a text that has not appeared yet.
const UNKNOWN: u32 = u32::MAX;

/// The groups of some rows, by number.
#[derive(Debug, Clone, Copy)]
pub(super) enum GroupNumbers<'g> {
    /// All rows are in group 0.
    Whole,
    Each(&'g [u32]),
}

impl GroupNumbers<'_> {
    pub(super) fn get(self, row: usize) -> usize {
        match self {
            Self::Whole => 0,
            Self::Each(numbers) => numbers[row] as usize,
        }
    }
}

impl<'m> Groups<'m> {
    pub(super) fn new(keys: &[Expr], share: Share<'m>) -> Self {
        let keys = keys.iter().map(|key| Builder::new(&key.ty)).collect();
        Self { numbers: HashMap::new(), keys, share, buffer: Vec::new(), dictionary: None }
    }

    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Returns the group of each row, by number, after adding the new ones.
    ///
    /// One look-up for each row, and memory for each new group alone.
    pub(super) fn assign(&mut self, keys: &[Vector], len: usize) -> Result<Vec<u32>> {
        match keys {
            [Vector::Keyed(keyed)] => self.assign_keyed(keys, keyed),
            _ => (0..len).map(|row| self.group(keys, row)).collect(),
        }
    }

    fn assign_keyed(&mut self, keys: &[Vector], keyed: &Keyed) -> Result<Vec<u32>> {
        // A dictionary is the same one where its offsets and its bytes are in the same places, not reused while it is kept.
        let is_same = |(last, _): &(BinaryArray, Vec<u32>)| {
            let next = &keyed.dictionary;
            std::ptr::eq(last.value_offsets(), next.value_offsets())
                && std::ptr::eq(last.value_data(), next.value_data())
        };
        let known = self.dictionary.take().filter(is_same);
        let unknown = || (keyed.dictionary.clone(), vec![UNKNOWN; keyed.dictionary.len()]);
        let (dictionary, mut groups) = known.unwrap_or_else(unknown);
        let mut numbers = Vec::with_capacity(keyed.keys.len());
        for (row, key) in keyed.keys.values().iter().enumerate() {
            let group = &mut groups[*key as usize];
            if *group == UNKNOWN {
                *group = self.group(keys, row)?;
            }
            numbers.push(*group);
        }
        self.dictionary = Some((dictionary, groups));
        Ok(numbers)
    }

    /// Takes over the groups of another part of the rows, which are behind these, and returns their numbers here.
    pub(super) fn merge(&mut self, other: Self) -> Result<Vec<u32>> {
        let len = other.len();
        if self.keys.is_empty() {
            return Ok(vec![0; len]);
        }
        let (keys, _share) = other.finish();
        let mut numbers = Vec::with_capacity(len);
        for part in (Rows { columns: keys, len }).parts(PART_ROWS) {
            self.share.check()?;
            numbers.extend(self.assign(&part.columns, part.len)?);
        }
        Ok(numbers)
    }

    fn group(&mut self, keys: &[Vector], row: usize) -> Result<u32> {
        self.buffer.clear();
        encode(keys, row, &mut self.buffer);
        if let Some(number) = self.numbers.get(self.buffer.as_slice()) {
            return Ok(*number);
        }
        // Once as the key, once as the columns.
        self.share.grow(2 * self.buffer.len() + ENTRY + 8 * keys.len())?;
        let number = self.numbers.len() as u32;
        self.numbers.insert(self.buffer.as_slice().into(), number);
        for (builder, key) in self.keys.iter_mut().zip(keys) {
            builder.push_row(key, row);
        }
        Ok(number)
    }

    /// Adds the one group of a query without keys.
    pub(super) fn add_whole(&mut self) {
        self.numbers.insert(Box::default(), 0);
    }

    /// Returns the keys' columns, and their memory.
    pub(super) fn finish(self) -> (Vec<Vector>, Share<'m>) {
        let Self { numbers, keys, mut share, .. } = self;
        let groups = numbers.len();
        drop(numbers);
        let columns: Vec<Vector> = keys.into_iter().map(Builder::finish).collect();
        share.shrink_to(columns.iter().map(|column| column.bytes(groups)).sum());
        (columns, share)
    }
}

/// Appends a key that is equal where the values of the row are.
pub(super) fn encode(vectors: &[Vector], row: usize, into: &mut Vec<u8>) {
    let one = vectors.len() == 1;
    for vector in vectors {
        match vector {
            Vector::Ints(values) => into.extend_from_slice(&values.value(row).to_le_bytes()),
            Vector::Floats(values) => into.extend_from_slice(&float_bits(values.value(row)).to_le_bytes()),
            Vector::Texts(values) => encode_text(values.value(row), one, into),
            Vector::Keyed(values) => encode_text(values.value(row), one, into),
            Vector::Const(Scalar::Text(text)) => encode_text(text, one, into),
            _ => encode_scalar(&vector.scalar(row), into),
        }
    }
}

fn encode_text(text: &[u8], is_only: bool, into: &mut Vec<u8>) {
    if !is_only {
        into.extend_from_slice(&(text.len() as u32).to_le_bytes());
    }
    into.extend_from_slice(text);
}

fn encode_scalar(scalar: &Scalar, into: &mut Vec<u8>) {
    match scalar {
        Scalar::Int(value) => into.extend_from_slice(&value.to_le_bytes()),
        Scalar::Float(value) => into.extend_from_slice(&float_bits(*value).to_le_bytes()),
        Scalar::Text(text) => encode_text(text, false, into),
        Scalar::List(items) => {
            into.extend_from_slice(&(items.len() as u32).to_le_bytes());
            items.iter().for_each(|item| encode_scalar(item, into));
        }
    }
}

/// The bits of a float as a key: all NaN have those of one; 0 and -0 stay two.
pub(super) fn float_bits(value: f64) -> u64 {
    if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() }
}

#[cfg(test)]
mod tests {
    use arrow_array::UInt32Array;

    use super::*;
    use crate::query::Type;
    use crate::query::exec::Budget;
    use crate::query::plan::ExprKind;
    use crate::query::position::Position;

    #[test]
    fn dictionaries_that_share_offsets_and_not_bytes_are_two() {
        let budget = Budget::new(1 << 20, None, Default::default());
        let key = Expr { kind: ExprKind::Column(0), ty: Type::String, position: Position::default() };
        let mut groups = Groups::new(&[key], budget.share());
        let first = BinaryArray::from_iter_values(["a", "b"]);
        let bytes = BinaryArray::from_iter_values(["c", "a"]);
        let second = BinaryArray::new(first.offsets().clone(), bytes.values().clone(), None);
        let mut assign = |dictionary: &BinaryArray| {
            let keyed = Keyed { keys: UInt32Array::from(vec![0, 1]), dictionary: dictionary.clone() };
            groups.assign(&[Vector::Keyed(keyed)], 2).unwrap()
        };
        assert_eq!(assign(&first), [0, 1]);
        assert_eq!(assign(&first), [0, 1]);
        assert_eq!(assign(&second), [2, 0]);
    }
}
