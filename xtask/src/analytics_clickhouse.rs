//! Writes to ClickHouse over HTTP and asks it: chDB behind a small server that loses the answer of every second insert.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use isobar_analytics::clickhouse::{ClickHouse, ClickHouseOptions, ClickHouseSink};
use isobar_analytics::query::{Format, Query, QueryExecutor, Value as Typed};
use isobar_analytics::{DataPoint, ErrorKind, EventSink, conformance};
use isobar_cloudflare::client::{Client, HttpTransport, Retry};
use serde_json::Value;

use crate::analytics_sql::{RECORDED, events};
use crate::http::{Server, ask};
use crate::{Outcome, readers, target};

const SCRIPT: &str = include_str!("../py/clickhouse.py");
const USER: &str = "writer";
const PASSWORD: &str = "secret-4711";
/// Queries besides the recorded ones: names in another case, and the extension that ClickHouse has.
const MORE: [&str; 2] = [
    "SELECT TOSTARTOFWEEK(timestamp) AS w, COUNT() AS n, SUMIF(double5, double5 > 10) AS s FROM events GROUP BY w ORDER BY w LIMIT ALL",
    "SELECT toStartOfHour(timestamp) AS t, count() AS n FROM events GROUP BY t ORDER BY t WITH FILL STEP INTERVAL '1' HOUR LIMIT 50",
];
/// Least number of queries that must be compared.
const LEAST: usize = 100;

pub(crate) fn run() -> Outcome {
    let folder = std::path::absolute(target().join("analytics-clickhouse"))?;
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let script = folder.join("clickhouse.py");
    fs::write(&script, SCRIPT)?;
    let server = Server::start(Command::new(readers::python()?).arg(script).args([USER, PASSWORD]))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let cases = runtime.block_on(kit(&server))?;
    runtime.block_on(wrong_password(&server))?;
    runtime.block_on(dead_letter(&server, &folder))?;
    let [queries, bounds] = runtime.block_on(queries(&server))?;
    println!(
        "ClickHouse over HTTP: {cases} cases of the kit, no point lost or doubled with every second answer lost, a refused batch sent \
         again out of its file; {queries} queries answered byte for byte as here in 3 formats, {bounds} of them with another lower \
         bound of the rows without LIMIT"
    );
    Ok(())
}

fn connect(server: &Server, password: &str) -> Result<ClickHouse, Box<dyn Error>> {
    let retry = Retry::default().with_attempts(3).with_backoff(Duration::from_millis(20), Duration::from_millis(200));
    let client = Client::new(HttpTransport::new()?).with_retry(retry);
    let clickhouse = ClickHouse::new(&format!("http://{}", server.address))?.with_credentials(USER, password)?;
    Ok(clickhouse.with_database("events").with_client(client))
}

/// Sends SQL, or an insert with its rows, as another client would.
fn post(server: &Server, parameters: &str, body: &[u8]) -> std::io::Result<String> {
    let headers = [("X-ClickHouse-User", USER), ("X-ClickHouse-Key", PASSWORD)];
    let answer = ask(&server.address, "POST", &format!("/?database=events{parameters}"), &headers, body)?;
    match answer.status {
        200 => Ok(answer.text()),
        status => Err(std::io::Error::other(format!("{status}: {}", answer.text()))),
    }
}

/// Runs the kit, each case on a table of its own, and returns the number of cases that have passed.
async fn kit(server: &Server) -> Result<usize, Box<dyn Error>> {
    let mut number = 0;
    let subject = async || {
        number += 1;
        let clickhouse = connect(server, PASSWORD).expect("the address is valid");
        let sink = ClickHouseSink::open(clickhouse, &format!("kit-{number}")).expect("a thread can be started");
        Arc::new(sink) as conformance::Subject
    };
    let report = conformance::run(subject, false).await;
    if report.failed() > 0 || report.passed() == 0 {
        return Err(report.to_string().into());
    }
    let table = post(server, "", b"SHOW CREATE TABLE \"kit-1\"")?;
    if !table.contains("TTL timestamp + toIntervalSecond(7776000)") {
        return Err(format!("the table has no TTL: {table}").into());
    }
    match post(server, "", b"SELECT count() FROM \"kit-1\"")?.trim() {
        "100" => Ok(report.passed()),
        other => Err(format!("the first case has written 100 points, and the table has {other}").into()),
    }
}

/// Checks that a wrong password is an error of its kind, which does not show it.
async fn wrong_password(server: &Server) -> Outcome {
    const WRONG: &str = "wrong-4711";
    let sink = ClickHouseSink::open(connect(server, WRONG)?, "events")?;
    sink.write(DataPoint::new());
    match sink.flush().await {
        Err(error) if error.kind() == ErrorKind::PermissionDenied && !format!("{error:?}").contains(WRONG) => Ok(()),
        other => Err(format!("with a wrong password: {other:?}").into()),
    }
}

/// Checks that a batch which does not fit its table is in the dead-letter file, and can be sent again out of it.
async fn dead_letter(server: &Server, folder: &Path) -> Outcome {
    let file = folder.join("dead.jsonl");
    post(
        server,
        "",
        b"CREATE TABLE poison (timestamp DateTime, index1 String, double1 FixedString(256)) ENGINE = MergeTree ORDER BY ()",
    )?;
    let options = ClickHouseOptions::default().with_dead_letters(&file);
    let sink = ClickHouseSink::open_with(connect(server, PASSWORD)?, "poison", options)?;
    (0..7).for_each(|number| sink.write(DataPoint::new().with_double(f64::from(number))));
    let error = match sink.flush().await {
        Err(error) if sink.stats().drops.refused == 7 && sink.dead_lettered() == 7 => error,
        other => return Err(format!("a batch that does not fit: {other:?}, {:?}", sink.stats()).into()),
    };
    post(server, "", b"DROP TABLE poison")?;
    sink.write(DataPoint::new().with_double(100.0));
    sink.close().await?;
    let letter: Value = serde_json::from_str(&fs::read_to_string(&file)?)?;
    let text = |name: &str| letter[name].as_str().unwrap_or_default().to_owned();
    if !error.message().ends_with(&text("reason")) {
        return Err(format!("the reason is {} and not that of {error}", text("reason")).into());
    }
    let parameters = format!("&insert_deduplication_token={}&query={}", text("token"), text("query").replace(' ', "+"));
    let body = STANDARD.decode(text("body"))?;
    // Once without an answer, and again.
    let answers = [post(server, &parameters, &body), post(server, &parameters, &body)];
    if answers.iter().all(Result::is_err) {
        return Err(format!("the batch is refused again: {answers:?}").into());
    }
    match post(server, "", b"SELECT count(), sum(double1) FROM poison")?.trim() {
        "8\t121" => Ok(()),
        other => Err(format!("sent again, the table has {other} in place of 8 points").into()),
    }
}

/// Writes the events of the recorded queries, and compares the answers in each format. Returns the number of queries, and of those with
/// another lower bound of their rows.
async fn queries(server: &Server) -> Result<[usize; 2], Box<dyn Error>> {
    let clickhouse = connect(server, PASSWORD)?;
    write(&clickhouse).await?;
    let local = events::analytics();
    let recorded = fs::read_to_string(Path::new(RECORDED).join("queries.sql"))?;
    let recorded = recorded.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("--"));
    let mut counts = [0; 2];
    // The first row of a table without an order is any.
    for sql in recorded.chain(MORE).filter(|sql| !sql.contains("first_value")) {
        let mut has_bound = false;
        for format in [Format::Json, Format::JsonEachRow, Format::TabSeparated] {
            let query = Query::new(format!("{sql} FORMAT {format}"));
            let expected = String::from_utf8(local.query(&query).await?.to_bytes(format))?;
            let found = clickhouse.query(&query).await.map_err(|error| format!("{sql}\n{error}"))?;
            let found = String::from_utf8(found.to_bytes(format))?;
            if expected != found {
                let [(expected, most), (found, bound)] = [without_bound(&expected), without_bound(&found)];
                if expected != found || bound > most {
                    return Err(format!("{sql}\nexpected {expected}\nfound    {found}").into());
                }
                has_bound = true;
            }
        }
        counts[0] += 1;
        counts[1] += usize::from(has_bound);
    }
    if counts[0] < LEAST {
        return Err(format!("only {} queries were compared", counts[0]).into());
    }
    let divided =
        clickhouse.query(&Query::new("SELECT intDiv(1, _sample_interval - _sample_interval) FROM events")).await;
    match divided {
        Err(error) if error.kind() == ErrorKind::Query && error.code() == Some(153) => {}
        other => return Err(format!("a division by zero: {other:?}").into()),
    }
    let tables = clickhouse.query(&Query::new("SHOW TABLES")).await?;
    let names: Vec<String> = (0..tables.rows()).map(|row| tables.text(row, 0)).collect();
    if !names.is_sorted() || !names.iter().any(|name| name == "events") {
        return Err(format!("the tables are {names:?}").into());
    }
    Ok(counts)
}

async fn write(clickhouse: &ClickHouse) -> Outcome {
    let events = events::events();
    let times: Vec<_> = events.iter().map(|event| event.timestamp).collect();
    let next = AtomicUsize::new(0);
    let clock = move || times[next.fetch_add(1, Ordering::Relaxed)];
    let options = ClickHouseOptions::default().with_retain_for(None).with_batch(64, 1 << 20).with_clock(clock);
    let sink = ClickHouseSink::open_with(clickhouse.clone(), "events", options)?;
    let points = events.len() as u64;
    events.into_iter().for_each(|event| sink.write(event.point));
    sink.close().await?;
    let count = clickhouse.query(&Query::new("SELECT count() FROM events")).await?.value(0, 0);
    if sink.stats().stored != points || count != Typed::UInt(points) {
        return Err(format!("of {points} points the table has {count:?}: {:?}", sink.stats()).into());
    }
    Ok(())
}

/// An answer without the line of its lower bound of rows, and the bound.
fn without_bound(text: &str) -> (String, Option<u64>) {
    let is_bound = |line: &&str| line.starts_with("\t\"rows_before_limit_at_least\": ");
    let bound = text.lines().find(is_bound).and_then(|line| line.rsplit(' ').next()?.parse().ok());
    (text.lines().filter(|line| !is_bound(line)).collect::<Vec<_>>().join("\n"), bound)
}
