//! Ranges of bytes.

use crate::{Error, ErrorKind, Result};

/// Bytes of an object that a `get` asks for. Default of a `get`: all.
///
/// A range is cut to what the object has. It is an error ([`ErrorKind::InvalidRange`], R2's 10039) only if no byte of the object
/// is in it; a `Range` header that is so means the whole object
/// ([`GetOptions::with_range_header`](crate::GetOptions::with_range_header)), as R2 has it.
///
/// ```
/// use isobar_storage::{ByteRange, ErrorKind, Range};
///
/// // The last 100 bytes of an object of 250.
/// let last = Range::from_header("bytes=-100").expect("one range of bytes");
/// assert_eq!(last.resolve(250)?, ByteRange { offset: 150, length: 100 });
/// // What is behind the end is cut, and a range that begins there is an error.
/// assert_eq!(Range::first(1_000).resolve(250)?, ByteRange { offset: 0, length: 250 });
/// let behind = Range::From { offset: 250, length: None };
/// assert_eq!(behind.resolve(250).unwrap_err().kind(), ErrorKind::InvalidRange);
/// // Several ranges are not read: they mean the whole object.
/// assert_eq!(Range::from_header("bytes=0-1,5-6"), None);
/// # Ok::<_, isobar_storage::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// From `offset`, `length` bytes or all that remain.
    From {
        /// The first byte, from 0.
        offset: u64,
        /// How many; more than there are is cut.
        length: Option<u64>,
    },
    /// This many last bytes.
    Suffix(u64),
}

/// A range resolved against an object: these bytes exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteRange {
    /// The first byte, from 0.
    pub offset: u64,
    /// How many bytes.
    pub length: u64,
}

impl Range {
    /// The first `length` bytes.
    ///
    /// ```
    /// use isobar_storage::{ByteRange, Range};
    ///
    /// // The beginning of a file says what it is.
    /// assert_eq!(Range::first(512).resolve(10_000)?, ByteRange { offset: 0, length: 512 });
    /// # Ok::<_, isobar_storage::Error>(())
    /// ```
    #[must_use]
    pub fn first(length: u64) -> Self {
        Self::From { offset: 0, length: Some(length) }
    }

    /// Reads a `Range` header as R2 does: a single range of bytes; several ranges, another unit or nonsense are `None`
    /// and mean the whole object.
    ///
    /// | header | range |
    /// |---|---|
    /// | `bytes=0-99` | the first 100 bytes |
    /// | `bytes=100-` | all from the 101st on |
    /// | `bytes=-100` | the last 100 |
    /// | `bytes=5-2`, `bytes=-`, `bytes=0-1,5-6`, `lines=0-1` | none |
    ///
    /// ```
    /// use isobar_storage::Range;
    ///
    /// assert_eq!(Range::from_header("bytes=0-99"), Some(Range::first(100)));
    /// assert_eq!(Range::from_header("bytes=5-2"), None);
    /// ```
    #[must_use]
    pub fn from_header(value: &str) -> Option<Self> {
        let (unit, spec) = value.split_once('=')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") || spec.contains(',') {
            return None;
        }
        let (first, last) = spec.trim().split_once('-')?;
        let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?;
        match (first.trim(), last.trim()) {
            ("", "") => None,
            ("", suffix) => Some(Self::Suffix(number(suffix)?)),
            (first, "") => Some(Self::From { offset: number(first)?, length: None }),
            (first, last) => {
                let first: u64 = number(first)?;
                let last: u64 = number(last)?;
                let length = last.checked_sub(first)?.saturating_add(1);
                Some(Self::From { offset: first, length: Some(length) })
            }
        }
    }

    /// The bytes this range means in an object of `size` bytes.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRange`] (10039) when it starts at or after the end, or asks for no byte. Of an empty object every range does.
    ///
    /// ```
    /// use isobar_storage::{ByteRange, Range};
    ///
    /// assert_eq!(Range::Suffix(300).resolve(250)?, ByteRange { offset: 0, length: 250 });
    /// assert!(Range::Suffix(0).resolve(250).is_err() && Range::Suffix(1).resolve(0).is_err());
    /// # Ok::<_, isobar_storage::Error>(())
    /// ```
    pub fn resolve(self, size: u64) -> Result<ByteRange> {
        let unsatisfiable = || Error::new(ErrorKind::InvalidRange, "The requested range is not satisfiable");
        match self {
            Self::From { length: Some(0), .. } | Self::Suffix(0) => Err(unsatisfiable()),
            Self::From { offset, .. } if offset >= size => Err(unsatisfiable()),
            Self::From { offset, length } => {
                Ok(ByteRange { offset, length: length.unwrap_or(u64::MAX).min(size - offset) })
            }
            Self::Suffix(_) if size == 0 => Err(unsatisfiable()),
            Self::Suffix(suffix) => {
                let length = suffix.min(size);
                Ok(ByteRange { offset: size - length, length })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_header_is_one_range_of_bytes_or_nothing() {
        let from = |offset, length| Some(Range::From { offset, length });
        assert_eq!(Range::from_header("bytes=0-0"), from(0, Some(1)));
        assert_eq!(Range::from_header("Bytes=5-"), from(5, None));
        assert_eq!(Range::from_header("bytes=-7"), Some(Range::Suffix(7)));
        for whole in ["bytes=0-1,3-4", "items=0-1", "bytes=5-2", "bytes=-", "bytes=a-b", "bytes", "bytes=+1-2", ""] {
            assert_eq!(Range::from_header(whole), None, "{whole}");
        }
    }
}
