//! The types of values, as ClickHouse has them.

use std::fmt;

#[cfg(all(feature = "query", not(target_arch = "wasm32")))]
use chrono_tz::Tz;

/// The type of a column of an answer or of an expression. It displays by ClickHouse's name, as in the formats' metadata.
///
/// ```
/// use isobar_analytics::query::Type;
///
/// assert_eq!(Type::Array(Box::new(Type::UInt64)).to_string(), "Array(UInt64)");
/// ```
///
/// The types of results, and what operators make of them, are in the module `query::reference`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "named after ClickHouse's types")]
pub enum Type {
    Bool,
    UInt8,
    UInt16,
    UInt32,
    UInt64,
    Int8,
    Int16,
    Int32,
    Int64,
    Float64,
    /// Bytes, which need not be UTF-8.
    String,
    /// Days since 1970, from 1970 to 2149.
    Date,
    /// Seconds since 1970, from 1970 to 2106, shown in this zone; UTC where there is none.
    DateTime(Option<Zone>),
    /// A number of calendar units.
    Interval(Unit),
    Array(Box<Type>),
}

/// A time zone of the IANA database, by its name. Feature `query` has the database: without it there are none.
///
/// Copying it is a pointer's copy: the name is the database's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Zone(&'static str);

impl Zone {
    /// Returns the zone of this name, in which case matters, such as `Europe/Berlin`; `None` where there is none.
    ///
    /// ```
    /// use isobar_analytics::query::Zone;
    ///
    /// assert_eq!(Zone::from_name("Asia/Tokyo").map(|zone| zone.name()), Some("Asia/Tokyo"));
    /// assert_eq!(Zone::from_name("Mars/Base"), None);
    /// ```
    #[cfg(all(feature = "query", not(target_arch = "wasm32")))]
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        name.parse::<Tz>().ok().map(|zone| Self(zone.name()))
    }

    /// Returns the name.
    ///
    /// As `Zone::from_name` takes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.0
    }

    #[cfg(all(feature = "query", not(target_arch = "wasm32")))]
    pub(super) fn tz(self) -> Tz {
        self.0.parse().expect("the name is one of the database's")
    }
}

/// A unit of an interval.
///
/// A month and a year have the length that the calendar gives them; the others are of fixed length, but for a day in a time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "named after the units")]
pub enum Unit {
    Second,
    Minute,
    Hour,
    Day,
    Month,
    Year,
}

impl Type {
    /// Returns the type of this name of ClickHouse's; `None` where there is none here. A time with a zone takes feature `query`.
    ///
    /// ```
    /// use isobar_analytics::query::Type;
    ///
    /// let ty = Type::from_name("Array(DateTime)").unwrap();
    /// assert_eq!(ty.to_string(), "Array(DateTime)");
    /// assert_eq!(Type::from_name("Decimal(9, 2)"), None);
    /// ```
    ///
    /// An array of arrays is read, as deep as it is written.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        if let Some(item) = name.strip_prefix("Array(").and_then(|rest| rest.strip_suffix(')')) {
            return Some(Self::Array(Box::new(Self::from_name(item)?)));
        }
        #[cfg(all(feature = "query", not(target_arch = "wasm32")))]
        if let Some(zone) = name.strip_prefix("DateTime('").and_then(|rest| rest.strip_suffix("')")) {
            return Some(Self::DateTime(Some(Zone::from_name(zone)?)));
        }
        let simple = [
            Self::Bool,
            Self::UInt8,
            Self::UInt16,
            Self::UInt32,
            Self::UInt64,
            Self::Int8,
            Self::Int16,
            Self::Int32,
            Self::Int64,
            Self::Float64,
            Self::String,
            Self::Date,
            Self::DateTime(None),
            Self::Interval(Unit::Second),
            Self::Interval(Unit::Minute),
            Self::Interval(Unit::Hour),
            Self::Interval(Unit::Day),
            Self::Interval(Unit::Month),
            Self::Interval(Unit::Year),
        ];
        simple.into_iter().find(|ty| ty.to_string() == name)
    }
}

#[cfg(all(feature = "query", not(target_arch = "wasm32")))]
impl Type {
    /// The number of bits and whether the type is signed, for integers and `Bool`.
    pub(super) fn integer(&self) -> Option<(u32, bool)> {
        Some(match self {
            Self::Bool | Self::UInt8 => (8, false),
            Self::UInt16 => (16, false),
            Self::UInt32 => (32, false),
            Self::UInt64 => (64, false),
            Self::Int8 => (8, true),
            Self::Int16 => (16, true),
            Self::Int32 => (32, true),
            Self::Int64 => (64, true),
            _ => return None,
        })
    }

    /// The integer type of at least this many bits; 64 are the most.
    pub(super) fn of_bits(bits: u32, is_signed: bool) -> Self {
        match (bits, is_signed) {
            (..=8, false) => Self::UInt8,
            (9..=16, false) => Self::UInt16,
            (17..=32, false) => Self::UInt32,
            (_, false) => Self::UInt64,
            (..=8, true) => Self::Int8,
            (9..=16, true) => Self::Int16,
            (17..=32, true) => Self::Int32,
            (_, true) => Self::Int64,
        }
    }

    pub(super) fn is_integer(&self) -> bool {
        self.integer().is_some()
    }

    pub(super) fn is_number(&self) -> bool {
        self.is_integer() || *self == Self::Float64
    }

    pub(super) fn is_time(&self) -> bool {
        matches!(self, Self::Date | Self::DateTime(_))
    }

    /// Whether the values are unsigned 64-bit integers, which are kept as signed ones of the same bits.
    pub(super) fn is_u64(&self) -> bool {
        *self == Self::UInt64
    }

    /// Returns the value of an integer or a time, out of the 64 bits in which it is kept.
    pub(super) fn widen(&self, bits: i64) -> i128 {
        if self.is_u64() { i128::from(bits as u64) } else { i128::from(bits) }
    }

    /// Cuts an integer to the width of the type, as two's complement.
    pub(super) fn wrap(&self, value: i64) -> i64 {
        match self {
            Self::Bool | Self::UInt8 => i64::from(value as u8),
            Self::UInt16 | Self::Date => i64::from(value as u16),
            Self::UInt32 | Self::DateTime(_) => i64::from(value as u32),
            Self::Int8 => i64::from(value as i8),
            Self::Int16 => i64::from(value as i16),
            Self::Int32 => i64::from(value as i32),
            _ => value,
        }
    }

    /// The zone in which times of this type are shown.
    pub(super) fn zone(&self) -> Tz {
        match self {
            Self::DateTime(Some(zone)) => zone.tz(),
            _ => Tz::UTC,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DateTime(None) => f.write_str("DateTime"),
            Self::DateTime(Some(zone)) => write!(f, "DateTime('{}')", zone.name()),
            Self::Interval(unit) => write!(f, "Interval{unit:?}"),
            Self::Array(item) => write!(f, "Array({item})"),
            simple => write!(f, "{simple:?}"),
        }
    }
}
