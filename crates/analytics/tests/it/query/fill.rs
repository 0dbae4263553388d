//! `WITH FILL`, besides its recorded answers.

use std::time::Duration;

use chrono::{DateTime, Utc};
use isobar_analytics::query::{Analytics, MemoryDatasets, Query, QueryOptions};
use isobar_analytics::{DataPoint, ErrorKind, Event};

use super::{analytics, events, failure};

/// Ends of queries of `timestamp`, the number and others, and a part of the message of their error.
const ERRORS: &[(&str, &str)] = &[
    ("blob1 WITH FILL", "line 1, column 129: WITH FILL takes a Date, a DateTime or a whole number; this is a String"),
    ("double1 WITH FILL", "this is a Float64"),
    ("one WITH FILL", "WITH FILL takes a column; this is a constant"),
    ("timestamp WITH FILL STEP 0", "STEP of WITH FILL has to be positive, as the order ascends"),
    ("timestamp WITH FILL STEP INTERVAL '-1' HOUR", "STEP of WITH FILL has to be positive, as the order ascends"),
    ("timestamp DESC WITH FILL STEP 60", "STEP of WITH FILL has to be negative, as the order descends"),
    ("timestamp WITH FILL STEP 1.5", "STEP of WITH FILL takes a whole number or an interval"),
    ("timestamp WITH FILL STEP number", "STEP of WITH FILL takes a whole number or an interval"),
    (
        "timestamp WITH FILL FROM toDateTime('2024-01-02 00:00:00') TO toDateTime('2024-01-01 00:00:00')",
        "TO of WITH FILL is before FROM, as the order ascends",
    ),
    (
        "timestamp DESC WITH FILL FROM toDateTime('2024-01-01 00:00:00') TO toDateTime('2024-01-02 00:00:00')",
        "TO of WITH FILL is before FROM, as the order descends",
    ),
    ("timestamp WITH FILL FROM '2024-01-01'", "FROM of WITH FILL takes a constant for DateTime; this is String"),
    ("timestamp WITH FILL FROM month", "FROM of WITH FILL takes a constant for DateTime; this is no constant"),
    ("month WITH FILL TO now()", "TO of WITH FILL takes a constant for Date; this is DateTime"),
    ("month WITH FILL STEP INTERVAL '1' HOUR", "STEP of WITH FILL is of days, months or years for a Date"),
    ("number WITH FILL TO 300", "TO of WITH FILL is 300, which UInt8 does not have"),
    ("number WITH FILL FROM -1", "FROM of WITH FILL is -1, which UInt8 does not have"),
    (
        "number WITH FILL STEP INTERVAL '1' DAY",
        "an interval as STEP of WITH FILL is for a Date or DateTime, not for UInt8",
    ),
    ("toYear(timestamp) WITH FILL", "WITH FILL needs this expression in the list of SELECT"),
    ("blob2, timestamp WITH FILL", "WITH FILL needs this expression in the list of SELECT"),
    ("timestamp WITH FILL, number WITH FILL", "WITH FILL is for one column of ORDER BY"),
    ("timestamp WITH FILL INTERPOLATE", "NULLS FIRST, NULLS LAST and INTERPOLATE is not a part"),
];

fn at(time: &str) -> DateTime<Utc> {
    time.parse().unwrap()
}

#[test]
fn errors_name_what_cannot_be_filled() {
    for (order, message) in ERRORS {
        let list =
            "timestamp, toUInt8(double2) AS number, toStartOfMonth(timestamp) AS month, blob1, double1, 1 AS one";
        let found = failure(&format!("SELECT {list} FROM events ORDER BY {order}"));
        assert!(found.contains(message), "{order}\nexpected {message}\nfound    {found}");
    }
    let found = failure("SELECT first_value(double1) FROM events ORDER BY timestamp WITH FILL");
    assert!(found.contains("WITH FILL needs GROUP BY in a query with an aggregate function"), "{found}");
}

#[test]
fn bounds_may_be_parameters() {
    let sql = "SELECT toStartOfHour(timestamp) AS hour, count() FROM events WHERE timestamp >= $from AND timestamp < $to \
               GROUP BY hour ORDER BY hour WITH FILL FROM $from TO $to STEP INTERVAL '1' HOUR";
    let query = Query::new(sql).with_named("from", at("2024-03-30T22:00:00Z"));
    let answer = analytics().run(&query.with_named("to", at("2024-03-31T06:00:00Z"))).unwrap();
    let points: Vec<String> = (0..answer.rows()).map(|row| answer.text(row, 1)).collect();
    assert_eq!(points, ["0", "0", "2", "14", "29", "14", "0", "0"]);
    assert_eq!((answer.text(0, 0), answer.text(7, 0)), ("2024-03-30 22:00:00".into(), "2024-03-31 05:00:00".into()));
}

#[test]
fn bounds_that_are_equal_fill_nothing() {
    let rows = |order: &str| {
        let sql = format!("SELECT count() AS n FROM events GROUP BY index1 ORDER BY n {order}");
        analytics().run(&Query::new(sql)).unwrap().rows()
    };
    // Three indexes, each with many more events than these.
    assert_eq!(rows("WITH FILL FROM 2 TO 2"), 3);
    assert_eq!(rows("DESC WITH FILL FROM 2 TO 2"), 3);
    assert_eq!(rows("WITH FILL FROM 2 TO 4"), 3 + 2);
}

#[test]
fn plan_names_what_is_filled() {
    let sql = "SELECT toStartOfHour(timestamp) AS hour, count() FROM events GROUP BY hour ORDER BY hour \
               WITH FILL FROM toDateTime('2024-03-31 00:00:00') STEP INTERVAL '1' HOUR";
    let plan = analytics().explain(&Query::new(sql)).unwrap();
    assert!(plan.contains("\n  fill hour from 2024-03-31 00:00:00 step 1 Hour\n"), "{plan}");
}

#[test]
fn filled_rows_take_memory_and_a_limit_ends_them() {
    let datasets = MemoryDatasets::new().with_events("events", events());
    let options = QueryOptions::default().with_memory_bytes(1 << 20);
    let analytics = Analytics::new(datasets).with_options(options);
    let sql = "SELECT count() AS n, blob1 FROM events GROUP BY blob1 ORDER BY n WITH FILL TO 4000000000";
    assert_eq!(analytics.run(&Query::new(sql)).unwrap_err().kind(), ErrorKind::MemoryLimit);
    let answer = analytics.run(&Query::new(format!("{sql} LIMIT 3 OFFSET 100000"))).unwrap();
    let numbers: Vec<String> = (0..answer.rows()).map(|row| answer.text(row, 0)).collect();
    assert_eq!(numbers.len(), 3);
    let first: u64 = numbers[0].parse().unwrap();
    assert!(first > 99_000, "{numbers:?}");
    assert_eq!(numbers[1..], [(first + 1).to_string(), (first + 2).to_string()]);
}

#[test]
fn time_limit_ends_a_fill_whose_rows_are_skipped() {
    let options = QueryOptions::default().with_time_limit(Some(Duration::from_millis(500)));
    let analytics = Analytics::new(MemoryDatasets::new().with_events("events", events())).with_options(options);
    let sql = "SELECT count() AS n FROM events GROUP BY blob1 ORDER BY n \
               WITH FILL TO 18446744073709551615 LIMIT 1 OFFSET 10000000000000";
    assert_eq!(analytics.run(&Query::new(sql)).unwrap_err().kind(), ErrorKind::TimedOut);
}

#[test]
fn floats_that_are_equal_in_the_order_are_one_series() {
    let other_nan = f64::from_bits(f64::NAN.to_bits() | 1);
    let events = [(0.0, 1), (-0.0, 2), (0.0, 3), (f64::NAN, 1), (other_nan, 2), (f64::NAN, 3)].map(|(double, hour)| {
        Event::new(at(&format!("2024-03-31T0{hour}:00:00Z")), DataPoint::new().with_double(double))
    });
    let analytics = Analytics::new(MemoryDatasets::new().with_events("d", events));
    let sql = "SELECT double1, toHour(timestamp) AS hour FROM d ORDER BY double1, hour WITH FILL FROM 0 TO 5";
    let answer = analytics.run(&Query::new(sql)).unwrap();
    let hours: Vec<String> = (0..answer.rows()).map(|row| answer.text(row, 1)).collect();
    assert_eq!(hours, ["0", "1", "2", "3", "4", "0", "1", "2", "3", "4"]);
}

#[test]
fn days_are_filled_where_the_clocks_skip_midnight() {
    let event = |time: &str| Event::new(at(time), DataPoint::new());
    // The clocks of Chile go from 0:00 to 1:00 on 7 September.
    let events = [event("2025-09-07T12:00:00Z"), event("2025-09-09T12:00:00Z")];
    let analytics = Analytics::new(MemoryDatasets::new().with_events("d", events));
    let days = |order: &str| {
        let day = "toStartOfInterval(timestamp, INTERVAL '1' DAY, 'America/Santiago') AS day";
        let sql = format!("SELECT {day}, count() FROM d GROUP BY day ORDER BY day {order}");
        let answer = analytics.run(&Query::new(sql)).unwrap();
        (0..answer.rows()).map(|row| answer.text(row, 0) + " " + &answer.text(row, 1)).collect::<Vec<String>>()
    };
    let mut expected =
        ["2025-09-06 00:00:00 0", "2025-09-07 01:00:00 1", "2025-09-08 00:00:00 0", "2025-09-09 00:00:00 1"];
    let from = "WITH FILL FROM toDateTime('2025-09-06 00:00:00', 'America/Santiago') STEP INTERVAL '1' DAY";
    assert_eq!(days(from), expected);
    assert_eq!(days("WITH FILL STEP INTERVAL '1' DAY"), expected[1..]);
    expected.reverse();
    let to = "DESC WITH FILL TO toDateTime('2025-09-05 00:00:00', 'America/Santiago') STEP INTERVAL '-1' DAY";
    assert_eq!(days(to), expected);
}

#[test]
fn step_at_the_end_of_a_type_ends_the_series() {
    let rows = |sql: &str| analytics().run(&Query::new(sql)).unwrap().rows();
    let sql = "SELECT count() AS n FROM events GROUP BY index1 ORDER BY n \
               WITH FILL FROM 18446744073709551610 TO 18446744073709551615";
    assert_eq!(rows(sql), 3 + 5);
    let sql = "SELECT timestamp FROM events WHERE blob1 = 'none' ORDER BY timestamp \
               WITH FILL FROM toDateTime('2106-01-01 00:00:00') TO toDateTime('2106-02-07 00:00:00') STEP INTERVAL '100' YEAR";
    assert_eq!(rows(sql), 1);
}
