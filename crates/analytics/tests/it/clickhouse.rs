//! The sink and the executor of ClickHouse, over a server in this process that keeps what it is sent.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response};
use isobar_analytics::clickhouse::{ClickHouse, ClickHouseOptions, ClickHouseSink};
use isobar_analytics::local::FullPolicy;
use isobar_analytics::query::{Format, Query, QueryExecutor, Value as Typed};
use isobar_analytics::{DataPoint, ErrorKind, EventSink, conformance};
use isobar_cloudflare::client::{Body, Client, Retry, Timing, Transport, TransportError, TransportErrorKind};
use serde_json::{Value, json};

/// An answer of the server to its next request.
#[derive(Debug, Clone, Copy)]
enum Next {
    /// It does what it is asked for.
    Done,
    /// It does what it is asked for, and the connection breaks before its answer.
    DoneUnheard,
    /// It answers a query.
    Answer(&'static str),
    /// Status, exception's code, message.
    Refused(u16, Option<i64>, &'static str),
}

/// A server that keeps inserts by their token, and answers by a script, then always as the last entry says.
#[derive(Debug, Clone, Default)]
struct Server {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    script: Vec<Next>,
    statements: Vec<String>,
    /// Tokens of all attempts, in order.
    tokens: Vec<String>,
    stored: HashMap<String, Bytes>,
    waits: Vec<Duration>,
    headers: Vec<http::HeaderMap>,
    urls: Vec<String>,
}

impl Server {
    fn answering(script: &[Next]) -> Self {
        let server = Self::default();
        server.lock().script = script.to_vec();
        server
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn connect(&self, attempts: u32) -> ClickHouse {
        let client = Client::new(self.clone()).with_timing(self.clone());
        let client = client.with_retry(Retry::default().with_attempts(attempts));
        ClickHouse::new("http://clickhouse").unwrap().with_client(client).with_credentials("writer", "secret").unwrap()
    }

    fn open(&self, options: ClickHouseOptions) -> ClickHouseSink {
        ClickHouseSink::open_with(self.connect(3), "web", options.with_existing_table()).unwrap()
    }
}

#[async_trait]
impl Transport for Server {
    async fn send(&self, request: Request<Body>) -> Result<Response<Body>, TransportError> {
        let (head, body) = request.into_parts();
        let body = body.bytes(1 << 24).await.unwrap();
        let parameters: HashMap<String, String> =
            head.uri.query().unwrap_or_default().split('&').filter_map(pair).collect();
        let mut state = self.lock();
        state.headers.push(head.headers);
        state.urls.push(head.uri.to_string());
        let next =
            if state.script.len() > 1 { state.script.remove(0) } else { *state.script.first().unwrap_or(&Next::Done) };
        let insert = parameters.get("query").cloned();
        state.statements.push(insert.unwrap_or_else(|| String::from_utf8(body.to_vec()).unwrap()));
        let token = parameters.get("insert_deduplication_token").cloned();
        state.tokens.extend(token.clone());
        if let (Next::Done | Next::DoneUnheard, Some(token)) = (next, token) {
            state.stored.insert(token, body);
        }
        match next {
            Next::Done => Ok(Response::new(Body::empty())),
            Next::DoneUnheard => Err(TransportError::new(TransportErrorKind::Broken, "the connection was closed")),
            Next::Answer(json) => {
                let summary = r#"{"read_rows":"7","read_bytes":"9"}"#;
                Ok(Response::builder().header("x-clickhouse-summary", summary).body(json.to_owned().into()).unwrap())
            }
            Next::Refused(status, code, message) => {
                let answer = Response::builder().status(status);
                let answer =
                    code.into_iter().fold(answer, |answer, code| answer.header("x-clickhouse-exception-code", code));
                Ok(answer.body(message.to_owned().into()).unwrap())
            }
        }
    }
}

impl Timing for Server {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.lock().waits.push(duration);
        Box::pin(std::future::ready(()))
    }

    fn chance(&self) -> f64 {
        1.0
    }
}

/// A parameter of a URL's query.
fn pair(text: &str) -> Option<(String, String)> {
    let (name, value) = text.split_once('=')?;
    let mut parts = value.split('%');
    let mut decoded = parts.next()?.as_bytes().to_vec();
    for part in parts {
        decoded.push(u8::from_str_radix(part.get(..2)?, 16).ok()?);
        decoded.extend_from_slice(&part.as_bytes()[2..]);
    }
    Some((name.to_owned(), String::from_utf8(decoded).ok()?))
}

fn options() -> ClickHouseOptions {
    ClickHouseOptions::default().with_linger(Duration::from_secs(3600))
}

fn write(sink: &ClickHouseSink, points: usize) {
    (0..points).for_each(|number| sink.write(DataPoint::new().with_double(number as f64)));
}

#[tokio::test]
async fn clickhouse_conforms() {
    let sink = async || Arc::new(ClickHouseSink::open(Server::default().connect(3), "web").unwrap()) as _;
    conformance::run(sink, false).await.assert_green();
}

#[tokio::test]
async fn table_is_created_before_the_first_insert_and_where_it_is_missing() {
    let missing = Next::Refused(404, Some(60), "Code: 60. UNKNOWN_TABLE");
    let server = Server::answering(&[Next::Done, Next::Done, missing, Next::Done]);
    let sink = ClickHouseSink::open_with(server.connect(3), "web", options()).unwrap();
    for _ in 0..2 {
        write(&sink, 1);
        sink.flush().await.unwrap();
    }
    let begins: Vec<String> = server.lock().statements.iter().map(|sql| sql[..12].to_owned()).collect();
    assert_eq!(begins, ["CREATE TABLE", "INSERT INTO ", "INSERT INTO ", "CREATE TABLE", "INSERT INTO "]);
    assert_eq!((sink.stats().stored, server.lock().stored.len()), (2, 2));
}

#[tokio::test]
async fn insert_whose_answer_was_lost_is_sent_again_with_its_token() {
    let busy = Next::Refused(500, Some(252), "Code: 252. Too many parts");
    let server = Server::answering(&[Next::DoneUnheard, busy, Next::Done]);
    let sink = server.open(options());
    write(&sink, 5);
    sink.flush().await.unwrap();
    write(&sink, 1);
    sink.flush().await.unwrap();
    let state = server.lock();
    assert_eq!(state.tokens.len(), 4);
    assert!(state.tokens[..3].iter().all(|token| *token == state.tokens[0]) && state.tokens[3] != state.tokens[0]);
    assert_eq!(state.waits, [100, 200].map(Duration::from_millis));
    assert_eq!((state.stored.len(), sink.stats().stored, sink.stats().dropped), (2, 6, 0));
}

#[tokio::test]
async fn refused_batch_is_in_the_dead_letter_file_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dead.jsonl");
    let server = Server::answering(&[Next::Refused(400, Some(27), "Code: 27. Cannot parse 'secret'"), Next::Done]);
    let sink = server.open(options().with_dead_letters(&file));
    write(&sink, 3);
    let error = sink.flush().await.unwrap_err();
    assert_eq!((error.kind(), error.code(), error.is_retryable()), (ErrorKind::Internal, Some(27), false));
    let expected =
        format!("3 points are not in ClickHouse but in {}: ClickHouse has answered 400: Code: 27.", file.display());
    assert!(error.message().starts_with(&expected), "{error}");
    assert!(!format!("{error:?} {sink:?}").contains("secret"), "{error:?}");
    assert!(server.lock().waits.is_empty(), "another attempt would not mend it");

    write(&sink, 2);
    sink.flush().await.unwrap();
    let stats = sink.stats();
    assert_eq!((stats.written, stats.stored, stats.dropped, stats.drops.refused), (5, 2, 3, 3));
    assert_eq!(sink.dead_lettered(), 3);
    let text = std::fs::read_to_string(&file).unwrap();
    let letter: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&letter["points"], &letter["dataset"]), (&json!(3), &json!("web")));
    assert_eq!(letter["reason"], "ClickHouse has answered 400: Code: 27. Cannot parse '***'");
    assert_eq!(letter["query"], "INSERT INTO web (timestamp, index1, double1) FORMAT RowBinary");
    assert_eq!(letter["token"], *server.lock().tokens.first().unwrap());
}

#[tokio::test]
async fn server_that_stays_away_costs_no_more_than_its_attempts() {
    let server = Server::answering(&[Next::Refused(503, None, "unavailable"), Next::Refused(503, None, "unavailable")]);
    let sink = server.open(options());
    write(&sink, 4);
    let error = sink.flush().await.unwrap_err();
    assert!(error.message().starts_with("4 points are not in ClickHouse and are lost: "), "{error}");
    assert_eq!((sink.stats().drops.failed, server.lock().tokens.len()), (4, 3));
    assert_eq!(sink.health().await.unwrap_err().kind(), ErrorKind::Unavailable);
    server.lock().script = vec![Next::Done];
    sink.health().await.unwrap();
    assert_eq!(server.lock().statements.last().unwrap(), "SELECT 1");
    sink.flush().await.unwrap();
}

#[tokio::test]
async fn inserts_are_bounded_and_in_order() {
    let server = Server::default();
    let sink = server.open(options().with_batch(4, 1 << 20));
    write(&sink, 10);
    sink.close().await.unwrap();
    let state = server.lock();
    let mut rows = 0;
    for token in &state.tokens {
        // A row: the time, an empty index, a double.
        for row in state.stored[token].chunks(13) {
            assert_eq!(row[5..], f64::from(rows).to_le_bytes());
            rows += 1;
        }
        assert!(state.stored[token].len() <= 4 * 13);
    }
    assert_eq!((rows, sink.stats().stored), (10, 10));
    assert!(state.headers.iter().all(|headers| headers["x-clickhouse-user"] == "writer"));
}

#[tokio::test]
async fn points_are_sent_when_their_time_is_over() {
    let server = Server::default();
    let seconds = Arc::new(AtomicU64::new(0));
    let begin = Instant::now();
    let passed = Arc::clone(&seconds);
    let clock = move || begin + Duration::from_secs(passed.load(Ordering::Relaxed));
    let sink = server.open(options().with_monotonic_clock(clock));
    write(&sink, 3);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(server.lock().tokens.is_empty());
    seconds.store(3600, Ordering::Relaxed);
    let sent = async {
        while sink.stats().stored < 3 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), sent).await.unwrap();
    assert_eq!(server.lock().tokens.len(), 1);
}

/// A server that answers nobody until it is let go.
#[derive(Debug, Clone)]
struct Stuck {
    gate: Arc<tokio::sync::Semaphore>,
}

#[async_trait]
impl Transport for Stuck {
    async fn send(&self, _: Request<Body>) -> Result<Response<Body>, TransportError> {
        self.gate.acquire().await.unwrap().forget();
        Ok(Response::new(Body::empty()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn full_buffer_behind_a_slow_server_follows_its_policy() {
    let wait = FullPolicy::Wait(Duration::from_millis(20));
    for policy in [FullPolicy::DropNew, FullPolicy::DropOld, wait] {
        let stuck = Stuck { gate: Arc::new(tokio::sync::Semaphore::new(0)) };
        let server = ClickHouse::new("http://clickhouse").unwrap().with_client(Client::new(stuck.clone()));
        let options = options().with_buffer(10).with_buffer_bytes(1 << 20).with_batch(5, 1 << 20);
        let options = options.with_when_full(policy).with_existing_table();
        let sink = ClickHouseSink::open_with(server, "web", options).unwrap();
        // Whatever was taken before the server got stuck, and a full buffer.
        write(&sink, 40);
        let flush = tokio::spawn({
            let sink = sink.clone();
            async move { sink.flush().await }
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!flush.is_finished(), "the server has acknowledged nothing");
        assert_eq!(sink.stats().stored, 0);
        stuck.gate.add_permits(100);
        flush.await.unwrap().unwrap();
        let stats = sink.stats();
        let drops = if policy == FullPolicy::DropOld { stats.drops.evicted } else { stats.drops.buffer_full };
        assert!(drops > 0 && drops == stats.dropped, "{stats:?}");
        let accepted = if policy == FullPolicy::DropOld { stats.written - stats.dropped } else { stats.written };
        assert_eq!(stats.stored, accepted, "{stats:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn second_close_waits_for_the_points_as_the_first_does() {
    let stuck = Stuck { gate: Arc::new(tokio::sync::Semaphore::new(0)) };
    let server = ClickHouse::new("http://clickhouse").unwrap().with_client(Client::new(stuck.clone()));
    let sink = ClickHouseSink::open_with(server, "web", options().with_existing_table()).unwrap();
    write(&sink, 3);
    let first = tokio::spawn({
        let sink = sink.clone();
        async move { sink.close().await }
    });
    while sink.health().await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(sink.close().now_or_never().is_none(), "the server has acknowledged nothing");
    stuck.gate.add_permits(100);
    sink.close().await.unwrap();
    assert_eq!(sink.stats().stored, 3);
    first.await.unwrap().unwrap();
    sink.close().await.unwrap();
}

#[tokio::test]
async fn queries_are_answered_by_the_server_as_by_the_local_executor() {
    let json = r#"{"meta": [{"name": "lengthUTF8(blob1)", "type": "UInt64"}, {"name": "x", "type": "Float64"},
        {"name": "x", "type": "Float64"}, {"name": "top", "type": "Array(String)"}, {"name": "at", "type": "DateTime('Europe/Berlin')"}],
        "data": [["18446744073709551615", "inf", "0.30000000000000004", ["a"], "2026-11-24 01:02:03"]],
        "rows": 1, "rows_before_limit_at_least": 9}"#;
    let server = Server::answering(&[Next::Answer(json)]);
    let sql = "SELECT length(blob1), sum(double1) AS x, 0.1 + 0.2 AS y, topK(blob1) AS top, \
        toDateTime('2026-11-24 01:02:03', 'Europe/Berlin') AS at FROM web WHERE blob2 = $1 GROUP BY blob1 LIMIT 1 FORMAT TabSeparated";
    let answer = server.connect(3).with_database("events").query(&Query::new(sql).with("it's")).await.unwrap();
    let names: Vec<&str> = answer.columns().iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["length(blob1)", "x", "y", "top", "at"]);
    assert_eq!((answer.value(0, 0), answer.value(0, 2)), (Typed::UInt(u64::MAX), Typed::Float(0.1 + 0.2)));
    let text = "18446744073709551615\tinf\t0.30000000000000004\t['a']\t2026-11-24 01:02:03\n";
    assert_eq!((answer.format(), answer.to_bytes(answer.format())), (Format::TabSeparated, text.as_bytes().to_vec()));
    assert_eq!((answer.rows_before_limit_at_least(), answer.stats().rows_read), (Some(9), 7));
    let state = server.lock();
    assert!(state.statements[0].starts_with("SELECT lengthUTF8(blob1), "), "{}", state.statements[0]);
    assert!(state.statements[0].ends_with(r"WHERE blob2 = 'it\'s' GROUP BY blob1 LIMIT 1"), "{}", state.statements[0]);
    let url = &state.urls[0];
    assert!(url.starts_with("http://clickhouse/?database=events&default_format=JSONCompact&"), "{url}");
    assert!(!url.contains("secret") && url.contains("&session_timezone=Etc%2FUTC&"), "{url}");
}

#[tokio::test]
async fn text_that_is_no_query_of_analytics_engine_is_not_sent() {
    let server = Server::default();
    for sql in [
        "SELECT * FROM url('http://10.0.0.1')",
        "DROP TABLE web",
        "SELECT a FROM web",
        "SELECT sleep(3)",
        "SELECT 1; SELECT 2",
    ] {
        let error = server.connect(3).query(&Query::new(sql)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Query, "{sql}");
    }
    let zone = server.connect(3).query(&Query::new("SHOW TIMEZONE FORMAT TabSeparated")).await.unwrap();
    assert_eq!(zone.to_bytes(zone.format()), b"Etc/UTC\n");
    assert!(server.lock().statements.is_empty());
}

#[tokio::test]
async fn exceptions_of_the_server_are_errors_of_their_kind() {
    let refused = |status, code, message| Server::answering(&[Next::Refused(status, code, message)]);
    let error = async |server: Server| server.connect(3).query(&Query::new("SELECT 1 FROM web")).await.unwrap_err();
    let unknown = error(refused(404, Some(60), "Code: 60. Unknown table web")).await;
    assert_eq!((unknown.kind(), unknown.code(), unknown.operation()), (ErrorKind::Query, Some(60), "query"));
    let server = refused(500, Some(153), "Code: 153. Division by zero");
    assert_eq!(error(server.clone()).await.kind(), ErrorKind::Query);
    assert_eq!(server.lock().statements.len(), 1, "a query is not repeated for its own error");
    assert_eq!(error(refused(403, Some(516), "Code: 516.")).await.kind(), ErrorKind::PermissionDenied);
    assert_eq!(error(refused(500, Some(241), "Code: 241.")).await.kind(), ErrorKind::MemoryLimit);
    assert_eq!(error(refused(503, None, "busy")).await.kind(), ErrorKind::Unavailable);
    assert_eq!(error(Server::answering(&[Next::Answer("1\t2\n")])).await.kind(), ErrorKind::Internal);
}
