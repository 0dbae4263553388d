//! Errors of queries: what is wrong, and where.

use std::time::Duration;

use isobar_analytics::ErrorKind;
use isobar_analytics::query::{Analytics, MemoryDatasets, Query, QueryExecutor, QueryOptions};

use super::{analytics, events, failure, tab};

/// Queries, and a part of the message of their error.
const ERRORS: &[(&str, &str)] = &[
    ("SELECT nope FROM events", "line 1, column 8: unknown column nope; a dataset has dataset, timestamp,"),
    ("SELECT\n  blob21 FROM events", "line 2, column 3: unknown column blob21"),
    ("SELECT Blob1 FROM events", "unknown column Blob1"),
    ("SELECT x", "line 1, column 8: unknown column x; there is no FROM clause"),
    ("SELECT z FROM (SELECT 1 AS y)", "unknown column z; the subquery has y"),
    ("SELECT t.blob1 FROM events", "line 1, column 8: unknown table t of the column blob1"),
    ("SELECT foo(1)", "line 1, column 8: unknown function foo; there are bin, bitAnd"),
    ("SELECT toDateTime('2024-01-01', 'Mars/Base')", "line 1, column 33: unknown time zone Mars/Base; SHOW TIMEZONES"),
    ("SELECT toDateTime('yesterday')", "line 1, column 8: 'yesterday' is not a time: write"),
    ("SELECT toDateTime(blob1) FROM events", "is not a time: write 'YYYY-MM-DD hh:mm:ss'"),
    ("SELECT intDiv(1, 0)", "line 1, column 15: division by zero; use /"),
    ("SELECT intDiv(1, toUInt32(double2)) FROM events", "division by zero"),
    ("SELECT 1 % 0", "division by zero"),
    ("SELECT intDiv(-128, -1)", "division of the least signed number by -1"),
    ("SELECT blob1 + 1 FROM events", "line 1, column 8: + does not take String and UInt8"),
    ("SELECT timestamp * 2 FROM events", "* does not take DateTime and UInt8"),
    ("SELECT -blob1 FROM events", "- does not take a String"),
    ("SELECT blob1 = 1 FROM events", "a String cannot be compared with a UInt8"),
    ("SELECT double1 = 'abc' FROM events", "line 1, column 18: 'abc' is not a Float64"),
    ("SELECT double1 LIKE 'a' FROM events", "LIKE takes texts; this is a Float64"),
    ("SELECT blob1 LIKE 'a\\\\' FROM events", "must not end with a backslash"),
    ("SELECT lower(1)", "line 1, column 14: argument 1 of lower is a text, not a UInt8"),
    ("SELECT lower()", "lower takes 1 arguments, not 0"),
    ("SELECT if(1, 'a', 2)", "the two values of if have no common type: String and UInt8"),
    ("SELECT if(double1, 1, 2) FROM events", "argument 1 of if is a condition"),
    ("SELECT sum(blob1) FROM events", "argument 1 of sum is a number, not a String"),
    ("SELECT quantileExactWeighted(2)(double1, 1) FROM events", "the level of a quantile is a number from 0 to 1"),
    ("SELECT quantileExactWeighted(0.5)(double1, double2) FROM events", "is a weight without a sign"),
    ("SELECT topK(0)(blob1) FROM events", "the number of values of topK is a whole number from 1"),
    ("SELECT min(DISTINCT double1) FROM events", "min does not take DISTINCT"),
    ("SELECT count(count()) FROM events", "an aggregate function cannot stand in another aggregate function"),
    ("SELECT max(double1) AS m FROM events WHERE m > 1", "an aggregate function cannot stand in WHERE"),
    ("SELECT blob1, count() FROM events", "the column blob1 is neither under an aggregate function nor in GROUP BY"),
    ("SELECT blob1 FROM events HAVING blob1 = 'a'", "HAVING needs GROUP BY"),
    ("SELECT count() FROM events WHERE blob1", "a condition is a number or a comparison; this is a String"),
    ("SELECT 1 AS a, 2 AS a", "the alias a is given to two expressions"),
    ("SELECT a AS b, b AS a FROM events", "unknown column b"),
    ("SELECT blob1 FROM events ORDER BY 2", "there is no column 2: the list has 1"),
    ("SELECT blob1 FROM events LIMIT -1", "LIMIT takes a whole number"),
    ("SELECT blob1 FROM events LIMIT 1 BY blob2", "LIMIT BY"),
    ("SELECT DISTINCT blob1 FROM events", "SELECT DISTINCT (use GROUP BY) is not a part of Analytics Engine's SQL"),
    ("SELECT 1 FROM events JOIN events ON 1", "JOIN is not a part"),
    ("SELECT 1 UNION ALL SELECT 2", "UNION and the like is not a part"),
    ("WITH x AS (SELECT 1) SELECT 1", "expected SELECT or SHOW"),
    ("SELECT NULL", "NULL (unset columns are '' and 0) is not a part"),
    ("SELECT toStartOfInterval(timestamp, INTERVAL '0' HOUR) FROM events", "must be greater than 0"),
    (
        "SELECT toStartOfInterval(timestamp, INTERVAL '1' WEEK) FROM events",
        "an interval is INTERVAL '1' and one of YEAR",
    ),
    ("SELECT timestamp + INTERVAL '1.5' DAY FROM events", "'1.5' is not a whole number of units"),
    ("SELECT toHour(toStartOfMonth(timestamp)) FROM events", "argument 1 of toHour is a time with hours, not a Date"),
    ("SELECT formatDateTime(timestamp, '%E') FROM events", "%E is not a part of a time"),
    ("SELECT format('{} {}', 1)", "uses more than the 1 arguments"),
    ("SELECT bitAnd(1.5, 1)", "argument 1 of bitAnd is a whole number; use toUInt32, not a Float64"),
    ("SELECT bitShiftLeft(1, -1)", "the number of bits to shift by must not be negative"),
    ("SELECT bitTest(1, 8)", "bitTest takes a bit from 0 to 7 of UInt8"),
    ("SELECT toUInt8('1.5')", "the text '1.5' is not a whole number without a sign: it is no UInt8"),
    ("SELECT * FROM nowhere", "there is no dataset nowhere; there are: events"),
    ("SELECT blob1 IN (blob2) FROM events", "the list of IN takes constants"),
    ("SELECT $1", "line 1, column 8: this parameter has no value"),
    ("SELECT 'open", "line 1"),
    ("SELECT round(toUInt32(1), -9223372036854775808), x", "unknown column x"),
    ("SELECT toDateTime('2024-01-01', 'America/New_York') + INTERVAL '1000000' YEAR, x", "unknown column x"),
    ("SELECT toDateTime('2024-01-01', 'Asia/Tokyo') - INTERVAL '1000000' YEAR, x", "unknown column x"),
];

#[test]
fn errors_name_the_place_and_the_remedy() {
    for (sql, message) in ERRORS {
        let found = failure(sql);
        assert!(found.contains(message), "{sql}\nexpected {message}\nfound    {found}");
    }
}

#[test]
fn what_is_not_needed_does_not_fail() {
    assert_eq!(tab("SELECT sum(if(double2 = 0, 0, intDiv(8, toUInt32(double2)))) > 0 FROM events"), "1\n");
    assert_eq!(tab("SELECT count() > 0 FROM events WHERE double2 != 0 AND intDiv(8, toUInt32(double2)) > 1"), "1\n");
    assert_eq!(tab("SELECT count() FROM events WHERE double2 = 0 OR intDiv(8, toUInt32(double2)) >= 0"), "200\n");
}

#[test]
fn a_query_past_its_memory_or_time_fails() {
    let run = |options: QueryOptions, sql: &str| {
        let analytics = Analytics::new(MemoryDatasets::new().with_events("events", events())).with_options(options);
        analytics.run(&Query::new(sql)).unwrap_err()
    };
    let small = || QueryOptions::default().with_memory_bytes(2000);
    for sql in [
        "SELECT blob4, count() FROM events GROUP BY blob4",
        "SELECT topK(300)(blob4) FROM events",
        "SELECT count(DISTINCT blob4) FROM events",
        "SELECT * FROM events ORDER BY blob4",
        "SELECT * FROM events",
    ] {
        let error = run(small(), sql);
        assert_eq!(error.kind(), ErrorKind::MemoryLimit, "{sql}");
        assert!(error.message().contains("more than 2000 bytes"), "{error}");
    }
    let error = run(QueryOptions::default().with_time_limit(Some(Duration::ZERO)), "SELECT 1 FROM events");
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    // Also within a row: some hundred million comparisons of each.
    let slow = format!(
        "SELECT count() FROM events WHERE format('{}{{}}', blob1) LIKE '%{}b'",
        "a".repeat(100_000),
        "a".repeat(50_000)
    );
    let begin = std::time::Instant::now();
    let error = run(QueryOptions::default().with_time_limit(Some(Duration::from_millis(50))), &slow);
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
}

#[test]
fn short_queries_do_not_take_more_memory_than_they_may() {
    let datasets = MemoryDatasets::new().with_events("events", events());
    let analytics = Analytics::new(datasets).with_options(QueryOptions::default().with_memory_bytes(1 << 20));
    let long = "x".repeat(100_000);
    let doubled: String =
        (1..20).map(|number| format!(", format('{{0}}{{0}}{{0}}{{0}}', a{}) AS a{number}", number - 1)).collect();
    for sql in [
        // Texts that a row makes longer.
        format!("SELECT format('{}', blob4) FROM events", "{0}".repeat(30_000)),
        format!("SELECT format('{long}{{}}', double1) FROM events"),
        format!("SELECT formatDateTime(timestamp, '{long}') FROM events"),
        format!("SELECT substring('{long}', toUInt8(double2)) FROM events"),
        format!("SELECT if(double1 > 0, '{long}', blob1) FROM events"),
        format!("SELECT max(format('{long}{{}}', blob4)) FROM events GROUP BY blob4"),
        "SELECT bin(bin(bin(bin(bin(bin(bin(blob4))))))) FROM events".to_owned(),
        "SELECT count() FROM events WHERE hex(hex(hex(hex(hex(hex(hex(hex(hex(hex(hex(hex(blob4)))))))))))) = ''"
            .to_owned(),
        // Constants.
        "SELECT length(bin(bin(bin(bin(bin(bin(bin(bin('aaaaaaaa')))))))))".to_owned(),
        format!("SELECT format('{{}}', 'aaaaaaaaaaaaaaaa') AS a0{doubled}"),
        // The answer as text.
        format!("SELECT '{long}' AS a, double1 FROM events"),
        format!("SELECT '{long}' AS a FROM events ORDER BY blob4"),
        format!("SELECT double1 AS `{long}` FROM events"),
        format!("SELECT if(1, '{long}', 'b') AS a FROM events"),
        // Groups, and what they choose.
        format!("SELECT blob4, {} FROM events GROUP BY blob4", many("max(format('{}', blob4, ", 200)),
        format!("SELECT {} FROM events GROUP BY blob4", many("topK(5)(length(blob4) + ", 400)),
        format!("SELECT blob4 FROM events GROUP BY blob4, {}", many("format('x{}', blob4, ", 300)),
    ] {
        let found = analytics.run(&Query::new(&*sql)).map(|answer| answer.rows());
        let error = found.expect_err(&sql[..sql.len().min(200)]);
        assert_eq!(error.kind(), ErrorKind::MemoryLimit, "{error}: {}", &sql[..sql.len().min(200)]);
    }
    // What is taken is given back: many parts, each with texts and rows of its own.
    for sql in [
        "SELECT blob1, count(), max(blob4), sum(double1 * 2) FROM events WHERE double2 > -1 GROUP BY blob1 ORDER BY blob1",
        "SELECT count() FROM (SELECT upper(format('{}-{}', blob1, blob4)) AS x FROM events ORDER BY x LIMIT 100) WHERE x != ''",
        "SELECT double5, if(double2 > 1, blob1, blob2) FROM events WHERE double1 > 0 AND intDiv(1, 1) = 1 ORDER BY double5 LIMIT 5",
    ] {
        for _ in 0..3 {
            analytics.run(&Query::new(sql)).unwrap();
        }
    }
}

/// Calls that differ in a number at their end.
fn many(call: &str, count: usize) -> String {
    let close = ")".repeat(call.matches('(').count() - call.matches(')').count());
    (0..count).map(|number| format!("{call}{number}{close}")).collect::<Vec<_>>().join(", ")
}

#[test]
fn deep_expressions_are_answered_or_refused() {
    let sum = |term: &str, terms: usize| vec![term; terms].join(" + ");
    assert_eq!(tab(&format!("SELECT {}", sum("1", 900))), "900\n");
    assert_eq!(tab(&format!("SELECT count(DISTINCT {}) > 0 FROM events", sum("double2", 900))), "1\n");
    let either = vec!["blob1 = 'nowhere'"; 900].join(" OR ");
    assert_eq!(tab(&format!("SELECT count() FROM events WHERE {either}")), "0\n");
    for sql in [
        format!("SELECT {}", sum("1", 1200)),
        format!("SELECT {}", sum("1", 4000)),
        format!("SELECT {} AS a, a + {} AS b FROM events", sum("double1", 700), sum("double1", 700)),
        format!("SELECT blob1 {} FROM events", "LIKE 'a' ".repeat(2000)),
    ] {
        assert!(failure(&sql).contains("nests deeper than 1000"), "{}", &sql[..100]);
    }
    assert!(failure(&format!("SELECT {}", sum("1", 20_000))).contains("more than 10000 words and signs"));
    assert!(failure(&format!("SELECT {}", sum("1", 100_000))).contains("longer than 262144 bytes"));
    let explained = analytics().explain(&Query::new(format!("SELECT {} FROM events", sum("double1", 900)))).unwrap();
    assert!(explained.len() < 20_000, "{}", explained.len());
}

#[test]
fn dataset_without_rows_is_sorted_and_chosen_from() {
    let analytics = Analytics::new(MemoryDatasets::new().with_events("none", []));
    for (sql, expected) in [
        ("SELECT x FROM (SELECT blob1 AS x FROM none ORDER BY x)", ""),
        ("SELECT count() FROM (SELECT blob1 AS x FROM none ORDER BY x LIMIT 3)", "0\n"),
        ("SELECT first_value(blob1), last_value(double1) FROM none ORDER BY timestamp", "\t0\n"),
        ("SELECT blob1, 'a', count() FROM none GROUP BY blob1 ORDER BY blob1", ""),
    ] {
        let answer = analytics.run(&Query::new(format!("{sql} FORMAT TabSeparated"))).unwrap();
        assert_eq!(answer.to_bytes(answer.format()), expected.as_bytes(), "{sql}");
    }
}

#[test]
fn times_outside_of_their_type_are_selected_as_they_are_shown() {
    let event = |seconds: i64| {
        let time = chrono::DateTime::from_timestamp(seconds, 0).unwrap();
        isobar_analytics::Event::new(time, isobar_analytics::DataPoint::new())
    };
    let analytics = Analytics::new(MemoryDatasets::new().with_events("t", [-5, 0, 100, 1 << 33].map(event)));
    for (condition, expected) in [
        ("timestamp = toDateTime(0)", 2),
        ("timestamp >= toDateTime(0)", 4),
        ("timestamp > toDateTime(0)", 2),
        ("timestamp < toDateTime(1)", 2),
        ("timestamp = toDateTime(4294967295)", 1),
        ("timestamp <= toDateTime(4294967295)", 4),
    ] {
        let answer = analytics.run(&Query::new(format!("SELECT count() FROM t WHERE {condition}"))).unwrap();
        assert_eq!(answer.text(0, 0), expected.to_string(), "{condition}");
    }
}

#[tokio::test]
async fn a_query_runs_on_a_thread_of_its_own() {
    let analytics = analytics();
    let answer =
        analytics.query(&Query::new("SELECT count() AS n FROM events WHERE blob1 = $1").with("/home")).await.unwrap();
    assert_eq!((answer.rows(), answer.stats().rows_read), (1, 200));
    assert_eq!(analytics.query(&"SELECT".into()).await.unwrap_err().kind(), ErrorKind::Query);
}

#[test]
fn repeated_aliases_do_not_grow_without_end() {
    let mut sql = "SELECT double1 AS a0".to_owned();
    (1..40).for_each(|number| sql.push_str(&format!(", a{0} + a{0} AS a{number}", number - 1)));
    assert!(failure(&format!("{sql} FROM events")).contains("more than 20000 expressions"));
}
