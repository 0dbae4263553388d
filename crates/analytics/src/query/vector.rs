//! Columns of values: arrow arrays of three kinds, constants, and texts by a dictionary.
//!
//! Types of SQL are many, kinds of storage three: 64-bit integers (also booleans, times and intervals), floats, and bytes (texts
//! need not be UTF-8, as in ClickHouse). The type decides what the bits mean: an unsigned 64-bit integer has the bits of a signed
//! one. So each function is written for three kinds, and [`arithmetic`](super::exec) cuts a result to the width of its type.

use std::sync::Arc;

use arrow_array::builder::BinaryBuilder;
use arrow_array::{BinaryArray, Float64Array, Int64Array, UInt32Array};
use bytes::Bytes;

use super::Type;

/// One value. Integers, times and intervals are `Int`; an unsigned 64-bit integer has the bits of a signed one.
#[derive(Debug, Clone)]
pub(super) enum Scalar {
    Int(i64),
    Float(f64),
    Text(Bytes),
    List(Vec<Scalar>),
}

impl PartialEq for Scalar {
    /// Floats are equal by their bits.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Float(a), Self::Float(b)) => a.to_bits() == b.to_bits(),
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::List(a), Self::List(b)) => a == b,
            _ => false,
        }
    }
}

impl Scalar {
    /// The value of an unset column or an empty aggregate.
    pub(super) fn default_of(ty: &Type) -> Self {
        match ty {
            Type::Float64 => Self::Float(0.0),
            Type::String => Self::Text(Bytes::new()),
            Type::Array(_) => Self::List(Vec::new()),
            _ => Self::Int(0),
        }
    }

    /// The number; `None` for texts and lists.
    pub(super) fn number(&self, ty: &Type) -> Option<f64> {
        match self {
            Self::Int(value) if ty.is_u64() => Some(*value as u64 as f64),
            Self::Int(value) => Some(*value as f64),
            Self::Float(value) => Some(*value),
            _ => None,
        }
    }

    /// Memory in bytes.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.outside()
    }

    /// Memory in bytes besides its own.
    pub(super) fn outside(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::List(items) => items.iter().map(Self::bytes).sum(),
            _ => 0,
        }
    }
}

/// The values of some rows. The number of rows is known by who holds it.
///
/// Cloning shares the values, but for a constant. A `Const` has no length, so that it may stand for any number of rows.
///
/// `Keyed` are the texts of a source that has them so: they live as long as a batch, since a few rows keep all of a dictionary.
#[derive(Debug, Clone)]
pub(super) enum Vector {
    Const(Scalar),
    Ints(Int64Array),
    Floats(Float64Array),
    Texts(BinaryArray),
    Keyed(Keyed),
    Lists(Arc<[Vec<Scalar>]>),
}

/// Texts by their positions in a dictionary, whose texts are distinct or not.
#[derive(Debug, Clone)]
pub(super) struct Keyed {
    /// A position for each row.
    pub(super) keys: UInt32Array,
    pub(super) dictionary: BinaryArray,
}

impl Keyed {
    pub(super) fn value(&self, row: usize) -> &[u8] {
        self.dictionary.value(self.keys.value(row) as usize)
    }

    fn values(&self) -> impl Iterator<Item = &[u8]> {
        self.keys.values().iter().map(|key| self.dictionary.value(*key as usize))
    }
}

/// The columns of some rows.
#[derive(Debug, Clone)]
pub(super) struct Rows {
    pub(super) columns: Vec<Vector>,
    pub(super) len: usize,
}

impl Rows {
    /// The rows of these numbers.
    pub(super) fn take(&self, rows: &[u32]) -> Self {
        Self { columns: self.columns.iter().map(|column| column.take(rows)).collect(), len: rows.len() }
    }

    /// Memory in bytes, in which constants are one value.
    pub(super) fn bytes(&self) -> usize {
        let bytes = self.columns.iter().map(|column| match column {
            Vector::Const(scalar) => scalar.bytes(),
            column => column.bytes(self.len),
        });
        bytes.fold(0, usize::saturating_add)
    }

    /// The rows in parts of at most this many.
    pub(super) fn parts(&self, most: usize) -> impl Iterator<Item = Self> {
        (0..self.len).step_by(most).map(move |from| {
            let len = most.min(self.len - from);
            Self { columns: self.columns.iter().map(|column| column.part(from, len)).collect(), len }
        })
    }
}

/// Integers of a vector.
#[derive(Clone, Copy)]
pub(super) enum Ints<'v> {
    One(i64),
    Many(&'v [i64]),
}

impl Ints<'_> {
    pub(super) fn get(self, row: usize) -> i64 {
        match self {
            Self::One(value) => value,
            Self::Many(values) => values[row],
        }
    }
}

/// Numbers of a vector, as floats.
#[derive(Clone, Copy)]
pub(super) enum Numbers<'v> {
    One(f64),
    Floats(&'v [f64]),
    Signed(&'v [i64]),
    Unsigned(&'v [i64]),
}

impl Numbers<'_> {
    pub(super) fn get(self, row: usize) -> f64 {
        match self {
            Self::One(value) => value,
            Self::Floats(values) => values[row],
            Self::Signed(values) => values[row] as f64,
            Self::Unsigned(values) => values[row] as u64 as f64,
        }
    }
}

/// Texts of a vector.
#[derive(Clone, Copy)]
pub(super) enum Texts<'v> {
    One(&'v [u8]),
    Many(&'v BinaryArray),
    Keyed(&'v Keyed),
}

impl<'v> Texts<'v> {
    pub(super) fn get(self, row: usize) -> &'v [u8] {
        match self {
            Self::One(value) => value,
            Self::Many(values) => values.value(row),
            Self::Keyed(values) => values.value(row),
        }
    }
}

impl Vector {
    pub(super) fn from_ints(values: Vec<i64>) -> Self {
        Self::Ints(Int64Array::new(values.into(), None))
    }

    pub(super) fn from_floats(values: Vec<f64>) -> Self {
        Self::Floats(Float64Array::new(values.into(), None))
    }

    pub(super) fn from_texts<T: AsRef<[u8]>>(values: impl IntoIterator<Item = T>) -> Self {
        let mut texts = BinaryBuilder::new();
        values.into_iter().for_each(|value| texts.append_value(value));
        Self::Texts(texts.finish())
    }

    /// The integers, times, booleans or intervals.
    pub(super) fn ints(&self) -> Ints<'_> {
        match self {
            Self::Const(Scalar::Int(value)) => Ints::One(*value),
            Self::Ints(values) => Ints::Many(values.values()),
            _ => unreachable!("the analysis has checked the types"),
        }
    }

    /// The values as floats, by the type, which says whether the bits are signed. Integers beyond 2^53 are rounded.
    pub(super) fn numbers(&self, ty: &Type) -> Numbers<'_> {
        match self {
            Self::Const(scalar) => Numbers::One(scalar.number(ty).expect("the analysis has checked the types")),
            Self::Floats(values) => Numbers::Floats(values.values()),
            Self::Ints(values) if ty.is_u64() => Numbers::Unsigned(values.values()),
            Self::Ints(values) => Numbers::Signed(values.values()),
            _ => unreachable!("the analysis has checked the types"),
        }
    }

    /// The texts.
    pub(super) fn texts(&self) -> Texts<'_> {
        match self {
            Self::Const(Scalar::Text(value)) => Texts::One(value),
            Self::Texts(values) => Texts::Many(values),
            Self::Keyed(values) => Texts::Keyed(values),
            _ => unreachable!("the analysis has checked the types"),
        }
    }

    /// A text is copied: not for loops over all rows, which take [`texts`](Self::texts).
    pub(super) fn scalar(&self, row: usize) -> Scalar {
        match self {
            Self::Const(scalar) => scalar.clone(),
            Self::Ints(values) => Scalar::Int(values.value(row)),
            Self::Floats(values) => Scalar::Float(values.value(row)),
            Self::Texts(values) => Scalar::Text(Bytes::copy_from_slice(values.value(row))),
            Self::Keyed(values) => Scalar::Text(Bytes::copy_from_slice(values.value(row))),
            Self::Lists(values) => Scalar::List(values[row].clone()),
        }
    }

    /// Memory in bytes of a row's value besides that of a number.
    pub(super) fn outside(&self, row: usize) -> usize {
        match self {
            Self::Texts(values) => values.value(row).len(),
            Self::Keyed(values) => values.value(row).len(),
            Self::Lists(values) => size_of::<Vec<Scalar>>() + values[row].iter().map(Scalar::bytes).sum::<usize>(),
            Self::Const(scalar) => scalar.outside(),
            Self::Ints(_) | Self::Floats(_) => 0,
        }
    }

    /// The values of the rows of these numbers.
    pub(super) fn take(&self, rows: &[u32]) -> Self {
        let row = |row: &u32| *row as usize;
        match self {
            Self::Const(scalar) => Self::Const(scalar.clone()),
            Self::Ints(values) => Self::from_ints(rows.iter().map(|at| values.value(row(at))).collect()),
            Self::Floats(values) => Self::from_floats(rows.iter().map(|at| values.value(row(at))).collect()),
            Self::Texts(values) => Self::from_texts(rows.iter().map(|at| values.value(row(at)))),
            Self::Keyed(values) => {
                let keys = rows.iter().map(|at| values.keys.value(row(at))).collect::<Vec<_>>();
                Self::Keyed(Keyed { keys: keys.into(), dictionary: values.dictionary.clone() })
            }
            Self::Lists(values) => Self::Lists(rows.iter().map(|at| values[row(at)].clone()).collect()),
        }
    }

    /// The values of some rows that follow each other.
    ///
    /// Without a copy, but for lists.
    fn part(&self, from: usize, len: usize) -> Self {
        match self {
            Self::Const(scalar) => Self::Const(scalar.clone()),
            Self::Ints(values) => Self::Ints(values.slice(from, len)),
            Self::Floats(values) => Self::Floats(values.slice(from, len)),
            Self::Texts(values) => Self::Texts(values.slice(from, len)),
            Self::Keyed(values) => {
                Self::Keyed(Keyed { keys: values.keys.slice(from, len), dictionary: values.dictionary.clone() })
            }
            Self::Lists(values) => Self::Lists(values[from..from + len].into()),
        }
    }

    /// The same values, of which each row has its own.
    pub(super) fn without_dictionary(self) -> Self {
        match self {
            Self::Keyed(values) => Self::from_texts(values.values()),
            other => other,
        }
    }

    /// Memory in bytes of this many rows, which are all; of a constant or a dictionary, where each row has its own value.
    pub(super) fn bytes(&self, len: usize) -> usize {
        match self {
            Self::Const(scalar @ Scalar::List(_)) => len.saturating_mul(scalar.bytes()),
            Self::Const(scalar) => len.saturating_mul(8 + scalar.outside()),
            Self::Ints(_) | Self::Floats(_) => len.saturating_mul(8),
            Self::Texts(values) => {
                let offsets = values.value_offsets();
                let texts = offsets[offsets.len() - 1] - offsets[0];
                texts as usize + size_of_val(offsets)
            }
            Self::Keyed(values) => values.values().map(<[u8]>::len).sum::<usize>() + 4 * (len + 1),
            Self::Lists(values) => values.iter().flatten().map(Scalar::bytes).sum(),
        }
    }

    /// Whether these rows are true: neither 0 nor empty. Numbers alone.
    pub(super) fn truths(&self, len: usize) -> Vec<bool> {
        match self {
            Self::Const(Scalar::Int(value)) => vec![*value != 0; len],
            Self::Const(Scalar::Float(value)) => vec![*value != 0.0; len],
            Self::Ints(values) => values.values().iter().map(|value| *value != 0).collect(),
            Self::Floats(values) => values.values().iter().map(|value| *value != 0.0).collect(),
            _ => unreachable!("the analysis has checked the types"),
        }
    }
}

/// The numbers of the rows that are true.
pub(super) fn selected(truths: &[bool]) -> Vec<u32> {
    truths.iter().enumerate().filter(|(_, is_true)| **is_true).map(|(row, _)| row as u32).collect()
}

/// A vector under construction.
#[derive(Debug)]
pub(super) enum Builder {
    Ints(Vec<i64>),
    Floats(Vec<f64>),
    Texts(BinaryBuilder),
    Lists(Vec<Vec<Scalar>>),
}

impl Builder {
    pub(super) fn new(ty: &Type) -> Self {
        match ty {
            Type::Float64 => Self::Floats(Vec::new()),
            Type::String => Self::Texts(BinaryBuilder::new()),
            Type::Array(_) => Self::Lists(Vec::new()),
            _ => Self::Ints(Vec::new()),
        }
    }

    /// A builder of a vector of the same kind.
    pub(super) fn like(vector: &Vector) -> Self {
        match vector {
            Vector::Floats(_) | Vector::Const(Scalar::Float(_)) => Self::Floats(Vec::new()),
            Vector::Texts(_) | Vector::Keyed(_) | Vector::Const(Scalar::Text(_)) => Self::Texts(BinaryBuilder::new()),
            Vector::Lists(_) | Vector::Const(Scalar::List(_)) => Self::Lists(Vec::new()),
            Vector::Ints(_) | Vector::Const(Scalar::Int(_)) => Self::Ints(Vec::new()),
        }
    }

    /// Appends a row of a vector.
    pub(super) fn push_row(&mut self, vector: &Vector, row: usize) {
        match (&mut *self, vector) {
            (Self::Texts(values), Vector::Texts(more)) => values.append_value(more.value(row)),
            (Self::Texts(values), Vector::Keyed(more)) => values.append_value(more.value(row)),
            _ => self.push(vector.scalar(row)),
        }
    }

    pub(super) fn push(&mut self, scalar: Scalar) {
        match (self, scalar) {
            (Self::Ints(values), Scalar::Int(value)) => values.push(value),
            (Self::Floats(values), Scalar::Float(value)) => values.push(value),
            (Self::Texts(values), Scalar::Text(value)) => values.append_value(value),
            (Self::Lists(values), Scalar::List(value)) => values.push(value),
            _ => unreachable!("the analysis has checked the types"),
        }
    }

    /// Appends the first rows of a vector.
    pub(super) fn extend(&mut self, vector: &Vector, len: usize) {
        match (&mut *self, vector) {
            (Self::Ints(values), Vector::Ints(more)) => values.extend_from_slice(&more.values()[..len]),
            (Self::Floats(values), Vector::Floats(more)) => values.extend_from_slice(&more.values()[..len]),
            _ => (0..len).for_each(|row| self.push_row(vector, row)),
        }
    }

    pub(super) fn finish(self) -> Vector {
        match self {
            Self::Ints(values) => Vector::from_ints(values),
            Self::Floats(values) => Vector::from_floats(values),
            Self::Texts(mut values) => Vector::Texts(values.finish()),
            Self::Lists(values) => Vector::Lists(values.into()),
        }
    }
}
