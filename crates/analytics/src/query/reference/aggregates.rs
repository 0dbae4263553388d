//! The aggregate functions: `count`, `sum`, `avg`, `min`, `max`, and those that choose a value by weight, order or frequency.
//!
//! An aggregate function gives one value for each group of rows, or for all rows of a query without `GROUP BY`. It cannot stand in
//! `WHERE`, in `GROUP BY`, or within another one. Values are those of ClickHouse over all rows, in whatever order segments are read,
//! but for `first_value`, `last_value` and ties, which go by the order in which rows come.
//!
//! | function | arguments | result | of no rows |
//! |---|---|---|---|
//! | `count()`, `count(*)`, `count(x)` | any one | `UInt64`; `count(x)` counts all rows, as nothing is NULL | 0 |
//! | `count(DISTINCT x, ...)` | one or more | `UInt64`, exact | 0 |
//! | `countIf(cond)` | `UInt8` or `Bool` | `UInt64` | 0 |
//! | `sum(x)`, `sum(DISTINCT x)` | a number | `UInt64`, `Int64` or `Float64`; integers wrap around | 0 |
//! | `sumIf(x, cond)` | a number, a condition | as `sum` | 0 |
//! | `avg(x)`, `avg(DISTINCT x)` | a number | `Float64` | NaN |
//! | `avg(x)` | a `Date` or a `DateTime` | its type, rounded to the nearest, halves to even | 1970-01-01 |
//! | `avgIf(x, cond)` | as `avg`, a condition | as `avg` | as `avg` |
//! | `min(x)`, `max(x)` | a number, a text (by bytes) or a time | its type | 0, `''`, 1970-01-01 |
//! | `first_value(x)`, `last_value(x)` | likewise | its type | likewise |
//! | `argMin(x, by)`, `argMax(x, by)` | two of these kinds | the type of `x`; the first row of those with the least `by` | likewise |
//! | `quantileExactWeighted(level)(x, w)` | a number or a time, and an unsigned integer | its type | NaN; of integers 0 |
//! | `quantileWeighted(level, x, w)` | likewise | likewise | likewise |
//! | `topK(n)(x)` | a number, a text or a time | `Array` of its type | `[]` |
//! | `topKWeighted(n)(x, w)` | likewise, and an integer | likewise | `[]` |
//!
//! A condition is a comparison, a number of 8 bits, or a `Bool`, as in ClickHouse: `countIf(double1)` is an error, `countIf(double1 > 0)`
//! is not. `DISTINCT` is for `count`, `sum` and `avg`.
//!
//! # Sampled rows
//!
//! Where rows are sampled, a row stands for `_sample_interval` points. `count()` counts rows; the number of points is
//! `sum(_sample_interval)`, the sum of a double `sum(_sample_interval * double1)`, and its average the quotient of the two.
//! [`Dialect::weighted`](crate::query::Dialect::weighted) writes the product for code that asks more than one executor.
//!
//! # NaN
//!
//! `sum` and `avg` are NaN where a value is. `min`, `max`, `argMin` and `argMax` take NaN only where there is nothing else. Quantiles skip
//! it. `count(DISTINCT x)` and `topK` take all NaN as one value, and 0 and -0 as two.
//!
//! # Quantiles
//!
//! The value `x` is the least one for which the weights of the values up to it come to at least `level` (0 to 1; default 0.5, the
//! median) of all weights, rounded up. There is no interpolation: the result is one of the values. The weight is `_sample_interval`, or 1
//! where each row is one point. Memory: 64 bytes for each distinct value of a group.
//!
//! # `topK`
//!
//! The `n` values (default 10, at most 16,777,215) that are most frequent, most frequent first; of values as frequent as each other, the
//! one that came first. With `topKWeighted` a row counts as many times as its weight says. *Difference:* the result is exact, where
//! ClickHouse's is approximate past three times `n` distinct values, and takes memory for each distinct value.
//!
//! ```
//! # #[cfg(feature = "memory")] {
//! use isobar_analytics::query::{Analytics, Format, MemoryDatasets, Query};
//! use isobar_analytics::{DataPoint, Event};
//!
//! let visit = |second: i64, page: &'static str, ms: f64| {
//!     let time = chrono::DateTime::from_timestamp(1_711_848_424 + second, 0).unwrap();
//!     Event::new(time, DataPoint::new().with_blob(page).with_double(ms))
//! };
//! let visits = [visit(0, "/home", 10.0), visit(1, "/about", 40.0), visit(2, "/home", 20.0), visit(3, "/help", 30.0)];
//! let analytics = Analytics::new(MemoryDatasets::new().with_events("visits", visits));
//! let row = |list: &str| {
//!     let answer = analytics.run(&Query::new(format!("SELECT {list} FROM visits"))).unwrap();
//!     String::from_utf8(answer.to_bytes(Format::TabSeparated)).unwrap()
//! };
//! assert_eq!(row("count(), sum(double1), avg(double1), min(double1), max(blob1)"), "4\t100\t25\t10\t/home\n");
//! assert_eq!(row("count(DISTINCT blob1), countIf(double1 > 15), sumIf(double1, blob1 = '/home')"), "3\t3\t30\n");
//! assert_eq!(row("argMax(blob1, double1), argMin(double1, blob1), first_value(double1)"), "/about\t40\t10\n");
//! // Half of the weights are reached at 20, nine tenths at 40.
//! assert_eq!(row("quantileExactWeighted(0.5)(double1, 1), quantileExactWeighted(0.9)(double1, 1)"), "20\t40\n");
//! assert_eq!(row("quantileWeighted(0.5, double1, _sample_interval)"), "20\n");
//! // Of /about and /help, which come once each, the first one to come.
//! assert_eq!(row("topK(2)(blob1), topKWeighted(1)(blob1, toUInt32(double1))"), "['/home','/about']\t['/about']\n");
//! # }
//! ```
//!
//! Of no rows:
//!
//! ```
//! # #[cfg(feature = "memory")] {
//! # use isobar_analytics::query::{Analytics, Format, MemoryDatasets, Query};
//! # let analytics = Analytics::new(MemoryDatasets::new().with_events("none", []));
//! let list = "count(), sum(double1), avg(double1), min(double1), max(blob1), max(timestamp), topK(blob1)";
//! let answer = analytics.run(&Query::new(format!("SELECT {list} FROM none"))).unwrap();
//! assert_eq!(answer.to_bytes(Format::TabSeparated), b"0\t0\tnan\t0\t\t1970-01-01 00:00:00\t[]\n");
//! # }
//! ```
//!
//! # Order
//!
//! `first_value` and `last_value` go by the order in which rows are read, which is not that of time once a dataset is compacted. In a
//! query without `GROUP BY`, an `ORDER BY` of columns sorts what they see, as an example of Cloudflare's reference has it. *Difference:*
//! that is an error in ClickHouse. With groups, `argMin(x, timestamp)` has no need of an order.
//!
//! ```
//! # #[cfg(feature = "memory")] {
//! # use isobar_analytics::query::{Analytics, Format, MemoryDatasets, Query};
//! # use isobar_analytics::{DataPoint, Event};
//! # let event = |second: i64, page: &'static str| {
//! #     Event::new(chrono::DateTime::from_timestamp(second, 0).unwrap(), DataPoint::new().with_blob(page))
//! # };
//! let late_first = [event(9, "/late"), event(3, "/early")];
//! let analytics = Analytics::new(MemoryDatasets::new().with_events("visits", late_first));
//! let value = |sql: &str| analytics.run(&Query::new(sql)).unwrap().text(0, 0);
//! assert_eq!(value("SELECT first_value(blob1) FROM visits"), "/late");
//! assert_eq!(value("SELECT first_value(blob1) FROM visits ORDER BY timestamp"), "/early");
//! assert_eq!(value("SELECT argMin(blob1, timestamp) FROM visits"), "/early");
//! # }
//! ```
