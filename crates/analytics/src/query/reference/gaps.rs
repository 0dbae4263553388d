//! `WITH FILL`: rows in the gaps of a series.
//!
//! A query by time has no row for a bucket without points. `WITH FILL` behind a key of `ORDER BY` puts one in. It is an *extension*, with
//! the syntax and the rules of ClickHouse: Analytics Engine does not have it, so the executors that ask Cloudflare refuse it.
//!
//! ```text
//! ORDER BY key [ASC | DESC] WITH FILL [FROM first] [TO end] [STEP step]
//! ```
//!
//! | part | rule | default |
//! |---|---|---|
//! | key | a `DateTime`, a `Date` or a whole number of the `SELECT` list | |
//! | `FROM` | the first value of the series | the first row's |
//! | `TO` | the series ends before this value | it ends at the last row |
//! | `STEP` | seconds of a `DateTime`, days of a `Date`, a number, or an interval; negative for `DESC` | 1 or -1 |
//!
//! `FROM`, `TO` and `STEP` are constants: `toDateTime('2024-03-31 00:00:00')`, `now() - INTERVAL '1' DAY`, a parameter. An interval goes by
//! the calendar of the key's zone: days over a change of the clock, months from date to date.
//!
//! - A row that is put in has the missing value in each column of the key's expression, and the default of its type in every other one:
//!   `0`, `''`, `[]`. So `avg` is 0 there, and not NaN.
//! - Rows before `FROM`, from `TO` on, and between two steps stay as they are: nothing is taken away. Group by the buckets of the step.
//! - Keys before the filled one divide the rows into series, one for each of their values, each with all its buckets: `ORDER BY index1,
//!   hour WITH FILL ...`. They are in the list, too.
//! - Over no rows there is a row for each value from `FROM` to `TO`; without one of both there is none.
//! - `LIMIT` and `OFFSET` count the rows that are put in, `rows_before_limit_at_least` does not. They take memory as others do.
//!
//! *Differences* from ClickHouse: floats and `INTERPOLATE` are refused, one key is filled, a bound that the key's type does not have is an
//! error rather than wrapping around, and where `FROM` is `TO` nothing is put in, also before a first row behind them. From the beginning of a
//! day an interval of days, months or years leads to the beginning of a day, also where the clocks skip midnight (in Cairo and Santiago, say);
//! ClickHouse goes on from 23:00 of the day before, past all later buckets.
//!
//! ```
//! # #[cfg(feature = "memory")] {
//! use isobar_analytics::query::{Analytics, Format, MemoryDatasets, Query};
//! use isobar_analytics::{DataPoint, Event};
//!
//! let visit = |hour: i64, tenant: &'static str| {
//!     let time = chrono::DateTime::from_timestamp(1_711_843_200 + 3600 * hour, 0).unwrap(); // 2024-03-31
//!     Event::new(time, DataPoint::new().with_index(tenant))
//! };
//! let visits = [visit(1, "a"), visit(1, "a"), visit(3, "b")];
//! let analytics = Analytics::new(MemoryDatasets::new().with_events("visits", visits));
//! let rows = |sql: &str| String::from_utf8(analytics.run(&Query::new(sql)).unwrap().to_bytes(Format::TabSeparated)).unwrap();
//! let hours = rows(
//!     "SELECT toStartOfHour(timestamp) AS hour, SUM(_sample_interval) AS points FROM visits GROUP BY hour ORDER BY hour \
//!      WITH FILL FROM toDateTime('2024-03-31 00:00:00') TO toDateTime('2024-03-31 05:00:00') STEP INTERVAL '1' HOUR",
//! );
//! assert_eq!(
//!     hours,
//!     "2024-03-31 00:00:00\t0\n2024-03-31 01:00:00\t2\n2024-03-31 02:00:00\t0\n2024-03-31 03:00:00\t1\n2024-03-31 04:00:00\t0\n"
//! );
//! // A series for each tenant.
//! let series = rows(
//!     "SELECT index1, toHour(timestamp) AS hour, count() FROM visits GROUP BY index1, hour ORDER BY index1, hour WITH FILL FROM 1 TO 4",
//! );
//! assert_eq!(series, "a\t1\t2\na\t2\t0\na\t3\t0\nb\t1\t0\nb\t2\t0\nb\t3\t1\n");
//! # }
//! ```
