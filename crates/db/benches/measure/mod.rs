//! Measurements that this crate's peers share: the same rows, the same statements, the same clock.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Rows of the table that is read and written.
pub(crate) const ROWS: i64 = 1000;
/// Time of a measurement.
pub(crate) const TIME: Duration = Duration::from_millis(800);
/// The table, as each peer makes it.
pub(crate) const TABLE: &str =
    "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL, age INTEGER NOT NULL, score REAL)";
/// A row by its key.
pub(crate) const SELECT: &str = "SELECT id, name, age, score FROM users WHERE id = ?";
/// A hundred rows.
pub(crate) const SELECT_100: &str = "SELECT id, name, age, score FROM users WHERE id > ? ORDER BY id LIMIT 100";
/// A row, changed durably.
pub(crate) const UPDATE: &str = "UPDATE users SET age = age + 1 WHERE id = ?";
/// A row, added.
pub(crate) const INSERT: &str = "INSERT INTO users (name, age, score) VALUES (?, ?, ?)";
/// A query of some 20 ms.
pub(crate) const LONG: &str =
    "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 150000) SELECT count(*) FROM c";

/// A key that varies, so that not the same page is read and written each time.
pub(crate) fn key(number: u64) -> i64 {
    i64::try_from(number.wrapping_mul(7919) % ROWS.unsigned_abs()).unwrap_or_default() + 1
}

/// Processor time of this process.
pub(crate) fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    // Of the first thread alone where the system has nothing better: each thread has one.
    let own = |text: &str| text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(0_u64);
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let all: u64 =
        threads.map(|thread| own(&std::fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default())).sum();
    Duration::from_nanos(if all > 0 { all } else { own(&stat) })
}

/// Prints a row: its name, the median and the 99th percentile in nanoseconds, runs a second, processor time of a run in nanoseconds.
pub(crate) fn report(name: &str, mut times: Vec<u64>, wall: Duration, processor: Duration) {
    times.sort_unstable();
    assert!(!times.is_empty(), "{name}: nothing has run");
    let at = |part: usize| times[(times.len() - 1) * part / 1000];
    let count = times.len();
    let rate = count as f64 / wall.as_secs_f64();
    let cost = processor.as_nanos() / count as u128;
    println!("row\t{name}\t{}\t{}\t{rate:.0}\t{cost}", at(500), at(990));
}

/// Measures something that blocks, on one thread.
pub(crate) fn blocking(name: &str, mut run: impl FnMut(u64)) {
    (0..50).for_each(&mut run);
    let mut times = Vec::new();
    let processor = processor_time();
    let start = Instant::now();
    while start.elapsed() < TIME {
        let begun = Instant::now();
        run(times.len() as u64);
        times.push(u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
    report(name, times, start.elapsed(), processor_time().saturating_sub(processor));
}

/// Measures `tasks` tasks that each run it one after the other.
pub(crate) async fn tasks<F, R>(name: &str, tasks: u64, run: F)
where
    F: Fn(u64) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send,
{
    let run = Arc::new(run);
    let ended = Arc::new(AtomicBool::new(false));
    for number in 0..50 {
        run(number).await;
    }
    let processor = processor_time();
    let start = Instant::now();
    let work = |task: u64| {
        let run = Arc::clone(&run);
        let ended = Arc::clone(&ended);
        tokio::spawn(async move {
            let mut times = Vec::new();
            while !ended.load(Ordering::Relaxed) {
                let begun = Instant::now();
                run(task * 101 + times.len() as u64).await;
                times.push(u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX));
                // As a server's tasks do between two queries.
                if times.len() % 64 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            times
        })
    };
    let started: Vec<_> = (0..tasks).map(work).collect();
    tokio::time::sleep(TIME).await;
    ended.store(true, Ordering::Relaxed);
    let wall = start.elapsed();
    let processor = processor_time().saturating_sub(processor);
    let mut times = Vec::new();
    for task in started {
        times.extend(task.await.expect("a task of the measurement has not panicked"));
    }
    report(name, times, wall, processor);
}

/// Runs `beside` in two tasks while `measured` runs.
pub(crate) async fn beside<F, R>(beside: F, measured: impl Future<Output = ()>)
where
    F: Fn() -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send,
{
    let beside = Arc::new(beside);
    let started: Vec<_> = (0..2)
        .map(|_| {
            let beside = Arc::clone(&beside);
            tokio::spawn(async move {
                loop {
                    beside().await;
                }
            })
        })
        .collect();
    measured.await;
    for task in started {
        task.abort();
        drop(task.await);
    }
}
