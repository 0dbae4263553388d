//! The local store beside `object_store::LocalFileSystem`, in one process, in alternating rounds: medians and ratios.
//!
//! `cargo bench -p isobar-storage --all-features --bench peers [-- --keys 1000000] [-- --only "32 at once"]`
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a bench may panic, and prints")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use isobar_storage::local::LocalStore;
use isobar_storage::{Key, ListOptions, ObjectStore, ObjectStoreExt, PutOptions};
use object_store::local::LocalFileSystem;
use object_store::{ObjectStoreExt as _, path::Path as PeerPath};

const ROUNDS: usize = 5;

#[derive(Clone)]
enum Contender {
    Isobar(LocalStore),
    Peer(Arc<LocalFileSystem>),
}

impl Contender {
    async fn put(&self, name: &str, body: Bytes) {
        match self {
            Self::Isobar(store) => {
                let key = Key::new(name).unwrap();
                let put = store.put(&key, body.into(), PutOptions::default()).await.unwrap();
                assert!(put.stored().is_some());
            }
            Self::Peer(store) => drop(store.put(&PeerPath::from(name), body.into()).await.unwrap()),
        }
    }

    async fn get(&self, name: &str) -> Bytes {
        match self {
            Self::Isobar(store) => store.read(&Key::new(name).unwrap()).await.unwrap().unwrap().1,
            Self::Peer(store) => store.get(&PeerPath::from(name)).await.unwrap().bytes().await.unwrap(),
        }
    }
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let own = folder.path().join("isobar");
    let theirs = folder.path().join("peer");
    std::fs::create_dir_all(&theirs).unwrap();
    let peer = LocalFileSystem::new_with_prefix(&theirs).unwrap().with_fsync(true);
    let contenders = [Contender::Isobar(LocalStore::open(&own).await.unwrap()), Contender::Peer(Arc::new(peer))];
    println!("{:32} {:>12} {:>12} {:>7}", "", "isobar", "peer", "ratio");
    for (concurrency, count) in [(1, 1000), (8, 4000), (32, 10_000), (128, 10_000)] {
        let name = format!("put 4 KiB, {concurrency} at once, durable");
        compare(&name, &contenders, count, async |store, round| puts(store, round, concurrency, count).await).await;
    }
    for (name, size, count) in [("get 4 KiB, cached", 4 << 10, 3000), ("get 1 MiB, cached", 1 << 20, 6000)] {
        for store in &contenders {
            store.put("cached", vec![7; size].into()).await;
        }
        compare(name, &contenders, count, async |store, _| gets(store, count).await).await;
    }
    for (name, size, count) in
        [("get 4 KiB, cached, 8 at once", 4 << 10, 40_000), ("get 1 MiB, cached, 8 at once", 1 << 20, 8000)]
    {
        for store in &contenders {
            store.put("cached", vec![7; size].into()).await;
        }
        compare(name, &contenders, count, async |store, _| gets_at_once(store, 8, count).await).await;
    }
    drop(contenders);
    if is_wanted("list") {
        list(folder.path(), argument("--keys").map_or(100_000, |keys| keys.parse().unwrap())).await;
    }
}

/// Returns the argument after this one.
fn argument(name: &str) -> Option<String> {
    std::env::args().skip_while(|argument| argument != name).nth(1)
}

/// Whether this row was asked for: all are, unless some of their text is given.
fn is_wanted(name: &str) -> bool {
    argument("--only").is_none_or(|part| name.contains(&part))
}

/// Runs the contenders in turn, and prints operations a second: the median of the rounds.
async fn compare(
    name: &str,
    contenders: &[Contender; 2],
    count: usize,
    run: impl AsyncFn(&Contender, usize) -> Duration,
) {
    if !is_wanted(name) {
        return;
    }
    let mut rates = [Vec::new(), Vec::new()];
    for round in 0..ROUNDS {
        for (store, rates) in contenders.iter().zip(&mut rates) {
            settle();
            rates.push(count as f64 / run(store, round).await.as_secs_f64());
        }
    }
    let [own, peer] = rates.map(|mut rates| {
        rates.sort_by(f64::total_cmp);
        rates[ROUNDS / 2]
    });
    println!("{name:32} {own:>10.0}/s {peer:>10.0}/s {:>6.2}x", own / peer);
}

/// Nobody pays for what the one before has left to write: folders and inodes, which no fsync of a file waits for.
fn settle() {
    assert!(std::process::Command::new("sync").status().unwrap().success());
}

async fn puts(store: &Contender, round: usize, concurrency: usize, count: usize) -> Duration {
    let body = Bytes::from(vec![round as u8; 4096]);
    let names: Vec<_> = (0..count).map(|number| format!("bench/{concurrency}-{round}/{number:06}")).collect();
    let from = Instant::now();
    let mut puts = stream::iter(names.into_iter().map(|name| {
        let store = store.clone();
        let body = body.clone();
        tokio::spawn(async move { store.put(&name, body).await })
    }))
    .buffer_unordered(concurrency);
    while let Some(put) = puts.next().await {
        put.unwrap();
    }
    from.elapsed()
}

async fn gets(store: &Contender, count: usize) -> Duration {
    let from = Instant::now();
    for _ in 0..count {
        std::hint::black_box(store.get("cached").await);
    }
    from.elapsed()
}

/// Lists all keys under a prefix, page by page; resident memory must not grow with them.
async fn list(folder: &Path, keys: usize) {
    let store = LocalStore::open(folder.join("many")).await.unwrap();
    let mut puts = stream::iter((0..keys).map(|number| {
        let store = store.clone();
        let key = Key::new(format!("many/{:02}/{number:08}", number % 50)).unwrap();
        tokio::spawn(async move { store.write(&key, "x").await.unwrap() })
    }))
    .buffer_unordered(256);
    while let Some(put) = puts.next().await {
        put.unwrap();
    }
    let mut best = Duration::MAX;
    let before = resident();
    for _ in 0..3 {
        let from = Instant::now();
        let mut seen = 0;
        let mut options = ListOptions::default().with_prefix("many/");
        loop {
            let page = store.list(options.clone()).await.unwrap();
            seen += page.objects.len();
            match page.cursor {
                Some(cursor) => options = options.with_cursor(cursor),
                None => break,
            }
        }
        assert_eq!(seen, keys);
        best = best.min(from.elapsed());
    }
    let rate = keys as f64 / best.as_secs_f64();
    println!("list {keys} keys, pages of 1000   {rate:>10.0}/s, {} MiB more resident", (resident() - before) >> 20);
}

fn resident() -> i64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<i64>().ok()).unwrap_or_default() * 4096
}

async fn gets_at_once(store: &Contender, concurrency: usize, count: usize) -> Duration {
    let from = Instant::now();
    let tasks = (0..concurrency).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { gets(&store, count / concurrency).await })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    from.elapsed()
}
