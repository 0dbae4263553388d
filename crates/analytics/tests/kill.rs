//! A process that writes and compacts is killed at random moments: `ISOBAR_KILLS=1000` for more of them.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use isobar_analytics::local::{CompactionOptions, LocalOptions, LocalSink};
use isobar_analytics::{DataPoint, EventSink, EventSinkExt, ScanOptions};

const FOLDER: &str = "ISOBAR_KILL_FOLDER";
const FROM: &str = "ISOBAR_KILL_FROM";
/// Points between two flushes.
const BATCH: u64 = 20;
/// Kills of one dataset, which is then begun anew.
const KILLS_OF_A_DATASET: u64 = 25;

/// Segments of some hundred points, so that much is compacted.
fn open(folder: &Path) -> LocalSink {
    LocalSink::open_with(folder, LocalOptions::default().with_segment_bytes(8 * 1024)).unwrap()
}

/// The process that is killed: it writes and compacts without end.
async fn write(folder: String) {
    let from: u64 = std::env::var(FROM).unwrap().parse().unwrap();
    let sink = open(Path::new(&folder));
    let compacting = sink.clone();
    tokio::spawn(async move {
        for round in 0.. {
            let options = CompactionOptions::default().with_seal_current(round % 2 == 0).with_run_bytes(20 * 1024);
            compacting.compact(options).await.unwrap();
            // In one write, so that a line is whole or not there.
            std::io::stdout().write_all(b"compacted\n").unwrap();
        }
    });
    for number in from.. {
        sink.write(DataPoint::new().with_index(format!("tenant-{}", number % 7)).with_double(number as f64));
        if number % BATCH == BATCH - 1 {
            sink.flush().await.unwrap();
            std::io::stdout().write_all(format!("ack {number}\n").as_bytes()).unwrap();
        }
    }
}

/// The test program is its own child: with a folder in its environment it is the process that writes, and is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_writer_and_compactor_lose_and_double_nothing_that_was_flushed() {
    if let Ok(folder) = std::env::var(FOLDER) {
        return write(folder).await;
    }
    let kills: u64 = std::env::var("ISOBAR_KILLS").map_or(50, |kills| kills.parse().expect("ISOBAR_KILLS is a number"));
    let start = Instant::now();
    let mut random: u64 = 7;
    let mut points = 0;
    let mut compactions = 0;
    let mut folder = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeSet::new();
    let mut next = 0;
    for kill in 0..kills {
        if kill % KILLS_OF_A_DATASET == 0 {
            folder = tempfile::tempdir().unwrap();
            acknowledged.clear();
            next = 0;
        }
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let (acks, compacted) = killed(folder.path(), next, Duration::from_micros((random >> 33) % 30_000));
        compactions += compacted;
        points += acks.len() as u64;
        acknowledged.extend(acks);
        let sink = open(folder.path());
        let scan = sink.scan(ScanOptions::default()).await.unwrap();
        let mut found = BTreeSet::new();
        for event in &scan.events {
            assert!(found.insert(event.double(1) as u64), "kill {kill}: {} is doubled", event.double(1));
        }
        let lost: Vec<_> = acknowledged.difference(&found).take(10).collect();
        assert!(lost.is_empty(), "kill {kill}: {lost:?} are lost");
        // Beyond what may have been written and not acknowledged.
        next = found.last().map_or(next, |last| last + 1).next_multiple_of(BATCH) + 1000 * BATCH;
    }
    println!(
        "{kills} kills in {:?}, {points} flushed points and {compactions} compactions, none lost or doubled",
        start.elapsed()
    );
    // A slow machine compacts seldom within the few milliseconds of a process.
    assert!(points > kills * BATCH && compactions > 0, "{points} points, {compactions} compactions");
}

/// Starts the writer, kills it after this time, and returns what it had acknowledged and how often it had compacted.
fn killed(folder: &Path, from: u64, after: Duration) -> (Vec<u64>, u64) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed_writer_and_compactor_lose_and_double_nothing_that_was_flushed", "--nocapture"])
        .envs([(FOLDER, folder.as_os_str()), (FROM, from.to_string().as_ref())])
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut acks = Vec::new();
    let mut compactions = 0;
    let mut hear = |line: std::io::Result<String>| {
        let line = line.unwrap();
        compactions += u64::from(line == "compacted");
        if let Some(number) = line.strip_prefix("ack ") {
            let number: u64 = number.parse().unwrap();
            acks.extend(number + 1 - BATCH..=number);
        }
    };
    // The time counts from the first acknowledgement; every tenth is killed while it opens the dataset.
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
    lines.for_each(&mut hear);
    child.wait().unwrap();
    (acks, compactions)
}
