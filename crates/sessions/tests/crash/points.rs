//! The power goes while a host works.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use isobar_sessions::SessionNamespaceExt;
use isobar_sessions::local::{HostOptions, LocalHost};

use crate::record::{self, Op, RecordedDisk, folder};
use crate::replay::{Loss, Replay};
use crate::{Counter, Random, count, vfs};

const OBJECTS: usize = 12;
const CALLERS: u64 = 8;
const REQUESTS: usize = 40;

/// Scripts are recorded one at a time.
static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// An answer: the object, and the count that it has told.
type Answer = (usize, i64);

fn options() -> HostOptions {
    HostOptions::default().with_threads(2).with_journal_bytes(64 << 10).with_open_objects(8)
}

fn open(folder: &Path, options: &HostOptions) -> Result<LocalHost<Counter>, String> {
    LocalHost::open(folder, "Counter", options, || ()).map_err(|error| error.to_string())
}

async fn ask(host: &LocalHost<Counter>, object: usize, path: &str) -> Result<i64, String> {
    let answer = host.get(&host.id(&object.to_string()), path).await.map_err(|error| error.to_string())?;
    let text = answer.into_body().text().await.map_err(|error| error.to_string())?;
    text.parse().map_err(|_| format!("object {object} is torn: {text}"))
}

/// Records a host at work on objects that are there. Returns what it has done, and its answers by step.
async fn script(root: &Path, lies: bool) -> (Vec<Op>, Vec<Answer>) {
    let host = open(root, &options()).unwrap();
    for object in 0..OBJECTS {
        ask(&host, object, "/").await.unwrap();
    }
    tokio::task::spawn_blocking(move || drop(host)).await.unwrap();
    record::start(root);
    std::fs::create_dir(root.join("journal")).unwrap();
    record_folder(root);
    let disk = Arc::new(RecordedDisk { lies });
    let host = open(root, &options().with_idle(Duration::from_millis(20)).with_journal_disk(disk)).unwrap();
    let answers = Arc::new(Mutex::new(Vec::new()));
    // One caller after another on an object: a second one between the two turns of a request would put an older count over its own.
    let turns: Arc<[tokio::sync::Mutex<()>]> = (0..OBJECTS).map(|_| tokio::sync::Mutex::new(())).collect();
    let callers = (0..CALLERS).map(|caller| {
        let host = host.clone();
        let answers = Arc::clone(&answers);
        let turns = Arc::clone(&turns);
        tokio::spawn(async move {
            let mut random = Random(caller);
            for _ in 0..REQUESTS {
                let object = random.below(OBJECTS);
                let turn = turns[object].lock().await;
                let answer = ask(&host, object, "/").await;
                drop(turn);
                if let Ok(count) = answer {
                    let mut answers = answers.lock().unwrap();
                    answers.push((object, count));
                    record::step(answers.len() - 1);
                }
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
    let answers = answers.lock().unwrap().clone();
    (record::stop(), answers)
}

/// Records what is in a folder already, as durable.
fn record_folder(folder: &Path) {
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
async fn crash(lies: bool, crashes: usize) -> Vec<String> {
    let _one = ONE.lock().await;
    vfs::install();
    let root = folder();
    let (ops, answers) = script(root.path(), lies).await;
    println!("{} answers in {} operations", answers.len(), ops.len());
    assert!(answers.len() > 200, "the objects answer");
    let first = ops.iter().position(|op| matches!(op, Op::Step(_))).unwrap();
    let steps: Vec<_> = (first..ops.len()).filter(|at| matches!(ops[*at], Op::Step(_))).collect();
    let mut random = Random(count("ISOBAR_SEED", 5) as u64);
    // Mostly where something has just been answered.
    let mut point = |number: usize| match number % 4 {
        0 => first + random.below(ops.len() - first),
        _ => steps[random.below(steps.len())],
    };
    let mut points: Vec<_> = (0..crashes).map(&mut point).collect();
    points.sort_unstable();
    let mut replay = Replay::default();
    let mut done = 0;
    let mut told = BTreeMap::new();
    let mut failures = Vec::new();
    for point in points {
        while done <= point {
            replay.apply(&ops[done]);
            if let Op::Step(step) = ops[done] {
                let (object, count) = answers[step];
                let most = told.entry(object).or_insert(1);
                *most = count.max(*most);
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
        if let Err(failure) = check(crashed.path(), &told).await {
            failures.push(format!("after operation {point} ({loss:?}): {failure}"));
        }
    }
    failures
}

async fn check(folder: &Path, told: &BTreeMap<usize, i64>) -> Result<(), String> {
    let host = open(folder, &options())?;
    for object in 0..OBJECTS {
        let found = ask(&host, object, "/read").await?;
        let told = told.get(&object).copied().unwrap_or(1);
        if found < told {
            return Err(format!("object {object} is at {found}, {told} was answered"));
        }
    }
    tokio::task::spawn_blocking(move || drop(host)).await.map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answered_turns_survive_a_power_failure() {
    let crashes = count("ISOBAR_CRASHES", 60);
    let failures = crash(false, crashes).await;
    println!("{crashes} power failures, {} failures", failures.len());
    assert!(failures.is_empty(), "{failures:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_test_detects_a_journal_that_is_not_synced() {
    let failures = crash(true, count("ISOBAR_CRASHES", 60)).await;
    println!("found {} times, the first: {:?}", failures.len(), failures.first());
    assert!(!failures.is_empty());
}
