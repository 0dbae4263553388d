//! Load that takes memory where nothing bounds it.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::print_stdout, reason = "a test states what it measures")]

use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::post;
use isobar_analytics::local::LocalSink;
use isobar_analytics::query::{Analytics, LocalDatasets};
use isobar_analytics::{DataPoint, EventSink};
use isobar_http_serve::native::{Server, ServerOptions};
use isobar_http_serve::{App, DatasetQueries};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One test at a time: the memory of the process is looked at.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Memory of this process in bytes.
fn memory() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap() * 4096
}

#[tokio::test(flavor = "multi_thread")]
async fn four_hundred_unfinished_bodies_take_no_more_than_their_budget() {
    const BUDGET: usize = 16_000_000;
    let _alone = ALONE.lock().await;
    let routes = Router::new().route("/echo", post(async |body: axum::body::Bytes| body.len().to_string()));
    let app = App::new().api(routes).body_limit(1_000_000).into_service();
    let options = ServerOptions::default().with_body_memory(BUDGET);
    let server = Server::bind_with("127.0.0.1:0".parse().unwrap(), options).await.unwrap();
    let address = server.address().unwrap();
    tokio::spawn(server.serve(app, std::future::pending()));
    let before = memory();
    let part = vec![b'x'; 200_000];
    let mut held = Vec::new();
    for _ in 0..400 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"POST /api/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n").await.unwrap();
        // One that is refused takes no more.
        drop(tokio::time::timeout(Duration::from_millis(200), stream.write_all(&part)).await);
        held.push(stream);
    }
    let mut slowest = Duration::ZERO;
    let taken = memory().saturating_sub(before);
    for _ in 0..20 {
        let begun = Instant::now();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut answer = String::new();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        slowest = slowest.max(begun.elapsed());
    }
    println!("400 unfinished bodies: {} MiB, others within {slowest:?}", taken >> 20);
    assert!(taken < 4 * BUDGET, "{taken} bytes for a budget of {BUDGET}");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_of_many_events_take_little_memory() {
    let _alone = ALONE.lock().await;
    let folder = tempfile::tempdir().unwrap();
    let sink = LocalSink::open(folder.path().join("web")).unwrap();
    let source = LocalDatasets::open(folder.path()).with_sink("web", sink.clone());
    let queries = DatasetQueries::new(Analytics::new(source), "web");
    for number in 0..100_000_u32 {
        let point = DataPoint { doubles: vec![f64::from(number % 100), 1000.0, 0.0, 1.0], ..DataPoint::new() };
        let blobs = ["request", "/api/images/{id}", "GET", "200", "none", ""];
        sink.write(blobs.into_iter().fold(point, DataPoint::with_blob));
        if number % 10_000 == 0 {
            sink.flush().await.unwrap();
        }
    }
    sink.flush().await.unwrap();
    let until = chrono::Utc::now() + chrono::TimeDelta::seconds(1);
    let before = memory();
    let from = until - chrono::TimeDelta::hours(1);
    let stats = isobar_http_serve::stats(&sink, &queries, from, until, None).await.unwrap();
    let taken = memory().saturating_sub(before);
    println!("statistics of 100,000 events: {} MiB", taken >> 20);
    assert_eq!((stats.requests.count, stats.requests.median_ms, stats.is_partial), (100_000, 49.0, false));
    assert!(stats.damage.is_none() && stats.dropped == 0);
    assert!(taken < 32 << 20, "{taken} bytes");
}
