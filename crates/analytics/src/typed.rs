//! Events whose columns have names and fixed positions.
//!
//! A derived event borrows: [`TypedEvent::with_point`] hands its values to a function as a [`PointRef`], and numbers are written as text into a
//! [`Scratch`] on the stack, so that an event goes from a struct into the sink's buffer without an allocation
//! (`tests/allocations.rs` counts them). The two field traits say how a Rust value becomes a column; implement one for a type of your own.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::{PointRef, Schema};

/// A type whose values are written as data points. `#[derive(Event)]` (feature `derive`) implements it for a struct; see there.
///
/// ```
/// use std::sync::LazyLock;
///
/// use isobar_analytics::{PointRef, Schema, TypedEvent};
///
/// struct Visit {
///     page: String,
///     milliseconds: f64,
/// }
///
/// impl TypedEvent for Visit {
///     fn schema() -> &'static Schema {
///         static SCHEMA: LazyLock<Schema> =
///             LazyLock::new(|| Schema::new("visits").with_blobs(["page"]).with_doubles(["milliseconds"]));
///         &SCHEMA
///     }
///
///     fn with_point<R>(&self, use_point: impl FnOnce(&PointRef<'_>) -> R) -> R {
///         use_point(&PointRef::new(None, &[self.page.as_bytes()], &[self.milliseconds]))
///     }
/// }
///
/// let visit = Visit { page: "/home".to_owned(), milliseconds: 12.5 };
/// assert_eq!(visit.with_point(|point| point.to_point()).doubles, [12.5]);
/// assert_eq!(Visit::schema().position("page").unwrap().to_string(), "blob1");
/// ```
///
/// By hand it is worth implementing where the columns depend on the value; else derive it.
pub trait TypedEvent {
    /// Returns the names of the columns.
    fn schema() -> &'static Schema
    where
        Self: Sized;

    /// Calls a function with the value as a data point. No allocation where the type is derived.
    ///
    /// The point lives as long as the call: what is to be kept is [copied](PointRef::to_point).
    fn with_point<R>(&self, use_point: impl FnOnce(&PointRef<'_>) -> R) -> R;
}

/// A value that is written as a blob or as the index: text, bytes, and as decimal text whole numbers; an `Option` that is `None` is
/// empty.
///
/// ```
/// use isobar_analytics::{BlobField, Scratch};
///
/// /// The name of a plan.
/// enum Plan { Free, Paid }
///
/// impl BlobField for Plan {
///     fn as_blob<'a>(&'a self, _: &'a mut Scratch) -> &'a [u8] {
///         match self { Self::Free => b"free", Self::Paid => b"paid" }
///     }
/// }
/// assert_eq!(Plan::Paid.as_blob(&mut Scratch::new()), b"paid");
/// assert_eq!(404_u16.as_blob(&mut Scratch::new()), b"404");
/// ```
///
/// | type | blob | most bytes |
/// |---|---|---|
/// | `str`, `String`, `[u8]`, `Vec<u8>`, `Bytes`, and references | as it is | not bounded |
/// | `[u8; N]` | as it is | `N` |
/// | `u8` to `u64`, `usize`, `i8` to `i64`, `isize` | decimal text | 3 to 20 |
/// | `bool` | `true`, `false` | 5 |
/// | `Option<T>` | the value, or empty | that of `T` |
pub trait BlobField {
    /// Most bytes of a value, where the type bounds them: `#[derive(Event)]` checks the limits of a data point by them. Default: not
    /// bounded, so that limits are checked when a value is written.
    const MAX_BYTES: Option<usize> = None;

    /// Returns the bytes, which a number writes into the scratch space.
    fn as_blob<'a>(&'a self, scratch: &'a mut Scratch) -> &'a [u8];
}

/// Space for the text of one number.
///
/// An implementation of [`BlobField`] for a type that is not text needs nothing else: it delegates to a number's, which writes here.
#[derive(Debug, Clone)]
pub struct Scratch([u8; Self::BYTES]);

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Scratch {
    /// Size in bytes: that of the longest 64-bit number with its sign.
    pub const BYTES: usize = 20;

    /// Creates empty scratch space.
    #[must_use]
    pub const fn new() -> Self {
        Self([0; Self::BYTES])
    }

    /// Writes a number as decimal text.
    fn decimal(&mut self, mut number: u64, is_negative: bool) -> &[u8] {
        let mut start = Self::BYTES;
        loop {
            start -= 1;
            self.0[start] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        if is_negative {
            start -= 1;
            self.0[start] = b'-';
        }
        &self.0[start..]
    }
}

macro_rules! bytes_are_blobs {
    ($($type:ty),*) => {$(
        impl BlobField for $type {
            fn as_blob<'a>(&'a self, _: &'a mut Scratch) -> &'a [u8] {
                self.as_ref()
            }
        }
    )*};
}
bytes_are_blobs!(str, String, [u8], Vec<u8>, Bytes);

macro_rules! numbers_are_blobs {
    ($($type:ty: $max:literal),*) => {$(
        impl BlobField for $type {
            const MAX_BYTES: Option<usize> = Some($max);

            fn as_blob<'a>(&'a self, scratch: &'a mut Scratch) -> &'a [u8] {
                #[allow(unused_comparisons, reason = "also for types without a sign")]
                let is_negative = *self < 0;
                let magnitude = if is_negative { (*self as i64).unsigned_abs() } else { *self as u64 };
                scratch.decimal(magnitude, is_negative)
            }
        }
    )*};
}
numbers_are_blobs!(u8: 3, u16: 5, u32: 10, u64: 20, usize: 20, i8: 4, i16: 6, i32: 11, i64: 20, isize: 20);

impl<const BYTES: usize> BlobField for [u8; BYTES] {
    const MAX_BYTES: Option<usize> = Some(BYTES);

    fn as_blob<'a>(&'a self, _: &'a mut Scratch) -> &'a [u8] {
        self
    }
}

impl BlobField for bool {
    const MAX_BYTES: Option<usize> = Some(5);

    fn as_blob<'a>(&'a self, _: &'a mut Scratch) -> &'a [u8] {
        if *self { b"true" } else { b"false" }
    }
}

impl<T: BlobField> BlobField for Option<T> {
    const MAX_BYTES: Option<usize> = T::MAX_BYTES;

    fn as_blob<'a>(&'a self, scratch: &'a mut Scratch) -> &'a [u8] {
        self.as_ref().map_or(b"", |value| value.as_blob(scratch))
    }
}

impl<T: BlobField + ToOwned + ?Sized> BlobField for Cow<'_, T> {
    const MAX_BYTES: Option<usize> = T::MAX_BYTES;

    fn as_blob<'a>(&'a self, scratch: &'a mut Scratch) -> &'a [u8] {
        (**self).as_blob(scratch)
    }
}

/// A value that is written as a double: numbers, of which those beyond 2^53 are rounded; `true` as 1; a duration in milliseconds; an
/// `Option` that is `None` as 0.
///
/// ```
/// use std::time::Duration;
///
/// use isobar_analytics::DoubleField;
///
/// assert_eq!((3_u32.as_double(), true.as_double(), None::<f64>.as_double()), (3.0, 1.0, 0.0));
/// assert_eq!(Duration::from_micros(1500).as_double(), 1.5);
/// ```
///
/// A value that is not a number, a price in cents, say, has an `as_double` that fixes its unit: the column has none.
pub trait DoubleField {
    /// Returns the number.
    fn as_double(&self) -> f64;
}

macro_rules! numbers_are_doubles {
    ($($type:ty),*) => {$(
        impl DoubleField for $type {
            fn as_double(&self) -> f64 {
                *self as f64
            }
        }
    )*};
}
numbers_are_doubles!(u8, u16, u32, u64, usize, i8, i16, i32, i64, isize, f32, f64);

impl DoubleField for bool {
    fn as_double(&self) -> f64 {
        f64::from(*self)
    }
}

impl DoubleField for Duration {
    fn as_double(&self) -> f64 {
        self.as_secs_f64() * 1000.0
    }
}

impl<T: DoubleField> DoubleField for Option<T> {
    fn as_double(&self) -> f64 {
        self.as_ref().map_or(0.0, DoubleField::as_double)
    }
}

macro_rules! pointers {
    ($($pointer:ty),*) => {$(
        impl<T: BlobField + ?Sized> BlobField for $pointer {
            const MAX_BYTES: Option<usize> = T::MAX_BYTES;

            fn as_blob<'a>(&'a self, scratch: &'a mut Scratch) -> &'a [u8] {
                (**self).as_blob(scratch)
            }
        }

        impl<T: DoubleField + ?Sized> DoubleField for $pointer {
            fn as_double(&self) -> f64 {
                (**self).as_double()
            }
        }
    )*};
}
pointers!(&T, Box<T>, Arc<T>);

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: impl BlobField) -> String {
        String::from_utf8(value.as_blob(&mut Scratch::new()).to_vec()).unwrap()
    }

    #[test]
    fn numbers_are_written_as_decimal_text() {
        for number in [0, 7, -1, 10, -105, i64::MAX, i64::MIN] {
            assert_eq!(text(number), number.to_string());
        }
        assert_eq!((text(u64::MAX), text(i8::MIN), text(0_u8)), (u64::MAX.to_string(), "-128".into(), "0".into()));
        assert_eq!((text(Some(404_u16)), text(None::<u16>), text(true)), ("404".into(), String::new(), "true".into()));
        assert_eq!(
            (text(Cow::Borrowed("a")), text(Arc::<str>::from("b")), text(*b"cd")),
            ("a".into(), "b".into(), "cd".into())
        );
    }

    #[test]
    fn bounds_of_numbers_hold() {
        for (max, text) in [
            (u8::MAX_BYTES, u8::MAX.to_string()),
            (u16::MAX_BYTES, u16::MAX.to_string()),
            (u32::MAX_BYTES, u32::MAX.to_string()),
            (u64::MAX_BYTES, u64::MAX.to_string()),
            (i8::MAX_BYTES, i8::MIN.to_string()),
            (i16::MAX_BYTES, i16::MIN.to_string()),
            (i32::MAX_BYTES, i32::MIN.to_string()),
            (i64::MAX_BYTES, i64::MIN.to_string()),
        ] {
            assert_eq!(max, Some(text.len()), "{text}");
        }
    }
}
