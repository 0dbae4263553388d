//! The functions of dates and times.
//!
//! A `DateTime` is a number of seconds since 1970, and a zone in which it is shown and taken apart: the zone of its type, UTC without
//! one. Functions take another zone as a last argument, a constant name of the IANA database (`SHOW TIMEZONES` lists them; case
//! matters); an unknown one is an error. Stored timestamps have milliseconds; a query sees whole seconds.
//!
//! | function | result | rule |
//! |---|---|---|
//! | `now()`, `today()` | `DateTime`, `Date` | when the query began, one value for all rows; `QueryOptions::now` sets it. The date is UTC's |
//! | `toDateTime(x)`, with a zone | `DateTime` | see below |
//! | `toUnixTimestamp(t)` | `UInt32` | seconds; a `Date` at midnight UTC; a text as by `toDateTime` in UTC |
//! | `toYear(t)` | `UInt16` | |
//! | `toMonth`, `toDayOfMonth` | `UInt8` | from 1 |
//! | `toDayOfWeek(t)` | `UInt8` | 1 for Monday to 7 for Sunday |
//! | `toHour`, `toMinute`, `toSecond` | `UInt8` | of a `DateTime` alone: a `Date` is an error |
//! | `toYYYYMM(t)` | `UInt32` | `202403` |
//! | `EXTRACT(unit FROM t)` | as the functions above | `YEAR`, `MONTH`, `DAY`, `HOUR`, `MINUTE`, `SECOND` |
//! | `toStartOfYear`, `toStartOfMonth`, `toStartOfWeek` | `Date` | weeks begin on Monday. *Difference:* on Sunday in ClickHouse |
//! | `toStartOfDay` | `DateTime` | the first instant of the local day |
//! | `toStartOfHour`, `toStartOfMinute`, `toStartOfFifteenMinutes`, `toStartOfTenMinutes`, `toStartOfFiveMinutes` | `DateTime` | of a `DateTime` alone |
//! | `toStartOfInterval(t, INTERVAL 'n' unit)` | `Date` for months and years, else `DateTime` | `n` above 0 |
//! | `formatDateTime(t, format)` | `String` | see below |
//!
//! ```
//! # #[cfg(feature = "memory")] {
//! use isobar_analytics::query::{Analytics, Format, MemoryDatasets, Query, QueryOptions};
//!
//! let options = QueryOptions::default().with_now("2024-03-31T01:27:04Z".parse().unwrap());
//! let analytics = Analytics::new(MemoryDatasets::new()).with_options(options);
//! let row = |sql: &str| String::from_utf8(analytics.run(&Query::new(sql)).unwrap().to_bytes(Format::TabSeparated)).unwrap();
//! assert_eq!(row("SELECT now(), today(), toYYYYMM(now()), toDayOfWeek(now())"), "2024-03-31 01:27:04\t2024-03-31\t202403\t7\n");
//! assert_eq!(row("SELECT toHour(now()), toHour(now(), 'Asia/Tokyo'), EXTRACT(MONTH FROM now())"), "1\t10\t3\n");
//! assert_eq!(row("SELECT toStartOfWeek(now()), toStartOfMonth(now()), toStartOfDay(now())"), "2024-03-25\t2024-03-01\t2024-03-31 00:00:00\n");
//! assert_eq!(row("SELECT toStartOfInterval(now(), INTERVAL '15' MINUTE)"), "2024-03-31 01:15:00\n");
//! assert_eq!(row("SELECT toStartOfInterval(now(), INTERVAL '1' DAY, 'America/New_York')"), "2024-03-30 00:00:00\n");
//! # }
//! ```
//!
//! # `toDateTime`
//!
//! | argument | value |
//! |---|---|
//! | a number | seconds since 1970, fractions cut off |
//! | `'2024-01-01 00:00:00'`, also with `T` | that local time of the zone |
//! | `'2024-01-01'` | its midnight |
//! | `'1704067200'`: 9 or 10 digits | seconds since 1970 |
//! | a `Date` | its midnight in the zone |
//! | a `DateTime` | the same instant, shown in the zone |
//! | any other text | an error, at the first row that has it |
//!
//! Times before 1970 and after 2106-02-07 06:28:15 are cut to these. A local time that the clocks skip is taken by the offset that follows;
//! of one that they repeat, the first.
//!
//! ```
//! # #[cfg(feature = "memory")] {
//! # use isobar_analytics::query::{Analytics, Format, MemoryDatasets, Query};
//! # let analytics = Analytics::new(MemoryDatasets::new());
//! let row = |sql: &str| String::from_utf8(analytics.run(&Query::new(sql)).unwrap().to_bytes(Format::TabSeparated)).unwrap();
//! assert_eq!(row("SELECT toDateTime(355924804), toDateTime('2024-01-01')"), "1981-04-12 12:00:04\t2024-01-01 00:00:00\n");
//! assert_eq!(row("SELECT toDateTime(1704067200, 'Asia/Tokyo')"), "2024-01-01 09:00:00\n");
//! assert_eq!(row("SELECT toDateTime('1960-01-01'), toDateTime(4294967296)"), "1970-01-01 00:00:00\t2106-02-07 06:28:15\n");
//! let error = analytics.run(&Query::new("SELECT toDateTime('yesterday')")).unwrap_err();
//! assert!(error.message().contains("'yesterday' is not a time: write 'YYYY-MM-DD hh:mm:ss'"));
//! # }
//! ```
//!
//! # Intervals
//!
//! `INTERVAL '1' DAY` or `INTERVAL 1 DAY`, of `YEAR`, `MONTH`, `DAY`, `HOUR`, `MINUTE` or `SECOND`; a whole number, which may be
//! negative. Days, months and years keep the local time of day, and a day that a month does not have becomes its last. Sums beyond a
//! type's years wrap around, as in ClickHouse.
//!
//! `toStartOfInterval` counts seconds and minutes from 1970, but from the beginning of the local day in a zone that has since had an
//! offset which is not of whole hours (for seconds) or of whole minutes (for minutes); hours from the beginning of the local day; days
//! from 1970-01-01; months and years from year 0.
//!
//! ```
//! # #[cfg(feature = "memory")] {
//! # use isobar_analytics::query::{Analytics, Format, MemoryDatasets, Query};
//! # let analytics = Analytics::new(MemoryDatasets::new());
//! let row = |sql: &str| String::from_utf8(analytics.run(&Query::new(sql)).unwrap().to_bytes(Format::TabSeparated)).unwrap();
//! assert_eq!(row("SELECT toDateTime('2024-03-31 12:00:00') - INTERVAL '1' MONTH"), "2024-02-29 12:00:00\n");
//! assert_eq!(row("SELECT toStartOfMonth(toDateTime('2024-03-31')) + INTERVAL '1' HOUR"), "2024-03-01 01:00:00\n");
//! // The clocks of Berlin go forward at 02:00 on that day.
//! assert_eq!(row("SELECT toDateTime('2024-03-31 00:30:00', 'Europe/Berlin') + INTERVAL '2' HOUR"), "2024-03-31 03:30:00\n");
//! # }
//! ```
//!
//! # `formatDateTime`
//!
//! The format is a constant; an unknown letter after `%` fails the query, also where there are no rows. Letters are ClickHouse's:
//! `%M` is the name of the month and `%i` the minute, as in MySQL.
//!
//! | letters | meaning |
//! |---|---|
//! | `%Y %y %C %G %g` | year with 4 or 2 digits, century, ISO year with 4 or 2 digits |
//! | `%m %c %M %b %Q` | month with 2 digits (both), its name, its short name; quarter |
//! | `%d %e %j %V` | day with 2 digits, without zeros, of the year with 3; ISO week |
//! | `%W %a %u %w` | name of the day, short name; number from Monday as 1, from Sunday as 0 |
//! | `%H %k %I %h %l %p` | hour of 24 (two letters), of 12 (three), `AM` or `PM` |
//! | `%i %S %s %f` | minute, second (both), `000000` |
//! | `%F %D %T %R %r` | `2024-03-31`, `03/31/24`, `01:27:04`, `01:27`, `01:27 AM` |
//! | `%z %n %t %%` | offset of the zone (`+0000`), line feed, tab, the character |
//!
//! ```
//! # #[cfg(feature = "memory")] {
//! # use isobar_analytics::query::{Analytics, MemoryDatasets, Query};
//! # let analytics = Analytics::new(MemoryDatasets::new());
//! let format = |format: &str| analytics.run(&Query::new(format!("SELECT formatDateTime(toDateTime(1711848424), {format})"))).unwrap().text(0, 0);
//! assert_eq!(format("'%F %T'"), "2024-03-31 01:27:04");
//! assert_eq!(format("'%W, %e %M %Y, quarter %Q'"), "Sunday, 31 March 2024, quarter 1");
//! assert_eq!(format("'%Y-%m-%d %z', 'America/New_York'"), "2024-03-30 -0400");
//! # }
//! ```
