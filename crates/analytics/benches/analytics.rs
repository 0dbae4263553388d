//! Writing points: `cargo bench -p isobar-analytics --all-features`. The distribution of single writes, and how fast many become
//! durable: `cargo bench -p isobar-analytics --all-features -- latency` and `-- durable`.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "a bench may panic, and prints")]

use std::time::{Duration, Instant};

use criterion::Criterion;
use isobar_analytics::local::{FullPolicy, LocalOptions, LocalSink};
use isobar_analytics::memory::MemorySink;
use isobar_analytics::{DataPoint, Event, EventSink, EventSinkExt};

/// The reference mix: 4 blobs and 2 doubles.
#[derive(Event)]
struct Request {
    #[event(index)]
    tenant: &'static str,
    #[event(blob = 1)]
    method: &'static str,
    #[event(blob = 2)]
    route: &'static str,
    #[event(blob = 3)]
    status: u16,
    #[event(blob = 4)]
    country: &'static str,
    #[event(double = 1)]
    ms: f64,
    #[event(double = 2)]
    bytes: f64,
}

fn request() -> Request {
    let route = "/api/images/{id}";
    Request { tenant: "tenant-17", method: "GET", route, status: 200, country: "DE", ms: 1.5, bytes: 4096.0 }
}

fn point() -> DataPoint {
    DataPoint::new().with_index("route").with_blob("GET").with_blob("200").with_double(1.5).with_double(4096.0)
}

fn bench(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let local = LocalSink::open(folder.path()).unwrap();
    criterion.bench_function("local/write", |bencher| bencher.iter(|| local.write(point())));
    let event = request();
    criterion.bench_function("local/write_event", |bencher| bencher.iter(|| local.write_event(&event)));
    criterion.bench_function("local/write 100 and flush, durable", |bencher| {
        bencher.to_async(&runtime).iter(|| async {
            (0..100).for_each(|_| local.write(point()));
            local.flush().await.unwrap();
        });
    });
    let memory = MemorySink::new();
    criterion.bench_function("memory/write", |bencher| bencher.iter(|| memory.write(point())));
}

/// Times each of a million writes on a sink that stores a million points a second, none of which is dropped.
fn latency() {
    let folder = tempfile::tempdir().unwrap();
    let sink = LocalSink::open(folder.path()).unwrap();
    let event = request();
    let mut times = Vec::with_capacity(1_000_000);
    let mut clock = Vec::with_capacity(1_000_000);
    for round in 0..1_200_u32 {
        let due = Instant::now() + Duration::from_millis(1);
        for _ in 0..1000 {
            let start = Instant::now();
            let none = Instant::now();
            sink.write_event(&event);
            let end = Instant::now();
            if round >= 200 {
                clock.push((none - start).as_nanos() as u64);
                times.push((end - none).as_nanos() as u64);
            }
        }
        while Instant::now() < due {
            std::hint::spin_loop();
        }
    }
    times.sort_unstable();
    clock.sort_unstable();
    let at = |sorted: &[u64], share: f64| sorted[(sorted.len() as f64 * share) as usize];
    println!(
        "write_event at 1 M points/s: p50 {} ns, p99 {} ns, p99.9 {} ns, of which the clock {} ns (p50); {} dropped",
        at(&times, 0.5),
        at(&times, 0.99),
        at(&times, 0.999),
        at(&clock, 0.5),
        sink.stats().dropped
    );
}

/// Writes ten million points and waits until they are durable.
fn durable() {
    let folder = tempfile::tempdir_in(".").unwrap();
    let wait = FullPolicy::Wait(Duration::from_secs(60));
    let options = LocalOptions::default().with_when_full(wait).with_retain_bytes(None);
    let sink = LocalSink::open_with(folder.path(), options).unwrap();
    let event = request();
    let start = Instant::now();
    (0..10_000_000).for_each(|_| sink.write_event(&event));
    block_on(sink.flush());
    let stats = sink.stats();
    println!("{} points durable within {:?}, {} dropped", stats.stored, start.elapsed(), stats.dropped);
}

fn block_on(flush: impl Future<Output = isobar_analytics::Result<()>>) {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(flush).unwrap();
}

fn main() {
    let is_asked = |name: &str| std::env::args().any(|argument| argument == name);
    match (is_asked("latency"), is_asked("durable")) {
        (true, _) => latency(),
        (_, true) => durable(),
        _ => {
            let mut criterion = Criterion::default().sample_size(20).configure_from_args();
            bench(&mut criterion);
            criterion.final_summary();
        }
    }
}
