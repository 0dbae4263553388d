//! Durable turns of many objects, a sync for each beside a journal for all, in one run:
//! `cargo bench -p isobar-sessions --all-features --bench turns`. With a number behind `--`, as many seconds for each measurement (2).
//!
//! The callers share the processors with the host. The robust columns are the processor's time and the log's bytes.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "a bench may panic, and prints its result")]

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use isobar_sessions::local::{HostOptions, LocalHost};
use isobar_sessions::{
    Body, ObjectId, Request, Response, Result, SessionContext, SessionNamespace, SessionNamespaceExt, SessionObject,
};
use isobar_sqlite::journal::{Disk, DiskFile, SystemDisk};

const OBJECTS: usize = 1000;
const OUTSTANDING: [usize; 3] = [1, 32, 256];
const ROUNDS: usize = 3;
const THREADS: usize = 2;

/// Writes one small value a turn.
struct Counter(SessionContext);

impl SessionObject for Counter {
    type Env = ();

    async fn start(context: SessionContext, (): ()) -> Result<Self> {
        Ok(Self(context))
    }

    async fn fetch(&self, _: Request) -> Result<Response> {
        let count = self.0.kv().get::<u64>("count")?.unwrap_or_default() + 1;
        self.0.kv().put("count", &count)?;
        Ok(Response::new(Body::from(count.to_string())))
    }
}

/// The system's disk; counts what is written to logs, and their syncs.
#[derive(Debug, Default)]
struct CountingDisk {
    bytes: Arc<AtomicU64>,
    syncs: Arc<AtomicU64>,
}

#[derive(Debug)]
struct CountedFile {
    file: Arc<dyn DiskFile>,
    bytes: Arc<AtomicU64>,
    syncs: Arc<AtomicU64>,
}

impl CountingDisk {
    fn counted(&self, path: &Path, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        if path.extension().is_none_or(|extension| extension != "log") {
            return file;
        }
        Arc::new(CountedFile { file, bytes: Arc::clone(&self.bytes), syncs: Arc::clone(&self.syncs) })
    }
}

impl Disk for CountingDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.counted(path, SystemDisk.create(path)?))
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.counted(path, SystemDisk.open(path)?))
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        SystemDisk.remove(path)
    }
    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        SystemDisk.sync_folder(path)
    }
}

impl DiskFile for CountedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at(buffer, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.file.write_at(bytes, offset)
    }
    fn sync(&self) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.file.sync()
    }
    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }
}

/// A host with its objects awake.
struct Contender {
    name: &'static str,
    host: LocalHost<Counter>,
    ids: Vec<ObjectId>,
    disk: Arc<CountingDisk>,
    _folder: tempfile::TempDir,
}

/// One measurement.
#[derive(Clone, Copy, Default)]
struct Measured {
    rate: f64,
    p50: f64,
    p99: f64,
    cpu: f64,
    log: f64,
    device: f64,
    per_sync: f64,
}

async fn contender(name: &'static str, journal_bytes: u64) -> Contender {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(CountingDisk::default());
    let options = HostOptions::default()
        .with_threads(THREADS)
        .with_open_objects(2 * OBJECTS)
        .with_idle(Duration::from_secs(3600))
        .with_journal_bytes(journal_bytes)
        .with_journal_disk(Arc::clone(&disk) as _);
    let host = LocalHost::<Counter>::open(folder.path(), "Counter", &options, || ()).unwrap();
    let ids: Vec<_> = (0..OBJECTS).map(|number| host.id(&number.to_string())).collect();
    for _ in 0..2 {
        for id in &ids {
            host.get(id, "/").await.unwrap();
        }
    }
    Contender { name, host, ids, disk, _folder: folder }
}

async fn measure(contender: &Contender, outstanding: usize, time: Duration) -> Measured {
    let log = contender.disk.bytes.load(Ordering::Relaxed);
    let syncs = contender.disk.syncs.load(Ordering::Relaxed);
    let device = written();
    let cpu = cpu();
    let from = Instant::now();
    let callers: Vec<_> = (0..outstanding)
        .map(|caller| {
            let host = contender.host.clone();
            let ids = contender.ids.clone();
            tokio::spawn(async move {
                let mut times = Vec::new();
                let mut random = caller as u64;
                while from.elapsed() < time {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let id = &ids[(random >> 33) as usize % ids.len()];
                    let began = Instant::now();
                    host.fetch(id, Request::new(Body::empty())).await.unwrap();
                    times.push(began.elapsed());
                }
                times
            })
        })
        .collect();
    let mut times = Vec::new();
    for caller in callers {
        times.extend(caller.await.unwrap());
    }
    let turns = times.len() as f64;
    let elapsed = from.elapsed().as_secs_f64();
    times.sort_unstable();
    let at = |part: f64| times[((turns * part) as usize).min(times.len() - 1)].as_secs_f64() * 1e3;
    let syncs = (contender.disk.syncs.load(Ordering::Relaxed) - syncs) as f64;
    Measured {
        rate: turns / elapsed,
        p50: at(0.5),
        p99: at(0.99),
        cpu: (self::cpu() - cpu) * 1e6 / turns,
        log: (contender.disk.bytes.load(Ordering::Relaxed) - log) as f64 / turns,
        device: (written() - device) as f64 / turns,
        per_sync: if syncs > 0.0 { turns / syncs } else { 1.0 },
    }
}

/// Seconds of the processor that this process has had.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Bytes that this process has sent to the disk, those included that are in memory still.
fn written() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    io.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok()).unwrap_or_default()
}

fn median(mut rounds: Vec<Measured>) -> Measured {
    rounds.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    rounds[rounds.len() / 2]
}

fn main() {
    let seconds = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(2.0);
    let time = Duration::from_secs_f64(seconds);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let contenders = [contender("a sync for each turn", 0).await, contender("journal", 16 << 20).await];
        println!(
            "{:>11}  {:22} {:>9} {:>7} {:>8} {:>8} {:>8} {:>9} {:>9} {:>10}",
            "outstanding", "", "turns/s", "times", "p50 ms", "p99 ms", "us CPU", "log B", "disk B", "turns/sync"
        );
        for outstanding in OUTSTANDING {
            let mut rounds = contenders.each_ref().map(|_| Vec::new());
            for _ in 0..ROUNDS {
                for (contender, rounds) in contenders.iter().zip(&mut rounds) {
                    rounds.push(measure(contender, outstanding, time).await);
                }
            }
            let mut base = None;
            for (contender, rounds) in contenders.iter().zip(rounds) {
                let Measured { rate, p50, p99, cpu, log, device, per_sync } = median(rounds);
                let times = rate / *base.get_or_insert(rate);
                println!(
                    "{outstanding:>11}  {:22} {rate:>9.0} {times:>7.1} {p50:>8.2} {p99:>8.2} {cpu:>8.1} {log:>9.0} {device:>9.0} {per_sync:>10.1}",
                    contender.name
                );
            }
        }
    });
}
