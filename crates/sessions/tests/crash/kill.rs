//! A process with a host is killed at random moments.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use isobar_sessions::SessionNamespaceExt;
use isobar_sessions::local::{HostOptions, LocalHost};

use crate::{Counter, Random, count};

const OBJECTS: usize = 16;
const FOLDER: &str = "ISOBAR_KILL_FOLDER";

fn open(folder: &Path) -> LocalHost<Counter> {
    let options = HostOptions::default().with_threads(2).with_journal_bytes(64 << 10).with_open_objects(12);
    LocalHost::open(folder, "Counter", &options.with_idle(Duration::from_millis(20)), || ()).unwrap()
}

async fn ask(host: &LocalHost<Counter>, object: usize, path: &str) -> i64 {
    let answer = host.get(&host.id(&object.to_string()), path).await.unwrap();
    answer.into_body().text().await.unwrap().parse().expect("the count and the rows agree")
}

/// The process that is killed: its objects answer without end.
async fn answer(folder: String) {
    let host = open(Path::new(&folder));
    let tasks: Vec<_> = (0..OBJECTS)
        .map(|object| {
            let host = host.clone();
            tokio::spawn(async move {
                for _ in 0..u64::MAX {
                    let count = ask(&host, object, "/").await;
                    // In one write, so that a line is whole or not there.
                    std::io::stdout().write_all(format!("ack {object} {count}\n").as_bytes()).unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

/// The test program is its own child: with a folder in its environment it is the process that answers, and is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answered_turns_survive_a_kill() {
    if let Ok(folder) = std::env::var(FOLDER) {
        return answer(folder).await;
    }
    let kills = count("ISOBAR_KILLS", 12);
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random(3);
    let mut told = BTreeMap::<usize, i64>::new();
    let mut acks = 0;
    let from = Instant::now();
    for kill in 0..kills {
        for (object, count) in killed(folder.path(), Duration::from_micros(random.below(40_000) as u64)) {
            acks += 1;
            let most = told.entry(object).or_default();
            *most = count.max(*most);
        }
        let host = open(folder.path());
        for (object, told) in &mut told {
            let found = ask(&host, *object, "/read").await;
            assert!(found >= *told, "kill {kill}: object {object} is at {found}, {told} was answered");
        }
        if kill % 3 > 0 {
            continue; // else the next process finds a folder that was left in order
        }
        tokio::task::spawn_blocking(move || drop(host)).await.unwrap();
    }
    println!("{kills} kills in {:?}, {acks} answered turns, none lost", from.elapsed());
    assert!(acks > kills, "it was killed before it could answer: {acks} turns");
}

/// Starts the host, kills it after this time, and returns what it had answered.
fn killed(folder: &Path, after: Duration) -> Vec<(usize, i64)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::answered_turns_survive_a_kill", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut acks = Vec::new();
    let mut hear = |line: std::io::Result<String>| {
        let line = line.unwrap();
        let ack = line.strip_prefix("ack ").and_then(|ack| ack.split_once(' '));
        let Some((object, count)) = ack else { return false };
        acks.push((object.parse().unwrap(), count.parse().unwrap()));
        true
    };
    // The time counts from the first answer; every tenth is killed while it opens the folder.
    if !after.as_micros().is_multiple_of(10) {
        for line in lines.by_ref() {
            if hear(line) {
                break;
            }
        }
    }
    std::thread::sleep(after);
    child.kill().unwrap();
    lines.for_each(|line| {
        hear(line);
    });
    child.wait().unwrap();
    acks
}
