//! Writing points: `cargo bench -p isobar-analytics --all-features`. The distribution of single writes, and how fast many become
//! durable and what they take: `cargo bench -p isobar-analytics --all-features --bench analytics -- latency`, `-- durable` and
//! `-- size`; the last leaves its dataset in the folder that `ISOBAR_DATASET` names. `-- ask` runs queries over that dataset, which it reads
//! from standard input: `cargo xtask bench analytics` does so beside DuckDB.
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

/// Number of points of the reference mix.
const POINTS: u64 = 10_000_000;

/// The reference mix: requests of 1,000 tenants, of which few send most, to 50 routes.
#[derive(Debug)]
struct Mix {
    state: u64,
    tenants: Vec<String>,
    routes: Vec<String>,
}

#[derive(Event)]
struct Varied<'m> {
    #[event(index)]
    tenant: &'m str,
    #[event(blob = 1)]
    method: &'static str,
    #[event(blob = 2)]
    route: &'m str,
    #[event(blob = 3)]
    status: u16,
    #[event(blob = 4)]
    country: &'static str,
    /// In steps of 0.1 ms, most of them short.
    #[event(double = 1)]
    ms: f64,
    #[event(double = 2)]
    bytes: f64,
}

impl Mix {
    fn new() -> Self {
        let tenants = (0..1000).map(|number| format!("tenant-{number:04}")).collect();
        let routes = (0..50).map(|number| format!("/api/v1/resource-{number}/{{id}}")).collect();
        Self { state: 42, tenants, routes }
    }

    /// A number below this one; small ones are more frequent.
    fn skewed(&mut self, below: usize) -> usize {
        let unit = (self.random() >> 11) as f64 / (1_u64 << 53) as f64;
        (unit.powi(4) * below as f64) as usize
    }

    fn random(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }

    fn next(&mut self) -> Varied<'_> {
        const METHODS: [&str; 4] = ["GET", "POST", "PUT", "DELETE"];
        const STATUSES: [u16; 5] = [200, 304, 404, 201, 500];
        const COUNTRIES: [&str; 12] = ["US", "DE", "IN", "BR", "FR", "GB", "JP", "NL", "CA", "PL", "ES", "AU"];
        let tenant = self.skewed(self.tenants.len());
        let method = METHODS[self.skewed(4)];
        let route = self.skewed(self.routes.len());
        let status = STATUSES[self.skewed(5)];
        let country = COUNTRIES[self.skewed(12)];
        let ms = self.skewed(20_000) as f64 / 10.0;
        let bytes = (self.skewed(400) * 64) as f64;
        Varied { tenant: &self.tenants[tenant], method, route: &self.routes[route], status, country, ms, bytes }
    }
}

/// Writes ten million points and waits until they are durable.
fn durable() {
    let folder = tempfile::tempdir_in(".").unwrap();
    let wait = FullPolicy::Wait(Duration::from_secs(60));
    let options = LocalOptions::default().with_when_full(wait).with_retain_bytes(None);
    let sink = LocalSink::open_with(folder.path(), options).unwrap();
    let mut mix = Mix::new();
    let start = Instant::now();
    (0..POINTS).for_each(|_| sink.write_event(&mix.next()));
    block_on(sink.flush());
    let stats = sink.stats();
    println!("{} points durable within {:?}, {} dropped", stats.stored, start.elapsed(), stats.dropped);
}

/// Prints what ten million points of 30 days take, in the log, compacted, and as gzip'd JSON lines.
#[cfg(feature = "query")]
fn size() {
    use std::io::Write;
    let temporary = tempfile::tempdir_in(".").unwrap();
    let folder =
        std::env::var_os("ISOBAR_DATASET").map_or_else(|| temporary.path().to_owned(), std::path::PathBuf::from);
    let count = std::sync::atomic::AtomicI64::new(0);
    let clock = move || {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        chrono::DateTime::from_timestamp_millis(1_790_000_000_000 + number * 30 * 24 * 60 * 60 * 1000 / POINTS as i64)
            .unwrap()
    };
    let wait = FullPolicy::Wait(Duration::from_secs(60));
    let options = LocalOptions::default().with_when_full(wait).with_retain_bytes(None).with_clock(clock);
    let sink = LocalSink::open_with(&folder, options).unwrap();
    let mut mix = Mix::new();
    (0..POINTS).for_each(|_| sink.write_event(&mix.next()));
    block_on(sink.flush());
    let start = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let report = runtime.block_on(sink.compact(isobar_analytics::local::CompactionOptions::default())).unwrap();
    let of = |bytes: u64| bytes as f64 / POINTS as f64;
    println!(
        "{} points: {:.1} bytes a point in the log, {:.2} in {} Parquet segments, compacted within {:?}",
        report.points,
        of(report.log_bytes),
        of(report.columnar_bytes),
        report.columnar_segments,
        start.elapsed()
    );
    let mut mix = Mix::new();
    let mut lines = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    for number in 0..POINTS / 10 {
        let Varied { tenant, method, route, status, country, ms, bytes } = mix.next();
        let line = serde_json::json!({
            "timestamp": 1_790_000_000_000 + number * 259, "index1": tenant, "blob1": method, "blob2": route,
            "blob3": status.to_string(), "blob4": country, "double1": ms, "double2": bytes
        });
        writeln!(lines, "{line}").unwrap();
    }
    println!("gzip'd JSON lines: {:.1} bytes a point", lines.finish().unwrap().len() as f64 / (POINTS / 10) as f64);
}

/// Runs the queries of standard input, a name, a tab and the text a line, over the dataset in the folder that `ISOBAR_DATASET` names.
/// Prints a line of JSON for each: milliseconds of each run but the first, the answer, and the most memory of the process so far in MiB.
#[cfg(feature = "query")]
fn ask() {
    use isobar_analytics::query::{Analytics, Format, LocalDatasets, Query, QueryOptions};

    let dataset = std::path::PathBuf::from(std::env::var_os("ISOBAR_DATASET").unwrap());
    let options = QueryOptions::default().with_time_limit(None);
    let analytics = Analytics::new(LocalDatasets::open(dataset.parent().unwrap())).with_options(options);
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let (name, sql) = line.split_once('\t').unwrap();
        let query = Query::new(sql);
        let mut answer = analytics.run(&query).unwrap();
        let mut times = Vec::new();
        for _ in 0..3 {
            let start = Instant::now();
            answer = analytics.run(&query).unwrap();
            times.push(start.elapsed().as_secs_f64() * 1000.0);
        }
        let text = String::from_utf8(answer.to_bytes(Format::TabSeparated)).unwrap();
        println!("{}", serde_json::json!({"name": name, "ms": times, "answer": text, "memory": most_memory()}));
    }
}

/// The most memory that the process has had, in MiB; 0 where the system does not say it.
#[cfg(feature = "query")]
fn most_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or_default() / 1024
}

fn block_on(flush: impl Future<Output = isobar_analytics::Result<()>>) {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(flush).unwrap();
}

fn main() {
    let is_asked = |name: &str| std::env::args().any(|argument| argument == name);
    if is_asked("latency") {
        return latency();
    }
    if is_asked("durable") {
        return durable();
    }
    #[cfg(feature = "query")]
    if is_asked("size") {
        return size();
    }
    #[cfg(feature = "query")]
    if is_asked("ask") {
        return ask();
    }
    let mut criterion = Criterion::default().sample_size(20).configure_from_args();
    bench(&mut criterion);
    criterion.final_summary();
}
