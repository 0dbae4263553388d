//! Cold wakes, memory and a broadcast of session objects: `cargo bench -p isobar-sessions --all-features --bench objects`.
//!
//! Behind `--`, `wake`, `memory` or `broadcast` runs one of them, and a number takes that part of the usual size: `0.01` for a look.
//!
//! - **wake**: objects whose database is closed are asked one after the other; the file is in the page cache. Bar: p99 of a read at most 1 ms.
//! - **memory**, each kind in a process of its own, by the growth of its resident set: *dormant* objects have stored something, and the host
//!   keeps nothing of them but their row in its index; bar: 4 KiB each. *Resident* ones are asleep with a WebSocket open, as those of idle users
//!   are: the host keeps their sockets, and their next message wakes them; bar: 100,000 in a GiB. *Awake* ones have an instance and an open
//!   SQLite database, with its page cache and three descriptors, which are bounded by `HostOptions::open_objects`; the same bar for comparison.
//! - **broadcast**: one object sends each message to 10,000 sockets, over the host's own pipes; the time is that from the message to each
//!   delivery.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "a bench may panic, and prints its result")]

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use isobar_sessions::local::{HostOptions, LocalHost};
use isobar_sessions::{
    Body, ClientSocket, Message, ObjectId, Request, Response, Result, SessionContext, SessionNamespace,
    SessionNamespaceExt, SessionObject, WebSocket, socket_pair, websocket_response,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{Semaphore, mpsc};

const ROUNDS: usize = 5;
const WAKES: usize = 2000;
const DORMANT: usize = 20_000;
const RESIDENT: usize = 20_000;
const AWAKE: usize = 4000;
const SOCKETS: usize = 10_000;
const BROADCASTS: usize = 20;
/// Descriptors of an awake object.
const DESCRIPTORS: u64 = 3;
/// Bytes of a resident object, of which 100,000 are in a GiB.
const RESIDENT_BYTES: f64 = (1_u64 << 30) as f64 / 100_000.0;

/// Counts POSTs, answers with the count, and sends each message to all of its sockets.
struct Counter(SessionContext);

impl SessionObject for Counter {
    type Env = ();

    async fn start(context: SessionContext, (): ()) -> Result<Self> {
        context.sql().exec("CREATE TABLE IF NOT EXISTS counts (id INTEGER PRIMARY KEY, count INTEGER NOT NULL)", ())?;
        Ok(Self(context))
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        if request.uri().path() == "/socket" {
            let (client, server) = socket_pair();
            self.0.accept_websocket(server, &[])?;
            return Ok(websocket_response(client));
        }
        if request.method() == "POST" {
            let sql = "INSERT INTO counts VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET count = count + 1";
            self.0.sql().exec(sql, ())?;
        }
        let count: i64 = self.0.sql().exec("SELECT coalesce(sum(count), 0) FROM counts", ())?.one()?;
        Ok(Response::new(Body::from(count.to_string())))
    }

    async fn message(&self, _: &WebSocket, message: Message) -> Result<()> {
        self.0.websockets(None).iter().try_for_each(|socket| socket.send(message.clone()))
    }
}

type Host = LocalHost<Counter>;

fn open(folder: &tempfile::TempDir, awake: usize) -> Host {
    let options = HostOptions::default().with_threads(1).with_open_objects(awake).with_idle(Duration::from_secs(3600));
    Host::open(folder.path(), "Counter", &options, || ()).unwrap()
}

/// Creates objects that have stored something, 64 at once.
async fn create(host: &Host, numbers: std::ops::Range<usize>) -> Vec<ObjectId> {
    let ids: Vec<ObjectId> = numbers.map(|number| host.id(&format!("object {number}"))).collect();
    let turns = Arc::new(Semaphore::new(64));
    let mut tasks = Vec::new();
    for id in ids.clone() {
        let turn = Arc::clone(&turns).acquire_owned().await.unwrap();
        let host = host.clone();
        tasks.push(tokio::spawn(async move {
            host.post(&id, "/", Body::empty()).await.unwrap();
            drop(turn);
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    ids
}

/// Prints cold reads and cold durable writes.
async fn wake(part: f64) {
    let count = sized(WAKES, part);
    let folder = tempfile::tempdir().unwrap();
    let host = open(&folder, 64);
    let ids = create(&host, 0..count).await;
    println!("{:34} {:>10} {:>10}", format!("cold wakes of {count} objects"), "p50 us", "p99 us");
    for (what, method, most) in [("a read", "GET", Some(1000.0)), ("a durable write", "POST", None)] {
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let mut times = Vec::new();
            for id in &ids {
                host.evict(id).await.unwrap();
                let request = http::Request::builder().method(method).body(Body::empty()).unwrap();
                let from = Instant::now();
                host.fetch(id, request).await.unwrap();
                times.push(from.elapsed().as_secs_f64() * 1e6);
            }
            rounds.push([percentile(&mut times, 0.5), percentile(&mut times, 0.99)]);
        }
        let [p50, p99] = medians(&rounds);
        println!("{what:34} {p50:>10.1} {p99:>10.1}  {}", verdict(p99, most, "us"));
    }
}

/// Runs each kind of memory in processes of their own, and prints the medians.
fn memory(part: f64) {
    println!("{:34} {:>12} {:>14}", "memory", "KiB each", "objects in GiB");
    for (kind, count, most) in
        [("dormant", DORMANT, 4096.0), ("resident", RESIDENT, RESIDENT_BYTES), ("awake", AWAKE, RESIDENT_BYTES)]
    {
        let count = sized(count, part);
        let mut rounds = Vec::new();
        for _ in 0..3 {
            let mut command = Command::new(std::env::current_exe().unwrap());
            let output = command.args(["measure", kind, &count.to_string()]).output().unwrap();
            assert!(output.status.success(), "{kind}: {}", String::from_utf8_lossy(&output.stderr));
            rounds.push([String::from_utf8(output.stdout).unwrap().trim().parse::<f64>().unwrap()]);
        }
        let [bytes] = medians(&rounds);
        let what = format!("{count} {kind} objects");
        let verdict = verdict(bytes / 1024.0, Some(most / 1024.0), "KiB");
        println!("{what:34} {:>12.2} {:>14.0}  {verdict}", bytes / 1024.0, (1_u64 << 30) as f64 / bytes.max(1.0));
    }
}

/// Prints the bytes by which this process grows for each object of a kind.
async fn measure(kind: &str, count: usize) {
    // What the process has in any case is there before.
    const EARLIER: usize = 200;
    let folder = tempfile::tempdir().unwrap();
    let all = count + EARLIER;
    let awake = if kind == "awake" { raise_descriptors(all) } else { 64 };
    let host = open(&folder, awake);
    let mut sockets: Vec<ClientSocket> = Vec::new();
    let mut before = 0;
    for numbers in [0..EARLIER, EARLIER..all] {
        before = resident();
        let ids = create(&host, numbers).await;
        if kind == "resident" {
            for id in &ids {
                sockets.push(host.connect(id, "/socket").await.unwrap());
            }
        }
    }
    println!("{}", resident().saturating_sub(before) as f64 / count as f64);
}

/// Raises the limit of descriptors for so many awake objects, and returns how many there may be.
fn raise_descriptors(objects: usize) -> usize {
    let wanted = objects as u64 * DESCRIPTORS + 256;
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    assert!(maximum.is_none_or(|most| most >= wanted), "the hard limit of descriptors is {maximum:?}, not {wanted}");
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }).unwrap();
    objects + 64
}

/// Prints the rate and the times of messages to many sockets of one object.
async fn broadcast(part: f64) {
    let count = sized(SOCKETS, part);
    let folder = tempfile::tempdir().unwrap();
    let host = open(&folder, 64);
    let room = host.id("room");
    let from = Instant::now();
    let (delivered, mut deliveries) = mpsc::unbounded_channel();
    for _ in 0..count {
        let mut socket = host.connect(&room, "/socket").await.unwrap();
        let delivered = delivered.clone();
        tokio::spawn(async move {
            while let Some(Ok(Message::Text(sent))) = socket.receive().await {
                let sent = Duration::from_nanos(sent.parse().unwrap());
                if delivered.send(from.elapsed().saturating_sub(sent)).is_err() {
                    break;
                }
            }
        });
    }
    // One more, which hears what it sends, too.
    let speaker = host.connect(&room, "/socket").await.unwrap();
    println!("{:34} {:>12} {:>10} {:>10}", format!("broadcast to {count} sockets"), "messages/s", "p50 ms", "p99 ms");
    for (what, at_once) in [("one after the other", 1), ("20 at once", BROADCASTS)] {
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let mut times = Vec::new();
            let began = Instant::now();
            for _ in 0..BROADCASTS / at_once {
                for _ in 0..at_once {
                    speaker.send(from.elapsed().as_nanos().to_string()).unwrap();
                }
                for _ in 0..count * at_once {
                    times.push(deliveries.recv().await.unwrap().as_secs_f64() * 1e3);
                }
            }
            let rate = times.len() as f64 / began.elapsed().as_secs_f64();
            rounds.push([rate, percentile(&mut times, 0.5), percentile(&mut times, 0.99)]);
        }
        let [rate, p50, p99] = medians(&rounds);
        println!("{what:34} {rate:>12.0} {p50:>10.2} {p99:>10.2}");
    }
}

/// The resident set of this process in bytes.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// This part of a size, at least 10.
fn sized(count: usize, part: f64) -> usize {
    ((count as f64 * part) as usize).max(10)
}

fn percentile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() as f64 * part) as usize).min(values.len() - 1)]
}

fn medians<const N: usize>(rounds: &[[f64; N]]) -> [f64; N] {
    std::array::from_fn(|index| percentile(&mut rounds.iter().map(|round| round[index]).collect::<Vec<_>>(), 0.5))
}

fn verdict(value: f64, most: Option<f64>, unit: &str) -> String {
    match most {
        Some(most) if value <= most => format!("ok (at most {most:.1} {unit})"),
        Some(most) => format!("BELOW THE BAR (at most {most:.1} {unit})"),
        None => String::new(),
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    if let [measured, kind, count] = arguments.as_slice()
        && measured == "measure"
    {
        return runtime.block_on(measure(kind, count.parse().unwrap()));
    }
    let part = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(1.0);
    let named = |name: &str| arguments.iter().any(|argument| argument == name);
    let is_all = !["wake", "memory", "broadcast"].into_iter().any(named);
    if is_all || named("wake") {
        runtime.block_on(wake(part));
    }
    if is_all || named("memory") {
        memory(part);
    }
    if is_all || named("broadcast") {
        runtime.block_on(broadcast(part));
    }
}
