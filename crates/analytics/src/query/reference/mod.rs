//! The SQL that [`Analytics`](super::Analytics) reads: clauses, types, literals and operators here, the functions in the modules below.
//!
//! Rules have three sources, in this order: Cloudflare's documentation, "Workers Analytics Engine SQL Reference"; where that says
//! nothing, ClickHouse, whose answers are recorded for every function and compared byte for byte; where ClickHouse fails or
//! approximates, the nearest rule that gives the one right value, which is then named as a difference. These pages say what the
//! *local* executor does. A query that keeps to Cloudflare's reference gives the same answer there.
//!
//! | module | functions |
//! |---|---|
//! | [`aggregates`] | `count`, `sum`, `avg`, `min`, `max`, `first_value`, `argMin`, quantiles, `topK`, and their `If` forms |
//! | [`texts`] | `length`, `substring`, `position`, `lower`, `format`, `hex`, `bin`, and `LIKE` |
//! | [`times`] | `now`, `toDateTime`, `toStartOfInterval`, `formatDateTime`, `EXTRACT`, parts of times, intervals |
//! | [`gaps`] | `WITH FILL`: rows in the gaps of a series, an extension |
//! | [`numbers`] | `if`, `round`, `intDiv`, `pow`, `toUInt32`, and the functions of bits |
//!
//! # Statements
//!
//! `SELECT`, `SHOW TABLES` (the datasets), `SHOW TIMEZONES` and `SHOW TIMEZONE` (always `Etc/UTC`); one in each text, with or without a
//! semicolon at its end. The clauses of a `SELECT` have a meaning in this order:
//!
//! | clause | rule |
//! |---|---|
//! | `FROM` | one dataset or one subquery in parentheses; without it there is one row and no column |
//! | `WHERE` | keeps rows for which the number or comparison is not 0; aggregate functions are refused |
//! | `GROUP BY` | expressions, aliases, or numbers of the list from 1 on; NaN is one group, 0 and -0 are two |
//! | `HAVING` | as `WHERE`, over groups; needs `GROUP BY` or an aggregate function |
//! | `ORDER BY` | `ASC` (default) or `DESC`; texts by bytes; NaN last in both; rows that are equal keep their order; [`WITH FILL`](gaps) |
//! | `OFFSET`, `LIMIT` | whole numbers; `LIMIT ALL` is no limit; `LIMIT m, n` and `LIMIT BY` are refused |
//! | `FORMAT` | `JSON` (default), `JSONEachRow`, `TabSeparated`; at the end of the text |
//!
//! A query with an aggregate function and without `GROUP BY` answers one row, also over no rows; one with `GROUP BY` over no rows answers
//! none. In a query that aggregates, each column stands under an aggregate function or is one of the `GROUP BY`.
//!
//! An alias stands for its expression anywhere in its `SELECT`, `WHERE` included, and goes before a column of the same name, but not
//! within its own expression. A column without an alias is called as ClickHouse calls its expression: `plus(double1, 1)`.
//!
//! ```
//! # #[cfg(feature = "memory")] {
//! use isobar_analytics::memory::MemorySink;
//! use isobar_analytics::query::{Analytics, MemoryDatasets, Query};
//! use isobar_analytics::{DataPoint, EventSink};
//!
//! let sink = MemorySink::new();
//! for (page, ms) in [("/home", 10.0), ("/home", 30.0), ("/about", 5.0)] {
//!     sink.write(DataPoint::new().with_blob(page).with_double(ms));
//! }
//! let analytics = Analytics::new(MemoryDatasets::new().with_dataset("visits", sink));
//! let answer = analytics.run(&Query::new(
//!     "SELECT blob1 AS page, count() AS visits, max(double1) + 1 FROM visits \
//!      WHERE page LIKE '/%' GROUP BY page HAVING visits > 1 ORDER BY visits DESC LIMIT 10",
//! )).unwrap();
//! assert_eq!((answer.rows(), answer.text(0, 0), answer.text(0, 2)), (1, "/home".to_owned(), "31".to_owned()));
//! assert_eq!(answer.columns()[2].name, "plus(max(double1), 1)");
//! // Without GROUP BY there is one row, also of none; with it there is none.
//! let rows = |sql: &str| analytics.run(&Query::new(sql)).unwrap().rows();
//! assert_eq!(rows("SELECT count() FROM visits WHERE blob1 = 'x'"), 1);
//! assert_eq!(rows("SELECT count() FROM visits WHERE blob1 = 'x' GROUP BY blob1"), 0);
//! # }
//! ```
//!
//! # What is refused
//!
//! All that Cloudflare's reference does not have fails with [`ErrorKind::Query`](crate::ErrorKind::Query) and the place in the text:
//! `JOIN`, `UNION`, `WITH`, `SELECT DISTINCT` (use `GROUP BY`), windows, `CASE` (use `if`), `IS NULL`, other functions of ClickHouse. The
//! error of an unknown function lists those that there are. Bounds: 256 KiB of text with parameters put in, 10,000 words and signs
//! within each other, 20,000 expressions after aliases are put in, 1,000 expressions within each other.
//!
//! ```
//! # #[cfg(feature = "memory")] {
//! # use isobar_analytics::query::{Analytics, MemoryDatasets, Query};
//! # let analytics = Analytics::new(MemoryDatasets::new());
//! let message = |sql: &str| analytics.run(&Query::new(sql)).unwrap_err().message().to_owned();
//! assert_eq!(message("SELECT lower()"), "line 1, column 8: lower takes 1 arguments, not 0");
//! assert_eq!(message("SELECT\n  1 % 0"), "line 2, column 3: division by zero; use / for a result of inf or nan, or if(x = 0, ...)");
//! assert!(message("SELECT NULL").ends_with("NULL (unset columns are '' and 0) is not a part of Analytics Engine's SQL"));
//! # }
//! ```
//!
//! # Types
//!
//! There is no NULL: a blob or an index that is not set is `''`, a double is `0`. Where a function has no value for a row it either has a
//! value by rule (NaN, 0, `''`) or fails the query; each function's line says which.
//!
//! | type | values | literal | in JSON |
//! |---|---|---|---|
//! | `UInt8` to `UInt64` | unsigned integers | `1`, in the smallest type that holds it | number; `UInt64` a string |
//! | `Int8` to `Int64` | signed integers | `-1`, likewise | number; `Int64` a string |
//! | `Float64` | IEEE 754, with inf and NaN | `1.5`, `1e3`, integers from 2^64 on | number; inf and NaN `null` |
//! | `Bool` | counts as a `UInt8` of 0 or 1 | `true`, `false` | `true`, `false` |
//! | `String` | bytes | `'it''s'`, `'it\'s'` | string; what is not UTF-8 as U+FFFD |
//! | `Date` | days from 1970 to 2149 | none; texts compare with it | `"2024-03-31"` |
//! | `DateTime` | seconds from 1970 to 2106, with a zone to show them in | none; `toDateTime` | `"2024-03-31 01:27:04"` |
//! | `Interval` | a whole number of one unit | `INTERVAL '15' MINUTE`, `INTERVAL 1 DAY` | string |
//! | `Array` | values of one type | none; `topK` | array |
//!
//! In a text, `\b \f \r \n \t \0 \a \v \e \\ \' \" \/ \= \xHH` and a backquote after `\` are escapes; `\` before another letter
//! stays as it is, so that `'a\%b'` is a pattern of `LIKE`.
//!
//! ```
//! # #[cfg(feature = "memory")] {
//! # use isobar_analytics::query::{Analytics, MemoryDatasets, Query};
//! # let analytics = Analytics::new(MemoryDatasets::new());
//! let sql = "SELECT 1, -1, 256, 4294967296, 1.5, 'a', true, 18446744073709551616, toStartOfYear(now()), INTERVAL '1' DAY";
//! let answer = analytics.run(&Query::new(sql)).unwrap();
//! let types: Vec<String> = answer.columns().iter().map(|column| column.ty.to_string()).collect();
//! assert_eq!(types[..6], ["UInt8", "Int8", "UInt16", "UInt64", "Float64", "String"]);
//! assert_eq!(types[6..], ["Bool", "Float64", "Date", "IntervalDay"]);
//! # }
//! ```
//!
//! # Operators
//!
//! The type of a result follows from the types of the operands alone, so that it is the same for every row; integers wrap around in it
//! as two's complement, without an error.
//!
//! | operator | operands | type of the result |
//! |---|---|---|
//! | `a + b`, `a * b` | integers | twice the bits of the wider, at most 64; signed where one is |
//! | `a - b`, `-a` | integers | likewise, and signed; `-a` of a signed type stays in it |
//! | `a / b` | numbers | `Float64`: by 0 it is inf or NaN, no error |
//! | `a % b` | integers | sign of `a`; bits of `b`, twice them where `a` is signed; by 0 an error |
//! | the same | one is `Float64` | `Float64`; `%` is `a - trunc(a / b) * b` |
//! | `+`, `-` | time and number | the time's: seconds, or days of a `Date`; fractions are cut off |
//! | `-` | two times of one kind | `Int32`, in seconds or days |
//! | `+`, `-` | time and interval | the time's; a `Date` and hours, minutes or seconds: `DateTime` |
//! | `= != <> < <= > >=` | numbers by value whatever their types, texts by bytes, times | `UInt8`; NaN is unequal to all |
//! | `BETWEEN a AND b` | as `>= a AND <= b` | `UInt8` |
//! | `IN (a, b)`, `NOT IN` | a value and constants | `UInt8`; a constant that the type does not have is never equal |
//! | `AND`, `OR`, `NOT` | numbers | `UInt8`; `Bool` where one is |
//!
//! A text in quotes that is compared with a number or a time is read as one, and fails where it cannot be; a column of texts is not
//! converted. `AND` and `OR` evaluate an operand that may fail (`%`, `intDiv`, conversions of texts, functions of bits) only for rows
//! that need it. `IN` compares floats by their bits: -0 is not in `(0.0)`.
//!
//! ```
//! # #[cfg(feature = "memory")] {
//! # use isobar_analytics::query::{Analytics, Format, MemoryDatasets, Query};
//! # let analytics = Analytics::new(MemoryDatasets::new());
//! let row = |sql: &str| String::from_utf8(analytics.run(&Query::new(sql)).unwrap().to_bytes(Format::TabSeparated)).unwrap();
//! assert_eq!(row("SELECT 1 - 2, 255 + 255, 18446744073709551615 + 1, 7 / 2, 1 / 0, 0 / 0"), "-1\t510\t0\t3.5\tinf\tnan\n");
//! assert_eq!(row("SELECT -7 % 2, 7 % -3, -7 % 3, 7.5 % 2, -2.5 % 1"), "-1\t1\t-1\t1.5\t-0.5\n");
//! assert_eq!(row("SELECT 1 = '1', '5' < 10, 0/0 = 0/0, 0/0 != 1, 9007199254740993 = 9007199254740992.0"), "1\t1\t0\t1\t0\n");
//! assert_eq!(row("SELECT 1 IN (1.0, 2), 1 IN (256, 257), -0.0 IN (0.0), NOT 2, not true"), "1\t0\t0\t0\tfalse\n");
//! # }
//! ```

pub mod aggregates;
pub mod gaps;
pub mod numbers;
pub mod texts;
pub mod times;
