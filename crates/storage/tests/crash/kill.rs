//! A process that writes is killed at random moments.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use isobar_storage::local::{FsckOptions, LocalStore};
use isobar_storage::{Key, MultipartOptions, ObjectStoreExt};

use crate::{Random, count};

/// Tasks that write at once, each to its own keys.
const TASKS: u64 = 8;
const KEYS: u64 = 3;
const FOLDER: &str = "ISOBAR_KILL_FOLDER";
const FROM: &str = "ISOBAR_KILL_FROM";

/// The body of a key's write of this number: anybody can tell whether it is whole.
fn body(number: u64) -> Vec<u8> {
    let size = match number % 7 {
        0 => 40_000 + number % 50_000,
        1 => 0,
        _ => number % 5000,
    };
    let text = format!("{number}:");
    let mut body = text.into_bytes();
    body.resize(body.len() + size as usize, (number % 251) as u8);
    body
}

fn number_of(bytes: &[u8]) -> u64 {
    let text: String = bytes.iter().take_while(|byte| byte.is_ascii_digit()).map(|byte| char::from(*byte)).collect();
    text.parse().expect("a body begins with its number")
}

/// The process that is killed: it writes for ever.
async fn write(folder: String) {
    let from: u64 = std::env::var(FROM).unwrap().parse().unwrap();
    let store = LocalStore::open(folder).await.unwrap();
    let mut tasks = Vec::new();
    for task in 0..TASKS {
        let store = store.clone();
        tasks.push(tokio::spawn(async move {
            for number in from.. {
                let key = Key::new(format!("{task}/{}", number % KEYS)).unwrap();
                if number % 11 == 0 {
                    let upload = store.multipart(&key, MultipartOptions::default()).await.unwrap();
                    let part = upload.upload_part(1, body(number)).await.unwrap();
                    upload.complete(vec![part]).await.unwrap();
                } else {
                    store.write(&key, body(number)).await.unwrap();
                }
                // In one write, so that a line is whole or not there.
                std::io::stdout().write_all(format!("ack {key} {number}\n").as_bytes()).unwrap();
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}

/// It is its own child: with a folder in its environment it is the process that writes, and is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_writer_has_lost_nothing_that_it_acknowledged() {
    if let Ok(folder) = std::env::var(FOLDER) {
        return write(folder).await;
    }
    let kills = count("ISOBAR_KILLS", 1000);
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random(3);
    let mut acknowledged = BTreeMap::<String, u64>::new();
    let mut next = 1;
    let mut acks = 0;
    let from = Instant::now();
    for kill in 0..kills {
        for (key, number) in killed(folder.path(), next, Duration::from_micros(random.below(25_000) as u64)) {
            acks += 1;
            next = next.max(number + 1);
            let newest = acknowledged.entry(key).or_default();
            *newest = (*newest).max(number);
        }
        next += 2 * KEYS; // beyond what may have been written and not acknowledged
        let store = LocalStore::open(folder.path()).await.unwrap();
        for (key, number) in &acknowledged {
            let found = store.read(&Key::new(key.as_str()).unwrap()).await.unwrap();
            let (_, bytes) = found.unwrap_or_else(|| panic!("kill {kill}: {key} {number} is lost"));
            let found = number_of(&bytes);
            assert!(found >= *number, "kill {kill}: {key} is {found}, {number} was acknowledged");
            assert!(bytes == body(found), "kill {kill}: {key} {found} is not whole");
        }
        if kill % 50 == 49 || kill + 1 == kills {
            let options = FsckOptions::default().with_exclusive(true).with_repair(true);
            let report = store.fsck(options, |_| {}).await.unwrap();
            assert!(!report.has_loss() && report.is_clean(), "kill {kill}: {report:?}");
        }
    }
    println!("{kills} kills in {:?}, {acks} acknowledged writes, none lost", from.elapsed());
    assert!(acks > kills, "it was killed before it could write: {acks} writes");
}

/// Starts the writer, kills it after this time, and tells what it had acknowledged.
fn killed(folder: &std::path::Path, from: u64, after: Duration) -> Vec<(String, u64)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::a_killed_writer_has_lost_nothing_that_it_acknowledged", "--nocapture"])
        .envs([(FOLDER, folder.as_os_str()), (FROM, from.to_string().as_ref())])
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut acks = Vec::new();
    let mut hear = |line: std::io::Result<String>| {
        if let Some((key, number)) = line.unwrap().strip_prefix("ack ").and_then(|ack| ack.split_once(' ')) {
            acks.push((key.to_owned(), number.parse().unwrap()));
        }
    };
    // The time counts from the first acknowledgement; every tenth is killed while it opens the store.
    if !after.as_micros().is_multiple_of(10) {
        for line in lines.by_ref() {
            let is_ack = line.as_ref().is_ok_and(|line| line.starts_with("ack "));
            hear(line);
            if is_ack {
                break;
            }
        }
    }
    std::thread::sleep(after);
    child.kill().unwrap();
    lines.for_each(hear);
    child.wait().unwrap();
    acks
}
