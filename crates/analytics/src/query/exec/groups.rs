//! Groups of rows by their keys.
//!
//! A row's keys become bytes that are equal exactly where the keys are, and a map from these to numbers says which group it is. Numbers are
//! given in the order of appearance, which is that of the result without an `ORDER BY`. A key of one text is its bytes; of several keys each
//! text has its length before it, so that `('a', 'bc')` and `('ab', 'c')` are two groups.

use hashbrown::HashMap;

use super::budget::Share;
use crate::Result;
use crate::query::plan::Expr;
use crate::query::vector::{Builder, Scalar, Vector};

/// Memory in bytes of an entry of a map besides its key on the heap: its slot, which twice as many have, and what the allocator adds.
pub(super) const ENTRY: usize = 64;

/// The groups so far. Floats are keys by their bits: 0 and -0 are two groups, and all NaN are one.
#[derive(Debug)]
pub(super) struct Groups<'m> {
    numbers: HashMap<Box<[u8]>, u32>,
    keys: Vec<Builder>,
    share: Share<'m>,
    buffer: Vec<u8>,
}

impl<'m> Groups<'m> {
    pub(super) fn new(keys: &[Expr], share: Share<'m>) -> Self {
        let keys = keys.iter().map(|key| Builder::new(&key.ty)).collect();
        Self { numbers: HashMap::new(), keys, share, buffer: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Returns the group of each row, by number, after adding the new ones.
    ///
    /// One look-up for each row, and memory for each new group alone.
    pub(super) fn assign(&mut self, keys: &[Vector], len: usize) -> Result<Vec<u32>> {
        (0..len).map(|row| self.group(keys, row)).collect()
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
            Vector::Texts(values) if one => into.extend_from_slice(values.value(row)),
            _ => encode_scalar(&vector.scalar(row), into),
        }
    }
}

fn encode_scalar(scalar: &Scalar, into: &mut Vec<u8>) {
    match scalar {
        Scalar::Int(value) => into.extend_from_slice(&value.to_le_bytes()),
        Scalar::Float(value) => into.extend_from_slice(&float_bits(*value).to_le_bytes()),
        Scalar::Text(text) => {
            into.extend_from_slice(&(text.len() as u32).to_le_bytes());
            into.extend_from_slice(text);
        }
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
