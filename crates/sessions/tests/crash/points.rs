//! The power goes while a host works.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use isobar_sessions::SessionNamespaceExt;
use isobar_sessions::local::{HostOptions, LocalHost};
use isobar_sqlite::journal::{Disk, DiskFile};

use crate::ledger::{Account, Found, Ledger};
use crate::record::{self, Op, RecordedDisk, folder};
use crate::replay::{Loss, Replay};
use crate::{Random, count, vfs};

const OBJECTS: usize = 12;
const CALLERS: u64 = 8;
const REQUESTS: usize = 40;
/// The first turn that is recorded.
const FIRST: u64 = 40;

/// Scripts are recorded one at a time.
pub(crate) static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A line of the ledger: an object, a turn, and its answer if it is acknowledged.
#[derive(Debug)]
struct Line {
    object: String,
    turn: u64,
    answer: Option<String>,
}

/// A disk whose log is synced when the next batch is written: turns are answered before their sync.
#[derive(Debug)]
struct LateDisk(RecordedDisk);

#[derive(Debug)]
struct LateFile {
    file: Arc<dyn DiskFile>,
    is_late: bool,
    is_due: AtomicBool,
}

impl LateFile {
    fn around(path: &Path, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        let is_late = path.extension().is_some_and(|extension| extension == "log");
        Arc::new(Self { file, is_late, is_due: AtomicBool::new(false) })
    }
}

impl Disk for LateDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(LateFile::around(path, self.0.create(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(LateFile::around(path, self.0.open(path)?))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.0.sync_folder(path)
    }
}

impl DiskFile for LateFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if self.is_due.swap(false, Ordering::SeqCst) {
            self.file.sync()?;
        }
        self.file.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        if self.is_late {
            self.is_due.store(true, Ordering::SeqCst);
            return Ok(());
        }
        self.file.sync()
    }

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }
}

fn options() -> HostOptions {
    HostOptions::default().with_threads(2).with_journal_bytes(64 << 10).with_open_objects(8)
}

fn open(folder: &Path, options: &HostOptions) -> Result<LocalHost<Account>, String> {
    LocalHost::open(folder, "Account", options, || ()).map_err(|error| error.to_string())
}

/// Lets an object take a turn. Returns its answer.
async fn take(host: &LocalHost<Account>, object: &str, turn: u64) -> Result<String, String> {
    let answer = host.get(&host.id(object), &format!("/turn/{turn}")).await.map_err(|error| error.to_string())?;
    answer.into_body().text().await.map_err(|error| error.to_string())
}

/// Enters a line in the ledger, and in what is recorded.
fn enter(lines: &Mutex<Vec<Line>>, line: Line) {
    let mut lines = lines.lock().unwrap();
    lines.push(line);
    record::step(lines.len() - 1);
}

/// Records a host at work on objects that are there. Returns what it has done, and its turns by step; the first ones were before.
async fn script(root: &Path, disk: Arc<dyn Disk>) -> (Vec<Op>, Ledger, Vec<Line>) {
    let mut before = Ledger::default();
    let host = open(root, &options()).unwrap();
    for number in 0..OBJECTS {
        let object = number.to_string();
        let turn = number as u64 + 8;
        let answer = take(&host, &object, turn).await.unwrap();
        before.acknowledge(&object, turn, &answer);
    }
    tokio::task::spawn_blocking(move || drop(host)).await.unwrap();
    record::start(root);
    std::fs::create_dir(root.join("journal")).unwrap();
    record_folder(root);
    let host = open(root, &options().with_idle(Duration::from_millis(20)).with_journal_disk(disk)).unwrap();
    let lines: Arc<Mutex<Vec<Line>>> = Arc::default();
    let next = Arc::new(AtomicU64::new(FIRST));
    // One caller after another on an object, so that one turn of it at most is in flight.
    let turns: Arc<[tokio::sync::Mutex<()>]> = (0..OBJECTS).map(|_| tokio::sync::Mutex::new(())).collect();
    let callers = (0..CALLERS).map(|caller| {
        let host = host.clone();
        let lines = Arc::clone(&lines);
        let next = Arc::clone(&next);
        let turns = Arc::clone(&turns);
        tokio::spawn(async move {
            let mut random = Random(caller);
            for _ in 0..REQUESTS {
                let number = random.below(OBJECTS);
                let object = number.to_string();
                let only = turns[number].lock().await;
                let turn = next.fetch_add(1, Ordering::Relaxed);
                enter(&lines, Line { object: object.clone(), turn, answer: None });
                if let Ok(answer) = take(&host, &object, turn).await {
                    enter(&lines, Line { object, turn, answer: Some(answer) });
                }
                drop(only);
                if random.below(8) == 0 {
                    tokio::time::sleep(Duration::from_millis(30)).await;
                }
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    tokio::task::spawn_blocking(move || drop(host)).await.unwrap();
    let lines = std::mem::take(&mut *lines.lock().unwrap());
    (record::stop(), before, lines)
}

/// Records what is in a folder already, as durable.
pub(crate) fn record_folder(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            record::record(&path, Op::CreateFolder);
            record_folder(&path);
            continue;
        }
        let data = std::fs::read(&path).unwrap();
        record::record(&path, Op::Create);
        record::record(&path, |path| Op::Write { path, offset: 0, data });
        record::record(&path, Op::Sync);
    }
    record::record(folder, Op::SyncFolder);
}

/// Lets the power go some times. Returns the failures.
async fn crash(disk: Arc<dyn Disk>, crashes: usize) -> Vec<String> {
    let _one = ONE.lock().await;
    vfs::install();
    let root = folder();
    let (ops, mut ledger, lines) = script(root.path(), disk).await;
    let is_answer = |op: &Op| matches!(op, Op::Step(step) if lines[*step].answer.is_some());
    let first = ops.iter().position(is_answer).unwrap();
    let answers: Vec<_> = (first..ops.len()).filter(|at| is_answer(&ops[*at])).collect();
    println!("{} answers in {} operations", answers.len(), ops.len());
    assert!(answers.len() > 200, "the objects answer");
    let mut random = Random(count("ISOBAR_SEED", 5) as u64);
    // Mostly where something has just been answered.
    let mut point = |number: usize| match number % 4 {
        0 => first + random.below(ops.len() - first),
        _ => answers[random.below(answers.len())],
    };
    let mut points: Vec<_> = (0..crashes).map(&mut point).collect();
    points.sort_unstable();
    let mut replay = Replay::default();
    let mut done = 0;
    let mut failures = Vec::new();
    for point in points {
        while done <= point {
            replay.apply(&ops[done]);
            if let Op::Step(step) = ops[done] {
                let Line { object, turn, answer } = &lines[step];
                match answer {
                    None => ledger.begin(object, *turn),
                    Some(answer) => ledger.acknowledge(object, *turn, answer),
                }
            }
            done += 1;
        }
        let loss = match random.below(8) {
            0 => Loss::Nothing,
            1 => Loss::Everything,
            _ => Loss::Random(random.next()),
        };
        let crashed = folder();
        replay.write(crashed.path(), loss);
        if let Err(failure) = check(crashed.path(), ledger.clone()).await {
            failures.push(format!("after operation {point} ({loss:?}): {failure}"));
        }
    }
    failures
}

/// Compares the objects with the ledger; then every alarm has run.
async fn check(folder: &Path, mut ledger: Ledger) -> Result<(), String> {
    ledger.crash();
    let host = open(folder, &options())?;
    for object in (0..OBJECTS).map(|number| number.to_string()) {
        let from = Instant::now();
        loop {
            let found = Found::of(&host, &object).await?;
            let is_armed = found.is_armed();
            ledger.check(&object, found)?;
            if !is_armed {
                break;
            }
            if from.elapsed() > Duration::from_secs(20) {
                return Err(format!("the alarm of object {object} does not run"));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    tokio::task::spawn_blocking(move || drop(host)).await.map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_turns_survive_a_power_failure() {
    let crashes = count("ISOBAR_CRASHES", 60);
    let failures = crash(Arc::new(RecordedDisk::default()), crashes).await;
    println!("{crashes} power failures, {} failures", failures.len());
    assert!(failures.is_empty(), "{failures:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ledger_detects_a_journal_that_is_not_synced() {
    let failures = crash(Arc::new(RecordedDisk { lies: true }), count("ISOBAR_CRASHES", 60)).await;
    println!("found {} times, the first: {:?}", failures.len(), failures.first());
    assert!(!failures.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ledger_detects_answers_before_the_sync() {
    let failures = crash(Arc::new(LateDisk(RecordedDisk::default())), count("ISOBAR_CRASHES", 60)).await;
    println!("found {} times, the first: {:?}", failures.len(), failures.first());
    assert!(!failures.is_empty());
}
