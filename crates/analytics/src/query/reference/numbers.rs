//! `if`, the functions of numbers, conversions, and the functions of bits.
//!
//! | function | result | rule |
//! |---|---|---|
//! | `if(cond, a, b)` | the common type of `a` and `b` | evaluates each side only for its rows |
//! | `toUInt8(x)`, `toUInt32(x)` | that type | of a number, a time or a text; wraps around |
//! | `intDiv(a, b)` | bits of `a`, signed where one is; `Int64` of a float | quotient cut toward zero; by 0 an error |
//! | `log(x)`, `ln(x)` | `Float64` | both natural; of 0 -inf, below 0 NaN |
//! | `pow(x, y)` | `Float64` | by IEEE 754; of a negative number to a fraction NaN |
//! | `round(x)`, `floor(x)`, `ceil(x)`, with places | the type of `x` | a constant number of decimal places, negative for tens |
//! | `bitAnd`, `bitOr`, `bitXor` | the wider type, signed where one is | integers |
//! | `bitNot(x)` | the type of `x` | an integer |
//! | `bitCount(x)` | `UInt8` | ones in the type's own width; of a float, in its 64 bits |
//! | `bitHammingDistance(a, b)` | `UInt8` | bits that differ; floats by their whole part |
//! | `bitShiftLeft(x, n)`, `bitShiftRight(x, n)` | the wider type | 0 from the width of `x` on; a negative `n` is an error |
//! | `bitRotateLeft(x, n)`, `bitRotateRight(x, n)` | the wider type | `n` modulo its width; a negative `n` is the other way |
//! | `bitTest(x, n)` | `UInt8` | bit `n` from 0; beyond the width of `x` an error; a float by its whole part |
//!
//! Names are taken in any case. NaN goes through `round` and its kin.
//!
//! # `if`
//!
//! The condition is a comparison, a number of 8 bits, or a `Bool`. The common type has all values of both: the wider of two integer
//! types of one sign; a signed type that holds both, where there is one; `Float64` of a float and an integer of at most 32 bits;
//! `DateTime` of a `Date` and a `DateTime`. *Difference:* two types without one are an error, where ClickHouse makes a `Variant`.
//!
//! ```
//! # #[cfg(feature = "memory")] {
//! # use isobar_analytics::query::{Analytics, Format, MemoryDatasets, Query};
//! # use isobar_analytics::{DataPoint, Event};
//! let events = [0.0, 4.0].map(|double| Event::new(chrono::Utc::now(), DataPoint::new().with_double(double)));
//! let analytics = Analytics::new(MemoryDatasets::new().with_events("t", events));
//! let row = |sql: &str| String::from_utf8(analytics.run(&Query::new(sql)).unwrap().to_bytes(Format::TabSeparated)).unwrap();
//! assert_eq!(row("SELECT if(1, 'a', 'b'), if(1 = 2, -1, 256), if(true, 1.5, 2)"), "a\t256\t1.5\n");
//! // The division, which fails by 0, is evaluated only for the other row.
//! assert_eq!(row("SELECT sum(if(double1 = 0, 0, intDiv(8, toUInt32(double1)))) FROM t"), "2\n");
//! let error = analytics.run(&Query::new("SELECT if(1, 'a', 2)")).unwrap_err();
//! assert!(error.message().contains("the two values of if have no common type: String and UInt8"));
//! # }
//! ```
//!
//! # Conversions
//!
//! Integers and times are cut to the width, floats to their whole part first (0 from 9.3e18 on); inf and NaN fail the query. A text is
//! digits, which may follow a `+`; any other fails it, the empty one too, so that `toUInt32(blob1)` needs an `if(empty(blob1), 0, ...)`.
//!
//! # Rounding
//!
//! Floats are scaled and halves go to the even number: `round(2.675, 2)` is 2.68, as the product 267.5 goes to 268. Integers round halves away from zero, in
//! their own width, so that `round(toUInt8(255), -1)` wraps around to 4: widen the number first. Places beyond a float's range leave
//! it as it is; rounding to more tens than the number has digits gives 0.
//!
//! ```
//! # #[cfg(feature = "memory")] {
//! # use isobar_analytics::query::{Analytics, Format, MemoryDatasets, Query};
//! # let analytics = Analytics::new(MemoryDatasets::new());
//! let row = |sql: &str| String::from_utf8(analytics.run(&Query::new(sql)).unwrap().to_bytes(Format::TabSeparated)).unwrap();
//! assert_eq!(row("SELECT round(5.5), round(2.5), round(3.14, 1), round(1234, -2), round(25, -1)"), "6\t2\t3.1\t1200\t30\n");
//! assert_eq!(row("SELECT floor(-2.5), ceil(-2.5), floor(12345.678, -2), round(toUInt8(255), -1)"), "-3\t-2\t12300\t4\n");
//! assert_eq!(row("SELECT intDiv(-7, 2), intDiv(7.9, 2), log(0), log(-1), pow(2, 10)"), "-3\t3\t-inf\tnan\t1024\n");
//! assert_eq!(row("SELECT toUInt8(256), toUInt8(-1), toUInt8(1.9), toUInt8('+1'), toUInt32('12')"), "0\t255\t1\t1\t12\n");
//! # }
//! ```
//!
//! # Bits
//!
//! Integers are two's complement of their type's width, and literals have the narrowest: `bitNot(1)` is 254, `bitShiftLeft(128, 1)` 0.
//! `toUInt32` widens them.
//!
//! ```
//! # #[cfg(feature = "memory")] {
//! # use isobar_analytics::query::{Analytics, Format, MemoryDatasets, Query};
//! # let analytics = Analytics::new(MemoryDatasets::new());
//! let row = |sql: &str| String::from_utf8(analytics.run(&Query::new(sql)).unwrap().to_bytes(Format::TabSeparated)).unwrap();
//! assert_eq!(row("SELECT bitAnd(-1, 3), bitOr(1, 256), bitNot(1), bitNot(256), bitCount(-1)"), "3\t257\t254\t65279\t8\n");
//! assert_eq!(row("SELECT bitShiftLeft(128, 1), bitShiftRight(-8, 1), bitRotateLeft(128, 1), bitTest(2, 1)"), "0\t-4\t1\t1\n");
//! assert_eq!(row("SELECT bitShiftLeft(toUInt32(128), 1), bitHammingDistance(3, 0)"), "256\t2\n");
//! # }
//! ```
